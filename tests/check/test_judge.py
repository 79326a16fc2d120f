"""Verdicts where elements differ much in size, and where a loss has no derivative."""

import numpy as np
import pytest

from chainrule import check


def scales(seed, scale=3000.0, size=50):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=size)
    X = np.stack([scale * z, np.ones(size)], axis=1)
    return rng.normal(size=2), X, 2 * z + 1


def squares(w, X, y):
    return ((X @ w - y) ** 2).mean()


def squares_by_hand(factor=1.0):
    def backward(w, X, y):
        g = 2 * X.T @ (X @ w - y) / len(y)
        g[1] *= factor
        return g, None, None

    return backward


@pytest.mark.parametrize("scale", [300.0, 3e3, 3e4])
@pytest.mark.parametrize("factor", [-1, 0, 1.2, 50])
def test_a_wrong_element_beside_a_much_larger_one(scale, factor):
    for seed in range(5):
        inputs = scales(seed, scale)
        report = check.backward(squares, squares_by_hand(factor), inputs)
        assert report.verdict == "wrong"
        assert report.findings[0].worst == (1,)
        assert report.findings[0].ratio == pytest.approx(factor, abs=1e-3)
        assert check.backward(squares, squares_by_hand(), inputs)


def test_a_wrong_sign_beside_a_much_larger_element_is_named():
    w, X, y = scales(0, 3e4)
    report = check.backward(squares, squares_by_hand(-1), (w, X, y))
    assert "ratio -1. The sign is wrong there; the large elements are right." in str(report)


def test_one_small_element_among_many_without_complex_numbers():
    def loss(w, x):
        return float(np.sum(np.array(x @ w, dtype=float) ** 2))

    def backward(w, x, wrong=True):
        g = 2 * x.T @ (x @ w)
        g[7] *= -1 if wrong else 1
        return g, None

    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 60))
    x[:, 7] *= 1e-3
    w = rng.normal(size=60)
    assert check.backward(loss, backward, (w, x)).findings[0].worst == (7,)
    assert check.backward(loss, lambda w, x: backward(w, x, wrong=False), (w, x))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_rounding_makes_of_a_zero_is_no_error(dtype):
    """A shift before a softmax has the gradient 0, of which sums of large numbers leave something."""

    def softmax(o):
        e = np.exp(o - o.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def loss(W, b, c, x, t):
        y = softmax(x @ W + b + c)  # c is the same for all outputs
        return -np.log(y[np.arange(len(t)), t]).mean()

    def backward(W, b, c, x, t):
        d = softmax(x @ W + b + c)
        d[np.arange(len(t)), t] -= 1
        d /= len(t)
        return x.T @ d, d.sum(axis=0), np.array([d.sum()])

    for seed in range(20):
        rng = np.random.default_rng(seed)
        W, b, c = rng.normal(size=(6, 4)), rng.normal(size=4), np.ones(1)
        x = rng.normal(size=(30, 6)) * np.array([1e4, 1, 1, 1e-4, 1e3, 0]) / 1e4
        inputs = [a.astype(dtype) for a in (W, b, c, x)]
        assert check.backward(loss, backward, (*inputs, rng.integers(4, size=30)), seed=seed)


def test_sums_in_which_large_numbers_cancel():
    def loss(w, x):
        return (x * w).sum() - (x[::-1] * w[0]).sum() + (w**2).sum()

    def backward(w, x):
        g = x + 2 * w
        for v in x:
            g[0] -= v
        return g, None

    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=40) * 1e8
        x[0] = 0.0
        x[1] -= x.sum()
        assert check.backward(loss, backward, (rng.normal(size=40), x), seed=seed)
