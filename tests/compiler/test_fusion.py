"""Fused programs and plans compute what eager mode does: any network, optimiser, loss and data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compiler.trainings import OPTIMIZERS, agree, digits, network

from chainrule import data, nn, optim

pytest.importorskip("numba")

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
D = "float64"
TRAIN = digits(95)  # batches of 10: the last one is shorter, and ten epochs are 100 steps


def narrow(sizes):
    """A network of these sizes on the columns that it takes."""
    return data.Dataset(TRAIN.inputs[:, : sizes[0]], TRAIN.targets % sizes[-1], scale=1 / 255, classes=sizes[-1])


# ---- what the reports train ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["sum", "mean_entries"])
def test_vu_a1(reduction):
    make, train = (lambda: network([2, 3, 2], nn.Sigmoid)), narrow([2, 2])
    agree(make, train, loss=nn.CrossEntropyLoss(reduction), batch_size=1, optimizer=lambda p: optim.SGD(p, lr=0.01))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ucsd_ece285(dtype):
    agree(lambda: network([40, 64, 10], nn.ReLU, dtype), TRAIN, TOLERANCE[dtype], epochs=10)


@pytest.mark.parametrize("how", ["momentum", "schedule"])
def test_vu_a2(how):
    optimizer = lambda p: optim.SGD(p, lr=0.003, momentum=0.9 if how == "momentum" else 0.0)  # noqa: E731
    schedule = optim.Step(every=4, factor=0.5) if how == "schedule" else None
    make = lambda: network([40, 9, 6, 4], nn.Sigmoid)  # noqa: E731
    agree(make, TRAIN, loss=nn.CrossEntropyLoss("sum"), optimizer=optimizer, schedule=schedule, epochs=10)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_usc_ee541(activation):
    schedule = optim.MultiStep([3, 6], factor=0.5)
    optimizer = lambda p: optim.SGD(p, lr=0.003)  # noqa: E731
    make = lambda: network([40, 12, 7, 4], activation)  # noqa: E731
    agree(make, TRAIN, loss=nn.CrossEntropyLoss("sum"), optimizer=optimizer, schedule=schedule, epochs=10)


def test_ntnu_tdt4265():
    layers = lambda: (nn.AppendOne(), nn.Linear(41, 12, bias=False), nn.LeCunTanh(), nn.Linear(12, 4, bias=False))  # noqa: E731
    optimizer = lambda p: optim.SGD(p, lr=0.02, momentum=0.9)  # noqa: E731
    agree(lambda: nn.Sequential(*layers()), digits(95, shift=-0.5), 1e-4, optimizer=optimizer, epochs=10)


# ---- optimisers, layers, losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser(optimizer):
    agree(lambda: network([40, 6, 4]), TRAIN, optimizer=optimizer, epochs=10)


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_optimisers_in_single_precision(optimizer):
    agree(lambda: network([40, 6, 4], dtype="float32"), TRAIN, 1e-4, optimizer=optimizer, epochs=10)


LAYERS = {
    "pieces of lines": lambda: [nn.LeakyReLU(0.1), nn.Linear(9, 5, dtype=D), nn.ELU()],
    "smooth": lambda: [nn.GELU(), nn.Linear(9, 5, dtype=D), nn.SiLU()],
    "dropout": lambda: [nn.Softplus(), nn.Dropout(0.3), nn.Linear(9, 5, dtype=D), nn.Dropout(0.1)],
    "norms": lambda: [nn.BatchNorm1d(9, dtype=D), nn.Linear(9, 5, dtype=D), nn.LayerNorm(5, dtype=D)],
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name):
    first, last = (lambda: nn.Linear(40, 9, dtype=D)), (lambda: nn.Linear(5, 4, dtype=D))
    agree(lambda: nn.Sequential(first(), *LAYERS[name](), last()), TRAIN, epochs=10)


class Shared(nn.Module):
    """One layer used twice, and a weight that is used transposed."""

    def __init__(self):
        self.first, self.between = nn.Linear(40, 6, dtype=D), nn.Linear(6, 6, dtype=D)

    def forward(self, x):
        h = np.tanh(self.between(np.tanh(self.first(x))))
        return (np.tanh(self.between(h)) + h) @ self.first.weight.T


def test_shared_parameters_and_an_autoencoder():
    agree(Shared, data.Dataset(TRAIN.inputs, TRAIN.inputs / 255, scale=1 / 255), loss=nn.MSELoss())


LOSSES = {
    "weights": nn.CrossEntropyLoss(class_weights=[1.0, 2.0, 0.5, 3.0]),
    "smoothing": nn.CrossEntropyLoss(label_smoothing=0.1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_labels(name):
    agree(lambda: network([40, 4]), TRAIN, loss=LOSSES[name])


ENTRIES = {
    "squares": nn.MSELoss(),
    "huber": nn.HuberLoss(delta=0.3),
    "binary": nn.BCEWithLogitsLoss(),
    "one-hot": nn.CrossEntropyLoss(),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_loss_of_entries(name):
    targets = np.eye(4, dtype=np.uint8 if name == "squares" else "float32")[TRAIN.targets]
    agree(lambda: network([40, 4]), data.Dataset(TRAIN.inputs, targets, scale=1 / 255), loss=ENTRIES[name])


@pytest.mark.parametrize("options", [{"clip_norm": 0.1}, {"clip_value": 0.01}])
def test_clipping(options):
    agree(lambda: network([40, 4]), TRAIN, **options)


# ---- sizes and data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[1, 2], [1, 1, 3], [40, 5, 1, 6, 4], [33, 17, 2]])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_layers_of_any_width(sizes, batch_size):
    agree(lambda: network(sizes, nn.Sigmoid), narrow(sizes), batch_size=batch_size)


# Each is one source, or two where small batches have another; everything else varies.
PROGRAMS = {
    "sparse": (lambda: network([40, 12, 4], dtype="float32"), "momentum", True, np.uint8, 0.0, 1e-4),
    "shifted": (lambda: network([40, 12, 4]), "sgd", True, np.uint8, -0.3, 1e-10),
    "dense": (lambda: network([40, 4], nn.ReLU), "adam", False, np.float64, 0.2, 1e-10),
    "rounded": (lambda: network([40, 1, 4], nn.ReLU, "float32"), "sgd", False, np.float32, 0.0, 1e-4),
}


@given(
    name=st.sampled_from(list(PROGRAMS)),
    rows=st.integers(1, 120),
    batch_size=st.one_of(st.none(), st.integers(1, 130)),
    shuffle=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_any_numbers_of_rows(name, rows, batch_size, shuffle):
    make, optimizer, sparse, dtype, shift, tolerance = PROGRAMS[name]
    drawn = digits(rows, sparse=sparse)
    train = data.Dataset(drawn.inputs.astype(dtype), drawn.targets, scale=1 / 255, shift=shift, classes=4)
    steps = -(-rows // (batch_size or rows))
    epochs = max(1, min(10, 100 // steps))
    agree(make, train, tolerance, optimizer=optimizer, batch_size=batch_size, epochs=epochs, shuffle=shuffle)


def test_a_batch_in_tiles():
    train = digits(5000)
    between = [lambda: nn.Dropout(0.3)]
    agree(lambda: network([40, 12, 4], nn.ReLU, between=between), train, batch_size=None, epochs=5)


def strided(a):
    """The same rows, not one after the other in memory, and not to be written to."""
    wide = np.repeat(a, 2, axis=0)
    wide.flags.writeable = False
    return wide[::2]


DATA = {
    "labels of a byte": lambda u, t: data.Dataset(u, t.astype(np.uint8), scale=1 / 255, classes=4),
    "strided": lambda u, t: data.Dataset(strided(u), strided(t), scale=1 / 255, classes=4),
    "strided and dense": lambda u, t: data.Dataset(strided(u | 1), strided(t), scale=1 / 255, classes=4),
    "signed": lambda u, t: data.Dataset((u > 0) * np.int8(-3), t, scale=0.1, classes=4),
    "bools": lambda u, t: data.Dataset(u == 0, t, scale=2, shift=-1, classes=4),
    "integers": lambda u, t: data.Dataset(u.astype(np.int64), t.astype(np.int32), scale=1 / 255, classes=4),
    "large numbers": lambda u, t: data.Dataset(u / 255 + 1.7e9, t, shift=-1.7e9, classes=4),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_of_every_kind(kind):
    agree(lambda: network([40, 4], dtype="float32"), DATA[kind](TRAIN.inputs, TRAIN.targets), 1e-4)


def test_images():
    train = data.Dataset(TRAIN.inputs.reshape(95, 2, 5, 4), TRAIN.targets, scale=1 / 255, classes=4)
    agree(lambda: nn.Sequential(nn.Flatten(), nn.Linear(40, 4, dtype=D)), train)
