"""Trainings and comparisons written by hand that mislead whoever reads their figures, each beside one that does not;
plain NumPy.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from chainrule.lab.defects.derivatives import Parameters, sigmoid, softmax, softmax_regression

Array = np.ndarray[Any, Any]
Data = tuple[Array, Array]  # inputs (N, n) and labels (N,)


def _accuracy(p: Parameters, data: Data) -> float:
    x, t = data
    return float(((x @ p["W"] + p["b"]).argmax(axis=1) == t).mean())


class Training:
    """Right: softmax regression, one epoch of training and one of validation."""

    def __init__(self, features: int, classes: int, lr: float = 0.1) -> None:
        self.parameters = {"W": np.zeros((features, classes)), "b": np.zeros(classes)}
        self.lr = lr

    def train(self, x: Array, t: Array) -> float:
        """Go through the data in batches of 10, learning; the mean loss."""
        losses = []
        for i in range(0, len(x), 10):
            loss, gradients = softmax_regression(self.parameters, x[i : i + 10], t[i : i + 10])
            losses.append(loss)
            for name, gradient in gradients.items():
                self.parameters[name] -= self.lr * gradient
        return float(np.mean(losses))

    def validate(self, x: Array, t: Array) -> float:
        """The mean loss."""
        return softmax_regression(self.parameters, x, t)[0]


class TrainingThatLearnsWhileValidating(Training):
    """6.2: validation is the training's loop once more, update and all."""

    def validate(self, x: Array, t: Array) -> float:
        return self.train(x, t)


def three_runs(data: Data) -> list[float]:
    """Right: the losses of three runs, each from weights of its own."""
    return [_short_run(data, np.random.default_rng(run)) for run in range(3)]


def three_runs_from_one_seed(data: Data) -> list[float]:
    """6.7: the initialiser seeds itself, so that the three runs are one."""
    return [_short_run(data, np.random.default_rng(0)) for run in range(3)]


def _short_run(data: Data, rng: np.random.Generator) -> float:
    x, t = data
    p = {"W": rng.normal(size=(x.shape[1], t.max() + 1)), "b": np.zeros(t.max() + 1)}
    for _ in range(20):
        _, gradients = softmax_regression(p, x, t)
        p = {name: p[name] - 0.1 * gradients[name] for name in p}
    return softmax_regression(p, x, t)[0]


class Momentum:
    """Right: v ← μ v + g, p ← p - lr v. [Polyak 1964]"""

    def __init__(self, parameters: Parameters, lr: float, momentum: float) -> None:
        self.parameters, self.lr, self.momentum = parameters, lr, momentum
        self.velocity = {name: np.zeros_like(p) for name, p in parameters.items()}

    def step(self, gradients: Parameters) -> None:
        for name, g in gradients.items():
            self.velocity[name] = self.momentum * self.velocity[name] + g
            self.parameters[name] -= self.lr * self.velocity[name]

    def next_epoch(self) -> None:
        """Nothing changes between epochs."""


class MomentumWithoutVelocity(Momentum):
    """6.15: "momentum" multiplies the learning rate after each epoch, and no step knows of the one before."""

    def step(self, gradients: Parameters) -> None:
        for name, g in gradients.items():
            self.parameters[name] -= self.lr * g

    def next_epoch(self) -> None:
        self.lr *= self.momentum


class AdamTraining:
    """Right: four layers of 32 ReLUs, trained by Adam at its usual learning rate. [Kingma and Ba 2015]"""

    lr = 0.001

    def __init__(self, features: int, classes: int, seed: int = 0) -> None:
        rng, sizes = np.random.default_rng(seed), (features, 32, 32, 32, 32, classes)
        self.parameters: Parameters = {}
        for i, (n, m) in enumerate(pairwise(sizes)):
            self.parameters[f"W{i}"] = rng.normal(size=(n, m)) * np.sqrt(2 / n)
            self.parameters[f"b{i}"] = np.zeros(m)
        self.m = {name: np.zeros_like(p) for name, p in self.parameters.items()}
        self.v = {name: np.zeros_like(p) for name, p in self.parameters.items()}
        self.steps = 0

    def forward(self, x: Array) -> Array:
        self.h, p = [x], self.parameters
        for i in range(4):
            self.h.append(np.maximum(self.h[i] @ p[f"W{i}"] + p[f"b{i}"], 0))
        return softmax(self.h[4] @ p["W4"] + p["b4"])

    def step(self, x: Array, t: Array) -> None:
        """One step on a batch with labels t."""
        p, g = self.parameters, {}
        y = self.forward(x)
        d = (y - np.eye(y.shape[1])[t]) / len(x)
        for i in (4, 3, 2, 1, 0):
            g[f"W{i}"], g[f"b{i}"] = self.h[i].T @ d, d.sum(axis=0)
            d = d @ p[f"W{i}"].T * (self.h[i] > 0)
        self.steps += 1
        for name in p:
            self.m[name] = 0.9 * self.m[name] + 0.1 * g[name]
            self.v[name] = 0.999 * self.v[name] + 0.001 * g[name] ** 2
            m, v = self.m[name] / (1 - 0.9**self.steps), self.v[name] / (1 - 0.999**self.steps)
            p[name] -= self.lr * m / (np.sqrt(v) + 1e-8)


class AdamTrainingTooFast(AdamTraining):
    """6.16: a hundred times that; the first steps throw every unit to where it answers nothing any more."""

    lr = 0.1


def fit(train: Data, validation: Data, epochs: int) -> dict[str, list[float]]:
    """Right: softmax regression, with both curves by epoch."""
    run = Training(train[0].shape[1], train[1].max() + 1)
    curves: dict[str, list[float]] = {"train": [], "validation": []}
    for _ in range(epochs):
        curves["train"].append(run.train(*train))
        curves["validation"].append(run.validate(*validation))
    return curves


def fit_without_training_curve(train: Data, validation: Data, epochs: int) -> dict[str, list[float]]:
    """6.19: the training's loss is computed and dropped, and its curve stays empty."""
    run = Training(train[0].shape[1], train[1].max() + 1)
    curves: dict[str, list[float]] = {"train": [], "validation": []}
    for _ in range(epochs):
        run.train(*train)
        curves["validation"].append(run.validate(*validation))
    return curves


def choose_and_test(train: Data, validation: Data, test: Data, epochs: int) -> tuple[int, float]:
    """Right: the epoch with the best validation accuracy, and the test accuracy there: one look, at the end."""
    run = Training(train[0].shape[1], train[1].max() + 1)
    best, chosen, kept = -1.0, 0, {}
    for epoch in range(epochs):
        run.train(*train)
        if (accuracy := _accuracy(run.parameters, validation)) > best:
            best, chosen = accuracy, epoch
            kept = {name: p.copy() for name, p in run.parameters.items()}
    return chosen, _accuracy(kept, test)


def choose_by_test(train: Data, validation: Data, test: Data, epochs: int) -> tuple[int, float]:
    """6.21: the test set is looked at after each epoch, and the best look is the result."""
    run = Training(train[0].shape[1], train[1].max() + 1)
    best, chosen = -1.0, 0
    for epoch in range(epochs):
        run.train(*train)
        if (accuracy := _accuracy(run.parameters, test)) > best:
            best, chosen = accuracy, epoch
    return chosen, best


def fit_and_stop(train: Data, validation: Data, epochs: int) -> tuple[dict[str, list[float]], int]:
    """Right: the curves of a sigmoid network, and the epoch to take: where the validation loss is lowest."""
    curves = _overfit(train, validation, epochs)
    return curves, int(np.argmin(curves["validation_loss"]))


def fit_to_the_end(train: Data, validation: Data, epochs: int) -> tuple[dict[str, list[float]], int]:
    """6.23: the last epoch is taken, for the accuracy is as good as ever; the loss, long rising, is not asked."""
    return _overfit(train, validation, epochs), epochs - 1


def _overfit(train: Data, validation: Data, epochs: int) -> dict[str, list[float]]:
    """A network with far more parameters than samples, by full batches."""
    (x, t), rng = train, np.random.default_rng(0)
    n, classes = x.shape[1], t.max() + 1
    W1, W2 = rng.normal(size=(n, 100)) / np.sqrt(n), rng.normal(size=(100, classes)) / 10
    curves: dict[str, list[float]] = {"train_loss": [], "validation_loss": [], "validation_accuracy": []}
    for _ in range(epochs):
        for _ in range(5):
            h = sigmoid(x @ W1)
            d2 = (softmax(h @ W2) - np.eye(classes)[t]) / len(x)
            d1 = d2 @ W2.T * h * (1 - h)
            W1, W2 = W1 - 0.5 * x.T @ d1, W2 - 0.5 * h.T @ d2
        for name, (u, s) in (("train", train), ("validation", validation)):
            y = softmax(sigmoid(u @ W1) @ W2)
            curves[f"{name}_loss"].append(float(-np.log(y[np.arange(len(s)), s]).mean()))
        curves["validation_accuracy"].append(float((y.argmax(axis=1) == s).mean()))
    return curves


def compare_batch_sizes(data: Data, sizes: tuple[int, ...] = (10, 100)) -> dict[int, dict[str, Any]]:
    """Right: as many updates for each batch size, and several runs of each."""
    return {
        size: {"updates": 100, "losses": [_run(data, size, updates=100, seed=seed) for seed in range(5)]}
        for size in sizes
    }


def compare_batch_sizes_by_epochs(data: Data, sizes: tuple[int, ...] = (10, 100)) -> dict[int, dict[str, Any]]:
    """6.24: as many epochs for each, which is ten times as many updates for one of them; and one run of each."""
    counts = {size: 5 * len(data[0]) // size for size in sizes}
    return {
        size: {"updates": updates, "losses": [_run(data, size, updates, seed=0)]} for size, updates in counts.items()
    }


def _run(data: Data, size: int, updates: int, seed: int) -> float:
    (x, t), rng = data, np.random.default_rng(seed)
    p = {"W": rng.normal(size=(x.shape[1], t.max() + 1)), "b": np.zeros(t.max() + 1)}
    for _ in range(updates):
        rows = rng.choice(len(x), size, replace=False)
        _, gradients = softmax_regression(p, x[rows], t[rows])
        p = {name: p[name] - 0.1 * gradients[name] for name in p}
    return softmax_regression(p, x, t)[0]
