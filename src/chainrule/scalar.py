"""The chain rule on single numbers, in plain Python: the idea of the whole library, to be read at a sitting.

It is for teaching and for checking, not for speed; arrays follow the same idea, thousands of numbers at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

_births = count()


class Number:
    """A number that remembers how it was made.

    An operation on numbers makes a new one and notes, beside its value, which numbers went in (`inputs`) and how fast
    the value changes with each of them (`slopes`, the partial derivatives at this point). Nothing else is needed for
    the backward pass: along every path the slopes multiply, and over all paths the products add up.

    Attributes
    ----------
    value : float
        The number itself.
    grad : float
        The derivative of whatever `backward` was called on, by this number. Calls add up: set it to 0 in between.
    made_by : str
        The operation that made it; empty for a number that was given.
    inputs : tuple of Number
        What the operation was applied to. A number knows its inputs and never its users, so there are no cycles.
    slopes : tuple of float
        The derivative of `value` by each of the inputs.
    """

    __slots__ = ("_birth", "grad", "inputs", "made_by", "slopes", "value")

    def __init__(
        self, value: float, made_by: str = "", inputs: tuple[Number, ...] = (), slopes: tuple[float, ...] = ()
    ) -> None:
        self.value = float(value)
        self.grad = 0.0
        self.made_by, self.inputs, self.slopes = made_by, inputs, slopes
        self._birth = next(_births)

    def backward(self) -> None:
        """Add to the `grad` of every number that this one was made from the derivative of this one by that number."""
        reached = {self}
        to_visit = [self]
        while to_visit:
            new = set(to_visit.pop().inputs) - reached
            reached |= new
            to_visit += new
        # Inputs are born before what is made of them: from the youngest to the oldest, a number's derivative is
        # complete before it is passed on.
        derivative = dict.fromkeys(reached, 0.0)
        derivative[self] = 1.0
        for number in sorted(reached, key=lambda each: each._birth, reverse=True):
            number.grad += derivative[number]
            for source, slope in zip(number.inputs, number.slopes, strict=True):
                derivative[source] += slope * derivative[number]

    def __add__(self, other: Number | float) -> Number:
        other = _number(other)
        return Number(self.value + other.value, "+", (self, other), (1.0, 1.0))

    def __mul__(self, other: Number | float) -> Number:
        other = _number(other)
        return Number(self.value * other.value, "*", (self, other), (other.value, self.value))

    def __pow__(self, exponent: float) -> Number:
        """x ** p for a constant p; for p that is a Number, write `exp(p * log(x))`."""
        if isinstance(exponent, Number):
            return NotImplemented
        slope = exponent * math.pow(self.value, exponent - 1) if exponent else 0.0
        return Number(math.pow(self.value, exponent), "**", (self,), (slope,))

    # The rest is composed: its derivatives follow from the three above.
    def __neg__(self) -> Number:
        return self * -1.0

    def __sub__(self, other: Number | float) -> Number:
        return self + -_number(other)

    def __rsub__(self, other: float) -> Number:
        return _number(other) - self

    def __truediv__(self, other: Number | float) -> Number:
        return self * _number(other) ** -1

    def __rtruediv__(self, other: float) -> Number:
        return _number(other) / self

    __radd__ = __add__
    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"Number({self.value!r}, grad={self.grad!r}" + (f", made_by={self.made_by!r})" if self.made_by else ")")


def _number(x: Number | float) -> Number:
    return x if isinstance(x, Number) else Number(x)


def exp(x: Number) -> Number:
    """e to the power x, which is its own derivative."""
    y = math.exp(x.value)
    return Number(y, "exp", (x,), (y,))


def log(x: Number) -> Number:
    """The natural logarithm; its derivative is 1/x."""
    return Number(math.log(x.value), "log", (x,), (1 / x.value,))


def tanh(x: Number) -> Number:
    """The hyperbolic tangent y; its derivative is 1 - y²."""
    y = math.tanh(x.value)
    return Number(y, "tanh", (x,), (1 - y * y,))


def sigmoid(x: Number) -> Number:
    """1 / (1 + e⁻ˣ); its derivative is sigmoid(x) sigmoid(-x)."""
    e = math.exp(-abs(x.value))  # at most 1: the exponential of a large positive number would overflow
    return Number((1 if x.value >= 0 else e) / (1 + e), "sigmoid", (x,), (e / (1 + e) ** 2,))


def relu(x: Number) -> Number:
    """The larger of x and 0; its derivative is 1 where x > 0, else 0 (also at 0)."""
    return Number(max(x.value, 0.0), "relu", (x,), (1.0 if x.value > 0 else 0.0,))


def softmax(logits: Sequence[Number]) -> list[Number]:
    """yᵢ = exp(oᵢ) / Σⱼ exp(oⱼ), after taking the largest oⱼ off all: the same y, and no exponential overflows."""
    largest = max(o.value for o in logits)
    exponentials = [exp(o - largest) for o in logits]
    total = sum(exponentials, Number(0.0))
    return [e / total for e in exponentials]


def cross_entropy(logits: Sequence[Number], targets: Sequence[float]) -> Number:
    """-Σᵢ tᵢ ln yᵢ for y = softmax(logits).

    Computed as Σᵢ tᵢ (ln Σⱼ exp(oⱼ) - oᵢ), which stays finite where some yᵢ is too small to be told from 0.
    """
    largest = max(o.value for o in logits)
    log_total = log(sum((exp(o - largest) for o in logits), Number(0.0))) + largest
    return sum((t * (log_total - o) for t, o in zip(targets, logits, strict=True)), Number(0.0))
