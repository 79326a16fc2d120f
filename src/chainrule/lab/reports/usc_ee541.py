"""USC, EE 541 (fall 2023), homework 5: a deep network from HDF5 MNIST in six configurations, learning rates that decay,
choice by validation, one final test.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import DivergenceError
from chainrule.lab.experiment import Experiment, Report, Result, Results
from chainrule.lab.figures import Curve, Mark, Panel, curves
from chainrule.lab.verdict import Judge, Row

judge = Judge("usc-ee541")

LOSS = "cross-entropy / 10 outputs"  # the report averages over N·10 entries: a tenth of the usual mean
SIZES = (784, 100, 50, 25, 10)
PARAMETERS = "85085"
BATCH, EPOCHS, DECAYS = 500, 50, (20, 40)

# 4.4, by activation and learning rate (on the gradient summed over the batch): accuracies and losses on the validation
# and the test set.
REPORTED = {
    ("ReLU", 1e-3): (".9720", ".9707", ".0141", ".0137"),
    ("ReLU", 1e-4): (".9604", ".9566", ".0144", ".0147"),
    ("ReLU", 1e-5): (".8590", ".8534", ".0485", ".0499"),
    ("tanh", 1e-3): (".9755", ".9742", ".0099", ".0094"),
    ("tanh", 1e-4): (".9550", ".9532", ".0154", ".0157"),
    ("tanh", 1e-5): (".8551", ".8505", ".0637", ".0652"),
}
ZERO = "0.000000000000"


def experiments(quick: bool) -> list[Experiment]:
    """List what to run: a study is all six configurations, the choice, the last training and the test."""
    epochs = 2 if quick else EPOCHS
    return [
        Experiment("derivation", derivation),
        Experiment("files", files),
        Experiment("summed and averaged", summed_and_averaged),
        Experiment("study", study, range(1) if quick else range(5), {"epochs": epochs}),
    ]


def derivation() -> Result:
    """4.7: δ = ∇_s C = Ȧ ∇_a C = a − y for one-hot y, step by step on random numbers."""
    import chainrule as cr

    random = np.random.default_rng(0)
    s, y = random.normal(size=10), np.eye(10)[3]
    a = cr.softmax(s)
    gradient_a = cr.grad(lambda a: -(y * np.log(a)).sum())(a)  # ∇_a C = −y / a
    jacobian = cr.jacobian(cr.softmax)(s)  # Ȧ = diag(a) − a aᵀ
    gradient_s = cr.grad(lambda s: cr.cross_entropy(s, y, "sum"))(s)
    steps = {
        "∇_a C = −y/a": gradient_a + y / a,
        "Ȧ = diag(a) − a aᵀ": jacobian - (np.diag(a) - np.outer(a, a)),
        "∇_s C = Ȧ ∇_a C": gradient_s - jacobian @ gradient_a,
        "δ = a − y": gradient_s - (a - y),
    }
    return {name: np.abs(difference).max() for name, difference in steps.items()}


def files() -> Result:
    """4.1: the two HDF5 files as they are written and read back, and how they are divided."""
    with tempfile.TemporaryDirectory() as folder:
        data = _load(Path(folder), final=False)
        final = _load(Path(folder), final=True)
        return {
            "training": len(data.train),
            "validation": len(data.validation),
            "test": len(data.test),
            "all training": len(final.train),
            "smallest": data.train.features(slice(1000)).min(),
            "largest": data.train.features(slice(1000)).max(),
        }


def summed_and_averaged() -> Result:
    """4.3: the learning rate on the summed gradient, and 500 times that on the average: the same training."""
    import chainrule as cr
    from chainrule import nn, optim

    with tempfile.TemporaryDirectory() as folder:
        train = _load(Path(folder), final=False).train.subset(slice(5000))
    weights = []
    for reduction, lr in (("sum", 1e-3), ("mean", 1e-3 * BATCH)):
        model = _network("tanh", 0, np.float64)
        trainer = cr.Trainer(model, nn.CrossEntropyLoss(reduction), optim.SGD(model.parameters(), lr=lr))
        trainer.fit(train, epochs=1, batch_size=BATCH, seed=0, progress=False)
        weights.append(model.state_dict())
    return {"difference": max(np.abs(weights[0][name] - weights[1][name]).max() for name in weights[0])}


def study(seed: int, epochs: int) -> Result:
    """The protocol of 4.6: train all six, choose by validation accuracy, train again on all 60,000, test once.

    Until then the data are loaded without `final`, so the test set cannot be opened. A training whose loss is no longer
    a number ends there; its scores are NaN, and it is not chosen. If all end so, none is, and nothing is tested.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = _load(Path(folder), final=False)
        trainers = {_name(*each): _train(*each, seed, epochs, data.train, data.validation) for each in REPORTED}
        runs = {name: _validated(trainer, len(data.validation)) for name, trainer in trainers.items()}
        chosen = _choice(runs)
        result: Result = {"runs": runs, "chosen": chosen, "final test accuracy": math.nan}
        if chosen is None:
            return result
        everything = _together(data.train, data.validation)
        del data  # the pixels twice are enough
        last = _train(*chosen, seed, epochs, everything, None)
        del everything
        test = _load(Path(folder), final=True).test.open()  # once, and only now: nothing is chosen by what follows
    for name, trainer in trainers.items():
        accuracy, loss = _tested(trainer, test)
        runs[name] |= {"test accuracy": accuracy, "test loss": loss / len(test)}
    result["final test accuracy"] = _tested(last, test)[0]
    return result


def _validated(trainer: Any, samples: int) -> Result:
    """What a training gives before there is a test: its curves, its validation loss a sample, whether it diverged."""
    series, at = trainer.history.series, trainer.diverged
    return {
        "train accuracy": series.get("train_accuracy", []),
        "validation accuracy": series.get("validation_accuracy", []),
        "validation loss": math.nan if at else series["validation_loss"][-1] / samples,
        "test accuracy": math.nan,
        "test loss": math.nan,
        "diverged": at,
    }


def _choice(runs: Result) -> tuple[str, float] | None:
    """Activation and learning rate of the best validation accuracy after the last epoch; None if all diverged."""
    finished = [each for each in REPORTED if not runs[_name(*each)]["diverged"]]
    return max(finished, key=lambda each: runs[_name(*each)]["validation accuracy"][-1], default=None)


def _together(*parts: Any) -> Any:
    from chainrule.data import Dataset

    inputs, targets = (np.concatenate([getattr(part, name) for part in parts]) for name in ("inputs", "targets"))
    first = parts[0]
    return Dataset(inputs, targets, scale=first.scale, shift=first.shift, classes=first.classes, name="all training")


def _tested(trainer: Any, test: Any) -> tuple[float, float]:
    """Accuracy and summed loss."""
    if trainer.diverged:
        return math.nan, math.nan
    scores = trainer.evaluate(test)
    return scores.accuracy, scores.loss


def _train(activation: str, lr: float, seed: int, epochs: int, train: Any, validation: Any) -> Any:
    """A Trainer that has trained, with one attribute more: in which epoch the training diverged, or None."""
    import chainrule as cr
    from chainrule import nn, optim

    cr.manual_seed(seed)
    model = _network(activation, seed)
    trainer: Any = cr.Trainer(
        model,
        nn.CrossEntropyLoss("sum"),
        optim.SGD(model.parameters(), lr=lr),
        schedule=optim.MultiStep([e for e in DECAYS if e < epochs], factor=0.5),
    )
    trainer.diverged = None
    try:
        trainer.fit(train, validation, epochs=epochs, batch_size=BATCH, progress=False)
    except DivergenceError:
        trainer.diverged = trainer.epoch
    return trainer


def _network(activation: str, seed: int, dtype: Any = np.float32) -> Any:
    """784-100-50-25-10, all weights and biases N(0, .1²)."""
    from chainrule import nn

    rng, normal = np.random.default_rng(seed), nn.init.normal(0.1)
    layers: list[Any] = []
    for n, m in pairwise(SIZES):
        layers += [nn.Linear(n, m, weight_init=normal, bias_init=normal, dtype=dtype, rng=rng)]
        layers += [nn.ReLU() if activation == "ReLU" else nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def _load(folder: Path, final: bool) -> Any:
    """The data by way of the two HDF5 files, which are made from the IDX files, in file order."""
    from chainrule.data import mnist_hdf5

    return mnist_hdf5(folder, final=final)


def _name(activation: str, lr: float) -> str:
    return f"{activation}, lr {lr:g}"


def rows(results: Results, quick: bool) -> Iterator[Row]:
    """Compare each printed number with ours."""
    data = results["files"][0]
    for part, count in {
        "training": "50000",
        "validation": "10000",
        "test": "10000",
        "all training": "60000",
    }.items():
        yield judge.exact("4.1", f"{part} images from the HDF5 files", count, data[part])
    yield judge.exact("4.1", "smallest pixel in the file", "0.000000", data["smallest"])
    yield judge.exact("4.1", "largest pixel in the file", "1.000000", data["largest"])
    parameters = sum((n + 1) * m for n, m in pairwise(SIZES))
    yield judge.exact("4.2", f"parameters of {'-'.join(map(str, SIZES))}", PARAMETERS, parameters)
    difference = results["summed and averaged"][0]["difference"]
    yield judge.exact("4.3", "largest difference: lr on the sum, 500·lr on the mean", ZERO, difference)
    runs = [run["runs"] for run in results["study"]]
    for (activation, lr), reported in REPORTED.items():
        name = _name(activation, lr)
        sets = (("validation", *reported[::2]), ("test", *reported[1::2]))
        for part, accuracy, loss in sets:
            scores = (
                ("accuracy", accuracy, "share right", [_accuracy(run[name], part) for run in runs]),
                ("loss", loss, LOSS, [run[name][f"{part} loss"] / 10 for run in runs]),
            )
            for score, printed, unit, ours in scores:
                note = _diverged([run[name]["diverged"] for run in runs], ours)
                quantity = f"{name}: {part} {score}"
                yield judge.band("4.4", quantity, printed, ours, unit=unit, as_reported=not quick, note=note)
    yield from _protocol(results)
    for name, difference in results["derivation"][0].items():
        yield judge.exact("4.7", f"largest difference: {name}", ZERO, difference)


def _protocol(results: Results) -> Iterator[Row]:
    study = results["study"]
    chosen = Counter(_name(*run["chosen"]) if run["chosen"] else "none, as all diverged" for run in study)
    how_often = ", ".join(f"{name} ({count} of {len(study)} seeds)" for name, count in chosen.most_common())
    why = f"chosen by validation accuracy: {how_often}; trained again on all 60,000; the test set opened once"
    yield judge.shown("4.5", "figures, one a configuration", [len(_drawn(results))])
    yield judge.shown(
        "4.6",
        "test accuracy of the final model",
        [run["final test accuracy"] for run in study],
        unit="share right",
        why=why,
    )


def _accuracy(run: Result, part: str) -> float:
    """The accuracy after the last epoch, if there was one."""
    found: float | Sequence[float] = run[f"{part} accuracy"]
    if run["diverged"]:
        return math.nan
    return found if isinstance(found, float) else found[-1]


def _diverged(epochs: Sequence[int | None], ours: Sequence[float]) -> str:
    """Which runs ended in a loss that is no number, and what the others give."""
    said = [f"seed {seed} in epoch {epoch}" for seed, epoch in enumerate(epochs) if epoch]
    others = [value for value in ours if math.isfinite(value)]
    if not said:
        return ""
    return f"diverged: {', '.join(said)}" + (f"; the mean of the others is {np.mean(others):.4f}" if others else "")


def figures(results: Results, folder: Path) -> None:
    """Six figures: training and validation accuracy by epoch, with the decays marked."""
    runs = [run["runs"] for run in results["study"]]
    for (activation, lr), epochs in _drawn(results).items():
        name = _name(activation, lr)
        marks = [Mark(epoch, "learning rate halved") for epoch in DECAYS if epoch < epochs]
        panel = Panel(
            "accuracy (share right)",
            [Curve(part, [run[name][f"{short} accuracy"] for run in runs]) for part, short in _PARTS.items()],
            marks,
        )
        stem = f"usc-ee541-{activation.lower()}-{lr:g}"
        curves(folder / stem, f"4.5: {name} (on the summed gradient)", "epochs", [panel])


def _drawn(results: Results) -> dict[tuple[str, float], int]:
    """How long the curves of a configuration are; one that diverged in the first epoch at every seed has none."""
    runs = [run["runs"] for run in results["study"]]
    lengths = {each: max(len(run[_name(*each)]["train accuracy"]) for run in runs) for each in REPORTED}
    return {each: length for each, length in lengths.items() if length}


_PARTS = {"training": "train", "validation": "validation"}


def network() -> tuple[Any, Any, Any]:
    """The network of 4.3 with tanh, and five images' worth of zeros."""
    import chainrule as cr
    from chainrule import nn, optim

    model = _network("tanh", 0)
    trainer = cr.Trainer(model, nn.CrossEntropyLoss("sum"), optim.SGD(model.parameters(), lr=1e-3))
    return trainer, np.zeros((5, SIZES[0]), np.float32), np.arange(5)


REPORT = Report(
    "usc-ee541", "a deep network in six configurations, chosen by validation", experiments, rows, figures, network
)
