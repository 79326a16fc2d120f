"""Causes that the computation shows: the forward pass is recorded, and its backward pass is made wrong in one place
after another until it gives the gradients in question.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.check.derivatives.comparison import Arithmetic, Array, size_of
from chainrule.check.derivatives.forms import constant
from chainrule.check.derivatives.mistakes import Mistakes
from chainrule.check.derivatives.mutants import RANKS, Mutant
from chainrule.check.derivatives.patterns import near
from chainrule.check.derivatives.tape import MAX_EQUATIONS, Tape, fit, variables
from chainrule.check.derivatives.watching import watched
from chainrule.check.verdict import Cause
from chainrule.errors import ChainruleError

SECONDS = 1.0  # how long mutants may be tried,
WORK = 4e8  # and how many numbers they may handle in any case, so that a busy machine finds what others find


class Found(dict[str, Cause]):
    """Causes by input, and whether the search for them was given up."""

    gave_up = False


def record(
    outputs: Callable[[dict[str, Any]], tuple[Any, ...]],
    point: Mapping[str, Array],
    wrt: Sequence[str],
    cotangents: Sequence[Any],
    expected: Sequence[Any],
) -> Tape | None:
    """The tape of a function of arrays, None if it cannot be recorded or does not compute the same then.

    Parameters
    ----------
    outputs : callable
        From a dict of arrays to a tuple of outputs.
    point : dict of str to ndarray
    wrt : sequence of str
        The arrays whose gradients are wanted.
    cotangents, expected : sequence of arrays
        The gradient by each output, and its value.
    """
    try:
        graph = watched(outputs, point)
        if len(graph.equations) > MAX_EQUATIONS or len(graph.outputs) != len(cotangents):
            return None
        tape = Tape(graph, list(point.values()), cotangents, wrt)
    except Exception:  # whatever somebody's code does with something that is no array
        return None
    same = all(np.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(tape.outputs, expected, strict=True))
    return tape if same else None


def wrong_rules(tape: Tape) -> list[str]:
    """The ops on a tape whose rule does not fit what they compute, each with the line that uses it."""
    rng, found = np.random.default_rng(0), {}
    for i, e in enumerate(tape.equations):
        if not e.op.no_gradient and tape.depends.intersection(variables(e)) and not _rule_fits(tape, i, rng):
            found[e.op.name] = e.origin
    return [f"{name} ({line})" for name, line in found.items()]


def _rule_fits(tape: Tape, i: int, rng: np.random.Generator) -> bool:
    """Whether an equation's rule gives the slope along a random direction; True if that cannot be told."""
    e, values = tape.equations[i], tape.operands(tape.equations[i])
    g = np.asarray(rng.normal(size=tape.values[e.output].shape))
    pulled = tape.raw(i, g)
    directions = [
        None if d is None else size_of(np.asarray(x)) * np.asarray(rng.normal(size=np.shape(x)))
        for d, x in zip(pulled, values, strict=True)
    ]

    def along(point: dict[str, Any]) -> Any:
        moved = [x if v is None else x + point["t"] * v for x, v in zip(values, directions, strict=True)]
        return np.sum(g * e.op.forward(*moved, **e.attributes))

    try:
        slope = Arithmetic(along, {"t": np.zeros(())}).slope({"t": np.ones(())})
    except Exception:  # an op that is not defined beside its point
        return True
    pairs = [(d, v) for d, v in zip(pulled, directions, strict=True) if v is not None]
    ours = sum(float(np.sum(fit(d, v.shape) * v)) for d, v in pairs)
    return slope.kink or not abs(ours - slope.value) > 1e-6 * max(abs(ours), abs(slope.value)) + 10 * slope.error


def explain(
    tape: Tape,
    given: Mapping[str, Array],
    correct: Mapping[str, Array],
    wrong: Sequence[str],
    updated: dict[str, Array],
    targets: list[Array],
    tol: float,
) -> dict[str, Cause]:
    """The mistakes that give the gradients in question.

    Parameters
    ----------
    tape : Tape
    given, correct : dict of str to ndarray
        The gradients in question, and the correct ones.
    wrong : sequence of str
        The inputs whose gradient is wrong.
    updated : dict
        Parameters after an update.
    targets : list of ndarray
        Arrays that the outputs may be compared with.
    tol : float
        The relative error up to which gradients count as equal.

    Returns
    -------
    dict of str to Cause
        For those of the wrong inputs that one mistake explains, without contradicting another input.
    """
    search = _Search(tape, given, correct, list(wrong), tol)
    gave_up, start = False, time.perf_counter()
    for mutant in Mistakes(tape, updated, targets).all():
        if search.done(mutant):
            break
        if search.work > WORK and time.perf_counter() - start > SECONDS:
            gave_up = True
            break
        search.look_at(mutant)
    found = Found(search.causes())
    found.gave_up = gave_up
    return found


class _Search:
    """Compares mutants with the gradients in question, and keeps the best."""

    def __init__(
        self, tape: Tape, given: Mapping[str, Array], correct: Mapping[str, Array], wrong: list[str], tol: float
    ) -> None:
        self.tape, self.wrong, self.tol = tape, wrong, tol
        self.given = {name: np.asarray(g, float) for name, g in given.items()}
        self.correct = {name: correct.get(name, tape.gradients[name]) for name in self.given}
        self.work = 0.0
        self.best: dict[str, tuple[int, int, Mutant]] = {}
        self.weak: dict[str, Mutant] = {}

    def done(self, mutant: Mutant) -> bool:
        """Whether nothing simpler can come, because everything is explained by one simpler mistake."""
        found = [self.best.get(name) for name in self.wrong]
        return all(b is not None and -b[0] == len(self.wrong) and b[1] < RANKS.index(mutant.kind) for b in found)

    def look_at(self, mutant: Mutant) -> None:
        """Compute a mutant's gradients and see what they explain."""
        self.work += self.tape.cost
        try:
            found = self.tape.changed(mutant.rules, mutant.joins)
        except (ValueError, IndexError, TypeError, ChainruleError):  # shapes that do not fit: nobody's code does that
            return
        if mutant.scaled:
            zero = {v: constant(np.zeros(self.tape.values[v].shape)) for v in mutant.joins}
            found = self._scaled(found, self.tape.changed({}, zero))
        changed, explained = [], []
        for name in self.given:
            g = found[name]
            if not self._near(g, self.correct[name]):
                changed.append(name)
                if name in self.wrong and self._near(g, self.given[name]):
                    explained.append(name)
        if not explained:
            return
        if len(explained) < len(changed):  # it contradicts another input
            for name in explained:
                self.weak.setdefault(name, mutant)
            return
        key = (-len(explained), RANKS.index(mutant.kind))
        for name in explained:
            if name not in self.best or key < self.best[name][:2]:
                self.best[name] = (*key, mutant)

    def _near(self, a: Array, b: Array) -> bool:
        if a.shape != b.shape:
            a, b = (x.reshape([n for n in x.shape if n != 1]) for x in (a, b))
        if not a.any() and not b.any():
            return True
        return near(a, b, self.tol)

    def _scaled(self, found: dict[str, Array], rest: dict[str, Array]) -> dict[str, Array]:
        """The gradients with that part that is not in `rest` times the factor that fits those in question best."""
        part = {name: g - rest[name] for name, g in found.items()}
        names = [n for n in self.wrong if part[n].shape == self.given[n].shape]
        square = sum(float(np.vdot(part[n], part[n])) for n in names)
        factor = sum(float(np.vdot(part[n], self.given[n] - rest[n])) for n in names) / square if square else 1.0
        return {name: rest[name] + factor * g for name, g in part.items()}

    def causes(self) -> dict[str, Cause]:
        """The best mistake for each wrong input."""
        chosen = {name: self.best[name][2] if name in self.best else self.weak.get(name) for name in self.wrong}
        return {name: Cause(m.kind, m.sentence, m.line) for name, m in chosen.items() if m is not None}
