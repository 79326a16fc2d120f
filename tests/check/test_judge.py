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


def relu_network(relu):
    def forward(W1, b1, W2, x):
        h = relu(x @ W1 + b1)
        return np.tanh(h @ W2).sum()

    return forward


def relu_by_hand(slope, k=1.0):
    def backward(W1, b1, W2, x):
        a = x @ W1 + b1
        h = np.maximum(a, 0)
        d = 1 - np.tanh(h @ W2) ** 2
        da = d @ W2.T * slope(a) * k
        return x.T @ da, da.sum(axis=0), h.T @ d, None

    return backward


RELUS = [
    lambda a: np.maximum(a, 0),
    lambda a: np.maximum(0, a),
    lambda a: np.where(a > 0, a, 0),
    lambda a: a * (a >= 0),
    lambda a: np.array(a.tolist()).clip(0),  # cannot be recorded
]
CONVENTIONS = [lambda a: a > 0, lambda a: a >= 0, lambda a: (a > 0) + 0.5 * (a == 0)]


@pytest.mark.parametrize("relu", RELUS)
@pytest.mark.parametrize("slope", CONVENTIONS)
def test_weights_that_are_zero_before_a_relu(relu, slope):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        inputs = np.zeros((4, 5)), np.zeros(5), rng.normal(size=(5, 3)), rng.normal(size=(8, 4))
        report = check.backward(relu_network(relu), relu_by_hand(slope), inputs, seed=seed)
        assert [f.verdict for f in report.findings] == ["kink", "kink", "right"], str(report)
        assert all(f.correct is None and f.worst is not None for f in report.findings[:2])
        assert "correct" not in str(report)


def test_a_kink_is_said_with_its_element_and_line():
    x = np.array([2.0, 0.0, -1.0])
    report = check.backward(lambda x: np.abs(x).sum(), np.sign, x)
    line = test_a_kink_is_said_with_its_element_and_line.__code__.co_firstlineno + 2
    assert (
        "dx kink at [1]: yours 0, the slope is -1 on the left and 1 on the right, "
        f"because of a tie in test_judge.py, line {line}; move the inputs off it to check this." in str(report)
    )


@pytest.mark.parametrize("relu", RELUS[:4])
def test_a_sample_of_zeros_does_not_hide_what_is_wrong(relu):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 4))
    x[3] = 0
    inputs = rng.normal(size=(4, 5)), np.zeros(5), rng.normal(size=(5, 3)), x
    for slope in CONVENTIONS:
        report = check.backward(relu_network(relu), relu_by_hand(slope), inputs)
        assert [f.verdict for f in report.findings] == ["right", "kink", "right"], str(report)
        assert check.backward(relu_network(relu), relu_by_hand(slope, 3), inputs).verdict == "wrong"


def root(x):
    return np.sqrt(x).sum()


@pytest.mark.parametrize(
    ("backward", "verdict", "words"),
    [
        (lambda x: 0.5 / np.sqrt(x), "kink", "dx kink at [0]: yours inf, the derivative is infinite there"),
        (lambda x: np.where(x > 0, 0.5 / np.sqrt(x), 0), "kink", "yours 0, the derivative is infinite there"),
        (lambda x: 0.5 * np.sqrt(x) / x, "wrong", "yours nan, the derivative is infinite there."),
        (lambda x: 0.7 / np.sqrt(x), "wrong", "ratio 1.4"),
        (lambda x: np.full(3, np.inf), "wrong", "2 elements are not finite"),
    ],
)
def test_where_the_derivative_is_infinite(backward, verdict, words):
    report = check.backward(root, backward, np.array([0.0, 1.0, 2.0]))
    assert report.verdict == verdict
    assert words in str(report)
    assert "correct nan" not in str(report)


def test_the_librarys_own_derivative_where_it_is_infinite():
    with pytest.raises(check.GradientError, match="chainrule's inf, the derivative is infinite there"):
        check.gradients(root, np.array([0.0, 1.0, 2.0]))


def test_an_infinite_gradient_of_a_finite_one_has_no_cause():
    report = check.backward(lambda x: (x**2).sum(), lambda x: np.where(x > 1, np.inf, 2 * x), np.array([0.5, 1.5]))
    assert report.verdict == "wrong"
    assert not report.causes
    assert "1 element is not finite" in str(report)
