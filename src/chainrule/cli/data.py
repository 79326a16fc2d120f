"""`chainrule data`: list the data sets, get one, look at one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(no_args_is_help=True, help="List the data sets, get one, look at one.")

Folder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", file_okay=False, help="The folder for data sets, in place of CHAINRULE_DATA."),
]


@app.command("list")
def list_(data_dir: Folder = None) -> None:
    """Say which data sets there are, and which of them are here."""
    from rich.console import Console
    from rich.table import Table

    from chainrule.data.catalogue import ENTRIES, where

    table = Table("name", "what", "size", "licence", "where", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    for name, entry in ENTRIES.items():
        table.add_row(name, entry.what, f"{entry.size / 1e6:.0f} MB", entry.licence, where(name, data_dir))
    Console(highlight=False, markup=False).print(table)


@app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The data set, such as cifar-10.")],
    data_dir: Folder = None,
) -> None:
    """Get a data set's published files, from the first mirror that has them."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn

    from chainrule.data import fetch

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        folder = fetch(
            name,
            data_dir,
            progress=lambda what, done, total: progress.update(
                task, description=what, completed=done, total=total or None
            ),
        )
    print(f"{name} comes with the package." if folder is None else f"{name} is in {folder}.")


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
    """List the data sets, get one, look at one."""
