"""Inputs of which only the non-zero elements are listed: what they are made of, and when they are worth their while."""

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
    cuts : array of int64 (rows, parts + 1)
        Part p of row i, those elements that are in the p-th part of the columns, goes from `cuts[i, p]` to
        `cuts[i, p + 1]`.
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


def listed(inputs: Array, rows: Array, dtype: np.dtype[Any], parts: int = 1) -> Nonzeros:
    """The non-zero elements of some rows, each row cut in parts for so many threads, which also make the lists."""
    values = inputs.dtype if inputs.dtype == np.uint8 else dtype
    columns = np.dtype(np.uint16 if inputs.shape[1] <= 2**16 else np.uint32)
    words = _words(inputs)
    module = load(_source(inputs), lambda module: _compile(module, inputs[:0], words[:0], columns, values))
    cuts = np.zeros((len(rows), parts + 1), np.int64)
    shares = [slice(len(rows) * p // parts, len(rows) * (p + 1) // parts) for p in range(parts)]
    _together(lambda share: module.count_nonzeros(inputs, words, rows[share], cuts[share]), shares)
    ends = np.cumsum(cuts[:, parts])
    total = int(ends[-1]) if len(rows) else 0
    cuts[1:] += ends[:-1, None]
    found = Nonzeros(np.empty(total + 1, columns), np.empty(total + 1, values), cuts)
    lists = found.columns, found.values
    _together(lambda share: module.list_nonzeros(inputs, words, rows[share], cuts[share], *lists), shares)
    return found


def _together(work: Callable[[slice], object], shares: list[slice]) -> None:
    if len(shares) == 1:
        work(shares[0])
        return
    with ThreadPoolExecutor(len(shares)) as pool:
        list(pool.map(work, shares))


def _words(inputs: Array) -> Array:
    """The same memory in words of eight bytes, so that eight zeros are seen at once; nothing, where that cannot be."""
    whole = inputs.dtype == np.uint8 and inputs.flags.c_contiguous and inputs.shape[1] % 8 == 0
    return inputs.view(np.uint64) if whole else np.zeros((len(inputs), 0), np.uint64)


def count_nonzeros(inputs: Any, words: Any, rows: Any, cuts: Any) -> None:
    """Write how many elements of row i are not zero up to the end of part p to cuts[i, p + 1]."""
    width, parts = inputs.shape[1], cuts.shape[1] - 1
    seven, eight, ones = np.uint64(0x7F7F7F7F7F7F7F7F), np.uint64(0x8080808080808080), np.uint64(0x0101010101010101)
    for i in range(rows.size):
        row, count, j = inputs[rows[i]], np.uint64(0), 0
        for p in range(parts):
            end = min(width, 16 * ((width + 15) // 16 * (p + 1) // parts))  # as in `writer.share_of`
            if words.shape[1] and j % 8 == 0 and end % 8 == 0:
                for w in range(j // 8, end // 8):
                    word = words[rows[i], w]
                    # The highest bit of each byte that is not zero; the product adds up the bytes.
                    marks = (((word & seven) + seven) | word) & eight
                    count += ((marks >> np.uint64(7)) * ones) >> np.uint64(56)
            else:
                for k in range(j, end):
                    count += np.uint64(row[k] != 0)
            j = end
            cuts[i, p + 1] = np.int64(count)


def list_nonzeros(inputs: Any, words: Any, rows: Any, cuts: Any, columns: Any, values: Any) -> None:
    """Write the columns and values of each row's elements that are not zero.

    Every element is written, and the next one over it if it was zero, since no processor can guess which are. That
    would write behind the end of the last row, where another thread's elements are; so there it is done with care.
    """
    width, end = inputs.shape[1], np.uint64(cuts[-1, -1] if rows.size else 0)
    for i in range(rows.size):
        row, place = inputs[rows[i]], np.uint64(cuts[i, 0])
        for j in range(0, width, 8):
            if words.shape[1] and words[rows[i], j // 8] == 0:
                continue
            if i < rows.size - 1:
                for k in range(j, min(j + 8, width)):
                    columns[place] = k
                    values[place] = row[k]
                    place += np.uint64(row[k] != 0)
            else:
                for k in range(j, min(j + 8, width)):
                    if row[k] != 0 and place < end:
                        columns[place] = k
                        values[place] = row[k]
                        place += np.uint64(1)


def _compile(module: Any, inputs: Array, words: Array, columns: Any, values: Any) -> None:
    rows, cuts = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    module.count_nonzeros(inputs, words, rows, cuts)
    module.list_nonzeros(inputs, words, rows, cuts, np.zeros(1, columns), np.zeros(1, values))


def _source(inputs: Array) -> str:
    kind = f"{inputs.dtype} {inputs.flags.c_contiguous} {inputs.flags.writeable}"
    imports = "from typing import Any\n\nimport numpy as np\nfrom numba import njit"
    return f'"""Rows as lists of non-zero elements."""\n# {kind}\n\n{imports}\n\n\n{_TEXT}'


# Read when this is imported, as the library of `source.py` is.
_TEXT = "\n\n".join(f"@njit(nogil=True)\n{inspect.getsource(f)}" for f in (count_nonzeros, list_nonzeros))
