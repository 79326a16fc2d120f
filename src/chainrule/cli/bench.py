"""`chainrule bench`: how fast chainrule is, beside what people would use instead."""

from pathlib import Path
from typing import Annotated

import typer


def bench(
    works: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORK", help="Such as M100, predict-1, import; everything if none is named."),
    ] = None,
    peers: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME", help="Of numpy, pytorch, jax, sklearn, products; by default those installed."
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="How often each is measured.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps of each, to see that it runs.")] = False,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", dir_okay=False, help="Write all measurements to a file.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Draw them; .png, .svg or .pdf.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the tables as Markdown.")
    ] = None,
) -> None:
    """Time chainrule and its peers at the same works.

    Training and prediction, the first step, memory and import, in interleaved rounds. Says where a peer wins.
    """
    from chainrule.benchmarks.bench import bench as run

    run(
        works or [],
        peers=None if peers is None else [name.strip() for name in peers.split(",") if name.strip()],
        rounds=rounds,
        quick=quick,
        json_file=json,
        picture_file=picture,
        page_file=page,
    )
