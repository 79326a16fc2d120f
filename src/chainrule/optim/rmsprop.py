"""RMSprop: a gradient divided by its own recent size."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from chainrule.engine import Tensor
from chainrule.optim.optimizer import Named, Optimizer


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
        for name, wanted in {"square": True, "mean": self.centered, "velocity": bool(self.momentum)}.items():
            if wanted:
                self._remember(name)

    def formula(self, p: Any, g: Any, memory: Named, numbers: Named) -> tuple[Any, dict[str, Any]]:
        g = self._decayed(p, g)
        share = (1 - self.alpha) * g
        new = {"square": self.alpha * memory["square"] + share * g}
        size = new["square"]
        if self.centered:
            new["mean"] = self.alpha * memory["mean"] + share
            # A constant gradient has no variance, but rounding may make it negative.
            size = np.maximum(size - new["mean"] * new["mean"], 0)
        change = g / (np.sqrt(size) + self.eps)
        if self.momentum:
            new["velocity"] = change = self.momentum * memory["velocity"] + change
        return p - numbers["lr"] * change, new
