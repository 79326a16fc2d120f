"""Indices of formulas: sizes and conditions, and what ops that take and place elements mean: `x[1:]`, `x[t]`."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from chainrule.graph.graph import Equation, show_attribute
from chainrule.ops import dims
from chainrule.ops.convolution import Conv2d, Conv2dInput, Conv2dWeight
from chainrule.ops.dims import Dim, Later
from chainrule.ops.indexing import ARRAY
from chainrule.ops.op import Op
from chainrule.ops.pooling import AvgPool2d, AvgPool2dInput, MaxPool2d, MaxPool2dInput, MaxPool2dOutput
from chainrule.ops.structure import Reshape
from chainrule.written.mathematics.formula import (
    PRODUCT,
    Call,
    Fence,
    Formula,
    Index,
    Number,
    Relation,
    Root,
    Size,
    Sum,
    add,
    big,
    bracketed,
    cases,
    divide,
    multiply,
    power,
    subtract,
)
from chainrule.written.mathematics.numerals import number

if TYPE_CHECKING:
    from chainrule.written.mathematics.formulas import Formulas

IMAGES: Mapping[type[Op], tuple[str, str]] = {  # their names, with marks, and what stands below them; else the kernel
    Conv2d: ("conv", ""), Conv2dInput: ("convᵀ", ""), Conv2dWeight: ("convᵀ", "W"),
    MaxPool2d: ("maxpool", ""), MaxPool2dInput: ("maxpool′ᵀ", ""), MaxPool2dOutput: ("maxpool′", ""),
    AvgPool2d: ("avgpool", ""), AvgPool2dInput: ("avgpoolᵀ", ""),
}  # fmt: skip
At = tuple[Formula | None, ...] | None  # an index for each axis, None for what stays free; or none at all: the matrix


class NeedsIndicesError(Exception):
    """This cannot be said in matrices."""


def size_as_formula(x: Any) -> Formula:
    """A number or a symbolic size."""
    if isinstance(x, Dim):
        terms = []
        for names, c in x.terms.items():
            factors: list[Formula] = [Size(name, name) for name in names]
            if c != 1 or not names:
                factors.insert(0, Number(c))
            f = factors[0]
            for other in factors[1:]:
                f = multiply(f, other, "numbers")
            terms.append(f)
        whole = terms[0]
        for term in terms[1:]:
            whole = add(whole, term)
        return counted(whole, Number(0), 1) if len(terms) > 1 else whole
    if isinstance(x, Later):
        parts = [size_as_formula(o) for o in x.operands]
        if x.symbol == "sqrt":
            return Root(parts[0])
        rules: dict[str, Callable[..., Formula]] = {
            "+": add, "-": subtract, "*": partial(multiply, kind="numbers"), "/": divide, "**": power
        }  # fmt: skip
        return rules[x.symbol](*parts)
    return number(float(x))


def is_one(n: Any) -> bool:
    """Whether a size is 1."""
    return dims.same(n, 1)


def running(*places: Formula) -> tuple[str, ...]:
    """The letters of the places that run."""
    return tuple(p.letter for p in places if isinstance(p, Index))


def _shifted(i: Formula | None, part: slice, size: Any) -> Formula:
    """The index in x of element i of x[start:stop:step]."""
    assert i is not None
    step = 1 if part.step is None else part.step
    start = (0 if step > 0 else size - 1) if part.start is None else part.start
    if not isinstance(start, Dim) and start < 0:
        start = size + start
    if isinstance(i, Number):  # the only element of an axis of size 1
        return size_as_formula(start)
    steps = i if abs(step) == 1 else multiply(Number(abs(step)), bracketed(i, PRODUCT), "numbers")
    return counted(size_as_formula(start), steps, 1 if step > 0 else -1)


def counted(start: Formula, steps: Formula, sign: int) -> Formula:
    """start + steps or start - steps as an index, with its numbers taken together: n + 1, 11 - i, N - 1."""
    whole = add(start, steps) if sign > 0 else subtract(start, steps)
    assert isinstance(whole, Sum)
    terms = [term for s, x in whole.terms for term in _terms(s, x)]
    numbers = sum(s * x.value for s, x in terms if isinstance(x, Number))
    others = sorted(
        [t for t in terms if not isinstance(t[1], Number)], key=lambda t: isinstance(t[1], Size) + (t[0] < 0)
    )
    if not others:
        return Number(numbers)
    number_term = [(1 if numbers > 0 else -1, Number(abs(numbers)))] if numbers else []
    terms = [*number_term, *others] if others[0][0] < 0 else [*others, *number_term]
    return terms[0][1] if terms[0][0] > 0 and len(terms) == 1 else Sum(tuple(terms))


def _terms(sign: int, x: Formula) -> list[tuple[int, Formula]]:
    """The terms of one that may be a sum in brackets."""
    inside = x.inside if isinstance(x, Fence) and x.bracket == "(" else x
    return [t for s, y in inside.terms for t in _terms(sign * s, y)] if isinstance(inside, Sum) else [(sign, x)]


def _counted(part: Any, size: Any) -> Formula:
    return size_as_formula(part if isinstance(part, Dim) or part >= 0 else size + part)


def as_number(f: Formula) -> Formula:
    """A relation as 1 or 0."""
    return Fence("[", f) if isinstance(f, Relation) else f


def opaque(e: Equation, values: tuple[Formula, ...]) -> Formula:
    """An equation as the op's name with its arguments; what it takes along which axis, or its shape, stands below."""
    if e.op is Reshape:
        shape = "×".join(re.sub(r"(?<=\d)\*", "", str(n)) for n in e.output.shape) or "1"  # 5*N as 5N
        return Call(e.op.name, values, compute=Applied(e.op, e.attributes), note=shape)
    said = [e.attributes[key] for key in ("axis", "index", "order", "widths") if key in e.attributes]
    note = ", ".join(map(show_attribute, said[0])) if said and isinstance(said[0], tuple) else "".join(map(str, said))
    name = e.op.name
    if e.op in IMAGES:
        name, note = IMAGES[e.op]
        note = note or "×".join(map(str, e.attributes.get("kernel", ())))
    return Call(name, values, compute=Applied(e.op, e.attributes), note=note)


class Applied:
    """An op with its attributes, which may hold symbolic sizes; computes on arrays, given the sizes."""

    def __init__(self, op: type[Op], attributes: Mapping[str, Any]) -> None:
        self.op, self.attributes = op, attributes

    def __call__(self, sizes: Mapping[str, Any], *arrays: Any) -> Any:
        return self.op.forward(*arrays, **{key: dims.evaluate(value, sizes) for key, value in self.attributes.items()})


def getitem(f: "Formulas", e: Equation, at: At) -> Formula:
    """What an index takes, at a place of the result."""
    x, *arrays = e.inputs
    index = e.attributes["index"]
    if at is None:
        if e.output.shape:
            raise NeedsIndicesError
        at = ()
    places = [i for i, part in enumerate(index) if part is ARRAY]
    together = places == list(range(places[0], places[0] + len(places))) if places else True
    if not together or None in at or (arrays and any(isinstance(part, int) for part in index)):
        return f.opaque(e, at)
    rank = max((len(a.shape) for a in arrays), default=0)
    found: list[Formula | None] = []
    rest = list(at)
    chosen: At = None
    given = iter(arrays)
    for part in index:
        if part is ARRAY:
            if chosen is None:
                chosen, rest = tuple(rest[:rank]), rest[rank:]
            a = next(given)
            found.append(f.value(a, chosen[rank - len(a.shape) :]))
        elif isinstance(part, slice):
            found.append(_shifted(rest.pop(0), part, x.shape[len(found)]))
        else:
            found.append(_counted(part, x.shape[len(found)]))
    return f.value(x, tuple(found))


def scatter(f: "Formulas", e: Equation, at: At) -> Formula:
    """What was taken, at its place, and 0 elsewhere: for arrays Σ_n [t_n = i] x_n, for slices x_{i - 1} where i ≥ 1."""
    x, *arrays = e.inputs
    index = e.attributes["index"]
    if at is None or None in at:
        raise NeedsIndicesError
    first = index.index(ARRAY) if arrays else 0
    if (arrays and any(isinstance(part, int) for part in index)) or index[first : first + len(arrays)] != (
        ARRAY,
    ) * len(arrays):
        return f.opaque(e, at)
    places = tuple(f.fresh(n) for n in dims.broadcast(*(a.shape for a in arrays))) if arrays else ()
    summed, given, conditions = list(places), iter(arrays), []
    inner: list[Formula] = []
    ranges: list[Relation] = []
    for i, part, size in zip(at, index, e.output.shape, strict=True):
        assert i is not None
        if isinstance(part, slice):
            length = x.shape[len(inner)]
            if not is_one(length) and part.step in (None, 1, -1):
                place, limits = _placed(i, part, size, length)
                ranges += limits
            else:
                place = f.fresh(length)
                summed.append(place)
                conditions.append(Relation(i, "=", _shifted(place, part, size)))
            inner.append(place)
        elif part is ARRAY:
            a = next(given)
            inner += places if len(inner) == first else ()
            conditions.append(Relation(f.value(a, places[len(places) - len(a.shape) :]), "=", i))
        else:
            conditions.append(Relation(i, "=", _counted(part, size)))
    total = cases(ranges, f.value(x, tuple(inner)), Number(0))
    for condition in reversed(conditions):
        if condition.left != condition.right:  # on an axis of size 1 both are 0
            total = multiply(Fence("[", condition), total, "numbers")
    return big("sum", running(*summed), total)


def pad(f: "Formulas", e: Equation, at: At) -> Formula:
    """The same elements further on, between copies of a number."""
    (x,) = e.inputs
    if at is None or None in at:
        raise NeedsIndicesError
    if any(is_one(n) for n in x.shape):
        return f.opaque(e, at)
    inner: list[Formula] = []
    ranges: list[Relation] = []
    for i, (before, _), size, length in zip(at, e.attributes["widths"], e.output.shape, x.shape, strict=True):
        assert i is not None
        place, limits = _placed(i, slice(before, None), size, length)
        inner.append(place)
        ranges += limits
    return cases(ranges, f.value(x, tuple(inner)), number(float(e.attributes["value"])))


def _placed(i: Formula, part: slice, size: Any, length: Any) -> tuple[Formula, list[Relation]]:
    """Which element of x, of this length, stands at place i of a larger axis where x was put at a slice of step ±1.

    Also for which i there is one, unless for all.
    """
    back = part.step == -1
    start = (size - 1 if back else 0) if part.start is None else part.start
    if not isinstance(start, Dim) and start < 0:
        start = size + start
    low, high = (start - length + 1, start + 1) if back else (start, start + length)
    origin = size_as_formula(start)
    place = counted(origin, i, -1) if back else counted(i, origin, -1)
    below, above = not dims.same(low, 0), not dims.same(high, size)
    if below and above:
        return place, [Relation(Relation(size_as_formula(low), "≤", i), "<", size_as_formula(high))]
    if below:
        return place, [Relation(i, "≥", size_as_formula(low))]
    return place, [Relation(i, "<", size_as_formula(high))] if above else []
