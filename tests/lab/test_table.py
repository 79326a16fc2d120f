"""Tables show each verdict in words, keep the digits that were printed, and can be read in a narrow terminal."""

import math

import pytest
from rich.console import Console

from chainrule.lab.table import STYLES, count, table
from chainrule.lab.verdict import VERDICTS, Judge, Row

judge = Judge("r")


def shown(rows: list[Row], width: int = 140) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table("r: a report", rows, width))
    return capture.get()


def cells(row: Row) -> str:
    return " ".join(shown([row]).rstrip().splitlines()[-1].split())


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (judge.exact("1", "label", "7", 7), "1 label 7 7 1 exact equal"),
        (
            judge.exact("1", "loss", ".693", math.log(2), unit="nats"),
            "1 loss nats 0.693 0.6931 1 exact rounds to 0.693",
        ),
        (judge.exact("1", "k1", "2.0000000", 2), "1 k1 2.0000000 2.0000000 1 exact equal"),
        (
            judge.exact("1", "gap", "0.000000000000", 2.2e-16),
            "1 gap 0.000000000000 2.2e-16 1 exact rounds to 0.000000000000",
        ),
        (judge.exact("1", "loss", ".693", math.nan), "1 loss 0.693 no number 1 wrong ours is nan"),
        (judge.shown("1", "count", [17]), "1 count 17 1 shown"),
        (judge.shown("1", "figure 2", why="r-2.png"), "1 figure 2 0 shown r-2.png"),
    ],
)
def test_a_row_in_one_line(row: Row, expected: str) -> None:
    assert cells(row) == expected


def test_the_spread_stands_beside_the_mean() -> None:
    assert "4.60 4.600 ± 0.141 2 in band" in cells(judge.band("1", "e", "4.60", [4.5, 4.7], as_reported=True))


def test_brackets_are_no_markup() -> None:
    assert "dW[1][2]" in shown([judge.exact("1", "dW[1][2]", "0", 0.0)])
    assert "[red]" in shown([judge.shown("1", "[red]")])


def test_a_narrow_table_keeps_the_verdict_and_the_reasons_that_matter() -> None:
    rows = [
        judge.band("1", "error after 100 iterations", "13.243", [13.9, 14.0, 13.95], as_reported=True, unit="% wrong"),
        judge.exact("2", "label", "7", 7),
    ]
    text = shown(rows, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "13.9500 ± 0.0500" in text
    assert "differs" in text
    assert "outside" in text
    assert "% wrong" in text
    assert "equal" not in text


def test_every_verdict_is_counted_and_has_a_style() -> None:
    rows = [judge.exact("1", "q", "1", 1), judge.exact("1", "q", "1", 1), judge.exact("1", "q", "1", 2)]
    assert count(rows).plain == "2 exact, 1 wrong"
    assert count([]).plain == "no rows"
    assert set(STYLES) == set(VERDICTS)
