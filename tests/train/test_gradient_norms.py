"""Gradient norms by layer."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.errors import ChainruleError
from chainrule.train import Callback, GradientNorms


def dataset(n=20):
    x = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    return data.arrays(x, (x[:, 0] > 0).astype(np.int64))


class Gradients(Callback):
    def __init__(self):
        self.seen = []

    def on_batch_end(self, trainer, epoch, batch, loss):
        self.seen.append({name: p.grad.copy() for name, p in trainer.model.named_parameters()})


def fit(model, *callbacks, epochs=2, **options):
    trainer = cr.Trainer(
        model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), callbacks=callbacks, **options
    )
    trainer.fit(dataset(), epochs=epochs, batch_size=10, progress=False)
    return trainer


def test_they_are_the_means_over_an_epochs_batches_by_name():
    norms, gradients = GradientNorms(), Gradients()
    fit(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), norms, gradients)
    assert list(norms.norms) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    for name, values in norms.norms.items():
        each = [np.linalg.norm(g[name]) for g in gradients.seen]
        np.testing.assert_allclose(values, [np.mean(each[:2]), np.mean(each[2:])], rtol=1e-5)


def test_a_further_fit_goes_on():
    norms = GradientNorms()
    trainer = fit(nn.Linear(3, 2), norms)
    trainer.fit(dataset(), epochs=3, progress=False)
    assert [len(values) for values in norms.norms.values()] == [5, 5]


def test_they_are_those_after_clipping():
    norms = GradientNorms()
    fit(nn.Linear(3, 2), norms, clip_norm=1e-3)
    total = np.hypot(norms.norms["weight"], norms.norms["bias"])
    assert (total <= 1e-3).all()
    assert (total > 0.9e-3).all()


def test_a_gradient_that_vanishes_below_float32s_squares_is_still_measured():
    """Twelve saturating layers with small weights: the first layer's gradient is tiny, and its square underflows."""
    layers = []
    for _ in range(12):
        layers += [nn.Linear(3, 3, weight_init=nn.init.normal(1e-2)), nn.Sigmoid()]
    norms = GradientNorms()
    fit(nn.Sequential(*layers, nn.Linear(3, 2)), norms, epochs=1)
    assert 0 < norms.norms["0.weight"][0] < 1e-22
    assert norms.norms["24.weight"][0] > 1e-2


def test_parameters_that_the_optimiser_does_not_have_are_left_out():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    norms = GradientNorms()
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model[2].parameters(), lr=0.1), callbacks=[norms])
    trainer.fit(dataset(), epochs=1, progress=False)
    assert list(norms.norms) == ["2.weight", "2.bias"]


def test_an_epoch_that_was_cut_short_leaves_nothing_behind():
    class Broken(Callback):
        broken = True

        def on_batch_end(self, trainer, epoch, batch, loss):
            if self.broken:
                raise ChainruleError("enough")

    norms, broken, gradients = GradientNorms(), Broken(), Gradients()
    model = nn.Linear(3, 2)
    trainer = cr.Trainer(
        model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), callbacks=[norms, broken, gradients]
    )
    with pytest.raises(ChainruleError, match="enough"):
        trainer.fit(dataset(), epochs=1, batch_size=10, progress=False)
    broken.broken = False
    trainer.fit(dataset(), epochs=1, batch_size=10, progress=False)
    expected = np.mean([np.linalg.norm(g["weight"]) for g in gradients.seen])
    assert norms.norms["weight"] == [pytest.approx(expected, rel=1e-5)]
