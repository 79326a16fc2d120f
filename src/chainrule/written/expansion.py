"""Before a graph is written as code: ops that NumPy has no function for become the lines that people write for them.

The softmax of a cross-entropy comes as the exponential of its logarithm, which the loss needs: nothing overflows, and
nothing becomes the logarithm of 0.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.graph.graph import Equation, Graph, Variable
from chainrule.graph.replay import Replay, rewrite
from chainrule.graph.simplification import drop_neutral, fold_constants, share
from chainrule.graph.tracing import Symbol
from chainrule.ops import dims
from chainrule.ops.control import StopGradient
from chainrule.ops.loss import CrossEntropy, LogSoftmax, Softmax
from chainrule.ops.op import Op
from chainrule.ops.reduction import Logsumexp, Sum
from chainrule.ops.structure import SumTo


class Pick(Op):
    """One element of each row: that at the row's label. (..., C) and (...) of ints to (...)."""

    @classmethod
    def result_dtype(cls, inputs: Any, attributes: Any) -> np.dtype[Any]:
        dtype: np.dtype[Any] = inputs[0].dtype
        return dtype

    def shape(y, t):
        return t

    def forward(y, t):
        return np.take_along_axis(y, t[..., None], -1)[..., 0]


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
    graph = share(rewrite(graph, _losses))
    logarithms = {(e.inputs[0], e.attributes["axis"]) for e in graph.equations if e.op is LogSoftmax}
    hints = Hints()
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
        return _summed(hints, inputs[0], e.output.shape) if e.op is SumTo else None

    for tidy in (drop_neutral, fold_constants, share):
        graph = tidy(graph)
    logarithms = {(e.inputs[0], e.attributes["axis"]) for e in graph.equations if e.op is LogSoftmax}
    return rewrite(graph, rule), hints


def _losses(replay: Replay, e: Equation, inputs: list[Any]) -> Any:
    if e.op is StopGradient:
        return inputs[0]
    if e.op is not CrossEntropy:
        return None
    logits, t = inputs
    log_y = LogSoftmax.apply(logits, axis=len(logits.shape) - 1)
    return -(log_y * t).sum(axis=-1) if len(t.shape) == len(logits.shape) else -Pick.apply(log_y, t)


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


def _summed(hints: Hints, x: Any, shape: dims.Shape) -> Any:
    """`sum_to` as a sum over axes."""
    new = len(x.shape) - len(shape)
    stretched = [i + new for i, n in enumerate(shape) if dims.same(n, 1) and not dims.same(x.shape[i + new], 1)]
    y = Sum.apply(x, axis=(*range(new), *stretched), keepdims=not new)
    y = y if dims.same_shape(y.shape, shape) else y.reshape(shape)
    hints.notes[y.variable] = "broadcast: the sum over its copies"
    return y
