"""An element-wise function of one's own: given with its derivative, or written in NumPy and derived as it stands."""

import math
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.check.numeric import numerical_gradient, relative_error

X = np.random.default_rng(0).normal(size=(3, 4))

arctan = cr.elementwise(np.arctan, lambda x: 1 / (1 + x**2))
gamma = cr.elementwise(np.vectorize(lambda v: math.gamma(v + 4)), lambda x: x, name="gamma")


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def test_it_is_its_function_on_arrays_and_on_tensors() -> None:
    assert np.array_equal(arctan(X), np.arctan(X))
    assert np.array_equal(arctan(cr.tensor(X)).value, np.arctan(X))


def test_its_derivative_is_the_one_given_to_any_order() -> None:
    gradient = cr.grad(lambda x: (arctan(x) ** 2).sum())
    assert relative_error(gradient(X), numerical_gradient(lambda x: (np.arctan(x) ** 2).sum(), X)) < 1e-8
    second = cr.grad(lambda x: (gradient(x) ** 2).sum())(X)
    assert relative_error(second, numerical_gradient(lambda x: (gradient(x) ** 2).sum(), X)) < 1e-7


def test_a_function_that_cannot_be_traced_is_recorded_with_a_symbolic_batch() -> None:
    graph = cr.trace(gamma, X, batch={"arg0": 0})
    assert [e.op.name for e in graph.equations] == ["gamma"]
    assert graph.outputs[0].shape[1] == 4
    assert np.array_equal(graph.run(X[:2]), gamma(X[:2]))


def test_float32_is_kept() -> None:
    x = cr.tensor(X.astype(np.float32), requires_grad=True)
    y = arctan(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == np.float32


def test_a_function_in_numpy_needs_nothing() -> None:
    assert relative_error(cr.grad(lambda x: sigmoid(x).sum())(X), sigmoid(X) * (1 - sigmoid(X))) < 1e-14
