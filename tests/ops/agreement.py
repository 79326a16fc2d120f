"""One function of arrays, four ways: NumPy itself, Tensors, a graph, and the derivatives of these by differences."""

from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.check.numeric import central_difference, relative_error


def assert_agrees_with_numpy(f: Callable[..., Any], *arrays: np.ndarray, derivatives: bool = True) -> None:
    """`f`, written in NumPy, gives on Tensors and as a graph what it gives on arrays, and is derived rightly."""
    expected = np.asarray(f(*arrays))
    on_tensors = f(*(cr.tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays))
    graph = cr.trace(f, *arrays)
    for found in (getattr(on_tensors, "value", on_tensors), graph.run(*arrays)):
        assert np.shape(found) == expected.shape
        assert np.asarray(found).dtype == expected.dtype
        assert relative_error(found, expected) <= 1e-14
    if derivatives and expected.dtype.kind == "f":
        _assert_derivatives(f, expected, arrays)


def _assert_derivatives(f: Callable[..., Any], y: np.ndarray, arrays: tuple[np.ndarray, ...]) -> None:
    random = np.random.default_rng(y.size)
    p = random.normal(size=y.shape)
    floats = [i for i, x in enumerate(arrays) if x.dtype.kind == "f"]

    def loss(*xs: Any) -> Any:
        y = f(*xs)
        return (p * y + y * y / 2).sum()

    gradients = cr.grad(loss, floats)(*arrays)
    derived = cr.derive(cr.trace(loss, *arrays)).run(*arrays)[1:]
    size = float(np.sum(np.abs(p * y) + y * y))
    for i, g, of_graph in zip(floats, gradients, derived, strict=True):
        x = arrays[i]
        d = random.normal(size=x.shape)
        numerical = central_difference(lambda v, i=i: loss(*arrays[:i], v, *arrays[i + 1 :]), x, d)
        # What differences cannot tell from 0: the size of the terms over the size of x.
        scale = size / float(np.sqrt(np.mean(x * x))) if np.any(x) else size
        assert g.shape == x.shape
        assert relative_error(np.sum(g * d), numerical, scale) <= 1e-8
        assert relative_error(of_graph, g, scale) <= 1e-14
