"""vu-a1, questions 1 and 2: every row exact, on single numbers and on arrays."""

from typing import Any

import pytest

from chainrule.lab.reports import vu_a1
from chainrule.lab.verdict import Row


@pytest.fixture(scope="module")
def results() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for job in vu_a1.REPORT.jobs(quick=True):
        found.setdefault(job.experiment, []).append(job.result())
    return found


@pytest.fixture(scope="module")
def rows(results: dict[str, list[dict[str, Any]]]) -> list[Row]:
    return list(vu_a1.REPORT.rows(results, True))


def test_every_id_has_rows(rows: list[Row]) -> None:
    number = {id: sum(row.id == id for row in rows) for id in ("1.1", "1.2", "1.3", "1.4")}
    assert number == {"1.1": 8, "1.2": 1, "1.3": 11, "1.4": 17}


def test_every_printed_number_is_exact(rows: list[Row]) -> None:
    assert {row.verdict for row in rows if row.reported is not None} == {"exact"}
    assert {row.report for row in rows} == {"vu-a1"}


def test_the_rows_can_tell_a_wrong_derivative(results: dict[str, list[dict[str, Any]]]) -> None:
    network = {**results["network"][0], "dc": [-0.5, 0.4999999]}
    derivatives = dict.fromkeys(results["derivatives on arrays"][0], 1e-12)
    changed = {**results, "network": [network], "derivatives on arrays": [derivatives]}
    wrong = [row.quantity for row in vu_a1.REPORT.rows(changed, True) if row.verdict == "wrong"]
    assert len(wrong) == 5
    assert "dc[2]" in wrong
