"""Feed-forward networks: two and three layers, residual, tied, in steps and as classes."""

from __future__ import annotations

import numpy as np

from .case import given, labels, plant, small
from .reductions import softmax


def sigmoid(a):
    """1 / (1 + e^-a)."""
    return 1 / (1 + np.exp(-a))


def relu_net(X, y, W1, b1, W2, b2):
    """CS231n's two-layer network with L2 regularisation of 0.05."""
    h = np.maximum(0, X.dot(W1) + b1)
    probs = softmax(h.dot(W2) + b2)
    loss = -np.log(probs[np.arange(len(y)), y]).mean()
    return loss + 0.05 * (np.sum(W1 * W1) + np.sum(W2 * W2))


def relu_net_backward(X, y, W1, b1, W2, b2):
    """CS231n's two-layer network."""
    grads = {}
    N = X.shape[0]
    a1 = X.dot(W1) + b1
    h = np.maximum(0, a1)
    dscores = softmax(h.dot(W2) + b2)
    dscores[np.arange(N), y] -= 1
    dscores /= N
    grads["W2"] = h.T.dot(dscores) + 0.1 * W2
    grads["b2"] = np.sum(dscores, axis=0)
    dh = dscores.dot(W2.T)
    dh[a1 <= 0] = 0
    grads["W1"] = X.T.dot(dh) + 0.1 * W1
    grads["b1"] = np.sum(dh, axis=0)
    return grads


def sigmoid_net(X, T, W1, b1, W2, b2):
    """Squared error on sigmoid outputs, half the sum over everything: the exercise of every textbook."""
    H = sigmoid(X @ W1 + b1)
    Y = sigmoid(H @ W2 + b2)
    return 0.5 * np.sum((Y - T) ** 2)


def sigmoid_net_backward(X, T, W1, b1, W2, b2):
    """deltas, as in Bishop."""
    A1 = X @ W1 + b1
    H = sigmoid(A1)
    A2 = H @ W2 + b2
    Y = sigmoid(A2)
    delta2 = (Y - T) * Y * (1 - Y)
    delta1 = delta2 @ W2.T * H * (1 - H)
    return {
        "dW1": X.T @ delta1,
        "db1": delta1.sum(axis=0),
        "dW2": H.T @ delta2,
        "db2": delta2.sum(axis=0),
    }


def sigmoid_net_step(X, T, W1, b1, W2, b2, lr):
    """One step of gradient descent, in place."""
    H = sigmoid(X @ W1 + b1)
    Y = sigmoid(H @ W2 + b2)
    d2 = (Y - T) * Y * (1 - Y)
    d1 = (d2 @ W2.T) * H * (1 - H)
    W2 -= lr * H.T @ d2
    b2 -= lr * d2.sum(axis=0)
    W1 -= lr * X.T @ d1
    b1 -= lr * d1.sum(axis=0)
    return {"W1": W1, "b1": b1, "W2": W2, "b2": b2}


def tanh_net3(X, t, W1, W2, W3):
    """Three layers without biases; the mean squared error of one output."""
    h1 = np.tanh(X @ W1)
    h2 = np.tanh(h1 @ W2)
    return np.mean((h2 @ W3 - t) ** 2)


def tanh_net3_backward(X, t, W1, W2, W3):
    """From the last layer to the first."""
    z1 = X @ W1
    h1 = np.tanh(z1)
    z2 = h1 @ W2
    h2 = np.tanh(z2)
    dout = 2 * (h2 @ W3 - t) / t.size
    gW3 = h2.T @ dout
    dz2 = dout @ W3.T * (1 - h2**2)
    gW2 = h1.T @ dz2
    dz1 = dz2 @ W2.T * (1 - h1**2)
    gW1 = X.T @ dz1
    return {"grad_W1": gW1, "grad_W2": gW2, "grad_W3": gW3}


def tanh_net3_step(X, t, W1, W2, W3, lr):
    """A training step that returns new weights."""
    h1 = np.tanh(X @ W1)
    h2 = np.tanh(h1 @ W2)
    error = h2 @ W3 - t
    g3 = h2.T @ error
    back2 = (error @ W3.T) * (1 - h2**2)
    g2 = h1.T @ back2
    back1 = (back2 @ W2.T) * (1 - h1**2)
    g1 = X.T @ back1
    scale = 2 * lr / t.size
    return {"W1": W1 - scale * g1, "W2": W2 - scale * g2, "W3": W3 - scale * g3}


def logistic(X, y, w, b):
    """Logistic regression, mean log loss; labels 0 and 1."""
    z = X @ w + b
    return np.mean(np.log1p(np.exp(z)) - y * z)


def logistic_step(X, y, w, b, lr):
    """As in Andrew Ng's course."""
    m = X.shape[0]
    A = sigmoid(X @ w + b)
    dw = 1 / m * X.T @ (A - y)
    db = 1 / m * np.sum(A - y)
    w = w - lr * dw
    b = b - lr * db
    return {"w": w, "b": b}


def logistic_grads(X, y, w, b, grads=None):
    """Sample by sample, into a dictionary."""
    grads = {}
    for x_i, y_i in zip(X, y, strict=True):
        e = (sigmoid(x_i @ w + b) - y_i) / len(y)
        grads["dw"] = grads.get("dw", 0) + e * x_i
        grads["db"] = grads.get("db", 0) + e
    return dict(grads)


def residual(x, W1, W2):
    """x + relu(x W1) W2."""
    return x + np.maximum(x @ W1, 0) @ W2


def residual_backward(x, W1, W2, dout):
    """Both ways back to x."""
    h = np.maximum(x @ W1, 0)
    dW2 = h.T @ dout
    dh = dout @ W2.T
    dh = dh * (h > 0)
    dW1 = x.T @ dh
    dx = dout.copy()
    dx += dh @ W1.T
    return dx, dW1, dW2


def autoencoder(X, W, b, c):
    """Weights tied: decoded by the transpose."""
    H = sigmoid(X @ W + b)
    return np.sum((H @ W.T + c - X) ** 2) / len(X)


def autoencoder_backward(X, W, b, c):
    """W works twice."""
    H = sigmoid(X @ W + b)
    d_out = 2 * (H @ W.T + c - X) / len(X)
    grad_W = d_out.T @ H
    grad_c = d_out.sum(0)
    d_H = d_out @ W
    d_a = d_H * H * (1 - H)
    grad_W += X.T @ d_a
    grad_b = d_a.sum(0)
    return {"grad_W": grad_W, "grad_b": grad_b, "grad_c": grad_c}


class Net:
    """A class as on Stack Overflow: tanh, softmax, mean cross-entropy."""

    def __init__(self, params):
        self.params = params
        self.grads = {}

    def forward(self, X, y):
        p = self.params
        self.X, self.y = X, y
        self.h = np.tanh(X @ p["W1"] + p["b1"])
        self.probs = softmax(self.h @ p["W2"] + p["b2"])
        return -np.mean(np.log(self.probs[np.arange(len(y)), y]))

    def backward(self):
        self.grads = {name: np.zeros_like(value) for name, value in self.params.items()}
        n = len(self.y)
        d2 = self.probs.copy()
        d2[np.arange(n), self.y] -= 1
        d2 /= n
        self.grads["W2"] += self.h.T @ d2
        self.grads["b2"] += d2.sum(axis=0)
        d1 = d2 @ self.params["W2"].T
        d1 = d1 * (1 - self.h**2)
        self.grads["W1"] += self.X.T @ d1
        self.grads["b1"] += d1.sum(axis=0)

    def update(self, lr):
        for name in self.params:
            self.params[name] = self.params[name] - lr * self.grads[name]


def net(X, y, W1, b1, W2, b2):
    """What Net.forward computes."""
    probs = softmax(np.tanh(X @ W1 + b1) @ W2 + b2)
    return -np.mean(np.log(probs[np.arange(len(y)), y]))


class Dense:
    """A layer that adds to its gradients, as PyTorch does."""

    def __init__(self, W, b):
        self.W, self.b = W, b
        self.zero_grad()

    def zero_grad(self):
        self.dW, self.db = np.zeros_like(self.W), np.zeros_like(self.b)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, d):
        self.dW += self.x.T @ d
        self.db += d.sum(axis=0)
        return d @ self.W.T


class LayeredNet:
    """Two such layers with a ReLU between them; half the mean squared error, and weight decay of 0.1 in the loss."""

    def __init__(self, params):
        self.params = params
        self.layers = [Dense(params["W1"], params["b1"]), Dense(params["W2"], params["b2"])]

    def forward(self, X, t):
        first, second = self.layers
        self.mask = (a := first.forward(X)) > 0
        self.error = second.forward(a * self.mask) - t
        decay = 0.05 * sum((layer.W**2).sum() for layer in self.layers)
        return 0.5 * (self.error**2).sum() / len(X) + decay

    def backward(self):
        for layer in self.layers:
            layer.zero_grad()
        first, second = self.layers
        d = second.backward(self.error / len(self.error))
        first.backward(d * self.mask)
        for layer in self.layers:
            layer.dW += 0.1 * layer.W
        return {"dW1": first.dW, "db1": first.db, "dW2": second.dW, "db2": second.db}

    def update(self, lr):
        for layer in self.layers:
            layer.W -= lr * layer.dW
            layer.b -= lr * layer.db


def layered_net(X, t, W1, b1, W2, b2):
    """What LayeredNet.forward computes."""
    error = np.maximum(X @ W1 + b1, 0) @ W2 + b2 - t
    return 0.5 * (error**2).sum() / len(X) + 0.05 * ((W1**2).sum() + (W2**2).sum())


_P = "W1 b1 W2 b2"
_labelled = given(X=(6, 5), y=labels(6, 3), W1=small(5, 4), b1=(4,), W2=small(4, 3), b2=(3,))
_targets = given(X=(6, 5), T=(6, 3), W1=(5, 4), b1=(4,), W2=(4, 3), b2=(3,))
_square = given(X=(4, 4), T=(4, 4), W1=(4, 4), b1=(4,), W2=(4, 4), b2=(4,))
_three = given(X=(6, 5), t=(6, 1), W1=small(5, 4), W2=small(4, 4), W3=(4, 1))
_binary = given(X=(6, 5), y=labels(6, 2), w=(5,), b=())
_residual = given(x=(6, 5), W1=(5, 4), W2=(4, 5))
_auto = given(X=(6, 5), W=(5, 3), b=(3,), c=(5,))
_layers = given(X=(6, 5), t=(6, 3), W1=(5, 4), b1=(4,), W2=(4, 3), b2=(3,))

# fmt: off
CASES = [
    plant("relu-net-without-mask", "missing activation derivative", relu_net, relu_net_backward, _labelled,
          ("    dh[a1 <= 0] = 0\n", ""), wrt=_P),
    plant("relu-net-no-decay-of-W1", "other loss", relu_net, relu_net_backward, _labelled,
          (" + 0.1 * W1", ""), wrt=_P),
    plant("relu-net-not-averaged", "factor", relu_net, relu_net_backward, _labelled,
          ("    dscores /= N\n", ""), wrt=_P),
    plant("relu-net-weights-by-preactivation", "wrong point", relu_net, relu_net_backward, _labelled,
          ("h.T.dot(dscores)", "a1.T.dot(dscores)"), wrt=_P),
    plant("relu-net-bias-not-summed", "missing sum", relu_net, relu_net_backward, _labelled,
          ("np.sum(dh, axis=0)", "dh"), wrt=_P),
    plant("sigmoid-net-output-slope-missing", "missing activation derivative | other loss", sigmoid_net,
          sigmoid_net_backward, _targets, ("(Y - T) * Y * (1 - Y)", "(Y - T)"), wrt=_P),
    plant("sigmoid-net-hidden-slope-missing", "missing activation derivative", sigmoid_net, sigmoid_net_backward,
          _targets, ("delta2 @ W2.T * H * (1 - H)", "delta2 @ W2.T"), wrt=_P),
    plant("sigmoid-net-hidden-slope-by-preactivation", "wrong point", sigmoid_net, sigmoid_net_backward, _targets,
          ("W2.T * H * (1 - H)", "W2.T * A1 * (1 - A1)"), wrt=_P),
    plant("sigmoid-net-slope-of-slope", "wrong point", sigmoid_net, sigmoid_net_backward, _targets,
          ("(Y - T) * Y * (1 - Y)", "(Y - T) * sigmoid(Y) * (1 - sigmoid(Y))"), wrt=_P),
    plant("sigmoid-net-target-minus-output", "sign", sigmoid_net, sigmoid_net_backward, _targets,
          ("(Y - T)", "(T - Y)"), wrt=_P),
    plant("sigmoid-net-W2-not-transposed", "transpose", sigmoid_net, sigmoid_net_backward, _square,
          ("delta2 @ W2.T", "delta2 @ W2"), wrt=_P),
    plant("sigmoid-net-bias-over-outputs", "wrong axis", sigmoid_net, sigmoid_net_backward, _square,
          ("delta1.sum(axis=0)", "delta1.sum(axis=1)"), wrt=_P),
    plant("step-up-the-gradient", "sign", sigmoid_net, sigmoid_net_step, _targets,
          ("W2 -= lr", "W2 += lr"), ("W1 -= lr", "W1 += lr"), ("b1 -= lr", "b1 += lr"), ("b2 -= lr", "b2 += lr"),
          shape="update", wrt=_P),
    plant("step-with-updated-W2", "wrong point", sigmoid_net, sigmoid_net_step, _targets,
          ("    d1 = (d2 @ W2.T) * H * (1 - H)\n    W2 -= lr * H.T @ d2\n",
           "    W2 -= lr * H.T @ d2\n    d1 = (d2 @ W2.T) * H * (1 - H)\n"),
          shape="update", wrt=_P),
    plant("step-hidden-slope-missing", "missing activation derivative", sigmoid_net, sigmoid_net_step, _targets,
          ("(d2 @ W2.T) * H * (1 - H)", "d2 @ W2.T"), shape="update", wrt=_P),
    plant("tanh-net-middle-slope-missing", "missing activation derivative", tanh_net3, tanh_net3_backward, _three,
          ("dout @ W3.T * (1 - h2**2)", "dout @ W3.T"), wrt="W1 W2 W3"),
    plant("tanh-net-slope-by-preactivation", "wrong point", tanh_net3, tanh_net3_backward, _three,
          ("(1 - h1**2)", "(1 - z1**2)"), wrt="W1 W2 W3"),
    plant("tanh-net-slope-of-other-layer", "wrong point", tanh_net3, tanh_net3_backward, _three,
          ("(1 - h1**2)", "(1 - h2**2)"), wrt="W1 W2 W3"),
    plant("tanh-net-middle-transpose", "transpose", tanh_net3, tanh_net3_backward, _three,
          ("dz2 @ W2.T", "dz2 @ W2"), wrt="W1 W2 W3"),
    plant("tanh-step-without-2", "factor", tanh_net3, tanh_net3_step, _three,
          ("2 * lr / t.size", "lr / t.size"), shape="update", wrt="W1 W2 W3"),
    plant("tanh-step-one-weight-up", "sign", tanh_net3, tanh_net3_step, _three,
          ("W2 - scale", "W2 + scale"), shape="update", wrt="W1 W2 W3"),
    plant("logistic-step-sum-for-mean", "factor", logistic, logistic_step, _binary,
          ("1 / m * X.T", "X.T"), shape="update", wrt="w b"),
    plant("logistic-step-bias-is-a-vector", "missing sum", logistic, logistic_step, _binary,
          ("np.sum(A - y)", "(A - y)"), shape="update", wrt="w b"),
    plant("logistic-kept-in-default", "accumulated", logistic, logistic_grads, _binary,
          ("grads=None", "grads={}"), ("    grads = {}\n", ""), wrt="w b"),
    plant("logistic-last-sample", "overwritten", logistic, logistic_grads, _binary,
          ('grads.get("dw", 0) + e * x_i', "e * x_i"), wrt="w b"),
    plant("residual-skip-lost", "overwritten", residual, residual_backward, _residual,
          ("dx += dh", "dx = dh"), shape="directional"),
    plant("residual-branch-lost", "overwritten", residual, residual_backward, _residual,
          ("    dx += dh @ W1.T\n", ""), shape="directional"),
    plant("residual-without-mask", "missing activation derivative", residual, residual_backward, _residual,
          ("    dh = dh * (h > 0)\n", ""), shape="directional"),
    plant("tied-decoder-lost", "overwritten", autoencoder, autoencoder_backward, _auto,
          ("grad_W += X.T", "grad_W = X.T"), wrt="W b c"),
    plant("tied-encoder-transposed", "transpose", autoencoder, autoencoder_backward,
          given(X=(6, 4), W=(4, 4), b=(4,), c=(4,)), ("d_out.T @ H", "H.T @ d_out"), wrt="W b c"),
    plant("class-gradients-kept", "accumulated", net, Net, _labelled,
          ("self.grads = {}\n", "self.grads = {name: np.zeros_like(value) for name, value in params.items()}\n"),
          ("        self.grads = {name: np.zeros_like(value) for name, value in self.params.items()}\n        n =",
           "        n ="), shape="class", wrt=_P),
    plant("class-hidden-slope-missing", "missing activation derivative", net, Net, _labelled,
          ("        d1 = d1 * (1 - self.h**2)\n", ""), shape="class", wrt=_P),
    plant("class-not-averaged", "factor", net, Net, _labelled, ("        d2 /= n\n", ""), shape="class", wrt=_P),
    plant("class-probabilities-sign", "sign", net, Net, _labelled,
          ("d2[np.arange(n), self.y] -= 1", "d2[np.arange(n), self.y] += 1"), shape="class", wrt=_P),
    plant("class-zero-grad-forgotten", "accumulated", layered_net, LayeredNet, _layers,
          ("        for layer in self.layers:\n            layer.zero_grad()\n", ""), shape="class", wrt=_P),
    plant("class-decay-not-in-gradient", "other loss", layered_net, LayeredNet, _layers,
          ("        for layer in self.layers:\n            layer.dW += 0.1 * layer.W\n", ""), shape="class", wrt=_P),
    plant("class-relu-mask-missing", "missing activation derivative", layered_net, LayeredNet, _layers,
          ("first.backward(d * self.mask)", "first.backward(d)"), shape="class", wrt=_P),
]
