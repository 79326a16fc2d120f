"""Ops that compute nothing: they say how a value takes part in derivatives."""

from chainrule.ops.families import Structural
from chainrule.ops.op import example, function

__all__ = ["stop_gradient"]


class StopGradient(Structural):
    """x itself, but a constant to all derivatives."""

    code = "{x}"
    math = "{x}"
    no_gradient = True
    examples = (example((2, 3)), example(()))

    def shape(x):
        return x

    def reference(x):
        return x


stop_gradient = function(StopGradient)
