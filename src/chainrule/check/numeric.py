"""Derivatives by arithmetic alone: differences and the complex step. NumPy is all that is used here, none of the
engine, so that what the engine derives can be compared with something that does not share its errors.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Function: TypeAlias = Callable[[Any], Any]

EPS = float(np.finfo(float).eps)


def central_difference(f: Function, x: Any, direction: Any, step: float | None = None) -> Array:
    """The derivative of `f` at `x` in a direction `d`: (f(x + h d) - f(x - h d)) / 2h.

    The error is h²/6 |f'''| from the truncated series and ε |f| / h from rounding (ε = 2.2e-16); both are smallest
    together near h = ε^(1/3), where about ten digits are right.

    Parameters
    ----------
    f : callable
        A function of one array; its values may be numbers or arrays.
    x, direction : array_like
        The point and the direction, of one shape; computed with in float64.
    step : float, optional
        h. By default ε^(1/3) times the size (root mean square) of `x` over that of `direction`, so that the step suits
        arguments near 1e-6 as well as near 1e6; where `x` is zero, its size is taken as 1.

    Returns
    -------
    ndarray
        Of the shape of `f(x)`.
    """
    x, d = _pair(x, direction)
    h = EPS ** (1 / 3) * _size(x) / _size(d) if step is None else step
    return np.asarray((_values(f, x + h * d) - _values(f, x - h * d)) / (2 * h))


def forward_difference(f: Function, x: Any, direction: Any, step: float) -> Array:
    """The derivative of `f` at `x` in a direction `d`: (f(x + h d) - f(x)) / h, with an error of h/2 |f''| + ε |f| / h.

    It is less exact than `central_difference`; for comparing with results that were found in this way. Parameters and
    result as there, but the step h is given.
    """
    x, d = _pair(x, direction)
    return np.asarray((_values(f, x + step * d) - _values(f, x)) / step)


def complex_step(f: Function, x: Any, direction: Any, step: float = 1e-30) -> Array:
    """The derivative of an analytic `f` at `x` in a direction `d`: Im f(x + ih d) / h. [Squire and Trapp 1998]

    Nothing is subtracted, so h can be tiny and the error h²/6 |f'''| vanishes: the result is exact to rounding. But `f`
    must be made of analytic operations alone that NumPy extends to complex numbers; `abs`, `conj`, comparisons and
    maxima are not, and give wrong results here without a warning. Parameters and result as for `central_difference`.
    """
    x, d = _pair(x, direction)
    return np.asarray(np.imag(f(x + 1j * (step * d))) / step)


def numerical_gradient(f: Function, x: Any, step: float | None = None) -> Array:
    """All derivatives of a scalar function, element by element: (f(x + h eᵢ) - f(x - h eᵢ)) / 2h for each i.

    Parameters
    ----------
    f : callable
        A function of one array that returns a number.
    x : array_like
        The point; computed with in float64.
    step : float, optional
        h. By default ε^(1/3) times the larger of |xᵢ| and the size (root mean square) of `x`. For the error see
        `central_difference`.

    Returns
    -------
    ndarray
        Of the shape of `x`.
    """
    x = np.array(x, float)
    size, result = _size(x), np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        h = EPS ** (1 / 3) * max(abs(float(x[i])), size) if step is None else step
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        # Divided by the step that rounding has left of h, not by h.
        result[i] = (float(f(up)) - float(f(down))) / float(up[i] - down[i])
    return result


def relative_error(found: Any, expected: Any, scale: float = 0.0) -> float:
    """The largest difference of two arrays relative to their largest element: max|a - b| / max(max|a|, max|b|, scale).

    Parameters
    ----------
    found, expected : array_like
        Of one shape: a difference of shapes is never small, and raises.
    scale : float
        The size below which elements count as zero, such as the rounding error of a numerical derivative times 1e8.
        By default even the tiniest gradient must agree in its leading digits.

    Returns
    -------
    float
        0 if both are zero (or empty), infinity if an element is not finite on one side only or differently.
    """
    a, b = np.asarray(found, float), np.asarray(expected, float)
    if a.shape != b.shape:
        raise ValueError(f"relative_error compares arrays of one shape; found {a.shape}, expected {b.shape}.")
    finite = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite]):
        return float("inf")
    a, b = a[finite], b[finite]
    difference = float(np.max(np.abs(a - b), initial=0.0))
    return difference / max(float(np.max(np.abs([a, b]), initial=0.0)), scale) if difference else 0.0


def mean_relative_error(found: Any, expected: Any) -> float:
    """The mean difference over the mean size: mean|a - b| / mean|b|, as course reports quote it."""
    a, b = np.asarray(found, float), np.asarray(expected, float)
    return float(np.mean(np.abs(a - b)) / np.mean(np.abs(b)))


def _pair(x: Any, direction: Any) -> tuple[Array, Array]:
    x, d = np.asarray(x, float), np.asarray(direction, float)
    if x.shape != d.shape:
        raise ValueError(f"a direction has the shape of its point; found {d.shape}, expected {x.shape}.")
    return x, d


def _size(x: Array) -> float:
    """The root mean square of the elements, and 1 where that is zero."""
    return (float(np.sqrt(np.mean(np.abs(x) ** 2))) if x.size else 0.0) or 1.0


def _values(f: Function, x: Array) -> Array:
    return np.asarray(f(x), float)
