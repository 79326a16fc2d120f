"""Formulas as small trees: written as LaTeX (`latex.py`) and as MathML (`mathml.py`), and computed (`evaluation.py`).

Brackets are set where a formula is built, by `add`, `multiply` and their kin; whoever writes one only walks the tree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

# How tightly a formula holds together; one that is looser than its place allows is put in brackets.
RELATION, SUM, PRODUCT, PREFIX, TIGHT, ATOM = range(6)
BARE = {"ln", "tanh", "sin", "cos"}  # functions that take a single symbol without brackets


@dataclass(frozen=True)
class Formula:
    """A part of a formula. `level` says how tightly it holds together."""

    @property
    def level(self) -> int:
        """One of RELATION, SUM, PRODUCT, PREFIX, TIGHT, ATOM."""
        return ATOM


@dataclass(frozen=True)
class Symbol(Formula):
    """A letter or word with subscripts; `name` is the variable whose value it has."""

    name: str
    letter: str
    subscripts: tuple[Formula, ...] = ()
    accent: str = ""


@dataclass(frozen=True)
class Size(Symbol):
    """A number that has a letter: the batch size N, π."""


@dataclass(frozen=True)
class Derivative(Formula):
    """∂L/∂x, and `name` is the variable that holds it."""

    name: str
    of: Formula
    by: Formula

    @property
    def level(self) -> int:
        return TIGHT


@dataclass(frozen=True)
class Number(Formula):
    """A plain number, as it is written."""

    value: float

    @property
    def text(self) -> str:
        """Its digits: integers without a point, others as short as they are exact."""
        v = float(self.value)
        return str(int(v)) if v.is_integer() and abs(v) < 1e15 else repr(v)


@dataclass(frozen=True)
class Index(Formula):
    """A running index such as n."""

    letter: str


@dataclass(frozen=True)
class Sum(Formula):
    """Terms with their signs, +1 or -1."""

    terms: tuple[tuple[int, Formula], ...]

    @property
    def level(self) -> int:
        return SUM


@dataclass(frozen=True)
class Product(Formula):
    """Factors side by side: `kind` is "matrix", "elements" (written ⊙) or "numbers"."""

    factors: tuple[Formula, ...]
    kind: str

    @property
    def level(self) -> int:
        return PRODUCT


@dataclass(frozen=True)
class Fraction(Formula):
    """A fraction."""

    above: Formula
    below: Formula

    @property
    def level(self) -> int:
        return TIGHT


@dataclass(frozen=True)
class Power(Formula):
    """A power; e^x is the power of the Symbol e."""

    base: Formula
    exponent: Formula

    @property
    def level(self) -> int:
        return TIGHT


@dataclass(frozen=True)
class Transposed(Formula):
    """A matrix with rows for columns."""

    base: Formula

    @property
    def level(self) -> int:
        return TIGHT


@dataclass(frozen=True)
class Root(Formula):
    """A square root."""

    inside: Formula


@dataclass(frozen=True)
class Call(Formula):
    """A function of arguments. `compute` is given for functions that only the library knows."""

    function: str
    arguments: tuple[Formula, ...]
    bare: bool = False  # without brackets: ln y
    compute: Callable[..., Any] | None = None
    note: str = ""  # a subscript: the axis of a softmax

    @property
    def level(self) -> int:
        return PREFIX if self.bare else ATOM


@dataclass(frozen=True)
class Big(Formula):
    """Σ, max or min over running indices, each from the first to the last; `ends` says where the axes do not."""

    operator: str
    indices: tuple[str, ...]
    body: Formula
    ends: tuple[tuple[str, int], ...] = ()

    @property
    def below(self) -> tuple[Formula, ...]:
        """What stands below the sign: i, or i < 2."""
        ends = dict(self.ends)
        return tuple(Relation(Index(i), "<", Number(ends[i])) if i in ends else Index(i) for i in self.indices)

    @property
    def level(self) -> int:
        return PREFIX


@dataclass(frozen=True)
class Indexed(Formula):
    """An element of an array, or a row: axes of size 1 have no index."""

    base: Formula
    indices: tuple[Formula, ...]


@dataclass(frozen=True)
class Relation(Formula):
    """A comparison; of a comparison on the left, as in 1 ≤ i < 4, both hold."""

    left: Formula
    sign: str
    right: Formula

    @property
    def level(self) -> int:
        return RELATION


@dataclass(frozen=True)
class All(Formula):
    """Several relations that hold together."""

    relations: tuple[Formula, ...]

    @property
    def level(self) -> int:
        return RELATION


@dataclass(frozen=True)
class Fence(Formula):
    """Something in brackets: "(", or "|" for the size, or "[" around a relation: 1 where it holds, else 0."""

    bracket: str
    inside: Formula


@dataclass(frozen=True)
class Cases(Formula):
    """One of two values."""

    condition: Formula
    yes: Formula
    no: Formula


@dataclass(frozen=True)
class Reshaped(Formula):
    """The same numbers in another shape, written as they are: a vector that stands as a column in a product."""

    inside: Formula
    shape: tuple[Any, ...]

    @property
    def level(self) -> int:
        return self.inside.level


def bracketed(f: Formula, level: int) -> Formula:
    """`f`, in brackets if it is looser than `level`."""
    return Fence("(", f) if f.level < level else f


def add(a: Formula, b: Formula) -> Formula:
    """a + b."""
    left = a.terms if isinstance(a, Sum) else ((1, bracketed(a, PRODUCT)),)
    right = b.terms if isinstance(b, Sum) else ((1, bracketed(b, PRODUCT)),)
    return Sum((*left, *right))


def subtract(a: Formula, b: Formula) -> Formula:
    """a - b."""
    left = a.terms if isinstance(a, Sum) else ((1, bracketed(a, PRODUCT)),)
    return Sum((*left, (-1, bracketed(b, PRODUCT))))


def negative(x: Formula) -> Formula:
    """-x."""
    if isinstance(x, Sum) and len(x.terms) == 1:
        sign, term = x.terms[0]
        return term if sign < 0 else Sum(((-1, term),))
    if isinstance(x, Number):
        return Number(-x.value) if x.value < 0 else Sum(((-1, x),))
    return Sum(((-1, bracketed(x, PRODUCT)),))


def multiply(a: Formula, b: Formula, kind: str) -> Formula:
    """The product of two; numbers and the sign come first."""
    for x, other in ((a, b), (b, a)):
        if isinstance(x, Sum) and len(x.terms) == 1 and x.terms[0][0] < 0:
            x = x.terms[0][1]
            return negative(multiply(x, b, kind) if other is b else multiply(a, x, kind))
        if isinstance(x, Number) and x.value < 0 and not isinstance(other, Number):
            return negative(multiply(Number(-x.value), other, kind))
    if kind == "numbers" and isinstance(b, Number) and not isinstance(a, Number):
        a, b = b, a
    if kind == "numbers" and isinstance(a, Number):  # 2 · 3 x is 6 x
        if a.value == 1:
            return b
        if isinstance(b, Number):
            return Number(a.value * b.value)
        if isinstance(b, Product) and b.kind == kind and isinstance(b.factors[0], Number):
            return multiply(Number(a.value * b.factors[0].value), _rest(b), kind)
    elif kind == "numbers" and isinstance(b, Product) and b.kind == kind and isinstance(b.factors[0], Number):
        return multiply(b.factors[0], multiply(a, _rest(b), kind), kind)
    first = a if isinstance(a, Product) and a.kind == kind else _factor(a, kind)
    if isinstance(first, (Big, Call)) and first.level == PREFIX:
        first = _closed(first)
    left = first.factors if isinstance(first, Product) and first.kind == kind else (first,)
    right = b.factors if isinstance(b, Product) and b.kind == kind else (_factor(b, kind, last=True),)
    *before, last = left
    if isinstance(last, (Big, Call)) and last.level == PREFIX:
        last = _closed(last)
    return Product((*before, last, *right), kind)


def _factor(f: Formula, kind: str, last: bool = False) -> Formula:
    loose = isinstance(f, Product) and not (kind == "numbers" if last else kind == "elements" and f.kind == "numbers")
    negative_number = isinstance(f, Number) and f.value < 0
    return Fence("(", f) if loose or negative_number else bracketed(f, PRODUCT)


def _closed(f: Formula) -> Formula:
    return replace(f, bare=False) if isinstance(f, Call) else Fence("(", f)


def divide(a: Formula, b: Formula, kind: str = "numbers") -> Formula:
    """a / b as a fraction, not of fractions; the sign of a comes before it. `kind` is that of products below."""
    if isinstance(a, Sum) and len(a.terms) == 1:
        return negative(divide(a.terms[0][1], b, kind))
    if isinstance(a, Number) and a.value < 0:
        return negative(divide(Number(-a.value), b, kind))
    below = b.factors if isinstance(b, Product) and b.kind != "matrix" else (b,)
    for f in [f for f in below if isinstance(f, Fraction)]:  # a / (b/c) is a c / b
        a = multiply(a, f.below, "numbers" if is_number(a) or is_number(f.below) else kind)
        b = substituted(b, f, f.above)
    if isinstance(a, Product) and a.kind != "matrix":
        fractions = [f for f in a.factors if isinstance(f, Fraction)]
        if fractions:
            above = _product([f.above if isinstance(f, Fraction) else f for f in a.factors], a.kind)
            for f in fractions:
                b = _below(f.below, b, kind)
            return divide(above, b, kind)
        if isinstance(b, Product) and isinstance(a.factors[0], Number) and a.factors[0] == b.factors[0]:
            a, b = _rest(a), _rest(b)
    if isinstance(a, Fraction):
        return divide(a.above, _below(a.below, b, kind), kind)
    return Fraction(_open(a), _open(b))


def _below(a: Formula, b: Formula, kind: str) -> Formula:
    """The product of two denominators."""
    if a == b:
        return power(a, Number(2))
    if isinstance(a, Product) and is_number(a.factors[0]):
        return multiply(a.factors[0], _below(_rest(a), b, kind), "numbers")
    if is_number(b):
        a, b = b, a
    return multiply(a, b, "numbers" if is_number(a) or is_number(b) else kind)


def is_number(f: Formula) -> bool:
    """Whether this is a number, whatever the values of variables."""
    if isinstance(f, Product):
        return all(map(is_number, f.factors))
    return isinstance(f, (Number, Size)) or (isinstance(f, Root) and is_number(f.inside))


def _open(f: Formula) -> Formula:
    return f.inside if isinstance(f, Fence) and f.bracket == "(" else f


def _product(factors: list[Formula], kind: str) -> Formula:
    f = factors[0]
    for other in factors[1:]:
        f = multiply(f, other, kind)
    return f


def _rest(f: Product) -> Formula:
    return f.factors[1] if len(f.factors) == 2 else Product(f.factors[1:], f.kind)


def power(base: Formula, exponent: Formula) -> Formula:
    """A power."""
    if isinstance(base, Number) and base.value < 0:
        return Power(Fence("(", base), exponent)
    return Power(bracketed(base, ATOM), exponent)


def transposed(f: Formula) -> Formula:
    """The transpose; that of a transpose is the matrix itself."""
    return f.base if isinstance(f, Transposed) else Transposed(bracketed(f, ATOM))


def call(function: str, *arguments: Formula) -> Formula:
    """A function; the logarithm and its kin take a single symbol without brackets."""
    single = isinstance(arguments[0], (Symbol, Indexed)) and len(arguments) == 1
    return Call(function, arguments, bare=single and function in BARE)


def cases(relations: Sequence[Formula], yes: Formula, no: Formula) -> Formula:
    """One of two values: the first where all of these hold."""
    if not relations:
        return yes
    return Cases(relations[0] if len(relations) == 1 else All(tuple(relations)), yes, no)


def big(operator: str, indices: tuple[str, ...], body: Formula, ends: tuple[tuple[str, int], ...] = ()) -> Formula:
    """Σ over indices."""
    if not indices:
        return body
    if isinstance(body, Big) and body.operator == operator:
        return Big(operator, (*indices, *body.indices), body.body, (*ends, *body.ends))
    if operator == "sum" and isinstance(body, Sum) and len(body.terms) == 1:
        return negative(big(operator, indices, body.terms[0][1], ends))
    if operator == "sum" and (chosen := _chosen(indices, body)):
        return big(operator, *chosen, ends)
    return Big(operator, indices, bracketed(body, PRODUCT), ends)


def _chosen(indices: tuple[str, ...], body: Formula) -> tuple[tuple[str, ...], Formula] | None:
    """Σ_k [k = c] x_k is x_c: the indices that are left and what is summed; None if there is no such condition."""
    factors = body.factors if isinstance(body, Product) and body.kind == "numbers" else ()
    for i, factor in enumerate(factors):
        relation = factor.inside if isinstance(factor, Fence) and factor.bracket == "[" else None
        if not isinstance(relation, Relation) or relation.sign != "=":
            continue
        for k, c in ((relation.left, relation.right), (relation.right, relation.left)):
            if isinstance(k, Index) and k.letter in indices and substituted(c, k, Number(0)) == c:
                rest = [substituted(f, k, c) for f in (*factors[:i], *factors[i + 1 :])]
                left = tuple(letter for letter in indices if letter != k.letter)
                return left, rest[0] if len(rest) == 1 else Product(tuple(rest), "numbers")
    return None


def substituted(f: Any, old: Formula, new: Formula) -> Any:
    """`f` with one part replaced, everywhere."""
    if f == old:
        return new
    if isinstance(f, tuple):
        return tuple(substituted(part, old, new) for part in f)
    if isinstance(f, Formula):
        return replace(f, **{field.name: substituted(getattr(f, field.name), old, new) for field in fields(f)})
    return f


def indexed(f: Formula, indices: tuple[Formula, ...]) -> Formula:
    """An element of `f`."""
    if not indices:
        return f
    plain = isinstance(f, (Symbol, Derivative, Call)) and (f.level == ATOM or isinstance(f, Derivative))
    return Indexed(f if plain else Fence("(", f), indices)
