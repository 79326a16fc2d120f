"""`Subject`: what a model looks like to those who check it, whoever wrote it and however."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.check.subjects.snapshots import Snapshot
from chainrule.errors import ChainruleError

Array = np.ndarray[Any, Any]


class Subject(ABC):
    """A model behind one small interface. `as_subject` makes one of whatever somebody has.

    Attributes
    ----------
    name : str
        What it is called in sentences: its class or function.
    lr : float
        The learning rate that `update` passes to a step that asks for one.
    reduction : {"mean", "sum"} or None
        How the loss of a batch is made of the samples' losses, where that is declared.
    loss_kind : str or None
        `"cross-entropy"` if the loss is known to be a softmax cross-entropy, `"other"` if it is known to be something
        else, None if nobody said.
    """

    reduction: str | None = None
    loss_kind: str | None = None

    def __init__(self, name: str, lr: float = 0.1) -> None:
        self.name, self.lr = name, lr

    @property
    def loss_assumed(self) -> bool:
        """Whether nobody said what the loss is, and it is guessed from the outputs (known after the first call)."""
        return False

    @property
    def single(self) -> bool:
        """Whether it takes one sample at a time; a batch is then that many calls."""
        return False

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Array]:
        """Copies of all parameters by name. Change them by `set_parameters`."""

    @abstractmethod
    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Give some or all parameters other values of the same shapes."""

    @abstractmethod
    def offers(self, what: str) -> bool:
        """Whether there is a way to `"predict"`, `"loss"`, `"gradients"` or `"update"`.

        For a model that was written by hand it is known only after the first call whether the way works.
        """

    @abstractmethod
    def predict(self, x: Any) -> Array:
        """The outputs (N, ...) in evaluation mode."""

    @abstractmethod
    def loss(self, x: Any, t: Any) -> float:
        """The loss of a batch, in evaluation mode."""

    @abstractmethod
    def gradients(self, x: Any, t: Any) -> dict[str, Array] | None:
        """The model's own gradients of `loss`, in evaluation mode; None if it offers none."""

    @abstractmethod
    def update(self, x: Any, t: Any) -> None:
        """One step of training on a batch, in training mode."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """All that the model holds, as it is now: parameters, buffers, the optimiser's memory, random generators."""

    def restore(self, state: Snapshot) -> None:
        """Put back what `snapshot` noted, in place."""
        state.restore()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Leave the model as it was, whatever is done meanwhile."""
        state = self.snapshot()
        try:
            yield
        finally:
            self.restore(state)

    def evaluations(self) -> dict[str, Callable[[Any, Any], Any]]:
        """Everything that evaluates and must change nothing: functions of (x, t) by name."""
        found: dict[str, Callable[[Any, Any], Any]] = {}
        if self.offers("predict"):
            found["predict"] = lambda x, t: self.predict(x)
        if self.offers("loss"):
            found["loss"] = self.loss
        return found

    @abstractmethod
    def recognised(self) -> str:
        """A sentence: what was taken for what, and what was not found."""

    def __repr__(self) -> str:
        return f"<{self.recognised()}>"

    def _missing(self, what: str, why: str) -> ChainruleError:
        said = {"predict": "compute outputs", "loss": "compute a loss", "update": "make a step"}.get(what, what)
        return ChainruleError(f"{self.name}: there is no way to {said}: {why}.")


def listed(names: list[str], most: int = 6) -> str:
    """Names in a sentence, not too many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def losses(name: str) -> Callable[[Array, Any], float]:
    """A loss by its name: `"cross-entropy"` of probabilities or logits, `"mse"`."""
    known = {"cross-entropy": cross_entropy_of, "cross_entropy": cross_entropy_of, "mse": _squared}
    if name not in known:
        raise ChainruleError(f"as_subject: there is no loss '{name}'; known are 'cross-entropy' and 'mse'.")
    return known[name]


def are_probabilities(outputs: Array) -> bool:
    """Whether each row is a distribution over at least two classes."""
    if outputs.ndim != 2 or outputs.shape[1] < 2 or not np.isfinite(outputs).all():
        return False
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-4))


def labels_of(t: Any, classes: int) -> Array | None:
    """Targets as labels (N,), if they are integers below `classes` or one-hot rows; else None."""
    t = np.asarray(t)
    if t.ndim == 2 and t.shape[1] == classes > 1 and np.isin(t, (0, 1)).all() and (t.sum(axis=1) == 1).all():
        return np.asarray(t.argmax(axis=1))
    t = t[:, 0] if t.ndim == 2 and t.shape[1] == 1 else t
    if t.ndim == 1 and t.dtype.kind in "iu" and len(t) and t.min() >= 0 and t.max() < classes:
        return np.asarray(t)
    return None


def cross_entropy_of(outputs: Array, t: Any) -> float:
    """The mean of -ln y[t] over samples; outputs that are no probabilities are taken for logits."""
    outputs = np.asarray(outputs, float)
    labels = labels_of(t, outputs.shape[-1])
    if outputs.ndim != 2 or labels is None or len(labels) != len(outputs):
        raise ChainruleError(
            f"a cross-entropy takes outputs (N, C) and labels (N,); found {outputs.shape} and {np.shape(t)}."
        )
    with np.errstate(all="ignore"):
        if are_probabilities(outputs):
            logs = np.log(outputs)
        else:
            shifted = outputs - outputs.max(axis=1, keepdims=True)
            logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return float(-logs[np.arange(len(labels)), labels].mean())


def assumed_loss(outputs: Array, t: Any) -> float:
    """What the loss is taken to be where nobody says: cross-entropy for labels and probabilities, else squares."""
    t = np.asarray(t)
    if outputs.ndim == 2 and labels_of(t, outputs.shape[1]) is not None and t.shape != outputs.shape:
        return cross_entropy_of(outputs, t)
    if are_probabilities(outputs) and t.shape == outputs.shape:
        return cross_entropy_of(outputs, t)
    return _squared(outputs, t)


def _squared(outputs: Array, t: Any) -> float:
    outputs, t = np.asarray(outputs, float), np.asarray(t, float)
    if outputs.size != t.size:
        raise ChainruleError(f"a squared error takes targets like the outputs {outputs.shape}; found {t.shape}.")
    with np.errstate(all="ignore"):
        return float(np.mean((outputs.reshape(t.shape) - t) ** 2))
