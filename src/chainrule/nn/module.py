"""`Module`: a part of a network. Its parameters are the `Parameter`s among its attributes, and those of the Modules
among them; nothing needs to be registered, and a layer kept in a list or dict is found too.
"""

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from itertools import pairwise
from os import PathLike
from typing import Any

import numpy as np

from chainrule.engine import Tensor, no_grad
from chainrule.errors import ChainruleError, DivergenceError, DtypeError, ShapeError, UnknownNameError
from chainrule.graph.tracing import LAYERS, NamedFunction
from chainrule.nn import init, prediction
from chainrule.nn.arguments import whole
from chainrule.ops.dims import show
from chainrule.ops.op import Value

FloatArray = np.ndarray[Any, np.dtype[np.floating[Any]]]


class Parameter(Tensor):
    """A Tensor that a Module learns."""

    __slots__ = ()

    def __init__(self, value: Any, dtype: Any = None) -> None:
        super().__init__(np.asarray(value, dtype), requires_grad=True)


class Module:
    """The base of all layers and models. A subclass sets Parameters and Modules as attributes and gives `forward`."""

    training = True
    is_random = False  # whether it draws random numbers in training mode
    forward: Callable[..., Any]

    def __call__(self, *inputs: Any) -> Any:
        try:
            return self.forward(*inputs)
        except (ShapeError, DtypeError, DivergenceError) as error:
            _locate(error, self)
            raise

    def children(self) -> Iterator[tuple[str, "Module"]]:
        """The Modules among the attributes, with their names."""
        for name, _, _, item in _items(self):
            if isinstance(item, Module):
                yield name, item

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This Module and all below it, with their dotted names."""
        yield prefix, self
        for name, child in self.children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their dotted names, in the order of the attributes; a shared one comes once."""
        seen: set[int] = set()
        for name, place, key in self._places():
            parameter = place[key]
            if isinstance(parameter, Parameter) and id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> Iterator[Parameter]:
        """All parameters."""
        return (parameter for _, parameter in self.named_parameters())

    def tensors(self) -> list[Tensor]:
        """Everything that `state_dict` keeps: the parameters, and what else is a Tensor among the attributes."""
        return [place[key] for _, place, key in self._places()]

    def _places(self) -> Iterator[tuple[str, Any, Any]]:
        """Where the Tensors are kept: dotted name, container, key."""
        for prefix, module in self.named_modules():
            for name, place, key, item in _items(module):
                if isinstance(item, Tensor):
                    yield f"{prefix}.{name}" if prefix else name, place, key

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """Copies of all arrays by name."""
        return {name: place[key].numpy() for name, place, key in self._places()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Assign all arrays by name; nothing is changed unless names and shapes agree."""
        if not isinstance(state, Mapping):
            raise ChainruleError(
                f"load_state_dict: expected arrays by name, as state_dict() gives them, found {type(state).__name__}."
            )
        own = {name: place[key] for name, place, key in self._places()}
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        for name in state:
            if name not in own:
                raise UnknownNameError("parameter", name, own)
        for name, parameter in own.items():
            if name not in state:
                raise ChainruleError(f"load_state_dict: the parameter '{name}' is missing.")
            try:
                arrays[name] = np.asarray(state[name], parameter.dtype)
            except (TypeError, ValueError):
                raise DtypeError(f"load_state_dict: what was given for '{name}' is no array of numbers.") from None
            if arrays[name].shape != parameter.shape:
                found, wanted = show(arrays[name].shape), show(parameter.shape)
                raise ShapeError(f"load_state_dict: '{name}' has the shape {wanted}, the given array {found}.")
        for name, parameter in own.items():
            parameter.assign(arrays[name])

    def train(self, mode: bool = True) -> "Module":
        """Set whether this Module is being trained (which dropout and batch normalisation ask)."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> "Module":
        """The same as `train(False)`."""
        return self.train(False)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters; float32 for a Module without any."""
        return next((p.dtype for p in self.parameters()), np.dtype(np.float32))

    def predict(self, x: Any, batch_size: int = 4096, backend: str | None = None) -> np.ndarray[Any, Any]:
        """The outputs for `x`, without recording and in evaluation mode.

        Parameters
        ----------
        x : array of floats (n, ...), or a Dataset
            Floats are cast to the model's dtype. Pixels (uint8) are refused, since only the Dataset knows how they
            were scaled in training.
        batch_size : int
            How many samples are computed at a time. (Machine code takes all of them if none depends on another.)
        backend : {"auto", "numba", "numpy", "eager"}, optional
            As machine code, by a plan of NumPy calls, or op by op. "auto" decides by the estimated work of this call
            alone; None asks the environment's CHAINRULE_BACKEND, and is "auto" without it. What cannot be compiled is
            computed in the next simpler way, with a notice if it was asked for.

        Returns
        -------
        ndarray (n, ...)
        """
        if backend == "numba" and (quick := prediction.quick.get(id(self))) is not None:
            y = quick(x, batch_size)
            if y is not None:
                return y
        whole("predict: batch_size", batch_size)
        features = x.features if hasattr(x, "features") else None
        if features is None:
            x = np.asarray(x)
            if x.ndim == 0:
                raise ShapeError("predict was given a single number; expected an array (n, ...) of n samples.")
            if x.dtype.kind not in "f":
                raise DtypeError(
                    f"predict was given {x.dtype}: scale the inputs to floats as in training, for example with "
                    "dataset.features(), or pass the Dataset itself."
                )
        found = prediction.compiled(self, x, batch_size, backend)
        if found is not None:
            return found
        with no_grad(), evaluating(self):
            parts = []
            for start in range(0, max(len(x), 1), batch_size):
                rows = slice(start, start + batch_size)
                part = features(rows, self.dtype) if features else x[rows].astype(self.dtype, copy=False)
                y = self(part)
                parts.append(y.numpy() if isinstance(y, Tensor) else np.asarray(y))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def as_function(self, statistics: bool = False, changes: bool = False) -> tuple[NamedFunction, dict[str, Any]]:
        """The Module as a pure function `f(parameters, *inputs)` and its parameters, named W1, b1, W2, ...

        For the function transforms: `grad`, `trace` and their kin. While a layer that draws random numbers (Dropout) is
        in training mode, the function is `f(parameters, key, *inputs)`, and the int `key` determines them all. With
        `statistics`, what else is a Tensor, such as BatchNorm's running mean, is among the parameters too. With
        `changes`, what the function returns is a pair: the outputs, and by name what `forward` has put in the place of
        some of them, as BatchNorm does in training mode.
        """
        places: dict[str, list[tuple[Any, Any]]] = {}
        parameters: dict[str, Any] = {}
        names: dict[int, str] = {}
        numbers: dict[str, int] = {}
        for path, place, key in self._places():
            parameter = place[key]
            if not isinstance(parameter, Parameter) and not statistics:
                continue
            if isinstance(place, tuple):
                raise ChainruleError(
                    f"{type(self).__name__}: '{path}' is kept in a tuple, where nothing can take its place while the "
                    "model is recorded; use a list."
                )
            owner, _, last = path.rpartition(".")
            number = numbers.setdefault(owner, len(numbers) + 1)
            name = names.setdefault(id(parameter), f"{ {'weight': 'W', 'bias': 'b'}.get(last, last) }{number}")
            parameters[name] = parameter
            places.setdefault(name, []).append((place, key))

        random = any(m.training and m.is_random for _, m in self.named_modules())

        def f(parameters: Mapping[str, Any], *inputs: Any) -> Any:
            kept = [(place, key, place[key]) for spots in places.values() for place, key in spots]
            try:
                for name, spots in places.items():
                    for place, key in spots:
                        place[key] = parameters[name]
                if random:
                    _check_key(inputs[0])
                    with RandomKey(inputs[0]):
                        y = self(*inputs[1:])
                else:
                    y = self(*inputs)
                now = {name: place[key] for name, ((place, key), *_) in places.items()}
                changed = {name: value for name, value in now.items() if value is not parameters[name]}
                return (y, changed) if changes else y
            finally:
                for place, key, parameter in kept:
                    place[key] = parameter

        code, key = self.forward.__code__, ["key"] if random else []
        arguments = ["parameters", *key, *code.co_varnames[1 : code.co_argcount]]
        keys_to_record = tuple(np.zeros((), np.int64) for _ in key)
        return NamedFunction(f, type(self).__name__.lower(), arguments, keys_to_record), parameters

    def save(self, path: str | PathLike[str]) -> None:
        """Write parameters and architecture to a safetensors file; see `chainrule.nn.load`."""
        from chainrule.nn.files import save

        save(self, path)

    def config(self) -> dict[str, Any]:
        """The arguments with which this layer is made again, as JSON data: attributes of the same names."""
        if not _is_ours(type(self)):
            raise ChainruleError(
                f"the architecture of a {type(self).__name__} cannot be saved: only chainrule's own layers can be made "
                "again from a file. Save its arrays with safetensors.numpy.save_file(model.state_dict(), path) instead."
            )
        return {option.name: getattr(self, option.name) for option in _options(type(self))}

    def arguments(self) -> str:
        """What stands between the parentheses when the layer is printed."""
        return ", ".join(
            f"{'' if option.default is option.empty else f'{option.name}='}{getattr(self, option.name)}"
            for option in _options(type(self))
        )

    def __repr__(self) -> str:
        total = sum(p.size for p in self.parameters())
        lines = _describe(self, "", 0)
        if len(lines) == 1:
            return lines[0][0]
        width = max(len(text) for text, count in lines)
        text = "\n".join(f"{text:<{width}}  {count:>9,}" if count else text for text, count in lines)
        return f"{text}\n{total:,} parameters, {self.dtype}"

    def _repr_html_(self) -> str:
        """The layers as a table, for notebooks."""
        lines = _describe(self, "", 0)
        cell = '<tr><td style="text-align: left; white-space: pre">{}</td><td>{}</td></tr>'
        rows = "".join(cell.format(escape(text), f"{count:,}" if count else "") for text, count in lines)
        total = sum(p.size for p in self.parameters())
        return (
            f'<table><thead><tr><th style="text-align: left">layer</th><th>parameters</th></tr></thead><tbody>{rows}'
            f'<tr><th style="text-align: left">in all ({self.dtype})</th><th>{total:,}</th></tr></tbody></table>'
        )


class RandomKey:
    """A key from which random numbers are drawn, and how often that has been done.

    `with RandomKey(value):` makes all layers of this thread that draw random numbers draw from one key for a while;
    without a value it is drawn from the library's generator when it is first used.
    """

    def __init__(self, value: Any = None) -> None:
        self.value, self.uses, self.is_input = value, 0, value is not None
        self.before: RandomKey | None = None

    @staticmethod
    def current() -> "RandomKey":
        """The innermost one; outside of all, a new one."""
        return _randomness.key or RandomKey()

    def use(self) -> tuple[Any, int]:
        """The key and the number of this use of it."""
        if self.value is None:
            self.value = np.array(init.generator().integers(2**63))
        self.uses += 1
        return self.value, self.uses - 1

    def __enter__(self) -> "RandomKey":
        self.before, _randomness.key = _randomness.key, self
        return self

    def __exit__(self, *_: object) -> None:
        _randomness.key = self.before


class _Randomness(threading.local):
    key: RandomKey | None = None


_randomness = _Randomness()


def _check_key(key: Any) -> None:
    key = key if isinstance(key, Value) else np.asarray(key)
    if key.shape != () or key.dtype.kind not in "iu":
        raise ShapeError(
            "a model with Dropout in training mode takes a random key before its inputs: expected an int, found "
            f"{key.dtype} of shape {show(key.shape)}. Call f(parameters, key, x), or model.eval() first."
        )


def _is_ours(layer: type[Module]) -> bool:
    return layer.__module__.startswith("chainrule.nn.")


def _options(layer: type[Module]) -> list[inspect.Parameter]:
    """What describes a layer of chainrule's: its arguments but those that can only be given by keyword."""
    found = inspect.signature(layer).parameters.values() if _is_ours(layer) else ()
    return [option for option in found if option.kind is option.POSITIONAL_OR_KEYWORD]


def innermost(x: Any) -> Any:
    """What a Tensor of any level stands for in the end: an array, or a Symbol, whose numbers are not known yet."""
    while isinstance(x, Tensor):
        x = x._value
    return x


def values_of(x: Any) -> np.ndarray[Any, Any] | None:
    """The numbers behind an array or a Tensor of any level; None for a Symbol."""
    x = innermost(x)
    return None if isinstance(x, Value) else np.asarray(x)


@contextmanager
def evaluating(module: Module) -> Iterator[None]:
    """Evaluation mode for a while; the modes of all parts are restored afterwards."""
    before = [(m, m.training) for _, m in module.named_modules()]
    module.eval()
    try:
        yield
    finally:
        for m, mode in before:
            m.training = mode


def _items(module: Module) -> Iterator[tuple[str, Any, Any, Any]]:
    """The attributes of a Module, with lists, tuples and dicts opened: name, container, key, item."""
    waiting: list[tuple[str, Any, Any, Any]] = [(name, vars(module), name, item) for name, item in vars(module).items()]
    while waiting:
        name, place, key, item = waiting.pop(0)
        if isinstance(item, (list, tuple)):
            waiting[:0] = [(f"{name}.{i}", item, i, part) for i, part in enumerate(item)]
        elif isinstance(item, dict):
            waiting[:0] = [(f"{name}.{k}", item, k, part) for k, part in item.items()]
        elif isinstance(item, (Value, Module)):
            yield name, place, key, item


def _describe(module: Module, name: str, depth: int) -> list[tuple[str, int]]:
    own = sum(int(item.size) for _, _, _, item in _items(module) if isinstance(item, Parameter))
    label = f"{'  ' * depth}{name}{': ' if name else ''}{type(module).__name__}({module.arguments()})"
    return [(label, own), *(line for key, child in module.children() for line in _describe(child, key, depth + 1))]


def _locate(error: Any, module: Module) -> None:
    """Put into an error's message in which layer it happened; each enclosing Module adds its part of the name."""
    if not hasattr(error, "calls"):
        error.calls, error.detail = [], str(error)
    error.calls.insert(0, module)
    error.args = (f"{_title(error.calls)}: {error.detail}",)


def _title(calls: list[Module]) -> str:
    """The innermost of Modules that call each other, by the names that lead to it."""
    names = [
        next((name for name, child in outer.children() if child is inner), type(inner).__name__)
        for outer, inner in pairwise(calls)
    ]
    title = f"{type(calls[-1]).__name__}({calls[-1].arguments()})"
    return f"layer {'.'.join(names)} = {title}" if names else title


LAYERS[Module.__call__.__code__] = _title
