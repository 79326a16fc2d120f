"""Classes as labels 0 to C-1 and as one-hot rows, both ways, and the check that labels are what they should be."""

from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DataError

Array = np.ndarray[Any, Any]


def one_hot(labels: npt.ArrayLike, classes: int, dtype: npt.DTypeLike = np.float32) -> Array:
    """Rows that are 1 at the label and 0 elsewhere.

    Parameters
    ----------
    labels : integers (n,)
    classes : int
        C, the length of a row.
    dtype : dtype

    Returns
    -------
    ndarray (n, C)

    Raises
    ------
    DataError
        If a label is no integer from 0 to C-1.
    """
    array = np.asarray(labels)
    if array.size == 0 and array.ndim == 1:
        array = array.astype(np.int64)  # an empty list has no integers by which to know it
    if array.ndim != 1 or array.dtype.kind not in "biu":
        raise DataError(
            f"one_hot: expected integer labels of shape (n,), found {array.dtype} of shape {array.shape}; convert "
            "them, for example with .ravel() or .astype(int)."
        )
    check_labels(array, classes, "one_hot")
    rows = np.zeros((len(array), classes), dtype)
    rows[np.arange(len(array)), array.astype(np.intp, copy=False)] = 1
    return rows


def labels(one_hot: npt.ArrayLike) -> Array:
    """The labels of one-hot rows: where each row has its 1.

    Parameters
    ----------
    one_hot : array (n, C)

    Returns
    -------
    ndarray of int64 (n,)

    Raises
    ------
    DataError
        If a row is anything but a single 1 among zeros.
    """
    rows = np.asarray(one_hot)
    if rows.ndim != 2 or rows.dtype.kind not in "biuf":
        raise DataError(f"labels: expected one-hot rows of shape (n, C), found {rows.dtype} of shape {rows.shape}.")
    wrong = np.flatnonzero(~is_one_hot(rows))
    if wrong.size:
        raise DataError(
            f"labels: {wrong.size} of {len(rows)} rows are not one-hot, the first is row {wrong[0]}; expected a "
            "single 1 and zeros. For the largest of several scores take scores.argmax(axis=1)."
        )
    return rows.argmax(axis=1).astype(np.int64, copy=False) if rows.size else np.zeros(len(rows), np.int64)


def is_one_hot(rows: Array) -> Array:
    """Which rows (n, C) are a single 1 among zeros."""
    once: Array = ((rows == 1).sum(axis=1) == 1) & ((rows != 0).sum(axis=1) == 1)
    return once


def check_labels(labels: Array, classes: int, where: str) -> None:
    """Raise a DataError, beginning with `where`, if an integer label is outside 0 to classes-1."""
    if classes < 1:
        raise DataError(f"{where}: classes is {classes}; expected at least 1.")
    if labels.size == 0 or (labels.min() >= 0 and labels.max() < classes):
        return
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    raise DataError(
        f"{where}: {wrong.size} of {labels.size} labels are outside the {classes} classes 0 to {classes - 1}, the "
        f"first is {labels[wrong[0]]} at row {wrong[0]}; number the classes from 0, or give their right number."
    )
