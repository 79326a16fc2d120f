"""`arrays`: one's own arrays as a Dataset, after a look at every number."""

from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.dataset import Dataset
from chainrule.data.encoding import check_labels, is_one_hot
from chainrule.errors import DataError

Array = np.ndarray[Any, Any]

_CLASSES_UNASKED = 1000


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
    # The smallest and the largest tell whether all are finite, without a second array as large as the first.
    with np.errstate(invalid="ignore"):
        finite = array.dtype.kind != "f" or not array.size or np.isfinite([array.min(), array.max()]).all()
    if finite:
        return array
    wrong = ~np.isfinite(array)
    first = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), array.shape))
    place = ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column"), first, strict=False))
    place = place if array.ndim <= 2 else f"index {first}"
    raise DataError(
        f"{where} has {int(wrong.sum()):,} of {array.size:,} values that are NaN or infinite, the first "
        f"({array[first]}) at {place}; remove these rows or fill the values in."
    )


def class_targets(targets: Array, classes: int | None, where: str) -> tuple[Array, int | None]:
    """The targets, labels as int64, and how many classes they have: None for numbers to be predicted."""
    integers = targets.dtype.kind in "biu"
    if targets.ndim == 1 and integers:
        if classes is None:
            classes = 2 if targets.dtype.kind == "b" else int(targets.max()) + 1
            if classes > max(_CLASSES_UNASKED, len(targets)):
                raise DataError(
                    f"{where}: the largest of {len(targets):,} labels is {classes - 1}; for numbers to be predicted "
                    "give floats, and if there are as many classes, say so with classes=."
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
