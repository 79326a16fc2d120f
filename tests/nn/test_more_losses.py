"""Binary cross-entropy, Huber's loss, class weights, label smoothing: formulas, extremes, means over whole sets."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.check.numeric import numerical_gradient, relative_error
from chainrule.errors import DataError, ShapeError

rng = np.random.default_rng(0)
LOGITS, LABELS = rng.normal(size=(6, 4)), np.array([0, 3, 1, 2, 2, 0])
ROWS, WEIGHTS = rng.dirichlet(np.ones(4), 6), np.array([0.5, 2.0, 1.0, 3.0])
LN_P = LOGITS - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))


def check_gradient(loss, targets, x=LOGITS):
    numerical = numerical_gradient(lambda z: loss(z, targets), x)
    assert relative_error(cr.grad(lambda z: loss(z, targets))(x), numerical) < 1e-8


# ------------------------------------------------------------------------------- class weights, label smoothing


def test_class_weights_weigh_the_samples_and_a_mean_divides_by_their_weights():
    each = -WEIGHTS[LABELS] * LN_P[np.arange(6), LABELS]
    for reduction, expected in (
        ("sum", each.sum()),
        ("mean", each.sum() / WEIGHTS[LABELS].sum()),
        ("mean_entries", each.sum() / WEIGHTS[LABELS].sum() / 4),
    ):
        loss = nn.CrossEntropyLoss(reduction, class_weights=WEIGHTS)
        assert float(loss(LOGITS, LABELS)) == pytest.approx(expected, rel=1e-13)
        check_gradient(loss, LABELS)


def test_class_weights_of_probabilities_weigh_the_classes_and_a_mean_is_over_samples():
    loss = nn.CrossEntropyLoss(class_weights=WEIGHTS.tolist())
    assert float(loss(LOGITS, ROWS)) == pytest.approx(-(ROWS * WEIGHTS * LN_P).sum(axis=1).mean(), rel=1e-13)
    assert loss.unit == "cross-entropy in nats, mean per sample, weighted by class"


@pytest.mark.parametrize("targets", [LABELS, np.eye(4)[LABELS], np.eye(4, dtype=int)[LABELS]])
def test_label_smoothing_mixes_the_targets_with_all_classes_alike(targets):
    smooth = 0.9 * np.eye(4)[LABELS] + 0.1 / 4
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    assert float(loss(LOGITS, targets)) == pytest.approx(-(smooth * LN_P).sum(axis=1).mean(), rel=1e-13)
    check_gradient(loss, targets)


def test_they_are_recorded_with_a_symbolic_batch():
    loss = nn.CrossEntropyLoss(class_weights=WEIGHTS, label_smoothing=0.1)
    graph = cr.derive(cr.trace(lambda z, t: loss(z, t), LOGITS, LABELS, batch={"z": 0, "t": 0}))
    value, gradient = graph.run(LOGITS[:3], LABELS[:3])
    assert value == pytest.approx(float(loss(LOGITS[:3], LABELS[:3])), rel=1e-14)
    np.testing.assert_allclose(gradient, cr.grad(lambda z: loss(z, LABELS[:3]))(LOGITS[:3]), rtol=1e-13)


def test_float32_stays_float32():
    z = cr.tensor(LOGITS.astype(np.float32))
    assert nn.CrossEntropyLoss(class_weights=WEIGHTS, label_smoothing=0.1)(z, LABELS).dtype == np.float32
    assert nn.BCEWithLogitsLoss()(z, np.eye(4, dtype=int)[LABELS]).dtype == np.float32
    assert nn.HuberLoss()(z, np.eye(4, dtype=np.float32)[LABELS]).dtype == np.float32


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(class_weights=WEIGHTS),
        nn.CrossEntropyLoss("mean_entries", class_weights=WEIGHTS, label_smoothing=0.2),
        nn.CrossEntropyLoss("sum", class_weights=WEIGHTS),
        nn.CrossEntropyLoss("mean_entries"),
    ],
    ids=repr,
)
def test_the_loss_of_a_whole_set_in_batches_is_that_of_one_batch(loss):
    total = sum(float(loss.samples(LOGITS[rows], LABELS[rows], "sum")) for rows in (slice(0, 2), slice(2, 6)))
    count = sum(loss.count(LOGITS[rows], LABELS[rows]) for rows in (slice(0, 2), slice(2, 6)))
    assert loss.over(total, count) == pytest.approx(float(loss(LOGITS, LABELS)), rel=1e-13)
    model = nn.Sequential(nn.Linear(4, 4, dtype=np.float64))
    trainer = cr.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1))
    scores = trainer.evaluate(data.arrays(LOGITS, LABELS))
    assert scores.loss == pytest.approx(float(loss(model(LOGITS), LABELS).item()), rel=1e-13)


def test_a_mean_over_sequences_is_over_all_their_elements():
    z, t = LOGITS.reshape(2, 3, 4), LABELS.reshape(2, 3)
    for reduction in ("mean", "mean_entries", "sum"):
        loss = nn.CrossEntropyLoss(reduction)
        assert float(loss(z, t)) == pytest.approx(float(loss(LOGITS, LABELS)), rel=1e-14)
        assert loss.over(float(loss.samples(z, t, "sum")), loss.count(z, t)) == pytest.approx(float(loss(z, t)))


@pytest.mark.parametrize("weights", [[1, 2, 3], [1, 1, 1, -1], [1, 1, 1, np.inf], [[1, 1, 1, 1]]])
def test_class_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(DataError, match="expected 4 numbers that are not negative"):
        cr.cross_entropy(LOGITS, LABELS, class_weights=weights)


def test_a_label_outside_the_classes_is_named_before_its_weight_is_looked_up():
    with pytest.raises(DataError, match="the label 8 is outside the 4 classes"):
        nn.CrossEntropyLoss(class_weights=WEIGHTS)(LOGITS, LABELS + 5)


@pytest.mark.parametrize("weights", [3.0, "ab", [], [[1, 2]], [1, "a"], {}])
def test_a_loss_refuses_class_weights_that_are_no_row_of_numbers(weights):
    with pytest.raises(DataError, match=r"CrossEntropyLoss: class_weights is .*; expected a number for each class"):
        nn.CrossEntropyLoss(class_weights=weights)


@pytest.mark.parametrize("share", ["a", None])
def test_a_label_smoothing_that_is_no_number_is_refused(share):
    with pytest.raises(DataError, match=r"CrossEntropyLoss: label_smoothing is .*; expected a share from 0 to 1"):
        nn.CrossEntropyLoss(label_smoothing=share)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_label_smoothing_that_is_no_share_is_refused(share):
    with pytest.raises(DataError, match="expected a share from 0 to 1"):
        nn.CrossEntropyLoss(label_smoothing=share)
    with pytest.raises(DataError, match="label_smoothing"):
        cr.cross_entropy(LOGITS, LABELS, label_smoothing=share)


# ------------------------------------------------------------------------------------------ binary cross-entropy


@pytest.mark.parametrize(("reduction", "of"), [("mean", np.mean), ("mean_entries", np.mean), ("sum", np.sum)])
def test_binary_cross_entropy_is_its_formula(reduction, of):
    p = 1 / (1 + np.exp(-LOGITS))
    loss = nn.BCEWithLogitsLoss(reduction)
    expected = of(-ROWS * np.log(p) - (1 - ROWS) * np.log(1 - p))
    assert float(loss(LOGITS, ROWS)) == pytest.approx(expected, rel=1e-13)
    assert loss.over(float(loss.samples(LOGITS, ROWS, "sum")), loss.count(LOGITS, ROWS)) == pytest.approx(expected)
    check_gradient(loss, ROWS)


def test_binary_cross_entropy_keeps_its_digits_far_from_zero():
    z, t = np.array([-800.0, -40.0, 40.0, 800.0]), np.array([0.0, 0.0, 1.0, 1.0])
    tiny = math.log1p(math.exp(-40))
    np.testing.assert_allclose(cr.binary_cross_entropy(z, t, "none"), [0, tiny, tiny, 0], rtol=1e-14)
    np.testing.assert_allclose(cr.binary_cross_entropy(z, 1 - t, "none"), [800, 40 + tiny, 40 + tiny, 800], rtol=1e-14)
    assert np.isfinite(cr.grad(lambda z: cr.binary_cross_entropy(z, t))(z)).all()


def test_targets_that_are_no_probabilities_or_have_another_shape_are_refused():
    with pytest.raises(DataError, match="run from 0 to 2; expected probabilities"):
        cr.binary_cross_entropy(np.zeros(3), np.array([0, 1, 2]))
    with pytest.raises(ShapeError, match=r"binary cross-entropy of predictions \(6, 1\) and targets \(6,\)"):
        nn.BCEWithLogitsLoss()(cr.tensor(np.ones((6, 1))), np.ones(6))


# ---------------------------------------------------------------------------------------------------------- Huber


@pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
def test_huber_is_quadratic_near_and_linear_far(delta):
    d = np.abs(LOGITS - ROWS)
    expected = np.where(d <= delta, d**2 / 2, delta * (d - delta / 2))
    loss = nn.HuberLoss(delta=delta)
    assert float(loss(LOGITS, ROWS)) == pytest.approx(expected.mean(), rel=1e-13)
    check_gradient(loss, ROWS)
    assert repr(loss) == f"HuberLoss(reduction='mean', delta={delta})"
    assert loss.unit == "Huber loss, mean over samples and outputs"


@pytest.mark.parametrize("delta", [0, -1.0, math.inf, math.nan])
def test_a_delta_that_is_not_positive_and_finite_is_refused(delta):
    for refused in (lambda: nn.HuberLoss(delta=delta), lambda: cr.huber(LOGITS, LOGITS, delta)):
        with pytest.raises(DataError, match="delta"):
            refused()


def test_the_derivative_of_huber_is_delta_at_the_join_and_0_at_0():
    derivative = cr.grad(lambda y: cr.huber(y, np.zeros(3), delta=2.0, reduction="sum"))
    np.testing.assert_array_equal(derivative(np.array([0.0, 2.0, -2.0])), [0, 2, -2])


def test_a_delta_that_is_not_positive_is_refused():
    for delta in (0, -1.0, float("nan"), "a", None):
        with pytest.raises(DataError, match=r"HuberLoss: delta is .*; expected a positive number"):
            nn.HuberLoss(delta=delta)
    with pytest.raises(ShapeError, match="Huber loss of predictions"):
        nn.HuberLoss()(cr.tensor(np.ones((6, 1))), np.ones(6))
