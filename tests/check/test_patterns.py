"""Causes that numbers alone show."""

import numpy as np
import pytest

from chainrule.check.derivatives.patterns import cause_of, constant_ratio, in_part, known_numbers

RNG = np.random.default_rng(0)
G = RNG.normal(size=(4, 4))
SIZES = {"batch size": 50.0, "number of outputs": 10.0, "the learning rate": 0.1}


def cause(yours, correct=G, point=None, sizes=SIZES):
    return cause_of(
        "W", np.asarray(yours, float), correct, np.ones(correct.shape) if point is None else point, sizes, 1e-6
    )


@pytest.mark.parametrize(
    ("ratio", "kind", "words"),
    [
        (-1, "sign", "the sign is wrong"),
        (50, "factor", "ratio 50 = batch size everywhere: 1/N is missing."),
        (1 / 50, "factor", "1/batch size everywhere: 1/N is there once too often."),
        (2, "factor", "ratio 2 everywhere: a factor 1/2 is missing."),
        (0.5, "factor", "a factor 2 is missing"),
        (10, "factor", "number of outputs"),
        (500, "factor", "batch size · number of outputs"),
        (-50, "factor", "And the sign is wrong."),
        (0.1, "factor", "number of outputs"),
        (0.317, "factor", "a constant factor"),
    ],
)
def test_ratios(ratio, kind, words):
    found = cause(ratio * G)
    assert found.kind == kind
    assert words in found.sentence


def test_shapes():
    d = RNG.normal(size=(7, 3))
    assert cause(G.T).kind == "transpose"
    assert cause(d.T, d).kind == "transpose"
    assert cause(d, d.sum(axis=0)).kind == "missing sum"
    assert "axis 0" in cause(d, d.sum(axis=0)).sentence
    assert cause(d.sum(axis=1), d.sum(axis=0)).kind == "wrong axis"
    assert cause(np.float64(d.sum()), d.sum(axis=0)).kind == "wrong axis"
    assert cause(RNG.normal(size=(7, 4)), d) is None


def test_what_is_missing_or_too_much():
    W = RNG.normal(size=(4, 4))
    assert cause(G - 0.01 * W, point=W).kind == "other loss"
    assert "0.01 · W is missing" in cause(G - 0.01 * W, point=W).sentence
    rows = G.copy()
    rows[:2] = 0
    assert cause(rows).kind == "overwritten"
    assert cause(RNG.normal(size=(4, 4))) is None


def test_some_elements_of_a_gradient_known():
    correct = np.where(RNG.random((4, 4)) < 0.5, G, np.nan)
    assert cause(-G, correct).kind == "sign"
    assert constant_ratio(3 * G, correct, 1e-6) == pytest.approx(3)


def test_elements_that_are_off_beside_others_that_are_right():
    yours = np.where(G > 0, G, 0.1 * G)
    assert in_part(yours, G, 1e-6).kind == "factor"
    assert in_part(np.where(G > 0, G, -G), G, 1e-6).kind == "sign"
    assert in_part(RNG.normal(size=(4, 4)), G, 1e-6) is None


def test_numbers_that_a_factor_may_come_from():
    leaves = {"W": np.zeros((784, 10)), "x": np.zeros((50, 784)), "t": np.zeros(50, int)}
    found = known_numbers(leaves, (), 0.1)
    assert found["batch size"] == 50
    assert found["the learning rate"] == 0.1
    assert 10 in found.values()
