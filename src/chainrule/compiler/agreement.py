"""Whether what machine code gives is what the plan gives: looked at once, when a program is used for the first time."""

from collections.abc import Sequence
from typing import Any

import numpy as np

TOLERANCE = {4: 1e-3, 8: 1e-8}  # of the largest element, by the bytes of a float


def agree(found: Sequence[np.ndarray[Any, Any]], expected: Sequence[np.ndarray[Any, Any]]) -> bool:
    """Whether two lists of arrays are the same up to rounding; infinities and NaN where the other one has them."""
    return all(map(_near, found, expected))


def _near(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if b.dtype.kind != "f" or not b.size:
        return bool(np.array_equal(a, b))
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    largest = np.abs(b[finite]).max(initial=0)
    return bool((np.abs(a[finite] - b[finite]) <= TOLERANCE[b.itemsize] * largest + np.finfo(b.dtype).tiny).all())
