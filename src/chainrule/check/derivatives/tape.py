"""A recorded forward pass with all its values, and its backward pass, in which single rules can be replaced: so one can
try which mistake gives the gradients that somebody has.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import FunctionType
from typing import Any

import numpy as np

from chainrule.check.derivatives.comparison import Array
from chainrule.graph import Equation, Graph, Variable
from chainrule.graph.graph import live
from chainrule.ops.families import Comparison, Elementwise
from chainrule.ops.op import OPS

Pairs = list[tuple[Variable, Array]]
Rule = Callable[[Array], Pairs]
Part = tuple[int, Array]  # the equation that a contribution comes from, and the contribution
Join = Callable[[list[Part]], Array]

MAX_EQUATIONS = 3000
NUDGE = 1e-12  # how far a value is moved to one side of a kink


class Gradients(dict[str, Array]):
    """Gradients by name, and the tape that they come from."""

    def __init__(self, found: Mapping[str, Array], tape: "Tape") -> None:
        super().__init__(found)
        self.tape = tape


class Tape:
    """The values of a graph's variables, and its gradients.

    Parameters
    ----------
    graph : Graph
    point : sequence of ndarray
        One for each input.
    cotangents : sequence of ndarray
        One for each output: the gradient by it.
    wrt : sequence of str, optional
        The inputs whose gradients are wanted; by default all.
    fixed : dict, optional
        Values that some variables have instead of those that are computed.
    """

    def __init__(
        self,
        graph: Graph,
        point: Sequence[Array],
        cotangents: Sequence[Any],
        wrt: Sequence[str] | None = None,
        fixed: Mapping[Variable, Array] | None = None,
    ) -> None:
        self.graph, self.point, self.cotangents, self.wrt = graph, point, cotangents, wrt
        self.equations = live(graph.equations, graph.outputs)
        self.values: dict[Variable, Array] = dict(zip(graph.inputs, point, strict=True))
        self.values.update(graph.constants)
        fixed = fixed or {}
        self.values.update({v: x for v, x in fixed.items() if v in self.values})
        self.made: dict[Variable, int] = {}
        self.inputs = tuple(v for v in graph.inputs if wrt is None or v.name in wrt)
        self.depends: set[Variable] = set(self.inputs)
        with np.errstate(all="ignore"):
            for i, e in enumerate(self.equations):
                value = np.asarray(e.op.forward(*self.operands(e), **e.attributes))
                self.values[e.output] = fixed.get(e.output, value)
                self.made[e.output] = i
                if not e.op.no_gradient and self.depends.intersection(variables(e)):
                    self.depends.add(e.output)
            self.seeds: dict[Variable, list[Part]] = {}
            for v, e in zip(graph.outputs, cotangents, strict=True):
                seed = np.broadcast_to(np.asarray(e, float), self.values[v].shape)
                self.seeds.setdefault(v, []).append((len(self.equations), seed))
            self.still: set[int] = set()
            self._compute()
            self._leave_shifts()

    def _compute(self) -> None:
        self.parts = self._pull(len(self.equations), {v: list(parts) for v, parts in self.seeds.items()}, {}, {})
        self.gradients = Gradients(self._gathered(self.parts, {}), self)

    def _leave_shifts(self) -> None:
        """Take maxima that do not matter for constants, as everybody does with the one in a softmax."""
        maxima = {i for i, e in enumerate(self.equations) if e.op.name == "max" and e.output in self.depends}
        without = self.changed({i: lambda _: [] for i in maxima}, {})
        pairs = [(g, without[name]) for name, g in self.gradients.items()]
        if maxima and all(np.linalg.norm(a - b) <= 1e-9 * np.linalg.norm(a) for a, b in pairs):
            self.still = maxima
            self._compute()

    def operands(self, e: Equation) -> list[Any]:
        """The values of an equation's inputs."""
        return [self.values[x] if isinstance(x, Variable) else x for x in e.inputs]

    @property
    def outputs(self) -> tuple[Array, ...]:
        """The values of the outputs."""
        return tuple(self.values[v] for v in self.graph.outputs)

    @property
    def cost(self) -> float:
        """About how many numbers one backward pass handles."""
        total = 1.0
        for e in self.equations:
            sizes = [np.size(x) for x in self.operands(e)]
            total += (
                3000 + sum(sizes) + (sizes[0] * self.values[e.output].shape[-1] / 4 if e.op.name == "matmul" else 0)
            )
        return total

    @cached_property
    def ties(self) -> dict[Variable, tuple[Array, str]]:
        """The variables that stand at a kink: which of their elements, and the line where the kink is."""
        found: dict[Variable, tuple[Array, str]] = {}
        for i, e in enumerate(self.equations):
            x = next((x for x in variables(e) if x in self.depends), None)
            if x is None or i in self.still or (at := self._at_kink(e)) is None or not at.any():
                continue
            at = fit(at.astype(float), self.values[x].shape) > 0
            before, line = found.get(x, (at, e.origin))
            found[x] = (at | before, line)
        return found

    def _at_kink(self, e: Equation) -> Array | None:
        values = self.operands(e)
        if e.op.name in ("abs", "relu", "sign"):
            return np.asarray(values[0] == 0)
        if e.op.name in ("maximum", "minimum") or issubclass(e.op, Comparison):
            return np.asarray(values[0] == values[1])
        if e.op.name in ("max", "min") and values[0].size:
            axis = e.attributes["axis"]
            largest = values[0] == getattr(np, e.op.name)(values[0], axis=axis, keepdims=True)
            return np.asarray(largest & (largest.sum(axis=axis, keepdims=True) > 1))
        return None

    @cached_property
    def sides(self) -> tuple[Gradients, ...]:
        """The gradients on both sides of the kinks that the point stands at; none if it stands at none."""
        if not self.ties:
            return ()
        found = []
        for sign in (1, -1):
            rng, fixed = np.random.default_rng(0), {}
            for v, (at, _) in self.ties.items():
                x = self.values[v]
                share = rng.uniform(0.5, 1, x.shape)  # not the same for all, or the tie of a maximum stays one
                fixed[v] = np.where(at, x + sign * NUDGE * share * (1 + np.abs(x)), x)
            found.append(Tape(self.graph, self.point, self.cotangents, self.wrt, fixed).gradients)
        return tuple(found)

    def changed(self, rules: Mapping[int, Rule], joins: Mapping[Variable, Join]) -> dict[str, Array]:
        """The gradients by the inputs' names if some equations had other rules, or some variables' contributions were
        put together in another way. What comes before the first change in the backward pass is not computed again.
        """
        start = max([*rules, *(self.made.get(v, -1) for v in joins)], default=-1)
        parts = {v: [p for p in ps if p[0] > start] for v, ps in self.parts.items()}
        with np.errstate(all="ignore"):
            return self._gathered(self._pull(start + 1, parts, rules, joins), joins)

    def _pull(
        self,
        stop: int,
        parts: dict[Variable, list[Part]],
        rules: Mapping[int, Rule],
        joins: Mapping[Variable, Join],
    ) -> dict[Variable, list[Part]]:
        for i in range(stop - 1, -1, -1):
            e = self.equations[i]
            if not parts.get(e.output) or e.output not in self.depends or e.op.no_gradient:
                continue
            g = self._joined(e.output, parts[e.output], joins)
            for x, d in rules[i](g) if i in rules else self.standard(i, g):
                parts.setdefault(x, []).append((i, d))
        return parts

    def _joined(self, v: Variable, parts: list[Part], joins: Mapping[Variable, Join]) -> Array:
        if v in joins:
            return joins[v](parts)
        total = parts[0][1]
        for _, d in parts[1:]:
            total = total + d
        return total

    def _gathered(self, parts: Mapping[Variable, list[Part]], joins: Mapping[Variable, Join]) -> dict[str, Array]:
        return {
            v.name: self._joined(v, parts[v], joins) if parts.get(v) else np.zeros(self.values[v].shape)
            for v in self.inputs
        }

    def standard(self, i: int, g: Array) -> Pairs:
        """What the equation's rule gives, with broadcasting undone."""
        e = self.equations[i]
        if i in self.still:
            return []
        whole = g.shape == self.values[e.output].shape  # else a sum was left out before, and is still
        pairs = []
        for x, d in zip(e.inputs, self.raw(i, g), strict=True):
            if d is not None:
                pairs.append((x, fit(d, self.values[x].shape) if whole else d))
        return pairs

    def raw(self, i: int, g: Array, operands: Sequence[Any] | None = None, output: Array | None = None) -> list[Any]:
        """What the equation's rule gives for each input, None where it is not needed; perhaps from other values."""
        e = self.equations[i]
        given = self.operands(e) if operands is None else operands
        assert e.op.vjp is not None
        pulled = e.op.vjp(g, self.values[e.output] if output is None else output, *given, **e.attributes)
        pulled = pulled if type(pulled) is tuple else (pulled,)
        found: list[Any] = []
        for x, d in zip(e.inputs, pulled, strict=True):
            if not isinstance(x, Variable) or x not in self.depends or d is None:
                found.append(None)
            else:
                found.append(np.asarray(d() if type(d) is FunctionType else d))
        return found


@dataclass(frozen=True)
class Region:
    """An element-wise function in a tape, from the variable `u` to the variable `v`, made of some equations."""

    tape: Tape
    u: Variable
    v: Variable
    equations: tuple[int, ...]

    @property
    def line(self) -> str:
        """The line that computes `v`."""
        return self.tape.equations[self.equations[-1]].origin

    def derivative(self, at: Array | None = None) -> Array:
        """dv/du, element by element, perhaps at another point."""
        tape, values = self.tape, dict(self.tape.values)
        if at is not None:
            values[self.u] = at
            for i in self.equations:
                e = tape.equations[i]
                values[e.output] = np.asarray(
                    e.op.forward(*(values[x] if isinstance(x, Variable) else x for x in e.inputs), **e.attributes)
                )
        total: dict[Variable, Array] = {self.v: np.ones(values[self.v].shape)}
        for i in reversed(self.equations):
            e = tape.equations[i]
            if e.output in total:
                given = [values[x] if isinstance(x, Variable) else x for x in e.inputs]
                for x, d in zip(e.inputs, tape.raw(i, total[e.output], given, values[e.output]), strict=True):
                    if d is not None:
                        total[x] = total[x] + d if x in total else d
        return total.get(self.u, np.zeros(values[self.u].shape))


def regions(tape: Tape, depth: int = 12) -> list[Region]:
    """All element-wise functions of one variable in a tape, such as the four equations of a sigmoid."""
    found = []
    for e in tape.equations:
        if e.output not in tape.depends:
            continue
        inside: list[int] = []
        frontier = {e.output}
        for _ in range(depth):
            last = max(frontier, key=lambda v: tape.made.get(v, -1))
            i = tape.made.get(last)
            if i is None or not _same_shape(tape, i):
                break
            inside.append(i)
            frontier = (frontier - {last}) | (tape.depends & set(variables(tape.equations[i])))
            if len(frontier) == 1:
                found.append(Region(tape, next(iter(frontier)), e.output, tuple(sorted(inside))))
    return found


def _same_shape(tape: Tape, i: int) -> bool:
    """Whether an equation is element-wise, and what it derives by has the shape of its result."""
    e = tape.equations[i]
    if not issubclass(e.op, Elementwise) or e.op.no_gradient:
        return False
    return all(tape.values[x].shape == tape.values[e.output].shape for x in variables(e) if x in tape.depends)


def variables(e: Equation) -> Iterable[Variable]:
    """The variables among an equation's inputs."""
    return (x for x in e.inputs if isinstance(x, Variable))


def fit(d: Array, shape: tuple[int, ...]) -> Array:
    """A gradient summed to the shape of its input."""
    return d if d.shape == shape else np.asarray(OPS["sum_to"].forward(d, shape=shape))
