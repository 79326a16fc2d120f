"""Before a graph is fused: ops with rules of their own become what loops compute, element by element and sum by sum."""

import itertools
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.graph.graph import Equation, Graph
from chainrule.graph.replay import Replay, rewrite
from chainrule.graph.simplification import simplify, summed
from chainrule.graph.tracing import Symbol
from chainrule.ops import dims
from chainrule.ops.activation import Softplus
from chainrule.ops.arithmetic import Power
from chainrule.ops.control import StopGradient
from chainrule.ops.indexing import ARRAY, Onehot, ScatterAdd
from chainrule.ops.loss import BinaryCrossEntropy, CrossEntropy, LogSoftmax, Softmax
from chainrule.ops.reduction import Logsumexp, Mean, Sum
from chainrule.ops.structure import Reshape, SumTo, Transpose


def decompose(graph: Graph) -> Graph:
    """The graph in element-wise ops, sums, maxima, products and rearrangements alone, as far as that is possible."""
    return rewrite(simplify(rewrite(simplify(graph), _Rules())), _last_changes)


def _last_changes(replay: Replay, e: Equation, inputs: list[Any]) -> Any:
    """Let a column of the batch (N, 1) become a row by a transposition again, which products look through; and a sum
    over images and the batch be one of each image first, which each thread does for its own.
    """
    if e.op is Sum and len(inputs[0].shape) == 4 and {0, 2, 3} <= set(e.attributes["axis"]):
        rest = tuple(axis for axis in e.attributes["axis"] if axis < 2)
        return inputs[0].sum(axis=(2, 3)).sum(axis=rest).reshape(e.output.shape)
    if e.op is Reshape and len(e.output.shape) == 2 and dims.same_shape(e.output.shape, inputs[0].shape[::-1]):
        return replay.tracer.record(Transpose, inputs, {"order": (1, 0)})
    return None


class _Rules:
    """What each op becomes; the parts of a softmax are shared by everything that is made of the same logits."""

    def __init__(self) -> None:
        self.parts: dict[Any, tuple[Any, Any, Any, Any]] = {}

    def __call__(self, replay: Replay, e: Equation, inputs: list[Any]) -> Any:
        x = inputs[0]
        if e.op is StopGradient:
            return x
        if e.op is Mean:
            over = dims.size_of(tuple(x.shape[i] for i in e.attributes["axis"]))
            return Sum.apply(x, **e.attributes) / over
        if e.op is SumTo:
            return summed(x, e.output.shape)
        if e.op is Power and isinstance(inputs[1], (int, float)) and inputs[1] == 2:
            return x * x
        if e.op is Softplus:
            return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
        if e.op is BinaryCrossEntropy and isinstance(x, Symbol):
            return np.maximum(x, 0) - x * inputs[1] + np.log1p(np.exp(-np.abs(x)))
        if e.op is Softmax:
            _, _, powers, total = self.softmax(x, e.attributes["axis"])
            return powers / total
        if e.op is LogSoftmax:
            _, shifted, _, total = self.softmax(x, e.attributes["axis"])
            return shifted - np.log(total)
        if e.op is Logsumexp and len(e.attributes["axis"]) == 1:
            largest, _, _, total = self.softmax(x, e.attributes["axis"][0])
            y = np.log(total) + largest
            return y if e.attributes["keepdims"] else y.reshape(e.output.shape)
        if e.op is CrossEntropy:
            return self.cross_entropy(x, inputs[1])
        if e.op is ScatterAdd and ARRAY not in e.attributes["index"]:
            return placed(x, e.attributes["index"], e.attributes["shape"])
        return None

    def softmax(self, x: Symbol, axis: int) -> tuple[Any, Any, Any, Any]:
        """The largest element, x without it, the powers of e, and their sum."""
        key = x.variable, axis
        if key not in self.parts:
            largest = x.max(axis=axis, keepdims=True)
            shifted = x - largest
            powers = np.exp(shifted)
            self.parts[key] = largest, shifted, powers, powers.sum(axis=axis, keepdims=True)
        return self.parts[key]

    def cross_entropy(self, x: Symbol, t: Any) -> Any:
        axis = len(x.shape) - 1
        _, shifted, _, total = self.softmax(x, axis)
        if len(t.shape) == len(x.shape):
            return -(t * (shifted - np.log(total))).sum(axis=-1)
        at_label = ops.where(Onehot.apply(t, classes=x.shape[-1], dtype=np.dtype(bool)), shifted, 0.0)
        return np.log(total).reshape(t.shape) - at_label.sum(axis=-1)


def placed(x: Any, index: tuple[Any, ...], shape: dims.Shape) -> Any:
    """Zeros with `x` at an index of ints and slices, as `x` with zeros around it; None for slices with gaps."""
    sizes, steps, widths = [], [], []
    own = iter(x.shape)
    for n, part in itertools.zip_longest(shape, index, fillvalue=slice(None)):
        if not isinstance(part, slice):
            if not isinstance(n, int):
                return None
            first = int(part) % n
            sizes.append(1)
            steps.append(slice(None))
            widths.append((first, n - first - 1))
            continue
        sizes.append(next(own))
        steps.append(slice(None))
        widths.append((0, 0))
        if part == slice(None):
            continue
        if not isinstance(n, int) or part.step not in (None, 1, -1):
            return None
        taken = range(n)[part]
        if part.step == -1:
            steps[-1] = slice(None, None, -1)
        widths[-1] = (min(taken), n - 1 - max(taken)) if taken else (0, n)
    y = x.reshape(tuple(sizes)) if len(sizes) > len(x.shape) else x
    y = y[tuple(steps)] if any(step != slice(None) for step in steps) else y
    return ops.pad(y, tuple(widths)) if any(a or b for a, b in widths) else y
