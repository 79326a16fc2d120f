"""Early stopping: training ends when a score no longer improves, and the best weights come back."""

from typing import TYPE_CHECKING, Any

from chainrule.optim.watch import Watch, check_patience, rises
from chainrule.train.callbacks import Callback
from chainrule.train.history import check_monitored

if TYPE_CHECKING:
    from chainrule.train.history import Scores
    from chainrule.train.trainer import Trainer


class EarlyStopping(Callback):
    """Ends the training when a score has not improved for `patience` scores in a row. [Prechelt 1998]

    A score is taken after each epoch (or after every `evaluate_every` of them). One that is NaN is no improvement. With
    each `fit` the counting begins anew.

    Parameters
    ----------
    monitor : str
        A score by its name in the history, such as `"validation_loss"` or `"validation_accuracy"`.
    patience : int
        At least 1: how many scores without improvement in a row end the training.
    min_delta : float
        A score counts as better if it is so by more than this.
    mode : {"min", "max"}, optional
        Whether smaller or larger is better; only needed where the name does not end in loss, error or accuracy.
    restore_best : bool
        When the training ends, early, in time or with an error, give the model the weights that it had after
        `best_epoch`. The history keeps all epochs, and the optimiser its last state.

    Attributes
    ----------
    best_epoch : int or None
        After which epoch the score was best; None before any score was taken.
    best_score : float
        NaN before any score was taken.
    stopped_epoch : int or None
        After which epoch the training was ended; None if it was not.

    Raises
    ------
    ChainruleError
        At the beginning of a fit that will not take the score: above all one without validation data.
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        *,
        patience: int,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best: bool = True,
    ) -> None:
        check_patience("EarlyStopping", patience, min_delta)
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.rising = rises("EarlyStopping", monitor, mode)
        self.restore_best = restore_best
        self._forget()

    def _forget(self) -> None:
        self._watch = Watch(self.rising, self.min_delta)
        self._best: dict[str, Any] | None = None
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None

    @property
    def best_score(self) -> float:
        """The best score."""
        return self._watch.best

    def on_fit_start(self, trainer: "Trainer", epochs: int) -> None:
        self._forget()
        check_monitored("EarlyStopping", self.monitor, trainer.monitored)

    def on_epoch_end(self, trainer: "Trainer", epoch: int, scores: "dict[str, Scores]") -> None:
        part, _, name = self.monitor.partition("_")
        if name not in scores[part]:
            return  # no scores were taken after this epoch
        if self._watch.see(scores[part][name]):
            self.best_epoch = epoch
            self._best = trainer.model.state_dict() if self.restore_best else None
        elif self._watch.waited >= self.patience:
            self.stopped_epoch, trainer.stop = epoch, True

    def on_fit_end(self, trainer: "Trainer") -> None:
        if self._best is not None and trainer.epoch != self.best_epoch:
            trainer.model.load_state_dict(self._best)
        self._best = None

    def __repr__(self) -> str:
        best = f"best {self.best_score:.4g} after epoch {self.best_epoch}" if self.best_epoch else "nothing yet"
        stopped = f", stopped after epoch {self.stopped_epoch}" if self.stopped_epoch else ""
        return f"EarlyStopping({self.monitor}: {best}{stopped})"
