"""Adam and AdamW: momentum divided by the gradient's own recent size, both without their bias towards zero."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from chainrule.engine import Tensor
from chainrule.errors import ChainruleError
from chainrule.optim.optimizer import Named, Optimizer


class Adam(Optimizer):
    """Moments of the gradient, estimated as it changes. [Kingma and Ba 2015, algorithm 1]

    In the t-th step, m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g², and
    p ← p - lr · m̂ / (√v̂ + ε) with m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ).

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
    betas : (float, float)
        β₁ and β₂ in [0, 1): how long gradients and their squares are remembered.
    eps : float
        ε ≥ 0, outside the root.
    weight_decay : float
        λ ≥ 0: g becomes g + λ p. See `AdamW` for a decay that is not divided by the gradient's size.
    amsgrad : bool
        The largest v so far takes the place of v. [Reddi et al. 2018, algorithm 2]
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ChainruleError(f"{type(self).__name__}: betas is {betas!r}; expected two numbers: (0.9, 0.999).")
        self.betas = self._number("betas[0]", betas[0], below=1), self._number("betas[1]", betas[1], below=1)
        self.eps, self.amsgrad = self._number("eps", eps), bool(amsgrad)
        self._count()
        for name in ("mean", "square", *(["largest_square"] if self.amsgrad else [])):
            self._remember(name)

    def numbers(self, step: int) -> dict[str, float]:
        # m̂ / (√v̂ + ε) = m √c / (√v + ε √c) / (1 - β₁ᵗ) with c = 1 - β₂ᵗ: numbers are scaled, not arrays.
        beta1, beta2 = self.betas
        root = math.sqrt(1 - beta2**step)
        return {"rate": self._lr * root / (1 - beta1**step), "eps": self.eps * root}

    def formula(self, p: Any, g: Any, memory: Named, numbers: Named) -> tuple[Any, dict[str, Any]]:
        (beta1, beta2), g = self.betas, self._decayed(p, g)
        m = beta1 * memory["mean"] + (1 - beta1) * g
        v = beta2 * memory["square"] + (1 - beta2) * g * g
        new = {"mean": m, "square": v}
        if self.amsgrad:
            new["largest_square"] = v = np.maximum(memory["largest_square"], v)
        return p - m / (np.sqrt(v) + numbers["eps"]) * numbers["rate"], new


class AdamW(Adam):
    """Adam with decoupled weight decay: p ← p - lr · λ p, then Adam's step. [Loshchilov and Hutter 2019, algorithm 2]

    Parameters
    ----------
    parameters : iterable of Parameter
    lr, betas, eps, amsgrad
        As for `Adam`.
    weight_decay : float
        λ ≥ 0.
    """

    _decoupled = True

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay, amsgrad)

    def numbers(self, step: int) -> dict[str, float]:
        return {**super().numbers(step), "decay": self._lr * self.weight_decay}

    def formula(self, p: Any, g: Any, memory: Named, numbers: Named) -> tuple[Any, dict[str, Any]]:
        return super().formula(p - numbers["decay"] * p, g, memory, numbers)
