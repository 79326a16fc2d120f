"""Stochastic gradient descent, plain, with momentum, or with Nesterov's."""

from collections.abc import Iterable
from typing import Any

from chainrule.engine import Tensor
from chainrule.errors import ChainruleError
from chainrule.optim.optimizer import Named, Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wanted: v ← μ v + g, p ← p - lr · v. [Polyak 1964]

    With `nesterov`, p ← p - lr · (g + μ v): the gradient as it will be when the velocity has been followed.
    [Nesterov 1983; in this form Sutskever et al. 2013]

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
    momentum : float
        μ in [0, 1).
    weight_decay : float
        λ ≥ 0: g becomes g + λ p.
    nesterov : bool
        Needs a momentum.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float = 0.0,
        *,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.momentum, self.nesterov = self._number("momentum", momentum, below=1), bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ChainruleError("SGD: nesterov=True needs a momentum, such as momentum=0.9.")
        if self.momentum:
            self._remember("velocity")

    def formula(self, p: Any, g: Any, memory: Named, numbers: Named) -> tuple[Any, dict[str, Any]]:
        g, lr = self._decayed(p, g), numbers["lr"]
        if not self.momentum:
            return p - lr * g, {}
        v = self.momentum * memory["velocity"] + g
        return p - lr * (self.momentum * v + g if self.nesterov else v), {"velocity": v}
