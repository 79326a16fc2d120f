"""Models on disk: parameters as safetensors, the architecture as JSON in the metadata. Nothing in a file is run."""

import json
import os
import tempfile
from os import PathLike
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, DataError, UnknownNameError
from chainrule.nn import layers
from chainrule.nn.module import Module

LAYERS: dict[str, type[Module]] = {
    cls.__name__: cls
    for cls in vars(layers).values()
    if isinstance(cls, type) and issubclass(cls, Module) and cls is not Module
}
_FORMAT = "1"


def save(model: Module, path: str | PathLike[str]) -> None:
    """Write a model; an existing file is replaced only when the new one is complete."""
    from safetensors.numpy import save as to_bytes

    architecture = {"layer": type(model).__name__, **model.config()}
    metadata = {"chainrule": _FORMAT, "dtype": model.dtype.name, "architecture": json.dumps(architecture)}
    content = to_bytes({k: np.ascontiguousarray(v) for k, v in model.state_dict().items()}, metadata)
    folder = os.path.dirname(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".saving-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load(path: str | PathLike[str]) -> Module:
    """Read a model that `save` wrote.

    Raises
    ------
    DataError
        If the file is missing, damaged, not of this format, or does not fit its own architecture.
    """
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise DataError(f"{path}: there is no such file; save a model with model.save(path) first.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is not a complete safetensors file: {error}.") from None
    if metadata.get("chainrule") != _FORMAT:
        raise DataError(
            f"{path} has no architecture of chainrule's format {_FORMAT}; it was not written by model.save."
        )
    try:
        model = _build(json.loads(metadata["architecture"]))
        _cast(model, np.dtype(metadata["dtype"]))
        model.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RecursionError, ChainruleError) as error:
        raise DataError(f"{path}: the architecture in the file cannot be built: {error}") from None
    return model


def _build(description: Any) -> Module:
    options = dict(description)
    name = options.pop("layer")
    if name not in LAYERS:
        raise UnknownNameError("layer", name, LAYERS)
    if name == "Sequential":
        return layers.Sequential(*(_build(part) for part in options["layers"]))
    return LAYERS[name](**options)


def _cast(model: Module, dtype: np.dtype[Any]) -> None:
    for _, place, key in model._places():
        place[key] = type(place[key])(place[key].numpy().astype(dtype))
