"""The part of a fused program in which every thread computes its own rows of a batch."""

import math

import numpy as np

from chainrule.compiler.fusion.pooling import ImageWriter
from chainrule.compiler.fusion.schedule import OF_IMAGES, NotFusibleError, Root, sums_images
from chainrule.compiler.fusion.writer import LETTERS, SMALL, padded, share_of
from chainrule.graph.graph import Variable

AHEAD = 4  # rows


class RowWriter(ImageWriter):
    """Writes loops over rows and products of rows."""

    def _row_phase(self, phase: int) -> None:
        if phase == 0:
            self._inner_products()
            self._gather()
        roots = [r for r in self._of(phase) if r.output not in self.partial]
        for part in sorted({r.part for r in roots}):
            here = [r for r in roots if r.part == part]
            if part % 2:
                for root in here:
                    if root.equation.op in OF_IMAGES:
                        self._image_rows(root)
                    else:
                        self._row_product(root)
            else:
                self._row_loop(here)
        for root in self._of(phase + 1):
            if root.kind == "partial":
                self._add_kernel_gradients(root)

    def _gather(self) -> None:
        graph = self.schedule.graph
        gathered = [
            v for v, f in zip(graph.inputs, self.feeds, strict=True) if f.kind == "data" and v is not self.inner
        ]
        if not gathered:
            return
        with self.block("for i in range(lo, hi):"):
            self.write("row = order[begin + tile + i]")
            for v in gathered:
                name, letters = self.names[v], LETTERS[1 : len(v.shape)]
                with self.loops(v.shape[1:], letters):
                    value = self._scaled(v, f"{name}_source[{', '.join(['row', *letters])}]")
                    self.write(f"{self.expressions.places[v](['i', *letters])} = {value}")

    def _scaled(self, v: Variable, value: str) -> str:
        """A number of the data set as the input has it."""
        feed, name = self.feeds[self.schedule.graph.inputs.index(v)], self.names[v]
        dtype = "np.float64" if feed.wide else "real" if v.dtype == self.dtype else f"np.{v.dtype}"
        return f"{dtype}({value}) * {name}_scale + {name}_shift" if feed.scaled else f"{dtype}({value})"

    def _inner_products(self) -> None:
        """The products of each thread's own columns of the data, for all rows; everybody waits for them."""
        x = self.inner
        if x is None:
            return
        roots = [r for r in self._of(0) if r.output in self.partial]
        k = int(x.shape[1])
        self.write(f"first, last = {share_of(k)}")
        nonzeros = self._nonzeros(x)
        self.explain(roots)
        if nonzeros is None:
            with self.block("for i in range(n):"):
                self.write(f"row = order[min(begin + tile + i + {AHEAD}, order.size - 1)]")
                with self.block("for k in range(first, last, 16):"):
                    self.write(f"prefetch({self.names[x]}_source[row], k)")
                self.write("row = order[begin + tile + i]")
                # Pieces, counted from 0: with indices that might be negative the loop would not become vectors.
                self.write(f"into, given = {self.names[x]}[i, first:last], {self.names[x]}_source[row, first:last]")
                with self.block("for j in range(last - first):"):
                    self.write(f"into[j] = {self._scaled(x, 'given[j]')}")
        for root in roots:
            weight, out = self.schedule.base(root.equation.inputs[1])[0], f"{self.names[root.output]}[thread]"
            if nonzeros is not None:
                self._nonzeros_product(nonzeros, weight, root.output, out, "n", ("thread", "thread + 1"))
                continue
            turned = self.schedule.base(root.equation.inputs[1])[1]
            if turned:
                raise NotFusibleError("data times a transposed matrix")
            self.write(
                f"gemm(False, False, n, {root.output.shape[1]}, last - first, real(1), {self.names[x]}[:, first:last], "
                f"{self.names[weight]}[first:last], real(0), {out})"
            )
        self.wait()

    def _row_loop(self, roots: list[Root]) -> None:
        self.explain(roots)
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
                elif sums_images(root.equation):
                    self._sum_images(root)
            loops = [r for r in here if r.kind != "fill" and not sums_images(r.equation)]
            for group in dict.fromkeys(r.group for r in loops):
                self._group([r for r in loops if r.group == group], ("i",), LETTERS[1:])

    def _sum_images(self, root: Root) -> None:
        x, v = root.equation.inputs[0], root.output
        with self.loops([x.shape[1]], ["j"]):
            target = self.expressions.places[v](["i", "j", *["0"] * (len(v.shape) - 2)])
            images = f"{self.names[x]}{'_planes' if self.names[x] in self.images else ''}"
            row = f"{images}[{'tile + ' if self._rows_of(x) != self.names[x] else ''}i, j]"
            self.write(f"{target} = sum_of_row({row}, {math.prod(x.shape[2:])})")

    def _fill(self, root: Root) -> None:
        e, name = root.equation, self.names[root.output]
        key = self.expressions.element(e.inputs[0], [], np.dtype(np.int64))
        width, use, p = math.prod(root.output.shape[1:]), e.attributes["use"], e.attributes["p"]
        row = f"{name}[i, :{width}]" if len(root.output.shape) == 2 else f"{name}[i].reshape({width})"
        self.write(f"fill_mask({row}, (tile + i) * {width}, {key}, {use}, {p!r})")

    def _row_product(self, root: Root) -> None:
        a, b = root.equation.inputs
        (left, _), (right, turned) = self.schedule.base(a), self.schedule.base(b)
        k, width = a.shape[1], root.output.shape[1]
        out = self._rows_of(root.output)
        self.explain([root])
        if (nonzeros := self._nonzeros(left)) is not None:
            self._nonzeros_product(nonzeros, right, root.output, out, "lo, hi", ("0", "-1"))
            return
        left_name, right_name = self._rows_of(left), self.names[right]
        if int(k) * int(width) * self.batch <= SMALL:
            factor = f"{right_name}[j, k]" if turned else f"{right_name}[k, j]"
            with self.loops(["lo, hi"], ["i"]):
                with self.loops([width], ["j"]):
                    self.write(f"{out}[i, j] = 0")
                with self.loops([k, width], ["k", "j"]):
                    self.write(f"{out}[i, j] += {left_name}[i, k] * {factor}")
            return
        self.write(
            f"gemm(False, {turned}, hi - lo, {width}, {k}, real(1), {left_name}[lo:hi], {right_name}, real(0), "
            f"{out}[lo:hi])"
        )

    def _nonzeros_product(
        self, x: str, matrix: Variable, v: Variable, out: str, rows: str, cuts: tuple[str, str]
    ) -> None:
        """The product of listed rows, of which those columns take part that lie between two cuts, and a matrix."""
        width = self._sparse_width(matrix, v)
        first, last = cuts
        with self.block(f"for i in range({rows}):"):
            self._prefetch(x, first, last)
            self.write("row = order[begin + tile + i]")
            self.write(
                f"nonzeros_times_matrix({x}_columns, {x}_values, {x}_cuts[row, {first}], {x}_cuts[row, {last}], "
                f"{self.names[matrix]}, {out}[i], 0, {width})"
            )

    def _sparse_width(self, matrix: Variable, rows: Variable) -> int:
        """How many elements of each row take part: with those that only fill it up, if all of the arrays have them."""
        graph = self.schedule.graph
        given = matrix in graph.inputs and not self.feeds[graph.inputs.index(matrix)].padded
        width = matrix.shape[1] if given or rows in self.outputs else padded(matrix)[1]
        return int(width)

    def _prefetch(self, x: str, first: str, last: str) -> None:
        """Ask for a row of the data some rows before its turn: the rows are drawn, so no processor could guess it."""
        self.write(f"row = order[min(begin + tile + i + {AHEAD}, order.size - 1)]")
        with self.block(f"for k in range({x}_cuts[row, {first}], {x}_cuts[row, {last}], 32):"):
            self.write(f"prefetch({x}_columns, k)")
            self.write(f"prefetch({x}_values, k)")
