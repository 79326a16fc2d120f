"""What was measured, and what follows from it: medians, ratios, goals, and the sentences that say who won."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["ours", "peer", "floor"]


@dataclass(frozen=True)
class Measured:
    """The measurements of a candidate, one a round, in the comparison's unit, and whose it is (`pytorch`).

    A `floor` is what nobody can go below.
    """

    name: str
    peer: str
    role: Role
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.values)


@dataclass(frozen=True)
class Goal:
    """What chainrule has set itself: that `against` takes at least `factor` times what `of` takes.

    Without `against`: that `of` takes at most `factor`, in the comparison's unit.
    """

    of: str
    factor: float
    against: str = ""


@dataclass(frozen=True)
class Comparison:
    """Several who did the same, in the same rounds.

    Attributes
    ----------
    name, title : str
    unit : str
        Of the values, the fewer the better: "µs a step", "s", "MB".
    measured : sequence of Measured
        In the order of the tables; the first of ours is what the others are compared with.
    goals : sequence of Goal
    left_out : sequence of (str, str)
        Who could not take part, and why.
    """

    name: str
    title: str
    unit: str
    measured: Sequence[Measured]
    goals: Sequence[Goal] = ()
    left_out: Sequence[tuple[str, str]] = ()

    @property
    def reference(self) -> Measured | None:
        """Ours, that the others are compared with."""
        return next((each for each in self.measured if each.role == "ours"), None)

    def ratio(self, each: Measured) -> float | None:
        """How many times what ours takes somebody takes."""
        return None if self.reference is None else each.median / self.reference.median

    def found(self, goal: Goal) -> float | None:
        """What a goal's factor is found to be; None if somebody was not measured."""
        medians = {each.name: each.median for each in self.measured}
        if goal.of not in medians or (goal.against and goal.against not in medians):
            return None
        return medians[goal.against] / medians[goal.of] if goal.against else medians[goal.of]

    def reached(self, goal: Goal) -> bool | None:
        """Whether a goal is reached; None if it was not measured."""
        found = self.found(goal)
        if found is None:
            return None
        return found >= goal.factor if goal.against else found <= goal.factor

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "name": self.name,
            "title": self.title,
            "unit": self.unit,
            "reference": self.reference.name if self.reference else None,
            "measured": [
                {
                    "name": each.name,
                    "peer": each.peer,
                    "role": each.role,
                    "median": each.median,
                    "ratio": self.ratio(each),
                    "values": list(each.values),
                }
                for each in self.measured
            ],
            "goals": [
                {
                    "of": goal.of,
                    "against": goal.against or None,
                    "factor": goal.factor,
                    "found": self.found(goal),
                    "reached": self.reached(goal),
                }
                for goal in self.goals
            ],
            "left_out": [{"name": name, "why": why} for name, why in self.left_out],
        }


@dataclass(frozen=True)
class Row:
    """A line of a table, in words."""

    name: str
    role: Role
    median: str
    spread: str
    ratio: str
    goal: str
    verdict: Literal["reached", "missed", ""]


def rows(comparison: Comparison) -> list[Row]:
    """A comparison as the lines of a table."""
    goals: dict[str, Goal] = {}
    for goal in comparison.goals:
        ours = comparison.reference is not None and goal.of == comparison.reference.name
        goals[goal.against if goal.against and ours else goal.of] = goal
    result = []
    for each in comparison.measured:
        ratio = comparison.ratio(each)
        goal_here = goals.get(each.name)
        reached = None if goal_here is None else comparison.reached(goal_here)
        result.append(
            Row(
                each.name,
                each.role,
                amount(each.median),
                f"{amount(min(each.values))} to {amount(max(each.values))}",
                "" if ratio is None or each is comparison.reference else cut(ratio),
                "" if goal_here is None else _goal(comparison, goal_here),
                "" if reached is None else "reached" if reached else "missed",
            )
        )
    return result


def _goal(comparison: Comparison, goal: Goal) -> str:
    if not goal.against:
        return f"at most {goal.factor:g} {comparison.unit}"
    if goal.factor > 1:
        return f"at least {goal.factor:g} ×"
    ours = comparison.reference is not None and goal.of == comparison.reference.name  # so this is the row of `against`
    text = f"ours at most {_inverse(goal.factor)} ×" if ours else f"at most {_inverse(goal.factor)} × {goal.against}"
    found = comparison.found(goal)
    return text if found is None else f"{text}, found {cut(1 / found, up=True)}"


def _inverse(factor: float) -> str:
    return f"{1 / factor:g}"


def wins(comparisons: Sequence[Comparison]) -> list[str]:
    """A sentence for each case in which a peer takes less than chainrule."""
    return [
        f"{comparison.name}: {each.name} wins: {amount(each.median)} {comparison.unit} against {amount(ours.median)} "
        f"of {ours.name}, which takes {cut(ours.median / each.median, up=True)} × as much."
        for comparison in comparisons
        if (ours := comparison.reference)
        for each in comparison.measured
        if each.role == "peer" and each.median < ours.median
    ]


def missed(comparisons: Sequence[Comparison]) -> list[str]:
    """A sentence for each goal that was measured and is not reached."""
    sentences = []
    for comparison in comparisons:
        for goal in comparison.goals:
            found = comparison.found(goal)
            if found is None or comparison.reached(goal):
                continue
            if not goal.against:
                text = f"{goal.of} takes {amount(found)} {comparison.unit}; the goal is at most {goal.factor:g}."
            elif goal.factor > 1:
                text = f"{goal.against} takes {cut(found)} × as much as {goal.of}; the goal is {goal.factor:g}."
            else:
                text = (
                    f"{goal.of} takes {cut(1 / found, up=True)} × as much as {goal.against}; the goal is at most "
                    f"{_inverse(goal.factor)}."
                )
            sentences.append(f"{comparison.name}: {text}")
    return sentences


def summary(comparisons: Sequence[Comparison]) -> list[tuple[str, list[str]]]:
    """What it comes to, as headings with sentences: where peers win, and which goals are not reached."""
    won, lost = wins(comparisons), missed(comparisons)
    judged = [reached for each in comparisons for goal in each.goals if (reached := each.reached(goal)) is not None]
    compared = any(each.reference and any(m.role == "peer" for m in each.measured) for each in comparisons)
    findings = []
    if compared:
        findings.append(("Where a peer wins:", won) if won else ("No peer wins in what was measured.", []))
    if judged:
        count = f"{sum(judged)} of {len(judged)} goals are reached"
        findings.append((f"{count}; not reached:", lost) if lost else (f"{count}.", []))
    return findings


def amount(value: float) -> str:
    """A measured value with three digits, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    places = 2 if not value else max(0, 2 - math.floor(math.log10(value)))
    return f"{value:.{places}f}"


def cut(ratio: float, up: bool = False) -> str:
    """A ratio with three digits, or all before the point.

    It is cut off, or where less is better rounded up, so that none looks better than it is.
    """
    places = max(0, 2 - math.floor(math.log10(ratio)))
    # The last bit of 1 / (1 / 1.2) must not make 1.21 of 1.2.
    scaled = round(ratio * 10**places, 9)
    return f"{(math.ceil(scaled) if up else math.floor(scaled)) / 10**places:,.{places}f}"
