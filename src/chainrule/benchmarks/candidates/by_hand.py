"""What a careful person writes without a library: NumPy for batches, and plain Python for a network of 17 numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.benchmarks.run import Run
from chainrule.benchmarks.works import Array, Problem


def _sigmoid(a: Array) -> Array:
    y: Array = 1 / (1 + np.exp(-a))
    return y


# Each with its derivative, from its value.
_ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "sigmoid": (_sigmoid, lambda y: y * (1 - y)),
    "relu": (lambda a: np.maximum(a, 0), lambda y: y > 0),
    "tanh": (np.tanh, lambda y: 1 - y * y),
}


def training(problem: Problem) -> Run:
    """Forward, backward and update in NumPy."""
    W, b = [w.copy() for w in problem.weights], [v.copy() for v in problem.biases]
    lr = problem.work.lr
    activation, derivative = _ACTIVATIONS[problem.work.activation]
    last = len(W) - 1

    def step(x: Array, t: Array) -> None:
        h = [x]
        for k in range(last):
            h.append(activation(h[k] @ W[k] + b[k]))
        d = error(h[last] @ W[last] + b[last], t)
        d *= lr / len(t)  # the learning rate here, where there are few numbers
        for k in range(last, -1, -1):
            dW, db = h[k].T @ d, d.sum(axis=0)
            if k:
                d = (d @ W[k].T) * derivative(h[k])
            W[k] -= dW
            b[k] -= db

    return Run(epochs_of(problem, problem.x, step), lambda: [p for pair in zip(W, b, strict=True) for p in pair])


def error(scores: Array, t: Array) -> Array:
    """The softmax of scores (n, classes), less 1 where the label is: n times the derivative of the mean cross-entropy.

    It is written over the scores.
    """
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    scores[np.arange(len(t)), t] -= 1
    return scores


def epochs_of(problem: Problem, x: Array, step: Callable[[Array, Array], None]) -> Callable[[int], None]:
    """A function that takes the steps of so many epochs."""
    t, batch, rng = problem.t, problem.work.batch, np.random.default_rng(0)

    def go(epochs: int) -> None:
        for _ in range(epochs):
            if batch >= len(x):
                step(x, t)
                continue
            order = rng.permutation(len(x)) if problem.shuffle else np.arange(len(x))
            for start in range(0, len(x), batch):
                rows = order[start : start + batch]
                step(x[rows], t[rows])

    return go


def plain_python(problem: Problem) -> Run:
    """One sample after another, in lists of floats and `math`."""
    W, V = (w.tolist() for w in problem.weights)
    b, c = (v.tolist() for v in problem.biases)
    samples: list[tuple[list[float], int]] = list(zip(problem.x.tolist(), problem.t.tolist(), strict=True))
    lr, hidden, outputs = problem.work.lr, range(len(b)), range(len(c))
    rng, exp = np.random.default_rng(0), math.exp

    def step(x: list[float], t: int) -> None:
        h = [1 / (1 + exp(-sum([x[i] * row[j] for i, row in enumerate(W)], b[j]))) for j in hidden]
        o = [sum([h[j] * V[j][k] for j in hidden], c[k]) for k in outputs]
        top = max(o)
        e = [exp(each - top) for each in o]
        total = sum(e)
        d = [lr * (e[k] / total - (k == t)) for k in outputs]
        for j in hidden:
            row, y = V[j], h[j]
            dj = y * (1 - y) * sum([d[k] * row[k] for k in outputs])
            for k in outputs:
                row[k] -= y * d[k]
            b[j] -= dj
            for i, each in enumerate(x):
                W[i][j] -= each * dj
        for k in outputs:
            c[k] -= d[k]

    def go(epochs: int) -> None:
        for _ in range(epochs):
            for i in rng.permutation(len(samples)).tolist() if problem.shuffle else range(len(samples)):
                step(*samples[i])

    return Run(go, lambda: [np.array(p) for p in (W, b, V, c)])


def prediction(problem: Problem) -> Run:
    """The outputs, in NumPy."""
    W, b, x = problem.weights, problem.biases, problem.x[: problem.work.batch]
    activation: Any = _ACTIVATIONS[problem.work.activation][0]

    def outputs() -> Array:
        h = x
        for weight, bias in zip(W[:-1], b[:-1], strict=True):
            h = activation(h @ weight + bias)
        y: Array = h @ W[-1] + b[-1]
        return y

    def go(times: int) -> None:
        for _ in range(times * problem.steps):
            outputs()

    return Run(go, lambda: [outputs()])
