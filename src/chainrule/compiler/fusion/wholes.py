"""The part of a fused program that belongs to the whole batch: sums over rows, gradients, and what is made of them."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from chainrule.compiler.fusion.rows import RowWriter
from chainrule.compiler.fusion.schedule import SPLIT, NotFusibleError, Root
from chainrule.compiler.fusion.writer import LETTERS, SMALL, share_of, start_of
from chainrule.graph.graph import Variable
from chainrule.ops import dims
from chainrule.ops.arithmetic import Divide, Negative
from chainrule.ops.product import Matmul

REGISTERS = 512  # bytes of a row that are kept in registers
CACHED = 24 * 1024  # bytes of a matrix that are worked on until nothing more comes to them: of a first cache of 32 KiB


class WholeWriter(RowWriter):
    """Writes what is computed of whole arrays: each thread has its share of their first axis."""

    def _whole_phase(self, phase: int, leave_out: Sequence[Root] = ()) -> None:
        roots = [r for r in self._of(phase) if r not in leave_out]
        arrays = phase > 0 or any(r.output.shape != () for r in roots)
        if arrays and not leave_out and phase > 0 and (roots or phase == 1):
            self.wait()
        for part in sorted({r.part for r in roots}):
            here = [r for r in roots if r.part == part]
            if part and any(r.part == part - 1 and r.output.shape != () for r in roots):
                self.wait()
            for root in here:
                if root.output.shape == ():
                    self._number(root)
                    self._keep_number(root)
            for root in here:
                if root.output.shape != () and root.kind != "element":
                    self._collect(root)
            elements = [r for r in here if r.output.shape != () and r.kind == "element"]
            for shape in dict.fromkeys(r.output.shape for r in elements):
                self._whole_loop(shape, [r for r in elements if r.output.shape == shape])
        if arrays and phase < 0:
            self.wait()

    def _keep_number(self, root: Root) -> None:
        """Put a number that somebody wants to know where it belongs, once it is known."""
        name = self.expressions.locals[root.output]
        if root.output in self.outputs:
            self.write(f"{self.outputs[root.output]}[()] = {name}")
        if self.loss and root.output is self.schedule.graph.outputs[0]:
            self.write(f"loss_of[step] = {name}")
            with self.block(f"if not np.isfinite({name}):"):
                self.write("return step")

    def _number(self, root: Root) -> None:
        """A single number, which every thread computes for itself."""
        name = self.names[root.output]
        if root.kind == "reduce":
            self._collect(root)
        elif root.kind == "element":
            self.write(f"{name} = {self.expressions.formula(root.equation, ())}")
            self.expressions.locals[root.output] = name
        else:
            raise NotFusibleError(f"'{root.equation!r}' is no single number's formula")

    @contextmanager
    def _share(self, shape: tuple[Any, ...]) -> Iterator[str]:
        """The part of an array of this shape that a thread works on: a range of its first axis, or all or nothing."""
        if self._is_split(shape):
            self.write(f"first, last = {share_of(shape[0])}")
            yield "first, last"
            return
        owner = self.owners.setdefault(shape, len(self.owners)) % self.threads
        with self.block(f"if thread == {owner}:") if self.threads > 1 else nullcontext():
            yield str(shape[0]) if shape else ""

    def _is_split(self, shape: tuple[Any, ...]) -> bool:
        """Whether all threads share an array; a weight and its gradient are shared as the columns of the data are."""
        for root in self.schedule.roots.values():
            e = root.product or root.equation
            if e.op is Matmul and not root.rows and dims.same_shape(root.output.shape, shape):
                x = self.schedule.base(e.inputs[0])[0]
                if x is self.inner or self._nonzeros(x) is not None:
                    return x is self.inner
        return len(shape) > 1 and math.prod(shape) >= SPLIT and shape[0] >= 8

    def _whole_loop(self, shape: tuple[Any, ...], roots: list[Root]) -> None:
        sizes = roots[0].group
        self.explain(roots)
        with self._share(shape) as share:
            if dims.same(shape[0], 1):
                self._group(roots, (), LETTERS)
                return
            with self.block(f"for i in range({share}):"):
                self._group_inside(roots, sizes[1:])

    def _group_inside(self, roots: list[Root], sizes: Sequence[Any]) -> None:
        """The loops over all axes but the first."""
        late, inside = [], []
        with self.loops(sizes, LETTERS[1:]):
            for root in roots:
                index = self._index(root.output.shape, (), LETTERS, root.flat)
                text = self.expressions.formula(root.equation, index)
                place = self.expressions.places.get(root.output)
                if place is not None and len(roots) == 1:
                    self.write(f"{place(index)} = {text}")
                    continue
                local = f"{self.names[root.output]}_"
                self.write(f"{local} = {text}")
                self.expressions.locals[root.output] = local
                inside.append(root.output)
                if place is not None:
                    late.append(f"{place(index)} = {local}")
            for line in late:
                self.write(line)
        for v in inside:
            del self.expressions.locals[v]

    def _collect(self, root: Root) -> None:
        """What adds up over rows or over whole arrays."""
        self.explain([root])
        if root.kind == "update" or root.kind == "product":
            self._whole_product(root)
            return
        if root.kind == "partial":
            with self._share(root.output.shape) as share:
                self._sum_of_threads(root.output, share)
            return
        e, v = root.equation, root.output
        x = e.inputs[0]
        again = self.schedule.tiled and self.schedule.crosses(root)
        rows = not isinstance(x.shape[0], int) if x.shape else False
        sizes = [("n" if k == 0 and rows else n) for k, n in enumerate(x.shape) if not dims.same(n, 1)]
        if v.shape == ():
            if not again:
                self.begin_number(root)
            self._sum_up(root, x, sizes)
            if not again:
                self.end_number(root)
            return
        with self._share(v.shape) as share:
            split = share.startswith("first")
            if split and (0 in e.attributes["axis"]):
                raise NotFusibleError("a sum as large as a matrix")
            kept = [n for n in v.shape if not dims.same(n, 1)]
            once = self.block("if tile == 0:") if again else nullcontext()
            with once, self.loops([share, *kept[1:]] if split else kept, LETTERS):
                place = self.expressions.places[v](self._index(v.shape, (), LETTERS))
                self.write(f"{place} = {start_of(root)}")
            self._sum_up(root, x, [share, *sizes[1:]] if split else sizes)

    def _sum_up(self, root: Root, x: Variable, sizes: Sequence[Any]) -> None:
        with self.loops(sizes, LETTERS):
            index = self._index(x.shape, (), LETTERS)
            self._add(root, self.expressions.element(x, index, root.output.dtype), index)

    def _whole_product(self, root: Root) -> None:
        e = root.product if root.kind == "update" else root.equation
        assert e is not None
        (a, turned_a), (b, turned_b) = map(self.schedule.base, e.inputs)
        height, width = (int(n) for n in e.output.shape)
        k = e.inputs[0].shape[1]
        rows = not isinstance(k, int)
        target = self.names[root.target] if root.target is not None else self.names[root.output]
        if root.target is not None and root.kind != "update":
            raise NotFusibleError("a product in the place of an input")
        alpha, beta = "real(1)", "real(0)"
        if root.kind == "update":
            alpha, beta = self._coefficient(root), "real(1)"
        elif self.schedule.tiled and rows:
            beta = "real(tile > 0)"
        if (nonzeros := self._nonzeros(a)) is not None:
            self._nonzeros_gradient(root, nonzeros, b, target, alpha)
            return
        if rows and turned_a and height * width * self.batch <= SMALL:
            self._small_product(root, a, b, target, alpha)
            return
        with self._share((height, width)) as share:
            first, last = ("first", "last") if share.startswith("first") else ("0", str(height))
            left, right = (self._rows_of(x) if rows else self.names[x] for x in (a, b))
            left += f"[:, {first}:{last}]" if turned_a else f"[{first}:{last}]"
            inner = "n" if rows else str(k)
            self.write(
                f"gemm({turned_a}, {turned_b}, {last} - {first}, {width}, {inner}, {alpha}, {left}, {right}, "
                f"{beta}, {target}[{first}:{last}])"
            )

    def _small_product(self, root: Root, a: Variable, b: Variable, target: str, alpha: str) -> None:
        height, width = (int(n) for n in (root.product or root.equation).output.shape)
        with self._share((height, width)) as share:
            self.write(f"factor = {alpha}")
            if root.kind != "update":
                once = self.block("if tile == 0:") if self.schedule.tiled else nullcontext()
                with once, self.loops([share, width], ["i", "j"]):
                    self.write(f"{target}[i, j] = 0")
            with self.loops(["n", share, width], ["k", "i", "j"]):
                left, right = f"{self._rows_of(a)}[k, i]", f"{self._rows_of(b)}[k, j]"
                self.write(f"{target}[i, j] += factor * {left} * {right}")

    def _nonzeros_gradient(self, root: Root, x: str, d: Variable, target: str, alpha: str) -> None:
        """The sum over rows of the products of the listed elements and d, for some columns at a time.

        The rows of the matrix that belong to these columns stay in the first cache until all rows of the batch have
        been gone through; `x_at` says how far each list has been.
        """
        matrix = root.target if root.target is not None else root.output
        height, itemsize = int(matrix.shape[0]), self.dtype.itemsize
        whole, most = self._sparse_width(matrix, d), REGISTERS // itemsize
        part = "thread" if self.inner is not None else "0"
        with self._share(matrix.shape) as share:
            if not share.startswith("first"):
                self.write(f"first, last = 0, {height}")
            self.write(f"factor = {alpha}")
            if root.kind != "update":
                once = self.block("if tile == 0:") if self.schedule.tiled else nullcontext()
                with once, self.loops(["first, last", whole], ["i", "j"]):
                    self.write(f"{target}[i, j] = 0")
            for begin in range(0, whole, most):
                width = min(most, whole - begin)
                each = height if self.batch == 1 else min(height, CACHED // (width * itemsize))
                with self.loops(["n"], ["i"]):
                    self.write(f"{x}_at[thread, i] = {x}_cuts[order[begin + tile + i], {part}]")
                with self.loops([f"first + {each}, last + {each}, {each}", "n"], ["limit", "i"]):
                    self.write("row = order[begin + tile + i]")
                    self.write(
                        f"{x}_at[thread, i] = add_nonzeros_outer_row({x}_columns, {x}_values, {x}_at[thread, i], "
                        f"{x}_cuts[row, {part} + 1], limit, factor, {self.names[d]}[i], {target}, {begin}, {width})"
                    )

    def _coefficient(self, root: Root) -> str:
        text = "real(1)"
        for op, number in root.factors:
            if op is Negative:
                text = f"-{text}"
            else:
                value = self.expressions.element(number, (), self.dtype)
                text = f"({text} {'/' if op is Divide else '*'} {value})"
        return text
