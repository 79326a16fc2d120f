"""Optimisers, clipping and schedules against PyTorch: 100 steps in float64, loss and parameters to 1e-10."""

from itertools import pairwise

import numpy as np
import pytest

from chainrule import nn, optim

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

STEPS = 100
SIZES = (5, 8, 3)

OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 1e-3, "alpha": 0.9, "eps": 1e-4}),
    ("RMSprop", {"momentum": 0.9, "lr": 1e-3}),
    ("RMSprop", {"centered": True, "lr": 1e-3}),
    ("RMSprop", {"weight_decay": 0.1}),
    ("RMSprop", {"weight_decay": 0.1, "momentum": 0.5, "centered": True, "lr": 1e-3}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.99), "eps": 1e-5}),
    ("Adam", {"weight_decay": 0.1}),
    ("Adam", {"amsgrad": True, "lr": 0.05}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "betas": (0.8, 0.99), "weight_decay": 0.2}),
    ("AdamW", {"weight_decay": 0.0}),
    ("AdamW", {"amsgrad": True, "lr": 0.05}),
]


def batch():
    rng = np.random.default_rng(1)
    return rng.normal(size=(20, SIZES[0])), rng.integers(0, SIZES[-1], 20)


class Ours:
    """A small network of ours with an optimiser."""

    def __init__(self, name, options):
        rng = np.random.default_rng(0)
        layers = [nn.Linear(n, m, dtype=np.float64, rng=rng) for n, m in pairwise(SIZES)]
        self.model = nn.Sequential(layers[0], nn.Tanh(), layers[1])
        self.optimizer = getattr(optim, name)(self.model.parameters(), **options)
        self.x, self.t = batch()

    def step(self, lr=None, clip=None):
        if lr is not None:
            self.optimizer.lr = lr
        self.optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(self.model(self.x), self.t)
        loss.backward()
        total = clip(self.optimizer.parameters) if clip else None
        self.optimizer.step()
        return loss.item(), total

    def arrays(self):
        return [p.value for p in self.model.parameters()]

    def outputs(self):
        return self.model.predict(self.x)


class Theirs:
    """The same network of PyTorch's, beginning with the same numbers."""

    def __init__(self, name, options, ours):
        W1, b1, W2, b2 = (torch.tensor(a, requires_grad=True) for a in ours.arrays())
        self.parameters = [W1, b1, W2, b2]
        self.optimizer = getattr(torch.optim, name)(self.parameters, **options)
        x, t = batch()
        self.x, self.t = torch.tensor(x), torch.tensor(t)

    def step(self, clip=None):
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self(), self.t)
        loss.backward()
        total = clip(self.parameters) if clip else None
        self.optimizer.step()
        return loss.item(), total

    def __call__(self):
        W1, b1, W2, b2 = self.parameters
        return torch.tanh(self.x @ W1 + b1) @ W2 + b2

    def arrays(self):
        return [p.detach().numpy() for p in self.parameters]

    def outputs(self):
        return self().detach().numpy()


def agree(ours, theirs):
    for a, b in zip(ours.arrays(), theirs.arrays(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=[f"{n} {o}" for n, o in OPTIMIZERS])
def test_an_optimiser(name, options):
    ours = Ours(name, options)
    theirs = Theirs(name, options, ours)
    first = None
    for _ in range(STEPS):
        loss, expected = ours.step()[0], theirs.step()[0]
        first = first or loss
        assert loss == pytest.approx(expected, abs=1e-10)
    agree(ours, theirs)
    assert loss < first  # something was learnt


@pytest.mark.parametrize("name", ["RMSprop", "Adam", "AdamW"])
def test_the_defaults(name):
    """Each argument that PyTorch has too has the same default, in the same place."""
    from inspect import signature

    ours = [(n, p.default) for n, p in signature(getattr(optim, name)).parameters.items()][1:]
    theirs = dict([(n, p.default) for n, p in signature(getattr(torch.optim, name)).parameters.items()][1:])
    assert ours == [(n, theirs[n]) for n in theirs if n in dict(ours)]


@pytest.mark.parametrize("limit", [0.05, 0.5, 100.0])
def test_clipping_by_norm(limit):
    ours = Ours("SGD", {"lr": 0.1, "momentum": 0.9})
    theirs = Theirs("SGD", {"lr": 0.1, "momentum": 0.9}, ours)
    for _ in range(STEPS):
        loss, norm = ours.step(clip=lambda ps: optim.clip_norm(ps, limit))
        expected, total = theirs.step(clip=lambda ps: torch.nn.utils.clip_grad_norm_(ps, limit))
        assert (loss, norm) == (pytest.approx(expected, abs=1e-10), pytest.approx(total.item(), abs=1e-10))
    agree(ours, theirs)


def test_clipping_by_value():
    ours = Ours("SGD", {"lr": 0.1})
    theirs = Theirs("SGD", {"lr": 0.1}, ours)
    for _ in range(STEPS):
        loss, _ = ours.step(clip=lambda ps: optim.clip_value(ps, 0.02))
        expected, _ = theirs.step(clip=lambda ps: torch.nn.utils.clip_grad_value_(ps, 0.02))
        assert loss == pytest.approx(expected, abs=1e-10)
    agree(ours, theirs)


def warm_up_then(optimizer, epochs, start, then):
    s = torch.optim.lr_scheduler
    first = s.LinearLR(optimizer, start_factor=start, total_iters=epochs)
    return s.SequentialLR(optimizer, [first, then(optimizer)], milestones=[epochs])


SCHEDULES = {
    "constant": (optim.Constant(), lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1)),
    "step": (optim.Step(30, factor=0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 30, gamma=0.5)),
    "step by default": (optim.Step(40), lambda o: torch.optim.lr_scheduler.StepLR(o, 40)),
    "multi-step": (
        optim.MultiStep([20, 40, 41], factor=0.5),
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [20, 40, 41], gamma=0.5),
    ),
    "cosine": (optim.Cosine(STEPS), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS)),
    "cosine to a minimum": (
        optim.Cosine(STEPS, minimum=0.03),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.03),
    ),
    "warm-up": (optim.WarmUp(5), lambda o: torch.optim.lr_scheduler.LinearLR(o, total_iters=5)),
    "warm-up, then cosine": (
        optim.WarmUp(10, start=0.1, then=optim.Cosine(90)),
        lambda o: warm_up_then(o, 10, 0.1, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 90)),
    ),
    "warm-up, then multi-step": (
        optim.WarmUp(10, start=0.1, then=optim.MultiStep([20, 50])),
        lambda o: warm_up_then(o, 10, 0.1, lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [20, 50])),
    ),
}


@pytest.mark.parametrize(("schedule", "theirs"), SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule(schedule, theirs):
    base = 0.4
    ours, other = Ours("SGD", {"lr": base}), None
    other = Theirs("SGD", {"lr": base}, ours)
    scheduler = theirs(other.optimizer)
    for epoch in range(1, STEPS + 1):
        rate = schedule(epoch, base)
        assert rate == pytest.approx(other.optimizer.param_groups[0]["lr"], abs=1e-12)
        assert ours.step(lr=rate)[0] == pytest.approx(other.step()[0], abs=1e-10)
        scheduler.step()
    agree(ours, other)


@pytest.mark.parametrize(
    ("mode", "patience", "min_delta", "minimum"), [("min", 1, 0, 0), ("min", 4, 0.05, 1e-3), ("max", 3, 0.02, 0)]
)
def test_reduce_on_plateau(mode, patience, min_delta, minimum):
    """PyTorch waits for one score more than its patience says."""
    schedule = optim.ReduceOnPlateau(
        "score", factor=0.5, patience=patience, min_delta=min_delta, minimum=minimum, mode=mode
    )
    ours = Ours("SGD", {"lr": 0.4})
    theirs = Theirs("SGD", {"lr": 0.4}, ours)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        theirs.optimizer, mode, 0.5, patience - 1, threshold=min_delta, threshold_mode="abs", min_lr=minimum, eps=0
    )
    rng = np.random.default_rng(patience)
    trend = np.linspace(0, -1 if mode == "min" else 1, STEPS)
    scores = [float(s) for s in trend + 0.2 * rng.normal(size=STEPS)]
    for epoch in range(1, STEPS + 1):
        rate = schedule(epoch, 0.4, scores[: epoch - 1])
        assert rate == pytest.approx(theirs.optimizer.param_groups[0]["lr"], abs=1e-12)
        assert ours.step(lr=rate)[0] == pytest.approx(theirs.step()[0], abs=1e-10)
        np.testing.assert_allclose(ours.outputs(), theirs.outputs(), rtol=0, atol=1e-10)
        scheduler.step(scores[epoch - 1])
    assert rate < 0.4 / 8
    agree(ours, theirs)
