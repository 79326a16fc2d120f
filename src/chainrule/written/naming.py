"""What the lines of a longhand are: which values get a line and a name of their own, and which name.

A value has its own line if it is an idea: what the person named, what is used more than once, a pre-activation, the
gradient of something that has a line. All else is written where it is used.
"""

import keyword
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from chainrule.graph.graph import Equation, Graph, Variable
from chainrule.graph.tracing import AUTOMATIC
from chainrule.ops import dims
from chainrule.ops.activation import Relu, Sigmoid, Softplus, Tanh
from chainrule.ops.arithmetic import Add, Divide, Exp, Log, Maximum, Multiply, Negative, Power, Sqrt, Subtract, Where
from chainrule.ops.convolution import Conv2d
from chainrule.ops.families import Comparison, Structural
from chainrule.ops.indexing import Getitem, Onehot
from chainrule.ops.loss import BinaryCrossEntropy
from chainrule.ops.op import OPS, Op
from chainrule.ops.pooling import AvgPool2d, MaxPool2d
from chainrule.ops.product import Matmul
from chainrule.ops.reduction import Argmax, Cumsum, Max, Mean, Min, Sum
from chainrule.ops.structure import BroadcastTo, Cast, Concatenate, Pad, Reshape, Transpose
from chainrule.written.expansion import Hints
from chainrule.written.expressions import STATEMENTS
from chainrule.written.forms import Dot, Einsum, Pick, Spread, Windows

LONGEST = 6  # ops in one expression
SEVERAL = 3  # how often something small is written in place
LIGHT = (Transpose, Reshape, Cast, Getitem, Onehot)  # read as part of a name: W.T, x[:, None]
PRODUCTS = (Matmul, Dot, Einsum, Conv2d)
LINEAR = (Add, Subtract, Negative, Sum, Mean)  # what may stand around a product in its line
ACTIVATIONS = (Tanh, Sigmoid, Relu, Maximum, Softplus)
NAMES: dict[type[Op], str] = {
    Exp: "e", Log: "log", Sqrt: "root", Sum: "total", Mean: "mean", Max: "top", Min: "least", Divide: "ratio",
    Multiply: "product", Subtract: "diff", Add: "z", Power: "power", Where: "chosen", Concatenate: "joined",
    Getitem: "part", Cumsum: "running", Argmax: "best", Tanh: "h", Sigmoid: "h", Relu: "h", Maximum: "h",
    Reshape: "rows", Negative: "minus", Pad: "padded", MaxPool2d: "p", AvgPool2d: "p",
}  # fmt: skip


class Lines:
    """The values of a graph that have lines of their own.

    Parameters
    ----------
    graph : Graph
    hints : Hints
    split : bool
        Whether activations are kept apart from the products that they are taken of, as for layers of a model. A
        person's own function is kept as it was written.
    """

    def __init__(self, graph: Graph, hints: Hints, split: bool) -> None:
        self.graph, self.hints, self.split = graph, hints, split
        self.made = {e.output: e for e in graph.equations}
        self.by_name = {v.name: v for v in (*graph.inputs, *self.made)}
        used = [x for e in graph.equations for x in e.inputs if isinstance(x, Variable)]
        self.uses = Counter([*used, *graph.outputs])
        self.consumer = {x: e for e in graph.equations for x in e.inputs if isinstance(x, Variable)}
        self.own: set[Variable] = set(graph.inputs)
        self.cost: dict[Variable, int] = {}
        for e in graph.equations:
            self._place(e)

    def inlined(self, e: Equation) -> list[Variable]:
        """The inputs that are written in place."""
        return [x for x in e.inputs if isinstance(x, Variable) and x in self.cost and x not in self.own]

    def tree(self, e: Equation) -> Iterable[Equation]:
        """The equation, and those written in place within its line."""
        yield e
        for x in self.inlined(e):
            yield from self.tree(self.made[x])

    def _place(self, e: Equation) -> None:
        if e.op is Spread:  # a loop, in which nothing is computed twice
            self.own.update(self.inlined(e))
        while True:
            parts = sorted(self.inlined(e), key=lambda x: self.cost[x])
            total = (e.op not in LIGHT) + sum(self.cost[x] for x in parts)
            if total <= LONGEST or not parts or self.cost[parts[-1]] == 0:
                break
            self.own.add(parts[-1])
        self.cost[e.output] = total
        if self._has_a_line(e):
            self.own.add(e.output)

    def _has_a_line(self, e: Equation) -> bool:
        v = e.output
        if v in self.graph.outputs or e.op in STATEMENTS or v in self.hints.names or _windows_below(self, e):
            return True
        if not e.rule and not AUTOMATIC.match(v.name):
            return True
        if e.op in LIGHT and self.cost[v] == 0 and (e.op is not Getitem or len(e.inputs) == 1):
            return False
        if self.uses[v] > (SEVERAL if self._is_small(e) else 1):
            return True
        source = self.by_name.get(v.name.removeprefix("d_")) if e.rule and v.name.startswith("d_") else None
        if source is not None and source in self.own and e.op not in (*LIGHT, BroadcastTo):
            return True
        consumer = self.consumer[v]
        product = any(part.op in PRODUCTS for part in self.tree(e))
        return self.split and product and not (consumer.op in (*LIGHT, *LINEAR) or _by_number(consumer))

    def _is_small(self, e: Equation) -> bool:
        """Whether it is no more than a name and a number, as 1 - y is."""
        values = [x for x in e.inputs if isinstance(x, Variable)]
        return e.op in (Add, Subtract, Multiply, Negative) and len(values) == 1 and values[0] in self.own


def _windows_below(lines: "Lines", e: Equation) -> Equation | None:
    """The windows that an equation makes, prepares, or finds one number of each in; else None."""
    if e.op is Windows:
        return e
    consumer = lines.consumer.get(e.output)
    if e.op is Pad and consumer is not None and consumer.op is Windows:
        return e
    made = lines.made.get(e.inputs[0]) if e.op in (Max, Mean, Argmax) and isinstance(e.inputs[0], Variable) else None
    if made is not None and made.op is Reshape and isinstance(made.inputs[0], Variable):
        made = lines.made.get(made.inputs[0])
    return made if made is not None and made.op is Windows else None


def _by_number(e: Equation) -> bool:
    others = [getattr(x, "shape", ()) for x in e.inputs]
    return e.op in (Multiply, Divide) and () in others


class Names:
    """The names of the lines: a person's own, else those of the field: a1, h1, y, loss, dW1, d_a1."""

    def __init__(self, lines: Lines, reserved: Iterable[str] = (), arguments: Mapping[Variable, str] = {}) -> None:
        self.lines = lines
        self.of: dict[Variable, str] = {}
        self.taken = {"np", "math", *reserved, *lines.graph.sizes, *keyword.kwlist}
        for v, name in arguments.items():  # an argument keeps its name; parts of containers may be renamed
            self.of[v] = self.unique(name)
        for v in lines.graph.inputs:
            if v not in self.of:
                self.of[v] = self.unique(v.name)
        for e in lines.graph.equations:
            if e.output in lines.own:
                self.of[e.output] = self.unique(self._base(e))

    def unique(self, name: str) -> str:
        """The name, with a number if it is taken."""
        found, count = name, 2
        while found in self.taken:
            found = f"{name}_{count}"
            count += 1
        self.taken.add(found)
        return found

    def _base(self, e: Equation) -> str:
        graph, v = self.lines.graph, e.output
        if (name := self._of_windows(e)) and (e.rule or AUTOMATIC.match(v.name)):
            return name
        if e.rule:
            return self.lines.hints.names.get(v) or self._of_gradient(v)
        if not AUTOMATIC.match(v.name):
            return v.name
        if v is graph.outputs[0]:
            return "loss" if v.shape == () else "output"
        return self.lines.hints.names.get(v) or self._of_the_field(e)

    def _of_gradient(self, v: Variable) -> str:
        source = self.lines.by_name.get(v.name.removeprefix("d_")) if v.name.startswith("d_") else None
        if source is not None and source in self.lines.graph.inputs and v in self.lines.graph.outputs:
            return f"d{self.of[source]}"
        if source is None or not dims.same_shape(source.shape, v.shape):
            return "g"
        if source in self.of:
            return f"d_{self.of[source]}"
        if source not in self.lines.made:
            return "g"
        name = self._of_the_field(self.lines.made[source])
        return "g" if name in self.taken else f"d_{name}"  # it must not seem to be that of something else

    def _of_the_field(self, e: Equation) -> str:
        products = [part for part in self.lines.tree(e) if part.op in PRODUCTS]
        plain = (*PRODUCTS, Add, Windows, Pad, *LIGHT)
        linear = all(part.op in plain or _by_number(part) for part in self.lines.tree(e))
        if products and linear:
            return f"a{self._number(products[0])}"
        if e.op in ACTIVATIONS and isinstance(e.inputs[0], Variable):
            before = self.of.get(e.inputs[0], "")
            if re.match(r"a\d*$", before):
                return f"h{before[1:]}"
        if issubclass(e.op, Comparison):
            return "mask"
        return NAMES.get(e.op, "z")

    def _of_windows(self, e: Equation) -> str:
        """The name of windows, and of what is found in each, after the images; nothing for anything else."""
        found = _windows_below(self.lines, e)
        if found is None:
            return ""
        x = found.inputs[0]
        image = self.of.get(x, "") if isinstance(x, Variable) else ""
        if e.op is Windows:
            return f"{image.removesuffix('_padded') or 'image'}_windows"
        if e.op is Pad:
            return f"{image or 'image'}_padded"
        number = re.search(r"\d*$", image.removesuffix("_padded"))
        return ("winner" if e.op is Argmax else "p") + (number.group() if number else "")

    def _number(self, product: Equation) -> str:
        """The number of a layer, from the name of its weights."""
        for x in reversed(product.inputs):
            if x in self.lines.made and self.lines.made[x].op is Reshape:
                x = self.lines.made[x].inputs[0]
            name = x.name if isinstance(x, Variable) and x in self.lines.graph.inputs else ""
            if found := re.search(r"\d+$", name):
                return found.group()
        return ""


def note(lines: Lines, e: Equation) -> str:
    """What is said beside a line: what a forward line is called, or the rule that a backward line comes from."""
    if e.output in lines.hints.notes:
        return lines.hints.notes[e.output]
    if e.rule:
        return _rule(lines, e)
    if any(part.op is Pick for part in lines.tree(e)):
        return "cross-entropy"
    if any(part.op is Einsum for part in lines.tree(e)):
        return "convolution"
    if any(part.op is BinaryCrossEntropy for part in lines.tree(e)):
        return "binary cross-entropy"
    if e.op is Maximum and 0 in [x for x in e.inputs if not isinstance(x, Variable)]:
        return "relu"
    return e.op.name if e.op in (Sigmoid, Relu, Softplus) else ""


def _rule(lines: Lines, e: Equation) -> str:
    """The rule of the op that a backward line is for; nothing where the line says it itself."""
    rule = OPS.get(e.rule)
    if (
        rule is None
        or e.op in (Windows, Pad)
        or issubclass(rule, Structural)
        or (_by_number(e) and rule in (Multiply, Divide))
    ):
        return ""
    if len({part.rule for part in lines.tree(e)}) > 1 and e.op in LINEAR:
        return ""  # several contributions, by several rules
    if e.op is Sum and rule.broadcasts:
        return "broadcast forward, summed backward"
    if e.op is Matmul and rule is Matmul:
        left = lines.made.get(e.inputs[0])
        order = left.attributes["order"] if left is not None and left.op is Transpose else (0,)
        return "dB = Aᵀ G" if order[-2:] == (len(order) - 1, len(order) - 2) else "dA = G Bᵀ"
    return rule.rule
