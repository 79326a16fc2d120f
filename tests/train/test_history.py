"""The history and the scores: numbers by name, and a sentence for a name that is not there."""

import pytest

from chainrule.train import History, Scores


def test_scores_are_numbers_by_name():
    scores = Scores(loss=0.5, accuracy=0.9)
    assert scores.loss == scores["loss"] == 0.5
    with pytest.raises(AttributeError, match="no 'los' among loss, accuracy"):
        _ = scores.los


def test_a_history_is_lists_by_name():
    history = History("nats")
    assert repr(history) == "History(nothing yet)"
    with pytest.raises(AttributeError, match="it has nothing yet"):
        _ = history.train_loss
    history.append(1, 0.5, {"train": Scores(loss=2.0), "validation": Scores(loss=3.0)})
    history.append(5, 1.5, {"train": Scores(loss=1.0), "validation": Scores(loss=2.0)})
    assert history.train_loss == [2.0, 1.0]
    assert history.validation_loss == [3.0, 2.0]
    assert history.epochs == [1, 5]
    assert history.seconds == [0.5, 1.5]
    assert repr(history) == "History(after epoch 5: train_loss 1, validation_loss 2; losses: nats)"
    with pytest.raises(AttributeError, match="has no 'test_loss'; it has train_loss, validation_loss"):
        _ = history.test_loss
