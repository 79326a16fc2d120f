"""Tracing: a function becomes a graph that prints itself; what cannot be recorded names the user's line."""

import inspect
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import DtypeError, ShapeError, TraceError

X = np.arange(6.0).reshape(3, 2) / 5
W = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -0.5]])
BATCH = {"x": 0}


def network(W, b, x):
    h = np.tanh(x @ W + b)
    return (h * h).sum(axis=1).mean()


def test_a_graph_prints_as_a_program():
    graph = cr.trace(network, W, np.zeros(3), X, batch=BATCH)
    assert repr(graph) == "\n".join(
        [
            "graph network(W: (2, 3) float64, b: (3,) float64, x: (N, 2) float64)",
            "    v1: (N, 3) float64 = matmul(x, W)",
            "    v2: (N, 3) float64 = add(v1, b)",
            "    h: (N, 3) float64 = tanh(v2)",
            "    v4: (N, 3) float64 = multiply(h, h)",
            "    v5: (N,) float64 = sum(v4, axis=(1,), keepdims=False)",
            "    v6: () float64 = mean(v5, axis=(0,), keepdims=False)",
            "    return v6",
        ]
    )


def test_printing_is_deterministic_and_the_batch_size_leaves_no_trace():
    def text(n):
        x = np.ones((n, 2))
        return repr(cr.derive(cr.trace(network, W, np.zeros(3), x, batch=BATCH)))

    assert text(2) == text(2) == text(7) == text(1)


def test_each_equation_knows_the_users_line_and_each_rule_its_op():
    graph = cr.derive(cr.trace(network, W, np.zeros(3), X))
    first = inspect.getsourcelines(network)[1]
    assert [e.origin for e in graph.equations if not e.rule] == [
        f"test_tracing.py, line {first + i}" for i in (1, 1, 1, 2, 2, 2)
    ]
    assert {e.rule for e in graph.equations} == {"", "matmul", "add", "tanh", "multiply", "sum", "mean"}


def test_dead_code_is_dropped():
    def f(x):
        x * 1000.0
        return x + 1.0

    assert [e.op.name for e in cr.trace(f, X).equations] == ["add"]


def test_nothing_is_symbolic_by_default():
    assert cr.trace(lambda x: x * 2.0, X).outputs[0].shape == (3, 2)


@pytest.mark.parametrize("axis", [1, -1])
def test_any_axis_may_be_the_batch(axis):
    graph = cr.trace(lambda x: x.sum(axis=0), X, batch={"x": axis})
    np.testing.assert_array_equal(graph.run(np.ones((3, 5))), np.full(5, 3.0))


def test_the_batch_of_a_nested_argument_is_named_by_its_key():
    graph = cr.trace(lambda p: p["x"] * p["w"], {"x": X, "w": np.ones(2)}, batch={"x": 0})
    assert [v.shape[0] for v in graph.inputs][1] == 2
    assert graph.run({"x": np.ones((9, 2)), "w": np.ones(2)}).shape == (9, 2)


def test_batch_that_names_nothing_or_a_missing_axis_raises():
    with pytest.raises(TraceError, match="batch names 'y', but the arguments of network are W, b, x"):
        cr.trace(network, W, np.zeros(3), X, batch={"y": 0})
    with pytest.raises(ShapeError, match=r"batch names axis 2 of 'x', which has the shape \(3, 2\)"):
        cr.trace(network, W, np.zeros(3), X, batch={"x": 2})


def test_batches_of_different_sizes_are_refused():
    with pytest.raises(ShapeError, match="'x' has the size 3 along its batch axis, but 't' has 4"):
        cr.trace(lambda x, t: x[:, 0] * t, X, np.ones(4), batch={"x": 0, "t": 0})


def test_inputs_are_named_after_the_parameters_of_functions_methods_and_wrapped_functions():
    class Model:
        def call(self, images):
            return images * 2.0

    def names(f, *args):
        return [v.name for v in cr.trace(f, *args).inputs]

    assert names(network, W, np.zeros(3), X) == ["W", "b", "x"]
    assert names(Model().call, X) == ["images"]
    assert names(cr.grad(cr.grad(lambda speed: speed**3)), 2.0) == ["speed"]
    assert names(lambda *all: all[0] + all[1], X, X) == ["arg0", "arg1"]
    assert names(lambda p, x: p[0]["W"] + p[1] + x, ({"W": 1.0}, 2.0), 3.0) == ["W", "p1", "x"]


def test_inputs_of_the_same_name_get_numbers():
    assert [v.name for v in cr.trace(lambda a, b: a["W"] + b["W"], {"W": 1.0}, {"W": 2.0}).inputs] == ["W", "W_2"]
    assert [v.name for v in cr.derive(cr.trace(lambda v1: v1 * 2.0 + v1, 1.0)).inputs] == ["v1"]


def test_numbers_are_traced_as_floats_of_their_dtype():
    graph = cr.trace(lambda x, y: x * y, 3, 2.0)
    assert [str(v.dtype) for v in graph.inputs] == ["float64", "float64"]
    assert graph.run(4, 0.5) == 2.0


def test_float32_stays_float32_through_rules_and_symbolic_numbers():
    def f(x):
        return (np.tanh(x / np.sqrt(x.shape[0])) * 0.5 / x.shape[0]).sum()

    graph = cr.derive(cr.trace(f, X.astype(np.float32), batch=BATCH))
    assert all(e.output.dtype == np.float32 for e in graph.equations)
    assert all(y.dtype == np.float32 for y in graph.run(np.ones((5, 2), np.float32)))


def test_what_the_function_closes_over_is_a_constant_and_a_copy():
    array, tensor = np.array([1.0, 2.0]), cr.tensor([3.0, 4.0], requires_grad=True)
    graph = cr.trace(lambda x: (x * array + tensor) * tensor, X)
    assert [list(a) for a in graph.constants.values()] == [[1.0, 2.0], [3.0, 4.0]]
    array[:] = 0
    tensor.subtract_(np.ones(2))
    tensor.assign([0.0, 0.0])
    np.testing.assert_array_equal(graph.run(np.ones((3, 2))), np.full((3, 2), [12.0, 24.0]))


def test_results_that_need_no_equation():
    graph = cr.trace(lambda x: (x, 2.0, np.ones(2)), X)
    a, b, c = graph.run(X)
    np.testing.assert_array_equal(a, X)
    assert b == 2.0
    np.testing.assert_array_equal(c, [1.0, 1.0])


def test_a_graph_traces_into_a_graph():
    inner = cr.trace(lambda x: np.tanh(x) * 2.0, X, batch=BATCH)
    outer = cr.trace(lambda x: inner.run(x).sum(axis=0), X, batch=BATCH)
    x = np.ones((5, 2))
    np.testing.assert_array_equal(outer.run(x), inner.run(x).sum(axis=0))
    assert cr.grad(lambda v: inner.run(v).sum())(X).shape == X.shape


# ------------------------------------------------------------------------------------------------ what is refused


def refusal(act, *args, kind=TraceError, **batch):
    """The message that tracing `act` raises; it must name the line of `act` that is marked with `# here`."""
    with pytest.raises(kind) as caught:
        cr.trace(act, *args, batch=batch)
    message = str(caught.value)
    lines, first = inspect.getsourcelines(act)
    (marked,) = [first + i for i, line in enumerate(lines) if "# here" in line]
    assert message.startswith(f"test_tracing.py, line {marked}: "), message
    assert message.endswith("."), message
    return message


def test_branching():
    def f(x):
        if x.sum() > 0:  # here
            return x
        return -x

    assert "write np.where(condition, a, b)" in refusal(f, X)


def test_len_of_a_symbolic_batch():
    def f(x):
        return x.sum() / len(x)  # here

    assert "write x.shape[0]" in refusal(f, X, x=0)
    assert cr.trace(f, X).run(np.ones((3, 2))) == 2.0


def test_int_of_a_symbolic_size():
    def f(x):
        return x * int(x.shape[0])  # here

    assert "needs the value of 'N'" in refusal(f, X, x=0)


def test_comparing_a_symbolic_size():
    def f(x):
        return x if x.shape[0] == 50 else -x  # here

    assert "write code that holds for every batch size" in refusal(f, X, x=0)


def test_counting_to_a_symbolic_size():
    def f(x, t):
        return x[np.arange(x.shape[0]), t]  # here

    refusal(f, X, np.array([0, 1, 0]), x=0, t=0)


def test_indexing_an_array_with_a_symbol():
    def f(t):
        return np.eye(10)[t]  # here

    assert "makes an ndarray of 't: (3,) int64'" in refusal(f, np.array([1, 2, 3]))


def test_a_mask():
    def f(x):
        return x[x > 0]  # here

    assert "write np.where(mask, x, 0)" in refusal(f, X)


@pytest.mark.parametrize("look", [np.asarray, np.array, lambda x: x.tolist(), lambda x: x[0, 0].item(), np.allclose])
def test_the_values_of_a_symbol(look):
    def f(x):
        return look(x, x) if look is np.allclose else look(x)

    with pytest.raises(TraceError, match=r"^test_tracing\.py, line \d+: this (makes an ndarray|needs the value)"):
        cr.trace(f, X)


def test_iterating_over_a_symbolic_axis():
    def f(x):
        return [row * 2.0 for row in x]  # here

    assert "the batch size is symbolic" in refusal(f, X, x=0)
    assert len(cr.trace(f, X).outputs) == 3


def test_maths_functions():
    def f(x):
        return math.exp(x.sum())  # here

    assert "use NumPy's functions instead of math's" in refusal(f, X)


def test_writing_in_place():
    def f(x):
        y = x * 1.0
        y += x  # here
        return y

    def g(x):
        y = np.zeros((3, 2))
        y += x  # here
        return y

    def h(x):
        x[0] = 1.0  # here
        return x

    assert "write `a = a + b`" in refusal(f, X)
    assert "`a = a + b`" in refusal(g, X)
    assert "np.where(condition, b, a)" in refusal(h, X)


def test_an_unsupported_function():
    def f(x):
        return np.nansum(x)  # here

    assert "did you mean np.sum?" in refusal(f, X)


def test_shapes_that_do_not_fit():
    def f(x, y):
        z = x * 2.0
        return z @ y  # here

    message = refusal(f, X, X, kind=ShapeError, x=0)
    assert "(N, 2)" in message
    assert "(3, 2)" in message


def test_mixed_floats():
    def f(x, y):
        return x + y  # here

    assert "float64 (3, 2) and float32 (2,)" in refusal(f, X, np.ones(2, np.float32), kind=DtypeError)


def test_a_symbol_of_another_recording():
    def f(x):
        def inner(y):
            return y * x  # here

        return cr.trace(inner, X).run(x)

    assert "pass it as an argument of the recorded function" in refusal(f, X)


def test_an_outer_derivative_inside_a_recording():
    def act():
        def f(y):
            return y * w[0]

        w = []
        return cr.grad(lambda x: w.append(x) or cr.trace(f, 1.0).run(1.0))(2.0)

    with pytest.raises(TraceError, match=r"test_tracing\.py, line \d+: multiply was given a value of an enclosing"):
        act()


@pytest.mark.parametrize("nonsense", [None, "text", object(), {"a": None}, [np.array(["a"])], len])
def test_functions_that_return_no_arrays(nonsense):
    with pytest.raises(TraceError, match=r"returned a .*; expected arrays or a tuple of arrays"):
        cr.trace(lambda x: nonsense, X)


def test_arguments_that_are_no_arrays():
    with pytest.raises(TraceError, match="the argument 'x' of lambda is of dtype <U1"):
        cr.trace(lambda x: x, "a")
