"""Functions as machine code: eager mode, graph, plan and program agree on every op, and on the corpus with derivatives.

What no loop computes is listed here, so that the list cannot grow unseen.
"""

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import DataError, Notice, ShapeError
from chainrule.graph import tree
from chainrule.ops.families import Elementwise

pytest.importorskip("numba")
from op_checks import all_cases, cases_of, derivable_cases, function_of, loss, ops
from tests.written.functions import CASES

from chainrule.compiler.fusion.calls import FusedCall
from chainrule.compiler.fusion.schedule import NotFusibleError
from chainrule.compiler.plan import Plan

TOLERANCE = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-4}
TOGETHER = 40  # functions in one program


def same(found, expected):
    """Shapes, dtypes and, up to rounding, numbers; NaN and infinities where they are expected."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    finite = expected[np.isfinite(expected)]
    tolerance = TOLERANCE[expected.dtype]
    scale = max(1, np.abs(finite).max(initial=0))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


def typed(case, dtype):
    """The op of a case as a function of its arrays, with the arrays in a dtype of floats."""
    f, arrays = function_of(case)
    return f, [x.astype(dtype) if x.dtype.kind == "f" else x for x in arrays]


def reason(graph):
    """Why there is no program of a graph; None if there is."""
    try:
        FusedCall(graph)
    except NotFusibleError as error:
        return str(error)
    return None


def together(functions):
    """One function of all arrays of several functions, and those arrays."""
    flat = [x for _, arrays in functions for x in arrays]

    def f(*given):
        rest, found = iter(given), []
        for each, arrays in functions:
            y = each(*(next(rest) for _ in arrays))
            found += y if isinstance(y, tuple) else [y]
        return tuple(found)

    return f, flat


def check_all(functions):
    for k in range(0, len(functions), TOGETHER):
        f, arrays = together(functions[k : k + TOGETHER])
        graph = cr.trace(f, *arrays)
        call = FusedCall(graph)
        with np.errstate(all="ignore"):
            found, planned, expected, eager = call(*arrays), Plan(graph)(*arrays), graph.run(*arrays), f(*arrays)
        for ours, *others in zip(found, planned, expected, eager, strict=True):
            for other in others:
                same(ours, other)


def chosen_cases(dtype):
    """The examples of every op, and for element-wise ones a few pairs of shapes; in float32, one of each."""
    found = []
    for op in ops():
        cases = [c for c in cases_of(op) if all(getattr(x, "size", 1) for x in c.inputs)]
        examples = len(op.examples)
        picked = cases[: 1 if dtype == np.float32 else examples]
        if issubclass(op, Elementwise) and dtype == np.float64:
            picked += [c for c in cases[examples:] if any(getattr(x, "ndim", 0) == 3 for x in c.inputs)]
        found += [c for c in picked if dtype == np.float64 or "float64" not in str(c.attributes)]
    return found


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_op(dtype):
    functions = [typed(case, dtype) for case in chosen_cases(dtype)]
    check_all([(f, arrays) for f, arrays in functions if reason(cr.trace(f, *arrays)) is None])


def test_derivatives_of_ops():
    functions = []
    for case in derivable_cases()[::16]:

        def f(*xs, case=case):
            value, gradients = cr.value_and_grad(lambda *ys: loss(case, *ys), tuple(range(len(xs))))(*xs)
            return (value, *gradients)

        if reason(cr.trace(f, *case.arguments)) is None:
            functions.append((f, case.arguments))
    assert len(functions) > 10
    check_all(functions)


def test_the_ops_without_a_program_are_these():
    found = {}
    for case in all_cases():
        f, arrays = typed(case, np.float64)
        if all(x.size for x in arrays) and reason(cr.trace(f, *arrays)) not in (None, NOTHING):
            found.setdefault(case.op.name, []).append(str(case))
    print(found)
    assert {name: len(cases) for name, cases in found.items()} == {
        "getitem": 1,  # of two arrays of indices
        "scatter_add": 1,  # with an array of indices
        "matmul": 3,  # of stacks of matrices
        "logsumexp": 3,  # over several axes, or none
        "argmax": 2,
        "cumsum": 3,
        "dropout_mask": 3,  # that are no rows of a batch
        # Images that are no batch; test_images has those that are.
        "conv2d": 6,
        "conv2d_input": 6,
        "conv2d_weight": 6,
        "avg_pool2d": 5,
        "avg_pool2d_input": 5,
        "max_pool2d": 6,
        "max_pool2d_input": 6,
        "max_pool2d_output": 6,
    }


NOTHING = "there is nothing to compute"
UNFUSED = {
    *("info_nce", "info_nce_of_five", "all_pairs_ranking", "ordinal_cdf_loss", "discrete_survival"),
    *("cox_partial_likelihood", "attention", "multi_head_attention", "transformer_block", "matrix_factorisation"),
    *("bag_of_words", "bilinear", "rows_and_a_slice", "columns", "a_grid_of_elements", "samples_in_columns"),
    "differences_along_the_batch",
}


def graph_of(name):
    case = CASES[name]
    return cr.trace(cr.value_and_grad(case.f, case.argnums), *case.make(np.random.default_rng(1), 7), batch=case.batch)


def test_the_functions_without_a_program_are_these():
    found = {name: why for name in CASES if (why := reason(graph_of(name))) is not None}
    print(found)
    assert set(found) == UNFUSED


@pytest.mark.parametrize("name", [name for name in CASES if name not in UNFUSED])
def test_the_corpus_with_its_derivatives_at_several_batch_sizes(name):
    case, graph = CASES[name], graph_of(name)
    call, plan = FusedCall(graph), Plan(graph)
    sizes = (7, 4, 1, 1100) if case.batch else (7,)  # the last one is more than two tiles
    for seed, n in enumerate(sizes):
        args = case.make(np.random.default_rng(seed), n)
        flat = [np.asarray(leaf) for _, leaf in tree.flatten(args)]
        before = [a.copy() for a in flat]
        with np.errstate(all="ignore"):  # of one sample, some are 0 / 0
            found, expected, planned = call(*flat), graph.run(*args), plan(*flat)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for ours, *others in zip(found, expected, planned, strict=True):
            for other in others:
                same(ours, other)
        assert all(np.array_equal(a, b) for a, b in zip(flat, before, strict=True))
        assert not any(np.shares_memory(y, x) for y in found for x in flat)


def test_threads_give_what_one_thread_gives(monkeypatch):
    for name in ("tanh_network", "batch_norm_network", "gaussian_mixture"):
        case = CASES[name]
        graph = graph_of(name)
        call = FusedCall(graph)
        for n in (5, 600, 1500):
            args = case.make(np.random.default_rng(2), n)
            flat = [np.asarray(leaf) for _, leaf in tree.flatten(args)]
            for threads in (1, 2, 3):
                monkeypatch.setattr("chainrule.compiler.backend.threads", lambda _, k=threads: k)
                for ours, other in zip(call(*flat), graph.run(*args), strict=True):
                    same(ours, other)


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 800.0, -800.0, 1e-300])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nan_and_infinity_are_what_they_are_in_numpy(dtype):
    with np.errstate(all="ignore"):
        x = SPECIAL.astype(dtype)
    pairs = np.repeat(x, len(x)), np.tile(x, len(x))
    functions = []
    for op in ops():
        if issubclass(op, Elementwise) and op.name not in ("where", "cast", "binary_cross_entropy"):
            arity = len(cases_of(op)[-1].inputs)
            arrays = list(pairs) if arity == 2 else [x]
            functions.append((lambda *xs, op=op: op.apply(*xs), arrays))
    m = np.array([pairs[0], pairs[1]])
    functions += [
        (lambda m: (m.sum(axis=0), m.max(axis=0), m.min(axis=1), m.max(), m.sum()), [m]),
        (lambda m: (cr.softmax(m[:, :8].T, axis=1), np.where(m > 0, m, -m)), [m]),
        (lambda a, b: a @ b, [m[:, :3].copy(), np.ones((3, 2), dtype)]),
    ]
    check_all(functions)


MIXED = {
    "bool times float": (lambda x: (x > 0) * x, np.float64),
    "a count": (lambda x: (x > 0).sum(axis=0) / 3, np.float64),
    "integers": (lambda x: (x * 2 + 1, x.max(axis=1), x.min(), x**2, abs(x), -x), np.int64),
    "integers divided": (lambda x: x / 2, np.int64),
    "small integers and a large number": (lambda x: (np.where(x * 50 < 300, x, 1), (x * 50).sum()), np.uint8),
    "signed small integers": (lambda x: ((x * 30 + x * 30) / 2.0, x.max(), x - 100 > 0), np.int8),
    "powers": (lambda x: x**2 + (x * x) ** 0.5 + (x * x + 1) ** -1 + x**1 + x**0 + x**3, np.float64),
    "reshaped after a transpose": (lambda x: (x * 2).T.reshape(-1) + 1, np.float64),
    "one result twice": (lambda x: (y := x + 1, y, y.T), np.float64),
    "what is given": (lambda x: (x, x.T, x * 1, x + 1, np.arange(3.0)), np.float64),
    "a broadcast": (lambda x: np.broadcast_to(x.sum(), (2, 3)), np.float64),
    "slices": (lambda x: (x[1:, ::2], x[::-1, 1], x[-1] + x[0], x.T[1:3]), np.float64),
    "products": (lambda x: (x @ x.T, x.T @ x, (x + 1) @ (x * 2).T, x @ x[0], x[0] @ x[1]), np.float64),
    "a number": (lambda x: x[1, 2] * 2 + 1, np.float64),
    "a large array": (lambda x: np.exp(np.broadcast_to(x.reshape(1, 12), (700, 12)) / 9).sum(axis=1) * 2, np.float64),
}


@pytest.mark.parametrize("name", MIXED)
def test_dtypes_views_and_constants(name):
    f, dtype = MIXED[name]
    x = np.random.default_rng(1).integers(0 if dtype == np.uint8 else -5, 6, (3, 4)).astype(dtype)
    compiled = cr.compile(f, backend="numba")
    strided = np.repeat(x, 2, axis=1)[:, ::2]
    frozen = x.copy()
    frozen.flags.writeable = False
    for given in (x, strided, np.asfortranarray(x), frozen):
        found, expected = compiled(given), f(given)
        pairs = list(zip(tree.flatten(found), tree.flatten(expected), strict=True))
        for (_, a), (_, b) in pairs:
            same(a, b)
            assert not np.shares_memory(a, given)


def test_what_is_shifted_or_turned_is_read_where_it_was():
    def f(x, W):
        y = np.tanh(x)
        z = np.concatenate([y[:, 1:], y[:, :1]], axis=1) + y[:, ::-1] * y
        u = np.exp(W)
        return (
            z * 2 + z[:, ::-1],
            np.pad(z[:, 1:], ((0, 0), (1, 0))) * z,
            u.T * u,
            u[::-1] + u * u.reshape(4, 2, 2).reshape(4, 4),
        )

    W = np.random.default_rng(1).normal(size=(4, 4))
    compiled = cr.compile(f, batch={"x": 0}, backend="numba")
    for n in (1, 3, 600):
        x = np.random.default_rng(n).normal(size=(n, 4))
        for ours, other in zip(compiled(x, W), f(x, W), strict=True):
            same(ours, other)


def test_the_backend_is_asked_for_by_argument_or_environment(monkeypatch):
    def f(x):
        return np.cumsum(x) * 2

    x = np.arange(4.0)
    with pytest.warns(Notice, match="he function f cannot be fused, so a plan computes it: cumsum"):
        same(cr.compile(f, backend="numba")(x), f(x))
    same(cr.compile(f)(x), f(x))  # without a notice
    monkeypatch.setenv("CHAINRULE_BACKEND", "numba")
    with pytest.warns(Notice, match="cannot be fused"):
        same(cr.compile(f)(x), f(x))
    same(cr.compile(f, backend="numpy")(x), f(x))
    same(cr.compile(f, backend="eager")(x), f(x))
    with pytest.raises(cr.ChainruleError, match="fast"):
        cr.compile(f, backend="fast")


def test_nothing_to_compute_needs_no_program():
    same(cr.compile(lambda x: x, backend="numba")(np.ones(3)), np.ones(3))
    same(cr.compile(lambda x: x + 1, backend="numba")(np.ones((0, 3))), np.ones((0, 3)))


def test_no_rows_and_wrong_labels_are_told_as_by_the_graph():
    f = cr.compile(lambda x, t: cr.cross_entropy(x, t), batch={"x": 0, "t": 0}, backend="numba")
    x, t = np.ones((4, 3)), np.array([0, 1, 2, 0])
    same(f(x, t), np.float64(np.log(3)))
    for label in (3, -1):
        with pytest.raises(DataError, match=f"the label {label} is outside"):
            f(x, np.array([0, 1, label, 0]))
    largest = cr.compile(lambda x: x.max(axis=0), batch={"x": 0}, backend="numba")
    same(largest(x), np.ones(3))
    with pytest.raises(ValueError, match="zero-size"):
        largest(x[:0])
    table = cr.compile(lambda table, i: table[i] * 2, backend="numba")
    with pytest.raises(ShapeError, match="index 5 is out of bounds"):
        table(np.ones((3, 2)), np.array([0, 5]))
    same(table(np.arange(6.0).reshape(3, 2), np.array([0, -1])), np.array([[0.0, 2.0], [8.0, 10.0]]))


def test_machine_code_is_compared_with_the_plan_once(monkeypatch):
    """A planted error: the plan's numbers come back, with a notice."""
    from chainrule.compiler.fusion import expressions

    monkeypatch.setitem(expressions.FORMULAS, "tanh", "({0} * 0.9)")
    x = np.linspace(-1, 1, 9)
    fast = cr.compile(lambda x: np.tanh(x) + 1, backend="numba")
    with pytest.warns(Notice, match="gives other numbers"):
        np.testing.assert_array_equal(fast(x), np.tanh(x) + 1)
    np.testing.assert_array_equal(fast(x), np.tanh(x) + 1)
