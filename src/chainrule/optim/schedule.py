"""Learning-rate schedules: the learning rate of an epoch, from the base rate. A schedule is data and remembers nothing.

`schedule(epoch, lr)` gives the rate with which the epoch (from 1) is trained; "after epoch 20" therefore means from
epoch 21 on. The Trainer takes one as `schedule=`; any function of epoch and base rate will do in its place.
"""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from typing import Any

from chainrule.errors import ChainruleError
from chainrule.nn.arguments import not_negative, positive, real, whole
from chainrule.optim.watch import Watch, check_patience, rises

_EPOCHS = "a whole number of epochs"


class Schedule:
    """The base of all schedules."""

    @property
    def needs(self) -> int:
        """The fewest epochs in which all of it takes place; a fit that is shorter is refused."""
        return 1

    @property
    def watches(self) -> str | None:
        """The score, by its name in the history, that is to be given as `scores`: one number each time it was taken."""
        return None

    def __call__(self, epoch: int, lr: float, scores: Sequence[float] = ()) -> float:
        """The learning rate of an epoch (from 1), from the base rate."""
        raise TypeError(f"{type(self).__name__} has no rule: give it a method `__call__`.")

    def __repr__(self) -> str:
        options: tuple[Field[Any], ...] = fields(self) if is_dataclass(self) else ()
        said = [f"{o.name}={value!r}" for o in options if (value := getattr(self, o.name)) != o.default]
        return f"{type(self).__name__}({', '.join(said)})"


@dataclass(frozen=True, repr=False)
class Constant(Schedule):
    """The base rate, always."""

    def __new__(cls, *given: object, **named: object) -> "Constant":
        if given or named:
            raise ChainruleError(
                "Constant takes no arguments, since the rate is the optimizer's lr; where a schedule is expected, give "
                "one, Constant(), and not the class."
            )
        return super().__new__(cls)

    def __call__(self, epoch: int, lr: float, scores: Sequence[float] = ()) -> float:
        return lr


@dataclass(frozen=True, repr=False)
class Step(Schedule):
    """lr · factor^⌊(epoch - 1) / every⌋: once again smaller after every so many epochs.

    Parameters
    ----------
    every : int
    factor : float
        Positive.
    """

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        whole(f"{self}: every", self.every, _EPOCHS)
        positive(f"{self}: factor", self.factor)

    @property
    def needs(self) -> int:
        return self.every + 1

    def __call__(self, epoch: int, lr: float, scores: Sequence[float] = ()) -> float:
        return _times(lr, self.factor, (epoch - 1) // self.every)


@dataclass(frozen=True, repr=False)
class MultiStep(Schedule):
    """lr · factor^(how many milestones are less than the epoch): once again smaller after each of these epochs.

    Parameters
    ----------
    milestones : sequence of int
        Rising. None at all gives the base rate.
    factor : float
        Positive.
    """

    milestones: Sequence[int]
    factor: float = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.milestones, Iterable):
            raise ChainruleError(f"{self}: milestones is {self.milestones!r}; expected a list, such as [20, 40].")
        object.__setattr__(self, "milestones", tuple(self.milestones))
        for i, milestone in enumerate(self.milestones):
            whole(f"{self}: milestones[{i}]", milestone, _EPOCHS, self.milestones[i - 1] + 1 if i else 1)
        positive(f"{self}: factor", self.factor)

    @property
    def needs(self) -> int:
        return max(self.milestones, default=0) + 1

    def __call__(self, epoch: int, lr: float, scores: Sequence[float] = ()) -> float:
        return _times(lr, self.factor, sum(milestone < epoch for milestone in self.milestones))


def _times(lr: float, factor: float, times: int) -> float:
    """lr · factor^times; infinite where that is too large for a float, which a Trainer refuses with the epoch."""
    try:
        return lr * float(factor) ** times
    except OverflowError:
        return math.inf


@dataclass(frozen=True, repr=False)
class Cosine(Schedule):
    """From lr in epoch 1 down to `minimum` after `epochs`, as half a cosine. [Loshchilov and Hutter 2017, equation 5]

    minimum + (lr - minimum) · (1 + cos(π (epoch - 1) / epochs)) / 2. Afterwards the rate stays at `minimum`; a Trainer
    refuses to train with a rate of 0, so either `epochs` is the length of the fit or `minimum` is positive.

    Parameters
    ----------
    epochs : int
    minimum : float
        Not negative.
    """

    epochs: int
    minimum: float = 0.0

    def __post_init__(self) -> None:
        whole(f"{self}: epochs", self.epochs, _EPOCHS)
        not_negative(f"{self}: minimum", self.minimum)

    @property
    def needs(self) -> int:
        return self.epochs

    def __call__(self, epoch: int, lr: float, scores: Sequence[float] = ()) -> float:
        if epoch > self.epochs:
            return self.minimum
        return self.minimum + (lr - self.minimum) * (1 + math.cos(math.pi * (epoch - 1) / self.epochs)) / 2


@dataclass(frozen=True, repr=False)
class WarmUp(Schedule):
    """Up to the base rate in equal steps, then another schedule, whose epochs are counted from there.

    lr · (start + (1 - start) · (epoch - 1) / epochs) in the first `epochs`. [Goyal et al. 2017, section 2.2]

    Parameters
    ----------
    epochs : int
    start : float
        With which part of the base rate to begin, in (0, 1].
    then : Schedule
        Scores that it watches are given to it from the first epoch on.
    """

    epochs: int
    start: float = 1 / 3
    then: Schedule = Constant()

    def __post_init__(self) -> None:
        whole(f"{self}: epochs", self.epochs, _EPOCHS)
        real(f"{self}: start", self.start, "a number in (0, 1]", lambda x: 0 < x <= 1)
        if not isinstance(self.then, Schedule):
            raise ChainruleError(f"{self}: then is {self.then!r}; expected a schedule such as Cosine(epochs=50).")

    @property
    def needs(self) -> int:
        return self.epochs + self.then.needs

    @property
    def watches(self) -> str | None:
        """What the schedule behind the warm-up watches."""
        return self.then.watches

    def __call__(self, epoch: int, lr: float, scores: Sequence[float] = ()) -> float:
        if epoch > self.epochs:
            return self.then(epoch - self.epochs, lr, scores)
        return lr * (self.start + (1 - self.start) * (epoch - 1) / self.epochs)


@dataclass(frozen=True, repr=False)
class ReduceOnPlateau(Schedule):
    """The rate times `factor` whenever a score has not improved for `patience` scores in a row.

    The whole history of the score is gone through again for each epoch, so there is no state to save. NaN stands there
    where the score was not taken, as in an earlier fit without validation data, and is passed over; so is a score that
    was computed and is NaN, since it looks the same. (`EarlyStopping` can tell them apart, and waits for a number.)

    Parameters
    ----------
    monitor : str
        A score by its name in the history, such as `"validation_loss"`.
    factor : float
        In (0, 1).
    patience : int
        At least 1. (PyTorch's `ReduceLROnPlateau(patience=p)` waits for one more: p + 1 scores.)
    min_delta : float
        A score counts as better if it is so by more than this.
    minimum : float
        The rate is never reduced below this. It is never reduced to 0 either: at the smallest normal float, 2.2e-308,
        it stays.
    mode : {"min", "max"}, optional
        Whether smaller or larger is better; only needed where the name does not end in loss, error or accuracy.
    """

    monitor: str = "validation_loss"
    factor: float = 0.1
    patience: int = 10
    min_delta: float = 0.0
    minimum: float = 0.0
    mode: str | None = None

    def __post_init__(self) -> None:
        real(f"{self}: factor", self.factor, "a number in (0, 1)", lambda x: 0 < x < 1)
        check_patience(str(self), self.patience, self.min_delta)
        not_negative(f"{self}: minimum", self.minimum)
        rises(str(self), self.monitor, self.mode)

    @property
    def watches(self) -> str:
        """The score that it monitors."""
        return self.monitor

    def __call__(self, epoch: int, lr: float, scores: Sequence[float] = ()) -> float:
        watch = Watch(rises(str(self), self.monitor, self.mode), self.min_delta)
        least = min(lr, max(self.minimum, sys.float_info.min))
        for score in scores:
            if math.isnan(score):
                continue
            watch.see(score)
            if watch.waited == self.patience:
                lr, watch.waited = max(lr * self.factor, least), 0
        return lr
