"""A graph as a function in machine code: all outputs in one call, of one sample or of as many as there are."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from chainrule.compiler.cache import load
from chainrule.compiler.fusion import program
from chainrule.compiler.fusion.primitives import decompose
from chainrule.compiler.fusion.schedule import NotFusibleError, Root, Schedule, by_rows
from chainrule.compiler.fusion.source import Source
from chainrule.compiler.fusion.writer import Feed
from chainrule.graph.graph import Graph, Variable
from chainrule.ops import dims
from chainrule.ops.product import Matmul

Array = np.ndarray[Any, Any]
FIXED = ("thread", "threads", "counter", "order")  # what a function takes before all arrays
NO_ORDER = np.zeros(0, np.int64)
QUIET = 2**18  # multiplications: with so few, BLAS starts no threads of its own


class FusedFunction:
    """A graph as machine code.

    Parameters
    ----------
    graph : Graph
        At most axis 0 of its arrays is symbolic.
    feeds : sequence of Feed, optional
        Where each input's values come from; by default each is the argument itself.

    Attributes
    ----------
    given : list of str
        The names of the arrays that a call needs, as the feeds say.
    results : list of Variable
        What is computed, each value once.
    source : str
        The module's text.

    Raises
    ------
    NotFusibleError
        If loops cannot compute the graph.
    """

    def __init__(self, graph: Graph, feeds: Sequence[Feed] | None = None) -> None:
        graph = decompose(graph)
        _check(graph)
        known = {*graph.inputs, *graph.constants}
        self.results = [v for v in dict.fromkeys(graph.outputs) if v not in known]
        self.graph = replace(graph, outputs=tuple(self.results), single=False, form=None)
        if feeds is None:
            feeds = [Feed("rows" if by_rows(v.shape) else "array") for v in graph.inputs]
        source = _FunctionSource(_scheduled(self.graph), feeds)
        self.source, self.tiled = source.text(), source.schedule.tiled
        self.names = [source.names[v] for v in graph.inputs]
        self.fixed, self.given = source.fixed, source.varying
        self._shapes, self._constants = source.buffers, source.constants
        self._places = [_place_of(v, graph, self.results) for v in graph.outputs]
        self._own: dict[str, Array] = {}
        self._rows = -1
        self._run: Any = None
        self.counter = np.zeros(16, np.int64)
        self.lock = threading.Lock()
        self.work = sum(int(np.prod(_sized((*e.inputs[0].shape, 1), 1))) for e in graph.equations if e.op is Matmul)

    def compute(self, arrays: Mapping[str, Any], rows: int, threads: int = 1, order: Array = NO_ORDER) -> list[Array]:
        """What is computed, in arrays of its own.

        Parameters
        ----------
        arrays : dict of str to array
            One for each of `fixed` and `given` but the results, of the declared dtype; see `plain`.
        rows : int
            The size of the batch.
        threads : int
        order : array of int64
            Which rows of a data set are taken.
        """
        found = [np.empty(_sized(v.shape, rows), v.dtype) for v in self.results]
        with self.lock, program._one_blas_thread():
            run = self.prepared(arrays, rows, found, order)
            rest = [arrays[name] for name in self.given], found
            self.counter[:] = 0
            others = [program._pool().submit(self._part, run, k, threads, rows, *rest) for k in range(1, threads)]
            try:
                self._part(run, 0, threads, rows, *rest)
            finally:
                for other in others:
                    other.result()
        return found
