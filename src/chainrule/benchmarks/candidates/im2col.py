"""A convolutional network as a careful person writes it without a library: a convolution is a matrix product with
columns, one for each place of the kernel in each channel.

Images are (n, height, width, channels), so that the rows of the product are the pixels of the result; only the features
for the layers behind them are put into the order (channel, row, column) that everybody has.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from chainrule.benchmarks.candidates.by_hand import epochs_of, error
from chainrule.benchmarks.run import Run
from chainrule.benchmarks.works import KERNEL, POOL, Array, Problem

Pair = tuple[Array, Array]  # weight and bias, or their gradients
Kept = tuple[tuple[int, ...], Array, Array, Array]  # of a convolution: its input's shape, columns, ReLUs, maxima


def training(problem: Problem) -> Run:
    """Forward, backward and update in NumPy; the activation is ReLU."""
    pairs = [(weight.copy(), bias.copy()) for weight, bias in zip(problem.weights, problem.biases, strict=True)]
    parameters = [p for pair in pairs for p in pair]
    velocities = [np.zeros_like(p) for p in parameters]
    first = len(problem.work.channels) - 1  # of the layers without kernels
    kernels, layers = pairs[:first], pairs[first:]

    def step(x: Array, t: Array) -> None:
        kept = []
        for W, b in kernels:
            x, of_it = _convolution(x, W, b)
            kept.append(of_it)
        gradients, d = _layers(x.transpose(0, 3, 1, 2).reshape(len(x), -1), t, layers)
        n, height, width, channels = x.shape
        d = d.reshape(n, channels, height, width).transpose(0, 2, 3, 1)
        for k in range(first - 1, -1, -1):
            pair, d = _convolution_backward(d, kernels[k][0], kept[k], to_images=k > 0)
            gradients.insert(0, pair)
        for p, v, g in zip(parameters, velocities, (g for pair in gradients for g in pair), strict=True):
            v *= problem.work.momentum
            v += g
            p -= problem.work.lr * v

    images = np.ascontiguousarray(problem.x.transpose(0, 2, 3, 1))
    return Run(epochs_of(problem, images, step), lambda: [p.copy() for p in parameters])


def _layers(x: Array, t: Array, layers: list[Pair]) -> tuple[list[Pair], Array]:
    """The gradients of layers without kernels, and that of their input."""
    h, last = [x], len(layers) - 1
    for W, b in layers[:last]:
        h.append(np.maximum(h[-1] @ W + b, 0))
    W, b = layers[last]
    d = error(h[last] @ W + b, t)
    d /= len(t)
    gradients: list[Pair] = []
    for k in range(last, -1, -1):
        gradients.insert(0, (h[k].T @ d, d.sum(axis=0)))
        d = d @ layers[k][0].T
        if k:
            d *= h[k] > 0
    return gradients, d


def _convolution(x: Array, W: Array, b: Array) -> tuple[Array, Kept]:
    """Convolution, ReLU and the maximum over windows."""
    windows = sliding_window_view(x, (KERNEL, KERNEL), axis=(1, 2))
    columns = windows.reshape(-1, W[0].size)  # a copy
    y = (columns @ W.reshape(len(W), -1).T).reshape(*windows.shape[:3], len(W))
    y += b
    np.maximum(y, 0, out=y)
    top = y[:, ::POOL, ::POOL]
    for place in _places(y)[1:]:
        top = np.maximum(top, place)
    return top, (x.shape, columns, y, top)


def _convolution_backward(d: Array, W: Array, kept: Kept, to_images: bool) -> tuple[Pair, Array]:
    """The gradients of weight and bias, and of the images where anybody asks for it."""
    shape, columns, y, top = kept
    d = d * (top > 0)
    pooled, d = d, np.empty_like(y)
    free = np.ones(top.shape, bool)  # the first of equal elements takes it all
    for place, value in zip(_places(d), _places(y), strict=True):
        won = free & (value == top)
        free ^= won
        np.multiply(pooled, won, out=place)
    d = d.reshape(-1, len(W))
    pair = (d.T @ columns).reshape(W.shape), d.sum(axis=0)
    if not to_images:
        return pair, d
    height, width = y.shape[1:3]
    behind = (d @ W.reshape(len(W), -1)).reshape(len(y), height, width, *W.shape[1:])
    images = np.zeros(shape, y.dtype)
    for row, column in product(range(KERNEL), repeat=2):
        images[:, row : row + height, column : column + width] += behind[..., row, column]
    return pair, images


def _places(y: Array) -> list[Array]:
    """The elements at each place of the windows, as views."""
    return [y[:, row::POOL, column::POOL] for row, column in product(range(POOL), repeat=2)]
