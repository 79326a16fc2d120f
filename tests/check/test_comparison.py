"""Slopes along a line: what kind of trouble there is, if there is any."""

import numpy as np
import pytest

from chainrule.check.derivatives.comparison import Arithmetic


def slope(f, x, d=None, **options):
    x = np.asarray(x, float)
    arithmetic = Arithmetic(lambda p: f(p["x"]), {"x": x}, **options)
    return arithmetic.slope({"x": np.ones_like(x) if d is None else np.asarray(d, float)})


def test_the_complex_step_is_exact():
    found = slope(lambda x: np.exp(x).sum(), [0.3, -1.0])
    assert found.exact
    assert found.value == pytest.approx(np.exp([0.3, -1.0]).sum(), rel=1e-15)


@pytest.mark.parametrize(
    "f", [lambda x: np.abs(np.sin(x)).sum(), lambda x: float(np.sum(np.sin(x))), lambda x: np.real(np.sin(x)).sum()]
)
def test_differences_where_complex_numbers_get_lost(f):
    found = slope(f, [0.3, 1.0])
    assert not found.exact
    assert found.value == pytest.approx(np.cos([0.3, 1.0]).sum(), rel=1e-9)
    assert abs(found.value - np.cos([0.3, 1.0]).sum()) <= found.error


def test_a_kink_has_two_slopes():
    found = slope(lambda x: np.abs(x).sum(), [0.0, 2.0])
    assert found.kink
    assert (found.left, found.right) == (pytest.approx(0.0, abs=1e-9), pytest.approx(2.0))
    assert not slope(lambda x: np.abs(x).sum(), [1e-8, 2.0]).kink


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_points_of_every_size(scale):
    x = scale * np.array([1.0, 2.0])
    found = slope(lambda x: float((x**3).sum()), x, x)
    assert found.value == pytest.approx(3 * (x**3).sum(), rel=1e-8)


def test_single_precision_knows_its_error():
    found = slope(lambda x: np.sin(x.astype(np.float32)).sum(), [0.3, 1.0])
    assert 1e-8 < found.error < 1e-2
    assert abs(found.value - np.cos([0.3, 1.0]).sum()) <= 3 * found.error


def test_rounding_is_noise():
    found = slope(lambda x: float((x + 1e12).sum()), [0.3, 1.0])
    assert found.error > 1e-5


def test_the_step_that_was_asked_for():
    found = slope(lambda x: np.sin(x).sum(), [0.3], step=0.5)
    assert found.given == pytest.approx(np.cos(0.3) * np.sin(0.5) / 0.5)
