"""VU Amsterdam, Deep Learning 2020, assignment 1: the derivatives of softmax and cross-entropy, and a network on single
numbers whose every value and every derivative the report prints. Its trainings are in `vu_a1_training.py`, and what is
compared and drawn of them in `vu_a1_results.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from chainrule import scalar
from chainrule.lab.experiment import Experiment, Report, Result, Results
from chainrule.lab.reports import vu_a1_results, vu_a1_training
from chainrule.lab.reports.vu_a1_training import affine
from chainrule.lab.verdict import Judge, Row
from chainrule.scalar import Number

judge = Judge("vu-a1")
Array = np.ndarray[Any, np.dtype[np.float64]]

# The network of question 2 and its only sample.
W = [[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]
V = [[1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]]
B = [0.0, 0.0, 0.0]
C = [0.0, 0.0]
X = [1.0, -1.0]
T = [1.0, 0.0]

# Tables 1 and 2. The report cuts its numbers off after seven digits (sigmoid(2) is .88079708); what it prints shorter
# is exact, so it is compared to the same seven. Its loss has three digits.
TABLE_1: dict[str, Any] = {
    "k1": ["2.0000000"] * 3,
    "h": [".8807970"] * 3,
    "k2": ["-.8807970"] * 2,
    "y": [".5000000"] * 2,
    "loss": ".693",
}
TABLE_2: dict[str, Any] = {
    "dW": [["0.0000000"] * 3] * 2,
    "db": ["0.0000000"] * 3,
    "dV": [["-.4403985", ".4403985"]] * 3,
    "dc": ["-.5000000", ".5000000"],
}

# Question 1, with y = softmax(o) and l = -Σ t ln y. A derivative is right if it differs from the formula by less than
# what twelve decimals show.
ENGINES = {"derivatives on single numbers": "single numbers", "derivatives on arrays": "arrays"}
ZERO = "0.000000000000"


def experiments(quick: bool) -> list[Experiment]:
    """The small questions take no time: of them, quick and whole are the same."""
    return [
        *vu_a1_training.experiments(quick),
        Experiment("derivatives on single numbers", derivatives_on_single_numbers),
        Experiment("derivatives on arrays", derivatives_on_arrays),
        Experiment("network", network),
    ]


def derivatives_on_single_numbers() -> Result:
    """How far the scalar engine is from the formulas of question 1."""

    def dy_do(o: Array) -> Array:
        jacobian = []
        for i in range(len(o)):
            logits = [Number(each) for each in o]
            scalar.softmax(logits)[i].backward()
            jacobian.append([each.grad for each in logits])
        return np.array(jacobian)

    def dl_dy(y: Array, t: Array) -> Array:
        outputs = [Number(each) for each in y]
        _cross_entropy(outputs, t).backward()
        return np.array([each.grad for each in outputs])

    def dl_do(o: Array, t: Array) -> Array:
        logits = [Number(each) for each in o]
        _cross_entropy(scalar.softmax(logits), t).backward()
        return np.array([each.grad for each in logits])

    return _differences(dy_do, dl_dy, dl_do)


def derivatives_on_arrays() -> Result:
    """How far the array engine is from the formulas of question 1, with the report's own definitions."""
    import chainrule as cr

    def softmax(o: Any) -> Any:
        return np.exp(o) / np.exp(o).sum()

    def loss(y: Any, t: Array) -> Any:
        return -(t * np.log(y)).sum()

    return _differences(
        cr.jacobian(softmax),
        cr.grad(loss),
        cr.grad(lambda o, t: loss(softmax(o), t)),
    )


def network() -> Result:
    """Run the network of question 2 forward and backward on single numbers: every value of tables 1 and 2."""
    w, v = [[Number(each) for each in row] for row in W], [[Number(each) for each in row] for row in V]
    b, c = [Number(each) for each in B], [Number(each) for each in C]
    k1 = affine(X, w, b)
    h = [scalar.sigmoid(each) for each in k1]
    k2 = affine(h, v, c)
    y = scalar.softmax(k2)
    loss = _cross_entropy(y, T)
    loss.backward()
    return {
        "k1": [each.value for each in k1],
        "h": [each.value for each in h],
        "k2": [each.value for each in k2],
        "y": [each.value for each in y],
        "loss": loss.value,
        "dW": [[each.grad for each in row] for row in w],
        "db": [each.grad for each in b],
        "dV": [[each.grad for each in row] for row in v],
        "dc": [each.grad for each in c],
    }


def rows(results: Results, quick: bool) -> Iterator[Row]:
    """Compare: question 1 with its formulas, question 2 with its tables, the trainings with what is printed of them."""
    for experiment, engine in ENGINES.items():
        for formula, difference in results[experiment][0].items():
            yield judge.exact("1.1", f"largest |autodiff − formula| of {formula}, on {engine}", ZERO, difference)
    ours = results["network"][0]
    parameters = sum(len(row) for row in (*W, *V, B, C))
    yield judge.shown("1.2", "parameters of the 2-3-2 network", [parameters], why="W, b, V, c in plain Python")
    for id, table in (("1.3", TABLE_1), ("1.4", TABLE_2)):
        for name in table:
            for entry, reported, value in _entries(name, table[name], ours[name]):
                yield judge.exact(id, entry, reported, value, cut_off=True)
    yield from vu_a1_results.rows(results, quick)


def _entries(name: str, reported: Any, ours: Any) -> Iterator[tuple[str, str, float]]:
    """Each number of a scalar, a row or a matrix, with its place: dV[1][2]."""
    if isinstance(reported, str):
        yield name, reported, ours
    else:
        for number, (one_reported, one_of_ours) in enumerate(zip(reported, ours, strict=True), start=1):
            yield from _entries(f"{name}[{number}]", one_reported, one_of_ours)


def _cross_entropy(y: Sequence[Number], t: Sequence[float] | Array) -> Number:
    """l = -Σ tᵢ ln yᵢ as the report writes it, on probabilities; `scalar.cross_entropy` starts from the logits."""
    return sum((-float(t_i) * scalar.log(y_i) for t_i, y_i in zip(t, y, strict=True)), Number(0.0))


def _differences(
    dy_do: Callable[[Array], Array], dl_dy: Callable[[Array, Array], Array], dl_do: Callable[[Array, Array], Array]
) -> Result:
    """The largest difference of each derivative from its formula, over ten points with five outputs."""
    random = np.random.default_rng(0)
    largest: dict[str, float] = {}

    def compare(formula: str, derivative: Array, expected: Array) -> None:
        largest[formula] = max(largest.get(formula, 0.0), float(np.abs(derivative - expected).max()))

    for _ in range(10):
        o, t = random.normal(size=5), random.dirichlet(np.ones(5))
        y = np.exp(o) / np.exp(o).sum()
        jacobian, other = dy_do(o), ~np.eye(5, dtype=bool)
        compare("∂yᵢ/∂oᵢ = yᵢ(1 − yᵢ)", jacobian.diagonal(), y * (1 - y))
        compare("∂yᵢ/∂oⱼ = −yᵢyⱼ", jacobian[other], -np.outer(y, y)[other])
        compare("∂l/∂yᵢ = −tᵢ/yᵢ", dl_dy(y, t), -t / y)
        compare("∂l/∂oᵢ = yᵢ − tᵢ", dl_do(o, t), y - t)
    return dict(largest)


REPORT = Report(
    "vu-a1",
    "networks trained one sample at a time, their derivatives",
    experiments,
    rows,
    vu_a1_results.figures,
    vu_a1_training.small_network,
)
