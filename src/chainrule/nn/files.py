"""Models on disk: parameters as safetensors, the architecture as JSON in the metadata. Nothing in a file is run."""

import inspect
import json
import os
import secrets
from os import PathLike
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, DataError, ShapeError, UnknownNameError
from chainrule.nn import activations, convolution, layers, normalization
from chainrule.nn.module import Module
from chainrule.ops.dims import Shape, show

LAYERS: dict[str, type[Module]] = {
    cls.__name__: cls
    for module in (activations, convolution, layers, normalization)
    for cls in vars(module).values()
    if isinstance(cls, type) and issubclass(cls, Module) and cls is not Module
}
_FORMAT = "1"
_TUPLES = (convolution.OneOrTwo, convolution.OneOrTwo | None, tuple[int, ...])  # JSON has lists only


def save(model: Module, path: str | PathLike[str]) -> None:
    """Write a model; an existing file is replaced only when the new one is complete.

    Raises
    ------
    ChainruleError
        If a layer is not one of chainrule's own, so that the file could not be read again; if parameters are shared, as
        where a layer is used twice, so that they would come back as several.
    DataError
        If the file cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    architecture = json.dumps({"layer": type(model).__name__, **model.config()}, default=_plain)
    for _, module in model.named_modules():
        if LAYERS.get(type(module).__name__) is not type(module):
            Module.config(module)  # which says why a layer of one's own cannot be saved
    _check_not_shared(model)
    metadata = {"chainrule": _FORMAT, "dtype": model.dtype.name, "architecture": architecture}
    content = to_bytes({k: np.ascontiguousarray(v) for k, v in model.state_dict().items()}, metadata)
    temporary = os.path.join(os.path.dirname(os.path.abspath(path)), f".saving-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise DataError(f"{path}: the model cannot be written here: {error.strerror}.") from None
        raise


def _check_not_shared(model: Module) -> None:
    names: dict[int, str] = {}
    for name, place, key in model._places():
        first = names.setdefault(id(place[key]), name)
        if first != name:
            raise ChainruleError(
                f"save: '{first}' and '{name}' are one array, as where a layer is used twice; a file describes each "
                "layer by itself, so they would come back as two, to be trained apart. Save the arrays with "
                "safetensors.numpy.save_file(model.state_dict(), path), and give them to load_state_dict of a model "
                "that is built in the same way."
            )


def _plain(option: Any) -> Any:
    """A number of NumPy's, such as `labels.max() + 1` outputs, as one of Python's."""
    if isinstance(option, np.generic):
        return option.item()
    raise TypeError(f"an option of a layer is a {type(option).__name__}; expected a number, a truth value or text.")


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
            ours = metadata.get("chainrule") == _FORMAT
            state = {name: file.get_tensor(name) for name in file.keys()} if ours else {}  # noqa: SIM118  # it is no dict
    except (SafetensorError, OSError, TypeError) as error:
        raise DataError(f"{path} is not a complete safetensors file: {error}.") from None
    if not ours:
        raise DataError(
            f"{path} has no architecture of chainrule's format {_FORMAT}; it was not written by model.save."
        )
    try:
        model = _build(json.loads(metadata["architecture"]), [array.shape for array in state.values()])
        _cast(model, np.dtype(metadata["dtype"]))
        model.load_state_dict(state)
    except KeyError as error:
        raise DataError(f"{path}: the architecture in the file lacks {error}.") from None
    except (TypeError, ValueError, AttributeError, RecursionError, ChainruleError) as error:
        raise DataError(f"{path}: the architecture in the file cannot be built: {error}") from None
    return model


def _build(description: Any, shapes: list[Shape]) -> Module:
    """The module that a description asks for, with zeros; `shapes` are those in the file that none has taken yet."""
    if not isinstance(description, dict):
        raise DataError(f"a layer is described by an object with its name and options, not by {description!r:.40}.")
    options = dict(description)
    name = options.pop("layer")
    if not isinstance(name, str) or name not in LAYERS:
        raise UnknownNameError("layer", name, LAYERS)
    if name == "Sequential":
        return layers.Sequential(*(_build(part, shapes) for part in options["layers"]))
    parameters = inspect.signature(LAYERS[name]).parameters
    for option, value in options.items():  # what can only be given by keyword (dtype, ...) is not for a file to say
        if option not in parameters or parameters[option].kind is inspect.Parameter.KEYWORD_ONLY:
            raise DataError(f"{name} has no option '{option}'.")
        wanted = parameters[option].annotation
        if wanted in _TUPLES and type(value) is list and all(type(n) is int for n in value):
            options[option] = tuple(value)  # how many they are, the layer asks
        elif type(value) is not wanted and (type(value), wanted) != (int, float):
            raise DataError(
                f"{name}: the option '{option}' is {value!r:.40}; expected a {getattr(wanted, '__name__', wanted)}."
            )

    def zeros(shape: Shape, _: Any) -> Any:
        if shape not in shapes:  # asked before anything is allocated
            raise ShapeError(f"{name} needs an array of shape {show(shape)}, and the file has no such array for it.")
        shapes.remove(shape)
        return np.zeros(shape)

    return LAYERS[name](**options, **{key: zeros for key in ("weight_init", "bias_init") if key in parameters})


def _cast(model: Module, dtype: np.dtype[Any]) -> None:
    for _, place, key in model._places():
        place[key] = type(place[key])(place[key].numpy().astype(dtype))
