"""A graph verifies itself and runs: at every batch size, on arrays, Tensors and Symbols."""

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleError, DtypeError, ShapeError, TraceError
from chainrule.graph import Equation, Variable
from chainrule.ops.op import OPS

X = np.arange(6.0).reshape(3, 2) / 5
W = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -0.5]])


def network(W, x):
    h = np.maximum(x @ W, 0)
    return (h * h).mean(axis=0)


@pytest.fixture
def graph():
    return cr.trace(network, W, X, batch={"x": 0})


def planted(graph, **changes):
    """A copy of the graph with equation i changed."""
    other = copy.copy(graph)
    other.equations = list(graph.equations)
    i = changes.pop("i")
    fields = {name: getattr(other.equations[i], name) for name in ("output", "op", "inputs", "attributes")}
    other.equations[i] = Equation(**{**fields, **changes})
    return other


def test_a_sound_graph_passes_and_is_returned(graph):
    assert graph.check() is graph


def test_check_finds_a_name_assigned_twice(graph):
    v = graph.equations[0].output
    twin = Variable(v.name, v.shape, v.dtype)
    with pytest.raises(TraceError, match="'v1' is assigned twice"):
        planted(graph, i=1, output=twin).check()
    graph.equations.append(graph.equations[0])
    with pytest.raises(TraceError, match="'v1' is assigned twice"):
        graph.check()


def test_check_finds_an_equation_that_takes_the_name_of_an_input(graph):
    x = graph.inputs[1]
    with pytest.raises(TraceError, match="'x' is assigned twice"):
        planted(graph, i=0, output=Variable("x", x.shape, x.dtype)).check()


def test_check_finds_a_use_before_the_assignment(graph):
    graph.equations[0], graph.equations[1] = graph.equations[1], graph.equations[0]
    with pytest.raises(TraceError, match="uses 'v1' before it is assigned"):
        graph.check()


def test_check_finds_a_variable_of_another_graph(graph):
    stranger = cr.trace(network, W, X).equations[0].output
    with pytest.raises(TraceError, match="before it is assigned"):
        planted(graph, i=1, inputs=(stranger, 0)).check()


def test_check_finds_a_wrong_shape(graph):
    v = graph.equations[0].output
    for shape in [(3, 3), (*v.shape, 1), v.shape[:1], v.shape[::-1]]:
        with pytest.raises(ChainruleError, match="the op's rules give"):
            planted(graph, i=0, output=Variable("v1", shape, v.dtype)).check()


def test_check_finds_a_wrong_dtype(graph):
    v = graph.equations[0].output
    with pytest.raises(TraceError, match=r"the op's rules give \(N, 3\) float64"):
        planted(graph, i=0, output=Variable("v1", v.shape, np.dtype(np.float32))).check()


def test_check_finds_inputs_that_do_not_fit_the_op(graph):
    with pytest.raises(ChainruleError, match="matmul"):
        planted(graph, i=0, inputs=graph.equations[0].inputs[::-1]).check()


def test_check_finds_another_op(graph):
    with pytest.raises(ChainruleError, match="greater"):
        planted(graph, i=1, op=OPS["greater"]).check()


def test_check_finds_a_missing_output(graph):
    del graph.equations[-1]
    with pytest.raises(TraceError, match="the output 'v4' is never assigned"):
        graph.check()


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_it_runs_at_every_batch_size(graph, n):
    x = np.random.default_rng(n).normal(size=(n, 2))
    np.testing.assert_array_equal(graph.run(W, x), network(W, x))


def test_it_runs_on_an_empty_batch():
    graph = cr.trace(lambda W, x: (x @ W).sum(axis=0), W, X, batch={"x": 0})
    np.testing.assert_array_equal(graph.run(W, np.zeros((0, 2))), np.zeros(3))
    assert cr.trace(lambda x: np.tanh(x), X, batch={"x": 0}).run(np.zeros((0, 2))).shape == (0, 2)


def test_calling_it_is_running_it(graph):
    np.testing.assert_array_equal(graph(W, X), graph.run(W, X))


def test_it_runs_on_tensors_and_the_derivative_goes_through(graph):
    w = cr.tensor(W, requires_grad=True)
    graph.run(w, X).sum().backward()
    np.testing.assert_allclose(w.grad, cr.grad(lambda W: network(W, X).sum())(W))


def test_results_come_in_the_form_that_was_traced():
    assert isinstance(cr.trace(lambda x: x * 2.0, X).run(X), np.ndarray)
    one = cr.trace(lambda x: (x * 2.0,), X).run(X)
    assert isinstance(one, tuple)
    assert len(one) == 1
    a, b = cr.trace(lambda x: {"a": x + 1.0, "b": [x + 2.0]}, X).run(X)
    assert (a[0, 0], b[0, 0]) == (1.0, 2.0)


def test_dicts_of_inputs_are_matched_by_key():
    graph = cr.trace(lambda p: p["a"] - p["b"], {"a": X, "b": X})
    np.testing.assert_array_equal(graph.run({"b": X, "a": 2 * X}), X)
    with pytest.raises(ShapeError, match="keys a, b, found the keys a, c"):
        graph.run({"a": X, "c": X})
    np.testing.assert_array_equal(graph.run(2 * X, X), X)


def test_results_are_arrays_of_their_own():
    constant = np.ones((3, 2))
    graph = cr.trace(lambda x: (x, x.reshape(2, 3), constant, x.T, x * 1.0, x), X)
    x = X.copy()
    results = graph.run(x)
    for y in results:
        y += 100
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(graph.run(x)[2], np.ones((3, 2)))
    np.testing.assert_array_equal(results[0], X + 100)


def test_inputs_and_constants_are_not_changed_by_a_run(graph):
    w, x = W.copy(), X.copy()
    graph.run(w, x)
    np.testing.assert_array_equal(w, W)
    np.testing.assert_array_equal(x, X)


def test_wrong_shapes_name_the_input_and_what_was_expected(graph):
    with pytest.raises(ShapeError, match=r"input 'x' has the shape \(3, 5\); expected \(N, 2\), with N = 3\."):
        graph.run(W, np.ones((3, 5)))
    with pytest.raises(ShapeError, match=r"input 'W' has the shape \(3, 2\); expected \(2, 3\)\."):
        graph.run(W.T, X)
    with pytest.raises(ShapeError, match=r"input 'x' has the shape \(\); expected \(N, 2\)"):
        graph.run(W, np.float64(1.0))


def test_two_inputs_share_one_batch_size():
    graph = cr.trace(lambda x, t: (x[:, 0] - t) ** 2, X, np.ones(3), batch={"x": 0, "t": 0})
    assert graph.run(np.ones((7, 2)), np.ones(7)).shape == (7,)
    with pytest.raises(ShapeError, match=r"input 't' has the shape \(6,\); expected \(N,\), with N = 7"):
        graph.run(np.ones((7, 2)), np.ones(6))


def test_wrong_dtypes_are_refused_and_never_converted(graph):
    with pytest.raises(DtypeError, match=r"'x' is float32, but .* float64; convert it with \.astype\(np\.float64\)"):
        graph.run(W, X.astype(np.float32))
    with pytest.raises(DtypeError, match="'x' is int64"):
        graph.run(W, np.ones((3, 2), int))


@pytest.mark.parametrize("args", [(), (W,), (W, X, X)])
def test_a_wrong_number_of_inputs_says_which_are_expected(graph, args):
    with pytest.raises(ChainruleError, match=rf"takes 2 arrays \(W, x\), {len(args)} were given"):
        graph.run(*args)


def test_an_op_that_fails_at_run_time_names_the_line_it_came_from():
    graph = cr.trace(lambda x, t: cr.cross_entropy(x, t), X, np.array([0, 1, 1]))
    with pytest.raises(ChainruleError, match=r"test_graph\.py, line \d+: .*label 7 is outside the 2 classes"):
        graph.run(X, np.array([0, 7, 1]))
    graph = cr.trace(lambda x, i: x[i], X, np.array([0, 1]))
    with pytest.raises(ChainruleError, match=r"test_graph\.py, line \d+: .*index 9 is out of bounds"):
        graph.run(X, np.array([0, 9]))


@pytest.mark.parametrize("f", [lambda x: x[-3:].var(0), lambda x: x[2:].std(0), lambda x: x[:-2].mean(0)])
def test_a_batch_too_small_for_a_slice_is_refused(f):
    """NumPy's slices give what there is; the graph's sizes hold from as many rows on as the slice names."""
    graph = cr.trace(f, np.ones((5, 2)), batch={"x": 0})
    x = np.random.default_rng(0).normal(size=(4, 2))
    np.testing.assert_array_equal(graph.run(x), f(x))
    with pytest.raises(ShapeError, match=r"test_graph\.py, line \d+: with N = 1 there are too few rows for this index"):
        graph.run(x[:1])
