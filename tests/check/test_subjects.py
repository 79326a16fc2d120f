"""`as_subject` takes models as people write them, unmodified: what is computed through it is what they compute."""

from itertools import pairwise

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.check.numeric import numerical_gradient
from chainrule.check.subjects.recognition import as_subject
from chainrule.errors import ChainruleError, ShapeError, UnknownNameError
from chainrule.lab.defects import DEFECTS
from chainrule.lab.defects.derivatives import sigmoid, softmax


def rng(seed=0):
    return np.random.default_rng(seed)


X, T = rng(5).normal(size=(7, 4)), rng(6).integers(0, 3, 7)
BINARY, ONE_HOT = (X[:, :1] > 0).astype(float), np.eye(3)[T]


def two_layers(seed, hidden=5, outputs=3):
    r = rng(seed)
    W1, W2 = r.normal(size=(4, hidden)) / 2, r.normal(size=(hidden, outputs)) / 2
    return {"W1": W1, "b1": np.zeros(hidden), "W2": W2, "b2": np.zeros(outputs)}


class DictOfParams:
    """predict, loss(x, t), gradient(x, t) that returns a dict; no step."""

    def __init__(self, seed=0):
        self.params = two_layers(seed)

    def predict(self, x, train_flg=False):
        p = self.params
        return softmax(sigmoid(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"])

    def loss(self, x, t):
        return -np.mean(np.log(self.predict(x)[np.arange(len(t)), t]))

    def accuracy(self, x, t):
        return np.mean(self.predict(x).argmax(axis=1) == t)

    def gradient(self, x, t):
        p = self.params
        h = sigmoid(x @ p["W1"] + p["b1"])
        d = (self.predict(x) - np.eye(3)[t]) / len(x)
        d1 = d @ p["W2"].T * h * (1 - h)
        return {"W1": x.T @ d1, "b1": d1.sum(0), "W2": h.T @ d, "b2": d.sum(0)}


class LossOrScores:
    """loss(X, y=None): the scores without labels, (loss, grads) with them; predict gives labels."""

    def __init__(self, seed=0):
        self.params = two_layers(seed)

    def loss(self, X, y=None, reg=0.0):
        p = self.params
        h = np.maximum(X @ p["W1"] + p["b1"], 0)
        scores = h @ p["W2"] + p["b2"]
        if y is None:
            return scores
        q = softmax(scores)
        d = (q - np.eye(3)[y]) / len(y)
        d1 = d @ p["W2"].T * (h > 0)
        grads = {"W1": X.T @ d1, "b1": d1.sum(0), "W2": h.T @ d, "b2": d.sum(0)}
        return -np.log(q[np.arange(len(y)), y]).mean(), grads

    def train(self, X, y, learning_rate=1e-1, num_iters=100, batch_size=200, verbose=False):
        for _ in range(num_iters):
            rows = np.random.choice(len(X), batch_size)  # noqa: NPY002
            for name, g in self.loss(X[rows], y[rows])[1].items():
                self.params[name] -= learning_rate * g

    def predict(self, X):
        return self.loss(X).argmax(axis=1)


class BackwardThatUpdates:
    """W1, W2; backward(X, y, o) that changes them, and no loss anywhere."""

    def __init__(self, seed=0):
        self.W1, self.W2, self.lr = rng(seed).normal(size=(4, 5)), rng(seed + 1).normal(size=(5, 1)), 0.1

    def forward(self, X):
        self.z2 = sigmoid(X @ self.W1)
        return sigmoid(self.z2 @ self.W2)

    def backward(self, X, y, o):
        d = (y - o) * o * (1 - o)
        d1 = d @ self.W2.T * self.z2 * (1 - self.z2)
        self.W1 += self.lr * X.T @ d1
        self.W2 += self.lr * self.z2.T @ d

    def train(self, X, y):
        self.backward(X, y, self.forward(X))


class ColumnsInPairs:
    """Lists of weights and biases, samples as columns (n, 1), mini-batches as lists of pairs."""

    def __init__(self, sizes=(4, 5, 3), seed=0):
        self.biases = [rng(seed).normal(size=(m, 1)) for m in sizes[1:]]
        self.weights = [rng(seed).normal(size=(m, n)) for n, m in pairwise(sizes)]

    def feedforward(self, a):
        for b, w in zip(self.biases, self.weights, strict=True):
            a = sigmoid(w @ a + b)
        return a

    def loss(self, output, y):
        return 0.5 * float(((output - y) ** 2).sum())

    def update_mini_batch(self, mini_batch, eta):
        for x, y in mini_batch:
            nabla_b, nabla_w = self.backprop(x, y)
            self.weights = [w - eta * g for w, g in zip(self.weights, nabla_w, strict=True)]
            self.biases = [b - eta * g for b, g in zip(self.biases, nabla_b, strict=True)]

    def backprop(self, x, y):
        a1 = sigmoid(self.weights[0] @ x + self.biases[0])
        a2 = sigmoid(self.weights[1] @ a1 + self.biases[1])
        d2 = (a2 - y) * a2 * (1 - a2)
        d1 = self.weights[1].T @ d2 * a1 * (1 - a1)
        return [d1, d2], [d1 @ x.T, d2 @ a1.T]


class Columns:
    """A batch in columns, a cache beside the outputs, grads called dW1, update_parameters(grads)."""

    def __init__(self, seed=0):
        r = rng(seed)
        W1, W2 = r.normal(size=(5, 4)), r.normal(size=(1, 5))
        self.parameters = {"W1": W1, "b1": np.zeros((5, 1)), "W2": W2, "b2": np.zeros((1, 1))}

    def forward_propagation(self, X):
        p = self.parameters
        A1 = np.tanh(p["W1"] @ X + p["b1"])
        return sigmoid(p["W2"] @ A1 + p["b2"]), {"A1": A1}

    def compute_cost(self, A2, Y):
        return float(-(np.log(A2) * Y + (1 - Y) * np.log(1 - A2)).sum() / Y.shape[1])

    def backward_propagation(self, X, Y):
        A2, cache = self.forward_propagation(X)
        m, d2 = X.shape[1], A2 - Y
        d1 = self.parameters["W2"].T @ d2 * (1 - cache["A1"] ** 2)
        return {
            "dW1": d1 @ X.T / m,
            "db1": d1.sum(axis=1, keepdims=True) / m,
            "dW2": d2 @ cache["A1"].T / m,
            "db2": d2.sum(axis=1, keepdims=True) / m,
        }

    def update_parameters(self, grads, learning_rate=1.2):
        for name in self.parameters:
            self.parameters[name] = self.parameters[name] - learning_rate * grads["d" + name]


class NumberForABias:
    """weights (n,) and a bias that is a number; fit with an iteration count."""

    def __init__(self):
        self.weights, self.bias = np.zeros(4), 0.0

    def predict_proba(self, X):
        return sigmoid(X @ self.weights + self.bias)

    def predict(self, X):
        return (self.predict_proba(X) > 0.5).astype(int)

    def fit(self, X, y, lr=0.1, n_iters=1000):
        for _ in range(n_iters):
            d = self.predict_proba(X) - y
            self.weights -= lr * X.T @ d / len(y)
            self.bias -= lr * d.mean()


class EverythingKept:
    """forward, loss, backward and update, each of which goes on from what the one before has kept."""

    def __init__(self, seed=0):
        self.W, self.b = rng(seed).normal(size=(4, 3)), np.zeros(3)

    def forward(self, x):
        self.x, self.probs = x, softmax(x @ self.W + self.b)
        return self.probs

    def loss(self, y_pred, y_true):
        self.t = y_true
        return -np.log(y_pred[np.arange(len(y_true)), y_true]).mean()

    def backward(self):
        d = (self.probs - np.eye(3)[self.t]) / len(self.t)
        self.dW, self.db = self.x.T @ d, d.sum(axis=0)

    def update(self, lr):
        self.W -= lr * self.dW
        self.b -= lr * self.db


class DenseWithDicts:
    def __init__(self, n, m, r):
        self.params, self.grads = {"w": r.normal(size=(n, m)) / np.sqrt(n), "b": np.zeros(m)}, {}

    def forward(self, inputs):
        self.inputs = inputs
        return inputs @ self.params["w"] + self.params["b"]

    def backward(self, grad):
        self.grads["b"], self.grads["w"] = grad.sum(axis=0), self.inputs.T @ grad
        return grad @ self.params["w"].T


class AddsUp:
    """Gradients are added to until zero_grad(), as in PyTorch; Adam's moments beside the parameters; it prints."""

    def __init__(self, seed=0):
        self.W, self.b = rng(seed).normal(size=(4, 3)), np.zeros(3)
        self.m, self.v = {"W": 0 * self.W, "b": 0 * self.b}, {"W": 0 * self.W, "b": 0 * self.b}
        self.zero_grad()

    def zero_grad(self):
        self.W_grad, self.b_grad = np.zeros((4, 3)), np.zeros(3)

    def forward(self, x):
        print("forward", x.shape)
        return softmax(x @ self.W + self.b)

    def loss(self, x, t):
        return -np.log(self.forward(x)[np.arange(len(t)), t]).mean()

    def backward(self, x, t):
        d = (self.forward(x) - np.eye(3)[t]) / len(t)
        self.W_grad += x.T @ d
        self.b_grad += d.sum(axis=0)


class Dense:
    def __init__(self, n, m, r):
        self.W, self.b = r.normal(size=(n, m)) / np.sqrt(n), np.zeros(m)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, grad):
        self.dW, self.db = self.x.T @ grad, grad.sum(axis=0)
        return grad @ self.W.T


class Rectifier:
    def forward(self, x):
        self.mask = x > 0
        return x * self.mask

    def backward(self, grad):
        return grad * self.mask


class Layers:
    """A list of layers that keep their gradients; backward(grad) from the derivative of a loss that is elsewhere."""

    def __init__(self, seed=0):
        r = rng(seed)
        self.layers = [Dense(4, 5, r), Rectifier(), Dense(5, 3, r)]

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, grad):
        for layer in reversed(self.layers):
            grad = layer.backward(grad)

    def step(self, lr):
        for layer in self.layers:
            if hasattr(layer, "W"):
                layer.W -= lr * layer.dW
                layer.b -= lr * layer.db


class LayersWithDicts(Layers):
    def __init__(self, seed=0):
        r = rng(seed)
        self.layers = [DenseWithDicts(4, 5, r), Rectifier(), DenseWithDicts(5, 3, r)]


def trainer(*layers, loss=None, lr=0.1):
    model = nn.Sequential(*layers)
    return cr.Trainer(model, loss or nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=lr))


def float64(*sizes):
    return [nn.Linear(n, m, dtype=np.float64) for n, m in pairwise(sizes)]


def subjects():
    """Subjects that offer gradients, with the targets that they want."""
    cr.manual_seed(0)
    model = nn.Sequential(*float64(4, 3))
    p = two_layers(0)
    return {
        "dict": (as_subject(DictOfParams()), T),
        "loss or scores": (as_subject(LossOrScores()), T),
        "columns in pairs": (as_subject(ColumnsInPairs()), ONE_HOT),
        "columns": (as_subject(Columns()), BINARY),
        "kept": (as_subject(EverythingKept()), T),
        "layers": (as_subject(Layers(), loss="cross-entropy"), T),
        "layers with dicts": (as_subject(LayersWithDicts(), loss="cross-entropy"), T),
        "adds up": (as_subject(AddsUp()), T),
        "layers, loss of ours": (as_subject(Layers(), loss=nn.CrossEntropyLoss()), T),
        "one sample": (as_subject(DEFECTS["6.4"].clean, parameters=p), T),
        "function": (as_subject(DEFECTS["6.3"].clean, parameters={"W": p["W1"][:, :3], "b": np.zeros(3)}), T),
        "module": (as_subject(model, nn.CrossEntropyLoss()), T),
        "trainer": (as_subject(trainer(*float64(4, 3), nn.Dropout(0.5))), T),
        "batch norm": (as_subject(trainer(*float64(4, 3), nn.BatchNorm1d(3, dtype=np.float64))), T),
    }


@pytest.mark.parametrize("name", subjects())
def test_the_gradients_that_are_found_are_those_of_the_loss_that_is_found(name, capsys):
    subject, t = subjects()[name]
    gradients = subject.gradients(X, t)
    assert set(gradients) == set(subject.parameters)
    for parameter, value in subject.parameters.items():

        def loss(changed, parameter=parameter):
            subject.set_parameters({parameter: changed})
            return subject.loss(X, t)

        assert gradients[parameter] == pytest.approx(numerical_gradient(loss, value), abs=1e-7)
        subject.set_parameters({parameter: value})
    assert capsys.readouterr().out == ""  # what somebody's code prints at every step is not let through


def models():
    """Things with outputs and a step of their own, with targets and the names of their parameters."""
    cr.manual_seed(0)
    four = ["W1", "b1", "W2", "b2"]
    return {
        "loss or scores": (LossOrScores(), T, four),
        "backward that updates": (BackwardThatUpdates(), BINARY, ["W1", "W2"]),
        "columns in pairs": (ColumnsInPairs(), ONE_HOT, ["biases[0]", "biases[1]", "weights[0]", "weights[1]"]),
        "columns": (Columns(), BINARY, four),
        "number for a bias": (NumberForABias(), BINARY[:, 0], ["weights", "bias"]),
        "kept": (EverythingKept(), T, ["W", "b"]),
        "scalar network": (DEFECTS["6.1"].clean(rng().normal(size=(4, 5)), rng(1).normal(size=(5, 3))), T, "wvbc"),
        "model": (DEFECTS["6.12"].clean(rng()), T, [f"{i}.{p}" for i in ("first", "second", "last") for p in "Wb"]),
        "adam": (DEFECTS["6.16"].clean(4, 3), T, [f"{p}{i}" for i in range(5) for p in "Wb"]),
        "trainer": (trainer(nn.Linear(4, 3)), T, ["0.weight", "0.bias"]),
    }


@pytest.mark.parametrize("name", models())
def test_parameters_outputs_loss_and_step_are_found(name):
    thing, t, parameters = models()[name]
    subject = as_subject(thing)
    assert list(subject.parameters) == list(parameters)
    outputs, before = subject.predict(X), subject.parameters
    assert len(outputs) == len(X)
    assert outputs.dtype.kind == "f"
    losses = [subject.loss(X, t)]
    assert subject.predict(X) == pytest.approx(outputs, abs=0)
    for _ in range(30):
        subject.update(X, t)
    losses.append(subject.loss(X, t))
    assert losses[1] < losses[0]
    assert all(not np.array_equal(before[name], p) for name, p in subject.parameters.items())


@pytest.mark.parametrize("name", models())
def test_a_subject_is_put_back_to_what_it_was(name):
    thing, t, _ = models()[name]
    subject = as_subject(thing)
    subject.update(X, t)
    before, outputs = subject.parameters, subject.predict(X)
    runs = []
    for _ in range(2):
        state = subject.snapshot()
        for _ in range(3):
            subject.update(X, t)
        runs.append(subject.parameters)
        subject.restore(state)
        assert all(np.array_equal(before[name], p) for name, p in subject.parameters.items())
    assert all(np.array_equal(runs[0][name], runs[1][name]) for name in before)  # momenta and generators too
    assert np.array_equal(outputs, subject.predict(X))


def test_a_trainer_is_put_back_with_its_momenta_running_statistics_and_random_numbers():
    cr.manual_seed(0)
    t = trainer(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    t.optimizer = optim.Adam(t.model.parameters())
    subject = as_subject(t)
    subject.update(X, T)
    state, runs = subject.snapshot(), []
    for _ in range(2):
        for _ in range(3):
            subject.update(X, T)
        runs.append(t.model.state_dict() | t.optimizer.state_dict())
        subject.restore(state)
    assert all(np.array_equal(runs[0][name], value) for name, value in runs[1].items())


def test_arrays_stay_the_objects_that_they_were():
    thing = EverythingKept()
    W, subject = thing.W, as_subject(thing)
    with subject.kept():
        subject.update(X, T)
        thing.b = np.ones(3)
    assert thing.W is W
    assert np.array_equal(thing.b, np.zeros(3))
    subject.set_parameters({"W": W + 1})
    assert thing.W is W


def test_a_closure_a_generator_and_what_a_class_shares_are_put_back():
    class Net:
        W = np.ones((4, 1))

        def __init__(self):
            self.rng, self.calls, self.b = rng(1), {"n": 0}, np.zeros(1)

        def forward(self, x):
            self.calls["n"] += 1
            self.noise = self.rng.normal()
            return x @ self.W + self.b

        def train(self, x, y):
            self.W -= 0.1  # changes the array of the class, for all its objects

    net = Net()
    with as_subject(net).kept():
        net.forward(X)
        net.train(X, BINARY)
    assert net.calls == {"n": 0}
    assert net.rng.normal() == rng(1).normal()
    assert np.array_equal(Net.W, np.ones((4, 1)))


def test_an_evaluation_that_learns_is_among_the_evaluations():
    subject = as_subject(DEFECTS["6.2"].defective(4, 3))
    assert set(subject.evaluations()) == {"loss", "validate"}
    before = subject.parameters
    subject.evaluations()["validate"](X, T)
    assert not np.array_equal(before["W"], subject.parameters["W"])


def test_outputs_loss_and_gradients_of_a_trainer_are_those_of_evaluation_and_modes_are_kept():
    t = trainer(nn.Linear(4, 3), nn.Dropout(0.9))
    subject = as_subject(t)
    assert subject.loss(X, T) == subject.loss(X, T)
    assert np.array_equal(subject.predict(X), subject.predict(X))
    assert t.model.training
    t.model.eval()
    subject.update(X, T)
    assert not any(layer.training for _, layer in t.model.named_modules())


def test_a_flag_for_training_is_set_while_training_only():
    class Net:
        def __init__(self):
            self.W, self.training, self.seen = np.ones((4, 1)), True, []

        def forward(self, x):
            self.seen.append(self.training)
            return x @ self.W

        def step(self, x, t, lr):
            self.W -= lr * x.T @ (self.forward(x) - t)

    net = Net()
    subject = as_subject(net)
    subject.update(X, BINARY)
    subject.predict(X)
    assert net.seen == [True, False]
    assert net.training


def test_buffers_and_caches_are_no_parameters():
    network = DEFECTS["6.1"].defective(rng().normal(size=(4, 5)), rng(1).normal(size=(5, 3)))
    subject = as_subject(network)
    subject.predict(X)
    assert list(subject.parameters) == ["w", "v", "b", "c"]
    used = EverythingKept()
    used.loss(used.forward(X), T)
    used.backward()
    assert list(as_subject(used).parameters) == ["W", "b"]


def test_it_says_what_was_recognised_and_what_was_not():
    subject = as_subject(BackwardThatUpdates())
    subject.update(X, BINARY)
    subject.loss(X, BINARY)
    said = subject.recognised()
    assert "parameters are W1, W2" in said
    assert "predict is forward" in said
    assert "update is train" in said
    assert "loss is assumed from the outputs" in said
    assert "no gradients" in said
    assert subject.loss_assumed
    assert subject.gradients(X, BINARY) is None
    assert not subject.offers("gradients")


def test_what_there_is_no_way_to_do_is_said_in_a_sentence():
    subject = as_subject(DictOfParams())
    with pytest.raises(ChainruleError, match=r"DictOfParams: there is no way to make a step: no method"):
        subject.update(X, T)
    function = as_subject(DEFECTS["6.3"].clean, parameters={"W": np.zeros((4, 3)), "b": np.zeros(3)})
    with pytest.raises(ChainruleError, match="keeps its outputs to itself"):
        function.predict(X)
    with pytest.raises(ChainruleError, match="without an optimizer"):
        as_subject(nn.Linear(4, 3), nn.CrossEntropyLoss()).update(X, T)


@pytest.mark.parametrize("thing", [object(), DEFECTS["6.13"].clean(), lambda a: a, 3.0, [1, 2]])
def test_what_is_no_model_is_refused_with_what_is_expected(thing):
    with pytest.raises(ChainruleError, match=r"not recognised as a model\. Found: parameters: none.*Expected: arrays"):
        as_subject(thing)


def test_a_class_instead_of_an_object_and_a_missing_loss_are_refused():
    with pytest.raises(ChainruleError, match="expected an object of it"):
        as_subject(DictOfParams)
    with pytest.raises(ChainruleError, match="CrossEntropyLoss"):
        as_subject(nn.Linear(4, 3))
    with pytest.raises(ChainruleError, match="no loss 'crossentropy'"):
        as_subject(DictOfParams(), loss="crossentropy")


def test_parameters_of_other_names_or_shapes_are_refused():
    subject = as_subject(DictOfParams())
    with pytest.raises(UnknownNameError, match="'W3'"):
        subject.set_parameters({"W3": np.zeros(3)})
    with pytest.raises(ShapeError, match="'W1'"):
        subject.set_parameters({"W1": np.zeros(3)})
