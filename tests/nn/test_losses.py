"""Losses: formulas, reductions, units, and targets that do not fit."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ChainruleError, DataError, ShapeError, UnknownNameError

LOGITS = np.random.default_rng(0).normal(size=(6, 4))
LABELS = np.array([0, 3, 1, 2, 2, 0])


def nats():
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(6), LABELS])


@pytest.mark.parametrize(
    ("reduction", "expected"), [("mean", np.mean), ("sum", np.sum), ("mean_entries", lambda v: v.mean() / 4)]
)
def test_cross_entropy_in_each_reduction(reduction, expected):
    loss = nn.CrossEntropyLoss(reduction)
    assert float(loss(LOGITS, LABELS)) == pytest.approx(expected(nats()), rel=1e-12)
    assert float(loss(LOGITS, np.eye(4)[LABELS])) == pytest.approx(expected(nats()), rel=1e-12)


@pytest.mark.parametrize(("reduction", "expected"), [("mean", np.mean), ("sum", np.sum), ("mean_entries", np.mean)])
def test_mean_squared_error_in_each_reduction(reduction, expected):
    targets = np.ones((6, 4))
    squares = (LOGITS - targets) ** 2
    loss = nn.MSELoss(reduction)
    assert float(loss(LOGITS, targets)) == pytest.approx(expected(squares), rel=1e-12)


def test_units_say_what_the_number_is():
    assert nn.CrossEntropyLoss().unit == "cross-entropy in nats, mean per sample"
    assert nn.CrossEntropyLoss("sum").unit == "cross-entropy in nats, sum over samples"
    assert nn.MSELoss().unit == "squared error, mean over samples and outputs"
    assert nn.MSELoss("sum").unit == "squared error, sum over samples and outputs"
    assert repr(nn.MSELoss("sum")) == "MSELoss(reduction='sum')"


def test_an_unknown_reduction_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'average'.*Known are"):
        nn.MSELoss("average")
    with pytest.raises(UnknownNameError, match="did you mean 'mean'"):
        nn.CrossEntropyLoss("men")


def test_a_column_against_a_row_is_refused():
    with pytest.raises(ShapeError, match=r"predictions \(6, 1\) and targets \(6,\).*reshape the targets to \(6, 1\)"):
        nn.MSELoss()(cr.tensor(np.ones((6, 1))), np.ones(6))
    with pytest.raises(ShapeError, match=r"predictions \(6,\) and targets \(6, 1\)"):
        nn.MSELoss()(cr.tensor(np.ones(6)), np.ones((6, 1)))


@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4, 0], [0, 1, -1, 3, 0, 0]])
def test_labels_outside_the_classes_are_named(labels):
    with pytest.raises(DataError, match=r"label (4|-1) is outside the 4 classes 0 to 3"):
        nn.CrossEntropyLoss()(cr.tensor(LOGITS), np.array(labels))


def test_labels_that_are_floats_are_refused():
    with pytest.raises(DataError, match="float64: labels are integers"):
        nn.CrossEntropyLoss()(cr.tensor(LOGITS), LABELS.astype(float))


def test_targets_of_another_shape_name_both_that_would_fit():
    with pytest.raises(ShapeError, match=r"\(6,\) \(labels\) or \(6, 4\) \(probabilities\), not \(5,\)"):
        nn.CrossEntropyLoss()(cr.tensor(LOGITS), LABELS[:5])
    with pytest.raises(ShapeError, match=r"not \(6, 1\)"):
        nn.CrossEntropyLoss()(cr.tensor(LOGITS), LABELS[:, None])


def test_a_loss_of_ones_own_gives_samples():
    class Absolute(nn.Loss):
        quantity = "absolute error"

        def samples(self, outputs, targets, reduction):
            losses = abs(outputs - targets).sum(axis=1)
            return losses.sum() if reduction == "sum" else losses.mean()

    assert float(Absolute()(LOGITS, np.zeros((6, 4)))) == pytest.approx(np.abs(LOGITS).sum(axis=1).mean())
    assert Absolute().unit == "absolute error, mean per sample"
    with pytest.raises((TypeError, ChainruleError), match="give it a method `samples`"):
        nn.Loss()(LOGITS, LOGITS)
