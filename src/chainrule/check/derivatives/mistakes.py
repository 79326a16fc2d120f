"""Mistakes that concern more than one operation: activations, contributions that are lost, values taken at another
point, and the gradients of other losses.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.check.derivatives.comparison import Array
from chainrule.check.derivatives.forms import (
    activation,
    constant,
    logits,
    one_hot,
    only,
    other_losses,
    replaced,
    softmax_forms,
    to,
    without,
)
from chainrule.check.derivatives.mutants import RANKS, Mutant
from chainrule.check.derivatives.slips import Slips
from chainrule.check.derivatives.tape import Join, Pairs, Part, Region, Rule, fit, variables
from chainrule.graph import Variable


class Mistakes(Slips):
    """All the mutants of a tape."""

    def all(self) -> list[Mutant]:
        """Every mutant, the simplest explanations first."""
        makers = (
            self._signs, self._factors, self._transposes, self._sums, self._activations, self._softmaxes,
            self._contributions, self._windows, self._points, self._losses,
        )  # fmt: skip
        found = [mutant for maker in makers for mutant in maker()]
        return sorted(found, key=lambda m: RANKS.index(m.kind))

    def _activations(self) -> Iterator[Mutant]:
        """Derivatives of element-wise functions that are left out, or taken at another point."""
        groups: dict[Any, list[Region]] = {}
        for r in self.regions:
            groups.setdefault((r.line, tuple(self.tape.equations[i].op for i in r.equations)), []).append(r)
        for group in groups.values():
            forms = [list(self._forms(r)) for r in group]
            for r, found in zip(group, forms, strict=True):
                for kind, sentence, factor in found:
                    yield Mutant(kind, sentence.replace("{line}", r.line), r.line, rules=replaced([(r, factor)]))
            for k, when in ((1, "later"), (-1, "earlier")):
                others = self._rounds([r.u for r in group], k)
                if others is not None:
                    values = [r.derivative(self.tape.values[w]) for r, w in zip(group, others, strict=True)]
                    sentence = f"the derivative of {group[0].line} is taken at the point of the round {when}."
                    rules = replaced(list(zip(group, values, strict=True)))
                    yield Mutant("wrong point", sentence, group[0].line, rules=rules)
            for same in zip(*forms, strict=False) if len(group) > 1 else ():
                kind, sentence, _ = same[0]
                rules = replaced([(r, factor) for r, (_, _, factor) in zip(group, same, strict=True)])
                yield Mutant(kind, sentence.replace("{line}", group[0].line), group[0].line, rules=rules)

    def _forms(self, r: Region) -> Iterator[tuple[str, str, Array | None]]:
        """Wrong derivatives of an element-wise function; None stands for the mask of the gradient itself."""
        u, v = self.tape.values[r.u], self.tape.values[r.v]
        with np.errstate(all="ignore"):
            name, forms = activation(u, v)
            called = f"of {name} of" if name else "of"
            yield "missing activation derivative", f"the derivative {called} {{line}} is missing.", np.ones(u.shape)
            for kind, words, factor in forms:
                yield kind, f"the derivative of {name} of {{line}} is taken as {words}.", factor
            where = "the derivative " + called + " {line} is taken at its output, not at its input."
            yield "wrong point", where, r.derivative(v)
            if name == "the ReLU":
                yield (
                    "wrong point",
                    "the mask in the derivative of the ReLU of {line} is taken from the gradient, not from its input.",
                    None,
                )
            others = [w for w in self._alike(r.u) if w not in (r.u, r.v)]
            for w in others[:6]:
                yield (
                    "wrong point",
                    f"the derivative {called} {{line}} is taken at another point: at {self._called(w)}.",
                    r.derivative(self.tape.values[w]),
                )

    def _softmaxes(self) -> Iterator[Mutant]:
        tape = self.tape
        for i, e in enumerate(tape.equations):
            y = tape.values[e.output]
            if e.op.name not in ("divide", "softmax", "exp") or not y.ndim or e.output not in tape.depends:
                continue
            for o, axis in logits(tape, e.output):
                for kind, words, form in softmax_forms(y, axis):
                    sentence = f"the derivative of the softmax of {e.origin} {words}."
                    yield Mutant(kind, sentence, e.origin, rules={i: to(o, form)})

    def _contributions(self) -> Iterator[Mutant]:
        """Variables that are used several times, and not all of the contributions to their gradient."""
        shared = {v: parts for v, parts in self.tape.parts.items() if len({s for s, _ in parts}) > 1}
        for v, parts in shared.items():
            sources = list(dict.fromkeys(source for source, _ in parts))
            pure = self._penalties(v, sources)
            yield from self._without_penalty(v, pure)
            few = sources if len(sources) <= 6 else [*sources[:2], *sources[-2:]]
            for source in few:
                line = self._line(source)
                uses = f"of the {len(sources)} uses of {self._called(v)}"
                sentence = f"{uses}, only that in {line} contributes to its gradient: = for +=."
                if not set(sources) - {source} <= pure:
                    yield Mutant("overwritten", sentence, line, joins={v: only({source})})
                sentence = f"the gradient of {self._called(v)} lacks what its use in {line} contributes."
                if len(sources) > 2 and source not in pure:
                    yield Mutant("overwritten", sentence, line, joins={v: without({source})})
        many = {v: parts for v, parts in shared.items() if v in self.leaves}
        if len(many) > 1:
            for k, which in ((-1, "last"), (0, "first")):
                joins = {v: only({parts[k][0]}) for v, parts in many.items()}
                line = self._line(next(iter(many.values()))[k][0])
                sentence = f"parameters are used several times, but only the {which} contribution is kept: = for +=."
                yield Mutant("overwritten", sentence, line, joins=joins)
        yield from self._repeated(shared)

    def _penalties(self, v: Variable, sources: list[int]) -> set[int]:
        """The uses of a parameter that nothing else enters, beside others: terms of the loss for it alone."""
        tape = self.tape
        alone = {v, *(c for c, x in tape.graph.constants.items() if x.size == 1)}
        found = set()
        for i, e in enumerate(tape.equations):
            if all(x in alone for x in variables(e)):
                alone.add(e.output)
                found.add(i)
        pure = {i for i in found.intersection(sources) if self._is_added(tape.equations[i].output)}
        return pure if v in self.leaves and not found.issuperset(sources) else set()

    def _is_added(self, v: Variable) -> bool:
        """Whether a variable reaches the loss by operations on it alone, and by sums."""
        users = [e for e in self.tape.equations if v in e.inputs]
        if len(users) != 1:
            return v in self.tape.graph.outputs
        (e,) = users
        others = [x for x in variables(e) if x is not v and self.tape.values[x].size > 1]
        added = e.op.name in ("add", "subtract") or not [x for x in variables(e) if x is not v]
        scaled = e.op.name in ("multiply", "divide") and not [
            x for x in variables(e) if x in self.tape.depends and x is not v
        ]
        return (added or scaled) and not others and self._is_added(e.output)

    def _without_penalty(self, v: Variable, pure: set[int]) -> Iterator[Mutant]:
        for gone in [{i} for i in pure] + ([pure] if len(pure) > 1 else []):
            line = self._line(min(gone))
            sentence = f"the loss has a term for {self._called(v)} alone in {line}, whose gradient is missing."
            yield Mutant("other loss", sentence, line, joins={v: without(gone)})

    def _repeated(self, shared: dict[Variable, list[Part]]) -> Iterator[Mutant]:
        """The same place of a loop forgotten in every round."""
        groups: dict[Any, list[Variable]] = {}
        for v in shared:
            if v in self.tape.made:
                groups.setdefault(self.tape.equations[self.tape.made[v]].origin, []).append(v)
        for vs in groups.values():
            lines = dict.fromkeys(self._line(source) for v in vs for source, _ in shared[v])
            for line in lines if len(vs) > 1 else ():
                gone = {v: {s for s, _ in shared[v] if self._line(s) == line} for v in vs}
                joins = {v: without(gone[v]) for v in vs if 0 < len(gone[v]) < len(shared[v])}
                sentence = f"the gradient of {self._called(vs[0])} lacks what its use in {line} contributes."
                yield Mutant("overwritten", sentence, line, joins=joins)

    def _windows(self) -> Iterator[Mutant]:
        """Parts of an array whose gradients overwrite each other where they overlap."""
        tape = self.tape
        for v, parts in tape.parts.items():
            taken = [i for i, _ in parts if i < len(tape.equations) and tape.equations[i].op.name == "getitem"]
            if len(taken) > 1:
                line = self._line(taken[0])
                sentence = f"the parts that {line} takes overlap, and their gradients overwrite each other: = for +=."
                for order, one in itertools.product((1, -1), [None, *taken[:6]]):
                    yield Mutant("overwritten", sentence, line, joins={v: self._written(v, order, one)})
        for i, e in enumerate(tape.equations):
            if e.op.name == "getitem" and len(e.inputs) > 1 and e.output in tape.depends:
                x = e.inputs[0]

                def assigned(g: Array, e: Any = e, x: Variable = x) -> Pairs:
                    rest = iter(tape.operands(e)[1:])
                    index = tuple(next(rest) if isinstance(part, str) else part for part in e.attributes["index"])
                    d = np.zeros(tape.values[x].shape)
                    d[index] = g
                    return [(x, d)]

                sentence = (
                    f"{e.origin} takes some elements several times, and their gradients overwrite each other: = for +=."
                )
                yield Mutant("overwritten", sentence, e.origin, rules={i: assigned})

    def _written(self, v: Variable, order: int, one: int | None) -> Join:
        """Contributions written one over the other, or one of them over those before it."""
        tape = self.tape

        def join(parts: list[Part]) -> Array:
            total = np.zeros(tape.values[v].shape)
            for i, d in parts[::order]:
                e = tape.equations[i] if i < len(tape.equations) else None
                if e is not None and e.op.name == "getitem" and one in (None, i):
                    ones = tape.raw(i, np.ones(tape.values[e.output].shape))[0]
                    total = np.where(ones != 0, d, total)
                else:
                    total = total + d
            return total

        return join

    def _points(self) -> Iterator[Mutant]:
        """Products and their kin whose rule uses another value than the forward pass did."""
        tape = self.tape
        for group in self.groups:
            e = tape.equations[group[0]]
            if not e.op.vjp or e.op.no_gradient or not 1 < len(e.inputs) <= 3:
                continue
            for p in [p for p, saved in enumerate(e.op.saved(e.inputs)) if saved and isinstance(e.inputs[p], Variable)]:
                for i in group[:4]:
                    yield from self._at_others(i, p)
                for k, when in ((1, "later"), (-1, "earlier")):
                    others = self._rounds([tape.equations[i].inputs[p] for i in group], k)
                    if others is not None:
                        rules = {i: self._with(i, p, tape.values[w]) for i, w in zip(group, others, strict=True)}
                        sentence = f"the derivative of {e.origin} is taken with the value of the round {when}."
                        yield Mutant("wrong point", sentence, e.origin, rules=rules)
            if e.op.name == "divide":

                def change(i: int) -> Rule | None:
                    b = tape.operands(tape.equations[i])[1]
                    return self._operand(i, 1, lambda d, _: fit(d * b, np.shape(b)))

                sentence = "the denominator in the derivative of {line} is not squared."
                for i in group:
                    if (rule := change(i)) is not None:
                        yield Mutant("wrong point", sentence.replace("{line}", e.origin), e.origin, rules={i: rule})

    def _at_others(self, i: int, p: int) -> Iterator[Mutant]:
        """One equation with one of its values replaced by others of that shape."""
        e = self.tape.equations[i]
        x = e.inputs[p]
        for w in self._alike(x, i)[:12]:
            sentence = f"the derivative of {e.origin} is taken with {self._instead(w, x)}."
            yield Mutant("wrong point", sentence, e.origin, rules={i: self._with(i, p, self.tape.values[w])})
        if x in self.leaves and x.name in self.updated:
            sentence = f"the derivative of {e.origin} is taken with {x.name} as it is after the update."
            yield Mutant("wrong point", sentence, e.origin, rules={i: self._with(i, p, self.updated[x.name])})

    def _with(self, i: int, p: int, value: Array) -> Rule:
        operands = self.tape.operands(self.tape.equations[i])
        operands[p] = value
        inputs = self.tape.equations[i].inputs

        def rule(g: Array) -> Pairs:
            found = zip(inputs, self.tape.raw(i, g, operands), strict=True)
            return [(x, fit(d, self.tape.values[x].shape)) for x, d in found if d is not None]

        return rule

    def _losses(self) -> Iterator[Mutant]:
        """The gradients of other losses by what this one is computed from."""
        tape = self.tape
        for v in list(tape.parts)[:40]:
            y = tape.values[v]
            for t in self.targets:
                target = one_hot(t, y.shape)
                if target is None or v in self.leaves or not y.ndim:
                    continue
                line = self._line(tape.made[v])
                with np.errstate(all="ignore"):
                    for name, g in other_losses(y, target):
                        what = f"the gradients of {name} of what {line} computes"
                        sentence = f"up to a factor, these are {what}, not of the loss that forward returns."
                        yield Mutant("other loss", sentence, line, joins={v: constant(g)}, scaled=True)
