"""Recurrent networks over time, the steps of GRU and LSTM, attention."""

from __future__ import annotations

import numpy as np

from .case import given, labels, plant, small


def sigmoid(a):
    """1 / (1 + e^-a)."""
    return 1 / (1 + np.exp(-a))


def rows_softmax(s):
    """Over the last axis."""
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rnn_step(x, prev_h, Wx, Wh, b):
    """CS231n, assignment 3."""
    next_h = np.tanh(x.dot(Wx) + prev_h.dot(Wh) + b)
    cache = x, prev_h, Wx, Wh, next_h
    return next_h, cache


def rnn_step_backward(dnext_h, cache):
    """CS231n, assignment 3."""
    x, prev_h, Wx, Wh, next_h = cache
    dz = dnext_h * (1 - next_h**2)
    dx = dz.dot(Wx.T)
    dprev_h = dz.dot(Wh.T)
    dWx = x.T.dot(dz)
    dWh = prev_h.T.dot(dz)
    db = np.sum(dz, axis=0)
    return dx, dprev_h, dWx, dWh, db


def rnn(x, h0, Wx, Wh, b):
    """All hidden states (N, T, H)."""
    h, hs = h0, []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ Wx + h @ Wh + b)
        hs.append(h)
    return np.stack(hs, axis=1)


def rnn_backward(x, h0, Wx, Wh, b, dout):
    """Through time, from the end."""
    N, T, H = dout.shape
    hs = rnn(x, h0, Wx, Wh, b)
    dx = np.zeros_like(x)
    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
    dh = np.zeros((N, H))
    for t in reversed(range(T)):
        prev = hs[:, t - 1] if t > 0 else h0
        dh = dh + dout[:, t]
        da = dh * (1 - hs[:, t] ** 2)
        dx[:, t] = da @ Wx.T
        dWx += x[:, t].T @ da
        dWh += prev.T @ da
        db += da.sum(axis=0)
        dh = da @ Wh.T
    return {"dx": dx, "dh0": dh, "dWx": dWx, "dWh": dWh, "db": db}


def char_rnn(Wxh, Whh, Why, inputs, targets):
    """min-char-rnn without biases: the sum of the cross-entropies."""
    h, loss = np.zeros((Whh.shape[0], 1)), 0.0
    for i, t in zip(inputs, targets, strict=True):
        h = np.tanh(Wxh[:, [i]] + Whh @ h)
        y = Why @ h
        p = np.exp(y) / np.sum(np.exp(y))
        loss += -np.log(p[t, 0])
    return loss


def char_rnn_backward(Wxh, Whh, Why, inputs, targets):
    """After Karpathy's gist."""
    hs, ps = {-1: np.zeros((Whh.shape[0], 1))}, {}
    for t in range(len(inputs)):
        hs[t] = np.tanh(Wxh[:, [inputs[t]]] + Whh @ hs[t - 1])
        y = Why @ hs[t]
        ps[t] = np.exp(y) / np.sum(np.exp(y))
    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dhnext = np.zeros_like(hs[0])
    for t in reversed(range(len(inputs))):
        dy = np.copy(ps[t])
        dy[targets[t]] -= 1
        dWhy += np.dot(dy, hs[t].T)
        dh = np.dot(Why.T, dy) + dhnext
        dhraw = (1 - hs[t] * hs[t]) * dh
        dWxh[:, [inputs[t]]] += dhraw
        dWhh += np.dot(dhraw, hs[t - 1].T)
        dhnext = np.dot(Whh.T, dhraw)
    return dWxh, dWhh, dWhy


def gru(x, h, Wz, Uz, Wn, Un):
    """A step with an update gate alone (minimal gated unit, no reset)."""
    z = sigmoid(x @ Wz + h @ Uz)
    n = np.tanh(x @ Wn + h @ Un)
    return (1 - z) * n + z * h


def gru_backward(x, h, Wz, Uz, Wn, Un, dnew):
    """h has three ways into the result."""
    z = sigmoid(x @ Wz + h @ Uz)
    n = np.tanh(x @ Wn + h @ Un)
    dz = dnew * (h - n)
    dn = dnew * (1 - z)
    dh = dnew * z
    dz_raw = dz * z * (1 - z)
    dn_raw = dn * (1 - n * n)
    dWz, dUz = x.T @ dz_raw, h.T @ dz_raw
    dWn, dUn = x.T @ dn_raw, h.T @ dn_raw
    dx = dz_raw @ Wz.T + dn_raw @ Wn.T
    dh += dz_raw @ Uz.T
    dh += dn_raw @ Un.T
    return dx, dh, dWz, dUz, dWn, dUn


def lstm(x, h, c, W, U, b):
    """A step: input, forget, output gate and candidate in one matrix; the new h and c side by side."""
    H = h.shape[1]
    a = x @ W + h @ U + b
    i, f, o = sigmoid(a[:, :H]), sigmoid(a[:, H : 2 * H]), sigmoid(a[:, 2 * H : 3 * H])
    g = np.tanh(a[:, 3 * H :])
    new_c = f * c + i * g
    new_h = o * np.tanh(new_c)
    return np.hstack([new_h, new_c]), (x, h, c, W, U, i, f, o, g, new_c)


def lstm_backward(dout, cache):
    """The cell gets gradients from above and through the output."""
    x, h, c, W, U, i, f, o, g, new_c = cache
    H = h.shape[1]
    dh, dc = dout[:, :H], dout[:, H:].copy()
    tc = np.tanh(new_c)
    do = dh * tc
    dc += dh * o * (1 - tc**2)
    di, df, dg = dc * g, dc * c, dc * i
    dc_prev = dc * f
    da = np.hstack([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)])
    return da @ W.T, da @ U.T, dc_prev, x.T @ da, h.T @ da, da.sum(axis=0)


def attention(Q, K, V):
    """Scaled dot products, one head."""
    return rows_softmax(Q @ K.T / np.sqrt(Q.shape[1])) @ V


def attention_backward(Q, K, V, dO):
    """Through the softmax of each query."""
    scale = 1 / np.sqrt(Q.shape[1])
    P = rows_softmax(Q @ K.T * scale)
    dV = P.T @ dO
    dP = dO @ V.T
    dS = P * (dP - (dP * P).sum(axis=-1, keepdims=True))
    dQ = dS @ K * scale
    dK = dS.T @ Q * scale
    return dQ, dK, dV


def self_attention(X, Wq, Wk, Wv):
    """(batch, time, features) attends to itself."""
    q, k, v = X @ Wq, X @ Wk, X @ Wv
    return rows_softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])) @ v


def self_attention_backward(X, Wq, Wk, Wv, dout):
    """X in three parts."""
    q, k, v = X @ Wq, X @ Wk, X @ Wv
    s = np.sqrt(q.shape[-1])
    p = rows_softmax(q @ k.transpose(0, 2, 1) / s)
    dv = p.transpose(0, 2, 1) @ dout
    dp = dout @ v.transpose(0, 2, 1)
    ds = p * (dp - np.sum(dp * p, axis=2, keepdims=True)) / s
    dq = ds @ k
    dk = ds.transpose(0, 2, 1) @ q
    dX = dq @ Wq.T
    dX += dk @ Wk.T
    dX += dv @ Wv.T
    dWq = np.einsum("btd,bte->de", X, dq)
    dWk = np.einsum("btd,bte->de", X, dk)
    dWv = np.einsum("btd,bte->de", X, dv)
    return {"dX": dX, "dWq": dWq, "dWk": dWk, "dWv": dWv}


_step = given(x=(6, 5), prev_h=(6, 4), Wx=(5, 4), Wh=(4, 4), b=(4,))
_rnn = given(x=(3, 5, 2), h0=(3, 4), Wx=(2, 4), Wh=small(4, 4), b=(4,))
_chars = given(Wxh=(4, 6), Whh=small(4, 4), Why=(6, 4), inputs=labels(5, 6), targets=labels(5, 6))
_gru = given(x=(6, 5), h=(6, 4), Wz=(5, 4), Uz=(4, 4), Wn=(5, 4), Un=(4, 4))
_lstm = given(x=(6, 5), h=(6, 3), c=(6, 3), W=small(5, 12), U=small(3, 12), b=(12,))
_attention = given(Q=(5, 4), K=(6, 4), V=(6, 3))
_self = given(X=(2, 5, 4), Wq=small(4, 3), Wk=small(4, 3), Wv=(4, 3))

# fmt: off
CASES = [
    plant("rnn-step-without-tanh", "missing activation derivative", rnn_step, rnn_step_backward, _step,
          ("dnext_h * (1 - next_h**2)", "dnext_h"), shape="cache"),
    plant("rnn-step-Wh-not-transposed", "transpose", rnn_step, rnn_step_backward, _step,
          ("dz.dot(Wh.T)", "dz.dot(Wh)"), shape="cache"),
    plant("rnn-step-by-next-state", "wrong point", rnn_step, rnn_step_backward, _step,
          ("prev_h.T.dot(dz)", "next_h.T.dot(dz)"), shape="cache"),
    plant("rnn-step-bias-not-summed", "missing sum", rnn_step, rnn_step_backward, _step,
          ("np.sum(dz, axis=0)", "dz"), shape="cache"),
    plant("rnn-weights-of-first-step-only", "overwritten", rnn, rnn_backward, _rnn, ("dWx += ", "dWx = "),
          shape="directional"),
    plant("rnn-state-forgets-the-future", "overwritten", rnn, rnn_backward, _rnn,
          ("dh = dh + dout[:, t]", "dh = dout[:, t]"), shape="directional"),
    plant("rnn-by-current-state", "wrong point", rnn, rnn_backward, _rnn, ("prev.T @ da", "hs[:, t].T @ da"),
          shape="directional"),
    plant("rnn-state-without-tanh", "missing activation derivative", rnn, rnn_backward, _rnn,
          ("dh * (1 - hs[:, t] ** 2)", "dh"), shape="directional"),
    plant("rnn-bias-summed-over-units", "wrong axis", rnn, rnn_backward,
          given(x=(4, 5, 2), h0=(4, 4), Wx=(2, 4), Wh=small(4, 4), b=(4,)), ("da.sum(axis=0)", "da.sum(axis=1)"),
          shape="directional"),
    plant("char-rnn-last-character", "overwritten", char_rnn, char_rnn_backward, _chars, ("dWhh += ", "dWhh = "),
          wrt="Wxh Whh Why"),
    plant("char-rnn-transpose", "transpose", char_rnn, char_rnn_backward, _chars,
          ("np.dot(Whh.T, dhraw)", "np.dot(Whh, dhraw)"), wrt="Wxh Whh Why"),
    plant("char-rnn-no-future", "overwritten | missing sum", char_rnn, char_rnn_backward, _chars,
          (" + dhnext\n", "\n"), wrt="Wxh Whh Why"),
    plant("gru-gate-sign", "sign", gru, gru_backward, _gru, ("dnew * (h - n)", "dnew * (n - h)"), shape="directional"),
    plant("gru-gate-without-sigmoid", "missing activation derivative", gru, gru_backward, _gru,
          ("dz * z * (1 - z)", "dz"), shape="directional"),
    plant("gru-state-one-way", "overwritten", gru, gru_backward, _gru,
          ("dh += dn_raw", "dh = dn_raw"), shape="directional"),
    plant("gru-candidate-by-gate", "wrong point", gru, gru_backward, _gru,
          ("dn = dnew * (1 - z)", "dn = dnew * z"), shape="directional"),
    plant("lstm-forget-gate-by-new-cell", "wrong point", lstm, lstm_backward, _lstm, ("dc * c", "dc * new_c"),
          shape="cache"),
    plant("lstm-output-by-cell-not-tanh", "wrong point", lstm, lstm_backward, _lstm, ("dh * tc", "dh * new_c"),
          shape="cache"),
    plant("lstm-candidate-without-tanh", "missing activation derivative", lstm, lstm_backward, _lstm,
          ("dg * (1 - g**2)", "dg"), shape="cache"),
    plant("lstm-cell-from-above-lost", "overwritten", lstm, lstm_backward, _lstm,
          ("dc += dh", "dc = dh"), shape="cache"),
    plant("attention-scale-missing", "factor", attention, attention_backward, _attention,
          ("dS @ K * scale", "dS @ K"), shape="directional"),
    plant("attention-softmax-skipped", "missing activation derivative", attention, attention_backward, _attention,
          ("dS = P * (dP - (dP * P).sum(axis=-1, keepdims=True))", "dS = dP"), shape="directional"),
    plant("attention-keys-not-transposed", "transpose", attention, attention_backward,
          given(Q=(5, 4), K=(5, 4), V=(5, 3)), ("dS.T @ Q", "dS @ Q"), shape="directional"),
    plant("attention-softmax-over-queries", "wrong axis", attention, attention_backward,
          given(Q=(5, 4), K=(5, 4), V=(5, 3)),
          ("(dP * P).sum(axis=-1, keepdims=True)", "(dP * P).sum(axis=0, keepdims=True)"), shape="directional"),
    plant("self-attention-only-values", "overwritten", self_attention, self_attention_backward, _self,
          ("dX += dv", "dX = dv"), shape="directional"),
    plant("self-attention-weights-per-sample", "missing sum", self_attention, self_attention_backward, _self,
          ('"btd,bte->de", X, dv', '"btd,bte->bde", X, dv'), shape="directional"),
    plant("self-attention-sum-over-queries", "wrong axis", self_attention, self_attention_backward, _self,
          ("axis=2, keepdims=True", "axis=1, keepdims=True"), shape="directional"),
]
