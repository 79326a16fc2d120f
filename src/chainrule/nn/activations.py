"""Activations as layers: each is the function of the same name in `chainrule`."""

from typing import Any

from chainrule import ops
from chainrule.errors import ShapeError
from chainrule.nn.arguments import real
from chainrule.nn.module import Module


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Any:
        return ops.relu(x)


class Tanh(Module):
    """tanh x."""

    def forward(self, x: Any) -> Any:
        return ops.tanh(x)


class LeCunTanh(Module):
    """The improved sigmoid 1.7159 tanh(2x/3). [LeCun et al. 1998, section 4.4]"""

    def forward(self, x: Any) -> Any:
        return ops.lecun_tanh(x)


class Sigmoid(Module):
    """1 / (1 + e^-x)."""

    def forward(self, x: Any) -> Any:
        return ops.sigmoid(x)


class Softplus(Module):
    """ln(1 + e^x)."""

    def forward(self, x: Any) -> Any:
        return ops.softplus(x)


class GELU(Module):
    """x Φ(x), exactly, with the error function. [Hendrycks, Gimpel 2016]"""

    def forward(self, x: Any) -> Any:
        return ops.gelu(x)


class SiLU(Module):
    """x / (1 + e^-x). [Elfwing et al. 2018]"""

    def forward(self, x: Any) -> Any:
        return ops.silu(x)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope · x. [Maas et al. 2013]"""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = real("LeakyReLU: negative_slope", negative_slope)

    def forward(self, x: Any) -> Any:
        return ops.leaky_relu(x, self.negative_slope)


class ELU(Module):
    """x where x > 0, else α (e^x - 1). [Clevert et al. 2016]"""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = real("ELU: alpha", alpha)

    def forward(self, x: Any) -> Any:
        return ops.elu(x, self.alpha)


class Softmax(Module):
    """The softmax along an axis. Not to be used before CrossEntropyLoss, which contains it."""

    def __init__(self, axis: int = -1) -> None:
        if not isinstance(axis, int):
            raise ShapeError(f"{type(self).__name__}: the axis is {axis!r}; expected an int.")
        self.axis = axis

    def forward(self, x: Any) -> Any:
        return ops.softmax(x, self.axis)


class LogSoftmax(Softmax):
    """The logarithm of the softmax along an axis. Not to be used before CrossEntropyLoss, which contains it."""

    def forward(self, x: Any) -> Any:
        return ops.log_softmax(x, self.axis)
