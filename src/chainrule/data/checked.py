"""`arrays`: one's own arrays as a Dataset, after a look at every number; and the same for what a file holds."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.dataset import Dataset
from chainrule.data.encoding import check_labels, is_one_hot, labels
from chainrule.errors import DataError

Array = np.ndarray[Any, Any]

CLASSES_UNASKED = 1000
_BLOCK = 1 << 24  # bytes that are looked at together


def arrays(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    scale: float = 1.0,
    shift: float = 0.0,
    classes: int | None = None,
    name: str = "arrays",
) -> Dataset:
    """One's own arrays as a Dataset.

    Parameters
    ----------
    x : array (n, ...) of real numbers
        The inputs; an array is kept, a list is converted.
    y : array (n, ...)
        Targets. Integers or bools (n,) are labels; rows (n, C), C > 1, with a single 1 among zeros are one-hot; other
        floats are numbers to be predicted.
    scale, shift : float
        The network will see scale · x + shift.
    classes : int, optional
        C; by default one more than the largest label.
    name : str
        For messages.

    Raises
    ------
    DataError
        If the arrays are empty, differ in length, or hold NaN, infinity or anything but real numbers, or if a label is
        outside the classes.
    """
    inputs, targets = finite_numbers(x, f"{name}: x"), finite_numbers(y, f"{name}: y")
    if not len(inputs) or not len(targets):
        raise DataError(f"{name}: expected at least one sample, found x {inputs.shape} and y {targets.shape}.")
    if len(inputs) != len(targets):
        raise DataError(
            f"{name}: x has {len(inputs):,} rows (shape {inputs.shape}), but y has {len(targets):,} (shape "
            f"{targets.shape}); expected one target for each row of x."
        )
    if not inputs.size or not targets.size:
        raise DataError(f"{name}: expected numbers, but x has shape {inputs.shape} and y {targets.shape}.")
    targets, classes = class_targets(targets, classes, f"{name}: y")
    return Dataset(inputs, targets, scale=scale, shift=shift, classes=classes, name=name)


def finite_numbers(values: npt.ArrayLike, where: str) -> Array:
    """An array of finite real numbers with at least one axis."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise DataError(f"{where} has masked values; remove their rows, or fill them in with .filled(value).")
    try:
        array = np.asarray(values)
    except ValueError as error:  # a ragged list
        raise DataError(f"{where} cannot become an array: {error}.") from None
    if array.dtype.kind not in "biuf":
        advice = (
            "give each word a number" if array.dtype.kind in "SUT" else "convert it, for example with .astype(float)"
        )
        raise DataError(f"{where} has dtype {array.dtype}; expected real numbers: {advice}.")
    if array.ndim == 0:
        raise DataError(f"{where} is a single number; expected an array with one row a sample.")
    if is_finite(array):
        return array
    first: tuple[int, ...] = ()
    wrong = start = 0
    for block in blocks(array):
        bad = ~np.isfinite(block)
        if bad.any() and not first:
            row, *rest = np.unravel_index(int(bad.argmax()), bad.shape)
            first = (start + int(row), *map(int, rest))
        wrong, start = wrong + int(bad.sum()), start + len(block)
    place = ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column"), first, strict=False))
    place = place if array.ndim <= 2 else f"index {first}"
    raise DataError(
        f"{where} has {wrong:,} of {array.size:,} values that are NaN or infinite, the first "
        f"({array[first]}) at {place}; remove these rows or fill the values in."
    )


def blocks(array: Array) -> Iterator[Array]:
    """Some rows after others, so that an array in a mapped file is read once and never as a whole."""
    rows = max(1, _BLOCK * len(array) // max(1, array.nbytes))
    return (array[start : start + rows] for start in range(0, len(array), rows))


def is_finite(array: Array) -> bool:
    """Whether no number of an array with rows is NaN or infinite; there is nothing to read of integers."""
    if array.dtype.kind != "f" or not array.size:
        return True
    # The smallest and the largest tell it, without a second array as large as the first.
    with np.errstate(invalid="ignore"):
        return all(np.isfinite([block.min(), block.max()]).all() for block in blocks(array))


def class_targets(
    targets: Array, classes: int | None, where: str, numbers: str = "give floats"
) -> tuple[Array, int | None]:
    """The targets, labels as int64, and how many classes they have: None for numbers to be predicted.

    `numbers` says what to do where integers are meant to be that.
    """
    integers = targets.dtype.kind in "biu"
    if targets.ndim == 1 and integers:
        if classes is None:
            classes = 2 if targets.dtype.kind == "b" else int(targets.max()) + 1
            if classes > max(CLASSES_UNASKED, len(targets)):
                raise DataError(
                    f"{where}: the largest of {len(targets):,} labels is {classes - 1}; for numbers to be predicted "
                    f"{numbers}, and if there are as many classes, say so with classes=."
                )
            classes = max(classes, 1)  # only negative labels: let the check say so
        check_labels(targets, classes, where)
        return targets.astype(np.int64, copy=False), classes
    if targets.ndim == 2 and targets.shape[1] > 1 and is_one_hot(targets).all():
        if classes not in (None, targets.shape[1]):
            raise DataError(f"{where}: one-hot rows of {targets.shape[1]} classes, but classes is {classes}.")
        # A bool would select instead of multiply, and int64 would make a float32 loss float64; int8 does neither.
        return (targets.astype(np.int8) if integers else targets), targets.shape[1]
    if integers or classes is not None:
        raise DataError(
            f"{where}: {targets.dtype} of shape {targets.shape} are neither labels, integers of shape (n,), nor "
            "one-hot rows of a single 1 among zeros; convert them, for example with .ravel() or .astype(int), or "
            "give floats and no classes to predict numbers."
        )
    return targets, None


@dataclass(frozen=True)
class Stored:
    """What a file says about an array in it, which has not been read."""

    key: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def check_stored(x: Stored, y: Stored, path: Path, reader: str, limit: int) -> None:
    """Raise a DataError if two arrays that a file promises are no data set, or one has more than `limit` bytes."""
    for each in (x, y):
        if each.dtype.kind not in "biuf":
            advice = ": give each word a number" if each.dtype.kind in "OSUT" else ""
            raise DataError(f"{path}: '{each.key}' has dtype {each.dtype}; expected real numbers{advice}.")
        if not each.shape or not each.nbytes:
            raise DataError(
                f"{path}: '{each.key}' has shape {each.shape}; expected an array with one row a sample, and at least "
                "one."
            )
        if each.nbytes > limit:
            raise DataError(
                f"{path}: '{each.key}' is {each.dtype} of shape {each.shape}, {each.nbytes:,} bytes, more than the "
                f"limit of {limit:,}; if the file is right, give {reader} a larger limit."
            )
    if x.shape[0] == y.shape[0]:
        return
    columns = len(x.shape) == 2 and x.shape[1] == y.shape[0]
    hint = f" Are the samples of '{x.key}' in its columns? Transpose it." if columns else ""
    raise DataError(
        f"{path}: '{x.key}' has {x.shape[0]:,} rows (shape {x.shape}), but '{y.key}' has {y.shape[0]:,} (shape "
        f"{y.shape}); expected one target for each row.{hint}"
    )


def from_file(path: Path, x_key: str, x: Array, y_key: str, y: Array) -> Dataset:
    """A Dataset of two arrays that a file holds; one-hot rows become labels."""
    finite_numbers(x, f"{path}: '{x_key}'")
    y, classes = class_targets(finite_numbers(y, f"{path}: '{y_key}'"), None, f"{path}: '{y_key}'")
    if classes is not None and y.ndim == 2:
        y = labels(y)
    return Dataset(x, y, classes=classes, name=path.name)
