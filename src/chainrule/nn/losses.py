"""Losses: from a model's outputs and the targets to one number, with a declared reduction and its unit."""

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.errors import DataError, UnknownNameError
from chainrule.nn.arguments import positive, real
from chainrule.ops.loss import REDUCTIONS, checked_weights


class Loss:
    """The base of all losses.

    A subclass gives `samples`; `count` too, if a mean is not over the samples.

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

    def count(self, outputs: Any, targets: Any) -> float:
        """What a mean over these samples is divided by: their number, or that of all their outputs."""
        return float(outputs.size if self.reduction == "mean_entries" else len(outputs))

    def over(self, total: float, count: float) -> float:
        """The loss of a whole set, from the sums over its batches of `samples(..., "sum")` and of `count`."""
        return total if self.reduction == "sum" else total / count

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({options})"


class CrossEntropyLoss(Loss):
    """-ln softmax(logits)[target]: see `chainrule.cross_entropy`.

    Parameters
    ----------
    reduction : {"mean", "sum", "mean_entries"}
    class_weights : array (C,), optional
        What each class counts; a mean over labels is then divided by the sum of their weights.
    label_smoothing : float
        The share of a target that is spread over all classes, from 0 to 1.
    """

    quantity = "cross-entropy in nats"

    def __init__(self, reduction: str = "mean", *, class_weights: Any = None, label_smoothing: float = 0.0) -> None:
        super().__init__(reduction)
        self.class_weights = None if class_weights is None else _weights(class_weights)
        self.label_smoothing = real(
            "CrossEntropyLoss: label_smoothing",
            label_smoothing,
            "a share from 0 to 1",
            lambda share: 0 <= share <= 1,
            DataError,
        )

    @property
    def unit(self) -> str:
        """The unit in which the loss is given."""
        return super().unit + (", weighted by class" if self.class_weights is not None else "")

    def samples(self, outputs: Any, targets: Any, reduction: str) -> Any:
        options: dict[str, Any] = {"class_weights": self.class_weights, "label_smoothing": self.label_smoothing}
        return ops.cross_entropy(outputs, targets, reduction, **options)

    def count(self, outputs: Any, targets: Any) -> float:
        classes = outputs.shape[-1]
        if self.class_weights is not None and len(targets.shape) < len(outputs.shape):
            number = float(np.asarray(self.class_weights)[targets].sum())
        else:
            number = outputs.size / classes
        return number * (classes if self.reduction == "mean_entries" else 1)


def _weights(class_weights: Any) -> list[float]:
    try:
        weights = np.asarray(class_weights, float)
    except (TypeError, ValueError):
        weights = np.empty(())
    if weights.ndim != 1 or not weights.size:
        raise DataError(f"CrossEntropyLoss: class_weights is {class_weights!r:.60}; expected a number for each class.")
    found: list[float] = checked_weights(weights, weights.size).tolist()
    return found


class EntryLoss(Loss):
    """The base of losses of single outputs: targets have the outputs' shape, and `"mean"` is over all elements."""

    @property
    def unit(self) -> str:
        """The unit in which the loss is given."""
        return f"{self.quantity}, {'sum' if self.reduction == 'sum' else 'mean'} over samples and outputs"

    def count(self, outputs: Any, targets: Any) -> float:
        return float(outputs.size)


class MSELoss(EntryLoss):
    """The squared difference: see `chainrule.mean_squared_error`."""

    quantity = "squared error"

    def samples(self, outputs: Any, targets: Any, reduction: str) -> Any:
        return ops.mean_squared_error(outputs, targets, reduction)


class HuberLoss(EntryLoss):
    """The squared difference near 0, the absolute one beyond `delta`: see `chainrule.huber`."""

    quantity = "Huber loss"

    def __init__(self, reduction: str = "mean", *, delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = positive("HuberLoss: delta", delta, DataError)

    def samples(self, outputs: Any, targets: Any, reduction: str) -> Any:
        return ops.huber(outputs, targets, self.delta, reduction)


class BCEWithLogitsLoss(EntryLoss):
    """-t ln σ(z) - (1 - t) ln(1 - σ(z)) of logits z: see `chainrule.binary_cross_entropy`."""

    quantity = "binary cross-entropy in nats"

    def samples(self, outputs: Any, targets: Any, reduction: str) -> Any:
        return ops.binary_cross_entropy(outputs, targets, reduction)
