"""The gradients of a whole model, PyTorch's or anybody's, by way of its `Subject`."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.check.derivatives.asking import InputError
from chainrule.check.derivatives.comparison import Array, Point
from chainrule.check.derivatives.judge import Case, Judge
from chainrule.check.derivatives.patterns import known_numbers
from chainrule.check.subjects.interface import Subject
from chainrule.check.subjects.recognition import as_subject
from chainrule.check.verdict import Report

# By the bytes of a float. In double precision it lets the 1e-7 pass that people add to what they take the logarithm of.
TOLERANCES = {2: 5e-2, 4: 1e-3, 8: 1e-5}


def is_model(thing: Any) -> bool:
    """Whether this is a model of PyTorch's or of the library's rather than a function."""
    return hasattr(thing, "named_parameters") and hasattr(thing, "forward")


def of_model(thing: Any, loss: Any, inputs: Any, optimizer: Any, lr: float | None, **options: Any) -> Report:
    """Check a model's own gradients of its loss.

    Parameters
    ----------
    thing : torch.nn.Module, Module or Subject
    loss : callable
        Of (outputs, targets).
    inputs : tuple
        The inputs and the targets.
    optimizer
        For a model that offers no gradients: whose step is looked at.
    lr : float or None
    **options
        `step`, `tolerance` and `seed`, as for `check.backward`.
    """
    given = tuple(inputs.values()) if isinstance(inputs, Mapping) else tuple(inputs)
    if len(given) != 2:
        raise InputError(f"a model is checked at (inputs, targets); {len(given)} arrays were given.")
    x, t = given
    subject = as_subject(thing, loss, optimizer=optimizer, lr=0.1 if lr is None else lr)
    gradients = subject.gradients(x, t)
    form = "its gradients are those that it gives itself"
    if gradients is None:
        gradients, form = _from_update(subject, x, t), f"its gradients are the change by one step over {subject.lr}"
    if not any(g.size for g in gradients.values()):
        raise InputError(f"{subject.name} has no parameter for which a gradient comes back.")
    reference = as_subject(_in_double(thing), loss)
    point = {name: np.asarray(reference.parameters[name], float) for name in gradients}
    single = any(reference.parameters[name].dtype.itemsize < 8 for name in point)

    def value(at: Point) -> Any:
        reference.set_parameters(at)
        found = reference.loss(x, t)
        return np.float32(found) if single else found

    with reference.kept():
        case = Case(value, point, gradients, known_numbers({"x": np.asarray(x), "t": np.asarray(t)}, ()))
        sizes = [g.dtype.itemsize for g in (*gradients.values(), *subject.parameters.values())]
        asked = options.get("tolerance")
        case.tolerance = max(TOLERANCES.get(n, 1e-5) for n in sizes) if asked is None else asked
        case.step, case.seed, case.complex_numbers = options.get("step"), options.get("seed", 0), False
        report = Judge(case).report()
    left = [f"{name}: no gradient comes back for it." for name in subject.parameters if name not in gradients]
    shape = f"{subject.recognised()[:-1]}; {form}."
    return replace(report, checked=(shape, *report.checked), skipped=(*left, *report.skipped))


def _from_update(subject: Subject, x: Any, t: Any) -> dict[str, Array]:
    before = subject.parameters
    with subject.kept():
        subject.update(x, t)
        after = subject.parameters
    return {name: (before[name] - after[name]) / subject.lr for name in before}


def _in_double(thing: Any) -> Any:
    """A copy of a model, of PyTorch in double precision."""
    other = copy.deepcopy(thing)
    return other.double() if hasattr(other, "double") else other
