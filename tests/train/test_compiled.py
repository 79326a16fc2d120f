"""Compiled training: which backend takes the steps, and what happens around them, is as eager mode has it."""

import numpy as np
import pytest
from tests.compiler.trainings import BACKENDS, TRAIN, agree, compare, digits, network, small, trained

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.compiler import backend
from chainrule.errors import Notice
from chainrule.train import Callback, EarlyStopping, GradientNorms, fused

pytest.importorskip("numba")

# ---- which backend ---------------------------------------------------------------------------------------------------


def test_the_choice_follows_from_the_work_alone(monkeypatch):
    below = np.nextafter
    assert backend.chosen("auto", below(backend.PLANNED_FROM, 0)) == "eager"
    assert backend.chosen("auto", backend.PLANNED_FROM) == "numpy"
    assert backend.chosen("auto", below(backend.FUSED_FROM, 0)) == "numpy"
    assert backend.chosen("auto", backend.FUSED_FROM) == "numba"
    for name in BACKENDS:
        assert backend.chosen(name, 0) == backend.chosen(name, 1e9) == name
    monkeypatch.setattr(backend, "installed", lambda: False)
    with pytest.warns(Notice, match="Numba and SciPy are not installed"):
        assert backend.chosen("numba", 0) == "numpy"


class AfterOne(Callback):
    def on_epoch_end(self, trainer, epoch, scores):
        trainer.stop = True


@pytest.mark.parametrize(("epochs", "expected"), [(10, "eager"), (1_000, "numpy"), (1_000_000, "numba")])
@pytest.mark.parametrize("cache", ["empty", "filled"])
def test_auto_chooses_by_the_epochs_asked_for(epochs, expected, cache, monkeypatch, tmp_path):
    if cache == "empty":
        monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    model = small()
    sgd = optim.SGD(model.parameters(), lr=0.1)
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), sgd, callbacks=[AfterOne()], backend="auto")
    trainer.fit(TRAIN, epochs=epochs, batch_size=10, progress=False)
    assert trainer.backend == expected


def test_who_listens_to_batches_gets_eager_mode():
    assert trained("numba", small, TRAIN, callbacks=[GradientNorms()]).backend == "eager"


class Branch(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(40, 4, dtype="float64")

    def forward(self, x):
        y = self.linear(x)
        return 2 * y if y.value.sum() > 0 else y


def test_a_model_that_decides_by_numbers_is_trained_in_eager_mode():
    with pytest.warns(Notice, match="eager mode takes it"):
        found = trained("numba", Branch, TRAIN)
    assert found.backend == "eager"
    compare(found, trained("eager", Branch, TRAIN), TRAIN, 0)


class Embedded(nn.Module):
    def __init__(self):
        self.table, self.linear = nn.Embedding(256, 2, dtype="float64"), nn.Linear(80, 4, dtype="float64")

    def forward(self, x):
        return self.linear(self.table(x.astype(np.int64)).reshape(x.shape[0], 80))


def test_an_embedding_is_left_to_the_plan():
    train = data.Dataset(TRAIN.inputs, TRAIN.targets)
    with pytest.warns(Notice, match="cannot be fused, so the plan computes it: an index is computed"):
        found = trained("numba", Embedded, train)
    assert found.backend == "numpy"
    compare(found, trained("eager", Embedded, train), train, 1e-10)


class Tempered(nn.Module):
    def __init__(self):
        self.linear, self.factor = nn.Linear(40, 4, dtype="float64"), nn.Parameter(1.5, dtype="float64")

    def forward(self, x):
        return self.linear(x) * self.factor


def test_a_parameter_that_is_a_single_number_is_left_to_the_plan():
    with pytest.warns(Notice, match="a single number, would be replaced while it is read"):
        found = trained("numba", Tempered, TRAIN)
    compare(found, trained("eager", Tempered, TRAIN), TRAIN, 1e-10)


@pytest.mark.parametrize("dtype", [">f8", "float16"])
def test_data_that_machine_code_cannot_read(dtype):
    train = data.Dataset(TRAIN.inputs.astype(dtype), TRAIN.targets, scale=1 / 255)
    with pytest.warns(Notice, match="does not read data"):
        found = trained("numba", small, train)
    compare(found, trained("eager", small, train), train, 1e-10)


# ---- what happens around the steps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_several_fits_of_one_trainer(optimizer):
    found = {}
    for name in BACKENDS:
        inputs = TRAIN.inputs.copy()
        train = data.Dataset(inputs, TRAIN.targets, scale=1 / 255, classes=4)
        trainer = trained(name, small, train, optimizer=optimizer)
        inputs[:, :9] = 0  # lists of what is not zero are made anew for each fit
        trainer.fit(train, epochs=1, batch_size=10, progress=False, evaluate_every=None)
        trainer.fit(train, epochs=2, batch_size=7, progress=False, evaluate_every=None, shuffle=False)
        kept = trainer.model.state_dict(), trainer.optimizer.state_dict()
        trainer.fit(train, epochs=1, batch_size=200, progress=False, evaluate_every=None)
        trainer.model.load_state_dict(kept[0])
        trainer.optimizer.load_state_dict(kept[1])
        trainer.fit(train, epochs=1, batch_size=10, progress=False, evaluate_every=None, seed=3)
        found[name] = trainer
    for name in ("numpy", "numba"):
        assert found[name].epoch == 7
        compare(found[name], found["eager"], TRAIN, 1e-10)


class Meddler(Callback):
    """Changes something after each epoch."""

    def on_epoch_end(self, trainer, epoch, scores):
        if epoch == 1:
            trainer.model[0].weight.assign(trainer.model[0].weight.value * 0.5)
        elif epoch == 2:
            trainer.model[0].bias.requires_grad = False
        elif epoch == 3:
            trainer.model[2].p = 0.5
        elif epoch == 4:
            trainer.clip_norm = 0.05


class Painter(Callback):
    """Changes the data before the scores are taken."""

    def __init__(self, *parts):
        self.parts = parts

    def on_steps_end(self, trainer, epoch, losses):
        for part in self.parts:
            part.inputs[:, epoch : 4 * epoch] = 7 * epoch


@pytest.mark.parametrize("paints", [False, True])
def test_scores_are_those_of_the_data_as_they_are(paints):
    """Whether the lists of what is not zero may be kept from epoch to epoch or not, and also after the fit."""
    found = {}
    for name in BACKENDS:
        parts = [data.Dataset(d.inputs.copy(), d.targets, scale=1 / 255, classes=4) for d in (TRAIN, digits(31))]
        trainer = trained(name, small, parts[0], epochs=1)
        trainer.callbacks += [Painter(*parts)] * paints
        trainer.fit(*parts, epochs=3, batch_size=10, progress=False, seed=2)
        assert trainer.backend == name
        for part in parts:
            part.inputs[:, 20:30] = 1
        found[name] = *trainer.history.series.values(), list(trainer.evaluate(parts[1]).values())
    for name in ("numpy", "numba"):
        for ours, expected in zip(found[name], found["eager"], strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_what_a_callback_changes_counts_from_the_next_epoch_on():
    agree(lambda: network([40, 3, 4], between=[lambda: nn.Dropout(0.2)]), TRAIN, callbacks=[Meddler()], epochs=6)


def test_parameters_frozen_for_some_steps_have_other_numbers_of_steps():
    for name in BACKENDS:
        trainer = trained("eager", small, TRAIN, optimizer="adam")
        trainer.backend = trainer.wanted = name
        trainer.model[0].bias.requires_grad = False
        trainer.fit(TRAIN, epochs=1, batch_size=10, progress=False, evaluate_every=None, seed=1)
        assert trainer.backend == name
        trainer.model[0].bias.requires_grad = True
        if name == "eager":
            trainer.fit(TRAIN, epochs=1, batch_size=10, progress=False, evaluate_every=None, seed=2)
            reference = trainer
        else:
            with pytest.warns(Notice, match="different numbers of steps"):
                trainer.fit(TRAIN, epochs=1, batch_size=10, progress=False, evaluate_every=None, seed=2)
            compare(trainer, reference, TRAIN, 1e-10)


def test_early_stopping_gives_the_best_weights_back():
    found = {}
    for name in BACKENDS:
        stopping = EarlyStopping("validation_loss", patience=2)
        trainer = trained(name, small, TRAIN, epochs=1, callbacks=[])
        trainer.callbacks.append(stopping)
        trainer.optimizer.lr = 2.0
        trainer.fit(TRAIN, digits(30, sparse=False), epochs=30, batch_size=10, progress=False)
        found[name] = stopping.best_epoch, stopping.stopped_epoch, trainer.evaluate(TRAIN).loss
    assert found["numba"][:2] == found["numpy"][:2] == found["eager"][:2]
    assert found["eager"][1] < 31
    np.testing.assert_allclose([found["numpy"][2], found["numba"][2]], found["eager"][2], rtol=1e-9)


# ---- data larger than memory -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_large_file_is_listed_some_rows_at_a_time(monkeypatch, tmp_path):
    monkeypatch.setattr(fused, "CHUNK", 300)
    train = digits(1990)
    file = np.lib.format.open_memmap(tmp_path / "inputs.npy", mode="w+", dtype=np.uint8, shape=train.inputs.shape)
    file[:] = train.inputs
    mapped = data.Dataset(np.load(tmp_path / "inputs.npy", mmap_mode="r"), train.targets, scale=1 / 255, classes=4)
    for make in (small, lambda: network([40, 3, 4], between=[lambda: nn.Dropout(0.2)])):
        expected = trained("numba", make, train, batch_size=70)
        with monkeypatch.context() as patched:
            patched.setattr(fused, "LISTED", 2**14)
            found = trained("numba", make, mapped, batch_size=70)
        compare(found, expected, train, 0)


def test_the_program_of_a_fit_can_be_read():
    """The module of machine code, the plan's function, or nothing."""
    texts = {backend: trained(backend, small, TRAIN).source for backend in ("numba", "numpy", "eager")}
    assert "def run(thread, threads" in texts["numba"]
    assert "np.dot(" in texts["numpy"]
    assert texts["eager"] == ""
