"""Somebody's forward pass watched while it runs: arrays that record what is done with them, know their values, and may
be written into, so that loops over windows and `out[i] = ...` are recorded too.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.check.derivatives.comparison import Array
from chainrule.graph import Graph, Symbol
from chainrule.graph.tracing import Tracer
from chainrule.ops import dims
from chainrule.ops.op import Op, Value


class Watched(Symbol):
    """A Symbol with a value, which may be written into: it then stands for the result."""

    __slots__ = ()
    tracer: "Watcher"

    @property
    def value(self) -> Array:
        """What it is at this point."""
        return self.tracer.values[self.variable]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.array(self.value, dtype)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        self.tracer.numbers[float(self.value)] = self
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    __index__ = __int__

    def item(self) -> float:
        """The number, for an array of one element."""
        return float(self)

    def tolist(self) -> Any:
        """The values as lists."""
        return self.value.tolist()

    def copy(self) -> "Watched":
        """An array of its own."""
        return Watched(self.tracer, self.variable)

    def becomes(self, other: Any) -> "Watched":
        """Stand for another value from now on, as an array that was written into."""
        if not isinstance(other, Watched):
            other = self.tracer.lifted(np.full(self.value.shape, other, self.dtype))
        self.variable = ops.broadcast_to(other, self.shape).variable if other.shape != self.shape else other.variable
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        index = _plain_index(index)
        positions = np.arange(self.value.size).reshape(self.shape)[index]
        gather, mask = np.zeros(self.shape, int), np.zeros(self.shape, bool)
        mask[index] = True
        if not isinstance(value, Value):
            value = np.asarray(value, self.dtype)
        if value.ndim == 0:
            full = value
        else:
            spread = ops.broadcast_to(value, positions.shape).reshape(-1)
            gather[index] = np.arange(positions.size).reshape(positions.shape)
            full = ops.getitem(spread, gather.reshape(-1)).reshape(self.shape)
        self.becomes(ops.where(mask, full, self))

    def __iadd__(self, other: Any) -> Any:
        return self.becomes(self + other)

    def __isub__(self, other: Any) -> Any:
        return self.becomes(self - other)

    def __imul__(self, other: Any) -> Any:
        return self.becomes(self * other)

    def __itruediv__(self, other: Any) -> Any:
        return self.becomes(self / other)

    def __ipow__(self, other: Any) -> Any:
        return self.becomes(self**other)

    def fill(self, value: float) -> None:
        """Write one number everywhere."""
        self.becomes(value)

    def prod(self, axis: int | None = None, keepdims: bool = False) -> Any:
        """The product along an axis."""
        return _prod(self, axis, keepdims)

    def repeat(self, repeats: int, axis: int | None = None) -> Any:
        """Each element several times."""
        return ops.getitem(*_repeated(self, repeats, axis))

    def _numpy(self, original: Any, args: Any, options: Any) -> Any:
        out = options.pop("out", None)
        if original == np.add.at and isinstance(args[0], Watched):
            return _add_at(*args)
        f = MORE.get(original)
        result = f(*args, **options) if f is not None else super()._numpy(original, args, options)
        if out is None:
            return result
        target = out[0] if isinstance(out, tuple) else out
        if not isinstance(target, Watched):
            raise TypeError("written into an array that is not watched")
        return target.becomes(result)


class Watcher(Tracer):
    """Records like a Tracer, and computes at once."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.values: dict[Any, Array] = {}
        self.numbers: dict[float, Watched] = {}

    def lifted(self, array: Array) -> Watched:
        """A constant."""
        return self.constant(array)

    def constant(self, array: Array) -> Watched:
        symbol = super().constant(array)
        self.values[symbol.variable] = array
        return Watched(self, symbol.variable)

    def _operand(self, x: Any, op: type[Op]) -> Any:
        if isinstance(x, np.ndarray):
            return self.constant(x.copy())  # not `capture`: the array may be written into later
        return super()._operand(x, op)

    def record(self, op: type[Op], inputs: Sequence[Any], attributes: dict[str, Any]) -> Watched:
        symbol = super().record(op, inputs, attributes)
        e = self.equations[-1]
        given = [self.values.get(x, x) for x in e.inputs]
        self.values[symbol.variable] = np.asarray(op.forward(*given, **attributes))
        return Watched(self, symbol.variable)


def watched(f: Callable[[dict[str, Any]], tuple[Any, ...]], point: Mapping[str, Array]) -> Graph:
    """The graph of what a function of a dict of arrays did at a point. What it raises is handed on."""
    tracer = Watcher("forward")
    symbols = {}
    for name, x in point.items():
        symbol = tracer.input("x", x.shape, x.dtype)
        symbol.variable.name = name
        tracer.values[symbol.variable] = np.array(x)
        symbols[name] = Watched(tracer, symbol.variable)
    inputs = [s.variable for s in symbols.values()]
    with np.errstate(all="ignore"):
        results = [_found(tracer, y) for y in f(symbols)]
    graph = tracer.finish(results, single=False)
    graph.inputs = tuple(inputs)
    return graph


def _found(tracer: Watcher, y: Any) -> Any:
    """An output; of `float(loss)`, the Symbol whose number was taken."""
    if isinstance(y, float) and y in tracer.numbers:
        return tracer.numbers[y]
    return y


class _Numpy(types.ModuleType):
    """NumPy as the watched code sees it: new arrays are watched too, since they may be written into."""

    def __init__(self, tracer: Callable[[], Watcher | None]) -> None:
        super().__init__("numpy")
        self._tracer = tracer
        for name in ("zeros", "empty", "ones", "full", "zeros_like", "empty_like", "ones_like", "full_like"):
            setattr(self, name, self._making(getattr(np, name)))
        for name in ("array", "asarray", "asanyarray", "ascontiguousarray", "copy"):
            setattr(self, name, self._copying(getattr(np, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def _making(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            args = tuple(x.value if isinstance(x, Watched) else x for x in args)
            array, tracer = make(*args, **options), self._tracer()
            return tracer.lifted(array) if tracer is not None and array.dtype.kind == "f" else array

        return call

    def _copying(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def call(x: Any, *args: Any, **options: Any) -> Any:
            if isinstance(x, Watched):
                return x.copy()
            if isinstance(x, (list, tuple)) and any(isinstance(y, Watched) for y in x):
                return ops.stack([y if isinstance(y, Watched) else np.asarray(y, float) for y in x])
            return make(x, *args, **options)

        return call


class Glasses:
    """Makes copies of somebody's functions that see NumPy as `_Numpy`; the functions themselves stay as they are."""

    def __init__(self) -> None:
        self.tracer: Watcher | None = None
        self.numpy = _Numpy(lambda: self.tracer)
        self.worlds: dict[int, dict[str, Any]] = {}
        self.copies: dict[int, Any] = {}

    def function(self, f: Any) -> Any:
        """A copy of a function or method, with the functions that it calls; other things as they are."""
        if isinstance(f, types.MethodType):
            return types.MethodType(self.function(f.__func__), f.__self__)
        if not isinstance(f, types.FunctionType) or _is_library(f):
            return self.numpy if f is np else f
        if id(f) not in self.copies:
            cells = tuple(types.CellType() for _ in f.__closure__ or ())
            copy = types.FunctionType(f.__code__, self._world(f.__globals__), f.__name__, f.__defaults__, cells)
            copy.__kwdefaults__, copy.__dict__ = f.__kwdefaults__, dict(f.__dict__)
            self.copies[id(f)] = copy
            for new, old in zip(cells, f.__closure__ or (), strict=True):
                new.cell_contents = self.function(old.cell_contents)
        return self.copies[id(f)]

    def kind(self, cls: type) -> type:
        """A class whose methods are such copies."""
        own = {n: self.function(f) for c in reversed(cls.__mro__) for n, f in vars(c).items() if _is_method(f)}
        return type(cls.__name__, (cls,), own)

    def _world(self, names: dict[str, Any]) -> dict[str, Any]:
        if id(names) not in self.worlds:
            world = self.worlds[id(names)] = dict(names)
            for name, thing in names.items():
                if thing is np or isinstance(thing, types.FunctionType):
                    world[name] = self.function(thing)
        return self.worlds[id(names)]


def _is_method(f: Any) -> bool:
    return isinstance(f, types.FunctionType) and not _is_library(f)


def _is_library(f: types.FunctionType) -> bool:
    module = f.__module__ or ""
    own = module.startswith("chainrule.") and not module.startswith("chainrule.lab.")
    return own or module.split(".")[0] in ("numpy", "scipy", "torch", "builtins")


def _plain_index(index: Any) -> Any:
    """An index without watched parts."""
    if isinstance(index, tuple):
        return tuple(map(_plain_index, index))
    return index.value if isinstance(index, Watched) else index


def _add_at(target: Watched, index: Any, value: Any) -> None:
    positions = np.arange(target.value.size).reshape(target.shape)[_plain_index(index)]
    value = value if isinstance(value, Value) else np.asarray(value, target.dtype)
    spread = ops.broadcast_to(value, positions.shape).reshape(-1)
    size = int(dims.size_of(target.shape))
    target.becomes(target + ops.scatter_add(spread, positions.reshape(-1), (size,)).reshape(target.shape))


def _prod(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    if axis is None:
        x, axis = x.reshape(-1), 0
    axis %= x.ndim
    parts = [x[(slice(None),) * axis + (slice(i, i + 1),)] for i in range(x.shape[axis])]
    total = parts[0]
    for part in parts[1:]:
        total = total * part
    return total if keepdims else ops.squeeze(total, axis)


def _repeated(x: Any, repeats: int, axis: int | None = None) -> tuple[Any, Any]:
    if axis is None:
        x, axis = x.reshape(-1), 0
    axis %= x.ndim
    rows = np.repeat(np.arange(x.shape[axis]), repeats)
    return x, (*(slice(None),) * axis, rows)


def _diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None) -> Any:
    if prepend is not None:
        first = np.full((*x.shape[:axis], 1, *x.shape[axis:][1:]), prepend)
        x = ops.concatenate([first, x], axis)
    before = (slice(None),) * (axis % x.ndim)
    return x if n == 0 else _diff(x[(*before, slice(1, None))] - x[(*before, slice(None, -1))], n - 1, axis)


def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    if isinstance(axes, int):
        axes = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    left, right = ([i] if isinstance(i, int) else list(i) for i in axes)
    letters = "abcdefghijklmnopqrstuvwxyz"
    in_a = list(letters[: a.ndim])
    in_b = list(letters[a.ndim : a.ndim + b.ndim])
    for i, j in zip(left, right, strict=True):
        in_b[j % b.ndim] = in_a[i % a.ndim]
    shared = {in_a[i % a.ndim] for i in left}
    result = [c for c in in_a + in_b if c not in shared]
    return ops.einsum(f"{''.join(in_a)},{''.join(in_b)}->{''.join(result)}", a, b)


# Functions of NumPy that can be made of others, for code that is only watched.
MORE: dict[Any, Callable[..., Any]] = {
    np.prod: _prod,
    np.diff: _diff,
    np.tensordot: _tensordot,
    np.repeat: lambda x, repeats, axis=None: ops.getitem(*_repeated(x, repeats, axis)),
    np.hstack: lambda xs: ops.concatenate(list(xs), 0 if xs[0].ndim == 1 else 1),
    np.vstack: lambda xs: ops.concatenate([x.reshape(1, -1) if x.ndim == 1 else x for x in xs], 0),
    np.column_stack: lambda xs: ops.concatenate([x.reshape(-1, 1) if x.ndim == 1 else x for x in xs], 1),
    np.split: lambda x, n, axis=0: [
        x[(*(slice(None),) * axis, slice(int(k[0]), int(k[-1]) + 1))] for k in np.split(np.arange(x.shape[axis]), n)
    ],
    np.copy: lambda x: x.copy(),
    np.average: lambda x, axis=None: ops.mean(x, axis),
    np.flip: lambda x, axis=None: x[tuple(slice(None, None, -1 if axis in (None, i) else 1) for i in range(x.ndim))],
}  # fmt: skip
