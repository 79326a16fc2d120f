"""The derivative of a graph equals the eager one, at batch sizes other than the traced one too."""

import time

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import DerivativeError, DtypeError, UnknownNameError

rng = np.random.default_rng(0)
W1, b1, W2, b2 = rng.normal(size=(4, 5)), rng.normal(size=5), rng.normal(size=(5, 3)), rng.normal(size=3)
PARAMS = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}


def batch(n):
    r = np.random.default_rng(n)
    return r.normal(size=(n, 4)), r.integers(0, 3, n)


def mlp(activation):
    def f(p, x, t):
        h = activation(x @ p["W1"] + p["b1"])
        return cr.cross_entropy(h @ p["W2"] + p["b2"], t)

    return f


def gelu_like(x):
    return x / (1 + np.exp(-1.702 * x))


def attention(p, x, t):
    scores = cr.softmax((x @ p["W1"]) @ (x @ p["W1"]).T / np.sqrt(p["b1"].shape[0]), axis=-1)
    return ((scores @ x) ** 2).mean()


def rbf(p, x, t):
    centres = p["W2"][:, :1] * np.ones(4)
    d = ((x[:, None, :] - centres[None]) ** 2).sum(axis=2)
    return (np.exp(-d) @ p["b1"]).mean()


def logistic(p, x, t):
    z = x @ p["W1"][:, 0] + p["b1"][0]
    y = np.where(t > 0, 1.0, 0.0)
    return np.mean(np.maximum(z, 0) - z * y + np.log(1 + np.exp(-np.abs(z))))


def slices(p, x, t):
    joined = np.concatenate([x[:, 1:3], x[:, ::-1], x[:, -1:]], axis=1)
    return (joined[:, :5] @ p["W2"] * p["b2"]).sum() / x.shape[0]


def selecting(p, x, t):
    h = x @ p["W1"]
    return np.where(h > 0, h * 2.0, 0.1 * h)[:, 1].mean() + np.minimum(h, 0.5).sum()


def reshaping(p, x, t):
    n = x.shape[0]
    h = (x @ p["W1"]).reshape(n * 5).reshape(5, n).reshape(-1, 5)
    return np.tanh(x.reshape(x.shape[0], -1) @ p["W1"] + h).mean()


def batch_statistics(p, x, t):
    h = x @ p["W1"]
    centred = h - h.mean(axis=0)
    normal = centred / np.sqrt((centred**2).mean(axis=0) + 1e-5)
    return (normal**3 * p["b1"]).mean()


def sizes_as_numbers(p, x, t):
    n = x.shape[0]
    return (x @ p["W1"]).sum() * (1 / n) + (p["b1"] * n).sum() + p["b2"].sum() / np.sqrt(x.shape[0]) + n


def gathering(p, x, t):
    return (p["W2"][t] * p["b2"]).sum() + cr.log_softmax(x @ p["W1"], axis=1)[:, 2].mean()


def reductions(p, x, t):
    h = x @ p["W1"]
    return h.max(axis=1).mean() + cr.logsumexp(h, axis=0).sum() + np.linalg.norm(h, axis=1).sum()


FUNCTIONS = {
    "relu": mlp(cr.relu), "maximum": mlp(lambda x: np.maximum(x, 0)), "tanh": mlp(np.tanh),
    "sigmoid": mlp(cr.sigmoid), "softplus": mlp(cr.softplus), "sine": mlp(np.sin), "gelu": mlp(gelu_like),
    "attention": attention, "rbf": rbf, "logistic": logistic, "slices": slices, "where": selecting,
    "reshape": reshaping, "batch statistics": batch_statistics, "sizes": sizes_as_numbers, "gather": gathering,
    "reductions": reductions,
}  # fmt: skip
BATCH = {"x": 0, "t": 0}


def traced(name, n=6):
    return cr.trace(FUNCTIONS[name], PARAMS, *batch(n), batch=BATCH)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("n", [1, 6, 11])
def test_derive_equals_the_eager_gradient(name, n):
    x, t = batch(n)
    value, *gradients = cr.derive(traced(name), [*PARAMS, "x"]).run(PARAMS, x, t)
    eager_value, (dp, dx) = cr.value_and_grad(FUNCTIONS[name], (0, 1))(PARAMS, x, t)
    np.testing.assert_allclose(value, eager_value, rtol=1e-14)
    for ours, eager in zip(gradients, [*dp.values(), dx], strict=True):
        np.testing.assert_allclose(ours, eager, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_backward_on_tensors_gives_the_same_bits_as_grad(name):
    x, t = batch(5)
    params = {k: cr.tensor(v, requires_grad=True) for k, v in PARAMS.items()}
    FUNCTIONS[name](params, x, t).backward()
    expected = cr.grad(FUNCTIONS[name])(PARAMS, x, t)
    for key, p in params.items():
        np.testing.assert_array_equal(p.grad if p.grad is not None else np.zeros_like(p.value), expected[key])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_text_is_the_same_whatever_the_traced_batch_size(name):
    assert repr(cr.derive(traced(name, 6))) == repr(cr.derive(traced(name, 1))) == repr(cr.derive(traced(name, 9)))


@pytest.mark.parametrize("name", ["tanh", "attention", "batch statistics", "reshape", "sizes", "gather", "logistic"])
def test_the_derivative_of_a_derivative_equals_the_eager_one(name):
    def second(p, x, t):
        g = cr.grad(FUNCTIONS[name])(p, x, t)
        return (g["W1"] ** 2).sum() + (g["b1"] ** 2).sum()

    x, t = batch(9)
    graph = cr.derive(cr.trace(second, PARAMS, *batch(4), batch=BATCH), ["W1", "b1"])
    value, dW1, db1 = graph.run(PARAMS, x, t)
    expected = cr.grad(second)(PARAMS, x, t)
    assert value == pytest.approx(second(PARAMS, x, t), rel=1e-12)
    np.testing.assert_allclose(dW1, expected["W1"], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(db1, expected["b1"], rtol=1e-10, atol=1e-12)


def test_a_derived_graph_can_be_derived_again():
    first = cr.derive(cr.trace(lambda x: (np.tanh(x) ** 2).sum(), np.ones(3), batch={"x": 0}))
    again = cr.trace(lambda x: (first.run(x)[1] ** 2).sum(), np.ones(3), batch={"x": 0})
    x = np.array([0.1, -0.4, 0.8, 1.2])
    expected = cr.grad(lambda x: (cr.grad(lambda v: (np.tanh(v) ** 2).sum())(x) ** 2).sum())(x)
    np.testing.assert_allclose(cr.derive(again).run(x)[1], expected, rtol=1e-13)


def test_trace_of_grad_is_a_graph_of_the_gradient():
    x, t = batch(8)
    graph = cr.trace(cr.grad(FUNCTIONS["tanh"]), PARAMS, *batch(3), batch=BATCH)
    assert [v.name for v in graph.inputs] == ["W1", "b1", "W2", "b2", "x", "t"]
    for ours, eager in zip(graph.run(PARAMS, x, t), cr.grad(FUNCTIONS["tanh"])(PARAMS, x, t).values(), strict=True):
        np.testing.assert_allclose(ours, eager, rtol=1e-13)


def test_trace_of_a_hessian_and_a_jvp():
    f = lambda v: (v**4).sum()  # noqa: E731
    x = np.array([1.0, 2.0])
    np.testing.assert_allclose(cr.trace(cr.hessian(f), x).run(x), np.diag(12 * x**2))
    np.testing.assert_allclose(cr.trace(lambda v: cr.jvp(np.sin, (v,), (v,))[1], x).run(x), x * np.cos(x))


def test_gradients_are_named_after_what_they_belong_to():
    graph = cr.derive(cr.trace(lambda W, x: (x @ W).sum(), W1, np.ones((2, 4)), batch={"x": 0}))
    assert [v.name for v in graph.outputs] == ["v2", "d_W", "d_x"]
    assert [v.shape for v in graph.outputs] == [(), (4, 5), graph.inputs[1].shape]


def test_wrt_chooses_and_orders_the_inputs():
    graph = cr.derive(cr.trace(lambda a, b: (a * b).sum(), np.ones(2), np.ones(2)), ["b"])
    assert [v.name for v in graph.outputs] == ["v2", "d_b"]
    np.testing.assert_array_equal(graph.run(np.array([2.0, 3.0]), np.ones(2))[1], [2.0, 3.0])
    assert "d_a" not in repr(graph)


def test_an_input_that_is_not_used_has_zeros_of_its_shape():
    graph = cr.derive(cr.trace(lambda a, x: (a * a).sum(), np.ones(2), np.ones((3, 4)), batch={"x": 0}))
    np.testing.assert_array_equal(graph.run(np.ones(2), np.ones((7, 4)))[2], np.zeros((7, 4)))


def test_what_is_constant_has_zeros():
    for f in (lambda x: cr.stop_gradient(x).sum(), lambda x: 2.0, lambda x: np.where(x > 0, 1.0, 0.0).sum()):
        np.testing.assert_array_equal(cr.derive(cr.trace(f, np.ones(3))).run(np.ones(3))[1], np.zeros(3))


def test_a_function_that_returns_its_input_has_the_derivative_one():
    assert cr.derive(cr.trace(lambda x: x, 2.0)).run(5.0) == (5.0, 1.0)


def test_an_empty_batch_has_zero_gradients():
    graph = cr.derive(cr.trace(lambda W, x: np.tanh(x @ W).sum(), W1, np.ones((3, 4)), batch={"x": 0}))
    value, dW, dx = graph.run(W1, np.zeros((0, 4)))
    assert value == 0.0
    np.testing.assert_array_equal(dW, np.zeros_like(W1))
    assert dx.shape == (0, 4)


def test_only_a_single_number_has_a_derivative():
    with pytest.raises(DerivativeError, match=r"graph lambda returns \(3,\)"):
        cr.derive(cr.trace(lambda x: x * 2.0, np.ones(3)))
    with pytest.raises(DerivativeError, match=r"returns \(\), \(\)"):
        cr.derive(cr.trace(lambda x: (x.sum(), x.sum()), np.ones(3)))


def test_unknown_names_and_integers_are_refused():
    graph = cr.trace(lambda speed, t: (speed * t).sum(), np.ones(3), np.arange(3))
    with pytest.raises(UnknownNameError, match="did you mean 'speed'"):
        cr.derive(graph, ["spead"])
    with pytest.raises(DtypeError, match="'t' is int64"):
        cr.derive(graph, ["t"])
    assert len(cr.derive(graph).outputs) == 2


def test_a_module_is_traced_with_its_parameters_as_inputs():
    model = nn.Sequential(nn.Linear(4, 5, dtype=np.float64), nn.Tanh(), nn.Linear(5, 3, dtype=np.float64))
    f, parameters = model.as_function()
    x, t = batch(6)
    graph = cr.trace(lambda parameters, x, t: cr.cross_entropy(f(parameters, x), t), parameters, x, t, batch=BATCH)
    assert [v.name for v in graph.inputs] == ["W1", "b1", "W2", "b2", "x", "t"]
    values = {k: p.value for k, p in parameters.items()}
    x, t = batch(9)
    gradients = cr.derive(graph).run(values, x, t)[1:]
    cr.cross_entropy(model(x), t).backward()
    for g, p in zip(gradients, model.parameters(), strict=False):
        np.testing.assert_allclose(g, p.grad, rtol=1e-12)
    assert cr.trace(model, x).run(values, batch(2)[0]).shape == (2, 3), "axis 0 of a module's inputs is its batch"


def test_tracing_and_deriving_ten_hidden_layers_is_quick():
    def deep(weights, x):
        for w in weights:
            x = np.tanh(x @ w)
        return (x * x).mean()

    weights, x = [np.ones((64, 64))] * 11, np.ones((100, 64))
    best = min(_seconds(lambda: cr.derive(cr.trace(deep, weights, x, batch={"x": 0}))) for _ in range(3))
    print(f"tracing and deriving ten hidden layers: {1000 * best:.1f} ms (to be under 100)")


def _seconds(act):
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin
