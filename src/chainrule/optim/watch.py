"""Whether a score still improves: what `ReduceOnPlateau` and early stopping ask."""

import math
from typing import Any

from chainrule.errors import ChainruleError
from chainrule.nn.arguments import not_negative, whole

FALLING, RISING = ("loss", "error"), ("accuracy",)


class Watch:
    """The best of the scores seen so far, and how many have come since.

    Parameters
    ----------
    rising : bool
        Whether larger is better.
    min_delta : float
        By how much a score must be better than the best.

    Attributes
    ----------
    best : float
        NaN before the first score. A score that is NaN never is the best.
    waited : int
    """

    def __init__(self, rising: bool, min_delta: float) -> None:
        self.rising, self.min_delta = rising, min_delta
        self.best, self.waited = math.nan, 0

    def see(self, score: float) -> bool:
        """Take notice of a score; whether it is the best."""
        gain = score - self.best if self.rising else self.best - score
        better = not math.isnan(score) if math.isnan(self.best) else gain > self.min_delta
        self.best, self.waited = (score, 0) if better else (self.best, self.waited + 1)
        return better


def rises(where: str, monitor: str, mode: str | None) -> bool:
    """Whether larger is better, from `mode` ("min" or "max") or else from the name of the score."""
    if mode not in (None, "min", "max"):
        raise ChainruleError(f"{where}: mode is {mode!r}; expected 'min' (smaller is better) or 'max'.")
    if not isinstance(monitor, str):
        raise ChainruleError(f"{where}: monitor is {monitor!r}; expected a score's name, such as 'validation_loss'.")
    name = monitor.rpartition("_")[2]
    if mode is None and name not in FALLING + RISING:
        raise ChainruleError(
            f"{where}: whether a larger '{monitor}' is better cannot be told from its name; give mode='min' (smaller "
            "is better) or mode='max'."
        )
    return mode == "max" or (mode is None and name in RISING)


def check_patience(where: str, patience: Any, min_delta: Any) -> None:
    """Raise unless the patience is a whole number, at least 1, and min_delta a number that is not negative."""
    whole(f"{where}: patience", patience, "a whole number of scores")
    not_negative(f"{where}: min_delta", min_delta)
