"""PyTorch on the CPU, as its tutorials write it: modules, an optimiser, a loop over shuffled batches."""

from __future__ import annotations

from typing import Any

import torch

from chainrule.benchmarks.run import Run
from chainrule.benchmarks.works import Array, Problem

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
    layers: list[Any] = []
    for weight, bias in zip(problem.weights, problem.biases, strict=True):
        if layers:
            layers.append(_ACTIVATIONS[problem.work.activation]())
        inputs, outputs = weight.shape
        layer = torch.nn.Linear(inputs, outputs, dtype=torch.from_numpy(weight).dtype)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight.T.copy()))
            layer.bias.copy_(torch.from_numpy(bias))
        layers.append(layer)
    return torch.nn.Sequential(*layers)


def _training(problem: Problem, model: Any, transform: Any = lambda f: f) -> Run:
    x, t = torch.from_numpy(problem.x), torch.from_numpy(problem.t.copy())
    batch = problem.work.batch
    sgd = torch.optim.SGD(model.parameters(), lr=problem.work.lr)
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
        return [p.detach().numpy().T.copy() for p in model.parameters()]

    return Run(go, result)
