"""Fused programs compute what the interpreter does: every network of the reports, every optimiser, any batch size."""

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
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b, dtype=dtype), activation(), *(make() for make in between)]
    return nn.Sequential(*layers[: -1 - len(between)])


def trained(backend, make, train, *, optimizer=OPTIMIZERS["sgd"], loss=None, epochs=2, batch_size=10, **options):
    cr.manual_seed(7)
    model = make()
    trainer = cr.Trainer(model, loss or nn.CrossEntropyLoss(), optimizer(model.parameters()), backend=backend, **options)
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
    agree(
        lambda: network([40, 16, 8, 4], nn.Tanh, dtype), train, tolerance, optimizer=OPTIMIZERS[optimizer], epochs=10
    )
