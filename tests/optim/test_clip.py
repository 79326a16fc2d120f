"""Gradient clipping: by the norm of all gradients, and element by element."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ChainruleError
from chainrule.optim.clip import norm


def parameters(*gradients, dtype=np.float64):
    made = []
    for g in gradients:
        p = cr.tensor(np.zeros(np.shape(g) if g is not None else 2, dtype), requires_grad=True)
        p.grad = None if g is None else np.array(g, dtype)
        made.append(p)
    return made


def test_the_norm_is_that_of_all_gradients_together_and_the_direction_is_kept():
    p, q, without = parameters([3.0, 0.0], [[4.0]], None)
    assert optim.clip_norm([p, q, without], 1.0) == 5.0
    np.testing.assert_allclose(p.grad, [0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(q.grad, [[0.8]], rtol=1e-6)
    assert without.grad is None


def test_a_norm_within_the_limit_changes_no_bit():
    p, q = parameters([3.0, 0.1], [[4.0]])
    optim.clip_norm([p, q], 5.5)
    np.testing.assert_array_equal(p.grad, [3.0, 0.1])
    np.testing.assert_array_equal(q.grad, [[4.0]])


def test_clipping_by_value():
    p, q = parameters([3.0, -0.2], [[-4.0]])
    optim.clip_value([p, q], 0.5)
    np.testing.assert_array_equal(p.grad, [0.5, -0.2])
    np.testing.assert_array_equal(q.grad, [[-0.5]])


def test_float32_stays_float32():
    (p,) = parameters([3.0, 4.0], dtype=np.float32)
    optim.clip_norm([p], np.float64(1))
    optim.clip_value([p], np.float64(0.5))
    assert p.grad.dtype == np.float32


@pytest.mark.parametrize("size", [1e-30, 1e-25, 1.0, 1e25])
def test_the_norm_of_float32_gradients_whose_squares_leave_float32(size):
    assert norm(np.array([3, 4], np.float32) * np.float32(size)) == pytest.approx(5 * size, rel=1e-6)


def test_the_norm_of_nothing_and_of_what_is_not_finite():
    assert norm(np.zeros(3)) == 0
    assert norm(np.zeros((0, 3))) == 0
    assert norm(np.array([1, math.inf])) == math.inf
    assert math.isnan(norm(np.array([1, math.nan])))


def test_a_norm_that_is_not_finite_leaves_the_gradients():
    (p,) = parameters([1.0, math.inf])
    assert optim.clip_norm([p], 1.0) == math.inf
    np.testing.assert_array_equal(p.grad, [1.0, math.inf])


@pytest.mark.parametrize("clip", [optim.clip_norm, optim.clip_value])
@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), None])
def test_a_limit_that_is_not_positive_is_refused(clip, limit):
    with pytest.raises(ChainruleError, match=f"{clip.__name__}: limit is .*; expected a positive number"):
        clip(parameters([1.0]), limit)


@pytest.mark.parametrize("clip", [optim.clip_norm, optim.clip_value])
def test_a_model_in_place_of_its_parameters_is_refused(clip):
    with pytest.raises(ChainruleError, match=r"was given a Linear; pass model\.parameters\(\)"):
        clip(nn.Linear(2, 2), 1.0)
