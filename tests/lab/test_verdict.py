"""Verdicts: each rule of docs/design.md, section 5, at its edge and on either side of it."""

import json
import math
import statistics
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chainrule.errors import ChainruleError
from chainrule.lab.verdict import (
    VERDICTS,
    Judge,
    as_printed,
    band_width,
    half_last_digit,
    in_band,
    sample_deviation,
    written,
)

judge = Judge("a-report")
values = st.floats(-1e6, 1e6)
printed_numbers = st.decimals(-1000, 1000, allow_nan=False, places=3)


def band(reported: str, *ours: float, **settings: object) -> str:
    return judge.band("1", "q", reported, ours, as_reported=True, **settings).verdict  # type: ignore[arg-type]


def exact(reported: str | int, ours: float) -> str:
    return judge.exact("1", "q", reported, ours).verdict


@pytest.mark.parametrize(
    ("reported", "ours"),
    [
        (".8807971", 1 / (1 + math.exp(-2))),
        (".693", math.log(2)),
        ("-.4403985", -0.44039853898894116),
        ("0.000000000000", 3e-16),
        (7, 7),
        ("4.60", 4.6),
        (".5", 0.5),
        (".12", 0.125),  # half-way: some round it up, some to the even digit
        (".13", 0.125),
        ("2.68", 2.675),  # half-way as written, though the binary value lies below
    ],
)
def test_exact_means_equal_after_rounding_to_the_digits_printed(reported: str | int, ours: float) -> None:
    assert exact(reported, ours) == "exact"


@pytest.mark.parametrize(
    ("reported", "ours"),
    [
        (".693", 0.6936),
        (".8807970", 0.88079),
        ("4.60", 4.606),
        (7, 8),
        ("0", math.nan),
        ("0", math.inf),
        ("0.000", 6e-4),
    ],
)
def test_a_deterministic_value_that_rounds_to_something_else_is_wrong(reported: str | int, ours: float) -> None:
    assert exact(reported, ours) == "wrong"


@given(st.floats(-1e9, 1e9), st.integers(0, 12))
def test_what_we_print_with_any_number_of_digits_is_exact(ours: float, places: int) -> None:
    assert exact(f"{ours:.{places}f}", ours) == "exact"


@given(st.floats(-1000, 1000), st.integers(-3, 3))
def test_exact_agrees_with_rounding_in_decimals(ours: float, units: int) -> None:
    rounded = Decimal(ours).quantize(Decimal("0.001"))
    reported = rounded + units * Decimal("0.001")
    tie = abs(abs(Decimal(ours) - rounded) - Decimal("0.0005")) < Decimal("1e-12")
    assume(not tie)
    assert exact(str(reported), ours) == ("exact" if units == 0 else "wrong")


@pytest.mark.parametrize(
    ("reported", "ours", "verdict"),
    [
        (".8807970", 0.88079708, "exact"),
        (".8807971", 0.88079708, "exact"),
        ("-.8807970", -0.88079708, "exact"),
        (".8807969", 0.88079708, "wrong"),
        (".8807970", -0.88079708, "wrong"),
        (".5", math.nan, "wrong"),
        (".5", 1e300, "wrong"),
    ],
)
def test_a_report_that_cuts_digits_off_may_say_so(reported: str, ours: float, verdict: str) -> None:
    row = judge.exact("1", "q", reported, ours, cut_off=True)
    assert row.verdict == verdict
    assert ("cut off" in row.why) == (verdict == "exact" and reported != ".8807971")


def test_the_band_is_three_deviations_of_one_more_run() -> None:
    ours = [4.0, 5.0, 6.0]
    width = 3 * 1.0 * math.sqrt(4 / 3)
    assert float(band_width(Decimal("5.0"), ours)) == pytest.approx(width)
    assert band(f"{5 + width - 0.001:.3f}", *ours) == "in band"
    assert band(f"{5 + width + 0.001:.3f}", *ours) == "differs"
    assert band(f"{5 - width + 0.001:.3f}", *ours) == "in band"
    assert band(f"{5 - width - 0.001:.3f}", *ours) == "differs"


def test_the_band_is_never_narrower_than_half_the_last_digit() -> None:
    assert band("4.6", 4.65, 4.65, 4.65) == "in band"
    assert band("4.60", 4.65, 4.65, 4.65) == "differs"
    assert band("4.60", 4.605, 4.605) == "in band"
    assert band("4.60", 4.606, 4.606) == "differs"


@given(printed_numbers, st.lists(values, min_size=2, max_size=8))
def test_the_verdict_of_several_runs_follows_the_formula(reported: Decimal, ours: list[float]) -> None:
    width = max(3 * statistics.stdev(ours) * math.sqrt(1 + 1 / len(ours)), 0.0005)
    distance = abs(float(reported) - statistics.mean(ours))
    assume(abs(distance - width) > 1e-6 * (1 + width))  # the edge itself is tested above, in decimals
    assert band(str(reported), *ours) == ("in band" if distance < width else "differs")


@given(printed_numbers, st.lists(values, min_size=1, max_size=5), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_run_that_is_no_number_is_never_in_band(reported: Decimal, ours: list[float], bad: float) -> None:
    row = judge.band("1", "q", reported, [*ours, bad], as_reported=True)
    assert (row.verdict, row.ours, row.spread, row.n) == ("differs", None, None, len(ours) + 1)
    assert f"ours is {bad} in 1 of {len(ours) + 1} runs" in row.why
    assert not in_band(reported, [*ours, bad])


def test_one_run_is_in_band_within_half_the_last_digit_and_otherwise_not_judged() -> None:
    assert band("4.6", 4.62) == "in band"
    assert band("4.6", 4.7) == "not judged"
    assert "no spread" in judge.band("1", "q", "4.6", [4.7], as_reported=True).why


def test_one_run_that_is_no_number_differs() -> None:
    assert band("4.6", math.nan) == "differs"


def test_no_run_is_not_judged() -> None:
    row = judge.band("1", "q", "4.6", [], as_reported=True)
    assert (row.verdict, row.ours, row.n, row.why) == ("not judged", None, 0, "there is no run")


@given(st.lists(st.floats(), max_size=4))
def test_runs_that_did_not_do_what_the_report_did_are_not_judged(ours: list[float]) -> None:
    row = judge.band("1", "q", "4.6", ours, as_reported=False, defects={"6.1": [4.6, 4.6]})
    assert row.verdict == "not judged"
    assert row.why.startswith("a quick run, which trains less than the report's")
    assert row.ours is None or math.isfinite(row.ours)


def test_explained_needs_ours_out_of_band_and_the_defect_in_it() -> None:
    defect = "6.1 (buffers are added to)"
    assert band("4.6", 1.0, 1.1, defects={defect: [4.6, 4.7]}) == "explained"
    assert band("4.6", 4.6, 4.7, defects={defect: [4.6, 4.7]}) == "in band"
    assert band("4.6", 1.0, 1.1, defects={defect: [2.0, 2.1]}) == "differs"
    assert band("4.6", 1.0, 1.1, defects={defect: [4.6, math.nan]}) == "differs"
    assert band("4.6", 1.0, 1.1, defects={defect: []}) == "differs"
    assert band("4.6", math.nan, 1.1, defects={defect: [4.6, 4.7]}) == "explained"
    assert band("4.6", 1.0, defects={defect: [4.6, 4.7]}) == "not judged"


def test_only_the_defects_that_explain_are_named() -> None:
    row = judge.band("1", "q", "4.6", [1.0, 1.1], as_reported=True, defects={"6.1": [4.6, 4.7], "6.2": [9.0, 9.1]})
    assert "6.1" in row.why
    assert "6.2" not in row.why


def test_a_note_is_added_to_what_is_known() -> None:
    row = judge.band("1", "q", "4.6", [1.0, 1.1], as_reported=True, note="the report's batch order is not given")
    assert row.why.startswith("off by 3.55, outside ±")
    assert row.why.endswith("; the report's batch order is not given")


def test_shown_compares_nothing() -> None:
    row = judge.shown("1.8", "figure 2", why="a-report-curves.png")
    assert (row.reported, row.ours, row.spread, row.n, row.verdict) == (None, None, None, 0, "shown")
    row = judge.shown("1.8", "test accuracy", [0.5, 0.7], unit="share")
    assert row.ours == pytest.approx(0.6)
    assert (row.reported, row.n, row.unit) == (None, 2, "share")
    assert "ours is nan" in judge.shown("1.8", "test accuracy", [math.nan]).why


@given(st.lists(st.floats(), max_size=4), st.booleans())
def test_every_row_is_json_without_nan(ours: list[float], as_reported: bool) -> None:
    rows = [judge.band("1", "q", "4.6", ours, as_reported=as_reported), judge.shown("1", "q", ours)]
    rows += [judge.exact("1", "q", "4.6", value) for value in ours]
    for row in rows:
        json.dumps(row.as_json(), allow_nan=False)
        assert row.verdict in VERDICTS
        assert (row.spread is None) == (
            len(ours) < 2 or not all(map(math.isfinite, ours)) or row.verdict in ("exact", "wrong")
        )


def test_the_json_has_the_fields_of_the_design_in_their_order() -> None:
    row = judge.band("2.11", "test error", "4.60", [4.5, 4.7], as_reported=True, unit="%")
    assert list(row.as_json()) == [
        "report",
        "id",
        "quantity",
        "unit",
        "reported",
        "ours",
        "spread",
        "n",
        "verdict",
        "why",
    ]
    assert row.as_json() | {"why": ""} == {
        "report": "a-report",
        "id": "2.11",
        "quantity": "test error",
        "unit": "%",
        "reported": 4.6,
        "ours": pytest.approx(4.6),
        "spread": pytest.approx(math.sqrt(0.02)),
        "n": 2,
        "verdict": "in band",
        "why": "",
    }


def test_numbers_may_be_numpys() -> None:
    row = judge.band("1", "q", "4.6", np.asarray([4.5, 4.75], np.float32), as_reported=True)
    assert type(row.ours) is float
    assert type(row.spread) is float
    assert judge.exact("1", "q", "7", np.float64(7)).verdict == "exact"


@pytest.mark.parametrize(
    ("text", "half"), [("4.575", "0.0005"), (".693", "0.0005"), ("4.60", "0.005"), ("7", "0.5"), ("4.88e-7", "5e-10")]
)
def test_half_of_the_last_digit(text: str, half: str) -> None:
    assert half_last_digit(as_printed(text)) == Decimal(half)


@pytest.mark.parametrize(
    ("text", "shown"), [(".693", "0.693"), ("4.60", "4.60"), ("4.88e-7", "4.88e-7"), ("0.000", "0.000")]
)
def test_written_keeps_the_digits(text: str, shown: str) -> None:
    assert written(as_printed(text)) == shown


@pytest.mark.parametrize("text", ["", "about .26", "nan", "inf", "4,5"])
def test_a_reported_number_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ChainruleError, match="must be written as printed"):
        as_printed(text)


def test_sample_deviation_divides_by_n_minus_one() -> None:
    assert sample_deviation([1.0, 3.0]) == pytest.approx(math.sqrt(2))
    assert sample_deviation([1.0]) is None
    assert sample_deviation([1.0, math.nan]) is None
