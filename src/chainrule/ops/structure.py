"""The same numbers in another arrangement: reshape, transpose, broadcast and its inverse, concatenate, cast."""

from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops import dims
from chainrule.ops.dims import Shape, Size, show
from chainrule.ops.families import Structural, axes, one_axis
from chainrule.ops.op import Array, answers, example

__all__ = [
    "broadcast_to",
    "concatenate",
    "expand",
    "expand_dims",
    "pad",
    "ravel",
    "reshape",
    "squeeze",
    "stack",
    "sum_to",
    "swapaxes",
    "transpose",
]


class Reshape(Structural):
    """The elements in the same order in another shape."""

    code = "np.reshape({x}, {shape})"
    math = "{x}"
    rule = "reshape: the gradient takes the old shape"
    examples = (example((3, 4), shape=(2, 6)), example((4,), shape=(2, 1, 2)), example((1, 1), shape=()))

    def shape(x, shape):
        if not dims.same(dims.size_of(x), dims.size_of(shape)):
            raise ShapeError(
                f"reshape: {show(x)} has {dims.size_of(x)} elements, {show(shape)} has {dims.size_of(shape)}."
            )
        return shape

    def vjp(g, _y, _x, shape):
        return np.reshape(g, _x.shape)

    def reference(x, shape):
        return np.array(x.flatten().tolist()).reshape(shape)


class Transpose(Structural):
    """The axes in another order: axis i of the result is axis `order[i]` of x."""

    code = "np.transpose({x}, {order})"
    math = r"{x}^\top"
    rule = "transpose: the gradient is transposed back"
    examples = (example((3, 4), order=(1, 0)), example((2, 3, 4), order=(2, 0, 1)), example((3,), order=(0,)))

    def shape(x, order):
        return tuple(x[i] for i in order)

    def vjp(g, _y, _x, order):
        return np.transpose(g, tuple(order.index(i) for i in range(len(order))))

    def reference(x, order):
        return np.einsum(x, list(range(x.ndim)), list(order))


class BroadcastTo(Structural):
    """x repeated along new axes and axes of size 1, as NumPy's broadcasting does."""

    code = "np.broadcast_to({x}, {shape})"
    math = "{x}"
    rule = "broadcast: the gradients of all copies are summed"
    broadcasts = True
    examples = (example((4,), shape=(3, 4)), example((3, 1), shape=(2, 3, 4)), example((), shape=(2, 2)))

    def shape(x, shape):
        if len(x) > len(shape) or not dims.same_shape(dims.broadcast(x, shape), shape):
            raise ShapeError(f"broadcast_to: {show(x)} cannot be broadcast to {show(shape)}.")
        return shape

    def vjp(g, _y, _x, shape):
        return g  # to sum over the copies is to undo the broadcasting, which `pullback` does

    def reference(x, shape):
        return x + np.zeros(shape)


class SumTo(Structural):
    """The inverse of `broadcast_to`: sums over the axes that broadcasting to x's shape would add or stretch."""

    math = r"\sum {x}"
    rule = "sum: each term gets the whole gradient"
    examples = (example((3, 4), shape=(4,)), example((2, 3, 4), shape=(3, 1)), example((2, 3), shape=()))

    def shape(x, shape):
        if len(shape) > len(x) or not dims.same_shape(dims.broadcast(shape, x), x):
            raise ShapeError(
                f"sum_to: {show(shape)} does not broadcast to {show(x)}, so {show(x)} cannot be summed to it."
            )
        return shape

    def forward(x, shape):
        new = x.ndim - len(shape)
        stretched = tuple(i + new for i, size in enumerate(shape) if size == 1 and x.shape[i + new] != 1)
        y = np.add.reduce(x, axis=(*range(new), *stretched), keepdims=True)
        y = y.reshape(y.shape[new:])
        if y.shape != shape:
            SumTo.shape(x.shape, shape)  # says what does not fit
        return y

    def vjp(g, _y, _x, shape):
        return np.broadcast_to(g, _x.shape)

    def reference(x, shape):
        padded = (1,) * (x.ndim - len(shape)) + tuple(shape)
        letters = list(range(x.ndim))
        return np.einsum(x, letters, [i for i in letters if padded[i] == x.shape[i] != 1]).reshape(shape)


class Concatenate(Structural):
    """Arrays one after another along an axis; their other sizes agree. Integers among floats become floats."""

    arithmetic = True
    math = r"\operatorname{concat}({x})"
    rule = "concatenate: each part gets its part of the gradient"
    examples = (example((2, 3), (4, 3), axis=0), example((2, 1), (2, 3), (2, 2), axis=1), example((3,), axis=0))

    @classmethod
    def result_dtype(cls, inputs: Any, attributes: Any) -> np.dtype[Any]:
        return np.result_type(*(x.dtype for x in inputs))

    def shape(*xs, axis):
        first = xs[0]
        for x in xs[1:]:
            if len(x) != len(first) or not dims.same_shape(x[:axis] + x[axis + 1 :], first[:axis] + first[axis + 1 :]):
                raise ShapeError(f"concatenate: {show(first)} and {show(x)} may only differ on axis {axis}.")
        return (*first[:axis], sum(x[axis] for x in xs), *first[axis + 1 :])

    def forward(*xs, axis):
        return np.concatenate(xs, axis)

    def vjp(g, _y, *_xs, axis):
        start, parts = 0, []
        for x in _xs:
            stop = start + x.shape[axis]
            parts.append(g[(slice(None),) * axis + (slice(start, stop),)])
            start = stop
        return tuple(parts)

    def reference(*xs, axis):
        return np.array([row.tolist() for x in xs for row in np.moveaxis(x, axis, 0)]).swapaxes(0, axis)


class Pad(Structural):
    """x between copies of a number: `widths[i] = (before, after)` of them on axis i. The gradient is cut out again."""

    code = "np.pad({x}, {widths}, constant_values={value})"
    math = r"\operatorname{pad}({x})"
    rule = "pad: the gradient of the padding is cut off"
    examples = (
        example((3, 4), widths=((0, 0), (0, 1)), value=1),
        example((2, 3), widths=((2, 1), (0, 3)), value=-0.5),
        example((0, 2), widths=((1, 0), (0, 0)), value=0),
        example((), widths=(), value=0),
    )

    def shape(x, widths, value):
        return tuple(before + size + after for size, (before, after) in zip(x, widths, strict=True))

    def forward(x, widths, value):
        y = np.full(Pad.shape(x.shape, widths, value), value, x.dtype)
        y[Pad.inside(x.shape, widths)] = x
        return y

    def vjp(g, _y, _x, widths, value):
        return g[Pad.inside(_x.shape, widths)]

    def reference(x, widths, value):
        return np.pad(x, widths, constant_values=value) if widths else x

    @staticmethod
    def inside(shape, widths):
        """The index of x in the padded array."""
        return tuple(slice(before, before + size) for size, (before, _) in zip(shape, widths, strict=True))


class Cast(Structural):
    """The same numbers with another dtype; the derivative is cast back."""

    code = "{x}.astype(np.{dtype})"
    math = "{x}"
    rule = "cast: the gradient is cast back"
    examples = (example((2, 3), dtype=np.dtype(float)),)

    @classmethod
    def result_dtype(cls, inputs: Any, attributes: Any) -> np.dtype[Any]:
        dtype: np.dtype[Any] = attributes["dtype"]
        return dtype

    def shape(x, dtype):
        return x

    def forward(x, dtype):
        return x.astype(dtype)

    def vjp(g, _y, _x, dtype):
        return g

    def reference(x, dtype):
        return np.array(x.tolist(), dtype)


@answers(np.reshape)
def reshape(x: Array, shape: int | tuple[Size, ...]) -> Array:
    """`x` in another shape; one size may be -1 and is then found from the others."""
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    shape = tuple(int(size) if isinstance(size, np.integer) else size for size in shape)
    unknown = [i for i, size in enumerate(shape) if isinstance(size, int) and size < 0]
    if len(unknown) > 1 or any(shape[i] != -1 for i in unknown):
        raise ShapeError(f"reshape: {show(shape)} is no shape; one size may be -1, no other may be negative.")
    if unknown:
        known = dims.size_of(shape[: unknown[0]] + shape[unknown[0] + 1 :])
        try:
            found = dims.divide(dims.size_of(x.shape), known)
        except ShapeError:
            raise ShapeError(f"reshape: {show(x.shape)} does not fit into {show(shape)}.") from None
        shape = (*shape[: unknown[0]], found, *shape[unknown[0] + 1 :])
    return Reshape.apply(x, shape=shape)


@answers(np.ravel)
def ravel(x: Array) -> Array:
    """`x` with a single axis."""
    return reshape(x, (-1,))


@answers(np.transpose)
def transpose(x: Array, order: tuple[int, ...] | None = None) -> Array:
    """`x` with its axes in another order, reversed by default."""
    order = tuple(reversed(range(x.ndim))) if order is None else tuple(i % x.ndim for i in order)
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(f"transpose: {order} is not an order of the {x.ndim} axes of {show(x.shape)}.")
    return Transpose.apply(x, order=order)


@answers(np.swapaxes)
def swapaxes(x: Array, axis1: int, axis2: int) -> Array:
    """`x` with two axes exchanged."""
    order = list(range(x.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return transpose(x, tuple(order))


@answers(np.broadcast_to)
def broadcast_to(x: Array, shape: Shape) -> Array:
    """`x` repeated to `shape`, as NumPy's broadcasting does."""
    return BroadcastTo.apply(x, shape=tuple(shape) if isinstance(shape, (tuple, list)) else (shape,))


def sum_to(x: Array, shape: Shape) -> Array:
    """`x` summed over the axes that broadcasting an array of `shape` to x's shape would add or stretch."""
    return SumTo.apply(x, shape=tuple(shape))


@answers(np.squeeze)
def squeeze(x: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """`x` without the given axes of size 1 (all of them by default)."""
    ones = [i for i, size in enumerate(x.shape) if dims.same(size, 1)]
    gone = tuple(ones) if axis is None else axes(axis, x.ndim, "squeeze")
    if not set(gone) <= set(ones):
        raise ShapeError(f"squeeze: axis {axis} of {show(x.shape)} is not of size 1.")
    return reshape(x, tuple(size for i, size in enumerate(x.shape) if i not in gone))


@answers(np.expand_dims)
def expand_dims(x: Array, axis: int | tuple[int, ...]) -> Array:
    """`x` with new axes of size 1 at the given places of the result."""
    ndim = x.ndim + (len(axis) if isinstance(axis, tuple) else 1)
    new = axes(axis, ndim, "expand_dims")
    sizes = iter(x.shape)
    return reshape(x, tuple(1 if i in new else next(sizes) for i in range(ndim)))


@answers(np.concatenate)
def concatenate(xs: Any, axis: int | None = 0) -> Array:
    """The arrays `xs` one after another along `axis`; None flattens them first."""
    xs = [x if hasattr(x, "shape") else np.asarray(x) for x in xs]
    if axis is None:
        xs, axis = [ravel(x) for x in xs], 0
    if not xs:
        raise ShapeError("concatenate: there is nothing to concatenate.")
    return Concatenate.apply(*xs, axis=one_axis(axis, xs[0].ndim, "concatenate"))


@answers(np.stack)
def stack(xs: Any, axis: int = 0) -> Array:
    """The arrays `xs`, all of one shape, one after another along a new axis."""
    return concatenate([expand_dims(x, axis) for x in xs], axis)


@answers(np.pad)
def pad(x: Array, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Array:
    """`x` with a number put before and after it along its axes.

    Parameters
    ----------
    x : array
    pad_width : int, (before, after), or one such pair an axis
    mode : {"constant"}
    constant_values : float
    """
    if mode != "constant" or np.ndim(constant_values):
        raise TypeError(f"this argument is not supported: pad with mode={mode!r}, constant_values={constant_values}")
    widths = np.broadcast_to(np.asarray(pad_width, int), (x.ndim, 2)).tolist()
    if min((n for pair in widths for n in pair), default=0) < 0:
        raise ShapeError(f"pad: the widths {pad_width} must not be negative; to cut, write x[a:b].")
    return Pad.apply(x, widths=tuple(map(tuple, widths)), value=constant_values)


def expand(x: Array, n: Size) -> Array:
    """One column (..., 1) to `n` equal columns (..., n); its gradient is the sum over the columns."""
    return broadcast_to(x, (*x.shape[:-1], n))
