"""The part of a fused program in which every thread computes its own rows of a batch."""

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np

from chainrule.compiler.fusion.schedule import NotFusibleError, Root
from chainrule.compiler.fusion.writer import LETTERS, Writer, padded
from chainrule.graph.graph import Variable

SMALL = 512  # multiplications: a product of so few is quicker in loops than by a call of BLAS
AHEAD = 4  # rows


class RowWriter(Writer):
    """Writes loops over rows and products of rows."""

    def _row_phase(self, phase: int) -> None:
        if phase == 0:
            self._gather()
        roots = self._of(phase)
        for part in sorted({r.part for r in roots}):
            here = [r for r in roots if r.part == part]
            if part % 2:
                for root in here:
                    self._row_product(root)
            else:
                self._row_loop(here)

    def _gather(self) -> None:
        graph = self.schedule.graph
        gathered = [(v, f) for v, f in zip(graph.inputs, self.feeds, strict=True) if f.kind == "data"]
        if not gathered:
            return
        with self.block("for i in range(lo, hi):"):
            self.write("row = order[begin + tile + i]")
            for v, feed in gathered:
                name = self.names[v]
                letters = LETTERS[1 : len(v.shape)]
                with self.loops(v.shape[1:], letters):
                    value = f"{name}_source[{', '.join(['row', *letters])}]"
                    dtype = "np.float64" if feed.wide else "real" if v.dtype == self.dtype else f"np.{v.dtype}"
                    scaled = f" * {name}_scale + {name}_shift" if feed.scaled else ""
                    self.write(f"{name}[{', '.join(['i', *letters])}] = {dtype}({value}){scaled}")

    def _row_loop(self, roots: list[Root]) -> None:
        with self.block("for i in range(lo, hi):"):
            self._levels(roots)
        for root in roots:
            self.expressions.locals.pop(root.output, None)

    def _levels(self, roots: list[Root]) -> None:
        for level in sorted({r.level for r in roots}):
            here = [r for r in roots if r.level == level]
            for root in here:
                if root.kind == "fill":
                    self._fill(root)
            for group in dict.fromkeys(r.group for r in here if r.kind != "fill"):
                self._group([r for r in here if r.kind != "fill" and r.group == group], ("i",), LETTERS[1:])

    def _fill(self, root: Root) -> None:
        e, name = root.equation, self.names[root.output]
        if len(root.output.shape) != 2:
            raise NotFusibleError("a dropout mask that is no matrix")
        key = self.expressions.element(e.inputs[0], [], np.dtype(np.int64))
        width, use, p = root.output.shape[1], e.attributes["use"], e.attributes["p"]
        self.write(f"fill_mask({name}[i, :{width}], (tile + i) * {width}, {key}, {use}, {p!r})")

    def _row_product(self, root: Root) -> None:
        a, b = root.equation.inputs
        (left, _), (right, turned) = self.schedule.base(a), self.schedule.base(b)
        k, width = a.shape[1], root.output.shape[1]
        out = self._rows_of(root.output)
        if (nonzeros := self._nonzeros(left)) is not None:
            self._nonzeros_product(nonzeros, right, root.output)
            return
        if turned or int(k) * int(width) * self.batch > SMALL:
            b_name = self.names[right]
            self.write(
                f"gemm(False, {turned}, hi - lo, {width}, {k}, real(1), {self._rows_of(left)}[lo:hi], {b_name}, "
                f"real(0), {out}[lo:hi])"
            )
            return
        with self.loops(["lo, hi"], ["i"]):
            with self.loops([width], ["j"]):
                self.write(f"{out}[i, j] = 0")
            with self.loops([k, width], ["k", "j"]):
                self.write(f"{out}[i, j] += {self._rows_of(left)}[i, k] * {self.names[right]}[k, j]")

    def _nonzeros_product(self, x: str, right: Variable, out: Variable) -> None:
        """Each thread computes its own columns, of all rows: those of the matrix that it changes, and nobody else reads."""
        for begin, width in self._column_shares(self._sparse_width(right, out)):
            with self.block("for i in range(n):" if self.threads > 1 else "for i in range(lo, hi):"):
                self._prefetch(x)
                self.write("row = order[begin + tile + i]")
                self.write(
                    f"nonzeros_times_matrix({x}_columns, {x}_values, {x}_ends[row], {x}_ends[row + 1], "
                    f"{self.names[right]}, {self._rows_of(out)}[i], {begin}, {width})"
                )
        if self.threads > 1:
            self.write("wait(counter, threads)")

    def _sparse_width(self, matrix: Variable, rows: Variable) -> int:
        """How many elements of each row take part: with those that only fill it up, if all of the arrays have them."""
        graph = self.schedule.graph
        given = matrix in graph.inputs and not self.feeds[graph.inputs.index(matrix)].padded
        width = matrix.shape[1] if given or rows in self.outputs else padded(matrix)[1]
        return int(width)

    def _column_shares(self, width: int, most: int = 10**9) -> Iterator[tuple[int, int]]:
        """Pieces (first, length) of a row, each under a head that says which thread's it is; whole cache lines."""
        line = 64 // self.dtype.itemsize
        lines = -(-width // line)
        for thread in range(self.threads):
            first, last = (line * (lines * t // self.threads) for t in (thread, thread + 1))
            pieces = [(k, min(most, min(last, width) - k)) for k in range(first, min(last, width), most)]
            if pieces:
                with self.block(f"if thread == {thread}:") if self.threads > 1 else nullcontext():
                    yield from pieces

    def _prefetch(self, x: str) -> None:
        """Ask for a row of the data some rows before its turn: the rows are drawn, so no processor could guess it."""
        self.write(f"row = order[min(begin + tile + i + {AHEAD}, order.size - 1)]")
        with self.block(f"for k in range({x}_ends[row], {x}_ends[row + 1], 32):"):
            self.write(f"prefetch({x}_columns, k)")
            self.write(f"prefetch({x}_values, k)")
