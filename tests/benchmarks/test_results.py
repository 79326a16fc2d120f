"""What is said of measurements, tried with made ones: who wins, which goals are reached, and nothing rounded up."""

import pytest

from chainrule.benchmarks.page import page
from chainrule.benchmarks.results import Comparison, Goal, Measured, amount, cut, missed, rows, summary, wins

MADE = {
    "date": "2026-11-21",
    "processor": "a processor",
    "cores": 2,
    "load": [0.5, 0.4, 0.3],
    "system": "Linux x86_64",
    "versions": {"Python": "3.11.7", "chainrule": "0.1.0"},
    "products": "openblas 0.3, 2 threads",
    "limits": {},
}


def ours(*values, name="chainrule compiled"):
    return Measured(name, "chainrule", "ours", values)


def peer(*values, name="JAX"):
    return Measured(name, "jax", "peer", values)


def floor(*values):
    return Measured("bare products", "products", "floor", values)


def compared(*measured, goals=(), unit="µs a step"):
    return Comparison("M100", "a network", unit, measured, goals)


def test_a_peer_that_takes_less_wins_and_it_is_said():
    sentence = "M100: JAX wins: 100 µs a step against 150 of chainrule compiled, which takes 1.50 × as much."
    comparison = compared(ours(150, 140, 160), peer(100, 90, 900))
    assert wins([comparison]) == [sentence]
    assert summary([comparison]) == [("Where a peer wins:", [sentence])]
    assert sentence in page([comparison], MADE, 3, quick=False)


def test_nobody_else_wins():
    slower, bound = peer(300), floor(100)
    assert summary([compared(ours(150), slower, bound)]) == [("No peer wins in what was measured.", [])]
    assert summary([compared(ours(150), bound)]) == []


def test_the_median_counts_and_not_the_mean():
    assert wins([compared(ours(100, 100, 1000), peer(110, 110, 110))]) == []


def test_a_goal_that_is_missed_by_little_is_missed():
    goal = Goal("chainrule compiled", 2.0, "JAX")
    just_below = compared(ours(100), peer(199.9), goals=[goal])
    assert just_below.reached(goal) is False
    assert rows(just_below)[1].ratio == "1.99"
    assert rows(just_below)[1].verdict == "missed"
    assert missed([just_below]) == ["M100: JAX takes 1.99 × as much as chainrule compiled; the goal is 2."]
    assert compared(ours(100), peer(200), goals=[goal]).reached(goal) is True


def test_a_goal_above_a_bound_is_rounded_up():
    goal = Goal("chainrule compiled", 1 / 1.2, "bare products")
    above = compared(ours(120.1), floor(100), goals=[goal])
    assert rows(above)[1].goal == "ours at most 1.2 ×, found 1.21"
    assert rows(above)[1].verdict == "missed"
    at = compared(ours(120), floor(100), goals=[goal])
    assert rows(at)[1].goal.endswith("found 1.20")
    assert rows(at)[1].verdict == "reached"


def test_a_limit_is_a_goal_without_anybody_else():
    goal = Goal("chainrule compiled", 4.0)
    slow = compared(ours(4.2), peer(1.0), goals=[goal], unit="s")
    assert rows(slow)[0].goal == "at most 4 s"
    assert missed([slow]) == ["M100: chainrule compiled takes 4.20 s; the goal is at most 4."]
    assert compared(ours(3.9), goals=[goal], unit="s").reached(goal)


def test_a_goal_of_another_of_ours_stands_in_its_row():
    goal = Goal("chainrule eager", 1.0, "PyTorch eager")
    eager, torch = ours(400, name="chainrule eager"), peer(500, name="PyTorch eager")
    lines = {row.name: row for row in rows(compared(ours(100), eager, torch, goals=[goal]))}
    assert lines["chainrule eager"].goal == "at most 1 × PyTorch eager, found 0.800"
    assert lines["chainrule eager"].verdict == "reached"
    assert lines["PyTorch eager"].goal == ""
    assert lines["PyTorch eager"].ratio == "5.00"


def test_a_goal_that_was_not_measured_is_not_judged():
    goal = Goal("chainrule compiled", 4, "JAX")
    comparison = compared(ours(100, name="chainrule eager"), peer(1000), goals=[goal])
    assert comparison.reached(goal) is None
    assert missed([comparison]) == []
    assert summary([comparison]) == [("No peer wins in what was measured.", [])]


def test_reached_goals_are_counted():
    goals = [Goal("chainrule compiled", factor, "JAX") for factor in (2, 4)]
    heading, sentences = summary([compared(ours(100), peer(300), goals=goals)])[-1]
    assert heading == "1 of 2 goals are reached; not reached:"
    assert len(sentences) == 1


@pytest.mark.parametrize(
    ("ratio", "down", "up"),
    [(1.999, "1.99", "2.00"), (3.0, "3.00", "3.00"), (25.17, "25.1", "25.2"), (2783.9, "2,783", "2,784")],
)
def test_ratios_are_cut_off_or_rounded_up(ratio, down, up):
    assert (cut(ratio), cut(ratio, up=True)) == (down, up)


def test_small_ratios_keep_their_digits():
    assert cut(0.0081257) == "0.00812"


def test_amounts_have_three_digits():
    assert [amount(value) for value in (0.0742, 7.3, 49.26, 366.4, 158495.3)] == [
        "0.0742",
        "7.30",
        "49.3",
        "366",
        "158,495",
    ]


def test_the_page_has_machine_versions_date_and_every_row():
    comparison = compared(ours(150), peer(100), floor(90), goals=[Goal("chainrule compiled", 1.8, "JAX")])
    comparison = Comparison(**{**vars(comparison), "left_out": [("torch.compile", "there is no compiler")]})
    text = page([comparison], MADE, 5, quick=False)
    for part in (
        "2026-11-21",
        "a processor",
        "Python 3.11.7",
        "Rounds: 5",
        "Left out: torch.compile: there is no comp",
    ):
        assert part in text
    assert "| JAX | 100 | 100 to 100 | 0.666 | at least 1.8 × | missed |" in text
    assert "mean nothing" not in text
    assert "mean nothing" in page([comparison], MADE, 5, quick=True)
    limited = page([comparison], MADE | {"limits": {"OMP_NUM_THREADS": "1"}}, 5, quick=False)
    assert "OMP_NUM_THREADS=1" in limited
