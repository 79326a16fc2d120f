"""The source text of a fused program: a module with one function, which every thread of a step calls."""

import hashlib
import inspect
from dataclasses import replace

from chainrule.compiler import correlation, elementary, kernels, philox
from chainrule.compiler.fusion import inlined
from chainrule.compiler.fusion.failure import Written
from chainrule.compiler.fusion.schedule import NotFusibleError
from chainrule.compiler.fusion.wholes import WholeWriter
from chainrule.compiler.fusion.writer import FIXED

# Read when this is imported: a file that is replaced later, by an upgrade say, has other text than the code that runs.
_LIBRARY = {
    name: f for part in (elementary, philox, inlined) for name, f in vars(part).items() if inspect.isfunction(f)
}
_TEXTS = {name: inspect.getsource(f) for name, f in _LIBRARY.items()}
_KERNELS = hashlib.sha256("".join(map(inspect.getsource, (kernels, correlation))).encode()).hexdigest()[:16]


class Source(WholeWriter):
    """Writes the module: the functions that it calls, and the loop over steps."""

    def text(self) -> str:
        """The whole module."""
        self.lines, self.depth = [], 1
        self._see_planes()
        with self.block("for step in range(start, stop):"):
            self._step()
        self.write("return stop")
        return self._module(f"def run({', '.join([*FIXED, *self.arguments])}):")

    def _see_planes(self) -> None:
        for name, shape in self.images.items():
            self.write(f"{name}_planes = {name}.reshape(({', '.join(map(str, shape))}))")

    def written(self, text: str) -> Written:
        """The module's text, with what each line is for."""
        roots = self.schedule.roots.items()
        layers = {v: root.equation.layer or getattr(root.product, "layer", "") for v, root in roots}
        return Written(text, {self.names[v]: replace(root.equation, layer=layers[v]) for v, root in roots})

    def _module(self, head: str) -> str:
        body = "\n".join([head, *self.lines])
        return (
            _HEAD.format(real=f"np.{self.dtype}", kernels=_KERNELS) + self._functions(body) + _DECORATOR + body + "\n"
        )

    def _functions(self, body: str) -> str:
        """The functions that the body calls, from the files where they are tested."""
        width = 8 * self.dtype.itemsize
        found: dict[str, str] = {"wait": _TEXTS["wait"]}
        for name in ("maximum", "minimum"):
            if f"{name}(" in body:
                found[name] = _TEXTS[name]
        aliases = []
        for alias in ("exp", "log", "tanh", "sigmoid", "expm1", "log1p", "erf", "fill_mask"):
            if f"{alias}(" in body.replace(f"math.{alias}(", f"{alias}("):
                full = f"{alias}{'_' if alias[-1] == '1' or alias[-2:] == '1p' else ''}{width}"
                full = alias if alias == "fill_mask" else full
                self._include(full, found)
                aliases += [f"{alias} = {full}"] * (alias != full)
        # Inlined whatever their length, or the loops that call them would not become vector instructions. No more than
        # "contract": other flags would undo their careful order of operations.
        careful = "@njit(nogil=True, error_model='numpy', fastmath={'contract'}, forceinline=True)\n"
        return "\n\n".join(careful + text for text in found.values()) + "\n" + "\n".join(aliases) + "\n\n\n"

    def _include(self, name: str, found: dict[str, str]) -> None:
        if name not in found:
            for used in _LIBRARY[name].__code__.co_names:
                if used in _LIBRARY:
                    self._include(used, found)
            found[name] = _TEXTS[name]

    def _step(self) -> None:
        graph = self.schedule.graph
        self._begin()
        for size in graph.sizes:
            self.write(f"{size} = {'rows' if self.batch > 1 else 1}")
        for v, feed in zip(graph.inputs, self.feeds, strict=True):
            if feed.kind == "number":
                self.write(f"{self.names[v]} = numbers[step, {feed.place}]")
            elif feed.kind == "key":
                self.write(f"{self.names[v]} = keys[step]")
        self._whole_phase(-1)
        phases = max((r.phase for r in self.schedule.roots.values()), default=-1)
        if self.schedule.tiled:
            self._tiled(phases)
        else:
            self._rows_of_a_tile("rows", "0")
            for phase in range(0, phases + 1, 2):
                if phase:
                    self.wait()  # for what others have made of the whole batch
                self._row_phase(phase)
                self._whole_phase(phase + 1)
        # The next step may begin with what each thread has for itself, and then waits anyway; but not if its phase -1
        # writes arrays or reads new values.
        new = set(self.schedule.targets.values())
        if self.inner is None or any(r.output.shape != () or new & set(r.leaves) for r in self._of(-1)):
            self.wait()

    def _begin(self) -> None:
        """Which rows this step is about."""
        self.write("begin = step * batch")
        self.write("rows = min(batch, total - begin)")

    def _tiled(self, phases: int) -> None:
        if phases > 1:
            raise NotFusibleError("rows need what the whole batch gives")
        collected = [r for r in self._of(1) if self.schedule.crosses(r)]
        for root in collected:
            if root.output.shape == ():
                self.begin_number(root)
        with self.block(f"for tile in range(0, rows, {self.tile}):"):
            self._rows_of_a_tile(f"min({self.tile}, rows - tile)", None)
            self._row_phase(0)
            if collected:
                self.wait()
            for root in collected:
                self._collect(root)
            if collected and self.inner is None:
                self.wait()
        if self.inner is not None:
            self.wait()
        for root in collected:
            if root.output.shape == ():
                self.end_number(root)
                self._keep_number(root)
        self._whole_phase(1, leave_out=collected)

    def _rows_of_a_tile(self, count: str, tile: str | None) -> None:
        if tile is not None:
            self.write(f"tile = {tile}")
        self.write(f"n = {count if self.batch > 1 else 1}")
        shared = "n * thread // threads, n * (thread + 1) // threads"
        self.write(f"lo, hi = {shared if self.threads > 1 else '0, n'}")


_HEAD = '''"""A fused program, written by chainrule.

Every thread calls `run` with its own number. A step takes a batch of `rows` rows of the data, in the order of `order`;
`n` of them are worked at a time, of which a thread has those from `lo` to `hi`, and of a whole array the part from
`first` to `last`. The comments are equations of the graph; `wait` lets no thread go on before all have come.
"""
# kernels {kernels}

import math

import numpy as np
from numba import carray, njit

from chainrule.compiler.correlation import add_correlations, correlate, sum_of_row
from chainrule.compiler.kernels import (
    add_nonzeros_outer_row,
    arrive,
    arrived,
    gemm,
    give_way,
    nonzeros_times_matrix,
    pointer,
    prefetch,
    row_times_matrix,
)

real = {real}


'''
# "contract" lets a product and a sum be one instruction. What else fastmath allows would undo code whose order of
# operations is meant: (x + c) - c rounds x.
_DECORATOR = "@njit(nogil=True, error_model='numpy', fastmath={'contract'})\n"
