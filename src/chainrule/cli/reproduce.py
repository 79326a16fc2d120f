"""`chainrule reproduce`: course reports again, from data to verdicts."""

import os
from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    reports: Annotated[
        list[str] | None, typer.Argument(metavar="REPORT", help="Which reports; all of them if none is named.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer seeds and epochs, in seconds instead of minutes.")
    ] = False,
    out: Annotated[
        Path, typer.Option(metavar="DIR", file_okay=False, help="Where the page, results.json and the figures go.")
    ] = Path("results"),
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, show_default="one per core", help="How many processes train at once.")
    ] = os.cpu_count() or 1,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run everything again, also what an earlier run in DIR has finished.")
    ] = False,
) -> None:
    """Train the reports' networks again and compare.

    Prints each reported figure beside ours, with a verdict. The exit code is 1 if a deterministic figure is wrong. A
    run that was interrupted goes on where it was if it is started again.
    """
    from chainrule.lab.reproduce import reproduce as run

    raise typer.Exit(run(list(reports or []), quick=quick, out=out, workers=workers, fresh=fresh))
