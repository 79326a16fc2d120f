"""Epochs without Python: a training step as a fused program, or as a plan where it cannot be fused."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.compiler import backend as backends
from chainrule.compiler.plan import Plan
from chainrule.data import Dataset
from chainrule.errors import ChainruleError, CompilerError
from chainrule.graph.graph import Graph
from chainrule.nn import init
from chainrule.train.step_graph import NotRecordableError, Roles, step_graph

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

    Attributes
    ----------
    backend : str
        "numba", "numpy" or "eager".
    """

    def __init__(self, trainer: "Trainer", train: Dataset, batch_size: int, epochs: int, wanted: str) -> None:
        self.trainer, self.train, self.batch_size = trainer, train, batch_size
        self.steps = math.ceil(len(train) / batch_size)
        self.backend = wanted
        self._fused: Any = None
        if wanted == "eager":
            return
        try:
            self.graph, self.roles = self._record()
        except NotRecordableError as error:
            self.backend = "eager"
            if wanted != "auto":
                backends.notify(f"this training step cannot be compiled, so eager mode takes it: {error}")
            return
        sizes = dict.fromkeys(self.graph.sizes, batch_size)
        seconds = backends.planned_seconds(self.graph, sizes, self.steps * epochs)
        self.backend = backends.chosen(wanted, seconds)
        if self.backend == "numba":
            self._fuse(wanted)
        if self.backend == "numpy":
            self._plan = Plan(self.graph, into=self.roles.replaces)

    def _record(self) -> tuple[Graph, Roles]:
        trainer, train = self.trainer, self.train
        x = np.zeros((2, *train.inputs.shape[1:]), trainer.model.dtype)
        t = train.targets[:2]
        t = np.resize(t, (2, *t.shape[1:])) if len(t) < 2 else t
        t = t.astype(trainer.model.dtype, copy=False) if t.dtype.kind == "f" else t
        trainer.model.train()
        return step_graph(trainer.model, trainer.loss, trainer.optimizer, x, t, trainer.clip_norm, trainer.clip_value)

    def _fuse(self, wanted: str) -> None:
        from chainrule.compiler.fusion.schedule import NotFusibleError
        from chainrule.train.fused import FusedTraining

        try:
            self._fused = FusedTraining(self.graph, self.roles, self.train, self.batch_size)
        except NotFusibleError as error:
            backends.notify(f"this training step cannot be fused, so the plan computes it: {error}.")
            self.backend = "numpy"

    def epoch(self, order: Array | None, where: str) -> None:
        """Train one epoch, in the order of the rows that is given.

        Raises
        ------
        DivergenceError
            If a loss is not finite; the parameters are those before that step.
        """
        numbers, advance = self._numbers()
        keys = self._keys()
        if self.backend == "numba":
            try:
                made = self._fused.epoch(order, numbers, keys)
            except CompilerError:
                raise
            except Exception as error:  # whatever goes wrong in generated code: nothing of the epoch has been kept
                backends.notify(
                    f"the fused program failed, so the plan takes its place: {type(error).__name__}: {error}"
                )
                self.backend, self.trainer.backend = "numpy", "numpy"
                self._plan = Plan(self.graph, into=self.roles.replaces)
                made = self._planned_epoch(order, numbers, keys)
        else:
            made = self._planned_epoch(order, numbers, keys)
        advance(made)
        if made < self.steps:
            self._explain(order, made, keys, where)

    def _numbers(self) -> tuple[Array, Callable[[int], None]]:
        """The optimiser's numbers, a row a step, and what counts the steps that were made."""
        optimizer, stepped = self.trainer.optimizer, self.roles.stepped
        before = optimizer.steps_made(stepped)
        rows = [list(optimizer.numbers(before + 1 + k).values()) for k in range(self.steps if optimizer.counts else 1)]
        table = np.array(rows, self.trainer.model.dtype).reshape(len(rows), -1)
        table = np.ascontiguousarray(np.broadcast_to(table, (self.steps, table.shape[1])))
        return table, lambda made: optimizer.count_steps(stepped, made)

    def _keys(self) -> Array:
        drawn = self.steps if self.roles.key is not None else 0
        return np.array([int(init.generator().integers(2**63)) for _ in range(drawn)], np.int64)

    def _batch(self, order: Array | None, step: int) -> tuple[Array, Array]:
        rows: Any = slice(step * self.batch_size, (step + 1) * self.batch_size)
        rows = rows if order is None else order[rows]
        t = self.train.targets[rows]
        dtype = self.trainer.model.dtype
        return self.train.features(rows, dtype), t.astype(dtype, copy=False) if t.dtype.kind == "f" else t

    def _planned_epoch(self, order: Array | None, numbers: Array, keys: Array) -> int:
        roles = self.roles
        changed = [*(roles.tensors[i] for i in roles.replaces.values() if i in roles.tensors)]
        before = [np.empty_like(p.value) for p in changed]
        remembered = {i: np.empty_like(a) for i, a in roles.memory.items()}
        for step in range(self.steps):
            x, t = self._batch(order, step)
            named = dict(zip(roles.numbers, numbers[step].tolist(), strict=True))
            for copy, p in zip(before, changed, strict=True):
                np.copyto(copy, p.value)
            for i, a in remembered.items():
                np.copyto(a, roles.memory[i])
            with np.errstate(all="ignore"):
                loss = self._plan(*roles.arguments(named, keys[step] if len(keys) else None, x, t))[0]
            if not math.isfinite(float(loss)):
                for copy, p in zip(before, changed, strict=True):
                    np.copyto(p.writable(), copy)
                for i, a in remembered.items():
                    np.copyto(roles.memory[i], a)
                return step
        return self.steps

    def _explain(self, order: Array | None, step: int, keys: Array, where: str) -> None:
        """Take the step that failed in eager mode, which says what is wrong."""
        x, t = self._batch(order, step)
        place = f"{where}, batch {step + 1}"
        self.trainer.step(x, t, place, keys[step] if len(keys) else None)
        raise ChainruleError(
            f"{place}: the compiled step gave a loss that is not finite, but eager mode did not; this is an error of "
            "chainrule's. Trainer(..., backend='eager') trains without compiled code."
        )
