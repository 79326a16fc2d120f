"""Means, norms, softmax and their kin along an axis, and what normalises by them."""

# ruff: noqa: RET504, RUF059 (this is how people write)

from __future__ import annotations

import numpy as np

from .case import apart, given, plant, positive


def softmax(z):
    """Each row."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_backward(z, dout):
    """Without the Jacobian."""
    p = softmax(z)
    dz = p * (dout - np.sum(dout * p, axis=1, keepdims=True))
    return dz


def softmax_by_jacobian(z, dout):
    """With the Jacobian of each row."""
    dz = np.zeros_like(z)
    for i, p in enumerate(softmax(z)):
        jacobian = np.diag(p) - np.outer(p, p)
        dz[i] = jacobian @ dout[i]
    return (dz,)


def log_softmax(z):
    """Each row."""
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def log_softmax_backward(z, dout):
    """The softmax takes its share of the sum."""
    p = np.exp(log_softmax(z))
    return dout - p * dout.sum(axis=1, keepdims=True)


def logsumexp(x, T):
    """T log mean exp(x / T): a maximum that is soft, T a number."""
    m = (x / T).max(axis=1)
    return T * (m + np.log(np.exp(x / T - m[:, None]).mean(axis=1)))


def logsumexp_backward(x, T, dout):
    """The softmax of x / T."""
    y = logsumexp(x, T)
    e = np.exp((x - x.max(axis=1, keepdims=True)) / T)
    p = e / e.sum(axis=1, keepdims=True)
    dx = dout[:, None] * p
    dT = np.sum(dout * (y / T - (p * x).sum(axis=1) / T))
    return dx, dT


def centred(x):
    """Columns less their means, through a cube."""
    return (x - x.mean(axis=0)) ** 3


def centred_backward(x, dout):
    """Each element also moves the mean."""
    c = x - x.mean(axis=0)
    dc = 3 * c**2 * dout
    dx = dc.copy()
    dx -= dc.mean(axis=0)
    return dx


def variance(x):
    """Of each column, unbiased."""
    return x.var(axis=0, ddof=1)


def variance_backward(x, dv):
    """Unbiased: one less than N."""
    N = x.shape[0]
    return 2 * (x - x.mean(axis=0)) / (N - 1) * dv


def deviation(x):
    """The standard deviation of each row."""
    return np.std(x, axis=1)


def deviation_backward(x, ds):
    """(x - mean) / (n s)."""
    s = np.std(x, axis=1, keepdims=True)
    m = np.mean(x, axis=1, keepdims=True)
    grad_x = (x - m) / (x.shape[1] * s) * ds[:, np.newaxis]
    return {"grad_x": grad_x}


def unit_rows(x):
    """Rows of length 1."""
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def unit_rows_backward(x, dout):
    """What lies along the row is taken out."""
    n = np.linalg.norm(x, axis=1, keepdims=True)
    u = x / n
    along = np.sum(dout * u, axis=1, keepdims=True)
    dx = (dout - u * along) / n
    return dx


def row_max(x):
    """The largest of each row, times the mean square of all."""
    return x.max(axis=1) * (x**2).mean()


def row_max_backward(x, dout):
    """The maximum hands its gradient to one place."""
    m = x.max(axis=1)
    dx = np.zeros_like(x)
    dx[np.arange(len(x)), x.argmax(axis=1)] = dout * (x**2).mean()
    dx += 2 * x * (dout * m).sum() / x.size
    return dx


def shares(x):
    """Each entry's share of its row."""
    return x / x.sum(axis=1, keepdims=True)


def shares_backward(x, dout):
    """A numerator and a denominator."""
    total = x.sum(axis=1, keepdims=True)
    dx = dout / total
    dtotal = -(dout * x).sum(axis=1, keepdims=True) / total**2
    dx += dtotal
    return dx


def layernorm(x, gamma, beta):
    """After Ba et al. 2016."""
    mu = x.mean(axis=1, keepdims=True)
    var = x.var(axis=1, keepdims=True)
    std = np.sqrt(var + 1e-5)
    xhat = (x - mu) / std
    return gamma * xhat + beta, (x, xhat, std, gamma)


def layernorm_backward(dout, cache):
    """The compact form."""
    x, xhat, std, gamma = cache
    dgamma = (dout * xhat).sum(axis=0)
    dbeta = dout.sum(axis=0)
    dxhat = dout * gamma
    mean1 = dxhat.mean(axis=1, keepdims=True)
    mean2 = (dxhat * xhat).mean(axis=1, keepdims=True)
    dx = (dxhat - mean1 - xhat * mean2) / std
    return dx, dgamma, dbeta


def batchnorm(x, gamma, beta):
    """CS231n, assignment 2, in training."""
    N, D = x.shape
    mu = 1.0 / N * np.sum(x, axis=0)
    xmu = x - mu
    sq = xmu**2
    var = 1.0 / N * np.sum(sq, axis=0)
    sqrtvar = np.sqrt(var + 1e-5)
    ivar = 1.0 / sqrtvar
    xhat = xmu * ivar
    out = gamma * xhat + beta
    return out, (xhat, gamma, xmu, ivar, sqrtvar, var)


def batchnorm_backward(dout, cache):
    """Kratzert's blog: one step of the graph at a time."""
    xhat, gamma, xmu, ivar, sqrtvar, var = cache
    N, D = dout.shape
    dbeta = np.sum(dout, axis=0)
    dgamma = np.sum(dout * xhat, axis=0)
    dxhat = dout * gamma
    divar = np.sum(dxhat * xmu, axis=0)
    dxmu1 = dxhat * ivar
    dsqrtvar = -1.0 / (sqrtvar**2) * divar
    dvar = 0.5 * 1.0 / np.sqrt(var + 1e-5) * dsqrtvar
    dsq = 1.0 / N * np.ones((N, D)) * dvar
    dxmu2 = 2 * xmu * dsq
    dx1 = dxmu1 + dxmu2
    dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
    dx2 = 1.0 / N * np.ones((N, D)) * dmu
    dx = dx1 + dx2
    return dx, dgamma, dbeta


def batchnorm_short(x, gamma, beta):
    """The output alone."""
    return batchnorm(x, gamma, beta)[0]


def batchnorm_short_backward(x, gamma, beta, dy):
    """batchnorm_backward_alt, everything on one line."""
    m = x.shape[0]
    std = np.sqrt(x.var(axis=0) + 1e-5)
    xhat = (x - x.mean(axis=0)) / std
    dgamma = np.sum(dy * xhat, axis=0)
    dbeta = np.sum(dy, axis=0)
    dx = gamma / (m * std) * (m * dy - dbeta - xhat * dgamma)
    return {"x": dx, "gamma": dgamma, "beta": dbeta}


_z = given(z=(6, 4))
_square = given(z=(5, 5))
_norm = given(x=(6, 5), gamma=(5,), beta=(5,))

# fmt: off
CASES = [
    plant("softmax-as-if-elementwise", "missing sum", softmax, softmax_backward, _z,
          ("np.sum(dout * p, axis=1, keepdims=True)", "dout * p"), shape="directional"),
    plant("softmax-sum-over-samples", "wrong axis", softmax, softmax_backward, _square,
          ("axis=1", "axis=0"), shape="directional"),
    plant("softmax-jacobian-sign", "sign", softmax, softmax_by_jacobian, _z,
          ("np.diag(p) - np.outer", "np.diag(p) + np.outer"), shape="directional"),
    plant("log-softmax-not-summed", "missing sum", log_softmax, log_softmax_backward, _z,
          ("dout.sum(axis=1, keepdims=True)", "dout"), shape="directional"),
    plant("log-softmax-sum-over-samples", "wrong axis", log_softmax, log_softmax_backward, _square,
          ("dout.sum(axis=1, keepdims=True)", "dout.sum(axis=0, keepdims=True)"), shape="directional"),
    plant("logsumexp-temperature", "factor", logsumexp, logsumexp_backward, given(x=(6, 4), T=positive()),
          ("dx = dout[:, None] * p", "dx = dout[:, None] * p / T"), shape="directional"),
    plant("logsumexp-shares-of-columns", "wrong axis", logsumexp, logsumexp_backward, given(x=(5, 5), T=positive()),
          ("p = e / e.sum(axis=1, keepdims=True)", "p = e / e.sum(axis=0, keepdims=True)"), shape="directional"),
    plant("centred-mean-sign", "sign", centred, centred_backward, given(x=(6, 5)),
          ("dx -= dc", "dx += dc"), shape="directional"),
    plant("centred-mean-forgotten", "overwritten | missing sum", centred, centred_backward, given(x=(6, 5)),
          ("    dx -= dc.mean(axis=0)\n", ""), shape="directional"),
    plant("centred-mean-of-rows", "wrong axis", centred, centred_backward, given(x=(5, 5)),
          ("dx -= dc.mean(axis=0)", "dx -= dc.mean(axis=1)"), shape="directional"),
    plant("variance-biased", "factor", variance, variance_backward, given(x=(6, 5)),
          ("(N - 1)", "N"), shape="directional"),
    plant("variance-without-2", "factor", variance, variance_backward, given(x=(6, 5)),
          ("2 * (x", "(x"), shape="directional"),
    plant("deviation-not-divided-by-n", "factor", deviation, deviation_backward, given(x=(6, 5)),
          ("(x.shape[1] * s)", "s"), shape="directional"),
    plant("unit-rows-along-columns", "wrong axis", unit_rows, unit_rows_backward, given(x=(5, 5)),
          ("np.sum(dout * u, axis=1, keepdims=True)", "np.sum(dout * u, axis=0, keepdims=True)"),
          shape="directional"),
    plant("unit-rows-sign", "sign", unit_rows, unit_rows_backward, given(x=(6, 5)),
          ("dout - u * along", "dout + u * along"), shape="directional"),
    plant("unit-rows-by-x", "wrong point", unit_rows, unit_rows_backward, given(x=(6, 5)),
          ("dout - u * along", "dout - x * along"), shape="directional"),
    plant("row-max-mean-overwrites", "overwritten", row_max, row_max_backward, given(x=apart(6, 5)),
          ("dx += 2 * x", "dx = 2 * x"), shape="directional"),
    plant("shares-denominator-sign", "sign", shares, shares_backward, given(x=positive(6, 5)),
          ("-(dout * x)", "(dout * x)"), shape="directional"),
    plant("shares-denominator-not-summed", "missing sum", shares, shares_backward, given(x=positive(6, 5)),
          ("(dout * x).sum(axis=1, keepdims=True)", "(dout * x)"), shape="directional"),
    plant("layernorm-gamma-not-summed", "missing sum", layernorm, layernorm_backward, _norm,
          ("(dout * xhat).sum(axis=0)", "dout * xhat"), shape="cache"),
    plant("layernorm-means-over-batch", "wrong axis", layernorm, layernorm_backward,
          given(x=(5, 5), gamma=(5,), beta=(5,)),
          ("dxhat.mean(axis=1, keepdims=True)", "dxhat.mean(axis=0, keepdims=True)"),
          ("(dxhat * xhat).mean(axis=1, keepdims=True)", "(dxhat * xhat).mean(axis=0, keepdims=True)"), shape="cache"),
    plant("layernorm-sum-for-mean", "factor", layernorm, layernorm_backward, _norm,
          ("(dxhat * xhat).mean(", "(dxhat * xhat).sum("), shape="cache"),
    plant("layernorm-gamma-by-x", "wrong point", layernorm, layernorm_backward, _norm,
          ("(dout * xhat).sum(axis=0)", "(dout * x).sum(axis=0)"), shape="cache"),
    plant("batchnorm-variance-sign", "sign", batchnorm, batchnorm_backward, _norm,
          ("-1.0 / (sqrtvar**2)", "1.0 / (sqrtvar**2)"), shape="cache"),
    plant("batchnorm-variance-without-half", "factor", batchnorm, batchnorm_backward, _norm,
          ("0.5 * 1.0 / np.sqrt", "1.0 / np.sqrt"), shape="cache"),
    plant("batchnorm-direct-part-lost", "overwritten", batchnorm, batchnorm_backward, _norm,
          ("dx1 = dxmu1 + dxmu2", "dx1 = dxmu1\n    dx1 = dxmu2"), shape="cache"),
    plant("batchnorm-short-beta-axis", "wrong axis", batchnorm_short, batchnorm_short_backward,
          given(x=(5, 5), gamma=(5,), beta=(5,)), ("np.sum(dy, axis=0)", "np.sum(dy, axis=1)"),
          ("m * dy - dbeta", "m * dy - np.sum(dy, axis=0)"), shape="directional"),
    plant("batchnorm-short-not-divided-by-m", "factor", batchnorm_short, batchnorm_short_backward, _norm,
          ("gamma / (m * std)", "gamma / std"), shape="directional"),
]
