"""What NumPy has an expression for and the library composes, or computes in another way: ops that are only ever
written, never derived.
"""

from typing import Any

import numpy as np

from chainrule.ops.dims import Shape
from chainrule.ops.op import Op
from chainrule.ops.windows import Pair, count


class Written(Op, abstract=True):
    """The base of these ops: the result has the dtype of the first input."""

    @classmethod
    def result_dtype(cls, inputs: Any, attributes: Any) -> np.dtype[Any]:
        dtype: np.dtype[Any] = inputs[0].dtype
        return dtype


class Pick(Written):
    """One element of each row: that at the row's label. (..., C) and (...) of ints to (...)."""

    shape = staticmethod(lambda y, t: t)
    forward = staticmethod(lambda y, t: np.take_along_axis(y, t[..., None], -1)[..., 0])


class Dot(Written):
    """a @ b where one of the two, or both, are vectors."""

    code = "{a} @ {b}"
    shape = staticmethod(lambda a, b: (*(a[:-1] if len(a) > 1 else ()), *(b[1:] if len(b) > 1 else ())))


class Outer(Written):
    """All products of the elements of two vectors."""

    code = "np.outer({a}, {b})"
    shape = staticmethod(lambda a, b: (*a, *b))


class Accumulate(Written):
    """What several places of an array add up to: a dense term, if there is one, and terms for some elements each."""

    @staticmethod
    def shape(*inputs: Any, dense: bool, indices: Any, shape: Any) -> Any:
        return shape


class Windows(Written):
    """The elements under each window of images: (N, C, H, W) to (N, C, H', W', kh, kw)."""

    @staticmethod
    def shape(x: Shape, kernel: Pair, stride: Pair, dilation: Pair) -> Shape:
        return (*x[:2], *count("windows", x[2:], kernel, stride, (0, 0), dilation), *kernel)


class Einsum(Written):
    """A sum of products, with a letter for each axis, as `np.einsum` has it."""

    @staticmethod
    def shape(*xs: Shape, subscripts: str) -> Shape:
        terms, _, result = subscripts.partition("->")
        sizes = {c: n for term, x in zip(terms.split(","), xs, strict=True) for c, n in zip(term, x, strict=True)}
        return tuple(sizes[c] for c in result)


class Spread(Written):
    """Zeros to which a term is added for each place (i, j) of a window, wherever the windows have that place.

    `term` is the text of what is added, with {0}, {1} for the inputs.
    """

    @staticmethod
    def shape(*xs: Shape, shape: Shape, term: str, kernel: Pair, stride: Pair, dilation: Pair) -> Shape:
        return shape
