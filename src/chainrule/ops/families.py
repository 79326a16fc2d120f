"""The families of ops. What ops have in common stands here: the shape rule, how dtypes meet, and later how a family is
lowered to machine code.
"""

from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops import dims
from chainrule.ops.op import Array, Op

Axes = tuple[int, ...]


class Elementwise(Op, abstract=True):
    """One number out of one number of each input; inputs are broadcast against each other."""

    broadcasts = True
    arithmetic = True

    def shape(*shapes):
        return dims.broadcast(*shapes)


class Comparison(Elementwise, abstract=True):
    """An element-wise question; the answer is bool, which has no derivative."""

    no_gradient = True


class Reduction(Op, abstract=True):
    """Many numbers to one along the given axes (a tuple of non-negative ints); `keepdims` leaves them with size 1."""

    arithmetic = True

    def shape(x, axis, keepdims):
        if keepdims:
            return tuple(1 if i in axis else size for i, size in enumerate(x))
        return tuple(size for i, size in enumerate(x) if i not in axis)


class Rowwise(Op, abstract=True):
    """As many numbers out as in, each of them depending on all others along one axis (a non-negative int)."""

    arithmetic = True

    def shape(x, axis):
        return x


class Product(Op, abstract=True):
    """Sums of products, as of two matrices."""

    broadcasts = True
    arithmetic = True


class Structural(Op, abstract=True):
    """The same numbers in another arrangement; nothing is computed."""

    @classmethod
    def result_dtype(cls, inputs: Any, attributes: Any) -> np.dtype[Any]:
        return inputs[0].dtype if hasattr(inputs[0], "dtype") else np.asarray(inputs[0]).dtype


def axes(axis: Any, ndim: int, op: str) -> Axes:
    """`axis` as NumPy takes it (None, an int, a tuple) as a sorted tuple of non-negative ints."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple) else (axis,)
    for i in given:
        if not -ndim <= i < ndim:
            raise ShapeError(f"{op}: there is no axis {i} in an array of {ndim} axes.")
    found = tuple(sorted(i % ndim for i in given))
    if len(set(found)) < len(found):
        raise ShapeError(f"{op}: an axis is named twice in {axis}.")
    return found


def one_axis(axis: Any, ndim: int, op: str) -> int:
    """`axis` as a non-negative int; None and tuples are refused where they would mean something else."""
    if not isinstance(axis, (int, np.integer)):
        raise ShapeError(f"{op}: expected one axis, an int, found {axis!r}.")
    return axes(int(axis), ndim, op)[0]


def flag(keepdims: Any) -> bool:
    """`keepdims` as a bool. NumPy has `dtype` or `out` in its place: `np.sum(x, 0, np.float32)` is refused."""
    if not isinstance(keepdims, (bool, int, np.bool_)):
        raise TypeError(f"this argument is not supported: keepdims={keepdims!r}")
    return bool(keepdims)


def restore_axes(g: Array, axis: Axes, keepdims: bool) -> Array:
    """A reduced array with its reduced axes put back, of size 1."""
    if keepdims or not axis:
        return g
    sizes = iter(g.shape)
    return g.reshape(tuple(1 if i in axis else next(sizes) for i in range(len(g.shape) + len(axis))))
