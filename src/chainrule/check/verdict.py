"""What a check of a derivative ends in: a verdict for each input, the likely cause, and the sentences that say so."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.errors import ChainruleError

VERDICTS = ("right", "wrong", "kink", "lost precision", "unsuitable step", "not deterministic")
KINDS = (
    "sign",
    "factor",
    "missing sum",
    "wrong axis",
    "transpose",
    "wrong point",
    "missing activation derivative",
    "overwritten",
    "accumulated",
    "other loss",
)


@dataclass(frozen=True)
class Cause:
    """Why a derivative is probably wrong.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    sentence : str
        What was seen, and what it means.
    line : str
        The line of the forward code whose derivative it is, `net.py, line 12`; "" if that is not known.
    """

    kind: str
    sentence: str
    line: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a cause is one of {', '.join(KINDS)}; found {self.kind!r}.")


@dataclass(frozen=True)
class Finding:
    """What was found for one input.

    Attributes
    ----------
    name : str
        The input's name.
    verdict : str
        One of `VERDICTS`.
    worst : tuple of int or None
        The index where the two differ most, or where there is a kink; None if nothing differs or the shapes do not fit.
    yours, correct : float or None
        The two derivatives there, or, without an index, in one random direction; at a kink there is no correct one.
    ratio : float or None
        `yours / correct` there.
    relative_error : float
        The largest difference seen, relative to the size of the gradient.
    cause : Cause or None
        None when no pattern shows.
    note : str
        What else is to be said, such as "it has the shape (4,), b has (3,)".
    whose : str
        What the first number is called.
    """

    name: str
    verdict: str
    worst: tuple[int, ...] | None = None
    yours: float | None = None
    correct: float | None = None
    ratio: float | None = None
    relative_error: float = 0.0
    cause: Cause | None = None
    note: str = ""
    whose: str = "yours"

    def __str__(self) -> str:
        name = f"d{self.name}"
        if self.verdict == "right":
            return f"{name} right, relative error {self.relative_error:.1g}."
        text = f"{name} {self.verdict}"
        if self.worst is not None:
            at = " at" if self.verdict == "kink" else ", worst at"
            text += f"{at} [{', '.join(map(str, self.worst))}]" if self.worst else ""
        parts = [self.note] if self.note else []
        if self.yours is not None and self.correct is None:
            parts.insert(0, f"{self.whose} {number(self.yours)}")
        elif self.yours is not None and self.correct is not None:
            parts.append(f"{self.whose} {number(self.yours)}, correct {number(self.correct)}")
        if (
            self.ratio is not None
            and math.isfinite(self.ratio)
            and not (self.cause and self.cause.sentence.startswith("ratio "))
        ):
            parts.append(f"ratio {number(self.ratio)}")
        if self.cause and self.cause.sentence.startswith("ratio "):
            parts.append(self.cause.sentence)
            return _joined(text, parts)
        more = f" {_capital(self.cause.sentence)}" if self.cause else ""
        return _joined(text, parts) + more


@dataclass(frozen=True, repr=False)
class Report:
    """The result of a check. It is true if the derivative is right; printed, it says in sentences what was found.

    Attributes
    ----------
    verdict : str
        "right", "wrong", "kink", "lost precision", "unsuitable step" or "not deterministic".
    findings : tuple of Finding
        One for each input that was checked.
    checked, skipped : tuple of str
        What was looked at, and what was not, and why.
    """

    verdict: str
    findings: tuple[Finding, ...] = ()
    checked: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    reason: str = ""

    def __bool__(self) -> bool:
        return self.verdict == "right"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__

    def lines(self) -> list[str]:
        """The report, a sentence for each finding and for what was checked and skipped."""
        bad = [f for f in self.findings if f.verdict != "right"]
        good = [f for f in self.findings if f.verdict == "right"]
        lines = [f"{self.verdict}: {self.reason}" if self.reason else self.verdict]
        lines += [str(f) for f in bad]
        if good:
            worst = max(f.relative_error for f in good)
            lines.append(f"{_list([f'd{f.name}' for f in good])} right, relative error at most {worst:.1g}.")
        lines += [f"Checked: {sentence}" for sentence in self.checked]
        return lines + [f"Skipped: {sentence}" for sentence in self.skipped]

    def _repr_html_(self) -> str:
        first, *others = (html.escape(line) for line in self.lines())
        colour = "#1a7f37" if self else "#b42318"
        return f'<p><b style="color: {colour}">{first}</b></p>' + "".join(f"<p>{line}</p>" for line in others)

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The causes of all findings, each once."""
        return tuple(dict.fromkeys(f.cause for f in self.findings if f.cause))


class GradientError(ChainruleError):
    """A derivative that is not right; `report` says what is known."""

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(str(report))

    def __reduce__(self) -> tuple[type["GradientError"], tuple[Report]]:
        return GradientError, (self.report,)


def overall(findings: Sequence[Finding]) -> str:
    """The verdict of all findings together: the first that applies of wrong, kink, lost precision, unsuitable step."""
    found = {f.verdict for f in findings}
    for verdict in ("not deterministic", "wrong", "kink", "lost precision", "unsuitable step"):
        if verdict in found:
            return verdict
    return "right"


def number(x: float) -> str:
    """A number as short as it can be read: 12.0, 0.12, 100, 3.456e-07."""
    if not np.isfinite(x):
        return str(float(x))
    rounded = float(f"{x:.4g}")
    if rounded == int(rounded) and abs(rounded) < 1e6:
        return str(int(rounded))
    return f"{x:.4g}"


def _joined(text: str, parts: Sequence[str]) -> str:
    sentence = f"{text}: {', '.join(parts)}" if parts else text
    return sentence if sentence.endswith(".") else sentence + "."


def _capital(sentence: str) -> str:
    return sentence if "." in sentence.split(" ")[0] else sentence[:1].upper() + sentence[1:]  # not a file's name


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
