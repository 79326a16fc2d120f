"""Numbers as people write them: 0.6666666666666666 is 2/3, 1.4142135623730951 the root of 2."""

import fractions
import math

from chainrule.written.mathematics.formula import Call, Formula, Fraction, Number, Root, Size, Sum, multiply

DIGITS = 10  # of a number that is written as it is


def number(x: float) -> Formula:
    """A number; 0.6666666666666666 is a fraction, 1.4142135623730951 a root, and π is seen in roots."""
    if len(repr(x)) <= DIGITS or not math.isfinite(x):
        return Number(x)
    if (ratio := _ratio(abs(x))) is not None:
        f: Formula = _quotient(ratio)
    elif (ratio := _ratio(x * x)) is not None:
        f = Root(_quotient(ratio))
    elif (ratio := _ratio(x * x * math.pi)) is not None:
        pi = Size("π", "π")
        below_root = pi if ratio.denominator == 1 else multiply(Number(ratio.denominator), pi, "numbers")
        f = Root(Fraction(Number(ratio.numerator), below_root))
    elif (ratio := _ratio(math.exp(abs(x)) if abs(x) < 9 else math.nan)) is not None:
        f = Call("ln", (_quotient(ratio),))
    elif (ratio := _ratio(math.exp(abs(x)) / math.pi if abs(x) < 9 else math.nan)) is not None:
        f = Call("ln", (multiply(_quotient(ratio), Size("π", "π"), "numbers"),))
    else:
        return Number(x)
    return f if x > 0 else Sum(((-1, f),))


def _quotient(ratio: fractions.Fraction) -> Formula:
    above = Number(ratio.numerator)
    return above if ratio.denominator == 1 else Fraction(above, Number(ratio.denominator))


def _ratio(x: float) -> fractions.Fraction | None:
    """The fraction of small integers that this is."""
    if math.isnan(x):
        return None
    found = fractions.Fraction(x).limit_denominator(100)
    return found if abs(found - x) <= 1e-14 * x and found.numerator < 1000 else None
