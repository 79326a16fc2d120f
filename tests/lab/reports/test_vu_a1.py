"""vu-a1: questions 1 and 2 are exact; the trainings take the steps that they say, and verdicts follow from numbers."""

from typing import Any

import numpy as np
import pytest

from chainrule import data
from chainrule.lab.defects import DEFECTS
from chainrule.lab.reports import vu_a1, vu_a1_results, vu_a1_training
from chainrule.lab.verdict import Row

Results = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def results() -> Results:
    found: Results = {}
    for job in vu_a1.REPORT.jobs(quick=True):
        found.setdefault(job.experiment, []).append(job.result())
    return found


@pytest.fixture(scope="module")
def rows(results: Results) -> list[Row]:
    return list(vu_a1.REPORT.rows(results, True))


def test_every_id_has_rows(rows: list[Row]) -> None:
    number = {f"1.{i}": sum(row.id == f"1.{i}" for row in rows) for i in range(1, 14)}
    assert all(number.values())
    assert [number[id] for id in ("1.1", "1.2", "1.3", "1.4")] == [8, 1, 11, 17]


def test_what_no_chance_enters_is_exact(rows: list[Row]) -> None:
    assert {row.verdict for row in rows if row.reported is not None and row.id in "1.1 1.2 1.3 1.4 1.5 1.7"} == {
        "exact"
    }
    assert "wrong" not in {row.verdict for row in rows}
    assert {row.report for row in rows} == {"vu-a1"}


def test_a_quick_run_judges_no_training(rows: list[Row]) -> None:
    assert {row.verdict for row in rows if row.id in ("1.6", "1.13") and row.reported} == {"not judged"}


def test_the_rows_can_tell_a_wrong_derivative(results: Results) -> None:
    network = {**results["network"][0], "dc": [-0.5, 0.4999999]}
    derivatives = dict.fromkeys(results["derivatives on arrays"][0], 1e-12)
    changed = {**results, "network": [network], "derivatives on arrays": [derivatives]}
    wrong = [row.quantity for row in vu_a1.REPORT.rows(changed, True) if row.verdict == "wrong"]
    assert len(wrong) == 5
    assert "dc[2]" in wrong


@pytest.mark.parametrize(
    ("train", "test", "verdict"),
    [((0.6902, 0.6891), (0.6902, 0.6891), "explained"), ((0.6902, 0.6891), (0.72, 0.7201), "differs")],
    ids=["both", "one"],
)
def test_1_6_is_explained_only_by_a_defect_that_gives_both_final_figures(
    results: Results, train: tuple[float, float], test: tuple[float, float], verdict: str
) -> None:
    def runs(train: tuple[float, float], test: tuple[float, float]) -> list[dict[str, Any]]:
        ends = zip(train, test, strict=True)
        return [{**results["synthetic"][0], "train": [0.7, a], "test": [0.71, b]} for a, b in ends]

    right = [{**results["synthetic"][0], "train": [loss, 0.1], "test": [loss, 0.1]} for loss in (0.428, 0.43)]
    changed = {**results, "synthetic": right, "synthetic, 6.1": runs(train, test)}
    every = [row for row in vu_a1_results.rows(changed, False) if row.id == "1.6"]
    rows = [row for row in every if row.reported]
    assert {row.verdict for row in rows if "50 epochs" in row.quantity} == {verdict}
    assert {row.verdict for row in rows if "epoch 0" in row.quantity} == {"differs"}
    assert [(row.verdict, row.ours, row.n) for row in every if "with 6.1" in row.quantity] == [
        ("shown", pytest.approx(np.mean(losses)), 2) for losses in (train, test)
    ]


def test_1_6_what_6_1_gives_at_the_end_is_a_row_of_its_own(rows: list[Row]) -> None:
    shown = {row.quantity: row.verdict for row in rows if row.id == "1.6" and "with 6.1" in row.quantity}
    assert shown == {f"{part} loss, 2 epochs, with 6.1": "shown" for part in ("training", "test")}


@pytest.mark.parametrize(
    ("after_20", "verdict"), [((83.0, 83.5), "explained"), ((83.98, 84.22), "differs")], ids=["both", "one"]
)
def test_1_13_is_explained_only_by_a_defect_that_gives_both_final_figures(
    results: Results, after_20: tuple[float, float], verdict: str
) -> None:
    def runs(first: tuple[float, ...], train: tuple[float, ...], test: tuple[float, ...]) -> list[dict[str, Any]]:
        def curve(one: float, twenty: float) -> dict[str, list[float]]:
            values = [0.1, *[one / 100] * 19, twenty / 100]
            return {"loss": values, "accuracy": values}

        ends = zip(first, train, test, strict=True)
        return [{"train": curve(one, last), "held out": curve(one, other)} for one, last, other in ends]

    changed = {
        **results,
        "final": runs((84.9, 84.7), (91.4, 91.5), (91.6, 91.7)),
        "final, 6.9 twice": runs((26.0, 38.0), after_20, (84.3, 84.9)),
    }
    rows = [row for row in vu_a1_results.rows(changed, False) if row.id == "1.13"]
    assert [row.verdict for row in rows] == ["differs", "differs", verdict, verdict]


@pytest.mark.slow
def test_the_figures_are_drawn(results: Results, tmp_path: Any) -> None:
    vu_a1.REPORT.figures(results, tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} >= {f"vu-a1-figure-{n}.png" for n in (2, 3, 5, 6, 7, 8)}


def test_1_5_plain_python_takes_the_same_steps() -> None:
    ours = vu_a1_training.synthetic(seed=3, epochs=2, samples=500)
    net, train = DEFECTS["6.1"].clean(vu_a1_training.W, vu_a1_training.V), data.synthetic(seed=3)[0]
    for loss in ours["train"]:
        steps = [net.step(train.inputs[i].tolist(), train.targets[i].item(), 0.01) for i in range(500)]
        assert loss == pytest.approx(np.mean(steps), abs=1e-12)


def test_1_6_with_6_1_the_loss_sticks_near_ln_2() -> None:
    losses = vu_a1_training.synthetic(seed=0, epochs=2, defect="6.1")
    assert 0.6885 <= losses["train"][-1] <= 0.694
    assert losses["accuracy"] < 0.6


@pytest.mark.parametrize("id", vu_a1_training.IN_THE_GRADIENT)
def test_1_13_steps_by_hand_leave_out_zero_inputs_and_nothing_else(id: str) -> None:
    train = data.load("mnist", split="vu-a1").train.subset(slice(20))
    trainer, by_hand = (vu_a1_training._mnist_trainer(0, 0.1) for _ in range(2))
    trainer.fit(train, epochs=2, batch_size=1, shuffle=False, progress=False)
    for _ in range(2):
        vu_a1_training._epoch_by_hand(DEFECTS[id].clean, by_hand.model, train, 0.1)
    for p, ours in zip(trainer.model.parameters(), by_hand.model.parameters(), strict=True):
        assert ours.value == pytest.approx(p.value, abs=1e-5)


def test_1_10_scores_are_taken_before_the_first_epoch_and_after_each() -> None:
    ours = vu_a1_training.mnist(seed=0, lr=0.01, epochs=2, samples=40)
    split, trainer = data.load("mnist", split="vu-a1"), vu_a1_training._mnist_trainer(0, 0.01)
    parts = {"train": split.train.subset(slice(40)), "held out": split.validation.subset(slice(40))}
    for epoch in range(3):
        if epoch:
            trainer.fit(parts["train"], epochs=1, batch_size=1, shuffle=False, progress=False)
        for name, part in parts.items():
            scores = {key: values[epoch] for key, values in ours[name].items()}
            assert scores == pytest.approx(dict(trainer.evaluate(part)), rel=1e-5)
    assert len(ours["train"]["loss"]) == 3


def test_1_13_with_6_2_the_held_out_images_are_trained_on_after_the_others() -> None:
    ours = vu_a1_training.mnist(seed=0, lr=0.05, epochs=2, samples=30, defect="6.2")
    split, trainer = data.load("mnist", split="vu-a1"), vu_a1_training._mnist_trainer(0, 0.05)
    parts = [each.subset(slice(30)) for each in (split.train, split.validation)]
    for part in parts * 2:
        trainer.fit(part, epochs=1, batch_size=1, shuffle=False, progress=False)
    for name, part in zip(("train", "held out"), parts, strict=True):
        assert ours[name]["loss"][-1] == pytest.approx(trainer.evaluate(part).loss, rel=1e-5)


def test_1_13_a_defect_in_the_gradient_is_in_the_steps() -> None:
    right, *wrong = (
        vu_a1_training.mnist(seed=0, lr=0.1, epochs=1, samples=30, defect=id)["train"]["loss"]
        for id in ("", *vu_a1_training.IN_THE_GRADIENT)
    )
    assert all(each[0] == right[0] and abs(each[1] - right[1]) > 1e-3 for each in wrong)


def test_1_13_the_test_set_stays_shut_until_the_final_run(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    original = data.SealedDataset.open
    monkeypatch.setattr(data.SealedDataset, "open", lambda self: opened.append(self) or original(self))
    vu_a1_training.mnist(seed=0, lr=1e-3, epochs=1, samples=10)
    assert not opened
    vu_a1_training.mnist(seed=0, lr=1e-3, epochs=2, samples=10, final=True)
    assert len(opened) == 1


def test_1_13_6_9_twice_scales_the_gradient_by_four_hundredths() -> None:
    assert vu_a1_training._factor_of_6_9() ** 2 == pytest.approx(0.04)
