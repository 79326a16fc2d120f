"""`compile`: a function of arrays, recorded at its first call and from then on executed by a plan or machine code."""

import functools
import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compiler.agreement import agree
from chainrule.compiler.backend import PLANNED_FROM, chosen, described, notify, requested
from chainrule.compiler.plan import Plan
from chainrule.errors import ChainruleError, TraceError
from chainrule.graph import tree
from chainrule.graph.graph import Graph
from chainrule.graph.simplification import share
from chainrule.graph.tracing import trace
from chainrule.ops.dims import Dim
from chainrule.ops.op import Value

KEPT = 16  # recordings: one for each combination of shapes and dtypes, those used last


class _Recording(NamedTuple):
    """What is kept of a function for arguments of certain shapes and dtypes."""

    graph: Graph
    execute: Callable[..., Sequence[np.ndarray[Any, Any]]]
    form: Any  # that of the result


def compile(f: Callable[..., Any], *, batch: Mapping[str, int] | None = None, backend: str | None = None) -> "Compiled":
    """A function that computes what `f` does, without finding out anew in each call what that is.

    At the first call with arguments of new shapes or dtypes, `f` is recorded (see `trace`); after that, a plan computes
    in memory that was set aside (see `Plan`). What `f` closes over is recorded as it is then: what changes later must
    be an argument.

    Parameters
    ----------
    f : callable
        A function of arrays, numbers, or nested tuples, lists and dicts of them: a step with its derivatives
        (`value_and_grad(loss)`) as well as a loss. Numbers count as arrays of float64.
    batch : dict of str to int, optional
        Which axis of which argument is the batch, as in `trace`: one recording then serves every size of it.
    backend : {"auto", "numba", "numpy", "eager"}, optional
        As machine code, by a plan of NumPy calls, or by calling `f`. "auto" is the plan: compiling takes about a
        second, and nobody knows how often `f` will be called. None asks the environment's CHAINRULE_BACKEND, and is
        "auto" without it. What no machine code can be made of is planned, with a notice.

    Returns
    -------
    callable
        With the parameters of `f`. It returns arrays of their own, in the form in which `f` returns them, and NumPy's
        numbers where the shape is (). Given Tensors or Symbols, within a derivative or a recording, it calls `f`.

    Raises
    ------
    TraceError
        If `f` cannot be recorded.
    ShapeError, DataError
        As `f` itself would, with the line.

    Notes
    -----
    Of simplification only the part is done that changes no result: what is computed twice is computed once. The rest
    agrees with `f` up to rounding alone, and moves divisions past sums, which could overflow where `f` does not. So the
    results have the bits of `f`, but for the order in which BLAS adds the products of two matrices. Machine code agrees
    with `f` up to rounding: it is made of the simplified graph, and adds in an order of its own.
    """
    return Compiled(f, batch, requested(backend))


class Compiled:
    """A compiled function; `compile` makes it.

    Attributes
    ----------
    graph : Graph or None
        What was recorded for the arguments of the last call.
    """

    def __init__(self, f: Callable[..., Any], batch: Mapping[str, int] | None, backend: str) -> None:
        if hasattr(f, "as_function"):
            raise TraceError(
                f"compile was given a {type(f).__name__}, whose parameters it would freeze; write "
                "`f, parameters = model.as_function()` and compile f, which takes the parameters as an argument."
            )
        if not callable(f):
            raise TraceError(f"compile was given a {type(f).__name__}; expected a function of arrays.")
        functools.update_wrapper(self, f)
        self.graph: Graph | None = None
        self._f, self._batch, self._backend = f, batch, backend
        self._recordings: OrderedDict[Hashable, _Recording] = OrderedDict()
        self._axes: dict[Hashable, tuple[int | None, ...]] = {}  # by form: the batch axis of each leaf
        self._lock = threading.Lock()  # a plan has one memory

    def __call__(self, *args: Any, **options: Any) -> Any:
        if options:
            args = self._positional(args, options)
        leaves: list[Any] = []
        form = _take_apart(args, leaves)
        if self._backend == "eager" or any(isinstance(x, Value) for x in leaves):
            return self._f(*args)
        arrays = [x if type(x) is np.ndarray else _array(x) for x in leaves]
        with self._lock:
            return self._run(form, args, arrays)

    def _run(self, form: Hashable, args: tuple[Any, ...], arrays: list[np.ndarray[Any, Any]]) -> Any:
        form = (form, *[a.ndim for a in arrays])
        key = self._key(form, arrays)
        recording = self._recordings.get(key)
        if recording is None:
            recording = self._record(args)
            self._axes[form] = tuple(_batch_axis(v.shape) for v in recording.graph.inputs)
            key = self._key(form, arrays)
            self._recordings[key] = recording
            if len(self._recordings) > KEPT:
                self._recordings.popitem(last=False)
        self._recordings.move_to_end(key)
        self.graph = recording.graph
        if len({a.shape[axis] for a, axis in zip(arrays, self._axes[form], strict=True) if axis is not None}) > 1:
            recording.graph.run(*args)  # says which sizes differ
        outputs = [y[()] if y.shape == () else y for y in recording.execute(*arrays)]
        return tree.rebuild(recording.form, outputs)

    def _key(self, form: Hashable, arrays: list[np.ndarray[Any, Any]]) -> Hashable:
        """What a recording is for: form, shapes without the batch's size, dtypes."""
        axes = self._axes.get(form)
        if axes is None:
            return None
        shapes = [
            a.shape if i is None else (*a.shape[:i], *a.shape[i + 1 :]) for a, i in zip(arrays, axes, strict=True)
        ]
        return (form, *shapes, *[a.dtype for a in arrays])

    def _record(self, args: tuple[Any, ...]) -> _Recording:
        form = None

        @functools.wraps(self._f)
        def recorded(*symbols: Any) -> Any:
            nonlocal form
            result = self._f(*symbols)
            form = tree.map_leaves(lambda _: None, result)
            return result

        graph = share(trace(recorded, *args, batch=self._batch))
        return _Recording(graph, _executor(graph, self._backend), form)

    def _positional(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        bound = inspect.signature(self._f).bind(*args, **options)
        if bound.kwargs:
            raise TraceError(
                f"the compiled {getattr(self, '__name__', 'function')} was given {', '.join(bound.kwargs)} by keyword; "
                "what is no array must be settled before: compile(functools.partial(f, option=value))."
            )
        return bound.args


def _executor(graph: Graph, backend: str) -> Callable[..., Sequence[np.ndarray[Any, Any]]]:
    """What computes a graph: from arrays, one for each input, to arrays of their own."""
    if chosen(backend, PLANNED_FROM) == "numba" and _is_work(graph):
        from chainrule.compiler.fusion.calls import FusedCall
        from chainrule.compiler.fusion.schedule import NotFusibleError

        try:
            return _Fused(graph, FusedCall(graph))
        except NotFusibleError as error:
            notify(f"the function {graph.name} cannot be fused, so a plan computes it: {error}.")
    return _planned(graph)


def _planned(graph: Graph) -> Callable[..., Sequence[np.ndarray[Any, Any]]]:
    plan = Plan(graph)
    return lambda *arrays: [y.copy() for y in plan(*arrays)]


class _Fused:
    """Machine code, and a plan in its place if anything goes wrong with it."""

    def __init__(self, graph: Graph, execute: Callable[..., Sequence[np.ndarray[Any, Any]]]) -> None:
        self.graph, self.execute, self.compared = graph, execute, False

    def __call__(self, *arrays: np.ndarray[Any, Any]) -> Sequence[np.ndarray[Any, Any]]:
        try:
            results = self.execute(*arrays)
            if not self.compared:
                self.compared = True
                expected = _planned(self.graph)(*arrays)
                if not agree(results, expected):
                    notify(f"the machine code of {self.graph.name} gives other numbers, so a plan computes it.")
                    self.execute = _planned(self.graph)
                    return expected
            return results
        except ChainruleError:
            raise
        except Exception as error:  # whatever it is: the plan computes the same
            notify(f"the machine code of {self.graph.name} failed, so a plan computes it: {described(error)}")
            self.execute = _planned(self.graph)
            return self.execute(*arrays)


def _is_work(graph: Graph) -> bool:
    """Whether anything has to be computed."""
    made = {e.output for e in graph.equations}
    return any(v in made and all(n != 0 for n in v.shape if isinstance(n, int)) for v in graph.outputs)


def _take_apart(x: Any, leaves: list[Any]) -> Hashable:
    """The form of nested containers, as something to look up by; the leaves are appended to the list."""
    if isinstance(x, dict):
        return (dict, tuple(x), tuple([_take_apart(part, leaves) for part in x.values()]))
    if isinstance(x, (tuple, list)):
        return (type(x), tuple([_take_apart(part, leaves) for part in x]))
    leaves.append(x)
    return None


def _array(x: Any) -> np.ndarray[Any, Any]:
    """An argument as it is recorded."""
    return np.asarray(x, float if type(x) in (int, float) else None)


def _batch_axis(shape: tuple[Any, ...]) -> int | None:
    return next((i for i, size in enumerate(shape) if isinstance(size, Dim)), None)
