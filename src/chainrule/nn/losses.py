"""Losses: from a model's outputs and the targets to one number, with a declared reduction and its unit."""

from typing import Any

from chainrule import ops
from chainrule.errors import UnknownNameError
from chainrule.ops.loss import REDUCTIONS


class Loss:
    """The base of all losses.

    Parameters
    ----------
    reduction : {"mean", "sum", "mean_entries"}
        Of the samples' losses: their mean, their sum, or (cross-entropy) the mean over samples and classes, which is a
        C-th of the mean.
    """

    quantity = ""

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in REDUCTIONS[:3]:
            raise UnknownNameError("reduction", reduction, REDUCTIONS[:3])
        self.reduction = reduction

    @property
    def unit(self) -> str:
        """The unit in which the loss is given."""
        over = {"mean": "mean per sample", "sum": "sum over samples", "mean_entries": "mean over samples and outputs"}
        return f"{self.quantity}, {over[self.reduction]}"

    def __call__(self, outputs: Any, targets: Any) -> Any:
        """The loss, of shape ()."""
        return self.samples(outputs, targets, self.reduction)

    def samples(self, outputs: Any, targets: Any, reduction: str) -> Any:
        """The samples' losses under a reduction."""
        raise TypeError(f"{type(self).__name__} has no formula: give it a method `samples`.")

    def over(self, total: float, samples: int, entries: int) -> float:
        """The loss of a whole set, from the sum of its samples' losses and how many outputs each sample has."""
        return total / {"mean": samples, "sum": 1, "mean_entries": samples * entries}[self.reduction]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reduction='{self.reduction}')"


class CrossEntropyLoss(Loss):
    """-ln softmax(logits)[target]: see `chainrule.cross_entropy`."""

    quantity = "cross-entropy in nats"

    def samples(self, outputs: Any, targets: Any, reduction: str) -> Any:
        return ops.cross_entropy(outputs, targets, reduction)


class MSELoss(Loss):
    """The squared difference of outputs and targets of the same shape: see `chainrule.mean_squared_error`.

    `"mean"` is over all elements, as in PyTorch.
    """

    quantity = "squared error"

    @property
    def unit(self) -> str:
        """The unit in which the loss is given."""
        return f"{self.quantity}, {'sum' if self.reduction == 'sum' else 'mean'} over samples and outputs"

    def samples(self, outputs: Any, targets: Any, reduction: str) -> Any:
        return ops.mean_squared_error(outputs, targets, reduction)

    def over(self, total: float, samples: int, entries: int) -> float:
        return total / (1 if self.reduction == "sum" else samples * entries)
