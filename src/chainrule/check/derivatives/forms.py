"""Wrong forms of derivatives that people write: of activations, of sums, of losses."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from chainrule.check.derivatives.comparison import Array
from chainrule.check.derivatives.tape import Join, Pairs, Part, Region, Rule, Tape
from chainrule.graph import Variable

Form = tuple[str, str, Array]  # the kind of the cause, in words what is taken instead, and that derivative


def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ)."""
    return np.asarray(1 / (1 + np.exp(-x)))


def softmax(x: Array, axis: int) -> Array:
    """Along an axis."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def activation(u: Array, v: Array) -> tuple[str, list[Form]]:
    """What function leads from `u` to `v`, and wrong forms of its derivative; "" if it is none of the usual ones."""

    def same(y: Array) -> bool:
        return bool(np.allclose(v, y, rtol=1e-9, atol=1e-12))

    if same(np.tanh(u)):
        return "the tanh", [
            ("wrong point", "1 - a² of its input a, not of its output", 1 - u**2),
            ("sign", "1 + h²; the sign is wrong", 1 + v**2),
            ("wrong point", "1 - h, without the square", 1 - v),
            ("wrong point", "h (1 - h), which is that of the sigmoid", v * (1 - v)),
        ]
    if same(sigmoid(u)):
        return "the sigmoid", [
            ("wrong point", "a (1 - a) of its input a, not of its output", u * (1 - u)),
            ("sign", "h (1 + h); the sign is wrong", v * (1 + v)),
            ("missing activation derivative", "h, without the factor (1 - h)", v),
            ("missing activation derivative", "1 - h, without the factor h", 1 - v),
            ("wrong point", "1 - h², which is that of tanh", 1 - v**2),
        ]
    if same(np.maximum(u, 0)):
        return "the ReLU", [
            ("wrong point", "1 where its input is negative", (u < 0) * 1.0),
            ("wrong point", "its output, not 1, where that is positive", v),
        ]
    if (u > 0).all() and same(np.sqrt(u)):
        return "the root", [("wrong point", "1/2, without the division by the root", np.full(u.shape, 0.5))]
    if same(np.exp(u)):
        return "the exp", [("wrong point", "its input, not its output", u)]
    if same(u**2):
        return "the square", [("factor", "x, without the factor 2", u)]
    return "", []


def logits(tape: Tape, y: Variable, most: int = 6) -> list[tuple[Variable, int]]:
    """The variables whose softmax `y` is, the nearest first, and the axis."""
    value = tape.values[y]
    rows = [k for k in range(value.ndim) if np.allclose(value.sum(axis=k), 1, atol=1e-9)]
    if not rows or not (value >= 0).all():
        return []
    earlier = [v for v, i in tape.made.items() if i < tape.made[y] and v in tape.depends and v != y][::-1]
    found = []
    for axis, o in itertools.product(rows, [*earlier, *tape.inputs]):
        x = tape.values[o]
        if x.shape == value.shape and np.allclose(softmax(x, axis), value, rtol=1e-9, atol=1e-12):
            found.append((o, axis))
    return found[:most]


def softmax_forms(y: Array, axis: int) -> list[tuple[str, str, Callable[[Array], Array]]]:
    """Wrong pullbacks of a softmax with the result `y`."""

    def along(k: int, sign: int = 1) -> Callable[[Array], Array]:
        return lambda g: np.asarray(y * (g - sign * (g * y).sum(axis=k, keepdims=True)))

    forms: list[tuple[str, str, Callable[[Array], Array]]] = [
        ("missing activation derivative", "is missing", lambda g: g),
        ("missing sum", "lacks its second term, the sum over the outputs", lambda g: y * g),
        ("missing sum", "is y (1 - y): the sum over the other outputs is missing", lambda g: y * (1 - y) * g),
        ("sign", "has the wrong sign before its second term", along(axis, -1)),
    ]
    return forms + [("wrong axis", "sums over the wrong axis", along(k)) for k in range(y.ndim) if k != axis]


def replaced(pairs: list[tuple[Region, Array | None]]) -> dict[int, Rule]:
    """Rules that take other derivatives across element-wise functions; None for the mask of the gradient itself."""

    def rule(r: Region, factor: Array | None) -> Rule:
        def pull(g: Array) -> Pairs:
            return [(r.u, g * (g > 0) if factor is None else g * factor)]

        return pull

    return {r.tape.made[r.v]: rule(r, factor) for r, factor in pairs}


def to(x: Variable, form: Callable[[Array], Array]) -> Rule:
    """A rule that hands everything to one variable."""
    return lambda g: [(x, form(g))]


def constant(g: Array) -> Join:
    """A gradient, whatever the contributions are."""
    return lambda _: g


def only(sources: set[int]) -> Join:
    """The contributions of some equations alone."""
    return lambda parts: _added([p for p in parts if p[0] in sources], parts)


def without(sources: set[int]) -> Join:
    """All contributions but those of some equations."""
    return lambda parts: _added([p for p in parts if p[0] not in sources], parts)


def _added(kept: list[Part], parts: list[Part]) -> Array:
    return np.asarray(sum((d for _, d in kept), np.zeros(parts[0][1].shape)))


def untransposed(a: Array, b: Array, p: int) -> tuple[Callable[[Array], Array], ...]:
    """Products for the gradient of a factor of a @ b in which a transpose is missing."""
    if p == 0:
        again = b.reshape(b.mT.shape)
        return (
            lambda g: g @ b, lambda g: g.mT @ b.mT, lambda g: g.mT @ b, lambda g: b @ g, lambda g: b @ g.mT,
            lambda g: g @ again,
        )  # fmt: skip
    again = a.reshape(a.mT.shape)
    return (
        lambda g: a @ g, lambda g: a.mT @ g.mT, lambda g: a @ g.mT, lambda g: g @ a, lambda g: g.mT @ a,
        lambda g: again @ g,
    )  # fmt: skip


def last_only(a: Array, k: int) -> Callable[[Array], Array]:
    """The gradient of the second factor of a @ b from one row of `a` alone."""
    rows = slice(-1, None) if k == -1 else slice(0, 1)
    return lambda g: a[..., rows, :].mT @ g[..., rows, :]


def forwards(axis: int) -> Callable[[Array], Array]:
    """The running sum along an axis."""
    return lambda g: np.asarray(np.cumsum(g, axis))


def backwards(axis: int) -> Callable[[Array], Array]:
    """The running sum from the end."""
    return lambda g: np.asarray(np.flip(np.cumsum(np.flip(g, axis), axis), axis))


Reduce = Callable[[Array, Array, bool], Array | None]  # from the unsummed and the summed gradient; is it a result?


def mean(d: Array, s: Array, _: bool) -> Array | None:
    """The mean for the sum."""
    return s * (s.size / d.size) if d.size else None


def unsummed(d: Array, _: Array, leaf: bool) -> Array | None:
    """No sum at all."""
    return d


def row(k: int) -> Reduce:
    """One row of what should be summed."""

    def take(d: Array, s: Array, _: bool) -> Array | None:
        for axis in range(d.ndim):
            one = d.take(k, axis=axis)
            if one.size == s.size and d.shape[axis] > 1:
                return np.asarray(one.reshape(s.shape))
        return None

    return take


def other_axis(axis: int, keepdims: bool, mean: bool = False) -> Reduce:
    """The sum along one axis, if that is not the right one; of a `mean`, with that axis's size in its place."""

    def reduce(d: Array, s: Array, leaf: bool) -> Array | None:
        if axis >= d.ndim:
            return None
        y = d.sum(axis=axis, keepdims=keepdims)
        if mean:
            y = y * (d.size / s.size / d.shape[axis])
        if y.shape == s.shape and np.array_equal(y, s):
            return None
        try:
            return np.array(np.broadcast_to(y, s.shape))
        except ValueError:
            return y if leaf or keepdims else None

    return reduce


def everything(d: Array, s: Array, leaf: bool) -> Array | None:
    """The sum along all axes."""
    return np.full(s.shape, d.sum()) if s.size > 1 else None


def one_hot(t: Array, shape: tuple[int, ...]) -> Array | None:
    """Targets as an array of a shape: as they are, or one-hot; None if they are not for it."""
    if t.shape == shape and t.dtype.kind in "fiub":
        return t.astype(float)
    labels = t.dtype.kind in "iu" and shape and t.size and t.min() >= 0 and t.max() < shape[-1]
    fits = t.shape == shape[:-1] or (t.ndim == 0 and int(np.prod(shape[:-1])) == 1)
    return np.eye(shape[-1])[t].reshape(shape) if labels and fits else None


def other_losses(y: Array, t: Array) -> Iterator[tuple[str, Array]]:
    """Gradients of the usual losses by `y`, up to a factor."""
    if y.ndim and y.shape[-1] > 1:
        yield "the cross-entropy after a softmax", softmax(y, -1) - t
    yield "the squared error", y - t
    yield "the binary cross-entropy after a sigmoid", sigmoid(y) - t
    yield "the absolute error", np.sign(y - t)
    if (y > 0).all():
        yield "the cross-entropy", -t / y
    if (y > 0).all() and (y < 1).all():
        yield "the binary cross-entropy", (y - t) / (y * (1 - y))
