"""What a training leaves behind: the curves, with training and validation taken at the same weights."""

from typing import Any


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
    loss_unit : str
        The unit of the losses.
    """

    def __init__(self, loss_unit: str) -> None:
        self.loss_unit = loss_unit
        self.epochs: list[int] = []
        self.seconds: list[float] = []
        self.series: dict[str, list[float]] = {}

    def append(self, epoch: int, seconds: float, scores: dict[str, Scores]) -> None:
        """Add the scores of the parts (`train`, `validation`) after an epoch."""
        self.epochs.append(epoch)
        self.seconds.append(seconds)
        for part, values in scores.items():
            for name, value in values.items():
                self.series.setdefault(f"{part}_{name}", []).append(value)

    def __getattr__(self, name: str) -> list[float]:
        series: dict[str, Any] = self.__dict__.get("series", {})
        if name in series:
            return series[name]  # type: ignore[no-any-return]
        raise AttributeError(f"the history has no '{name}'; it has {', '.join(series) or 'nothing yet'}")

    def __repr__(self) -> str:
        if not self.epochs:
            return "History(nothing yet)"
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.series.items())
        return f"History(after epoch {self.epochs[-1]}: {last}; losses: {self.loss_unit})"
