"""`chainrule check`: is this derivative right? And, with a rubric, how many points is it worth?"""

import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from chainrule.errors import ChainruleError

if TYPE_CHECKING:
    from chainrule.check.outcomes import Outcome

SAMPLES = 50  # of a report's network


def check(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="package.module:name, file.py:name, or a report's name.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="NAME=SHAPE", help="An argument's shape, as x=50x784:float64 or 't=50:int<10'."
        ),
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
    from chainrule.check import page

    outcomes = _theirs(lambda: _outcomes(target, inputs or [], backward, loss, seed), target)
    print("\n\n".join(outcome.text for outcome in outcomes))
    if html is not None:
        html.write_text(page.write(f"chainrule check {target}", outcomes), encoding="utf-8")
    if not all(outcome.right for outcome in outcomes):
        raise typer.Exit(1)


def _grade(path: Path, submission: Path, as_json: bool) -> None:
    from chainrule.check.grading import grader, rubric
    from chainrule.cli import target as targets

    grades = grader.grade(rubric.read(path, targets.load), submission)
    print(json.dumps(grades.as_dict(), indent=2, ensure_ascii=False) if as_json else grades)


def _outcomes(target: str, inputs: Sequence[str], backward: str | None, loss: str | None, seed: int) -> "list[Outcome]":
    from chainrule.check import outcomes
    from chainrule.cli import target as targets
    from chainrule.lab import reports

    if target in reports.KNOWN:
        return outcomes.of_model(*_random_samples(*reports.load(target).network(), seed), seed=seed)
    thing, module = targets.load(target), targets.module_of(target)
    thing = _made(thing) if isinstance(thing, type) else thing

    def given(f: Callable[..., Any]) -> tuple[Any, ...]:
        return targets.arguments(f, inputs, seed, module)

    if backward is not None:
        hand = targets.load(backward)
        return [outcomes.of_backward(f"{backward} for {target}", thing, hand, given(thing), seed)]
    if outcomes.is_model(thing):
        x, t = given(_samples)
        return outcomes.of_model(thing, x, t, targets.load(loss) if loss and ":" in loss else loss, seed)
    if not callable(thing):
        raise ChainruleError(
            f"{target} is a {type(thing).__name__}; expected a function of arrays, a model or a Trainer."
        )
    return [outcomes.of_function(target, thing, given(thing), seed)]


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


def _theirs(run: "Callable[[], list[Outcome]]", target: str) -> "list[Outcome]":
    """What `run` gives; an exception in the user's own code, or in the library they named, is said to be one."""
    from chainrule.check.grading.worker import function_of, line_of, printable, raised

    try:
        return run()
    except Exception as error:
        line = line_of(error)
        if not line:
            if isinstance(error, ChainruleError) or not _stands_in(error, target.partition(":")[0]):
                raise
            raise ChainruleError(f"{target} {printable(raised(error))}.") from error
        if isinstance(error, ChainruleError):
            if line in str(error):
                raise
            raise ChainruleError(f"{error} ({line})") from error
        function = function_of(error).strip("<>")
        raise ChainruleError(f"your {function} {printable(raised(error))}.") from error


def _stands_in(error: BaseException, module: str) -> bool:
    """Whether an exception came through a module that is not chainrule's own."""
    traceback, found = error.__traceback__, False
    while traceback is not None:
        found |= f"{traceback.tb_frame.f_globals.get('__name__')}.".startswith(f"{module}.")
        traceback = traceback.tb_next
    return found and module.partition(".")[0] != "chainrule"
