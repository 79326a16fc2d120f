"""Inputs of which only the non-zero elements are listed: what they are made of, and when they are worth their while."""

import hashlib
import inspect
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.compiler import kernels
from chainrule.compiler.cache import load
from chainrule.compiler.kernels import prefetch
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
        `cuts[i, p + 1]`. What stands in no row's list is not defined.
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


def listed(
    inputs: Array,
    rows: Array,
    dtype: np.dtype[Any],
    parts: int = 1,
    room: Nonzeros | None = None,
    behind: tuple[float, ...] = (),
) -> Nonzeros:
    """The non-zero elements of some rows, each row cut in parts for so many threads, which also make the lists.

    Parameters
    ----------
    inputs : array (n, width)
    rows : array of int64 (k,)
        Which rows, in which order.
    dtype : dtype
        That of the values; but bytes stay bytes.
    parts : int
    room : Nonzeros, optional
        Lists of the same inputs, in as many parts, that are no longer needed: their memory is used again if it is
        large enough.
    behind : tuple of float
        The columns behind those of the inputs, one at most: a value that each row has there.

    Notes
    -----
    Memory is asked for as if no element were zero, so that one pass is enough. What is not written to is never given.
    """
    width, last = inputs.shape[1] + len(behind), np.array(behind, np.float64)
    values = inputs.dtype if inputs.dtype == np.uint8 and not behind else dtype
    columns = np.dtype(np.uint16 if width <= 2**16 else np.uint32)
    words = _words(inputs)
    lists = np.zeros(1, columns), np.zeros(1, values)
    module = load(_source(inputs, *lists), lambda module: _compile(module, inputs[:0], words[:0], last, *lists))
    if room is None or len(room.cuts) < len(rows):
        most = len(rows) * width + parts * kernels.SLACK
        room = Nonzeros(np.empty(most, columns), np.empty(most, values), np.empty((len(rows), parts + 1), np.int64))
    found = Nonzeros(room.columns, room.values, room.cuts[: len(rows)])

    def work(part: int) -> None:
        share = slice(len(rows) * part // parts, len(rows) * (part + 1) // parts)
        place = share.start * width + part * kernels.SLACK
        module.list_nonzeros(inputs, words, rows[share], last, found.cuts[share], found.columns, found.values, place)

    with ThreadPoolExecutor(max(1, parts - 1)) as pool:
        others = [pool.submit(work, part) for part in range(1, parts)]
        work(0)
        for other in others:
            other.result()
    return found


def _words(inputs: Array) -> Array:
    """The same memory in words of eight bytes, so that eight zeros are seen at once; nothing, where that cannot be."""
    whole = inputs.dtype == np.uint8 and inputs.flags.c_contiguous and inputs.shape[1] % 8 == 0
    return inputs.view(np.uint64) if whole else np.zeros((len(inputs), 0), np.uint64)


def list_nonzeros(
    inputs: Any, words: Any, rows: Any, behind: Any, cuts: Any, columns: Any, values: Any, place: Any
) -> None:
    """Write the columns and values of each row's elements that are not zero, from `place` on, and where they are."""
    width, parts = inputs.shape[1], cuts.shape[1] - 1
    lines = (width + behind.size + 15) // 16
    for i in range(rows.size):
        later = inputs[rows[min(i + 4, rows.size - 1)]]
        for k in range(0, width, 64 // inputs.itemsize):
            prefetch(later, k)
        end, cuts[i, 0] = 0, place
        for p in range(parts):
            begin, end = end, min(width, 16 * (lines * (p + 1) // parts))  # as in `writer.share_of`
            place = list_part(inputs[rows[i]], words[rows[i]], begin, end, columns, values, place)
            cuts[i, p + 1] = place
        for k in range(behind.size):
            columns[place] = width + k
            values[place] = behind[k]
            place += 1
        cuts[i, parts] = place


def list_part(row: Any, words: Any, begin: Any, end: Any, columns: Any, values: Any, place: Any) -> Any:
    """List row[begin:end]; where the list ends.

    Every element is written, and the next one over it if it was zero, since no processor can guess which are.
    """
    place = np.uint64(place)
    for j in range(begin, end, 8):
        if words.size and words[j // 8] == 0:
            continue
        for k in range(j, min(j + 8, end)):
            columns[place] = k
            values[place] = row[k]
            place += np.uint64(row[k] != 0)
    return np.int64(place)


def _compile(module: Any, inputs: Array, words: Array, behind: Array, columns: Array, values: Array) -> None:
    module.list_nonzeros(inputs, words, np.zeros(0, np.int64), behind, np.zeros((0, 2), np.int64), columns, values, 0)


def _source(inputs: Array, columns: Array, values: Array) -> str:
    kinds = f"{inputs.dtype} {inputs.flags.c_contiguous} {inputs.flags.writeable} {columns.dtype} {values.dtype}"
    kind = f"{kinds} kernels {_KERNELS}"
    bytes_ = values.dtype == inputs.dtype == np.uint8 and inputs.flags.c_contiguous and columns.itemsize == 2
    part = _BYTES if bytes_ and kernels.compresses() else _PART
    return f"{_HEAD.format(kind=kind)}{part}\n\n{_ROWS}"


# Read when this is imported, as the library of `source.py` is.
_KERNELS = hashlib.sha256(inspect.getsource(kernels).encode()).hexdigest()[:16]
_ROWS, _PART = (f"@njit(nogil=True)\n{inspect.getsource(f)}" for f in (list_nonzeros, list_part))
_BYTES = """@njit(nogil=True)
def list_part(row, words, begin, end, columns, values, place):
    return list_bytes(row, begin, end, columns, values, place)
"""
_HEAD = '''"""Rows as lists of non-zero elements."""
# {kind}

from typing import Any

import numpy as np
from numba import njit

from chainrule.compiler.kernels import list_bytes, prefetch


'''
