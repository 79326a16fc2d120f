"""The grader: a submission's functions against a rubric, with partial credit and a reason for every point that is not
given. Comparisons are made here, in the grader's process; a reason says where values differ, never what is correct.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.check.checks import backward as check_backward
from chainrule.check.derivatives.asking import split
from chainrule.check.derivatives.judge import fitted
from chainrule.check.derivatives.patterns import constant_ratio, near
from chainrule.check.derivatives.reading import is_float, match
from chainrule.check.grading.isolation import Isolated, RemoteFunction, SubmissionError
from chainrule.check.grading.rubric import Credit, Rubric, Task
from chainrule.check.grading.worker import CacheOf, printable
from chainrule.check.verdict import Finding, Report
from chainrule.errors import ChainruleError

Array = np.ndarray[Any, Any]

UNLIMITED = "Memory could not be limited on this system, so only the clock stopped what a submission did."
UNCONFIRMED = ("lost precision", "unsuitable step")
ORIGIN = re.compile(r"[\w.-]+\.py, line \d+")
IN_BRACKETS = re.compile(r" \([\w.-]+\.py, line \d+\)")
UNNAMED_RATIO = re.compile(r"ratio \S+ everywhere: a constant factor")


@dataclass(frozen=True)
class Graded:
    """The points of one task, and why they are not more."""

    name: str
    points: float
    earned: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Grades:
    """The points of a submission."""

    title: str
    submission: str
    tasks: tuple[Graded, ...]
    note: str = ""

    @property
    def points(self) -> float:
        """How many there are to be had."""
        return sum(task.points for task in self.tasks)

    @property
    def earned(self) -> float:
        """How many were given."""
        return round(sum(task.earned for task in self.tasks), 2)

    def __str__(self) -> str:
        lines = [f"{self.submission}, {self.title}: {self.earned:g} of {self.points:g} points"]
        for task in self.tasks:
            lines.append(f"  {task.name}: {task.earned:g} of {task.points:g}")
            lines += [f"    {reason}" for reason in task.reasons]
        lines += [self.note] if self.note else []
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        tasks = [asdict(task) for task in self.tasks]
        return {"title": self.title, "submission": self.submission, "points": self.points, "earned": self.earned,
                "tasks": tasks, "note": self.note}  # fmt: skip


def grade(rubric: Rubric, submission: Path) -> Grades:
    """Grade a submission. It runs in processes of its own, one a task, so that a task that fails costs no other.

    Parameters
    ----------
    rubric : Rubric
        See `chainrule.check.grading.rubric.read`.
    submission : Path
        A Python file. Its folder is copied for it; that of each submission should be its own.
    """
    if not submission.is_file():
        raise ChainruleError(f"there is no file {submission}.")
    processes = [Isolated(submission, rubric.limits, rubric.files) for _ in rubric.tasks]
    tasks = tuple(map(_graded, rubric.tasks, processes, repeat(rubric.seed)))
    note = "" if all(process.limited for process in processes) else UNLIMITED
    return Grades(rubric.title, submission.name, tasks, note)


def _graded(task: Task, unstarted: Isolated, seed: int) -> Graded:
    try:
        with unstarted as process:
            function = process.function(*task.functions)
            items = (_values if task.kind == "forward" else _derivative)(task, function, seed)
            shares, reasons = [share for share, _ in items], [reason for _, reason in items if reason]
            if process.failed:  # one way of calling it may have succeeded before
                reasons.append(_capital(process.failed))
    except ChainruleError as error:
        text = printable(str(error))
        shares, reasons = [0.0], [text if text.startswith(task.functions) else _capital(text)]
    except Exception as error:  # results that nobody thought of must not cost the other tasks
        shares, reasons = [0.0], [f"It could not be judged: {type(error).__name__}: {printable(str(error))}."]
    earned = round(task.points * sum(shares) / len(shares), 2)
    return Graded(task.name, task.points, earned, tuple(dict.fromkeys(reasons)))


Item = tuple[float, str]  # a share of the points, and the reason; "" for none


# ---- derivatives -----------------------------------------------------------------------------------------------------


def _derivative(task: Task, function: RemoteFunction, seed: int) -> list[Item]:
    """What each gradient is worth."""
    forward = _with_cache(task.reference, task.forward) if task.forward else task.reference
    hand = _settled(function, task)

    def asked(forward: Callable[..., Any]) -> Report:
        return check_backward(forward, hand, task.inputs, tolerance=task.tolerance, seed=seed)

    report = asked(forward)
    findings = {finding.name: finding for finding in report.findings}
    if not findings:
        return [(0.0, _capital(f"{report.verdict}: {report.reason}"))]
    items = []
    for name in task.gradients:
        if name not in findings:
            items.append((0.0, f"d{name} is missing: no gradient came back for it."))
            continue
        finding = findings[name]
        constant = _is_constant_factor(finding, forward, asked)
        items.append(_of_finding(finding, constant, task.credit))
    return items + [(_share(items), s) for s in _writes(report)]


def _share(items: list[Item]) -> float:
    """A remark takes no points: it counts as the others do on average."""
    return sum(share for share, _ in items) / len(items)


def _of_finding(finding: Finding, constant: bool, credit: Credit) -> Item:
    """What one gradient is worth, and why not more."""
    name = f"d{finding.name}"
    if finding.verdict in ("right", "kink"):
        return 1.0, ""
    if finding.verdict in UNCONFIRMED:
        return credit.shape, f"{name} could not be judged with these inputs ({finding.verdict})."
    if finding.worst is None:
        return 0.0, f"{name} is wrong: {finding.note}.{_cause(finding)}"
    place = f", worst at [{', '.join(map(str, finding.worst))}]" if finding.worst else ""
    note = f": {finding.note}" if finding.note else ""
    share, right = (credit.factor, ", right up to a constant factor") if constant else (credit.shape, "")
    return share, f"{name} is wrong{right}{place if not constant else ''}{note}.{_cause(finding)}"


def _cause(finding: Finding) -> str:
    """The cause without lines of the reference, which is not the submission's to read."""
    if finding.cause is None:
        return ""
    sentence = ORIGIN.sub("the forward pass", IN_BRACKETS.sub("", finding.cause.sentence))
    if UNNAMED_RATIO.match(sentence):
        sentence = UNNAMED_RATIO.sub("The factor is none of the sizes", sentence)
    return f" {_capital(sentence)}"


def _is_constant_factor(
    finding: Finding, forward: Callable[..., Any], asked: Callable[[Callable[..., Any]], Report]
) -> bool:
    """Whether a gradient is right for the loss times a number."""
    cause, ratio = finding.cause, finding.ratio
    if cause is None or cause.kind not in ("factor", "sign") or not ratio or not np.isfinite(ratio):
        return False
    if cause.sentence.startswith("ratio "):
        return True
    report = asked(_times(forward, ratio))
    return any(f.name == finding.name and f.verdict == "right" for f in report.findings)


def _times(forward: Callable[..., Any], factor: float) -> Callable[..., Any]:
    """A forward pass whose result is multiplied by a number, beside the same cache."""

    @wraps(forward)
    def scaled(*arguments: Any, **named: Any) -> Any:
        result = forward(*arguments, **named)
        return (factor * result[0], *result[1:]) if isinstance(result, tuple) else factor * result

    return scaled


def _with_cache(reference: Callable[..., Any], forward: str) -> Callable[..., Any]:
    """The reference with the cache that the submission's own forward pass makes of the same inputs."""

    @wraps(reference)
    def both(*arguments: Any, **named: Any) -> Any:
        outputs, _ = split(reference(*arguments, **named))
        return outputs[0], CacheOf(forward, (*arguments, *named.values()))

    return both


def _settled(function: RemoteFunction, task: Task) -> Callable[..., Any]:
    """The function with its results in an unambiguous form: by name, arrays for lists of numbers, (n,) for (n, 1)."""
    floats = {name: np.shape(x) for name, x in task.inputs.items() if is_float(x)}

    def settled(x: Any, inside: bool = False) -> Any:
        if isinstance(x, list) and inside and (array := _array(x)) is not None:
            x = array
        if isinstance(x, (tuple, list)):
            return type(x)(settled(each, True) for each in x)
        if isinstance(x, dict):
            return {key: settled(value, True) for key, value in x.items()}
        if not isinstance(x, np.ndarray) or x.shape in floats.values():
            return x
        plain = np.squeeze(x).shape
        return next((x.reshape(s) for s in floats.values() if tuple(n for n in s if n != 1) == plain), x)

    @wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        result = settled(function(*arguments, **named))
        if isinstance(result, (tuple, list)) and len(result) == len(task.gradients):
            order = _order(function.returns, result, {name: floats[name] for name in task.gradients})
            return dict(zip(order, result, strict=True))
        return result

    return called


def _order(returned: list[str], values: Sequence[Any], asked: dict[str, tuple[int, ...]]) -> list[str]:
    """Which gradients these are: by the names in the return line, then by shapes, then in the order of the task."""
    found = match(returned, list(asked)) if len(returned) == len(values) else {}
    order = [found.get(name, "") for name in returned] if found else [""] * len(values)
    for same_shape in (True, False):
        for i, value in enumerate(values):
            free = [name for name in asked if name not in order and (asked[name] == np.shape(value) or not same_shape)]
            if not order[i] and free:
                order[i] = free[0]
    return order


def _array(x: list[Any]) -> Array | None:
    """Nested lists of numbers as an array; None if they are something else."""
    try:
        array = np.asarray(x)
    except ValueError:
        return None
    return array if array.dtype.kind in "fiu" else None


def _writes(report: Report) -> list[str]:
    return [_capital(sentence) for sentence in report.checked if sentence.startswith("backward changes ")]


# ---- values ----------------------------------------------------------------------------------------------------------


def _values(task: Task, function: RemoteFunction, seed: int) -> list[Item]:
    """What the values of a forward pass are worth."""
    given = {name: np.array(x)[()] for name, x in task.inputs.items()}
    (expected, *_), _ = split(task.reference(**{name: np.array(x)[()] for name, x in task.inputs.items()}))
    result = function(*given.values())
    changed = [name for name, x in given.items() if not np.array_equal(x, task.inputs[name], equal_nan=True)]
    remarks = [f"It changes its input {name} in place; a caller does not expect that." for name in changed]
    (found, *_), _ = split(result)
    if found is None:
        raise SubmissionError(f"{function.__name__} returned None.")
    item = _of_values(np.asarray(found), np.asarray(expected), task)
    return [item, *((item[0], remark) for remark in remarks)]


def _of_values(found: Array, expected: Array, task: Task) -> Item:
    if found.dtype.kind not in "fiub":
        return 0.0, f"The result is an array of {found.dtype}; expected real numbers."
    fit = fitted(found, expected.shape)
    if fit is None and np.squeeze(found).shape == np.squeeze(expected).shape:
        fit = found.reshape(expected.shape)
    if fit is None:
        return 0.0, f"The result has the shape {found.shape}; expected {expected.shape}."
    coarse = any(a.dtype.kind == "f" and a.dtype.itemsize < 8 for a in (found, expected))
    tolerance = task.tolerance or (1e-4 if coarse else 1e-7)
    fit, expected = np.asarray(fit, float), np.asarray(expected, float)
    if near(fit, expected, tolerance) or np.array_equal(fit, expected, equal_nan=True):
        return 1.0, ""
    if (ratio := constant_ratio(fit, expected, tolerance)) is not None:
        how = "has the wrong sign" if ratio == -1 else "is right up to a constant factor"
        return task.credit.factor, f"The result {how}."
    if not np.isfinite(fit).all():
        return task.credit.shape, f"The result is wrong: {int((~np.isfinite(fit)).sum())} elements are not finite."
    worst = np.unravel_index(int(np.argmax(np.abs(fit - expected))), fit.shape)
    place = f", most at [{', '.join(str(int(k)) for k in worst)}]" if worst else ""
    return task.credit.shape, f"The result has the right shape and other values{place}."


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
