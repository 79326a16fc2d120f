"""`predict`, compiled: a model's forward pass in evaluation mode as a graph, executed by a plan or by machine code.

A graph is kept with the model's `Structure`, and used again while that is unchanged. The values of parameters are read
in each call.
"""

import math
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.compiler import backend as backends
from chainrule.compiler.agreement import agree
from chainrule.compiler.fusion.listing import CHUNK, LISTED, Lists, behind, listable, of_nonzeros
from chainrule.compiler.plan import Plan
from chainrule.engine.tensor import _state
from chainrule.errors import ChainruleError
from chainrule.graph.graph import Graph
from chainrule.graph.simplification import simplify
from chainrule.graph.tracing import trace
from chainrule.nn.structure import NotRecordableError, Structure
from chainrule.ops.dims import Dim, Later

if TYPE_CHECKING:
    from chainrule.compiler.fusion.function import FusedFunction
    from chainrule.compiler.fusion.writer import Feed
    from chainrule.nn.module import Module

Array = np.ndarray[Any, Any]
QUIET = 2**18  # multiplications: with so few, neither threads nor a plan of who does what are worth their while
COMPARED = 64  # samples that the plan computes too, the first time
KEPT = 8  # shapes of a sample for which a model's graph is kept

# By a model's id, while it lives: what is kept of it, and what computes samples like those that it was last given. The
# latter answers with None if anything is different.
_predictors: dict[int, "Predictor"] = {}
quick: dict[int, Callable[[Any, Any], Array | None]] = {}


def compiled(model: "Module", x: Any, batch_size: int, backend: str | None) -> Array | None:
    """The outputs for an array of floats or a Dataset; None if eager mode should compute them.

    Parameters
    ----------
    model : Module
    x : array of floats (n, ...), or a Dataset
    batch_size : int
        How many samples are computed at a time where one may depend on others, and by a plan.
    backend : str or None
    """
    n = len(x)
    name = backends.requested(backend)
    find = outputs(model, x, name, n, asked=name != "auto")
    if find is None:
        return None
    size = find.at_once or batch_size
    parts = [find(slice(start, min(start + size, n))) for start in range(0, max(n, 1), size)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def outputs(model: "Module", x: Any, backend: str, n: int, asked: bool, lists: Lists | None = None) -> "Outputs | None":
    """A function from rows of `x` to the model's outputs in evaluation mode; None if eager mode should compute them.

    Parameters
    ----------
    model : Module
    x : array of floats (n, ...), or a Dataset
    backend : str
        What cannot be computed so is computed in the next simpler way.
    n : int
        How many samples there will be in all, for the choice that "auto" stands for.
    asked : bool
        Whether somebody asked for the backend, and is told if another one takes its place.
    lists : Lists, optional
        Who lists the non-zero elements of data sets.
    """
    tail = tuple(x.inputs.shape[1:] if hasattr(x, "features") else x.shape[1:])
    name = backend if backend == "eager" else backends.chosen(backend, _seconds(model, n, tail))
    if name == "eager" or _state.detecting:
        return None
    try:
        predictor = _predictor(model)
        return Outputs(predictor, predictor.recording(tail), x, name, asked, lists or Lists())
    except NotRecordableError as error:
        if asked:
            backends.notify(f"this model's outputs cannot be compiled, so eager mode computes them: {error}.")
        return None


def _seconds(model: "Module", n: int, tail: tuple[int, ...]) -> float:
    """How long a plan would take, roughly: as if each parameter took part once in each sample."""
    once = sum(2 * int(p.size) for p in model.parameters()) + math.prod(tail)
    return n * once / backends.RATE


def _predictor(model: "Module") -> "Predictor":
    """What is kept of a model, made anew if it has changed."""
    found = _predictors.get(id(model))
    if found is not None and found.structure.unchanged():
        return found
    structure = Structure(model)
    if found is not None and found.structure.decides_the_same(structure):
        found.structure = structure
        return found
    key = id(model)

    def forget(_: Any) -> None:
        _predictors.pop(key, None)
        quick.pop(key, None)

    made = _predictors[key] = Predictor(structure, model.dtype, weakref.ref(model, forget))
    return made


class Predictor:
    """The graphs of a model, one for each shape of a sample.

    Attributes
    ----------
    structure : Structure
        Of the model, as it was when they were recorded.
    model : weakref.ref
    """

    def __init__(self, structure: Structure, dtype: np.dtype[Any], model: Any) -> None:
        self.structure, self.dtype, self.model = structure, dtype, model
        self.recorded: dict[tuple[int, ...], Recorded] = {}

    def recording(self, tail: tuple[int, ...]) -> "Recorded":
        """The graph for samples of this shape."""
        if tail not in self.recorded:
            made = Recorded(_record(self.model(), self.structure, tail, self.dtype))
            if len(self.recorded) >= KEPT:
                del self.recorded[next(iter(self.recorded))]
            self.recorded[tail] = made
        return self.recorded[tail]


class Way(NamedTuple):
    """In which way machine code gets samples, and the scaling of those that are listed, which is part of it."""

    feed: "Feed"
    scale: float = 1
    shift: float = 0


class Recorded:
    """A forward pass for samples of one shape: its graph, and what executes it."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.lock = replace(graph, form=None), threading.Lock()
        self.compared: set[Way] = set()  # which machine code has been compared with the plan
        self.refused = ""  # why it is not used
        self.plan: Plan | None = None
        self.functions: dict[tuple[Way, int], Any] = {}  # or why there is none

    def planned(self, arrays: list[Array], x: Array) -> Array:
        """The outputs by a plan."""
        with self.lock, np.errstate(all="ignore"):
            if self.plan is None:
                self.plan = Plan(self.graph)
            return self.plan(*arrays, x)[0].copy()

    def function(self, way: "Way", threads: int = 1) -> "FusedFunction":
        """The machine code for samples that come in a way; raises NotFusibleError if there can be none."""
        from chainrule.compiler.fusion.function import FusedFunction
        from chainrule.compiler.fusion.schedule import NotFusibleError
        from chainrule.compiler.fusion.writer import Feed

        if self.refused:
            raise NotFusibleError(self.refused)
        key = way, threads
        if key not in self.functions:
            listed = way.feed.kind == "nonzeros"
            graph = of_nonzeros(self.graph, -1, way.scale, way.shift) if listed else self.graph
            feeds = [*[Feed("array", padded=listed)] * (len(graph.inputs) - 1), way.feed]
            try:
                self.functions[key] = FusedFunction(graph, feeds, threads=threads, quick=way.feed.kind == "rows")
            except NotFusibleError as error:
                self.functions[key] = error
        found: FusedFunction | NotFusibleError = self.functions[key]
        if isinstance(found, NotFusibleError):
            raise found
        return found

    @property
    def counts_rows(self) -> bool:
        """Whether it computes with the number of samples, such as a mean over them."""
        return any(isinstance(x, Later) for e in self.graph.equations for x in e.inputs)


class Outputs:
    """The outputs for rows of an array or a Dataset, in a backend.

    Attributes
    ----------
    at_once : int
        How many rows are best asked for at a time; 0 where that is for the caller to say.
    """

    def __init__(
        self, predictor: Predictor, recorded: Recorded, x: Any, backend: str, asked: bool, lists: Lists
    ) -> None:
        self.predictor, self.recorded, self.x, self.asked, self.lists = predictor, recorded, x, asked, lists
        self.dtype, self.at_once = predictor.dtype, 0
        self.function: FusedFunction | None = None  # of one thread
        if backend == "numba":
            self._fuse()

    def __call__(self, rows: slice) -> Array:
        """The outputs for some rows."""
        if self.function is not None:
            try:
                return self._fused(self.function, rows)
            except ChainruleError:
                raise
            except Exception as error:  # whatever goes wrong in machine code
                self._give_up(backends.described(error).rstrip("."))
        arrays = [t._value for t in self.predictor.structure.tensors]
        return self.recorded.planned(arrays, self._features(rows))

    def _fuse(self) -> None:
        from chainrule.compiler.fusion.schedule import NotFusibleError

        x = self.x
        self.way = self._way()
        self.gathered = self.way.feed.kind != "rows"  # by the program, from the data as they are
        try:
            self.function = self.recorded.function(self.way)
        except NotFusibleError as error:
            self._give_up(str(error))
            return
        as_it_is = self.gathered or (isinstance(x, np.ndarray) and x.dtype == self.dtype and x.flags.c_contiguous)
        if as_it_is and self.function.tiled and not self.recorded.counts_rows:
            many = self.way.feed.kind == "nonzeros" and x.inputs.nbytes > LISTED
            self.at_once = CHUNK if many else max(len(x), 1)

    def _way(self) -> Way:
        from chainrule.compiler.fusion.writer import Feed

        x = self.x
        if not hasattr(x, "features"):
            return Way(Feed("rows"))
        if listable(self.recorded.graph, -1, x.inputs, x.scale, x.shift):
            return Way(Feed("nonzeros"), x.scale, x.shift)
        scaled, kind = bool(x.scale != 1 or x.shift), x.inputs.dtype
        # Small integers are exact as floats; what else has to be cast or scaled, the Dataset does.
        return Way(Feed("data", scaled=scaled) if kind.kind in "iu" and kind.itemsize <= 2 else Feed("rows"))

    def _give_up(self, reason: str) -> None:
        self.function, self.at_once = None, 0
        if self.asked:
            backends.notify(f"this model's outputs cannot be fused, so a plan computes them: {reason}.")

    def _features(self, rows: slice) -> Array:
        if hasattr(self.x, "features"):
            return np.asarray(self.x.features(rows, self.dtype))
        return np.asarray(self.x[rows].astype(self.dtype, copy=False))

    def _fused(self, function: "FusedFunction", rows: slice) -> Array:
        from chainrule.compiler.fusion.function import plain

        count = rows.stop - rows.start
        function = self.recorded.function(self.way, backends.threads(2.0 * count * function.work))
        *names, name = function.names
        tensors = self.predictor.structure.tensors
        parameters = {n: plain(t._value) for n, t in zip(names, tensors, strict=True)}
        given, order = self._given(name, rows, function.threads)
        (y,) = function.compute({**parameters, **given}, count, order)
        if self.way not in self.recorded.compared and not self.recorded.counts_rows:
            self.recorded.compared.add(self.way)
            few = slice(rows.start, min(rows.start + COMPARED, rows.stop))
            expected = self.recorded.planned([t._value for t in tensors], self._features(few))
            if not agree([y[: few.stop - few.start]], [expected]):
                self.recorded.refused = "machine code gives other numbers than the plan"
                raise ArithmeticError(self.recorded.refused)
        if not self.gathered and count * function.work <= QUIET and function.tiled and not self.recorded.counts_rows:
            self._make_quick(function, parameters, given[name], y)
        return y

    def _given(self, name: str, rows: slice, threads: int) -> tuple[dict[str, Any], Array]:
        """The samples as the program takes them, and in which order it takes which of them."""
        from chainrule.compiler.fusion.function import NO_ORDER, plain

        if not self.gathered:
            return {name: plain(self._features(rows))}, NO_ORDER
        x, order = self.x, np.arange(rows.start, rows.stop)
        if self.way.feed.kind == "nonzeros":
            last = behind(self.recorded.graph, -1, x.scale, x.shift)
            lists, order = self.lists.of(x.inputs, order, self.dtype, threads, last)
            return {f"{name}_columns": lists.columns, f"{name}_values": lists.values, f"{name}_cuts": lists.cuts}, order
        given = {f"{name}_source": plain(x.inputs)}
        if self.way.feed.scaled:
            given |= {f"{name}_scale": self.dtype.type(x.scale), f"{name}_shift": self.dtype.type(x.shift)}
        return given, order

    def _make_quick(self, function: "FusedFunction", parameters: dict[str, Array], x: Array, y: Array) -> None:
        call = function.bound(parameters, len(x))
        if call is not None:
            quick[id(self.predictor.model())] = _quick(self.predictor.structure, call, x.shape, y)


def _quick(
    structure: Structure, call: Callable[..., Any], shape: tuple[int, ...], like: Array
) -> Callable[[Any, Any], Array | None]:
    """A function of samples of one shape, and of a batch size.

    It calls machine code, after a look whether the model is still the same.
    """
    current, expected, n = structure.current, structure.current(), shape[0]
    ndarray = np.ndarray

    def quick(x: Any, batch_size: Any) -> Array | None:
        try:
            known = type(x) is ndarray and type(batch_size) is int and x.shape == shape and batch_size >= n
            if known and current() == expected and not _state.detecting:
                y = like.copy()
                call(n, x, y)
                return y
        except (TypeError, ValueError, ChainruleError):  # an array of another type, or one in the place of another one
            pass
        return None

    return quick


def _record(model: "Module", structure: Structure, tail: tuple[int, ...], dtype: np.dtype[Any]) -> Graph:
    """The forward pass in evaluation mode, for any number of samples.

    Raises
    ------
    NotRecordableError
    """
    from chainrule.nn.module import evaluating

    try:
        with evaluating(model):
            graph, *again = [_traced(model, tail, dtype) for _ in range(1 + structure.foreign)]
    except Exception as error:  # whatever a person's own code does with values that are not known
        raise NotRecordableError(f"{type(error).__name__}: {error}".rstrip(".")) from error
    finally:
        changed = structure.restore()
    if changed:
        raise NotRecordableError("its forward pass sets attributes or parameters, which a graph would not do")
    if any(_text(graph) != _text(other) for other in again):
        raise NotRecordableError("its forward pass is another one in each call")
    y = graph.outputs[0]
    if not graph.single or not y.shape or not isinstance(y.shape[0], Dim) or str(y.shape[0]) not in graph.sizes:
        raise NotRecordableError("it does not give one array with a row for each sample")
    return graph


def _traced(model: "Module", tail: tuple[int, ...], dtype: np.dtype[Any]) -> Graph:
    f, tensors = model.as_function(statistics=True)
    parameters = {name: p.value for name, p in tensors.items()}
    return simplify(trace(f, parameters, np.zeros((2, *tail), dtype), batch={f.parameter_names[1]: 0}))


def _text(graph: Graph) -> Any:
    return repr(graph), [array.tobytes() for array in graph.constants.values()]
