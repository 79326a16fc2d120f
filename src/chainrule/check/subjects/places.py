"""Where somebody's object keeps its parameters and their gradients: in a dict, in lists, in attributes, in layers."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, ShapeError, UnknownNameError

Array = np.ndarray[Any, Any]
Place = tuple[Any, Any]  # a dict or list, and the key

_DICTS = ("params", "parameters", "theta", "p")
_PARAMETER = re.compile(
    r"(w|b|u|v|weights?|bias(es)?|gamma|beta|theta|kernel|coef|intercept)([\d_.].*)?|[wub][a-z]?[a-z]?"
)
_NUMBER = re.compile(r"(w|b|weight|bias|intercept)\d*")
# What stands beside a parameter under its name and a prefix or suffix: its gradient, or what an optimiser remembers.
_BESIDE = re.compile(
    r"(d_?|grads?_?|nabla_?|delta_?|g_|[vms]_?|velocity_?|momentum_?|prev_?|old_?|best_?|cache_?|sum_?)(?P<of>.+)|"
    r"(?P<of2>.+?)(_grads?|_gradients?|_d|_[vms]|_velocity|_momentum|_prev|_old|_best|_cache)"
)
_GRADIENTS = re.compile(
    r"(d_?|kept_?|old_?|sum_?)?(grads?|gradients?|nablas?|derivatives?|params_grads?)|kept|v|s|r|ms|vs|opt\w*|adam\w*"
)
_MODES = ("training", "is_training", "train_mode", "train_flg", "train_flag", "train")
_CACHES = re.compile(
    r"xs?|a|z|y|t|o|h|s|out|outputs?|inputs?|mask|cache|errors?|loss(es)?|probs|probabilities|logits|scores|targets?|"
    r"labels|data|m|velocit(y|ies)|momentum|state|history|buffer"
)


def parameter_places(thing: Any) -> dict[str, Place]:
    """The parameters of an object by name, each with the container and key under which it is kept."""
    attributes = _attributes(thing)
    for name in _DICTS:
        kept = attributes.get(name)
        if isinstance(kept, Mapping) and kept and all(_is_array(v) for v in kept.values()):
            return {str(key): (kept, key) for key in kept}
    walked = _walk(thing)
    return {name: (container, key) for name, container, key, owner in walked if _is_learnt(name, container, key, owner)}


def _is_learnt(name: str, container: Any, key: Any, owner: dict[str, Any]) -> bool:
    """Whether an array or number is a parameter, by its name, that of its dict or list, and what stands beside it."""
    plain = _plain(name)
    if not _is_array(container[key]):
        return _NUMBER.fullmatch(plain.lower()) is not None and "[" not in name
    beside = _BESIDE.fullmatch(plain)
    if beside and (beside["of"] or beside["of2"]) in (container if isinstance(container, dict) else owner):
        return False
    if plain == "v" and "m" in owner:  # Adam's
        return False
    holders = [word.lower().strip("_") for word in re.findall(r"(\w+)\[", name)]
    holders = [word for word in holders if word != plain.lower()]
    words = [plain.lower().rstrip("0123456789_"), *holders]
    return not any(map(_CACHES.fullmatch, words)) and not any(map(_GRADIENTS.fullmatch, holders))


def mode_places(thing: Any) -> list[Place]:
    """The flags of an object and its parts that say whether it is being trained: `self.training`."""
    walked = ((_plain(name), container, key) for name, container, key, _ in _walk(thing))
    return [(c, k) for plain, c, k in walked if isinstance(c[k], bool) and plain in _MODES]


def is_parameter_name(name: str) -> bool:
    """Whether people would call a parameter so: W1, bias, gamma, layers[0].W."""
    return _PARAMETER.fullmatch(_plain(name).lower()) is not None


def gradient_places(parameters: Mapping[str, Place], thing: Any) -> dict[str, Array]:
    """The gradients that an object keeps, by the parameters' names: `self.grads["W1"]`, `self.dW1`, `layer.dW`."""
    attributes = _attributes(thing)
    for kept in _kept_gradients(attributes):
        matched = matched_gradients(kept, {name: read(place) for name, place in parameters.items()})
        if matched:
            return matched
    owners = {id(container): owner for _, container, _, owner in _walk(thing)}
    found = {}
    for name, (container, key) in parameters.items():
        owner = owners.get(id(container), attributes)
        stem = _plain(name) if isinstance(key, int) else str(key)
        for holder in (*_kept_gradients(owner), container, owner, attributes):
            value = _named_gradient(holder, stem, any(holder is kept for kept in _kept_gradients(owner)))
            if isinstance(key, int) and isinstance(value, list) and len(value) > key:
                value = value[key]
            if name not in found and value is not None and _is_number(value):
                found[name] = np.asarray(value, float)
    return found


def _kept_gradients(attributes: Mapping[str, Any]) -> list[Any]:
    """What an object keeps under the names of gradients."""
    names = ("grads", "gradients", "grad", "gradient", "d_params", "dparams")
    return [attributes[n] for n in names if isinstance(attributes.get(n), (dict, list, tuple)) and attributes[n]]


def _named_gradient(holder: Any, stem: str, own: bool) -> Any:
    """What stands in a dict as the gradient of a parameter; in a dict of gradients alone, under its own name, too."""
    if not isinstance(holder, dict):
        return None
    names = _gradient_names(stem) + ([stem] if own else [])
    return next((holder[name] for name in names if name in holder), None)


def matched_gradients(given: Any, parameters: Mapping[str, Array]) -> dict[str, Array]:
    """Gradients as somebody returns them, by the parameters' names; {} if they cannot be told apart.

    A dict is matched by name (`W1`, `dW1`, `grad_W1`); a list or tuple by shape, and equal shapes in their order.
    """
    if isinstance(given, Mapping):
        named = {}
        for name in parameters:
            written = next((each for each in (name, *_gradient_names(name)) if each in given), None)
            if written is not None and _is_number(given[written]):
                named[name] = np.asarray(given[written], float)
        return named
    if not isinstance(given, (list, tuple)):
        return {}
    flat = list(_flat(given))
    shapes = [sorted(map(np.shape, each)) for each in (flat, parameters.values())]
    if len(flat) == len(parameters) and shapes[0] != shapes[1]:  # a shape is wrong: the order must tell
        return {name: np.asarray(g, float) for name, g in zip(parameters, flat, strict=True)}
    found: dict[str, Array] = {}
    free = flat
    for name, p in parameters.items():
        i = next((i for i, g in enumerate(free) if np.shape(g) == np.shape(p)), None)
        if i is not None:
            found[name] = np.asarray(free.pop(i), float)
    return {} if free else found


def read(place: Place) -> Array:
    """A copy of the array at a place, in its own precision."""
    container, key = place
    value = np.array(container[key])
    return value if value.dtype.kind == "f" else value.astype(float)


def write(place: Place, value: Any, name: str) -> None:
    """Put an array there: into the one that is there where it can be, so that whoever else holds it sees the change."""
    container, key = place
    old, new = container[key], np.asarray(value)
    if np.shape(old) != new.shape:
        raise ShapeError(f"set_parameters: '{name}' has the shape {np.shape(old)}, the new value {new.shape}.")
    if isinstance(old, np.ndarray) and old.dtype.kind == "f" and old.flags.writeable:
        np.copyto(old, new, casting="same_kind")
    elif isinstance(old, list):
        _fill(old, new)
    else:
        container[key] = new.item() if new.ndim == 0 else new.copy()


def checked_names(given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse the names of parameters that a subject does not have."""
    if not isinstance(given, Mapping):
        raise ChainruleError(f"set_parameters was given a {type(given).__name__}; expected a dict of arrays by name.")
    for name in given:
        if name not in known:
            raise UnknownNameError("parameter", name, known)


def _attributes(thing: Any) -> dict[str, Any]:
    own = getattr(thing, "__dict__", {})
    return own if isinstance(own, dict) else {}


def _walk(thing: Any) -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """All that an object holds in attributes, lists, dicts and objects of its own.

    For each array and number its name, the container and key where it is, and the attributes of the object that has it.
    """
    seen = {id(thing)}
    waiting: list[tuple[str, Any, dict[str, Any]]] = [("", _attributes(thing), _attributes(thing))]
    while waiting:
        prefix, container, owner = waiting.pop(0)
        pairs = list(container.items() if isinstance(container, dict) else enumerate(container))
        inner: list[tuple[str, Any, dict[str, Any]]] = []
        for key, value in pairs:
            in_object = isinstance(key, str) and (not prefix or prefix.endswith("."))
            name = f"{prefix}{key}" if in_object else f"{prefix}[{key!r}]"
            if _is_array(value) or isinstance(value, (int, float)):
                yield name, container, key, owner
            elif id(value) not in seen:
                seen.add(id(value))
                if isinstance(value, (list, dict)):
                    inner.append((name, value, owner))
                elif isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, type):
                    inner.append((f"{name}.", vars(value), vars(value)))
        waiting[:0] = inner


def _is_array(value: Any) -> bool:
    """An array of floats, or a list (of lists) of numbers that could be one."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f" and value.size > 0
    while isinstance(value, list) and value:
        if all(isinstance(v, (float, np.floating)) for v in value):
            return True
        if not all(isinstance(v, list) for v in value) or len({len(v) for v in value}) > 1:
            return False
        value = value[0]
    return False


def _is_number(value: Any) -> bool:
    return _is_array(value) or isinstance(value, (float, int, np.floating, np.ndarray))


def _gradient_names(name: str) -> list[str]:
    return [
        form.format(name) for form in ("d{}", "grad_{}", "{}_grad", "d_{}", "grad{}", "g{}", "{}_gradient", "{}grad")
    ]


def _plain(name: str) -> str:
    """The last word of a name: W of `layers[0].W`, W1 of `net['W1']`, weights of `weights[2]`."""
    return str((re.findall(r"[A-Za-z_]\w*", name) or [name])[-1]).strip("_")


def _flat(given: Any) -> Iterator[Any]:
    for each in given if isinstance(given, (list, tuple)) else [given]:
        if isinstance(each, (list, tuple)) and not _is_array(each):
            yield from _flat(each)
        elif _is_number(each):
            yield each


def _fill(old: list[Any], new: Array) -> None:
    for i, value in enumerate(new):
        if isinstance(old[i], list):
            _fill(old[i], value)
        else:
            old[i] = value.item()
