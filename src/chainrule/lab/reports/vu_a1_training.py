"""vu-a1, questions 3 to 5: one sigmoid network, trained one sample at a time, on made data (1.5 to 1.8) and on MNIST
(1.9 to 1.13). What is compared and drawn stands in `vu_a1_results.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule import scalar
from chainrule.lab.defects import DEFECTS
from chainrule.lab.experiment import Experiment, Result
from chainrule.scalar import Number
from chainrule.train.callbacks import Callback

Array = np.ndarray[Any, Any]

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
IN_THE_GRADIENT = ("6.4", "6.5")  # of these, the ones whose steps are taken with a gradient written out by hand

# One sample a step, in the order of the data; what is wanted of an epoch, callbacks take.
BY_SAMPLE: dict[str, Any] = {"batch_size": 1, "shuffle": False, "evaluate_every": None, "progress": False}


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
        training("synthetic, 6.1", synthetic, SEEDS, EPOCHS, defect="6.1"),
        *(training(f"final, {id}", mnist, 1, 1, defect=id, **final) for id in FIRST_EPOCH_DEFECTS),
        Experiment("first epoch", first_epoch, None, few),
        *(training(f"MNIST, {lr}", mnist, seeds, MNIST_EPOCHS, lr=lr) for lr, seeds in sorted(RATES.items())),
        training("synthetic", synthetic, SEEDS, EPOCHS),
        Experiment("made data", made_data),
        Experiment("MNIST as given", mnist_as_given),
    ]


class Steps(Callback):
    """Keeps the loss of each step, and the scores on other data after each epoch."""

    def __init__(self, held_out: Any) -> None:
        self.held_out = held_out
        self.losses: list[Array] = []
        self.tested: list[dict[str, float]] = []

    def on_steps_end(self, trainer: Any, epoch: int, losses: Array) -> None:
        self.losses.append(losses)
        self.tested.append(dict(trainer.evaluate(self.held_out)))


class Curves(Callback):
    """Keeps loss and accuracy on some sets, before the first epoch and after each."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = parts
        self.curves: Result = {name: {"loss": [], "accuracy": []} for name in parts}

    def look(self, trainer: Any) -> None:
        for name, part in self.parts.items():
            for key, value in trainer.evaluate(part).items():
                self.curves[name][key].append(value)

    def on_fit_start(self, trainer: Any, epochs: int) -> None:
        self.look(trainer)

    def on_epoch_end(self, trainer: Any, epoch: int, scores: Any) -> None:
        self.look(trainer)


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
    trainer, _, _ = small_network()
    trainer.fit(train, epochs=1, **BY_SAMPLE)
    arrays = np.concatenate([p.value.ravel() for p in trainer.model.parameters()])
    return {"steps": samples, "difference": np.abs(arrays - [each.value for each in numbers]).max()}


def synthetic(seed: int, epochs: int, defect: str = "", samples: int = SAMPLES) -> Result:
    """Train on the points drawn with this seed: the loss while training and on the test set, by epoch and at first."""
    from chainrule import data

    train, test = data.synthetic(seed=seed)
    train = train.subset(slice(samples))
    losses, tested = (_small_with_defect if defect else _small)(defect, train, test, epochs)
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


def _small(defect: str, train: Any, test: Any, epochs: int) -> tuple[Sequence[Any], Sequence[dict[str, float]]]:
    """Epochs on arrays, without a defect: the losses of each one's steps, and the test scores after it."""
    trainer, _, _ = small_network()
    steps = Steps(test)
    trainer.callbacks.append(steps)
    trainer.fit(train, epochs=epochs, **BY_SAMPLE)
    return steps.losses, steps.tested


def _small_with_defect(
    defect: str, train: Any, test: Any, epochs: int
) -> tuple[Sequence[Any], Sequence[dict[str, float]]]:
    """The same with a defective network of plain Python; where it keeps something, the test goes on from there."""
    net = DEFECTS[defect].defective(W, V)
    samples = list(zip(train.inputs.tolist(), train.targets.tolist(), strict=True))
    tests = list(zip(test.inputs.tolist(), test.targets.tolist(), strict=True))
    losses, tested = [], []
    for _ in range(epochs):
        losses.append([net.step(x, t, LR) for x, t in samples])
        share = np.array([net.forward(x)[t] for x, t in tests])
        tested.append({"loss": float(-np.log(share).mean()), "accuracy": float((share > 0.5).mean())})
    return losses, tested


# The network on MNIST: 1.9 to 1.13.


def mnist_as_given() -> Result:
    """Sizes of the split, the range of the inputs, and the network before it has learnt anything."""
    from chainrule import data

    split = data.load("mnist", split="vu-a1")
    assert split.validation is not None
    trainer = _mnist_trainer(0, FINAL_RATE)
    x, weights = split.validation.features(), [p.value for p in trainer.model.parameters()]
    return {
        "train": len(split.train),
        "validation": len(split.validation),
        "range": [x.min(), x.max()],
        "parameters": sum(p.size for p in weights),
        "deviation": [weights[0].std(), weights[2].std()],
        "start": dict(trainer.evaluate(split.validation)),
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
    if defect == "6.9 twice":
        lr *= _factor_of_6_9() ** 2
    trainer, kept = _mnist_trainer(seed, lr), Curves({"train": train, "held out": held_out})
    if defect in IN_THE_GRADIENT:
        kept.look(trainer)
        for _ in range(epochs):
            _epoch_by_hand(DEFECTS[defect].defective, trainer.model, train, lr)
            kept.look(trainer)
        return kept.curves
    trainer.callbacks.append(kept)
    trainer.fit(_one_after_the_other(train, held_out) if defect == "6.2" else train, epochs=epochs, **BY_SAMPLE)
    return kept.curves


def _mnist_trainer(seed: int, lr: float) -> Any:
    import chainrule as cr
    from chainrule import nn, optim

    rng = np.random.default_rng(seed)
    start: dict[str, Any] = {"weight_init": nn.init.fan_out_normal, "bias_init": nn.init.zeros, "rng": rng}
    model = nn.Sequential(
        nn.Linear(INPUTS, HIDDEN, **start),
        nn.Sigmoid(),
        nn.Linear(HIDDEN, OUTPUTS, **start),
    )
    return cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=lr))


def _one_after_the_other(train: Any, held_out: Any) -> Any:
    """What 6.2 trains on: in each epoch first the one, then the other."""
    from chainrule.data import Dataset

    inputs, targets = (
        np.concatenate([getattr(part, name) for part in (train, held_out)]) for name in ("inputs", "targets")
    )
    return Dataset(inputs, targets, scale=train.scale, shift=train.shift, classes=train.classes, name="both")


def _epoch_by_hand(step: Callable[..., Any], model: Any, part: Any, lr: float) -> None:
    """One image a step, by a function of parameters, image and label that gives the loss and the gradients.

    An input that is 0 has no part in a step: only the rows of W1 for the others are looked at.
    """
    W1, *others = (np.array(p.value) for p in model.parameters())
    for start in range(0, len(part), 1000):
        rows = slice(start, start + 1000)
        for x, t in zip(part.features(rows), part.targets[rows].tolist(), strict=True):
            used = np.flatnonzero(x)
            own = W1.take(used, axis=0)
            named = dict(zip(("W1", "b1", "W2", "b2"), (own, *others), strict=True))
            gradients = step(named, x[None, used], t)[1].values()
            for p, d in zip(named.values(), gradients, strict=True):
                p -= lr * d
            W1[used] = own
    for p, new in zip(model.parameters(), (W1, *others), strict=True):
        p.assign(new)


def _factor_of_6_9() -> float:
    """What the twin with the defect makes of a loss of ten classes."""
    p, x, t = {"W": np.zeros((1, OUTPUTS)), "b": np.zeros(OUTPUTS)}, np.zeros((1, 1)), np.zeros(1, np.int64)
    wrong, right = (twin(p, x, t)[0] for twin in (DEFECTS["6.9"].defective, DEFECTS["6.9"].clean))
    assert math.isclose(wrong / right, 2 / OUTPUTS)
    return float(wrong / right)
