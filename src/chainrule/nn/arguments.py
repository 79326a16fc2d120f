"""Checks of the numbers that are given as arguments, for layers and what stands above them; text is never converted."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError


def number(value: Any) -> float:
    """The value as a float; NaN if it is no number."""
    return float(value) if isinstance(value, Real) else math.nan


def real(
    where: str,
    value: Any,
    expected: str = "a finite number",
    fits: Callable[[float], bool] = math.isfinite,
    error: type[ChainruleError] = ChainruleError,
) -> float:
    """The value as a float, if it is a number that fits (NaN must not); `expected` says in words which do."""
    if not fits(number(value)):
        raise error(f"{where} is {value!r}; expected {expected}.")
    return number(value)


def positive(where: str, value: Any, error: type[ChainruleError] = ChainruleError) -> float:
    """The value as a float, if it is a positive finite number."""
    return real(where, value, "a positive number", lambda x: 0 < x < math.inf, error)


def not_negative(where: str, value: Any) -> float:
    """The value as a float, if it is a finite number that is not negative."""
    return real(where, value, "a number that is not negative", lambda x: 0 <= x < math.inf)


def whole(
    where: str, value: Any, what: str = "a whole number", least: int = 1, error: type[ChainruleError] = ChainruleError
) -> int:
    """The value as an int, if it is a whole number (no float, no truth value) that is large enough."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise error(f"{where} is {value!r}; expected {what}, at least {least}.")
    return int(value)
