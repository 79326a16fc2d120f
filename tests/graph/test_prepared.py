"""A prepared graph computes the bits of `Graph.run`, which are those of eager mode."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.graph import derive
from chainrule.graph.prepared import prepare
from chainrule.ops.op import OPS, Example


def data(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


def network(dtype, samples, batch):
    """A derived graph, its arguments as `run` takes them, the same as a prepared graph does, and eager results."""
    rng = np.random.default_rng(1)
    model = nn.Sequential(nn.Linear(5, 4, dtype=dtype, rng=rng), nn.Sigmoid(), nn.Linear(4, 3, dtype=dtype, rng=rng))
    f, parameters = model.as_function()
    arrays = {name: p.numpy() for name, p in parameters.items()}
    x, t = data(samples, 5, dtype=dtype), np.arange(samples) % 3

    def loss(parameters, x, t):
        return cr.cross_entropy(f(parameters, x), t)

    graph = derive(cr.trace(loss, arrays, x, t, batch=batch), list(arrays))
    eager = loss(parameters, x, t)
    eager.backward()
    return graph, (arrays, x, t), (*arrays.values(), x, t), (eager.value, *(p.grad for p in parameters.values()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch", [None, {"x": 0, "t": 0}], ids=["fixed", "N"])
@pytest.mark.parametrize("samples", [1, 7])
def test_a_networks_gradients_have_the_bits_of_eager_mode(dtype, batch, samples):
    graph, arguments, flat, eager = network(dtype, samples, batch)
    for a, b, c in zip(prepare(graph)(*flat), graph.run(*arguments), eager, strict=True):
        assert same(a, b)
        assert same(a, c)


def test_a_symbolic_batch_takes_every_size():
    graph, (arrays, _, _), _, _ = network(np.float64, 7, {"x": 0, "t": 0})
    run = prepare(graph)
    for samples in (1, 2, 50):
        x, t = data(samples, 5, seed=2), np.zeros(samples, int)
        for a, b in zip(run(*arrays.values(), x, t), graph.run(arrays, x, t), strict=True):
            assert same(a, b)


CONSTANT = data(3, 1, seed=9)

FUNCTIONS = {
    "mean over a symbolic axis": lambda x, w: (np.tanh(x @ w) / x.shape[0]).sum(),
    "square root of a size": lambda x, w: (x @ w).sum() / np.sqrt(x.shape[0]),
    "a negative number, squared": lambda x, w: ((-1.5) ** 2 * (x @ w)).sum() + (-2.0 - x).sum(),
    "division by one": lambda x, w: (x / 1 @ w).sum() / 1,
    "a constant": lambda x, w: (x @ (w * CONSTANT)).sum(),
    "only constants": lambda x, w: (x @ w).sum() + (cr.tensor(CONSTANT) * 2).sum(),
    "infinity": lambda x, w: np.where(x > -np.inf, x @ w[:, :1], 0.0).sum(),
    "column times row": lambda x, w: ((x[:, :1] @ w[:1, :]) ** 2).sum(),
    "reshape and transpose": lambda x, w: (x.reshape(-1).reshape(x.shape).T * 2).sum() + w.sum(),
    "an index": lambda x, w: x[:, 1].sum() * w[0, 0],
    "logsumexp": lambda x, w: cr.logsumexp(x @ w, axis=1).mean(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("batch", [None, {"x": 0}], ids=["fixed", "N"])
def test_every_kind_of_line_computes_what_the_graph_does(name, batch):
    x, w = data(4, 3), data(3, 2, seed=1)
    graph = cr.trace(FUNCTIONS[name], x, w, batch=batch)
    for each in (graph, derive(graph)):
        results = each.run(x, w)
        for a, b in zip(prepare(each)(x, w), results if isinstance(results, tuple) else (results,), strict=True):
            assert same(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_every_op_computes_what_it_does_in_a_graph(op):
    operands = len(op.saves) if op.vjp else op.forward.__code__.co_argcount
    for example in op.examples or [Example(((3, 4),) * operands)]:
        rng = np.random.default_rng(3)
        inputs = [rng.uniform(*op.domain, x) if isinstance(x, tuple) else x for x in example.inputs]
        graph = cr.trace(lambda *xs, op=op, example=example: op.apply(*xs, **example.attributes), *inputs)
        expected = op.forward(*inputs, **example.attributes)
        assert same(np.asarray(prepare(graph)(*map(np.asarray, inputs))[0]), np.asarray(expected))


def test_inputs_are_not_changed():
    graph, _, flat, _ = network(np.float64, 1, None)
    before = [a.copy() for a in flat]
    prepare(graph)(*flat)
    assert all(map(np.array_equal, before, flat))


def test_what_is_known_beforehand_is_no_line():
    source = prepare(cr.trace(lambda x: (x.reshape(2, 3) / 1) * np.float64(2), data(2, 3))).__code__
    assert source.co_names == ()  # one product, and no call
