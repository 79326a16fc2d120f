"""Indices of formulas: sizes and conditions, and what ops that take and place elements mean: `x[1:]`, `x[t]`."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from chainrule.graph.graph import Equation, show_attribute
from chainrule.ops import dims
from chainrule.ops.dims import Dim, Later
from chainrule.ops.indexing import ARRAY
from chainrule.ops.op import Op
from chainrule.written.mathematics.formula import (
    Call,
    Fence,
    Formula,
    Index,
    Number,
    Relation,
    Root,
    Size,
    add,
    big,
    divide,
    multiply,
    negative,
    power,
    subtract,
)
from chainrule.written.mathematics.numerals import number

if TYPE_CHECKING:
    from chainrule.written.mathematics.formulas import Formulas

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
        return whole
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
    f = i if step == 1 else negative(i) if step == -1 else multiply(Number(step), i, "numbers")
    if isinstance(start, int) and start == 0:
        return f
    return (
        add(f, size_as_formula(start))
        if step > 0
        else subtract(size_as_formula(start), i if step == -1 else multiply(Number(-step), i, "numbers"))
    )


def _counted(part: Any, size: Any) -> Formula:
    return size_as_formula(part if isinstance(part, Dim) or part >= 0 else size + part)


def as_number(f: Formula) -> Formula:
    """A relation as 1 or 0."""
    return Fence("[", f) if isinstance(f, Relation) else f


def opaque(e: Equation, values: tuple[Formula, ...]) -> Formula:
    """An equation as the op's name with its arguments; what it takes along which axis stands below."""
    said = [e.attributes[key] for key in ("axis", "index", "order", "widths") if key in e.attributes]
    note = ", ".join(map(show_attribute, said[0])) if said and isinstance(said[0], tuple) else "".join(map(str, said))
    return Call(e.op.name, values, compute=Applied(e.op, e.attributes), note=note)


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
    """Σ over the places that were taken: [t_n = i] x_n."""
    x, *arrays = e.inputs
    index = e.attributes["index"]
    if at is None or None in at:
        raise NeedsIndicesError
    single = len({a.shape for a in arrays}) <= 1 and not (arrays and any(isinstance(part, int) for part in index))
    first = index.index(ARRAY) if arrays else 0
    if not single or index[first : first + len(arrays)] != (ARRAY,) * len(arrays):
        return f.opaque(e, at)
    places = tuple(f.fresh(n) for n in arrays[0].shape) if arrays else ()
    given, inner, conditions = iter(arrays), [], []
    for i, part in zip(at, index, strict=True):
        assert i is not None
        if part == slice(None):
            inner.append(i)
        elif isinstance(part, slice):
            return f.opaque(e, at)
        else:
            inner += places if part is ARRAY and not set(places) & set(inner) else ()
            value = f.value(next(given), places) if part is ARRAY else Number(part)
            if value != i:  # on an axis of size 1 both are 0
                first_side, other = (value, i) if part is ARRAY else (i, value)
                conditions.append(Fence("[", Relation(first_side, "=", other)))
    total = f.value(x, tuple(inner))
    for condition in reversed(conditions):
        total = multiply(condition, total, "numbers")
    return big("sum", running(*places), total)
