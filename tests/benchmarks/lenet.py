"""A LeNet by the rules of a textbook, in float64: sums over the places of kernels and windows, ReLU, momentum."""

from itertools import product

import numpy as np

PLACES = list(product(range(5), repeat=2))


def trained(problem, epochs):
    """The parameters W1, b1, W2, b2, ... after so many epochs in the order of the data."""
    parameters = [p.astype(np.float64) for pair in zip(problem.weights, problem.biases, strict=True) for p in pair]
    velocities = [0.0] * len(parameters)
    x, t, work = problem.x.astype(np.float64), problem.t, problem.work
    for start in [*range(0, len(x), work.batch)] * epochs:
        rows = slice(start, start + work.batch)
        gradients = derivatives(parameters, x[rows], t[rows])
        velocities = [work.momentum * v + g for v, g in zip(velocities, gradients, strict=True)]
        parameters = [p - work.lr * v for p, v in zip(parameters, velocities, strict=True)]
    return parameters


def derivatives(parameters, x, t):
    """Those of the mean cross-entropy, in the order of the parameters."""
    W, b = parameters[::2], parameters[1::2]
    h, sums = [x], []  # the inputs of the layers, and what they make of them
    for k in range(5):
        if k < 2:
            sums.append(convolution(h[k], W[k]) + b[k][:, None, None])
            h.append(windows(relu(sums[k])).max(axis=(3, 5)))
        else:
            sums.append(h[k].reshape(len(x), -1) @ W[k] + b[k])
            h.append(relu(sums[k]))
    y = np.exp(sums[4]) / np.exp(sums[4]).sum(axis=1, keepdims=True)
    d, found = (y - np.eye(10)[t]) / len(x), []
    for k in reversed(range(5)):
        if k < 2:  # to the winner of each window, which no other equals unless both are 0
            won = windows(relu(sums[k])) == h[k + 1][:, :, :, None, :, None]
            d = (won * d[:, :, :, None, :, None]).reshape(sums[k].shape)
        d = d * (sums[k] > 0) if k < 4 else d
        if k < 2:
            found += d.sum(axis=(0, 2, 3)), to_kernels(d, h[k])
            d = to_images(d, W[k])
        else:
            found += d.sum(axis=0), h[k].reshape(len(x), -1).T @ d
            d = (d @ W[k].T).reshape(h[k].shape)
    return found[::-1]


def relu(a):
    return a * (a > 0)


def windows(h):
    """Images (n, c, 2i, 2j) as (n, c, i, 2, j, 2)."""
    n, channels, height, width = h.shape
    return h.reshape(n, channels, height // 2, 2, width // 2, 2)


def seen(h, p, q):
    """The part of images that meets the kernels' place (p, q)."""
    return h[:, :, p : h.shape[2] - 4 + p, q : h.shape[3] - 4 + q]


def convolution(h, W):
    return sum(np.einsum("ncij,oc->noij", seen(h, p, q), W[:, :, p, q]) for p, q in PLACES)


def to_kernels(d, h):
    return np.stack([np.einsum("noij,ncij->oc", d, seen(h, p, q)) for p, q in PLACES], -1).reshape(
        d.shape[1], h.shape[1], 5, 5
    )


def to_images(d, W):
    n, _, height, width = d.shape
    images = np.zeros((n, W.shape[1], height + 4, width + 4))
    for p, q in PLACES:
        seen(images, p, q)[...] += np.einsum("noij,oc->ncij", d, W[:, :, p, q])
    return images
