"""A graph as a derivation: line by line, with the rule that each line comes from; no line is printed before it is
computed, as it is printed, and compared: with the program, and, where it is a gradient, with differences of the loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chainrule.errors import DerivativeError
from chainrule.graph.graph import Equation, Graph, Variable
from chainrule.ops.activation import Sigmoid
from chainrule.ops.loss import BinaryCrossEntropy, CrossEntropy, Softmax
from chainrule.ops.op import OPS
from chainrule.ops.product import Matmul
from chainrule.ops.structure import BroadcastTo, Cast, Reshape, SumTo, Transpose
from chainrule.written import page
from chainrule.written.expansion import Hints
from chainrule.written.formula import Call, Derivative, Formula, Number, Symbol
from chainrule.written.latex import symbol, write, write_words
from chainrule.written.mathematics import Applied, Formulas, NeedsIndicesError
from chainrule.written.naming import Lines, Names, note
from chainrule.written.trial import Trial

FORWARD = {Softmax: "softmax", CrossEntropy: "cross-entropy", BinaryCrossEntropy: "binary cross-entropy"}


@dataclass(frozen=True)
class Line:
    """left = right, and why."""

    variable: Variable
    left: Formula
    right: Formula
    rule: str
    backward: bool
    sizes: Mapping[str, Any]  # the running indices, and how far they run


class Derivation:
    """The lines of a graph.

    Parameters
    ----------
    graph : Graph
        With or without a backward pass.
    values : dict of str to array, optional
        Values of inputs that the lines are tried on; the others are random.

    Raises
    ------
    DerivativeError
        If a line is not what the program computes, or a gradient is not that of the loss.
    """

    def __init__(self, graph: Graph, values: Mapping[str, Any] | None = None) -> None:
        self.graph = _with_named_outputs(graph)
        self.lines_of = _lines(self.graph)
        self.trial = Trial(self.graph, values or {})
        while True:
            self._name()
            try:
                self.lines = [self._line(e) for e in self.graph.equations if e.output in self.lines_of.own]
                break
            except _TooMuchError as error:  # for one line: what is written in place in it gets lines of its own
                self.lines_of.own.update(error.parts)
        for line in self.lines:
            if line.backward and line.variable in self.gradients:
                self._compare(line)

    def _name(self) -> None:
        names = Names(self.lines_of, ())
        self.names = dict(names.of)
        for v, array in self.graph.constants.items():
            self.names[v] = names.unique(v.name) if array.size != 1 else v.name
        everything = set(self.names.values())
        self.symbols: dict[Variable, Formula] = {}
        for v, name in self.names.items():
            self.symbols[v] = symbol(name, everything)
        for v, array in self.graph.constants.items():
            if array.size == 1:
                self.symbols[v] = Number(float(array.reshape(())))
        loss = self.graph.outputs[0]
        if loss.shape == () and isinstance(self.symbols[loss], Symbol) and self.names[loss] == "loss":
            taken = any(
                isinstance(s, Symbol) and s.letter == "L" for s in self.symbols.values() if s is not self.symbols[loss]
            )
            self.symbols[loss] = Symbol("loss", "ℒ" if taken else "L")
        self.gradients = self._gradients()
        for v, of in self.gradients.items():
            if v in self.graph.outputs:
                self.symbols[v] = Derivative(self.names[v], self.symbols[loss], self.symbols[of])

    def _gradients(self) -> dict[Variable, Variable]:
        """Which variables are the gradients of which."""
        by_name = {name: v for v, name in self.names.items()}
        found = {}
        for v, name in self.names.items():
            for of in (name.removeprefix("d_"), name.removeprefix("d")):
                if of != name and of in by_name:
                    found[v] = by_name[of]
        return found

    def _line(self, e: Equation) -> Line:
        symbols = {v: s for v, s in self.symbols.items() if v in self.lines_of.own or v in self.graph.constants}
        formulas = Formulas(self.lines_of.made, symbols)
        try:
            left, right = formulas.of(e)
            same = self.trial.same(left, right, formulas.sizes, self.names)
        except NeedsIndicesError:
            same = False
        if not same:
            parts = self.lines_of.inlined(e)
            if parts:
                raise _TooMuchError(parts)
            left = self.symbols[e.output]
            values = tuple(self.symbols[x] if isinstance(x, Variable) else Number(float(x)) for x in e.inputs)
            right = Call(e.op.name, values, compute=Applied(e.op, e.attributes))
            formulas.sizes = {}
            if not self.trial.same(left, right, {}, self.names):
                raise DerivativeError(
                    f"the derivation's line for '{e!r}' is wrong: it is not what the program computes."
                )
        return Line(e.output, left, right, self._rule(e), bool(e.rule), dict(formulas.sizes))

    def _compare(self, line: Line) -> None:
        """A gradient has to agree with differences of the loss."""
        if self.graph.outputs[0].shape != ():
            return
        difference, found, size = self.trial.differences(self.gradients[line.variable], line.variable)
        if abs(difference - found) > 1e-5 * max(size, 1e-3):
            raise DerivativeError(
                f"the derivation's line {write(line.left)} = {write(line.right)} is wrong: in a random direction the "
                f"loss changes by {difference:.6g}, by the line it would be {found:.6g}."
            )

    def _rule(self, e: Equation) -> str:
        if not e.rule:
            found = [FORWARD[p.op] for p in self.lines_of.tree(e) if p.op in FORWARD]
            return found[0] if found else note(self.lines_of, e)
        parts = [p for p in self.lines_of.tree(e) if p.rule and p.op not in (Reshape, BroadcastTo, Cast, Transpose)]
        by = {SumTo: BroadcastTo.rule, Matmul: Matmul.rule}
        words = [by.get(p.op) or (OPS[p.rule].rule if p.rule in OPS else "") for p in reversed(parts or [e])]
        return "; ".join(dict.fromkeys(w for w in words if w))


class _TooMuchError(Exception):
    """A line cannot be written with these values in place."""

    def __init__(self, parts: list[Variable]) -> None:
        self.parts = parts


def _with_named_outputs(graph: Graph) -> Graph:
    """The graph with the probabilities of a cross-entropy in the forward pass, if the backward pass has them."""
    equations = list(graph.equations)
    for loss in [e for e in equations if e.op in (CrossEntropy, BinaryCrossEntropy) and not e.rule]:
        op = Softmax if loss.op is CrossEntropy else Sigmoid
        for e in equations:
            if e.op is op and e.inputs[0] is loss.inputs[0] and e.rule:
                equations.remove(e)
                equations.insert(equations.index(loss), replace(e, rule=""))
                break
    return replace(graph, equations=equations)


def _lines(graph: Graph) -> Lines:
    """Which values have lines: as in code, and what a gradient with a line is the gradient of."""
    hints = Hints()
    for e in graph.equations:
        if (
            e.op in (Softmax, Sigmoid)
            and not e.rule
            and any(o.op in (CrossEntropy, BinaryCrossEntropy) and o.inputs[0] is e.inputs[0] for o in graph.equations)
        ):
            hints.names[e.output] = "y"
    lines = Lines(graph, hints, split=True)
    for v in list(lines.own):
        source = lines.by_name.get(v.name.removeprefix("d_"))
        if source is not None and source in lines.made:
            lines.own.add(source)
    return lines


def derivation(graph: Graph, values: Mapping[str, Any] | None = None) -> Derivation:
    """The derivation of a graph, every line checked by numbers: see `Derivation`."""
    return Derivation(graph, values)


def latex(graph: Graph) -> str:
    """A graph as a derivation in LaTeX: two `align*` environments, which need amsmath and nothing else."""
    return _latex(derivation(graph))


def _latex(found: Derivation) -> str:
    blocks = []
    for backward in (False, True):
        rows = [
            f"  {write(line.left)} &= {write(line.right)}"
            + (rf" && \text{{{write_words(line.rule)}}}" if line.rule else "")
            for line in found.lines
            if line.backward == backward
        ]
        if rows:
            if backward:
                blocks.append(r"Backward, with $\delta_v = \partial L / \partial v$:" + "\n")
            blocks.append("\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}\n")
    return "\n".join(blocks)


def html(graph: Graph) -> str:
    """A graph as a derivation in HTML with MathML: a fragment that needs nothing else, and can be a page by itself."""
    found = derivation(graph)
    return page.html(graph.name, [(line.left, line.right, line.rule, line.backward) for line in found.lines])
