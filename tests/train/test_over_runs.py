"""Mean and standard deviation over several trainings."""

import math

import numpy as np
import pytest

from chainrule.errors import ChainruleError
from chainrule.train import History, Scores, over_runs


def history(losses, epochs=None, unit="nats", name="loss"):
    made = History(unit)
    for epoch, loss in zip(epochs or range(1, len(losses) + 1), losses, strict=True):
        made.append(epoch, 0.0, {"train": Scores({name: loss}), "validation": Scores()})
    return made


def test_mean_and_sample_deviation_by_hand():
    runs = over_runs([history([1, 4]), history([2, 4]), history([6, 4])])
    np.testing.assert_array_equal(runs.epochs, [1, 2])
    np.testing.assert_array_equal(runs.n, [3, 3])
    np.testing.assert_allclose(runs.mean["train_loss"], [3, 4])
    np.testing.assert_allclose(runs.std["train_loss"], [math.sqrt((4 + 1 + 9) / 2), 0])
    assert runs.loss_unit == "nats"


def test_each_epoch_counts_the_runs_that_reached_it():
    runs = over_runs([history([1, 2, 3]), history([3])])
    np.testing.assert_array_equal(runs.n, [2, 1, 1])
    np.testing.assert_array_equal(runs.mean["train_loss"], [2, 2, 3])
    np.testing.assert_allclose(runs.std["train_loss"], [math.sqrt(2), math.nan, math.nan])


def test_epochs_are_matched_by_number_not_by_place():
    runs = over_runs([history([1, 2], epochs=[2, 4]), history([3, 5, 7], epochs=[1, 2, 4])])
    np.testing.assert_array_equal(runs.epochs, [1, 2, 4])
    np.testing.assert_array_equal(runs.mean["train_loss"], [3, 3, 4.5])


def test_a_run_that_diverged_shows():
    runs = over_runs([history([1, math.inf]), history([math.nan, 1])])
    assert math.isnan(runs.mean["train_loss"][0])
    assert runs.mean["train_loss"][1] == math.inf


def test_runs_of_different_kinds_have_no_mean():
    with pytest.raises(ChainruleError, match=r"run 1 recorded train_accuracy .*, but run 0 train_loss"):
        over_runs([history([1]), history([1], name="accuracy")])
    with pytest.raises(ChainruleError, match=r"run 1 recorded train_loss \(bits\), but run 0 train_loss \(nats\)"):
        over_runs([history([1]), history([1], unit="bits")])


@pytest.mark.parametrize(
    ("given", "says"), [([1], r"\[1\]"), ([history([1]), None], "None"), (None, "None"), (history([1]), "History")]
)
def test_what_is_no_list_of_histories_is_said(given, says):
    with pytest.raises(ChainruleError, match=rf"over_runs: expected a list of histories, .*; found .*{says}"):
        over_runs(given)


@pytest.mark.parametrize("histories", [[], [History("nats")]])
def test_no_runs_have_no_mean(histories):
    with pytest.raises(ChainruleError, match="expected at least one history"):
        over_runs(histories)


def test_series_of_one_history_are_equally_long_also_where_a_score_was_not_taken():
    made = history([1.0])
    made.append(2, 0.0, {"train": Scores(loss=0.5), "validation": Scores(loss=0.7)})
    made.append(3, 0.0, {"train": Scores(loss=0.4), "validation": Scores()})
    assert made.train_loss == [1.0, 0.5, 0.4]
    np.testing.assert_array_equal(made.validation_loss, [math.nan, 0.7, math.nan])
