"""Simplification: passes that make a graph shorter and compute the same.

Each pass maps a graph to a graph, which is checked; each says by a rule what an equation becomes. `simplify` repeats
them until nothing changes. What a function is known by another name for (softmax, cross-entropy) is found by
`recognition`, before the derivative is taken.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.graph.graph import Equation, Graph
from chainrule.graph.replay import Replay, rewrite
from chainrule.graph.tracing import Symbol
from chainrule.ops import dims
from chainrule.ops.arithmetic import Add, Divide, Multiply, Negative, Power, Subtract
from chainrule.ops.dims import Dim, Later
from chainrule.ops.families import Elementwise
from chainrule.ops.indexing import Getitem
from chainrule.ops.op import Op
from chainrule.ops.product import Matmul
from chainrule.ops.reduction import Mean, Sum
from chainrule.ops.structure import BroadcastTo, Cast, Reshape, SumTo, Transpose, broadcast_to

LARGEST_CONSTANT = 64  # elements; what is larger is left to be computed


def simplify(graph: Graph) -> Graph:
    """A shorter graph with the same inputs and outputs; results agree up to rounding.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
    """
    for _ in range(10):
        before = repr(graph)
        for each in PASSES:
            graph = each(graph)
        if repr(graph) == before:
            break
    return graph


def fold_constants(graph: Graph) -> Graph:
    """Compute what depends on constants alone; 1 / n stays, because x / n reads better than x * .02."""

    def rule(replay: Replay, e: Equation, inputs: list[Any]) -> Any:
        known = [_known(replay, x) for x in inputs]
        if any(x is None for x in known) or not _at_most(e.output.shape, LARGEST_CONSTANT):
            return None
        if e.op in (BroadcastTo, Reshape, Getitem) or (e.op is Divide and type(known[1]) is int):
            return None
        if any(map(_symbolic, e.attributes.values())):
            return None
        return replay.tracer.constant(np.asarray(e.op.forward(*known, **e.attributes), e.output.dtype))

    return rewrite(graph, rule)


def drop_broadcasts(graph: Graph) -> Graph:
    """Let an element-wise op take a number, or an array that NumPy would broadcast, as it is."""

    def rule(replay: Replay, e: Equation, inputs: list[Any]) -> Any:
        if e.op in (Reshape, BroadcastTo, Transpose, Getitem) and len(inputs) == 1 and e.output.shape != ():
            source = (replay.parts(inputs[0], BroadcastTo) or inputs)[0]
            spread = e.op is BroadcastTo and source is inputs[0]
            return broadcast_to(source, e.output.shape) if source.shape == () and not spread else None
        if not issubclass(e.op, Elementwise):
            return None
        sources = [(replay.parts(x, BroadcastTo) or [x])[0] for x in inputs]
        arrays = [x for x in sources if getattr(x, "shape", ()) != ()]
        if e.output.shape != () and not [x for x in arrays if any(x is y for y in inputs)] and len(arrays) < 2:
            return broadcast_to(replay.tracer.record(e.op, sources, e.attributes), e.output.shape)
        bare = [_unspread(replay, e, inputs, i) for i in range(len(inputs))]
        if all(a is b for a, b in zip(bare, inputs, strict=True)) or not any(isinstance(x, Symbol) for x in bare):
            return None
        if e.op.result_dtype(bare, e.attributes) != e.output.dtype:
            return None
        return replay.tracer.record(e.op, bare, e.attributes)

    return rewrite(graph, rule)


def drop_neutral(graph: Graph) -> Graph:
    """x + 0, x · 1, -(-x), a reshape to the same shape and their kin; signs and divisions by a count move outwards."""

    def rule(replay: Replay, e: Equation, inputs: list[Any]) -> Any:
        whole = e.op is Getitem and all(part == slice(None) for part in e.attributes["index"])
        arranges = whole or e.op in (Reshape, BroadcastTo, SumTo, Cast, Transpose)
        same = _same_numbers(replay, e, inputs[0]) if arranges else None
        return NEUTRAL[e.op](replay, e, *inputs) if same is None and e.op in NEUTRAL else same

    return rewrite(graph, rule)


def fold_transposes(graph: Graph) -> Graph:
    """(Aᵀ B)ᵀ is Bᵀ A; and a sum of products over a batch of matrices is one product of all their rows."""

    def rule(replay: Replay, e: Equation, inputs: list[Any]) -> Any:
        factors = replay.parts(inputs[0], Matmul) if e.op in (Transpose, SumTo, Reshape) else None
        if factors is None:
            return None
        a, b = factors
        rows, columns = _transposed(replay, a), _transposed(replay, b)
        if e.op is Transpose and _is_matrix_transpose(e) and not (rows is None and columns is None):
            return b.mT @ a.mT
        batch = len(e.output.shape) == 2 < len(a.shape) and dims.same_shape(a.shape[:-2], b.shape[:-2])
        if e.op is SumTo and rows is not None and batch:
            return rows.reshape(-1, rows.shape[-1]).T @ b.reshape(-1, b.shape[-1])
        return None

    return rewrite(graph, rule)


def share(graph: Graph) -> Graph:
    """What is computed twice is computed once."""
    known: dict[Any, Symbol] = {}

    def rule(replay: Replay, e: Equation, inputs: list[Any]) -> Any:
        names = tuple(x.variable.name if isinstance(x, Symbol) else repr(x) for x in inputs)
        key = (e.op, names, repr(sorted(e.attributes.items())))
        if key not in known:
            known[key] = replay.tracer.record(e.op, inputs, e.attributes)
        return known[key]

    return rewrite(graph, rule)


PASSES: tuple[Callable[[Graph], Graph], ...] = (fold_constants, drop_broadcasts, drop_neutral, fold_transposes, share)


def _known(replay: Replay, x: Any) -> Any:
    """The value of a plain number or of a constant; None if it is not known."""
    if isinstance(x, (bool, int, float)):
        return x
    return replay.tracer.constants.get(x.variable) if isinstance(x, Symbol) else None


def _at_most(shape: dims.Shape, size: int) -> bool:
    return not any(isinstance(n, Dim) for n in shape) and int(dims.size_of(shape)) <= size


def _symbolic(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_symbolic, value))
    if isinstance(value, slice):
        return any(map(_symbolic, (value.start, value.stop, value.step)))
    return isinstance(value, Later)


def _unspread(replay: Replay, e: Equation, inputs: list[Any], i: int) -> Any:
    """Input i as a number, or without its broadcasting, if the result keeps its shape."""
    x = inputs[i]
    source = replay.parts(x, BroadcastTo)
    if source is not None:
        others = [other.shape for k, other in enumerate(inputs) if k != i and isinstance(other, Symbol)]
        if dims.same_shape(dims.broadcast(source[0].shape, *others), e.output.shape):
            x = source[0]
    number = replay.number(x)
    return x if number is None else number


def _same_numbers(replay: Replay, e: Equation, x: Any) -> Any:
    """For an op that rearranges: its input if nothing changes, or one op instead of two."""
    if not isinstance(x, Symbol):
        return None
    order = e.attributes.get("order")
    if e.op is Transpose and order != tuple(range(len(x.shape))):
        if any(dims.same(n, 1) for n in x.shape) and len(x.shape) == 2:
            return x.reshape(e.output.shape)
        before = replay.made(x, Transpose)
        if before is None:
            return None
        first = before.attributes["order"]
        return np.transpose(replay.inputs(before)[0], tuple(first[i] for i in order))  # type: ignore[union-attr]
    if dims.same_shape(x.shape, e.output.shape) and x.dtype == e.output.dtype:
        return x
    if e.op is not Reshape:
        return None
    source = replay.parts(x, Reshape, BroadcastTo)
    if source and dims.same(dims.size_of(source[0].shape), dims.size_of(x.shape)):
        return source[0].reshape(e.output.shape)
    return _reshaped_before(replay, e, x)


def _reshaped_before(replay: Replay, e: Equation, x: Any) -> Any:
    """For a reshape that undoes the same reshape of all inputs of an element-wise op: the op without either."""
    made = replay.made(x, Add, Subtract, Multiply, Divide, Negative)
    if made is None:
        return None
    inputs = replay.inputs(made)
    sources = [(replay.parts(y, Reshape) or [y])[0] for y in inputs]
    if all(not isinstance(y, Symbol) or dims.same_shape(y.shape, e.output.shape) for y in sources):
        return replay.tracer.record(made.op, sources, made.attributes)
    return None


def _is_matrix_transpose(e: Equation) -> bool:
    n = len(e.output.shape)
    return bool(e.attributes["order"] == (*range(n - 2), n - 1, n - 2))


def _transposed(replay: Replay, x: Any) -> Any:
    """What `x` is the transpose of, along its last two axes; None if it is none."""
    e = replay.made(x, Transpose)
    return replay.inputs(e)[0] if e is not None and _is_matrix_transpose(e) else None


def _share_of_one(replay: Replay, x: Any) -> tuple[Any, Any] | None:
    """(c, n) if `x` is a number c / n, with a size n, as the derivative of a mean has it."""
    parts = replay.parts(x, Divide)
    if parts is None or not isinstance(parts[1], (int, Dim)):
        return None
    c = replay.number(parts[0])
    return None if c is None else (c, parts[1])


def _add(replay: Replay, e: Equation, a: Any, b: Any) -> Any:
    for x, other in ((a, b), (b, a)):
        if replay.number(x) == 0:
            return _whole(e, other)
    if parts := replay.parts(b, Negative):
        return a - parts[0]
    if parts := replay.parts(a, Negative):
        return b - parts[0]
    return 2 * a if isinstance(a, Symbol) and isinstance(b, Symbol) and a.variable is b.variable else None


def _subtract(replay: Replay, e: Equation, a: Any, b: Any) -> Any:
    if replay.number(b) == 0:
        return _whole(e, a)
    if replay.number(a) == 0:
        return -b
    if parts := replay.parts(b, Negative):
        return a + parts[0]
    return None


def _multiply(replay: Replay, e: Equation, a: Any, b: Any) -> Any:
    for x, other in ((a, b), (b, a)):
        number = replay.number(x)
        if number == 1:
            return _whole(e, other)
        if number == -1:
            return -other
        if number is not None and (inner := replay.parts(other, Multiply)):
            first = replay.number(inner[0])
            if first is not None:
                return number * first * inner[1]
        if number and (inner := replay.parts(other, Divide)):
            divisor = replay.number(inner[1])
            if divisor and divisor % number == 0:
                return inner[0] / int(divisor / number)
        if number is not None and (part := _share_of_one(replay, other)):
            return replay.tracer.constant(np.asarray(number * part[0], e.output.dtype)) / part[1]
        if (part := _share_of_one(replay, x)) and isinstance(other, Symbol):
            c, n = part
            return other / n if c == 1 else -(other / n) if c == -1 else c * other / n
        if parts := replay.parts(x, Negative):
            return -(parts[0] * other)
    return b * a if isinstance(b, (int, float)) and isinstance(a, Symbol) else None


def _divide(replay: Replay, e: Equation, a: Any, b: Any) -> Any:
    number = replay.number(b)
    if number == 1:
        return _whole(e, a)
    if parts := replay.parts(a, Negative):
        return -(parts[0] / b)
    if number is not None and (inner := replay.parts(a, Multiply)):
        first = replay.number(inner[0])
        if first is not None and first % number == 0:
            return first / number * inner[1]
    if isinstance(b, (int, Dim)) and (inner := replay.parts(a, Divide)) and isinstance(inner[1], (int, Dim)):
        return inner[0] / (inner[1] * b)
    return None


def _negative(replay: Replay, e: Equation, x: Any) -> Any:
    if parts := replay.parts(x, Negative):
        return parts[0]
    if replay.uses[e.inputs[0]] == 1 and (parts := replay.parts(x, Subtract)):
        return parts[1] - parts[0]
    if part := _share_of_one(replay, x):
        return replay.tracer.constant(np.asarray(-part[0], e.output.dtype)) / part[1]
    return None


def _power(replay: Replay, e: Equation, x: Any, p: Any) -> Any:
    return _whole(e, x) if replay.number(p) == 1 else None


def _linear(replay: Replay, e: Equation, x: Any) -> Any:
    """Sums and means: the sign goes outwards."""
    parts = replay.parts(x, Negative)
    return -replay.tracer.record(e.op, parts, e.attributes) if parts else None


def _matmul(replay: Replay, e: Equation, a: Any, b: Any) -> Any:
    if parts := replay.parts(a, Negative):
        return -(parts[0] @ b)
    if parts := replay.parts(b, Negative):
        return -(a @ parts[0])
    single = [x for x in (a, b) if dims.same_shape(x.shape, (1, 1))]
    return a * b if single and dims.same(a.shape[-1], 1) and len(a.shape) == len(b.shape) == 2 else None


def _whole(e: Equation, x: Any) -> Any:
    """`x`, if it has the shape of the result and is no number."""
    return x if isinstance(x, Symbol) and dims.same_shape(x.shape, e.output.shape) else None


NEUTRAL: dict[type[Op], Callable[..., Any]] = {
    Add: _add,
    Subtract: _subtract,
    Multiply: _multiply,
    Divide: _divide,
    Negative: _negative,
    Power: _power,
    Sum: _linear,
    Mean: _linear,
    SumTo: _linear,
    Matmul: _matmul,
}
