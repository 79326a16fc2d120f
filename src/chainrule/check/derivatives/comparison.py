"""The slope of a function along a line, found by arithmetic alone and with an idea of how far it can be trusted.

Several steps are tried, and the complex step where the function allows it; from how the quotients change with the step
one can tell a kink, lost precision and an unsuitable step from a wrong derivative.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Point = dict[str, Any]

STEPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
NEAREST = 1e-9  # whether a kink is here or only near
SINGLE_STEPS = (1e-1, 3e-2, 1e-2, 3e-3)
TINY = 1e-20  # the complex step: nothing is subtracted, so it can be as small as one likes


@dataclass(frozen=True)
class Slope:
    """The derivative along a direction.

    Attributes
    ----------
    value, error : float
        The derivative, and how far off it may be.
    left, right : float
        The one-sided derivatives; they differ at a kink.
    kink : bool
    exact : bool
        Whether it is that of the complex step, confirmed by differences.
    noisy : bool
        Whether smaller steps make the quotients worse, as rounding does.
    given : float or None
        The quotient with the step that was asked for.
    """

    value: float
    error: float
    left: float
    right: float
    kink: bool = False
    exact: bool = False
    noisy: bool = False
    given: float | None = None


class Arithmetic:
    """Slopes of `loss` around `point`.

    Parameters
    ----------
    loss : callable
        From a dict of arrays to a number.
    point : dict of str to ndarray
        The arrays that vary.
    step : float, optional
        A step to be judged, relative to the size of the arrays; the slopes are found without it.
    """

    def __init__(self, loss: Callable[[Point], Any], point: Mapping[str, Array], step: float | None = None) -> None:
        self.loss, self.point, self.step = loss, dict(point), step
        self.sizes = {name: size_of(x) for name, x in point.items()}
        first = self.evaluate(self.point)
        self.value = float(np.real(first))
        dtype = getattr(first, "dtype", np.dtype(float))
        self.eps = float(np.finfo(dtype).eps) if dtype.kind == "f" else float(np.finfo(float).eps)
        self.allows_complex = self.eps < 1e-10

    def evaluate(self, point: Point) -> Any:
        """The loss, without the warnings that a strange point may cause."""
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.loss(point)

    def moved(self, direction: Mapping[str, Array], t: complex) -> Point:
        """The point at `t` times the direction."""
        return {name: x + t * direction[name] if name in direction else x for name, x in self.point.items()}

    def slope(self, direction: Mapping[str, Array]) -> Slope:
        """The derivative along a direction, whose arrays should be about as large as those of the point."""
        steps = STEPS if self.eps < 1e-10 else SINGLE_STEPS
        before, after = [], []
        for h in steps:
            after.append(self._real(self.moved(direction, h)))
            before.append(self._real(self.moved(direction, -h)))
        quotients = Quotients(self.value, np.array(before), np.array(after), np.array(steps), self.eps)
        found = quotients.slope()
        if found.kink and (nearer := self._beside_kink(direction, found)) is not None:
            found = nearer
            quotients.central = np.append(quotients.central, nearer.value)
            quotients.rounding = np.append(quotients.rounding, nearer.error)
        elif not found.kink and not found.error <= 1e-5 * abs(found.value) and self.eps < 1e-10:
            found = min(found, self._finest(direction), key=lambda slope: slope.error)
        if self.allows_complex and not found.kink and (value := self.analytic(direction)) is not None:
            if quotients.confirm(value):
                error = 1e-13 * (abs(value) + abs(self.value))
                found = Slope(value, error, found.left, found.right, exact=True)
            else:
                self.allows_complex = False  # not every function that takes complex numbers is analytic
        if self.step is not None:
            h = self.step
            quotient = (self._real(self.moved(direction, h)) - self._real(self.moved(direction, -h))) / (2 * h)
            found = Slope(**{**vars(found), "given": quotient})
        return found

    def _beside_kink(self, direction: Mapping[str, Array], found: Slope) -> Slope | None:
        """The slope if the kink is near and not here: at a tiny step its two sides are then the same."""
        h, y = NEAREST, self.value
        after, before = self._real(self.moved(direction, h)), self._real(self.moved(direction, -h))
        rounding = 8 * self.eps * abs(y) / h
        jump, here = found.right - found.left, (after - 2 * y + before) / h
        if not abs(jump) > 5 * rounding or abs(here) > 0.5 * abs(jump):
            return None
        value = (after - before) / (2 * h)
        return Slope(value, rounding + abs(here), value, value)

    def _finest(self, direction: Mapping[str, Array]) -> Slope:
        """The slope by tiny steps, for where kinks are near and rounding matters less than they do."""
        quotients = []
        for h in (10 * NEAREST, NEAREST):
            after, before = self._real(self.moved(direction, h)), self._real(self.moved(direction, -h))
            quotients.append((after - before) / (2 * h))
        error = abs(quotients[0] - quotients[1]) + 8 * self.eps * abs(self.value) / (10 * NEAREST)
        return Slope(quotients[0], error, quotients[0], quotients[0], noisy=True)

    def element(self, name: str, index: tuple[int, ...]) -> float:
        """The derivative with respect to one element, quickly."""
        d = np.zeros(self.point[name].shape)
        d[index] = self.sizes[name]
        if self.allows_complex:
            value = self.analytic({name: d})
        else:
            h = STEPS[1] if self.eps < 1e-10 else SINGLE_STEPS[1]
            quotients = []
            for t in (h, h / 2):
                up, down = self._real(self.moved({name: d}, t)), self._real(self.moved({name: d}, -t))
                quotients.append((up - down) / (2 * t))
            value = (4 * quotients[1] - quotients[0]) / 3
        return float("nan") if value is None else value / self.sizes[name]

    def steepness(self, name: str, index: tuple[int, ...]) -> float:
        """Infinity, with its sign, if the slope by one element grows without end towards it, as a root's at 0."""
        d = np.zeros(self.point[name].shape)
        d[index] = self.sizes[name]
        for sign in (1, -1):
            steps = sign * np.array([1e-4, 1e-6, 1e-8])
            changes = np.array([self._real(self.moved({name: d}, h)) - self.value for h in steps])
            slopes = np.abs(changes / steps)
            grows = np.isfinite(changes).all() and (slopes[1:] > 3 * slopes[:-1]).all()
            if grows and abs(changes[-1]) > 100 * self.eps * abs(self.value):
                return float(np.copysign(np.inf, changes[-1] / steps[-1]))
        return float("nan")

    def _real(self, point: Point) -> float:
        return float(np.real(self.evaluate(point)))

    def analytic(self, direction: Mapping[str, Array]) -> float | None:
        """The complex step's derivative, None where the function does not take complex numbers."""
        try:
            y = self.evaluate(self.moved(direction, 1j * TINY))
        except Exception:  # somebody else's code may fail on complex numbers in any way
            self.allows_complex = False
            return None
        y = complex(y) if np.iscomplexobj(y) else complex(float("nan"))
        value = y.imag / TINY
        return value if np.isfinite(value) else None


class Quotients:
    """The values at both sides of a point for several steps, and the difference quotients that they give."""

    def __init__(self, y: float, before: Array, after: Array, steps: Array, eps: float) -> None:
        with np.errstate(all="ignore"):
            self.central = (after - before) / (2 * steps)
            self.right, self.left = (after - y) / steps, (y - before) / steps
            self.rounding = 4 * eps * (abs(y) + np.abs(after - before)) / steps
            factor = (steps[:-1] / steps[1:]) ** 2
            self.steps = steps
            self.better = (factor * self.central[1:] - self.central[:-1]) / (factor - 1)

    def slope(self) -> Slope:
        """Extrapolated to step 0 from the steps that agree best; at a kink, the mean of both sides."""
        with np.errstate(all="ignore"):
            apart = np.abs(np.diff(self.better)) + self.rounding[1:-1] + self._near_kinks()[2:]
            differences = np.abs(np.diff(self.central))
        if not np.isfinite(apart).any():
            return Slope(float("nan"), float("inf"), float("nan"), float("nan"))
        best = int(np.argmin(np.where(np.isfinite(apart), apart, np.inf)))
        value, error, k = float(self.better[best]), float(apart[best]), best + 1
        kink = self.has_kink()
        if kink:
            k = 2
            value, error = float(self.central[k]), float(self.rounding[k])
        left, right, noisy = float(self.left[k]), float(self.right[k]), bool(differences[-1] > differences[0])
        return Slope(value, error, left, right, kink=kink, noisy=noisy)

    def _near_kinks(self) -> Array:
        """For each step what kinks closer than it may add: the one-sided quotients of a smooth function differ in
        proportion to the step, and what they differ by beyond that comes from kinks.
        """
        jump = np.abs(self.right - self.left)
        smooth = np.concatenate([[np.inf], jump[:-1] * self.steps[1:] / self.steps[:-1]])
        return np.asarray(np.maximum(jump - 2 * smooth - 2 * self.rounding, 0))

    def has_kink(self) -> bool:
        """Whether the one-sided derivatives stay apart as the step shrinks; of a smooth function they meet."""
        jump, rounding = (self.right - self.left)[1:4], self.rounding[1:4]
        size = np.abs(jump)
        if not np.isfinite(size).all():
            return False
        apart = bool((size > 20 * rounding).all() and (size > 1e-6 * np.abs(self.central[1:4])).all())
        return apart and bool((np.abs(np.diff(jump)) < 0.2 * size[:-1]).all())

    def confirm(self, value: float) -> bool:
        """Whether some quotient agrees with another way's result, as far as rounding lets it."""
        with np.errstate(all="ignore"):
            near = np.abs(self.central - value) <= 1e-7 * abs(value) + self.rounding
            limits = 1e-7 * abs(value) + self.rounding[1 : len(self.better) + 1]
            extrapolated = np.abs(self.better - value) <= limits
        return bool(near.any() or extrapolated.any())


def size_of(x: Array) -> float:
    """The root mean square of the elements, and 1 where that is zero."""
    return (float(np.sqrt(np.mean(np.abs(x) ** 2))) if x.size else 0.0) or 1.0
