"""Functions as people write them in NumPy, each with example arguments at any batch size: what a longhand is tried on.

A case is a function, `make(rng, n)` for its arguments, the arguments that have a batch axis, and with respect to which
ones the derivative is taken.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr
from chainrule import nn


class Case(NamedTuple):
    """A function of the corpus."""

    f: Callable[..., Any]
    make: Callable[[Any, int], tuple[Any, ...]]
    batch: dict[str, int] | None
    argnums: int | tuple[int, ...]


CASES: dict[str, Case] = {}


def case(make, batch=None, argnums=0):
    """Add the function below to the corpus."""

    def add(f):
        CASES[f.__name__] = Case(f, make, batch, argnums)
        return f

    return add


def layers(rng, *sizes):
    """W1, b1, W2, b2, ... for layers of these sizes."""
    parameters = {}
    for i, (a, b) in enumerate(pairwise(sizes), 1):
        parameters[f"W{i}"] = rng.normal(size=(a, b)) / math.sqrt(a)
        parameters[f"b{i}"] = rng.normal(size=b) / 2
    return parameters


def positive(rng, *shape):
    return rng.uniform(0.5, 2, shape)


XT = {"x": 0, "t": 0}


# Networks with one or two hidden layers.


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - np.max(z, axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@case(lambda rng, n: (*layers(rng, 4, 5, 3).values(), rng.normal(size=(n, 4)), rng.integers(0, 3, n)), XT, (0, 1, 2, 3))
def sigmoid_network(W1, b1, W2, b2, x, t):
    h = sigmoid(x @ W1 + b1)
    y = softmax(h @ W2 + b2)
    correct = np.take_along_axis(y, t[:, None], axis=1)
    return -np.mean(np.log(correct))


@case(lambda rng, n: (layers(rng, 4, 6, 5, 3), rng.normal(size=(n, 4)), np.eye(3)[rng.integers(0, 3, n)]), XT)
def tanh_network(params, x, t):
    h1 = np.tanh(x @ params["W1"] + params["b1"])
    h2 = np.tanh(h1 @ params["W2"] + params["b2"])
    logits = h2 @ params["W3"] + params["b3"]
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -(t * log_p).sum(axis=1).mean()


@case(
    lambda rng, n: (*layers(rng, 4, 6, 2).values(), rng.normal(size=(n, 4)), rng.normal(size=(n, 2))), XT, (0, 1, 2, 3)
)
def relu_regression(W1, b1, W2, b2, x, t):
    a1 = x @ W1 + b1
    h1 = np.maximum(a1, 0)
    y = h1 @ W2 + b2
    return np.mean((y - t) ** 2)


@case(
    lambda rng, n: (*layers(rng, 4, 6, 2).values(), rng.normal(size=(n, 4)), rng.normal(size=(n, 2))), XT, (0, 1, 2, 3)
)
def leaky_network(W1, b1, W2, b2, x, t):
    z = x @ W1 + b1
    h = np.where(z > 0, z, 0.01 * z)
    return 0.5 * ((h @ W2 + b2 - t) ** 2).sum() / x.shape[0]


@case(lambda rng, n: (layers(rng, 4, 6, 3), rng.normal(size=(n, 4)), rng.integers(0, 3, n)), XT)
def gelu_network(p, x, t):
    h = cr.gelu(x @ p["W1"] + p["b1"])
    return cr.cross_entropy(h @ p["W2"] + p["b2"], t)


@case(lambda rng, n: (layers(rng, 4, 6, 3), rng.normal(size=(n, 4)), rng.integers(0, 3, n)), XT)
def tanh_gelu_network(p, x, t):
    z = x @ p["W1"] + p["b1"]
    h = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    logits = h @ p["W2"] + p["b2"]
    return np.mean(cr.logsumexp(logits, axis=1) - (logits * cr.onehot(t, 3)).sum(axis=1))


@case(lambda rng, n: (*layers(rng, 4, 6, 1).values(), rng.normal(size=(n, 4)), rng.normal(size=n)), XT, (0, 1, 2, 3))
def softplus_network(W1, b1, W2, b2, x, t):
    a = x @ W1 + b1
    h = np.log1p(np.exp(-np.abs(a))) + np.maximum(a, 0)
    y = (h @ W2 + b2)[:, 0]
    error = y - t
    return np.mean(error**2)


@case(lambda rng, n: (layers(rng, 5, 4, 3), rng.normal(size=(n, 5)), np.eye(3)[rng.integers(0, 3, n)]), XT)
def lecun_network(p, x, t):
    h = 1.7159 * np.tanh(2 / 3 * (x @ p["W1"] + p["b1"]))
    y = cr.softmax(h @ p["W2"] + p["b2"], axis=1)
    return -np.sum(t * np.log(y)) / len_of(x)


def len_of(x):
    return x.shape[0]


@case(lambda rng, n: (layers(rng, 4, 5, 1), rng.normal(size=(n, 4)), rng.integers(0, 2, (n, 1)) * 1.0), XT)
def binary_network(p, x, t):
    h = np.maximum(0, x @ p["W1"] + p["b1"])
    y = sigmoid(h @ p["W2"] + p["b2"])
    return -np.mean(t * np.log(y) + (1 - t) * np.log(1 - y))


@case(
    lambda rng, n: (
        [(rng.normal(size=(4, 5)), rng.normal(size=5)), (rng.normal(size=(5, 5)), rng.normal(size=5)),
         (rng.normal(size=(5, 2)), rng.normal(size=2))],
        rng.normal(size=(n, 4)),
        rng.normal(size=(n, 2)),
    ),
    XT,
)  # fmt: skip
def layers_in_a_list(layers, x, t):
    h = x
    for W, b in layers[:-1]:
        h = np.tanh(h @ W + b)
    W, b = layers[-1]
    return ((h @ W + b - t) ** 2).mean() + 1e-3 * sum((W**2).sum() for W, b in layers)


@case(
    lambda rng, n: (rng.normal(size=(5, 6)), rng.normal(size=6), rng.normal(size=5), rng.normal(size=(n, 5))),
    {"x": 0},
    (0, 1, 2),
)
def tied_autoencoder(W, b, c, x):
    code = sigmoid(x @ W + b)
    decoded = code @ W.T + c
    return 0.5 * np.sum((decoded - x) ** 2, axis=1).mean()


# Losses.


@case(lambda rng, n: (rng.normal(size=3), 0.3, rng.normal(size=(n, 3)), rng.normal(size=n)), XT, (0, 1))
def huber_regression(w, b, x, t, delta=1.0):
    r = x @ w + b - t
    quadratic = 0.5 * r**2
    linear = delta * (np.abs(r) - 0.5 * delta)
    return np.where(np.abs(r) <= delta, quadratic, linear).mean()


@case(lambda rng, n: (rng.normal(size=3), 0.3, rng.normal(size=(n, 3)), rng.choice([-1.0, 1.0], n)), XT, (0, 1))
def support_vector_machine(w, b, x, t):
    margin = t * (x @ w + b)
    return np.maximum(0, 1 - margin).mean() + 0.05 * w @ w


@case(lambda rng, n: (rng.normal(size=(4, 3)), rng.normal(size=(n, 4)), rng.integers(0, 3, n)), XT)
def multiclass_hinge(W, x, t):
    scores = x @ W
    correct = np.take_along_axis(scores, t[:, None], axis=1)
    margins = np.maximum(0, scores - correct + 1) * (1 - cr.onehot(t, 3))
    return margins.sum() / x.shape[0]


@case(lambda rng, n: (rng.normal(size=4), 0.1, rng.normal(size=(n, 4)), rng.integers(0, 2, n) * 1.0), XT, (0, 1))
def logistic_elastic_net(w, b, x, t):
    z = x @ w + b
    nll = np.mean(np.log(1 + np.exp(z)) - t * z)
    penalty = 0.01 * (0.5 * np.abs(w).sum() + 0.25 * (w**2).sum())
    return nll + penalty


@case(lambda rng, n: (rng.normal(size=4), rng.normal(size=(n, 4)), rng.choice([-1, 1], n)), XT)
def logistic_with_signs(w, x, t):
    return np.logaddexp(0, -t * (x @ w)).mean()


@case(lambda rng, n: (rng.normal(size=3) / 2, 0.2, rng.normal(size=(n, 3)), rng.poisson(2, n)), XT, (0, 1))
def poisson_regression(w, b, x, t):
    eta = x @ w + b
    return np.mean(np.exp(eta) - t * eta)


@case(lambda rng, n: (rng.normal(size=3) / 2, 0.7, rng.normal(size=(n, 3)), rng.poisson(2, n) * 1.0), XT, (0, 1))
def negative_binomial_regression(w, log_r, x, t):
    mu = np.exp(x @ w)
    r = np.exp(log_r)
    ll = t * np.log(mu / (mu + r)) + r * np.log(r / (mu + r))
    return -np.mean(ll)


@case(
    lambda rng, n: (rng.normal(size=(4, 3)), rng.normal(size=(n, 4)), rng.normal(size=(n, 4)), rng.integers(0, 2, n)),
    {"a": 0, "b": 0, "same": 0},
)
def contrastive(W, a, b, same):
    d = np.sqrt((((a - b) @ W) ** 2).sum(axis=1) + 1e-8)
    return np.mean(same * d**2 + (1 - same) * np.maximum(1.5 - d, 0) ** 2)


@case(
    lambda rng, n: (rng.normal(size=(4, 3)), *rng.normal(size=(3, n, 4))),
    {"anchor": 0, "near": 0, "far": 0},
)
def triplet(W, anchor, near, far):
    za, zn, zf = (np.tanh(x @ W) for x in (anchor, near, far))
    d_near = ((za - zn) ** 2).sum(axis=1)
    d_far = ((za - zf) ** 2).sum(axis=1)
    return np.maximum(0, d_near - d_far + 0.2).mean()


@case(lambda rng, n: (rng.normal(size=(4, 3)), *rng.normal(size=(2, n, 4)), np.arange(n)), {"a": 0, "b": 0, "t": 0})
def info_nce(W, a, b, t):
    za, zb = a @ W, b @ W
    za = za / np.linalg.norm(za, axis=1, keepdims=True)
    zb = zb / np.linalg.norm(zb, axis=1, keepdims=True)
    logits = za @ zb.T / 0.5
    return (cr.cross_entropy(logits, t) + cr.cross_entropy(logits.T, t)) / 2


@case(lambda rng, n: (rng.normal(size=(4, 3)), *rng.normal(size=(2, 5, 4))))
def info_nce_of_five(W, a, b):
    za, zb = a @ W, b @ W
    scores = za @ zb.T / np.sqrt(W.shape[1])
    log_p = scores - cr.logsumexp(scores, axis=1, keepdims=True)
    return -log_p[np.arange(5), np.arange(5)].mean()


@case(lambda rng, n: (rng.normal(size=4), rng.normal(size=(n, 4)), rng.normal(size=(n, 4))), {"better": 0, "worse": 0})
def ranking(w, better, worse):
    difference = better @ w - worse @ w
    return np.log1p(np.exp(-difference)).mean()


@case(lambda rng, n: (rng.normal(size=4), rng.normal(size=(n, 4)), rng.normal(size=n)), XT)
def all_pairs_ranking(w, x, t):
    s = x @ w
    gap = s[:, None] - s[None, :]
    sooner = np.where(t[:, None] > t[None, :], 1.0, 0.0)
    return (sooner * np.log1p(np.exp(-gap))).sum() / sooner.sum()


@case(lambda rng, n: (rng.normal(size=(n, 4)), rng.normal(size=(n, 4))), {"a": 0, "b": 0}, (0, 1))
def cosine_similarity(a, b):
    dot = np.sum(a * b, axis=1)
    return 1 - (dot / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).mean()


@case(lambda rng, n: (rng.normal(size=(4, 3)), rng.normal(size=(n, 4)), rng.integers(0, 3, n)), XT)
def focal_loss(W, x, t):
    p = cr.softmax(x @ W, axis=1)
    pt = (p * cr.onehot(t, 3)).sum(axis=1)
    return -np.mean((1 - pt) ** 2 * np.log(pt))


@case(lambda rng, n: (rng.normal(size=(4, 3)), rng.normal(size=(n, 4)), rng.normal(size=(n, 3))), XT)
def distillation(W, x, t):
    log_q = cr.log_softmax(x @ W / 2.0, axis=1)
    p = cr.softmax(t / 2.0, axis=1)
    return 4 * np.mean(np.sum(p * (np.log(p) - log_q), axis=1))


@case(lambda rng, n: (rng.normal(size=(4, 5)), rng.normal(size=(n, 4)), rng.integers(0, 5, n)), XT)
def ordinal_cdf_loss(W, x, t):
    p = cr.softmax(x @ W, axis=1)
    cdf = np.cumsum(p, axis=1)
    target = np.cumsum(cr.onehot(t, 5), axis=1)
    return np.mean(np.sum((cdf - target) ** 2, axis=1))


@case(lambda rng, n: (rng.normal(size=(3, 4)) / 2, rng.normal(size=(n, 3)), rng.integers(0, 2, (n, 4)) * 1.0), XT)
def discrete_survival(W, x, t):
    hazard = 1 / (1 + np.exp(-(x @ W)))
    log_survival = np.cumsum(np.log(1 - hazard), axis=1)
    log_event = np.log(hazard) + log_survival - np.log(1 - hazard)
    return -np.mean(np.sum(t * log_event + (1 - t) * log_survival, axis=1))


@case(lambda rng, n: (rng.normal(size=3), rng.normal(size=(6, 3)), np.array([1.0, 0, 1, 1, 0, 1])))
def cox_partial_likelihood(beta, x, event):
    risk = x @ beta
    log_total = np.log(np.cumsum(np.exp(risk)))
    return -np.sum(event * (risk - log_total)) / event.sum()


# Attention and normalisation.


@case(
    lambda rng, n: (*rng.normal(size=(3, 4, 4)), rng.normal(size=(n, 5, 4)), rng.normal(size=(n, 5, 4))), XT, (0, 1, 2)
)
def attention(Wq, Wk, Wv, x, t):
    q, k, v = x @ Wq, x @ Wk, x @ Wv
    scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return ((weights @ v - t) ** 2).mean()


@case(
    lambda rng, n: (
        {k: rng.normal(size=(6, 6)) / 2 for k in ("Wq", "Wk", "Wv", "Wo")},
        rng.normal(size=(n, 4, 6)),
        rng.normal(size=(n, 4, 6)),
    ),
    XT,
)
def multi_head_attention(p, x, t):
    N, T, D = x.shape
    heads = 3

    def split(a):
        return a.reshape(N, T, heads, D // heads).transpose(0, 2, 1, 3)

    q, k, v = split(x @ p["Wq"]), split(x @ p["Wk"]), split(x @ p["Wv"])
    A = cr.softmax(q @ np.swapaxes(k, -1, -2) / math.sqrt(D // heads), axis=-1)
    y = (A @ v).transpose(0, 2, 1, 3).reshape(N, T, D) @ p["Wo"]
    return ((y - t) ** 2).mean()


@case(lambda rng, n: (*rng.normal(size=(3, 4, 3)), rng.normal(size=(5, 4)), rng.normal(size=(5, 3))), None, (0, 1, 2))
def causal_attention(Wq, Wk, Wv, x, t):
    q, k, v = x @ Wq, x @ Wk, x @ Wv
    mask = np.triu(np.ones((5, 5), bool), 1)
    scores = np.where(mask, -1e9, q @ k.T / np.sqrt(3))
    return np.sum((cr.softmax(scores, axis=1) @ v - t) ** 2)


def layer_norm(x, gamma, beta, eps=1e-5):
    mu = x.mean(axis=-1, keepdims=True)
    var = x.var(axis=-1, keepdims=True)
    return gamma * (x - mu) / np.sqrt(var + eps) + beta


@case(
    lambda rng, n: (
        {
            "Wq": rng.normal(size=(4, 4)), "Wk": rng.normal(size=(4, 4)), "Wv": rng.normal(size=(4, 4)),
            "W1": rng.normal(size=(4, 8)), "b1": rng.normal(size=8), "W2": rng.normal(size=(8, 4)),
            "b2": rng.normal(size=4), "g1": positive(rng, 4), "c1": rng.normal(size=4),
            "g2": positive(rng, 4), "c2": rng.normal(size=4),
        },
        rng.normal(size=(n, 3, 4)),
        rng.normal(size=(n, 3, 4)),
    ),
    XT,
)  # fmt: skip
def transformer_block(p, x, t):
    z = layer_norm(x, p["g1"], p["c1"])
    q, k, v = z @ p["Wq"], z @ p["Wk"], z @ p["Wv"]
    A = cr.softmax(q @ k.mT / 2, axis=-1)
    x = x + A @ v
    z = layer_norm(x, p["g2"], p["c2"])
    x = x + np.maximum(z @ p["W1"] + p["b1"], 0) @ p["W2"] + p["b2"]
    return ((x - t) ** 2).mean()


@case(
    lambda rng, n: (rng.normal(size=(3, 4)), positive(rng, 4), rng.normal(size=4), rng.normal(size=(n, 3)),
                    rng.normal(size=(n, 4))), XT, (0, 1, 2)
)  # fmt: skip
def layer_norm_network(W, gamma, beta, x, t):
    y = np.tanh(layer_norm(x @ W, gamma, beta))
    return np.mean((y - t) ** 2)


@case(
    lambda rng, n: (rng.normal(size=(3, 4)), positive(rng, 4), rng.normal(size=4), rng.normal(size=(n, 3)),
                    rng.normal(size=(n, 4))), XT, (0, 1, 2)
)  # fmt: skip
def batch_norm_network(W, gamma, beta, x, t):
    a = x @ W
    mean = a.mean(axis=0)
    var = ((a - mean) ** 2).mean(axis=0)
    a_hat = (a - mean) / np.sqrt(var + 1e-5)
    h = np.maximum(gamma * a_hat + beta, 0)
    return ((h - t) ** 2).mean()


# Over time.


@case(
    lambda rng, n: (rng.normal(size=(2, 4)), rng.normal(size=(4, 4)) / 2, rng.normal(size=4), rng.normal(size=(4, 3)),
                    rng.normal(size=(n, 4, 2)), rng.integers(0, 3, n)), XT, (0, 1, 2, 3)
)  # fmt: skip
def rnn(Wx, Wh, b, V, x, t):
    h = np.zeros(4)
    for i in range(4):
        h = np.tanh(x[:, i] @ Wx + h @ Wh + b)
    return cr.cross_entropy(h @ V, t)


@case(
    lambda rng, n: ({k: rng.normal(size=(2 + 3, 3)) for k in ("Wz", "Wr", "Wh")} | {"V": rng.normal(size=(3, 1))},
                    rng.normal(size=(n, 3, 2)), rng.normal(size=(n, 1)), np.zeros((n, 3))),
    {"x": 0, "t": 0, "h0": 0},
)  # fmt: skip
def gru(p, x, t, h0):
    h = h0
    for i in range(x.shape[1]):
        hx = np.concatenate([h, x[:, i]], axis=1)
        z = sigmoid(hx @ p["Wz"])
        r = sigmoid(hx @ p["Wr"])
        candidate = np.tanh(np.concatenate([r * h, x[:, i]], axis=1) @ p["Wh"])
        h = (1 - z) * h + z * candidate
    return ((h @ p["V"] - t) ** 2).mean()


@case(
    lambda rng, n: (rng.normal(size=(5, 12)), rng.normal(size=12), rng.normal(size=(n, 3, 2)),
                    rng.normal(size=(n, 3))), XT, (0, 1)
)  # fmt: skip
def lstm(W, b, x, t):
    H = 3
    h = c = np.zeros_like(x[:, 0, :1]) * np.ones(H)
    for step in range(x.shape[1]):
        gates = np.concatenate([x[:, step], h], axis=1) @ W + b
        i, f, o = (sigmoid(gates[:, k * H : (k + 1) * H]) for k in range(3))
        g = np.tanh(gates[:, 3 * H :])
        c = f * c + i * g
        h = o * np.tanh(c)
    return ((h - t) ** 2).mean()


@case(lambda rng, n: (np.array([0.8, -0.3]), rng.normal(size=12)))
def autoregression(phi, y):
    errors = [y[i] - phi[0] * y[i - 1] - phi[1] * y[i - 2] for i in range(2, 6)]
    return sum(e**2 for e in errors)


@case(lambda rng, n: (0.4, 0.2, positive(rng, n), rng.normal(size=n)), {"y0": 0, "target": 0}, (0, 1))
def euler_steps(a, b, y0, target):
    y, dt = y0, 0.1
    for _ in range(5):
        y = y + dt * (a * y - b * y**2)
    return ((y - target) ** 2).mean()


@case(lambda rng, n: (np.array([1.1, 0.4, 0.4, 0.1]), np.array([2.0, 1.0]), np.array([1.5, 1.2])), None, (0, 1))
def lotka_volterra(theta, start, end):
    a, b, c, d = theta
    u, v = start
    for _ in range(4):
        u, v = u + 0.05 * (a * u - b * u * v), v + 0.05 * (d * u * v - c * v)
    return (u - end[0]) ** 2 + (v - end[1]) ** 2


@case(lambda rng, n: (rng.normal(size=8), 0.3, rng.normal(size=8)), None, (0, 1))
def heat_equation(u, alpha, target):
    for _ in range(3):
        laplacian = u[2:] - 2 * u[1:-1] + u[:-2]
        u = np.concatenate([u[:1], u[1:-1] + alpha * laplacian, u[-1:]])
    return np.sum((u - target) ** 2)


@case(
    lambda rng, n: (rng.normal(size=(2, 2)), np.array([0.5, 0.3]), positive(rng, 1)[0], rng.normal(size=2),
                    np.array([[1.0, 0.2], [0.2, 0.8]]), 0.7), None, (0, 1, 2)
)  # fmt: skip
def kalman_step(F, h, r, m, P, z):
    m = F @ m
    P = F @ P @ F.T + 0.1 * np.eye(2)
    s = h @ P @ h + r
    K = P @ h / s
    innovation = z - h @ m
    m = m + K * innovation
    P = P - np.outer(K, h) @ P
    return 0.5 * (np.log(s) + innovation**2 / s) + np.trace(P) + m @ m


@case(lambda rng, n: (positive(rng, 4, 4), rng.normal(size=4)))
def power_iteration(A, target):
    P = A / A.sum(axis=0)
    rank = np.ones(4) / 4
    for _ in range(4):
        rank = 0.85 * P @ rank + 0.15 / 4
    return ((rank - target) ** 2).sum()


# Mixtures, kernels and factorisations.


@case(
    lambda rng, n: (rng.normal(size=(3, 2)), rng.normal(size=3), 0.5, rng.normal(size=(n, 2)), rng.normal(size=n)),
    XT,
    (0, 1, 2),
)
def rbf_network(centres, w, gamma, x, t):
    d2 = ((x[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    phi = np.exp(-gamma * d2)
    return ((phi @ w - t) ** 2).mean()


@case(
    lambda rng, n: (rng.normal(size=3), rng.normal(size=(3, 2)), rng.normal(size=(3, 2)) / 3, rng.normal(size=(n, 2))),
    {"x": 0},
    (0, 1, 2),
)
def gaussian_mixture(logits, mu, log_sigma, x):
    log_pi = logits - cr.logsumexp(logits)
    z = (x[:, None] - mu) / np.exp(log_sigma)
    log_n = -0.5 * (z**2).sum(axis=2) - log_sigma.sum(axis=1) - np.log(2 * np.pi)
    return -cr.logsumexp(log_pi + log_n, axis=1).mean()


@case(lambda rng, n: (layers(rng, 2, 6, 9), rng.normal(size=(n, 2)), rng.normal(size=n)), XT)
def mixture_density_network(p, x, t):
    out = np.tanh(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
    log_pi = cr.log_softmax(out[:, :3], axis=1)
    mu, log_sigma = out[:, 3:6], out[:, 6:]
    z = (t[:, None] - mu) / np.exp(log_sigma)
    a = log_pi - log_sigma - 0.5 * z**2
    top = a.max(axis=1)
    return -np.mean(top + np.log(np.sum(np.exp(a - top[:, None]), axis=1)))


@case(
    lambda rng, n: (rng.normal(size=(6, 3)), rng.normal(size=(5, 3)), rng.normal(size=6), rng.integers(0, 6, n),
                    rng.integers(0, 5, n), rng.normal(size=n)), {"user": 0, "item": 0, "rating": 0}, (0, 1, 2)
)  # fmt: skip
def matrix_factorisation(U, V, bias, user, item, rating):
    predicted = np.sum(U[user] * V[item], axis=1) + bias[user]
    return np.mean((predicted - rating) ** 2) + 0.01 * (np.sum(U**2) + np.sum(V**2))


@case(
    lambda rng, n: (rng.normal(size=(7, 3)), rng.normal(size=(3, 2)), rng.integers(0, 7, (n, 4)),
                    rng.integers(0, 2, n)), {"words": 0, "t": 0}, (0, 1)
)  # fmt: skip
def bag_of_words(E, W, words, t):
    h = E[words].mean(axis=1)
    return cr.cross_entropy(h @ W, t)


@case(
    lambda rng, n: (layers(rng, 5, 4, 4) | {"V": rng.normal(size=(2, 5)), "c": rng.normal(size=5)},
                    rng.uniform(0, 1, (n, 5)), rng.normal(size=(n, 2))), {"x": 0, "noise": 0}
)  # fmt: skip
def vae_elbo(p, x, noise):
    h = np.tanh(x @ p["W1"] + p["b1"])
    out = h @ p["W2"] + p["b2"]
    mu, log_var = out[:, :2], out[:, 2:]
    z = mu + np.exp(0.5 * log_var) * noise
    y = 1 / (1 + np.exp(-(z @ p["V"] + p["c"])))
    reconstruction = -(x * np.log(y) + (1 - x) * np.log(1 - y)).sum(axis=1)
    kl = -0.5 * (1 + log_var - mu**2 - np.exp(log_var)).sum(axis=1)
    return (reconstruction + kl).mean()


# Algebra.


@case(lambda rng, n: (rng.normal(size=4), rng.normal(size=(4, 4))), None, (0, 1))
def quadratic_form(x, A):
    return 0.5 * x @ A @ x - x.sum()


@case(lambda rng, n: (rng.normal(size=(3, 4)), rng.normal(size=(n, 3)), rng.normal(size=(n, 4))), {"x": 0, "y": 0})
def bilinear(W, x, y):
    score = np.einsum("ni,ij,nj->n", x, W, y)
    return (score**2).mean()


@case(lambda rng, n: (rng.normal(size=4), rng.normal(size=n), rng.normal(size=n)), XT)
def polynomial_least_squares(c, x, t):
    y = c[0] + c[1] * x + c[2] * x**2 + c[3] * x**3
    return ((y - t) ** 2).sum() / 2


@case(lambda rng, n: (rng.normal(size=4), rng.normal(size=n), rng.normal(size=n)), XT)
def horner(c, x, t):
    y = 0
    for k in range(3, -1, -1):
        y = y * x + c[k]
    return ((y - t) ** 2).mean()


@case(
    lambda rng, n: (rng.normal(size=(4, 3)), rng.normal(size=4), 0.1, rng.normal(size=(n, 4)), rng.normal(size=n)),
    XT,
    (0, 1, 2),
)
def factorisation_machine(V, w, b, x, t):
    pairs = 0.5 * ((x @ V) ** 2 - x**2 @ V**2).sum(axis=1)
    y = b + x @ w + pairs
    return ((y - t) ** 2).mean()


@case(lambda rng, n: (rng.normal(size=(2, 6)), rng.uniform(0, 6, 6), rng.normal(size=6), rng.normal(size=(n, 2)),
                      rng.normal(size=n)), XT, (0, 1, 2))  # fmt: skip
def fourier_features(B, phase, w, x, t):
    angle = 2 * np.pi * x @ B + phase
    features = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    y = features @ np.concatenate([w, w[::-1]])
    return ((y - t) ** 2).mean()


@case(lambda rng, n: (positive(rng, 3), positive(rng, 3), positive(rng, n, 3), rng.normal(size=n)), XT, (0, 1))
def power_law(a, k, x, t):
    y = np.sum(a * x**k, axis=1)
    return np.mean((np.log(y) - t) ** 2)


@case(lambda rng, n: (rng.normal(size=3), rng.normal(size=4)), None, (0, 1))
def outer_product(u, v):
    M = np.outer(u, v)
    return np.sqrt((M**2).sum()) + M[0, 1] * M[2, 3]


@case(lambda rng, n: (rng.normal(size=(n, 3)),), {"x": 0})
def standard_scores(x):
    z = (x - np.mean(x, axis=0)) / np.std(x, axis=0)
    return np.mean(z**3) + np.mean(z**4)


@case(lambda rng, n: (rng.normal(size=(n, 5)),), {"x": 0})
def ranges(x):
    return np.mean(np.max(x, axis=1) - np.min(x, axis=1)) + x.max()


@case(lambda rng, n: (rng.normal(size=(n, 5)), rng.normal(size=(n, 5))), {"x": 0, "y": 0}, (0, 1))
def correlation(x, y):
    x = x - x.mean(axis=1, keepdims=True)
    y = y - y.mean(axis=1, keepdims=True)
    r = (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return -r.mean()


@case(lambda rng, n: (rng.normal(size=6) * 2, rng.normal(size=6)))
def clipped(x, t):
    y = np.clip(x, -1, 1)
    padded = np.pad(y, (1, 1))
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return ((smooth - t) ** 2).mean()


@case(lambda rng, n: (rng.normal(size=3), rng.normal(size=3), rng.normal(size=(3, 2))), None, (0, 1))
def stacked(a, b, t):
    pairs = np.stack([a * b, a - b], axis=1)
    return np.abs(pairs - t).sum()


@case(lambda rng, n: (1.3, 0.4, rng.uniform(-2, 2, n), rng.normal(size=n)), XT, (0, 1))
def piecewise_force(k, c, x, t):
    spring = -k * x
    wall = -k - 10 * k * (np.abs(x) - 1) * np.sign(x)
    force = np.where(np.abs(x) < 1, spring, wall) - c * x
    return np.mean((force - t) ** 2)


@case(lambda rng, n: (rng.normal(size=(5, 3)),))
def lennard_jones(r):
    delta = r[:, None] - r[None]
    d2 = (delta**2).sum(axis=-1) + np.eye(5)
    s6 = 1 / d2**3
    return 2 * ((s6**2 - s6) * (1 - np.eye(5))).sum()


@case(lambda rng, n: (np.array([-1.2, 1.0, 0.5, 2.0]),))
def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@case(lambda rng, n: (rng.normal(size=(3, 3)), rng.normal(size=(n, 6, 6))), {"x": 0})
def convolution_by_slices(K, x):
    y = sum(K[i, j] * x[:, i : i + 4, j : j + 4] for i in range(3) for j in range(3))
    h = np.maximum(y, 0)
    return h.mean(axis=(1, 2)).sum() / x.shape[0]


@case(lambda rng, n: (rng.normal(size=(4, 3)), rng.normal(size=(3, 4)), rng.normal(size=(n, 4))), {"x": 0}, (0, 1))
def residual_scaling(A, B, x):
    y = x + np.tanh(x @ A) @ B
    return -np.log(np.sum(y**2) / x.size)


@case(lambda rng, n: (rng.normal(size=4), rng.normal(size=4), positive(rng, 4)), None, (0, 1, 2))
def gaussian_kl(mu, log_s, s0):
    s = np.exp(log_s)
    return np.sum(np.log(s0 / s) + (s**2 + mu**2) / (2 * s0**2) - 0.5)


@case(lambda rng, n: (rng.normal(size=3), rng.normal(size=(n, 3)), rng.integers(0, 2, n) * 1.0, positive(rng, n)),
      {"x": 0, "t": 0, "weight": 0})  # fmt: skip
def weighted_logistic(w, x, t, weight):
    p = cr.sigmoid(x @ w)
    losses = -(t * np.log(p + 1e-12) + (1 - t) * np.log(1 - p + 1e-12))
    return (weight * losses).sum() / weight.sum()


@case(lambda rng, n: (rng.normal(size=(4, 4)), rng.normal(size=4), rng.normal(size=(n, 4)), rng.normal(size=(n, 4))),
      XT, (0, 1))  # fmt: skip
def highway(W, b, x, t):
    gate = cr.sigmoid(x @ W + b)
    y = gate * np.tanh(x) + (1 - gate) * x
    return cr.mean_squared_error(y, t)


@case(lambda rng, n: (layers(rng, 3, 4, 4, 2), rng.normal(size=(n, 3)), rng.normal(size=(n, 2))), XT)
def swish_and_elu(p, x, t):
    h = cr.silu(x @ p["W1"] + p["b1"])
    h = cr.elu(h @ p["W2"] + p["b2"])
    return cr.huber(h @ p["W3"] + p["b3"], t)


@case(lambda rng, n: (rng.normal(size=4), rng.normal(size=4)))
def linear_and_one_element(x, t):
    return (x * t).sum() + x[0] ** 2


@case(lambda rng, n: (rng.normal(size=6), rng.normal(size=3), rng.normal(size=6)), None, (0, 1))
def shared_slices(x, w, t):
    y = np.concatenate([w, w[::-1]]) * t
    return (x * y).sum() + x[1:4] @ w


@case(lambda rng, n: (rng.normal(size=(4, 3)), rng.normal(size=(3, 4))), None, (0, 1))
def transposed_and_one_row(A, B):
    return (A * B.T).sum() + (A[1] ** 2).sum() + B[0, 0]


# Indices.


@case(lambda rng, n: (rng.normal(size=(5, 6)), rng.integers(0, 5, n)), {"t": 0})
def rows_and_a_slice(E, t):
    return (E[t, 2:] ** 2).sum() + (E[t, :3] ** 3).sum() + E[::2].sum()


@case(lambda rng, n: (rng.normal(size=(n, 6)), rng.integers(0, 6, 4)), {"x": 0})
def columns(x, t):
    return (x[:, t] ** 2).mean() + (x[:, np.array([0, 2, 2])] ** 3).mean()


@case(lambda rng, n: (rng.normal(size=(5, 6)), rng.integers(0, 5, n), rng.integers(0, 6, 3)), {"i": 0})
def a_grid_of_elements(A, i, j):
    return (A[i[:, None], j] ** 2).mean()


@case(lambda rng, n: (rng.normal(size=(n, 3)),), {"x": 0})
def differences_along_the_batch(x):
    return ((x[1:] - x[:-1]) ** 2).sum() / (x.shape[0] - 1) + (x[::-1] * x).sum() + (x[-1] ** 2).sum()


@case(lambda rng, n: (rng.normal(size=(4, 3)), rng.normal(size=(n, 4)), rng.integers(0, 3, n)), XT)
def smoothed_and_weighted(W, x, t):
    y = x @ W
    smooth = cr.cross_entropy(y, t, label_smoothing=0.1)
    return smooth + cr.cross_entropy(y, t, class_weights=[1.0, 2.0, 0.5])


# Names that the program uses itself, and arguments in other forms.


class Weights(NamedTuple):
    """Parameters by name."""

    W: Any
    b: Any


@case(
    lambda rng, n: (
        Weights(rng.normal(size=(3, 2)), rng.normal(size=2)),
        rng.normal(size=(n, 3)),
        rng.normal(size=(n, 2)),
    ),
    XT,
)
def named_tuple(p, x, t):
    return ((np.tanh(x @ p.W + p.b) - t) ** 2).mean()


@case(
    lambda rng, n: ({"W/1": rng.normal(size=(3, 2)), "class": rng.normal(size=2), "np": 0.5}, rng.normal(size=(n, 3))),
    {"x": 0},
)
def odd_keys(p, x):
    return np.sum((x @ p["W/1"] + p["class"]) ** 2) * p["np"] / x.shape[0]


@case(lambda rng, n: (rng.normal(size=(3, 2)), rng.normal(size=2), rng.normal(size=(n, 3)), rng.integers(0, 2, n), 0.1),
      {"y": 0, "s": 0}, (0, 1, 4))  # fmt: skip
def taken_names(N, g, y, s, dN):
    loss = y @ N + g
    e = cr.cross_entropy(loss, s)
    return e + dN**2 * np.sum(N**2)


@case(lambda rng, n: (rng.normal(size=(2, 3)), rng.normal(size=(3, n)), rng.normal(size=(2, n))), {"x": 1, "t": 1})
def samples_in_columns(W, x, t):
    y = np.tanh(W @ x)
    return ((y - t) ** 2).sum(axis=0).mean()


@case(lambda rng, n: (rng.normal(size=3), rng.normal(size=2), rng.normal(size=(n, 3))), {"x": 0}, (0, 1))
def unused(w, v, x):
    return (x @ w).mean()


@case(lambda rng, n: (rng.normal(size=(n, 3)),), {"x": 0})
def plain_sum(x):
    return x.sum()


@case(lambda rng, n: (1.5, rng.normal(size=n)), {"x": 0}, (0, 1))
def number_and_array(a, x):
    return np.exp(a * x).mean() * a


# Images.


@case(
    lambda rng, n: (
        rng.normal(size=(2, 1, 3, 3)),
        rng.normal(size=2),
        rng.normal(size=(4, 3)),
        rng.normal(size=(n, 1, 5, 4)),
        rng.integers(0, 3, n),
    ),
    XT,
    (0, 1, 2),
)
def edges(K, b, V, x, t):
    maps = np.tanh(cr.conv2d(x, K, b, stride=(1, 2), padding=1))
    pooled = cr.max_pool2d(maps, (3, 2), stride=(2, 1))
    return cr.cross_entropy(pooled.reshape(x.shape[0], -1) @ V, t)


@case(lambda rng, n: (rng.normal(size=(3, 2, 2, 2)), rng.normal(size=(n, 2, 4, 4))), {"x": 0})
def gradient_penalty_of_images(W, x):
    def critic(x):
        return cr.avg_pool2d(cr.max_pool2d(cr.conv2d(x, W) ** 3, 2, 1), 2, 1).sum()

    return (cr.grad(critic)(x) ** 2).mean()


# The networks of the five reports, small but of the same structure: models with their losses and batches.


class Model(NamedTuple):
    """A model of the corpus: `build(rng, dtype)`, its loss, and `make(rng, n)` for inputs and targets."""

    build: Callable[..., Any]
    loss: Any
    make: Callable[[Any, int], tuple[Any, ...]]


def dense(*sizes, activation, dtype, rng, bias=True, first=()):
    modules = list(first)
    for a, b in pairwise(sizes):
        init = {"bias_init": nn.init.normal(0.3)} if bias else {}
        modules += [nn.Linear(a, b, bias=bias, dtype=dtype, rng=rng, **init), activation()]
    return nn.Sequential(*modules[:-1])


def labelled(features, classes):
    return lambda rng, n: (rng.normal(size=(n, features)), rng.integers(0, classes, n))


MODELS = {
    "ucsd_ece285": Model(
        lambda rng, dtype: dense(6, 5, 4, activation=nn.ReLU, dtype=dtype, rng=rng),
        nn.CrossEntropyLoss(),
        labelled(6, 4),
    ),
    "usc_ee541_relu": Model(
        lambda rng, dtype: dense(6, 5, 4, 4, 3, activation=nn.ReLU, dtype=dtype, rng=rng),
        nn.CrossEntropyLoss("sum"),
        labelled(6, 3),
    ),
    "usc_ee541_tanh": Model(
        lambda rng, dtype: dense(6, 5, 4, 4, 3, activation=nn.Tanh, dtype=dtype, rng=rng),
        nn.CrossEntropyLoss("mean"),
        labelled(6, 3),
    ),
    "ntnu_tdt4265": Model(
        lambda rng, dtype: dense(
            7, 5, 4, activation=nn.Sigmoid, dtype=dtype, rng=rng, bias=False, first=[nn.AppendOne()]
        ),
        nn.CrossEntropyLoss("mean_entries"),
        labelled(6, 4),
    ),
    "ntnu_tdt4265_improved": Model(
        lambda rng, dtype: dense(
            7, 5, 5, 4, activation=nn.LeCunTanh, dtype=dtype, rng=rng, bias=False, first=[nn.AppendOne()]
        ),
        nn.CrossEntropyLoss(),
        labelled(6, 4),
    ),
    "vu_a1": Model(
        lambda rng, dtype: dense(2, 3, 2, activation=nn.Sigmoid, dtype=dtype, rng=rng),
        nn.CrossEntropyLoss(),
        labelled(2, 2),
    ),
    "vu_a2_sigmoid": Model(
        lambda rng, dtype: dense(2, 3, 2, activation=nn.Sigmoid, dtype=dtype, rng=rng),
        nn.CrossEntropyLoss("sum"),
        labelled(2, 2),
    ),
    "vu_a2_relu": Model(
        lambda rng, dtype: dense(2, 5, 5, 2, activation=nn.ReLU, dtype=dtype, rng=rng),
        nn.CrossEntropyLoss("sum"),
        labelled(2, 2),
    ),
    "normalised": Model(
        lambda rng, dtype: nn.Sequential(
            nn.Linear(4, 5, dtype=dtype, rng=rng), nn.BatchNorm1d(5, dtype=dtype), nn.GELU(),
            nn.Linear(5, 5, dtype=dtype, rng=rng), nn.LayerNorm(5, dtype=dtype), nn.SiLU(),
            nn.Linear(5, 2, dtype=dtype, rng=rng),
        ),
        nn.MSELoss(),
        lambda rng, n: (rng.normal(size=(n, 4)), rng.normal(size=(n, 2))),
    ),
    "embedding": Model(
        lambda rng, dtype: nn.Sequential(
            nn.Embedding(6, 3, dtype=dtype, rng=rng), nn.Flatten(), nn.Linear(12, 1, dtype=dtype, rng=rng)
        ),
        nn.BCEWithLogitsLoss(),
        lambda rng, n: (rng.integers(0, 6, (n, 4)), rng.integers(0, 2, (n, 1)) * 1.0),
    ),
    "lenet": Model(
        lambda rng, dtype: nn.Sequential(
            nn.Conv2d(2, 3, 3, dtype=dtype, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 2, dtype=dtype, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(8, 6, dtype=dtype, rng=rng), nn.ReLU(), nn.Linear(6, 3, dtype=dtype, rng=rng),
        ),
        nn.CrossEntropyLoss(),
        lambda rng, n: (rng.normal(size=(n, 2, 8, 12)), rng.integers(0, 3, n)),
    ),
    "strided_grouped_and_padded": Model(
        lambda rng, dtype: nn.Sequential(
            nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), dilation=(2, 1), groups=2, dtype=dtype, rng=rng),
            nn.Tanh(), nn.AvgPool2d(2, stride=1, padding=1),
            nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False, dtype=dtype, rng=rng), nn.BatchNorm2d(6, dtype=dtype),
            nn.MaxPool2d((3, 2), stride=(1, 2), padding=1), nn.Conv2d(6, 3, 1, dtype=dtype, rng=rng),
            nn.GlobalAvgPool2d(),
        ),
        nn.CrossEntropyLoss(),
        lambda rng, n: (rng.normal(size=(n, 4, 9, 7)), rng.integers(0, 3, n)),
    ),
}  # fmt: skip
