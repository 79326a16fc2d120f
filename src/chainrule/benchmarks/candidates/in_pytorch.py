"""PyTorch on the CPU, as its tutorials write it: modules, an optimiser, a loop over shuffled batches."""

from __future__ import annotations

from typing import Any

import torch

from chainrule.benchmarks.run import Run
from chainrule.benchmarks.works import KERNEL, POOL, Array, Problem

_ACTIVATIONS = {"sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}


def training(problem: Problem) -> Run:
    """Eager mode."""
    return _training(problem, _model(problem))


def training_compiled(problem: Problem) -> Run:
    """By `torch.compile`."""
    return _training(problem, _model(problem), torch.compile)


def prediction(problem: Problem) -> Run:
    """The outputs, in inference mode."""
    model, x = _model(problem), torch.from_numpy(problem.x[: problem.work.batch])

    def go(times: int) -> None:
        with torch.inference_mode():
            for _ in range(times * problem.steps):
                model(x)

    def result() -> list[Array]:
        with torch.inference_mode():
            return [model(x).numpy()]

    return Run(go, result)


def _model(problem: Problem) -> Any:
    activation = _ACTIVATIONS[problem.work.activation]
    convolutional: list[Any] = []
    layers: list[Any] = []
    for weight, bias in zip(problem.weights, problem.biases, strict=True):
        if weight.ndim == 4:
            layer = _given(torch.nn.Conv2d, *weight.shape[1::-1], KERNEL, weight=weight, bias=bias)
            convolutional += layer, activation(), torch.nn.MaxPool2d(POOL)
        else:
            layers += _given(torch.nn.Linear, *weight.shape, weight=weight.T, bias=bias), activation()
    flat = [torch.nn.Flatten()] if convolutional else []
    return torch.nn.Sequential(*convolutional, *flat, *layers[:-1])


def _given(kind: Any, *sizes: int, weight: Array, bias: Array) -> Any:
    layer = kind(*sizes, dtype=torch.from_numpy(bias).dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.copy()))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


def _training(problem: Problem, model: Any, transform: Any = lambda f: f) -> Run:
    x, t = torch.from_numpy(problem.x), torch.from_numpy(problem.t.copy())
    work, batch = problem.work, problem.work.batch
    sgd = torch.optim.SGD(model.parameters(), lr=work.lr, momentum=work.momentum)
    loss, forward = torch.nn.CrossEntropyLoss(), transform(model)

    def step(x: Any, t: Any) -> None:
        sgd.zero_grad()
        loss(forward(x), t).backward()
        sgd.step()

    def go(epochs: int) -> None:
        for _ in range(epochs):
            if batch >= len(x):
                step(x, t)
                continue
            order = torch.randperm(len(x)) if problem.shuffle else torch.arange(len(x))
            for start in range(0, len(x), batch):
                rows = order[start : start + batch]
                step(x[rows], t[rows])

    def result() -> list[Array]:
        parameters = [p.detach().numpy() for p in model.parameters()]
        return [(p.T if p.ndim == 2 else p).copy() for p in parameters]

    return Run(go, result)
