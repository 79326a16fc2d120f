"""A number that a report printed, beside ours, and a verdict that is computed and never typed in.

The rules are those of docs/design.md, section 5. A printed number keeps its digits: "4.60" says more than 4.6.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

from chainrule.errors import DataError

Verdict = Literal["exact", "wrong", "in band", "explained", "differs", "shown", "not judged"]
VERDICTS: tuple[Verdict, ...] = ("exact", "in band", "explained", "differs", "shown", "not judged", "wrong")

Printed = str | int | Decimal


@dataclass(frozen=True)
class Row:
    """One scalar of a report beside ours.

    Attributes
    ----------
    report, id : str
        Which report, and the number under which it lists this result.
    quantity, unit : str
        What is compared, and in what it is measured.
    reported : Decimal or None
        As printed, with the digits printed.
    ours, spread : float or None
        Mean and sample standard deviation of our runs; None where there is none.
    n : int
        The number of seeds.
    verdict, why : str
        What follows, and from what.
    """

    report: str
    id: str
    quantity: str
    unit: str
    reported: Decimal | None
    ours: float | None
    spread: float | None
    n: int
    verdict: Verdict
    why: str

    def as_json(self) -> dict[str, str | float | int | None]:
        """The row as plain numbers and strings; a reported number becomes a float and loses trailing zeros."""
        return asdict(self) | {"reported": None if self.reported is None else float(self.reported)}


@dataclass(frozen=True)
class Judge:
    """Makes the rows of one report."""

    report: str

    def exact(
        self, id: str, quantity: str, reported: Printed, ours: float, *, unit: str = "", cut_off: bool = False
    ) -> Row:
        """Judge a value that no chance enters: `exact` if it rounds to the digits printed, else `wrong`.

        With `cut_off`, for a report that drops digits where others round, .88079708 may be printed as .8807970 too.
        """
        printed, mean = as_printed(reported), float(ours)
        verdict: Verdict = "wrong"
        if not math.isfinite(mean):
            why = f"ours is {mean}"
        elif mean == printed:
            verdict, why = "exact", "equal"
        elif _distance(printed, mean) <= half_last_digit(printed):
            verdict, why = "exact", f"rounds to {written(printed)}"
        elif cut_off and 0 < (Decimal(mean) - printed) * Decimal(1).copy_sign(printed) < 2 * half_last_digit(printed):
            verdict, why = "exact", f"cut off, not rounded, it is {written(printed)}"
        else:
            why = f"{mean!r} does not round to {written(printed)}"
        return Row(
            self.report, id, quantity, unit, printed, mean if math.isfinite(mean) else None, None, 1, verdict, why
        )

    def band(
        self,
        id: str,
        quantity: str,
        reported: Printed,
        ours: Iterable[float],
        *,
        as_reported: bool,
        unit: str = "",
        defects: Mapping[str, Iterable[float]] | None = None,
        note: str = "",
    ) -> Row:
        """Judge a value that differs from seed to seed.

        Parameters
        ----------
        ours : iterable of float
            One value a seed.
        as_reported : bool
            Whether these runs did what the report did. Runs that train less (in `--quick`) are `not judged`.
        defects : mapping, optional
            Values of runs with a named defect, one a seed. If ours is out of band and theirs is in it, the row is
            `explained` by the names.
        note : str, optional
            What else is known; added to `why`.
        """
        printed = as_printed(reported)
        values = [float(value) for value in ours]
        mean, why = _mean(values)
        spread = sample_deviation(values)
        verdict: Verdict
        if not as_reported:
            verdict, why = "not judged", _sentence("a quick run, which trains less than the report's", why)
        elif mean is None:
            verdict = "differs" if values else "not judged"
        else:
            distance, width = _distance(printed, mean), band_width(printed, values)
            if distance <= width:
                verdict, why = "in band", f"off by {_short(distance)}, within ±{_short(width)}"
            elif spread is None:
                verdict, why = "not judged", f"off by {_short(distance)}; one run gives no spread to judge by"
            else:
                verdict, why = "differs", f"off by {_short(distance)}, outside ±{_short(width)}"
        if verdict == "differs":
            runs = {name: [float(value) for value in theirs] for name, theirs in (defects or {}).items()}
            named = [name for name, theirs in runs.items() if in_band(printed, theirs)]
            if named:
                means = (f"with {name} it is {_short(statistics.mean(runs[name]))}, in band" for name in named)
                verdict, why = "explained", _sentence(why, *means)
        return Row(self.report, id, quantity, unit, printed, mean, spread, len(values), verdict, _sentence(why, note))

    def shown(self, id: str, quantity: str, ours: Iterable[float] = (), *, unit: str = "", why: str = "") -> Row:
        """Show a figure, or a value that the report has no number for: nothing is compared."""
        values = [float(value) for value in ours]
        mean, trouble = _mean(values) if values else (None, "")
        spread = sample_deviation(values)
        return Row(self.report, id, quantity, unit, None, mean, spread, len(values), "shown", _sentence(trouble, why))


def as_printed(reported: Printed) -> Decimal:
    """The number with the digits that were printed; `DataError` if it is not a finite number."""
    try:
        printed = Decimal(reported)
    except InvalidOperation:
        printed = Decimal("nan")
    if not printed.is_finite():
        raise DataError(f"A reported number must be written as printed, such as '4.60', but '{reported}' is no number.")
    return printed


def written(printed: Decimal) -> str:
    """A reported number as text, all its digits kept: 4.60, 4.88e-7, 0.000."""
    return format(printed, "f") if printed == 0 else str(printed).replace("E", "e")


def half_last_digit(printed: Decimal) -> Decimal:
    """Half a unit of the last digit printed: .005 for "4.60", .05 for "4.6"."""
    exponent = printed.as_tuple().exponent
    assert isinstance(exponent, int)  # as_printed lets only finite numbers through
    return Decimal((0, (5,), exponent - 1))


def sample_deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation (over n - 1); None for fewer than two values, or if one of them is no number."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    return statistics.stdev(values)


def band_width(printed: Decimal, values: Sequence[float]) -> Decimal:
    """How far from the mean of `values` the printed number may lie: max(3 s √(1 + 1/n), half its last digit).

    The root is there because the report is one more run: it scatters by s, and our mean by s/√n.
    """
    spread = sample_deviation(values) or 0.0
    return max(Decimal(3 * spread * math.sqrt(1 + 1 / len(values))), half_last_digit(printed))


def in_band(printed: Decimal, values: Sequence[float]) -> bool:
    """Whether the printed number lies in the band around the mean of `values`; never if one of them is no number."""
    mean, _ = _mean(values)
    return mean is not None and _distance(printed, mean) <= band_width(printed, values)


def _mean(values: Sequence[float]) -> tuple[float | None, str]:
    """The mean, or None and the reason why there is none."""
    if not values:
        return None, "there is no run"
    bad = [value for value in values if not math.isfinite(value)]
    if bad:
        return None, f"ours is {bad[0]}" + (f" in {len(bad)} of {len(values)} runs" if len(values) > 1 else "")
    return float(statistics.mean(values)), ""


def _distance(printed: Decimal, value: float) -> Decimal:
    # A float stands for all decimals within half a unit of its last binary place: 2.675 lies half-way between 2.67 and
    # 2.68 as written, and a hair below as stored. Half-way rounds to either neighbour.
    return max(abs(printed - Decimal(value)) - Decimal(math.ulp(value)) / 2, Decimal(0))


def _short(value: float | Decimal) -> str:
    return f"{float(value):.3g}"


def _sentence(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
