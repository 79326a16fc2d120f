"""Derivatives that are methods of an object with parameters."""

from itertools import pairwise

import numpy as np
import pytest

from chainrule import check
from chainrule.lab.defects.derivatives import sigmoid
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


class Nielsen:
    """The network of Michael Nielsen's book, network1.py: lists of weights and of biases, and no loss."""

    def __init__(self, sizes, seed=0):
        rng = np.random.default_rng(seed)
        self.num_layers, self.sizes = len(sizes), sizes
        self.biases = [rng.normal(size=(n, 1)) for n in sizes[1:]]
        self.weights = [rng.normal(size=(n, m)) for m, n in pairwise(sizes)]

    def feedforward(self, a):
        for b, w in zip(self.biases, self.weights, strict=True):
            a = sigmoid(np.dot(w, a) + b)
        return a

    def backprop(self, x, y):
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        activations = [x]
        for b, w in zip(self.biases, self.weights, strict=True):
            activations.append(sigmoid(np.dot(w, activations[-1]) + b))
        delta = self.cost_derivative(activations[-1], y)
        for n in range(1, self.num_layers):
            if n > 1:
                delta = np.dot(self.weights[-n + 1].transpose(), delta)
            delta = delta * activations[-n] * (1 - activations[-n])
            nabla_b[-n] = delta
            nabla_w[-n] = np.dot(delta, activations[-n - 1].transpose())
        return (nabla_b, nabla_w)

    def cost_derivative(self, output_activations, y):
        return output_activations - y


class NielsenWithCost(Nielsen):
    def cost(self, x, y):
        return 0.5 * np.sum((self.feedforward(x) - y) ** 2)


class WeightsFirst(NielsenWithCost):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.biases = vars(self).pop("biases")


class Doubled(NielsenWithCost):
    def cost_derivative(self, output_activations, y):
        return 2 * (output_activations - y)


@pytest.mark.parametrize("sizes", [[4, 5, 3], [3, 3, 3], [2, 1, 1, 1], [1, 1, 1]])
def test_lists_of_weights_and_of_biases(sizes):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(sizes[0], 1)), rng.normal(size=(sizes[-1], 1))
    for kind in (NielsenWithCost, WeightsFirst):
        net = kind(sizes)
        for report in (check.backward(net, None, (x, y)), check.backward(net.cost, net.backprop, (x, y))):
            assert report, str(report)
            assert len(report.findings) == 2 * (len(sizes) - 1)
    assert check.backward(Doubled(sizes), None, (x, y)).verdict == "wrong"


def test_an_object_without_a_loss_is_given_one():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(4, 1)), rng.normal(size=(3, 1))

    def loss(outputs, targets):
        return 0.5 * np.sum((outputs - targets) ** 2)

    assert check.backward(Nielsen([4, 5, 3]), None, (x, y), loss=loss)
    report = check.backward(Doubled([4, 5, 3]), None, (x, y), loss=loss)
    assert {cause.kind for cause in report.causes} == {"factor"}
    with pytest.raises(check.InputError, match="or loss=, a function of the outputs and the targets"):
        check.backward(Nielsen([4, 5, 3]), None, (x, y))


@pytest.mark.parametrize("sizes", [[4, 5, 3], [3, 3, 3], [1, 1, 1]])
def test_a_function_that_returns_the_biases_first(sizes):
    def network(weights, biases):
        net = NielsenWithCost(sizes)
        net.weights, net.biases = weights, biases
        return net

    def backprop(weights, biases, x, y):
        nabla_b, nabla_w = network(weights, biases).backprop(x, y)
        return nabla_b, nabla_w

    rng, net = np.random.default_rng(1), Nielsen(sizes)
    inputs = net.weights, net.biases, rng.normal(size=(sizes[0], 1)), rng.normal(size=(sizes[-1], 1))
    report = check.backward(lambda weights, biases, x, y: network(weights, biases).cost(x, y), backprop, inputs)
    assert report, str(report)
    assert [f.name[:-1] for f in report.findings] == ["weights"] * (len(sizes) - 1) + ["biases"] * (len(sizes) - 1)


class SetToZero(ThatAccumulates):
    def zero_grad(self):
        self.grads.clear()


class SetToZeroInPart(ThatAccumulates):
    def zero_grad(self):
        self.grads.pop("W1", None)


def test_gradients_that_are_set_to_zero_by_a_method_do_not_grow():
    for net in (SetToZero(), SetToZeroInPart()):
        report = check.backward(net, None, data())
        wrong = [f.name for f in report.findings if f.verdict != "right"]
        assert wrong == ([] if type(net) is SetToZero else ["b1", "W2"])
        assert {cause.kind for cause in report.causes} == ({"accumulated"} if wrong else set())
