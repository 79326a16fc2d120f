"""A graph as a derivation: line by line, with the rule that each line comes from; no line is printed before it is
computed, as it is printed, and compared: with the program, and, where it is a gradient, with differences of the loss.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from chainrule.errors import DerivativeError
from chainrule.graph.graph import Equation, Graph, Variable
from chainrule.ops.arithmetic import Add, Multiply, Negative, Subtract
from chainrule.ops.convolution import Conv2d
from chainrule.ops.loss import BinaryCrossEntropy, CrossEntropy, Softmax
from chainrule.ops.pooling import AvgPool2d, MaxPool2d
from chainrule.ops.product import Matmul
from chainrule.ops.structure import BroadcastTo, Cast, Reshape, SumTo, Transpose
from chainrule.written.mathematics import page
from chainrule.written.mathematics.elements import NeedsIndicesError, opaque, size_as_formula
from chainrule.written.mathematics.formula import Call, Derivative, Formula, Number, Power, Symbol
from chainrule.written.mathematics.formulas import Formulas
from chainrule.written.mathematics.latex import SIGNS, write, write_words
from chainrule.written.mathematics.notation import Notation, with_probabilities
from chainrule.written.mathematics.numerals import number
from chainrule.written.mathematics.steps import step
from chainrule.written.mathematics.trial import Trial
from chainrule.written.naming import note
from chainrule.written.updates import Update

ARRANGING = (Reshape, BroadcastTo, Cast, Transpose)  # what goes without saying
SUMMED = "broadcast forward, summed backward"
SECTIONS = ("forward", "backward", "update")
SHORT = 8  # elements of a constant that is written out
FORWARD = {
    Softmax: "softmax",
    CrossEntropy: "cross-entropy",
    BinaryCrossEntropy: "binary cross-entropy",
    Conv2d: "convolution",
    MaxPool2d: "max-pool",
    AvgPool2d: "mean of each window",
}


@dataclass(frozen=True)
class Line:
    """left = right, and why."""

    variable: Variable | None
    left: Formula
    right: Formula
    rule: str
    section: str  # "forward", "backward" or "update"
    sign: str = "="


class Derivation:
    """The lines of a graph.

    Parameters
    ----------
    graph : Graph
        With or without a backward pass.
    values : dict of str to array, optional
        Values of inputs that the lines are tried on; the others are random.
    update : Update, optional
        The step of an optimiser, which then follows.

    Raises
    ------
    DerivativeError
        If a line is not what the program computes, or a gradient is not that of the loss.
    """

    def __init__(self, graph: Graph, values: Mapping[str, Any] | None = None, update: Update | None = None) -> None:
        self.graph = with_probabilities(graph)
        self.trial = Trial(self.graph, values or {})
        self.notation = Notation(self.graph, self.trial)
        self.own = self.notation.lines.own
        while True:
            self.symbols = self.notation.symbols()
            try:
                self.lines = [self._line(e) for e in self.graph.equations if e.output in self.own]
                break
            except _TooMuchError as error:  # for one line: what is written in place in it gets lines of its own
                self.own.update(error.parts)
        self.lines = [*self._constants(), *self.lines, *self._same_gradients()]
        for line in self.lines:  # the notation has compared those within
            for v, source in self.notation.results:
                if line.section == "backward" and line.variable is v:
                    self._compare(line, v, source)
        if update is not None:
            self.lines += self._update(update)

    def _line(self, e: Equation) -> Line:
        symbols = {v: s for v, s in self.symbols.items() if v not in self.notation.lines.made or v in self.own}
        formulas = Formulas(self.notation.lines.made, symbols, self.notation.units())
        same = False
        for by_elements in (False, True):
            if not same:
                try:
                    left, right = formulas.of(e, by_elements)
                    same = self.trial.same(left, right, formulas.sizes)
                except NeedsIndicesError:
                    same = False
        if not same:
            if parts := self.notation.lines.inlined(e):
                raise _TooMuchError(parts)
            left, formulas.sizes = self.symbols[e.output], {}
            values = tuple(self.symbols[x] if isinstance(x, Variable) else size_as_formula(x) for x in e.inputs)
            right = opaque(e, values)
            if not self.trial.same(left, right, {}):
                raise DerivativeError(f"the derivation's line for '{e!r}' is not what the program computes.")
        return Line(e.output, left, right, self._rule(e), "backward" if e.rule else "forward")

    def _constants(self) -> list[Line]:
        """Short constants are said, of others the shape; unit vectors are written as conditions."""
        used = {x for e in self.graph.equations for x in e.inputs if isinstance(x, Variable)}
        lines = []
        for v, array in self.graph.constants.items():
            if v not in used or v in self.notation.units() or array.size <= 1 or write(self.symbols[v]) == "I":
                continue
            numbers = Call("", tuple(number(float(x)) for x in array.ravel()[:SHORT]))
            short = array.ndim == 1 and array.size <= SHORT
            size = Power(Symbol("ℝ", "ℝ"), Symbol("", "×".join(map(str, array.shape))))
            line = Line(v, self.symbols[v], numbers if short else size, "constant", "forward", "=" if short else "∈")
            lines.append(line)
        return lines

    def _same_gradients(self) -> list[Line]:
        """Gradients that are something which has a line already, or needs none."""
        lines = []
        for v, source in self.notation.results:
            left = self.notation.derivative(self.symbols, v, source)
            if left != self.symbols.get(v) and v in self.symbols:
                lines.append(Line(v, left, self.symbols[v], "", "backward"))
        return lines

    def _update(self, update: Update) -> list[Line]:
        """The step for every parameter, if it is one line; else for one called θ."""
        symbols, results = self.symbols, self.notation.results
        pairs = [(symbols[x], self.notation.derivative(symbols, v, x)) for v, x in results]
        if len(step(update, Number(0), Number(0))) > 1 and pairs:
            theta = Symbol("θ", "θ")
            pairs = [(theta, Derivative("", symbols[self.graph.outputs[0]], theta))]
        lines = [Line(None, a, b, "", "update", "←") for p, d in pairs for a, b in step(update, p, d)]
        return [replace(line, rule=update.title) if i == 0 else line for i, line in enumerate(lines)]

    def _compare(self, line: Line, variable: Variable, source: Variable) -> None:
        """A gradient has to agree with differences of the loss."""
        if not self.trial.is_gradient(source, variable):
            difference, found, _ = self.trial.differences(source, variable)
            raise DerivativeError(
                f"the derivation's line {write(line.left)} = {write(line.right)} is wrong: in a random direction the "
                f"loss changes by {difference:.6g}, by the line it would be {found:.6g}."
            )

    def _rule(self, e: Equation) -> str:
        """What the code says beside this line: what a value is called, or the rule of calculus that it comes from."""
        lines = self.notation.lines
        if not e.rule:
            found = [FORWARD[p.op] for p in lines.tree(e) if p.op in FORWARD]
            return found[0] if found else note(lines, e)
        while e.op in (*ARRANGING, Negative) and (inner := lines.inlined(e)):
            e = lines.made[inner[0]]
        rule, parts = note(lines, e), list(self._terms(e))
        if all(p.op is SumTo for p in parts):
            return SUMMED
        if rule == Matmul.rule:  # of several products, or of one within: which half they are
            halves = {self._half(p) for p in parts if p.op is Matmul}
            return halves.pop() if len(halves) == 1 else Matmul.rule if halves else ""
        if e.op is Matmul and e.rule == Matmul.name:
            return self._half(e)
        if rule == Multiply.rule and all(p.op is not Multiply or _by_number(p) for p in lines.tree(e)):
            return ""
        return rule

    def _half(self, e: Equation) -> str:
        """Of which factor of a product this is the derivative: Aᵀ swaps the last two axes, no others."""
        left = self.notation.lines.made.get(e.inputs[0])
        order = left.attributes["order"] if left is not None and left.op is Transpose else ()
        swaps = order[-2:] == (len(order) - 1, len(order) - 2)
        return note(self.notation.lines, e) if swaps or not order else "dA = G Bᵀ"

    def _terms(self, e: Equation) -> Iterator[Equation]:
        """What is added up in a line."""
        inner = self.notation.lines.inlined(e)
        if e.op not in (Add, Subtract, Negative, *ARRANGING) or not inner:
            yield e
        for x in inner if e.op in (Add, Subtract, Negative, *ARRANGING) else ():
            yield from self._terms(self.notation.lines.made[x])


def _by_number(e: Equation) -> bool:
    return any(getattr(x, "shape", ()) == () and not isinstance(x, Variable) for x in e.inputs)


class _TooMuchError(Exception):
    """A line cannot be written with these values in place."""

    def __init__(self, parts: list[Variable]) -> None:
        self.parts = parts


def derivation(graph: Graph, values: Mapping[str, Any] | None = None) -> Derivation:
    """The derivation of a graph, every line checked by numbers: see `Derivation`."""
    return Derivation(graph, values)


def latex(graph: Graph, update: Update | None = None) -> str:
    """A graph, and an optimiser's step, as a derivation in LaTeX: `align*` environments, which need amsmath alone."""
    found = Derivation(graph, update=update)
    blocks = []
    for section in SECTIONS:
        rows = [_row(line) for line in found.lines if line.section == section]
        if rows and section == "backward":
            loss = write(found.symbols[graph.outputs[0]])
            blocks.append(rf"Backward, with $\delta_v = \partial {loss} / \partial v$:" + "\n")
        if rows:
            blocks.append("\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}\n")
    return "\n".join(blocks)


def _row(line: Line) -> str:
    rule = rf" && \text{{{write_words(line.rule)}}}" if line.rule else ""
    return f"  {write(line.left)} &{SIGNS.get(line.sign, line.sign)} {write(line.right)}{rule}"


def html(graph: Graph, update: Update | None = None) -> str:
    """A derivation in HTML with MathML: a fragment that needs nothing else, and can be a page by itself."""
    found = Derivation(graph, update=update)
    sections = [(section, [line for line in found.lines if line.section == section]) for section in SECTIONS]
    return page.html(
        graph.name,
        [(name, [(x.left, x.sign, x.right, x.rule) for x in lines]) for name, lines in sections if lines],
        found.symbols[graph.outputs[0]],
    )
