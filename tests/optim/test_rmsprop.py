"""RMSprop against numbers worked out by hand, and what it refuses."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.errors import ChainruleError


def follow(gradients, **options):
    """The values of one parameter, from 1.0, after each of the gradients."""
    p = cr.tensor(1.0, requires_grad=True)
    optimizer, values = optim.RMSprop([p], **options), []
    for g in gradients:
        p.grad = np.array(g)
        optimizer.step()
        values.append(p.item())
    return values


def test_two_steps_by_hand():
    # α = 1/2.  s: 2, 9 (g = 2, 4)
    first = 1 - 0.1 * 2 / (math.sqrt(2) + 1)
    second = first - 0.1 * 4 / (3 + 1)
    assert follow([2.0, 4.0], lr=0.1, alpha=0.5, eps=1) == pytest.approx([first, second], rel=1e-14)


def test_momentum_by_hand():
    # v: 2/√2, then half of that + 4/3
    v = math.sqrt(2)
    first = 1 - 0.1 * v
    second = first - 0.1 * (v / 2 + 4 / 3)
    got = follow([2.0, 4.0], lr=0.1, alpha=0.5, eps=0, momentum=0.5)
    assert got == pytest.approx([first, second], rel=1e-14)


def test_centered_by_hand():
    # m: 1, 2.5; s: 2, 9; variance: 1, 2.75
    first = 1 - 0.1 * 2 / 1
    second = first - 0.1 * 4 / math.sqrt(2.75)
    assert follow([2.0, 4.0], lr=0.1, alpha=0.5, eps=0, centered=True) == pytest.approx([first, second], rel=1e-14)


def test_weight_decay_is_part_of_the_gradient():
    # g + λp = 0 + 2·1, s = 2
    got = follow([0.0], lr=0.1, alpha=0.5, eps=0, weight_decay=2)
    assert got == pytest.approx([1 - 0.1 * 2 / math.sqrt(2)], rel=1e-14)


def test_centered_survives_a_gradient_that_never_changes():
    """Its variance is 0, which rounding may make negative: no NaN."""
    p = cr.tensor(np.linspace(0.1, 3, 50, dtype=np.float32), requires_grad=True)
    optimizer = optim.RMSprop([p], lr=1e-6, alpha=0.5, centered=True)
    for _ in range(200):
        p.grad = np.linspace(0.1, 3, 50, dtype=np.float32)
        optimizer.step()
    assert np.isfinite(p.value).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"alpha": 1}, r"RMSprop: alpha is 1; expected a number in \[0, 1\)"),
        ({"momentum": -0.5}, r"RMSprop: momentum is -0.5; expected a number in \[0, 1\)"),
        ({"eps": "small"}, "RMSprop: eps is 'small'; expected a number that is not negative"),
        ({"weight_decay": float("inf")}, "RMSprop: weight_decay is inf; expected a number that is not negative"),
    ],
)
def test_options_outside_their_range_are_refused(options, says):
    with pytest.raises(ChainruleError, match=says):
        optim.RMSprop([cr.tensor(1.0, requires_grad=True)], **options)


def test_repr_shows_the_learning_rate_and_what_is_not_the_default():
    p = cr.tensor(1.0, requires_grad=True)
    assert repr(optim.RMSprop([p])) == "RMSprop(lr=0.01)"
    assert repr(optim.RMSprop([p], momentum=0.5, centered=True)) == "RMSprop(lr=0.01, momentum=0.5, centered=True)"
