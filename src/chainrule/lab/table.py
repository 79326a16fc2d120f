"""Rows as tables in the terminal: what a report printed, what we found, and the verdict in words and in colour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from chainrule.lab.verdict import VERDICTS, Row, Verdict, written

STYLES: dict[Verdict, str] = {
    "exact": "green",
    "in band": "green",
    "explained": "cyan",
    "differs": "yellow",
    "shown": "dim",
    "not judged": "dim",
    "wrong": "bold red",
}

SURPRISES: tuple[Verdict, ...] = ("explained", "differs", "not judged", "wrong")
WIDE = 120  # columns of a terminal in which all fields fit side by side


def table(title: str, rows: Sequence[Row], width: int) -> Table:
    """All rows of a report. In a narrow terminal unit and reason stand under the quantity, the reason where needed."""
    wide = width >= WIDE
    result = Table(title=Text(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    result.add_column("id", no_wrap=True)
    result.add_column("quantity", ratio=3)
    if wide:
        result.add_column("unit", ratio=1)
    for heading in ("reported", "ours ± spread", "n"):
        result.add_column(heading, justify="right", no_wrap=True)
    result.add_column("verdict", no_wrap=True)
    if wide:
        result.add_column("why", ratio=3)
    before = ""
    for row in rows:
        # Text, not str: a bracket in a name would be read as markup.
        quantity, unit, why = Text(row.quantity), Text(row.unit), Text(row.why, style="dim")
        if not wide:
            quantity = Text("\n").join(
                [quantity, *([unit] if unit else []), *([why] if row.verdict in SURPRISES else [])]
            )
        cells = [Text(row.id if row.id != before else ""), quantity]
        cells += [unit] if wide else []
        cells += [
            Text(reported_text(row)),
            Text(ours_text(row)),
            Text(str(row.n)),
            Text(row.verdict, style=STYLES[row.verdict]),
        ]
        cells += [why] if wide else []
        result.add_row(*cells)
        before = row.id
    return result


def count(rows: Sequence[Row]) -> Text:
    """How many rows have which verdict: 21 exact, 3 in band."""
    number = Counter(row.verdict for row in rows)
    parts = [Text(f"{number[verdict]} {verdict}", style=STYLES[verdict]) for verdict in VERDICTS if number[verdict]]
    return Text(", ").join(parts) if parts else Text("no rows")


def reported_text(row: Row) -> str:
    """The reported number with the digits printed; empty if there is none."""
    return "" if row.reported is None else written(row.reported)


def ours_text(row: Row) -> str:
    """Our mean ± the spread over seeds, with as many digits as the report's or one more."""
    if row.ours is None:
        return "" if row.n == 0 else "no number"
    text = _number(row.ours, row.reported, row.ours)
    return text if row.spread is None else f"{text} ± {_number(row.spread, row.reported, row.ours)}"


def _number(value: float, reported: Decimal | None, ours: float) -> str:
    """One digit more than was printed, unless ours is just what was printed."""
    if reported is None:
        return f"{value:,.0f}" if value == round(value) else f"{value:.4g}"
    exponent = reported.as_tuple().exponent
    places = max(0, -int(exponent)) + (ours != reported)
    if value and (abs(value) < 1e-4 or abs(value) >= 1e9):
        return f"{value:.2g}"
    return f"{value:.{places}f}"
