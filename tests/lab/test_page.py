"""The page says at its top what agrees, what does not and why; it holds every row and figure, and no markup but its
own.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from chainrule.errors import ChainruleError
from chainrule.lab.experiment import Report, Table
from chainrule.lab.figures import Curve, Panel, curves, images
from chainrule.lab.page import page, require_jinja2
from chainrule.lab.verdict import Judge, Row

NASTY = "<script>alert(\"1\")</script> & '{{ 7 * 7 }}'"


def nothing(*_: Any) -> Any:
    return []


def report(name: str, title: str = "a report") -> Report:
    return Report(name, title, nothing, nothing, nothing, nothing)


def some_rows(name: str = "r") -> list[Row]:
    judge = Judge(name)
    near, far = [1.0, 1.1, 1.05], [5.0, 5.1, 5.05]
    return [
        judge.exact("1", "label", "7", 7),
        judge.band("2", "loss near", "1.0", near, as_reported=True, unit="nats, mean per sample"),
        judge.band("2", "loss far", "1.0", far, as_reported=True, unit="nats, mean per sample"),
        judge.band("3", "loss with a reason", "1.0", far, as_reported=True, defects={"buffers kept (6.1)": near}),
        judge.exact("4", "another label", "7", 8),
        judge.shown("5", "count", [17]),
        judge.band("6", "accuracy", ".9", [0.1], as_reported=False),
    ]


class Reader(HTMLParser):
    """Text, links and the cells of the tables with all rows; complains about tags that do not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_the_top_says_what_agrees_what_does_not_and_why(tmp_path: Path) -> None:
    reader = Reader(page([(report("r"), some_rows())], tmp_path, quick=False))
    top = " ".join(reader.text.partition("How a verdict is found")[0].split())
    assert "Of 5 results that were compared with the report, 2 agree, 1 is explained by a defect of the report's" in top
    assert "program, 1 differs, 1 is wrong. 1 more is shown" in top
    for tile in ("1✓ exact", "1✓ in band", "1◆ explained", "1▲ differs", "1· shown", "1· not judged", "1✗ wrong"):
        assert tile in top
    assert "✓ agree 1" in top
    assert "✓ in part 2 (1 of 2)" in top
    assert "not judged: 6" in top
    assert "shown: 5" in top
    assert "with buffers kept (6.1) it is 1.05, in band" in top
    order = [top.index(words) for words in ("another label", "loss far", "loss with a reason")]
    assert order == sorted(order)


def test_the_table_has_every_row_with_its_unit(tmp_path: Path) -> None:
    rows = Reader(page([(report("r"), some_rows())], tmp_path, quick=False)).rows
    header = ["id", "quantity", "unit", "reported", "ours ± spread", "n", "verdict", "why"]
    table = rows[rows.index(header) + 1 :]
    assert len(table) == 7
    assert table[0] == ["1", "label", "", "7", "7", "1", "✓ exact", "equal"]
    assert table[1] == [
        *("2", "loss near", "nats, mean per sample", "1.0", "1.05 ± 0.05", "3", "✓ in band"),
        "off by 0.05, within ±0.173",
    ]
    assert table[2][:3] == ["", "loss far", "nats, mean per sample"]
    assert [row[6] for row in table[2:]] == ["▲ differs", "◆ explained", "✗ wrong", "· shown", "· not judged"]


def test_further_tables_stand_with_their_report_escaped_and_with_badges(tmp_path: Path) -> None:
    tables = {"r": [Table("classes", ["", "ours", "verdict"], [["plane", "57", "in band"], [NASTY, "1", "2"]], NASTY)]}
    html = page([(report("r"), some_rows()), (report("s"), [])], tmp_path, quick=False, tables=tables)
    reader = Reader(html)
    assert html.count("<summary>classes</summary>") == 1
    assert ["plane", "57", "✓ in band"] in reader.rows
    assert [NASTY, "1", "2"] in reader.rows
    assert "<script" not in html


def test_many_deviations_leave_room_for_those_of_another_kind(tmp_path: Path) -> None:
    judge = Judge("r")
    rows = [judge.exact("1", f"label {i}", "7", 8) for i in range(10)] + some_rows()
    html = page([(report("r"), rows)], tmp_path, quick=False)
    seen, folded = html.partition('<section aria-label="At a glance">')[2].split("<details>")[:2]
    assert "5 more that do not agree" in folded
    for words in ("label 5", "loss far", "loss with a reason"):
        assert words in seen
    for words in ("label 6", "label 9", "another label"):
        assert words in folded
        assert words not in seen


def test_nothing_is_markup_but_the_page_itself(tmp_path: Path) -> None:
    judge = Judge("r")
    rows = [judge.band(NASTY, NASTY, "1", [5.0, 5.1], as_reported=True, unit=NASTY, note=NASTY)]
    images(tmp_path / "r-&'1", NASTY, {"a": [[0.0, 1.0]]}, caption=NASTY)
    html = page([(report("r", NASTY), rows)], tmp_path, quick=False)
    assert "<script" not in html
    assert "'49'" not in html
    reader = Reader(html)
    assert reader.text.count(NASTY) >= 8
    assert "figures/r-%26%271.png" in reader.links


def test_figures_stand_in_the_order_of_their_numbers_with_captions_and_only_those_of_the_report(tmp_path: Path) -> None:
    for stem, title in (("r-a", "2.10: later"), ("r-b", "2.9: earlier"), ("s-a", "another report's"), ("rr-a", "no")):
        curves(tmp_path / stem, title, "epochs", [Panel("loss (nats)", [Curve("training", [[1.0]])])], f"See {stem}.")
    html = page([(report("r"), some_rows())], tmp_path, quick=False)
    titles = re.findall(r"<figcaption><b>(.*?)</b> (.*?)</figcaption>", html)
    assert titles == [
        ("2.9: earlier.", "See r-b. Loss (nats) over epochs."),
        ("2.10: later.", "See r-a. Loss (nats) over epochs."),
    ]
    assert re.search(r'src="figures/r-b.png" width="\d+" height="\d+" alt="2.9: earlier"', html)
    assert 'href="figures/r-b.pdf"' in html


def test_nothing_is_fetched_from_outside_and_nothing_runs(tmp_path: Path) -> None:
    images(tmp_path / "r-1", "a figure", {"a": [[0.0, 1.0]]})
    html = page([(report("r"), some_rows())], tmp_path, quick=True)
    assert all(re.match(r"(figures/|results\.json|#)", link) for link in Reader(html).links)
    for word in ("<script", "http:", "https:", "@import", "url(", "onclick", "javascript"):
        assert word not in html


def test_the_same_results_give_the_same_page_and_other_figures_another(tmp_path: Path) -> None:
    first = page([(report("r"), some_rows())], tmp_path, quick=False)
    assert page([(report("r"), some_rows())], tmp_path, quick=False) == first
    images(tmp_path / "r-1", "a figure", {"a": [[0.0, 1.0]]})
    assert page([(report("r"), some_rows())], tmp_path, quick=False) != first


def test_a_quick_run_says_so(tmp_path: Path) -> None:
    text = " ".join(Reader(page([(report("r"), some_rows())], tmp_path, quick=True)).text.split())
    assert "This was the quick version, with fewer seeds and less training. 1 result that it cannot judge is" in text
    assert "chainrule reproduce --quick" in text
    assert "quick version" not in page([(report("r"), some_rows())], tmp_path, quick=False)


def test_a_run_without_anything_to_compare_is_a_page_too(tmp_path: Path) -> None:
    shown = [Judge("r").shown("1", "figure")]
    assert "Nothing was compared." in page([(report("r"), shown), (report("s"), [])], tmp_path, quick=False)
    assert "Nothing was compared." in page([], tmp_path, quick=False)


def test_reports_stand_in_the_order_given(tmp_path: Path) -> None:
    html = page([(report(name), some_rows(name)) for name in ("b", "a")], tmp_path, quick=False)
    assert re.findall(r'<h2 id="(\w)">', html) == ["b", "a"]
    assert "The reports, run again" in html


def test_without_jinja2_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ChainruleError, match=r'pip install "chainrule\[lab\]"'):
        require_jinja2()
