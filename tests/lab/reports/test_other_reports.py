"""vu-a2, usc-ee541 and ntnu-tdt4265: what they compare with formulas and counts is exact, and every id has a row."""

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.lab.experiment import Job
from chainrule.lab.reports import ntnu_tdt4265, usc_ee541, vu_a2
from chainrule.train import GradientNorms

IDS = {
    "vu_a2": [f"3.{i}" for i in range(1, 8)],
    "usc_ee541": [f"4.{i}" for i in range(1, 8)],
    "ntnu_tdt4265": [f"5.{i}" for i in range(1, 10)],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", IDS)
def test_the_quick_version(name, tmp_path):
    report = import_module(f"chainrule.lab.reports.{name}").REPORT
    results = {}
    for job in report.jobs(quick=True):
        results.setdefault(job.experiment, []).append(job.result())
    rows = list(report.rows(results, True))
    assert sorted({row.id for row in rows}) == sorted(IDS[name])
    verdicts = {row.verdict for row in rows}
    assert "exact" in verdicts
    assert "wrong" not in verdicts
    # no training that was cut short is judged
    assert {row.verdict for row in rows if row.id in ("3.7", "4.4", "5.5", "5.6")} <= {"not judged", "shown"}

    report.figures(results, tmp_path)
    drawn = list(tmp_path.iterdir())
    assert {".png", ".pdf"} <= {path.suffix for path in drawn}
    assert all(path.stem.startswith(report.name) for path in drawn)


def test_the_networks_are_the_reports():
    tanh = usc_ee541._network("tanh", 0)
    assert sum(p.size for p in tanh.parameters()) == 85085
    assert all(0.08 < p.value.std() < 0.12 for p in tanh.parameters() if p.size > 500)
    deep = ntnu_tdt4265._model(ntnu_tdt4265.NETWORKS["ten layers of 64"], 0)
    assert len(list(deep.parameters())) == 11
    assert [p.shape for p in vu_a2._network("ReLU", (4, 4), 0).parameters() if len(p.shape) == 2] == [
        (2, 4), (4, 4), (4, 2)
    ]  # fmt: skip


def test_the_first_step_of_a_derivation_would_be_noticed_if_it_were_wrong(monkeypatch):
    monkeypatch.setattr(cr, "softmax", lambda s: np.exp(s) / np.exp(s).sum() * 1.001)
    assert max(usc_ee541.derivation().values()) > 1e-4


@pytest.fixture
def small_study(monkeypatch):
    """A function that runs the study of 4.6 on a few images in some configurations, and says what it did in order."""

    def load(folder, final):
        said.append("load, final" if final else "load")
        mnist = data.load("mnist", split="usc-ee541", final=final)
        train, validation = mnist.train.subset(slice(1000)), mnist.train.subset(slice(1000, 1500))
        return SimpleNamespace(train=train, validation=validation, test=mnist.test)

    def train(activation, lr, seed, epochs, train, validation):
        said.append(f"{activation} on {len(train)}")
        return original(activation, lr, seed, epochs, train, validation)

    said, original, opening = [], usc_ee541._train, data.SealedDataset.open
    monkeypatch.setattr(usc_ee541, "_load", load)
    monkeypatch.setattr(usc_ee541, "_train", train)
    monkeypatch.setattr(data.SealedDataset, "open", lambda sealed: said.append("open") or opening(sealed))

    def run(*configurations):
        monkeypatch.setattr(usc_ee541, "REPORTED", dict.fromkeys(configurations, (".1", ".1", ".2", ".2")))
        return Job("usc-ee541", "study", 0, usc_ee541.study, {"seed": 0, "epochs": 2}).result(), said

    return run


@pytest.fixture(scope="module")
def quick_usc():
    return {job.experiment: [job.result()] for job in usc_ee541.REPORT.jobs(quick=True) if job.experiment != "study"}


def test_4_6_the_test_set_cannot_be_opened_before_the_choice_and_the_last_training(small_study):
    study, said = small_study(("tanh", 1e-3), ("ReLU", 1e-3))
    assert said == ["load", "tanh on 1000", "ReLU on 1000", f"{study['chosen'][0]} on 1500", "load, final", "open"]
    assert all(0 < run["test accuracy"] < 1 for run in study["runs"].values())


def test_4_6_the_last_training_is_on_all_images_as_the_file_has_them(tmp_path):
    final, parts = (data.load("mnist", split="usc-ee541", final=final) for final in (True, False))
    together = usc_ee541._together(parts.train, parts.validation)
    assert (len(together), together.classes, together.scale) == (60_000, 10, final.train.scale)
    np.testing.assert_array_equal(together.inputs, final.train.inputs)
    np.testing.assert_array_equal(together.targets, final.train.targets)


@pytest.mark.filterwarnings("error")
def test_4_6_if_all_diverge_none_is_chosen_and_nothing_is_tested(small_study, quick_usc, tmp_path):
    none, said = small_study(("ReLU", 1e4), ("ReLU", 1e5))
    assert said[-3:] == ["load", "ReLU on 1000", "ReLU on 1000"]
    assert none["chosen"] is None
    rows = {row.quantity: row for row in usc_ee541.rows(quick_usc | {"study": [none]}, quick=False)}
    assert (rows["test accuracy of the final model"].ours, rows["figures, one a configuration"].ours) == (None, 0)
    assert "none, as all diverged (1 of 1 seeds)" in rows["test accuracy of the final model"].why
    assert {row.verdict for row in rows.values() if row.id == "4.4"} == {"differs"}
    assert usc_ee541.REPORT.figures({"study": [none]}, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_4_6_how_often_each_configuration_was_chosen_is_said():
    runs = [{"chosen": ["tanh", 1e-3]}, {"chosen": ["ReLU", 1e-3]}, {"chosen": ["tanh", 1e-3]}]
    curves = {usc_ee541._name(*each): {"train accuracy": [0.5]} for each in usc_ee541.REPORTED}
    study = [run | {"final test accuracy": 0.9, "runs": curves} for run in runs]
    _, row = usc_ee541._protocol({"study": study})
    assert "tanh, lr 0.001 (2 of 3 seeds), ReLU, lr 0.001 (1 of 3 seeds)" in row.why


@pytest.mark.filterwarnings("error")
def test_a_training_that_diverges_is_a_row_and_no_failure(small_study, quick_usc, tmp_path):
    study, _ = small_study(("tanh", 1e-3), ("ReLU", 1e4))
    fine = study["runs"]["tanh, lr 0.001"]
    assert fine["diverged"] is None
    assert study["runs"]["ReLU, lr 10000"]["diverged"] == 1
    assert study["chosen"] == ["tanh", 1e-3]
    assert 0 < study["final test accuracy"] < 1

    rows = {row.quantity: row for row in usc_ee541.rows(quick_usc | {"study": [study]}, quick=False)}
    usc_ee541.REPORT.figures({"study": [study, study | {"runs": dict.fromkeys(study["runs"], fine)}]}, tmp_path)
    for score in ("validation accuracy", "test loss"):
        row = rows[f"ReLU, lr 10000: {score}"]
        assert (row.verdict, row.ours) == ("differs", None)
        assert "diverged: seed 0 in epoch 1" in row.why
        assert "diverged" not in rows[f"tanh, lr 0.001: {score}"].why


def test_5_8_listening_in_two_epochs_changes_no_training(monkeypatch):
    mnist = data.load("mnist", split="ntnu-tdt4265")
    few = SimpleNamespace(train=mnist.train.subset(slice(200)), validation=mnist.validation.subset(slice(50)))
    monkeypatch.setattr(ntnu_tdt4265, "_load", lambda: few)
    ours = ntnu_tdt4265.train(0, "64-64", 4)

    cr.manual_seed(0)
    model, norms = ntnu_tdt4265._model(ntnu_tdt4265.NETWORKS["64-64"], 0), GradientNorms()
    sgd = optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), sgd, callbacks=[norms])
    trainer.fit(few.train, few.validation, epochs=4, batch_size=32, progress=False)
    np.testing.assert_allclose(ours["train loss"], trainer.history.train_loss, rtol=1e-4)
    assert len(ours["gradient norms"]) == 3
    for name, each in norms.norms.items():
        np.testing.assert_allclose(ours["gradient norms"][name], [each[0], each[-1]], rtol=1e-3)
    assert ntnu_tdt4265.train(0, "base", 1)["gradient norms"] == {}


def test_the_stopping_rule_waits_for_its_patience():
    falling = [1.0, 0.9, 0.8]
    assert ntnu_tdt4265.stopping_epoch(falling + [0.85] * 9) is None
    assert ntnu_tdt4265.stopping_epoch(falling + [0.85] * 30) == 3 + ntnu_tdt4265.PATIENCE
    assert ntnu_tdt4265.stopping_epoch([1 / n for n in range(1, 51)]) is None


def runs_that_stop(*stops):
    curve = {f"{part} {score}": [0.5] * 50 for part in ("train", "validation") for score in ("loss", "accuracy")}
    return [curve | {"stop": stop} for stop in stops]


def test_5_5_only_runs_that_stopped_count_and_how_many_did_is_said():
    results = dict.fromkeys(ntnu_tdt4265.NETWORKS, runs_that_stop(None, None))
    results |= {"64-64": runs_that_stop(15, 17, None), "base": runs_that_stop(30, None)}
    rows = {row.quantity.split(":")[0]: row for row in ntnu_tdt4265._stops(results, quick=False)}
    some, none, shown, never = (rows[name] for name in ("64-64", "128 hidden", "base", "32 hidden"))
    assert (some.verdict, some.ours, some.n) == ("in band", 16, 2)
    assert "the rule stopped 2 of 3 runs within 50 epochs" in some.why
    assert (none.verdict, none.ours, none.n) == ("differs", None, 2)
    assert "the rule stopped 0 of 2 runs" in none.why
    assert (shown.verdict, shown.ours, shown.n) == ("shown", 30, 1)
    assert (never.verdict, never.ours, never.n) == ("shown", None, 0)


def test_5_6_a_run_that_never_stopped_is_taken_at_its_end_and_that_is_said():
    run = {"train loss": [float(epoch) for epoch in range(1, 51)]}
    runs = [run | {"stop": 30}, run | {"stop": None}]
    row = list(ntnu_tdt4265._figure("base", "train loss", ".0777", runs, quick=False))[1]
    assert (row.ours, row.n) == (40, 2)
    assert "the rule stopped 1 of 2 runs" in row.why


def test_5_9_every_network_that_stops_has_a_mark_in_its_colour():
    results = {"base": runs_that_stop(20, 23), "+ init": runs_that_stop(10, None), "64-64": runs_that_stop(None)}
    marks = ntnu_tdt4265._marks(["base", "+ init", "64-64"], results)
    assert [(mark.x, mark.label, mark.of) for mark in marks] == [
        (22, "base: stop (2 of 2)", "base, train"),
        (10, "+ init: stop (1 of 2)", "+ init, train"),
    ]


def test_a_network_that_the_report_stopped_is_compared_after_that_epoch_too():
    run = {"train loss": [float(epoch) for epoch in range(1, 51)], "stop": 30}
    rows = list(ntnu_tdt4265._figure("64-64", "train loss", ".00058", [run, run], quick=False))
    assert [(row.quantity, row.ours) for row in rows] == [
        ("64-64: train loss, 50 epochs", 50.0),
        ("64-64: train loss, stopped by our rule", 30.0),
        ("64-64: train loss, 16 epochs as in the report", 16.0),
    ]
    assert len(list(ntnu_tdt4265._figure("base", "train loss", ".0777", [run], quick=False))) == 2
    stops = list(ntnu_tdt4265._stops({name: [run, run] for name in ntnu_tdt4265.NETWORKS}, quick=False))
    assert {row.quantity.split(":")[0]: str(row.reported) for row in stops if row.reported} == {
        "+ momentum": "17",
        "128 hidden": "17",
        "64-64": "16",
        "ten layers of 64": "25",
    }
