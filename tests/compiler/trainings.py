"""Small data sets and networks, trained by one backend or another: for the tests of compiled training."""

from itertools import pairwise

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim

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


def digits(n, width=40, sparse=True, scale=1 / 255, shift=0.0):
    """Images that are mostly zero, or not, with labels that can be learnt."""
    rng = np.random.default_rng(5)
    u = rng.integers(1, 256, (n, width)).astype(np.uint8)
    if sparse:
        u[rng.random(u.shape) < 0.8] = 0
    t = (u[:, :5].astype(int).sum(axis=1) + rng.integers(0, 3, n)) % 4
    return data.Dataset(u, t, scale=scale, shift=shift, classes=4)


def network(sizes, activation=nn.Tanh, dtype="float64", between=()):
    """Linear layers, with an activation and what else is wanted after all but the last."""
    layers = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b, dtype=dtype), activation(), *(make() for make in between)]
    return nn.Sequential(*layers[: -1 - len(between)])


def trained(backend, make, train, *, optimizer="sgd", loss=None, epochs=2, batch_size=10, shuffle=True, **options):
    """The trainer after a fit from a fixed seed, in which no scores are taken: those have programs of their own."""
    cr.manual_seed(7)
    model = make()
    chosen = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    trainer = cr.Trainer(model, loss or nn.CrossEntropyLoss(), chosen(model.parameters()), backend=backend, **options)
    trainer.fit(train, epochs=epochs, batch_size=batch_size, shuffle=shuffle, evaluate_every=None, progress=False)
    return trainer


def agree(make, train, tolerance=1e-10, backends=("numpy", "numba"), **options):
    """Train in eager mode and by other backends, and compare losses, predictions and the optimiser's memory."""
    reference = trained("eager", make, train, **options)
    for backend in backends:
        found = trained(backend, make, train, **options)
        assert found.backend == backend
        compare(found, reference, train, tolerance)


def compare(found, reference, train, tolerance):
    """Losses, predictions, parameters, statistics, and the optimiser's memory."""
    (loss, outputs), (expected, wanted) = (_results(trainer, train) for trainer in (found, reference))
    np.testing.assert_allclose(loss, expected, rtol=tolerance)
    np.testing.assert_allclose(outputs, wanted, rtol=tolerance, atol=tolerance)
    close(found.model.state_dict(), reference.model.state_dict(), tolerance)
    close(found.optimizer.state_dict(), reference.optimizer.state_dict(), tolerance)


def close(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=100 * tolerance, atol=tolerance, err_msg=name)


def _results(trainer, train):
    """The loss and the outputs of a trained model, computed in eager mode."""
    judge = cr.Trainer(trainer.model, trainer.loss, trainer.optimizer, backend="eager")
    return judge.evaluate(train).loss, trainer.model.predict(train.features(dtype=trainer.model.dtype), backend="eager")


BACKENDS = ["eager", "numpy", "numba"]
TRAIN = digits(95)


def small():
    return network([40, 4])
