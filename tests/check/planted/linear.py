"""Products of matrices and vectors, and broadcasting."""

# ruff: noqa: RUF059 (this is how people write)

from __future__ import annotations

import numpy as np

from .case import given, plant


def affine(x, W, b):
    """A layer x W + b on a batch."""
    return x @ W + b


def affine_backward(x, W, b, dout):
    """Its derivative in the direction dout."""
    dx = dout @ W.T
    dW = x.T @ dout
    db = dout.sum(axis=0)
    return dx, dW, db


def affine_cs231n(x, w, b):
    """CS231n, assignment 1: inputs of any shape are flattened."""
    out = x.reshape(x.shape[0], -1).dot(w) + b
    cache = (x, w, b)
    return out, cache


def affine_cs231n_backward(dout, cache):
    """CS231n, assignment 1."""
    x, w, b = cache
    dx = dout.dot(w.T).reshape(x.shape)
    dw = x.reshape(x.shape[0], -1).T.dot(dout)
    db = np.sum(dout, axis=0)
    return dx, dw, db


def affine_by_loops(x, W, b, dout):
    """For those who distrust broadcasting: one sample at a time."""
    dx, dW, db = np.zeros_like(x), np.zeros_like(W), np.zeros_like(b)
    for i in range(x.shape[0]):
        dx[i] = W @ dout[i]
        dW += np.outer(x[i], dout[i])
        db += dout[i]
    return [dx, dW, db]


def product(A, B):
    """A B."""
    return np.dot(A, B)


def product_backward(A, B, grad):
    """Both factors."""
    grad_A = np.dot(grad, B.T)
    grad_B = np.dot(A.T, grad)
    return {"grad_A": grad_A, "grad_B": grad_B}


def batched(A, B):
    """A product for each sample of a batch."""
    return np.matmul(A, B)


def batched_backward(A, B, dC):
    """The last two axes change places, the batch stays."""
    dA = np.matmul(dC, B.transpose(0, 2, 1))
    dB = np.matmul(A.transpose(0, 2, 1), dC)
    return dA, dB


def standardised(x, mu, s):
    """Features less a row, times a column."""
    return (x - mu) * s


def standardised_backward(x, mu, s, dout):
    """A row, and a column that was broadcast."""
    dx = dout * s
    dmu = -(dout * s).sum(axis=0)
    ds = (dout * (x - mu)).sum(axis=1, keepdims=True)
    return {"dx": dx, "dmu": dmu, "ds": ds}


def scale_shift(x, a, c):
    """A number times an array, plus a number."""
    return a * x + c


def scale_shift_backward(x, a, c, g):
    """Numbers collect from everywhere."""
    return g * a, np.sum(g * x), np.sum(g)


def add_bias3(x, b):
    """A bias on (batch, time, features)."""
    return np.tanh(x) + b


def add_bias3_backward(x, b, dout):
    """A bias has two axes to sum over."""
    db = dout.sum(axis=(0, 1))
    dx = dout * (1 - np.tanh(x) ** 2)
    return dx, db


def quadratic(x, A):
    """x'Ax, where A is not symmetric."""
    return x @ A @ x


def quadratic_backward(x, A):
    """From the matrix cookbook."""
    grad_x = A @ x + A.T @ x
    grad_A = np.outer(x, x)
    return grad_x, grad_A


def bilinear(x, M, y):
    """A score x'My."""
    return x.dot(M).dot(y)


def bilinear_backward(x, M, y):
    """Each of the three."""
    return {"x": M.dot(y), "M": np.outer(x, y), "y": M.T.dot(x)}


def outer(u, v):
    """uv', through a tanh."""
    return np.tanh(np.outer(u, v))


def outer_backward(u, v, dout):
    """One vector for each axis."""
    t = np.tanh(np.outer(u, v))
    dz = dout * (1 - t**2)
    du = (dz * v).sum(axis=1)
    dv = (dz * u[:, None]).sum(axis=0)
    return du, dv


def gram(X):
    """Distances of two sets of features in style transfer: here the squared norm of XX'/n less 1."""
    G = X @ X.T / X.shape[1]
    return ((G - np.eye(len(G))) ** 2).sum()


def gram_backward(X):
    """dG is symmetric."""
    n = X.shape[1]
    G = X @ X.T / n
    dG = 2 * (G - np.eye(len(G)))
    return (2 * dG @ X / n,)


def trace_of_solve(A, B):
    """tr(inv(A + 5) B)."""
    return np.trace(np.linalg.inv(A + 5 * np.eye(len(A))) @ B)


def trace_of_solve_backward(A, B):
    """d inv(A) = -inv(A) dA inv(A)."""
    inverse = np.linalg.inv(A + 5 * np.eye(len(A)))
    dA = -(inverse @ B @ inverse).T
    dB = inverse.T
    return dA, dB


def ratio(x, y):
    """A quotient, element by element."""
    return x / (y**2 + 1)


def ratio_backward(x, y, dz):
    """The quotient rule."""
    n = y**2 + 1
    dx = dz / n
    dn = -dz * x / n**2
    dy = dn * 2 * y
    return dx, dy


_layer = given(x=(6, 5), W=(5, 4), b=(4,))
_square = given(x=(5, 5), W=(5, 5), b=(5,))
_image = given(x=(6, 2, 3), w=(6, 4), b=(4,))

# fmt: off
CASES = [
    plant("affine-dx-not-transposed", "transpose", affine, affine_backward, _square,
          ("dout @ W.T", "dout @ W"), shape="directional"),
    plant("affine-dW-the-other-way-round", "transpose", affine, affine_backward, _square,
          ("x.T @ dout", "dout.T @ x"), shape="directional"),
    plant("affine-bias-over-outputs", "wrong axis", affine, affine_backward, _square,
          ("dout.sum(axis=0)", "dout.sum(axis=1)"), shape="directional"),
    plant("affine-bias-not-summed", "missing sum", affine, affine_backward, _layer,
          ("dout.sum(axis=0)", "dout"), shape="directional"),
    plant("affine-cs231n-bias-axis", "wrong axis", affine_cs231n, affine_cs231n_backward, _image,
          ("np.sum(dout, axis=0)", "np.sum(dout, axis=1)"), shape="cache"),
    plant("affine-cs231n-averaged", "factor", affine_cs231n, affine_cs231n_backward, _image,
          (".T.dot(dout)", ".T.dot(dout) / x.shape[0]"), shape="cache"),
    plant("affine-loop-keeps-last-sample", "overwritten", affine, affine_by_loops, _layer,
          ("dW += np.outer", "dW = np.outer"), shape="directional"),
    plant("affine-loop-outer-swapped", "transpose", affine, affine_by_loops, _square,
          ("np.outer(x[i], dout[i])", "np.outer(dout[i], x[i])"), shape="directional"),
    plant("product-factor-not-transposed", "transpose", product, product_backward, given(A=(4, 4), B=(4, 4)),
          ("np.dot(A.T, grad)", "np.dot(A, grad)"), shape="directional"),
    plant("batched-product-transposed-by-reshape", "transpose", batched, batched_backward,
          given(A=(3, 4, 5), B=(3, 5, 2)), ("A.transpose(0, 2, 1)", "A.reshape(3, 5, 4)"), shape="directional"),
    plant("standardised-column-not-summed", "missing sum", standardised, standardised_backward,
          given(x=(6, 5), mu=(5,), s=(6, 1)), (".sum(axis=1, keepdims=True)", ""), shape="directional"),
    plant("standardised-mean-sign", "sign", standardised, standardised_backward,
          given(x=(6, 5), mu=(5,), s=(6, 1)), ("-(dout * s)", "(dout * s)"), shape="directional"),
    plant("standardised-mean-axis", "wrong axis", standardised, standardised_backward,
          given(x=(5, 5), mu=(5,), s=(5, 1)), ("sum(axis=0)", "sum(axis=1)"), shape="directional"),
    plant("scale-number-not-summed", "missing sum", scale_shift, scale_shift_backward, given(x=(6, 5), a=(), c=()),
          ("np.sum(g * x)", "g * x"), shape="directional"),
    plant("scale-number-averaged", "factor", scale_shift, scale_shift_backward, given(x=(6, 5), a=(), c=()),
          ("np.sum(g * x)", "np.mean(g * x)"), shape="directional"),
    plant("bias3-summed-once", "missing sum", add_bias3, add_bias3_backward, given(x=(3, 6, 4), b=(4,)),
          ("axis=(0, 1)", "axis=0"), shape="directional"),
    plant("bias3-without-tanh", "missing activation derivative", add_bias3, add_bias3_backward,
          given(x=(3, 6, 4), b=(4,)), ("dout * (1 - np.tanh(x) ** 2)", "dout"), shape="directional"),
    plant("quadratic-as-if-symmetric", "transpose", quadratic, quadratic_backward, given(x=(5,), A=(5, 5)),
          ("A @ x + A.T @ x", "A @ x + A @ x")),
    plant("quadratic-one-of-two", "overwritten | missing sum", quadratic, quadratic_backward, given(x=(5,), A=(5, 5)),
          ("A @ x + A.T @ x", "A @ x")),
    plant("bilinear-outer-swapped", "transpose", bilinear, bilinear_backward, given(x=(5,), M=(5, 5), y=(5,)),
          ("np.outer(x, y)", "np.outer(y, x)")),
    plant("outer-axis", "wrong axis", outer, outer_backward, given(u=(5,), v=(5,)),
          ("(dz * v).sum(axis=1)", "(dz * v).sum(axis=0)"), shape="directional"),
    plant("outer-without-tanh", "missing activation derivative", outer, outer_backward, given(u=(6,), v=(4,)),
          ("dout * (1 - t**2)", "dout"), shape="directional"),
    plant("gram-one-of-two", "factor", gram, gram_backward, given(X=(4, 6)), ("2 * dG @ X", "dG @ X")),
    plant("gram-1/n-twice", "factor", gram, gram_backward, given(X=(4, 6)),
          ("2 * (G - np.eye(len(G)))", "2 * (G - np.eye(len(G))) / n")),
    plant("inverse-not-transposed", "transpose", trace_of_solve, trace_of_solve_backward,
          given(A=(4, 4), B=(4, 4)), ("-(inverse @ B @ inverse).T", "-(inverse @ B @ inverse)")),
    plant("inverse-sign", "sign", trace_of_solve, trace_of_solve_backward,
          given(A=(4, 4), B=(4, 4)), ("-(inverse", "(inverse")),
    plant("quotient-sign", "sign", ratio, ratio_backward, given(x=(6, 5), y=(6, 5)),
          ("-dz * x", "dz * x"), shape="directional"),
    plant("quotient-denominator-not-squared", "wrong point | factor", ratio, ratio_backward, given(x=(6, 5), y=(6, 5)),
          ("x / n**2", "x / n"), shape="directional"),
]
