"""Simplification: passes that make a graph shorter and compute the same.

Each pass maps a graph to a graph, which is checked; each says by a rule what an equation becomes. `simplify` repeats
them until nothing changes. What a function is known by another name for (softmax, cross-entropy) is found by
`recognition`, before the derivative is taken.
"""

import math
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
    source = replay.parts(x, BroadcastTo, Reshape)
    if source is not None and isinstance(source[0], Symbol) and _repeats(source[0].shape, x.shape):
        others = [other.shape for k, other in enumerate(inputs) if k != i and isinstance(other, Symbol)]
        if dims.same_shape(dims.broadcast(source[0].shape, *others), e.output.shape):
            x = source[0]
    number = replay.number(x)
    return x if number is None else number


def _repeats(old: dims.Shape, new: dims.Shape) -> bool:
    """Whether NumPy's broadcasting turns `old` into `new`, or into what broadcasts as `new` does."""
    before = len(new) - len(old)
    return before >= 0 and all(dims.same(a, b) or dims.same(a, 1) for a, b in zip(old, new[before:], strict=True))


def _same_numbers(replay: Replay, e: Equation, x: Any) -> Any:
    """For an op that rearranges: its input if nothing changes, or one op instead of two."""
    if not isinstance(x, Symbol):
        return None
    order: tuple[int, ...] = e.attributes.get("order", ())
    if e.op is Transpose and order != tuple(range(len(x.shape))):
        if any(dims.same(n, 1) for n in x.shape) and len(x.shape) == 2:
            return x.reshape(e.output.shape)
        before = replay.made(x, Transpose)
        if before is None:
            return None
        first = before.attributes["order"]
        if _is_matrix_transpose(e) != _is_matrix_transpose(before):
            return None  # x.transpose(0, 2, 1, 3).mT reads better in one order than in the other
        return np.transpose(replay.inputs(before)[0], tuple(first[i] for i in order))
    if dims.same_shape(x.shape, e.output.shape) and x.dtype == e.output.dtype:
        return x
    if e.op is not Reshape:
        return None
    made = replay.made(x, Sum)
    if made is not None and made.attributes["keepdims"] and replay.uses[e.inputs[0]] == 1:
        y = replay.inputs(made)[0].sum(axis=made.attributes["axis"])
        if dims.same_shape(y.shape, e.output.shape):
            return y
    if (parts := replay.parts(x, Negative)) and replay.uses[e.inputs[0]] == 1:
        return -parts[0].reshape(e.output.shape)
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
        if _all_are(replay, x, 0):
            return _whole(e, other)
    for x, other in ((b, a), (a, b)):
        if parts := replay.parts(x, Negative):
            return other - parts[0]
        if isinstance(other, Symbol) and (less := _negative_number(replay, x)) is not None:
            return other - less
    return 2 * a if isinstance(a, Symbol) and isinstance(b, Symbol) and a.variable is b.variable else None


def _negative_number(replay: Replay, x: Any) -> Any:
    """-x, if `x` is a negative number, or one divided by a count."""
    if isinstance(x, (int, float)):
        return -x if x < 0 else None
    part = _share_of_one(replay, x)
    if part is None or part[0] >= 0:
        return None
    return replay.tracer.constant(np.asarray(-part[0], x.dtype)) / part[1]


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
        if number and (scaled := _scaled(replay, other, number)) is not None:
            return scaled
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
    if isinstance(b, (int, Dim)):
        count = int(number) if isinstance(number, float) and number.is_integer() else b
        if (inner := replay.parts(a, Multiply)) and (k := replay.number(inner[0])) and float(k).is_integer():
            return _over(int(k), inner[1], count)
        if (inner := replay.parts(a, Divide)) and isinstance(inner[1], (int, Dim)):
            return inner[0] / (inner[1] * b)
    inner = replay.parts(a, Divide) if number else None
    product = replay.parts(inner[1], Multiply) if inner else None
    if inner and product and (k := replay.number(product[0])):
        return inner[0] / (_whole_number(k * number) * product[1])
    made = replay.made(a, Sum) if e.rule else None
    if made is not None and replay.uses[e.inputs[0]] == 1:
        x = replay.inputs(made)[0]
        count = dims.size_of(tuple(x.shape[i] for i in made.attributes["axis"]))
        if isinstance(b, (int, Dim)) and dims.same(count, b):
            return replay.tracer.record(Mean, [x], made.attributes)
    return None


def _over(k: int, x: Any, count: Any) -> Any:
    """k x / count with what is common to k and count taken out; None if nothing is."""
    coefficients = list(count.terms.values()) if isinstance(count, Dim) else [count]
    common = math.gcd(k, *coefficients)
    if common == 1:
        return None
    k, count = k // common, dims.divide(count, common)
    y = x if k == 1 else k * x
    return y if dims.same(count, 1) else y / count


def _scaled(replay: Replay, x: Any, k: float) -> Any:
    """k x, if a number that is in x already takes up the factor; else None."""
    if (parts := replay.parts(x, Multiply)) and (first := replay.number(parts[0])) is not None:
        return _whole_number(k * first) * parts[1]
    if parts := replay.parts(x, Reshape):
        scaled = _scaled(replay, parts[0], k)
        return None if scaled is None else scaled.reshape(x.shape)
    parts = replay.parts(x, Divide)
    if parts is None:
        return None
    if (first := replay.number(parts[0])) is not None and not isinstance(parts[1], (int, Dim)):
        return _whole_number(k * first) / parts[1]
    if isinstance(parts[1], (int, Dim)) and float(k).is_integer() and not isinstance(replay.number(parts[0]), float):
        return _over(int(k), parts[0], parts[1])
    product = replay.parts(parts[1], Multiply)
    first = replay.number(product[0]) if product else None
    if product and first and first % k == 0:
        return parts[0] / product[1] if first == k else parts[0] / (_whole_number(first / k) * product[1])
    return None


def _whole_number(x: float) -> float:
    """A whole number as an int, which is how it is written."""
    return int(x) if float(x).is_integer() else x


def _all_are(replay: Replay, x: Any, value: float) -> bool:
    """Whether `x` is a number, or a constant whose elements all are this number."""
    known = _known(replay, (replay.parts(x, BroadcastTo) or [x])[0])
    return known is not None and bool(np.all(np.asarray(known) == value))


def _negative(replay: Replay, e: Equation, x: Any) -> Any:
    if parts := replay.parts(x, Negative):
        return parts[0]
    if replay.uses[e.inputs[0]] == 1 and (parts := replay.parts(x, Subtract)):
        return parts[1] - parts[0]
    if part := _share_of_one(replay, x):
        return replay.tracer.constant(np.asarray(-part[0], e.output.dtype)) / part[1]
    if (parts := replay.parts(x, Multiply)) and (number := replay.number(parts[0])) and number < 0:
        return _whole_number(-number) * parts[1] if number != -1 else parts[1]
    return None


def _power(replay: Replay, e: Equation, x: Any, p: Any) -> Any:
    return _whole(e, x) if replay.number(p) == 1 else None


def _linear(replay: Replay, e: Equation, x: Any) -> Any:
    """Sums and means: the sign goes outwards."""
    if parts := replay.parts(x, Negative):
        return -replay.tracer.record(e.op, parts, e.attributes)
    if e.op is SumTo or e.output.shape != () or e.attributes["keepdims"]:
        return None
    if e.op is Mean and x.shape == ():
        return x
    inner = replay.made(x, Reshape, Sum) if replay.uses[e.inputs[0]] == 1 else None
    if inner is None or (inner.op is Sum and e.op is Mean):
        return None
    x = replay.inputs(inner)[0]  # all elements are summed, in whatever shape
    return x.sum() if e.op is Sum else x.mean()


def _matmul(replay: Replay, e: Equation, a: Any, b: Any) -> Any:
    if parts := replay.parts(a, Negative):
        return -(parts[0] @ b)
    if parts := replay.parts(b, Negative):
        return -(a @ parts[0])
    for x, other in ((a, b), (b, a)):
        if (known := _known(replay, x)) is None or len(a.shape) != 2 or len(b.shape) != 2:
            continue
        if known.shape[0] == known.shape[1] and np.array_equal(known, np.eye(len(known))):
            return other
        if not known.any():
            return broadcast_to(replay.tracer.constant(np.zeros((), e.output.dtype)), e.output.shape)
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


def summed(x: Any, shape: dims.Shape) -> Any:
    """`sum_to` as a sum over axes."""
    new = len(x.shape) - len(shape)
    stretched = [i + new for i, n in enumerate(shape) if dims.same(n, 1) and not dims.same(x.shape[i + new], 1)]
    y = Sum.apply(x, axis=(*range(new), *stretched), keepdims=not new)
    return y if dims.same_shape(y.shape, shape) else y.reshape(shape)
