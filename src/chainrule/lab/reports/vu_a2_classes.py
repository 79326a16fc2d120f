"""What is compared and drawn of the classifier of `vu_a2_classifier.py`: how many images of each class are recognised
(3.6, 3.7), which class is taken for which, and a few of the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.lab.experiment import Result, Results, Table
from chainrule.lab.figures import Curve, Panel, confusion, curves, images
from chainrule.lab.reports.vu_a2_classifier import BATCH, DATA, TRAININGS, job
from chainrule.lab.table import ours_text, reported_text
from chainrule.lab.verdict import Judge, Row

judge = Judge("vu-a2")

RIGHT = "% of the test images"
CLASS_RIGHT = "% of the class's test images"
LOSS = "cross-entropy in nats, mean per sample"
CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Printed:
    """What the report prints of a training after some epochs: the per cent recognised, of all test images and of each
    class; None where it cannot be read.
    """

    training: str
    epochs: int
    overall: str
    by_class: tuple[str | None, ...] = ()


REPORTED = {
    "SGD, 2 epochs": Printed("SGD", 2, "55.0", ("57", "78", "51", "43", "60", "17", "63", "56", "68", "57")),
    "Adam, 2 epochs": Printed("Adam", 2, "52.5", ("49", "53", "49", "35", "40", "34", "55", "68", "75", "67")),
    "Adam, 5 epochs": Printed("Adam", 5, "59", ("66", None, "39", "25", None, "61", "68", None, "67", "79")),
    "Adam, lr .1, 2 epochs": Printed("Adam, lr .1", 2, "10.0"),  # everything is "deer"
}
ALL_ONE_CLASS, THE_CLASS = "100", "deer"


def rows(results: Results, quick: bool) -> Iterator[Row]:
    """Compare each class and the whole; on a stand-in compare nothing, and say how to get CIFAR-10."""
    first = results[job("SGD")][0]
    why = f"conv 5×5 to 6, pool, conv 5×5 to 16, pool, 120-84-10, ReLU, PyTorch's initialisation; batch {BATCH}"
    on = "" if first["data"] == DATA else f" on {first['data']}"
    yield judge.shown("3.6", f"classifier{on}: parameters", [first["parameters"]], why=why)
    for name, printed in REPORTED.items():
        runs = results[job(printed.training)]
        if on:
            yield _missing(name, printed, first["data"])
        else:
            yield from _compared(name, printed, runs, quick)
    for name, training in TRAININGS.items():
        for epoch in range(1, training.epochs + 1):
            ours = [_overall(run, epoch) for run in results[job(name)]]
            guide = "" if on or quick or epoch > len(training.measured) else training.measured[epoch - 1]
            why = f"PyTorch here, one seed: {guide}" if guide else ""
            yield judge.shown("3.7", f"{name}{on}: recognised after epoch {epoch}", ours, unit=RIGHT, why=why)


def _compared(name: str, printed: Printed, runs: Sequence[Result], quick: bool) -> Iterator[Row]:
    def band(quantity: str, reported: str, ours: Sequence[float], unit: str, note: str = "") -> Row:
        return judge.band("3.7", f"{name}: {quantity}", reported, ours, unit=unit, as_reported=not quick, note=note)

    gone = [run["diverged"] for run in runs if run["diverged"]]
    note = f"the loss of {len(gone)} of {len(runs)} runs became infinite" if gone else ""
    yield band("all classes", printed.overall, [_overall(run, printed.epochs) for run in runs], RIGHT, note)
    shares = [_by_class(run, printed.epochs) for run in runs]
    for place, reported in enumerate(printed.by_class):
        ours = [share[place] for share in shares]
        if reported is None:
            why = "the report's number cannot be read"
            yield judge.shown("3.7", f"{name}: {CLASSES[place]}", ours, unit=CLASS_RIGHT, why=why)
        else:
            yield band(CLASSES[place], reported, ours, CLASS_RIGHT)
    if not printed.by_class:
        taken = [np.sum(_matrix(run, printed.epochs), axis=0) for run in runs]
        largest = [100 * each.max() / each.sum() for each in taken]
        said = [CLASSES[each.argmax()] if math.isfinite(each.max()) else "none" for each in taken]
        note = f'the report\'s class is "{THE_CLASS}", ours by seed: {", ".join(said)}'
        yield band("taken for one and the same class", ALL_ONE_CLASS, largest, RIGHT, note)


def _missing(name: str, printed: Printed, stand_in: str) -> Row:
    note = f"CIFAR-10 is not here: `chainrule data get cifar-10` gets it; {stand_in} stands in for it below"
    return judge.band("3.7", f"{name}: all classes", printed.overall, [], unit=RIGHT, as_reported=True, note=note)


def _matrix(run: Result, epochs: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How many test images of each class (row) were taken for each class; NaN if the training diverged before."""
    if epochs > len(run["confusion"]):
        return np.full((len(CLASSES), len(CLASSES)), np.nan)
    return np.array(run["confusion"][epochs - 1], float)


def _overall(run: Result, epochs: int) -> float:
    matrix = _matrix(run, epochs)
    return float(100 * matrix.trace() / matrix.sum())


def _by_class(run: Result, epochs: int) -> list[float]:
    matrix = _matrix(run, epochs)
    return [float(100 * row[place] / row.sum()) for place, row in enumerate(matrix)]


def tables(results: Results, quick: bool) -> list[Table]:
    """Every class by every training, the report's figure beside ours; and which class is taken for which."""
    first = results[job("SGD")][0]
    confused = [
        Table(
            f"3.7: {name}: true class (row) and the class that it is taken for (column)",
            ["", *_names(first)],
            [
                [each, *("" if math.isnan(share) else f"{share:.0f}" for share in row)]
                for each, row in zip(_names(first), _mean_matrix(name, results), strict=True)
            ],
            f"Per cent of the test images of each class{_on(first)}, mean over {_seeds(results)}.",
        )
        for name in REPORTED
    ]
    return [*([_class_table(results, quick)] if first["data"] == DATA else []), *confused]


def _class_table(results: Results, quick: bool) -> Table:
    found = {row.quantity: row for row in rows(results, quick)}
    shown = [name for name, printed in REPORTED.items() if printed.by_class]
    lines = []
    for each in (*CLASSES, "all classes"):
        line = [each]
        for name in shown:
            row = found[f"{name}: {each}"]
            line += [reported_text(row) or "?", ours_text(row), row.verdict]
        lines.append(line)
    head = ["", *(part for name in shown for part in (f"{name}: reported", "ours ± spread", "verdict"))]
    caption = f"Per cent of the class's test images that are recognised; {_seeds(results)}. ? cannot be read."
    return Table("3.7: the classes, by training", head, lines, caption)


def _names(run: Result) -> Sequence[str]:
    """What the classes are called: by the report, or by a stand-in."""
    names: Sequence[str] = CLASSES if run["data"] == DATA else run["classes"]
    return names


def _on(run: Result) -> str:
    return "" if run["data"] == DATA else f" of {run['data']}"


def _seeds(results: Results) -> str:
    count = len(results[job("SGD")])
    return f"{count} seed{'s' * (count > 1)}"


def _mean_matrix(name: str, results: Results) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Per cent of each class taken for each, the mean over the runs."""
    printed = REPORTED[name]
    matrices = [_matrix(run, printed.epochs) for run in results[job(printed.training)]]
    shares: list[Any] = [100 * matrix / matrix.sum(axis=1, keepdims=True) for matrix in matrices]
    mean: np.ndarray[Any, np.dtype[np.float64]] = np.mean(shares, axis=0)
    return mean


def figures(results: Results, folder: Path) -> None:
    """The classes beside the report's, the confusion matrices, the curves by epoch, and some pictures."""
    first = results[job("SGD")][0]
    _draw_classes(results, folder, first)
    matrices = {name: _mean_matrix(name, results) for name in REPORTED}
    caption = (
        f"Of the test images of each class{_on(first)} (row), how many per cent are taken for which class (column): "
        f"the mean over {_seeds(results)}. What is recognised is on the diagonal. "
        "Where each run takes everything for one class, the mean has a column for each of those."
    )
    confusion(folder / "vu-a2-confusion", "3.7: which class is taken for which", matrices, _names(first), caption)
    _draw_epochs(results, folder, first)
    if first["examples"]:
        _draw_examples(first, folder)


def _draw_classes(results: Results, folder: Path, first: Result) -> None:
    panels: list[Panel] = []
    for name, printed in REPORTED.items():
        shares = [_by_class(run, printed.epochs) for run in results[job(printed.training)]]
        given = printed.by_class if first["data"] == DATA else ()
        reported = {place: each for place, each in enumerate(given, 1) if each is not None}
        if printed.by_class:
            curve = Curve(name, shares, reported=reported, joined=False, colour=len(panels))
            panels.append(Panel("recognised (% of the class)", [curve], names=_names(first), limits=(0, 100)))
    curves(folder / "vu-a2-classes", f"3.7: test images recognised{_on(first)}", "class", panels)


def _draw_epochs(results: Results, folder: Path, first: Result) -> None:
    accuracy, loss = [], []
    for place, name in enumerate(TRAININGS):
        runs = [run for run in results[job(name)] if run["train loss"]]
        printed = {each.epochs: each.overall for each in REPORTED.values() if each.training == name}
        for part, label in {"train": "training", "validation": "test"}.items() if runs else ():
            given = printed if part == "validation" and first["data"] == DATA else {}
            percent = [[100 * share for share in run[f"{part} accuracy"]] for run in runs]
            accuracy.append(Curve(f"{name}, {label}", percent, reported=given, colour=place))
            loss.append(Curve(f"{name}, {label}", [run[f"{part} loss"] for run in runs], colour=place))
    panels = [Panel("recognised (%)", accuracy), Panel(f"loss ({LOSS})", loss)]
    curves(folder / "vu-a2-classifier", f"3.7: the classifier by epoch{_on(first)}", "epochs", panels)


def _draw_examples(run: Result, folder: Path) -> None:
    names = _names(run)
    pictures: Mapping[str, Any] = {
        f"{each['row']}: {names[each['is']]}"
        + ("" if each["is"] == each["taken for"] else f",\ntaken for {names[each['taken for']]}"): each["pixels"]
        for each in run["examples"]
    }
    caption = (
        f"Test images{_on(run)} by their number, after the training by SGD (seed 0): the first that the network "
        "recognises, then the first that it does not, with their class and what it takes them for."
    )
    images(folder / "vu-a2-examples", "3.6: right and wrong", pictures, caption, columns=5, width=1.7)
