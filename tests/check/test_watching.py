"""Forward passes that write into arrays, watched while they run: the graph computes what they compute."""

import numpy as np
import pytest

from chainrule import check
from chainrule.check.derivatives.watching import Glasses, watched


def convolution(x, w):
    out = np.zeros((x.shape[0], x.shape[1] - len(w) + 1))
    for i in range(out.shape[1]):
        out[:, i] = x[:, i : i + len(w)] @ w
    return out


def rectified(x, w):
    h = x.dot(w)
    h[h < 0] = 0
    h += 1
    np.multiply(h, 2, out=h)
    return float((h**2).sum())


def recurrent(x, w):
    h = np.zeros((len(x) + 1, w.shape[1]))
    for t in range(len(x)):
        h[t + 1] = np.tanh(x[t] @ w + h[t])
    return h[-1].sum()


def counted(x, w):
    total = np.zeros(3)
    np.add.at(total, np.array([0, 1, 0, 2, 2]), x[:, 0])
    return np.hstack([total, np.prod(w, axis=0), np.diff(x[0])]).sum() + np.tensordot(x, w, axes=1).mean()


RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 4))


@pytest.mark.parametrize(
    ("f", "w"),
    [
        (convolution, RNG.normal(size=3)),
        (rectified, RNG.normal(size=(4, 2))),
        (recurrent, RNG.normal(size=(4, 2))),
        (counted, RNG.normal(size=(4, 2))),
    ],
)
def test_the_graph_computes_the_same(f, w):
    def run(point):
        glasses = Glasses()
        glasses.tracer = point["x"].tracer
        return (glasses.function(f)(point["x"], point["w"]),)

    graph = watched(run, {"x": X, "w": w})
    for x in (X, X + 1e-3):
        assert np.allclose(graph.run(x, w)[0], f(x.copy(), w.copy()), rtol=1e-12)


def test_windows_that_overwrite_each_other_in_a_loop():
    def backward(g, x, w):
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        for i in range(g.shape[1]):
            dx[:, i : i + len(w)] = np.outer(g[:, i], w)
            dw += g[:, i] @ x[:, i : i + len(w)]
        return dx, dw

    report = check.backward(convolution, backward, (X, RNG.normal(size=3)))
    assert [f.verdict for f in report.findings] == ["wrong", "right"]
    assert [cause.kind for cause in report.causes] == ["overwritten"]
    assert f"line {convolution.__code__.co_firstlineno + 3}" in report.causes[0].sentence
