"""Data that a program takes as lists of non-zero elements: which, what it computes of them, and who keeps the lists.

`nonzeros` is imported where lists are made, since that asks for Numba.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.graph.graph import Equation, Graph
from chainrule.ops.structure import Pad

Array = np.ndarray[Any, Any]
LISTED = 2**28  # bytes of inputs whose non-zero elements are listed at once; of larger sets, some rows at a time
CHUNK = 2**15  # rows of such a set that are listed at a time
KEPT = 8  # data sets whose lists are kept at most


def listable(graph: Graph, place: int, inputs: Array, scale: float, shift: float) -> bool:
    """Whether a program had better take lists of the data u that one of its inputs, x = scale · u + shift, is made of.

    Parameters
    ----------
    graph : Graph
    place : int
        Which of its inputs x is.
    inputs : array (n, ...)
        All of u.
    scale, shift : float
    """
    from chainrule.compiler.fusion.nonzeros import mostly_zero, only_multiplied

    kind, dtype = inputs.dtype, graph.inputs[place].dtype
    readable = kind.isnative and kind.kind in "biuf" and kind != np.float16
    # Else digits would be lost before the shift.
    exact = (scale == 1 and not shift) or (scale != 0 and np.result_type(kind, dtype) == dtype)
    graph = _from_appended(graph, place)
    return readable and exact and only_multiplied(graph, graph.inputs[place]) and mostly_zero(inputs)


def of_nonzeros(graph: Graph, place: int, scale: float, shift: float) -> Graph:
    """The graph as a function of u instead of x; and if it is the first to do so, of u with a column appended.

    That column has the value of `behind`.
    """
    from chainrule.compiler.fusion.nonzeros import unscaled

    graph = _from_appended(graph, place)
    return unscaled(graph, graph.inputs[place], scale, shift)


def behind(graph: Graph, place: int, scale: float, shift: float) -> tuple[float, ...]:
    """What stands in the lists behind each row of u, where the graph appends a constant to x: what is scaled to it."""
    e = _appending(graph, place)
    return () if e is None else ((e.attributes["value"] - shift) / scale,)


def _from_appended(graph: Graph, place: int) -> Graph:
    """The graph from where a constant column has been appended to its input, if that is what it begins with."""
    e = _appending(graph, place)
    if e is None:
        return graph
    x = graph.inputs[place]
    sizes = {name: (e.output if v is x else v, axis) for name, (v, axis) in graph.sizes.items()}
    inputs = tuple(e.output if v is x else v for v in graph.inputs)
    rest = [other for other in graph.equations if other is not e]
    return replace(graph, inputs=inputs, equations=rest, sizes=sizes)


def _appending(graph: Graph, place: int) -> Equation | None:
    """The equation that appends a constant column to an input, if nothing else is done with it."""
    x = graph.inputs[place]
    found = [e for e in graph.equations if any(y is x for y in e.inputs)]
    if len(found) != 1 or x in graph.outputs or found[0].op is not Pad:
        return None
    return found[0] if found[0].attributes["widths"] == ((0, 0), (0, 1)) else None


@dataclass
class _Kept:
    """Lists, and the data that they were made of, so that no other array takes their place in memory."""

    inputs: Array
    lists: Any


class Lists:
    """Makes lists of non-zero elements; in a `with` block they are kept, since the data do not change there."""

    def __init__(self) -> None:
        self._keeps = False
        self._kept: dict[tuple[int, np.dtype[Any], tuple[float, ...]], _Kept] = {}

    def __enter__(self) -> "Lists":
        self._keeps = True
        return self

    def __exit__(self, *_: object) -> None:
        self._keeps = False
        self._kept.clear()

    def of(
        self,
        inputs: Array,
        rows: Array,
        dtype: np.dtype[Any],
        parts: int = 1,
        behind: tuple[float, ...] = (),
        *,
        cut: bool = False,
    ) -> tuple[Any, Array]:
        """Lists of these rows, perhaps among others, and where in the lists each row is.

        Parameters
        ----------
        inputs : array (n, width)
        rows : array of int64 (k,)
        dtype : dtype
            Of the values.
        parts : int
            How many threads make them, and so in how many parts of the columns they are cut.
        behind : tuple of float
            What is listed behind each row.
        cut : bool
            Whether they have to be cut so. Else lists that are there already may be cut otherwise.
        """
        from chainrule.compiler.fusion.nonzeros import listed

        if not self._keeps or inputs.nbytes > LISTED:
            return listed(inputs, rows, dtype, parts, behind=behind), np.arange(len(rows))
        found = self._kept.get(key := (id(inputs), dtype, behind))
        if found is None or (cut and found.lists.cuts.shape[1] != parts + 1):
            if len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            lists = listed(inputs, np.arange(len(inputs)), dtype, parts, behind=behind)
            found = self._kept[key] = _Kept(inputs, lists)
        return found.lists, rows
