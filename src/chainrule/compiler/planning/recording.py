"""What an op's `forward` computes, as steps that write into given arrays.

A `Planned` stands for an array whose values are not known yet. It answers NumPy's protocols, so the plain NumPy of an
op's `forward` can be run on it; each ufunc and reduction then becomes a step with `out=`, each view is a view. No
second description of the ops is needed but for those that write into arrays or look at values (`lowering.py`).
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from chainrule.errors import ShapeError

Array = np.ndarray[Any, Any]
View = Callable[[Any], Any]


class UnplannableError(TypeError):
    """A `forward` does what cannot be done ahead; it is then called as it is."""


class Storage:
    """Memory for one array, from the step that first uses it to the last one; that of an input is `given`."""

    __slots__ = ("first", "given", "last", "nbytes", "offset", "taken_over", "viewed")

    def __init__(self, nbytes: int, given: "Planned | None" = None) -> None:
        self.nbytes, self.given, self.first, self.last, self.offset = nbytes, given, -1, -1, 0
        self.taken_over: Storage | None = None  # the one whose memory this one uses
        self.viewed = False

    @property
    def home(self) -> "Storage":
        """The storage in whose memory this one lies."""
        storage = self
        while storage.taken_over is not None:
            storage = storage.taken_over
        return storage


class Planned(NDArrayOperatorsMixin):
    """An array of the program: known now, given as an input, kept in a storage, or made anew in each call.

    Attributes
    ----------
    layout : ndarray
        The array itself if it is known, else one of the same shape, dtype and strides whose values mean nothing.
    kind : {"known", "input", "stored", "made"}
    storages : frozenset of Storage
        What must be kept for as long as this is used.
    base, view
        For a view of something stored: of what, and how it is made.
    """

    __slots__ = (
        "array", "base", "dtype", "kind", "layout", "name", "ndim", "recorder", "shape", "size", "storages", "view",
    )  # fmt: skip
    __hash__ = object.__hash__

    def __init__(self, recorder: "Recorder", layout: Array, kind: str, storages: frozenset[Storage]) -> None:
        self.recorder, self.layout, self.kind, self.storages, self.name = recorder, layout, kind, storages, ""
        self.shape: tuple[int, ...] = layout.shape
        self.dtype: np.dtype[Any] = layout.dtype
        self.ndim, self.size = layout.ndim, layout.size
        self.base: Planned | None = None
        self.view: View = lambda a: a
        self.array: Any = None  # of what is stored, once it has a place

    @property
    def home(self) -> Storage:
        """Where something stored lies."""
        (storage,) = self.storages
        return storage.home

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise UnplannableError("this needs values")

    __bool__ = __float__ = __int__ = __index__ = __iter__ = __array__

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method == "reduce":
            return self.recorder.reduce(ufunc, *inputs, **options)
        if method != "__call__" or options:
            raise UnplannableError(f"np.{ufunc.__name__} in this form")
        return self.recorder.ufunc(ufunc, *inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        answer = FUNCTIONS.get(function)
        if answer is None:
            raise UnplannableError(f"np.{function.__name__}")
        return answer(self.recorder, *args, **options)

    def __pow__(self, p: Any) -> Any:
        """As an ndarray's: the same quick ways for the same exponents."""
        quick = {2: np.square, 1: np.positive, 0.5: np.sqrt, -1: np.reciprocal}
        if type(p) in (int, float) and p in quick and self.dtype.kind == "f":
            return self.recorder.ufunc(quick[p], self)
        return self.recorder.ufunc(np.power, self, p)

    def __getitem__(self, index: Any) -> "Planned":
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, (Planned, np.ndarray, list)) for part in parts):
            raise UnplannableError("an index of arrays")
        if Ellipsis not in parts:
            parts = (*parts, Ellipsis)  # with it, even a single element is a view
        return self.seen(lambda a: a[parts], f"{{0}}[{', '.join(map(repr, parts))}]")

    def seen(self, view: View, text: str) -> "Planned":
        """A view of this array, where one can be had; else of a copy."""
        layout = view(self.layout)
        if self.kind == "known":
            return self.recorder.known(layout)
        if self.kind != "stored":
            return self.recorder.made(text, [self], layout)
        if layout.size and not np.may_share_memory(layout, self.layout):
            return self.recorder.copy(self).seen(view, text)
        y = Planned(self.recorder, layout, "stored", self.storages)
        y.base, y.view = self, view
        for storage in self.storages:
            storage.viewed = True
        return y

    def reshape(self, *shape: Any) -> "Planned":
        """The elements in another shape."""
        shape = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        if shape == self.shape:
            return self
        return self.seen(lambda a: a.reshape(shape), f"{{0}}.reshape({shape})")

    def astype(self, dtype: Any) -> "Planned":
        """The same numbers with another dtype."""
        return self.recorder.cast(self, np.dtype(dtype))

    def sum(self, axis: Any = None, keepdims: bool = False) -> "Planned":
        """The sum along axes."""
        return self.recorder.reduce(np.add, self, axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> "Planned":
        """The largest element along axes."""
        return self.recorder.reduce(np.maximum, self, axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> "Planned":
        """The smallest element along axes."""
        return self.recorder.reduce(np.minimum, self, axis, keepdims=keepdims)


class Step:
    """One line: `text` with `{0}`, `{1}`, ... for what it reads and `{out}` for what it writes.

    An `elementwise` step needs of each operand only the element that it writes, so it may write over one of them.
    """

    __slots__ = ("elementwise", "is_copy", "out", "reads", "text")

    def __init__(self, text: str, reads: Sequence[Planned], out: Planned | None, elementwise: bool, is_copy: bool):
        self.text, self.reads, self.out, self.elementwise, self.is_copy = text, reads, out, elementwise, is_copy


class Recorder:
    """Collects the steps."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.things: list[Any] = []  # what the lines mention besides arrays: k0, k1, ...
        self._numbers: dict[int, int] = {}  # by identity

    def mention(self, thing: Any) -> str:
        """A name for something that a line mentions."""
        number = self._numbers.setdefault(id(thing), len(self.things))
        if number == len(self.things):
            self.things.append(thing)
        return f"k{number}"

    def step(
        self, text: str, reads: Sequence[Planned], out: Planned | None, elementwise: bool = False, is_copy: bool = False
    ) -> None:
        """Append a line."""
        self.steps.append(Step(text, reads, out, elementwise, is_copy))

    def known(self, array: Any) -> Planned:
        """An array whose values are known now."""
        return Planned(self, np.asarray(array), "known", frozenset())

    def input(self, shape: tuple[int, ...], dtype: Any) -> Planned:
        """An array that is given in each call."""
        x = Planned(self, np.empty(shape, dtype), "input", frozenset())
        x.storages = frozenset([Storage(x.layout.nbytes, x)])
        return x

    def stored(self, shape: tuple[int, ...], dtype: Any) -> Planned:
        """Memory to be written by the steps that follow."""
        layout = np.empty(shape, dtype)
        return Planned(self, layout, "stored", frozenset([Storage(layout.nbytes)]))

    def made(self, text: str, reads: Sequence[Planned], layout: Array) -> Planned:
        """What an expression gives that cannot write into given memory; it may share that of what it reads."""
        y = Planned(self, layout, "made", frozenset().union(*(x.storages for x in reads)))
        self.step(f"{{out}} = {text}", reads, y)
        return y

    def array(self, x: Any) -> Planned:
        """An operand as a Planned."""
        return x if isinstance(x, Planned) else self.known(x)

    def copy(self, x: Planned) -> Planned:
        """The same numbers in memory of their own."""
        y = self.stored(x.shape, x.dtype)
        self.step("{out}[...] = {0}", [x], y, elementwise=True, is_copy=True)
        return y

    def cast(self, x: Planned, dtype: np.dtype[Any]) -> Planned:
        """The same numbers with another dtype."""
        if x.dtype == dtype:
            return x
        if x.kind == "known":
            return self.known(x.layout.astype(dtype))
        y = self.stored(x.shape, dtype)
        self.step("{out}[...] = {0}", [x], y)
        return y

    def ufunc(self, ufunc: Any, *inputs: Any) -> Planned:
        """A ufunc, element by element, with the dtypes that NumPy would take; numbers are weak."""
        if ufunc is np.matmul:
            return self.matmul(*map(self.array, inputs))
        operands = [x if type(x) in (bool, int, float) else self.array(x) for x in inputs]
        arrays = [x for x in operands if isinstance(x, Planned)]
        if all(x.kind == "known" for x in arrays):
            return self.known(ufunc(*(x.layout if isinstance(x, Planned) else x for x in operands)))
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
        types = [
            x.dtype if isinstance(x, Planned) else np.dtype(bool) if type(x) is bool else type(x) for x in operands
        ]
        wanted, dtype = _dtypes(ufunc, tuple(types))
        if ufunc in (np.multiply, np.true_divide, np.positive):
            unchanged = _unchanged(ufunc, operands)
            if unchanged is not None and unchanged.shape == shape and unchanged.dtype == dtype:
                return unchanged
        reads = [self._operand(x, want) for x, want in zip(operands, wanted, strict=True)]
        y = self.stored(shape, dtype)
        places = ", ".join(f"{{{i}}}" for i in range(len(reads)))
        self.step(f"np.{ufunc.__name__}({places}, out={{out}})", reads, y, elementwise=True)
        return y

    def _operand(self, x: Any, dtype: np.dtype[Any]) -> Planned:
        if isinstance(x, Planned):
            return self.cast(x, dtype)
        try:
            return self.known(np.asarray(x, dtype))
        except OverflowError:  # comparisons of small integers with larger numbers know what to do
            raise UnplannableError(f"{x} is no {dtype}") from None

    def reduce(self, ufunc: Any, x: Any, axis: Any = 0, keepdims: bool = False, **others: Any) -> Planned:
        """A ufunc's reduction along axes."""
        if others:
            raise UnplannableError(f"np.{ufunc.__name__}.reduce in this form")
        axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = tuple(i % x.ndim for i in axes)
        one = np.ones((1,) * x.ndim, x.dtype)
        dtype = np.asarray(ufunc.reduce(one, axis=axes)).dtype
        sizes = [(1 if i in axes else n) for i, n in enumerate(x.shape) if keepdims or i not in axes]
        y = self.stored(tuple(sizes), dtype)
        along = str(axes[0]) if len(axes) == 1 else "None" if len(axes) == x.ndim and axes else str(axes)
        keep = ", keepdims=True" if keepdims else ""
        self.step(f"np.{ufunc.__name__}.reduce({{0}}, axis={along}{keep}, out={{out}})", [x], y)
        return y

    def matmul(self, a: Planned, b: Planned) -> Planned:
        """A product of matrices; one of a column and a row needs no sum."""
        if a.shape[-1] == 1 == b.shape[-2]:
            return self.ufunc(np.multiply, a, b)
        dtype = np.result_type(a.dtype, b.dtype)
        a, b = self.cast(a, dtype), self.cast(b, dtype)
        y = self.stored((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), dtype)
        # np.dot calls the same BLAS for two matrices, and is quicker to do so.
        quick = a.ndim == b.ndim == 2 and dtype.kind == "f"
        self.step(f"np.{'dot' if quick else 'matmul'}({{0}}, {{1}}, out={{out}})", [a, b], y)
        return y


@functools.lru_cache(1000)
def _dtypes(ufunc: Any, types: tuple[Any, ...]) -> tuple[tuple[np.dtype[Any], ...], np.dtype[Any]]:
    """The dtypes in which NumPy computes, and that of the result; `int` and `float` stand for weak numbers."""
    *inputs, result = ufunc.resolve_dtypes((*types, None))
    return tuple(inputs), result


def _unchanged(ufunc: Any, operands: Sequence[Any]) -> Planned | None:
    """The operand that a product with ones, or a division by them, is equal to."""
    a, b = operands if len(operands) == 2 else (operands[0], 1)
    if isinstance(a, Planned) and _is_one(b):
        return a
    return b if isinstance(b, Planned) and ufunc is np.multiply and _is_one(a) else None


def _is_one(x: Any) -> bool:
    if isinstance(x, Planned):
        return x.kind == "known" and x.size > 0 and x.layout.flat[0] == 1 and bool((x.layout == 1).all())
    return bool(x == 1)


def _where(recorder: Recorder, condition: Any, a: Any, b: Any) -> Planned:
    condition = recorder.array(condition)
    if condition.dtype.kind != "b":
        condition = recorder.ufunc(np.not_equal, condition, 0)
    parts = [x if type(x) in (bool, int, float) else recorder.array(x) for x in (a, b)]
    dtype = np.result_type(*(x.dtype if isinstance(x, Planned) else x for x in parts))
    a, b = (x if isinstance(x, Planned) else recorder.known(np.asarray(x, dtype)) for x in parts)
    y = recorder.stored(np.broadcast_shapes(condition.shape, a.shape, b.shape), dtype)
    recorder.step("{out}[...] = {0}", [b], y, elementwise=True, is_copy=True)
    recorder.step("np.copyto({out}, {0}, where={1})", [a, condition], y)
    return y


def _concatenate(recorder: Recorder, xs: Any, axis: int = 0) -> Planned:
    parts = [recorder.array(x) for x in xs]
    shape = list(parts[0].shape)
    shape[axis] = sum(x.shape[axis] for x in parts)
    y = recorder.stored(tuple(shape), np.result_type(*(x.dtype for x in parts)))
    places = "".join(f"{{{i}}}, " for i in range(len(parts)))
    recorder.step(f"np.concatenate(({places}), {axis}, out={{out}})", parts, y)
    return y


def _cumsum(recorder: Recorder, x: Planned, axis: int) -> Planned:
    y = recorder.stored(x.shape, np.cumsum(np.ones(1, x.dtype)).dtype)
    recorder.step(f"np.cumsum({{0}}, {axis}, out={{out}})", [x], y)
    return y


def _argmax(recorder: Recorder, x: Planned, axis: int, keepdims: bool) -> Planned:
    shape = tuple(1 if i == axis else n for i, n in enumerate(x.shape) if keepdims or i != axis)
    y = recorder.stored(shape, np.intp)
    recorder.step(f"np.argmax({{0}}, axis={axis}, keepdims={keepdims}, out={{out}})", [x], y)
    return y


def _reshape(_: Recorder, x: Planned, shape: Any) -> Planned:
    if math.prod(shape) != x.size:
        raise ShapeError(f"reshape: {x.shape} does not fit into {shape}.")
    return x.reshape(shape)


def _transpose(_: Recorder, x: Planned, order: Any) -> Planned:
    return x.seen(lambda a: a.transpose(order), f"{{0}}.transpose({order})")


def _broadcast_to(_: Recorder, x: Planned, shape: Any) -> Planned:
    return x.seen(lambda a: np.broadcast_to(a, shape), f"np.broadcast_to({{0}}, {shape})") if x.shape != shape else x


def _squeeze(_: Recorder, x: Planned, axis: Any) -> Planned:
    return x.seen(lambda a: a.squeeze(axis), f"{{0}}.squeeze({axis})")


FUNCTIONS: dict[Any, Callable[..., Planned]] = {
    np.where: _where,
    np.concatenate: _concatenate,
    np.cumsum: _cumsum,
    np.argmax: _argmax,
    np.reshape: _reshape,
    np.transpose: _transpose,
    np.broadcast_to: _broadcast_to,
    np.squeeze: _squeeze,
}
