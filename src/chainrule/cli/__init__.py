"""The command line: which commands there are, and how a run ends. What a command does stands in the library."""

import sys
from typing import Annotated

import typer

from chainrule import __version__
from chainrule.cli import bench, check, data, failure, longhand, reproduce

# Plain help and plain errors: one sentence after "Error:", the same for a mistyped option and a damaged file.
app = typer.Typer(
    name="chainrule",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(reproduce.reproduce)
app.command()(longhand.longhand)
app.command()(check.check)
app.command()(bench.bench)
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"chainrule {__version__}")
        raise typer.Exit


@app.callback()
def chainrule(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Neural networks that show their work."""


def main() -> int:
    """Run the command that `sys.argv` names and return the exit code; every failure is one sentence on stderr."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character, such as an old Windows code page, gets "?" and not a crash.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = _run()
        sys.stdout.flush()
        return code
    except BaseException as error:
        return failure.report(error)


def _run() -> int:
    try:
        app(prog_name="chainrule")
    except SystemExit as stop:
        if stop.code == failure.INTERRUPTED:  # typer has caught Ctrl-C and says nothing
            raise KeyboardInterrupt from None
        if isinstance(stop.__context__, BrokenPipeError):  # typer would end with 1, as if something had failed
            raise stop.__context__ from None
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0
