"""Ops with a rule of their own, for stability or for a derivation worth reading, are what they abbreviate: values,
gradients and second derivatives are those of the composition of primitives. And the conventions at ties and kinks.
"""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.check.numeric import relative_error

LABELS = np.array([2, 0, 3])
ONEHOT = np.eye(4)[LABELS]
SOFT = np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.5, 0.0], [0.9, 0.3, 0.2, 0.1]])  # the last row's sum is not 1


def log_of_softmax(x: Any, axis: int = -1) -> Any:
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))


# The named function and its composition, as functions of the arrays whose shapes are given.
PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "softmax": (cr.softmax, lambda x: np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True), ((3, 4),)),
    "softmax of columns": (
        lambda x: cr.softmax(x, axis=0), lambda x: np.exp(x) / np.sum(np.exp(x), axis=0, keepdims=True), ((3, 4),)
    ),
    "log_softmax": (cr.log_softmax, log_of_softmax, ((3, 4),)),
    "log_softmax of the middle axis": (
        lambda x: cr.log_softmax(x, axis=1), lambda x: log_of_softmax(x, 1), ((2, 3, 2),)
    ),
    "logsumexp": (cr.logsumexp, lambda x: np.log(np.sum(np.exp(x))), ((3, 4),)),
    "logsumexp of rows": (lambda x: cr.logsumexp(x, axis=1), lambda x: np.log(np.sum(np.exp(x), axis=1)), ((3, 4),)),
    "cross_entropy of labels": (
        lambda x: cr.cross_entropy(x, LABELS), lambda x: -np.mean(log_of_softmax(x)[np.arange(3), LABELS]), ((3, 4),)
    ),
    "cross_entropy of one-hot rows": (
        lambda x: cr.cross_entropy(x, ONEHOT), lambda x: -np.sum(ONEHOT * log_of_softmax(x)) / 3, ((3, 4),)
    ),
    "cross_entropy of probabilities": (
        lambda x: cr.cross_entropy(x, SOFT), lambda x: -np.sum(SOFT * log_of_softmax(x)) / 3, ((3, 4),)
    ),
    "cross_entropy as a function of its targets too": (
        lambda x, t: cr.cross_entropy(x, t, "none"), lambda x, t: -np.sum(t * log_of_softmax(x), axis=-1),
        ((3, 4), (3, 4)),
    ),
    "sigmoid": (cr.sigmoid, lambda x: 1 / (1 + np.exp(-x)), ((3, 4),)),
    "softplus": (cr.softplus, lambda x: np.log(1 + np.exp(x)), ((3, 4),)),
    "relu": (cr.relu, lambda x: np.maximum(x, 0), ((3, 4),)),
    "tanh": (cr.tanh, lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)), ((3, 4),)),
    "mean": (np.mean, lambda x: np.sum(x) / 12, ((3, 4),)),
    "mean of columns": (lambda x: np.mean(x, axis=0), lambda x: np.sum(x, axis=0) / 3, ((3, 4),)),
    "mean_squared_error": (
        cr.mean_squared_error, lambda x, t: np.sum((x - t) * (x - t)) / 12, ((3, 4), (3, 4))
    ),
}  # fmt: skip


@pytest.mark.parametrize(("named", "composed", "shapes"), PAIRS.values(), ids=PAIRS)
def test_a_named_op_is_its_composition(
    named: Callable[..., Any], composed: Callable[..., Any], shapes: tuple[tuple[int, ...], ...]
) -> None:
    random = np.random.default_rng(7)
    xs = [random.normal(size=shape) for shape in shapes]
    weights = random.normal(size=np.shape(named(*xs)))
    directions = [random.normal(size=shape) for shape in shapes]
    all_of_them = range(len(xs))

    def value(f: Callable[..., Any]) -> Any:
        return f(*xs)

    def first(f: Callable[..., Any]) -> Any:
        return cr.grad(lambda *xs: (f(*xs) * weights).sum(), all_of_them)(*xs)

    def second(f: Callable[..., Any]) -> Any:
        gradient = cr.grad(lambda *xs: (f(*xs) * weights).sum(), all_of_them)
        along = lambda *xs: sum((g * d).sum() for g, d in zip(gradient(*xs), directions, strict=True))  # noqa: E731
        return cr.grad(along, all_of_them)(*xs)

    assert relative_error(value(named), value(composed)) <= 1e-12
    for a, b in zip(first(named), first(composed), strict=True):
        assert relative_error(a, b) <= 1e-12
    for a, b in zip(second(named), second(composed), strict=True):
        assert relative_error(a, b, scale=1e-2) <= 1e-12


def test_the_derivative_of_cross_entropy_is_softmax_minus_onehot() -> None:
    x = np.random.default_rng(1).normal(size=(3, 4))
    gradient = cr.grad(lambda x: cr.cross_entropy(x, LABELS, "sum"))(x)
    assert relative_error(gradient, cr.softmax(x) - ONEHOT) <= 1e-15


def test_labels_and_their_onehot_rows_give_the_same_losses_and_gradients() -> None:
    x = np.random.default_rng(1).normal(size=(3, 4))
    for reduction in ("mean", "sum", "mean_entries"):
        by_label = cr.value_and_grad(lambda x, r=reduction: cr.cross_entropy(x, LABELS, r))(x)
        by_row = cr.value_and_grad(lambda x, r=reduction: cr.cross_entropy(x, ONEHOT, r))(x)
        for a, b in zip(by_label, by_row, strict=True):
            assert relative_error(a, b) <= 1e-14


@pytest.mark.parametrize("dtype", [int, bool, np.uint8, np.float32], ids=lambda d: np.dtype(d).name)
def test_onehot_rows_of_any_dtype_leave_float32_logits_float32(dtype: Any) -> None:
    logits = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    rows = ONEHOT.astype(dtype)
    x = cr.tensor(logits, requires_grad=True)
    loss = cr.cross_entropy(x, rows)
    loss.backward()
    graph = cr.trace(lambda x, t: cr.cross_entropy(x, t), logits, rows)
    assert loss.value.dtype == x.grad.dtype == graph.run(logits, rows).dtype == np.float32
    assert relative_error(loss.value, cr.cross_entropy(logits, LABELS)) <= 1e-6
    assert relative_error(x.grad, cr.grad(lambda x: cr.cross_entropy(x, LABELS))(logits)) <= 1e-6


# ---- where the formulas as they stand would overflow

EXTREME = np.array([[1e4, -1e4, 0.0, 3.0], [-1e4, -1e4, -1e4, -1e4], [1e4, 1e4, 1e4, 1e4], [-1e4, 1e4, 1.0, 1e4 - 1]])
STABLE: dict[str, Callable[[Any], Any]] = {
    "sigmoid": cr.sigmoid,
    "softplus": cr.softplus,
    "tanh": cr.tanh,
    "softmax": cr.softmax,
    "softmax of columns": lambda x: cr.softmax(x, axis=0),
    "log_softmax": cr.log_softmax,
    "logsumexp": lambda x: cr.logsumexp(x, axis=1),
    "logsumexp of all": cr.logsumexp,
    "cross_entropy of labels": lambda x: cr.cross_entropy(x, np.array([1, 0, 3, 2]), "none"),
    "cross_entropy of probabilities": lambda x: cr.cross_entropy(x, np.full((4, 4), 0.25, x.dtype), "none"),
    "np.logaddexp": lambda x: np.logaddexp(x[:, 0], x[:, 1]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("f", STABLE.values(), ids=STABLE)
def test_extreme_logits_give_finite_values_and_derivatives(f: Callable[[Any], Any], dtype: Any) -> None:
    x = EXTREME.astype(dtype)
    gradient = cr.grad(lambda x: f(x).sum())
    projected = cr.grad(lambda x: (gradient(x) * x).sum() / 1e4)
    graph = cr.derive(cr.trace(lambda x: f(x).sum(), x))
    for found in (f(cr.tensor(x)).value, gradient(x), projected(x), *graph.run(x)):
        assert np.isfinite(found).all()


def test_extreme_values_are_right_too() -> None:
    assert cr.softplus(np.array([1e4, -1e4, 0.0])).tolist() == [1e4, 0.0, np.log(2)]
    assert cr.sigmoid(np.array([1e4, -1e4, 0.0])).tolist() == [1.0, 0.0, 0.5]
    assert cr.logsumexp(EXTREME, axis=1)[:3].tolist() == [1e4, -1e4 + np.log(4), 1e4 + np.log(4)]
    assert cr.cross_entropy(EXTREME[:1], np.array([1]), "none").tolist() == [2e4]
    assert cr.softmax(EXTREME)[1].tolist() == [0.25] * 4


@pytest.mark.parametrize("x", [-700.0, -40.0, -1e-9, 1e-9, 40.0, 700.0])
def test_small_probabilities_keep_their_digits(x: float) -> None:
    with localcontext(prec=700):
        e = Decimal(x).exp()
        sigmoid, softplus = float(e / (1 + e)), float((1 + e).ln())
    assert math.isclose(cr.sigmoid(np.array(x)), sigmoid, rel_tol=1e-14)
    assert math.isclose(cr.softplus(np.array(x)), softplus, rel_tol=1e-14)


# ---- ties, and points without a derivative: the conventions


def test_relu_and_maximum_with_a_number_have_the_derivative_0_at_0() -> None:
    x = np.array([-1.0, 0.0, 2.0])
    for f in (cr.relu, lambda x: np.maximum(x, 0), lambda x: np.maximum(0, x), lambda x: np.maximum(x, np.float64(0))):
        assert cr.grad(lambda x, f=f: f(x).sum())(x).tolist() == [0.0, 0.0, 1.0]


def test_minimum_with_a_number_has_the_derivative_0_at_a_tie() -> None:
    x = np.array([-1.0, 0.0, 2.0])
    for f in (lambda x: np.minimum(x, 0), lambda x: np.minimum(0, x)):
        assert cr.grad(lambda x, f=f: f(x).sum())(x).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("f", [np.maximum, np.minimum])
def test_at_a_tie_of_two_arrays_the_second_takes_the_derivative(f: Callable[..., Any]) -> None:
    a = np.array([1.0, 2.0])
    da, db = cr.grad(lambda a, b: f(a, b).sum(), (0, 1))(a, a.copy())
    assert da.tolist() == [0.0, 0.0]
    assert db.tolist() == [1.0, 1.0]


def test_equal_maxima_share_the_derivative() -> None:
    x = np.array([[3.0, 1.0, 3.0], [2.0, 2.0, 2.0]])
    assert np.allclose(cr.grad(lambda x: x.max(axis=1).sum())(x), [[0.5, 0, 0.5], [1 / 3, 1 / 3, 1 / 3]], atol=0)


def test_abs_has_the_derivative_0_at_0() -> None:
    assert cr.grad(lambda x: np.abs(x).sum())(np.array([-2.0, 0.0, 2.0])).tolist() == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize("p", [0, 1, 2, 3, 2.5, -1])
def test_powers_of_negative_numbers_and_zero_have_the_derivatives_they_have(p: float) -> None:
    x = np.array([-2.0, 0.0, 3.0])
    x = x if p >= 0 and p == int(p) else x[x > 0] if p != int(p) else x[x != 0]
    expected = p * x ** (p - 1) if p else np.zeros_like(x)
    assert relative_error(cr.grad(lambda x: (x**p).sum())(x), expected) <= 1e-15
    if p > 0 or (x > 0).all():
        by_array = cr.grad(lambda x: (x ** np.full(x.shape, float(p))).sum())(x)
        assert relative_error(by_array, expected) <= 1e-15


@pytest.mark.parametrize("dtype", [int, bool, np.uint8])
def test_what_is_rounded_to_integers_has_no_derivative(dtype: Any) -> None:
    x = np.array([0.3, 1.7, 2.2])
    assert cr.grad(lambda x: (x.astype(dtype) * x).sum())(x).tolist() == x.astype(dtype).astype(float).tolist()
    t = cr.tensor(x, requires_grad=True)
    assert not t.astype(dtype).requires_grad
    graph = cr.derive(cr.trace(lambda x: (x.astype(dtype) * x).sum(), x))
    assert graph.run(x)[1].tolist() == x.astype(dtype).astype(float).tolist()
