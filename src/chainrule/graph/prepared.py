"""`prepare`: a graph as one Python function of NumPy calls, for steps so small that finding out what to do would take
longer than doing it. It computes the same bits as `Graph.run`; compiled it is not.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from chainrule.graph.graph import Equation, Graph, Variable
from chainrule.ops import dims
from chainrule.ops.arithmetic import Divide
from chainrule.ops.dims import Dim, Later
from chainrule.ops.product import Matmul
from chainrule.ops.structure import BroadcastTo, Reshape, SumTo, Transpose


def prepare(graph: Graph) -> Callable[..., tuple[Any, ...]]:
    """A function that computes the graph's outputs, without looking at its arguments first.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    callable
        It takes one array for each of `graph.inputs`, in their order, of just the declared shape and dtype: nothing is
        checked. It returns a tuple of the outputs, which may share memory with the inputs and with each other.

    Notes
    -----
    Every equation becomes one line, an expression of its op's `code` where that is what the op computes. What is known
    beforehand is settled beforehand: attributes, reshapes to the same shape, and products of a column and a row, which
    need no sum.
    """
    return _Writer(graph).function()


class _Writer:
    """Writes the lines, and keeps what they mention."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.names: dict[Variable, str] = {}
        self.mentioned: dict[str, Any] = {"np": np}
        self.lines: list[str] = []

    def function(self) -> Callable[..., tuple[Any, ...]]:
        graph = self.graph
        for v in graph.inputs:
            self.names[v] = f"x{len(self.names)}"
        arguments = ", ".join(self.names.values())
        for v, array in graph.constants.items():
            self.names[v] = self._mention(array)
        if graph.sizes:
            found = (f"{name!r}: {self.names[v]}.shape[{axis}]" for name, (v, axis) in graph.sizes.items())
            self.lines.append(f"sizes = {{{', '.join(found)}}}")
        self.mentioned["evaluate"] = dims.evaluate
        for i, e in enumerate(graph.equations):
            if (alias := _unchanged(e)) is not None:
                self.names[e.output] = self.names[alias]
            elif self._is_constant(e):
                self.names[e.output] = self._mention(e.op.forward(*map(self._value, e.inputs), **e.attributes))
            else:
                self.names[e.output] = f"y{i}"
                self.lines.append(f"y{i} = {self._expression(e)}")
        self._free()
        self.lines.append(f"return ({''.join(self.names[v] + ', ' for v in graph.outputs)})")
        # The source is made of op names, of the ops' own code, and of numbers; no text of the user's is in it.
        source = f"def run({arguments}):\n    " + "\n    ".join(self.lines)
        exec(compile(source, f"<chainrule prepared {graph.name}>", "exec"), self.mentioned)
        run: Callable[..., tuple[Any, ...]] = self.mentioned["run"]
        return run

    def _is_constant(self, e: Equation) -> bool:
        """Whether the equation can be computed now, from constants alone."""
        known = all(not isinstance(x, Variable) or self.names[x] in self.mentioned for x in e.inputs)
        return known and not any(map(_symbolic, (*e.inputs, *e.attributes.values())))

    def _value(self, x: Any) -> Any:
        return self.mentioned[self.names[x]] if isinstance(x, Variable) else x

    def _expression(self, e: Equation) -> str:
        inputs = [self._operand(x) for x in e.inputs]
        shape: tuple[Any, ...] = getattr(e.inputs[0], "shape", ())
        if e.op is Matmul and dims.same(shape[-1], 1):
            return f"{inputs[0]} * {inputs[1]}"
        if e.op is Transpose and e.attributes["order"] == tuple(reversed(range(len(shape)))):
            return f"{inputs[0]}.T"
        if e.op is Reshape or (e.op is SumTo and dims.same(dims.size_of(shape), dims.size_of(e.output.shape))):
            return f"{inputs[0]}.reshape({self._attribute(e.attributes['shape'])})"
        code = e.op.forward.__code__
        if code.co_filename == f"<chainrule op {e.op.name}>" and not e.attributes:
            return e.op.code.format_map(dict(zip(code.co_varnames, inputs, strict=True)))
        attributes = [f"{key}={self._attribute(value)}" for key, value in e.attributes.items()]
        return f"{self._mention(e.op.forward)}({', '.join([*inputs, *attributes])})"

    def _operand(self, x: Any) -> str:
        if isinstance(x, Variable):
            return self.names[x]
        if isinstance(x, (Dim, Later)):
            return self._attribute(x)
        return f"({x!r})" if math.isfinite(x) else self._mention(x)

    def _attribute(self, value: Any) -> str:
        name = self._mention(value)
        return f"evaluate({name}, sizes)" if _symbolic(value) else name

    def _mention(self, thing: Any) -> str:
        for name, known in self.mentioned.items():
            if known is thing:
                return name
        name = f"k{len(self.mentioned)}"
        self.mentioned[name] = thing
        return name

    def _free(self) -> None:
        """Let go of each array after the line that uses it last, so that its memory serves the next one."""
        returned = {self.names[v] for v in self.graph.outputs}
        made = {line.partition(" = ")[0] for line in self.lines} - returned
        freed: list[str] = []
        for line in reversed(self.lines):
            words = set("".join(c if c.isalnum() else " " for c in line).split())
            if last := sorted(words & made):
                made -= set(last)
                freed.append(f"del {', '.join(last)}")
            freed.append(line)
        self.lines = freed[::-1]


def _unchanged(e: Equation) -> Variable | None:
    """The input that this equation's output is equal to, if that can be seen."""
    first = e.inputs[0]
    if not isinstance(first, Variable) or not dims.same_shape(first.shape, e.output.shape):
        return None
    structural = e.op in (Reshape, BroadcastTo, SumTo)
    by_one = e.op is Divide and isinstance(e.inputs[1], (int, float)) and e.inputs[1] == 1
    return first if (structural or by_one) and first.dtype == e.output.dtype else None


def _symbolic(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(_symbolic, value))
    if isinstance(value, slice):
        return any(map(_symbolic, (value.start, value.stop, value.step)))
    if isinstance(value, Mapping):
        return any(map(_symbolic, value.values()))
    return isinstance(value, (Dim, Later))
