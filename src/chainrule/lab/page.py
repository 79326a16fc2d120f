"""One page for people: what agrees with the reports, what does not and why, then every table and every figure.

It opens offline, beside the folder `figures/`. Nothing in it but the results: the same results give the same bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from chainrule import __version__
from chainrule.errors import ChainruleError
from chainrule.lab.experiment import Report, Table
from chainrule.lab.table import ours_text, reported_text
from chainrule.lab.verdict import VERDICTS, Row, Verdict

TEMPLATE = "page.html.jinja"

# What a reader wants to know first, from verdicts.
KINDS: dict[str, tuple[Verdict, ...]] = {
    "agrees": ("exact", "in band"),
    "explained": ("explained",),
    "differs": ("differs",),
    "wrong": ("wrong",),
    "open": ("shown", "not judged"),
}
_KIND = {verdict: kind for kind, verdicts in KINDS.items() for verdict in verdicts}
DEVIATIONS: tuple[Verdict, ...] = ("wrong", "differs", "explained")
_AT_A_GLANCE = 6  # so many rows of each of these stand at the top; the others can be unfolded


@dataclass(frozen=True)
class Picture:
    """A figure of a report: its file in `figures/`, without ending, its size in pixels, and what the file says."""

    stem: str
    width: int
    height: int
    title: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A report on the page."""

    report: Report
    rows: Sequence[Row]
    pictures: Sequence[Picture]
    tables: Sequence[Table] = ()

    @property
    def kinds(self) -> Counter[str]:
        """How many rows agree, are explained, differ, are wrong, or were not compared."""
        return Counter(_KIND[row.verdict] for row in self.rows)

    @property
    def compared(self) -> int:
        """How many rows have a verdict on a number of the report."""
        return len(self.rows) - self.kinds["open"]

    @property
    def agreeing(self) -> list[str]:
        """The ids under which all that was compared agrees."""
        return [id for id, agree, compared in self._agreement() if agree == compared]

    @property
    def partly(self) -> list[tuple[str, int, int]]:
        """The other ids under which something agrees: how many rows, of how many compared."""
        return [(id, agree, compared) for id, agree, compared in self._agreement() if 0 < agree < compared]

    def _agreement(self) -> list[tuple[str, int, int]]:
        compared = Counter(row.id for row in self.rows if _KIND[row.verdict] != "open")
        agree = Counter(row.id for row in self.rows if _KIND[row.verdict] == "agrees")
        return [(id, agree[id], number) for id, number in compared.items()]

    @property
    def deviations(self) -> tuple[list[Row], list[Row]]:
        """The rows that do not agree, the worst first: a few of each verdict to be seen at once, and the others."""
        first: list[Row] = []
        others: list[Row] = []
        for verdict in DEVIATIONS:
            found = [row for row in self.rows if row.verdict == verdict]
            first += found[:_AT_A_GLANCE]
            others += found[_AT_A_GLANCE:]
        return first, others

    def ids_with(self, verdict: Verdict) -> list[tuple[str, int]]:
        """The ids with rows of a verdict, and how many."""
        return list(Counter(row.id for row in self.rows if row.verdict == verdict).items())

    @property
    def groups(self) -> list[tuple[str, list[Row]]]:
        """The rows by id."""
        return [(id, list(rows)) for id, rows in groupby(self.rows, key=lambda row: row.id)]


def page(
    results: Iterable[tuple[Report, Sequence[Row]]],
    figures: Path,
    quick: bool,
    tables: Mapping[str, Sequence[Table]] | None = None,
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    results : iterable of (Report, rows)
    figures : Path
        The folder in which the figures lie now; the page looks for them in `figures/` beside it. They are those whose
        names begin with their report's name, with title and caption from the files (`chainrule.lab.figures`).
    quick : bool
        Whether this was the quick version.
    tables : mapping, optional
        Further tables, by the report's name.
    """
    extra = tables or {}
    sections = [
        Section(report, rows, _pictures(figures, report.name), extra.get(report.name, ())) for report, rows in results
    ]
    template: str = (
        _environment()
        .from_string(_template())
        .render(
            sections=sections,
            verdicts=Counter(row.verdict for section in sections for row in section.rows),
            kinds=sum((section.kinds for section in sections), Counter()),
            compared=sum(section.compared for section in sections),
            all_verdicts=VERDICTS,
            kind_of=_KIND,
            quick=quick,
            version=__version__,
        )
    )
    return template


def require_jinja2() -> None:
    """Raise a `ChainruleError` that says how to install jinja2, if it is missing."""
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise ChainruleError(
            'The summary page is made with jinja2, which is missing: pip install "chainrule[lab]"'
        ) from error


def _template() -> str:
    return (files("chainrule.lab") / TEMPLATE).read_text(encoding="utf-8")


def _environment() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"reported": reported_text, "ours": ours_text}
    return environment


def _pictures(folder: Path, report: str) -> list[Picture]:
    from PIL import Image  # comes with matplotlib, which drew them

    pictures = []
    for path in folder.glob(f"{report}-*.png"):
        with Image.open(path) as image:
            title, caption = (str(image.info.get(key, "")) for key in ("Title", "Description"))
            pictures.append(Picture(path.name.removesuffix(".png"), *image.size, title or path.stem, caption))
    return sorted(pictures, key=lambda picture: (_natural(picture.title), picture.stem))


def _natural(text: str) -> list[tuple[int, str]]:
    """A key by which 2.9 comes before 2.10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
