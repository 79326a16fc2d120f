"""Data that a program takes as lists of non-zero elements: which, what it computes of them, and who keeps the lists.

`nonzeros` is imported where lists are made, since that asks for Numba.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.graph.graph import Graph

Array = np.ndarray[Any, Any]
LISTED = 2**28  # bytes of inputs whose non-zero elements are listed at once; of larger sets, some rows at a time
CHUNK = 2**15  # rows of such a set that are listed at a time
KEPT = 8  # data sets whose lists are kept at most


def listable(graph: Graph, place: int, inputs: Array, scaled: bool) -> bool:
    """Whether a program had better take lists of the data u that one of its inputs, x = scale · u + shift, is made of.

    Parameters
    ----------
    graph : Graph
    place : int
        Which of its inputs x is.
    inputs : array (n, ...)
        All of u.
    scaled : bool
        Whether x is anything else than u.
    """
    from chainrule.compiler.fusion.nonzeros import mostly_zero, only_multiplied

    x, kind = graph.inputs[place], inputs.dtype
    readable = kind.isnative and kind.kind in "biuf" and kind != np.float16
    exact = not scaled or np.result_type(kind, x.dtype) == x.dtype  # else digits would be lost before the shift
    return readable and exact and only_multiplied(graph, x) and mostly_zero(inputs)


def of_nonzeros(graph: Graph, place: int, scale: float, shift: float) -> Graph:
    """The graph as a function of u instead of x."""
    from chainrule.compiler.fusion.nonzeros import unscaled

    return unscaled(graph, graph.inputs[place], scale, shift)


@dataclass
class _Kept:
    """Lists, and the data that they were made of, so that no other array takes their place in memory."""

    inputs: Array
    lists: Any


class Lists:
    """Makes lists of non-zero elements; in a `with` block they are kept, since the data do not change there."""

    def __init__(self) -> None:
        self._keeps = False
        self._kept: dict[tuple[int, np.dtype[Any]], _Kept] = {}

    def __enter__(self) -> "Lists":
        self._keeps = True
        return self

    def __exit__(self, *_: object) -> None:
        self._keeps = False
        self._kept.clear()

    def of(self, inputs: Array, rows: Array, dtype: np.dtype[Any], parts: int, cut: bool) -> tuple[Any, Array]:
        """Lists of these rows, perhaps among others, and where in the lists each row is.

        Parameters
        ----------
        inputs : array (n, width)
        rows : array of int64 (k,)
        dtype : dtype
            Of the values.
        parts : int
            How many threads make them, and so in how many parts of the columns they are cut.
        cut : bool
            Whether they have to be cut so. Else lists that are there already may be cut otherwise.
        """
        from chainrule.compiler.fusion.nonzeros import listed

        if not self._keeps or inputs.nbytes > LISTED:
            return listed(inputs, rows, dtype, parts), np.arange(len(rows))
        found = self._kept.get(key := (id(inputs), dtype))
        if found is None or (cut and found.lists.cuts.shape[1] != parts + 1):
            if len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            found = self._kept[key] = _Kept(inputs, listed(inputs, np.arange(len(inputs)), dtype, parts))
        return found.lists, rows
