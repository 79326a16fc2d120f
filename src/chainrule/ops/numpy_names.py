"""NumPy's synonyms, made of the ops: `np.square`, `np.linalg.norm` and their kin need no ops of their own."""

import math
from typing import Any

import numpy as np

from chainrule.ops import arithmetic, control, product, reduction, structure
from chainrule.ops.op import Array, Value, answers


@answers(np.square)
def square(x: Array) -> Array:
    """x²."""
    return x**2


@answers(np.reciprocal)
def reciprocal(x: Array) -> Array:
    """1 / x."""
    return 1 / x


@answers(np.positive)
def positive(x: Array) -> Array:
    """x itself."""
    return x


@answers(np.exp2)
def exp2(x: Array) -> Array:
    """2^x."""
    return arithmetic.exp(x * math.log(2))


@answers(np.log2)
def log2(x: Array) -> Array:
    """The logarithm to base 2."""
    return arithmetic.log(x) / math.log(2)


@answers(np.log10)
def log10(x: Array) -> Array:
    """The logarithm to base 10."""
    return arithmetic.log(x) / math.log(10)


@answers(np.logaddexp)
def logaddexp(a: Array, b: Array) -> Array:
    """ln(e^a + e^b), without overflow: the larger is taken out of the sum, whose derivative it does not change."""
    largest = control.stop_gradient(arithmetic.maximum(a, b))
    return largest + arithmetic.log(arithmetic.exp(a - largest) + arithmetic.exp(b - largest))


@answers(np.tan)
def tan(x: Array) -> Array:
    """sin x / cos x."""
    return arithmetic.sin(x) / arithmetic.cos(x)


@answers(np.sinh)
def sinh(x: Array) -> Array:
    """(e^x - e^-x) / 2 as tanh x cosh x, which keeps its precision near 0."""
    return np.tanh(x) * cosh(x)


@answers(np.cosh)
def cosh(x: Array) -> Array:
    """(e^x + e^-x) / 2."""
    return (arithmetic.exp(x) + arithmetic.exp(-x)) / 2


@answers(np.linalg.norm)
def norm(x: Array, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """The Euclidean (Frobenius) norm; of a vector also ord 1 and infinity."""
    if ord in (None, 2, "fro") and not (ord == 2 and x.ndim == 2 and axis is None):
        return arithmetic.sqrt(reduction.sum(x**2, axis, keepdims))
    if ord in (1, np.inf) and (x.ndim == 1 or isinstance(axis, int)):
        reduce = reduction.sum if ord == 1 else reduction.max
        return reduce(arithmetic.abs(x), axis, keepdims)
    raise TypeError(f"this argument is not supported: norm with ord={ord!r} and axis={axis!r}")


@answers(np.trace)
def trace(x: Array) -> Array:
    """The sum of the diagonal of a matrix."""
    return reduction.sum(x * np.eye(*x.shape, dtype=x.dtype))


@answers(np.vdot)
def vdot(a: Array, b: Array) -> Array:
    """The product of two flattened arrays."""
    return product.dot(a.reshape(-1), b.reshape(-1))


@answers(np.zeros_like)
def zeros_like(x: Value) -> Array:
    """Zeros of the shape and dtype of x."""
    return structure.broadcast_to(x.lift(np.zeros((), x.dtype)), x.shape)


@answers(np.ones_like)
def ones_like(x: Value) -> Array:
    """Ones of the shape and dtype of x."""
    return structure.broadcast_to(x.lift(np.ones((), x.dtype)), x.shape)


@answers(np.moveaxis)
def moveaxis(x: Array, source: int, destination: int) -> Array:
    """x with one axis moved to another place."""
    order = [i for i in range(x.ndim) if i != source % x.ndim]
    order.insert(destination % x.ndim, source % x.ndim)
    return structure.transpose(x, tuple(order))


@answers(np.ndim)
def ndim(x: Value) -> int:
    """The number of axes."""
    return len(x.shape)


@answers(np.shape)
def shape(x: Value) -> Any:
    """The shape."""
    return x.shape
