"""Stochastic gradient descent against numbers worked out by hand."""

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


def test_plain_steps_by_hand():
    assert follow([1.0, 0.5, -2.0], lr=0.25) == [0.75, 0.625, 1.125]


def test_momentum_by_hand():
    # v: 1, 0.5·1 + 0.5 = 1, 0.5·1 - 2 = -1.5, 0.5·-1.5 + 0 = -0.75;  p: 1 - v/4, ...
    assert follow([1.0, 0.5, -2.0, 0.0], lr=0.25, momentum=0.5) == [0.75, 0.5, 0.875, 1.0625]


def test_momentum_nought_is_plain():
    assert follow([1.0, 0.5], lr=0.25, momentum=0.0) == follow([1.0, 0.5], lr=0.25)


def test_the_learning_rate_may_be_changed_between_steps():
    p = cr.tensor(1.0, requires_grad=True)
    optimizer = optim.SGD([p], lr=0.5)
    p.grad = np.array(1.0)
    optimizer.step()
    optimizer.lr = 0.25
    optimizer.step()
    assert p.item() == 0.25


@pytest.mark.parametrize("momentum", [-0.1, 1.0, 2, float("nan"), "0.9", None])
def test_momentum_outside_its_range_is_refused(momentum):
    with pytest.raises(ChainruleError, match=r"SGD: momentum is .*; expected a number in \[0, 1\)"):
        optim.SGD([cr.tensor(1.0, requires_grad=True)], lr=0.1, momentum=momentum)


def test_repr_shows_what_was_chosen():
    text = repr(optim.SGD([cr.tensor(1.0, requires_grad=True)], lr=0.1, momentum=0.9))
    assert "SGD(" in text
    assert "lr=0.1" in text
    assert "momentum=0.9" in text
