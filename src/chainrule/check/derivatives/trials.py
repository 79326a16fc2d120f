"""What is tried on a gradient: random directions, elements far smaller than others, and points where a loss has no
derivative.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.check.derivatives.comparison import Arithmetic, Array, Point, Slope
from chainrule.check.verdict import Cause

DIRECTIONS = 2
FLOOR = 1e-12  # of the loss and of the largest gradient: what rounding alone may make of a gradient that is 0
ELEMENTS = 300
# Elements are also compared with their own size: those far smaller than the largest are lost in a random direction.
SMALL = ((1e-5, 1e-2), (1e-8, 1e-5), (0.0, 1e-8))
NOTHING = 1e-10  # of the largest element: what an element that is 0 may be instead


@dataclass
class Case:
    """Gradients to be judged.

    Attributes
    ----------
    loss : callable
        From a dict of arrays to a number.
    point : dict
        The inputs that have a gradient, in float64.
    given : dict
        The gradients.
    sizes : dict
        Numbers that a factor may come from.
    lost : dict
        For gradients recovered from an update, their rounding error.
    step, tolerance : float
        The step to be judged; the relative error that is allowed.
    complex_numbers : bool
        Whether the loss may take complex numbers.
    exact : callable
        The correct gradients by another route, or None: they are believed only where arithmetic confirms them.
    explain : callable
        Looks for causes beyond those that numbers show: from `(yours, correct, names)` to a dict of causes.
    """

    loss: Callable[[Point], Any]
    point: dict[str, Array]
    given: dict[str, Array]
    sizes: Mapping[str, float] = field(default_factory=dict)
    lost: Mapping[str, float] = field(default_factory=dict)
    step: float | None = None
    tolerance: float = 1e-5
    seed: int = 0
    complex_numbers: bool = True
    exact: Callable[[], dict[str, Array] | None] = lambda: None
    explain: Callable[[dict[str, Array], dict[str, Array], list[str]], dict[str, Cause]] = lambda *_: {}


@dataclass
class Trial:
    """One direction: the slope found, and the one that a gradient gives (None if its shape does not fit)."""

    direction: Array
    slope: Slope
    yours: float | None


class Trials:
    """What is known of a case, and what the trials say of each input."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.arithmetic = Arithmetic(case.loss, case.point, case.step)
        self.arithmetic.allows_complex &= case.complex_numbers
        self.sizes = self.arithmetic.sizes
        self.fitting = {name: fitted(g, case.point[name].shape) for name, g in case.given.items()}
        norms = [self._norm(name) for name in case.given]
        self.eps = max([rounding_of(g.dtype) for g in case.given.values()], default=rounding_of(np.dtype(float)))
        floor = max(FLOOR, min(self.eps, 1e-6)) if self.eps > 1e-10 else FLOOR
        self.floor = floor * (abs(self.arithmetic.value) + max([n for n in norms if np.isfinite(n)], default=0.0))
        self.trials: dict[str, list[Trial]] = {}
        self.tiny: list[str] = []
        self.small: dict[str, tuple[int, ...]] = {}  # elements that are wrong beside much larger ones that are right
        self.bands = False
        self.infinite: dict[str, tuple[int, ...]] = {}  # an element where the derivative is infinite
        self.steep: dict[str, Array] = {}  # all those where it is also given as infinite
        self.gave_up = False  # whether the search for a cause was not finished
        self.trusted = False  # whether another route's gradients agree with arithmetic

    def _norm(self, name: str) -> float:
        g = self.fitting[name]
        return 0.0 if g is None else float(np.linalg.norm(np.asarray(g, float))) * self.sizes[name]

    def _infinite(self, name: str) -> Array:
        """Where a gradient is infinite and the derivative is so too: there is nothing to compare then."""
        x, g = self.case.point[name], self.fitting[name]
        steep = np.zeros(x.shape, bool)
        if g is None or not np.isinf(g).any() or np.isnan(g).any():
            return steep
        for place in np.argwhere(np.isinf(g))[:ELEMENTS]:
            index = tuple(int(k) for k in place)
            if self.arithmetic.steepness(name, index) == g[index]:
                steep[index] = True
                self.infinite[name] = index
        self.steep[name] = steep
        self.fitting[name] = np.where(steep, 0, g)
        return steep

    def _steep_element(self, name: str) -> tuple[int, ...] | None:
        """An element by which the derivative is infinite, where the loss is not defined on both sides of the point."""
        x = self.case.point[name]
        if x.size > ELEMENTS or not any(np.isnan(t.slope.value) for t in self.trials[name]):
            return None
        return next((i for i in np.ndindex(x.shape) if np.isinf(self.arithmetic.steepness(name, i))), None)

    def _only_kink(self, name: str) -> bool:
        """Whether a gradient misses the slopes only because the point stands at a kink: it is one of either side's, or
        between them; where the sides are not known, that is looked at element by element.
        """
        g = self.fitting[name]
        if g is None or not np.isfinite(g).all():
            return False
        tape = getattr(self.derived, "tape", None)
        if tape is None or not self._confirms(name, self.derived[name]):
            off = [t for t in self.trials[name] if self._judge(name, t) == "wrong"]
            return all(t.slope.kink for t in off) and self._kinked_elements(name)
        sides = np.array([self.derived[name], *(side[name] for side in tape.sides)], float)
        low, high = sides.min(axis=0), sides.max(axis=0)
        allowed = self.case.tolerance * float(max(np.linalg.norm(g), np.linalg.norm(low), np.linalg.norm(high)))
        beyond = np.maximum(np.maximum(low - g, g - high), 0)
        return bool(np.linalg.norm(high - low) > allowed >= np.linalg.norm(beyond))

    def _kinked_elements(self, name: str) -> bool:
        """Whether all of some elements are right, or at a kink and no larger than both slopes together."""
        g = np.asarray(self.fitting[name], float)
        rng, size = np.random.default_rng(self.case.seed), self.sizes[name]
        for i in rng.permutation(g.size)[:40]:
            d = np.zeros(g.shape)
            d.flat[i] = size
            slope, yours = self.arithmetic.slope({name: d}), float(g.flat[i]) * size
            ends = (slope.left, slope.right, slope.left + slope.right, 0.0) if slope.kink else (slope.value,)
            allowed = 1e-3 * max(map(abs, ends)) + 4 * slope.error + self.floor
            if not min(ends) - allowed <= yours <= max(ends) + allowed:
                return False
        return True

    def _try(self, name: str, direction: Array) -> Trial:
        g = self.fitting[name]
        yours = None if g is None else float(np.sum(np.asarray(g, float) * direction))
        return Trial(direction, self.arithmetic.slope({name: direction}), yours)

    def _verdict(self, name: str) -> str:
        """What the directions say about one input."""
        if any(t.yours is None or not np.isfinite(t.yours) for t in self.trials[name]):
            return "wrong"
        found = {self._judge(name, t) for t in self.trials[name]}
        return next((v for v in ("wrong", "kink", "lost precision", "unsuitable step") if v in found), "right")

    def _judge(self, name: str, trial: Trial) -> str:
        slope, yours = trial.slope, trial.yours or 0.0
        scale = max(self._norm(name), abs(slope.value))
        if scale <= self.floor:
            self.tiny.append(name)
            return "right"
        lost = 4 * self.case.lost.get(name, 0.0) * self.sizes[name]
        allowed = self.case.tolerance * scale + lost + self.floor
        if slope.kink:
            low, high = sorted((slope.left, slope.right))
            margin = 10 * allowed + 1e-3 * (high - low)
            return "kink" if low - margin <= yours <= high + margin else "wrong"
        off = abs(yours - slope.value)
        if off <= allowed:
            far = slope.given is not None and abs(slope.given - slope.value) > 1e-4 * scale
            return "unsuitable step" if far else "right"
        if not 4 * slope.error < 1e-2 * scale:
            return "lost precision" if slope.noisy else "unsuitable step"
        return "right" if off <= allowed + 4 * slope.error else "wrong"

    def _wrong_small(self, name: str) -> tuple[int, ...] | None:
        """An element that is off by much of its own size, though it is small beside others; None if there is none."""
        g = np.asarray(self.fitting[name], float)
        size = np.abs(g).reshape(-1)
        steep = self.steep.get(name, np.zeros(g.shape, bool)).reshape(-1)
        largest = size.max(initial=0.0)
        if size.size < 2 or not largest or self.arithmetic.eps > 1e-10:  # in single precision too little can be told
            return None
        rng = np.random.default_rng([self.case.seed, 2])
        direction = self.sizes[name] * np.asarray(rng.normal(size=g.shape))
        for low, high in SMALL:
            chosen = np.flatnonzero((size >= low * largest) & (size < high * largest) & ~steep)
            if not chosen.size:
                continue
            self.bands = True
            if not self._off(name, chosen, direction, 10 * self.case.tolerance)[1] > 0:
                continue
            while chosen.size > 1:
                halves = np.array_split(chosen, 2)
                chosen = max(halves, key=lambda half: self._off(name, half, direction, 0.0)[0])
            if self._is_wrong(name, chosen, direction, float(largest)):
                return tuple(int(k) for k in np.unravel_index(chosen[0], g.shape))
        return None

    def _off(self, name: str, chosen: Array, direction: Array, share: float) -> tuple[float, float]:
        """By how much a gradient misses the slope along some elements, and what of it is beyond a share of its size."""
        d = np.zeros(direction.shape)
        d.flat[chosen] = direction.flat[chosen]
        slope, part = self._slope(self.arithmetic, name, d), np.asarray(self.fitting[name], float) * d
        if slope.kink or not np.isfinite(slope.value):
            return 0.0, 0.0
        off = abs(float(part.sum()) - slope.value)
        lost = 4 * self.case.lost.get(name, 0.0) * float(np.abs(d).max())
        scale = max(float(np.linalg.norm(part)), abs(slope.value))
        return off, off - share * scale - 4 * slope.error - self.floor - lost

    def _is_wrong(self, name: str, chosen: Array, direction: Array, largest: float) -> bool:
        """Whether one element is off by more than rounding makes of it, where large numbers cancel."""
        beyond = self._off(name, chosen, direction, 0.05)[1] - NOTHING * largest * abs(direction.flat[chosen[0]])
        if not beyond > 0:
            return False
        if not self._exact(name) and name in self.derived:
            other, given = self.derived[name].flat[chosen[0]], np.asarray(self.fitting[name], float).flat[chosen[0]]
            if abs(other - given) <= 0.05 * max(abs(other), abs(given)):
                return False
        d = np.zeros(direction.shape)
        d.flat[chosen] = direction.flat[chosen]
        eps = max(8 * self.eps, 1e-3 * self.case.tolerance if self.case.tolerance > 1e-5 else 0.0)
        rng, slopes = np.random.default_rng(self.case.seed), []
        for _ in range(4):  # a point that differs by rounding alone
            beside = {n: x * (1 + eps * rng.normal(size=x.shape)) for n, x in self.case.point.items()}
            slopes.append(self._slope(Arithmetic(self.case.loss, beside), name, d).value)
        return bool(beyond > 20 * np.ptp(slopes))

    def _exact(self, name: str) -> bool:
        return all(t.slope.exact for t in self.trials[name])

    def _slope(self, arithmetic: Arithmetic, name: str, direction: Array) -> Slope:
        """The slope along a direction, at once where the complex step has proved to be right for this input."""
        if self._exact(name):
            value = arithmetic.analytic({name: direction})
            if value is not None:
                return Slope(value, 1e-13 * (abs(value) + abs(self.arithmetic.value)), value, value, exact=True)
        return arithmetic.slope({name: direction})

    @cached_property
    def derived(self) -> dict[str, Array]:
        """The gradients by another route than arithmetic's, where there is one."""
        return self.case.exact() or {}

    def _confirms(self, name: str, g: Array) -> bool:
        tape = getattr(self.derived, "tape", None)
        sides = [np.asarray(side[name]) for side in tape.sides] if tape is not None else []
        for t in self.trials[name]:
            scale = max(float(np.linalg.norm(g)) * self.sizes[name], abs(t.slope.value))
            allowed = 1e-6 * scale + 4 * t.slope.error + self.floor
            at = g
            if t.slope.kink:  # the mean of the slopes on its left and right is that of both sides' gradients
                if not sides:
                    return False
                at, allowed = (sides[0] + sides[1]) / 2, 1e-3 * max(scale, abs(t.slope.left), abs(t.slope.right))
            if not abs(float(np.sum(at * t.direction)) - t.slope.value) <= allowed:
                return False
        return True

    def _kinked_element(self, name: str, tape: Any) -> tuple[tuple[int, ...] | None, Slope]:
        """An element in which the slopes differ, None if that is not found; and the slopes."""
        shape = self.case.point[name].shape
        trial = next((t for t in self.trials[name] if t.slope.kink), self.trials[name][0])
        chosen = np.arange(int(np.prod(shape)))
        if tape is not None and tape.sides:
            up, down = (np.asarray(side[name]) for side in tape.sides)
            chosen = np.array([np.argmax(np.abs(up - down))])
        slope = trial.slope
        while chosen.size > 1:
            for half in np.array_split(chosen, 2):
                d = np.zeros(shape)
                d.flat[half] = trial.direction.flat[half]
                slope = self.arithmetic.slope({name: d})
                if slope.kink:
                    chosen = half
                    break
            else:
                return None, trial.slope
        index = tuple(int(k) for k in np.unravel_index(chosen[0], shape))
        d = np.zeros(shape)
        d[index] = 1.0
        slope = self.arithmetic.slope({name: d})
        return (index, slope) if slope.kink else (None, trial.slope)


def rounding_of(dtype: np.dtype[Any]) -> float:
    """The relative rounding error of a dtype; of one that is no float, that of float64."""
    return float(np.finfo(dtype if dtype.kind == "f" else float).eps)


def fitted(g: Array, shape: tuple[int, ...]) -> Array | None:
    """A gradient in the shape of its input, if it differs by axes of size 1 alone; else None."""
    if g.shape == shape:
        return g
    try:
        together = np.broadcast_shapes(g.shape, shape)
    except ValueError:
        together = ()
    if g.size == int(np.prod(shape)) == int(np.prod(together)) or _without_ones(g.shape) == _without_ones(shape):
        return g.reshape(shape)
    return None


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
