"""Functions that are composed of ops: their values are NumPy's, or the formula's in Python's floats; their gradients
are numerical derivatives; and a recorded graph computes the same, at every batch size.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.check.numeric import numerical_gradient, relative_error

X = np.random.default_rng(1).normal(size=(3, 4))
Y = np.random.default_rng(2).normal(size=(3, 4))


def like(x: Any) -> np.ndarray:
    """Y in the precision of x."""
    return Y.astype(x.dtype)


# What is called on Tensors as it is on arrays.
NUMPY: dict[str, Callable[..., Any]] = {
    "min": np.min,
    "min of rows": lambda x: np.min(x, axis=1, keepdims=True),
    "minimum.reduce": lambda x: np.minimum.reduce(x, axis=1),
    "method min": lambda x: x.min(1),
    "var": np.var,
    "var of columns": lambda x: np.var(x, axis=0, ddof=1),
    "method var": lambda x: x.var(axis=(0, 1), keepdims=True),
    "std": np.std,
    "method std": lambda x: x.std(axis=1, ddof=1),
    "clip": lambda x: np.clip(x, -0.5, 0.7),
    "clip from below": lambda x: np.clip(x, -0.5, None),
    "clip between arrays": lambda x: np.clip(x, like(x) - 1, like(x) + 0.1),
    "clip with crossed bounds": lambda x: np.clip(x, 0.5, -0.5),
    "method clip": lambda x: x.clip(max=0.3),
    "stack": lambda x: np.stack([x, x * like(x)]),
    "stack as last axis": lambda x: np.stack([x, like(x), x], axis=-1),
    "pad": lambda x: np.pad(x, ((0, 0), (0, 1)), constant_values=1),
    "pad all around": lambda x: np.pad(x, 2),
    "pad every axis alike": lambda x: np.pad(x, (1, 2)),
    "cumsum": np.cumsum,
    "method cumsum": lambda x: x.cumsum(axis=1),
    "logaddexp": lambda x: np.logaddexp(x, like(x)),
}

# The library's own functions, and the same in Python's floats for one element.
FORMULAS: dict[str, tuple[Callable[..., Any], Callable[[float], float]]] = {
    "leaky_relu": (cr.leaky_relu, lambda v: max(v, 0) + 0.01 * min(v, 0)),
    "leaky_relu with a slope": (lambda x: cr.leaky_relu(x, 0.3), lambda v: v if v > 0 else 0.3 * v),
    "elu": (cr.elu, lambda v: v if v > 0 else math.exp(v) - 1),
    "elu with alpha": (lambda x: cr.elu(x, 0.5), lambda v: v if v > 0 else 0.5 * (math.exp(v) - 1)),
    "gelu": (cr.gelu, lambda v: v * math.erfc(-v / math.sqrt(2)) / 2),
    "silu": (cr.silu, lambda v: v / (1 + math.exp(-v))),
    "lecun_tanh": (cr.lecun_tanh, lambda v: 1.7159 * math.tanh(2 * v / 3)),
}


def value(y: Any) -> np.ndarray:
    return np.asarray(getattr(y, "value", y))


def check_derivative(f: Callable[..., Any], x: np.ndarray) -> None:
    def loss(x: Any) -> Any:
        y = f(x)
        return (y * y + y).sum()

    assert relative_error(cr.grad(loss)(x), numerical_gradient(loss, x)) < 1e-8


def check_graph(f: Callable[..., Any]) -> None:
    graph = cr.trace(f, X)
    assert np.array_equal(graph.run(X), value(f(cr.tensor(X))))


@pytest.mark.parametrize("name", NUMPY)
def test_numpys_functions_answer_on_tensors(name: str) -> None:
    f = NUMPY[name]
    found, expected = value(f(cr.tensor(X))), f(X)
    assert found.shape == np.shape(expected)
    assert np.allclose(found, expected, rtol=1e-14, atol=1e-14)
    check_derivative(f, X)
    check_graph(f)


@pytest.mark.parametrize("name", NUMPY)
def test_float32_is_kept(name: str) -> None:
    assert NUMPY[name](cr.tensor(X.astype(np.float32))).dtype == np.float32


@pytest.mark.parametrize("name", FORMULAS)
def test_activations_are_their_formulas(name: str) -> None:
    f, formula = FORMULAS[name]
    assert relative_error(value(f(X)), np.vectorize(formula)(X)) < 1e-14
    check_derivative(f, X)
    check_graph(f)
    assert f(cr.tensor(X.astype(np.float32))).dtype == np.float32


def test_rows_that_are_normalised_sum_to_one() -> None:
    x = np.abs(X) + 0.1
    y = cr.normalize(x)
    assert np.allclose(y.sum(axis=1), 1, rtol=1e-15)
    assert np.allclose(cr.normalize(x, axis=0), x / x.sum(axis=0), rtol=1e-15)
    check_derivative(cr.normalize, x)
    G = np.ones((3, 4)) * Y
    _, pull = cr.vjp(cr.normalize, x)
    by_hand = (G - (G * y).sum(axis=1, keepdims=True)) / x.sum(axis=1, keepdims=True)
    assert np.allclose(pull(G)[0], by_hand, rtol=1e-13)


def test_the_gradient_of_an_expanded_column_is_the_sum_of_its_copies() -> None:
    column = X[:, :1]
    assert np.array_equal(cr.expand(column, 16), np.repeat(column, 16, axis=1))
    g = np.random.default_rng(3).normal(size=(3, 16))
    y, pull = cr.vjp(lambda x: cr.expand(x, 16), column)
    assert y.shape == (3, 16)
    assert np.allclose(pull(g)[0], g.sum(axis=1, keepdims=True), rtol=1e-15)


def test_at_a_bound_clip_passes_the_gradient_on_and_beyond_it_the_bound_takes_it() -> None:
    x, low = np.array([-1.0, 0.0, 0.5, 1.0, 2.0]), np.array(0.0)
    d_x, d_low = cr.grad(lambda x, low: np.clip(x, low, 1.0).sum(), (0, 1))(x, low)
    assert d_x.tolist() == [0, 1, 1, 1, 0]
    assert d_low == 1


def test_derivatives_at_the_kinks_are_those_of_the_left_side() -> None:
    at_zero = np.zeros(1)
    assert cr.grad(lambda x: cr.leaky_relu(x, 0.25).sum())(at_zero) == 0.25
    assert cr.grad(lambda x: cr.elu(x, 0.5).sum())(at_zero) == 0.5


def test_nothing_overflows_far_from_zero() -> None:
    x = np.array([-1e4, -800.0, 800.0, 1e4])
    for f in (cr.elu, cr.gelu, cr.silu, cr.lecun_tanh, cr.erf):
        assert np.isfinite(f(x)).all()
        assert np.isfinite(cr.grad(lambda x, f=f: f(x).sum())(x)).all()


def test_erf_keeps_all_digits_on_both_sides_of_zero_and_passes_nan_on() -> None:
    x = np.concatenate([np.linspace(-7, 7, 5001), np.logspace(-300, 0, 400)])
    expected = np.array([math.erf(v) for v in x])
    assert np.abs(cr.erf(x) - expected).max() <= 2.3e-16
    assert (np.abs(cr.erf(x) - expected) <= 5e-16 * np.abs(expected)).all()
    assert np.array_equal(cr.erf(np.array([np.inf, -np.inf, np.nan])), [1, -1, np.nan], equal_nan=True)


def test_the_batch_may_be_symbolic() -> None:
    def f(x: Any) -> Any:
        padded = np.pad(cr.gelu(x), ((0, 0), (0, 1)), constant_values=1)
        return np.stack([padded, np.cumsum(padded, axis=0)]).var(axis=1) + padded.min(axis=0)

    graph = cr.trace(f, X, batch={"x": 0})
    gradients = cr.derive(cr.trace(lambda x: f(x).sum(), X, batch={"x": 0}))
    for n in (1, 2, 5):
        x = np.random.default_rng(n).normal(size=(n, 4))
        assert np.allclose(graph.run(x), value(f(x)), rtol=1e-13)
        assert np.allclose(gradients.run(x)[1], cr.grad(lambda x: f(x).sum())(x), rtol=1e-13)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: np.pad(x, 1, mode="reflect"), "pad with mode='reflect'"),
        (lambda x: np.pad(x, -1), r"must not be negative; to cut, write x\[a:b\]"),
        (lambda x: np.cumsum(x, axis=2), "no axis 2"),
        (lambda x: np.stack([x, x[0]]), "concatenate"),
        (lambda x: cr.expand(x, 16), "do not broadcast"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(call: Callable[..., Any], says: str) -> None:
    with pytest.raises(cr.ChainruleError, match=says):
        call(cr.tensor(X))


# ---- einsum

EINSUMS = [
    ("ij->ji", (3, 4)),
    ("ij->", (3, 4)),
    ("ij->j", (3, 4)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("iij->ij", (3, 3, 2)),
    ("ba", (3, 4)),
    ("ij,jk->ik", (3, 4), (4, 2)),
    ("ij,jk", (3, 4), (4, 2)),
    ("ij,kj->ik", (3, 4), (2, 4)),
    ("ij,jk->ki", (3, 4), (4, 2)),
    ("ij,j->i", (3, 4), (4,)),
    ("i,i->", (4,), (4,)),
    ("i,j->ij", (3,), (4,)),
    ("ij,ij->ij", (3, 4), (3, 4)),
    ("ij,ij->i", (3, 4), (3, 4)),
    ("ij,ij->", (3, 4), (3, 4)),
    ("bij,bjk->bik", (5, 3, 4), (5, 4, 2)),
    ("bij,jk->bik", (5, 3, 4), (4, 2)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("abc,cbd->ad", (2, 3, 4), (4, 3, 5)),
    ("ijl,jk->ik", (3, 4, 2), (4, 2)),
    ("ij,->ij", (3, 4), ()),
    ("...ij,...jk->...ik", (5, 3, 4), (5, 4, 2)),
    ("...ij,jk->...ik", (2, 5, 3, 4), (4, 2)),
    ("...i,...i", (3, 4), (3, 4)),
    ("...i->i...", (3, 4)),
    ("...i,...i->...", (5, 1, 4), (3, 4)),
    ("i...->...", (3, 4)),
    ("ij,jk,kl->il", (3, 4), (4, 2), (2, 5)),
    ("i,i,i->i", (3,), (3,), (3,)),
    ("ni,ij,nj->n", (5, 3), (3, 4), (5, 4)),
]


@pytest.mark.parametrize(("subscripts", "shapes"), [(s, shapes) for s, *shapes in EINSUMS], ids=[e[0] for e in EINSUMS])
def test_einsum_is_numpys(subscripts: str, shapes: list[tuple[int, ...]]) -> None:
    xs = [np.random.default_rng(i).normal(size=shape) for i, shape in enumerate(shapes)]
    expected = np.einsum(subscripts, *xs)
    assert np.allclose(cr.einsum(subscripts, *xs), expected, rtol=1e-13)
    on_tensors = np.einsum(subscripts, *map(cr.tensor, xs))
    assert on_tensors.shape == expected.shape
    assert np.allclose(on_tensors.value, expected, rtol=1e-13)
    for i, x in enumerate(xs):
        check_derivative(lambda v, i=i: cr.einsum(subscripts, *xs[:i], v, *xs[i + 1 :]), x)


def test_a_matrix_product_by_einsum_is_recorded_as_nothing_but_that() -> None:
    graph = cr.trace(lambda x, W: np.einsum("ni,ij->nj", x, W), X, np.ones((4, 2)), batch={"x": 0})
    assert [e.op.name for e in graph.equations] == ["matmul"]
    assert graph.outputs[0].shape[1] == 2


def test_einsum_takes_a_symbolic_batch() -> None:
    f = lambda x, A: np.einsum("nhi,hij,nhj->nh", x, A, x)  # noqa: E731
    x, A = np.random.default_rng(0).normal(size=(2, 3, 4)), np.random.default_rng(1).normal(size=(3, 4, 4))
    graph = cr.trace(f, x, A, batch={"x": 0})
    more = np.random.default_rng(2).normal(size=(5, 3, 4))
    assert np.allclose(graph.run(more, A), f(more, A), rtol=1e-12)


@pytest.mark.parametrize(
    ("subscripts", "operands", "says"),
    [
        ("ij,jk->ik", [X], "is for 2 operands, 1 were given"),
        ("ijk->i", [X], r"'ijk' in 'ijk->i' does not fit an operand of shape \(3, 4\)"),
        ("ij->ik", [X], "must have letters of the operands"),
        ("ij->ii", [X], "each once"),
        ("ij,jk->ik", [X, X], "matmul"),
    ],
)
def test_subscripts_that_do_not_fit_are_refused(subscripts: str, operands: list[np.ndarray], says: str) -> None:
    with pytest.raises(cr.ChainruleError, match=says):
        cr.einsum(subscripts, *map(cr.tensor, operands))
