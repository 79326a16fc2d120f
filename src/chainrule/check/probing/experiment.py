"""What all probes share: a model, some samples, and what is known of both."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chainrule.check.subjects.interface import Array, Subject, labels_of
from chainrule.errors import ChainruleError, DataError


class FailedError(Exception):
    """A probe found that something does not hold; the message is its sentence."""


class SkippedError(Exception):
    """A probe cannot be made with this model or these data; the message says why."""


@dataclass
class Experiment:
    """A model with some samples.

    Attributes
    ----------
    subject : Subject
    x, t : ndarray (N, ...)
    given_classes : int or None
    frozen : tuple of str
        Parameters that are not meant to move.
    seed : int
    seconds : float
        Of training, for each probe that trains.
    rng : Generator
        Made anew for each probe, so that what a probe draws does not depend on the probes before it.
    """

    subject: Subject
    x: Array
    t: Array
    given_classes: int | None = None
    frozen: tuple[str, ...] = ()
    seed: int = 0
    seconds: float = 3.0
    rng: np.random.Generator = field(default_factory=np.random.default_rng)

    def __post_init__(self) -> None:
        if not self.x.ndim or not self.t.ndim or len(self.x) != len(self.t) or not len(self.x):
            raise DataError(
                f"probes: there must be as many targets as inputs, at least one; found inputs {self.x.shape} and "
                f"targets {self.t.shape}."
            )

    def begun(self) -> "Experiment":
        """The same, for the next probe."""
        return replace(self, rng=np.random.default_rng(self.seed))

    # ---- what the data are -----------------------------------------------------------------------------------------

    @property
    def whole(self) -> bool:
        """Whether the inputs are whole numbers, which may be indices that cannot be scaled."""
        return self.x.dtype.kind != "f" or not (self.x % 1).any()

    def few(self, n: int) -> tuple[Array, Array]:
        """The first samples."""
        return self.x[:n], self.t[:n]

    @property
    def classes(self) -> int | None:
        """The number of classes, if the targets are labels (or one-hot rows); else None."""
        if self.given_classes is not None:
            return self.given_classes
        if self.t.ndim == 2 and self.t.shape[1] > 1 and labels_of(self.t, self.t.shape[1]) is not None:
            return int(self.t.shape[1])
        if self.t.ndim != 1 or self.t.dtype.kind not in "iu" or self.t.min() < 0:
            return None
        outputs = self.outputs(self.x[:2]) if self.subject.offers("predict") else None
        if outputs is None:
            return int(self.t.max()) + 1
        return outputs.shape[1] if outputs.ndim == 2 and outputs.shape[1] > max(1, int(self.t.max())) else None

    @property
    def labels(self) -> Array:
        """The targets as labels (N,)."""
        classes = self.classes
        found = None if classes is None else labels_of(self.t, classes)
        if found is None:
            raise SkippedError("the targets are no labels of classes.")
        return found

    def as_targets(self, labels: Any) -> Array:
        """Labels in the form of the targets."""
        labels = np.asarray(labels)
        return np.asarray(np.eye(self.t.shape[1])[labels] if self.t.ndim == 2 else labels, self.t.dtype)

    # ---- what the model does ---------------------------------------------------------------------------------------

    def outputs(self, x: Array) -> Array:
        """The outputs, or a reason to skip."""
        if not self.subject.offers("predict"):
            raise SkippedError("the model gives no outputs.")
        try:
            return np.asarray(self.subject.predict(x))
        except ChainruleError:
            if self.subject.offers("predict"):
                raise
            raise SkippedError("the model gives no outputs.") from None

    def loss(self, x: Array, t: Array) -> float:
        """The loss, or a reason to skip."""
        if not self.subject.offers("loss"):
            raise SkippedError("the model has no loss.")
        return self.subject.loss(x, t)

    def answers(self, x: Array, t: Array) -> Array:
        """What can be compared for each sample: its outputs, or where there are none its loss."""
        try:
            return self.outputs(x)
        except SkippedError:
            return np.array([self.loss(x[i : i + 1], t[i : i + 1]) for i in range(len(x))])

    def needs_determinism(self) -> None:
        """Skip what would only say again that the same input gives other outputs."""
        x, t = self.few(8)
        with self.subject.kept():
            first = self.answers(x, t)
            if difference(first, self.answers(x, t)) > self.tolerance(first):
                raise SkippedError("the same input already gives other outputs the second time.")

    def needs_update(self) -> None:
        """Skip what cannot be tried without a step."""
        if not self.subject.offers("update"):
            raise SkippedError("the model has no step of its own.")
        with self.subject.kept():
            try:
                self.subject.update(*self.few(8))
            except ChainruleError as error:
                if not self.subject.offers("update"):
                    raise SkippedError(f"the model has no step of its own: {error}") from None

    def can_update(self) -> bool:
        """Whether the model has a step of its own that works with these data."""
        try:
            self.needs_update()
        except SkippedError:
            return False
        return True

    def redrawn(self, scale: float = 0.3) -> None:
        """Give all parameters other values: normal ones, of a size that keeps sums over the inputs near 1."""
        new = {}
        for name, p in self.subject.parameters.items():
            width = p.shape[0] if p.ndim > 1 else 1 / scale**2
            new[name] = self.rng.normal(size=p.shape) / np.sqrt(max(width, 1.0))
        self.subject.set_parameters(new)

    def reshuffle(self) -> None:
        """Take another start of the same size: the entries of each matrix permuted, with other signs."""
        own = self.subject.parameters
        new = {name: self.rng.permutation(p.ravel()).reshape(p.shape) for name, p in own.items() if p.ndim > 1}
        self.subject.set_parameters({name: p * self.rng.choice([-1, 1], p.shape) for name, p in new.items()})

    def tolerance(self, values: Array) -> float:
        """What rounding may make of outputs of this size."""
        exact = values.dtype == np.float64 and all(p.dtype == np.float64 for p in self.subject.parameters.values())
        return (1e-8 if exact else 1e-4) * max(float(np.max(np.abs(values), initial=0.0)), 1e-30)


def difference(a: Array, b: Array) -> float:
    """The largest difference of two arrays; infinite if shapes differ, or what is not finite."""
    if a.shape != b.shape:
        return float("inf")
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = np.where(same, 0.0, np.abs(np.asarray(a, float) - np.asarray(b, float)))
    return float("inf") if np.isnan(found).any() else float(np.max(found, initial=0.0))


def batches(n: int, size: int, rng: np.random.Generator) -> Iterator[Array]:
    """Random batches of some of n samples, without end."""
    while True:
        yield rng.permutation(n)[:size]
