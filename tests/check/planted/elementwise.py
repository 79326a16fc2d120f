"""Functions of single elements, and sums along an axis."""

# ruff: noqa: RET504, RUF059 (this is how people write)

from __future__ import annotations

import numpy as np

from .case import given, mask, off_zero, plant, positive


def sigmoid(x):
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + np.exp(-x))


def sigmoid_backward(x, dout):
    """By its own output."""
    s = sigmoid(x)
    return dout * s * (1 - s)


def sigmoid_in_place(x):
    """The output is made in one buffer, which is kept for the way back."""
    buf = np.negative(x)
    np.exp(buf, out=buf)
    buf += 1
    np.divide(1.0, buf, out=buf)
    return buf.copy(), buf


def sigmoid_in_place_backward(dout, cache):
    """No new arrays but one."""
    y = cache
    dx = dout * y
    y = 1 - y
    dx *= y
    return (dx,)


def tanh_layer(x):
    """tanh with its cache."""
    out = np.tanh(x)
    return out, (x, out)


def tanh_layer_backward(dout, cache):
    """1 - tanh²."""
    x, out = cache
    dx = dout * (1 - out**2)
    return dx


def leaky_relu(x):
    """Slope 0.1 on the left."""
    return np.where(x > 0, x, 0.1 * x)


def leaky_relu_backward(x, dout):
    """Slope 0.1 on the left."""
    dx = dout.copy()
    dx[x <= 0] *= 0.1
    return dx


def relu_squared(x):
    """max(x, 0)²."""
    return np.maximum(x, 0) ** 2


def relu_squared_backward(x, dout):
    """The outer square, then the inner ReLU."""
    r = np.maximum(x, 0)
    dr = 2 * r * dout
    dx = dr * (x > 0)
    return dx


GELU_C = np.sqrt(2 / np.pi)


def gelu(x):
    """The tanh form of GPT-2."""
    return 0.5 * x * (1 + np.tanh(GELU_C * (x + 0.044715 * x**3)))


def gelu_backward(x, dout):
    """After Karpathy's llm.c."""
    cube = 0.044715 * x**3
    tanh_arg = GELU_C * (x + cube)
    tanh_out = np.tanh(tanh_arg)
    sech2 = 1 - tanh_out**2
    local = 0.5 * (1 + tanh_out) + 0.5 * x * sech2 * GELU_C * (1 + 3 * 0.044715 * x**2)
    return dout * local


def softplus(x):
    """log(1 + e^x)."""
    return np.logaddexp(0, x)


def softplus_backward(x, dout):
    """The sigmoid of x."""
    y = softplus(x)
    dx = dout * sigmoid(x)
    return dx.reshape(y.shape)


def elu(x):
    """x, or e^x - 1 on the left."""
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def elu_backward(x, dout):
    """On the left the output plus 1."""
    y = elu(x)
    slope = np.where(x > 0, 1.0, y + 1)
    return dout * slope


def swish(x):
    """x sigmoid(x): x is used twice."""
    return x * sigmoid(x)


def swish_backward(x, dout):
    """As a small graph: a product of x and s."""
    s = sigmoid(x)
    dx = dout * s
    ds = dout * x
    dx += ds * s * (1 - s)
    return dx


def multiply(x, y, z):
    """Three factors."""
    return x * y * z


def multiply_backward(x, y, z, dout):
    """Each is multiplied by the other two."""
    xy = x * y
    dz = dout * xy
    dxy = dout * z
    dx = dxy * y
    dy = dxy * x
    return dx, dy, dz


def gaussian(x, mu, sigma):
    """exp(-(x - mu)² / 2 sigma²), sigma a number."""
    return np.exp(-((x - mu) ** 2) / (2 * sigma**2))


def gaussian_backward(x, mu, sigma, dout):
    """All three."""
    d = x - mu
    g = np.exp(-(d**2) / (2 * sigma**2))
    dx = -dout * g * d / sigma**2
    dmu = -dx.sum(axis=0)
    dsigma = (dout * g * d**2 / sigma**3).sum()
    return {"dx": dx, "dmu": dmu, "dsigma": dsigma}


def wave(t, w, phi):
    """cos(w t + phi)."""
    return np.cos(w * t + phi)


def wave_backward(t, w, phi, dout):
    """-sin of the phase."""
    dphase = -np.sin(w * t + phi) * dout
    return dphase * w, np.sum(dphase * t), np.sum(dphase)


def dropout(x, W, keep):
    """Inverted dropout, its mask given, before a linear layer."""
    return (x * keep / 0.6) @ W


def dropout_backward(x, W, keep, dout):
    """The mask goes both ways."""
    h = x * keep / 0.6
    dW = h.T @ dout
    dh = dout @ W.T
    dx = dh * keep / 0.6
    return dx, dW


def running_total(x):
    """The cumulative sum along the second axis, weighted by its own place."""
    return np.cumsum(x, axis=1) * np.arange(1, x.shape[1] + 1)


def running_total_backward(x, g):
    """Each entry has a part in all sums that come after it."""
    g = g * np.arange(1, x.shape[1] + 1)
    return np.cumsum(g[:, ::-1], axis=1)[:, ::-1]


def row_products(x):
    """The product of each row."""
    return np.prod(x, axis=1)


def row_products_backward(x, dout):
    """The product of all others."""
    p = np.prod(x, axis=1, keepdims=True)
    dx = dout[:, None] * p / x
    return (dx,)


def gated(x, Wg, Wv):
    """A gated linear unit."""
    return sigmoid(x @ Wg) * (x @ Wv)


def gated_backward(x, Wg, Wv, dout):
    """x has a part in both branches."""
    g = sigmoid(x @ Wg)
    v = x @ Wv
    dv = dout * g
    dg = dout * v
    da = dg * g * (1 - g)
    dWg = x.T @ da
    dWv = x.T @ dv
    dx = da @ Wg.T
    dx += dv @ Wv.T
    return [dx, dWg, dWv]


def relu_skip(x, W):
    """x + relu(x W)."""
    return x + np.maximum(x @ W, 0)


def relu_skip_backward(x, W, dout):
    """The copy matters: dout is needed once more."""
    da = dout.copy()
    da[x @ W <= 0] = 0
    dW = x.T @ da
    dx = dout + da @ W.T
    return dx, dW


def tanh_twice(x, W1, W2):
    """Two layers of one width."""
    return np.tanh(np.tanh(x @ W1) @ W2)


def tanh_twice_backward(x, W1, W2, dout):
    """Forward once more, then back."""
    h1 = np.tanh(x @ W1)
    h2 = np.tanh(h1 @ W2)
    d2 = dout * (1 - h2**2)
    dW2 = h1.T @ d2
    d1 = d2 @ W2.T * (1 - h1**2)
    return {"x": d1 @ W1.T, "W1": x.T @ d1, "W2": dW2}


_x = given(x=(6, 5))
_gated = given(x=(6, 5), Wg=(5, 4), Wv=(5, 4))

# fmt: off
CASES = [
    plant("sigmoid-of-sigmoid", "wrong point", sigmoid, sigmoid_backward, _x,
          ("s = sigmoid(x)", "s = sigmoid(sigmoid(x))"), shape="directional"),
    plant("sigmoid-by-preactivation", "wrong point", sigmoid, sigmoid_backward, _x,
          ("s * (1 - s)", "x * (1 - x)"), shape="directional"),
    plant("sigmoid-buffer-used-again", "wrong point", sigmoid_in_place, sigmoid_in_place_backward, _x,
          ("dx = dout * y\n    y = 1 - y", "np.subtract(1, y, out=y)\n    dx = dout * y"), shape="cache"),
    plant("tanh-by-preactivation", "wrong point", tanh_layer, tanh_layer_backward, _x,
          ("out**2", "x**2"), shape="cache"),
    plant("tanh-of-tanh", "wrong point", tanh_layer, tanh_layer_backward, _x,
          ("out**2", "np.tanh(out) ** 2"), shape="cache"),
    plant("leaky-relu-slope", "factor", leaky_relu, leaky_relu_backward, given(x=off_zero(6, 5)),
          ("*= 0.1", "*= 0.01"), shape="directional"),
    plant("relu-squared-without-2", "factor", relu_squared, relu_squared_backward, given(x=off_zero(6, 5)),
          ("2 * r * dout", "r * dout"), shape="directional"),
    plant("relu-squared-at-x", "missing activation derivative | wrong point", relu_squared, relu_squared_backward,
          given(x=off_zero(6, 5)), ("dr = 2 * r * dout", "dr = 2 * x * dout"), ("dr * (x > 0)", "dr"),
          shape="directional"),
    plant("gelu-inner-slope-missing", "missing activation derivative | factor", gelu, gelu_backward, _x,
          (" * (1 + 3 * 0.044715 * x**2)", ""), shape="directional"),
    plant("gelu-sech-at-x", "wrong point", gelu, gelu_backward, _x,
          ("1 - tanh_out**2", "1 - np.tanh(x) ** 2"), shape="directional"),
    plant("softplus-at-output", "wrong point", softplus, softplus_backward, _x,
          ("sigmoid(x)", "sigmoid(y)"), shape="directional"),
    plant("elu-at-output", "wrong point", elu, elu_backward, given(x=off_zero(6, 5)),
          ("y + 1", "np.exp(y)"), shape="directional"),
    plant("swish-one-use-of-x", "overwritten", swish, swish_backward, _x, ("dx += ds", "dx = ds"), shape="directional"),
    plant("swish-gate-without-slope", "missing activation derivative", swish, swish_backward, _x,
          ("dx += ds * s * (1 - s)", "dx += ds"), shape="directional"),
    plant("product-own-factor", "wrong point", multiply, multiply_backward, given(x=(6, 5), y=(6, 5), z=(6, 5)),
          ("dx = dxy * y", "dx = dxy * x"), shape="directional"),
    plant("gaussian-centre-sign", "sign", gaussian, gaussian_backward, given(x=(6, 5), mu=(5,), sigma=positive()),
          ("dmu = -dx", "dmu = dx"), shape="directional"),
    plant("gaussian-half-forgotten", "factor", gaussian, gaussian_backward,
          given(x=(6, 5), mu=(5,), sigma=positive()), ("dx = -dout * g * d", "dx = -dout * g * 2 * d"),
          ("dmu = -dx.sum(axis=0)", "dmu = -dx.sum(axis=0) / 2"), shape="directional"),
    plant("cosine-sign", "sign", wave, wave_backward, given(t=(7,), w=(), phi=()),
          ("-np.sin(w * t + phi)", "np.sin(w * t + phi)"), shape="directional"),
    plant("cosine-frequency-not-summed", "missing sum", wave, wave_backward, given(t=(7,), w=(), phi=()),
          ("np.sum(dphase * t)", "dphase * t"), shape="directional"),
    plant("dropout-not-rescaled", "factor", dropout, dropout_backward, given(x=(6, 5), W=(5, 4), keep=mask(6, 5)),
          ("dx = dh * keep / 0.6", "dx = dh * keep"), shape="directional"),
    plant("dropout-weights-see-all", "wrong point", dropout, dropout_backward,
          given(x=(6, 5), W=(5, 4), keep=mask(6, 5)), ("dW = h.T", "dW = x.T"), shape="directional"),
    plant("cumsum-other-axis", "wrong axis", running_total, running_total_backward, given(x=(5, 5)),
          ("np.cumsum(g[:, ::-1], axis=1)[:, ::-1]", "np.cumsum(g[::-1], axis=0)[::-1]"), shape="directional"),
    plant("cumsum-own-entry-only", "missing sum | overwritten", running_total, running_total_backward, given(x=(6, 5)),
          ("np.cumsum(g[:, ::-1], axis=1)[:, ::-1]", "g"), shape="directional"),
    plant("row-product-of-columns", "wrong axis", row_products, row_products_backward, given(x=off_zero(4, 4)),
          ("np.prod(x, axis=1, keepdims=True)", "np.prod(x, axis=0, keepdims=True)"), shape="directional"),
    plant("gate-without-sigmoid", "missing activation derivative", gated, gated_backward, _gated,
          ("da = dg * g * (1 - g)", "da = dg"), shape="directional"),
    plant("gate-input-once", "overwritten", gated, gated_backward, _gated, ("dx += dv", "dx = dv"),
          shape="directional"),
    plant("gate-branches-swapped", "wrong point", gated, gated_backward, _gated,
          ("dg = dout * v", "dg = dout * g"), shape="directional"),
    plant("skip-mask-written-into-dout", "wrong point", relu_skip, relu_skip_backward, given(x=(6, 5), W=(5, 5)),
          ("dout.copy()", "dout"), shape="directional"),
    plant("skip-lost", "overwritten", relu_skip, relu_skip_backward, given(x=(6, 5), W=(5, 5)),
          ("dx = dout + da", "dx = da"), shape="directional"),
    plant("hidden-layer-in-one-buffer", "wrong point", tanh_twice, tanh_twice_backward,
          given(x=(6, 5), W1=(5, 4), W2=(4, 4)), ("np.tanh(h1 @ W2)", "np.tanh(h1 @ W2, out=h1)"),
          shape="directional"),
]
