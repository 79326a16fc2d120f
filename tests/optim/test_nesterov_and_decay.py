"""The options of SGD beyond momentum, against numbers worked out by hand; states with every option."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.errors import ChainruleError


def follow(gradients, **options):
    """The values of one parameter, from 1.0, after each of the gradients."""
    p = cr.tensor(1.0, requires_grad=True)
    optimizer, values = optim.SGD([p], **options), []
    for g in gradients:
        p.grad = np.array(g)
        optimizer.step()
        values.append(p.item())
    return values


def test_nesterov_by_hand():
    # v: 1, 1, -1.5;  g + v/2: 1.5, 1, -2.75;  p: 1 - (g + v/2)/4, ...
    got = follow([1.0, 0.5, -2.0], lr=0.25, momentum=0.5, nesterov=True)
    assert got == [1 - 1.5 / 4, 1 - 2.5 / 4, 1 - 2.5 / 4 + 2.75 / 4]


def test_weight_decay_by_hand():
    # g + p/2: 1.5, then 0 + 0.625/2 = 0.3125
    assert follow([1.0, 0.0], lr=0.25, weight_decay=0.5) == [0.625, 0.625 - 0.3125 / 4]


def test_weight_decay_enters_the_velocity():
    # g + p/2: 0.5; v: 0.5; p: 0.875.  g + p/2: 0.4375; v: 0.25 + 0.4375
    assert follow([0.0, 0.0], lr=0.25, momentum=0.5, weight_decay=0.5) == [0.875, 0.875 - 0.6875 / 4]


def test_weight_decay_is_the_gradient_of_half_the_squared_norm():
    values = []
    for decay in (0.3, 0.0):
        p = cr.tensor(np.array([1.0, -2.0, 3.0]), requires_grad=True)
        optimizer = optim.SGD([p], lr=0.001, momentum=0.9, weight_decay=decay)
        for _ in range(20):
            optimizer.zero_grad()
            loss = ((p - 1) ** 4).sum()
            (loss if decay else loss + 0.3 / 2 * (p**2).sum()).backward()
            optimizer.step()
        values.append(p.numpy())
    np.testing.assert_allclose(values[0], values[1], rtol=1e-12)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ChainruleError, match="SGD: nesterov=True needs a momentum"):
        optim.SGD([cr.tensor(1.0, requires_grad=True)], lr=0.1, nesterov=True)


def test_a_negative_weight_decay_is_refused():
    with pytest.raises(ChainruleError, match=r"SGD: weight_decay is -0\.1; expected a number that is not negative"):
        optim.SGD([cr.tensor(1.0, requires_grad=True)], lr=0.1, weight_decay=-0.1)


def test_a_learning_rate_that_is_none_is_refused_between_steps_too():
    optimizer = optim.SGD([cr.tensor(1.0, requires_grad=True)], lr=0.1)
    with pytest.raises(ChainruleError, match="lr is -1; expected a positive number"):
        optimizer.lr = -1
    assert optimizer.lr == 0.1


ALL = {"weight_decay": 0.1}
EVERY_OPTION = [
    (optim.SGD, {"momentum": 0.9, "nesterov": True, **ALL}),
    (optim.RMSprop, {"momentum": 0.9, "centered": True, **ALL}),
    (optim.Adam, {"amsgrad": True, **ALL}),
    (optim.AdamW, {"amsgrad": True, **ALL}),
]


@pytest.mark.parametrize(("cls", "options"), EVERY_OPTION, ids=[cls.__name__ for cls, _ in EVERY_OPTION])
def test_with_every_option_a_kept_state_goes_on_to_the_same_bits(cls, options):
    def steps(optimizer, start, stop):
        for k in range(start, stop):
            for p in optimizer.parameters:
                p.grad = np.sin(np.arange(p.size) + k).reshape(p.shape).astype(p.dtype)
            optimizer.step()

    values = [np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), np.ones(4, np.float32)]
    whole = cls([cr.tensor(v, requires_grad=True) for v in values], lr=0.01, **options)
    steps(whole, 0, 5)
    kept, values = whole.state_dict(), [p.numpy() for p in whole.parameters]
    steps(whole, 5, 10)
    resumed = cls([cr.tensor(v, requires_grad=True) for v in values], lr=0.5, **options)
    resumed.load_state_dict(kept)
    steps(resumed, 5, 10)
    for p, q in zip(whole.parameters, resumed.parameters, strict=True):
        assert p.dtype == np.float32
        np.testing.assert_array_equal(p.value, q.value)


@pytest.mark.parametrize(("cls", "options"), EVERY_OPTION, ids=[cls.__name__ for cls, _ in EVERY_OPTION])
def test_with_every_option_the_gradient_is_left_as_it_was(cls, options):
    p = cr.tensor(np.ones(3), requires_grad=True)
    optimizer = cls([p], lr=0.01, **options)
    for _ in range(3):
        p.grad = np.array([1.0, 2.0, 3.0])
        optimizer.step()
        np.testing.assert_array_equal(p.grad, [1.0, 2.0, 3.0])


def test_a_state_of_words_is_refused_and_changes_nothing():
    optimizer = optim.Adam([cr.tensor(np.ones(2), requires_grad=True)])
    with pytest.raises(ChainruleError, match="made of arrays of numbers"):
        optimizer.load_state_dict({**optimizer.state_dict(), "lr": 0.5, "square.0": ["a", "b"]})
    assert optimizer.lr == 1e-3
