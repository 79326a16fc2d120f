"""RMSprop: a gradient divided by its own recent size."""

from collections.abc import Iterable

import numpy as np

from chainrule.engine import Tensor
from chainrule.optim.optimizer import Array, Optimizer


class RMSprop(Optimizer):
    """s ← α s + (1 - α) g², p ← p - lr · g / (√s + ε). [Hinton 2012, lecture 6e]

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
    alpha : float
        α in [0, 1): how long the squares are remembered.
    eps : float
        ε ≥ 0, outside the root.
    weight_decay : float
        λ ≥ 0: g becomes g + λ p.
    momentum : float
        μ in [0, 1): v ← μ v + g / (√s + ε), p ← p - lr · v.
    centered : bool
        Divide by the standard deviation: s - m² takes the place of s, where m ← α m + (1 - α) g. [Graves 2013]
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.alpha, self.eps = self._number("alpha", alpha, below=1), self._number("eps", eps)
        self.momentum, self.centered = self._number("momentum", momentum, below=1), bool(centered)
        self._square = self._remember("square")
        self._mean = self._remember("mean") if self.centered else []
        self._velocity = self._remember("velocity") if self.momentum else []

    def _step(self, i: int, p: Tensor, g: Array, update: Array) -> None:
        s = self._square[i]
        np.multiply(g, 1 - self.alpha, out=update)
        if self.centered:
            m = self._mean[i]
            m *= self.alpha
            m += update
        update *= g
        s *= self.alpha
        s += update
        if self.centered:
            np.multiply(m, m, out=update)
            np.subtract(s, update, out=update)
            np.maximum(update, 0, out=update)  # a constant gradient has no variance, but rounding may make it negative
            np.sqrt(update, out=update)
        else:
            np.sqrt(s, out=update)
        update += self.eps
        np.divide(g, update, out=update)
        if self.momentum:
            v = self._velocity[i]
            v *= self.momentum
            v += update
            np.multiply(v, self._lr, out=update)
        else:
            update *= self._lr
        p.subtract_(update)
