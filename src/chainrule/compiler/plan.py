"""`Plan`: a graph executed by NumPy, with every array made ahead. It computes what `Graph.run` does."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np

from chainrule.compiler.planning.memory import ALIGNMENT
from chainrule.compiler.planning.program import Function, Program
from chainrule.compiler.planning.recording import Array
from chainrule.errors import ShapeError
from chainrule.graph.graph import Graph
from chainrule.ops.dims import same_shape

KEPT = 1000  # functions for the sizes met: small, since they all compute in one memory


class Plan:
    """A graph as one Python function of NumPy calls, each of which writes into memory that was set aside for it.

    Parameters
    ----------
    graph : Graph
    into : mapping of int to int, optional
        `{output: input}`: the number of an output that is to be written into the array of an input, as an optimiser
        writes new parameters over the old ones. The input then is what the plan returns for this output.

    Attributes
    ----------
    source : str
        The function as text, for the sizes met last (empty before there were any).

    Notes
    -----
    The steps are those of the ops' own `forward`, so that results have the bits of `Graph.run`, but for products of a
    column and a row (up to the sign of a zero) and for the order in which BLAS adds. What can be computed from
    constants is computed when the plan is made; element-wise steps write over operands that are read for the last
    time; what is never needed at the same time shares memory. All sizes of a batch share one memory, which is made anew
    only for a larger one.

    A plan is for one thread at a time.
    """

    def __init__(self, graph: Graph, into: Mapping[int, int] | None = None) -> None:
        self.graph, self.into, self.source = graph, dict(into or {}), ""
        places = {v: i for i, v in enumerate(graph.inputs)}
        self._sizes = [(name, places[v], axis) for name, (v, axis) in graph.sizes.items()]
        self._functions: dict[tuple[int, ...], Function] = {}
        self._arena = _memory(0)
        _check_into(graph, self.into)
        if not self._sizes:
            with suppress(ValueError, IndexError):  # what is wrong is said at the first call
                self._prepare(())

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        """Compute the outputs.

        Parameters
        ----------
        *arrays : ndarray
            One for each of `graph.inputs`, in order, of the declared shape and dtype. Nothing is checked.

        Returns
        -------
        tuple of ndarray
            The outputs, in memory of the plan's own: the next call overwrites them.

        Raises
        ------
        ShapeError, DataError
            As `Graph.run` does, with the user's line.
        """
        try:
            sizes = tuple([arrays[i].shape[axis] for _, i, axis in self._sizes])
            return (self._functions.get(sizes) or self._prepare(sizes))(*arrays)
        except (ValueError, IndexError):
            # What is wrong is said by the graph itself.
            replace(self.graph, form=None, single=False).run(*arrays)
            raise

    def _prepare(self, sizes: tuple[int, ...]) -> Function:
        """The function for these sizes."""
        named = {name: n for (name, _, _), n in zip(self._sizes, sizes, strict=True)}
        program = Program(self.graph, named, self.into)
        if program.nbytes > self._arena.nbytes:
            # Functions that compute in smaller memory would keep that alive. Where sizes vary, there is room to grow.
            room = program.nbytes // 2 if self._functions else 0
            self._functions.clear()
            self._arena = _memory(program.nbytes + room)
        elif len(self._functions) >= KEPT:
            del self._functions[next(iter(self._functions))]
        function, self.source = program.function(self._arena)
        self._functions[sizes] = function
        return function


def _check_into(graph: Graph, into: Mapping[int, int]) -> None:
    for o, i in into.items():
        y, x = graph.outputs[o], graph.inputs[i]
        if not same_shape(y.shape, x.shape) or y.dtype != x.dtype:
            raise ShapeError(f"a plan cannot write its output {y!r} into its input {x!r}: shape and dtype must agree.")
    if len(set(into.values())) < len(into):
        raise ShapeError(f"a plan cannot write two outputs into one input: into is {dict(into)}.")


def _memory(nbytes: int) -> Array:
    """Bytes that begin at a cache line."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]
