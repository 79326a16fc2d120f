"""A graph's values on some inputs, to try a derivation on."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.errors import DataError, DerivativeError
from chainrule.graph.graph import Graph, Variable
from chainrule.ops import dims
from chainrule.ops.control import StopGradient
from chainrule.ops.indexing import ARRAY, Getitem, Onehot
from chainrule.ops.loss import CrossEntropy
from chainrule.written.mathematics.evaluation import Evaluation
from chainrule.written.mathematics.formula import Formula

ROWS = 3  # the batch that the lines are tried on
CLOSE = 1e-9  # how closely a line has to be what the program computes
CLOSE_TO_DIFFERENCES = 1e-5
LARGE = 1e5  # beyond, differences are too rough to compare with


class Trial:
    """The values of a graph on some inputs, in float64."""

    def __init__(self, graph: Graph, given: Mapping[str, Any]) -> None:
        self.graph = graph
        self.sizes = {name: ROWS + i for i, name in enumerate(graph.sizes)}
        self.values: dict[Variable, Any] = {}
        for attempt in range(6):
            self.rng = np.random.default_rng(attempt)
            try:
                with np.errstate(all="ignore"):
                    inputs = {v: self._input(v, given.get(v.name), attempt) for v in graph.inputs}
                    values = self.run(inputs)
            except DataError:
                continue
            sizes = [float(np.abs(a).max(initial=0)) for a in values.values()]
            if np.isfinite(sizes).all() and (not self.values or max(sizes, default=0) < LARGE):
                self.values = values
                if max(sizes, default=0) < LARGE:
                    return
        if not self.values:
            raise DerivativeError(f"no inputs were found on which all values of {graph.name} are finite; pass values.")

    def _input(self, v: Variable, given: Any, attempt: int) -> Any:
        shape = dims.evaluate(v.shape, self.sizes)
        if given is not None:
            return np.asarray(given, float if v.dtype.kind == "f" else v.dtype)
        if v.dtype.kind == "f":
            weights = len(shape) > 1 and all(isinstance(n, int) for n in v.shape)
            scale = 1 / np.sqrt(shape[-2]) if weights else 1  # so that products stay near 1
            if attempt % 3 == 0:
                return self.rng.normal(size=shape) * scale
            return self.rng.uniform(0.1, 0.9, shape) if attempt % 3 == 1 else self.rng.uniform(0.8, 1.6, shape)
        if v.dtype.kind == "b":
            return self.rng.random(shape) < 0.5
        return self.rng.integers(0, self._below(v), shape)

    def _below(self, v: Variable) -> int:
        """What labels and indices have to stay below."""
        limits = [2]
        for e in self.graph.equations:
            if v not in e.inputs:
                continue
            if e.op is CrossEntropy:
                limits.append(e.inputs[0].shape[-1])
            elif e.op is Onehot:
                limits.append(e.attributes["classes"])
            elif e.op is Getitem:
                axes = [i for i, part in enumerate(e.attributes["index"]) if part is ARRAY]
                limits.append(e.inputs[0].shape[axes[e.inputs.index(v) - 1]])
        return int(min(dims.evaluate(n, self.sizes) for n in (limits[1:] or limits)))

    def run(self, known: Mapping[Variable, Any], forward_only: bool = False) -> dict[Variable, Any]:
        """All values, from those that are known."""
        values = {v: a.astype(float) if a.dtype.kind == "f" else a for v, a in self.graph.constants.items()}
        values.update(known)
        for e in self.graph.equations:
            if e.output in known or (forward_only and e.rule):
                continue
            inputs = [values[x] if isinstance(x, Variable) else dims.evaluate(x, self.sizes) for x in e.inputs]
            attributes = {key: _in_float64(dims.evaluate(a, self.sizes)) for key, a in e.attributes.items()}
            values[e.output] = np.asarray(e.op.apply(*inputs, **attributes))
        return values

    def same(self, left: Formula, right: Formula, sizes: Mapping[str, Any]) -> bool:
        """Whether a line, computed as it is printed, is what the program computes.

        No shapes may be broadcast in it (see `Evaluation`): it would be a line for people who know what NumPy does.
        """
        known = {v.name: a for v, a in self.values.items()} | self.sizes
        evaluation = Evaluation(known, {letter: int(dims.evaluate(n, self.sizes)) for letter, n in sizes.items()})
        try:
            with np.errstate(all="ignore"):
                a, b = evaluation(left), evaluation(right)
                np.broadcast_shapes(a.shape, b.shape)
                fits = evaluation.fits(left, right)
        except (ValueError, IndexError):
            return False
        return fits and a.size >= b.size and np.allclose(a, b, rtol=CLOSE, atol=CLOSE)

    def is_gradient(self, v: Variable, g: Variable) -> bool:
        """Whether `g` holds the gradient of the loss with respect to `v`."""
        difference, found, size = self.differences(v, g)
        return abs(difference - found) <= CLOSE_TO_DIFFERENCES * max(size, 1e-3)

    def differences(self, v: Variable, g: Variable) -> tuple[float, float, float]:
        """How fast the loss changes as `v` moves in a random direction: by differences, and by the gradient `g`.

        The third number is how large such a change can be.
        """
        loss = self.graph.outputs[0]
        known = {x: self.values[x] for x in self.graph.inputs}
        known |= {e.output: self.values[e.output] for e in self.graph.equations if e.op is StopGradient}
        at, gradient = self.values[v], self.values[g]
        d = self.rng.normal(size=at.shape)
        h = 1e-6 * (float(np.sqrt(np.mean(at**2))) if at.size and at.any() else 1.0)
        up, down = (self.run({**known, v: at + s * h * d}, forward_only=True)[loss] for s in (1, -1))
        size = float(np.linalg.norm(gradient) * np.linalg.norm(d) / np.sqrt(max(1, d.size)))
        return float(up - down) / (2 * h), float(np.sum(gradient * d)), size


def _in_float64(attribute: Any) -> Any:
    return np.dtype(float) if isinstance(attribute, np.dtype) and attribute.kind == "f" else attribute
