"""Slips in the backward pass: signs, factors, transposes, and sums that undo broadcasting."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from chainrule.check.derivatives.comparison import Array
from chainrule.check.derivatives.forms import (
    Reduce,
    backwards,
    everything,
    forwards,
    last_only,
    mean,
    other_axis,
    row,
    to,
    unsummed,
    untransposed,
)
from chainrule.check.derivatives.mutants import Mutant, Mutants
from chainrule.check.derivatives.tape import Pairs, Rule, variables
from chainrule.check.verdict import number
from chainrule.graph import Variable


def _times(factor: float, _: Any, d: Any) -> Any:
    return d * factor


class Slips(Mutants):
    """Mistakes in a single operation."""

    def _signs(self) -> Iterator[Mutant]:
        for p, which in ((0, "first"), (1, "second")):
            sentence = f"the sign is wrong in the derivative of {{line}} by its {which} operand."

            def flipped(i: int, p: int = p) -> Rule | None:
                inputs = self.tape.equations[i].inputs
                twice = len(inputs) > 1 and inputs[0] is inputs[1]  # x * x: the two would cancel
                return None if twice else self._operand(i, p, lambda _, d: -d)

            yield from self._each("sign", sentence, flipped)

    def _factors(self) -> Iterator[Mutant]:
        tape = self.tape
        for i, e in enumerate(tape.equations):
            if e.output not in tape.depends or e.op.name not in ("mean", "sum", "power", "multiply", "divide"):
                continue
            for what, factor in self._forgotten(i):
                line = e.origin
                rule = self._operand(i, 0, partial(_times, factor))
                rule = rule or self._operand(i, 1, partial(_times, factor))
                if rule is not None:
                    yield Mutant("factor", f"{what} in the derivative of {line}.", line, rules={i: rule})
        shared = {v for v, parts in tape.parts.items() if len(parts) > 1}
        for factor, name in ((2.0, "a factor 2 is too much"), (0.5, "a factor 2 is missing")):

            def scaled(i: int, factor: float = factor) -> Rule | None:
                positions = [p for p, x in enumerate(tape.equations[i].inputs) if x in shared]
                return self._operand(i, positions[0], lambda _, d: d * factor) if positions else None

            yield from self._each("factor", f"{name} in the derivative of {{line}}.", scaled)

    def _forgotten(self, i: int) -> Iterator[tuple[str, float]]:
        """The factors that can be forgotten in an equation's rule, with what undoes them."""
        e = self.tape.equations[i]
        x = self.tape.operands(e)
        if e.op.name in ("mean", "sum"):
            count = x[0].size / max(self.tape.values[e.output].size, 1)
            mean = e.op.name == "mean"
            yield (
                (f"1/{number(count)} of the mean is missing", count)
                if mean
                else ("the sum is taken as a mean", 1 / count)
            )
        elif e.op.name == "power" and np.ndim(x[1]) == 0 and x[1] and x[1] != 1:
            yield f"the exponent {number(float(x[1]))} as a factor is missing", 1 / float(x[1])
            yield f"the exponent {number(float(x[1]))} comes twice as a factor", float(x[1])
        else:
            for p, y in enumerate(x):
                if np.size(y) == 1 and e.inputs[p] not in self.tape.depends and float(y) not in (0.0, 1.0):
                    value = float(y)
                    inverse = e.op.name == "divide"
                    if not (inverse and p == 0):
                        what = f"the division by {number(value)}" if inverse else f"the factor {number(value)}"
                        yield f"{what} is missing", value if inverse else 1 / value

    def _transposes(self) -> Iterator[Mutant]:
        for (p, which), k in itertools.product(((0, "first"), (1, "second")), range(6)):

            def change(i: int, p: int = p, k: int = k) -> Rule | None:
                a, b = self.tape.operands(self.tape.equations[i])
                return self._product(i, p, (a, b)[p].shape, untransposed(a, b, p)[k])

            sentence = f"a transpose is missing in the derivative of {{line}} by its {which} factor."
            yield from self._each("transpose", sentence, change, only="matmul")
        for k, which in ((-1, "last"), (0, "first")):

            def single(i: int, k: int = k) -> Rule | None:
                a, b = self.tape.operands(self.tape.equations[i])
                return self._product(i, 1, b.shape, last_only(a, k)) if a.shape[-2] > 1 else None

            sentence = (
                f"only the {which} sample contributes to the derivative of {{line}} by its second factor: = for +=."
            )
            yield from self._each("overwritten", sentence, single, only="matmul")

    def _product(self, i: int, p: int, shape: tuple[int, ...], product: Callable[[Array], Array]) -> Rule | None:
        """The rule of a matrix product with another product for one factor, where the shapes allow it."""
        x = self.tape.equations[i].inputs[p]
        g = np.zeros(self.tape.values[self.tape.equations[i].output].shape)
        try:
            found = product(g).shape
        except ValueError:
            return None
        if x not in self.tape.depends or (found != shape and x not in self.leaves):
            return None
        return lambda g: [(y, product(g) if y is x else d) for y, d in self.tape.standard(i, g)]

    def _sums(self) -> Iterator[Mutant]:
        """Broadcasting that is undone wrongly, or not at all."""
        kinds: list[tuple[str, str, Reduce]] = [
            (
                "factor",
                "the mean is taken in the derivative of {line}, which needs the sum over what is broadcast there.",
                mean,
            ),
            ("missing sum", "the sum over what is broadcast is missing in the derivative of {line}.", unsummed),
            (
                "missing sum",
                "only the first row is taken in the derivative of {line}, which needs the sum over all.",
                row(0),
            ),
            (
                "overwritten",
                "only the last row is taken in the derivative of {line}, which needs the sum over all.",
                row(-1),
            ),
        ]
        for axis, keep in itertools.product(range(4), (False, True)):
            sentence = "the sum over what is broadcast runs over the wrong axis in the derivative of {line}."
            kinds.append(("wrong axis", sentence, other_axis(axis, keep)))
            kinds.append(("wrong axis", sentence, other_axis(axis, keep, mean=True)))
        kinds.append(
            ("wrong axis", "the sum over what is broadcast runs over all axes in the derivative of {line}.", everything)
        )
        for kind, sentence, reduce in kinds:
            for p in (0, 1):

                def change(i: int, p: int = p, reduce: Any = reduce) -> Rule | None:
                    x = self.tape.equations[i].inputs[p] if p < len(self.tape.equations[i].inputs) else None
                    if not isinstance(x, Variable) or not self.tape.equations[i].op.broadcasts:
                        return None
                    if self.tape.values[x].shape == self.tape.values[self.tape.equations[i].output].shape:
                        return None
                    leaf = x in self.leaves
                    return self._operand(i, p, lambda d, s: None if d.shape == s.shape else reduce(d, s, leaf))

                yield from self._each(kind, sentence, change)
            yield from self._everywhere(kind, sentence, reduce)
        yield from self._reductions()
        yield from self._running_sums()

    def _everywhere(self, kind: str, sentence: str, reduce: Reduce) -> Iterator[Mutant]:
        """The same mistake in undoing all broadcasting between two shapes, as in a whole layer."""
        tape = self.tape
        groups: dict[Any, dict[int, Rule]] = {}
        for i, e in enumerate(tape.equations):
            for p, x in enumerate(e.inputs[:2]):
                if isinstance(x, Variable) and e.op.broadcasts and e.output in tape.depends:
                    shapes = tape.values[x].shape, tape.values[e.output].shape
                    rule = self._operand(i, p, lambda d, s: None if d.shape == s.shape else reduce(d, s, False))
                    if shapes[0] != shapes[1] and rule is not None and x not in self.leaves:
                        groups.setdefault(shapes, {})[i] = rule
        for rules in groups.values():
            if len(rules) > 1:
                line = tape.equations[max(rules)].origin
                yield Mutant(kind, sentence.replace("{line}", line), line, rules=rules)

    def _running_sums(self) -> Iterator[Mutant]:
        for i, e in enumerate(self.tape.equations):
            if e.op.name == "cumsum" and e.output in self.tape.depends:
                x = e.inputs[0]
                forms: list[tuple[str, str, Callable[[Array], Array]]] = [
                    ("missing sum", "is missing", lambda g: g),
                    ("wrong axis", "runs forwards, not backwards", forwards(e.attributes["axis"])),
                ]
                axes = range(self.tape.values[e.output].ndim)
                forms += [("wrong axis", "is along the wrong axis", backwards(k)) for k in axes]
                for kind, words, form in forms:
                    sentence = f"the running sum in the derivative of {e.origin} {words}."
                    yield Mutant(kind, sentence, e.origin, rules={i: to(x, form)})

    def _reductions(self) -> Iterator[Mutant]:
        """Reductions along an axis whose gradient is spread along another one."""
        tape = self.tape
        for i, e in enumerate(tape.equations):
            if e.op.name != "max" or e.output not in tape.depends:
                continue
            shape = tape.values[next(iter(variables(e)))].shape

            def spread(g: Array, e: Any = e, shape: tuple[int, ...] = shape) -> Pairs:
                axis, keepdims = e.attributes["axis"], e.attributes["keepdims"]
                return [(e.inputs[0], np.broadcast_to(g if keepdims else np.expand_dims(g, axis), shape))]

            sentence = f"the derivative of the maximum of {e.origin} goes to all elements, not to the largest."
            yield Mutant("wrong point", sentence, e.origin, rules={i: spread})
