"""Comparisons, element by element. Their answers are bool and have no derivative: for `where`, and as factors."""

import operator

import numpy as np

from chainrule.ops.families import Comparison
from chainrule.ops.op import function

__all__ = ["equal", "greater", "greater_equal", "less", "less_equal", "not_equal"]


class Equal(Comparison):
    """Whether a == b, element by element; shapes are broadcast."""

    code = "{a} == {b}"
    math = "{a} = {b}"
    numpy = (np.equal,)
    reference = operator.eq


class NotEqual(Comparison):
    """Whether a != b, element by element; shapes are broadcast."""

    code = "{a} != {b}"
    math = r"{a} \ne {b}"
    numpy = (np.not_equal,)
    reference = operator.ne


class Less(Comparison):
    """Whether a < b, element by element; shapes are broadcast."""

    code = "{a} < {b}"
    math = "{a} < {b}"
    numpy = (np.less,)
    reference = operator.lt


class LessEqual(Comparison):
    """Whether a <= b, element by element; shapes are broadcast."""

    code = "{a} <= {b}"
    math = r"{a} \le {b}"
    numpy = (np.less_equal,)
    reference = operator.le


class Greater(Comparison):
    """Whether a > b, element by element; shapes are broadcast."""

    code = "{a} > {b}"
    math = "{a} > {b}"
    numpy = (np.greater,)
    reference = operator.gt


class GreaterEqual(Comparison):
    """Whether a >= b, element by element; shapes are broadcast."""

    code = "{a} >= {b}"
    math = r"{a} \ge {b}"
    numpy = (np.greater_equal,)
    reference = operator.ge


equal = function(Equal)
not_equal = function(NotEqual)
less = function(Less)
less_equal = function(LessEqual)
greater = function(Greater)
greater_equal = function(GreaterEqual)
