"""Schedules: the learning rates that they give, worked out by hand, and what they refuse."""

import copy
import dataclasses
import math
import pickle
import sys

import pytest

from chainrule import optim
from chainrule.errors import ChainruleError
from chainrule.optim.watch import Watch


def rates(schedule, epochs, lr=1.0):
    return [schedule(epoch, lr) for epoch in range(1, epochs + 1)]


def test_constant():
    assert rates(optim.Constant(), 3, 0.1) == [0.1, 0.1, 0.1]


def test_step_after_every_so_many_epochs():
    assert rates(optim.Step(2, factor=0.5), 6) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_multi_step_after_each_milestone():
    assert rates(optim.MultiStep([1, 4], factor=0.5), 6) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_multi_step_without_milestones_is_constant():
    assert rates(optim.MultiStep([]), 3, 0.1) == [0.1, 0.1, 0.1]


def test_cosine():
    # cos 0, cos 45°, cos 90°, cos 135°
    half = math.sqrt(0.5)
    expected = [1, (1 + half) / 2, 0.5, (1 - half) / 2]
    assert rates(optim.Cosine(4), 4) == pytest.approx(expected, rel=1e-14)
    assert rates(optim.Cosine(4, minimum=0.2), 4) == pytest.approx([0.2 + 0.8 * c for c in expected], rel=1e-14)


def test_cosine_stays_at_its_minimum():
    assert rates(optim.Cosine(4, minimum=0.2), 7)[4:] == [0.2, 0.2, 0.2]


def test_warm_up_rises_in_equal_steps_and_then_the_other_schedule_begins():
    assert rates(optim.WarmUp(2, start=0.5), 4) == [0.5, 0.75, 1, 1]
    assert rates(optim.WarmUp(2, start=0.5, then=optim.Step(1, factor=0.5)), 5) == [0.5, 0.75, 1, 0.5, 0.25]


def test_reduce_on_plateau_waits_and_begins_to_wait_again():
    schedule = optim.ReduceOnPlateau(factor=0.5, patience=2)
    scores = [3, 2, 2, 2.5, 2, 2, 1, 1, 1]
    got = [schedule(i + 1, 1.0, scores[:i]) for i in range(len(scores) + 1)]
    assert got == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_reduce_on_plateau_knows_which_scores_rise():
    falling, rising = [0.3, 0.2, 0.1], [0.1, 0.2, 0.3]
    for monitor, mode, good in [
        ("validation_accuracy", None, rising),
        ("train_loss", None, falling),
        ("validation_error", None, falling),
        ("validation_mine", "max", rising),
        ("validation_accuracy", "min", falling),
    ]:
        schedule = optim.ReduceOnPlateau(monitor, factor=0.5, patience=1, mode=mode)
        assert schedule.watches == monitor
        assert schedule(4, 1.0, good) == 1
        assert schedule(4, 1.0, good[::-1]) == 0.25


def test_reduce_on_plateau_stops_at_its_minimum():
    schedule = optim.ReduceOnPlateau(factor=0.1, patience=1, minimum=0.3)
    assert schedule(9, 1.0, [1.0] * 5) == 0.3
    assert schedule(9, 0.2, [1.0] * 5) == 0.2  # which never raises the rate


def test_reduce_on_plateau_never_gives_0():
    for base in (1.0, 1e-3, sys.float_info.min / 4):
        for factor in (0.5, 1e-200, 5e-324):
            schedule = optim.ReduceOnPlateau(factor=factor, patience=1)
            got = [schedule(epoch, base, [1.0] * epoch) for epoch in (2, 3, 400, 2000)]
            assert all(rate > 0 for rate in got)
            assert got == sorted(got, reverse=True)


def test_a_rate_that_is_too_large_for_a_float_is_infinite():
    for schedule in (optim.Step(1, factor=1e200), optim.MultiStep([1, 2], factor=1e200), optim.Step(1, factor=10**300)):
        assert schedule(2, 0.1) < math.inf
        assert schedule(3, 0.1) == math.inf


def test_constant_takes_no_arguments_and_can_be_copied():
    for give in (lambda: optim.Constant(0.1), lambda: optim.Constant(lr=0.1), lambda: optim.Constant(3, 0.1)):
        with pytest.raises(ChainruleError, match=r"Constant takes no arguments, since the rate is the optimizer's lr"):
            give()
    assert copy.deepcopy(optim.Constant()) == pickle.loads(pickle.dumps(optim.Constant())) == optim.Constant()


def test_an_improvement_must_exceed_min_delta():
    assert optim.ReduceOnPlateau(patience=2, min_delta=0.1)(4, 1.0, [1, 0.95, 0.92]) == 0.1
    assert optim.ReduceOnPlateau(patience=2, min_delta=0.1)(4, 1.0, [1, 0.95, 0.85]) == 1


def test_a_watched_score_that_is_nan_is_no_improvement_and_spoils_nothing():
    watch = Watch(rising=False, min_delta=0)
    assert [watch.see(s) for s in (math.nan, 2.0, math.nan, 3.0, 1.0)] == [False, True, False, False, True]
    assert (watch.best, watch.waited) == (1.0, 0)


def test_reduce_on_plateau_passes_over_scores_that_are_nan():
    schedule = optim.ReduceOnPlateau(factor=0.5, patience=2)
    scores = [math.nan, math.nan, 3, math.nan, 3, math.nan, 3, math.nan]
    got = [schedule(i + 1, 1.0, scores[:i]) for i in range(len(scores) + 1)]
    assert got == [1, 1, 1, 1, 1, 1, 1, 0.5, 0.5]


def test_a_warm_up_hands_the_scores_on():
    schedule = optim.WarmUp(2, start=0.5, then=optim.ReduceOnPlateau(factor=0.5, patience=1))
    assert schedule.watches == "validation_loss"
    assert schedule(1, 1.0, []) == 0.5
    assert schedule(4, 1.0, [3, 2, 2]) == 0.5


@pytest.mark.parametrize(
    ("schedule", "needs"),
    [
        (optim.Constant(), 1),
        (optim.Step(5), 6),
        (optim.MultiStep([]), 1),
        (optim.MultiStep([20, 40]), 41),
        (optim.Cosine(50), 50),
        (optim.WarmUp(5), 6),
        (optim.WarmUp(5, then=optim.Cosine(45)), 50),
        (optim.ReduceOnPlateau(), 1),
    ],
)
def test_how_many_epochs_a_schedule_needs_to_take_place(schedule, needs):
    assert schedule.needs == needs


def test_a_schedule_is_data():
    schedule = optim.MultiStep([20, 40], factor=0.5)
    assert schedule == optim.MultiStep((20, 40), factor=0.5)
    assert repr(schedule) == "MultiStep(milestones=(20, 40), factor=0.5)"
    assert repr(optim.WarmUp(3, then=optim.Cosine(50))) == "WarmUp(epochs=3, then=Cosine(epochs=50))"
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.factor = 0.1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: optim.Step(0), "every is 0; expected a whole number of epochs, at least 1"),
        (lambda: optim.Step(2.5), "every is 2.5; expected a whole number"),
        (lambda: optim.Step(2, factor=0), "factor is 0; expected a positive number"),
        (lambda: optim.MultiStep([4, 2]), r"milestones\[1\] is 2; expected a whole number of epochs, at least 5"),
        (lambda: optim.MultiStep([2, 2]), r"milestones\[1\] is 2; expected a whole number of epochs, at least 3"),
        (lambda: optim.MultiStep([0]), r"milestones\[0\] is 0; expected a whole number of epochs, at least 1"),
        (lambda: optim.MultiStep([2.5]), r"milestones\[0\] is 2\.5; expected a whole number"),
        (lambda: optim.MultiStep(20), r"milestones is 20; expected a list, such as \[20, 40\]"),
        (lambda: optim.Step(True), "every is True; expected a whole number"),
        (lambda: optim.ReduceOnPlateau(3, mode="min"), "monitor is 3; expected a score's name"),
        (lambda: optim.Cosine(-1), "epochs is -1; expected a whole number"),
        (lambda: optim.Cosine(5, minimum=-0.1), "minimum is -0.1; expected a number that is not negative"),
        (lambda: optim.WarmUp(0), "epochs is 0"),
        (lambda: optim.WarmUp(2, start=0), r"start is 0; expected a number in \(0, 1\]"),
        (lambda: optim.WarmUp(2, then=0.1), "then is 0.1; expected a schedule"),
        (lambda: optim.ReduceOnPlateau(factor=1), r"factor is 1; expected a number in \(0, 1\)"),
        (lambda: optim.ReduceOnPlateau(patience=0), "patience is 0; expected a whole number of scores, at least 1"),
        (lambda: optim.ReduceOnPlateau(min_delta=-1), "min_delta is -1; expected a number that is not negative"),
        (lambda: optim.ReduceOnPlateau("validation_f1"), "cannot be told from its name; give mode='min'"),
        (lambda: optim.ReduceOnPlateau(mode="up"), "mode is 'up'; expected 'min'"),
    ],
)
def test_nonsense_is_refused(make, says):
    with pytest.raises(ChainruleError, match=says):
        make()


def test_a_schedule_without_a_rule_says_what_is_missing():
    class Mine(optim.Schedule):
        pass

    with pytest.raises(TypeError, match="Mine has no rule"):
        Mine()(1, 0.1)
