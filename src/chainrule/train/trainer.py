"""`Trainer`: the loop over epochs and batches, and the evaluation, which cannot change a parameter."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from chainrule.compiler.backend import requested
from chainrule.compiler.fusion.listing import Lists
from chainrule.data import Dataset
from chainrule.engine import Tensor, no_grad
from chainrule.errors import ChainruleError, DataError, DivergenceError
from chainrule.nn import init, prediction
from chainrule.nn.arguments import number, positive, whole
from chainrule.nn.losses import Loss
from chainrule.nn.module import Module, RandomKey, evaluating
from chainrule.optim import Optimizer, Schedule, clip_norm, clip_value
from chainrule.train.callbacks import Callback, ProgressBar
from chainrule.train.compiled import CompiledTraining
from chainrule.train.divergence import divergence
from chainrule.train.history import History, Scores, check_monitored
from chainrule.train.metrics import Metric, named

_ROWS = 5000  # how many samples are evaluated at a time: large products, little memory


class Trainer:
    """Trains a model by stochastic gradient descent.

    Parameters
    ----------
    model : Module
    loss : Loss
        Its `reduction` says whether gradients are averaged or summed over a batch.
    optimizer : Optimizer
        Of the model's parameters.
    metrics : sequence of str or functions, optional
        `"accuracy"`, `"error"`, or functions of (outputs, targets) that give one number for each sample. By default the
        accuracy where the data have classes.
    callbacks : sequence of Callback
    schedule : Schedule, or function of (epoch, lr), optional
        The learning rate of each epoch, from the optimizer's own, which is set aside while an epoch is trained and is
        there again afterwards. See `chainrule.optim`.
    clip_norm, clip_value : float, optional
        Before each step, scale the gradients to at most this norm; clip their elements to ± this value. See
        `chainrule.optim.clip_norm`, `clip_value`.
    backend : {"auto", "numba", "numpy", "eager"}, optional
        How the steps are computed: as machine code, by a plan of NumPy calls, or op by op. "auto" decides by the
        estimated work, before a fit begins; None asks the environment's CHAINRULE_BACKEND, and is "auto" without it.
        What cannot be compiled is computed in the next simpler way, with a notice if it was asked for.

    Attributes
    ----------
    history : History
        The curves; a further `fit` goes on with them.
    epoch : int
        How many epochs have been trained.
    stop : bool
        Set it in a callback to end the training after the epoch.
    backend : str
        How the steps of the present or last fit are computed; before the first, what was asked for.
    monitored : list of str
        The names in the history of the scores that the present `fit` takes.
    """

    def __init__(
        self,
        model: Module,
        loss: Loss,
        optimizer: Optimizer,
        metrics: Sequence[str | Metric] | None = None,
        callbacks: Sequence[Callback] = (),
        *,
        schedule: Schedule | Callable[[int, float], float] | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        backend: str | None = None,
    ) -> None:
        _expect("model", model, Module, "nn.Linear(784, 10)")
        _expect("loss", loss, Loss, "nn.CrossEntropyLoss()")
        _expect("optimizer", optimizer, Optimizer, "optim.SGD(model.parameters(), lr=0.1)")
        own = {id(p) for p in model.parameters()}
        if not own & {id(p) for p in optimizer.parameters}:
            raise ChainruleError(
                "Trainer: the optimizer has none of the model's parameters; pass it model.parameters()."
            )
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.metrics = None if metrics is None else dict(map(named, _listed("metrics", metrics, "['accuracy']")))
        self.callbacks = _listed("callbacks", callbacks, "[EarlyStopping(patience=5)]")
        for callback in self.callbacks:
            _expect("callback", callback, Callback, "EarlyStopping(patience=5)")
        if schedule is not None and not callable(schedule):
            raise ChainruleError(
                f"Trainer: schedule is {schedule!r}; expected one such as optim.Cosine(epochs=50), or a function of "
                "the epoch and the base rate."
            )
        self.schedule = schedule
        self.clip_norm = None if clip_norm is None else positive("Trainer: clip_norm", clip_norm)
        self.clip_value = None if clip_value is None else positive("Trainer: clip_value", clip_value)
        self.wanted = self.backend = requested(backend)
        self.history = History(loss.unit)
        self.monitored: list[str] = []
        self.epoch = 0
        self.stop = False
        self._seconds = 0.0
        self._compiled: CompiledTraining | None = None
        self.lists = Lists()  # which `fit` keeps

    def __getstate__(self) -> dict[str, Any]:
        # Machine code, threads and lists of the data: a copy makes them for itself.
        return {**vars(self), "_compiled": None, "lists": Lists()}

    def __repr__(self) -> str:
        done = f"{self.epoch} epoch{'s' * (self.epoch != 1)} trained"
        return f"Trainer({self.loss!r}, {self.optimizer!r}, {done}) of\n{self.model!r}"

    @property
    def source(self) -> str:
        """The program of the last fit as text: a Numba module, or a plan's function; empty in eager mode."""
        return self._compiled.source if self._compiled is not None else ""

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None = None,
        *,
        epochs: int,
        batch_size: int | None = 100,
        shuffle: bool = True,
        seed: int | None = None,
        evaluate_every: int | None = 1,
        progress: bool = True,
    ) -> History:
        """Train for some epochs; the scores are taken on both sets after an epoch, at the same weights.

        Parameters
        ----------
        train, validation : Dataset
        epochs : int
        batch_size : int or None
            None takes the whole set as one batch. The last batch may be shorter.
        shuffle : bool
            Whether the order is drawn anew for each epoch (not for a single batch).
        seed : int, optional
            Of the order; by default the library's generator is used, which `chainrule.manual_seed` sets.
        evaluate_every : int or None
            Take the scores after every so many epochs, and after the last one. None takes none at all, and leaves the
            history without entries.
        progress : bool
            Show a bar, if standard error is a terminal.

        Returns
        -------
        History

        Raises
        ------
        ChainruleError
            Before the training begins: if a number is none; if the schedule goes on beyond the last epoch, gives a rate
            that is not positive, or watches a score that is not taken.
        DivergenceError
            If the loss is no longer a finite number: says at which epoch, batch, layer and op.
        """
        whole("fit: epochs", epochs)
        for name, value in {"evaluate_every": evaluate_every, "batch_size": batch_size}.items():
            if value is not None:
                whole(f"fit: {name}", value)
        _check(train, "fit")
        if validation is not None:
            _check(validation, "fit")
        rng = init.generator() if seed is None else np.random.default_rng(whole("fit: seed", seed, least=0))
        callbacks = [*self.callbacks, *([ProgressBar()] if progress else [])]
        last = self.epoch + epochs
        self.stop = False
        parts = {"train": train} if validation is None else {"train": train, "validation": validation}
        scored = parts if evaluate_every is not None else {}
        self.monitored = [f"{part}_{name}" for part, data in scored.items() for name in ("loss", *self._metrics(data))]
        self._check_schedule(last)
        run_epoch = self._epochs(train, batch_size, rng if shuffle else None, epochs, callbacks)
        with ExitStack() as ends:
            theirs = [*callbacks, *([self.schedule] if self.schedule is not None else [])]
            if all(type(each).__module__.startswith("chainrule.") for each in theirs):
                ends.enter_context(self.lists)  # else somebody's own code may change the data
            if self._compiled is not None:
                ends.callback(self._compiled.look_again)
            for callback in reversed(callbacks):
                ends.callback(callback.on_fit_end, self)  # in their order, each one even if another raises
            for callback in callbacks:
                callback.on_fit_start(self, last)
            while self.epoch < last and not self.stop:
                self.epoch += 1
                with self._scheduled():
                    self.model.train()
                    begin = time.perf_counter()
                    losses = run_epoch()
                    self._seconds += time.perf_counter() - begin
                    for callback in callbacks:
                        callback.on_steps_end(self, self.epoch, losses)
                    ends_here = self.epoch == last or self.stop
                    wanted = evaluate_every is not None and (ends_here or self.epoch % evaluate_every == 0)
                    scores = self._scores(train, validation) if wanted else {"train": Scores(), "validation": Scores()}
                if wanted:
                    self.history.append(self.epoch, self._seconds, scores)
                for callback in callbacks:
                    callback.on_epoch_end(self, self.epoch, scores)
        return self.history

    def _rate(self, epoch: int) -> float:
        """The learning rate of an epoch: the schedule's word on the optimizer's own."""
        schedule, base = self.schedule, self.optimizer.lr
        if schedule is None:
            return base
        if isinstance(schedule, Schedule) and schedule.watches is not None:
            return schedule(epoch, base, self.history.series.get(schedule.watches, ()))
        return schedule(epoch, base)

    def _check_schedule(self, last: int) -> None:
        """Try the schedule on all epochs of a fit, before the first."""
        if isinstance(self.schedule, Schedule):
            if self.schedule.needs > last:
                raise ChainruleError(
                    f"fit: the schedule {self.schedule} goes on to epoch {self.schedule.needs}, but the last epoch is "
                    f"{last}; train for longer, or take out what would not be reached."
                )
            if self.schedule.watches is not None:  # its rates are known epoch by epoch
                check_monitored(f"the schedule {self.schedule}", self.schedule.watches, self.monitored)
                return
        for epoch in range(self.epoch + 1, last + 1):
            rate = self._rate(epoch)
            if not 0 < number(rate) < math.inf:
                raise ChainruleError(
                    f"fit: the schedule {self.schedule} gives the learning rate {rate!r} in epoch {epoch} of {last}; "
                    "expected a positive number."
                )

    @contextmanager
    def _scheduled(self) -> Iterator[None]:
        """Train this epoch with the schedule's rate; the optimizer's own is the base of the next epoch's."""
        base, rate = self.optimizer.lr, positive("the schedule's learning rate", self._rate(self.epoch))
        self.history.learning_rate.append(rate)
        if self.schedule is None:
            yield
            return
        self.optimizer.lr = rate
        try:
            yield
        finally:
            self.optimizer.lr = base

    def _scores(self, train: Dataset, validation: Dataset | None) -> dict[str, Scores]:
        """The scores after an epoch, by part."""
        scores = {"train": self.evaluate(train), "validation": Scores()}
        if not math.isfinite(scores["train"].loss):
            where = f"the end of epoch {self.epoch}"
            raise self._diverged(scores["train"].loss, where, lambda: self._losses(train))
        if validation is not None:
            scores["validation"] = self.evaluate(validation)
        return scores

    def _epochs(
        self,
        train: Dataset,
        batch_size: int | None,
        rng: np.random.Generator | None,
        epochs: int,
        callbacks: Sequence[Callback],
    ) -> Callable[[], np.ndarray[Any, Any]]:
        """A function that trains an epoch, in the backend that is asked for or chosen, and gives its steps' losses."""
        batches = _batches(train, batch_size, rng, self.model.dtype)
        listening = [c for c in callbacks if type(c).on_batch_end is not Callback.on_batch_end]
        size = min(batch_size or len(train), len(train))
        # Who listens to batches may look at gradients, which only eager mode leaves behind.
        wanted = "eager" if listening else self.wanted
        compiled = self._compiled
        if compiled is None or not compiled.continues(train, size, epochs, wanted):
            compiled = self._compiled = CompiledTraining(self, train, size, epochs, wanted)
        self.backend = compiled.backend
        if compiled.backend == "eager":
            return lambda: self._run_epoch(batches(), listening)
        shuffled = rng if size < len(train) else None

        def run() -> np.ndarray[Any, Any]:
            order = None if shuffled is None else shuffled.permutation(len(train))
            losses = compiled.epoch(order, f"epoch {self.epoch}")
            self.backend = compiled.backend
            return losses

        return run

    def _run_epoch(self, batches: Iterator[tuple[Any, Any]], listening: Sequence[Callback]) -> np.ndarray[Any, Any]:
        losses = []
        for batch, (x, t) in enumerate(batches, 1):
            losses.append(self.step(x, t, f"epoch {self.epoch}, batch {batch}"))
            for callback in listening:
                callback.on_batch_end(self, self.epoch, batch, losses[-1])
        return np.array(losses, self.model.dtype)

    def step(self, x: Any, t: Any, where: str = "this step", key: int | None = None) -> float:
        """One step on one batch: forward, backward, update. Returns the loss before the update.

        `key` determines what is random in it; by default the library's generator draws one.
        """
        with RandomKey(key) as drawn, np.errstate(all="ignore"):  # what is not finite is explained below
            loss = self.loss(self.model(x), t)
            if not isinstance(loss, Tensor) or loss.shape != ():
                raise ChainruleError(f"the loss must be one number, of shape (); {self.loss!r} gave {loss!r}.")
            value = float(loss.item())
            if not math.isfinite(value):
                raise self._diverged(value, where, lambda: self._again(drawn.value, x, t))
            self.optimizer.zero_grad()
            loss.backward()
            if self.clip_norm is not None:
                clip_norm(self.optimizer.parameters, self.clip_norm)
            if self.clip_value is not None:
                clip_value(self.optimizer.parameters, self.clip_value)
            self.optimizer.step()
        return value

    def _again(self, key: Any, x: Any, t: Any) -> None:
        """The loss of a step, with the same random numbers."""
        with RandomKey(key):
            self._loss(self.model(x), t)

    def _losses(self, dataset: Dataset) -> None:
        for start in range(0, len(dataset), _ROWS):
            rows = slice(start, start + _ROWS)
            dtype = self.model.dtype
            self._loss(self.model(dataset.features(rows, dtype)), _cast(dataset.targets[rows], dtype))

    def _loss(self, outputs: Any, t: Any) -> None:
        """The loss, whose ops are named as its own if one of them is found to be guilty."""
        try:
            self.loss(outputs, t)
        except DivergenceError as error:
            raise DivergenceError(f"in {self.loss!r}, {error}") from None

    def _diverged(self, value: float, where: str, compute: Callable[[], Any]) -> DivergenceError:
        return divergence(self.model, self.optimizer.lr, value, where, compute)

    def evaluate(self, dataset: Dataset) -> Scores:
        """The loss (in its declared reduction, over the whole set) and the metrics, in evaluation mode.

        Raises
        ------
        ChainruleError
            If evaluating changes a parameter.
        """
        _check(dataset, "evaluate")
        if not len(dataset):
            raise DataError(f"evaluate: the data set '{dataset.name}' is empty.")
        metrics = self._metrics(dataset)
        before = self.model.tensors()
        versions = [t.version for t in before]
        total = count = 0.0
        sums = dict.fromkeys(metrics, 0.0)
        with no_grad(), evaluating(self.model), np.errstate(all="ignore"):
            compute = self._outputs(dataset)
            for start in range(0, len(dataset), _ROWS):
                rows = slice(start, min(start + _ROWS, len(dataset)))
                outputs = compute(rows)
                t = _cast(dataset.targets[rows], self.model.dtype)
                total += float(self.loss.samples(outputs, t, "sum"))
                count += self.loss.count(outputs, t)
                for name, metric in metrics.items():
                    sums[name] += float(np.sum(metric(outputs, t)))
        after = self.model.tensors()
        if list(map(id, after)) != list(map(id, before)) or [t.version for t in after] != versions:
            raise ChainruleError(
                "evaluate: the model's forward changed a parameter; evaluation must leave them as they are."
            )
        loss = self.loss.over(total, count)
        return Scores(loss=loss, **{name: value / len(dataset) for name, value in sums.items()})

    def _outputs(self, dataset: Dataset) -> Callable[[slice], Any]:
        """The model's outputs for rows of a data set, in the backend of the fit."""
        asked = self.wanted != "auto"
        compiled = prediction.outputs(self.model, dataset, self.backend, len(dataset), asked, self.lists)
        return compiled or (lambda rows: _array(self.model(dataset.features(rows, self.model.dtype))))

    def _metrics(self, dataset: Dataset) -> dict[str, Metric]:
        """The metrics that are taken on a data set, by name."""
        if self.metrics is not None:
            return self.metrics
        return dict([named("accuracy")]) if dataset.classes is not None else {}


def _expect(name: str, value: Any, kind: type, example: str) -> None:
    if not isinstance(value, kind):
        raise ChainruleError(f"Trainer: the {name} is {value!r}; expected one made as {example} is.")


def _listed(name: str, values: Any, example: str) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ChainruleError(f"Trainer: {name} is {values!r}; expected a list, such as {example}.")
    return list(values)


def _check(dataset: Any, where: str) -> None:
    if not isinstance(dataset, Dataset):
        raise DataError(
            f"{where} was given a {type(dataset).__name__}; expected a Dataset: data.arrays(x, y) makes one of arrays, "
            "and a sealed test set's open() returns it."
        )


def _array(y: Any) -> np.ndarray[Any, Any]:
    return y.value if isinstance(y, Tensor) else np.asarray(y)


def _batches(
    train: Dataset, batch_size: int | None, rng: np.random.Generator | None, dtype: Any
) -> Callable[[], Iterator[tuple[Any, Any]]]:
    """A function that begins an epoch. A single batch is made once and kept, since no order has to be drawn for it.

    Nothing is made before: who compiles the steps begins no epoch here.
    """
    if not len(train):
        raise DataError(f"fit: the data set '{train.name}' is empty.")
    if batch_size is None or batch_size >= len(train):
        whole: list[tuple[Any, Any]] = []

        def kept() -> Iterator[tuple[Any, Any]]:
            whole[:] = whole or [(train.features(dtype=dtype), _cast(train.targets, dtype))]
            return iter(whole)

        return kept
    return lambda: ((x, _cast(t, dtype)) for x, t in train.batches(batch_size, rng=rng, dtype=dtype))


def _cast(targets: Any, dtype: Any) -> Any:
    """Targets of floats in the model's dtype; labels as they are."""
    return targets.astype(dtype, copy=False) if targets.dtype.kind == "f" else targets
