"""A training step as machine code: what its program is fed with, and its comparison with the interpreter."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.compiler import backend as backends
from chainrule.compiler.fusion import nonzeros
from chainrule.compiler.fusion.listing import CHUNK, LISTED, Lists, behind, listable, of_nonzeros
from chainrule.compiler.fusion.program import Program
from chainrule.compiler.fusion.schedule import NotFusibleError
from chainrule.compiler.fusion.writer import Feed
from chainrule.data import Dataset
from chainrule.errors import CompilerError
from chainrule.graph.graph import Graph, Variable
from chainrule.ops import dims
from chainrule.ops.indexing import ARRAY, Getitem, Onehot
from chainrule.ops.loss import BinaryCrossEntropy, CrossEntropy
from chainrule.train.step_graph import Roles

Array = np.ndarray[Any, Any]
COMPARED = 2048  # rows, at most, of the first step that the interpreter computes too: several tiles
TOLERANCE = {"float32": 1e-3, "float64": 1e-8}  # of what a step changes, as a share of the whole change
FARTHER = 4  # how many times as far from the step in float64 machine code may be, where rounding decides
SHAKEN = 8  # how often the interpreter tries what rounding may do, in float64
ROUNDINGS = 16  # how many times as large as a change of the last digit a difference may be


class FusedTraining:
    """Epochs of a step's graph.

    Parameters
    ----------
    graph : Graph
    roles : Roles
    train : Dataset
    batch_size : int
    lists : Lists
        Who lists the non-zero elements of the data.

    Raises
    ------
    NotFusibleError
        If no machine code can be made of it.
    """

    def __init__(self, graph: Graph, roles: Roles, train: Dataset, batch_size: int, lists: Lists) -> None:
        self.graph, self.roles, self.train, self.batch_size = graph, roles, train, batch_size
        _check_dtypes(train)
        _check_targets(graph, roles, train)
        self.dtype = graph.outputs[0].dtype
        self.scaled = bool(train.scale != 1 or train.shift)
        self.work = np.result_type(train.inputs.dtype, self.dtype) if self.scaled else self.dtype
        self.lists, self.listed = lists, listable(graph, roles.x, train.inputs, train.scale, train.shift)
        self.behind = behind(graph, roles.x, train.scale, train.shift) if self.listed else ()
        step = of_nonzeros(graph, roles.x, train.scale, train.shift) if self.listed else graph
        work = backends.operations(graph, dict.fromkeys(graph.sizes, batch_size))
        self.threads = backends.threads(work)
        self.program = Program(
            step,
            self._feeds(),
            into=roles.replaces,
            dtype=self.dtype,
            batch=min(batch_size, len(train)),
            threads=self.threads,
            loss=True,
        )
        self._lists: nonzeros.Nonzeros | None = None
        self._compared = False

    def _feeds(self) -> list[Feed]:
        feeds = [Feed("array", padded=True)] * len(self.graph.inputs)
        gathered = Feed("data", scaled=self.scaled, wide=self.work != self.dtype)
        feeds[self.roles.x] = Feed("nonzeros") if self.listed else gathered
        feeds[self.roles.t] = Feed("data")
        for k, i in enumerate(self.roles.numbers.values()):
            feeds[i] = Feed("number", k)
        if self.roles.key is not None:
            feeds[self.roles.key] = Feed("key")
        return feeds

    def look_again(self) -> None:
        """Forget what takes memory, since the training is over for now."""
        self._lists = None

    def epoch(self, order: Array | None, numbers: Array, keys: Array) -> Array:
        """Make the steps of an epoch; the losses of those that were made before one was not finite."""
        _check_targets(self.graph, self.roles, self.train)
        self._take_in()
        steps = len(numbers)
        if not self._compared:
            self._compare(order, numbers, keys)
            self._compared = True
        losses = np.zeros(steps, self.dtype)
        made = steps
        for first, last, arrays, rows in self._chunks(order, steps):
            drawn = keys[first:last] if len(keys) else keys
            done = self.program.run(
                arrays,
                start=0,
                stop=last - first,
                total=len(rows),
                order=rows,
                numbers=numbers[first:last],
                keys=drawn,
                losses=losses[first:last],
            )
            if done < last - first:
                made = first + done
                break
        self._hand_out()
        return losses[:made]

    def _chunks(self, order: Array | None, steps: int) -> Iterator[tuple[int, int, dict[str, Any], Array]]:
        """The epoch in pieces: first and last step, the arrays of the data, and the order of the rows in them."""
        rows = np.arange(len(self.train)) if order is None else order
        if not self.listed or self.train.inputs.nbytes <= LISTED:
            lists, places, targets = None, rows, self.train.targets
            if self.listed:
                parts = self.program.parts
                lists, places = self.lists.of(self.train.inputs, rows, self.dtype, parts, self.behind, cut=True)
                targets = targets if places is rows else targets[rows]
            yield 0, steps, self._data(self.train.inputs, targets, lists), places
            return
        each = max(1, CHUNK // self.batch_size)
        for first in range(0, steps, each):
            last = min(first + each, steps)
            here = rows[first * self.batch_size : last * self.batch_size]
            room, parts = self._lists, self.program.parts
            self._lists = nonzeros.listed(self.train.inputs, here, self.dtype, parts, room, self.behind)
            yield first, last, self._data(None, self.train.targets[here], self._lists), np.arange(len(here))

    def _data(self, inputs: Any, targets: Array, lists: nonzeros.Nonzeros | None) -> dict[str, Any]:
        x, t = (self.program.names[i] for i in (self.roles.x, self.roles.t))
        arrays: dict[str, Any] = {f"{t}_source": np.require(targets, requirements=["C", "W"])}
        if lists is not None:
            arrays |= {f"{x}_columns": lists.columns, f"{x}_values": lists.values, f"{x}_cuts": lists.cuts}
        else:
            arrays |= {f"{x}_source": inputs}
            arrays |= {f"{x}_scale": self.work.type(self.train.scale), f"{x}_shift": self.work.type(self.train.shift)}
        return arrays

    def _take_in(self) -> None:
        for i, p in self.roles.tensors.items():
            np.copyto(self.program.views[i], p.value)
        for i, a in self.roles.memory.items():
            np.copyto(self.program.views[i], a)

    def _hand_out(self) -> None:
        for i in self.roles.replaces.values():
            new = self.program.views[i]
            np.copyto(self.roles.tensors[i].writable() if i in self.roles.tensors else self.roles.memory[i], new)

    def _compare(self, order: Array | None, numbers: Array, keys: Array) -> None:
        """Make the first step with the interpreter too; a difference beyond rounding ends the training."""
        count = min(self.batch_size, len(self.train), COMPARED)
        rows = np.arange(count) if order is None else order[:count]
        x, t = self.train.features(rows, self.dtype), self.train.targets[rows]
        given: dict[int, Any] = {i: np.array(p.value) for i, p in self.roles.tensors.items()}
        given |= {i: np.array(a) for i, a in self.roles.memory.items()}
        given |= {self.roles.x: x, self.roles.t: t.astype(self.dtype) if t.dtype.kind == "f" else t}
        given |= {i: numbers[0, k].reshape(()) for k, i in enumerate(self.roles.numbers.values())}
        if self.roles.key is not None:
            given[self.roles.key] = np.asarray(keys[0])
        arguments = [given[i] for i in range(len(given))]
        expected = self._interpreted(arguments)
        if not math.isfinite(float(expected[0])):
            return  # the run itself ends there, and says why
        losses = np.zeros(1, self.dtype)
        ((_, _, arrays, here),) = self._chunks(rows, 1)
        self.program.run(
            arrays, start=0, stop=1, total=count, order=here, numbers=numbers[:1], keys=keys[:1], losses=losses
        )
        self._judge(expected, losses[0], arguments)
        self._take_in()

    def _interpreted(self, arguments: list[Array]) -> Any:
        with np.errstate(all="ignore"):
            return replace(self.graph, form=None, single=False).run(*arguments)

    def _judge(self, expected: Any, loss: Any, before: list[Array]) -> None:
        tolerance = TOLERANCE[str(self.dtype)]
        if abs(float(expected[0]) - float(loss)) > tolerance * max(1, abs(float(expected[0]))):
            self._differs("the loss", float(expected[0]), float(loss))
        for out, given in self.roles.replaces.items():
            new, ours = expected[out], self.program.views[given]
            change, error = _distance(new, before[given]), _distance(ours, new)
            if not math.isfinite(change):
                continue  # no digits to compare: the next loss will not be finite either
            numbers = np.finfo(self.dtype)
            rounding = float(numbers.eps) * _distance(new, 0) + float(numbers.smallest_subnormal) * math.sqrt(new.size)
            allowed = tolerance * change + ROUNDINGS * rounding
            if not error <= allowed and not self._by_rounding(before, out, expected[out], allowed):
                name, size = self.graph.inputs[given].name, format(change, ".6g")
                self._differs(f"the new value of '{name}'", f"a change of norm {size}", f"an error of {error:.3g}")

    def _by_rounding(self, before: list[Array], out: int, new: Array, allowed: float) -> bool:
        """Whether machine code is about as near to the step in float64 as the interpreter is.

        A gradient that is zero but for rounding (of a saturated unit, or a bias before a BatchNorm) may be any small
        number, and what Adam or RMSprop makes of it any step. A step in float64 is compared with what the interpreter
        makes of tensors and inputs that differ in their last digits.
        """
        ours = self.program.views[self.roles.replaces[out]]
        if self.dtype != np.float64:
            exact = _in_float64(self.graph, before)[out]
            return _distance(ours, exact) <= FARTHER * _distance(new, exact) + allowed
        moved = (_distance(self._interpreted(self._shaken(before, seed))[out], new) for seed in range(SHAKEN))
        return _distance(ours, new) <= ROUNDINGS * max(moved) + allowed

    def _shaken(self, arguments: list[Array], seed: int) -> list[Array]:
        rng, eps, changed = np.random.default_rng(seed), np.finfo(self.dtype).eps, list(arguments)
        for i in (*self.roles.tensors, self.roles.x):
            changed[i] = arguments[i] * (1 + eps * rng.choice([-1, 1], arguments[i].shape))
        return changed

    def _differs(self, what: str, expected: object, found: object) -> None:
        raise CompilerError(
            f"the first compiled step differs from the interpreter's: {what} should be {expected}, found {found}. This "
            "is an error of chainrule's; nothing has been changed. The generated module is "
            f"{self.program.written.path}; Trainer(..., backend='numpy') trains without it."
        )


def _in_float64(graph: Graph, arguments: Sequence[Array]) -> list[Any]:
    """The outputs of a graph with all floats in float64, whatever they were recorded as."""
    values: dict[Any, Any] = dict(zip(graph.inputs, arguments, strict=True)) | graph.constants
    values = {v: a.astype(np.float64) if a.dtype.kind == "f" else a for v, a in values.items()}
    sizes = {name: values[v].shape[axis] for name, (v, axis) in graph.sizes.items()}
    with np.errstate(all="ignore"):
        for e in graph.equations:
            inputs = [values[x] if isinstance(x, Variable) else dims.evaluate(x, sizes) for x in e.inputs]
            y = np.asarray(e.op.forward(*inputs, **{k: dims.evaluate(a, sizes) for k, a in e.attributes.items()}))
            values[e.output] = y.astype(np.float64) if y.dtype.kind == "f" else y
    return [values[v] for v in graph.outputs]


def _distance(a: Any, b: Any) -> float:
    return float(np.linalg.norm(np.asarray(a, np.float64) - b))


def _check_dtypes(train: Dataset) -> None:
    for dtype in (train.inputs.dtype, train.targets.dtype):
        if not dtype.isnative or dtype.kind not in "biuf" or dtype == np.float16:
            raise NotFusibleError(f"machine code does not read data of {dtype!r}")


def _check_targets(graph: Graph, roles: Roles, train: Dataset) -> None:
    """Leave to eager mode, which has the words for it, targets that are none; machine code would not see it."""
    t = graph.inputs[roles.t]
    for e in graph.equations:
        labels = None  # and how many classes they may name
        if e.op is CrossEntropy and e.inputs[1].dtype.kind in "iu":
            labels, limit = e.inputs[1], e.inputs[0].shape[-1]
        elif e.op is Onehot:
            labels, limit = e.inputs[0], e.attributes["classes"]
        elif e.op is Getitem and ARRAY in e.attributes["index"]:
            labels, limit = e.inputs[-1], e.inputs[0].shape[e.attributes["index"].index(ARRAY)]
        if labels is not None and (labels is not t or len(e.inputs) > 2):
            raise NotFusibleError("an index is computed")
        if labels is not None and not (train.targets.min() >= 0 and train.targets.max() < limit):
            raise NotFusibleError("labels are out of range")
        if e.op is BinaryCrossEntropy and not (
            e.inputs[1] is t and train.targets.min() >= 0 and train.targets.max() <= 1
        ):
            raise NotFusibleError("targets are no probabilities")
