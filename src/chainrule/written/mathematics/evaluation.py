"""Formulas computed, so that what is printed can be compared with what the program does."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from chainrule.ops import dims
from chainrule.written.mathematics.formula import (
    All,
    Big,
    Call,
    Cases,
    Derivative,
    Fence,
    Formula,
    Fraction,
    Index,
    Indexed,
    Number,
    Power,
    Product,
    Relation,
    Reshaped,
    Root,
    Sum,
    Symbol,
    Transposed,
)

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


NUMBERS = {"e^": math.e, "π": math.pi}  # no variable has such a name
# What the functions mean that an op's `math` may use.
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "exp": np.exp, "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "ln": np.log, "max": np.maximum, "min": np.minimum,
    "erf": np.vectorize(math.erf, otypes=[float]), "sign": np.sign,
    "σ": lambda x: 1 / (1 + np.exp(-x)), "softmax": _softmax,
}  # fmt: skip
RELATIONS: Mapping[str, Callable[..., Any]] = {
    "=": np.equal, "≠": np.not_equal, "<": np.less, "≤": np.less_equal, ">": np.greater, "≥": np.greater_equal
}  # fmt: skip


class UnlikeError(ValueError):
    """Matrices of different shapes are added, or multiplied by elements."""


class Evaluation:
    """Computes formulas. A value has one axis for each running index of the line, then those of the matrix itself.

    As on paper, what is added or multiplied by elements has one shape, or is a number; only to a matrix product may a
    row be added, as in `x W + b`. That NumPy would broadcast the rest does not make it mathematics.
    """

    def __init__(self, values: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
        self.values, self.sizes, self.letters = values, sizes, list(sizes)

    def __call__(self, f: Formula) -> Array:
        """The value of a formula."""
        n = len(self.letters)
        match f:
            case Symbol() | Derivative():
                return np.asarray(NUMBERS[f.name] if f.name in NUMBERS else self.values[f.name])[(None,) * n]
            case Number():
                return np.asarray(f.value)[(None,) * n]
            case Index():
                shape = [self.sizes[k] if k == f.letter else 1 for k in self.letters]
                return np.arange(self.sizes[f.letter]).reshape(shape)
            case Indexed():
                return self._element(f)
            case Big():
                return self._big(f)
            case Transposed():
                return np.swapaxes(self(f.base), -1, -2)
            case Reshaped():
                shape = dims.evaluate(f.shape, self.values)
                return self(f.inside).reshape((1,) * n + shape)
            case Fence():
                return np.abs(self(f.inside)) if f.bracket == "|" else self(f.inside) * 1
            case _:
                return self._together(f)

    def _together(self, f: Formula) -> Array:
        """What is computed from parts that are broadcast against each other."""
        match f:
            case Sum():
                rows = any(_is_product(x) for _, x in f.terms)
                parts = self._aligned(*(x for _, x in f.terms), rows=rows)
                return np.asarray(sum(sign * x for (sign, _), x in zip(f.terms, parts, strict=True)))
            case Product():
                first, *others = self._aligned(*f.factors, alike=f.kind != "matrix", numbers=f.kind != "elements")
                for other in others:
                    first = np.matmul(first, other) if f.kind == "matrix" else first * other
                return first
            case Fraction():
                above, below = self._aligned(f.above, f.below)
                return np.asarray(above / below)
            case Power():
                base, exponent = self._aligned(f.base, f.exponent)
                return np.asarray(base**exponent)
            case Root():
                return np.sqrt(self(f.inside))
            case Relation(left=Relation() as first):
                return np.logical_and(*self._aligned(first, Relation(first.right, f.sign, f.right)))
            case Relation():
                return np.asarray(RELATIONS[f.sign](*self._aligned(f.left, f.right)))
            case All():
                return np.asarray(np.logical_and.reduce(np.broadcast_arrays(*self._aligned(*f.relations))))
            case Cases():
                return np.where(*self._aligned(f.condition, f.yes, f.no))
            case Call():
                return self._call(f)
        raise TypeError(f"{type(f).__name__} has no value")

    def _call(self, f: Call) -> Array:
        if not f.function:
            return np.array([float(self(x).item()) for x in f.arguments])[(None,) * len(self.letters)]
        if f.compute is None:
            return np.asarray(FUNCTIONS[f.function](*self._aligned(*f.arguments)))
        n = len(self.letters)
        arrays = [x.reshape(x.shape[n:]) for x in map(self, f.arguments)]  # the library's functions know matrices alone
        return np.asarray(f.compute(self.values, *arrays))[(None,) * n]

    def _aligned(self, *formulas: Formula, alike: bool = True, numbers: bool = True, rows: bool = False) -> list[Array]:
        """Their values, with axes of size 1 between the running indices and the matrix where one has fewer.

        They have to be `alike`: matrices of one shape, and, if `numbers` may stand with them, numbers, and if `rows`
        may, rows of this length.
        """
        values, n = [self(f) for f in formulas], len(self.letters)
        most = max(v.ndim for v in values)
        if alike:
            shapes = {v.shape[n:] for v in values}
            if numbers:
                shapes = {s for s in shapes if math.prod(s) > 1}
            if rows and shapes:
                longest = max(shapes, key=len)
                shapes -= {(1,) * i + longest[-1:] for i in range(len(longest))}
            if len(shapes) > 1:
                raise UnlikeError
        return [v.reshape(v.shape[:n] + (1,) * (most - v.ndim) + v.shape[n:]) for v in values]

    def _big(self, f: Big) -> Array:
        value = self(f.body)
        for letter in f.indices:
            axis = self.letters.index(letter)
            shape = list(value.shape)
            shape[axis] = self.sizes[letter]
            ufunc = {"sum": np.add, "max": np.maximum, "min": np.minimum}[f.operator]
            value = np.asarray(ufunc.reduce(np.broadcast_to(value, shape), axis=axis, keepdims=True))
        return value

    def fits(self, left: Formula, right: Formula) -> bool:
        """Whether both sides of a line have one shape, but for axes of size 1."""
        n = len(self.letters)
        a, b = ([size for size in self(f).shape[n:] if size > 1] for f in (left, right))
        return a == b

    def _element(self, f: Indexed) -> Array:
        """An element; outside of the array there is none, which nothing computed with it survives but a choice."""
        n = len(self.letters)
        base = self(f.base)
        base = np.squeeze(base.reshape(base.shape[n:]))
        places = np.broadcast_arrays(*(self(i).astype(int) for i in f.indices))
        inside = np.all([(p >= 0) & (p < size) for p, size in zip(places, base.shape, strict=False)], axis=0)
        found = np.asarray(base[tuple(np.where(inside, p, 0) for p in places)])
        if inside.all():
            return found
        return np.where(inside.reshape(inside.shape + (1,) * (found.ndim - inside.ndim)), found, np.nan)


def _is_product(f: Formula) -> bool:
    """Whether this is a product of matrices, or a number times one."""
    if isinstance(f, Fence):
        return _is_product(f.inside)
    if isinstance(f, Product):
        return f.kind == "matrix" or any(map(_is_product, f.factors))
    return isinstance(f, Fraction) and _is_product(f.above)
