"""Epochs without Python: a training step as a fused program, or as a plan where it cannot be fused."""

import math
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.compiler import backend as backends
from chainrule.compiler.fusion.schedule import NotFusibleError
from chainrule.compiler.plan import Plan
from chainrule.data import Dataset
from chainrule.errors import ChainruleError, CompilerError
from chainrule.graph.graph import Graph
from chainrule.nn import init
from chainrule.nn.structure import NotRecordableError, Structure
from chainrule.ops import dims
from chainrule.ops.dims import Later
from chainrule.train.step_graph import Roles, step_graph

if TYPE_CHECKING:
    from chainrule.train.trainer import Trainer

Array = np.ndarray[Any, Any]


class CompiledTraining:
    """The steps of one fit.

    Parameters
    ----------
    trainer : Trainer
    train : Dataset
    batch_size : int
    epochs : int
        How many will be trained: what the choice of the backend depends on.
    wanted : str
        The backend asked for.

    Attributes
    ----------
    backend : str
        "numba", "numpy" or "eager".
    """

    def __init__(self, trainer: "Trainer", train: Dataset, batch_size: int, epochs: int, wanted: str) -> None:
        # The trainer holds this; a second reference back would keep both, and the lists of the data, for long.
        self.trainer: Trainer = weakref.proxy(trainer)
        self.train, self.batch_size, self.wanted = train, batch_size, wanted
        self.steps = math.ceil(len(train) / batch_size)
        self.backend = wanted
        self._data = _data(train)
        if wanted == "auto" and self._least(epochs) < backends.PLANNED_FROM:
            self.backend = "eager"
        elif wanted != "eager" and self._record():
            self.backend = backends.chosen(wanted, self._seconds(epochs))
            self._prepare()

    @property
    def source(self) -> str:
        """The program as text."""
        if self.backend == "numba":
            return self._fused.program.source
        return self._plan.source if self.backend == "numpy" else ""

    def continues(self, train: Dataset, batch_size: int, epochs: int, wanted: str) -> bool:
        """Whether a further fit can go on with this one's program: with the same model, data and settings."""
        same = train is self.train and (batch_size, wanted) == (self.batch_size, self.wanted)
        if not same or self.backend != "numba" or not self._holds():
            return False
        self.look_again()
        return backends.chosen(wanted, self._seconds(epochs)) == self.backend

    def look_again(self) -> None:
        """Forget what was found in the data, which may be changed before the next fit, and which takes memory."""
        if self.backend == "numba":
            self._fused.look_again()

    def _least(self, epochs: int) -> float:
        """Seconds on the plan as they are known before anything is recorded: from the number of parameters alone."""
        parameters = sum(int(p.size) for p in self.trainer.model.parameters())
        samples, steps = len(self.train) * epochs, self.steps * epochs
        return 6 * parameters * samples / backends.RATE + 20 * backends.CALL * steps

    def _seconds(self, epochs: int) -> float:
        sizes = dict.fromkeys(self.graph.sizes, self.batch_size)
        return backends.planned_seconds(self.graph, sizes, self.steps * epochs)

    def _record(self) -> bool:
        """Whether a step can be recorded; if not, it is eager mode's."""
        model = self.trainer.model.train()
        self._settings, self._data = self._decided(), _data(self.train)
        try:
            self._structure = Structure(model, self.trainer.loss)
            self.graph, self.roles = self._recording()
            if self._structure.foreign and not _same(self.graph, self._recording()[0]):
                raise NotRecordableError("two recordings of it differ, so something in it changes by itself.")
        except NotRecordableError as error:
            self.backend = "eager"
            if self.wanted != "auto":
                backends.notify(f"this training step cannot be compiled, so eager mode takes it: {error}")
            return False
        return True

    def _prepare(self) -> None:
        """Make what computes the steps."""
        if self.backend == "numba":
            self._fuse()
        if self.backend == "numpy":
            self._plan = Plan(self.graph, into=self.roles.replaces)

    def _holds(self) -> bool:
        """Whether what was recorded still holds; a callback may change anything between epochs."""
        same = self._structure.unchanged() and self._data == _data(self.train)
        return same and _identical(self._decided(), self._settings)

    def _decided(self) -> list[Any]:
        """What a recording depends on beside the model's own structure."""
        trainer = self.trainer
        tensors, optimizer = trainer.model.tensors(), trainer.optimizer
        steps = {optimizer.steps_made([i]) for i, p in enumerate(optimizer.parameters) if p.requires_grad}
        settings = [trainer.loss, optimizer, len(steps) > 1, trainer.clip_norm, trainer.clip_value]
        return [*tensors, *settings, *(p.requires_grad for p in tensors)]

    def _recording(self) -> tuple[Graph, Roles]:
        trainer, train = self.trainer, self.train
        x = np.zeros((2, *train.inputs.shape[1:]), trainer.model.dtype)
        t = train.targets[:2]
        t = np.resize(t, (2, *t.shape[1:])) if len(t) < 2 else t
        t = t.astype(trainer.model.dtype, copy=False) if t.dtype.kind == "f" else t
        graph, roles = step_graph(
            trainer.model, trainer.loss, trainer.optimizer, x, t, trainer.clip_norm, trainer.clip_value
        )
        _check_sizes(graph, {self.batch_size, len(train) % self.batch_size or self.batch_size})
        try:
            trainer.optimizer.steps_made(roles.stepped)
        except ChainruleError as error:
            raise NotRecordableError(str(error)) from None
        return graph, roles

    def _fuse(self) -> None:
        try:
            from chainrule.train.fused import FusedTraining

            self._fused = FusedTraining(self.graph, self.roles, self.train, self.batch_size, self.trainer.lists)
            return
        except NotFusibleError as error:
            backends.notify(f"this training step cannot be fused, so the plan computes it: {error}.")
        except Exception as error:  # above all an installation of Numba that does not work
            backends.notify(f"no fused program could be made, so the plan is used: {type(error).__name__}: {error}")
        self.backend = "numpy"

    def epoch(self, order: Array | None, where: str) -> Array:
        """Train one epoch, in the order of the rows that is given; the losses of its steps.

        Raises
        ------
        DivergenceError
            If a loss is not finite; the parameters are those before that step.
        """
        if self.backend != "eager" and not self._holds() and self._record():
            self._prepare()
        if self.backend == "eager":
            taken = [self.trainer.step(*self._batch(order, k), _place(where, k)) for k in range(self.steps)]
            return np.array(taken, self.trainer.model.dtype)
        self.trainer.optimizer.zero_grad()  # nobody is to take the gradients of an earlier fit for those of this one
        numbers = self._numbers()
        before = init.generator().bit_generator.state
        keys = self._keys(self.steps)
        losses = self._make(order, numbers, keys)
        if (made := len(losses)) < self.steps:
            init.generator().bit_generator.state = before
            self._keys(made + 1)  # as many as eager mode would have drawn
            self._explain(order, made, keys, where)
        return losses

    def _make(self, order: Array | None, numbers: Array, keys: Array) -> Array:
        """Make an epoch's steps, and count them; the losses of those made before one was not finite."""
        if self.backend == "numba":
            try:
                losses = self._fused.epoch(order, numbers, keys)
                self.trainer.optimizer.count_steps(self.roles.stepped, len(losses))
                return losses
            except CompilerError:
                raise
            except Exception as error:  # whatever goes wrong in generated code: nothing of the epoch has been kept
                failure = backends.described(error)
                backends.notify(f"the fused program failed, so the plan takes its place: {failure}")
                self.backend = "numpy"
                self._plan = Plan(self.graph, into=self.roles.replaces)
        return self._planned_epoch(order, numbers, keys)

    def _numbers(self) -> Array:
        """The optimiser's numbers, a row a step."""
        optimizer = self.trainer.optimizer
        before = optimizer.steps_made(self.roles.stepped)
        rows = [list(optimizer.numbers(before + 1 + k).values()) for k in range(self.steps if optimizer.counts else 1)]
        table = np.array(rows, self.trainer.model.dtype).reshape(len(rows), -1)
        return np.ascontiguousarray(np.broadcast_to(table, (self.steps, table.shape[1])))

    def _keys(self, steps: int) -> Array:
        drawn = steps if self.roles.key is not None else 0
        return np.array([int(init.generator().integers(2**63)) for _ in range(drawn)], np.int64)

    def _batch(self, order: Array | None, step: int) -> tuple[Array, Array]:
        rows: Any = slice(step * self.batch_size, (step + 1) * self.batch_size)
        rows = rows if order is None else order[rows]
        t = self.train.targets[rows]
        dtype = self.trainer.model.dtype
        return self.train.features(rows, dtype), t.astype(dtype, copy=False) if t.dtype.kind == "f" else t

    def _planned_epoch(self, order: Array | None, numbers: Array, keys: Array) -> Array:
        roles = self.roles
        losses = np.zeros(self.steps, self.trainer.model.dtype)
        changed = [roles.tensors[i] for i in roles.replaces.values() if i in roles.tensors]
        values = [np.empty_like(p.value) for p in changed]
        remembered = {i: np.empty_like(a) for i, a in roles.memory.items()}
        for step in range(self.steps):
            x, t = self._batch(order, step)
            named = dict(zip(roles.numbers, numbers[step].tolist(), strict=True))
            for copy, p in zip(values, changed, strict=True):
                np.copyto(copy, p.value)
            for i, a in remembered.items():
                np.copyto(a, roles.memory[i])
            loss = math.nan
            try:
                with np.errstate(all="ignore"):
                    loss = float(self._plan(*roles.arguments(named, keys[step] if len(keys) else None, x, t))[0])
            finally:
                if not math.isfinite(loss):  # or not computed, since labels are none or somebody presses Ctrl-C
                    for copy, p in zip(values, changed, strict=True):
                        np.copyto(p.writable(), copy)
                    for i, a in remembered.items():
                        np.copyto(roles.memory[i], a)
            if not math.isfinite(loss):
                return losses[:step]
            losses[step] = loss
            self.trainer.optimizer.count_steps(roles.stepped, 1)
        return losses

    def _explain(self, order: Array | None, step: int, keys: Array, where: str) -> None:
        """Take the step that failed in eager mode, which says what is wrong."""
        self.trainer.step(*self._batch(order, step), _place(where, step), keys[step] if len(keys) else None)
        raise ChainruleError(
            f"{_place(where, step)}: the compiled step gave a loss that is not finite, but eager mode did not; this is "
            "an error of chainrule's. Trainer(..., backend='eager') trains without compiled code."
        )


def _place(where: str, step: int) -> str:
    return f"{where}, batch {step + 1}"


def _check_sizes(graph: Graph, batches: set[int]) -> None:
    """Leave to eager mode, which has the words for it, batches too small for a formula, as N / (N - 1)."""
    for x in (x for e in graph.equations for x in e.inputs if isinstance(x, Later)):
        for rows in batches:
            try:
                dims.evaluate(x, dict.fromkeys(graph.sizes, rows))
            except ZeroDivisionError:
                raise NotRecordableError(f"'{x}' has no value for a batch of {rows}.") from None


def _same(a: Graph, b: Graph) -> bool:
    """Whether two recordings are of the same program."""
    arrays = zip(a.constants.values(), b.constants.values(), strict=False)
    return repr(a) == repr(b) and all(np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in arrays)


def _identical(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def _data(train: Dataset) -> tuple[int, int, float, float]:
    """What a data set holds; the arrays are known by their places in memory, since the data set keeps them."""
    return id(train.inputs), id(train.targets), train.scale, train.shift
