"""Where something goes wrong in compiled training, it does what eager mode does, or says so; and nothing is lost."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.compiler.trainings import BACKENDS, TRAIN, compare, digits, network, small, trained

from chainrule import data, nn, optim
from chainrule.compiler import backend
from chainrule.compiler.fusion import expressions
from chainrule.compiler.fusion.program import Program
from chainrule.compiler.fusion.source import Source
from chainrule.errors import CompilerError, DataError, DivergenceError, Notice, ShapeError
from chainrule.train import Callback

pytest.importorskip("numba")


def state(trainer):
    """Copies of all that a step changes."""
    arrays = {**trainer.model.state_dict(), **trainer.optimizer.state_dict()}
    return {name: np.array(array) for name, array in arrays.items()}


def same(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)


# ---- losses that are not finite, data that are none ------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_step_that_fails_changes_nothing_and_training_can_go_on(optimizer):
    inputs = TRAIN.inputs / 255
    inputs[37, 3] = np.nan
    broken, whole = (data.Dataset(x, TRAIN.targets, classes=4) for x in (inputs, np.nan_to_num(inputs)))
    found = {}
    for name in BACKENDS:
        make = lambda: network([40, 3, 4], between=[lambda: nn.Dropout(0.2)])  # noqa: E731
        trainer = trained(name, make, whole, optimizer=optimizer, epochs=1)
        with pytest.raises(DivergenceError) as error:
            trainer.fit(broken, epochs=1, batch_size=10, evaluate_every=None, progress=False, shuffle=False)
        kept = state(trainer)
        trainer.fit(
            whole, epochs=1, batch_size=10, evaluate_every=None, progress=False
        )  # draws what eager mode would draw
        found[name] = str(error.value), kept, trainer
    message = found["eager"][0]
    assert "epoch 2, batch 4: layer 0 = Linear(40, 3): matmul of (10, 40)" in message
    for name in ("numpy", "numba"):
        assert found[name][0] == message
        for key, array in found["eager"][1].items():
            np.testing.assert_allclose(found[name][1][key], array, rtol=1e-9, atol=1e-12)
        compare(found[name][2], found["eager"][2], whole, 1e-9)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_learning_rate_that_is_too_large(name):
    train = data.Dataset(TRAIN.inputs, np.eye(4)[TRAIN.targets])
    sgd = lambda p: optim.SGD(p, lr=1e20)  # noqa: E731
    with pytest.raises(DivergenceError, match=r"The loss is inf at epoch 1, batch 8: in MSELoss.*than 1e\+20 or"):
        trained(name, small, train, loss=nn.MSELoss(), optimizer=sgd)


class Root(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(40, 4, dtype="float64")

    def forward(self, x):
        return np.sqrt(np.abs(self.linear(0 * x))) + self.linear(x)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_gradient_that_is_not_finite(name):
    with pytest.raises(DivergenceError, match=r"batch 2: the parameter 'linear.weight' is no longer .* np.sqrt at 0"):
        trained(name, Root, TRAIN)


@pytest.mark.filterwarnings("ignore::chainrule.errors.Notice")
@pytest.mark.parametrize("wrong", [4, -1])
def test_labels_out_of_range(wrong):
    targets = TRAIN.targets.copy()
    targets[50] = wrong
    for name in BACKENDS:
        with pytest.raises(DataError, match=f"the label {wrong} is outside the 4 classes"):
            trained(name, small, data.Dataset(TRAIN.inputs, targets, scale=1 / 255))


@pytest.mark.filterwarnings("ignore::chainrule.errors.Notice")
def test_targets_that_are_no_probabilities():
    targets = np.eye(4)[TRAIN.targets]
    targets[50, 1] = 1.5
    for name in BACKENDS:
        with pytest.raises(DataError, match="expected probabilities from 0 to 1"):
            trained(name, small, data.Dataset(TRAIN.inputs, targets, scale=1 / 255), loss=nn.BCEWithLogitsLoss())


class Mislabel(Callback):
    def __init__(self, train):
        self.train = train

    def on_epoch_end(self, trainer, epoch, scores):
        self.train.targets[5] = 9


@pytest.mark.filterwarnings("ignore::chainrule.errors.Notice")
def test_labels_that_are_changed_between_epochs():
    train = data.Dataset(TRAIN.inputs, TRAIN.targets.copy(), scale=1 / 255)
    with pytest.raises(DataError, match="the label 9 is outside"):
        trained("numba", small, train, callbacks=[Mislabel(train)])


@pytest.mark.filterwarnings("ignore::chainrule.errors.Notice")
def test_a_batch_too_small_for_a_variance():
    make = lambda: nn.Sequential(nn.BatchNorm1d(40, dtype="float64"), nn.Linear(40, 4, dtype="float64"))  # noqa: E731
    for name in BACKENDS:
        with pytest.raises(ShapeError, match="a batch of size 1 has no variance"):
            trained(name, make, digits(91))


# ---- when generated code fails ---------------------------------------------------------------------------------------


def test_an_error_in_the_machine_code_is_seen_in_the_first_step(monkeypatch):
    make = lambda: network([40, 5, 4], nn.Tanh)  # noqa: E731
    trainer = trained("eager", make, TRAIN, optimizer="adam", epochs=1)
    trainer.wanted, before = "numba", state(trainer)
    monkeypatch.setitem(expressions.FORMULAS, "tanh", "(tanh({0}) * real(1.01))")
    with pytest.raises(CompilerError, match=r"the first compiled step differs from the interpreter's") as error:
        trainer.fit(TRAIN, epochs=1, batch_size=10, evaluate_every=None, progress=False)
    same(before, state(trainer))
    path = Path(str(error.value).split("The generated module is ")[1].split(";")[0])
    assert "* real(1.01)" in path.read_text()


def test_a_gradient_that_is_only_rounding_is_no_error():
    make = lambda: nn.Sequential(nn.Linear(40, 6), nn.BatchNorm1d(6), nn.Linear(6, 4))  # noqa: E731
    assert trained("numba", make, TRAIN, optimizer="adam").backend == "numba"


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_in_the_machine_code(threads, monkeypatch):
    monkeypatch.setattr(backend, "threads", lambda work: threads)
    write = Source.text

    def text(self):
        return write(self).replace("begin = step", "if step == 3: raise MemoryError\n        begin = step")

    monkeypatch.setattr(Source, "text", text)
    with pytest.warns(Notice, match="The fused program failed, so the plan takes its place: MemoryError"):
        found = trained("numba", small, TRAIN, optimizer="adam")
    assert found.backend == "numpy"
    compare(found, trained("numpy", small, TRAIN, optimizer="adam"), TRAIN, 0)


def test_an_interrupted_epoch_has_not_begun(monkeypatch):
    trainer = trained("numba", small, TRAIN, optimizer="adam")
    before, run = state(trainer), Program.run

    def interrupted(self, *arguments, **options):
        run(self, *arguments, **options)
        if options["stop"] > 1:  # not the comparison
            raise KeyboardInterrupt
        return 1

    monkeypatch.setattr(Program, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(TRAIN, epochs=1, batch_size=10, evaluate_every=None, progress=False)
    same(before, state(trainer))


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "file"))
    make = lambda: network([40, 11])  # noqa: E731
    with pytest.warns(Notice, match="compiles its code anew"):
        found = trained("numba", make, TRAIN)
    assert found.backend == "numba"
    compare(found, trained("eager", make, TRAIN), TRAIN, 1e-10)


SCRIPT = """
import sys, warnings
if sys.argv[1] == "missing":
    sys.modules["numba"] = None
from tests.compiler.trainings import digits, network, trained
with warnings.catch_warnings(record=True) as notices:
    warnings.simplefilter("always")
    trainer = trained("numba", lambda: network([40, 4]), digits(95))
print(trainer.backend, trainer.model[0].weight.value.sum().hex(), *(n.message for n in notices), sep="|")
"""


@pytest.mark.parametrize(("how", "notice"), [("missing", "are not installed"), ("broken", "no llvm here")])
def test_without_a_numba_that_works(how, notice, tmp_path):
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('no llvm here')")
    path = [str(tmp_path)] * (how == "broken") + ["src", "."]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], env=env, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    chosen, loss, *notices = done.stdout.strip().split("|")
    assert (chosen, loss) == ("numpy", trained("numpy", small, TRAIN).model[0].weight.value.sum().hex())
    assert len(notices) == 1
    assert notice in notices[0]
