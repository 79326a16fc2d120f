"""Derivatives that are methods of an object with parameters."""

import numpy as np
import pytest

from chainrule import check
from chainrule.lab.defects.networks import Layer


class Net:
    """A network in the shape of many tutorials: forward, backward, update, and two dicts."""

    slope = staticmethod(lambda h: 1 - h**2)

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.params = {"W1": rng.normal(size=(4, 6)), "b1": np.zeros(6), "W2": rng.normal(size=(6, 3))}
        self.grads = {}

    def forward(self, x, t):
        self.x = x
        self.h = np.tanh(x @ self.params["W1"] + self.params["b1"])
        self.d = self.h @ self.params["W2"] - t
        return (self.d**2).mean()

    def backward(self):
        d = 2 * self.d / self.d.size
        self.add("W2", self.h.T @ d)
        d = d @ self.params["W2"].T * self.slope(self.h)
        self.add("W1", self.x.T @ d)
        self.add("b1", d.sum(axis=0))

    def add(self, name, g):
        self.grads[name] = g

    def update(self, x, t, lr):
        self.forward(x, t)
        self.backward()
        for name in self.params:
            self.params[name] -= lr * self.grads[name]


class WithoutSlope(Net):
    slope = staticmethod(lambda h: 1)


class ThatAccumulates(Net):
    def add(self, name, g):
        self.grads[name] = self.grads.get(name, 0) + g


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(5, 4)), rng.normal(size=(5, 3))


@pytest.mark.parametrize("method", ["backward", "update"])
def test_a_network(method):
    net = Net()
    before = {name: p.copy() for name, p in net.params.items()}
    report = check.backward(net.forward, getattr(net, method), data())
    assert report
    assert [f.name for f in report.findings] == ["W1", "b1", "W2"]
    assert not net.grads
    assert all(np.array_equal(p, net.params[name]) for name, p in before.items())


def test_an_object_by_itself():
    assert check.backward(Net(), None, data())
    with pytest.raises(check.InputError, match="no method such as loss"):
        check.backward(Net(), None, data()[:1])


def test_a_missing_derivative_of_an_activation():
    net = WithoutSlope()
    report = check.backward(net.forward, net.backward, data())
    assert {cause.kind for cause in report.causes} == {"missing activation derivative"}


def test_gradients_that_are_never_set_to_zero():
    net = ThatAccumulates()
    report = check.backward(net.forward, net.backward, data())
    assert {cause.kind for cause in report.causes} == {"accumulated"}


def test_a_layer_returns_the_gradient_of_its_input_and_keeps_the_others():
    layer = Layer(4, 3, np.random.default_rng(0))
    report = check.backward(layer.forward, layer.backward, data()[0])
    assert report
    assert {f.name for f in report.findings} == {"x", "W", "b"}


class Regression:
    """An object with a single parameter, whose loss returns its gradient too."""

    def __init__(self):
        self.W = np.random.default_rng(0).normal(size=(4, 3))

    def loss(self, X, y):
        d = X @ self.W - y
        return (d**2).sum(), 2 * X.T @ d


def test_the_loss_beside_the_one_gradient_of_an_object():
    report = check.backward(Regression(), None, data())
    assert report, str(report)
    assert [f.name for f in report.findings] == ["W"]
