"""Convolutions, pooling, and other places where indices repeat."""

# ruff: noqa: RUF059 (this is how people write)

from __future__ import annotations

import numpy as np

from .case import apart, given, labels, plant


def conv1d(x, w, b):
    """(batch, length), one filter, as a loop over windows."""
    K = len(w)
    out = np.zeros((x.shape[0], x.shape[1] - K + 1))
    for i in range(out.shape[1]):
        out[:, i] = x[:, i : i + K] @ w + b
    return out


def conv1d_backward(x, w, b, dout):
    """Windows overlap, so that their gradients add up."""
    K = len(w)
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), 0.0
    for i in range(dout.shape[1]):
        dx[:, i : i + K] += np.outer(dout[:, i], w)
        dw += x[:, i : i + K].T @ dout[:, i]
        db += dout[:, i].sum()
    return dx, dw, db


def conv2d(x, w, b):
    """CS231n's naive convolution: stride 1, no padding, (N, C, H, W) and (F, C, HH, WW)."""
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    out = np.zeros((N, F, H - HH + 1, W - WW + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            window = x[:, :, i : i + HH, j : j + WW]
            out[:, :, i, j] = np.tensordot(window, w, axes=([1, 2, 3], [1, 2, 3])) + b
    return out, (x, w, b)


def conv2d_backward(dout, cache):
    """Four loops, as in the assignment."""
    x, w, b = cache
    N, F, OH, OW = dout.shape
    HH, WW = w.shape[2:]
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    db = dout.sum(axis=(0, 2, 3))
    for n in range(N):
        for f in range(F):
            for i in range(OH):
                for j in range(OW):
                    dw[f] += x[n, :, i : i + HH, j : j + WW] * dout[n, f, i, j]
                    dx[n, :, i : i + HH, j : j + WW] += w[f] * dout[n, f, i, j]
    return dx, dw, db


def max_pool(x):
    """Windows of 3 with a stride of 2: they share their ends."""
    return np.stack([x[:, i : i + 3].max(axis=1) for i in range(0, x.shape[1] - 2, 2)], axis=1)


def max_pool_backward(x, dout):
    """To the largest of each window."""
    dx = np.zeros_like(x)
    rows = np.arange(x.shape[0])
    for k in range(dout.shape[1]):
        best = 2 * k + x[:, 2 * k : 2 * k + 3].argmax(axis=1)
        dx[rows, best] += dout[:, k]
    return (dx,)


def max_pool_2x2(x):
    """(N, H, W) by reshaping."""
    N, H, W = x.shape
    blocks = x.reshape(N, H // 2, 2, W // 2, 2)
    out = blocks.max(axis=4).max(axis=2)
    return out, (x, blocks, out)


def max_pool_2x2_backward(dout, cache):
    """CS231n's fast layers: a mask of the maxima."""
    x, blocks, out = cache
    mask = blocks == out[:, :, None, :, None]
    dblocks = mask * dout[:, :, None, :, None]
    return dblocks.reshape(x.shape)


def average_pool(x):
    """Blocks of 3."""
    return x.reshape(x.shape[0], -1, 3).mean(axis=2)


def average_pool_backward(x, dy):
    """Each gets a third."""
    return np.repeat(dy, 3, axis=1) / 3


def smooth(x):
    """Moving averages of 3, their squares."""
    m = (x[:-2] + x[1:-1] + x[2:]) / 3
    return m**2


def smooth_backward(x, dout):
    """Three shifted copies."""
    m = (x[:-2] + x[1:-1] + x[2:]) / 3
    dm = dout * 2 * m
    dx = np.zeros_like(x)
    dx[:-2] += dm / 3
    dx[1:-1] += dm / 3
    dx[2:] += dm / 3
    return [dx]


def embedding(E, idx):
    """Rows of a table, some of them twice."""
    return E[idx]


def embedding_backward(E, idx, dout):
    """np.add.at, because dE[idx] += dout counts each row once."""
    dE = np.zeros_like(E)
    np.add.at(dE, idx, dout)
    return dE


def bag_of_words(E, W, words, y):
    """The mean of a sentence's embeddings, and a softmax."""
    h = E[words].mean(axis=1)
    s = h @ W
    return (np.log(np.exp(s).sum(axis=1)) - s[np.arange(len(y)), y]).mean()


def bag_of_words_backward(E, W, words, y):
    """Words that occur twice get their part twice."""
    N, L = words.shape
    h = E[words].mean(axis=1)
    s = np.exp(h @ W)
    ds = s / s.sum(axis=1, keepdims=True)
    ds[np.arange(N), y] -= 1
    ds /= N
    dW = h.T @ ds
    dh = ds @ W.T
    dE = np.zeros_like(E)
    for n in range(N):
        for word in words[n]:
            dE[word] += dh[n] / L
    return {"dE": dE, "dW": dW}


def skip_gram(U, V, centre, context):
    """word2vec: the log of a sigmoid of the products of pairs."""
    return np.log1p(np.exp(-(U[centre] * V[context]).sum(axis=1))).sum()


def skip_gram_backward(U, V, centre, context):
    """One pair after another."""
    dU, dV = np.zeros_like(U), np.zeros_like(V)
    for c, o in zip(centre, context, strict=True):
        p = 1 / (1 + np.exp(-U[c] @ V[o]))
        dU[c] += (p - 1) * V[o]
        dV[o] += (p - 1) * U[c]
    return {"grad_U": dU, "grad_V": dV}


def segment_sums(x, group):
    """The sum of each of three groups, squared; all groups occur."""
    totals = np.zeros(3)
    np.add.at(totals, group, x)
    return (totals**2).sum()


def segment_sums_backward(x, group):
    """Each member gets the gradient of its group."""
    totals = np.bincount(group, weights=x, minlength=3)
    dtotals = 2 * totals
    return (dtotals[group],)


def _peaks(rng):
    x = apart(6, 7)(rng)
    x[:3, 2] += 5  # the largest of two windows
    return x


def _groups(rng):
    return rng.permutation([0, 0, 1, 1, 1, 2, 2])


def _repeats(rng):
    return np.concatenate([(idx := rng.permutation(5)[:3]), idx])


_conv = given(x=(4, 8), w=(3,), b=())
_conv2d = given(x=(2, 2, 4, 4), w=(3, 2, 2, 2), b=(3,))
_words = given(E=(7, 4), W=(4, 3), words=labels((5, 6), 7), y=labels(5, 3))
_pairs = given(U=(5, 4), V=(5, 4), centre=_repeats, context=labels(6, 5))

# fmt: off
CASES = [
    plant("conv1d-last-window-wins", "overwritten", conv1d, conv1d_backward, _conv,
          ("dx[:, i : i + K] +=", "dx[:, i : i + K] ="), shape="directional"),
    plant("conv1d-filter-of-last-window", "overwritten", conv1d, conv1d_backward, _conv, ("dw +=", "dw ="),
          shape="directional"),
    plant("conv1d-bias-per-sample", "missing sum", conv1d, conv1d_backward, _conv, (".sum()", ""), shape="directional"),
    plant("conv1d-filter-flipped", "wrong point | transpose", conv1d, conv1d_backward, _conv,
          ("np.outer(dout[:, i], w)", "np.outer(dout[:, i], w[::-1])"), shape="directional"),
    plant("conv2d-last-window-wins", "overwritten", conv2d, conv2d_backward, _conv2d,
          ("dx[n, :, i : i + HH, j : j + WW] +=", "dx[n, :, i : i + HH, j : j + WW] ="), shape="cache"),
    plant("conv2d-bias-first-row-kept", "missing sum", conv2d, conv2d_backward, _conv2d,
          ("dout.sum(axis=(0, 2, 3))", "dout.sum(axis=(0, 2))[:, 0]"), shape="cache"),
    plant("conv2d-averaged-over-batch", "factor", conv2d, conv2d_backward, _conv2d,
          ("* dout[n, f, i, j]\n                    dx", "* dout[n, f, i, j] / N\n                    dx"),
          shape="cache"),
    plant("max-pool-shared-ends", "overwritten", max_pool, max_pool_backward, given(x=_peaks),
          ("dx[rows, best] +=", "dx[rows, best] ="), shape="directional"),
    plant("max-pool-to-the-smallest", "wrong point", max_pool, max_pool_backward, given(x=_peaks),
          ("argmax", "argmin"), shape="directional"),
    plant("max-pool-without-mask", "missing activation derivative", max_pool_2x2, max_pool_2x2_backward,
          given(x=apart(2, 4, 6)), ("mask * dout", "np.ones_like(blocks) * dout"), shape="cache"),
    plant("average-pool-not-divided", "factor", average_pool, average_pool_backward, given(x=(4, 6)),
          (" / 3", ""), shape="directional"),
    plant("moving-average-middle-overwrites", "overwritten", smooth, smooth_backward, given(x=(8,)),
          ("dx[1:-1] +=", "dx[1:-1] ="), shape="directional"),
    plant("moving-average-square-skipped", "missing activation derivative", smooth, smooth_backward, given(x=(8,)),
          ("dout * 2 * m", "dout"), shape="directional"),
    plant("embedding-fancy-assignment", "overwritten", embedding, embedding_backward, given(E=(5, 4), idx=_repeats),
          ("np.add.at(dE, idx, dout)", "dE[idx] = dout"), shape="directional"),
    plant("embedding-fancy-plus", "overwritten", embedding, embedding_backward, given(E=(5, 4), idx=_repeats),
          ("np.add.at(dE, idx, dout)", "dE[idx] += dout"), shape="directional"),
    plant("bag-of-words-once-a-word", "overwritten", bag_of_words, bag_of_words_backward, _words,
          ("dE[word] +=", "dE[word] =")),
    plant("bag-of-words-not-averaged", "factor", bag_of_words, bag_of_words_backward, _words, ("dh[n] / L", "dh[n]")),
    plant("bag-of-words-transpose", "transpose", bag_of_words, bag_of_words_backward,
          given(E=(7, 4), W=(4, 4), words=labels((5, 6), 7), y=labels(5, 4)), ("ds @ W.T", "ds @ W")),
    plant("skip-gram-sign", "sign", skip_gram, skip_gram_backward, _pairs,
          ("dV[o] += (p - 1)", "dV[o] += (1 - p)")),
    plant("skip-gram-last-pair", "overwritten", skip_gram, skip_gram_backward, _pairs, ("dU[c] +=", "dU[c] =")),
    plant("segments-own-value", "missing sum | wrong point", segment_sums, segment_sums_backward,
          given(x=(7,), group=_groups), ("dtotals[group]", "2 * x")),
]
