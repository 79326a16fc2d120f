"""`chainrule check`: is this derivative right? And, with a rubric, how many points is it worth?"""

import copy
import inspect
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from chainrule.errors import ChainruleError

SAMPLES = 50
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --text: #1d2126; --faint: #5d6670; --line: #dde1e6; --page: #fff;
  --right: #1a7f4b; --wrong: #c02425; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #e4e7eb; --faint: #9aa4af; --line: #353b43; --page: #16191d; --right: #4cc38a; --wrong: #ff7b72; }}
}}
body {{ margin: 0 auto; padding: 1.5rem; max-width: 56rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif; }}
h1 {{ font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.15rem; margin: 2rem 0 .5rem; padding-top: .8rem; border-top: 1px solid var(--line); }}
h2 span {{ float: right; }}
.right {{ color: var(--right); }} .wrong {{ color: var(--wrong); }} .faint {{ color: var(--faint); }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1rem; margin: 0; }}
dt {{ font-weight: 600; }} dd {{ margin: 0; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>{title}</h1>
{sections}
</body>
</html>
"""
Line = tuple[str, str]  # what it is ("wrong", "Checked", "passed", ...) and the sentence


@dataclass(frozen=True)
class Outcome:
    """One part of a check: what was looked at, whether it holds, and the sentences about it."""

    title: str
    right: bool
    verdict: str
    text: str
    lines: tuple[Line, ...]


def check(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="package.module:name, file.py:name, or a report's name.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME=SHAPE", help="An argument's shape, as x=50x784:float64 or t=50:int<10."),
    ] = None,
    backward: Annotated[
        str | None, typer.Option(metavar="FUNCTION", help="A derivative of TARGET that was written by hand.")
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of a model without one: cross-entropy, mse, or file.py:function."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random inputs and directions.")] = 0,
    html: Annotated[Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write a page as well.")] = None,
    grade: Annotated[
        Path | None, typer.Option(metavar="RUBRIC", dir_okay=False, help="Grade the file TARGET by a rubric.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --grade: print JSON.")] = False,
) -> None:
    """Check a derivative or a whole model, and say what is wrong; the exit code is 1 if something is."""
    if grade is not None:
        if inputs or backward or loss or html:
            raise typer.BadParameter(
                "the rubric says what is graded; only --json goes with it.", param_hint="'--grade'"
            )
        _grade(grade, Path(target), as_json)
        return
    if as_json:
        raise typer.BadParameter("it belongs to --grade.", param_hint="'--json'")
    outcomes = _theirs(lambda: _outcomes(target, inputs or [], backward, loss, seed))
    print("\n\n".join(outcome.text for outcome in outcomes))
    if html is not None:
        html.write_text(_page(f"chainrule check {target}", outcomes), encoding="utf-8")
    if not all(outcome.right for outcome in outcomes):
        raise typer.Exit(1)


def _grade(path: Path, submission: Path, as_json: bool) -> None:
    from chainrule.check.grading import grader, rubric
    from chainrule.cli import target as targets

    grades = grader.grade(rubric.read(path, targets.load), submission)
    print(json.dumps(grades.as_dict(), indent=2, ensure_ascii=False) if as_json else grades)


# ---- what is checked -------------------------------------------------------------------------------------------------


def _outcomes(target: str, inputs: Sequence[str], backward: str | None, loss: str | None, seed: int) -> list[Outcome]:
    """Check a target in the ways that are for its kind."""
    from chainrule.cli import target as targets
    from chainrule.lab import reports

    if target in reports.KNOWN:
        return _of_network(*_random_samples(*reports.load(target).network(), seed), None, seed)
    thing, module = targets.load(target), targets.module_of(target)
    thing = _made(thing) if isinstance(thing, type) else thing

    def given(f: Callable[..., Any]) -> tuple[Any, ...]:
        return targets.arguments(f, inputs, seed, module)

    if backward is not None:
        return [_of_backward(f"{backward} for {target}", thing, targets.load(backward), given(thing), seed)]
    for is_one, outcomes in ((_is_network, _of_network), (_is_torch, _of_torch), (_has_parameters, _of_object)):
        if is_one(thing):
            x, t = given(_samples)
            return outcomes(thing, x, t, loss, seed)
    if not callable(thing):
        raise ChainruleError(
            f"{target} is a {type(thing).__name__}; expected a function of arrays, a model or a Trainer."
        )
    return [_of_function(target, thing, given(thing), seed)]


def _samples(x: Any, t: Any) -> None:
    """What a model's inputs and targets are called on the command line."""


def _random_samples(trainer: Any, x: Any, t: Any, seed: int) -> tuple[Any, Any, Any]:
    """The network of a report with random samples of its shapes."""
    rng = np.random.default_rng(seed)
    classes = trainer.model.predict(x).shape[1]
    return trainer, rng.normal(size=(SAMPLES, *x.shape[1:])), rng.integers(0, classes, SAMPLES)


def _made(thing: type) -> Any:
    """An object of a class that needs no arguments."""
    try:
        inspect.signature(thing).bind()
    except (TypeError, ValueError):
        raise ChainruleError(
            f"{thing.__name__} needs arguments; name an object of it, such as `model = {thing.__name__}(...)` in the "
            "same file."
        ) from None
    return thing()


def _is_network(thing: Any) -> bool:
    from chainrule.nn import Module
    from chainrule.train import Trainer

    return isinstance(thing, (Module, Trainer))


def _is_torch(thing: Any) -> bool:
    torch = sys.modules.get("torch")  # an object of PyTorch's cannot be where PyTorch was not imported
    return torch is not None and isinstance(thing, torch.nn.Module)


def _has_parameters(thing: Any) -> bool:
    from chainrule.check.subjects.places import parameter_places

    return not inspect.isroutine(thing) and hasattr(thing, "__dict__") and bool(parameter_places(thing))


def _of_function(title: str, f: Callable[..., Any], arguments: tuple[Any, ...], seed: int) -> Outcome:
    from chainrule import check as checks

    try:
        return _of_report(title, checks.gradients(f, *arguments, seed=seed))
    except checks.GradientError as error:
        return _of_report(title, error.report)


def _of_backward(title: str, forward: Any, hand: Any, arguments: tuple[Any, ...], seed: int) -> Outcome:
    from chainrule import check as checks

    return _of_report(title, checks.backward(forward, hand, arguments, seed=seed))


def _of_network(thing: Any, x: Any, t: Any, loss: str | None, seed: int) -> list[Outcome]:
    """A Trainer, or a Module with a loss: its derivatives in float64 and in evaluation mode, and all probes."""
    from chainrule.nn.module import evaluating
    from chainrule.train import Trainer

    model, criterion = (thing.model, thing.loss) if isinstance(thing, Trainer) else (thing, _loss_of_module(loss))
    wide_model = _in_float64(model)
    with evaluating(wide_model):
        f, parameters = wide_model.as_function()
        values = {name: p.numpy().astype(float) for name, p in parameters.items()}
        wide = [np.asarray(a, float) if np.asarray(a).dtype.kind == "f" else a for a in (x, t)]

        def total(parameters: Any) -> Any:
            return criterion(f(parameters, wide[0]), wide[1])

        derivatives = _of_function("Derivatives", total, (values,), seed)
    return [derivatives, _of_probes(thing, x, t, criterion, seed)]


def _in_float64(model: Any) -> Any:
    """A copy of a Module whose running statistics, and what Tensors it has beside parameters, are arrays of float64."""
    from chainrule.engine import Tensor
    from chainrule.nn import Parameter

    model = copy.deepcopy(model)
    for _, part in model.named_modules():
        for name, x in [*vars(part).items()]:
            if isinstance(x, Tensor) and not isinstance(x, Parameter) and x.dtype.kind == "f":
                setattr(part, name, x.numpy().astype(float))
    return model


def _of_torch(model: Any, x: Any, t: Any, loss: str | None, seed: int) -> list[Outcome]:
    """A model of PyTorch's: the gradients that PyTorch gives, in float64 and in evaluation mode, and all probes."""
    from chainrule.check.subjects.recognition import as_subject
    from chainrule.cli import target as targets

    criterion = targets.load(loss) if loss and ":" in loss else loss
    subject = as_subject(copy.deepcopy(model).double(), criterion)
    plain = {name: re.sub(r"\W", "_", f"layer{name}" if name[0].isdigit() else name) for name in subject.parameters}

    def forward(parameters: Any) -> float:
        subject.set_parameters({name: parameters[plain[name]] for name in plain})
        return subject.loss(x, t)

    def gradients(parameters: Any) -> dict[str, Any]:
        forward(parameters)
        return {plain[name]: g for name, g in (subject.gradients(x, t) or {}).items()}

    values = {plain[name]: p for name, p in subject.parameters.items()}
    derivatives = _of_backward("Derivatives", forward, gradients, (values,), seed)
    return [derivatives, _of_probes(model, x, t, criterion, seed)]


def _of_object(thing: Any, x: Any, t: Any, loss: str | None, seed: int) -> list[Outcome]:
    """A model that somebody wrote by hand: the gradients that it gives, if it gives any, and all probes."""
    from chainrule import check as checks
    from chainrule.cli import target as targets

    try:
        derivatives = _of_backward("Derivatives", thing, None, (x, t), seed)
    except checks.InputError as error:
        lines = (("skipped", str(error)),)
        derivatives = Outcome("Derivatives", True, "not checked", f"Derivatives: not checked\nSkipped: {error}", lines)
    given = targets.load(loss) if loss and ":" in loss else loss
    return [derivatives, _of_probes(thing, x, t, given, seed)]


def _loss_of_module(name: str | None) -> Any:
    from chainrule import nn
    from chainrule.cli import target as targets
    from chainrule.errors import UnknownNameError

    known = {"cross-entropy": nn.CrossEntropyLoss, "mse": nn.MSELoss, "bce": nn.BCEWithLogitsLoss}
    if name is None:
        raise ChainruleError(f"a model needs a loss: --loss {', --loss '.join(known)}, or name a Trainer.")
    if ":" in name:
        return targets.load(name)
    if name not in known:
        raise UnknownNameError("loss", name, known)
    return known[name]()


def _of_report(title: str, report: Any) -> Outcome:
    lines = [(f.verdict, str(f)) for f in report.findings]
    lines += [("checked", sentence) for sentence in report.checked]
    lines += [("skipped", sentence) for sentence in report.skipped]
    verdict = f"{report.verdict}: {report.reason}" if report.reason else report.verdict
    return Outcome(title, bool(report), verdict, f"{title}: {report}", tuple(lines))


def _of_probes(thing: Any, x: Any, t: Any, loss: Any, seed: int) -> Outcome:
    from chainrule.check.probing.run import probes

    report = probes(thing, x, t, loss=loss, seed=seed)
    lines = tuple((probe.verdict, f"{probe.name}: {probe.sentence}") for probe in report)
    text = str(report)
    verdict = text.splitlines()[0].rpartition(": ")[2]
    return Outcome("Probes", bool(report), verdict, text, (*lines, ("checked", report.recognised)))


# ---- how it is said --------------------------------------------------------------------------------------------------


def _theirs(run: Callable[[], list[Outcome]]) -> list[Outcome]:
    """What `run` gives; an exception in the user's own code is said to be one, with their line."""
    from chainrule.check.grading.worker import function_of, line_of, printable, raised

    try:
        return run()
    except Exception as error:
        line = line_of(error)
        if not line:
            raise
        if isinstance(error, ChainruleError):
            if line in str(error):
                raise
            raise ChainruleError(f"{error} ({line})") from error
        function = function_of(error).strip("<>")
        raise ChainruleError(f"your {function} {printable(raised(error))}.") from error


def _page(title: str, outcomes: Sequence[Outcome]) -> str:
    """All outcomes as a page that needs nothing else."""
    return PAGE.format(title=escape(title), sections="\n".join(map(_section, outcomes)))


def _section(outcome: Outcome) -> str:
    kind = "right" if outcome.right else "wrong"
    rows = "\n".join(f'<dt class="{_colour(what)}">{what}</dt><dd>{escape(text)}</dd>' for what, text in outcome.lines)
    heading = f'{escape(outcome.title)} <span class="{kind}">{escape(outcome.verdict)}</span>'
    return f"<section>\n<h2>{heading}</h2>\n<dl>\n{rows}\n</dl>\n</section>"


def _colour(what: str) -> str:
    return {"right": "right", "passed": "right", "checked": "faint", "skipped": "faint"}.get(what, "wrong")
