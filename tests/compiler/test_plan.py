"""A plan computes what its graph does, in memory that is made once."""

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_checks import Case, all_cases, derivable_cases, function_of, loss
from tests.written.functions import CASES, MODELS

import chainrule as cr
from chainrule import nn, optim
from chainrule.compiler.plan import Plan
from chainrule.errors import DataError, ShapeError
from chainrule.graph import tree

TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}


def assert_agrees(plan, graph, *args):
    """Twice the results of the graph, on arguments as its function takes them, which are left as they were."""
    flat = [np.asarray(leaf) for _, leaf in tree.flatten(args)]
    before = [a.copy() for a in flat]
    expected = graph.run(*args)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for _ in range(2):
        for a, b in zip(plan(*flat), map(np.asarray, expected), strict=True):
            assert a.dtype == b.dtype
            assert a.shape == b.shape
            if not np.array_equal(a, b, equal_nan=b.dtype.kind == "f"):
                np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[b.dtype] * max(1, np.abs(b).max()))
    assert all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(flat, before, strict=True))


def graph_of(case):
    """The op of a case as a graph of its arrays."""
    f, arrays = function_of(case)
    return cr.trace(f, *arrays), arrays


def in_float32(case):
    inputs = [x.astype(np.float32) if i in case.floats else x for i, x in enumerate(case.inputs)]
    return Case(case.op, tuple(inputs), case.attributes)


@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_every_op_computes_what_it_does_in_a_graph(case):
    for each in (case, in_float32(case)):
        graph, arrays = graph_of(each)
        plan = Plan(graph)
        assert_agrees(plan, graph, *arrays)
        # In memory that is not contiguous, too, and backwards.
        flipped = [np.flip(np.flip(x).copy()) for x in arrays]
        assert_agrees(plan, graph, *flipped)
        assert_agrees(plan, graph, *(np.copy(x, order="F") for x in arrays))


@pytest.mark.parametrize("case", derivable_cases(), ids=str)
def test_the_derivative_of_every_op_does(case):
    for each in (case, in_float32(case)):
        graph = cr.derive(cr.trace(lambda *xs, each=each: loss(each, *xs), *each.arguments))
        assert_agrees(Plan(graph), graph, *each.arguments)


def test_every_op_of_the_library_is_written_into_memory_made_ahead():
    called = set()
    for case in all_cases():
        source = Plan(graph_of(case)[0]).source
        if "asarray" in source:
            called.add(case.op.name)
    print(f"ops whose own forward is called in each step: {sorted(called)}")
    assert called == set()


@pytest.mark.parametrize("name", CASES)
def test_the_corpus_with_its_derivatives_at_several_batch_sizes(name):
    case = CASES[name]
    graph = cr.trace(cr.value_and_grad(case.f, case.argnums), *case.make(np.random.default_rng(1), 7), batch=case.batch)
    plan = Plan(graph)
    with np.errstate(all="ignore"):  # of one sample, some are 0 / 0
        for seed, n in enumerate((7, 4, 1, 7) if case.batch else (7,)):
            assert_agrees(plan, graph, *case.make(np.random.default_rng(seed), n))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MODELS)
def test_the_models_of_the_reports_with_loss_and_gradients(name, dtype):
    rng = np.random.default_rng(1)
    model = MODELS[name].build(rng, dtype)
    f, parameters = model.as_function()
    arrays = {key: p.numpy() for key, p in parameters.items()}

    def step(parameters, x, t):
        return cr.value_and_grad(lambda p: MODELS[name].loss(f(p, x), t))(parameters)

    def data(n):
        return [x.astype(dtype) if x.dtype.kind == "f" else x for x in MODELS[name].make(rng, n)]

    graph = cr.trace(step, arrays, *data(6), batch={"x": 0, "t": 0})
    plan = Plan(graph)
    for n in (6, 3, 1):
        assert_agrees(plan, graph, arrays, *data(n))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 9), k=st.integers(1, 5), m=st.integers(1, 5), seed=st.integers(0, 99))
def test_any_sizes(n, k, m, seed):
    rng = np.random.default_rng(seed)

    def f(W, b, x, t):
        y = cr.softmax(np.maximum(x @ W + b, 0.1 * x[:, :1]), axis=1)
        return (np.log(y) * t).sum(axis=1).mean() + (y[::-1] * t).max() + np.concatenate([W.T, W.T * 2]).sum() / m

    args = rng.normal(size=(k, m)), rng.normal(size=m), rng.normal(size=(n, k)), rng.normal(size=(n, m))
    for batch in (None, {"x": 0, "t": 0}):
        graph = cr.trace(cr.value_and_grad(f, (0, 1)), *args, batch=batch)
        assert_agrees(Plan(graph), graph, *args)


MIXED = {
    "bool times float": (lambda x: (x > 0) * x, np.float32),
    "a count": (lambda x: (x > 0).sum(axis=0) / 3, np.float64),
    "integers": (lambda x: x * 2 + 1, np.int64),
    "integers divided": (lambda x: x / 2, np.int32),
    "small integers and a large number": (lambda x: np.where(x < 300, x, 1), np.uint8),
    "square, root, reciprocal": (lambda x: x**2 + (x * x) ** 0.5 + (x * x + 1) ** -1 + x**1 + x**0 + x**3, np.float32),
    "reshaped after a transpose": (lambda x: (x * 2).T.reshape(-1) + 1, np.float64),
    "one result twice": (lambda x: (y := x + 1, y, y.T), np.float64),
    "what is given": (lambda x: (x, x.T, x * 1), np.float64),
    "a broadcast": (lambda x: np.broadcast_to(x.sum(), (2, 3)), np.float32),
    "a constant": (lambda x: (np.full(3, 2.0, np.float32), x + np.arange(4, dtype=np.float32)), np.float32),
    "infinities": (lambda x: np.where(x > -np.inf, x, np.nan), np.float64),
    "ones": (lambda x: x * np.ones((3, 4)) / 1 + np.ones((2, 3, 4)) * x[0] * 1.0, np.float64),
    "an operand twice": (lambda x: (x + 1) * (x + 1).T[::-1].T, np.float64),
}


@pytest.mark.parametrize("name", MIXED)
def test_dtypes_views_and_constants(name):
    f, dtype = MIXED[name]
    x = np.random.default_rng(1).integers(-5, 5, (3, 4)).astype(dtype)
    graph = cr.trace(f, x)
    assert_agrees(Plan(graph), graph, x)


def test_outputs_do_not_share_memory_and_the_next_call_overwrites_them():
    plan = Plan(cr.trace(lambda x: (x, y := x + 1, y.T, y.reshape(-1), y, x), np.ones((2, 3))))
    x = np.zeros((2, 3))
    results = plan(x)
    for i, a in enumerate(results):
        assert not np.shares_memory(a, x)
        assert not any(np.shares_memory(a, b) for b in results[:i])
    again = plan(x + 5)
    assert all(a is b for a, b in zip(results, again, strict=True))
    assert results[1][0, 0] == 6


def test_what_is_never_needed_at_the_same_time_shares_memory():
    def chain(x):
        for _ in range(20):
            x = (np.tanh(x) @ x.T) @ x
        return x.sum()

    plan = Plan(cr.trace(chain, np.ones((50, 50))))
    assert plan._arena.nbytes <= 4 * 50 * 50 * 8


def test_elementwise_steps_write_over_what_is_read_for_the_last_time():
    source = Plan(cr.trace(lambda x: np.exp(-((x + 1) ** 2)), np.ones(3))).source
    assert "b1" not in source


def custom(frozen=None):
    """An op of one's own, which keeps what it made."""
    kept = []

    def forward(x):
        kept.append(x)
        return x if frozen is None else frozen

    return cr.custom_vjp(forward, lambda g, y, x: g), kept


def test_an_op_of_ones_own_is_called_in_each_step_and_may_return_what_it_was_given():
    op, kept = custom()
    graph = cr.trace(lambda x: (op(x + 1), op(x) * 2 + op(x + 2) * 3, op(np.zeros_like(x))), np.ones(3))
    before = len(kept)
    plan = Plan(graph)
    assert len(kept) == before
    assert_agrees(plan, graph, np.arange(3.0))
    assert plan.source.count("asarray") == 4


def test_an_array_that_an_op_of_ones_own_holds_is_not_written():
    held = np.array([1.0, 2.0])
    op, _ = custom(held)
    graph = cr.trace(lambda x: np.exp(op(x + 1)) + 1, np.ones(2))
    assert_agrees(Plan(graph), graph, np.zeros(2))
    assert held.tolist() == [1, 2]


# Writing into inputs.


def momentum_step(x, t, W, b, vW, vb, lr):
    """Loss, new parameters and new velocities."""
    value, (dW, db) = cr.value_and_grad(lambda W, b: cr.cross_entropy(np.tanh(x @ W + b), t), (0, 1))(W, b)
    vW, vb = 0.9 * vW + dW, 0.9 * vb + db
    return value, W - lr * vW, b - lr * vb, vW, vb


def momentum_arguments(n=6, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (n, 4), (4, 3), (3,), (4, 3), (3,)
    x, *state = (rng.normal(size=s) for s in shapes)
    return [x, rng.integers(0, 3, n), *state, np.array(0.1)]


def test_a_step_of_momentum_writes_the_parameters_into_their_own_arrays():
    graph = cr.trace(momentum_step, *momentum_arguments(), batch={"x": 0, "t": 0})
    plan = Plan(graph, into={1: 2, 2: 3, 3: 4, 4: 5})
    expected, given = momentum_arguments(), momentum_arguments()
    for i in range(10):
        x, t, *_ = momentum_arguments(6 if i % 3 else 4, seed=i)
        value, *expected[2:6] = graph.run(x, t, *expected[2:])
        found = plan(x, t, *given[2:])
        assert found[0] == value
        assert all(a is b for a, b in zip(found[1:], given[2:6], strict=True))
        assert all(map(np.array_equal, given[2:6], expected[2:6]))
    assert "[...] =" not in plan.source  # written at once, not copied
    assert plan.source.count("out=x") == 6


INTO = {
    "exchanged": (lambda a, b: (b, a), {0: 0, 1: 1}),
    "read later": (lambda a, b: (a + 1, a * b), {0: 0}),
    "read later through a view": (lambda a, b: (a + 1, a.T @ b), {0: 0}),
    "mirrored": (lambda a, b: (a[::-1] + b, b), {0: 0}),
    "returned as it was, too": (lambda a, b: (a * 2, a), {0: 0}),
    "a product": (lambda a, b: (a @ b, b), {0: 0}),
    "seen from elsewhere": (lambda a, b: (c := a + b, c.T * 2), {0: 0}),
    "chosen": (lambda a, b: (np.where(b > 0, a, -a), b), {0: 0}),
    "each into the other": (lambda a, b: (a - b, a + b), {0: 1, 1: 0}),
    "unchanged": (lambda a, b: (a, b + 1), {0: 0, 1: 1}),
    "a constant": (lambda a, b: (np.ones((3, 3)), a + b), {0: 0}),
}


@pytest.mark.parametrize("name", INTO)
def test_an_output_goes_into_an_input_whatever_reads_that(name):
    f, into = INTO[name]
    a, b = np.random.default_rng(3).normal(size=(2, 3, 3))
    graph = cr.trace(f, a, b)
    expected = graph.run(a, b)
    inputs = [a.copy(), b.copy()]
    found = Plan(graph, into)(*inputs)
    for i, (y, wanted) in enumerate(zip(found, expected, strict=True)):
        assert np.array_equal(y, wanted)
        if i in into:
            assert y is inputs[into[i]]
    assert all(
        np.array_equal(x, y) for i, (x, y) in enumerate(zip(inputs, (a, b), strict=True)) if i not in into.values()
    )


def test_what_does_not_fit_an_input_is_refused():
    graph = cr.trace(lambda a, b: (a.sum(), b), np.ones(2), np.ones(2))
    with pytest.raises(ShapeError, match="shape and dtype must agree"):
        Plan(graph, {0: 0})
    with pytest.raises(ShapeError, match="two outputs into one input"):
        Plan(cr.trace(lambda a: (a, a), np.ones(2)), {0: 0, 1: 0})


# Errors.


def labels_loss(x, t):
    return cr.cross_entropy(x, t) + cr.onehot(t, 3).sum()


@pytest.mark.parametrize("label", [3, -1, 2**40])
def test_a_label_that_is_no_class_is_named_with_the_line(label):
    x, t = np.ones((2, 3)), np.array([0, 1])
    plan = Plan(cr.trace(labels_loss, x, t))
    with pytest.raises(DataError, match=rf"test_plan.py, line \d+: cross-entropy: the label {label} is outside"):
        plan(x, np.array([0, label]))
    assert plan(x, t)[0] > 0  # and the next call is none the worse


def test_a_target_that_is_no_probability_is_named():
    x, t = np.ones((2, 3)), np.zeros((2, 3))
    plan = Plan(cr.trace(lambda x, t: cr.binary_cross_entropy(x, t), x, t))
    for wrong in (-0.5, 1.5, np.nan):
        with pytest.raises(DataError, match="expected probabilities"):
            plan(x, np.where(x > 0, wrong, t))


def test_labels_that_are_constants_are_named_too():
    graph = cr.trace(lambda x: cr.cross_entropy(x, np.array([0, 7])), np.ones((2, 3)))
    with pytest.raises(DataError, match=r"line \d+: .*the label 7"):
        Plan(graph)(np.ones((2, 3)))


def test_shapes_that_do_not_fit_are_told_as_by_the_graph():
    plan = Plan(cr.trace(lambda x, W: x @ W, np.ones((5, 2)), np.ones((2, 3)), batch={"x": 0}))
    with pytest.raises(ShapeError, match="the input 'W' has the shape"):
        plan(np.ones((4, 2)), np.ones((3, 3)))
    with pytest.raises(ShapeError, match="the input 'x' has the shape"):
        plan(np.ones(()), np.ones((2, 3)))


def test_an_index_with_too_few_rows_is_told_as_by_the_graph():
    plan = Plan(cr.trace(lambda x: x[2:].sum(), np.ones((5, 2)), batch={"x": 0}))
    with pytest.raises(ShapeError, match="too few rows"):
        plan(np.ones((1, 2)))


# Memory.


def test_a_step_leaves_no_garbage():
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    f, parameters = model.as_function()
    arrays = {key: p.numpy() for key, p in parameters.items()}

    def step(p, x, t):
        value, gradients = cr.value_and_grad(lambda p: cr.cross_entropy(f(p, x), t))(p)
        return value, {key: p[key] - 0.05 * gradients[key] for key in p}

    x, t = rng.random((100, 784), np.float32), rng.integers(0, 10, 100)
    plan = Plan(cr.trace(step, arrays, x, t, batch={"x": 0, "t": 0}), into={1: 0, 2: 1, 3: 2, 4: 3})
    flat = [a.copy() for a in arrays.values()]
    for n in (100, 60):
        plan(*flat, x[:n], t[:n])
    gc.collect()
    tracemalloc.start()
    plan(*flat, x, t)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for i in range(100):
        n = 60 if i % 10 == 9 else 100
        plan(*flat, x[:n], t[:n])
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert now - before < 2000
    # NumPy's own work for a broadcast: it sets aside (and does not use) at most 8192 elements an operand.
    assert peak - before < 40_000


def test_one_memory_serves_all_batch_sizes():
    plan = Plan(cr.trace(lambda x: np.tanh(x @ x.T).sum(), np.ones((5, 3)), batch={"x": 0}))
    plan(np.ones((40, 3)))
    arena = plan._arena
    for n in range(1, 41):
        assert plan(np.ones((n, 3)))[0] == pytest.approx(n * n * np.tanh(3))
    assert plan._arena is arena
    plan(np.ones((80, 3)))
    assert plan._arena.nbytes > arena.nbytes
    assert plan(np.ones((40, 3)))[0] == pytest.approx(1600 * np.tanh(3))


def test_only_so_many_sizes_are_kept(monkeypatch):
    monkeypatch.setattr("chainrule.compiler.plan.KEPT", 3)
    plan = Plan(cr.trace(lambda x: (x * 2).sum(), np.ones(5), batch={"x": 0}))
    for n in (9, 1, 2, 3, 4, 9):
        assert plan(np.ones(n))[0] == 2 * n
    assert len(plan._functions) == 3


def test_the_source_is_readable():
    plan = Plan(cr.trace(lambda x, W, b: np.tanh(x @ W + b), np.ones((4, 3)), np.ones((3, 2)), np.ones(2)))
    assert plan.source.splitlines() == [
        "def step(x0, x1, x2):",
        "    np.dot(x0, x1, out=b0)",
        "    np.add(b0, x2, out=b0)",
        "    np.tanh(b0, out=b0)",
        "    return (b0, )",
    ]


def test_dropout_has_the_masks_of_the_graph():
    model = nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.4), nn.Linear(50, 2))
    f, parameters = model.as_function()
    arrays = {key: p.numpy() for key, p in parameters.items()}
    x = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)

    def step(p, key, x):
        return cr.value_and_grad(lambda p: (f(p, key, x) ** 2).mean())(p)

    graph = cr.trace(step, arrays, np.array(0), x, batch={"x": 0})
    plan = Plan(graph)
    for key in (3, -8, 2**40):
        assert_agrees(plan, graph, arrays, np.array(key), x)


def test_a_trainers_steps_can_be_planned():
    """The same parameters as those of a Trainer after ten steps."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(5, 4, dtype=float), nn.ReLU(), nn.Linear(4, 3, dtype=float))
    f, parameters = model.as_function()
    flat = [p.numpy().copy() for p in parameters.values()]
    form = {key: p.numpy() for key, p in parameters.items()}

    def step(p, x, t):
        _, gradients = cr.value_and_grad(lambda p: cr.cross_entropy(f(p, x), t))(p)
        return tuple(p[key] - 0.1 * gradients[key] for key in p)

    x, t = rng.normal(size=(6, 5)), rng.integers(0, 3, 6)
    plan = Plan(cr.trace(step, form, x, t), into={i: i for i in range(4)})
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    for _ in range(10):
        trainer.step(x, t)
        plan(*flat, x, t)
    for p, a in zip(model.parameters(), flat, strict=True):
        np.testing.assert_allclose(p.value, a, rtol=1e-13, atol=1e-13)


def test_images_are_computed_into_memory_of_the_plan():
    model = MODELS["lenet"].build(np.random.default_rng(0), np.float32)
    f, parameters = model.as_function()
    arrays = {key: p.numpy() for key, p in parameters.items()}
    x, t = MODELS["lenet"].make(np.random.default_rng(0), 5)

    def step(parameters, x, t):
        return cr.value_and_grad(lambda p: MODELS["lenet"].loss(f(p, x), t))(parameters)

    graph = cr.trace(step, arrays, x.astype(np.float32), t, batch={"x": 0, "t": 0})
    assert {"conv2d", "conv2d_input", "conv2d_weight", "max_pool2d_input"} <= {e.op.name for e in graph.equations}
    plan = Plan(graph)
    assert_agrees(plan, graph, arrays, x.astype(np.float32), t)
    assert "np.asarray(" not in plan.source  # as an op's own forward would be called
