"""A recorded backward pass that can be made wrong in single places."""

import numpy as np
import pytest

from chainrule import grad, trace
from chainrule.check.derivatives.tape import Tape, regions

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(5, 4)), RNG.normal(size=(4, 3))


def loss(x, W):
    h = 1 / (1 + np.exp(-(x @ W)))
    e = np.exp(h - h.max(axis=1, keepdims=True))
    return -np.log((e / e.sum(axis=1, keepdims=True))[:, 0]).mean()


def tape(f=loss, point=(X, W), wrt=None):
    return Tape(trace(f, *point), point, [1.0], wrt)


def test_its_gradients_are_the_engines():
    dx, dW = grad(loss, (0, 1))(X, W)
    made = tape()
    assert made.gradients["x"] == pytest.approx(dx)
    assert made.gradients["W"] == pytest.approx(dW)
    assert [*tape(wrt=["W"]).gradients] == ["W"]


def test_a_rule_is_replaced():
    made = tape()
    (i,) = [i for i, e in enumerate(made.equations) if e.op.name == "matmul"]
    changed = made.changed({i: lambda g: [(x, -d) for x, d in made.standard(i, g)]}, {})
    assert changed["W"] == pytest.approx(-made.gradients["W"])


def test_contributions_are_put_together_in_another_way():
    made = tape(lambda x: (x * x + np.sin(x)).sum(), (X,))
    (v,) = made.inputs
    changed = made.changed({}, {v: lambda parts: parts[0][1]})
    assert changed["x"] == pytest.approx(np.cos(X))


def test_the_maximum_of_a_softmax_is_a_constant():
    made = tape()
    assert [made.equations[i].op.name for i in made.still] == ["max"]
    other = tape(lambda x: x.max(axis=1).sum(), (X,))
    assert not other.still


def test_element_wise_functions_are_found_as_one():
    made = tape(lambda x: (1 / (1 + np.exp(-x))).sum(), (X,))
    whole = max(regions(made), key=lambda r: len(r.equations))
    s = 1 / (1 + np.exp(-X))
    assert whole.u is made.inputs[0]
    assert whole.derivative() == pytest.approx(s * (1 - s))
    assert whole.derivative(np.zeros_like(X)) == pytest.approx(0.25)
