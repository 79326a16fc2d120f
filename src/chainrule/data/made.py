"""`synthetic`: the data of `vu-a1` and `vu-a2`, which are made and not read: points in the plane, inside or outside an
ellipse.
"""

import operator
from typing import Any

import numpy as np

from chainrule.data.dataset import Dataset
from chainrule.errors import DataError

TRAIN, TEST, THRESHOLD = 60_000, 10_000, 0.6
# The two versions of the course's generator that are public, by the matrix of their quadratic form.
FORMS = {1: ((1.0, -0.05), (1.0, 0.4)), 2: ((1.0, 0.5), (1.0, 0.2))}


def synthetic(version: int = 1, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Two normal features; class 1 where xᵀQx > 0.6.

    Parameters
    ----------
    version : {1, 2}
        Of the course's generator. 1 has Q = [[1, -.05], [1, .4]] and is drawn with seed 0. 2 has Q = [[1, .5], [1, .2]]
        and is drawn without a seed there, so any here is as good as another.
    seed : int
        Of `numpy.random.RandomState`, whose bits are the same in every version of NumPy.

    Returns
    -------
    train : Dataset
        The first 60,000 points: float64 (60000, 2), labels int64 (60000,).
    test : Dataset
        The other 10,000. The reports look at them after every epoch, so they are not sealed.

    Raises
    ------
    DataError
        If there is no such version or seed.
    """
    if version not in list(FORMS):
        raise DataError(f"synthetic: there is no version {version!r} of the generator; expected 1 or 2.")
    try:
        random = np.random.RandomState(operator.index(seed))
    except (TypeError, ValueError):
        raise DataError(f"synthetic: the seed is {seed!r}; expected a whole number from 0 to 2**32 - 1.") from None
    x: np.ndarray[Any, Any] = random.randn(TRAIN + TEST, 2)
    labels = (np.einsum("ni,ij,nj->n", x, np.array(FORMS[version]), x) > THRESHOLD).astype(np.int64)

    def part(rows: slice, which: str) -> Dataset:
        return Dataset(x[rows], labels[rows], classes=2, name=f"synthetic {which}")

    return part(slice(TRAIN), "train"), part(slice(TRAIN, None), "test")
