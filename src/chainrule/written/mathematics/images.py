"""Convolution and pooling as sums with indices: y_nohw = Σ_cij x_{n, c, h+i, w+j} W_ocij."""

import math
from typing import TYPE_CHECKING

from chainrule.graph.graph import Equation
from chainrule.written.mathematics.elements import At, NeedsIndicesError, counted, running
from chainrule.written.mathematics.formula import (
    PRODUCT,
    Formula,
    Fraction,
    Index,
    Number,
    Relation,
    add,
    big,
    bracketed,
    cases,
    multiply,
)

if TYPE_CHECKING:
    from chainrule.written.mathematics.formulas import Formulas

TERMS = 2**23  # beyond, a sum is not written out: each line is computed as it is printed, to see whether it holds


def convolution(f: "Formulas", e: Equation, at: At) -> Formula:
    """y_nohw = Σ_cij x_{n, c, sh + di - p, sw + dj - p} W_ocij."""
    w = e.inputs[1]
    n, o, h, v = _places(at)
    c, i, j = map(f.fresh, w.shape[1:])
    if _is_long(f) or e.attributes["groups"] > 1:
        return f.opaque(e, at)
    met = _met(f, e, (n, c), (h, v), (i, j))
    return big("sum", running(c, i, j), multiply(met, f.value(w, (o, c, i, j)), "numbers"))


def to_kernels(f: "Formulas", e: Equation, at: At) -> Formula:
    """dW_ocij = Σ_nhw G_nohw x_{n, c, sh + di - p, sw + dj - p}."""
    g = e.inputs[0]
    o, c, i, j = _places(at)
    n, h, v = (f.fresh(g.shape[axis]) for axis in (0, 2, 3))
    if _is_long(f) or e.attributes["groups"] > 1:
        return f.opaque(e, at)
    met = _met(f, e, (n, c), (h, v), (i, j), 1)
    return big("sum", running(n, h, v), multiply(f.value(g, (n, o, h, v)), met, "numbers"))


def to_images(f: "Formulas", e: Equation, at: At) -> Formula:
    """dx_ncab = Σ_oij G_{n, o, a + p - di, b + p - dj} W_ocij, where there is such an element of G; for stride 1."""
    g, w = e.inputs
    n, c, *place = _places(at)
    o, i, j = (f.fresh(w.shape[axis]) for axis in (0, 2, 3))
    if _is_long(f) or e.attributes["groups"] > 1 or e.attributes["stride"] != (1, 1):
        return f.opaque(e, at)
    indices = [
        counted(add(a, Number(p)), _times(d, k), -1)
        for a, p, d, k in zip(place, e.attributes["padding"], e.attributes["dilation"], (i, j), strict=True)
    ]
    term = multiply(f.value(g, (n, o, *indices)), f.value(w, (o, c, i, j)), "numbers")
    kept = [k > 1 for k in w.shape[2:]]  # a kernel of one row never leaves the image
    return big("sum", running(o, i, j), _within(term, indices, g.shape[2:], kept, 0))


def pool(f: "Formulas", e: Equation, at: At) -> Formula:
    """The largest element of each window, or the mean: 1/k² Σ_ij x_{n, c, sh + i, sw + j}."""
    n, c, h, v = _places(at)
    kernel, is_mean = e.attributes["kernel"], "dilation" not in e.attributes
    i, j = map(f.fresh, kernel)
    if _is_long(f) or (any(e.attributes["padding"]) and not is_mean):
        return f.opaque(e, at)
    met = _met(f, e, (n, c), (h, v), (i, j))
    ends = tuple((k.letter, size) for k, size in zip((i, j), kernel, strict=True) if isinstance(k, Index))
    if not is_mean:
        return big("max", running(i, j), met, ends)
    return multiply(Fraction(Number(1), Number(math.prod(kernel))), big("sum", running(i, j), met, ends), "numbers")


def _places(at: At) -> tuple[Formula, ...]:
    """An index for every axis; in matrices there is nothing to say."""
    if at is None or None in at:
        raise NeedsIndicesError
    return tuple(i for i in at if i is not None)


def _is_long(f: "Formulas") -> bool:
    return math.prod(n if isinstance(n, int) else 4 for n in f.sizes.values()) > TERMS


def _met(
    f: "Formulas",
    e: Equation,
    first: tuple[Formula, ...],
    window: tuple[Formula, ...],
    place: tuple[Formula, ...],
    x: int = 0,
) -> Formula:
    """The element of the images that stands at a place of a window, 0 in the padding; `x` is which input they are."""
    images, padding = e.inputs[x], e.attributes["padding"]
    apart = e.attributes.get("dilation", (1, 1))
    indices = [
        counted(add(_times(s, h), _times(d, i)), Number(p), -1)
        for s, h, d, i, p in zip(e.attributes["stride"], window, apart, place, padding, strict=True)
    ]
    return _within(f.value(images, (*first, *indices)), indices, images.shape[2:], [p > 0 for p in padding], 0)


def _within(term: Formula, indices: list[Formula], size: tuple[int, ...], kept: list[bool], other: float) -> Formula:
    """A term where these indices are within an array of this size, elsewhere another number."""
    inside = [Relation(Relation(Number(0), "≤", index), "<", Number(n)) for index, n in zip(indices, size, strict=True)]
    return cases([x for x, needed in zip(inside, kept, strict=True) if needed], term, Number(other))


def _times(factor: int, i: Formula) -> Formula:
    if isinstance(i, Number):
        return Number(factor * i.value)
    return i if factor == 1 else multiply(Number(factor), bracketed(i, PRODUCT), "numbers")
