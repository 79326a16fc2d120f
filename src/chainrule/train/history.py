"""What a training leaves behind: the curves, with training and validation taken at the same weights."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, UnknownNameError


class Scores(dict[str, float]):
    """Numbers by name, also as attributes: `scores.loss`, `scores["accuracy"]`."""

    def __getattr__(self, name: str) -> float:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no '{name}' among {', '.join(self)}") from None


class History:
    """The scores after epochs, as lists: `history.train_loss`, `history.validation_accuracy`, ...

    Attributes
    ----------
    epochs : list of int
        After which epochs the scores were taken (from 1).
    seconds : list of float
        How long the training took until then, without the time for the scores.
    series : dict of list of float
        The scores by name, each as long as `epochs`: NaN where one was not taken.
    learning_rate : list of float
        With which each epoch was trained: every one, whether scores were taken after it or not.
    loss_unit : str
        The unit of the losses.
    """

    def __init__(self, loss_unit: str) -> None:
        self.loss_unit = loss_unit
        self.epochs: list[int] = []
        self.seconds: list[float] = []
        self.learning_rate: list[float] = []
        self.series: dict[str, list[float]] = {}

    def append(self, epoch: int, seconds: float, scores: dict[str, Scores]) -> None:
        """Add the scores of the parts (`train`, `validation`) after an epoch."""
        taken = {f"{part}_{name}": value for part, values in scores.items() for name, value in values.items()}
        for name in {**self.series, **taken}:
            values = self.series.setdefault(name, [math.nan] * len(self.epochs))
            values.append(taken.get(name, math.nan))
        self.epochs.append(epoch)
        self.seconds.append(seconds)

    def __getattr__(self, name: str) -> list[float]:
        series: dict[str, list[float]] = self.__dict__.get("series", {})
        if name in series:
            return series[name]
        raise AttributeError(f"the history has no '{name}'; it has {', '.join(series) or 'nothing yet'}")

    def __repr__(self) -> str:
        if not self.epochs:
            return "History(nothing yet)"
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.series.items())
        return f"History(after epoch {self.epochs[-1]}: {last}; losses: {self.loss_unit})"


@dataclass(frozen=True)
class Runs:
    """Several trainings as one: see `over_runs`.

    Attributes
    ----------
    epochs : ndarray of int (k,)
        After which epochs any of the runs took its scores.
    n : ndarray of int (k,)
        How many of the runs took them.
    mean, std : dict of ndarray (k,)
        By the name of the series, over those n runs; the standard deviation is the sample's (n - 1), NaN for one run.
    loss_unit : str
        The unit of the losses.
    """

    epochs: np.ndarray[Any, Any]
    n: np.ndarray[Any, Any]
    mean: dict[str, np.ndarray[Any, Any]]
    std: dict[str, np.ndarray[Any, Any]]
    loss_unit: str


def over_runs(histories: Sequence[History]) -> Runs:
    """Mean and standard deviation of each series over several runs, epoch by epoch.

    Runs may differ in length, say by early stopping. The rule: each epoch counts the runs that took scores after it,
    and `n` says how many these are. Where `n` falls, the curve goes on with the runs that are left and may jump; cut it
    at `n == n.max()` if that is not wanted.

    Parameters
    ----------
    histories : sequence of History
        With the same series and loss unit.

    Returns
    -------
    Runs

    Raises
    ------
    ChainruleError
        If there is no history with scores, or they do not agree in what they recorded.
    """
    histories = list(histories) if isinstance(histories, Iterable) else histories
    if not isinstance(histories, list) or not all(isinstance(history, History) for history in histories):
        found = repr(histories)[:200]
        raise ChainruleError(f"over_runs: expected a list of histories, one a run (trainer.history); found {found}.")
    if not histories or not all(history.epochs for history in histories):
        raise ChainruleError("over_runs: expected at least one history, each with scores; train first.")
    first = histories[0]
    for i, history in enumerate(histories):
        if (set(history.series), history.loss_unit) != (set(first.series), first.loss_unit):
            raise ChainruleError(
                f"over_runs: run {i} recorded {_recorded(history)}, but run 0 {_recorded(first)}; only runs of one "
                "kind have a mean."
            )
    epochs = sorted({epoch for history in histories for epoch in history.epochs})
    mean: dict[str, np.ndarray[Any, Any]] = {}
    std: dict[str, np.ndarray[Any, Any]] = {}
    at = [dict(zip(history.epochs, range(len(history.epochs)), strict=True)) for history in histories]
    for name in first.series:
        there = [[h.series[name][i[e]] for h, i in zip(histories, at, strict=True) if e in i] for e in epochs]
        with np.errstate(all="ignore"):  # a run whose loss became infinite has no standard deviation
            mean[name] = np.array([np.mean(values) for values in there])
            std[name] = np.array([np.std(values, ddof=1) if len(values) > 1 else math.nan for values in there])
    n = np.array([sum(e in i for i in at) for e in epochs])
    return Runs(np.array(epochs), n, mean, std, first.loss_unit)


def _recorded(history: History) -> str:
    return f"{', '.join(sorted(history.series))} ({history.loss_unit})"


def check_monitored(where: str, monitor: str, taken: Iterable[str]) -> None:
    """Raise unless the score of this name will be taken."""
    taken = list(taken)
    if monitor in taken:
        return
    if not taken:
        raise ChainruleError(
            f"{where} watches '{monitor}', but fit was told to take no scores (evaluate_every=None); pass a number."
        )
    if monitor.startswith("validation_") and not any(name.startswith("validation_") for name in taken):
        raise ChainruleError(
            f"{where} watches '{monitor}', but fit was given no validation data: pass them, as in fit(train, "
            f"validation, ...), or watch one of {', '.join(taken)}."
        )
    raise UnknownNameError(f"score for {where} to watch", monitor, taken)
