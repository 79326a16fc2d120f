"""How a failed command ends: one sentence on stderr and an exit code, no traceback."""

import os
import re
import sys
from importlib import metadata

from chainrule.errors import ChainruleError

FAILED = 1  # something the user can mend
BUG = 70  # something only we can mend; EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
PIPE_CLOSED = 141  # 128 + SIGPIPE


def report(error: BaseException) -> int:
    """Say on stderr what happened and return the exit code.

    With CHAINRULE_DEBUG=1 in the environment, the error is raised again and shows its traceback.
    """
    if isinstance(error, BrokenPipeError):
        # Whoever read our output, such as `head`, has enough; Python's own flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    if os.environ.get("CHAINRULE_DEBUG") == "1":
        raise error
    text, code = sentence(error)
    print(text, file=sys.stderr)
    return code


def sentence(error: BaseException) -> tuple[str, int]:
    """What to print for an error, and the exit code."""
    match error:
        case KeyboardInterrupt():
            return "Stopped: interrupted from the keyboard.", INTERRUPTED
        case ChainruleError():
            return f"Error: {error}", FAILED
        case ModuleNotFoundError() if extra := _extra_with(error.name):
            need = f"this command needs {error.name}, which is not installed"
            return f"Error: {need}: pip install 'chainrule[{extra}]' brings it.", FAILED
        case OSError():
            where = f"{os.fspath(error.filename)!r}: " if error.filename is not None else ""
            return f"Error: {where}{error.strerror or error}.", FAILED
        case MemoryError():
            return f"Error: there is not enough memory. {error}".rstrip(), FAILED
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return f"Error: a bug in chainrule: {what} (CHAINRULE_DEBUG=1 shows where it happened)", BUG


def _extra_with(module: str | None) -> str | None:
    """The extra of this package that installs a module, if one does."""
    try:
        requirements = metadata.requires("chainrule") or []
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return None
    for requirement in requirements:
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        name = re.match(r"[\w-]+", requirement)
        if module and extra and name and name[0].lower() == module.partition(".")[0].lower():
            return extra[1]
    return None
