"""`replay`: a graph's program recorded once more, by another tracer, where a rule may put something else in its place.

So a pass over a graph is written in NumPy, as the ops' derivatives are: it is called with the Symbols that stand for an
equation's inputs, and answers with what the equation is to become.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from chainrule.graph.graph import Equation, Graph, Variable
from chainrule.graph.tracing import AUTOMATIC, Symbol, Tracer
from chainrule.ops import dims
from chainrule.ops.op import Op


class Replay:
    """A graph while it is written again; a rule looks up here how a value was made.

    Attributes
    ----------
    symbols : dict of Variable to Symbol
        What stands for each variable of the old graph.
    uses : Counter of Variable
        How often each variable of the old graph is used.
    """

    def __init__(self, graph: Graph, tracer: Tracer) -> None:
        self.graph, self.tracer = graph, tracer
        self.symbols: dict[Variable, Symbol] = {v: tracer.input(v.name, v.shape, v.dtype) for v in graph.inputs}
        for v, array in graph.constants.items():
            self.symbols[v] = tracer.constant(array)
            tracer.rename(self.symbols[v].variable, v.name)
        tracer.sizes = {name: (self.symbols[v].variable, axis) for name, (v, axis) in graph.sizes.items()}
        tracer.names.update(e.output.name for e in graph.equations)  # kept for what stands for the same value
        self.uses = Counter(x for e in graph.equations for x in e.inputs if isinstance(x, Variable))
        self._made: dict[Variable, Equation] = {}

    def made(self, x: Any, *ops: type[Op]) -> Equation | None:
        """The equation that made `x`, if it is of one of these ops."""
        e = self._made.get(x.variable) if isinstance(x, Symbol) else None
        return e if e is not None and e.op in ops else None

    def inputs(self, e: Equation) -> list[Any]:
        """The inputs of an equation of the new graph."""
        return [Symbol(self.tracer, x) if isinstance(x, Variable) else x for x in e.inputs]

    def parts(self, x: Any, *ops: type[Op]) -> list[Any] | None:
        """The inputs of the equation that made `x`, if it is of one of these ops."""
        e = self.made(x, *ops)
        return None if e is None else self.inputs(e)

    def number(self, x: Any) -> Any:
        """The plain number that `x` is, or that it holds as a constant of shape (); else None."""
        if isinstance(x, (bool, int, float)):
            return x
        array = self.tracer.constants.get(x.variable) if isinstance(x, Symbol) else None
        return array.item() if array is not None and array.shape == () else None

    def run(self, rule: "Rule | None" = None) -> dict[Variable, Symbol]:
        """Record every equation, or what the rule makes of it; names, lines and rules stay."""
        tracer = self.tracer
        for e in self.graph.equations:
            inputs = [self.symbols[x] if isinstance(x, Variable) else x for x in e.inputs]
            before = len(tracer.equations)
            y = rule(self, e, inputs) if rule else None
            if not (isinstance(y, Symbol) and dims.same_shape(y.shape, e.output.shape) and y.dtype == e.output.dtype):
                tracer.names.difference_update(new.output.name for new in tracer.equations[before:])
                del tracer.equations[before:]
                y = tracer.record(e.op, inputs, e.attributes)
            for new in tracer.equations[before:]:
                new.origin, new.rule, new.layer = e.origin, e.rule, e.layer
                self._made[new.output] = new
            self.symbols[e.output] = y
            self._keep_name(e, y.variable, new=before < len(tracer.equations))
        return self.symbols

    def _keep_name(self, e: Equation, y: Variable, new: bool) -> None:
        """Give what stands for a value the value's name, unless it has one that says more."""
        made = self._made.get(y)
        last = new and y is self.tracer.equations[-1].output
        unnamed = made is not None and bool(made.rule) == bool(e.rule) and AUTOMATIC.match(y.name)
        if last or (unnamed and not AUTOMATIC.match(e.output.name)):
            self.tracer.names.discard(e.output.name)
            self.tracer.rename(y, e.output.name)


Rule = Callable[[Replay, Equation, list[Any]], Symbol | None]


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """The graph with each equation as the rule has it; None keeps it, and so does another shape or dtype."""
    tracer = Tracer(graph.name)
    symbols = Replay(graph, tracer).run(rule)
    return tracer.finish([symbols[v] for v in graph.outputs], graph.single, graph.form)
