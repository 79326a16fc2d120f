"""Sums, means, maxima and their kin: many numbers to one along axes; running sums; which index holds the largest."""

import math as scalar

import numpy as np

from chainrule.ops import dims
from chainrule.ops.families import Reduction, Rowwise, axes, flag, one_axis, restore_axes
from chainrule.ops.op import Array, answers, example

__all__ = ["argmax", "cumsum", "logsumexp", "max", "mean", "min", "normalize", "std", "sum", "var"]

_EXAMPLES = (
    example((3, 4), axis=(0,), keepdims=False),
    example((3, 4), axis=(1,), keepdims=True),
    example((2, 3, 4), axis=(0, 2), keepdims=False),
    example((2, 3), axis=(0, 1), keepdims=False),
    example((1, 1), axis=(0,), keepdims=False),
    example((), axis=(), keepdims=False),
)


def _along(f):
    """A reference: a function of a list of floats, applied along axes by indexing, without NumPy's reductions."""

    def reference(x, axis, keepdims):
        result = np.zeros(Reduction.shape(x.shape, axis, True))
        for index in np.ndindex(result.shape):
            cell = x[tuple(slice(None) if i in axis else k for i, k in enumerate(index))]
            result[index] = f([float(v) for v in np.asarray(cell).flat])
        return result if keepdims else result.reshape(Reduction.shape(x.shape, axis, False))

    return reference


class Sum(Reduction):
    """The sum along axes."""

    code = "{x}.sum(axis={axis}, keepdims={keepdims})"
    math = r"\sum {x}"
    rule = "sum: each term gets the whole gradient"
    examples = (*_EXAMPLES, example((0, 3), axis=(0,), keepdims=False))
    reference = _along(scalar.fsum)

    def forward(x, axis, keepdims):
        return np.add.reduce(x, axis=axis, keepdims=keepdims)  # x.sum() without its Python layer

    def vjp(g, _y, _x, axis, keepdims):
        return np.broadcast_to(restore_axes(g, axis, keepdims), _x.shape)


class Mean(Reduction):
    """The mean along axes."""

    code = "{x}.mean(axis={axis}, keepdims={keepdims})"
    math = r"\operatorname{mean} {x}"
    rule = "mean of n: each element gets 1/n of the gradient"
    examples = _EXAMPLES
    reference = _along(lambda v: scalar.fsum(v) / len(v))

    def forward(x, axis, keepdims):
        return np.add.reduce(x, axis=axis, keepdims=keepdims) / dims.size_of(tuple(x.shape[i] for i in axis))

    def vjp(g, _y, _x, axis, keepdims):
        count = dims.size_of(tuple(_x.shape[i] for i in axis))
        return np.broadcast_to(restore_axes(g / count, axis, keepdims), _x.shape)


class Max(Reduction):
    """The largest element along axes. Where several are largest, the derivative is shared among them equally."""

    code = "{x}.max(axis={axis}, keepdims={keepdims})"
    math = r"\max {x}"
    rule = "max: the gradient goes to the largest element"
    examples = _EXAMPLES
    reference = _along(max)

    def vjp(g, y, x, axis, keepdims):
        largest = x == restore_axes(y, axis, keepdims)
        return restore_axes(g, axis, keepdims) * largest / largest.sum(axis=axis, keepdims=True)


class Min(Max):
    """The smallest element along axes. Where several are smallest, the derivative is shared among them equally."""

    code = "{x}.min(axis={axis}, keepdims={keepdims})"
    math = r"\min {x}"
    rule = "min: the gradient goes to the smallest element"
    reference = _along(min)


class Logsumexp(Reduction):
    """ln Σ e^x along axes, with the largest element taken out of the sum so that nothing overflows."""

    math = r"\ln \sum e^{x}"
    rule = "logsumexp′ = softmax"
    examples = _EXAMPLES
    reference = _along(lambda v: scalar.log(scalar.fsum(scalar.exp(e) for e in v)))

    def forward(x, axis, keepdims):
        largest = x.max(axis=axis, keepdims=True)
        y = np.log(np.exp(x - largest).sum(axis=axis, keepdims=True)) + largest
        return y if keepdims else np.squeeze(y, axis)

    def vjp(g, y, x, axis, keepdims):
        return restore_axes(g, axis, keepdims) * np.exp(x - restore_axes(y, axis, keepdims))


class Argmax(Reduction):
    """The index of the largest element along one axis, the first one if there are several. It has no derivative."""

    no_gradient = True
    arithmetic = False
    math = r"\arg\max {x}"
    examples = (example((3, 4), axis=(0,), keepdims=False), example((3, 4), axis=(1,), keepdims=True))
    reference = _along(lambda v: v.index(sorted(v)[-1]))

    def forward(x, axis, keepdims):
        return np.argmax(x, axis=axis[0], keepdims=keepdims)


class Cumsum(Rowwise):
    """The running sum along an axis: element i is x₀ + ... + xᵢ. Its derivative is the running sum from the end."""

    code = "np.cumsum({x}, {axis})"
    math = r"\operatorname{cumsum} {x}"
    rule = "running sum: its gradient runs from the end"
    examples = (example((3, 4), axis=1), example((2, 3, 4), axis=0), example((3,), axis=0), example((0, 2), axis=0))

    def vjp(g, _y, _x, axis):
        backwards = (slice(None),) * axis + (slice(None, None, -1),)
        return Cumsum.apply(g[backwards], axis=axis)[backwards]

    def reference(x, axis):
        return np.apply_along_axis(lambda v: [scalar.fsum(v[: i + 1]) for i in range(len(v))], axis, x) if x.size else x


@answers(np.sum)
def sum(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """The sum of `x` along `axis` (all axes by default)."""
    return Sum.apply(x, axis=axes(axis, x.ndim, "sum"), keepdims=flag(keepdims))


@answers(np.mean)
def mean(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """The mean of `x` along `axis` (all axes by default)."""
    return Mean.apply(x, axis=axes(axis, x.ndim, "mean"), keepdims=flag(keepdims))


@answers(np.max)
def max(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """The largest element of `x` along `axis` (all axes by default)."""
    return Max.apply(x, axis=axes(axis, x.ndim, "max"), keepdims=flag(keepdims))


@answers(np.min)
def min(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """The smallest element of `x` along `axis` (all axes by default)."""
    return Min.apply(x, axis=axes(axis, x.ndim, "min"), keepdims=flag(keepdims))


@answers(np.var)
def var(x: Array, axis: int | tuple[int, ...] | None = None, ddof: int = 0, keepdims: bool = False) -> Array:
    """The variance Σ (x - mean)² / (n - ddof) along `axis` (all axes by default)."""
    along = axes(axis, x.ndim, "var")
    if not isinstance(ddof, (int, float)):
        raise TypeError(f"this argument is not supported: ddof={ddof!r}")
    squares = (x - mean(x, along, True)) ** 2
    return sum(squares, along, keepdims) / (dims.size_of(tuple(x.shape[i] for i in along)) - ddof)


@answers(np.std)
def std(x: Array, axis: int | tuple[int, ...] | None = None, ddof: int = 0, keepdims: bool = False) -> Array:
    """The standard deviation, the root of `var`, along `axis` (all axes by default)."""
    return np.sqrt(var(x, axis, ddof, keepdims))


@answers(np.cumsum)
def cumsum(x: Array, axis: int | None = None) -> Array:
    """The running sum of `x` along `axis`; of the flattened array by default."""
    if axis is None:
        return cumsum(x.reshape(-1), 0)
    return Cumsum.apply(x, axis=one_axis(axis, x.ndim, "cumsum"))


def normalize(x: Array, axis: int = -1) -> Array:
    """x / Σ x along `axis`: rows that sum to 1. The derivative in a direction g is (g - ⟨g, y⟩) / Σ x."""
    return x / sum(x, axis, True)


def logsumexp(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """ln Σ e^x along `axis` (all axes by default), without overflow."""
    return Logsumexp.apply(x, axis=axes(axis, x.ndim, "logsumexp"), keepdims=flag(keepdims))


@answers(np.argmax)
def argmax(x: Array, axis: int | None = None, keepdims: bool = False) -> Array:
    """The index of the largest element of `x` along `axis`; of the flattened array by default. No derivative."""
    if axis is None:
        flat = argmax(x.reshape(-1), 0)
        return flat.reshape((1,) * x.ndim) if keepdims else flat
    return Argmax.apply(x, axis=(one_axis(axis, x.ndim, "argmax"),), keepdims=flag(keepdims))
