"""A loss that is no longer a number: epoch, batch, layer, op, and what to do; never a warning, never silence."""

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.errors import DivergenceError


def points(n=30):
    x = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    return data.arrays(x, (x[:, 0] > 0).astype(int))


def values(n=30):
    dataset = points(n)
    return data.arrays(dataset.inputs, dataset.inputs[:, :1] * 2)


def fit(model, dataset, loss, lr=0.1, **options):
    trainer = cr.Trainer(model, loss=loss, optimizer=optim.SGD(model.parameters(), lr=lr))
    with pytest.raises(DivergenceError) as caught:
        trainer.fit(dataset, shuffle=False, **{"epochs": 3, "batch_size": 10, **options})
    message = str(caught.value)
    assert "\n" not in message
    return message


def network(out):
    r = np.random.default_rng(0)
    return nn.Sequential(nn.Linear(4, 5, rng=r), nn.ReLU(), nn.Linear(5, out, rng=r))


def test_a_learning_rate_that_is_far_too_large():
    message = fit(network(1), values(), nn.MSELoss(), lr=1e15)
    assert re.search(r"^The loss is (inf|nan) at epoch 1, batch [23]: ", message)
    assert re.search(r"a smaller learning rate than 1(e\+15|0{15}\.0) or scaled inputs may help", message)
    assert re.search(r"(layer \d = |in MSELoss)", message)
    assert re.search(r"(matmul|add|power|multiply|mean) of \(", message)


def test_a_learning_rate_that_makes_the_parameters_infinite():
    message = fit(network(1), values(), nn.MSELoss(), lr=1e38)
    assert re.search(r"at epoch 1, batch 2: the parameter '\d\.(weight|bias)' is no longer finite", message)
    assert "the step before was too large; take a smaller learning rate than 1e+38" in message


def test_a_last_step_that_diverges_is_no_success():
    message = fit(network(1), values(), nn.MSELoss(), lr=1e15, epochs=1, batch_size=None)
    assert re.search(r"^The loss is (inf|nan) at the end of epoch 1: ", message)


def test_the_logarithm_of_a_negative_names_the_layer_and_the_op():
    class Log(nn.Module):
        def forward(self, x):
            return np.log(x)

    message = fit(nn.Sequential(nn.Linear(4, 2), Log()), points(), nn.CrossEntropyLoss())
    assert re.search(r"^The loss is nan at epoch 1, batch 1: layer 1 = Log\(\): log of \(10, 2\) gives NaN", message)


def test_infinity_in_the_inputs_is_traced_back_to_them():
    dataset = points()
    dataset.inputs[12, 1] = np.inf
    message = fit(network(2), data.Dataset(dataset.inputs, dataset.targets, classes=2), nn.CrossEntropyLoss())
    assert "at epoch 1, batch 2: layer 0 = Linear(4, 5): matmul of (10, 4) and (4, 5) gives" in message
    assert "because an input is not finite already" in message


def test_a_gradient_that_is_infinite_is_not_blamed_on_the_learning_rate():
    class Root(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(np.zeros((4, 1), np.float32))

        def forward(self, x):
            return np.sqrt(abs(x @ self.w))

    message = fit(Root(), values(), nn.MSELoss())
    assert "the parameter 'w' is no longer finite, because its gradient was not finite" in message


def test_a_later_epoch_is_counted():
    class Fuse(nn.Module):
        def __init__(self):
            self.layer, self.calls = nn.Linear(4, 2), 0

        def forward(self, x):
            self.calls += self.training
            return np.log(self.layer(x) * 0 - 1.0) if self.calls > 4 else self.layer(x)

    assert "at epoch 2, batch 2: Fuse" in fit(Fuse(), points(), nn.CrossEntropyLoss())


def test_a_step_by_hand_raises_too():
    model = network(2)
    trainer = cr.Trainer(model, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(DivergenceError, match="The loss is nan at this step"):
        trainer.step(np.full((3, 4), np.nan, np.float32), np.array([0, 1, 1]))
