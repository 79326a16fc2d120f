"""Which classes a model takes for which: the confusion matrix, and the accuracy of each class that follows from it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.data import Dataset
from chainrule.errors import DataError
from chainrule.nn.module import Module

Array = np.ndarray[Any, Any]


class ConfusionMatrix:
    """How many samples of each class were taken for each class. Prints itself as a table.

    Attributes
    ----------
    counts : ndarray of int64 (C, C)
        `counts[i, j]` samples of class i were taken for class j.
    names : tuple of str
        Of the classes.
    accuracy : float
        The share of all samples that was right.
    per_class : ndarray (C,)
        The share of each class's samples that was right (its recall); NaN for a class without samples.
    """

    def __init__(self, counts: Array, names: Sequence[str] | None = None) -> None:
        self.counts = counts
        self.names = tuple(map(str, range(len(counts)) if names is None else names))
        if len(self.names) != len(counts):
            raise DataError(f"confusion matrix: {len(self.names)} names were given for {len(counts)} classes.")
        right, totals = counts.diagonal(), counts.sum(axis=1)
        self.accuracy = float(right.sum() / totals.sum())
        self.per_class: Array = np.divide(right, totals, out=np.full(len(counts), np.nan), where=totals > 0)

    def __repr__(self) -> str:
        rows = [["true \\ taken for", *self.names, "right"]]
        for name, counts, share in zip(self.names, self.counts, self.per_class, strict=True):
            rows.append([name, *map(str, counts), "none" if np.isnan(share) else f"{share:.2%}"])
        rows.append(["all", *map(str, self.counts.sum(axis=0)), f"{self.accuracy:.2%}"])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        return "\n".join(lines)


def confusion_matrix(
    outputs: Array | Module, targets: Array | Dataset, names: Sequence[str] | None = None
) -> ConfusionMatrix:
    """The confusion matrix of outputs and targets, or of a model on a data set.

    Parameters
    ----------
    outputs : array (..., C), or Module
        Scores of the classes, of which the largest wins; or the model that computes them.
    targets : array, or Dataset
        Labels (...) or one-hot rows (..., C); or the data set that the model is shown.
    names : sequence of str, optional
        Of the classes, for the print.

    Returns
    -------
    ConfusionMatrix

    Raises
    ------
    DataError
        If outputs and targets do not fit, a label is outside the classes, or outputs hold NaN.
    """
    if isinstance(outputs, Module) or isinstance(targets, Dataset):
        if not (isinstance(outputs, Module) and isinstance(targets, Dataset)):
            raise DataError("confusion matrix: give outputs and targets, or a model and a Dataset.")
        outputs, targets = outputs.predict(targets), targets.targets
    scores, truth = np.asarray(outputs), np.asarray(targets)
    classes = scores.shape[-1] if scores.ndim else 0
    if truth.shape == scores.shape and classes:
        truth = truth.argmax(axis=-1)
    if truth.shape != scores.shape[:-1] or not truth.size or truth.dtype.kind not in "iu":
        raise DataError(
            f"confusion matrix: outputs of shape {scores.shape} need as many targets, labels of shape "
            f"{scores.shape[:-1]} or one-hot rows, and at least one; found {truth.dtype} of shape {truth.shape}."
        )
    if truth.min() < 0 or truth.max() >= classes:
        raise DataError(
            f"confusion matrix: the labels run from {truth.min()} to {truth.max()}, but there are {classes} outputs."
        )
    if scores.dtype.kind == "f" and (unknown := np.isnan(scores).any(axis=-1)).any():
        raise DataError(
            f"confusion matrix: {unknown.sum()} of {unknown.size} outputs hold NaN, so they are taken for no class; "
            "has the training diverged?"
        )
    pairs = truth.astype(np.int64) * classes + scores.argmax(axis=-1)
    return ConfusionMatrix(np.bincount(pairs.reshape(-1), minlength=classes**2).reshape(classes, classes), names)


def per_class_accuracy(outputs: Array | Module, targets: Array | Dataset) -> Array:
    """The share of each class's samples that is right, (C,): `per_class` of the `confusion_matrix`."""
    return confusion_matrix(outputs, targets).per_class
