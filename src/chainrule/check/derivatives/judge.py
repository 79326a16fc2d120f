"""The verdict on gradients: random directions for each input, then elements to find the worst, then the cause."""

from collections.abc import Mapping

import numpy as np

from chainrule.check.derivatives.comparison import Array
from chainrule.check.derivatives.patterns import cause_of, in_part, near
from chainrule.check.derivatives.trials import DIRECTIONS, ELEMENTS, Case, Trials, fitted
from chainrule.check.verdict import Cause, Finding, Report, number, overall

__all__ = ["Case", "Judge", "fitted"]


class Judge(Trials):
    """Judges a case."""

    def report(self) -> Report:
        """The verdict with all findings."""
        if not np.isfinite(self.arithmetic.value):
            reason = f"the loss is {self.arithmetic.value} at this point, so there is nothing to compare with."
            return Report("lost precision", reason=reason)
        rng = np.random.default_rng(self.case.seed)
        verdicts = {}
        for name, x in self.case.point.items():
            steep = self._infinite(name)
            self.trials[name] = [
                self._try(name, self.sizes[name] * np.where(steep, 0, rng.normal(size=x.shape)))
                for _ in range(DIRECTIONS)
            ]
            verdicts[name] = self._verdict(name)
            if verdicts[name] == "wrong" and self._only_kink(name):
                verdicts[name] = "kink"
            elif (
                verdicts[name] in ("lost precision", "unsuitable step") and (i := self._steep_element(name)) is not None
            ):
                self.infinite[name], verdicts[name] = i, "kink"
        wrong = [name for name, verdict in verdicts.items() if verdict == "wrong"]
        for name in [name for name in wrong if self._derived_alike(name)]:
            verdicts[name] = "right"
            wrong.remove(name)
        for name in [name for name, verdict in verdicts.items() if verdict == "right"]:
            if (index := self._wrong_small(name)) is not None:
                self.small[name], verdicts[name] = index, "wrong"
                wrong.append(name)
            elif name in self.infinite:
                verdicts[name] = "kink"
        correct = self._correct(wrong) if wrong else {}
        causes = self._causes(wrong, correct)
        findings = tuple(
            self._wrong(name, correct[name], causes.get(name)) if name in wrong else self._other(name, verdict)
            for name, verdict in verdicts.items()
        )
        reason = f"{sum(f.verdict != 'right' for f in findings)} of {len(findings)} gradients." if wrong else ""
        return Report(overall(findings), findings, tuple(self._checked()), tuple(self._skipped()), reason)

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
        self.gave_up = getattr(deeper, "gave_up", False) and not all(name in causes for name in wrong)
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
            off = np.where(self.steep.get(name, False), -2.0, np.where(np.isfinite(yours), off, np.inf))
            worst = tuple(int(k) for k in np.unravel_index(int(np.argmax(off)), off.shape))
            worst = self.small.get(name, worst)
            a, b = float(yours[worst]), float(correct[worst])
            ratio = a / b if b else None
        note = not_finite(yours)
        if note and not np.isfinite(b) and np.isinf(self.arithmetic.steepness(name, worst)):
            return Finding(name, "wrong", worst, a, note="the derivative is infinite there", cause=cause)
        error = self._error(name) if not note else float("inf")
        if name in self.small:
            error = abs(a - b) / max(abs(a), abs(b))
            note = "" if cause else "the large elements are right, but not this one, which is small beside them"
        return Finding(name, "wrong", worst, a, b, ratio, error, cause, note)

    def _other(self, name: str, verdict: str) -> Finding:
        """A finding without a worst element: right, or a direction in which nothing can be said."""
        if verdict == "right":
            return Finding(name, verdict, relative_error=self._error(name))
        if verdict == "kink":
            return self._kink(name)
        trial = next(t for t in self.trials[name] if self._judge(name, t) == verdict)
        slope = trial.slope
        note = {
            "lost precision": "differences of the loss are mostly rounding error here, so they cannot confirm it",
            "unsuitable step": "no step was found at which difference quotients settle",
        }[verdict]
        if verdict == "unsuitable step" and slope.given is not None:
            note = f"the step {self.case.step} gives {number(slope.given)}, smaller ones {number(slope.value)}"
        if np.isnan(slope.value):
            return Finding(name, verdict, note=note)
        return Finding(name, verdict, None, trial.yours, slope.value, None, self._error(name), note=note)

    def _kink(self, name: str) -> Finding:
        """The finding where a loss has no derivative: an element that shows it, and the line if that is known."""
        if name in self.infinite:
            index = self.infinite[name]
            given = float(np.reshape(self.case.given[name], self.case.point[name].shape)[index])
            note = "the derivative is infinite there; move the input off that point to check it"
            return Finding(name, "kink", index, given, note=note)
        tape = getattr(self.derived, "tape", None)
        lines = list(dict.fromkeys(line for _, line in tape.ties.values() if line)) if tape is not None else []
        where = f", because of a tie in {' and '.join(lines[:2])}" if lines else ""
        advice = f"{where}; move the inputs off {'it' if lines else 'the tie'} to check this"
        place, slope = self._kinked_element(name, tape)
        sides = f"the slope is {number(slope.left)} on the left and {number(slope.right)} on the right"
        if place is None:
            return Finding(name, "kink", note=f"along a random direction {sides}{advice}")
        return Finding(name, "kink", place, float(np.asarray(self.fitting[name])[place]), note=sides + advice)

    def _checked(self) -> list[str]:
        names = ", ".join(self.case.point)
        exact = all(t.slope.exact for trials in self.trials.values() for t in trials)
        how = "the complex step, confirmed by differences" if exact else "differences at several steps"
        small = ", and small elements apart" if self.bands else ""
        return [f"{names}: {DIRECTIONS} random directions each{small}, against {how}."]

    def _skipped(self) -> list[str]:
        names = list(dict.fromkeys(self.tiny))
        said = [f"the digits of {', '.join(names)}: the gradient is smaller than rounding errors."] if names else []
        if self.gave_up:
            said.append("some causes: not all were tried, since that takes long at this size; give it fewer samples.")
        return said


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
        elif other.kind == cause.kind == "factor" and other.line and not _is_count(other):
            ratio = cause.sentence.split(" everywhere")[0].split(" = ")[0]
            found[name] = Cause("factor", f"{ratio} everywhere: {other.sentence}", other.line)
        elif other.kind == cause.kind:
            line = other.line if other.line and other.line not in cause.sentence else ""
            found[name] = Cause(cause.kind, _with_line(cause.sentence, line), other.line)
    return found


def _is_count(cause: Cause) -> bool:
    """Whether a factor is the number of things that a mean or a sum runs over: sizes have names, such as batch size."""
    return "of the mean is missing" in cause.sentence or cause.sentence.startswith("the sum is taken as a mean")


def _with_line(sentence: str, line: str) -> str:
    """A sentence about a derivative with the line of the forward code that it belongs to."""
    if not line:
        return sentence
    first, *others = sentence[:-1].split(". ")
    link = " in" if first.endswith("that the loss has") else " in the derivative of"
    link = "; this is" + link if first.endswith(" right") else link
    return ". ".join([f"{first}{link} {line}", *others]) + "."


def not_finite(g: Array) -> str:
    """How many elements are no numbers, in words."""
    count = int((~np.isfinite(g)).sum())
    return f"{count} element{'s are' if count > 1 else ' is'} not finite" if count else ""
