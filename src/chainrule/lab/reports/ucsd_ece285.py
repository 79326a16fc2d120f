"""UCSD, ECE 285 (fall 2019), assignment 1: a shallow ReLU network on MNIST, full batch against minibatches.

The report keeps samples in columns; here they are rows, so its W h is our h W, and so on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.lab.experiment import Experiment, Report, Result, Results
from chainrule.lab.figures import Curve, Panel, curves, images
from chainrule.lab.verdict import Judge, Row

judge = Judge("ucsd-ece285")
Array = np.ndarray[Any, np.dtype[np.floating[Any]]]

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


# 2.6 and 2.9: the network, and the learning rate on the gradient of the mean over the batch.
INPUTS, HIDDEN, OUTPUTS = 784, 64, 10
LEARNING_RATE = 0.05

# A difference is nothing if it is less than what twelve decimals show (six for float32).
ZERO, ZERO_FLOAT32 = "0.000000000000", "0.000000"


def experiments(quick: bool) -> list[Experiment]:
    """List what to run. The quick version trains as the report does, with fewer seeds."""
    seeds = range(3) if quick else range(5)
    return [
        Experiment("image 42", image_42),
        Experiment("preprocessing", preprocessing),
        Experiment("derivatives", derivatives),
        Experiment("backpropagation", backpropagation),
        Experiment("derivative check", derivative_check, range(5)),
        Experiment("full batch", full_batch, seeds),
        Experiment("minibatches", minibatches, seeds),
    ]


def image_42() -> Result:
    """Load the data as the report does and take the 42nd image of either set, with its label."""
    mnist = _load()
    sets = {"training": mnist.train, "test": mnist.test.open()}
    return {
        name: {"label": int(each.targets[42]), "pixels": each.inputs[42].reshape(28, 28)} for name, each in sets.items()
    }


def preprocessing() -> Result:
    """Pixels to [-1, 1], labels to one-hot and back."""
    from chainrule import data

    train = _load().train
    x = train.features()
    rows = train.inputs[:1000]
    formula = 2 * (rows.astype(np.float64) - 127.5) / 255
    back = data.labels(data.one_hot(train.targets, OUTPUTS))
    return {
        "smallest": x.min(),
        "largest": x.max(),
        "difference": np.abs(x[:1000] - formula).max(),
        "changed labels": int((back != train.targets).sum()),
    }


def derivatives() -> Result:
    """The derivatives of softmax and ReLU in a direction, by the engine and by the report's formulas."""
    import chainrule as cr

    random = np.random.default_rng(0)
    a, e = random.normal(size=(200, 10)), random.normal(size=(200, 10))
    g = cr.softmax(a)
    _, pull = cr.vjp(cr.softmax, a)
    jacobian = cr.jacobian(cr.softmax)(a[0])
    largest = {
        "softmax in a direction = g ⊗ e − ⟨g, e⟩ g": pull(e)[0] - (g * e - (g * e).sum(axis=1, keepdims=True) * g),
        "Jacobian of softmax − its transpose": jacobian - jacobian.T,
    }
    _, pull = cr.vjp(cr.relu, a)
    relu = {
        "ReLU in a direction = e where a > 0": pull(e)[0] - np.where(a > 0, e, 0),
        "ReLU at 0": cr.grad(cr.relu)(0.0),
    }
    return {
        "2.3": {name: np.abs(d).max() for name, d in largest.items()},
        "2.4": {name: np.abs(d).max() for name, d in relu.items()},
    }


def derivative_check(seed: int) -> Result:
    """The report's check: forward differences with ε = 1e-6 on 10 × 200 normal numbers."""
    import chainrule as cr

    random, epsilon = np.random.default_rng(seed), 1e-6
    a, e = random.normal(size=(200, 10)), random.normal(size=(200, 10))
    errors = {}
    for name, f in {"softmax": cr.softmax, "ReLU": cr.relu}.items():
        numerical = (f(a + epsilon * e) - f(a)) / epsilon
        derivative = cr.jvp(f, (a,), (e,))[1]
        errors[name] = np.abs(numerical - derivative).mean() / np.abs(numerical).mean()
    return errors


def backpropagation() -> Result:
    """Equations 2.7 written out by hand, against the engine, on 50 real samples in float64."""
    import chainrule as cr

    train = _load().train
    x, t = train.features(slice(50), np.float64), train.targets[:50]
    model = _network(0, np.float64)
    f, parameters = model.as_function()
    engine = cr.grad(lambda p: cr.cross_entropy(f(p, x), t, "sum"))({k: p.numpy() for k, p in parameters.items()})

    w1, b1, w2, b2 = (parameters[name].numpy() for name in ("W1", "b1", "W2", "b2"))
    a1 = x @ w1 + b1
    h1 = np.maximum(a1, 0)
    y = cr.softmax(h1 @ w2 + b2)
    e2 = -np.eye(OUTPUTS)[t] / y  # ∇_y E
    delta2 = y * e2 - (y * e2).sum(axis=1, keepdims=True) * y  # softmax is symmetric: the same in a direction
    e1 = delta2 @ w2.T
    delta1 = np.where(a1 > 0, e1, 0)
    by_hand = {"W1": x.T @ delta1, "b1": delta1.sum(axis=0), "W2": h1.T @ delta2, "b2": delta2.sum(axis=0)}
    return {name: np.abs(by_hand[name] - engine[name]).max() for name in by_hand}


def full_batch(seed: int) -> Result:
    """100 iterations on all 60,000 images at once, with the curves of 2.9 and the shorter runs of 2.10 on the way."""
    mnist = _load()
    test = mnist.test.open()
    trainer = _trainer(seed)
    result: Result = {"start": dict(trainer.evaluate(mnist.train)), "test": {}}
    tested = {*SHORT_TEST_ERROR, 100}
    for iteration in sorted({*FULL_BATCH_LOSS, *tested}):
        trainer.fit(
            mnist.train,
            epochs=iteration - trainer.epoch,
            batch_size=None,
            evaluate_every=iteration,
            progress=False,
        )
        if iteration in tested:
            result["test"][iteration] = dict(trainer.evaluate(test))
    return result | _curves(trainer)


def minibatches(seed: int) -> Result:
    """5 epochs of minibatches of 100, reshuffled each time."""
    mnist = _load()
    test = mnist.test.open()
    trainer = _trainer(seed)
    result: Result = {"test": {}}
    for epoch in (2, 5):
        trainer.fit(mnist.train, epochs=epoch - trainer.epoch, batch_size=100, progress=False)
        result["test"][epoch] = dict(trainer.evaluate(test))
    return result | _curves(trainer)


def _load() -> Any:
    from chainrule import data

    return data.load("mnist", split="ucsd-ece285", final=True)


def _network(seed: int, dtype: Any = np.float32) -> Any:
    """784-64-10, with the bias counted among the inputs: He's initialisation below the ReLU, Xavier's above it."""
    from chainrule import nn

    he = nn.init.normal(math.sqrt(2 / (INPUTS + 1)))
    xavier = nn.init.normal(math.sqrt(1 / (HIDDEN + 1)))
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Linear(INPUTS, HIDDEN, weight_init=he, bias_init=he, dtype=dtype, rng=rng),
        nn.ReLU(),
        nn.Linear(HIDDEN, OUTPUTS, weight_init=xavier, bias_init=xavier, dtype=dtype, rng=rng),
    )


def _trainer(seed: int) -> Any:
    import chainrule as cr
    from chainrule import nn, optim

    cr.manual_seed(seed)
    model = _network(seed)
    sgd = optim.SGD(model.parameters(), lr=LEARNING_RATE)
    return cr.Trainer(model, nn.CrossEntropyLoss(), sgd, metrics=["error"])


def _curves(trainer: Any) -> Result:
    history = trainer.history
    return {"at": history.epochs, "loss": history.train_loss, "error": history.train_error}


def rows(results: Results, quick: bool) -> Iterator[Row]:
    """Compare each printed number with ours."""
    for name, label in LABELS.items():
        yield judge.exact("2.1", f"label of {name} image 42", label, results["image 42"][0][name]["label"])
    pixels = results["preprocessing"][0]
    yield judge.exact("2.2", "smallest pixel after preprocessing", "-1.000000", pixels["smallest"])
    yield judge.exact("2.2", "largest pixel after preprocessing", "1.000000", pixels["largest"])
    yield judge.exact("2.2", "largest |x − 2(u − 127.5)/255|, float32", ZERO_FLOAT32, pixels["difference"])
    yield judge.exact("2.2", "labels changed by one-hot and back", "0", pixels["changed labels"])
    for id, differences in results["derivatives"][0].items():
        for name, difference in differences.items():
            yield judge.exact(id, f"largest difference: {name}", ZERO, difference)
    for name, reported in CHECK.items():
        ours = [run[name] for run in results["derivative check"]]
        note = (
            f"the report asks for less than {CHECK_BELOW:g}: {'met' if max(ours) < CHECK_BELOW else 'not met'} by all"
        )
        yield judge.band("2.5", f"error of the derivative of {name}", reported, ours, as_reported=True, note=note)
    parameters = (INPUTS + 1) * HIDDEN + (HIDDEN + 1) * OUTPUTS
    yield judge.shown("2.6", f"parameters of {INPUTS}-{HIDDEN}-{OUTPUTS}", [parameters])
    for name, difference in results["backpropagation"][0].items():
        yield judge.exact("2.7", f"largest |by hand − engine| of ∇{name}", ZERO, difference)
    yield from _training_rows(results)


def _training_rows(results: Results) -> Iterator[Row]:
    full, mini = results["full batch"], results["minibatches"]
    start = [run["start"] for run in full]
    yield _loss("2.8", "training loss at the start", START_LOSS, [s["loss"] for s in start])
    yield _error("2.8", "training error at the start", START_ERROR, [s["error"] for s in start])
    for iteration, reported in FULL_BATCH_LOSS.items():
        yield _loss("2.9", f"training loss after {iteration} iterations", reported, _at(full, "loss", iteration))
    for iteration, reported in FULL_BATCH_ERROR.items():
        yield _error("2.9", f"training error after {iteration} iterations", reported, _at(full, "error", iteration))
    yield _loss("2.9", "test loss after 100 iterations", FULL_BATCH_TEST_LOSS, _test(full, "loss", 100))
    yield _error("2.9", "test error after 100 iterations", FULL_BATCH_TEST_ERROR, _test(full, "error", 100))
    for iteration, reported in SHORT_TRAINING_ERROR.items():
        yield _error("2.10", f"training error after {iteration} iterations", reported, _at(full, "error", iteration))
        ours = _test(full, "error", iteration)
        yield _error("2.10", f"test error after {iteration} iterations", SHORT_TEST_ERROR[iteration], ours)
    for epoch, reported in MINIBATCH_LOSS.items():
        yield _loss("2.11", f"training loss after epoch {epoch}", reported, _at(mini, "loss", epoch))
    for epoch, reported in MINIBATCH_ERROR.items():
        yield _error("2.11", f"training error after epoch {epoch}", reported, _at(mini, "error", epoch))
    yield _loss("2.11", "test loss after epoch 5", MINIBATCH_TEST_LOSS, _test(mini, "loss", 5))
    yield _error("2.11", "test error after epoch 5", MINIBATCH_TEST_ERROR, _test(mini, "error", 5))
    for epoch, reported in SECOND_RUN_ERROR.items():
        ours = _at(mini, "error", epoch)
        yield _error("2.11", f"training error after epoch {epoch}, the report's second run", reported, ours)
        test = _test(mini, "error", epoch)
        yield _error("2.11", f"test error after epoch {epoch}, second run", SECOND_RUN_TEST_ERROR[epoch], test)


def _loss(id: str, quantity: str, reported: str, mean_per_sample: Sequence[float]) -> Row:
    ours = [loss / OUTPUTS for loss in mean_per_sample]
    return judge.band(id, quantity, reported, ours, unit=LOSS, as_reported=True)


def _error(id: str, quantity: str, reported: str, shares: Sequence[float]) -> Row:
    return judge.band(id, quantity, reported, [100 * share for share in shares], unit=ERROR, as_reported=True)


def _at(runs: Sequence[Result], name: str, x: int) -> list[float]:
    """The value of a curve at an iteration or epoch, for each seed."""
    return [run[name][run["at"].index(x)] for run in runs]


def _test(runs: Sequence[Result], name: str, x: int) -> list[float]:
    return [run["test"][str(x)][name] for run in runs]


def figures(results: Results, folder: Path) -> None:
    """Draw image 42 and the learning curves."""
    shown = results["image 42"][0]
    pictures = {f"{name} image 42: a {shown[name]['label']}": shown[name]["pixels"] for name in LABELS}
    images(folder / "ucsd-ece285-image-42", "2.1: MNIST as loaded", pictures)
    titles = {"full batch": "2.9: all 60,000 images a step", "minibatches": "2.11: minibatches of 100 images"}
    counts = {"full batch": "iterations", "minibatches": "epochs"}
    printed = {
        "full batch": (FULL_BATCH_LOSS, FULL_BATCH_ERROR | SHORT_TRAINING_ERROR),
        "minibatches": (MINIBATCH_LOSS, MINIBATCH_ERROR),
    }
    tested = {
        "full batch": SHORT_TEST_ERROR | {100: FULL_BATCH_TEST_ERROR},
        "minibatches": {2: SECOND_RUN_TEST_ERROR[2], 5: MINIBATCH_TEST_ERROR},
    }
    for name, title in titles.items():
        runs = results[name]
        at = runs[0]["at"]
        loss = [[value / OUTPUTS for value in run["loss"]] for run in runs]
        error = [[100 * value for value in run["error"]] for run in runs]
        test = [[100 * scores["error"] for scores in run["test"].values()] for run in runs]
        test_at = [int(x) for x in runs[0]["test"]]
        panels = [
            Panel(f"loss ({LOSS})", [Curve("training", loss, at, printed[name][0])]),
            Panel(
                ERROR,
                [
                    Curve("training", error, at, printed[name][1]),
                    Curve("test", test, test_at, tested[name], joined=False),
                ],
            ),
        ]
        curves(folder / f"ucsd-ece285-{name.replace(' ', '-')}", title, counts[name], panels)


def network() -> tuple[Any, Any, Any]:
    """The network of 2.9 to 2.11 and five images' worth of zeros."""
    return _trainer(0), np.zeros((5, INPUTS), np.float32), np.arange(5)


REPORT = Report(
    "ucsd-ece285", "a shallow network on MNIST, full batch and minibatches", experiments, rows, figures, network
)
