"""A compiled function gives what the function gives, in arrays of their own."""

import threading
from collections import namedtuple

import numpy as np
import pytest
from tests.written.functions import CASES, MODELS

import chainrule as cr
from chainrule import nn
from chainrule.compiler import compilation
from chainrule.errors import DataError, ShapeError, TraceError
from chainrule.graph import tree


def assert_equal(found, expected):
    """The same form, dtypes, shapes and, up to rounding, numbers."""
    assert tree.map_leaves(lambda _: None, found) == tree.map_leaves(lambda _: None, expected)
    pairs = zip(tree.flatten(found), tree.flatten(expected), strict=True)
    for (_, a), (_, b) in pairs:
        b = np.asarray(b)
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(1, np.abs(b).max(initial=0)))


@pytest.mark.parametrize("name", CASES)
def test_the_corpus_and_its_derivatives(name):
    case = CASES[name]
    f = cr.value_and_grad(case.f, case.argnums)
    compiled = cr.compile(f, batch=case.batch)
    for seed, n in enumerate((7, 4, 7)):
        args = case.make(np.random.default_rng(seed), n if case.batch else 7)
        before = [np.array(leaf) for _, leaf in tree.flatten(args)]
        assert_equal(compiled(*args), f(*args))
        assert all(np.array_equal(a, leaf) for a, (_, leaf) in zip(before, tree.flatten(args), strict=True))
    assert len(compiled._recordings) == 1


@pytest.mark.parametrize("name", MODELS)
def test_models_without_a_symbolic_batch(name):
    rng = np.random.default_rng(1)
    f, parameters = MODELS[name].build(rng, np.float64).as_function()
    arrays = {key: p.numpy() for key, p in parameters.items()}

    def step(p, x, t):
        return cr.value_and_grad(lambda p: MODELS[name].loss(f(p, x), t))(p)

    compiled = cr.compile(step)
    for n in (5, 3):
        x, t = MODELS[name].make(rng, n)
        assert_equal(compiled(arrays, x, t), step(arrays, x, t))
    assert len(compiled._recordings) == 2


Pair = namedtuple("Pair", ["sum", "parts"])


def test_results_have_the_form_in_which_the_function_returns_them():
    def f(x):
        return Pair(x.sum(), {"a": [x, x + 1], "b": ((2.5,), x.T)})

    x = np.arange(6.0).reshape(2, 3)
    compiled = cr.compile(f)
    found = compiled(x)
    assert isinstance(found, Pair)
    assert_equal(found, Pair(np.float64(15), {"a": [x, x + 1], "b": ((np.float64(2.5),), x.T)}))
    assert_equal(cr.compile(lambda x: x * 2)(x), x * 2)
    assert isinstance(cr.compile(np.sum)(x), np.float64)


def test_results_are_ones_own():
    x = np.ones((2, 3))
    compiled = cr.compile(lambda x: (x, x + 1, x.T, x + 1))
    first = compiled(x)
    kept = [a.copy() for a in first]
    second = compiled(x * 5)
    for i, a in enumerate(first):
        assert np.array_equal(a, kept[i])
        assert a.flags.writeable
        assert not any(np.shares_memory(a, b) for b in (x, *second, *first[:i]))


def test_arguments_may_be_nested_and_named():
    def f(p, x, *, scale=2.0):
        return x @ p["W"] * scale + p["layers"][1]

    p = {"W": np.ones((3, 2)), "layers": [0, np.ones(2)]}
    x = np.ones((4, 3))
    compiled = cr.compile(f)
    assert_equal(compiled(p, x=x), f(p, x))
    assert_equal(compiled(x=x, p=p), f(p, x))
    assert_equal(compiled({"layers": p["layers"], "W": p["W"]}, x), f(p, x))  # another order of the same entries
    with pytest.raises(TraceError, match=r"scale by keyword.*functools.partial"):
        compiled(p, x, scale=3.0)
    with pytest.raises(TypeError, match="missing"):
        compiled(x=x)


def test_numbers_and_lists_are_taken_as_by_a_recording():
    f = cr.compile(lambda x, k: x * k)
    assert_equal(f(np.ones(3), 2), np.full(3, 2.0))
    assert_equal(f(np.ones(3), 5), np.full(3, 5.0))
    assert_equal(f(np.ones(3), np.float64(7)), np.full(3, 7.0))
    assert len(f._recordings) == 1
    assert_equal(
        cr.compile(lambda x, mask: np.where(mask, x, 0))(np.ones(2), np.array([True, False])), np.array([1.0, 0])
    )


@pytest.mark.parametrize("wrong", [None, "text", np.array(["a"]), object(), np.ones(2) * 1j])
def test_what_is_no_array_is_refused_in_the_words_of_a_recording(wrong):
    def f(x):
        return x * 2

    with pytest.raises(TraceError) as expected:
        cr.trace(f, wrong)
    with pytest.raises(TraceError) as found:
        cr.compile(f)(wrong)
    assert str(found.value) == str(expected.value)


def test_shapes_and_dtypes_are_recorded_once_each():
    calls = []

    def f(x):
        calls.append(x.shape)
        return x * 2

    compiled = cr.compile(f)
    for x in (np.ones(3), np.ones(4), np.ones(3, np.float32), np.ones((3, 1)), np.ones(3), np.ones(3, np.float32)):
        assert_equal(compiled(x), x * 2)
    assert len(calls) == 4


def test_a_symbolic_batch_is_recorded_once():
    calls = []

    def f(p, x, t):
        calls.append(x.shape)
        return cr.cross_entropy(x @ p, t)

    compiled = cr.compile(f, batch={"x": 0, "t": 0})
    for n in (5, 2, 9, 1):
        compiled(np.ones((3, 4)), np.ones((n, 3)), np.zeros(n, int))
    assert len(calls) == 1
    compiled(np.ones((3, 6)), np.ones((5, 3)), np.zeros(5, int))
    assert len(calls) == 2
    with pytest.raises(ShapeError, match="expected"):
        compiled(np.ones((3, 4)), np.ones((5, 3)), np.zeros(1, int))  # which would broadcast
    with pytest.raises(ShapeError, match="matmul"):
        compiled(np.ones((4, 4)), np.ones((5, 3)), np.zeros(5, int))
    with pytest.raises(TraceError, match="batch names 'y'"):
        cr.compile(f, batch={"y": 0})(np.ones((3, 4)), np.ones((5, 3)), np.zeros(5, int))


def test_a_batch_axis_may_be_counted_from_the_end():
    compiled = cr.compile(lambda x: x.sum(axis=-1), batch={"x": -1})
    for shape in ((2, 3), (2, 5), (4, 2, 3), (4, 2, 6)):
        assert_equal(compiled(np.ones(shape)), np.ones(shape).sum(-1))
    assert len(compiled._recordings) == 2


def test_only_so_many_recordings_are_kept_those_used_last():
    calls = []

    def f(x):
        calls.append(x.shape)
        return x + 1

    compiled = cr.compile(f)
    for n in range(compilation.KEPT + 4):
        compiled(np.ones(n))
        compiled(np.ones(0))
    assert len(compiled._recordings) == compilation.KEPT
    before = len(calls)
    compiled(np.ones(0))
    assert len(calls) == before
    compiled(np.ones(1))
    assert len(calls) == before + 1


def test_derivatives_and_recordings_go_through_the_function_itself():
    def f(x, w):
        return (np.tanh(x * w) ** 2).sum()

    compiled = cr.compile(f)
    x, w = np.linspace(-1, 1, 4), np.full(4, 0.3)
    assert_equal(cr.grad(compiled)(x, w), cr.grad(f)(x, w))
    assert_equal(cr.hessian(compiled)(x, w), cr.hessian(f)(x, w))
    assert repr(cr.trace(compiled, x, w)) == repr(cr.trace(f, x, w))
    assert_equal(cr.compile(cr.grad(compiled))(x, w), cr.grad(f)(x, w))
    t = cr.tensor(x, requires_grad=True)
    compiled(t, w).backward()
    assert_equal(t.grad, cr.grad(f)(x, w))
    assert isinstance(compiled(cr.tensor(x), w), type(f(cr.tensor(x), w)))


def test_what_is_closed_over_is_as_it_was_when_recorded():
    w = np.ones(3)
    compiled = cr.compile(lambda x: x * w)
    compiled(np.ones(3))
    w[:] = 5
    assert_equal(compiled(np.ones(3)), np.ones(3))


def test_errors_name_the_line():
    compiled = cr.compile(lambda x, t: cr.cross_entropy(x, t))
    with pytest.raises(DataError, match=r"test_compilation.py, line \d+: cross-entropy: the label 3"):
        compiled(np.ones((2, 3)), np.array([0, 3]))
    with pytest.raises(TraceError, match=r"test_compilation.py, line \d+: this branches on"):
        cr.compile(lambda x: x if x > 0 else -x)(1.0)


def test_models_and_what_is_no_function_are_refused():
    with pytest.raises(TraceError, match="as_function"):
        cr.compile(nn.Linear(2, 3))
    with pytest.raises(TraceError, match="a function of arrays"):
        cr.compile(3)


def test_it_is_called_as_the_function_is():
    def loss(x):
        """A loss."""
        return x.sum()

    compiled = cr.compile(loss)
    assert (compiled.__name__, compiled.__doc__) == ("loss", "A loss.")
    assert compiled.graph is None
    compiled(np.ones(2))
    assert "sum" in repr(compiled.graph)


def test_threads_take_turns():
    compiled = cr.compile(lambda x: np.tanh(x @ x).sum(axis=0) + x[0])
    data = [np.random.default_rng(i).normal(size=(30, 30)) for i in range(4)]
    expected = [np.tanh(x @ x).sum(axis=0) + x[0] for x in data]
    wrong = []

    def work(i):
        wrong.extend(i for _ in range(200) if not np.allclose(compiled(data[i]), expected[i], rtol=1e-12))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
