"""Before a graph is written as code: ops that NumPy has no function for become the lines that people write for them.

The softmax of a cross-entropy comes as the exponential of its logarithm, which the loss needs: nothing overflows, and
nothing becomes the logarithm of 0.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.graph.graph import Equation, Graph, Variable
from chainrule.graph.replay import Replay, rewrite
from chainrule.graph.simplification import simplify, summed
from chainrule.graph.tracing import Symbol
from chainrule.ops import dims
from chainrule.ops.arithmetic import Add
from chainrule.ops.control import StopGradient
from chainrule.ops.indexing import ScatterAdd
from chainrule.ops.loss import CrossEntropy, LogSoftmax, Softmax
from chainrule.ops.product import Matmul
from chainrule.ops.reduction import Logsumexp
from chainrule.ops.structure import Reshape, SumTo
from chainrule.written.forms import Accumulate, Dot, Outer, Pick
from chainrule.written.images import Images


@dataclass
class Hints:
    """What the expanded lines are called, and what is said beside them."""

    names: dict[Variable, str] = field(default_factory=dict)
    notes: dict[Variable, str] = field(default_factory=dict)

    def give(self, x: Any, name: str, note: str = "") -> Any:
        """Give the value `x` a name and a note; returns `x`."""
        self.names[x.variable] = name
        if note:
            self.notes[x.variable] = note
        return x


def expand(graph: Graph) -> tuple[Graph, Hints]:
    """The graph in what NumPy has functions for, and hints for the names of the lines."""
    graph = simplify(rewrite(rewrite(graph, _losses), _vectors))
    logarithms = {(e.inputs[0], e.attributes["axis"]) for e in graph.equations if e.op is LogSoftmax}
    hints = Hints()
    images = Images(hints.notes, hints.names)
    known: dict[Any, Any] = {}

    def rule(replay: Replay, e: Equation, inputs: list[Any]) -> Any:
        if e.op is Softmax and (e.inputs[0], e.attributes["axis"]) in logarithms:
            log_y = _log_softmax(known, hints, inputs[0], e.attributes["axis"])
            return hints.give(np.exp(log_y), "y", "softmax")
        if e.op is LogSoftmax:
            return _log_softmax(known, hints, inputs[0], e.attributes["axis"])
        if e.op is Softmax:
            return _softmax(hints, inputs[0], e.attributes["axis"])
        if e.op is Logsumexp:
            return _logsumexp(hints, inputs[0], **e.attributes)
        if e.op is Add:
            return _accumulated(replay, e, inputs)
        return images.expanded(e, inputs)

    return rewrite(graph, rule), hints


def _losses(replay: Replay, e: Equation, inputs: list[Any]) -> Any:
    if e.op is StopGradient:
        return inputs[0]
    if e.op is SumTo:
        return summed(inputs[0], e.output.shape)
    if e.op is not CrossEntropy:
        return None
    logits, t = inputs
    log_y = LogSoftmax.apply(logits, axis=len(logits.shape) - 1)
    return -(log_y * t).sum(axis=-1) if len(t.shape) == len(logits.shape) else -Pick.apply(log_y, t)


def _accumulated(replay: Replay, e: Equation, inputs: list[Any]) -> Any:
    """A sum of arrays of which some are zero but for a part: one array, to whose parts they are added."""
    dense: list[Any] = []
    sparse: list[Any] = []
    indices: list[Any] = []
    for x in inputs:
        made = replay.made(x, ScatterAdd, Accumulate)
        if made is None or not dims.same_shape(x.shape, e.output.shape):
            dense.append(x)
            continue
        given = replay.inputs(made)
        if made.op is Accumulate and made.attributes["dense"]:
            dense.append(given.pop(0))
        sparse.extend(given)
        indices.extend([made.attributes["index"]] if made.op is ScatterAdd else made.attributes["indices"])
    if not indices or (len(dense) == 2 == len(inputs) and not sparse):
        return None
    first = [sum(dense[1:], dense[0])] if dense else []
    if first and not dims.same_shape(first[0].shape, e.output.shape):
        return None
    options = {"dense": bool(first), "indices": tuple(indices), "shape": e.output.shape}
    return replay.tracer.record(Accumulate, [*first, *sparse], options)


def _vectors(replay: Replay, e: Equation, inputs: list[Any]) -> Any:
    """Products with vectors, which the library makes of matrices with one row or column."""
    if e.op is not Matmul:
        return None
    a, b = inputs
    row, column = _vector(replay, a, 0), _vector(replay, b, 1)
    if row is not None and len(b.shape) == 2:
        return Dot.apply(row, b if column is None else column).reshape(e.output.shape)
    if column is not None:
        return Dot.apply(a, column).reshape(e.output.shape)
    left, right = _vector(replay, a, 1), _vector(replay, b, 0)
    return Outer.apply(left, right) if left is not None and right is not None else None


def _vector(replay: Replay, x: Any, axis: int) -> Any:
    """The vector that a matrix of one row (axis 0) or column (axis 1) was made of; None if it was not made so."""
    parts = replay.parts(x, Reshape)
    fits = parts and len(x.shape) == 2 and len(parts[0].shape) == 1 and dims.same(x.shape[axis], 1)
    return parts[0] if parts and fits else None


def _log_softmax(known: dict[Any, Any], hints: Hints, x: Symbol, axis: int) -> Any:
    key = (x.variable, axis)
    if key not in known:
        s = hints.give(x - x.max(axis=axis, keepdims=True), "s")
        log_y = s - np.log(np.exp(s).sum(axis=axis, keepdims=True))
        known[key] = hints.give(log_y, "log_y", "log-softmax")
    return known[key]


def _softmax(hints: Hints, x: Symbol, axis: int) -> Any:
    e = hints.give(np.exp(x - x.max(axis=axis, keepdims=True)), "e")
    return hints.give(e / e.sum(axis=axis, keepdims=True), "p", "softmax")


def _logsumexp(hints: Hints, x: Symbol, axis: tuple[int, ...], keepdims: bool) -> Any:
    m = hints.give(x.max(axis=axis, keepdims=True), "m")
    y = np.log(np.exp(x - m).sum(axis=axis, keepdims=True)) + m
    return y if keepdims else y.squeeze(axis)
