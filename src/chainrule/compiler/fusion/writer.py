"""What writes the source text of a fused program: names, lines, and the nests of loops that all parts are made of."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.compiler.fusion.expressions import Expressions, Index
from chainrule.compiler.fusion.nonzeros import only_multiplied
from chainrule.compiler.fusion.schedule import NotFusibleError, Root, Schedule
from chainrule.graph.graph import Variable
from chainrule.ops import dims
from chainrule.ops.reduction import Max, Sum

_ADDING = {"sum": "{0} + {1}", "max": "maximum({0}, {1})"}
SMALL = 512  # multiplications: a product of so few is quicker in loops than by a call of BLAS
LETTERS = ("i", "j", "k", "l", "m")
FIXED = ("thread", "threads", "counter", "start", "stop", "batch", "total", "order", "numbers", "keys", "loss_of")
RESERVED = {
    *(*LETTERS, *FIXED),
    *("step", "begin", "rows", "N", "tile", "n", "lo", "hi", "row", "first", "last", "factor", "into", "given"),
    *("y", "z", "best", "at", "left", "won", "added", "share"),
    *("real", "np", "math", "wait", "gemm", "njit", "run", "prefetch"),
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
    wide : bool
        Whether that takes float64, since the rows have more digits than the program's floats.
    padded : bool
        Whether the array's rows begin at cache lines: see `padded`.
    """

    kind: str
    place: int = 0
    scaled: bool = False
    wide: bool = False
    padded: bool = False


class Writer:
    """Names, places and lines of the program of a schedule.

    Parameters
    ----------
    schedule : Schedule
    feeds : sequence of Feed
        One for each input of the graph.
    dtype : dtype
        That of the floats.
    batch : int
        How many rows a step has at most; `tile`, how many of them are worked at a time, `threads`, by how many.
    loss : bool
        Whether output 0 is a loss: it is kept for each step, and a step whose loss is not finite changes nothing and
        ends the run.

    Attributes
    ----------
    arguments : list of str
        The names of the function's arguments after the fixed ones.
    constants : dict of str to ndarray
        Those among them that the graph brings along.
    buffers : dict of str to (tuple, dtype)
        The arrays among them that are the program's own: shapes (in which None stands for the rows of a tile).
    inner : Variable or None
        The input whose columns are shared among the threads; `partial` are the products that each thread computes
        from its columns alone, and which are added up where they are read.
    """

    def __init__(
        self,
        schedule: Schedule,
        feeds: Sequence[Feed],
        dtype: np.dtype[Any],
        batch: int,
        tile: int,
        loss: bool,
        threads: int,
    ) -> None:
        self.schedule, self.feeds, self.dtype = schedule, feeds, dtype
        self.batch, self.tile, self.loss, self.threads = batch, tile, loss, threads
        self.expressions = Expressions(schedule, dtype)
        self.lines: list[str] = []
        self.depth = 1
        self.buffers: dict[str, tuple[tuple[Any, ...], np.dtype[Any]]] = {}
        self.arguments: list[str] = []
        self.names: dict[Variable, str] = {}
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self.owners: dict[tuple[Any, ...], int] = {}
        self.outputs: dict[Variable, str] = {}
        self.images: dict[str, tuple[Any, ...]] = {}  # arguments of four axes, and the shape that they are read in
        self.sums: dict[Variable, str] = {}  # where a number that is being added up is kept
        self.inner, self.partial = self._shared_by_columns()
        self._name_everything()

    # ---- names and places ------------------------------------------------------------------------------------------

    def _name_everything(self) -> None:
        graph, places = self.schedule.graph, self.expressions.places
        for v, feed in zip(graph.inputs, self.feeds, strict=True):
            name = self._name(v)
            if feed.kind == "number" or feed.kind == "key":
                self.expressions.locals[v] = name
            elif feed.kind == "array":
                places[v] = self._given(name, v.shape)
            elif feed.kind == "rows":
                places[v] = self._given(name, v.shape, "tile + ")
            elif feed.kind == "nonzeros":
                self.arguments += [f"{name}_columns", f"{name}_values", f"{name}_cuts", f"{name}_at"]
                self.buffers[f"{name}_at"] = (self.threads, None), np.dtype(np.int64)
            else:
                self.arguments += [f"{name}_source", *([f"{name}_scale", f"{name}_shift"] if feed.scaled else [])]
                self._buffer(v)
        for v, array in graph.constants.items():
            if array.size > 1:
                self.constants[self._name(v)] = np.ascontiguousarray(array)
                places[v] = self._given(self.names[v], v.shape)
        for v, root in self.schedule.roots.items():
            name = self._name(v)
            if root.target is not None:
                places[v] = places[root.target]
            elif v in graph.outputs and not (self.loss and v is graph.outputs[0]):
                self.outputs[v] = name if v.shape else f"{name}__out"  # a number is computed in a variable of the name
                places[v] = self._given(self.outputs[v], v.shape, "tile + " if root.rows else "")
            elif v in self.partial:
                self._partial_buffer(v)
            elif root.stored and v.shape != ():
                self._buffer(v)
        if any(not (v in self.schedule.roots or v in graph.inputs) for v in graph.outputs):
            raise NotFusibleError("an output that is a constant")

    def _shared_by_columns(self) -> tuple[Variable | None, set[Variable]]:
        """The input of the data of which each thread takes its own columns, if that can be, and its products.

        Then a thread reads and writes only its own rows of the first weight, the largest, which never has to pass from
        one core to the other; what passes are the products, which are much smaller.
        """
        graph, schedule = self.schedule.graph, self.schedule
        for x, feed in zip(graph.inputs, self.feeds, strict=True):
            if self.threads == 1 or feed.kind not in ("data", "nonzeros") or not only_multiplied(graph, x):
                continue
            mine = [r for r in schedule.roots.values() if r.rows and r.kind == "product" and x in r.leaves]
            crossing = [r for r in schedule.roots.values() if schedule.crosses(r) and x in r.leaves]
            readers = [r for p in mine for r in schedule.roots.values() if p.output in r.leaves]
            simple = all(r.rows and r.kind in ("element", "reduce") for r in readers)
            outputs = any(r.output in graph.outputs or r.phase for r in mine)
            if mine and crossing and simple and not outputs and int(x.shape[1]) >= 64:
                return x, {r.output for r in mine}
        return None, set()

    @property
    def parts(self) -> int:
        """In how many parts the lists of non-zero elements are cut."""
        return self.threads if self.inner is not None else 1

    def _partial_buffer(self, v: Variable) -> None:
        name = self.names[v]
        self.buffers[name] = (self.threads, None, *padded(v)[1:]), v.dtype
        self.arguments.append(name)
        terms = [f"{name}[{t}, " for t in range(self.threads)]
        self.expressions.places[v] = lambda index: f"({' + '.join(f'{t}{index[0]}, {index[1]}]' for t in terms)})"

    def _name(self, v: Variable) -> str:
        name = v.name if v.name.isascii() else f"v{len(self.names)}"
        while name in RESERVED or name in self.names.values() or name.startswith("_"):
            name = f"{name.lstrip('_')}_"
        self.names[v] = name
        return name

    def _buffer(self, v: Variable) -> None:
        name = self.names[v]
        rows = bool(v.shape) and not isinstance(v.shape[0], int)
        shape = planes(padded(v))
        self.buffers[name] = ((None, *shape[1:]) if rows else shape, v.dtype)
        self.arguments.append(name)
        self.expressions.places[v] = self._reader(name, v.shape)

    def _given(self, name: str, shape: tuple[Any, ...], offset: str = "") -> Any:
        """How an array is read that is an argument of the function."""
        self.arguments.append(name)
        if len(shape) != 4:
            return self._reader(name, shape, offset)
        self.images[name] = planes((f"{name}.shape[0]", *shape[1:]))
        return self._reader(f"{name}_planes", shape, offset)

    def _reader(self, name: str, shape: tuple[Any, ...], offset: str = "") -> Any:
        if shape == ():
            return lambda index: f"{name}[()]"
        if len(shape) == 4:
            return lambda index: f"{name}[{offset}{index[0]}, {index[1]}, {_in_plane(index[2:], shape[3])}]"
        return lambda index: f"{name}[{', '.join([offset + index[0], *index[1:]])}]"

    # ---- writing ---------------------------------------------------------------------------------------------------

    def write(self, line: str) -> None:
        """A line at the present depth."""
        self.lines.append("    " * self.depth + line)

    def explain(self, roots: Sequence[Root]) -> None:
        """Say which of the graph's equations the next lines compute; what is not named is part of an expression."""
        for root in roots:
            self.write(f"# {root.equation!r}")

    def wait(self) -> None:
        """Let no thread go on before all have come here."""
        if self.threads > 1:
            self.write("wait(counter, threads)")

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

    def _of(self, phase: int) -> list[Root]:
        return [r for r in self.schedule.roots.values() if r.phase == phase]

    # ---- loops -----------------------------------------------------------------------------------------------------

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
                index = self._index(source.shape, row, letters, root.flat)
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

    def _index(self, shape: tuple[Any, ...], row: Index, letters: Sequence[str], flat: bool = False) -> list[str]:
        rest = iter(letters)
        if flat:  # the row of an image is counted on, over all of its lines
            return [*self._index(shape[:-2], row, letters), "0", self._index(shape[:-1], row, letters)[-1]]
        return [*row, *("0" if dims.same(n, 1) else next(rest) for n in shape[len(row) :])]

    def _kept(self, root: Root, index: Index) -> list[str]:
        """The index of the element of a reduction that an element of its operand goes to."""
        axes, keepdims = root.equation.attributes["axis"], root.equation.attributes["keepdims"]
        return [("0" if i in axes else p) for i, p in enumerate(index) if keepdims or i not in axes]

    def _begin_sum(self, root: Root, row: Index, letters: Sequence[str]) -> None:
        v = root.output
        if self._is_number(root, row):
            self.begin_number(root)
            return
        sizes = [n for n in v.shape[len(row) :] if not dims.same(n, 1)]
        with self.loops(sizes, letters):
            self.write(f"{self.expressions.places[v](self._index(v.shape, row, letters))} = {start_of(root)}")

    def begin_number(self, root: Root) -> None:
        """Begin a sum or a maximum that is a single number; sums of float32 are added up in float64."""
        v = root.output
        name = f"{self.names[v]}_" if v in self.expressions.places else self.names[v]
        wide = root.equation.op is Sum and v.dtype == np.float32
        self.sums[v] = f"{name}_sum" if wide else name
        self.expressions.locals[v] = name
        self.write(f"{self.sums[v]} = {'0.0' if wide else start_of(root)}")

    def end_number(self, root: Root) -> None:
        """Make a number of the dtype of what has been added up."""
        v = root.output
        if (total := self.sums.pop(v)) != self.expressions.locals[v]:
            self.write(f"{self.expressions.locals[v]} = real({total})")

    def _is_number(self, root: Root, row: Index) -> bool:
        return all(dims.same(n, 1) for n in root.output.shape[len(row) :])

    def _add(self, root: Root, text: str, index: Index) -> None:
        v = root.output
        target = self.sums.get(v) or self.expressions.places[v](self._kept(root, index))
        function = _ADDING.get(root.equation.op.name, "minimum({0}, {1})")
        self.write(f"{target} = {function.format(target, text)}")

    def _end_sum(self, root: Root, row: Index) -> None:
        v = root.output
        if v in self.sums:
            self.end_number(root)
        if v in self.expressions.locals and root.stored and v in self.expressions.places:
            index = [*row, *["0"] * (len(v.shape) - len(row))]
            self.write(f"{self.expressions.places[v](index)} = {self.expressions.locals[v]}")

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


def planes(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """The shape of an array of the program's own: of images (N, C, H, W), height and width are one axis."""
    return (*shape[:2], shape[2] * shape[3]) if len(shape) == 4 else shape


def _in_plane(index: Index, width: int) -> str:
    row, column = index
    return column if row == "0" else f"{row if row.isidentifier() else f'({row})'} * {width} + {column}"


def padded(v: Variable) -> tuple[Any, ...]:
    """The shape of a matrix whose rows all begin at cache lines: products of rows are half again as quick then.

    What is beyond the end of a row is 0 and stays 0.
    """
    line = 64 // v.dtype.itemsize
    if len(v.shape) != 2 or v.dtype.kind != "f" or not isinstance(v.shape[1], int) or v.shape[1] < line:
        return v.shape
    return v.shape[0], -(-v.shape[1] // line) * line


def share_of(n: Any) -> str:
    """A thread's share of n rows or columns, from first to last: whole cache lines, which no two threads write to."""
    lines = -(-int(n) // 16)
    first, last = (f"16 * ({lines} * {t} // threads)" for t in ("thread", "(thread + 1)"))
    return f"min({n}, {first}), min({n}, {last})"


def start_of(root: Root) -> str:
    """What a sum or a maximum begins with."""
    kind = f"np.{root.output.dtype}" if root.output.dtype.kind != "f" else "real"
    if root.equation.op is Sum:
        return f"{kind}(0)"
    if root.output.dtype.kind == "b":
        return repr(root.equation.op is not Max)
    if root.output.dtype.kind != "f":
        limits = np.iinfo(root.output.dtype)
        return f"{kind}({limits.min if root.equation.op is Max else limits.max})"
    return f"real({'-' if root.equation.op is Max else ''}np.inf)"
