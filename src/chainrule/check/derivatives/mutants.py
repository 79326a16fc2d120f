"""Mistakes that people make in a backward pass, each as a change of one rule of it."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.check.derivatives.comparison import Array
from chainrule.check.derivatives.tape import Join, Pairs, Rule, Tape, fit, regions, variables
from chainrule.graph import Variable

# From the simplest and commonest explanation to the one that is believed last.
RANKS = (
    "sign",
    "factor",
    "transpose",
    "missing sum",
    "wrong axis",
    "missing activation derivative",
    "overwritten",
    "wrong point",
    "other loss",
)


@dataclass(frozen=True)
class Mutant:
    """A changed backward pass.

    Attributes
    ----------
    kind, sentence, line : str
        As in a `Cause`.
    rules, joins : dict
        As `Tape.changed` takes them.
    scaled : bool
        Whether it is compared up to a factor.
    """

    kind: str
    sentence: str
    line: str
    rules: dict[int, Rule] = field(default_factory=dict)
    joins: dict[Variable, Join] = field(default_factory=dict)
    scaled: bool = False


# A way to change one equation: the equation's number to a rule, None where it does not apply.
Change = Callable[[int], Rule | None]


class Mutants:
    """What the makers of mutants need to know of a tape.

    Parameters
    ----------
    tape : Tape
    updated : dict
        Parameters after the update, where one happened: they may have been used too early.
    targets : list of ndarray
        What the predictions were compared with, for the gradients of other losses.
    """

    def __init__(self, tape: Tape, updated: dict[str, Array], targets: list[Array]) -> None:
        self.tape, self.updated, self.targets = tape, updated, targets
        self.leaves = set(tape.inputs)
        self.regions = [r for r in regions(tape) if not np.all(r.derivative() == 1)]
        self.groups = self._groups()

    def _groups(self) -> list[list[int]]:
        """Equations that come from the same place in the code, as in a loop over time."""
        groups: dict[Any, list[int]] = {}
        uses = Counter((e.origin, e.op, x) for e in self.tape.equations for x in variables(e) if x in self.leaves)
        for i, e in enumerate(self.tape.equations):
            if e.output in self.tape.depends:
                names = tuple(x.name if uses[e.origin, e.op, x] > 1 else "" for x in variables(e))
                groups.setdefault((e.origin, e.op, names), []).append(i)
        return list(groups.values())

    def _rounds(self, xs: list[Variable], k: int) -> list[Variable] | None:
        """For values that a loop makes one after another, those k rounds later; None if they are not of that kind."""
        made = self.tape.made
        if len(xs) < 2 or xs[1] not in made:
            return None
        maker = self.tape.equations[made[xs[1]]]
        same = [e.output for e in self.tape.equations if e.origin == maker.origin and e.op is maker.op]
        same = [v for v in same if self.tape.values[v].shape == self.tape.values[xs[1]].shape]
        order = same if xs[0] in same else [xs[0], *same]
        found = [order.index(x) + k if x in order else -1 for x in xs]
        return [order[i] for i in found] if all(0 <= i < len(order) for i in found) else None

    def _each(self, kind: str, sentence: str, change: Change, only: str = "") -> Iterator[Mutant]:
        """The mutants of one change: at each equation by itself, and at all that come from the same place."""
        for group in self.groups:
            if only and self.tape.equations[group[0]].op.name != only:
                continue
            rules = {i: rule for i in group if (rule := change(i)) is not None}
            for chosen in [{i: rule} for i, rule in rules.items()][:4] + ([rules] if len(rules) > 1 else []):
                line = self.tape.equations[next(iter(chosen))].origin
                yield Mutant(kind, sentence.replace("{line}", line), line, rules=chosen)

    def _operand(self, i: int, p: int, change: Callable[[Array, Array], Array | None]) -> Rule | None:
        """The rule of equation i with the gradient of its operand p replaced by `change(raw, fitted)`."""
        e = self.tape.equations[i]
        x = e.inputs[p] if p < len(e.inputs) else None
        if not isinstance(x, Variable) or x not in self.tape.depends:
            return None

        def rule(g: Array) -> Pairs:
            pairs = []
            for q, (other, d) in enumerate(zip(e.inputs, self.tape.raw(i, g), strict=True)):
                if d is not None:
                    fitted = fit(d, self.tape.values[other].shape)
                    changed = change(d, fitted) if q == p else fitted
                    pairs.append((other, fitted if changed is None else changed))
            return pairs

        return rule

    def _alike(self, x: Variable, near: int | None = None) -> list[Variable]:
        """Other variables of the same shape, the nearest to an equation (its own) first."""
        shape, at = self.tape.values[x].shape, self.tape.made.get(x, -1) if near is None else near
        found = [v for v, y in self.tape.values.items() if v is not x and y.shape == shape and y.dtype.kind == "f"]
        return sorted(found, key=lambda v: abs(self.tape.made.get(v, -1) - at))

    def _called(self, v: Variable) -> str:
        if v in self.leaves:
            return v.name
        return f"the result of {self.tape.equations[self.tape.made[v]].origin}" if v in self.tape.made else "a constant"

    def _instead(self, w: Variable, x: Variable) -> str:
        """One variable in place of another, in words that tell them apart."""
        one, other = self._called(w), self._called(x)
        if one != other:
            return f"{one} in place of {other}"
        when = "an earlier" if self.tape.made.get(w, -1) < self.tape.made.get(x, -1) else "a later"
        return f"{when} {one.removeprefix('the ')} than forward takes there"

    def _line(self, i: int) -> str:
        return self.tape.equations[i].origin if i < len(self.tape.equations) else "the output"
