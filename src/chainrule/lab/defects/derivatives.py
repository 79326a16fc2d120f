"""Losses and gradients written by hand, each as people get it wrong and as it is right. Only NumPy is used: this is the
kind of code that the library is given to judge, not how the library computes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Parameters = dict[str, Array]
LossAndGradients = tuple[float, Parameters]


def sigmoid(a: Array) -> Array:
    """1 / (1 + e⁻ᵃ)."""
    y: Array = 1 / (1 + np.exp(-a))
    return y


def softmax(o: Array) -> Array:
    """Each row of (N, C) by itself."""
    e = np.exp(o - o.max(axis=1, keepdims=True))
    y: Array = e / e.sum(axis=1, keepdims=True)
    return y


def softmax_regression(p: Parameters, x: Array, t: Array) -> LossAndGradients:
    """Right: the cross-entropy per sample of one linear layer W (n, C), b (C,), labels t (N,), and its gradients."""
    N = len(x)
    y = softmax(x @ p["W"] + p["b"])
    loss = -np.log(y[np.arange(N), t]).mean()
    d = (y - np.eye(y.shape[1])[t]) / N
    return loss, {"W": x.T @ d, "b": d.sum(axis=0)}


def reports_another_loss(p: Parameters, x: Array, t: Array) -> LossAndGradients:
    """6.3: the loss is a binary cross-entropy over the C outputs, the gradient that of the categorical one."""
    N = len(x)
    y = softmax(x @ p["W"] + p["b"])
    one_hot = np.eye(y.shape[1])[t]
    loss = -(one_hot * np.log(y) + (1 - one_hot) * np.log(1 - y)).mean()
    d = (y - one_hot) / N
    return loss, {"W": x.T @ d, "b": d.sum(axis=0)}


def scaled_for_two_classes(p: Parameters, x: Array, t: Array) -> LossAndGradients:
    """6.9: loss and gradient carry a factor 2/C, which is 1 for two classes only."""
    N = len(x)
    y = softmax(x @ p["W"] + p["b"])
    factor = 2 / y.shape[1]
    loss = -factor * np.log(y[np.arange(N), t]).mean()
    d = factor * (y - np.eye(y.shape[1])[t]) / N
    return loss, {"W": x.T @ d, "b": d.sum(axis=0)}


def averages_over_classes(p: Parameters, x: Array, t: Array) -> LossAndGradients:
    """6.11: the loss is averaged over all N·C entries, of which N are not zero; the gradient is that per sample."""
    N = len(x)
    y = softmax(x @ p["W"] + p["b"])
    one_hot = np.eye(y.shape[1])[t]
    loss = -(one_hot * np.log(y)).mean()
    d = (y - one_hot) / N
    return loss, {"W": x.T @ d, "b": d.sum(axis=0)}


def shifts_by_the_whole_batch(p: Parameters, x: Array, t: Array) -> LossAndGradients:
    """6.17: one maximum is taken off all rows, so that a row far below it becomes 0/0."""
    N = len(x)
    o = x @ p["W"] + p["b"]
    e = np.exp(o - o.max())
    y = e / e.sum(axis=1, keepdims=True)
    loss = -np.log(y[np.arange(N), t]).mean()
    d = (y - np.eye(y.shape[1])[t]) / N
    return loss, {"W": x.T @ d, "b": d.sum(axis=0)}


def sums_gradients(p: Parameters, x: Array, t: Array) -> LossAndGradients:
    """6.18: the loss is the mean over the batch, the gradients are sums over it."""
    N = len(x)
    y = softmax(x @ p["W"] + p["b"])
    loss = -np.log(y[np.arange(N), t]).mean()
    d = y - np.eye(y.shape[1])[t]
    return loss, {"W": x.T @ d, "b": d.sum(axis=0)}


def one_sample(p: Parameters, x: Array, t: int) -> LossAndGradients:
    """Right: a sigmoid network on one sample x (1, n) with its label t."""
    h = sigmoid(x @ p["W1"] + p["b1"])
    y = softmax(h @ p["W2"] + p["b2"])
    loss = -np.log(y[0, t])
    d2 = y - np.eye(y.shape[1])[t]
    d1 = d2 @ p["W2"].T * h * (1 - h)
    return loss, {"W1": x.T @ d1, "b1": d1.sum(axis=0), "W2": h.T @ d2, "b2": d2.sum(axis=0)}


def sums_biases_over_outputs(p: Parameters, x: Array, t: int) -> LossAndGradients:
    """6.4: the bias gradients are summed over the outputs, not the samples; broadcasting hides it from one sample."""
    h = sigmoid(x @ p["W1"] + p["b1"])
    y = softmax(h @ p["W2"] + p["b2"])
    loss = -np.log(y[0, t])
    d2 = y - np.eye(y.shape[1])[t]
    d1 = d2 @ p["W2"].T * h * (1 - h)
    return loss, {"W1": x.T @ d1, "b1": d1.sum(axis=1), "W2": h.T @ d2, "b2": d2.sum(axis=1)}


def softmax_over_samples(p: Parameters, x: Array, t: int) -> LossAndGradients:
    """6.5: the softmax runs along the samples; of a single sample each output is 1."""
    h = sigmoid(x @ p["W1"] + p["b1"])
    o = h @ p["W2"] + p["b2"]
    e = np.exp(o - o.max(axis=0))
    y = e / e.sum(axis=0)
    loss = -np.log(y[0, t])
    d2 = y - np.eye(y.shape[1])[t]
    d1 = d2 @ p["W2"].T * h * (1 - h)
    return loss, {"W1": x.T @ d1, "b1": d1.sum(axis=0), "W2": h.T @ d2, "b2": d2.sum(axis=0)}


def cross_entropy_backward(o: Array, t: Array) -> Array:
    """Right: the gradient of Σ -ln softmax(o)[t] by the logits o (N, C), in one piece: y - t."""
    d: Array = softmax(o) - np.eye(o.shape[1])[t]
    return d


def cross_entropy_backward_in_two(o: Array, t: Array) -> Array:
    """6.10: the same in two pieces, -t/y and the derivative of softmax; where y is 0 they are ∞ · 0."""
    y = softmax(o)
    dy = -np.eye(o.shape[1])[t] / y
    d: Array = y * (dy - (dy * y).sum(axis=1, keepdims=True))
    return d


class Divide:
    """Right: x / y, element by element, as an op with its two directions."""

    @staticmethod
    def forward(x: Array, y: Array) -> Array:
        return x / y

    @staticmethod
    def backward(g: Array, x: Array, y: Array) -> tuple[Array, Array]:
        return g / y, -g * x / y**2


class DivideWithoutSign:
    """6.13: the quotient rule's minus is lost on the way to the denominator."""

    @staticmethod
    def forward(x: Array, y: Array) -> Array:
        return x / y

    @staticmethod
    def backward(g: Array, x: Array, y: Array) -> tuple[Array, Array]:
        return g / y, g * x / y**2


class Expand:
    """Right: a column (N, 1) repeated to (N, 16); each copy has its part in the gradient."""

    @staticmethod
    def forward(x: Array) -> Array:
        return np.repeat(x, 16, axis=1)

    @staticmethod
    def backward(g: Array, x: Array) -> tuple[Array]:
        return (g.sum(axis=1, keepdims=True),)


class ExpandWithoutSum:
    """6.14: the copies' gradients are handed on as they are, sixteen times too wide."""

    @staticmethod
    def forward(x: Array) -> Array:
        return np.repeat(x, 16, axis=1)

    @staticmethod
    def backward(g: Array, x: Array) -> tuple[Array]:
        return (g,)
