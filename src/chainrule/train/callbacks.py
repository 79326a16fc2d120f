"""Callbacks: what a person wants done while a Trainer trains. The progress bar is one of them."""

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from chainrule.train.history import Scores
    from chainrule.train.trainer import Trainer


class Callback:
    """The base of all callbacks: give the methods that are wanted. Setting `trainer.stop = True` ends the training."""

    def on_fit_start(self, trainer: "Trainer", epochs: int) -> None:
        """Before the first epoch."""

    def on_batch_end(self, trainer: "Trainer", epoch: int, batch: int, loss: float) -> None:
        """After each step; `loss` is that of the batch, before the step. Who listens to batches gets eager mode."""

    def on_steps_end(self, trainer: "Trainer", epoch: int, losses: np.ndarray[Any, Any]) -> None:
        """After the last step of an epoch, before scores are taken; in every backend.

        `losses` has the shape (steps,) and the model's dtype: those of the batches, each before its step.
        """

    def on_epoch_end(self, trainer: "Trainer", epoch: int, scores: "dict[str, Scores]") -> None:
        """After each epoch; `scores["train"]` and `scores["validation"]` are empty where none were taken."""

    def on_fit_end(self, trainer: "Trainer") -> None:
        """After the last epoch, also when the training ended early or with an error."""


class ProgressBar(Callback):
    """A bar on the terminal with the last scores; nothing where standard error is not a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_fit_start(self, trainer: "Trainer", epochs: int) -> None:
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        # A column that may wrap: many scores take a second line, not the place of the count.
        scores = TextColumn("{task.description}", table_column=Column())
        columns = ("epoch", MofNCompleteColumn(), BarColumn(bar_width=20), TimeRemainingColumn(), scores)
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._bar.start()
        self._task = self._bar.add_task("", total=epochs)

    def on_epoch_end(self, trainer: "Trainer", epoch: int, scores: "dict[str, Scores]") -> None:
        if self._bar is not None:
            parts = [
                f"{part} {' '.join(f'{name} {value:.4f}' for name, value in values.items())}"
                for part, values in scores.items()
                if values
            ]
            self._bar.update(self._task, completed=epoch, description=", ".join(parts) or None)

    def on_fit_end(self, trainer: "Trainer") -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
