"""How large the gradients are in each layer: whether they vanish or explode on their way back."""

from typing import TYPE_CHECKING

from chainrule.optim.clip import norm
from chainrule.train.callbacks import Callback

if TYPE_CHECKING:
    from chainrule.engine import Tensor
    from chainrule.train.history import Scores
    from chainrule.train.trainer import Trainer


class GradientNorms(Callback):
    """Records √Σ g² of each parameter's gradient g, as the optimiser got it: the mean over the batches of each epoch.

    The gradient is that of the loss in its declared reduction, after clipping and before weight decay.

    Attributes
    ----------
    norms : dict of list of float
        By the parameter's name, such as `"0.weight"`: one number for each epoch. A further fit goes on with them.
        Parameters that the optimiser does not have are left out; a batch without a gradient counts as 0.
    """

    def __init__(self) -> None:
        self.norms: dict[str, list[float]] = {}
        self._sums: dict[str, float] = {}
        self._batches = 0

    def on_fit_start(self, trainer: "Trainer", epochs: int) -> None:
        learnt = {id(p) for p in trainer.optimizer.parameters}
        self._parameters: dict[str, Tensor] = {
            name: p for name, p in trainer.model.named_parameters() if id(p) in learnt
        }
        self._begin()

    def _begin(self) -> None:
        self._sums, self._batches = dict.fromkeys(self._parameters, 0.0), 0

    def on_batch_end(self, trainer: "Trainer", epoch: int, batch: int, loss: float) -> None:
        self._batches += 1
        for name, p in self._parameters.items():
            if p.grad is not None:
                self._sums[name] += norm(p.grad)

    def on_epoch_end(self, trainer: "Trainer", epoch: int, scores: "dict[str, Scores]") -> None:
        for name, total in self._sums.items():
            self.norms.setdefault(name, []).append(total / self._batches)
        self._begin()
