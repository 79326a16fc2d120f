"""Fused programs compute what the interpreter does: every network of the reports, every optimiser, any batch size."""

from itertools import pairwise

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim

pytest.importorskip("numba")

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: optim.RMSprop(p, lr=1e-3),
    "rmsprop, all options": lambda p: optim.RMSprop(p, lr=1e-3, momentum=0.5, centered=True, weight_decay=1e-3),
    "adam": lambda p: optim.Adam(p, lr=1e-3),
    "amsgrad": lambda p: optim.Adam(p, lr=1e-3, amsgrad=True, weight_decay=1e-3),
    "adamw": lambda p: optim.AdamW(p, lr=1e-3),
}


def digits(n, width, dtype, sparse=True, shift=0.0):
    """Images that are mostly zero, or not, with labels that can be learnt."""
    rng = np.random.default_rng(5)
    u = rng.integers(1, 256, (n, width)).astype(np.uint8)
    if sparse:
        u[rng.random(u.shape) < 0.8] = 0
    t = (u[:, :5].astype(int).sum(axis=1) + rng.integers(0, 3, n)) % 4
    return data.Dataset(u, t, scale=1 / 255, shift=shift, classes=4)


def network(sizes, activation, dtype, between=()):
    layers = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b, dtype=dtype), activation(), *(make() for make in between)]
    return nn.Sequential(*layers[: -1 - len(between)])


def trained(backend, make, train, *, optimizer=OPTIMIZERS["sgd"], loss=None, epochs=2, batch_size=10, **options):
    cr.manual_seed(7)
    model = make()
    trainer = cr.Trainer(
        model, loss or nn.CrossEntropyLoss(), optimizer(model.parameters()), backend=backend, **options
    )
    history = trainer.fit(train, epochs=epochs, batch_size=batch_size, progress=False)
    return trainer, np.array(history.train_loss), model


def agree(make, train, tolerance, **options):
    reference, losses, model = trained("eager", make, train, **options)
    x = train.features(dtype=model.dtype)
    for backend in ("numpy", "numba"):
        trainer, found, other = trained(backend, make, train, **options)
        assert trainer.backend == backend
        np.testing.assert_allclose(found, losses, rtol=tolerance)
        np.testing.assert_allclose(other.predict(x), model.predict(x), rtol=tolerance, atol=tolerance)
        kept, state = reference.optimizer.state_dict(), trainer.optimizer.state_dict()
        assert kept.keys() == state.keys()
        for name, array in kept.items():
            np.testing.assert_allclose(state[name], array, rtol=100 * tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser(optimizer, dtype):
    train = digits(95, 40, dtype)  # the last batch is shorter
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    agree(lambda: network([40, 16, 8, 4], nn.Tanh, dtype), train, tolerance, optimizer=OPTIMIZERS[optimizer], epochs=10)


NETWORKS = {
    "vu-a1 2-3-2": lambda d: network([40, 3, 4], nn.Sigmoid, d),
    "one layer": lambda d: network([40, 4], nn.ReLU, d),
    "relu": lambda d: network([40, 12, 4], nn.ReLU, d),
    "leaky": lambda d: network([40, 12, 9, 4], lambda: nn.LeakyReLU(0.1), d),
    "elu": lambda d: network([40, 12, 4], nn.ELU, d),
    "gelu": lambda d: network([40, 12, 4], nn.GELU, d),
    "silu": lambda d: network([40, 12, 4], nn.SiLU, d),
    "softplus": lambda d: network([40, 12, 4], nn.Softplus, d),
    "lecun": lambda d: network([40, 12, 4], nn.LeCunTanh, d),
    "dropout": lambda d: network([40, 24, 12, 4], nn.ReLU, d, between=[lambda: nn.Dropout(0.3)]),
    "layer norm": lambda d: nn.Sequential(
        nn.Linear(40, 12, dtype=d), nn.LayerNorm(12, dtype=d), nn.Tanh(), nn.Linear(12, 4, dtype=d)
    ),
    "batch norm": lambda d: nn.Sequential(
        nn.Linear(40, 12, dtype=d), nn.BatchNorm1d(12, dtype=d), nn.ReLU(), nn.Linear(12, 4, dtype=d)
    ),
    "bias trick": lambda d: nn.Sequential(
        nn.AppendOne(), nn.Linear(41, 12, bias=False, dtype=d), nn.Tanh(), nn.Linear(12, 4, dtype=d)
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network(name):
    agree(lambda: NETWORKS[name]("float64"), digits(95, 40, "float64"), 1e-10, epochs=10)


LOSSES = {
    "sum": nn.CrossEntropyLoss("sum"),
    "entries": nn.CrossEntropyLoss("mean_entries"),
    "weights": nn.CrossEntropyLoss(class_weights=[1.0, 2.0, 0.5, 3.0]),
    "smoothing": nn.CrossEntropyLoss(label_smoothing=0.1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_labels(name):
    train = digits(95, 40, "float64")
    lr = OPTIMIZERS["sgd"] if name != "sum" else lambda p: optim.SGD(p, lr=0.01)
    agree(lambda: network([40, 12, 4], nn.Tanh, "float64"), train, 1e-10, loss=LOSSES[name], optimizer=lr)


ENTRIES = {
    "squares": nn.MSELoss(),
    "huber": nn.HuberLoss(delta=0.3),
    "binary": nn.BCEWithLogitsLoss(),
    "one-hot": nn.CrossEntropyLoss(),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_loss_of_entries(name):
    labels = digits(95, 40, "float64")
    train = data.Dataset(labels.inputs, np.eye(4)[labels.targets], scale=1 / 255)
    agree(lambda: network([40, 12, 4], nn.Tanh, "float64"), train, 1e-10, loss=ENTRIES[name])


@pytest.mark.parametrize("options", [{"clip_norm": 0.1}, {"clip_value": 0.01}, {"schedule": optim.Cosine(epochs=2)}])
def test_clipping_and_schedules(options):
    agree(lambda: network([40, 12, 4], nn.Tanh, "float64"), digits(95, 40, "float64"), 1e-10, **options)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 94, 95, None])
def test_every_batch_size(batch_size):
    make = lambda: network([40, 12, 4], nn.Sigmoid, "float64")  # noqa: E731
    agree(make, digits(95, 40, "float64"), 1e-10, batch_size=batch_size)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("shift", [0.0, -0.5])
def test_zeros_and_scalings(sparse, shift):
    train = digits(95, 40, "float64", sparse=sparse, shift=shift)
    agree(lambda: network([40, 12, 4], nn.Sigmoid, "float64"), train, 1e-10)


def test_a_batch_in_tiles():
    train = digits(5000, 40, "float64")
    for name in ("relu", "dropout"):
        agree(lambda: NETWORKS[name]("float64"), train, 1e-10, batch_size=None, epochs=5)  # noqa: B023
