"""Early stopping: when it ends a training, which weights it gives back, and what it refuses."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.errors import ChainruleError, UnknownNameError
from chainrule.train import Callback, EarlyStopping, Scores


def sets():
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    t = (x[:, 0] > 0).astype(np.int64)
    both = data.arrays(x, t)
    return both.subset(slice(30)), both.subset(slice(30, None))


class Scripted(cr.Trainer):
    """A Trainer whose validation scores follow a script."""

    script: tuple[float, ...] = ()

    def evaluate(self, dataset):
        scores = super().evaluate(dataset)
        if len(dataset) == 10:
            scores = Scores(dict.fromkeys(scores, self.script[self.epoch - 1]))
        return scores


class Weights(Callback):
    """Keeps the weights after each epoch."""

    def __init__(self):
        self.kept = {}

    def on_epoch_end(self, trainer, epoch, scores):
        self.kept[epoch] = trainer.model.state_dict()


def trainer(script, *callbacks):
    cr.manual_seed(1)
    model = nn.Linear(3, 2)
    made = Scripted(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.5), callbacks=callbacks)
    made.script = tuple(script)
    return made


def fit(script, *callbacks, epochs=None, **options):
    made = trainer(script, *callbacks)
    made.fit(*sets(), epochs=epochs or len(script), batch_size=10, seed=0, progress=False, **options)
    return made


def test_it_stops_after_patience_scores_without_improvement_and_gives_the_best_weights_back():
    stopping, weights = EarlyStopping(patience=2), Weights()
    done = fit([3, 2, 1, 1.5, 1, 0.5], stopping, weights)
    assert (stopping.best_epoch, stopping.best_score, stopping.stopped_epoch) == (3, 1, 5)
    assert done.epoch == 5
    assert done.history.validation_loss == [3, 2, 1, 1.5, 1]
    for name, value in done.model.state_dict().items():
        np.testing.assert_array_equal(value, weights.kept[3][name])
        assert not np.array_equal(value, weights.kept[5][name])


def test_without_restoring_the_last_weights_stay():
    stopping, weights = EarlyStopping(patience=2, restore_best=False), Weights()
    done = fit([3, 2, 1, 1.5, 1, 0.5], stopping, weights)
    for name, value in done.model.state_dict().items():
        np.testing.assert_array_equal(value, weights.kept[5][name])


def test_a_training_that_ends_in_time_gives_the_best_weights_back_too():
    stopping, weights = EarlyStopping(patience=9), Weights()
    done = fit([3, 1, 2, 2], stopping, weights)
    assert (stopping.best_epoch, stopping.stopped_epoch) == (2, None)
    for name, value in done.model.state_dict().items():
        np.testing.assert_array_equal(value, weights.kept[2][name])


def test_so_does_one_that_ends_with_an_error():
    class Broken(Callback):
        def on_epoch_end(self, trainer, epoch, scores):
            if epoch == 4:
                raise KeyboardInterrupt

    stopping, weights = EarlyStopping(patience=9), Weights()
    made = trainer([3, 1, 2, 2, 2], stopping, weights, Broken())
    with pytest.raises(KeyboardInterrupt):
        made.fit(*sets(), epochs=5, progress=False)
    for name, value in made.model.state_dict().items():
        np.testing.assert_array_equal(value, weights.kept[2][name])


def test_an_improvement_must_exceed_min_delta():
    stopping = EarlyStopping(patience=2, min_delta=0.5)
    fit([3, 2.6, 2.5, 1], stopping)
    assert (stopping.best_epoch, stopping.stopped_epoch) == (1, 3)


def test_scores_that_are_nan_are_no_improvement():
    stopping = EarlyStopping(patience=3)
    fit([math.nan, 2, math.nan, 1, math.nan, math.nan, math.nan, 0], stopping)
    assert (stopping.best_epoch, stopping.best_score, stopping.stopped_epoch) == (4, 1, 7)


def test_nothing_but_nan_stops_and_leaves_the_last_weights():
    stopping, weights = EarlyStopping(patience=2), Weights()
    done = fit([math.nan] * 5, stopping, weights)
    assert (stopping.best_epoch, stopping.stopped_epoch) == (None, 2)
    for name, value in done.model.state_dict().items():
        np.testing.assert_array_equal(value, weights.kept[2][name])


def test_an_accuracy_rises_and_any_score_may_be_told_to():
    rising = EarlyStopping("validation_accuracy", patience=1)
    fit([0.1, 0.3, 0.2, 0.4], rising)
    assert (rising.best_epoch, rising.best_score, rising.stopped_epoch) == (2, 0.3, 3)
    told = EarlyStopping("validation_loss", mode="max", patience=1)
    fit([1, 2, 3, 2.5, 4], told)
    assert (told.best_epoch, told.stopped_epoch) == (3, 4)


def test_patience_counts_scores_where_they_are_taken_more_seldom():
    stopping = EarlyStopping(patience=2)
    fit([9, 2, 9, 3, 9, 3, 9, 3], stopping, evaluate_every=2)
    assert (stopping.best_epoch, stopping.stopped_epoch) == (2, 6)


def test_a_further_fit_begins_to_count_anew():
    stopping = EarlyStopping(patience=2)
    done = fit([1, 2, 2, 5, 4, 3, 4], stopping, epochs=7)
    assert (done.epoch, stopping.best_epoch) == (3, 1)
    done.fit(*sets(), epochs=4, batch_size=10, progress=False)
    assert (done.epoch, stopping.best_epoch, stopping.stopped_epoch) == (7, 6, None)


def test_a_fit_that_never_begins_does_not_bring_old_weights_back():
    class Refuses(Callback):
        refuses = False

        def on_fit_start(self, trainer, epochs):
            if self.refuses:
                raise ChainruleError("no")

    refuses, stopping = Refuses(), EarlyStopping(patience=1)
    done = fit([1, 2], refuses, stopping)
    done.model.weight.assign(np.full((3, 2), 7.0))
    refuses.refuses = True
    with pytest.raises(ChainruleError, match="no"):
        done.fit(*sets(), epochs=1, progress=False)
    assert (done.model.weight.value == 7).all()


def test_without_validation_data_it_is_an_error_before_the_training_begins():
    made = trainer([1], EarlyStopping(patience=2))
    before = made.model.state_dict()
    with pytest.raises(
        ChainruleError, match=r"EarlyStopping watches 'validation_loss', but fit was given no validation"
    ):
        made.fit(sets()[0], epochs=3, progress=False)
    assert made.epoch == 0
    assert all(np.array_equal(before[k], v) for k, v in made.model.state_dict().items())


def test_the_training_loss_may_be_watched_without_validation_data():
    stopping = EarlyStopping("train_loss", patience=1)
    trainer([1], stopping).fit(sets()[0], epochs=3, progress=False)
    assert stopping.best_epoch == 3


def test_a_score_that_is_not_taken_is_an_error_that_names_the_nearest():
    made = trainer([1], EarlyStopping("validation_acuracy", mode="max", patience=2))
    with pytest.raises(UnknownNameError, match="did you mean 'validation_accuracy'"):
        made.fit(*sets(), epochs=3, progress=False)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"patience": 0}, "EarlyStopping: patience is 0; expected a whole number of scores, at least 1"),
        ({"patience": 2.5}, r"patience is 2\.5"),
        ({"patience": 1, "min_delta": -1}, "min_delta is -1; expected a number that is not negative"),
        ({"patience": 1, "mode": "down"}, "mode is 'down'; expected 'min'"),
        ({"patience": 1, "monitor": "validation_f1"}, "cannot be told from its name; give mode='min'"),
    ],
)
def test_nonsense_is_refused(options, says):
    with pytest.raises(ChainruleError, match=says):
        EarlyStopping(**options)


def test_repr_says_when():
    stopping = EarlyStopping(patience=1)
    assert repr(stopping) == "EarlyStopping(validation_loss: nothing yet)"
    fit([2, 1, 3], stopping)
    assert repr(stopping) == "EarlyStopping(validation_loss: best 1 after epoch 2, stopped after epoch 3)"
