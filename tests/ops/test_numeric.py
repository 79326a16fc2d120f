"""The numerical derivatives that all the other tests compare with, compared with derivatives known in closed form."""

import ast
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule.check.numeric as numeric
from chainrule.check import (
    central_difference,
    complex_step,
    forward_difference,
    mean_relative_error,
    numerical_gradient,
    relative_error,
)


@pytest.mark.parametrize("size", [1e-8, 1e-3, 1.0, 1e3, 1e8])
def test_central_differences_have_nine_digits_whatever_the_size_of_the_argument(size: float) -> None:
    x, d = size * np.array([1.0, -2.0, 0.5]), np.array([0.3, 1.0, -2.0])
    found = central_difference(lambda x: np.sum(x**3), x, d)
    assert math.isclose(found, np.sum(3 * x**2 * d), rel_tol=1e-9)
    assert relative_error(numerical_gradient(lambda x: np.sum(x**3), x), 3 * x**2) <= 1e-9


def test_a_derivative_does_not_depend_on_how_long_the_direction_is_but_scales_with_it() -> None:
    x, d = np.array([1.0, 2.0]), np.array([1.0, -3.0])
    once, thousandfold = (central_difference(np.exp, x, k * d) for k in (1, 1000))
    assert relative_error(1000 * once, thousandfold) <= 1e-9


def test_central_differences_at_zero_use_a_step_of_their_own() -> None:
    assert relative_error(central_difference(np.sin, np.zeros(3), np.ones(3)), np.ones(3)) <= 1e-10
    assert relative_error(numerical_gradient(lambda x: np.sum(np.sin(x)), np.zeros(3)), np.ones(3)) <= 1e-10


def test_the_error_of_central_differences_is_of_second_order_and_of_forward_differences_of_first() -> None:
    def error(f: Any, step: float) -> float:
        return abs(float(f(np.exp, 1.0, 1.0, step)) - math.e)

    assert error(central_difference, 1e-2) / error(central_difference, 1e-3) == pytest.approx(100, rel=0.01)
    assert error(forward_difference, 1e-2) / error(forward_difference, 1e-3) == pytest.approx(10, rel=0.01)


def test_the_complex_step_is_exact_to_rounding() -> None:
    x, d = np.array([0.3, 1.0, -2.0]), np.array([1.0, -1.0, 0.5])
    found = complex_step(lambda x: np.exp(x) / (1 + np.sin(x) ** 2), x, d)
    s, c, e = np.sin(x), np.cos(x), np.exp(x)
    assert relative_error(found, d * e * (1 + s**2 - 2 * s * c) / (1 + s**2) ** 2) <= 1e-15


def test_the_complex_step_is_wrong_for_what_is_not_analytic_as_its_documentation_says() -> None:
    assert complex_step(np.abs, np.array([2.0]), np.array([1.0])).tolist() == [0.0]


def test_empty_arrays_and_numbers_are_points_too() -> None:
    assert numerical_gradient(np.sum, np.zeros((0, 3))).shape == (0, 3)
    assert central_difference(np.sum, np.zeros((0, 3)), np.zeros((0, 3))) == 0
    assert numerical_gradient(lambda x: x**2, 3.0) == pytest.approx(6, rel=1e-10)


def test_arguments_are_left_as_they_are() -> None:
    x, d = np.array([1.0, 2.0]), np.array([1.0, 1.0])
    for array in (x, d):
        array.flags.writeable = False
    central_difference(np.exp, x, d)
    complex_step(np.exp, x, d)
    numerical_gradient(np.sum, x)


def test_relative_error_is_relative_to_the_largest_element() -> None:
    assert relative_error([1.0, 2.0], [1.0, 2.002]) == pytest.approx(0.001, rel=1e-2)
    assert relative_error([1e-20], [2e-20]) == 0.5
    assert relative_error([1e-20], [-1e-20]) == 2
    assert relative_error([0.0], [1e-20]) == 1
    assert relative_error([0.0], [1e-20], scale=1e-12) == pytest.approx(1e-8)
    assert relative_error([0.0, 0.0], [0.0, 0.0]) == relative_error([], []) == 0


def test_relative_error_is_infinite_where_only_one_side_is_not_finite() -> None:
    assert relative_error([math.nan], [1.0]) == relative_error([1.0], [math.inf]) == math.inf
    assert relative_error([math.inf], [-math.inf]) == relative_error([math.nan], [math.nan]) == math.inf
    assert relative_error([math.inf, 1.0], [math.inf, 1.0]) == 0


def test_different_shapes_are_never_close() -> None:
    with pytest.raises(ValueError, match=r"one shape; found \(2, 1\), expected \(2,\)"):
        relative_error(np.ones((2, 1)), np.ones(2))
    with pytest.raises(ValueError, match="a direction has the shape of its point"):
        central_difference(np.sum, np.ones(2), np.ones(3))


def test_mean_relative_error_is_that_of_the_reports() -> None:
    assert mean_relative_error([1.1, 2.0], [1.0, -2.0]) == pytest.approx(4.1 / 3)


def test_nothing_of_chainrule_is_used() -> None:
    tree = ast.parse(Path(numeric.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not [name for name in imported if name.startswith("chainrule")]
