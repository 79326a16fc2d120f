"""The source text of a fused program: a module with one function, which every thread of a step calls."""

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np

from chainrule.compiler import elementary, philox
from chainrule.compiler.fusion.expressions import Expressions, Index
from chainrule.compiler.fusion.schedule import SPLIT, NotFusibleError, Root, Schedule
from chainrule.graph.graph import Variable
from chainrule.ops import dims
from chainrule.ops.arithmetic import Divide, Negative
from chainrule.ops.reduction import Max, Sum

LETTERS = ("i", "j", "k", "l", "m")
AHEAD = 4  # rows
SMALL = 512  # multiplications: a product of so few is quicker in loops than by a call of BLAS
RESERVED = {
    *LETTERS,
    *("thread", "threads", "counter", "start", "stop", "batch", "total", "order", "numbers", "keys", "loss_of"),
    *("step", "begin", "rows", "N", "tile", "n", "lo", "hi", "row", "real", "np", "math", "wait", "gemm", "njit"),
    *("exp", "log", "tanh", "sigmoid", "expm1", "log1p", "erf", "maximum", "minimum", "bool", "abs"),
}


@dataclass(frozen=True)
class Feed:
    """Where an input's values come from.

    Attributes
    ----------
    kind : str
        "array": the argument is the array itself. "number": column `place` of `numbers`, one row a step. "key": one a
        step, from `keys`. "data": rows of a data set, which are gathered in the order of the epoch. "rows": rows of
        the argument itself, in their order. "nonzeros": rows of which the non-zero elements are listed.
    place : int
    scaled : bool
        Whether gathered rows are scaled and shifted.
    """

    kind: str
    place: int = 0
    scaled: bool = False


class Source:
    """Writes the module of a schedule.

    Parameters
    ----------
    schedule : Schedule
    feeds : sequence of Feed
        One for each input of the graph.
    dtype : dtype
        That of the floats.
    batch : int
        How many rows a step has at most; `tile`, how many of them are worked at a time.
    loss : bool
        Whether output 0 is a loss: it is kept for each step, and a step whose loss is not finite changes nothing and
        ends the run.

    Attributes
    ----------
    arguments : list of str
        The names of the function's arguments after the fixed ones.
    buffers : dict of str to (tuple, dtype)
        The arrays among them that are the program's own: shapes (in which None stands for the rows of a tile).
    """

    FIXED = ("thread", "threads", "counter", "start", "stop", "batch", "total", "order", "numbers", "keys", "loss_of")

    def __init__(
        self, schedule: Schedule, feeds: Sequence[Feed], dtype: np.dtype[Any], batch: int, tile: int, loss: bool
    ) -> None:
        self.schedule, self.feeds, self.dtype = schedule, feeds, dtype
        self.batch, self.tile, self.loss = batch, tile, loss
        self.expressions = Expressions(schedule, dtype)
        self.lines: list[str] = []
        self.depth = 1
        self.needed: dict[str, FunctionType] = {}
        self.buffers: dict[str, tuple[tuple[Any, ...], np.dtype[Any]]] = {}
        self.arguments: list[str] = []
        self.names: dict[Variable, str] = {}
        self.owners: dict[tuple[Any, ...], int] = {}
        self.outputs: dict[Variable, str] = {}
        self._name_everything()

    # ---- names and places ------------------------------------------------------------------------------------------

    def _name_everything(self) -> None:
        graph, places = self.schedule.graph, self.expressions.places
        for v, feed in zip(graph.inputs, self.feeds, strict=True):
            name = self._name(v)
            if feed.kind == "number" or feed.kind == "key":
                self.expressions.locals[v] = name
            elif feed.kind == "array":
                self.arguments.append(name)
                places[v] = self._reader(name, v.shape)
            elif feed.kind == "rows":
                self.arguments.append(name)
                places[v] = self._reader(name, v.shape, "tile + ")
            elif feed.kind == "nonzeros":
                self.arguments += [f"{name}_columns", f"{name}_values", f"{name}_cuts"]
            else:
                self.arguments += [f"{name}_source", *([f"{name}_scale", f"{name}_shift"] if feed.scaled else [])]
                self._buffer(v)
        for v, array in graph.constants.items():
            if array.size > 1:
                raise NotFusibleError("a constant array")
        for v, root in self.schedule.roots.items():
            name = self._name(v)
            if root.target is not None:
                places[v] = places[root.target]
            elif v in graph.outputs and not (self.loss and v is graph.outputs[0]):
                self.outputs[v] = name
                self.arguments.append(name)
                places[v] = self._reader(name, v.shape, "tile + " if root.rows else "")
            elif root.stored and v.shape != ():
                self._buffer(v)
        if any(not (v in self.schedule.roots or v in graph.inputs) for v in graph.outputs):
            raise NotFusibleError("an output that is a constant")

    def _name(self, v: Variable) -> str:
        name = v.name if v.name.isascii() else f"v{len(self.names)}"
        while name in RESERVED or name in self.names.values() or name.startswith("_"):
            name = f"{name.lstrip('_')}_"
        self.names[v] = name
        return name

    def _buffer(self, v: Variable) -> None:
        name = self.names[v]
        rows = bool(v.shape) and not isinstance(v.shape[0], int)
        self.buffers[name] = ((None, *v.shape[1:]) if rows else v.shape, v.dtype)
        self.arguments.append(name)
        self.expressions.places[v] = self._reader(name, v.shape)

    def _reader(self, name: str, shape: tuple[Any, ...], offset: str = "") -> Any:
        if shape == ():
            return lambda index: f"{name}[()]"
        return lambda index: f"{name}[{', '.join([offset + index[0], *index[1:]])}]"

    # ---- writing ---------------------------------------------------------------------------------------------------

    def write(self, line: str) -> None:
        """A line at the present depth."""
        self.lines.append("    " * self.depth + line)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Lines under a head such as `for ...:`."""
        self.write(head)
        self.depth += 1
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self.write("pass")
        self.depth -= 1

    @contextmanager
    def loops(self, sizes: Sequence[Any], letters: Sequence[str]) -> Iterator[None]:
        """Loops over all of these sizes, one inside the other."""
        if not sizes:
            yield
            return
        with self.block(f"for {letters[0]} in range({sizes[0]}):"), self.loops(sizes[1:], letters[1:]):
            yield

    def text(self) -> str:
        """The whole module."""
        self.lines, self.depth = [], 1
        with self.block("for step in range(start, stop):"):
            self._step()
        self.write("return stop")
        head = f"def run({', '.join([*self.FIXED, *self.arguments])}):"
        body = "\n".join([head, *self.lines])
        return _HEAD.format(real=f"np.{self.dtype}", kernels=_digest()) + self._functions(body) + _DECORATOR + body + "\n"

    def _functions(self, body: str) -> str:
        """The functions that the body calls, from the files where they are tested."""
        width = 8 * self.dtype.itemsize
        found: dict[str, str] = {"wait": inspect.getsource(wait)}
        for name in ("maximum", "minimum"):
            if f"{name}(" in body:
                found[name] = inspect.getsource(globals()[name])
        library = {name: f for part in (elementary, philox) for name, f in vars(part).items() if inspect.isfunction(f)}
        aliases = []
        for alias in ("exp", "log", "tanh", "sigmoid", "expm1", "log1p", "erf", "fill_mask"):
            if f"{alias}(" in body.replace(f"math.{alias}(", f"{alias}("):
                full = f"{alias}{'_' if alias[-1] == '1' or alias[-2:] == '1p' else ''}{width}"
                full = alias if alias == "fill_mask" else full
                self._include(full, library, found)
                aliases += [f"{alias} = {full}"] * (alias != full)
        # Inlined whatever their length, or the loops that call them would not become vector instructions. No more than
        # "contract": other flags would undo their careful order of operations.
        careful = "@njit(nogil=True, error_model='numpy', fastmath={'contract'}, forceinline=True)\n"
        return "\n\n".join(careful + text for text in found.values()) + "\n" + "\n".join(aliases) + "\n\n\n"

    def _include(self, name: str, library: dict[str, Any], found: dict[str, str]) -> None:
        if name in found:
            return
        for used in library[name].__code__.co_names:
            if used in library:
                self._include(used, library, found)
        found[name] = inspect.getsource(library[name])

    def _step(self) -> None:
        graph = self.schedule.graph
        self.write("begin = step * batch")
        self.write("rows = min(batch, total - begin)")
        for size in graph.sizes:
            self.write(f"{size} = rows")
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
                self._row_phase(phase)
                self._whole_phase(phase + 1)
        self.write("wait(counter, threads)")

    def _tiled(self, phases: int) -> None:
        if phases > 1:
            raise NotFusibleError("rows need what the whole batch gives")
        collected = [r for r in self._of(1) if self.schedule.crosses(r)]
        for root in collected:
            if root.output.shape == ():
                self.write(f"{self.names[root.output]} = {_start(root)}")
        with self.block(f"for tile in range(0, rows, {self.tile}):"):
            self._rows_of_a_tile(f"min({self.tile}, rows - tile)", None)
            self._row_phase(0)
            if collected:
                self.write("wait(counter, threads)")
            for root in collected:
                self._collect(root)
            if collected:
                self.write("wait(counter, threads)")
        self._whole_phase(1, leave_out=collected)

    def _rows_of_a_tile(self, count: str, tile: str | None) -> None:
        if tile is not None:
            self.write(f"tile = {tile}")
        self.write(f"n = {count}")
        self.write("lo = n * thread // threads")
        self.write("hi = n * (thread + 1) // threads")

    def _of(self, phase: int) -> list[Root]:
        return [r for r in self.schedule.roots.values() if r.phase == phase]

    # ---- rows ------------------------------------------------------------------------------------------------------

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
                    value = f"real({value})" if v.dtype == self.dtype else f"np.{v.dtype}({value})"
                    scaled = f"{value} * {name}_scale + {name}_shift" if feed.scaled else value
                    self.write(f"{name}[{', '.join(['i', *letters])}] = {scaled}")

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

    def _group(self, roots: list[Root], row: Index, letters: Sequence[str]) -> None:
        """One nest of loops over columns in which several values are computed."""
        sizes = roots[0].group
        inside: list[Variable] = []
        for root in roots:
            if root.kind == "reduce":
                self._begin_sum(root, row, letters)
        with self.loops(sizes, letters):
            late = []
            for root in roots:
                source = root.equation.inputs[0] if root.kind == "reduce" else root.output
                index = self._index(source.shape, row, letters)
                if root.kind == "reduce":
                    self._add(root, self.expressions.element(source, index, root.output.dtype), index)
                    continue
                text = self.expressions.formula(root.equation, index)
                name = self.names[root.output]
                if root.target is not None and len(roots) == 1:
                    self.write(f"{self.expressions.places[root.output](index)} = {text}")
                    continue
                local = f"{name}_new" if root.target is not None else f"{name}_" if root.stored else name
                self.write(f"{local} = {text}")
                self.expressions.locals[root.output] = local
                inside.append(root.output)
                if root.stored or root.target is not None:
                    late.append(f"{self.expressions.places[root.output](index)} = {local}")
            for line in late:
                self.write(line)
        for v in inside:
            if sizes or self.schedule.roots[v].stored:
                self.expressions.locals.pop(v, None)
        for root in roots:
            if root.kind == "reduce":
                self._end_sum(root, row)

    def _index(self, shape: tuple[Any, ...], row: Index, letters: Sequence[str]) -> list[str]:
        rest = iter(letters)
        return [*row, *("0" if dims.same(n, 1) else next(rest) for n in shape[len(row) :])]

    def _kept(self, root: Root, index: Index) -> list[str]:
        """The index of the element of a reduction that an element of its operand goes to."""
        axes, keepdims = root.equation.attributes["axis"], root.equation.attributes["keepdims"]
        return [("0" if i in axes else p) for i, p in enumerate(index) if keepdims or i not in axes]

    def _begin_sum(self, root: Root, row: Index, letters: Sequence[str]) -> None:
        v = root.output
        if self._is_number(root, row):
            self.expressions.locals[v] = self.names[v]
            self.write(f"{self.names[v]} = {_start(root)}")
            return
        sizes = [n for n in v.shape[len(row) :] if not dims.same(n, 1)]
        with self.loops(sizes, letters):
            self.write(f"{self.expressions.places[v](self._index(v.shape, row, letters))} = {_start(root)}")

    def _is_number(self, root: Root, row: Index) -> bool:
        return all(dims.same(n, 1) for n in root.output.shape[len(row) :])

    def _add(self, root: Root, text: str, index: Index) -> None:
        v = root.output
        target = self.expressions.locals.get(v) or self.expressions.places[v](self._kept(root, index))
        function = {Sum: "{0} + {1}", Max: "maximum({0}, {1})"}.get(root.equation.op, "minimum({0}, {1})")
        self.write(f"{target} = {function.format(target, text)}")

    def _end_sum(self, root: Root, row: Index) -> None:
        v = root.output
        if v in self.expressions.locals and root.stored and v in self.expressions.places:
            index = [*row, *["0"] * (len(v.shape) - len(row))]
            self.write(f"{self.expressions.places[v](index)} = {self.names[v]}")

    def _fill(self, root: Root) -> None:
        e, name = root.equation, self.names[root.output]
        if len(root.output.shape) != 2:
            raise NotFusibleError("a dropout mask that is no matrix")
        key = self.expressions.element(e.inputs[0], [], np.dtype(np.int64))
        width, use, p = root.output.shape[1], e.attributes["use"], e.attributes["p"]
        self.write(f"fill_mask({name}[i], (tile + i) * {width}, {key}, {use}, {p!r})")

    def _row_product(self, root: Root) -> None:
        a, b = root.equation.inputs
        (left, _), (right, turned) = self.schedule.base(a), self.schedule.base(b)
        k, width = a.shape[1], root.output.shape[1]
        out = self._rows_of(root.output)
        if (nonzeros := self._nonzeros(left)) is not None:
            with self.block("for i in range(lo, hi):"):
                self._prefetch(nonzeros)
                self.write("row = order[begin + tile + i]")
                self.write(
                    f"nonzeros_times_matrix({nonzeros}_columns, {nonzeros}_values, {nonzeros}_cuts[0, row], "
                    f"{nonzeros}_cuts[threads, row], {self.names[right]}, {out}[i], {width})"
                )
            return
        if turned or by_size(k, width, self.batch) > SMALL:
            b_name = self.names[right]
            self.write(
                f"gemm(False, {turned}, hi - lo, {width}, {k}, real(1), {self._rows_of(left)}[lo:hi], {k}, {b_name}, "
                f"{k if turned else width}, real(0), {out}[lo:hi], {width})"
            )
            return
        with self.loops(["lo, hi"], ["i"]):
            with self.loops([width], ["j"]):
                self.write(f"{out}[i, j] = 0")
            with self.loops([k, width], ["k", "j"]):
                self.write(f"{out}[i, j] += {self._rows_of(left)}[i, k] * {self.names[right]}[k, j]")

    def _prefetch(self, x: str) -> None:
        """Ask for a row of the data some rows before its turn: the rows are drawn, so no processor could guess it."""
        self.write(f"row = order[min(begin + tile + i + {AHEAD}, order.size - 1)]")
        with self.block(f"for k in range({x}_cuts[0, row], {x}_cuts[threads, row], 32):"):
            self.write(f"prefetch({x}_columns, k)")
            self.write(f"prefetch({x}_values, k)")

    def _nonzeros(self, v: Variable) -> str | None:
        graph = self.schedule.graph
        if v in graph.inputs and self.feeds[graph.inputs.index(v)].kind == "nonzeros":
            return self.names[v]
        return None

    def _rows_of(self, v: Variable) -> str:
        """The array of the rows of this tile."""
        graph = self.schedule.graph
        direct = v in self.outputs or (v in graph.inputs and self.feeds[graph.inputs.index(v)].kind == "rows")
        return f"{self.names[v]}[tile:]" if direct else self.names[v]

    # ---- whole arrays ----------------------------------------------------------------------------------------------

    def _whole_phase(self, phase: int, leave_out: Sequence[Root] = ()) -> None:
        roots = [r for r in self._of(phase) if r not in leave_out]
        loss = self.schedule.graph.outputs[0] if self.loss else None
        arrays = phase > 0 or any(r.output.shape != () for r in roots)
        if arrays and not leave_out and (roots or phase == 1):
            self.write("wait(counter, threads)") if phase > 0 else None
        for part in sorted({r.part for r in roots}):
            here = [r for r in roots if r.part == part]
            if part and any(r.part == part - 1 and r.output.shape != () for r in roots):
                self.write("wait(counter, threads)")
            for root in here:
                if root.output.shape == ():
                    self._number(root)
                    if root.output is loss:
                        self._keep_loss(root)
            for root in here:
                if root.output.shape != () and root.kind != "element":
                    self._collect(root)
            elements = [r for r in here if r.output.shape != () and r.kind == "element"]
            for shape in dict.fromkeys(r.output.shape for r in elements):
                self._whole_loop(shape, [r for r in elements if r.output.shape == shape])
        if arrays and phase < 0:
            self.write("wait(counter, threads)")

    def _keep_loss(self, root: Root) -> None:
        name = self.names[root.output]
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
        else:
            raise NotFusibleError(f"'{root.equation!r}' is no single number's formula")
        self.expressions.locals[root.output] = name
        if root.output in self.outputs:
            self.write(f"{name}_out[()] = {name}")

    @contextmanager
    def _share(self, shape: tuple[Any, ...]) -> Iterator[str]:
        """The part of an array of this shape that a thread works on: a range of its first axis, or all or nothing."""
        if shape and math.prod(shape) >= SPLIT and shape[0] >= 8:
            self.write(f"first, last = {shape[0]} * thread // threads, {shape[0]} * (thread + 1) // threads")
            yield "first, last"
            return
        owner = self.owners.setdefault(shape, len(self.owners))
        with self.block(f"if thread == {owner} % threads:"):
            yield str(shape[0]) if shape else ""

    def _whole_loop(self, shape: tuple[Any, ...], roots: list[Root]) -> None:
        sizes = roots[0].group
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
                index = self._index(root.output.shape, (), LETTERS)
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
        if root.kind == "update" or root.kind == "product":
            self._whole_product(root)
            return
        e, v = root.equation, root.output
        x = e.inputs[0]
        again = self.schedule.tiled and self.schedule.crosses(root)
        rows = not isinstance(x.shape[0], int) if x.shape else False
        sizes = [("n" if k == 0 and rows else n) for k, n in enumerate(x.shape) if not dims.same(n, 1)]
        if v.shape == ():
            if not again:
                self.write(f"{self.names[v]} = {_start(root)}")
            self.expressions.locals[v] = self.names[v]
            self._sum_up(root, x, sizes)
            return
        with self._share(v.shape) as share:
            split = share.startswith("first")
            if split and (0 in e.attributes["axis"]):
                raise NotFusibleError("a sum as large as a matrix")
            kept = [n for n in v.shape if not dims.same(n, 1)]
            with self.block("if tile == 0:") if again else _nothing():
                with self.loops([share, *kept[1:]] if split else kept, LETTERS):
                    place = self.expressions.places[v](self._index(v.shape, (), LETTERS))
                    self.write(f"{place} = {_start(root)}")
            self._sum_up(root, x, [share, *sizes[1:]] if split else sizes)

    def _sum_up(self, root: Root, x: Variable, sizes: Sequence[Any]) -> None:
        with self.loops(sizes, LETTERS):
            index = self._index(x.shape, (), LETTERS)
            self._add(root, self.expressions.element(x, index, root.output.dtype), index)

    def _whole_product(self, root: Root) -> None:
        e = root.product if root.kind == "update" else root.equation
        assert e is not None
        (a, turned_a), (b, turned_b) = map(self.schedule.base, e.inputs)
        height, width = e.output.shape
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
        with self._share((height, width)) as share:
            first, last = ("first", "last") if share.startswith("first") else ("0", str(height))
            if (nonzeros := self._nonzeros(a)) is not None:
                self._sparse_product(root, nonzeros, b, target, alpha, (first, last), width)
                return
            left = f"{self.names[a]}[:, {first}:{last}]" if turned_a else f"{self.names[a]}[{first}:{last}]"
            inner = "n" if rows else str(k)
            self.write(
                f"gemm({turned_a}, {turned_b}, {last} - {first}, {width}, {inner}, {alpha}, {left}, "
                f"{height if turned_a else k}, {self.names[b]}, {k if turned_b else width}, {beta}, "
                f"{target}[{first}:{last}], {width})"
            )

    def _sparse_product(
        self, root: Root, x: str, b: Variable, target: str, alpha: str, share: tuple[str, str], width: int
    ) -> None:
        first, last = share
        if root.kind != "update":
            with self.block("if tile == 0:") if self.schedule.tiled else _nothing():
                with self.loops([f"{first}, {last}", width], ["i", "j"]):
                    self.write(f"{target}[i, j] = 0")
        begin, end = ("thread", "thread + 1") if first == "first" else ("0", "threads")
        self.write(f"factor = {alpha}")
        with self.loops(["n"], ["i"]):
            self.write("row = order[begin + tile + i]")
            self.write(
                f"add_nonzeros_outer_row({x}_columns, {x}_values, {x}_cuts[{begin}, row], {x}_cuts[{end}, row], "
                f"factor, {self.names[b]}[i], {target}, {width})"
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


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def by_size(k: Any, width: Any, batch: int) -> int:
    """How many multiplications a product of the rows of a batch takes."""
    return int(k) * int(width) * batch


def _start(root: Root) -> str:
    """What a sum or a maximum begins with."""
    kind = f"np.{root.output.dtype}" if root.output.dtype.kind != "f" else "real"
    if root.equation.op is Sum:
        return f"{kind}(0)"
    if root.output.dtype.kind != "f":
        raise NotFusibleError("the largest of integers")
    return f"real({'-' if root.equation.op is Max else ''}np.inf)"


def maximum(a: Any, b: Any) -> Any:
    """The larger one; NaN if one is NaN, and b if they are equal."""
    return a if a > b or a != a else b


def minimum(a: Any, b: Any) -> Any:
    """The smaller one; NaN if one is NaN, and b if they are equal."""
    return a if a < b or a != a else b


def wait(counter: Any, threads: Any) -> None:
    """Go on only when all threads have come here; one that waits for long gives its core away.

    `counter[0]` counts arrivals; `counter[1]` is set when a thread has failed, so that nobody waits for it.
    """
    if threads > 1:
        goal = (arrive(counter) // threads + 1) * threads  # noqa: F821
        spins = 0
        while arrived(counter) < goal and counter[1] == 0:  # noqa: F821
            spins += 1
            if spins > 4000:
                give_way()  # noqa: F821


def _digest() -> str:
    import hashlib

    from chainrule.compiler import kernels

    return hashlib.sha256(inspect.getsource(kernels).encode()).hexdigest()[:16]


_HEAD = '''"""A fused program, written by chainrule."""
# kernels {kernels}

import math

import numpy as np
from numba import njit

from chainrule.compiler.kernels import (
    add_nonzeros_outer_row,
    arrive,
    arrived,
    gemm,
    give_way,
    nonzeros_times_matrix,
    prefetch,
)

real = {real}


'''
_DECORATOR = "@njit(nogil=True, error_model='numpy', fastmath={'contract', 'reassoc', 'nsz', 'arcp'})\n"
