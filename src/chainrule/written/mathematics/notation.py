"""How a graph is written as mathematics: which values have lines of their own, and the symbols for all of them.

Gradients are recognised by their names, and where a simplification lost a name, by numbers: differences of the loss.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from chainrule.graph.graph import Equation, Graph, Variable
from chainrule.graph.tracing import AUTOMATIC
from chainrule.ops import dims
from chainrule.ops.activation import Sigmoid
from chainrule.ops.arithmetic import Add, Divide, Multiply, Negative, Subtract
from chainrule.ops.loss import BinaryCrossEntropy, CrossEntropy, Softmax
from chainrule.written.expansion import Hints
from chainrule.written.mathematics.formula import Derivative, Formula, Symbol
from chainrule.written.mathematics.latex import symbol
from chainrule.written.mathematics.numerals import number
from chainrule.written.mathematics.trial import Trial
from chainrule.written.naming import Lines, Names

SMALL = (Add, Subtract, Multiply, Divide, Negative)  # written in place, if nobody gave them a name
LETTERS = {
    "total": "s", "root": "r", "mean": "m", "top": "m", "least": "m", "diff": "u", "ratio": "q", "product": "p",
    "minus": "u", "part": "p", "power": "p", "running": "r", "joined": "c", "chosen": "c",
}  # fmt: skip
OFTEN = 4
NEAREST = 20  # so many values are tried for a gradient that lost its name


class Notation:
    """The symbols of a graph.

    Attributes
    ----------
    graph : Graph
        With the probabilities of a cross-entropy in the forward pass, if the backward pass has them.
    lines : Lines
        Which values have lines; more may be added to `lines.own`.
    gradients : dict of Variable to Variable
        Of which variable each is the gradient of the loss.
    results : list of (Variable, Variable)
        For each gradient that is returned: what holds it, and the input that it belongs to.
    """

    def __init__(self, graph: Graph, trial: Trial) -> None:
        self.graph, self.trial = graph, trial
        self.lines = _lines(graph)
        self.gradients: dict[Variable, Variable] = {}
        self.results = self._results()
        for e in graph.equations:
            if e.rule and e.output not in self.gradients and (e.output in self.lines.own or self._named(e.output)):
                source = self._recognized(e.output, self._candidates(e.output))
                if source is not None:
                    self.gradients[e.output] = source
        self._drop_small()
        for v, source in self.gradients.items():  # what a gradient with a line is the gradient of has one too
            if v in self.lines.own and source in self.lines.made:
                self.lines.own.add(source)

    @property
    def loss(self) -> Variable | None:
        """The number that is derived, if there is one."""
        first = self.graph.outputs[0]
        derived = len(self.graph.outputs) > 1 or any(e.rule for e in self.graph.equations)
        return first if first.shape == () and derived else None

    def _named(self, v: Variable) -> Variable | None:
        """What a gradient belongs to by its name, which a simplification may have moved."""
        return self.lines.by_name.get(v.name.removeprefix("d_")) if v.name.startswith("d_") else None

    def _results(self) -> list[tuple[Variable, Variable]]:
        if self.graph.outputs[0].shape != () or len(self.graph.outputs) == 1:
            return []
        open_inputs = [v for v in self.graph.inputs if v.dtype.kind == "f"]
        found: list[tuple[Variable, Variable]] = []
        for v in self.graph.outputs[1:]:
            source = self._named(v)
            if source not in open_inputs:
                source = self._recognized(v, open_inputs)
            if source is not None:
                open_inputs.remove(source)
                found.append((v, source))
                if v in self.lines.made and self.lines.made[v].rule:
                    self.gradients.setdefault(v, source)
        return found

    def _candidates(self, gradient: Variable) -> list[Variable]:
        """The values that a gradient may belong to: by its name, else those with lines, the last first."""
        named = self._named(gradient)
        own = [e.output for e in reversed(self.graph.equations) if not e.rule and e.output in self.lines.own]
        known = {*self.gradients.values(), *self.graph.outputs}
        return [v for v in ([named] if named else []) + own if v not in known][:NEAREST]

    def _recognized(self, gradient: Variable, candidates: Iterable[Variable]) -> Variable | None:
        for x in candidates:
            if dims.same_shape(x.shape, gradient.shape) and self.trial.is_gradient(x, gradient):
                return x
        return None

    def _drop_small(self) -> None:
        """In formulas a sum or a quotient that nobody named is written where it is used."""
        gradient_of = {x: v for v, x in self.gradients.items()}
        for e in self.graph.equations:
            v = e.output
            gradient = gradient_of.get(v)
            known = all(not isinstance(x, Variable) or self._is_plain(x) for x in e.inputs)
            if e.rule or e.op not in SMALL or not AUTOMATIC.match(v.name) or not known or v in self.graph.outputs:
                continue
            if self.lines.uses[v] > OFTEN or (gradient is not None and self.lines.uses[gradient] > 1):
                continue
            self.lines.own.discard(v)
            if gradient is not None and gradient not in self.graph.outputs:
                self.lines.own.discard(gradient)

    def _is_plain(self, x: Variable) -> bool:
        return x in self.graph.inputs or x in self.graph.constants or x in self.lines.own

    def symbols(self) -> dict[Variable, Formula]:
        """A symbol for every value that has a line, every input and every constant."""
        names = Names(self.lines, ())
        found: dict[Variable, Formula] = {}
        for v, array in self.graph.constants.items():
            unit = array.ndim == 2 and array.size > 1 and np.array_equal(array, np.eye(*array.shape))
            name = names.unique("I" if unit else v.name)
            found[v] = number(float(array.reshape(()))) if array.size == 1 else symbol(name)
        given: dict[Variable, str] = {}
        for v, name in names.of.items():
            if v not in self.gradients or self.gradients[v] not in names.of:
                backward = v in self.lines.made and self.lines.made[v].rule
                name = names.unique("g") if backward and name.startswith("d") else name
                short = LETTERS.get(re.sub(r"_?\d+$", "", name)) if AUTOMATIC.match(v.name) else None
                given[v] = names.unique(short) if short else name
        found.update({v: symbol(name) for v, name in self._counted(given).items()})
        if self.loss is not None and names.of[self.loss] == "loss":
            taken = any(isinstance(s, Symbol) and s.letter == "L" for v, s in found.items() if v is not self.loss)
            found[self.loss] = symbol("ℒ" if taken else "L")
        found = {v: replace(s, name=v.name) if isinstance(s, Symbol) else s for v, s in found.items()}
        returned = {v for v, _ in self.results}
        for v, source in self.gradients.items():
            if v in names.of and v not in found and source in found:
                of_input = v in returned and source in self.graph.inputs and self.loss is not None
                found[v] = self.derivative(found, v, source) if of_input else Symbol(v.name, "δ", (found[source],))
        return found

    def _counted(self, names: dict[Variable, str]) -> dict[Variable, str]:
        """The names with the numbers that the library gave them in the order of the lines."""
        groups: dict[str, dict[Variable, str]] = {}
        for v, name in names.items():
            base = re.sub(r"_\d+$", "", name)
            made = self.lines.made.get(v)
            if made and base in ("g", *LETTERS.values()) and (made.rule or AUTOMATIC.match(v.name)):
                groups.setdefault(base, {})[v] = name
        for group in groups.values():
            names = {**names, **dict(zip(group, sorted(group.values(), key=lambda n: (len(n), n)), strict=True))}
        return names

    def derivative(self, symbols: Mapping[Variable, Formula], v: Variable, source: Variable) -> Formula:
        """∂L/∂x, which `v` holds."""
        assert self.loss is not None
        return Derivative(v.name, symbols[self.loss], symbols[source])

    def units(self) -> dict[Variable, int]:
        """The constants that are 1 at one place and 0 elsewhere, and the place."""
        return {
            v: int(np.argmax(a))
            for v, a in self.graph.constants.items()
            if a.ndim == 1 and a.size > 1 and np.count_nonzero(a) == 1 and a.max() == 1
        }


def with_probabilities(graph: Graph) -> Graph:
    """The graph with the probabilities of a cross-entropy in the forward pass, if the backward pass has them."""
    equations = list(graph.equations)
    for loss in [e for e in equations if e.op in PROBABILITIES and not e.rule]:
        for e in equations:
            if e.rule and _are_probabilities(e, loss):
                equations.remove(e)
                equations.insert(equations.index(loss), replace(e, rule=""))
                break
    return replace(graph, equations=equations)


PROBABILITIES = {CrossEntropy: Softmax, BinaryCrossEntropy: Sigmoid}


def _are_probabilities(e: Equation, loss: Equation) -> bool:
    return PROBABILITIES.get(loss.op) is e.op and e.inputs[0] is loss.inputs[0]


def _lines(graph: Graph) -> Lines:
    """As in code; and probabilities are called y, or p if there is a y."""
    hints = Hints()
    losses = [e for e in graph.equations if e.op in PROBABILITIES]
    for e in graph.equations:
        probable = e.op is Softmax or any(_are_probabilities(e, loss) for loss in losses)
        if probable and AUTOMATIC.match(e.output.name) and not e.rule:
            free = [name for name in ("y", "p", "q") if all(v.name != name for v in graph.inputs)]
            hints.names[e.output] = free[0] if free else "y"
    return Lines(graph, hints, split=True)
