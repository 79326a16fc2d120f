"""A model as somebody wrote it, whoever that was, behind one small interface: `as_subject` recognises Trainers,
Modules, PyTorch models, classes and functions written by hand.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from chainrule.check.subjects.calls import Layout, UnfitError, as_number, quietly, takes_one_sample
from chainrule.check.subjects.handwritten import METHODS, HandwrittenModel
from chainrule.check.subjects.interface import Array, Subject, listed, losses
from chainrule.check.subjects.places import checked_names, matched_gradients
from chainrule.check.subjects.snapshots import Snapshot
from chainrule.engine import Tensor, no_grad
from chainrule.errors import ChainruleError
from chainrule.nn.losses import CrossEntropyLoss, Loss
from chainrule.nn.module import Module, evaluating
from chainrule.optim import Optimizer
from chainrule.train import Trainer


def as_subject(
    thing: Any,
    loss: Any = None,
    *,
    optimizer: Any = None,
    parameters: Mapping[str, Any] | None = None,
    lr: float = 0.1,
) -> Subject:
    """Whatever somebody has, as a `Subject`; the thing itself is not changed.

    Parameters
    ----------
    thing : Trainer, Module, torch.nn.Module, object, function or Subject
        An object of somebody's class keeps its parameters in a dict (`params`, `parameters`, ...), in lists, in
        attributes (`W1`, `b1`) or in layers, and has methods such as `forward(x)` or `predict(x)`, `loss(x, t)`,
        `gradients(x, t)` or `backward(...)`, `step(x, t, lr)` or `update(...)`: what is there is tried with a few
        samples when it is first needed. A function is one of `(parameters, inputs, targets)` that returns the loss, or
        the loss and its gradients.
    loss : Loss, function of (outputs, targets), or {"cross-entropy", "mse"}, optional
        For a model that has none of its own. For a function, the name says which loss it is meant to be.
    optimizer : Optimizer, or one of torch.optim's, optional
        For a Module of the library's or of PyTorch's.
    parameters : dict of arrays, optional
        For a function: the point at which it is looked at.
    lr : float
        The learning rate that is passed to a step that asks for one.

    Raises
    ------
    ChainruleError
        If it is none of these: says what was found and what is expected.
    """
    if isinstance(thing, Subject):
        return thing
    if isinstance(thing, Trainer):
        return TrainedModel(thing.model, thing.loss, thing)
    if isinstance(thing, Module):
        return _of_module(thing, loss, optimizer)
    if _is_torch(thing):
        from chainrule.check.subjects.torch_models import TorchModel

        return TorchModel(thing, loss, optimizer, lr)
    if isinstance(thing, type):
        raise ChainruleError(
            f"as_subject was given the class {thing.__name__}; expected an object of it, such as {thing.__name__}(...)."
        )
    if parameters is not None and callable(thing):
        return ParametricFunction(thing, parameters, loss if isinstance(loss, str) else None, lr)
    given = losses(loss) if isinstance(loss, str) else loss
    if given is not None and not callable(given):
        raise ChainruleError(f"as_subject: the loss is {loss!r}; expected a function of (outputs, targets).")
    subject = HandwrittenModel(thing, _plain(given), lr)
    subject.loss_kind = _kind(loss)
    return _checked(subject)


def _of_module(model: Module, loss: Any, optimizer: Any) -> Subject:
    if not isinstance(loss, Loss):
        raise ChainruleError(
            f"as_subject: a Module comes with a loss made as nn.CrossEntropyLoss() is; found {loss!r}. Pass loss=..., "
            "or a Trainer."
        )
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise ChainruleError(f"as_subject: the optimizer is {optimizer!r}; expected one such as optim.SGD.")
    return TrainedModel(model, loss, Trainer(model, loss, optimizer) if optimizer is not None else None)


def _is_torch(thing: Any) -> bool:
    torch = sys.modules.get("torch")  # an object of PyTorch's cannot be where PyTorch was not imported
    return torch is not None and isinstance(thing, torch.nn.Module)


def _plain(loss: Any) -> Any:
    """A loss as a function of arrays."""
    if not isinstance(loss, Loss):
        return loss
    return lambda outputs, t: float(np.asarray(loss(outputs, t)))


def _kind(loss: Any) -> str | None:
    """What is known of a loss: `"cross-entropy"` is that of a softmax, without weights for the classes."""
    if isinstance(loss, str):
        return "cross-entropy" if loss.startswith("cross") else "other"
    if isinstance(loss, CrossEntropyLoss):
        return "cross-entropy" if loss.class_weights is None else "other"
    return "other" if isinstance(loss, Loss) else None


def _checked(subject: HandwrittenModel) -> HandwrittenModel:
    offered = [what for what in METHODS if subject.offers(what)]
    if subject.places and offered:
        return subject
    own = [n for n in dir(subject.thing) if not n.startswith("_") and callable(getattr(subject.thing, n, None))]
    found = f"the methods {', '.join(own)}" if own else "no methods"
    kept = ", ".join(subject.places)
    raise ChainruleError(
        f"as_subject: this {subject.name} was not recognised as a model. Found: parameters: {kept or 'none'}; {found}. "
        "Expected: arrays of floats in a dict called params, in attributes such as W1 and b1 or in layers, and methods "
        "such as forward(x), loss(x, t), gradients(x, t), step(x, t, lr). A function of (parameters, inputs, targets) "
        "is passed with parameters={...}."
    )


class TrainedModel(Subject):
    """A Module of the library's with its loss, and with a Trainer if it can be trained.

    Outputs, loss and gradients are those of evaluation mode (no dropout, running statistics); `update` is the Trainer's
    step, in training mode.
    """

    def __init__(self, model: Module, loss: Loss, trainer: Trainer | None) -> None:
        rate = trainer.optimizer.lr if trainer is not None else 0.0
        super().__init__(type(model).__name__ if trainer is None else f"Trainer of a {type(model).__name__}", rate)
        self.model, self.loss_function, self.trainer = model, loss, trainer
        self.reduction = "sum" if loss.reduction == "sum" else "mean"
        self.loss_kind = _kind(loss)

    @property
    def parameters(self) -> dict[str, Array]:
        return {name: p.numpy() for name, p in self.model.named_parameters()}

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        own = dict(self.model.named_parameters())
        checked_names(values, own)
        for name, value in values.items():
            own[name].assign(value)

    def offers(self, what: str) -> bool:
        return what != "update" or self.trainer is not None

    def predict(self, x: Any) -> Array:
        return np.asarray(quietly(self.model.predict, self._inputs(x)))

    def loss(self, x: Any, t: Any) -> float:
        with no_grad(), evaluating(self.model):
            return float(np.asarray(_value(quietly(self._compute, x, t))))

    def gradients(self, x: Any, t: Any) -> dict[str, Array] | None:
        own = dict(self.model.named_parameters())
        kept = {name: p.grad for name, p in own.items()}
        try:
            for p in own.values():
                p.grad = None
            with evaluating(self.model):
                loss = quietly(self._compute, x, t)
            if isinstance(loss, Tensor) and loss.requires_grad:
                quietly(loss.backward)
            return {n: np.zeros(p.shape, p.dtype) if p.grad is None else p.grad.copy() for n, p in own.items()}
        finally:
            for name, p in own.items():
                p.grad = kept[name]

    def update(self, x: Any, t: Any) -> None:
        if self.trainer is None:
            raise self._missing("update", "it came without an optimizer; pass optimizer=..., or a Trainer")
        modes = [(m, m.training) for _, m in self.model.named_modules()]
        self.model.train()
        try:
            self.trainer.step(self._inputs(x), self._targets(t))
        finally:
            for m, mode in modes:
                m.training = mode

    def snapshot(self) -> Snapshot:
        return Snapshot(self.model, self.loss_function, self.trainer)

    def recognised(self) -> str:
        step = "no optimizer" if self.trainer is None else repr(self.trainer.optimizer)
        return f"{self.name}: parameters {listed(list(self.parameters))}; {self.loss_function!r}; {step}."

    def _compute(self, x: Any, t: Any) -> Any:
        return self.loss_function(self.model(self._inputs(x)), self._targets(t))

    def _inputs(self, x: Any) -> Array:
        return np.asarray(x).astype(self.model.dtype)

    def _targets(self, t: Any) -> Array:
        t = np.asarray(t)
        return np.asarray(t, self.model.dtype) if t.dtype.kind == "f" else t


class ParametricFunction(Subject):
    """A function of (parameters, inputs, targets) that returns the loss, or the loss and its gradients by name."""

    def __init__(
        self, f: Callable[..., Any], parameters: Mapping[str, Any], meant: str | None = None, lr: float = 0.1
    ) -> None:
        super().__init__(getattr(f, "__name__", type(f).__name__), lr)
        self.function, self._own = f, {name: np.array(p) for name, p in parameters.items()}
        self.loss_kind = _kind(meant)
        self._layout: Layout | None = None
        self._has_gradients: bool | None = None

    @property
    def single(self) -> bool:
        return self._layout.single if self._layout is not None else takes_one_sample(self.function)

    @property
    def parameters(self) -> dict[str, Array]:
        return {name: p.copy() for name, p in self._own.items()}

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        checked_names(values, self._own)
        self._own |= {name: np.array(value) for name, value in values.items()}

    def offers(self, what: str) -> bool:
        return what == "loss" or (what == "gradients" and self._has_gradients is not False)

    def predict(self, x: Any) -> Array:
        raise self._missing("predict", "a function that returns the loss keeps its outputs to itself")

    def loss(self, x: Any, t: Any) -> float:
        return float(np.mean([as_number(result) for result in self._results(x, t)]))

    def gradients(self, x: Any, t: Any) -> dict[str, Array] | None:
        each = [self._gradients_in(result) for result in self._results(x, t)]
        self._has_gradients = all(each)
        if not self._has_gradients:
            return None
        return {name: np.mean([g[name] for g in each], axis=0) for name in each[0]}

    def update(self, x: Any, t: Any) -> None:
        raise self._missing("update", "a function changes no parameters")

    def snapshot(self) -> Snapshot:
        return Snapshot(self._own, self.function)

    def recognised(self) -> str:
        layout = f"; samples are given as {self._layout}" if self._layout else ""
        gradients = {None: "", True: " and their gradients", False: ", no gradients"}[self._has_gradients]
        return f"{self.name}: a function of parameters {listed(list(self._own))}: the loss{gradients}{layout}."

    def _gradients_in(self, result: Any) -> dict[str, Array]:
        for part in result if isinstance(result, tuple) else ():
            found = matched_gradients(part, self._own) if isinstance(part, (Mapping, list, tuple)) else {}
            if found:
                return found
        return {}

    def _results(self, x: Any, t: Any) -> list[Any]:
        x, t = np.asarray(x), np.asarray(t)
        if self._layout is not None:
            return [quietly(self.function, self.parameters, *part) for part in self._layout.parts(x, t)]
        reasons = []
        for name in ("row", "vector") if takes_one_sample(self.function) else Layout.NAMES:
            try:
                found = [quietly(self.function, self.parameters, *part) for part in Layout(name).parts(x, t)]
                for result in found:
                    as_number(result)
            except (UnfitError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
                reasons.append(str(error))
                continue
            self._layout = Layout(name)
            return found
        raise self._missing("loss", f"called with (parameters, x, t) it says: {reasons[0]}")


def _value(loss: Any) -> Any:
    return loss.value if isinstance(loss, Tensor) else loss
