"""The matrix product, and what NumPy makes of it: dot, outer, einsum and their kin, by composition."""

import math as scalar
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops import dims
from chainrule.ops.dims import show
from chainrule.ops.families import Product
from chainrule.ops.op import Array, answers, example

__all__ = ["dot", "einsum", "inner", "matmul", "outer"]


class Matmul(Product):
    """The matrix product of (..., n, k) and (..., k, m); leading axes are batches and are broadcast.

    dA = G Bᵀ, dB = Aᵀ G.
    """

    code = "{a} @ {b}"
    math = "{a} {b}"
    rule = "dA = G Bᵀ, dB = Aᵀ G"
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


@answers(np.einsum)
def einsum(subscripts: str, *operands: Array, optimize: Any = None) -> Array:
    """Einstein's sum over products, as transpositions, sums and one matrix product for each further operand.

    Parameters
    ----------
    subscripts : str
        As NumPy's: a letter for each axis of each operand, "..." for axes that are broadcast, and after "->" those of
        the result (by default, in order of the alphabet, the letters that come once).
    *operands : arrays
        Taken from left to right.
    optimize
        Without effect: the order is as given.
    """
    xs = [_array(x) for x in operands]
    terms, output = _letters(subscripts, xs)
    y, have = _diagonal(xs[0], terms[0])
    for i, (x, term) in enumerate(zip(xs[1:], terms[1:], strict=True), 2):
        y, have = _contract(y, have, *_diagonal(x, term), keep="".join([output, *terms[i:]]))
    y, have = _sum_others(y, have, output)
    return _arrange(y, have, output)


def _letters(subscripts: str, xs: list[Array]) -> tuple[list[str], str]:
    """The letters of each operand and of the result; the axes of an ellipsis get letters of their own."""
    given, arrow, output = subscripts.replace(" ", "").partition("->")
    terms, longest = given.split(","), ""
    if len(terms) != len(xs):
        raise ShapeError(f"einsum: '{subscripts}' is for {len(terms)} operands, {len(xs)} were given.")
    for i, (term, x) in enumerate(zip(terms, xs, strict=True)):
        if "..." in term:
            more = x.ndim - len(term) + 3
            ellipsis = "".join(chr(0x2460 + k) for k in reversed(range(more)))  # aligned at the last axis
            longest = max(longest, ellipsis, key=len)
            terms[i] = term.replace("...", ellipsis)
        if len(terms[i]) != x.ndim:
            raise ShapeError(f"einsum: '{term}' in '{subscripts}' does not fit an operand of shape {show(x.shape)}.")
    joined = "".join(terms)
    if not arrow:
        output = "..." + "".join(sorted(c for c in joined if joined.count(c) == 1 and c not in longest))
    output = output.replace("...", longest)
    if len(set(output)) < len(output) or not set(output) <= set(joined):
        raise ShapeError(f"einsum: the result of '{subscripts}' must have letters of the operands, each once.")
    return terms, output


def _contract(a: Array, in_a: str, b: Array, in_b: str, keep: str) -> tuple[Array, str]:
    """The product of two operands, summed over the letters that are not to be kept, and its letters."""
    a, in_a = _sum_others(a, in_a, keep + in_b)
    b, in_b = _sum_others(b, in_b, keep + in_a)
    batch = "".join(c for c in in_a if c in in_b and c in keep)
    inner = "".join(c for c in in_a if c in in_b and c not in keep)
    rows, columns = ("".join(c for c in own if c not in other) for own, other in ((in_a, in_b), (in_b, in_a)))
    a, b = _arrange(a, in_a, batch + rows + inner), _arrange(b, in_b, batch + inner + columns)
    n, k = len(batch), len(inner)
    before, left, right = a.shape[:n], a.shape[n : n + len(rows)], b.shape[n + k :]
    if not inner:
        y = _reshape(a, (*a.shape, *(1,) * len(right))) * _reshape(b, (*b.shape[:n], *(1,) * len(left), *right))
        return y, batch + rows + columns
    a = _reshape(a, (*before, dims.size_of(left), dims.size_of(a.shape[n + len(rows) :])))
    b = _reshape(b, (*b.shape[:n], dims.size_of(b.shape[n : n + k]), dims.size_of(right)))
    y = Matmul.apply(a, b)
    return _reshape(y, (*y.shape[:n], *left, *right)), batch + rows + columns


def _sum_others(x: Array, letters: str, keep: str) -> tuple[Array, str]:
    others = tuple(i for i, c in enumerate(letters) if c not in keep)
    return x.sum(axis=others) if others else x, "".join(c for c in letters if c in keep)


def _diagonal(x: Array, letters: str) -> tuple[Array, str]:
    """An operand in whose letters none comes twice: where one does, the elements with unequal indices are left out."""
    for c in dict.fromkeys(letters):
        while letters.count(c) > 1:
            i, j = letters.index(c), letters.rindex(c)
            shape = [x.shape[i] if k in (i, j) else 1 for k in range(x.ndim)]
            x = (x * np.eye(x.shape[i], dtype=x.dtype).reshape(shape)).sum(axis=j)
            letters = letters[:j] + letters[j + 1 :]
    return x, letters


def _arrange(x: Array, letters: str, order: str) -> Array:
    return x if letters == order else x.transpose(tuple(letters.index(c) for c in order))


def _reshape(x: Array, shape: dims.Shape) -> Array:
    return x if dims.same_shape(x.shape, shape) else x.reshape(shape)


def _array(x: Any) -> Any:
    """A list as an array; a number stays one, so that it does not decide the dtype."""
    return np.asarray(x) if isinstance(x, (list, tuple)) else x


def _is_number(x: Any) -> bool:
    return getattr(x, "ndim", 0) == 0
