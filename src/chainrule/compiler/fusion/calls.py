"""A recorded function computed by machine code: what stands between its arguments and the program."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.compiler import backend as backends
from chainrule.compiler.fusion.function import FusedFunction, plain
from chainrule.compiler.fusion.schedule import NotFusibleError
from chainrule.graph.graph import Equation, Graph, Variable
from chainrule.ops.indexing import ARRAY, Getitem, Onehot
from chainrule.ops.loss import BinaryCrossEntropy, CrossEntropy
from chainrule.ops.structure import BroadcastTo, Reshape, Transpose

Array = np.ndarray[Any, Any]
_REARRANGED = (Reshape, BroadcastTo, Transpose, Getitem)  # whose values are some of their first input's


class FusedCall:
    """A graph from arrays to fresh arrays.

    Parameters
    ----------
    graph : Graph

    Raises
    ------
    NotFusibleError
        If loops cannot compute it, or nothing would be gained.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = replace(graph, form=None, single=False)
        self._limits = list(_limits(graph))
        self.function = FusedFunction(graph)
        self._functions = {1: self.function}  # by the number of threads
        self._rows = next(iter(graph.sizes.values()), None)
        self._input = next((i for i, v in enumerate(graph.inputs) if self._rows and v is self._rows[0]), 0)

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        """The outputs, none of which shares memory with anything."""
        rows = arrays[self._input].shape[0] if self._rows else 1
        if not rows or not all(_within(arrays[i], low, high) for i, low, high in self._limits):
            results: tuple[Array, ...] = self.graph.run(*arrays)  # which has the words for what is wrong
            return tuple(map(np.asarray, results))
        threads = backends.threads(2.0 * rows * self.function.work)
        if threads not in self._functions:
            self._functions[threads] = FusedFunction(self.graph, threads=threads)
        function = self._functions[threads]
        named = {name: plain(a) for name, a in zip(function.names, arrays, strict=True)}
        return tuple(function.assembled(function.compute(named, rows), arrays))


def _within(a: Array, low: float, high: float) -> bool:
    return not a.size or bool(a.min() >= low and a.max() <= high)


def _limits(graph: Graph) -> Iterator[tuple[int, float, float]]:
    """Inputs whose values must lie between two bounds, which no loop looks at.

    Raises
    ------
    NotFusibleError
        If such a value is computed.
    """
    places = {v: i for i, v in enumerate(graph.inputs)}
    same = {e.output: e.inputs[0] for e in graph.equations if e.op in _REARRANGED}
    for e in graph.equations:
        for x, low, high in _bounded(e):
            while x in same:
                x = same[x]
            if x in graph.constants:
                if _within(graph.constants[x], low, high):
                    continue
                raise NotFusibleError(f"the constant '{x.name}' is out of range")
            if x not in places:
                raise NotFusibleError(f"the values of '{x.name}', which are computed, must be looked at")
            yield places[x], low, high


def _bounded(e: Equation) -> Iterator[tuple[Variable, float, float]]:
    found: list[tuple[Any, float, float]] = []
    if e.op is CrossEntropy and e.inputs[1].dtype.kind in "iu":
        found.append((e.inputs[1], 0, e.inputs[0].shape[-1] - 1))
    elif e.op is Onehot:
        found.append((e.inputs[0], 0, e.attributes["classes"] - 1))
    elif e.op is BinaryCrossEntropy:
        found.append((e.inputs[1], 0, 1))
    elif e.op is Getitem and ARRAY in e.attributes["index"]:
        rest = list(e.inputs[1:])
        for axis, part in enumerate(e.attributes["index"]):
            if part is ARRAY:
                n = e.inputs[0].shape[axis]
                if not isinstance(n, int):
                    raise NotFusibleError("rows of a batch are picked")
                found.append((rest.pop(0), 0, n - 1))
    return (each for each in found if isinstance(each[0], Variable))
