"""vu-a1, questions 3 to 5: one sigmoid network, trained one sample at a time, on made data (1.5 to 1.8) and on MNIST
(1.9 to 1.13). What is compared and drawn stands in `vu_a1_results.py`.

A step is the network's derived graph, planned: `Graph.run` would take five times as long to find out what to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from chainrule import scalar
from chainrule.lab.defects import DEFECTS
from chainrule.lab.experiment import Experiment, Result
from chainrule.scalar import Number

Array = np.ndarray[Any, Any]
Step = Callable[..., tuple[Any, ...]]

# 1.5: the start of the small network; its biases are 0.
W = [[2.8684894, -7.6767074, 6.6785715], [-1.6898393, -2.0112816, -7.7109503]]
V = [[-7.2348454, 1.1665972], [1.9808355, -7.8209344], [5.7780672, -8.5619845]]
SAMPLES, EPOCHS, LR, SEEDS = 60_000, 50, 0.01, 5

# 1.9 to 1.13: the network on MNIST. The rates of figure 7, and how many runs there are of each.
INPUTS, HIDDEN, OUTPUTS = 784, 300, 10
RATES = {0.05: 1, 0.01: 1, 0.001: 3, 0.0001: 1}
MNIST_EPOCHS, FINAL_EPOCHS, FINAL_RATE = 5, 20, 0.0001
FINAL_SEEDS = 2  # the fewest that give a spread to judge by
# Defects that the first epoch of the final training is tried with, beside 6.9 (twice: in the loss and in the gradient).
FIRST_EPOCH_DEFECTS = ("6.2", "6.4", "6.5")


def experiments(quick: bool) -> list[Experiment]:
    """List what to run, the longest first. The quick version takes a few thousand steps of each training."""
    few = {"samples": 1000} if quick else {}

    def training(name: str, run: Callable[..., Result], seeds: int, epochs: int, **settings: Any) -> Experiment:
        settings |= {"epochs": min(epochs, 2) if quick else epochs}
        return Experiment(name, run, range(min(seeds, 2) if quick else seeds), settings | few)

    final = {"lr": FINAL_RATE, "final": True}
    return [
        training("final", mnist, FINAL_SEEDS, FINAL_EPOCHS, **final),
        training("final, 6.9 twice", mnist, FINAL_SEEDS, FINAL_EPOCHS, defect="6.9 twice", **final),
        training("synthetic", synthetic, SEEDS, EPOCHS),
        *(training(f"MNIST, {lr}", mnist, seeds, MNIST_EPOCHS, lr=lr) for lr, seeds in sorted(RATES.items())),
        training("synthetic, 6.1", synthetic, SEEDS, EPOCHS, defect="6.1"),
        *(training(f"final, {id}", mnist, 1, 1, defect=id, **final) for id in FIRST_EPOCH_DEFECTS),
        Experiment("first epoch", first_epoch, None, few),
        Experiment("made data", made_data),
        Experiment("MNIST as given", mnist_as_given),
    ]


def network(x: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
    """The logits of both networks: inputs, sigmoid units, outputs."""
    import chainrule as cr

    return cr.sigmoid(x @ W1 + b1) @ W2 + b2


def planned(x: Array, parameters: Sequence[Array], t: Array, batch: dict[str, int] | None = None) -> Step:
    """The function (x, W1, b1, W2, b2, t) → loss and four gradients, for arrays of these shapes."""
    import chainrule as cr
    from chainrule.compiler.plan import Plan

    def loss(x: Any, W1: Any, b1: Any, W2: Any, b2: Any, t: Any) -> Any:
        return cr.cross_entropy(network(x, W1, b1, W2, b2), t)

    graph = cr.trace(loss, x, *parameters, t, batch=batch)
    return Plan(cr.derive(graph, ["W1", "b1", "W2", "b2"]))


def scores(x: Array, parameters: Sequence[Array], t: Array) -> dict[str, float]:
    """Mean cross-entropy and accuracy."""
    import chainrule as cr

    logits = network(x, *parameters)
    return {"loss": float(cr.cross_entropy(logits, t)), "accuracy": float((logits.argmax(axis=1) == t).mean())}


def small_network() -> tuple[Any, Any, Any]:
    """The network of 1.5 with its weights, as layers, and five points."""
    import chainrule as cr
    from chainrule import nn, optim

    def given(values: Any) -> Any:
        return lambda shape, rng: np.array(values)

    model = nn.Sequential(
        nn.Linear(2, 3, weight_init=given(W), bias_init=nn.init.zeros, dtype=np.float64),
        nn.Sigmoid(),
        nn.Linear(3, 2, weight_init=given(V), bias_init=nn.init.zeros, dtype=np.float64),
    )
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=LR))
    return trainer, np.zeros((5, 2)), np.arange(5) % 2


# The small network on made data: 1.5 to 1.8.


def made_data() -> Result:
    """How many points there are, and the share of class 1 in both versions of the generator, drawn with seed 0."""
    from chainrule import data

    train, test = data.synthetic()
    prior = {str(version): float(data.synthetic(version)[0].targets.mean()) for version in (1, 2)}
    return {"train": train.inputs.shape, "test": test.inputs.shape, "prior": prior}


def first_epoch(samples: int = SAMPLES) -> Result:
    """The first epoch on single numbers and on arrays: the largest difference of a parameter at its end."""
    from chainrule import data

    train = data.synthetic()[0].subset(slice(samples))
    w, v = [[Number(each) for each in row] for row in W], [[Number(each) for each in row] for row in V]
    b, c = [Number(0) for _ in V], [Number(0) for _ in V[0]]
    numbers = [each for row in (*w, b, *v, c) for each in row]
    for x, t in zip(train.inputs.tolist(), train.targets.tolist(), strict=True):
        h = [scalar.sigmoid(each) for each in affine(x, w, b)]
        scalar.cross_entropy(affine(h, v, c), [1.0 - t, float(t)]).backward()
        for each in numbers:
            each.value -= LR * each.grad
            each.grad = 0.0
    parameters = _start()
    for _ in _epoch(train.inputs, train.targets, parameters, _planned_small(parameters)):
        pass
    arrays = np.concatenate([p.ravel() for p in parameters])
    return {"steps": samples, "difference": np.abs(arrays - [each.value for each in numbers]).max()}


def synthetic(seed: int, epochs: int, defect: str = "", samples: int = SAMPLES) -> Result:
    """Train on the points drawn with this seed: the loss while training and on the test set, by epoch and at first."""
    from chainrule import data

    train, test = data.synthetic(seed=seed)
    train = train.subset(slice(samples))
    run = _small_with_defect(defect, train, test) if defect else _small(train, test)
    losses, tested = zip(*(next(run) for _ in range(epochs)), strict=True)
    return {
        "train": [float(np.mean(each)) for each in losses],
        "test": [each["loss"] for each in tested],
        "accuracy": tested[-1]["accuracy"],
        "instances": losses[0][:2000],
    }


def affine(x: Sequence[Any], weights: Sequence[Sequence[Number]], bias: Sequence[Number]) -> list[Number]:
    """xᵀW + b on single numbers, one output at a time."""
    columns = zip(*weights, strict=True)
    return [sum((a * w for a, w in zip(x, column, strict=True)), b) for column, b in zip(columns, bias, strict=True)]


def _start() -> list[Array]:
    return [np.array(W), np.zeros(3), np.array(V), np.zeros(2)]


def _planned_small(parameters: Sequence[Array]) -> Step:
    return planned(np.zeros((1, 2)), parameters, np.zeros(1, np.int64))


def _epoch(inputs: Array, targets: Array, parameters: Sequence[Array], step: Step) -> Iterator[float]:
    for i in range(len(inputs)):
        loss, *gradients = step(inputs[i : i + 1], *parameters, targets[i : i + 1])
        for p, d in zip(parameters, gradients, strict=True):
            p -= LR * d
        yield float(loss)


def _small(train: Any, test: Any) -> Iterator[tuple[list[float], dict[str, float]]]:
    """Epochs on arrays: each step's loss, and the test scores after the epoch."""
    parameters = _start()
    step = _planned_small(parameters)
    while True:
        losses = list(_epoch(train.inputs, train.targets, parameters, step))
        yield losses, scores(test.inputs, parameters, test.targets)


def _small_with_defect(id: str, train: Any, test: Any) -> Iterator[tuple[list[float], dict[str, float]]]:
    """The same with a defective network of plain Python; where it keeps something, the test goes on from there."""
    net = DEFECTS[id].defective(W, V)
    samples = list(zip(train.inputs.tolist(), train.targets.tolist(), strict=True))
    tests = list(zip(test.inputs.tolist(), test.targets.tolist(), strict=True))
    while True:
        losses = [net.step(x, t, LR) for x, t in samples]
        share = np.array([net.forward(x)[t] for x, t in tests])
        yield losses, {"loss": float(-np.log(share).mean()), "accuracy": float((share > 0.5).mean())}


# The network on MNIST: 1.9 to 1.13.


def mnist_as_given() -> Result:
    """Sizes of the split, the range of the inputs, and the network before it has learnt anything."""
    from chainrule import data

    split = data.load("mnist", split="vu-a1")
    assert split.validation is not None
    x = split.validation.features()
    parameters = _mnist_start(0)
    return {
        "train": len(split.train),
        "validation": len(split.validation),
        "range": [x.min(), x.max()],
        "parameters": sum(p.size for p in parameters),
        "deviation": [parameters[0].std(), parameters[2].std()],
        "start": scores(x, parameters, split.validation.targets),
    }


def mnist(
    seed: int, lr: float, epochs: int, samples: int | None = None, final: bool = False, defect: str = ""
) -> Result:
    """Train in the order of the file, one image a step: loss and accuracy before the first epoch and after each.

    The scores of an epoch are taken on both sets at the same weights. In a final run the test set takes the place of
    validation: it is opened once, and what it says changes nothing.
    """
    from chainrule import data

    split = data.load("mnist", split="vu-a1", final=final)
    held_out = split.test.open() if final else split.validation
    assert held_out is not None
    train, held_out = split.train.subset(slice(samples)), held_out.subset(slice(samples))
    parameters = _mnist_start(seed)
    step = _mnist_step(parameters, defect)
    if defect == "6.9 twice":
        lr *= _factor_of_6_9() ** 2
    curves: Result = {"train": [], "held out": []}
    for epoch in range(epochs + 1):
        if epoch:
            _mnist_epoch(train, parameters, step, lr)
            if defect == "6.2":
                _mnist_epoch(held_out, parameters, step, lr)
        for name, part in (("train", train), ("held out", held_out)):
            curves[name].append(_scores_in_parts(part, parameters))
    return {name: {key: [each[key] for each in part] for key in part[0]} for name, part in curves.items()}


def _mnist_start(seed: int) -> list[Array]:
    from chainrule import nn

    rng, draw = np.random.default_rng(seed), nn.init.fan_out_normal
    weights = [draw(shape, rng).astype(np.float32) for shape in ((INPUTS, HIDDEN), (HIDDEN, OUTPUTS))]
    return [weights[0], np.zeros(HIDDEN, np.float32), weights[1], np.zeros(OUTPUTS, np.float32)]


def _mnist_step(parameters: Sequence[Array], defect: str) -> Step:
    if defect in ("6.4", "6.5"):
        by_hand = DEFECTS[defect].defective

        def step(x: Array, W1: Array, b1: Array, W2: Array, b2: Array, t: Array) -> tuple[Any, ...]:
            loss, gradients = by_hand({"W1": W1, "b1": b1, "W2": W2, "b2": b2}, x, t.item())
            return loss, *gradients.values()

        return step
    x, t = np.zeros((1, INPUTS), np.float32), np.zeros(1, np.int64)
    return planned(x, parameters, t, batch={"x": 1, "W1": 0})


def _mnist_epoch(part: Any, parameters: Sequence[Array], step: Step, lr: float) -> None:
    """One image a step. An input that is 0 has no part in a step: only the rows of W1 for the others are looked at."""
    W1, *others = parameters
    for start in range(0, len(part), 1000):
        rows = slice(start, start + 1000)
        for x, t in zip(part.features(rows), part.targets[rows, None], strict=True):
            used = np.flatnonzero(x)
            own = W1.take(used, axis=0)
            _, d, *gradients = step(x[None, used], own, *others, t)
            own -= lr * d
            W1[used] = own
            for p, d in zip(others, gradients, strict=True):
                p -= lr * d


def _scores_in_parts(part: Any, parameters: Sequence[Array]) -> dict[str, float]:
    total = {"loss": 0.0, "accuracy": 0.0}
    for start in range(0, len(part), 5000):
        rows = slice(start, start + 5000)
        t = part.targets[rows]
        for name, value in scores(part.features(rows), parameters, t).items():
            total[name] += value * len(t) / len(part)
    return total


def _factor_of_6_9() -> float:
    """What the twin with the defect makes of a loss of ten classes."""
    p, x, t = {"W": np.zeros((1, OUTPUTS)), "b": np.zeros(OUTPUTS)}, np.zeros((1, 1)), np.zeros(1, np.int64)
    wrong, right = (twin(p, x, t)[0] for twin in (DEFECTS["6.9"].defective, DEFECTS["6.9"].clean))
    assert math.isclose(wrong / right, 2 / OUTPUTS)
    return float(wrong / right)
