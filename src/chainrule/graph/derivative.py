"""The derivative of a graph: the same program, followed by the backward pass that the ops' rules give."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import DerivativeError, DtypeError, UnknownNameError
from chainrule.graph.graph import Graph, Variable
from chainrule.graph.replay import Replay
from chainrule.graph.tracing import Symbol, Tracer
from chainrule.ops.dims import show
from chainrule.ops.op import pullback
from chainrule.ops.structure import broadcast_to


def derive(graph: Graph, wrt: Sequence[str] | None = None) -> Graph:
    """The graph that returns its scalar output and the gradients with respect to inputs.

    Parameters
    ----------
    graph : Graph
        Its only output is a number (shape `()`).
    wrt : sequence of str, optional
        Names of inputs; by default all inputs of floats.

    Returns
    -------
    Graph
        With outputs `(value, gradient, gradient, ...)` in the order of `wrt`. Gradients are named `d_` and their
        variable's name.
    """
    if len(graph.outputs) != 1 or graph.outputs[0].shape != ():
        shapes = ", ".join(show(v.shape) for v in graph.outputs)
        raise DerivativeError(f"graph {graph.name} returns {shapes}; the derivative is of one number, of shape ().")
    names = [v.name for v in graph.inputs]
    wrt = [v.name for v in graph.inputs if v.dtype.kind == "f"] if wrt is None else list(wrt)
    for name in wrt:
        if name not in names:
            raise UnknownNameError(f"input of graph {graph.name}", name, names)
        if (dtype := graph.inputs[names.index(name)].dtype).kind != "f":
            raise DtypeError(f"graph {graph.name}: the input '{name}' is {dtype}; derivatives are those of floats.")
    tracer = Tracer(f"{graph.name}_and_gradients")
    symbols = Replay(graph, tracer).run()
    targets = [v for name in wrt for v in graph.inputs if v.name == name]
    loss = symbols[graph.outputs[0]]
    gradients = _backward(graph, tracer, symbols, set(targets))
    outputs = [gradients[v] if v in gradients else _zeros(tracer, symbols[v]) for v in targets]
    return tracer.finish([loss, *outputs], single=False, form=graph.form)


def _backward(
    graph: Graph, tracer: Tracer, symbols: dict[Variable, Symbol], targets: set[Variable]
) -> dict[Variable, Symbol]:
    """The gradients of the output with respect to every variable that depends on the targets, by the ops' rules."""
    depends = set(targets)
    for e in graph.equations:
        if not e.op.no_gradient and depends.intersection(x for x in e.inputs if isinstance(x, Variable)):
            depends.add(e.output)
    loss = graph.outputs[0]
    gradients: dict[Variable, Any] = {}
    if loss in depends:
        # The seed is a constant of shape (), so that nothing of the batch size is fixed by it.
        gradients[loss] = tracer.constant(np.ones((), loss.dtype))
        tracer.rename(gradients[loss].variable, f"d_{loss.name}")
    for e in reversed(graph.equations):
        if e.output not in gradients or e.op.no_gradient:
            continue
        inputs = [symbols[x] if isinstance(x, Variable) else x for x in e.inputs]
        needed = [isinstance(x, Variable) and x in depends for x in e.inputs]
        tracer.rule = e.op.name
        before = len(tracer.equations)
        pulled = pullback(e.op, gradients[e.output], symbols[e.output], inputs, e.attributes, needed)
        for x, d in zip(e.inputs, pulled, strict=True):
            if d is None:
                continue
            gradients[x] = gradients[x] + d if x in gradients else d
        for new in tracer.equations[before:]:
            new.origin, new.layer = e.origin, e.layer
    tracer.rule = ""
    unnamed = {e.output for e in tracer.equations[len(graph.equations) :]}
    for v, d in gradients.items():  # only now, so that the name is that of the sum, not of its first part
        if d.variable in unnamed:
            unnamed.remove(d.variable)
            tracer.rename(d.variable, f"d_{v.name}")
    return gradients


def _zeros(tracer: Tracer, like: Symbol) -> Symbol:
    tracer.rule = "independent"
    zero: Symbol = broadcast_to(tracer.constant(np.zeros((), like.dtype)), like.shape)
    tracer.rename(zero.variable, f"d_{like.variable.name}")
    return zero
