"""Causes: each mistake is made by hand, in code of one's own, and is to be named with its line."""

import numpy as np
import pytest

from chainrule import check
from chainrule.check.derivatives import causes
from chainrule.lab.defects.derivatives import sigmoid, softmax

CLASSES = 3


def point(seed=0, batch=5):
    rng = np.random.default_rng(seed)
    return {
        "W1": rng.normal(size=(4, 6)),
        "b1": rng.normal(size=6),
        "W2": rng.normal(size=(6, CLASSES)),
        "b2": rng.normal(size=CLASSES),
        "x": rng.normal(size=(batch, 4)),
        "t": rng.integers(CLASSES, size=batch),
    }


def relu(a):
    return np.maximum(a, 0)


def logistic(a):
    return 1 / (1 + np.exp(-a))


def network(activation):
    def forward(W1, b1, W2, b2, x, t):
        h = activation(x @ W1 + b1)
        y = softmax(h @ W2 + b2)
        return float(-np.log(y[np.arange(len(x)), t]).mean())

    return forward


def by_hand(activation, slope=lambda a, h, g: 1 - h**2, error=lambda y, t: (y - np.eye(CLASSES)[t]) / len(t), **wrong):
    def backward(W1, b1, W2, b2, x, t):
        a = x @ W1 + b1
        h = activation(a)
        d2 = error(softmax(h @ W2 + b2), t)
        dh = wrong.get("to_hidden", lambda d, W, g: d @ W.T)(d2, W2, h.T @ d2)
        d1 = dh * slope(a, h, dh)
        dW2 = wrong.get("dW2", lambda a, h, d: h.T @ d)(a, h, d2)
        reduce = wrong.get("reduce", lambda d: d.sum(axis=0))
        return {"dW1": x.T @ d1, "db1": reduce(d1), "dW2": dW2, "db2": reduce(d2)}

    return backward


def kinds(report):
    assert report.verdict == "wrong"
    return {cause.kind for cause in report.causes}


@pytest.mark.parametrize(
    ("activation", "slope", "kind"),
    [
        (np.tanh, lambda a, h, g: 1.0, "missing activation derivative"),
        (np.tanh, lambda a, h, g: 1 - a**2, "wrong point"),
        (np.tanh, lambda a, h, g: 1 - np.tanh(h) ** 2, "wrong point"),
        (np.tanh, lambda a, h, g: 1 + h**2, "sign"),
        (np.tanh, lambda a, h, g: h**2 - 1, "sign"),
        (np.tanh, lambda a, h, g: 2 * (1 - h**2), "factor"),
        (logistic, lambda a, h, g: 1.0, "missing activation derivative"),
        (logistic, lambda a, h, g: h, "missing activation derivative"),
        (logistic, lambda a, h, g: a * (1 - a), "wrong point"),
        (logistic, lambda a, h, g: 1 - h**2, "wrong point"),
        (relu, lambda a, h, g: 1.0, "missing activation derivative"),
        (relu, lambda a, h, g: g > 0, "wrong point"),
    ],
)
def test_activations(activation, slope, kind):
    report = check.backward(network(activation), by_hand(activation, slope), point())
    assert kinds(report) == {kind}
    assert [f.verdict for f in report.findings] == ["wrong", "wrong", "right", "right"]


def test_the_line_is_named():
    report = check.backward(network(np.tanh), by_hand(np.tanh, lambda a, h, g: 1.0), point())
    line = network.__code__.co_firstlineno + 2
    assert f"the derivative of the tanh of test_causes.py, line {line} is missing" in report.causes[0].sentence
    assert report.causes[0].line == f"test_causes.py, line {line}"


def test_a_saved_value_from_before_the_activation():
    report = check.backward(network(np.tanh), by_hand(np.tanh, dW2=lambda a, h, d: a.T @ d), point())
    assert kinds(report) == {"wrong point"}
    assert [f.name for f in report.findings if f.verdict == "wrong"] == ["W2"]


@pytest.mark.parametrize(
    ("reduce", "kind"),
    [
        (lambda d: d.mean(axis=0), "factor"),
        (lambda d: d, "missing sum"),
        (lambda d: d.sum(axis=1), "wrong axis"),
        (lambda d: d[0], "missing sum"),
    ],
)
def test_bias_sums(reduce, kind):
    report = check.backward(network(np.tanh), by_hand(np.tanh, reduce=reduce), point())
    assert kinds(report) == {kind}
    assert [f.name for f in report.findings if f.verdict == "wrong"] == ["b1", "b2"]


def test_the_gradient_of_another_loss():
    def squared(y, t):
        return y - np.eye(CLASSES)[t]

    def forward(W1, b1, W2, b2, x, t):
        y = softmax(np.tanh(x @ W1 + b1) @ W2 + b2)
        return ((y - np.eye(CLASSES)[t]) ** 2).sum()

    report = check.backward(forward, by_hand(np.tanh, error=squared), point())
    assert kinds(report) == {"other loss"}


def test_a_square_weight_needs_its_transpose():
    def forward(x, W, V):
        return np.tanh(x @ W) @ V

    def backward(g, x, W, V, transpose=True):
        h = np.tanh(x @ W)
        d = g @ V * (1 - h**2)  # the transpose of V is missing
        return d @ W.T, x.T @ d, h.T @ g

    rng = np.random.default_rng(0)
    report = check.backward(
        forward, backward, (rng.normal(size=(5, 3)), rng.normal(size=(3, 4)), rng.normal(size=(4, 4)))
    )
    assert kinds(report) == {"transpose"}


def recurrent(x, Wx, Wh):
    h = np.zeros((x.shape[1], Wh.shape[0]))
    for x_t in x:
        h = np.tanh(x_t @ Wx + h @ Wh)
    return (h**2).sum()


def recurrent_backward(x, Wx, Wh, keep="sum", truncate=False):
    hs = [np.zeros((x.shape[1], Wh.shape[0]))]
    for x_t in x:
        hs.append(np.tanh(x_t @ Wx + hs[-1] @ Wh))
    d, dWx, dWh = 2 * hs[-1], np.zeros_like(Wx), np.zeros_like(Wh)
    for k in reversed(range(len(x))):
        da = d * (1 - hs[k + 1] ** 2)
        if keep == "sum":
            dWx, dWh = dWx + x[k].T @ da, dWh + hs[k].T @ da
        else:
            dWx, dWh = x[k].T @ da, hs[k].T @ da
        d = da @ Wh.T if not truncate else 0 * d
    return None, dWx, dWh


def test_overwritten_in_a_loop_over_time():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(4, 2, 3)), rng.normal(size=(3, 5)), rng.normal(size=(5, 5))
    assert check.backward(recurrent, lambda x, Wx, Wh: recurrent_backward(x, Wx, Wh), inputs)
    report = check.backward(recurrent, lambda x, Wx, Wh: recurrent_backward(x, Wx, Wh, keep="last"), inputs)
    assert kinds(report) == {"overwritten"}


def test_a_forgotten_penalty():
    def forward(W, x):
        return ((x @ W) ** 2).sum() + 0.05 * (W**2).sum()

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(3, 2)), rng.normal(size=(5, 3))
    report = check.backward(forward, lambda W, x: 2 * x.T @ (x @ W), inputs)
    assert kinds(report) == {"other loss"}
    report = check.backward(forward, lambda W, x: 2 * x.T @ (x @ W) + 0.05 * W, inputs)
    assert kinds(report) == {"factor"}


def test_a_weight_that_is_updated_too_early():
    def forward(W1, b1, W2, b2, x, t):
        return -np.log(softmax(sigmoid(x @ W1 + b1) @ W2 + b2)[np.arange(len(x)), t]).mean()

    def step(W1, b1, W2, b2, x, t, lr=0.5):
        h = sigmoid(x @ W1 + b1)
        d = (softmax(h @ W2 + b2) - np.eye(CLASSES)[t]) / len(x)
        W2 = W2 - lr * h.T @ d
        b2 = b2 - lr * d.sum(0)
        d = d @ W2.T * h * (1 - h)
        return W1 - lr * x.T @ d, b1 - lr * d.sum(0), W2, b2

    report = check.backward(forward, step, point())
    assert kinds(report) == {"wrong point"}
    assert "W2 as it is after the update" in str(report)


def test_overlapping_windows_that_overwrite_each_other():
    def forward(x, k):
        return np.stack([x[i : i + 3] @ k for i in range(len(x) - 2)])

    def backward(g, x, k, add=False):
        dx, dk = np.zeros_like(x), np.zeros_like(k)
        for i in range(len(g)):
            dx[i : i + 3] = dx[i : i + 3] * add + g[i] * k
            dk += g[i] * x[i : i + 3]
        return dx, dk

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=8), rng.normal(size=3)
    assert check.backward(forward, lambda g, x, k: backward(g, x, k, add=True), inputs)
    assert kinds(check.backward(forward, lambda g, x, k: backward(g, x, k), inputs)) == {"overwritten"}


def test_rows_taken_several_times():
    def forward(E, words):
        return (E[words] ** 2).sum()

    def backward(E, words):
        dE = np.zeros_like(E)
        dE[words] = 2 * E[words]
        return dE

    E = np.random.default_rng(0).normal(size=(6, 3))
    assert kinds(check.backward(forward, backward, (E, np.array([1, 4, 1, 2])))) <= {"overwritten", "factor"}


@pytest.mark.parametrize(
    ("pull", "kind"),
    [
        (lambda g, y: y * g, "missing sum"),
        (lambda g, y: y * (1 - y) * g, "missing sum"),
        (lambda g, y: y * (g - (g * y).sum(0)), "wrong axis"),
        (lambda g, y: y * (g + (g * y).sum(1, keepdims=True)), "sign"),
    ],
)
def test_softmax(pull, kind):
    report = check.backward(softmax, lambda g, o: pull(g, softmax(o)), np.random.default_rng(0).normal(size=(4, 3)))
    assert kinds(report) == {kind}


def test_right_networks_pass_with_every_seed():
    for seed in range(200):
        inputs = point(seed)
        assert check.backward(network(relu), by_hand(relu, lambda a, h, g: a > 0), inputs, seed=seed), seed


def test_the_line_of_a_factor_is_the_forwards():
    def forward(W, x):
        o = x @ W
        return (o**2).mean()

    inputs = np.random.default_rng(0).normal(size=(3, 2)), np.random.default_rng(1).normal(size=(7, 3))
    report = check.backward(forward, lambda W, x: 2 * x.T @ (x @ W), inputs)
    line = forward.__code__.co_firstlineno + 2
    assert report.causes[0].sentence.endswith(f"is missing in the derivative of test_causes.py, line {line}.")


@pytest.mark.parametrize("n", [6, 9, 12])
def test_a_power_without_its_exponent_is_not_taken_for_some_size(n):
    def forward(x):
        return (x**3).sum()

    report = check.backward(forward, lambda x: x**2, np.random.default_rng(0).normal(size=(n, 3)))
    line = forward.__code__.co_firstlineno + 1
    words = f"the exponent 3 as a factor is missing in the derivative of test_causes.py, line {line}."
    assert report.causes[0].sentence == f"ratio 0.3333 everywhere: {words}"


def test_names_keep_their_case():
    def forward(a, X):
        h = np.tanh(a @ X)
        return (h @ X.T * a).sum() + np.sin(X).sum()

    def backward(a, X):
        h = np.tanh(a @ X)
        return None, a.T @ (a @ X * (1 - h**2)) * 0 + np.cos(X)

    rng = np.random.default_rng(0)
    report = check.backward(forward, backward, (rng.normal(size=(4, 4)), rng.normal(size=(4, 4))))
    assert "Of the 3 uses of X, only that in test_causes.py" in str(report)


def test_two_results_of_one_line_are_told_apart():
    def forward(a, b):
        h = np.tanh(a) * np.sin(b) + np.exp(a) * np.cos(b)
        return (h * np.tanh(h)).sum()

    def backward(a, b):
        h = np.tanh(a) * np.sin(b) + np.exp(a) * np.cos(b)
        d = np.tanh(h) + h * (1 - np.tanh(h) ** 2)
        da = (1 - np.tanh(a) ** 2) * np.cos(b) + np.exp(a) * np.cos(b)  # for the sine
        return d * da, d * (np.tanh(a) * np.cos(b) - np.exp(a) * np.sin(b))

    rng = np.random.default_rng(0)
    report = check.backward(forward, backward, (rng.normal(size=5), rng.normal(size=5)))
    place = f"test_causes.py, line {forward.__code__.co_firstlineno + 1}"
    words = f"the derivative of {place} is taken with a later result of {place} than forward takes there."
    assert report.causes[0].sentence == words


def test_a_search_that_is_given_up_is_said(monkeypatch):
    monkeypatch.setattr(causes, "SECONDS", 0.0)
    monkeypatch.setattr(causes, "WORK", 0.0)
    report = check.backward(network(np.tanh), by_hand(np.tanh, lambda a, h, g: 1.0), point())
    assert not report.causes
    assert "Skipped: some causes: not all were tried" in str(report)


def test_a_wide_network_without_the_derivative_of_its_activation():
    def forward(W1, b1, W2, b2, x, t):
        y = softmax(relu(x @ W1 + b1) @ W2 + b2)
        return -np.log(y[np.arange(len(t)), t]).mean()

    def backward(W1, b1, W2, b2, x, t):
        h = relu(x @ W1 + b1)
        d = (softmax(h @ W2 + b2) - np.eye(10)[t]) / len(t)
        d1 = d @ W2.T
        return x.T @ d1, d1.sum(0), h.T @ d, d.sum(0), None, None

    rng = np.random.default_rng(0)
    W1, W2 = rng.normal(size=(784, 256)) / 28, rng.normal(size=(256, 10)) / 16
    inputs = W1, rng.normal(size=256), W2, np.zeros(10), rng.normal(size=(64, 784)), rng.integers(10, size=64)
    assert kinds(check.backward(forward, backward, inputs)) == {"missing activation derivative"}
