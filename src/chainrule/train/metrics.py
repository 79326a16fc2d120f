"""Metrics: from outputs and targets of a batch to one number for each sample; their mean is reported."""

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import UnknownNameError

Metric = Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def accuracy(outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """1 where the largest output (..., C) is that of the target, a label (...) or a one-hot row (..., C)."""
    labels = targets.argmax(axis=-1) if targets.ndim == outputs.ndim else targets
    right: np.ndarray[Any, Any] = outputs.argmax(axis=-1) == labels
    return right


def error(outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """1 where `accuracy` is 0: the share of misclassified samples."""
    return ~accuracy(outputs, targets)


METRICS: dict[str, Metric] = {"accuracy": accuracy, "error": error}


def named(metric: str | Metric) -> tuple[str, Metric]:
    """A metric with its name, from the name or the function itself."""
    if callable(metric):
        return metric.__name__, metric
    if metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS)
    return metric, METRICS[metric]
