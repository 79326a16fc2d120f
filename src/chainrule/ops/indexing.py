"""Taking elements out by index, adding them back (the derivative of taking), and one-hot vectors."""

from typing import Any

import numpy as np

from chainrule.errors import DataError, ShapeError, TraceError, user_line
from chainrule.ops import dims
from chainrule.ops.dims import Dim, Shape, Size, show
from chainrule.ops.families import Structural
from chainrule.ops.op import Array, Op, Value, answers, example

__all__ = ["getitem", "onehot", "scatter_add", "take_along_axis"]

# In an `index` attribute, Ellipsis-free and of full length, this stands for the next of the integer arrays.
ARRAY = "array"


def _fill(index: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    rest = iter(arrays)
    return tuple(next(rest) if part is ARRAY else part for part in index)


class Getitem(Structural):
    """The elements x[index]: ints, slices and arrays of ints, with NumPy's meaning; `ARRAY` stands for each array."""

    math = "{x}_{index}"
    rule = "indexing: the gradient goes back to the elements taken, 0 elsewhere"
    examples = (
        example((3, 4), index=(1, slice(None))),
        example((5, 4), index=(slice(1, 4), slice(None, None, 2))),
        example((5, 4), index=(slice(None, None, -1), -1)),
        example((5, 4), np.array([0, 2, 2]), index=(ARRAY, slice(None))),
        example((3, 4), np.array([0, 1, 2]), np.array([3, 3, 0]), index=(ARRAY, ARRAY)),
    )

    def forward(x, *arrays, index):
        return x[_fill(index, arrays)]

    def shape(x, *arrays, index):
        return _indexed_shape(x, list(arrays), index)

    def vjp(g, _y, _x, *arrays, index):
        return ScatterAdd.apply(g, *arrays, index=index, shape=_x.shape), *(None for _ in arrays)

    def reference(x, *arrays, index):
        positions = np.arange(x.size).reshape(x.shape)[_fill(index, arrays)]
        flat = [float(v) for v in x.flat]
        return np.array([flat[i] for i in positions.flat]).reshape(positions.shape)


class ScatterAdd(Structural):
    """Zeros of the given shape with x added at [index], twice where an element is named twice. Undoes getitem."""

    math = r"\sum_{{index}} {x}"
    rule = "scatter: each element gets the gradient of its place"
    examples = (
        example((4,), index=(1, slice(None)), shape=(3, 4)),
        example((3, 4), np.array([0, 2, 2]), index=(ARRAY, slice(None)), shape=(5, 4)),
    )

    def forward(x, *arrays, index, shape):
        result = np.zeros(shape, x.dtype)
        if arrays:
            np.add.at(result, _fill(index, arrays), x)
        else:
            result[index] = x  # slices name no element twice
        return result

    def shape(x, *arrays, index, shape):
        return shape

    def vjp(g, _y, _x, *arrays, index, shape):
        return Getitem.apply(g, *arrays, index=index), *(None for _ in arrays)

    def reference(x, *arrays, index, shape):
        positions = np.arange(np.prod(shape)).reshape(shape)[_fill(index, arrays)]
        flat = [0.0] * int(np.prod(shape))
        for i, v in zip(positions.flat, x.flat, strict=True):
            flat[i] += float(v)
        return np.array(flat).reshape(shape)


class Onehot(Op):
    """Rows of zeros with a one at each label: integer labels (...) to (..., classes), as np.eye(classes)[labels].

    It has no derivative.
    """

    no_gradient = True
    math = r"\operatorname{onehot}({labels})"
    examples = (
        example(np.array([2, 0, 1]), classes=4, dtype=np.dtype(float)),
        example(np.array(1), classes=2, dtype=np.dtype(float)),
    )

    @classmethod
    def result_dtype(cls, inputs: Any, attributes: Any) -> np.dtype[Any]:
        dtype: np.dtype[Any] = attributes["dtype"]
        return dtype

    def forward(labels, *, classes, dtype):
        rows = np.zeros((labels.size, classes), dtype)
        try:
            rows[np.arange(labels.size), labels.reshape(-1)] = 1
        except IndexError:
            raise DataError(
                f"onehot of {classes} classes was given labels from {labels.min()} to {labels.max()}; expected 0 to "
                f"{classes - 1} (or negative ones, counted from the end)."
            ) from None
        return rows.reshape(*labels.shape, classes)

    def shape(labels, classes, dtype):
        return (*labels, classes)

    def reference(labels, classes, dtype):
        return np.array([[float(i == k) for i in range(classes)] for k in labels.flat]).reshape(*labels.shape, classes)


def _indexed_shape(x: Shape, arrays: list[Shape], index: tuple[Any, ...]) -> Shape:
    """The shape of x[index], by NumPy's rules; sizes may be symbolic."""
    result: list[Size] = []
    place: int | None = None  # where the axes of the index arrays go: in place if these are neighbours, else in front
    scattered = False
    for axis, part in enumerate(index):
        if part is ARRAY or isinstance(part, int):
            if part is not ARRAY:
                _check_int(int(part), x[axis], x)
            if part is ARRAY or arrays:  # beside arrays, NumPy treats an int as one of them
                scattered |= place is not None and not (index[axis - 1] is ARRAY or isinstance(index[axis - 1], int))
                place = len(result) if place is None else place
        else:
            result.append(_sliced(part, x[axis]))
    if arrays:
        at = 0 if scattered else place or 0
        result[at:at] = dims.broadcast(*arrays)
    return tuple(result)


def _check_int(i: int, size: Size, shape: Shape) -> None:
    if isinstance(size, int) and not -size <= i < size:
        raise ShapeError(f"index {i} is outside an axis of size {size} of an array of shape {show(shape)}.")


def _sliced(part: slice, size: Size) -> Size:
    """The number of elements that a slice takes of an axis."""
    parts = (part.start, part.stop, part.step)
    if isinstance(size, int) and not any(isinstance(p, Dim) for p in parts):
        return len(range(*part.indices(size)))
    start = 0 if part.start is None else part.start
    stop = size if part.stop is None else part.stop
    if part.step in (None, 1):
        start = start if isinstance(start, Dim) or start >= 0 else size + start
        stop = stop if isinstance(stop, Dim) or stop >= 0 else size + stop
        if isinstance(stop, Dim) or stop == 0 or not isinstance(size, Dim):
            return stop - start
    elif part.step == -1 and part.start is None and part.stop is None:
        return size
    raise TraceError(
        f"{user_line()}: how many elements the slice [{part.start}:{part.stop}:{part.step}] takes of a symbolic axis "
        f"of size {size} depends on the batch size; slice an axis of fixed size, or the whole axis."
    )


def getitem(x: Array, index: Any) -> Array:
    """`x[index]` with ints, slices, None, Ellipsis, and arrays of ints or bools, with NumPy's meaning."""
    given = list(index) if isinstance(index, tuple) else [index]
    found = [_integers(part) for part in given]
    parts = [part for each in found for part in each]
    count = sum(part is not None and part is not Ellipsis for part in parts)
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1 or count > x.ndim:
        raise ShapeError(f"an index of {count} parts does not fit an array of shape {show(x.shape)}.")
    _check_masks(x.shape, given, found, x.ndim - count)
    at = dots[0] if dots else len(parts)
    parts[at : at + 1] = [slice(None)] * (x.ndim - count)
    if any(part is None for part in parts):  # new axes first, so that every part of the index names an axis
        sizes = iter(x.shape)
        x = x.reshape(tuple(1 if part is None else next(sizes) for part in parts))
        parts = [slice(None) if part is None else part for part in parts]
    arrays = tuple(part for part in parts if not isinstance(part, (int, slice)))
    static = tuple(part if isinstance(part, (int, slice)) else ARRAY for part in parts)
    return Getitem.apply(x, *arrays, index=static)


def _integers(part: Any) -> list[Any]:
    """A part of an index as int, slice, None, Ellipsis or arrays of ints (a mask becomes one array an axis)."""
    if part is None or part is Ellipsis or isinstance(part, (slice, Dim)):
        return [part]
    if isinstance(part, (bool, np.bool_)):
        raise ShapeError("indexing with True or False is not supported; write x[None] for a new axis.")
    if isinstance(part, (int, np.integer)):
        return [int(part)]
    mask = _mask(part)
    if mask is not None:
        return list(np.nonzero(mask))
    array = part if isinstance(part, Value) else np.asarray(part, int if _is_empty(part) else None)
    if array.dtype.kind not in "iu":
        raise ShapeError(f"an index must be of ints or bools, not {array.dtype}.")
    return [array]


def _is_empty(part: Any) -> bool:
    return isinstance(part, list) and not part


def _mask(part: Any) -> Any:
    """The array behind a part of an index that is of bools; None for every other part."""
    if part is None or part is Ellipsis or isinstance(part, (int, slice, Dim)):
        return None
    array: Any = part if isinstance(part, Value) else np.asarray(part)
    if array.dtype.kind != "b":
        return None
    while isinstance(array, Value):  # a mask computed within a derivative is the value of a value
        array = getattr(array, "value", None)
    if array is None:
        raise TraceError(
            f"{user_line()}: the size of x[mask] depends on values, so it cannot be recorded; write "
            "np.where(mask, x, 0)."
        )
    return array


def _check_masks(x: Shape, given: list[Any], found: list[list[Any]], unnamed: int) -> None:
    """A mask has the sizes of the axes that it is for: NumPy's nonzero, which replaces it, would not notice."""
    axis = 0
    for part, each in zip(given, found, strict=True):
        mask = _mask(part)
        if mask is not None and not dims.same_shape(mask.shape, x[axis : axis + mask.ndim]):
            raise ShapeError(
                f"a mask of shape {show(mask.shape)} does not fit the axes {show(x[axis : axis + mask.ndim])} of an "
                f"array of shape {show(x)}."
            )
        axis += unnamed if part is Ellipsis else sum(p is not None for p in each)


def scatter_add(x: Array, index: Any, shape: Shape) -> Array:
    """Zeros of `shape` with `x` added at [index], where `index` is an array of ints for the first axis, or several."""
    arrays = tuple(index) if isinstance(index, tuple) else (index,)
    rest = (slice(None),) * (len(shape) - len(arrays))
    return ScatterAdd.apply(x, *arrays, index=(ARRAY,) * len(arrays) + rest, shape=tuple(shape))


def onehot(labels: Array, classes: int, dtype: Any = "float64") -> Array:
    """Integer labels (...) as rows (..., classes) of zeros with a one at each label."""
    labels = labels if isinstance(labels, Value) else np.asarray(labels)
    return Onehot.apply(labels, classes=int(classes), dtype=np.dtype(dtype))


@answers(np.take_along_axis)
def take_along_axis(x: Array, indices: Array, axis: int) -> Array:
    """One element for each index along `axis`; `indices` has the axes of `x`. Written as a sum over one-hot vectors."""
    axis %= x.ndim
    moved = x if axis == x.ndim - 1 else x.swapaxes(axis, -1)
    chosen = indices if axis == x.ndim - 1 else indices.swapaxes(axis, -1)
    rows = moved.reshape((*moved.shape[:-1], 1, moved.shape[-1]))
    picked = np.where(onehot(chosen, moved.shape[-1], bool), rows, 0).sum(-1)  # a product would be NaN beside infinity
    return picked if axis == x.ndim - 1 else picked.swapaxes(axis, -1)
