"""UCSD, ECE 285 (fall 2019), assignment 1: a shallow ReLU network on MNIST, full batch against minibatches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from chainrule.lab.experiment import Experiment, Report, Result, Results
from chainrule.lab.figures import images
from chainrule.lab.verdict import Judge, Row

judge = Judge("ucsd-ece285")

LOSS = "cross-entropy / 10 outputs"  # the report averages over N·10 entries: a tenth of the usual mean
ERROR = "% misclassified"

# 2.1: the labels of image 42.
LABELS = {"training": "7", "test": "4"}

# 2.5: mean absolute error over mean absolute value of the derivative check must be below 1e-6; the report's own.
CHECK_BELOW = 1e-6
CHECK = {"softmax": "4.88e-7", "ReLU": "4.31e-11"}

# 2.8: before training.
START_LOSS = ".26386"
START_ERROR = "91.175"

# 2.9: full batch, 100 iterations, learning rate .05; by iteration.
FULL_BATCH_LOSS = {
    10: ".16191",
    20: ".11597",
    30: ".09096",
    40: ".08445",
    50: ".07063",
    60: ".06194",
    70: ".05701",
    80: ".05347",
    90: ".05071",
    100: ".04849",
}
FULL_BATCH_ERROR = {
    10: "42.127",
    20: "28.148",
    30: "22.475",
    40: "26.522",
    50: "20.725",
    60: "16.713",
    70: "15.273",
    80: "14.457",
    90: "13.767",
    100: "13.243",
}
FULL_BATCH_TEST_LOSS = ".04600"
FULL_BATCH_TEST_ERROR = "12.24"

# 2.10: shorter runs; by iteration.
SHORT_TRAINING_ERROR = {2: "80.23", 5: "49.83", 20: "34.36"}
SHORT_TEST_ERROR = {2: "79.28", 5: "48.14", 20: "33.42"}

# 2.11: minibatches of 100, 5 epochs; by epoch. The report ran it twice and printed less of the second run.
MINIBATCH_LOSS = {1: ".03002", 2: ".02441", 3: ".02063", 4: ".01799", 5: ".01603"}
MINIBATCH_ERROR = {1: "8.747", 2: "7.150", 3: "6.018", 4: "5.258", 5: "4.575"}
MINIBATCH_TEST_LOSS = ".01679"
MINIBATCH_TEST_ERROR = "4.98"
SECOND_RUN_ERROR = {2: "7.145", 5: "4.6"}
SECOND_RUN_TEST_ERROR = {2: "6.99", 5: "4.82"}


def experiments(quick: bool) -> list[Experiment]:
    """List what to run."""
    return [Experiment("image 42", image_42)]


def image_42() -> Result:
    """Load the data as the report does and take the 42nd image of either set, with its label."""
    from chainrule import data

    mnist = data.load("mnist", split="ucsd-ece285", final=True)
    sets = {"training": mnist.train, "test": mnist.test.open()}
    return {
        name: {"label": int(each.targets[42]), "pixels": each.inputs[42].reshape(28, 28)} for name, each in sets.items()
    }


def rows(results: Results, quick: bool) -> Iterator[Row]:
    """Compare each printed number with ours."""
    for name, label in LABELS.items():
        yield judge.exact("2.1", f"label of {name} image 42", label, results["image 42"][0][name]["label"])


def figures(results: Results, folder: Path) -> None:
    """Draw image 42 and the learning curves."""
    shown = results["image 42"][0]
    pictures = {f"{name} image 42: a {shown[name]['label']}": shown[name]["pixels"] for name in LABELS}
    images(folder / "ucsd-ece285-image-42", "MNIST as loaded", pictures)


REPORT = Report("ucsd-ece285", "a shallow network on MNIST, full batch and minibatches", experiments, rows, figures)
