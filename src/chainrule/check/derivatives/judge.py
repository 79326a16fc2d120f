"""The verdict on gradients: random directions for each input, then elements to find the worst, then the cause."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.check.derivatives.comparison import Arithmetic, Array, Point, Slope
from chainrule.check.derivatives.patterns import cause_of, in_part, near
from chainrule.check.verdict import Cause, Finding, Report, number, overall

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


class Judge:
    """Judges a case."""

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
        self.trusted = False  # whether another route's gradients agree with arithmetic

    def _norm(self, name: str) -> float:
        g = self.fitting[name]
        return 0.0 if g is None else float(np.linalg.norm(np.asarray(g, float))) * self.sizes[name]

    def report(self) -> Report:
        """The verdict with all findings."""
        if not np.isfinite(self.arithmetic.value):
            reason = f"the loss is {self.arithmetic.value} at this point, so there is nothing to compare with."
            return Report("lost precision", reason=reason)
        rng = np.random.default_rng(self.case.seed)
        verdicts = {}
        for name, x in self.case.point.items():
            self.trials[name] = [
                self._try(name, self.sizes[name] * np.asarray(rng.normal(size=x.shape))) for _ in range(DIRECTIONS)
            ]
            verdicts[name] = self._verdict(name)
        wrong = [name for name, verdict in verdicts.items() if verdict == "wrong"]
        for name in [name for name in wrong if self._derived_alike(name)]:
            verdicts[name] = "right"
            wrong.remove(name)
        for name in [name for name, verdict in verdicts.items() if verdict == "right"]:
            if (index := self._wrong_small(name)) is not None:
                self.small[name], verdicts[name] = index, "wrong"
                wrong.append(name)
        correct = self._correct(wrong) if wrong else {}
        causes = self._causes(wrong, correct)
        findings = tuple(
            self._wrong(name, correct[name], causes.get(name)) if name in wrong else self._other(name, verdict)
            for name, verdict in verdicts.items()
        )
        reason = f"{sum(f.verdict != 'right' for f in findings)} of {len(findings)} gradients." if wrong else ""
        return Report(overall(findings), findings, tuple(self._checked()), tuple(self._skipped()), reason)

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
        largest = size.max(initial=0.0)
        if size.size < 2 or not largest or self.arithmetic.eps > 1e-10:  # in single precision too little can be told
            return None
        rng = np.random.default_rng([self.case.seed, 2])
        direction = self.sizes[name] * np.asarray(rng.normal(size=g.shape))
        for low, high in SMALL:
            chosen = np.flatnonzero((size >= low * largest) & (size < high * largest))
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

    def _derived_alike(self, name: str) -> bool:
        """Whether differences disagree only because of kinks nearby: another route gives the same, and they nearly."""
        g, trials = self.fitting[name], self.trials[name]
        if g is None or any(t.slope.exact for t in trials) or self._error(name) > 1e-2 or name not in self.derived:
            return False
        return near(np.asarray(g, float), self.derived[name], self.case.tolerance)

    def _error(self, name: str) -> float:
        """The largest difference in the directions, relative to the size of the gradient."""
        errors = [0.0]
        for t in self.trials[name]:
            if t.yours is not None:
                off, scale = abs(t.yours - t.slope.value), max(self._norm(name), abs(t.slope.value))
                errors.append(off / scale if scale > self.floor else 0.0)
        return max(errors)

    def _correct(self, names: list[str]) -> dict[str, Array]:
        """The correct gradients: by another route where arithmetic confirms it, else element by element."""
        exact = {name: g for name, g in self.derived.items() if self._confirms(name, g)}
        self.trusted = all(name in exact for name in names)
        found = dict(exact)
        for name in names:
            if name not in found:
                found[name] = self._by_elements(name)
        for name, index in self.small.items():
            if not np.isfinite(found[name][index]):
                found[name][index] = self.arithmetic.element(name, index)
        return found

    def _confirms(self, name: str, g: Array) -> bool:
        for t in self.trials[name]:
            scale = max(float(np.linalg.norm(g)) * self.sizes[name], abs(t.slope.value))
            off = abs(float(np.sum(g * t.direction)) - t.slope.value)
            if not off <= 1e-6 * scale + 4 * t.slope.error + self.floor and not t.slope.kink:
                return False
        return True

    def _by_elements(self, name: str) -> Array:
        """The correct gradient of some elements, NaN elsewhere: of all if there are few, else of the likely ones."""
        x, g = self.case.point[name], self.fitting[name]
        correct = np.full(x.shape, np.nan)
        flat = np.arange(x.size)
        if x.size > ELEMENTS:
            rng = np.random.default_rng(self.case.seed)
            size = np.abs(np.nan_to_num(np.asarray(g, float))).reshape(-1) if g is not None else np.ones(x.size)
            largest = np.argpartition(size, -ELEMENTS // 2)[-ELEMENTS // 2 :]
            flat = np.unique(np.concatenate([largest, rng.integers(x.size, size=ELEMENTS // 2)]))
        for i in flat:
            index = tuple(int(k) for k in np.unravel_index(i, x.shape))
            correct[index] = self.arithmetic.element(name, index)
        return correct

    def _causes(self, wrong: list[str], correct: dict[str, Array]) -> dict[str, Cause]:
        """A cause for each wrong input: what its numbers show, or what the computation shows."""
        tol = 10 * max(self.case.tolerance, 1e-6)
        causes = {}
        for name in wrong:
            fit = self.fitting[name]
            if name in self.small:
                continue
            yours = np.asarray(self.case.given[name] if fit is None else fit, float)
            found = cause_of(name, yours, correct[name], self.case.point[name], self.case.sizes, tol)
            if found is not None:
                causes[name] = found
        alone = [name for name, cause in causes.items() if correct[name].size == 1 and "a constant" in cause.sentence]
        deeper = self.case.explain(self.case.given, correct, wrong) if wrong and self.trusted else {}
        for name in alone:
            del causes[name]  # of a single number, every ratio is constant
        causes = combined(causes, deeper)
        for name in wrong:
            given = self.case.given[name]
            if name in self.small:
                causes |= self._cause_of_small(name, correct[name])
            elif name not in causes and given.shape == correct[name].shape:
                partly = in_part(np.asarray(given, float), correct[name], tol)
                causes |= {name: partly} if partly else {}
        return causes

    def _cause_of_small(self, name: str, correct: Array) -> dict[str, Cause]:
        index, g = self.small[name], np.asarray(self.fitting[name], float)
        if abs(g[index] + correct[index]) > 1e-4 * abs(correct[index]):
            return {}
        return {name: Cause("sign", "the sign is wrong there; the large elements are right.")}

    def _wrong(self, name: str, correct: Array, cause: Cause | None) -> Finding:
        given, fit = self.case.given[name], self.fitting[name]
        if fit is None:
            note = f"it has the shape {given.shape}, {name} has {self.case.point[name].shape}"
            return Finding(name, "wrong", note=note, relative_error=float("inf"), cause=cause)
        yours = np.asarray(fit, float)
        with np.errstate(all="ignore"):
            off = np.where(np.isnan(correct), -1.0, np.abs(yours - correct))
            off = np.where(np.isnan(yours), np.inf, off)
            worst = tuple(int(k) for k in np.unravel_index(int(np.argmax(off)), off.shape))
            worst = self.small.get(name, worst)
            a, b = float(yours[worst]), float(correct[worst])
            ratio = a / b if b else None
        note = not_finite(yours)
        error = self._error(name) if not note else float("inf")
        if name in self.small:
            error = abs(a - b) / max(abs(a), abs(b))
            note = "" if cause else "the large elements are right, but not this one, which is small beside them"
        return Finding(name, "wrong", worst, a, b, ratio, error, cause, note)

    def _other(self, name: str, verdict: str) -> Finding:
        """A finding without a worst element: right, or a direction in which nothing can be said."""
        if verdict == "right":
            return Finding(name, verdict, relative_error=self._error(name))
        trial = next(t for t in self.trials[name] if self._judge(name, t) == verdict)
        slope = trial.slope
        note = {
            "kink": f"along a random direction the slope is {number(slope.left)} on the left and "
            f"{number(slope.right)} on the right; move the inputs off the tie to check it",
            "lost precision": "differences of the loss are mostly rounding error here, so they cannot confirm it",
            "unsuitable step": "no step was found at which difference quotients settle",
        }[verdict]
        if verdict == "unsuitable step" and slope.given is not None:
            note = f"the step {self.case.step} gives {number(slope.given)}, smaller ones {number(slope.value)}"
        return Finding(name, verdict, None, trial.yours, slope.value, None, self._error(name), note=note)

    def _checked(self) -> list[str]:
        names = ", ".join(self.case.point)
        exact = all(t.slope.exact for trials in self.trials.values() for t in trials)
        how = "the complex step, confirmed by differences" if exact else "differences at several steps"
        small = ", and small elements apart" if self.bands else ""
        return [f"{names}: {DIRECTIONS} random directions each{small}, against {how}."]

    def _skipped(self) -> list[str]:
        names = list(dict.fromkeys(self.tiny))
        return [f"the digits of {', '.join(names)}: the gradient is smaller than rounding errors."] if names else []


def combined(simple: Mapping[str, Cause], deeper: Mapping[str, Cause]) -> dict[str, Cause]:
    """The causes of both ways: the numbers' where they show one, with the line of the computation if that agrees."""
    found = {**deeper, **simple}
    for name, cause in simple.items():
        other = deeper.get(name)
        if other is None:
            continue
        vague = "a constant factor" in cause.sentence and other.kind in ("sign", "factor")
        if vague or (cause.kind == "other loss" and other.kind in ("sign", "factor")):
            found[name] = other
        elif other.kind == cause.kind:
            line = f" ({other.line})" if other.line and other.line not in cause.sentence else ""
            found[name] = Cause(cause.kind, cause.sentence[:-1] + line + ".", other.line)
    return found


def rounding_of(dtype: np.dtype[Any]) -> float:
    """The relative rounding error of a dtype; of one that is no float, that of float64."""
    return float(np.finfo(dtype if dtype.kind == "f" else float).eps)


def not_finite(g: Array) -> str:
    """How many elements are no numbers, in words."""
    count = int((~np.isfinite(g)).sum())
    return f"{count} element{'s are' if count > 1 else ' is'} not finite" if count else ""


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
