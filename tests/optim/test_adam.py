"""Adam and AdamW against numbers worked out by hand, and what they refuse."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.errors import ChainruleError


def follow(cls, gradients, start=1.0, **options):
    """The values of one parameter after each of the gradients."""
    p = cr.tensor(start, requires_grad=True)
    optimizer, values = cls([p], **options), []
    for g in gradients:
        p.grad = np.array(g)
        optimizer.step()
        values.append(p.item())
    return values


def test_the_first_step_is_the_learning_rate_whatever_the_gradient():
    # m̂ = g and v̂ = g², so the step is lr · g / |g|
    assert follow(optim.Adam, [0.003], lr=0.25, eps=0) == pytest.approx([0.75], rel=1e-14)
    assert follow(optim.Adam, [-700.0], lr=0.25, eps=0) == pytest.approx([1.25], rel=1e-14)


def test_two_steps_by_hand():
    # β₁ = β₂ = 1/2.  m: 1, 2.5; v: 2, 9 (g = 2, 4);  m̂: 2, 2.5/.75;  v̂: 4, 9/.75 = 12
    first = 1 - 0.1 * 2 / (2 + 1)
    second = first - 0.1 * (2.5 / 0.75) / (math.sqrt(12) + 1)
    assert follow(optim.Adam, [2.0, 4.0], lr=0.1, betas=(0.5, 0.5), eps=1) == pytest.approx([first, second], rel=1e-14)


def test_amsgrad_never_forgets_the_largest_square_by_hand():
    # m: 1, 0.5; v: 2, 1, of which the largest: 2, 2;  m̂: 2, 0.5/.75;  v̂: 4, 2/.75
    options = {"lr": 0.1, "betas": (0.5, 0.5), "eps": 0}
    first = 1 - 0.1
    second = first - 0.1 * (0.5 / 0.75) / math.sqrt(2 / 0.75)
    assert follow(optim.Adam, [2.0, 0.0], amsgrad=True, **options) == pytest.approx([first, second], rel=1e-14)
    assert follow(optim.Adam, [2.0, 0.0], **options)[1] == pytest.approx(
        first - 0.1 * (0.5 / 0.75) / math.sqrt(1 / 0.75)
    )


def test_adams_weight_decay_is_part_of_the_gradient():
    # g + λp = 0 + 0.5·1, and the first step is the learning rate whatever the gradient
    assert follow(optim.Adam, [0.0], lr=0.1, weight_decay=0.5, eps=0) == pytest.approx([0.9], rel=1e-14)


def test_adamws_weight_decay_is_not():
    # p - lr·λ·p = 1 - 0.1·0.5, and no step
    assert follow(optim.AdamW, [0.0], lr=0.1, weight_decay=0.5) == pytest.approx([0.95], rel=1e-14)
    assert follow(optim.AdamW, [3.0], lr=0.1, weight_decay=0.5, eps=0) == pytest.approx([0.85], rel=1e-14)


def test_adamw_decays_by_default_and_adam_does_not():
    assert follow(optim.AdamW, [0.0])[0] == pytest.approx(1 - 1e-3 * 1e-2, rel=1e-14)
    assert follow(optim.Adam, [0.0]) == [1.0]


def test_each_parameter_counts_its_own_steps():
    p, q = (cr.tensor(1.0, requires_grad=True) for _ in range(2))
    optimizer = optim.Adam([p, q], lr=0.25, eps=0)
    for _ in range(5):
        p.grad = np.array(1.0)
        optimizer.step()
    q.grad = np.array(7.0)
    optimizer.step()
    assert q.item() == pytest.approx(0.75, rel=1e-14)  # its first
    state = optimizer.state_dict()
    assert (int(state["steps.0"]), int(state["steps.1"])) == (6, 1)


def test_a_float32_step_with_a_tiny_gradient_is_finite():
    p = cr.tensor(np.ones(3, np.float32), requires_grad=True)
    optimizer = optim.Adam([p])
    p.grad = np.array([1e-30, 0, 1e-10], np.float32)
    optimizer.step()
    assert np.isfinite(p.value).all()
    assert p.value[1] == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"betas": (0.9, 1.0)}, r"Adam: betas\[1\] is 1.0; expected a number in \[0, 1\)"),
        ({"betas": (-0.1, 0.9)}, r"Adam: betas\[0\] is -0.1; expected a number in \[0, 1\)"),
        ({"betas": 0.9}, r"Adam: betas is 0.9; expected two numbers"),
        ({"betas": (0.9, 0.99, 0.999)}, r"Adam: betas is .*; expected two numbers"),
        ({"eps": -1e-8}, "Adam: eps is -1e-08; expected a number that is not negative"),
        ({"weight_decay": -0.1}, "Adam: weight_decay is -0.1; expected a number that is not negative"),
        ({"weight_decay": float("nan")}, "Adam: weight_decay is nan"),
    ],
)
def test_options_outside_their_range_are_refused(options, says):
    with pytest.raises(ChainruleError, match=says):
        optim.Adam([cr.tensor(1.0, requires_grad=True)], **options)
    with pytest.raises(ChainruleError, match=says.replace("Adam:", "AdamW:")):
        optim.AdamW([cr.tensor(1.0, requires_grad=True)], **options)


def test_repr_shows_the_learning_rate_and_what_is_not_the_default():
    p = cr.tensor(1.0, requires_grad=True)
    assert repr(optim.Adam([p])) == "Adam(lr=0.001)"
    assert repr(optim.AdamW([p], lr=0.1, betas=(0.5, 0.9))) == "AdamW(lr=0.1, betas=(0.5, 0.9))"
    assert repr(optim.AdamW([p], weight_decay=0)) == "AdamW(lr=0.001, weight_decay=0.0)"
