"""Inputs of which only the non-zero elements are listed: what they are made of, and when they are worth their while."""

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.compiler.cache import load
from chainrule.graph.graph import Equation, Graph, Variable
from chainrule.graph.replay import Replay, rewrite
from chainrule.ops.product import Matmul
from chainrule.ops.structure import Transpose

Array = np.ndarray[Any, Any]
SHARE = 0.35  # of elements that are not zero: above it, dense products are quicker (measured at batches of 100 and 500)
SAMPLE = 1024  # rows that are looked at


@dataclass
class Nonzeros:
    """Rows as lists: columns and values, and where each row's list is cut for the threads.

    Attributes
    ----------
    columns : array of uint16 or uint32 (k,)
    values : array (k,)
        As they are in the data, before any scaling.
    cuts : array of int64 (threads + 1, rows)
        Thread t has the elements from `cuts[t, i]` to `cuts[t + 1, i]` of row i: those of its share of the columns.
    """

    columns: Array
    values: Array
    cuts: Array


def mostly_zero(inputs: Array) -> bool:
    """Whether few enough of the inputs are not zero, seen in rows at even distances."""
    if inputs.ndim < 2 or not len(inputs) or inputs[0].size < 32:
        return False
    sample = inputs[:: max(1, len(inputs) // SAMPLE)]
    return bool(np.count_nonzero(sample) <= SHARE * sample.size)


def only_multiplied(graph: Graph, x: Variable) -> bool:
    """Whether an input takes part in matrix products alone, from the left or transposed from the left."""
    turned = {e.output for e in graph.equations if e.op is Transpose and e.inputs[0] is x}
    for e in graph.equations:
        for place, y in enumerate(e.inputs):
            listed = isinstance(y, Variable) and (y in turned or (y is x and e.op is not Transpose))
            if listed and (e.op is not Matmul or place):
                return False
    return x not in graph.outputs and len(x.shape) == 2


def unscaled(graph: Graph, x: Variable, scale: float, shift: float) -> Graph:
    """The graph as a function of u instead of x = scale · u + shift, so that the zeros of u count.

    x @ W is scale · (u @ W) + shift · Σ W, summed over the rows of W; xᵀ @ d is scale · (uᵀ @ d) + shift · Σ d.
    """
    turned = [e.output for e in graph.equations if e.op is Transpose and e.inputs[0] is x]

    def rule(replay: Replay, e: Equation, inputs: list[Any]) -> Any:
        if e.op is not Matmul or (e.inputs[0] is not x and e.inputs[0] not in turned):
            return None
        y = replay.tracer.record(Matmul, inputs, {}) * scale
        return y + inputs[1].sum(axis=0) * shift if shift else y

    return rewrite(graph, rule) if scale != 1 or shift else graph


def listed(inputs: Array, rows: Array, threads: int, dtype: np.dtype[Any]) -> Nonzeros:
    """The non-zero elements of some rows."""
    values = inputs.dtype if inputs.dtype == np.uint8 else dtype
    columns = np.dtype(np.uint16 if inputs.shape[1] <= 2**16 else np.uint32)
    example: tuple[Any, ...] = (inputs[:0], rows[:0], np.zeros((threads + 1, 0), np.int64))
    lists = (np.zeros(0, columns), np.zeros(0, values))

    def build(module: Any) -> None:
        module.cut_rows(*example)
        module.list_rows(*example, *lists)

    module = load(_source(example[0]), build)
    cuts = np.zeros((threads + 1, len(rows)), np.int64)
    module.cut_rows(inputs, rows, cuts)
    ends = np.cumsum(cuts[-1])
    cuts += np.concatenate([[0], ends[:-1]]) if len(rows) else 0
    found = Nonzeros(
        np.empty(ends[-1] if len(rows) else 0, columns), np.empty(ends[-1] if len(rows) else 0, values), cuts
    )
    module.list_rows(inputs, rows, cuts, found.columns, found.values)
    return found


def cut_rows(inputs: Any, rows: Any, cuts: Any) -> None:
    """How many elements of each row are not zero, up to the end of each thread's share of the columns."""
    width, threads = inputs.shape[1], cuts.shape[0] - 1
    for i in range(rows.size):
        row, count = inputs[rows[i]], 0
        for t in range(threads):
            for j in range(width * t // threads, width * (t + 1) // threads):
                count += row[j] != 0
            cuts[t + 1, i] = count


def list_rows(inputs: Any, rows: Any, cuts: Any, columns: Any, values: Any) -> None:
    """Write the columns and values of each row's elements that are not zero."""
    width, last = inputs.shape[1], cuts.shape[0] - 1
    for i in range(rows.size):
        row, place, end = inputs[rows[i]], cuts[0, i], cuts[last, i]
        for j in range(width):
            if row[j] != 0 and place < end:
                columns[place] = j
                values[place] = row[j]
                place += 1


def _source(inputs: Array) -> str:
    kind = f"{inputs.dtype} {inputs.flags.c_contiguous} {inputs.flags.writeable}"
    functions = "\n\n".join(f"@njit(nogil=True)\n{inspect.getsource(f)}" for f in (cut_rows, list_rows))
    head = (
        f'"""Rows as lists of non-zero elements."""\n# {kind}\n\nfrom typing import Any\n\nfrom numba import njit\n\n\n'
    )
    return head + functions
