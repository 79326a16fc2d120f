"""scikit-learn's MLPClassifier: an epoch is a `partial_fit` on all samples, with neither momentum nor penalty."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from chainrule.benchmarks.run import Run
from chainrule.benchmarks.works import Problem

_ACTIVATIONS = {"sigmoid": "logistic", "relu": "relu", "tanh": "tanh"}


def training(problem: Problem) -> Run:
    """`partial_fit`, which goes through the samples once."""
    x, t, model = problem.x, problem.t, _model(problem)

    def go(epochs: int) -> None:
        for _ in range(epochs):
            model.partial_fit(x, t)

    def result() -> list[Any]:
        return [p for pair in zip(model.coefs_, model.intercepts_, strict=True) for p in pair]

    return Run(go, result)


def prediction(problem: Problem) -> Run:
    """`predict_proba`, the nearest that there is to the outputs; the result is its logarithm."""
    model, x = _model(problem), problem.x[: problem.work.batch]

    def go(times: int) -> None:
        for _ in range(times * problem.steps):
            model.predict_proba(x)

    return Run(go, lambda: [np.log(model.predict_proba(x))])


def _model(problem: Problem) -> Any:
    work = problem.work
    model = MLPClassifier(
        work.layers[1:-1],
        activation=_ACTIVATIONS[work.activation],
        solver="sgd",
        alpha=0.0,
        batch_size=min(work.batch, len(problem.data)),
        learning_rate_init=work.lr,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=problem.shuffle,
        random_state=0,
    )
    # It makes its weights in a first step; then they are those that everybody begins with.
    some = slice(model.batch_size)
    model.partial_fit(problem.x[some], problem.t[some], classes=np.arange(work.layers[-1]))
    for own, given in zip((*model.coefs_, *model.intercepts_), (*problem.weights, *problem.biases), strict=True):
        own[...] = given
    return model
