"""Arithmetic, powers and roots, exponentials and logarithms, and choosing between values: the element-wise ops."""

import math as scalar
import operator

import numpy as np

from chainrule.ops.dims import Later
from chainrule.ops.families import Elementwise
from chainrule.ops.op import Array, answers, example, function

__all__ = [
    "abs", "add", "clip", "cos", "divide", "exp", "expm1", "log", "log1p", "maximum", "minimum", "multiply", "negative",
    "power", "sign", "sin", "sqrt", "subtract", "where",
]  # fmt: skip


def _is_number(x):
    return isinstance(x, (int, float))


class Add(Elementwise):
    """The sum a + b, element by element; shapes are broadcast."""

    code = "{a} + {b}"
    math = "{a} + {b}"
    rule = "d(a + b) = da + db"
    numpy = (np.add,)
    reference = operator.add

    def vjp(g, _y, _a, _b):
        return g, g


class Subtract(Elementwise):
    """The difference a - b, element by element; shapes are broadcast."""

    code = "{a} - {b}"
    math = "{a} - {b}"
    rule = "d(a − b) = da − db"
    numpy = (np.subtract,)
    reference = operator.sub

    def vjp(g, _y, _a, _b):
        return g, lambda: -g


class Multiply(Elementwise):
    """The product a * b, element by element; shapes are broadcast."""

    code = "{a} * {b}"
    math = r"{a} \odot {b}"
    rule = "product rule: d(a b) = b da + a db"
    numpy = (np.multiply,)
    reference = operator.mul

    def vjp(g, _y, a, b):
        return lambda: g * b, lambda: g * a


class Divide(Elementwise):
    """The quotient a / b, element by element; shapes are broadcast. d(a/b) = da / b - (a / b²) db."""

    code = "{a} / {b}"
    math = r"\frac{{a}}{{b}}"
    rule = "quotient rule: d(a/b) = da/b − (a/b²) db"
    numpy = (np.true_divide,)
    domain = (0.5, 2.0)
    reference = operator.truediv

    def vjp(g, y, _a, b):
        return lambda: g / b, lambda: -g * y / b


class Negative(Elementwise):
    """The negative -x, element by element; the shape is kept."""

    code = "-{x}"
    math = "-{x}"
    rule = "d(−x) = −dx"
    numpy = (np.negative,)
    reference = operator.neg

    def vjp(g, _y, _x):
        return -g


class Power(Elementwise):
    """The power x ** p, element by element; shapes are broadcast. A real exponent needs x ≥ 0."""

    code = "{x} ** {p}"
    math = "{x}^{p}"
    rule = "d(xᵖ) = p xᵖ⁻¹ dx"
    numpy = (np.power,)
    domain = (0.2, 2.0)
    reference = operator.pow
    examples = (example((3, 4), 2), example((3, 4), 3.0), example((3, 4), 1), example((3, 4), 0), example((4,), -0.5))

    def vjp(g, y, x, p):
        def base():
            if isinstance(p, Later):  # a number that depends on the batch size
                return g * p * x ** (p - 1)
            if _is_number(p):  # x⁰ has the derivative 0 at x = 0 too, where 0 · x⁻¹ has none
                return g * p * x ** (p - 1) if p else g * 0
            return g * p * x ** np.where(p == 0, 1, p - 1)

        return base, lambda: g * y * np.log(np.where(x == 0, 1, x))


class Exp(Elementwise):
    """The exponential e^x, element by element; the shape is kept."""

    code = "np.exp({x})"
    math = "e^{x}"
    rule = "exp′ = exp"
    numpy = (np.exp,)
    reference = scalar.exp

    def vjp(g, y, _x):
        return g * y


class Expm1(Elementwise):
    """e^x - 1, element by element, precise near x = 0 too; the shape is kept."""

    code = "np.expm1({x})"
    math = "e^{x} - 1"
    rule = "(eˣ − 1)′ = eˣ"
    numpy = (np.expm1,)
    reference = scalar.expm1

    def vjp(g, y, _x):
        return g * (y + 1)


class Log(Elementwise):
    """The natural logarithm, element by element, for x > 0; the shape is kept."""

    code = "np.log({x})"
    math = r"\ln {x}"
    rule = "ln′ x = 1/x"
    numpy = (np.log,)
    domain = (0.2, 3.0)
    reference = scalar.log

    def vjp(g, _y, x):
        return g / x


class Log1p(Elementwise):
    """ln(1 + x), element by element, for x > -1, precise near x = 0 too; the shape is kept."""

    code = "np.log1p({x})"
    math = r"\ln(1 + {x})"
    rule = "ln′(1 + x) = 1/(1 + x)"
    numpy = (np.log1p,)
    domain = (-0.8, 2.0)
    reference = scalar.log1p

    def vjp(g, _y, x):
        return g / (1 + x)


class Sqrt(Elementwise):
    """The square root, element by element, for x ≥ 0 (its derivative needs x > 0); the shape is kept."""

    code = "np.sqrt({x})"
    math = r"\sqrt{{x}}"
    rule = "(√x)′ = 1/(2√x)"
    numpy = (np.sqrt,)
    domain = (0.2, 3.0)
    reference = scalar.sqrt

    def vjp(g, y, _x):
        return g / (2 * y)


class Sin(Elementwise):
    """The sine, element by element; x in radians; the shape is kept."""

    code = "np.sin({x})"
    math = r"\sin {x}"
    rule = "sin′ = cos"
    numpy = (np.sin,)
    reference = scalar.sin

    def vjp(g, _y, x):
        return g * np.cos(x)


class Cos(Elementwise):
    """The cosine, element by element; x in radians; the shape is kept."""

    code = "np.cos({x})"
    math = r"\cos {x}"
    rule = "cos′ = −sin"
    numpy = (np.cos,)
    reference = scalar.cos

    def vjp(g, _y, x):
        return -g * np.sin(x)


class Abs(Elementwise):
    """The absolute value, element by element; the shape is kept. The derivative at 0 is taken as 0."""

    code = "np.abs({x})"
    math = r"\lvert {x} \rvert"
    rule = "|x|′ = sign x"
    numpy = (np.abs,)
    reference = operator.abs

    def vjp(g, _y, x):
        return g * np.sign(x)


class Sign(Elementwise):
    """-1, 0 or 1, element by element; the shape is kept. It has no derivative (it would be 0 almost everywhere)."""

    code = "np.sign({x})"
    math = r"\operatorname{sign} {x}"
    numpy = (np.sign,)
    no_gradient = True

    def reference(x):
        return (x > 0) - (x < 0)


class Maximum(Elementwise):
    """The larger of a and b, element by element; shapes are broadcast.

    At a tie the derivative goes to b; a plain number never takes it, so `maximum(x, 0)` and `maximum(0, x)` both have
    the derivative 0 at x = 0, as ReLU has.
    """

    code = "np.maximum({a}, {b})"
    math = r"\max({a}, {b})"
    rule = "max: the gradient goes to the larger one"
    numpy = (np.maximum,)
    reference = max

    def vjp(g, _y, a, b):
        return lambda: g * (a > b), lambda: g * (b > a if _is_number(a) else a <= b)


class Minimum(Elementwise):
    """The smaller of a and b, element by element; shapes are broadcast. Ties as for `maximum`."""

    code = "np.minimum({a}, {b})"
    math = r"\min({a}, {b})"
    rule = "min: the gradient goes to the smaller one"
    numpy = (np.minimum,)
    reference = min

    def vjp(g, _y, a, b):
        return lambda: g * (a < b), lambda: g * (b < a if _is_number(a) else a >= b)


class Where(Elementwise):
    """a where a condition holds, else b, element by element; shapes are broadcast. The condition has no derivative."""

    code = "np.where({condition}, {a}, {b})"
    math = r"\begin{cases}{a} & {condition}\\ {b}\end{cases}"
    rule = "where: the gradient goes to the one chosen"
    numpy = (np.where,)
    examples = (
        example(np.array([[True, False, True]]), (2, 3), (3,)),
        example(np.array([True, False]), (3, 2), 0.0),
        example(np.array([True]), 1.5, (2, 1)),
    )

    def reference(condition, a, b):
        return a if condition else b

    def vjp(g, _y, condition, _a, _b):
        return None, lambda: np.where(condition, g, 0), lambda: np.where(condition, 0, g)


add = function(Add)
subtract = function(Subtract)
multiply = function(Multiply)
divide = function(Divide)
negative = function(Negative)
power = function(Power)
exp = function(Exp)
expm1 = function(Expm1)
log = function(Log)
log1p = function(Log1p)
sqrt = function(Sqrt)
sin = function(Sin)
cos = function(Cos)
abs = function(Abs)
sign = function(Sign)
maximum = function(Maximum)
minimum = function(Minimum)
where = function(Where)


@answers(np.clip)
def clip(x: Array, a_min: Array | None = None, a_max: Array | None = None) -> Array:
    """`x` held between `a_min` and `a_max`, element by element; None is no bound. At a bound the derivative is 1."""
    if a_min is not None:
        x = where(x < a_min, a_min, x)
    return x if a_max is None else where(x > a_max, a_max, x)
