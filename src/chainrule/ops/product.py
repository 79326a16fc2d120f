"""The matrix product, and what NumPy makes of it: dot, outer, and their kin, by composition."""

import math as scalar
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops import dims
from chainrule.ops.dims import show
from chainrule.ops.families import Product
from chainrule.ops.op import Array, answers, example

__all__ = ["dot", "inner", "matmul", "outer"]


class Matmul(Product):
    """The matrix product of (..., n, k) and (..., k, m); leading axes are batches and are broadcast.

    dA = G Bᵀ, dB = Aᵀ G.
    """

    code = "{a} @ {b}"
    math = "{a} {b}"
    examples = (
        example((3, 4), (4, 2)),
        example((5, 3, 4), (5, 4, 2)),
        example((5, 3, 4), (4, 2)),
        example((2, 1, 3, 4), (5, 4, 2)),
        example((1, 1), (1, 1)),
        example((0, 4), (4, 2)),
        example((3, 0), (0, 2)),
    )

    def shape(a, b):
        if not dims.same(a[-1], b[-2]):
            raise ShapeError(
                f"matmul of {show(a)} and {show(b)}: the last axis of the first ({a[-1]}) must equal the last but one "
                f"of the second ({b[-2]})."
            )
        return (*dims.broadcast(a[:-2], b[:-2]), a[-2], b[-1])

    def vjp(g, _y, a, b):
        return lambda: g @ b.mT, lambda: a.mT @ g

    def reference(a, b):
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = np.broadcast_to(a, batch + a.shape[-2:]), np.broadcast_to(b, batch + b.shape[-2:])
        result = np.zeros((*batch, a.shape[-2], b.shape[-1]))
        for *k, i, j in np.ndindex(result.shape):
            result[(*k, i, j)] = scalar.fsum(a[(*k, i, n)] * b[(*k, n, j)] for n in range(a.shape[-1]))
        return result


@answers(np.matmul)
def matmul(a: Array, b: Array) -> Array:
    """The product `a @ b`; a vector stands for a row on the left and for a column on the right, as in NumPy."""
    a, b = _array(a), _array(b)
    if _is_number(a) or _is_number(b):
        raise ShapeError("matmul of a number: write `*` for it.")
    rows, columns = a.ndim == 1, b.ndim == 1
    if not rows and not columns:
        return Matmul.apply(a, b)
    if rows:
        a = a.reshape(1, -1)
    if columns:
        b = b.reshape(-1, 1)
    y = Matmul.apply(a, b)
    if columns:
        y = y.reshape(y.shape[:-1])
    if rows:
        y = y.reshape((*y.shape[:-2], y.shape[-1]) if not columns else y.shape[:-1])
    return y


@answers(np.dot)
def dot(a: Array, b: Array) -> Array:
    """NumPy's dot for up to two axes: the product of numbers, vectors and matrices."""
    a, b = _array(a), _array(b)
    if _is_number(a) or _is_number(b):
        return a * b
    if a.ndim > 2 or b.ndim > 2:
        raise ShapeError(f"dot of {show(a.shape)} and {show(b.shape)}: for more than two axes, write `@`.")
    return matmul(a, b)


@answers(np.inner)
def inner(a: Array, b: Array) -> Array:
    """The sums of products over the last axes of `a` and `b` (up to two axes)."""
    b = _array(b)
    return dot(a, b if _is_number(b) or b.ndim < 2 else b.mT)


@answers(np.outer)
def outer(a: Array, b: Array) -> Array:
    """All products of an element of `a` and an element of `b`, both flattened."""
    return _array(a).reshape(-1, 1) * _array(b).reshape(1, -1)


def _array(x: Any) -> Any:
    """A list as an array; a number stays one, so that it does not decide the dtype."""
    return np.asarray(x) if isinstance(x, (list, tuple)) else x


def _is_number(x: Any) -> bool:
    return getattr(x, "ndim", 0) == 0
