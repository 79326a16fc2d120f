"""`chainrule data`: look at the data sets."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(no_args_is_help=True, help="Look at the data sets.")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The data set, such as mnist.")],
    index: Annotated[int, typer.Option(metavar="N", min=0, help="Which example, counted from 0.")],
    part: Annotated[
        Literal["train", "test"], typer.Option(metavar="train|test", help="The training or the test file.")
    ] = "train",
    png: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the picture to a PNG file instead.")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", exists=True, file_okay=False, help="A folder that holds the data set's files."),
    ] = None,
) -> None:
    """Show one example: its label, and its picture as characters."""
    from chainrule.data.show import show as text

    print(text(name, index, part, png, data_dir))


@app.callback()
def data() -> None:
    """Look at the data sets."""
