"""The Trainer with a schedule, with clipping, and with each reduction of the loss."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.errors import ChainruleError
from chainrule.train import Callback


def dataset(n=23):
    x = np.random.default_rng(0).normal(size=(n, 3))
    return data.arrays(x, (x[:, 0] > 0).astype(np.int64))


def trainer(lr=0.5, loss=None, callbacks=(), **options):
    cr.manual_seed(3)
    model = nn.Linear(3, 2, dtype=np.float64)
    sgd = optim.SGD(model.parameters(), lr=lr, momentum=0.5)
    return cr.Trainer(model, loss or nn.CrossEntropyLoss(), sgd, callbacks=callbacks, **options)


def fit(made, epochs, validation=None, **options):
    return made.fit(dataset(), validation, epochs=epochs, batch_size=10, seed=0, progress=False, **options)


class Rates(Callback):
    """What the optimizer's learning rate is in each batch, and after each epoch."""

    def __init__(self):
        self.in_batches, self.after = [], []

    def on_batch_end(self, trainer, epoch, batch, loss):
        self.in_batches.append((epoch, trainer.optimizer.lr))

    def on_epoch_end(self, trainer, epoch, scores):
        self.after.append(trainer.optimizer.lr)


def test_each_epoch_is_trained_with_the_schedules_rate_and_the_base_rate_comes_back():
    rates = Rates()
    made = trainer(schedule=optim.MultiStep([1, 2], factor=0.5), callbacks=[rates])
    history = fit(made, 3)
    assert history.learning_rate == [0.5, 0.25, 0.125]
    assert sorted(set(rates.in_batches)) == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert rates.after == [0.5, 0.5, 0.5]
    assert made.optimizer.lr == 0.5


def test_the_rate_is_recorded_for_every_epoch_with_or_without_schedule_and_scores():
    assert fit(trainer(), 3, evaluate_every=3).learning_rate == [0.5, 0.5, 0.5]
    assert fit(trainer(schedule=optim.Cosine(2)), 2, evaluate_every=2).learning_rate == [0.5, 0.25]


def test_a_schedule_goes_on_in_a_further_fit():
    class StopAfterTwo(Callback):
        def on_epoch_end(self, trainer, epoch, scores):
            trainer.stop = epoch == 2

    made = trainer(schedule=optim.Step(1, factor=0.5), callbacks=[StopAfterTwo()])
    fit(made, 4)
    assert made.epoch == 2
    assert fit(made, 2).learning_rate == [0.5, 0.25, 0.125, 0.0625]


def test_a_learning_rate_set_between_fits_is_the_new_base():
    made = trainer(schedule=lambda epoch, lr: lr / epoch)
    fit(made, 2)
    made.optimizer.lr = 3.0
    assert fit(made, 1).learning_rate == [0.5, 0.25, 1.0]


def test_without_a_schedule_a_callback_may_set_the_rate():
    class Halve(Callback):
        def on_epoch_end(self, trainer, epoch, scores):
            trainer.optimizer.lr /= 2

    made = trainer(callbacks=[Halve()])
    assert fit(made, 3).learning_rate == [0.5, 0.25, 0.125]
    assert made.optimizer.lr == 0.0625


def test_the_base_rate_comes_back_after_an_error_too():
    class Broken(Callback):
        def on_batch_end(self, trainer, epoch, batch, loss):
            raise KeyboardInterrupt

    made = trainer(schedule=optim.Cosine(9, minimum=0.1), callbacks=[Broken()])
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            fit(made, 9)
    assert made.optimizer.lr == 0.5
    assert made.history.learning_rate == [optim.Cosine(9, minimum=0.1)(epoch, 0.5) for epoch in (1, 2, 3)]


def test_reduce_on_plateau_listens_to_the_history():
    made = trainer(schedule=optim.ReduceOnPlateau("train_loss", patience=1, factor=0.5, min_delta=100))
    # The first score is the best; each after it is no improvement of 100.
    assert fit(made, 4).learning_rate == [0.5, 0.5, 0.25, 0.125]
    assert fit(made, 1).learning_rate[-1] == 0.0625


def test_a_long_fit_on_a_plateau_is_not_aborted_by_a_rate_of_0():
    made = trainer(schedule=optim.ReduceOnPlateau("train_loss", patience=1, factor=1e-200, min_delta=100))
    assert all(rate > 0 for rate in fit(made, 6).learning_rate)


def test_reduce_on_plateau_does_not_count_the_epochs_of_a_fit_without_its_score():
    made = trainer(schedule=optim.ReduceOnPlateau(patience=1, factor=0.5, min_delta=100))
    made.schedule, kept = None, made.schedule
    fit(made, 3)
    made.schedule = kept
    assert fit(made, 3, validation=dataset()).learning_rate[3:] == [0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    ("schedule", "epochs", "says"),
    [
        (optim.MultiStep([2, 5]), 5, r"MultiStep\(milestones=\(2, 5\)\) goes on to epoch 6, but the last epoch is 5"),
        (optim.Step(3), 3, r"Step\(every=3\) goes on to epoch 4, but the last epoch is 3"),
        (optim.Step(1, factor=1e200), 5, r"gives the learning rate inf in epoch 3 of 5; expected a positive number"),
        (optim.Constant, 5, r"Constant takes no arguments.* give one, Constant\(\), and not the class"),
        (optim.Step, 5, "gives the learning rate Step"),
        (optim.MultiStep, 5, "milestones is 1; expected a list"),
        (optim.ReduceOnPlateau, 5, "factor is 0.5|monitor is 1"),
        (optim.Cosine(6), 5, r"Cosine\(epochs=6\) goes on to epoch 6, but the last epoch is 5"),
        (optim.WarmUp(5), 5, r"WarmUp\(epochs=5\) goes on to epoch 6"),
        (optim.Cosine(4), 5, r"gives the learning rate 0\.0 in epoch 5 of 5; expected a positive number"),
        (lambda epoch, lr: lr - epoch / 4, 5, r"gives the learning rate 0\.0 in epoch 2 of 5"),
        (lambda epoch, lr: "0.1", 5, "gives the learning rate '0.1' in epoch 1 of 5"),
        (optim.ReduceOnPlateau(), 5, "watches 'validation_loss', but fit was given no validation data"),
    ],
)
def test_a_schedule_that_does_not_fit_the_training_is_refused_before_it_begins(schedule, epochs, says):
    made = trainer(schedule=schedule)
    before = made.model.state_dict()
    with pytest.raises(ChainruleError, match=says):
        fit(made, epochs)
    assert (made.epoch, made.history.learning_rate) == (0, [])
    assert all(np.array_equal(before[k], v) for k, v in made.model.state_dict().items())


def test_the_epochs_of_earlier_fits_count():
    made = trainer()
    fit(made, 3)
    made.schedule = optim.MultiStep([4])
    assert fit(made, 2).learning_rate == [0.5, 0.5, 0.5, 0.5, 0.05]


def test_what_is_no_schedule_is_refused():
    with pytest.raises(ChainruleError, match=r"schedule is 0\.1; expected one such as optim\.Cosine"):
        trainer(schedule=0.1)


def test_clipping_by_norm_bounds_each_step():
    made = trainer(lr=1.0, clip_norm=1e-3)
    before = made.model.state_dict()
    made.step(dataset().features(dtype=np.float64), dataset().targets)
    after = made.model.state_dict()
    step = math.sqrt(sum(((after[k] - before[k]) ** 2).sum() for k in after))
    assert step == pytest.approx(1e-3, rel=1e-3)


def test_clipping_by_value_bounds_each_element():
    made = trainer(clip_value=1e-3)
    made.step(dataset().features(dtype=np.float64), dataset().targets)
    assert max(np.abs(p.grad).max() for p in made.model.parameters()) == 1e-3


@pytest.mark.parametrize("option", ["clip_norm", "clip_value"])
def test_a_limit_that_is_not_positive_is_refused(option):
    with pytest.raises(ChainruleError, match=f"{option} is 0; expected a positive number"):
        trainer(**{option: 0})


# ---- reductions: 23 samples, 2 classes, one batch or batches of 10, 10, 3

FACTORS = {"mean": 1, "sum": 23, "mean_entries": 1 / 2}
UNITS = {"mean": "mean per sample", "sum": "sum over samples", "mean_entries": "mean over samples and outputs"}


@pytest.mark.parametrize("reduction", FACTORS)
def test_the_history_is_in_the_units_of_the_reduction(reduction):
    plain, reduced = trainer(), trainer(loss=nn.CrossEntropyLoss(reduction))
    assert reduced.history.loss_unit == f"cross-entropy in nats, {UNITS[reduction]}"
    ours, mean = reduced.evaluate(dataset()), plain.evaluate(dataset())
    assert ours.loss == pytest.approx(mean.loss * FACTORS[reduction], rel=1e-12)
    assert ours.accuracy == mean.accuracy


@pytest.mark.parametrize("reduction", FACTORS)
def test_a_reduction_scales_the_gradient_so_a_learning_rate_that_undoes_it_trains_the_same(reduction):
    results = []
    for loss, lr in ((nn.CrossEntropyLoss(reduction), 0.5 / FACTORS[reduction]), (nn.CrossEntropyLoss(), 0.5)):
        made = trainer(lr=lr, loss=loss)
        made.fit(dataset(), epochs=5, batch_size=None, progress=False)
        results.append(made.model.state_dict())
    for name in results[0]:
        np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-12)


def test_a_summed_gradient_weighs_each_sample_alike_and_an_averaged_one_each_batch():
    """In the last, shorter batch of 3 the averaged gradient is 1/3 of the sum, not 1/10."""

    class Last(Callback):
        def on_batch_end(self, trainer, epoch, batch, loss):
            self.gradient = trainer.model.weight.grad.copy()

    last = {}
    for reduction in FACTORS:
        last[reduction] = Last()
        fit(trainer(lr=1e-12, loss=nn.CrossEntropyLoss(reduction), callbacks=[last[reduction]]), 1)
    np.testing.assert_allclose(last["sum"].gradient, 3 * last["mean"].gradient, rtol=1e-9)
    np.testing.assert_allclose(last["mean_entries"].gradient, last["mean"].gradient / 2, rtol=1e-9)
