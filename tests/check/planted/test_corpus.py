"""The corpus is honest: central differences agree with every right backward pass, and with no wrong one."""

import inspect
from collections import Counter

import numpy as np
import pytest

from chainrule.check.numeric import numerical_gradient, relative_error

from . import CASES, CAUSES, SHAPES, class_gradients, gradients

AT_LEAST = {
    "sign": 8,
    "factor": 10,
    "missing sum": 7,
    "wrong axis": 6,
    "transpose": 6,
    "wrong point": 8,
    "missing activation derivative": 7,
    "overwritten": 7,
    "accumulated": 2,
    "other loss": 4,
}
by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def direction(case, inputs, seed):
    """Weights for an array output, 1 for a loss."""
    out = output(case, inputs)
    return np.random.default_rng([seed, 1]).normal(size=out.shape) if out.ndim else np.asarray(1.0)


def output(case, inputs):
    """What the forward computes, without its cache."""
    out = case.forward(*(value.copy() for value in inputs.values()))
    return np.asarray(out[0] if case.shape == "cache" else out)


def numerical(case, inputs, dout):
    """The gradients of sum(dout * output) by central differences."""
    return {
        name: numerical_gradient(lambda x, name=name: (dout * output(case, inputs | {name: x})).sum(), inputs[name])
        for name in case.wrt
    }


def by_hand(case, backward, inputs, dout):
    """What `right` or `wrong` says."""
    if case.shape == "class":
        loss, found = class_gradients(case, backward, inputs)
        assert loss == pytest.approx(float(output(case, inputs)), rel=1e-12)
        return found
    return gradients(case, backward, inputs, dout)


def worst(found, expected):
    """The largest relative error over the gradients; another shape is infinitely wrong."""
    assert found.keys() == expected.keys()
    return max(
        relative_error(found[name], expected[name]) if found[name].shape == expected[name].shape else np.inf
        for name in expected
    )


@by_case
@pytest.mark.parametrize("seed", range(3))
def test_right_agrees_and_wrong_does_not(case, seed):
    inputs = case.inputs(seed)
    dout = direction(case, inputs, seed)
    expected = numerical(case, inputs, dout)
    assert worst(by_hand(case, case.right, inputs, dout), expected) < 1e-6
    assert worst(by_hand(case, case.wrong, inputs, dout), expected) > 1e-3


@by_case
def test_fits_the_contract(case):
    assert case.cause <= set(CAUSES)
    assert 1 <= len(case.cause) <= 2
    assert case.shape in SHAPES
    inputs = case.inputs(0)
    assert list(inspect.signature(case.forward).parameters) == list(inputs)
    assert all(value.dtype == float for name, value in inputs.items() if name in case.wrt)
    # Each of the two shows its own source to tools that print the line.
    assert all(new in inspect.getsource(case.wrong) for _, new in case.fault)
    array = output(case, inputs).ndim > 0
    assert array == (case.shape in ("directional", "cache"))


def test_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES) >= 70


def test_enough_of_each_cause():
    # A case with two acceptable causes counts for neither.
    counts = Counter(cause for case in CASES if len(case.cause) == 1 for cause in case.cause)
    assert {cause: counts[cause] for cause, n in AT_LEAST.items() if counts[cause] < n} == {}
    assert {case.shape for case in CASES} == set(SHAPES)
