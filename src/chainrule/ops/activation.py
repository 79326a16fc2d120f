"""The functions that neural networks put between their linear layers, element by element."""

import math as scalar

import numpy as np

from chainrule.ops.families import Elementwise
from chainrule.ops.op import function

__all__ = ["relu", "sigmoid", "softplus", "tanh"]


class Tanh(Elementwise):
    """Hyperbolic tangent, element by element; any shape, the shape is kept. [LeCun et al. 1998, section 4.4]"""

    code = "np.tanh({x})"
    math = r"\tanh {x}"
    numpy = (np.tanh,)
    reference = scalar.tanh

    def vjp(g, y, _x):
        return g * (1 - y**2)


class Sigmoid(Elementwise):
    """The logistic function 1 / (1 + e^-x), element by element; any shape, the shape is kept.

    Both numerator and denominator are written with exponents that are never positive, so nothing overflows.
    """

    code = "np.exp(np.minimum({x}, 0)) / (1 + np.exp(-np.abs({x})))"
    math = r"\sigma({x})"

    def vjp(g, y, _x):
        return g * y * (1 - y)

    def reference(x):
        return 1 / (1 + scalar.exp(-x))


class Relu(Elementwise):
    """Rectified linear unit max(x, 0), element by element; any shape, the shape is kept. The derivative at 0 is 0.

    [Nair and Hinton 2010]
    """

    code = "np.maximum({x}, 0)"
    math = r"\max({x}, 0)"

    def vjp(g, y, _x):
        return g * (y > 0)

    def reference(x):
        return x if x > 0 else 0.0


class Softplus(Elementwise):
    """ln(1 + e^x), a smooth ReLU, element by element; any shape, the shape is kept. Its derivative is the sigmoid."""

    code = "np.maximum({x}, 0) + np.log1p(np.exp(-np.abs({x})))"
    math = r"\ln(1 + e^{x})"

    def vjp(g, _y, x):
        return g * Sigmoid.apply(x)

    def reference(x):
        return scalar.log(1 + scalar.exp(x))


tanh = function(Tanh)
sigmoid = function(Sigmoid)
relu = function(Relu)
softplus = function(Softplus)
