"""Recognition: what a function computes step by step and mathematics has a name for.

A softmax written out, its logarithm, the cross-entropy of labels, a sigmoid, the entropy of two classes: each becomes
the op whose derivative is the one in the books (y - t), and which neither overflows nor underflows. It is done before
the derivative is taken.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.graph.graph import Equation, Graph
from chainrule.graph.replay import Replay, rewrite
from chainrule.graph.tracing import Symbol
from chainrule.ops import dims
from chainrule.ops.activation import Sigmoid, Softplus
from chainrule.ops.arithmetic import Add, Divide, Exp, Log, Log1p, Multiply, Negative, Subtract, Where
from chainrule.ops.indexing import ARRAY, Getitem, Onehot
from chainrule.ops.loss import BinaryCrossEntropy, CrossEntropy, LogSoftmax, Softmax
from chainrule.ops.op import Op
from chainrule.ops.reduction import Logsumexp, Mean, Sum
from chainrule.ops.structure import Reshape


def recognize(graph: Graph) -> Graph:
    """The graph with softmax, cross-entropy, sigmoid and their kin in place of what they were written out as.

    Parameters
    ----------
    graph : Graph
        Without a backward pass.

    Returns
    -------
    Graph
        With the same inputs and outputs; results agree up to rounding, and where the original overflowed or took the
        logarithm of 0, they are finite.
    """

    def rule(replay: Replay, e: Equation, inputs: list[Any]) -> Any:
        return RULES[e.op](replay, e, *inputs) if e.op in RULES else None

    return rewrite(graph, rule)


def _divide(replay: Replay, e: Equation, a: Any, b: Any) -> Any:
    """e^z / Σ e^z is softmax(z); 1 / (1 + e^-x) is sigmoid(x)."""
    if replay.number(a) == 1 and (terms := replay.parts(b, Add)):
        for one, other in (terms, terms[::-1]):
            exponential = replay.parts(other, Exp)
            if replay.number(one) == 1 and exponential:
                negative = replay.parts(exponential[0], Negative)
                return Sigmoid.apply(negative[0] if negative else -exponential[0])
    exponential, total = replay.parts(a, Exp), _summed(replay, b)
    if exponential and total and total[0].variable is a.variable:
        return Softmax.apply(_unshifted(replay, exponential[0], total[1]), axis=total[1])
    return None


def _log(replay: Replay, e: Equation, x: Any) -> Any:
    """The logarithm of a softmax, of one element of it for each row, of a sigmoid, and of 1 + e^x."""
    if softmax := replay.made(x, Softmax):
        return LogSoftmax.apply(*replay.inputs(softmax), **softmax.attributes)
    for op in (Getitem, Sum):  # an element is taken first, the logarithm afterwards
        if (taken := replay.made(x, op)) is not None:
            picked = _pick(replay, taken, Softmax)
            picked = _chosen(replay, taken) if picked is None else picked
            return None if picked is None else -picked
    if terms := replay.parts(x, Add):
        for one, other in (terms, terms[::-1]):
            if replay.number(one) == 1 and (exponential := replay.parts(other, Exp)):
                return Softplus.apply(exponential[0])
    return None


def _log1p(replay: Replay, e: Equation, x: Any) -> Any:
    exponential = replay.parts(x, Exp)
    return Softplus.apply(exponential[0]) if exponential else None


def _subtract(replay: Replay, e: Equation, z: Any, b: Any) -> Any:
    """z - ln Σ e^z is the logarithm of softmax(z)."""
    if not isinstance(z, Symbol):
        return None
    if logarithm := replay.parts(b, Log):
        total = _summed(replay, logarithm[0])
        exponential = replay.parts(total[0], Exp) if total else None
        if total and exponential and exponential[0].variable is z.variable:
            return LogSoftmax.apply(_unshifted(replay, z, total[1]), axis=total[1])
    total = _along_one_axis(replay, b, Logsumexp)
    if total and total[0].variable is z.variable:
        return LogSoftmax.apply(z, axis=total[1])
    return None


def _getitem(replay: Replay, e: Equation, *inputs: Any) -> Any:
    picked = _pick(replay, e, LogSoftmax, inputs)
    return None if picked is None else -picked


def _sum(replay: Replay, e: Equation, x: Any) -> Any:
    """Σ t ln softmax(x) over the classes is minus the cross-entropy."""
    picked = _pick(replay, e, LogSoftmax, [x])
    if picked is not None:
        return -picked
    losses = _weighted_logarithms(replay, x)
    last = len(x.shape) - 1
    if losses is None or last not in e.attributes["axis"]:
        return None
    others = tuple(i for i in e.attributes["axis"] if i != last)
    y = losses.sum(axis=others) if others else losses
    return -(y.reshape(e.output.shape) if e.attributes["keepdims"] else y)


def _mean(replay: Replay, e: Equation, x: Any) -> Any:
    """The mean of t ln softmax(x) over all entries."""
    losses = _weighted_logarithms(replay, x)
    if losses is None or len(e.attributes["axis"]) < len(x.shape):
        return None
    return -(losses.sum() / dims.size_of(x.shape)).reshape(e.output.shape)


def _add(replay: Replay, e: Equation, a: Any, b: Any) -> Any:
    """t ln p + (1 - t) ln(1 - p) with p = σ(z) is minus the binary cross-entropy."""
    for first, second in ((a, b), (b, a)):
        left, right = _log_factor(replay, first), _log_factor(replay, second)
        for t, p in left:
            for rest, q in right:
                z = replay.parts(p, Sigmoid)
                if z and _is_one_minus(replay, rest, t) and _is_one_minus(replay, q, p):
                    return -BinaryCrossEntropy.apply(z[0], t)
    return None


RULES: dict[type[Op], Callable[..., Any]] = {
    Divide: _divide,
    Log: _log,
    Log1p: _log1p,
    Subtract: _subtract,
    Getitem: _getitem,
    Sum: _sum,
    Mean: _mean,
    Add: _add,
}


def _along_one_axis(replay: Replay, s: Any, op: type[Op]) -> tuple[Any, int] | None:
    """(x, axis) if `s` is a reduction of x along one axis that is kept with size 1, by itself or by a reshape."""
    source = replay.parts(s, Reshape)
    e = replay.made(source[0] if source else s, op)
    if e is None or len(e.attributes["axis"]) != 1:
        return None
    (axis,), x = e.attributes["axis"], replay.inputs(e)[0]
    kept = dims.same_shape(s.shape, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
    return (x, axis) if kept or (s.shape == () and len(x.shape) == 1) else None


def _summed(replay: Replay, s: Any) -> tuple[Any, int] | None:
    return _along_one_axis(replay, s, Sum)


def _unshifted(replay: Replay, z: Any, axis: int) -> Any:
    """x if z = x - m, where m is the same along the axis: softmax(x - m) is softmax(x), whatever m is."""
    parts = replay.parts(z, Subtract)
    if parts is None or not isinstance(parts[0], Symbol):
        return z
    x, m = parts
    shape = getattr(m, "shape", ())
    constant = axis < len(z.shape) - len(shape) or dims.same(shape[axis - len(z.shape)], 1)
    return x if constant and dims.same_shape(x.shape, z.shape) else z


def _pick(replay: Replay, e: Equation, op: type[Op], inputs: Any = None) -> Any:
    """The cross-entropy of x and labels t, if `e` takes from op(x), a (log-)softmax, one element of each row.

    Either as y[arange(n), t], or as take_along_axis(y, t[:, None], 1), which is a sum over a one-hot choice.
    """
    inputs = replay.inputs(e) if inputs is None else inputs
    if e.op is Getitem:
        if e.attributes["index"] != (ARRAY, ARRAY) or not _is_arange(replay, inputs[1], inputs[0].shape[0]):
            return None
        y, t = inputs[0], inputs[2]
        return _cross_entropy(replay, y, t, op) if dims.same_shape(t.shape, y.shape[:1]) else None
    choice = replay.parts(inputs[0], Where)
    rows = replay.parts(choice[1], Reshape) if choice and replay.number(choice[2]) == 0 else None
    labels = replay.parts(choice[0], Onehot) if choice and rows else None
    if not rows or not labels or e.attributes["axis"] != (len(inputs[0].shape) - 1,):
        return None
    y, t = rows[0], labels[0]
    if not dims.same_shape(t.shape, (*y.shape[:-1], 1)) or e.attributes["keepdims"]:
        return None
    losses = _cross_entropy(replay, y, t.reshape(y.shape[:-1]), op)
    return None if losses is None else losses.reshape(e.output.shape)


def _cross_entropy(replay: Replay, y: Any, t: Any, op: type[Op]) -> Any:
    made = replay.made(y, op)
    if made is None or made.attributes["axis"] != len(y.shape) - 1 or t.dtype.kind not in "iu":
        return None
    return CrossEntropy.apply(replay.inputs(made)[0], t)


def _chosen(replay: Replay, e: Equation) -> Any:
    """The cross-entropy of labels, if `e` sums a softmax times their one-hot rows: one element of each row is left."""
    factors = replay.parts(replay.inputs(e)[0], Multiply) if e.op is Sum else None
    for rows, y in (factors, factors[::-1]) if factors else ():
        if (labels := _labels(replay, rows)) is not None and e.attributes["axis"] == (len(y.shape) - 1,):
            losses = _cross_entropy(replay, y, labels, Softmax)
            return None if losses is None else losses.reshape(e.output.shape)
    return None


def _is_arange(replay: Replay, x: Any, size: Any) -> bool:
    array = replay.tracer.constants.get(x.variable)
    return array is not None and dims.same_shape(array.shape, (size,)) and np.array_equal(array, np.arange(size))


def _weighted_logarithms(replay: Replay, x: Any) -> Any:
    """The cross-entropies of each sample if x = T ln softmax(z) over the last axis; None if it is not that."""
    factors = replay.parts(x, Multiply)
    for t, logarithm in (factors, factors[::-1]) if factors else ():
        made = replay.made(logarithm, LogSoftmax)
        if made is None or made.attributes["axis"] != len(x.shape) - 1:
            continue
        z = replay.inputs(made)[0]
        if not isinstance(t, Symbol) or not dims.same_shape(t.shape, z.shape) or t.dtype != z.dtype:
            continue
        labels = _labels(replay, t)
        return CrossEntropy.apply(z, t if labels is None else labels)
    return None


def _labels(replay: Replay, t: Any) -> Any:
    """The labels if `t` is one-hot rows made of them, by `onehot` or as eye(C)[labels]."""
    if onehot := replay.parts(t, Onehot):
        return onehot[0]
    e = replay.made(t, Getitem)
    if e is None or e.attributes["index"] != (ARRAY, slice(None)):
        return None
    rows, labels = replay.inputs(e)
    array = replay.tracer.constants.get(rows.variable)
    return labels if array is not None and np.array_equal(array, np.eye(len(array), array.shape[-1])) else None


def _log_factor(replay: Replay, x: Any) -> list[tuple[Any, Any]]:
    """All (t, p) for which x = t ln p as it is written."""
    factors = replay.parts(x, Multiply)
    pairs = (factors, factors[::-1]) if factors else ()
    return [(t, p[0]) for t, logarithm in pairs if (p := replay.parts(logarithm, Log))]


def _is_one_minus(replay: Replay, x: Any, t: Any) -> bool:
    parts = replay.parts(x, Subtract)
    return parts is not None and replay.number(parts[0]) == 1 and _same(parts[1], t)


def _same(a: Any, b: Any) -> bool:
    return isinstance(a, Symbol) and isinstance(b, Symbol) and a.variable is b.variable
