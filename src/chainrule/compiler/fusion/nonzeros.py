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
    """Rows as lists: columns and values, and where each row's list begins and ends.

    Attributes
    ----------
    columns : array of uint16 or uint32 (k,)
        Rising in each row.
    values : array (k,)
        As they are in the data, before any scaling.
    ends : array of int64 (rows + 1,)
        Row i has the elements from `ends[i]` to `ends[i + 1]`.
    """

    columns: Array
    values: Array
    ends: Array


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


def listed(inputs: Array, rows: Array, dtype: np.dtype[Any]) -> Nonzeros:
    """The non-zero elements of some rows."""
    values = inputs.dtype if inputs.dtype == np.uint8 else dtype
    columns = np.dtype(np.uint16 if inputs.shape[1] <= 2**16 else np.uint32)
    words = _words(inputs)
    module = load(_source(inputs), lambda module: _compile(module, inputs[:0], words[:0], columns, values))
    ends = np.zeros(len(rows) + 1, np.int64)
    module.count_nonzeros(inputs, words, rows, ends)
    np.cumsum(ends, out=ends)
    found = Nonzeros(np.empty(ends[-1], columns), np.empty(ends[-1], values), ends)
    module.list_nonzeros(inputs, words, rows, ends, found.columns, found.values)
    return found


def _words(inputs: Array) -> Array:
    """The same memory in words of eight bytes, so that eight zeros are seen at once; no columns where that cannot be."""
    whole = inputs.dtype == np.uint8 and inputs.flags.c_contiguous and inputs.shape[1] % 8 == 0
    return inputs.view(np.uint64) if whole else np.zeros((len(inputs), 0), np.uint64)


def count_nonzeros(inputs: Any, words: Any, rows: Any, ends: Any) -> None:
    """Write how many elements of row i are not zero to ends[i + 1]."""
    width = inputs.shape[1]
    for i in range(rows.size):
        row, count = inputs[rows[i]], 0
        if words.shape[1]:
            for w in range(words.shape[1]):
                if words[rows[i], w] != 0:
                    for j in range(8 * w, 8 * w + 8):
                        count += row[j] != 0
        else:
            for j in range(width):
                count += row[j] != 0
        ends[i + 1] = count


def list_nonzeros(inputs: Any, words: Any, rows: Any, ends: Any, columns: Any, values: Any) -> None:
    """Write the columns and values of each row's elements that are not zero."""
    width = inputs.shape[1]
    for i in range(rows.size):
        row, place, end = inputs[rows[i]], ends[i], ends[i + 1]
        if words.shape[1]:
            for w in range(words.shape[1]):
                if words[rows[i], w] != 0:
                    for j in range(8 * w, 8 * w + 8):
                        if row[j] != 0 and place < end:
                            columns[place] = j
                            values[place] = row[j]
                            place += 1
        else:
            for j in range(width):
                if row[j] != 0 and place < end:
                    columns[place] = j
                    values[place] = row[j]
                    place += 1


def _compile(module: Any, inputs: Array, words: Array, columns: Any, values: Any) -> None:
    rows, ends = np.zeros(0, np.int64), np.zeros(1, np.int64)
    module.count_nonzeros(inputs, words, rows, ends)
    module.list_nonzeros(inputs, words, rows, ends, np.zeros(0, columns), np.zeros(0, values))


def _source(inputs: Array) -> str:
    kind = f"{inputs.dtype} {inputs.flags.c_contiguous} {inputs.flags.writeable}"
    functions = "\n\n".join(f"@njit(nogil=True)\n{inspect.getsource(f)}" for f in (count_nonzeros, list_nonzeros))
    head = (
        f'"""Rows as lists of non-zero elements."""\n# {kind}\n\nfrom typing import Any\n\nfrom numba import njit\n\n\n'
    )
    return head + functions
