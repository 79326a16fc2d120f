"""Everything that can be checked about a thing, by its kind: its derivatives, and for a model all probes as well."""

import copy
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.check.checks import backward, gradients
from chainrule.check.derivatives.asking import InputError
from chainrule.check.probing.run import probes
from chainrule.check.subjects.places import parameter_places
from chainrule.check.subjects.recognition import as_subject
from chainrule.check.verdict import GradientError, Report
from chainrule.engine import Tensor
from chainrule.errors import ChainruleError, UnknownNameError
from chainrule.nn import BCEWithLogitsLoss, CrossEntropyLoss, Module, MSELoss, Parameter
from chainrule.nn.module import evaluating
from chainrule.train import Trainer

LOSSES = {"cross-entropy": CrossEntropyLoss, "mse": MSELoss, "bce": BCEWithLogitsLoss}
Line = tuple[str, str]  # what it is ("wrong", "checked", "passed", ...) and the sentence


@dataclass(frozen=True)
class Outcome:
    """One part of a check.

    Attributes
    ----------
    title, verdict : str
        What was looked at, and what came of it.
    right : bool
    text : str
        All of it, for a terminal.
    lines : tuple of (str, str)
        For a page: what a sentence is about ("right", "wrong", "passed", "skipped", ...) and the sentence.
    """

    title: str
    right: bool
    verdict: str
    text: str
    lines: tuple[Line, ...]


def is_model(thing: Any) -> bool:
    """Whether a thing is a model, whoever wrote it, and not a function."""
    return isinstance(thing, (Module, Trainer)) or _is_torch(thing) or _has_parameters(thing)


def of_model(thing: Any, x: Any, t: Any, loss: Any = None, seed: int = 0) -> list[Outcome]:
    """The outcomes for a model: the derivatives of its loss by its parameters, and all probes.

    Parameters
    ----------
    thing : Trainer, Module, torch.nn.Module or object with parameters
        It is left as it was found.
    x, t : arrays (N, ...)
    loss : str, Loss or function of (outputs, targets), optional
        For a model that has none of its own.
    seed : int
    """
    if isinstance(thing, (Module, Trainer)):
        return _of_network(thing, x, t, loss, seed)
    return (_of_torch if _is_torch(thing) else _of_object)(thing, x, t, loss, seed)


def of_function(title: str, f: Callable[..., Any], arguments: tuple[Any, ...], seed: int = 0) -> Outcome:
    """The outcome of `check.gradients`."""
    try:
        return _of_report(title, gradients(f, *arguments, seed=seed))
    except GradientError as error:
        return _of_report(title, error.report)


def of_backward(title: str, forward: Any, hand: Any, arguments: tuple[Any, ...], seed: int = 0) -> Outcome:
    """The outcome of `check.backward`."""
    return _of_report(title, backward(forward, hand, arguments, seed=seed))


def _is_torch(thing: Any) -> bool:
    torch = sys.modules.get("torch")  # an object of PyTorch's cannot be where PyTorch was not imported
    return torch is not None and isinstance(thing, torch.nn.Module)


def _has_parameters(thing: Any) -> bool:
    return not inspect.isroutine(thing) and hasattr(thing, "__dict__") and bool(parameter_places(thing))


def _of_network(thing: Any, x: Any, t: Any, loss: Any, seed: int) -> list[Outcome]:
    """A Trainer, or a Module with a loss: its derivatives in float64 and in evaluation mode, and all probes."""
    model, criterion = (thing.model, thing.loss) if isinstance(thing, Trainer) else (thing, loss_of_module(loss))
    wide_model = _in_float64(model)
    with evaluating(wide_model):
        f, parameters = wide_model.as_function()
        values = {name: p.numpy().astype(float) for name, p in parameters.items()}
        wide = [np.asarray(a, float) if np.asarray(a).dtype.kind == "f" else a for a in (x, t)]

        def total(parameters: Any) -> Any:
            return criterion(f(parameters, wide[0]), wide[1])

        derivatives = of_function("Derivatives", total, (values,), seed)
    return [derivatives, _of_probes(thing, x, t, criterion, seed)]


def _in_float64(model: Any) -> Any:
    """A copy of a Module whose running statistics, and what Tensors it has beside parameters, are arrays of float64."""
    model = copy.deepcopy(model)
    for _, part in model.named_modules():
        for name, x in [*vars(part).items()]:
            if isinstance(x, Tensor) and not isinstance(x, Parameter) and x.dtype.kind == "f":
                setattr(part, name, x.numpy().astype(float))
    return model


def _of_torch(model: Any, x: Any, t: Any, loss: Any, seed: int) -> list[Outcome]:
    """A model of PyTorch's: the gradients that PyTorch gives, in float64 and in evaluation mode, and all probes."""
    subject = as_subject(copy.deepcopy(model).double(), loss)
    plain = {name: re.sub(r"\W", "_", f"layer{name}" if name[0].isdigit() else name) for name in subject.parameters}

    def forward(parameters: Any) -> float:
        subject.set_parameters({name: parameters[plain[name]] for name in plain})
        return subject.loss(x, t)

    def derived(parameters: Any) -> dict[str, Any]:
        forward(parameters)
        return {plain[name]: g for name, g in (subject.gradients(x, t) or {}).items()}

    values = {plain[name]: p for name, p in subject.parameters.items()}
    derivatives = of_backward("Derivatives", forward, derived, (values,), seed)
    return [derivatives, _of_probes(model, x, t, loss, seed)]


def _of_object(thing: Any, x: Any, t: Any, loss: Any, seed: int) -> list[Outcome]:
    """A model that somebody wrote by hand: the gradients that it gives, if it gives any, and all probes."""
    try:
        derivatives = of_backward("Derivatives", thing, None, (x, t), seed)
    except InputError as error:
        lines = (("skipped", str(error)),)
        derivatives = Outcome("Derivatives", True, "not checked", f"Derivatives: not checked\nSkipped: {error}", lines)
    return [derivatives, _of_probes(thing, x, t, loss, seed)]


def loss_of_module(loss: Any) -> Any:
    """A loss by its name, or as it is given; a sentence if there is none."""
    if loss is None:
        raise ChainruleError(f"a model needs a loss: --loss {', --loss '.join(LOSSES)}, or name a Trainer.")
    if not isinstance(loss, str):
        return loss
    if loss not in LOSSES:
        raise UnknownNameError("loss", loss, LOSSES)
    return LOSSES[loss]()


def _of_report(title: str, report: Report) -> Outcome:
    lines = [(f.verdict, str(f)) for f in report.findings]
    lines += [("checked", sentence) for sentence in report.checked]
    lines += [("skipped", sentence) for sentence in report.skipped]
    verdict = f"{report.verdict}: {report.reason}" if report.reason else report.verdict
    return Outcome(title, bool(report), verdict, f"{title}: {report}", tuple(lines))


def _of_probes(thing: Any, x: Any, t: Any, loss: Any, seed: int) -> Outcome:
    report = probes(thing, x, t, loss=loss, seed=seed)
    lines = tuple((probe.verdict, f"{probe.name}: {probe.sentence}") for probe in report)
    text = str(report)
    verdict = text.splitlines()[0].rpartition(": ")[2]
    return Outcome("Probes", bool(report), verdict, text, (*lines, ("checked", report.recognised)))
