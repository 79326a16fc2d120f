"""`Dataset`: inputs and targets, with the scaling of the inputs declared and done where they are used.

Pixels stay uint8 until then: a batch gathers bytes, and since the scaling is known it can be folded into a compiled
network.
"""

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import DataError, DtypeError

Array = np.ndarray[Any, Any]


class Dataset:
    """Inputs u with their targets; what a network sees are the features x = scale · u + shift.

    Parameters
    ----------
    inputs : array (n, ...)
        Kept as given, never copied: pixels as uint8, say of shape (n, 784).
    targets : array (n, ...)
        Labels (n,), one-hot rows (n, C), or numbers to be predicted. Kept as given.
    scale, shift : float
        The preprocessing.
    classes : int, optional
        C, if the targets are classes.
    name : str
        For messages.
    image_shape : tuple of int, optional
        How the inputs of one sample look as an image: (28, 28), or (3, 32, 32) with the colours first.
    class_names : sequence of str, optional
        What the classes are called, in their order.

    Raises
    ------
    DataError
        If inputs and targets differ in length, the preprocessing is not finite, or there is not one name for each
        class. `chainrule.data.arrays` checks more.

    Notes
    -----
    All of the parameters are attributes too.
    """

    def __init__(
        self,
        inputs: npt.ArrayLike,
        targets: npt.ArrayLike,
        *,
        scale: float = 1.0,
        shift: float = 0.0,
        classes: int | None = None,
        name: str = "dataset",
        image_shape: tuple[int, ...] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.inputs: Array = np.asarray(inputs)
        self.targets: Array = np.asarray(targets)
        self.scale, self.shift = float(scale), float(shift)
        self.classes, self.name, self.image_shape = classes, name, image_shape
        self.class_names = None if class_names is None else tuple(class_names)
        if self.inputs.ndim == 0 or self.targets.ndim == 0 or len(self.inputs) != len(self.targets):
            raise DataError(
                f"{name}: inputs of shape {self.inputs.shape} and targets of shape {self.targets.shape} do not fit; "
                "expected one target for each input, along the first axis."
            )
        if not (np.isfinite(self.scale) and np.isfinite(self.shift)):
            raise DataError(f"{name}: scale {self.scale} and shift {self.shift} must be finite numbers.")
        if self.class_names is not None and len(self.class_names) != classes:
            raise DataError(
                f"{name}: there are {len(self.class_names)} class names, but classes is {classes}; expected one each."
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        kind = "" if self.classes is None else f", {self.classes} classes"
        formula = "u" if self.scale == 1 else f"{self.scale:.6g} u"
        if self.shift:
            formula += f" {'+' if self.shift > 0 else '-'} {abs(self.shift):.6g}"
        return (
            f"Dataset('{self.name}': {len(self):,} inputs of shape {self.inputs.shape[1:]} {self.inputs.dtype}{kind}, "
            f"x = {formula})"
        )

    def scaled(self, scale: float, shift: float = 0.0) -> "Dataset":
        """The same data, in the same memory, with another preprocessing in place of this one."""
        return self._like(self.inputs, self.targets, scale, shift)

    def subset(self, rows: slice | npt.ArrayLike) -> "Dataset":
        """Some of the rows: a slice stays in the same memory, an array of indices (or bools) is gathered.

        Raises
        ------
        DataError
            If an index is out of range, or `rows` is no slice and no one-dimensional array of integers or bools.
        """
        if not isinstance(rows, slice):
            index = np.asarray(rows)
            rows = index.astype(np.intp) if index.size == 0 else index
            if rows.ndim != 1 or rows.dtype.kind not in "biu":
                raise DataError(
                    f"{self.name}: subset needs a slice or integers of shape (k,), found {rows.dtype} of shape "
                    f"{rows.shape}."
                )
        try:
            return self._like(self.inputs[rows], self.targets[rows], self.scale, self.shift)
        except IndexError as error:
            raise DataError(f"{self.name}: subset of {len(self):,} rows: {error}.") from None

    def _like(self, inputs: Array, targets: Array, scale: float, shift: float) -> "Dataset":
        return Dataset(
            inputs,
            targets,
            scale=scale,
            shift=shift,
            classes=self.classes,
            name=self.name,
            image_shape=self.image_shape,
            class_names=self.class_names,
        )

    def features(self, rows: Any = slice(None), dtype: npt.DTypeLike = np.float32) -> Array:
        """x = scale · u + shift of some rows, as floats.

        Parameters
        ----------
        rows : slice, integers, or int
            What indexes the first axis; an int gives one sample, without that axis.
        dtype : float dtype

        Returns
        -------
        ndarray (k, ...)
            Where there is nothing to compute (floats of this dtype, scale 1, shift 0) a slice is a view of the inputs:
            do not write into it.

        Raises
        ------
        DataError
            If a number is too large for the dtype.
        DtypeError
            If the dtype is none of floats.
        """
        return self._scale(self.inputs[rows], _float(dtype))

    def batches(
        self, batch_size: int, *, rng: np.random.Generator | None = None, dtype: npt.DTypeLike = np.float32
    ) -> Iterator[tuple[Array, Array]]:
        """Features and targets of one batch after another, through all rows once; the last batch may be shorter.

        Parameters
        ----------
        batch_size : int
        rng : numpy.random.Generator, optional
            Draws the order of the rows, anew at each call. Without it they come in order.
        dtype : float dtype
            Of the features.

        Yields
        ------
        features : ndarray (batch_size, ...)
        targets : ndarray (batch_size, ...)
        """
        try:
            size = operator.index(batch_size)
        except TypeError:
            raise DataError(f"{self.name}: batch_size is {batch_size!r}; expected a whole number.") from None
        if size < 1:
            raise DataError(f"{self.name}: batch_size is {size}; expected at least 1.")
        if not (rng is None or isinstance(rng, np.random.Generator)):
            raise DataError(f"{self.name}: rng is {rng!r}; expected a generator, such as np.random.default_rng(1).")
        order = None if rng is None else rng.permutation(len(self))
        return self._batches(size, order, _float(dtype))

    def _batches(self, size: int, order: Array | None, dtype: np.dtype[Any]) -> Iterator[tuple[Array, Array]]:
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            if order is None:
                yield self._scale(self.inputs[rows], dtype), self.targets[rows]
            else:  # `take` is faster than an index here
                drawn = order[rows]
                yield self._scale(self.inputs.take(drawn, axis=0), dtype), self.targets.take(drawn, axis=0)

    def _scale(self, u: Array, dtype: np.dtype[Any]) -> Array:
        # Bytes are exact in the dtype asked for; float64 or int64 inputs are scaled before they lose digits.
        work = np.result_type(u.dtype, dtype)
        try:
            with np.errstate(over="raise"):
                if self.scale == 1 and not self.shift:
                    return u.astype(dtype, copy=False)
                x = u.astype(work)
                if self.scale != 1:
                    x *= work.type(self.scale)
                if self.shift:
                    x += work.type(self.shift)
                return x.astype(dtype, copy=False)
        except FloatingPointError:
            raise DataError(
                f"{self.name}: some numbers are too large for {dtype}; scale them, or take float64."
            ) from None

    def class_counts(self) -> Array:
        """How many samples each class has.

        Returns
        -------
        ndarray of int64 (C,)

        Raises
        ------
        DataError
            If the targets are not classes.
        """
        if self.classes is None:
            raise DataError(
                f"{self.name}: there are no classes to count; its targets are {self.targets.dtype} numbers."
            )
        if self.targets.ndim == 1:
            return np.bincount(self.targets, minlength=self.classes)
        counts: Array = (self.targets != 0).sum(axis=0)
        return counts


def _float(dtype: npt.DTypeLike) -> np.dtype[Any]:
    floats = np.dtype(dtype)
    if floats.kind != "f":
        raise DtypeError(f"features are floats: expected a dtype such as float32, found {floats}.")
    return floats
