"""Sizes that are known only later: `Dim`, a polynomial in named sizes such as the batch size N, and `Later`, a number
computed from them. A Dim is no int: what would need its value while a graph is recorded raises, with the user's line.
"""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Union

import numpy as np

from chainrule.errors import ShapeError, TraceError, user_line

Size = Union[int, "Dim"]
Shape = tuple[Size, ...]
Monomial = tuple[str, ...]  # ("N", "N") stands for N²; () is the constant term


_FOR_EVERY_SIZE = (
    "write code that holds for every batch size (for y[np.arange(N), t]: np.take_along_axis(y, t[:, None], 1))"
)


def _refuse(what: str, instead: str) -> Callable[..., Any]:
    def method(self: Any, *_: Any) -> Any:
        raise TraceError(
            f"{user_line()}: {what} '{self}', a size that is symbolic while the graph is recorded, so that one graph "
            f"serves every batch size; {instead}."
        )

    return method


def _binary(symbol: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forward(self: Any, other: Any) -> Any:
        return Later(symbol, self, other) if isinstance(other, (int, float, Dim, Later)) else NotImplemented

    def reflected(self: Any, other: Any) -> Any:
        return Later(symbol, other, self) if isinstance(other, (int, float, Dim, Later)) else NotImplemented

    return forward, reflected


class Later:
    """A number computed from symbolic sizes, such as `1 / N`; it is a weak scalar operand, as a Python float is."""

    __slots__ = ("operands", "symbol")
    FUNCTIONS: Mapping[str, Callable[..., Any]] = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "/": operator.truediv,
        "**": operator.pow,
        "sqrt": math.sqrt,
    }

    def __init__(self, symbol: str, *operands: Any) -> None:
        self.symbol, self.operands = symbol, operands

    def evaluate(self, sizes: Mapping[str, int]) -> Any:
        """The number itself, given every named size."""
        return self.FUNCTIONS[self.symbol](*(evaluate(x, sizes) for x in self.operands))

    def __str__(self) -> str:
        if self.symbol == "sqrt":
            return f"np.sqrt({self.operands[0]})"
        a, b = (f"({x})" if set(str(x)) & set(" *") else str(x) for x in self.operands)
        return f"{a} {self.symbol} {b}"

    __repr__ = __str__

    __add__, __radd__ = _binary("+")
    __sub__, __rsub__ = _binary("-")
    __mul__, __rmul__ = _binary("*")
    __truediv__, __rtruediv__ = _binary("/")
    __pow__, __rpow__ = _binary("**")

    def __neg__(self) -> "Later":
        return Later("*", -1, self)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        inputs = tuple(x.item() if isinstance(x, np.generic) else x for x in inputs)
        if method == "__call__" and not options and all(isinstance(x, (int, float, Dim, Later)) for x in inputs):
            if ufunc is np.sqrt:
                return Later("sqrt", *inputs)
            symbols = {np.add: "+", np.subtract: "-", np.multiply: "*", np.true_divide: "/", np.power: "**"}
            if ufunc in symbols:
                return self.FUNCTIONS[symbols[ufunc]](*inputs)
        raise TraceError(
            f"{user_line()}: np.{ufunc.__name__} of the symbolic size '{self}' and an array cannot be recorded; apply "
            "it to an input of the function instead."
        )

    __index__ = __int__ = _refuse(
        "this needs the value of",
        "in a reshape it may stand as it is; zeros for every row are np.zeros_like(x[:, :3]) or 0 * x[:, :1] + "
        "np.zeros(3), and y[np.arange(N), t] is np.take_along_axis(y, t[:, None], 1)",
    )
    __float__ = _refuse("this needs the value of", "keep it an operand: `total / x.shape[0]` is recorded as it stands")
    __bool__ = _refuse("this branches on", _FOR_EVERY_SIZE)
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _refuse("this compares", _FOR_EVERY_SIZE)
    __mod__ = __rmod__ = __abs__ = __round__ = _refuse("this needs the value of", _FOR_EVERY_SIZE)
    __hash__ = object.__hash__


class Dim(Later):
    """A size in a recorded graph: an integer polynomial in named sizes. Arithmetic keeps it symbolic.

    `Dim("N")` is the batch size. Sums and products with ints and Dims stay Dims (and become ints when nothing symbolic
    is left), exact floor division too, so `x.reshape(N, -1)` works; true division gives a `Later`.
    """

    __slots__ = ("terms",)

    def __init__(self, name: str) -> None:
        self.terms: dict[Monomial, int] = {(name,): 1}

    @staticmethod
    def _of(terms: dict[Monomial, int]) -> Size:
        terms = {m: c for m, c in sorted(terms.items()) if c}
        if not any(terms):
            return terms.get((), 0)
        dim = Dim.__new__(Dim)
        dim.terms = terms
        return dim

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        return sum(c * math.prod(sizes[name] for name in m) for m, c in self.terms.items())

    def __str__(self) -> str:
        parts = ["*".join([str(c)] * (c != 1 or not m) + list(m)) for m, c in sorted(self.terms.items(), key=_degree)]
        return " + ".join(parts).replace("+ -", "- ")

    __repr__ = __str__

    def __hash__(self) -> int:
        return hash(tuple(self.terms.items()))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Dim):
            return self.terms == other.terms
        if isinstance(other, (int, float)):
            _refuse(f"this compares {other} with", _FOR_EVERY_SIZE)(self)
        return NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, (int, Dim)):
            return super().__add__(other)
        terms = dict(self.terms)
        for m, c in _terms(other).items():
            terms[m] = terms.get(m, 0) + c
        return Dim._of(terms)

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, (int, Dim)):
            return super().__mul__(other)
        terms: dict[Monomial, int] = {}
        for m, c in self.terms.items():
            for n, d in _terms(other).items():
                key = tuple(sorted(m + n))
                terms[key] = terms.get(key, 0) + c * d
        return Dim._of(terms)

    def __neg__(self) -> Any:
        return self * -1

    def __sub__(self, other: Any) -> Any:
        return self + other * -1 if isinstance(other, (int, Dim)) else super().__sub__(other)

    def __rsub__(self, other: Any) -> Any:
        return self * -1 + other if isinstance(other, (int, Dim)) else super().__rsub__(other)

    def __radd__(self, other: Any) -> Any:
        return self + other if isinstance(other, (int, Dim)) else super().__radd__(other)

    def __rmul__(self, other: Any) -> Any:
        return self * other if isinstance(other, (int, Dim)) else super().__rmul__(other)

    def __floordiv__(self, other: Any) -> Size:
        return divide(self, other)

    def __rfloordiv__(self, other: Any) -> Size:
        return divide(other, self)


def _degree(item: tuple[Monomial, int]) -> tuple[int, Monomial]:
    return (-len(item[0]), item[0])


def _terms(size: Size) -> dict[Monomial, int]:
    return size.terms if isinstance(size, Dim) else {(): size}


def divide(a: Size, b: Size) -> Size:
    """The size a / b where it is whole for every batch size, as in `N*784 / N`; else a ShapeError."""
    if isinstance(b, Dim) and isinstance(a, int) and a == 0:
        return 0
    if isinstance(a, int) and isinstance(b, int) and b and a % b == 0:
        return a // b
    divisor = _terms(b)
    if len(divisor) == 1 and all(divisor.values()):
        (n, d), terms = next(iter(divisor.items())), {}
        for m, c in _terms(a).items():
            rest = list(m)
            if c % d or any(n.count(name) > m.count(name) for name in n):
                break
            for name in n:
                rest.remove(name)
            terms[tuple(rest)] = c // d
        else:
            return Dim._of(terms)
    raise ShapeError(f"The size {a} cannot be divided by {b} for every value of its symbols.")


def evaluate(x: Any, sizes: Mapping[str, int]) -> Any:
    """An operand or attribute with every symbolic size replaced by its value; tuples and slices are looked into."""
    if isinstance(x, Later):
        return x.evaluate(sizes)
    if isinstance(x, tuple):
        return tuple(evaluate(item, sizes) for item in x)
    if isinstance(x, slice):
        return slice(evaluate(x.start, sizes), evaluate(x.stop, sizes), evaluate(x.step, sizes))
    return x


def same(a: Size, b: Size) -> bool:
    """Whether two sizes are equal for every value of their symbols (an int is never equal to a symbolic size)."""
    return isinstance(a, Dim) == isinstance(b, Dim) and a == b


def same_shape(a: Shape, b: Shape) -> bool:
    """Whether two shapes are equal, size by size."""
    return len(a) == len(b) and all(map(same, a, b))


def size_of(shape: Shape) -> Size:
    """The number of elements of an array of this shape."""
    return math.prod(shape)


def broadcast(*shapes: Shape) -> Shape:
    """The shape that NumPy's broadcasting gives; a ShapeError names the shapes that do not fit."""
    result: list[Size] = []
    for axis in range(-max(map(len, shapes), default=0), 0):
        size: Size = 1
        for shape in shapes:
            if -axis <= len(shape) and not same(shape[axis], 1):
                if not same(size, 1) and not same(size, shape[axis]):
                    text = " and ".join(map(show, shapes))
                    raise ShapeError(f"The shapes {text} do not broadcast: axis {axis} has {size} and {shape[axis]}.")
                size = shape[axis]
        result.append(size)
    return tuple(result)


def show(shape: Shape) -> str:
    """A shape as Python writes it: `(N, 64)`, `(3,)`, `()`."""
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
