"""A comparison as a table in the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from chainrule.benchmarks.results import Comparison, rows

STYLES = {"ours": "bold", "peer": "", "floor": "dim"}
VERDICTS = {"reached": "green", "missed": "yellow", "": ""}


def table(comparison: Comparison) -> Table:
    """Medians, the range of the rounds, ratios to the first of ours, goals and whether they are reached."""
    result = Table(
        title=Text(f"{comparison.name}: {comparison.title}"),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    result.add_column("", no_wrap=True)
    result.add_column(comparison.unit, justify="right", no_wrap=True)
    result.add_column("rounds", justify="right", no_wrap=True)
    result.add_column("× ours", justify="right", no_wrap=True)
    result.add_column("goal")
    result.add_column("", no_wrap=True)
    for row in rows(comparison):
        cells = row.median, row.spread, row.ratio, row.goal
        result.add_row(
            Text(row.name, style=STYLES[row.role]), *map(Text, cells), Text(row.verdict, style=VERDICTS[row.verdict])
        )
    return result
