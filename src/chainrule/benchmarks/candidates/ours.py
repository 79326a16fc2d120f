"""chainrule as people use it: a Trainer's `fit`, and `predict`."""

from __future__ import annotations

import time
from typing import Any

import chainrule as cr
from chainrule import nn, optim
from chainrule.benchmarks.run import Run, UnavailableError
from chainrule.benchmarks.works import KERNEL, POOL, Array, Problem
from chainrule.train import Callback, Scores

_ACTIVATIONS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "tanh": nn.Tanh}


def compiled(problem: Problem) -> Run:
    """Trained by machine code."""
    return _training(problem, "numba")


def plan(problem: Problem) -> Run:
    """Trained by planned NumPy calls."""
    return _training(problem, "numpy")


def eager(problem: Problem) -> Run:
    """Trained op by op."""
    return _training(problem, "eager")


def prediction(problem: Problem) -> Run:
    """The outputs, by `predict` in machine code."""
    network, x = model(problem), problem.x[: problem.work.batch]

    def go(times: int) -> None:
        for _ in range(times * problem.steps):
            network.predict(x, backend="numba")

    return Run(go, lambda: [network.predict(x, backend="numba")])


def model(problem: Problem) -> nn.Sequential:
    """The network with the weights that everybody begins with."""
    activation = _ACTIVATIONS[problem.work.activation]
    convolutional: list[nn.Module] = []
    layers: list[nn.Module] = []
    for weight, bias in zip(problem.weights, problem.biases, strict=True):
        start: Any = {"weight_init": _given(weight), "bias_init": _given(bias), "dtype": weight.dtype}
        if weight.ndim == 4:
            outputs, inputs = weight.shape[:2]
            convolutional += nn.Conv2d(inputs, outputs, KERNEL, **start), activation(), nn.MaxPool2d(POOL)
        else:
            layers += [nn.Linear(*weight.shape, **start), activation()]
    flat = [nn.Flatten()] if convolutional else []
    return nn.Sequential(*convolutional, *flat, *layers[:-1])


def _given(values: Array) -> nn.init.Initializer:
    return lambda shape, rng: values.copy()


def _training(problem: Problem, backend: str) -> Run:
    network, work = model(problem), problem.work
    sgd = optim.SGD(network.parameters(), lr=work.lr, momentum=work.momentum)
    clock = _Clock()
    trainer = cr.Trainer(network, nn.CrossEntropyLoss(), sgd, callbacks=[clock], backend=backend)

    def go(epochs: int) -> None:
        clock.ends.clear()
        trainer.fit(
            problem.data,
            epochs=epochs,
            batch_size=None if work.batch >= len(problem.data) else work.batch,
            shuffle=problem.shuffle,
            evaluate_every=None,
            progress=False,
        )
        if trainer.backend != backend:
            raise UnavailableError(f"its steps were computed by the backend '{trainer.backend}' instead")

    def watch(epochs: int) -> float:
        go(epochs + 1)
        return clock.ends[-1] - clock.ends[0]

    return Run(go, lambda: [p.numpy() for p in network.parameters()], watch)


class _Clock(Callback):
    """When each epoch has ended: a fit makes its step ready before the first, as others do when they are made."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_epoch_end(self, trainer: cr.Trainer, epoch: int, scores: dict[str, Scores]) -> None:
        self.ends.append(time.perf_counter())
