"""JAX's transforms: derivatives of functions of arrays, of any order, and rules of one's own."""

from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.errors import DerivativeError, DtypeError, ShapeError, TraceError
from chainrule.ops.op import OPS

X = np.array([[0.3, -1.2, 0.7], [1.1, 0.4, -0.5]])
W = np.array([[0.2, -0.4], [0.9, 0.1], [-0.3, 0.8]])
B = np.array([0.1, -0.2])


def loss(W, b, x):
    return (np.tanh(x @ W + b) ** 2).mean()


def numeric(f, x, h=1e-6):
    """The gradient of a scalar function of one array by central differences."""
    g = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[i] = h
        g[i] = (f(x + e) - f(x - e)) / (2 * h)
    return g


def test_grad_is_that_of_central_differences():
    np.testing.assert_allclose(cr.grad(loss)(W, B, X), numeric(lambda W: loss(W, B, X), W), atol=1e-9)


def test_argnums_picks_arguments_by_int_tuple_and_from_the_end():
    dW, db, dx = cr.grad(loss, (0, 1, 2))(W, B, X)
    np.testing.assert_array_equal(cr.grad(loss, 1)(W, B, X), db)
    np.testing.assert_array_equal(cr.grad(loss, -1)(W, B, X), dx)
    last, first = cr.grad(loss, (-1, 0))(W, B, X)
    np.testing.assert_array_equal(last, dx)
    np.testing.assert_array_equal(first, dW)
    assert isinstance(cr.grad(loss, (1,))(W, B, X), tuple)
    assert isinstance(cr.grad(loss, [1])(W, B, X), tuple)


@pytest.mark.parametrize("argnums", [3, -4, (0, 5)])
def test_argnums_that_name_no_argument_raise(argnums):
    with pytest.raises(DerivativeError, match="but 3 were given"):
        cr.grad(loss, argnums)(W, B, X)


@pytest.mark.parametrize("argnums", [(0, 0), (2, -1)])
def test_argnums_that_name_an_argument_twice_raise(argnums):
    with pytest.raises(DerivativeError, match="twice"):
        cr.grad(loss, argnums)(W, B, X)


def test_gradients_have_the_form_of_nested_arguments():
    Layer = namedtuple("Layer", "W b")

    def f(params, x):
        return loss(params["first"][0], params["first"][1], x) + (params["last"].W * params["last"].b).sum()

    params = {"first": [W, B], "last": Layer(np.ones(2), np.array([2.0, 3.0]))}
    g = cr.grad(f)(params, X)
    assert list(g) == ["first", "last"]
    assert isinstance(g["first"], list)
    assert isinstance(g["last"], Layer)
    np.testing.assert_array_equal(g["first"][0], cr.grad(loss)(W, B, X))
    np.testing.assert_array_equal(g["last"].W, [2.0, 3.0])


def test_keyword_arguments_go_through():
    assert cr.grad(lambda x, *, scale: x * x * scale)(3.0, scale=2.0) == 12.0


def test_value_and_grad_gives_both():
    value, gradient = cr.value_and_grad(loss, argnums=1)(W, B, X)
    assert value == loss(W, B, X)
    np.testing.assert_array_equal(gradient, cr.grad(loss, 1)(W, B, X))


def test_results_are_plain_arrays_and_numbers():
    value, gradient = cr.value_and_grad(loss)(W, B, X)
    assert type(gradient) is np.ndarray
    assert isinstance(value, float)
    assert isinstance(cr.grad(lambda x: x * x)(3.0), float)


def test_gradients_of_two_arguments_share_no_memory():
    a, b = cr.grad(lambda a, b: (a + b).sum(), (0, 1))(np.ones(3), np.ones(3))
    a += 1
    np.testing.assert_array_equal(b, np.ones(3))


def test_grad_keeps_the_names_of_the_function():
    assert cr.grad(loss).__name__ == "loss"


def test_an_argument_that_is_not_used_has_zeros():
    g = cr.grad(lambda a, b: (a * a).sum(), (0, 1))(np.ones(2), np.ones((2, 3), np.float32))[1]
    np.testing.assert_array_equal(g, np.zeros((2, 3)))
    assert g.dtype == np.float32


def test_a_constant_has_the_derivative_zero():
    assert cr.grad(lambda x: 3.0)(1.0) == 0.0
    assert cr.grad(lambda x: np.float64(3.0))(1.0) == 0.0
    np.testing.assert_array_equal(cr.jacobian(lambda x: np.ones(2))(np.ones(3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(cr.jacobian(lambda x: 3.0)(np.ones(3)), np.zeros(3))


@pytest.mark.parametrize("x", [3, np.array([1, 2]), np.array([True]), np.array(["a"]), None])
def test_arguments_that_are_no_floats_are_refused(x):
    with pytest.raises(DtypeError, match=r"convert it with \.astype\(float\)"):
        cr.grad(lambda x: (x * x).sum())(x)


@pytest.mark.parametrize(
    ("f", "found"),
    [
        (lambda x: x * x, r"float64 of shape \(2,\)"),
        (lambda x: None, "a NoneType"),
        (lambda x: "text", "a str"),
        (lambda x: (x.sum(), x.sum()), "a tuple"),
        (lambda x: x.argmax(), "int64"),
        (lambda x: x.sum() > 0, "bool"),
    ],
)
def test_grad_of_what_returns_no_single_float_says_what_it_returned(f, found):
    with pytest.raises(DerivativeError, match=found):
        cr.grad(f)(np.ones(2))


def test_vjp_pulls_gradients_back_as_often_as_wanted():
    y, pull = cr.vjp(lambda W, x: x @ W, W, X)
    np.testing.assert_array_equal(y, X @ W)
    for u in (np.ones((2, 2)), np.arange(4.0).reshape(2, 2)):
        dW, dx = pull(u)
        np.testing.assert_allclose(dW, X.T @ u)
        np.testing.assert_allclose(dx, u @ W.T)


def test_vjp_of_several_outputs_takes_a_gradient_for_each():
    (a, d), pull = cr.vjp(lambda x: (x * x, {"twice": 2 * x}), np.array([1.0, 3.0]))
    np.testing.assert_array_equal(d["twice"], [2.0, 6.0])
    np.testing.assert_array_equal(a, [1.0, 9.0])
    (g,) = pull((np.array([1.0, 0.0]), {"twice": np.array([0.0, 1.0])}))
    np.testing.assert_array_equal(g, [2.0, 2.0])


def test_vjp_refuses_gradients_that_do_not_fit():
    _, pull = cr.vjp(lambda x: (x, x), X)
    with pytest.raises(ShapeError, match="tuple of 2"):
        pull((X,))
    with pytest.raises(ShapeError, match=r"\(3,\).*\(2, 3\)"):
        pull((X, np.ones(3)))


def test_jvp_is_the_jacobian_times_the_direction():
    def f(x):
        return np.tanh(x @ W).sum(axis=0)

    v = np.arange(6.0).reshape(2, 3)
    y, directional = cr.jvp(f, (X,), (v,))
    np.testing.assert_array_equal(y, f(X))
    np.testing.assert_allclose(directional, np.tensordot(cr.jacobian(f)(X), v, 2))


def test_jvp_of_several_arguments_adds_their_parts_up():
    _, d = cr.jvp(lambda a, b: a * a * b, (2.0, 5.0), (1.0, 10.0))
    assert d == 2 * 2 * 5 * 1 + 4 * 10


def test_jvp_matches_the_entries_of_dicts_by_key():
    _, d = cr.jvp(lambda p: p["a"] * 2 + p["b"] * 3, ({"a": 1.0, "b": 1.0},), ({"b": 0.0, "a": 1.0},))
    assert d == 2.0
    with pytest.raises(ShapeError, match="keys a, b"):
        cr.jvp(lambda p: p["a"] * p["b"], ({"a": 1.0, "b": 1.0},), ({"a": 1.0},))


def test_jacobian_has_output_axes_then_input_axes():
    J = cr.jacobian(lambda x: x @ W)(X)
    assert J.shape == (2, 2, 2, 3)
    np.testing.assert_allclose(J, np.einsum("ij,lk->ikjl", np.eye(2), W))


@pytest.mark.parametrize("argnum", [1, -1])
def test_jacobian_takes_any_argument_also_from_the_end(argnum):
    np.testing.assert_array_equal(
        cr.jacobian(lambda a, b: a * b, argnum)(np.array([2.0, 3.0]), np.ones(2)), [[2, 0], [0, 3]]
    )


@pytest.mark.parametrize("argnums", [0.5, "x", None, (0, "x")])
def test_argnums_that_are_no_ints_are_refused(argnums):
    with pytest.raises(DerivativeError, match="expected an int, or a tuple of ints"):
        cr.grad(loss, argnums)(W, B, X)


def test_argnums_may_be_of_numpy():
    np.testing.assert_array_equal(cr.grad(loss, np.int64(1))(W, B, X), cr.grad(loss, 1)(W, B, X))


def test_jacobian_refuses_what_is_no_array():
    with pytest.raises(DerivativeError, match="returned a tuple"):
        cr.jacobian(lambda x: (x, x))(X)
    with pytest.raises(DerivativeError, match="argument is a dict"):
        cr.jacobian(lambda p: p["a"])({"a": X})
    with pytest.raises(DerivativeError, match="argnum is 1, but 1"):
        cr.jacobian(lambda x: x, 1)(X)


def test_hessian_is_symmetric_and_right():
    A = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, -1.0], [0.5, 0.0, 1.0]])
    H = cr.hessian(lambda x: 0.5 * x @ A @ x + (x**3).sum())(v := np.array([1.0, -2.0, 0.5]))
    np.testing.assert_allclose(H, (A + A.T) / 2 + np.diag(6 * v), atol=1e-12)
    H = cr.hessian(lambda x: np.log(np.exp(x).sum()))(v)
    np.testing.assert_allclose(H, H.T, atol=1e-15)
    p = np.exp(v) / np.exp(v).sum()
    np.testing.assert_allclose(H, np.diag(p) - np.outer(p, p), atol=1e-14)


def test_hessian_of_a_network_is_that_of_central_differences():
    H = cr.hessian(loss)(W, B, X)
    assert H.shape == (3, 2, 3, 2)
    g = cr.grad(loss)
    for i in np.ndindex(W.shape):
        e = np.zeros_like(W)
        e[i] = 1e-6
        np.testing.assert_allclose(H[i], (g(W + e, B, X) - g(W - e, B, X)) / 2e-6, atol=1e-8)


def test_third_derivatives():
    f = cr.grad(cr.grad(cr.grad(np.tanh)))
    t = np.tanh(0.7)
    assert f(0.7) == pytest.approx(-2 * (1 - t**2) * (1 - 3 * t**2), rel=1e-12)
    assert cr.grad(cr.grad(cr.grad(lambda x: x**4)))(2.0) == 48.0


def test_nested_derivatives_do_not_confuse_their_perturbations():
    grad = cr.grad
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(5.0) == 1.0
    assert grad(lambda x: x * grad(lambda y: x * y)(1.0))(5.0) == 10.0
    assert grad(lambda x: grad(lambda y: x * x * y * y)(x))(2.0) == pytest.approx(6 * 2.0**2)
    assert grad(lambda x: grad(lambda y: grad(lambda z: x * y * z)(1.0))(1.0) * x)(3.0) == 6.0


def test_an_inner_derivative_sees_the_outer_argument_as_a_constant():
    inner = []
    cr.grad(lambda x: inner.append(cr.grad(lambda y: x * x)(1.0)) or x * 1.0)(5.0)
    assert float(getattr(inner[0], "value", inner[0])) == 0.0


def test_grad_of_a_jacobian_and_of_a_jvp():
    assert cr.grad(lambda x: cr.jacobian(lambda v: v * v * v)(x).sum())(np.array([2.0]))[0] == 12.0
    assert cr.grad(lambda x: cr.jvp(np.sin, (x,), (1.0,))[1])(0.3) == pytest.approx(-np.sin(0.3))


def test_grad_closes_over_eager_tensors_without_touching_their_grad():
    w = cr.tensor(W, requires_grad=True)
    g = cr.grad(lambda x: (x @ w).sum())(X)
    g = g.value if isinstance(g, cr.Tensor) else g
    np.testing.assert_allclose(g, np.broadcast_to(W.sum(axis=1), X.shape))
    assert w.grad is None


def test_a_gradient_that_depends_on_an_eager_tensor_goes_backward_to_it():
    w = cr.tensor(3.0, requires_grad=True)
    g = cr.grad(lambda x: x * x * w)(2.0)
    g.backward()
    assert w.grad == 4.0


def test_grad_of_an_eager_tensor_is_a_tensor_of_its_graph():
    x = cr.tensor(2.0, requires_grad=True)
    cr.grad(lambda v: v**3)(x).backward()
    assert x.grad == 12.0


def test_a_derivative_inside_no_grad_is_still_taken():
    with cr.no_grad():
        assert cr.grad(lambda x: x * x)(3.0) == 6.0
        assert cr.grad(cr.grad(lambda x: x**3))(3.0) == 18.0


def test_no_grad_inside_a_differentiated_function_makes_constants():
    def f(x):
        with cr.no_grad():
            y = x * x
        return y * x

    assert cr.grad(f)(3.0) == 9.0


def test_inputs_are_left_as_they_were():
    kept = W.copy()
    cr.hessian(loss)(W, B, X)
    np.testing.assert_array_equal(W, kept)
    assert W.flags.writeable


def square_with_a_rule():
    def square(x):
        return x * x

    def rule(g, y, x):
        return g * 20.0 * x  # ten times too much, so that one sees which rule was used

    return cr.custom_vjp(square, rule)


def test_a_rule_of_ones_own_is_used_eagerly_nested_and_traced():
    square = square_with_a_rule()
    t = cr.tensor(3.0, requires_grad=True)
    square(t).backward()
    assert t.grad == 60.0
    assert cr.grad(square)(3.0) == 60.0
    assert cr.grad(cr.grad(square))(3.0) == 20.0
    graph = cr.trace(lambda x: square(x).sum(), X, batch={"x": 0})
    assert [e.op.name for e in graph.equations] == ["square", "sum"]
    np.testing.assert_allclose(cr.derive(graph).run(np.ones((5, 3)))[1], np.full((5, 3), 20.0))
    assert square(3.0) == 9.0


def test_a_rule_of_several_inputs_saves_only_what_its_signature_asks_for():
    @lambda f: cr.custom_vjp(f, lambda g, _y, a, _b: (g * 2.0, g * a))
    def product(a, b):
        return a * b

    a, b = cr.tensor([1.0, 2.0], requires_grad=True), cr.tensor([3.0, 4.0], requires_grad=True)
    y = product(a, b)
    assert y.source.saved[0] is not None
    assert not isinstance(y.source.saved[1], np.ndarray)
    y.backward([1.0, 1.0])
    np.testing.assert_array_equal(a.grad, [2.0, 2.0])
    np.testing.assert_array_equal(b.grad, [1.0, 2.0])


def test_a_rule_of_ones_own_leaves_the_librarys_op_of_the_same_name_alone():
    before = dict(OPS)

    def tanh(x):
        return np.tanh(x)

    cr.custom_vjp(tanh, lambda g, y, x: g * 0)
    assert before == OPS
    assert cr.grad(np.tanh)(0.0) == 1.0


def test_a_rule_that_returns_what_cannot_be_a_gradient_is_named():
    def twice(x):
        return 2 * x

    with pytest.raises(DerivativeError, match=r"twice returned a gradient of shape \(2,\).*\(3,\)"):
        cr.grad(lambda x: cr.custom_vjp(twice, lambda g, y, x: g[:2])(x).sum())(np.ones(3))
    with pytest.raises(DerivativeError, match="twice returned 2 gradients for 1 input"):
        cr.grad(lambda x: cr.custom_vjp(twice, lambda g, y, x: (g, g))(x).sum())(np.ones(3))


def test_an_op_of_ones_own_that_closes_over_a_tensor_is_refused_instead_of_losing_its_derivative():
    w = cr.tensor(2.0, requires_grad=True)
    scaled = cr.custom_vjp(lambda x: x * w, lambda g, y, x: g * 2.0, "scaled")
    with pytest.raises(
        TraceError, match=r"test_autodiff\.py, line \d+: scaled closes over a tensor.*; pass it as an input"
    ):
        scaled(cr.tensor(1.0, requires_grad=True))
    with pytest.raises(TraceError, match="scaled closes over a tensor"):
        cr.grad(cr.grad(lambda v: cr.custom_vjp(lambda x: x * v, lambda g, y, x: g, "scaled")(v)))(2.0)


@pytest.mark.parametrize("rule", [lambda g: g, lambda *all: all[0], None])
def test_a_rule_with_another_signature_is_refused(rule):
    with pytest.raises(DerivativeError, match=r"vjp\(g, y, \*inputs\)"):
        cr.custom_vjp(lambda x: x, rule, "mine")


def test_a_function_without_a_rule_names_the_function():
    with pytest.raises(TraceError, match=r"np\.nansum has no derivative here"):
        cr.grad(lambda x: np.nansum(x).sum())(X)


@settings(max_examples=40)
@given(st.data())
def test_jvp_and_vjp_are_transposes_of_each_other(data):
    def draw(shape):
        size = int(np.prod(shape))
        numbers = st.floats(-1, 1, allow_nan=False, width=32)
        return np.array(data.draw(st.lists(numbers, min_size=size, max_size=size))).reshape(shape)

    shape = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)))
    x, v = draw(shape), draw(shape)

    def f(x):
        return np.tanh(x @ x.T) * x[:, :1]

    u = draw((shape[0], shape[0]))
    y, pull = cr.vjp(f, x)
    _, forward = cr.jvp(f, (x,), (v,))
    assert (u * forward).sum() == pytest.approx((pull(u)[0] * v).sum(), abs=1e-12)
    assert y.shape == u.shape
