"""A graph as a function in machine code: all outputs in one call, of one sample or of as many as there are."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from chainrule.compiler import backend as backends
from chainrule.compiler.cache import load
from chainrule.compiler.fusion import program
from chainrule.compiler.fusion.primitives import decompose
from chainrule.compiler.fusion.schedule import NotFusibleError, Root, Schedule, by_rows
from chainrule.compiler.fusion.source import Source
from chainrule.compiler.fusion.writer import LETTERS, Feed, padded
from chainrule.errors import TraceError
from chainrule.graph.graph import Graph, Variable

Array = np.ndarray[Any, Any]
NO_ORDER = np.zeros(0, np.int64)
QUIET = 2**18  # multiplications of a product: with so few, BLAS starts no threads of its own


class FusedFunction:
    """A graph as machine code.

    Parameters
    ----------
    graph : Graph
        At most axis 0 of its inputs is symbolic.
    feeds : sequence of Feed, optional
        Where each input's values come from; by default each is the argument itself.
    threads : int
        How many share each call.
    quick : bool
        Whether to make what `bound` gives.

    Attributes
    ----------
    source : str
        The module's text.
    written : Written
        The same, with what each line is for.
    names : list of str
        What the inputs of the graph are called in it.
    given : list of str
        The arrays that are different in each call.
    results : list of Variable
        What is computed, each value once.
    tiled : bool
        Whether no row depends on another one.
    work : float
        Multiplications for a row, or in all if there are no rows.

    Raises
    ------
    NotFusibleError
        If loops cannot compute the graph.
    """

    def __init__(
        self, graph: Graph, feeds: Sequence[Feed] | None = None, *, threads: int = 1, quick: bool = False
    ) -> None:
        try:
            graph = decompose(graph)
        except TraceError as error:  # a size of the batch would have to be known
            raise NotFusibleError(str(error).rstrip(".")) from error
        dtype = _checked(graph)
        known = {*graph.inputs, *graph.constants}
        self.results = [v for v in dict.fromkeys(graph.outputs) if v not in known]
        if not self.results:
            raise NotFusibleError("there is nothing to compute")
        if feeds is None:
            feeds = [Feed("rows" if by_rows(v.shape) else "array") for v in graph.inputs]
        source = _written(replace(graph, outputs=tuple(self.results), single=False, form=None), feeds, dtype, threads)
        self.written = source.written(source.module)
        self.graph, self.source, self.names = graph, source.module, [source.names[v] for v in graph.inputs]
        self.given, self._fixed = source.given, source.fixed
        self.tiled = source.schedule.tiled
        self._shapes, self._constants, self._own = source.buffers, source.constants, dict(source.constants)
        # Copies of inputs whose rows begin at cache lines.
        held = {source.names[v]: v for v, feed in zip(graph.inputs, feeds, strict=True) if feed.padded}
        self._held = {name: program._aligned(padded(v), v.dtype) for name, v in held.items()}
        self._result_names = [source.outputs[v] for v in self.results]
        self.threads, self.quick, self._quick = threads, quick and threads == 1, None
        self.work = sum(backends.multiplications(e, dict.fromkeys(graph.sizes, 1)) for e in graph.equations)
        self._counter = np.zeros(16, np.int64)
        self._runs: dict[tuple[bool, ...], Any] = {}
        self._capacity = -1
        self.lock = threading.Lock()

    def compute(self, arrays: Mapping[str, Any], rows: int, order: Array = NO_ORDER) -> list[Array]:
        """The results, in arrays of their own.

        Parameters
        ----------
        arrays : dict of str to array
            The inputs, by the names that their feeds give them, of the graph's dtypes; see `plain`.
        rows : int
            The size of the batch.
        order : array of int64 (rows,)
            Which rows of a data set are taken.
        """
        found = [np.empty(_sized(v.shape, rows), v.dtype) for v in self.results]
        threads = self.threads
        alone = threads == 1 and rows * self.work <= QUIET
        with self.written.noted(), self.lock, nullcontext() if alone else program._one_blas_thread:
            head = self._head(arrays, rows, order)
            rest = [rows, *(arrays[name] for name in self.given), *found]
            run = self._compiled([0, threads, *head, *rest])
            self._counter[:] = 0
            with self._others(threads, run, head, rest):
                run(0, threads, *head, *rest)
        return found

    def assembled(self, made: Sequence[Array], inputs: Sequence[Array]) -> list[Array]:
        """The outputs of the graph, in arrays of their own, from the results and the inputs of a call."""
        found = dict(zip(self.results, made, strict=True))
        given = {**dict(zip(self.graph.inputs, inputs, strict=True)), **self.graph.constants}
        return [
            found.pop(v) if v in found else np.array(given[v] if v in given else made[self.results.index(v)])
            for v in self.graph.outputs
        ]

    def bound(self, arrays: Mapping[str, Array], rows: int) -> Callable[..., Any] | None:
        """What computes so many rows at most, with the present values of the arrays that are not `given`.

        It is called with the number of rows, the arrays that are, and the results: arrays of the right shapes, without
        gaps, that may be written to. Others make it raise TypeError, but for their shapes, at which it does not look.
        None if `quick` was not asked for, or `compute` not called with such arrays before.

        Notes
        -----
        All other arrays are its own, and given by their addresses: taking an array apart is what costs most in calling
        a compiled function. Python's lock is kept, so that no other one is needed.
        """
        if self._quick is None:
            return None
        own = {n: program._aligned(_sized(shape, rows), kind) for n, (shape, kind) in self._shapes.items()}
        for name, array in {**self._constants, **arrays}.items():
            own[name] = program._aligned(array.shape, array.dtype)
            np.copyto(own[name], array)
        fixed = [np.zeros(16, np.int64), NO_ORDER, *(own[name] for name in self._fixed)]
        call = partial(self._quick, np.array([a.ctypes.data for a in fixed]))
        call.arrays = fixed  # they live as long as it does
        return call

    def _head(self, arrays: Mapping[str, Any], rows: int, order: Array) -> list[Any]:
        wanted = program.tile_of(self.graph) if self.tiled else rows
        if wanted > self._capacity:
            self._own |= {n: program._aligned(_sized(shape, wanted), kind) for n, (shape, kind) in self._shapes.items()}
            self._capacity = wanted
        for name, copy in self._held.items():
            np.copyto(program._part(copy, arrays[name].shape), arrays[name])
        everything = {**self._own, **arrays, **self._held}
        return [self._counter, order, *(everything[name] for name in self._fixed)]

    def _guarded(self, run: Any, *arguments: Any) -> None:
        try:
            run(*arguments)
        except BaseException:
            self._counter[1] = 1
            raise

    @contextmanager
    def _others(self, threads: int, run: Any, head: list[Any], rest: list[Any]) -> Iterator[None]:
        """The other threads, at work."""
        if threads == 1:
            yield
            return
        with ThreadPoolExecutor(threads - 1, "chainrule") as pool:
            parts = [pool.submit(self._guarded, run, k, threads, *head, *rest) for k in range(1, threads)]
            try:
                yield
            except BaseException:
                self._counter[1] = 1  # so that nobody waits for a thread that will not come
                raise
            for part in parts:
                part.result()

    def _compiled(self, arguments: list[Any]) -> Any:
        """The function for these arrays; one that may not be written to is another type to Numba."""
        key = tuple([x.flags.writeable for x in arguments if isinstance(x, np.ndarray)])
        if key not in self._runs:
            from numba import typeof

            types = tuple(map(typeof, arguments))
            quick = self._quick_source(arguments) if self.quick and all(key) else ""
            of_quick = (typeof(self._counter), *types[4 + len(self._fixed) :])

            def build(module: Any) -> None:
                module.run.compile(types)
                if quick:
                    module.quick.compile(of_quick)

            module = load(f"{self.source}{quick}\n# {' '.join(map(str, types))}\n", build)
            self._runs[key] = module.run
            if quick:
                if module.quick._can_compile:  # else another function has the same module
                    module.quick.compile(of_quick)  # or load it
                    module.quick.disable_compile()
                self._quick = module.quick
        return self._runs[key]

    def _quick_source(self, arguments: list[Any]) -> str:
        """A function that finds most arrays by their addresses, in an array of these."""
        names = ["total", *self.given, *self._result_names]
        fixed = ["counter", "order", *self._fixed]
        lines = [
            f"    {name} = carray(pointer(addresses[{i}]), {array.shape}, np.{array.dtype})"
            for i, (name, array) in enumerate(zip(fixed, arguments[2:], strict=False))
        ]
        return "\n".join(
            [
                "\n\n@njit(error_model='numpy')",
                f"def quick(addresses, {', '.join(names)}):",
                *lines,
                f"    run(0, 1, counter, order, {', '.join([*self._fixed, *names])})\n",
            ]
        )


def plain(x: Array) -> Array:
    """The array, or a copy without gaps: what machine code is made for."""
    if x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative:
        return x
    return np.array(x, x.dtype.newbyteorder("="), order="C")


class _FunctionSource(Source):
    """Writes a module whose function computes one batch: first what stays the same from call to call, then the rest.

    Attributes
    ----------
    fixed, given : list of str
    module : str
    """

    module = ""

    def text(self) -> str:
        self.lines, self.depth = [], 1
        self._see_planes()
        self._step()
        own = {*self.buffers, *self.constants}
        results = [self.outputs[v] for v in self.schedule.graph.outputs]
        arrays = {
            self.names[v] for v, f in zip(self.schedule.graph.inputs, self.feeds, strict=True) if f.kind == "array"
        }
        self.fixed = [name for name in self.arguments if name in own or name in arrays]
        self.given = [name for name in self.arguments if name not in {*self.fixed, *results}]
        arguments = ["thread", "threads", "counter", "order", *self.fixed, "total", *self.given, *results]
        return self._module(f"def run({', '.join(arguments)}):")

    def _begin(self) -> None:
        self.write("begin = 0")
        self.write("rows = total")

    def _rows_of_a_tile(self, count: str, tile: str | None) -> None:
        if not self.schedule.tiled or self.threads == 1:
            super()._rows_of_a_tile(count, tile)
            return
        # The same places in the buffers for a thread in every tile, also in a shorter one: threads do not wait between
        # tiles, and would else write where another one still reads.
        self.write(f"n = {count}")
        self.write(f"lo = min(n, {self.tile} * thread // threads)")
        self.write(f"hi = min(n, {self.tile} * (thread + 1) // threads)")

    def _row_product(self, root: Root) -> None:
        a, b = root.equation.inputs
        (left, _), (right, turned) = self.schedule.base(a), self.schedule.base(b)
        if turned or self._nonzeros(left) is not None:
            super()._row_product(root)
            return
        with self.block("if hi - lo == 1:"):
            out = f"{self._rows_of(root.output)}[lo]"
            width = root.output.shape[1]
            self.write(f"row_times_matrix({self._rows_of(left)}[lo], {self.names[right]}, {out}, {width})")
        with self.block("else:"):
            super()._row_product(root)


def _written(graph: Graph, feeds: Sequence[Feed], dtype: np.dtype[Any], threads: int) -> _FunctionSource:
    """The program in tiles, or with all rows at once if they need what all of them give together."""
    try:
        return _source(graph, feeds, dtype, threads, tiled=True)
    except NotFusibleError:
        return _source(graph, feeds, dtype, threads, tiled=False)


def _source(graph: Graph, feeds: Sequence[Feed], dtype: np.dtype[Any], threads: int, tiled: bool) -> _FunctionSource:
    tile = program.tile_of(graph)
    source = _FunctionSource(Schedule(graph, {}, tiled), feeds, dtype, tile, tile, False, threads)
    source.module = source.text()
    return source


def _checked(graph: Graph) -> np.dtype[Any]:
    """The dtype of all floats; raises if there are several, or sizes that the program does not know."""
    variables: list[Variable] = [*graph.inputs, *graph.constants, *(e.output for e in graph.equations)]
    found = {v.dtype for v in variables if v.dtype.kind == "f"}
    if len(found) > 1:
        raise NotFusibleError(f"floats of several dtypes, {' and '.join(sorted(map(str, found)))}")
    if found - {np.dtype(np.float32), np.dtype(np.float64)}:
        raise NotFusibleError(f"floats of the dtype {next(iter(found))}")
    if len(graph.sizes) > 1 or any(axis for _, axis in graph.sizes.values()):
        raise NotFusibleError("a batch that is not along axis 0")
    for v in variables:
        if any(isinstance(n, int) and n == 0 for n in v.shape):
            raise NotFusibleError(f"'{v.name}' has no elements")
        if len(v.shape) > len(LETTERS):
            raise NotFusibleError(f"'{v.name}' has {len(v.shape)} axes")
    return next(iter(found), np.dtype(np.float64))


def _sized(shape: Sequence[Any], rows: int) -> tuple[int, ...]:
    return tuple(n if isinstance(n, int) else rows for n in shape)
