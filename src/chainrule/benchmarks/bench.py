"""`chainrule bench`: measures, prints each comparison as soon as it is there, and writes it all down."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from chainrule.benchmarks import machine, measuring, roster
from chainrule.benchmarks.page import page
from chainrule.benchmarks.picture import picture
from chainrule.benchmarks.results import Comparison, summary
from chainrule.benchmarks.table import table
from chainrule.benchmarks.works import WORKS
from chainrule.errors import DataError, UnknownNameError
from chainrule.lab.figures import require_matplotlib

KNOWN = (*WORKS, *measuring.FRESH)
FORMAT = 1  # of the JSON


def bench(
    works: Sequence[str] = (),
    *,
    peers: Sequence[str] | None = None,
    rounds: int = 5,
    quick: bool = False,
    json_file: Path | None = None,
    picture_file: Path | None = None,
    page_file: Path | None = None,
) -> list[Comparison]:
    """Time chainrule and its peers at the same works.

    Parameters
    ----------
    works : sequence of str
        Names of `KNOWN`, in any case; all of them if empty.
    peers : sequence of str, optional
        Of `roster.PEERS`; all of them by default. Those that are not installed are named, and left out.
    rounds : int
        How often each is measured, after a first time that is left out.
    quick : bool
        Take a few steps of each: to see that it runs.
    json_file, picture_file, page_file : path, optional
        Where to write the measurements, a picture (its suffix says the format), and a page in Markdown.

    Raises
    ------
    UnknownNameError
        For a work or peer that is not known.
    DataError
        If the number of rounds is below 1, or a file cannot be written. A folder that is missing is noticed before
        anything runs.
    """
    names = list(dict.fromkeys(_known(name) for name in works)) or list(KNOWN)
    candidates = roster.chosen(peers)
    if rounds < 1:
        raise DataError(f"The number of rounds must be at least 1; found {rounds}.")
    for file in (json_file, picture_file, page_file):
        if file is not None and not file.absolute().parent.is_dir():
            raise DataError(f"'{file}' cannot be written: there is no folder '{file.parent}'. Make it first.")
    if picture_file is not None:
        require_matplotlib()
    console = Console(highlight=False)
    if not console.is_terminal:  # there is no window to fit into
        console = Console(highlight=False, width=max(console.width, 120))
    made = machine.description()
    for line in machine.sentences(made):
        console.print(Text(line), soft_wrap=True)
    if quick:
        console.print(Text("A quick run, which only shows that it runs: the times mean nothing.", style="yellow"))
    comparisons = []
    for name in names:
        with console.status(f"{name} ..."):
            comparison = measuring.comparison(name, candidates, rounds, quick)
        comparisons.append(comparison)
        _print(console, comparison)
    for heading, sentences in summary(comparisons):
        console.print(Text(heading, style="bold"), soft_wrap=True)
        for sentence in sentences:
            console.print(Text(f"  {sentence}"), soft_wrap=True)
    _write(comparisons, made, rounds, quick, json_file, picture_file, page_file)
    return comparisons


def _known(name: str) -> str:
    for known in KNOWN:
        if known.lower() == name.lower():
            return known
    raise UnknownNameError("work", name, KNOWN)


def _print(console: Console, comparison: Comparison) -> None:
    console.print()
    console.print(table(comparison))
    for name, why in comparison.left_out:
        console.print(Text(f"Left out: {name}: {why}."), soft_wrap=True)


def _write(
    comparisons: Sequence[Comparison],
    made: dict[str, Any],
    rounds: int,
    quick: bool,
    json_file: Path | None,
    picture_file: Path | None,
    page_file: Path | None,
) -> None:
    found = {"format": FORMAT, "made": made, "rounds": rounds, "quick": quick}
    found["comparisons"] = [each.as_json() for each in comparisons]
    try:
        if json_file is not None:
            json_file.write_text(json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")
        if page_file is not None:
            place = None if picture_file is None else Path(os.path.relpath(picture_file, page_file.parent)).as_posix()
            page_file.write_text(page(comparisons, made, rounds, quick, place), "utf-8")
        if picture_file is not None:
            picture(comparisons, picture_file)
    except OSError as error:
        raise DataError(f"The results could not be written: {error}.") from error
