"""A fused program that runs: its module compiled, its arrays allocated, its threads at work."""

import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from chainrule.compiler import backend as backends
from chainrule.compiler.cache import load
from chainrule.compiler.fusion.primitives import decompose
from chainrule.compiler.fusion.schedule import Schedule, by_rows
from chainrule.compiler.fusion.source import Source
from chainrule.compiler.fusion.writer import Feed, padded
from chainrule.graph.graph import Graph

Array = np.ndarray[Any, Any]
TILE = 512  # rows that are worked at a time where a batch is larger: what they need stays in a core's cache
UNTILED = 2048  # rows of a batch that is worked at once
HELD, TILE_HELD = 2**28, 2**25  # bytes that they may need, and those of a tile: rows that are images are large


class Program:
    """A graph as machine code.

    Parameters
    ----------
    graph : Graph
    feeds : sequence of Feed
        Where each input's values come from.
    into : dict of int to int
        Which output is written into which input's array.
    dtype : dtype
        That of the floats.
    batch : int
        The largest number of rows.
    threads : int
    loss : bool
        Whether output 0 is a loss, which is kept for each step.

    Attributes
    ----------
    source : str
        The module's text.
    written : Written
        The same, with what each line is for.
    names : list of str
        What the function calls the inputs.
    views : dict of int to ndarray
        The program's own arrays for the inputs whose feed is `padded`, by their place.

    Raises
    ------
    NotFusibleError
        If loops cannot compute the graph.
    """

    def __init__(
        self,
        graph: Graph,
        feeds: Sequence[Feed],
        *,
        into: Mapping[int, int],
        dtype: np.dtype[Any],
        batch: int,
        threads: int,
        loss: bool,
        tiled: bool | None = None,
    ) -> None:
        graph = decompose(graph)
        large = batch > UNTILED or batch * row_bytes(graph) > HELD
        self.tiled = large if tiled is None else tiled
        schedule = Schedule(graph, dict(into), self.tiled)
        tile = tile_of(graph) if self.tiled else batch
        source = Source(schedule, feeds, dtype, batch, tile, loss, threads)
        self.source, self.arguments = source.text(), source.arguments
        self.written = source.written(self.source)
        self.dtype, self.threads, self.batch, self.parts = dtype, threads, batch, source.parts
        self.buffers = {name: _aligned(_sized(shape, tile), kind) for name, (shape, kind) in source.buffers.items()}
        self.buffers |= source.constants
        # The program's own copies of inputs whose rows begin at cache lines, and the parts of them that are the inputs.
        self.names = [source.names[v] for v in graph.inputs]
        given = {i: v for i, (v, feed) in enumerate(zip(graph.inputs, feeds, strict=True)) if feed.padded}
        self.held = {self.names[i]: _aligned(padded(v), v.dtype) for i, v in given.items()}
        self.views = {i: _part(self.held[self.names[i]], v.shape) for i, v in given.items()}
        self.counter = np.zeros(16, np.int64)
        self.lock = threading.Lock()
        self._function: Any = None

    def run(
        self,
        arrays: Mapping[str, Any],
        *,
        start: int,
        stop: int,
        total: int,
        order: Array,
        numbers: Array,
        keys: Array,
        losses: Array,
    ) -> int:
        """Run steps start..stop-1; which step was not made because its loss is not finite, else `stop`."""
        everything = {**self.buffers, **self.held, **arrays}
        rest = [everything[name] for name in self.arguments]
        head = [self.counter, start, stop, self.batch, total, order, numbers, keys, losses]
        with self.written.noted(), self.lock, _one_blas_thread:
            run = self._compiled([0, self.threads, *head, *rest])
            self.counter[:] = 0
            # Workers of its own, since threads that wait for each other may not wait for a place in a pool; and of this
            # run's own, since none survives a fork.
            with ThreadPoolExecutor(max(1, self.threads - 1), "chainrule") as pool:
                try:
                    others = [pool.submit(self._guarded, run, k, head, rest) for k in range(1, self.threads)]
                    done: int = self._guarded(run, 0, head, rest)
                except BaseException:
                    self.counter[1] = 1  # so that nobody waits for a thread that will not come
                    raise
                for other in others:
                    other.result()
        return done

    def _guarded(self, run: Any, thread: int, head: list[Any], rest: list[Any]) -> int:
        try:
            return int(run(thread, self.threads, *head, *rest))
        except BaseException:
            self.counter[1] = 1
            raise

    def _compiled(self, arguments: list[Any]) -> Any:
        if self._function is None:
            from numba import typeof

            types = tuple(map(typeof, arguments))
            text = self.source + "\n# " + " ".join(map(str, types)) + "\n"
            self._module = load(text, lambda module: module.run.compile(types))
            self._function = self._module.run
        return self._function


class _OneBlasThread:
    """While programs run, in whatever threads, BLAS has one; the last one to end gives it back what it had."""

    def __init__(self) -> None:
        self.lock, self.running, self.limit = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if not self.running:
                backends.before_limit.append(backends.blas_threads())
                self.limit.enter_context(_controller().limit(limits=1, user_api="blas"))
            self.running += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.running -= 1
            if not self.running:
                self.limit.close()
                backends.before_limit.clear()


_one_blas_thread = _OneBlasThread()


@cache
def _controller() -> Any:
    import scipy.linalg.cython_blas  # noqa: F401  the BLAS that Numba calls

    return ThreadpoolController()


def row_bytes(graph: Graph) -> int:
    """What the values of a row of the batch need, if all of them are stored."""
    rows = [(v.shape[1:], v.dtype.itemsize) for e in graph.equations if by_rows((v := e.output).shape)]
    return sum(math.prod(shape) * size for shape, size in rows if all(isinstance(n, int) for n in shape))


def tile_of(graph: Graph) -> int:
    """How many rows are worked at a time."""
    return min(TILE, max(16, TILE_HELD // max(1, row_bytes(graph))))


def _part(array: Array, shape: Any) -> Array:
    """The beginning of an array, along each axis."""
    index: Any = (..., *map(slice, shape))
    part: Array = array[index]
    return part


def _sized(shape: tuple[Any, ...], rows: int) -> tuple[int, ...]:
    return tuple(rows if n is None else n for n in shape)


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Zeros that begin at a cache line, and behind the end one more, which vectors may reach."""
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.zeros(size + 128, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)
