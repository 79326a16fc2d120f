"""What all optimisers share: which parameters they take, their state, and what they refuse."""

import inspect

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ChainruleError

OPTIMIZERS = {
    f"{cls.__name__} {options}": (cls, options)
    for cls in vars(optim).values()
    if inspect.isclass(cls) and issubclass(cls, optim.Optimizer) and cls is not optim.Optimizer
    for options in ({}, {"momentum": 0.9})
    if set(options) <= set(inspect.signature(cls).parameters)
}
every = pytest.mark.parametrize(("cls", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS)


def tensors(dtype=np.float64):
    return [
        cr.tensor(np.arange(1, 4, dtype=dtype), requires_grad=True),
        cr.tensor(np.ones((2, 2), dtype), requires_grad=True),
    ]


def steps(optimizer, count, start=0):
    for k in range(start, start + count):
        for i, p in enumerate(optimizer.parameters):
            p.grad = np.cos(np.arange(p.size).reshape(p.shape) + i + k).astype(p.dtype)
        optimizer.step()


@every
def test_a_step_goes_against_the_gradient(cls, options):
    (p, _) = parameters = tensors()
    optimizer = cls(parameters, lr=0.01, **options)
    p.grad = np.array([1.0, -1.0, 2.0])
    before = p.value.copy()
    optimizer.step()
    assert (np.sign(before - p.value) == [1, -1, 1]).all()


@every
def test_parameters_without_a_gradient_stay(cls, options):
    p, q = tensors()
    optimizer = cls([p, q], lr=0.1, **options)
    p.grad = np.ones(3)
    optimizer.step()
    np.testing.assert_array_equal(q.value, np.ones((2, 2)))


@every
def test_gradients_are_left_as_they_were_and_zero_grad_forgets_them(cls, options):
    (p, q) = parameters = tensors()
    optimizer = cls(parameters, lr=0.1, **options)
    p.grad = np.array([1.0, 2.0, 3.0])
    optimizer.step()
    np.testing.assert_array_equal(p.grad, [1.0, 2.0, 3.0])
    optimizer.zero_grad()
    assert p.grad is None
    assert q.grad is None


@every
def test_it_finds_the_bottom_of_a_bowl(cls, options):
    (p, _) = parameters = tensors()
    optimizer = cls(parameters, lr=0.02, **options)
    for _ in range(600):
        optimizer.zero_grad()
        ((p - np.array([0.5, -1.0, 2.0])) ** 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(p.value, [0.5, -1.0, 2.0], atol=0.05)


@every
def test_float32_stays_float32_and_numpys_floats_make_the_same_bits(cls, options):
    results = []
    for lr in (0.1, np.float64(0.1)):
        parameters = tensors(np.float32)
        optimizer = cls(
            parameters,
            lr=lr,
            **{k: np.float64(v) for k, v in options.items()} if isinstance(lr, np.generic) else options,
        )
        steps(optimizer, 5)
        optimizer.lr = lr
        steps(optimizer, 5)
        assert all(p.dtype == np.float32 for p in parameters)
        results.append([p.numpy() for p in parameters])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@every
def test_a_state_that_was_kept_goes_on_to_the_same_bits(cls, options):
    whole = cls(tensors(), lr=0.01, **options)
    steps(whole, 5)
    kept, values = whole.state_dict(), [p.numpy() for p in whole.parameters]
    steps(whole, 5, start=5)

    resumed = cls([cr.tensor(v, requires_grad=True) for v in values], lr=0.5, **options)
    resumed.load_state_dict(kept)
    assert resumed.lr == 0.01
    steps(resumed, 5, start=5)
    for p, q in zip(whole.parameters, resumed.parameters, strict=True):
        np.testing.assert_array_equal(p.value, q.value)


@every
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(cls, options):
    optimizer = cls(tensors(), lr=0.01, **options)
    steps(optimizer, 2)
    before = optimizer.state_dict()
    other = cls(tensors()[:1], lr=0.3, **options).state_dict()
    bad = [{}, {**before, "extra": 1.0}, {**before, "lr": -1.0}, {**before, "lr": "fast"}]
    bad += [other] if len(other) < len(before) else []
    bad += [{**before, k: np.zeros((7, 7))} for k in before if k != "lr"][:1]
    for state in bad:
        with pytest.raises(ChainruleError):
            optimizer.load_state_dict(state)
        after = optimizer.state_dict()
        assert after.keys() == before.keys()
        assert all(np.array_equal(after[k], before[k]) for k in before)


@every
def test_the_state_is_a_copy(cls, options):
    optimizer = cls(tensors(), lr=0.01, **options)
    kept = optimizer.state_dict()
    copies = {k: np.array(v) for k, v in kept.items()}
    steps(optimizer, 3)
    assert all(np.array_equal(kept[k], copies[k]) for k in kept)


@every
@pytest.mark.parametrize("lr", [0, -0.1, float("nan"), float("inf"), "0.1", None])
def test_learning_rates_that_are_none_are_refused(cls, options, lr):
    with pytest.raises(ChainruleError, match=rf"{cls.__name__}: lr is .*; expected a positive number"):
        cls(tensors(), lr=lr, **options)


@every
def test_options_but_the_learning_rate_are_settled_when_it_is_made(cls, options):
    optimizer = cls(tensors(), lr=0.1, **options)
    settled = [name for name in inspect.signature(cls).parameters if name != "lr"]
    assert {"parameters", "weight_decay"} <= set(settled)
    for name in settled:
        before = getattr(optimizer, name)
        with pytest.raises(ChainruleError, match=rf"{cls.__name__}: {name} is settled .* only lr may be changed"):
            setattr(optimizer, name, 0.5)
        assert getattr(optimizer, name) is before
    optimizer.lr = 0.2
    assert optimizer.lr == 0.2


def test_another_momentum_goes_on_with_the_velocity_in_a_new_optimiser():
    old = optim.SGD(tensors(), lr=0.1, momentum=0.9)
    steps(old, 2)
    new = optim.SGD(old.parameters, lr=1.0, momentum=0.5)
    new.load_state_dict(old.state_dict())
    before = [p.numpy() for p in new.parameters]
    velocity = old.state_dict()
    steps(new, 1)
    for i, (p, value) in enumerate(zip(new.parameters, before, strict=True)):
        np.testing.assert_allclose(p.value, value - 0.1 * (0.5 * velocity[f"velocity.{i}"] + p.grad), rtol=1e-14)


@every
def test_parameters_that_cannot_be_learnt_are_refused(cls, options):
    p = tensors()[0]
    cases = [
        ([], "no parameters"),
        ([p, p], "same parameter twice"),
        ([1.0], "a float that cannot be learnt"),
        ([p.value], "ndarray that cannot be learnt"),
        ([p * 2], "cannot be learnt"),
        ([p.detach()], "cannot be learnt"),
        (nn.Linear(2, 3), "pass model.parameters"),
    ]
    for parameters, says in cases:
        with pytest.raises(ChainruleError, match=says):
            cls(parameters, lr=0.1, **options)


def test_a_shared_parameter_of_a_model_is_taken_once():
    model = nn.Sequential(layer := nn.Linear(3, 3), nn.Tanh(), layer)
    assert len(optim.SGD(model.parameters(), lr=0.1).parameters) == 2


def test_an_optimiser_without_a_rule_says_what_is_missing():
    class Mine(optim.Optimizer):
        pass

    p = tensors()[0]
    p.grad = np.ones(3)
    with pytest.raises(TypeError, match="Mine has no rule"):
        Mine([p], lr=0.1).step()
