"""Models beyond networks: mixtures, RBF, factorisations, regressions with penalties."""

from __future__ import annotations

import numpy as np

from .case import given, labels, off_zero, plant, positive, small


def rbf(X, centres, gamma, w):
    """A radial basis function network with one output."""
    d2 = ((X[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    return np.exp(-gamma * d2) @ w


def rbf_backward(X, centres, gamma, w, dout):
    """gamma (K,) is one for each centre."""
    diff = X[:, None, :] - centres[None, :, :]
    d2 = (diff**2).sum(axis=2)
    phi = np.exp(-gamma * d2)
    dw = phi.T @ dout
    dphi = dout[:, None] * w
    dd2 = -gamma * phi * dphi
    dgamma = (-d2 * phi * dphi).sum(axis=0)
    dX = (2 * dd2[:, :, None] * diff).sum(axis=1)
    dcentres = -(2 * dd2[:, :, None] * diff).sum(axis=0)
    return {"dX": dX, "dcentres": dcentres, "dgamma": dgamma, "dw": dw}


def mixture(x, logits, mu, log_sigma):
    """The negative log-likelihood of numbers in a mixture of normal distributions."""
    log_pi = logits - np.log(np.exp(logits).sum())
    z = (x[:, None] - mu) / np.exp(log_sigma)
    joint = log_pi - 0.5 * z**2 - log_sigma - 0.5 * np.log(2 * np.pi)
    return -np.log(np.exp(joint).sum(axis=1)).sum()


def mixture_backward(x, logits, mu, log_sigma):
    """By the responsibilities, as EM has them."""
    pi = np.exp(logits) / np.exp(logits).sum()
    sigma = np.exp(log_sigma)
    z = (x[:, None] - mu) / sigma
    p = pi * np.exp(-0.5 * z**2) / sigma
    r = p / p.sum(axis=1, keepdims=True)
    d_logits = (pi - r).sum(axis=0)
    d_mu = -(r * z / sigma).sum(axis=0)
    d_log_sigma = (r * (1 - z**2)).sum(axis=0)
    d_x = (r * z / sigma).sum(axis=1)
    return d_x, d_logits, d_mu, d_log_sigma


def factorisation(U, V, R, seen):
    """Ratings R from users U and items V where seen, with a ridge of 0.1."""
    E = seen * (U @ V.T - R)
    return 0.5 * np.sum(E**2) + 0.05 * (np.sum(U**2) + np.sum(V**2))


def factorisation_backward(U, V, R, seen):
    """Both sides."""
    E = seen * (U @ V.T - R)
    dU = E @ V + 0.1 * U
    dV = E.T @ U + 0.1 * V
    return dU, dV


def elastic_net(w, b, X, y):
    """Logistic regression with L1 (0.1) and L2 (0.05 w²)."""
    z = X @ w + b
    return np.mean(np.log1p(np.exp(z)) - y * z) + 0.1 * np.abs(w).sum() + 0.05 * (w**2).sum()


def elastic_net_backward(w, b, X, y):
    """The penalties leave the bias alone."""
    n = len(y)
    err = 1 / (1 + np.exp(-(X @ w + b))) - y
    grad_w = X.T @ err / n + 0.1 * np.sign(w) + 0.1 * w
    grad_b = err.mean()
    return grad_w, grad_b


def polynomial(coef, x, t):
    """Horner's scheme, squared error."""
    y = np.zeros_like(x)
    for a in coef:
        y = y * x + a
    return ((y - t) ** 2).sum()


def polynomial_backward(coef, x, t):
    """By powers; the highest comes first."""
    powers = np.vander(x, len(coef))
    e = 2 * (powers @ coef - t)
    return {"coef": powers.T @ e}


def normal_likelihood(mu, s, x):
    """The negative log-likelihood of rows, one deviation s for all."""
    return np.sum(0.5 * ((x - mu) / s) ** 2 + np.log(s))


def normal_likelihood_backward(mu, s, x):
    """mu (D,), s a number."""
    dmu = -np.sum(x - mu, axis=0) / s**2
    ds = np.sum(-((x - mu) ** 2) / s**3 + 1 / s)
    return dmu, ds


def laplacian(u, k):
    """The energy of a chain of springs of stiffness k, fixed at the left end, and of its weight."""
    stretch = np.diff(u, prepend=0.0)
    return 0.5 * np.sum(k * stretch**2) + np.sum(u)


def laplacian_backward(u, k):
    """A spring pulls at both of its ends."""
    stretch = np.diff(u, prepend=0.0)
    force = k * stretch
    du = np.ones_like(u)
    du += force
    du[:-1] -= force[1:]
    dk = 0.5 * stretch**2
    return du, dk


def decay(y0, rate):
    """Twenty Euler steps of y' = -rate y + sin(y); the end."""
    y = y0
    for _ in range(20):
        y = y + 0.1 * (-rate * y + np.sin(y))
    return y


def decay_adjoint(y0, rate, dend):
    """The adjoint, step by step back."""
    ys = [y0]
    for _ in range(20):
        y = ys[-1]
        ys.append(y + 0.1 * (-rate * y + np.sin(y)))
    lam, drate = dend, np.zeros_like(rate)
    for y in reversed(ys[:-1]):
        drate += -0.1 * y * lam
        lam = lam * (1 + 0.1 * (-rate + np.cos(y)))
    return lam, drate


def mahalanobis(x, mu, L):
    """|(x - mu) L|², the mean over the batch."""
    return np.mean((((x - mu) @ L) ** 2).sum(axis=1))


def mahalanobis_backward(x, mu, L):
    """Three gradients."""
    d = x - mu
    y = d @ L
    dy = 2 * y / len(x)
    dL = d.T @ dy
    dx = dy @ L.T
    dmu = -dx.sum(axis=0)
    return [dx, dmu, dL]


def mixture_of_experts(x, G, A, y):
    """A softmax gate G weighs linear experts A (K, D); half the squared error."""
    e = np.exp(x @ G)
    gate = e / e.sum(axis=1, keepdims=True)
    return 0.5 * np.sum(((gate * (x @ A.T)).sum(axis=1) - y) ** 2)


def mixture_of_experts_backward(x, G, A, y):
    """Gate and experts."""
    e = np.exp(x @ G)
    gate = e / e.sum(axis=1, keepdims=True)
    outputs = x @ A.T
    y_hat = (gate * outputs).sum(axis=1, keepdims=True)
    delta = y_hat - y[:, None]
    d_gate_logits = delta * gate * (outputs - y_hat)
    return {"grad_G": x.T @ d_gate_logits, "grad_A": (delta * gate).T @ x}


def _seen(rng):
    seen = rng.random((6, 5)) < 0.7
    seen[0, 0] = True
    return seen


_rbf = given(X=(6, 3), centres=(4, 3), gamma=lambda rng: rng.uniform(0.1, 0.4, 4), w=(4,))
_mixture = given(x=(7,), logits=(3,), mu=(3,), log_sigma=small(3))
_ratings = given(U=(6, 3), V=(5, 3), R=(6, 5), seen=_seen)
_elastic = given(w=off_zero(5), b=(), X=(6, 5), y=labels(6, 2))
_chain = given(u=(7,), k=positive(7))
_ode = given(y0=(5,), rate=positive(5))
_experts = given(x=(6, 5), G=small(5, 3), A=(3, 5), y=(6,))

# fmt: off
CASES = [
    plant("rbf-centre-sign", "sign", rbf, rbf_backward, _rbf,
          ("dcentres = -(2", "dcentres = (2"), shape="directional"),
    plant("rbf-without-2", "factor", rbf, rbf_backward, _rbf, ("dX = (2 * dd2", "dX = (dd2"), shape="directional"),
    plant("rbf-gamma-not-summed", "missing sum", rbf, rbf_backward, _rbf,
          ("(-d2 * phi * dphi).sum(axis=0)", "-d2 * phi * dphi"), shape="directional"),
    plant("rbf-exponential-skipped", "missing activation derivative", rbf, rbf_backward, _rbf,
          ("dd2 = -gamma * phi * dphi", "dd2 = -gamma * dphi"), shape="directional"),
    plant("mixture-means-sign", "sign", mixture, mixture_backward, _mixture, ("d_mu = -(r", "d_mu = (r")),
    plant("mixture-sigma-not-divided", "factor | wrong point", mixture, mixture_backward, _mixture,
          ("d_mu = -(r * z / sigma)", "d_mu = -(r * z)")),
    plant("mixture-responsibilities-over-samples", "wrong axis", mixture, mixture_backward,
          given(x=(4,), logits=(4,), mu=(4,), log_sigma=small(4)),
          ("p.sum(axis=1, keepdims=True)", "p.sum(axis=0, keepdims=True)")),
    plant("mixture-weights-constant", "missing sum | overwritten", mixture, mixture_backward, _mixture,
          ("(pi - r).sum(axis=0)", "-r.sum(axis=0)")),
    plant("factorisation-transpose", "transpose", factorisation, factorisation_backward,
          given(U=(5, 3), V=(5, 3), R=(5, 5), seen=lambda rng: _seen(rng)[:5]), ("E.T @ U", "E @ U"), wrt="U V"),
    plant("factorisation-half-forgotten", "factor", factorisation, factorisation_backward, _ratings,
          ("E @ V + 0.1 * U", "2 * E @ V + 0.2 * U"), wrt="U V"),
    plant("factorisation-ridge-missing", "other loss", factorisation, factorisation_backward, _ratings,
          (" + 0.1 * U", ""), (" + 0.1 * V", ""), wrt="U V"),
    plant("factorisation-sign", "sign", factorisation, factorisation_backward, _ratings,
          ("dU = E @ V", "dU = -E @ V"), wrt="U V"),
    plant("elastic-net-ridge-only", "other loss", elastic_net, elastic_net_backward, _elastic,
          (" + 0.1 * np.sign(w)", ""), wrt="w b"),
    plant("elastic-net-lasso-of-w", "other loss", elastic_net, elastic_net_backward, _elastic,
          (" + 0.1 * np.sign(w) + 0.1 * w", " + 0.2 * w"), wrt="w b"),
    plant("elastic-net-bias-summed", "factor", elastic_net, elastic_net_backward, _elastic,
          ("err.mean()", "err.sum()"), wrt="w b"),
    plant("elastic-net-sigmoid-skipped", "wrong point | other loss", elastic_net, elastic_net_backward, _elastic,
          ("1 / (1 + np.exp(-(X @ w + b))) - y", "X @ w + b - y"), wrt="w b"),
    plant("polynomial-without-2", "factor", polynomial, polynomial_backward, given(coef=(4,), x=(6,), t=(6,)),
          ("2 * (powers", "(powers"), wrt="coef"),
    plant("likelihood-deviation-not-squared", "wrong point | factor", normal_likelihood, normal_likelihood_backward,
          given(mu=(4,), s=positive(), x=(6, 4)), ("/ s**2", "/ s"), wrt="mu s"),
    plant("likelihood-log-sign", "sign", normal_likelihood, normal_likelihood_backward,
          given(mu=(4,), s=positive(), x=(6, 4)), ("+ 1 / s", "- 1 / s"), wrt="mu s"),
    plant("likelihood-mean-over-wrong-axis", "wrong axis", normal_likelihood, normal_likelihood_backward,
          given(mu=(5,), s=positive(), x=(5, 5)), ("np.sum(x - mu, axis=0)", "np.sum(x - mu, axis=1)"), wrt="mu s"),
    plant("springs-one-end", "overwritten | missing sum", laplacian, laplacian_backward, _chain,
          ("    du[:-1] -= force[1:]\n", "")),
    plant("springs-weight-overwritten", "overwritten", laplacian, laplacian_backward, _chain,
          ("du += force", "du = force.copy()")),
    plant("springs-other-end-sign", "sign", laplacian, laplacian_backward, _chain, ("du[:-1] -=", "du[:-1] +=")),
    plant("adjoint-last-step-only", "overwritten", decay, decay_adjoint, _ode,
          ("drate += -0.1 * y * lam", "drate = -0.1 * y * lam"), shape="directional"),
    plant("adjoint-at-the-end-of-the-step", "wrong point", decay, decay_adjoint, _ode,
          ("reversed(ys[:-1])", "reversed(ys[1:])"), shape="directional"),
    plant("adjoint-sine-skipped", "missing activation derivative", decay, decay_adjoint, _ode,
          ("np.cos(y)", "1"), shape="directional"),
    plant("mahalanobis-transpose", "transpose", mahalanobis, mahalanobis_backward, given(x=(6, 4), mu=(4,), L=(4, 4)),
          ("dy @ L.T", "dy @ L")),
    plant("mahalanobis-mean-not-summed", "missing sum", mahalanobis, mahalanobis_backward,
          given(x=(6, 4), mu=(4,), L=(4, 3)), ("-dx.sum(axis=0)", "-dx")),
    plant("experts-gate-softmax-per-expert", "missing sum", mixture_of_experts, mixture_of_experts_backward, _experts,
          ("(outputs - y_hat)", "(outputs - gate * outputs)"), wrt="G A"),
    plant("experts-target-sign", "sign", mixture_of_experts, mixture_of_experts_backward, _experts,
          ("y_hat - y[:, None]", "y[:, None] - y_hat"), wrt="G A"),
]
