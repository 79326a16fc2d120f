"""Networks written by hand that are built or kept wrongly, each beside one that is right; plain Python and NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from chainrule.lab.defects.derivatives import sigmoid, softmax

Array = np.ndarray[Any, Any]
Matrix = Sequence[Sequence[float]]


class ScalarNetwork:
    """Right: inputs, sigmoid units and a softmax on lists of single numbers, trained one sample at a time.

    `w[i][j]` leads from input i to unit j, `v[j][k]` from unit j to output k.
    """

    def __init__(self, w: Matrix, v: Matrix) -> None:
        self.w, self.v = [list(row) for row in w], [list(row) for row in v]
        self.b, self.c = [0.0] * len(v), [0.0] * len(v[0])

    def preactivations(self, x: Sequence[float]) -> list[float]:
        k1 = list(self.b)
        for x_i, row in zip(x, self.w, strict=True):
            for j, w_ij in enumerate(row):
                k1[j] += x_i * w_ij
        return k1

    def forward(self, x: Sequence[float]) -> list[float]:
        # Neither exponential overflows, however large a pre-activation is.
        self.h = [1 / (1 + math.exp(-k)) if k > 0 else (e := math.exp(k)) / (1 + e) for k in self.preactivations(x)]
        k2 = list(self.c)
        for h_j, row in zip(self.h, self.v, strict=True):
            for k, v_jk in enumerate(row):
                k2[k] += h_j * v_jk
        largest = max(k2)
        y = [math.exp(k - largest) for k in k2]
        total = sum(y)
        return [each / total for each in y]

    def step(self, x: Sequence[float], t: int, lr: float) -> float:
        """One step down the gradient of -ln y[t]; returns the loss before it."""
        y = self.forward(x)
        loss = -math.log(y[t])
        y[t] -= 1  # from here on the derivative by k2
        for j, h_j in enumerate(self.h):
            v_j, d_h = self.v[j], 0.0
            for k, d_k in enumerate(y):
                d_h += v_j[k] * d_k
                v_j[k] -= lr * h_j * d_k
            d_k1 = d_h * h_j * (1 - h_j)
            self.b[j] -= lr * d_k1
            for x_i, w_i in zip(x, self.w, strict=True):
                w_i[j] -= lr * x_i * d_k1
        for k, d_k in enumerate(y):
            self.c[k] -= lr * d_k
        return loss


class ScalarNetworkThatRemembers(ScalarNetwork):
    """6.1: the list of pre-activations is made once, and each sample is added to what the ones before left there."""

    def __init__(self, w: Matrix, v: Matrix) -> None:
        super().__init__(w, v)
        self.k1 = [0.0] * len(v)

    def preactivations(self, x: Sequence[float]) -> list[float]:
        for j in range(len(self.k1)):
            for i, x_i in enumerate(x):
                self.k1[j] += x_i * self.w[i][j]
            self.k1[j] += self.b[j]
        return self.k1


class Network:
    """Right: 784-300-10 with sigmoid units, its weights scaled by the number of inputs of each unit."""

    def __init__(self, rng: np.random.Generator, sizes: tuple[int, int, int] = (784, 300, 10)) -> None:
        n, h, c = sizes
        self.parameters = {
            "W1": rng.normal(size=(n, h)) * np.sqrt(1 / n),
            "b1": np.zeros(h),
            "W2": rng.normal(size=(h, c)) * np.sqrt(1 / h),
            "b2": np.zeros(c),
        }

    def forward(self, x: Array) -> Array:
        self.a = x @ self.parameters["W1"] + self.parameters["b1"]
        self.h = sigmoid(self.a)
        return softmax(self.h @ self.parameters["W2"] + self.parameters["b2"])


class NetworkScaledByFanOut(Network):
    """6.6: the weights are scaled by the number of units that they lead to."""

    def __init__(self, rng: np.random.Generator, sizes: tuple[int, int, int] = (784, 300, 10)) -> None:
        n, h, c = sizes
        self.parameters = {
            "W1": rng.normal(size=(n, h)) * np.sqrt(1 / h),
            "b1": np.zeros(h),
            "W2": rng.normal(size=(h, c)) * np.sqrt(1 / c),
            "b2": np.zeros(c),
        }


class SmallNetwork(Network):
    """Right: 2-3-2 with weights that are N(0, 1), as its author says."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng, (2, 3, 2))
        self.parameters["W1"] = rng.normal(0, 1, (2, 3))
        self.parameters["W2"] = rng.normal(0, 1, (3, 2))


class SmallNetworkWithLargeWeights(Network):
    """6.8: weights said to be N(0, 1), but drawn evenly from -10 to 10, which has a root mean square of 5.8."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng, (2, 3, 2))
        self.parameters["W1"] = rng.uniform(-10, 10, (2, 3))
        self.parameters["W2"] = rng.uniform(-10, 10, (3, 2))


class Layer:
    """A linear layer that finds its gradients; the layers below are built from it."""

    def __init__(self, n: int, m: int, rng: np.random.Generator) -> None:
        self.W, self.b = rng.normal(size=(n, m)) / np.sqrt(n), np.zeros(m)

    def forward(self, x: Array) -> Array:
        self.x = x
        y: Array = x @ self.W + self.b
        return y

    def backward(self, d: Array) -> Array:
        self.dW, self.db = self.x.T @ d, d.sum(axis=0)
        dx: Array = d @ self.W.T
        return dx


class Model:
    """Right: three layers with ReLUs between them; `parameters` yields every layer's, each with its gradient."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.first, self.second, self.last = Layer(4, 8, rng), Layer(8, 8, rng), Layer(8, 3, rng)

    def parameters(self) -> Iterator[tuple[Array, Array]]:
        for layer in (self.first, self.second, self.last):
            yield layer.W, layer.dW
            yield layer.b, layer.db

    def forward(self, x: Array) -> Array:
        self.h1 = np.maximum(self.first.forward(x), 0)
        self.h2 = np.maximum(self.second.forward(self.h1), 0)
        return softmax(self.last.forward(self.h2))

    def step(self, x: Array, t: Array, lr: float) -> float:
        """One step on a batch with labels t; returns the loss before it."""
        y = self.forward(x)
        d2 = self.last.backward((y - np.eye(y.shape[1])[t]) / len(x)) * (self.h2 > 0)
        self.first.backward(self.second.backward(d2) * (self.h1 > 0))
        for parameter, gradient in self.parameters():
            parameter -= lr * gradient
        return float(-np.log(y[np.arange(len(x)), t]).mean())


class ModelThatForgetsALayer(Model):
    """6.12: a layer was added later, and nobody told `parameters`."""

    def parameters(self) -> Iterator[tuple[Array, Array]]:
        for layer in (self.first, self.last):
            yield layer.W, layer.dW
            yield layer.b, layer.db


class DeepNetwork:
    """Right: ten hidden layers of 64, with the tanh that keeps the spread of its inputs. [LeCun et al. 1998]"""

    def __init__(self, rng: np.random.Generator, inputs: int = 20, classes: int = 5) -> None:
        sizes = [inputs, *[64] * 10, classes]
        self.layers = [Layer(n, m, rng) for n, m in pairwise(sizes)]

    def activation(self, a: Array) -> tuple[Array, Array]:
        """The activation, and its derivative."""
        th = np.tanh(2 / 3 * a)
        return 1.7159 * th, 1.7159 * 2 / 3 * (1 - th**2)

    def gradients(self, x: Array, t: Array) -> list[Array]:
        """The gradient of the mean cross-entropy by each layer's weights, from the first layer to the last."""
        slopes = []
        for layer in self.layers[:-1]:
            x, slope = self.activation(layer.forward(x))
            slopes.append(slope)
        y = softmax(self.layers[-1].forward(x))
        d = self.layers[-1].backward((y - np.eye(y.shape[1])[t]) / len(t))
        for layer, slope in zip(self.layers[-2::-1], slopes[::-1], strict=True):
            d = layer.backward(d * slope)
        return [layer.dW for layer in self.layers]


class DeepNetworkThatVanishes(DeepNetwork):
    """6.22: ten sigmoids, whose slopes of at most 1/4 multiply; without a look at the norms nobody knows."""

    def activation(self, a: Array) -> tuple[Array, Array]:
        h = sigmoid(a)
        return h, h * (1 - h)
