"""`chainrule longhand`: the backward pass as the code that somebody would have written by hand, or as mathematics."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer


def longhand(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="package.module:function, file.py:function, or a report's name.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=SHAPE",
            help="An argument's shape, as x=50x784:float32 or 't=50:int<10' (in quotes).",
        ),
    ] = None,
    argnums: Annotated[
        str, typer.Option(metavar="N,N", help="With respect to which arguments, counted from 0; none: forward alone.")
    ] = "0",
    batch: Annotated[
        list[str] | None, typer.Option("--batch", metavar="NAME", help="An argument whose axis 0 is the batch.")
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of a model: cross-entropy or mse; the last input is the targets."),
    ] = None,
    update: Annotated[
        str | None, typer.Option(metavar="NAME", help="Append an optimiser's step: sgd, momentum, adam, ...")
    ] = None,
    format: Annotated[
        Literal["numpy", "latex", "html"], typer.Option("--format", help="Code, or mathematics as LaTeX or a page.")
    ] = "numpy",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write it to a file instead.")
    ] = None,
) -> None:
    """Write out a function's forward and backward pass."""
    from chainrule.check.outcomes import loss_of_module
    from chainrule.cli import target as targets
    from chainrule.lab import reports
    from chainrule.written import longhand as write

    f = None if target in reports.KNOWN else targets.load(target)
    options: dict[str, Any] = {"update": update, "format": format}
    if f is None:
        trainer, x, t = reports.load(target).network()
        text = write(trainer, x, t, **options)
    elif targets.is_model(f):
        criterion = None if loss is None else loss_of_module(loss)
        text = write(f, *targets.arrays(inputs or [], np.random.default_rng(0)).values(), loss=criterion, **options)
    else:
        which: dict[str, Any] = {"argnums": targets.numbers(argnums), "batch": dict.fromkeys(batch or [], 0)}
        text = write(f, *targets.arguments(f, inputs or []), **which, **options)
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")
