"""Losses and their gradients by scores, predictions or embeddings."""

# ruff: noqa: C408 (this is how people write)

from __future__ import annotations

import numpy as np

from .case import given, labels, one_hot, plant, signs, small
from .reductions import log_softmax, softmax


def mse(pred, target):
    """The mean over all entries."""
    return np.mean((pred - target) ** 2)


def mse_backward(pred, target):
    """Both sides, since targets may come from a network."""
    d_pred = 2 * (pred - target) / pred.size
    return d_pred, -d_pred


def half_squared(w, b, X, t):
    """Linear regression by half of the mean squared error."""
    return 0.5 * np.mean((X @ w + b - t) ** 2)


def half_squared_backward(w, b, X, t):
    """The 2 and the half cancel."""
    N = len(t)
    e = X @ w + b - t
    return {"w": X.T @ e / N, "b": e.sum() / N}


def half_squared_step(w, b, X, t, lr):
    """A step of least squares."""
    e = X @ w + b - t
    gradient_w, gradient_b = e @ X / len(t), e.mean()
    return w - lr * gradient_w, b - lr * gradient_b


def cross_entropy(scores, y):
    """CS231n's softmax loss, labels."""
    shifted = scores - np.max(scores, axis=1, keepdims=True)
    Z = np.sum(np.exp(shifted), axis=1, keepdims=True)
    log_probs = shifted - np.log(Z)
    N = scores.shape[0]
    return -np.sum(log_probs[np.arange(N), y]) / N


def cross_entropy_backward(scores, y):
    """CS231n's softmax loss, labels."""
    N = scores.shape[0]
    dx = softmax(scores)
    dx[np.arange(N), y] -= 1
    dx /= N
    return dx


def cross_entropy_one_hot(o, t):
    """The sum over samples, one-hot targets."""
    return -(t * np.log(softmax(o))).sum()


def cross_entropy_in_two(o, t):
    """By -t/p and the softmax."""
    p = softmax(o)
    dp = -t / p
    do = p * (dp - (dp * p).sum(axis=1, keepdims=True))
    return (do,)


def smoothed(logits, y):
    """Label smoothing of 0.1."""
    N, C = logits.shape
    target = np.full((N, C), 0.1 / C)
    target[np.arange(N), y] += 0.9
    return -(target * log_softmax(logits)).sum(axis=1).mean()


def smoothed_backward(logits, y):
    """Softmax less the smoothed target."""
    N, C = logits.shape
    target = np.full((N, C), 0.1 / C)
    target[np.arange(N), y] += 0.9
    return {"dlogits": (softmax(logits) - target) / N}


def binary_cross_entropy(z, t):
    """By logits; targets 0 or 1."""
    return np.mean(np.logaddexp(0, z) - t * z)


def binary_cross_entropy_backward(z, t):
    """Through the probabilities, as the textbook has it."""
    p = 1 / (1 + np.exp(-z))
    dp = (-(t / p) + (1 - t) / (1 - p)) / z.size
    dz = dp * p * (1 - p)
    return [dz]


def weighted_cross_entropy(logits, y):
    """Rare classes count more."""
    w = np.array([1.0, 2.0, 5.0])[y]
    return -(w * log_softmax(logits)[np.arange(len(y)), y]).sum() / w.sum()


def weighted_cross_entropy_backward(logits, y):
    """Each sample by its weight."""
    w = np.array([1.0, 2.0, 5.0])[y]
    d = softmax(logits)
    d[np.arange(len(y)), y] -= 1.0
    d *= (w / w.sum())[:, None]
    return d


def huber(pred, target):
    """delta = 0.7."""
    r = np.abs(pred - target)
    return np.where(r <= 0.7, 0.5 * r**2, 0.7 * (r - 0.35)).sum()


def huber_backward(pred, target):
    """Linear outside."""
    r = pred - target
    g = np.where(np.abs(r) <= 0.7, r, 0.7 * np.sign(r))
    return g, -g


def svm(W, X, y):
    """CS231n, assignment 1: the multiclass hinge loss with regularisation."""
    scores = X.dot(W)
    correct = scores[np.arange(len(y)), y][:, None]
    margins = np.maximum(0, scores - correct + 1)
    margins[np.arange(len(y)), y] = 0
    return margins.sum() / len(y) + 0.1 * np.sum(W * W)


def svm_naive_backward(W, X, y):
    """The naive loop of the assignment."""
    dW = np.zeros(W.shape)
    num_train = X.shape[0]
    for i in range(num_train):
        scores = X[i].dot(W)
        for j in range(W.shape[1]):
            if j == y[i]:
                continue
            if scores[j] - scores[y[i]] + 1 > 0:
                dW[:, j] += X[i]
                dW[:, y[i]] -= X[i]
    dW /= num_train
    dW += 2 * 0.1 * W
    return {"dW": dW}


def svm_vectorised_backward(W, X, y):
    """The binary trick."""
    N = X.shape[0]
    scores = X.dot(W)
    margins = np.maximum(0, scores - scores[np.arange(N), y][:, np.newaxis] + 1)
    margins[np.arange(N), y] = 0
    binary = (margins > 0).astype(float)
    binary[np.arange(N), y] = -binary.sum(axis=1)
    dW = X.T.dot(binary) / N + 2 * 0.1 * W
    return {"dW": dW}


def triplet(anchor, pos, neg):
    """Schroff et al. 2015; the margin is 1."""
    d = ((anchor - pos) ** 2).sum(1) - ((anchor - neg) ** 2).sum(1) + 1
    return np.maximum(d, 0).mean()


def triplet_backward(anchor, pos, neg):
    """Active triplets alone."""
    d = ((anchor - pos) ** 2).sum(1) - ((anchor - neg) ** 2).sum(1) + 1
    active = (d > 0)[:, None] / len(d)
    da = 2 * active * (neg - pos)
    dp = -2 * active * (anchor - pos)
    dn = 2 * active * (anchor - neg)
    return da, dp, dn


def contrastive(a, b, same):
    """Hadsell et al. 2006: pairs that are alike come together, others part up to a distance of 3."""
    dist = np.sqrt(((a - b) ** 2).sum(axis=1))
    return 0.5 * np.sum(np.where(same == 1, dist**2, np.maximum(3 - dist, 0) ** 2))


def contrastive_backward(a, b, same):
    """By the distance first."""
    diff = a - b
    dist = np.sqrt((diff**2).sum(axis=1))
    ddist = np.where(same == 1, dist, -np.maximum(3 - dist, 0))
    da = (ddist / dist)[:, None] * diff
    db = -da
    return {"a": da, "b": db}


def logistic_signs(w, X, y):
    """Labels -1 and 1."""
    return np.log(1 + np.exp(-y * (X @ w))).mean()


def logistic_signs_backward(w, X, y):
    """Labels -1 and 1."""
    m = y * (X @ w)
    coef = -y / (1 + np.exp(m))
    return {"grad_w": X.T @ coef / len(y)}


def cosine(u, v):
    """1 - cos of the angle, the mean over pairs."""
    nu, nv = np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=1)
    return np.mean(1 - (u * v).sum(axis=1) / (nu * nv))


def cosine_backward(u, v):
    """Numerator and norms."""
    nu = np.linalg.norm(u, axis=1, keepdims=True)
    nv = np.linalg.norm(v, axis=1, keepdims=True)
    c = (u * v).sum(axis=1, keepdims=True) / (nu * nv)
    du = -(v / (nu * nv) - c * u / nu**2) / len(u)
    dv = -(u / (nu * nv) - c * v / nv**2) / len(v)
    return du, dv


def poisson(eta, k):
    """The negative log-likelihood of counts, less a constant."""
    return np.sum(np.exp(eta) - k * eta)


def poisson_backward(eta, k):
    """Expected less counted."""
    return np.exp(eta) - k


def kl_normal(mu, logvar):
    """The KL term of a variational autoencoder."""
    return -0.5 * np.sum(1 + logvar - mu**2 - np.exp(logvar)) / len(mu)


def kl_normal_backward(mu, logvar):
    """Both parameters."""
    N = mu.shape[0]
    dmu = mu / N
    dlogvar = -0.5 * (1 - np.exp(logvar)) / N
    return dict(dmu=dmu, dlogvar=dlogvar)


def _near_and_far(rng):
    return rng.normal(size=(6, 4)) + np.repeat([0, 10], 3)[:, None]


_triplets = given(anchor=(6, 4), pos=lambda rng: rng.normal(3, 1, size=(6, 4)), neg=_near_and_far)
_alike = given(a=small(6, 4), b=small(6, 4), same=lambda rng: rng.permutation([0, 0, 0, 1, 1, 1]))
_pair = given(pred=(6, 4), target=(6, 4))
_scores = given(scores=(6, 3), y=labels(6, 3))
_svm = given(W=(5, 4), X=(6, 5), y=labels(6, 4))
_regression = given(w=(5,), b=(), X=(6, 5), t=(6,))

# fmt: off
CASES = [
    plant("mse-without-2", "factor", mse, mse_backward, _pair, ("2 * (pred", "(pred")),
    plant("mse-divided-by-samples-only", "factor", mse, mse_backward, _pair, ("/ pred.size", "/ len(pred)")),
    plant("mse-target-sign", "sign", mse, mse_backward, _pair, ("-d_pred", "d_pred.copy()")),
    plant("half-squared-not-averaged", "factor", half_squared, half_squared_backward, _regression,
          ("X.T @ e / N", "X.T @ e"), wrt="w b"),
    plant("half-squared-bias-not-summed", "missing sum", half_squared, half_squared_backward, _regression,
          ("e.sum() / N", "e / N"), wrt="w b"),
    plant("half-squared-target-minus-prediction", "sign", half_squared, half_squared_backward, _regression,
          ("X @ w + b - t", "t - X @ w - b"), wrt="w b"),
    plant("half-squared-step-up", "sign", half_squared, half_squared_step, _regression,
          ("w - lr", "w + lr"), ("b - lr", "b + lr"), shape="update", wrt="w b"),
    plant("half-squared-step-doubled", "factor", half_squared, half_squared_step, _regression,
          ("e @ X / len(t), e.mean()", "2 * e @ X / len(t), 2 * e.mean()"), shape="update", wrt="w b"),
    plant("cross-entropy-not-averaged", "factor", cross_entropy, cross_entropy_backward, _scores,
          ("    dx /= N\n", "")),
    plant("cross-entropy-averaged-over-classes", "factor", cross_entropy, cross_entropy_backward, _scores,
          ("dx /= N", "dx /= dx.size")),
    plant("cross-entropy-one-hot-sign", "sign", cross_entropy_one_hot, cross_entropy_in_two,
          given(o=(6, 3), t=one_hot(6, 3)), ("dp = -t / p", "dp = t / p")),
    plant("cross-entropy-one-hot-softmax-skipped", "missing activation derivative", cross_entropy_one_hot,
          cross_entropy_in_two, given(o=(6, 3), t=one_hot(6, 3)),
          ("do = p * (dp - (dp * p).sum(axis=1, keepdims=True))", "do = dp")),
    plant("cross-entropy-of-squared-error", "other loss", cross_entropy_one_hot, cross_entropy_in_two,
          given(o=(6, 3), t=one_hot(6, 3)), ("dp = -t / p", "dp = 2 * (p - t)")),
    plant("smoothing-not-in-gradient", "other loss", smoothed, smoothed_backward,
          given(logits=(6, 3), y=labels(6, 3)), ("np.full((N, C), 0.1 / C)", "np.zeros((N, C))"), ("+= 0.9", "+= 1.0")),
    plant("bce-gradient-of-squares", "other loss", binary_cross_entropy, binary_cross_entropy_backward,
          given(z=(7,), t=labels(7, 2)), ("(-(t / p) + (1 - t) / (1 - p))", "2 * (p - t)")),
    plant("bce-sigmoid-skipped", "missing activation derivative", binary_cross_entropy, binary_cross_entropy_backward,
          given(z=(7,), t=labels(7, 2)), ("dz = dp * p * (1 - p)", "dz = dp")),
    plant("bce-half-the-sign", "sign", binary_cross_entropy, binary_cross_entropy_backward,
          given(z=(7,), t=labels(7, 2)), ("+ (1 - t)", "- (1 - t)")),
    plant("bce-at-logit", "wrong point", binary_cross_entropy, binary_cross_entropy_backward,
          given(z=(7,), t=labels(7, 2)), ("dp * p * (1 - p)", "dp * z * (1 - z)")),
    plant("class-weights-not-in-gradient", "other loss", weighted_cross_entropy, weighted_cross_entropy_backward,
          given(logits=(6, 3), y=lambda rng: rng.permutation([0, 0, 1, 1, 2, 2])),
          ("(w / w.sum())[:, None]", "1 / len(y)")),
    plant("huber-as-squares", "other loss", huber, huber_backward, _pair,
          ("np.where(np.abs(r) <= 0.7, r, 0.7 * np.sign(r))", "r")),
    plant("huber-delta-forgotten", "factor", huber, huber_backward, _pair, ("0.7 * np.sign(r)", "np.sign(r)")),
    plant("svm-naive-own-class-forgotten", "overwritten | missing sum", svm, svm_naive_backward, _svm,
          ("                dW[:, y[i]] -= X[i]\n", ""), wrt="W"),
    plant("svm-naive-own-class-sign", "sign", svm, svm_naive_backward, _svm,
          ("dW[:, y[i]] -= X[i]", "dW[:, y[i]] += X[i]"), wrt="W"),
    plant("svm-naive-last-sample-wins", "overwritten", svm, svm_naive_backward, _svm,
          ("dW[:, j] += X[i]", "dW[:, j] = X[i]"), wrt="W"),
    plant("svm-regularisation-missing", "other loss", svm, svm_vectorised_backward, _svm,
          (" + 2 * 0.1 * W", ""), wrt="W"),
    plant("svm-regularisation-without-2", "factor | other loss", svm, svm_vectorised_backward, _svm,
          ("2 * 0.1 * W", "0.1 * W"), wrt="W"),
    plant("svm-own-class-not-counted", "missing sum", svm, svm_vectorised_backward, _svm,
          ("-binary.sum(axis=1)", "-1"), wrt="W"),
    plant("triplet-negative-sign", "sign", triplet, triplet_backward, _triplets,
          ("dn = 2 *", "dn = -2 *")),
    plant("triplet-inactive-too", "missing activation derivative", triplet, triplet_backward,
          _triplets, ("(d > 0)[:, None]", "np.ones((len(d), 1))")),
    plant("contrastive-push-becomes-pull", "sign", contrastive, contrastive_backward,
          _alike,
          ("-np.maximum(3 - dist, 0)", "np.maximum(3 - dist, 0)")),
    plant("contrastive-not-divided-by-distance", "wrong point | factor", contrastive, contrastive_backward,
          _alike,
          ("(ddist / dist)", "ddist")),
    plant("logistic-signs-sign", "sign", logistic_signs, logistic_signs_backward, given(w=(5,), X=(6, 5), y=signs(6)),
          ("-y / ", "y / "), wrt="w"),
    plant("logistic-signs-at-minus-m", "wrong point", logistic_signs, logistic_signs_backward,
          given(w=(5,), X=(6, 5), y=signs(6)), ("np.exp(m)", "np.exp(-m)"), wrt="w"),
    plant("cosine-norm-not-squared", "wrong point | factor", cosine, cosine_backward, given(u=(6, 4), v=(6, 4)),
          ("c * v / nv**2", "c * v / nv")),
    plant("cosine-norm-constant", "overwritten | missing sum", cosine, cosine_backward, given(u=(6, 4), v=(6, 4)),
          ("(v / (nu * nv) - c * u / nu**2)", "v / (nu * nv)")),
    plant("poisson-link-forgotten", "wrong point | other loss", poisson, poisson_backward,
          given(eta=(7,), k=labels(7, 5)), ("np.exp(eta) - k", "eta - k")),
    plant("kl-not-halved", "factor", kl_normal, kl_normal_backward, given(mu=(6, 4), logvar=(6, 4)),
          ("-0.5 * (1", "-(1")),
]
