"""Simplification and recognition: each pass gives the same results, and the lines that it is for."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.graph.recognition import recognize
from chainrule.graph.simplification import PASSES, simplify

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape)


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def network(x, t, W1, b1, W2, b2):
    h = np.maximum(x @ W1 + b1, 0)
    return cr.cross_entropy(h @ W2 + b2, t)


def layer_norm(x, g, b):
    mu = x.mean(axis=1, keepdims=True)
    var = ((x - mu) ** 2).mean(axis=1, keepdims=True)
    return (((x - mu) / np.sqrt(var + 1e-5) * g + b) ** 3).sum()


def attention(x, q, k, v):
    s = (x @ q) @ (x @ k).swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    return (cr.softmax(s) @ (x @ v)).sum()


def vectors(x, A, W):
    h = np.tanh(W @ x)
    return x @ A @ x - h @ h


def heat(u, k):
    for _ in range(3):
        u = np.concatenate([u[:1], u[1:-1] + k * (u[2:] - 2 * u[1:-1] + u[:-2]), u[-1:]])
    return (u**2).mean()


def signs(x, y):
    return -(-(x - y) * 1 + 0 - (-x) / 1).sum() - (-x * y).mean() + (x**1).sum() * -1


LABELS = RANDOM.integers(0, 5, 6)
FUNCTIONS = {
    network: (normal(6, 4), LABELS, normal(4, 3), normal(3), normal(3, 5), normal(5)),
    layer_norm: (normal(6, 4), normal(4), normal(4)),
    attention: (normal(2, 6, 4), normal(4, 3), normal(4, 3), normal(4, 2)),
    vectors: (normal(3), normal(3, 3), normal(2, 3)),
    heat: (normal(7), np.array(0.1)),
    signs: (normal(4), normal(4)),
}


@pytest.mark.parametrize("each", [*PASSES, simplify], ids=lambda f: f.__name__)
@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_a_pass_keeps_the_results(f, each):
    args = FUNCTIONS[f]
    graph = cr.derive(cr.trace(f, *args))
    for y, expected in zip(each(graph).run(*args), graph.run(*args), strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_simplifying_shortens_and_ends(f):
    graph = cr.derive(cr.trace(f, *FUNCTIONS[f]))
    short = simplify(graph)
    assert len(short.equations) <= len(graph.equations)
    assert repr(simplify(short)) == repr(short)


def ops(graph):
    return [e.op.name for e in graph.equations]


def test_constants_are_folded_but_a_division_by_a_count_stays():
    graph = simplify(cr.derive(cr.trace(lambda x: (2 * np.ones(3) * x).mean(), normal(3))))
    assert not [e for e in graph.equations if not e.inputs]
    assert "divide" in ops(graph)


def test_what_is_computed_twice_is_shared():
    graph = simplify(cr.trace(lambda x: np.exp(x).sum() * np.exp(x).sum(), normal(3)))
    assert ops(graph) == ["exp", "sum", "multiply"]


def test_neutral_elements_and_signs_go():
    graph = simplify(cr.trace(lambda x, y: np.negative(-(x * 1 + 0)) / 1 - (-y) ** 1, normal(3), normal(3)))
    assert ops(graph) == ["add"]


def test_broadcasts_of_numbers_go():
    graph = simplify(cr.derive(cr.trace(lambda x: (x**2).sum() / 2, normal(3, 4))))
    assert "broadcast_to" not in ops(graph)
    assert graph.outputs[1].name == "x"  # d(x²/2) is x itself


def test_transposes_are_folded_into_products():
    def f(x, W):  # PyTorch's layout: (out, in)
        return (x @ W.T).sum(axis=1).mean()

    def transposed(x, a, b):
        return (x * (a.T @ b).T).sum()

    graph = simplify(cr.trace(transposed, normal(2, 4), normal(3, 4), normal(3, 2)))
    assert ops(graph) == ["transpose", "matmul", "multiply", "sum"]
    args = normal(5, 3), normal(4, 3)
    graph = simplify(cr.derive(cr.trace(f, *args)))
    for y, expected in zip(graph.run(*args), cr.derive(cr.trace(f, *args)).run(*args), strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-13)


def test_a_batch_of_products_that_is_summed_is_one_product():
    args = normal(2, 6, 4), normal(4, 3)
    graph = simplify(cr.derive(cr.trace(lambda x, W: ((x @ W) ** 2).sum(), *args), ["W"]))
    assert [e.output.shape for e in graph.equations if e.op.name == "matmul"] == [(2, 6, 3), (4, 3)]


def test_the_softmax_of_a_shifted_maximum_and_its_cross_entropy_become_y_minus_t():
    def loss(x, t):
        return -np.log(softmax(x)[np.arange(6), t]).mean()

    graph = simplify(cr.derive(recognize(simplify(cr.trace(loss, normal(6, 5), LABELS)))))
    assert ops(graph) == ["cross_entropy", "mean", "softmax", "onehot", "subtract", "divide"]


TARGETS = np.eye(5)[LABELS]
BITS = (RANDOM.random(6) > 0.5) * 1.0
WRITTEN_OUT = {
    "cross-entropy, the logarithm first": (lambda x, t: -np.mean(np.log(softmax(x))[np.arange(6), t]), LABELS),
    "cross-entropy, one element first": (lambda x, t: -np.log(softmax(x)[np.arange(6), t]).sum() / 6, LABELS),
    "cross-entropy, take_along_axis": (
        lambda x, t: -np.log(np.take_along_axis(softmax(x), t[:, None], 1)).mean(),
        LABELS,
    ),
    "cross-entropy, rows": (lambda x, t: -(t * np.log(softmax(x))).sum(axis=1).mean(), TARGETS),
    "cross-entropy, all entries": (lambda x, t: -(np.log(softmax(x)) * t).mean(), TARGETS),
    "cross-entropy, one-hot": (lambda x, t: -(cr.onehot(t, 5) * np.log(softmax(x))).sum() / 6, LABELS),
    "cross-entropy, a one-hot choice": (
        lambda x, t: -np.log((cr.onehot(t, 5) * softmax(x)).sum(axis=1)).mean(),
        LABELS,
    ),
    "cross-entropy, log-sum-exp": (
        lambda x, t: -(t * (x - np.log(np.exp(x).sum(axis=1, keepdims=True)))).sum(),
        TARGETS,
    ),
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_cross_entropy_is_recognized_however_it_is_written(name):
    f, t = WRITTEN_OUT[name]
    x = normal(6, 5)
    graph = cr.trace(f, x, t)
    found = recognize(simplify(graph))
    assert "cross_entropy" in ops(found)
    assert not {"exp", "log"} & set(ops(found))
    expected = cr.derive(graph, ["x"]).run(x, t)
    for y, other in zip(simplify(cr.derive(found, ["x"])).run(x, t), expected, strict=True):
        np.testing.assert_allclose(y, other, rtol=1e-11, atol=1e-14)


def binary(z, t):
    p = sigmoid(z)
    return -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))


def test_the_entropy_of_two_classes_becomes_p_minus_t():
    z = normal(6)
    graph = simplify(recognize(simplify(cr.trace(binary, z, BITS))))
    assert ops(graph) == ["binary_cross_entropy", "mean"]
    short = simplify(cr.derive(graph, ["z"]))
    assert ops(short) == ["binary_cross_entropy", "mean", "sigmoid", "subtract", "divide"]
    expected = cr.derive(cr.trace(binary, z, BITS), ["z"]).run(z, BITS)
    for y, other in zip(short.run(z, BITS), expected, strict=True):
        np.testing.assert_allclose(y, other, rtol=1e-12)


def test_a_sigmoid_is_recognized_and_its_derivative_uses_its_own_output():
    graph = simplify(cr.derive(recognize(cr.trace(lambda x: (sigmoid(x) * x).sum(), normal(4)))))
    assert ops(graph).count("sigmoid") == 1
    assert "exp" not in ops(graph)


def test_a_softmax_of_a_vector_is_recognized():
    x = normal(5)
    graph = recognize(simplify(cr.trace(lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(), x)))
    assert ops(graph) == ["softmax"]
    np.testing.assert_allclose(graph.run(x), np.exp(x) / np.exp(x).sum(), rtol=1e-13)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.exp(x) / np.exp(x).sum(axis=0, keepdims=True),
        lambda x: np.exp(x - x[:, :1]) / np.exp(x - x[:, :1]).sum(axis=1)[:, None],
    ],
    ids=["other axis", "another shift"],
)
def test_a_softmax_is_recognized_along_any_axis_and_with_any_shift(f):
    x = normal(6, 5)
    graph = recognize(simplify(cr.trace(f, x)))
    assert "softmax" in ops(graph)
    np.testing.assert_allclose(graph.run(x), f(x), rtol=1e-13)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.exp(x - x) / np.exp(x).sum(axis=1, keepdims=True),  # another numerator
        lambda x: np.exp(x) / np.exp(x).sum(axis=(0, 1), keepdims=True),  # over all entries
        lambda x: np.exp(x) / np.exp(2 * x).sum(axis=1, keepdims=True),
        lambda x: 1 / (2 + np.exp(-x)),
        lambda x: 2 / (1 + np.exp(-x)),
        lambda x: -np.log(softmax(x)[np.arange(5), np.arange(5)]),  # five of six rows
        lambda x: -np.log(softmax(x)[np.array([1, 0, 2, 3, 4, 5]), np.arange(6) % 5]),  # rows in another order
        lambda x: np.log(softmax(x) + 1e-9),
    ],
)
def test_what_only_looks_alike_is_left_alone(f):
    x = normal(6, 5)
    graph = recognize(simplify(cr.trace(f, x)))
    assert not {"cross_entropy", "sigmoid", "log_softmax"} & set(ops(graph))
    np.testing.assert_allclose(graph.run(x), f(x), rtol=1e-12)


def test_a_recognized_loss_does_not_overflow():
    x, t = np.array([[1e4, 0.0], [0.0, 1e4]]), np.array([1, 1])

    def loss(x, t):
        e = np.exp(x)
        return -np.log((e / e.sum(axis=1, keepdims=True))[np.arange(2), t]).sum()

    assert recognize(simplify(cr.trace(loss, x, t))).run(x, t) == 1e4
