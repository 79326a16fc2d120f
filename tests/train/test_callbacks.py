"""Callbacks: called in order, able to stop, ended whatever happens; and the progress bar."""

import io
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.errors import DivergenceError
from chainrule.train import Callback, ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Log(Callback):
    """Writes down what it is told, and raises where it is asked to."""

    def __init__(self, lines, name="", raises=None):
        self.lines, self.name, self.raises = lines, name, raises

    def _say(self, *what):
        self.lines.append((self.name, *what) if self.name else what)
        if what[0] == self.raises:
            raise KeyError(self.raises)

    def on_fit_start(self, trainer, epochs):
        self._say("start", epochs)

    def on_batch_end(self, trainer, epoch, batch, loss):
        assert isinstance(loss, float)
        self._say("batch", epoch, batch)

    def on_epoch_end(self, trainer, epoch, scores):
        self._say("epoch", epoch, sorted(scores["train"]), sorted(scores["validation"]))

    def on_fit_end(self, trainer):
        self._say("end")


def trainer_of(*callbacks):
    model = nn.Linear(2, 2)
    return cr.Trainer(
        model, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD(model.parameters(), lr=0.1), callbacks=callbacks
    )


DATA = data.arrays(np.random.default_rng(0).normal(size=(6, 2)), np.arange(6) % 2)


def test_callbacks_are_told_everything_in_order():
    lines = []
    trainer_of(Log(lines)).fit(DATA, DATA, epochs=2, batch_size=3, evaluate_every=2)
    assert lines == [
        ("start", 2), ("batch", 1, 1), ("batch", 1, 2), ("epoch", 1, [], []), ("batch", 2, 1), ("batch", 2, 2),
        ("epoch", 2, ["accuracy", "loss"], ["accuracy", "loss"]), ("end",),
    ]  # fmt: skip


def test_several_callbacks_are_called_in_their_order():
    lines = []
    trainer_of(Log(lines, "a"), Log(lines, "b")).fit(DATA, epochs=1, batch_size=None)
    assert [name for name, *_ in lines] == ["a", "b"] * 4


def test_a_second_fit_counts_on():
    lines = []
    trainer = trainer_of(Log(lines))
    trainer.fit(DATA, epochs=1)
    trainer.fit(DATA, epochs=2)
    assert [line for line in lines if line[0] == "start"] == [("start", 1), ("start", 3)]


def test_stop_ends_the_training_after_the_epoch():
    class Stop(Callback):
        def on_epoch_end(self, trainer, epoch, scores):
            trainer.stop = epoch == 2

    trainer = trainer_of(Stop())
    assert trainer.fit(DATA, epochs=10).epochs == [1, 2]
    assert trainer.epoch == 2
    trainer.callbacks.clear()
    assert trainer.fit(DATA, epochs=1).epochs == [1, 2, 3], "the next fit is not stopped"


def test_stop_within_an_epoch_still_ends_it_and_takes_its_scores():
    lines = []

    class Stop(Callback):
        def on_batch_end(self, trainer, epoch, batch, loss):
            trainer.stop = True

    history = trainer_of(Stop(), Log(lines)).fit(DATA, epochs=10, batch_size=3, evaluate_every=5)
    assert history.epochs == [1]
    assert ("batch", 1, 2) in lines


@pytest.mark.parametrize("raises", ["start", "batch", "epoch", "end"])
def test_an_error_in_a_callback_comes_out_and_all_callbacks_end(raises):
    lines = []
    with pytest.raises(KeyError, match=raises):
        trainer_of(Log(lines, "a", raises), Log(lines, "b")).fit(DATA, epochs=1)
    assert [name for name, what, *_ in lines if what == "end"] == ["a", "b"]


@pytest.mark.parametrize("raises", ["start", "batch", "epoch", "end"])
def test_an_error_in_a_callback_still_ends_the_bar(monkeypatch, raises):
    monkeypatch.setattr(sys, "stderr", Terminal())
    stopped = []
    monkeypatch.setattr(
        ProgressBar,
        "on_fit_end",
        lambda self, trainer, end=ProgressBar.on_fit_end: (end(self, trainer), stopped.append(self._bar)),
    )
    with pytest.raises(KeyError):
        trainer_of(Log([], "a", raises)).fit(DATA, epochs=1)
    assert stopped == [None]


def test_without_a_terminal_nothing_is_printed(capfd):
    trainer_of().fit(DATA, epochs=2)
    assert capfd.readouterr() == ("", "")


def test_on_a_terminal_the_bar_shows_epochs_and_scores(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    trainer_of().fit(DATA, DATA, epochs=2)
    text = screen.getvalue()
    assert "2/2" in text
    assert "train loss" in text
    assert "\x1b[?25h" in text, "the cursor is shown again"


def test_progress_false_shows_nothing_even_on_a_terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    trainer_of().fit(DATA, epochs=1, progress=False)
    assert screen.getvalue() == ""


class Losses(Callback):
    """Keeps the losses of all steps, and in which order the end of the steps and that of the epoch are said."""

    def __init__(self):
        self.losses, self.said = [], []

    def on_steps_end(self, trainer, epoch, losses):
        self.losses.append(losses)
        self.said.append(("steps", epoch, len(trainer.history.epochs)))

    def on_epoch_end(self, trainer, epoch, scores):
        self.said.append(("epoch", epoch, len(trainer.history.epochs)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_backends_hand_out_the_losses_of_the_steps(dtype):
    found = {}
    for backend in ("eager", "numpy", "numba"):
        model = nn.Linear(2, 2, dtype=dtype, rng=np.random.default_rng(1))
        losses = Losses()
        sgd = optim.SGD(model.parameters(), lr=0.5)
        trainer = cr.Trainer(model, nn.CrossEntropyLoss(), sgd, callbacks=[losses], backend=backend)
        trainer.fit(DATA, epochs=3, batch_size=4, seed=2, progress=False)
        assert trainer.backend == backend
        assert losses.said == [(what, k, k - (what == "steps")) for k in (1, 2, 3) for what in ("steps", "epoch")]
        assert {(each.shape, str(each.dtype)) for each in losses.losses} == {((2,), dtype)}
        found[backend] = np.stack(losses.losses)
    assert len(np.unique(found["eager"])) == 6
    for backend in ("numpy", "numba"):
        np.testing.assert_allclose(found[backend], found["eager"], rtol=1e-12 if dtype == "float64" else 1e-5)


def test_the_losses_of_the_steps_are_those_that_each_batch_was_told():
    told, kept = [], Losses()

    class Listen(Callback):
        def on_batch_end(self, trainer, epoch, batch, loss):
            told.append(loss)

    trainer_of(Listen(), kept).fit(DATA, epochs=2, batch_size=3)
    np.testing.assert_array_equal(np.concatenate(kept.losses), np.array(told, kept.losses[0].dtype))


def test_stop_after_the_steps_still_takes_the_scores_of_the_epoch():
    class Stop(Callback):
        def on_steps_end(self, trainer, epoch, losses):
            trainer.stop = True

    assert trainer_of(Stop()).fit(DATA, epochs=10, evaluate_every=5).epochs == [1]


def test_an_epoch_that_diverges_hands_out_no_losses():
    huge = data.arrays(np.full((6, 2), 1e30, np.float32) * DATA.inputs.astype(np.float32), DATA.targets)
    kept = Losses()
    trainer = trainer_of(kept)
    trainer.optimizer.lr = 1e30
    with pytest.raises(DivergenceError):
        trainer.fit(huge, epochs=2, batch_size=2)
    assert len(kept.losses) == 0
