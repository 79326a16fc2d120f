"""The equations of a graph as formulas: as matrices where that says everything, by their elements where it does not.

In matrices `h W + b`, in elements `y_nj = e_nj / Σ_k e_nk`. A sum over rows stays short: `Σ_n δ_n`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chainrule.graph.graph import Equation, Variable
from chainrule.ops import dims
from chainrule.ops.activation import Sigmoid
from chainrule.ops.arithmetic import Multiply, Where
from chainrule.ops.control import StopGradient
from chainrule.ops.convolution import Conv2d, Conv2dInput, Conv2dWeight
from chainrule.ops.dims import Dim
from chainrule.ops.families import Elementwise
from chainrule.ops.indexing import Getitem, Onehot, ScatterAdd
from chainrule.ops.loss import BinaryCrossEntropy, CrossEntropy, LogSoftmax, Softmax
from chainrule.ops.op import Op
from chainrule.ops.pooling import AvgPool2d, MaxPool2d
from chainrule.ops.product import Matmul
from chainrule.ops.reduction import Logsumexp, Max, Mean, Min, Sum
from chainrule.ops.structure import BroadcastTo, Cast, Pad, Reshape, SumTo, Transpose
from chainrule.written.mathematics.elements import (
    Applied,
    At,
    NeedsIndicesError,
    as_number,
    getitem,
    is_one,
    opaque,
    pad,
    running,
    scatter,
    size_as_formula,
)
from chainrule.written.mathematics.formula import (
    Call,
    Derivative,
    Fence,
    Formula,
    Fraction,
    Index,
    Number,
    Relation,
    Reshaped,
    Symbol,
    big,
    call,
    divide,
    indexed,
    multiply,
    negative,
    power,
    subtract,
    transposed,
)
from chainrule.written.mathematics.images import convolution, pool, to_images, to_kernels
from chainrule.written.mathematics.template import Template

LETTERS = "ijklpqrsuvabcdefgh"
ROWS = "nm"


class Formulas:
    """Makes formulas of the values of a graph.

    Parameters
    ----------
    made : mapping of Variable to Equation
        How the values are made that are written in place.
    symbols : mapping of Variable to Formula
        How the others are written.
    units : mapping of Variable to int
        Vectors that are 1 at one place and 0 elsewhere, and the place.
    """

    def __init__(
        self, made: Mapping[Variable, Equation], symbols: Mapping[Variable, Formula], units: Mapping[Variable, int]
    ) -> None:
        self.made, self.symbols, self.units = made, symbols, units
        self.taken = {s.letter for s in symbols.values() if isinstance(s, Symbol)}
        self.sizes: dict[str, Any] = {}  # the running indices of the line, and how far they run

    def of(self, e: Equation, by_elements: bool = False) -> tuple[Formula, Formula]:
        """Both sides of an equation: in matrices where that is possible, unless by elements."""
        left = self.symbols[e.output]
        self.sizes = {}
        try:
            if not by_elements:
                return left, as_number(self._equation(e, None))
        except NeedsIndicesError:
            self.sizes = {}
        at = tuple(self.fresh(n) for n in e.output.shape)
        return self._indexed(left, at, e.output), as_number(self._equation(e, at))

    def fresh(self, size: Any) -> Formula:
        if is_one(size):
            return Number(0)
        for letter in (ROWS if isinstance(size, Dim) else "") + LETTERS:
            if letter not in self.sizes and letter not in self.taken:
                self.sizes[letter] = size
                return Index(letter)
        raise NeedsIndicesError

    def value(self, x: Any, at: At) -> Formula:
        """What an equation uses, at an index."""
        if not isinstance(x, Variable):
            return size_as_formula(x)
        if x not in self.symbols:
            return self._equation(self.made[x], at)
        if x in self.units and at is None:
            raise NeedsIndicesError
        if x in self.units and at is not None and at[0] is not None:
            return Fence("[", Relation(at[0], "=", Number(self.units[x])))
        symbol = self.symbols[x]
        return self._indexed(symbol, at, x) if isinstance(symbol, (Symbol, Derivative)) else symbol

    def _indexed(self, f: Formula, at: At, v: Variable) -> Formula:
        if at is None:
            return f
        found = [i for i, n in zip(at, v.shape, strict=True) if not is_one(n)]
        given = [i for i in found if i is not None]
        if found[: len(given)] != given:
            raise NeedsIndicesError
        return indexed(f, tuple(given))

    def _equation(self, e: Equation, at: At) -> Formula:
        if e.op in RULES:
            return RULES[e.op](self, e, at)
        if issubclass(e.op, Elementwise):
            return self._elementwise(e, at)
        return self.opaque(e, at)

    def _elementwise(self, e: Equation, at: At) -> Formula:
        values = [self._number(e, x, None if at is None else at[len(at) - len(_shape(x)) :]) for x in e.inputs]
        if e.op is Multiply:
            plain = any(_is_number(_shape(x), at) for x in e.inputs)
            return multiply(values[0], values[1], "numbers" if plain else "elements")
        if e.op.__name__ == "Divide":
            return divide(values[0], values[1], "elements" if at is None else "numbers")
        if e.op.__name__ == "Exp" and "e" in self.taken:
            return call("exp", *values)
        return from_template(e.op, values, "elements" if at is None else "numbers")

    def _number(self, e: Equation, x: Any, at: At) -> Formula:
        """An input; a relation becomes 1 or 0 where it is computed with."""
        f = self.value(x, at)
        return f if e.op is Where and x is e.inputs[0] else as_number(f)

    def _matrix(self, f: Formula, e: Equation, at: At) -> Formula:
        return self._indexed(f, at, e.output)

    def opaque(self, e: Equation, at: At) -> Formula:
        """A function that has a name and no formula."""
        values = tuple(self.value(x, None) for x in e.inputs)
        return self._matrix(opaque(e, values), e, at)

    def _matmul(self, e: Equation, at: At) -> Formula:
        a, b = map(self._factor, e.inputs)
        return self._matrix(multiply(a, b, "matrix"), e, at)

    def _factor(self, x: Variable) -> Formula:
        """A factor of a matrix product; a vector is a column, or on the left a row."""
        made = None if x in self.symbols else self.made[x]
        if made is not None and made.op is BroadcastTo:
            raise NeedsIndicesError  # here its shape matters
        if made is None or made.op is not Reshape or len(x.shape) != 2 or not any(map(is_one, x.shape)):
            return self.value(x, None)
        if len(made.inputs[0].shape) == 2 and any(map(is_one, made.inputs[0].shape)):  # a column as a row, or a row
            return transposed(self.value(made.inputs[0], None))
        if len(made.inputs[0].shape) != 1:
            return self.value(x, None)
        vector, length = self.value(made.inputs[0], None), made.inputs[0].shape[0]
        if is_one(x.shape[1]):
            return Reshaped(vector, (length, 1))
        return transposed(Reshaped(vector, (length, 1)))

    def _softmax(self, e: Equation, at: At) -> Formula:
        (x,), axis = e.inputs, e.attributes["axis"]
        if axis == len(x.shape) - 1:
            f = call("softmax", self.value(x, None))
        else:
            f = Call("softmax", (self.value(x, None),), compute=Applied(Softmax, e.attributes), note=str(axis))
        f = self._matrix(f, e, at)
        return call("ln", f) if e.op is LogSoftmax else f

    def _cross_entropy(self, e: Equation, at: At) -> Formula:
        logits, t = e.inputs
        if at is None and not all(map(is_one, e.output.shape)):
            raise NeedsIndicesError
        at = at or tuple(Number(0) for _ in e.output.shape)
        if len(t.shape) < len(logits.shape):
            return negative(call("ln", self._probability(logits, (*at, self.value(t, at)))))
        k = self.fresh(logits.shape[-1])
        surprise = call("ln", self._probability(logits, (*at, k)))
        return negative(big("sum", running(k), multiply(self.value(t, (*at, k)), surprise, "numbers")))

    def _binary_cross_entropy(self, e: Equation, at: At) -> Formula:
        z, t = e.inputs
        kind = "elements" if at is None else "numbers"
        f, target = (self._number(e, x, None if at is None else at[len(at) - len(_shape(x)) :]) for x in (z, t))
        y = call("σ", f)
        for v, made in self.made.items():
            if v in self.symbols and made.op is Sigmoid and made.inputs[0] is z and not made.rule:
                y = self._indexed(self.symbols[v], at, v)
        one = Number(1)
        first = multiply(target, call("ln", y), kind)
        return subtract(negative(first), multiply(subtract(one, target), call("ln", subtract(one, y)), kind))

    def _probability(self, logits: Any, at: At) -> Formula:
        """The softmax of logits, under its name if it has one."""
        for v, e in self.made.items():
            if v in self.symbols and e.op is Softmax and e.inputs[0] is logits and not e.rule:
                return self._indexed(self.symbols[v], at, v)
        return self._indexed(call("softmax", self.value(logits, None)), at, logits)

    def _onehot(self, e: Equation, at: At) -> Formula:
        if at is None or None in at:
            f = Call("onehot", (self.value(e.inputs[0], None),), compute=Applied(Onehot, e.attributes))
            return self._matrix(f, e, at)
        last = at[-1]
        assert last is not None
        return Fence("[", Relation(self.value(e.inputs[0], at[:-1]), "=", last))

    # Sums and their kin.

    def _reduction(self, e: Equation, at: At) -> Formula:
        x, axis = e.inputs[0], e.attributes["axis"]
        inner = iter(self._around(e, at, axis))
        kept = e.attributes["keepdims"]
        places = [self.fresh(n) if i in axis else None for i, n in enumerate(x.shape)]
        if kept:
            at_x = tuple(p if i in axis else a for i, (p, a) in enumerate(zip(places, inner, strict=True)))
        else:
            at_x = tuple(p if i in axis else next(inner) for i, p in enumerate(places))
        return self._over(e.op, x, at_x, [p for p in places if p is not None])

    def _sum_to(self, e: Equation, at: At) -> Formula:
        x, shape = e.inputs[0], e.attributes["shape"]
        new = len(x.shape) - len(shape)
        axis = [i for i, n in enumerate(x.shape) if i < new or (is_one(shape[i - new]) and not is_one(n))]
        inner = self._around(e, at, axis)
        places = {i: self.fresh(x.shape[i]) for i in axis}
        at_x = tuple(places[i] if i in places else inner[i - new] for i in range(len(x.shape)))
        return self._over(Sum, x, at_x, list(places.values()))

    def _around(self, e: Equation, at: At, axis: Sequence[int]) -> tuple[Formula | None, ...]:
        """The indices of a reduction's result; in matrices, sums over the first axes leave the others free."""
        if at is not None:
            return at
        rest = [n for n in e.output.shape if not is_one(n)]
        if rest and list(axis) != list(range(len(axis))):
            raise NeedsIndicesError
        return (None,) * len(e.output.shape)

    def _over(self, op: type[Op], x: Variable, at: At, places: Sequence[Formula]) -> Formula:
        letters = running(*places)
        body = as_number(self.value(x, at))
        if op is Logsumexp:
            return call("ln", big("sum", letters, power(Symbol("e^", "e"), body)))
        if op in (Max, Min):
            return big("max" if op is Max else "min", letters, body)
        total = big("sum", letters, body)
        if op is Sum or not letters:
            return total
        count = dims.size_of(tuple(self.sizes[k] for k in letters))
        return multiply(Fraction(Number(1), size_as_formula(count)), total, "numbers")

    # What only arranges.

    def _same(self, e: Equation, at: At) -> Formula:
        return as_number(self.value(e.inputs[0], at))

    def _broadcast(self, e: Equation, at: At) -> Formula:
        x = e.inputs[0]
        return self.value(x, None if at is None else at[len(at) - len(x.shape) :])

    def _transpose(self, e: Equation, at: At) -> Formula:
        x, order = e.inputs[0], e.attributes["order"]
        n = len(order)
        if at is None:
            if order == tuple(range(n)):
                return self.value(x, None)
            if order != (*range(n - 2), n - 1, n - 2):
                raise NeedsIndicesError
            return transposed(self.value(x, None))
        at_x: list[Formula | None] = [None] * n
        for i, axis in enumerate(order):
            at_x[axis] = at[i]
        return self.value(x, tuple(at_x))

    def _reshape(self, e: Equation, at: At) -> Formula:
        x, shape = e.inputs[0], e.output.shape
        real = [n for n in x.shape if not is_one(n)]
        if not dims.same_shape(tuple(real), tuple(n for n in shape if not is_one(n))):
            return self.opaque(e, at)
        if at is None:
            if x not in self.symbols and self.made[x].op is Matmul:
                return Reshaped(self.value(x, None), shape)
            if real:
                raise NeedsIndicesError
            return self.value(x, None)
        given = iter([i for i, n in zip(at, shape, strict=True) if not is_one(n)])
        return self.value(x, tuple(Number(0) if is_one(n) else next(given) for n in x.shape))


def from_template(op: type[Op], values: Sequence[Formula], elements: str) -> Formula:
    """An op's `math` with formulas for its inputs."""
    code = op.forward.__code__
    return Template(op.math, dict(zip(code.co_varnames, values, strict=False)), elements).formula()


def _is_number(shape: dims.Shape, at: At) -> bool:
    """Whether a value of this shape is a number at this index, which may leave axes free."""
    places = (None,) * len(shape) if at is None else at[len(at) - len(shape) :]
    return all(i is not None or is_one(n) for i, n in zip(places, shape, strict=True))


def _shape(x: Any) -> dims.Shape:
    return x.shape if isinstance(x, Variable) else ()


RULES: dict[type[Op], Callable[[Formulas, Equation, At], Formula]] = {
    Matmul: Formulas._matmul,
    Softmax: Formulas._softmax,
    LogSoftmax: Formulas._softmax,
    CrossEntropy: Formulas._cross_entropy,
    BinaryCrossEntropy: Formulas._binary_cross_entropy,
    Onehot: Formulas._onehot,
    Sum: Formulas._reduction,
    Mean: Formulas._reduction,
    Max: Formulas._reduction,
    Min: Formulas._reduction,
    Logsumexp: Formulas._reduction,
    SumTo: Formulas._sum_to,
    Cast: Formulas._same,
    StopGradient: Formulas._same,
    BroadcastTo: Formulas._broadcast,
    Transpose: Formulas._transpose,
    Reshape: Formulas._reshape,
    Getitem: getitem,
    ScatterAdd: scatter,
    Pad: pad,
    Conv2d: convolution,
    Conv2dInput: to_images,
    Conv2dWeight: to_kernels,
    MaxPool2d: pool,
    AvgPool2d: pool,
}
