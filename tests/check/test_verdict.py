"""Reports: short sentences, and everything that was looked at."""

import pickle

import pytest

from chainrule.check import Cause, Finding, GradientError, Report
from chainrule.check.verdict import number


def test_the_sentence():
    cause = Cause("factor", "ratio 100 = batch size everywhere: 1/N is missing.")
    finding = Finding("W1", "wrong", (3, 7), 12.0, 0.12, 100.0, 1.0, cause)
    assert (
        str(finding)
        == "dW1 wrong, worst at [3, 7]: yours 12, correct 0.12, ratio 100 = batch size everywhere: 1/N is missing."
    )


def test_a_cause_without_a_ratio():
    cause = Cause("missing activation derivative", "the derivative of tanh in net.py, line 3 is missing.")
    finding = Finding("b", "wrong", (0,), 3.0, 1.5, 2.0, 0.5, cause)
    assert (
        str(finding)
        == "db wrong, worst at [0]: yours 3, correct 1.5, ratio 2. The derivative of tanh in net.py, line 3 is missing."
    )


def test_a_report():
    findings = (
        Finding("a", "right", relative_error=1e-12),
        Finding("b", "wrong", (), 1.0, 2.0, 0.5),
        Finding("c", "right"),
    )
    report = Report("wrong", findings, ("a, b, c: 2 directions.",), ("t: it is int64.",))
    assert not report
    assert str(report).splitlines() == [
        "wrong",
        "db wrong: yours 1, correct 2, ratio 0.5.",
        "da and dc right, relative error at most 1e-12.",
        "Checked: a, b, c: 2 directions.",
        "Skipped: t: it is int64.",
    ]
    assert Report("right")


def test_an_error_keeps_its_report():
    error = pickle.loads(pickle.dumps(GradientError(Report("wrong"))))
    assert error.report == Report("wrong")


def test_a_cause_has_a_known_kind():
    with pytest.raises(ValueError, match="a cause is one of"):
        Cause("typo", "")


@pytest.mark.parametrize(
    ("x", "text"), [(12.0, "12"), (0.12, "0.12"), (1e-7, "1e-07"), (float("nan"), "nan"), (2.00004, "2")]
)
def test_numbers(x, text):
    assert number(x) == text
