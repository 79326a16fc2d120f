"""What can go wrong, said in full sentences.

Every error that chainrule raises on purpose is a `ChainruleError`. Its message says where it happened, what was
expected, what was found and what to do; the command line prints it as one sentence and ends with a non-zero code.
"""

import os
import sys
import warnings
from collections.abc import Iterable
from functools import cache
from types import FrameType

_PYTHON = os.path.dirname(os.__file__) + os.sep
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


@cache
def is_ours(file: str) -> bool:
    """Whether a source file belongs to chainrule, to NumPy or to Python itself."""
    numpy = os.path.dirname(sys.modules["numpy"].__file__ or "") + os.sep
    if file.startswith((_PACKAGE, numpy, "<chainrule", "<frozen")):
        return True
    return file.startswith(_PYTHON) and "site-packages" not in file


def user_line() -> str:
    """`file.py, line 12`: the innermost line on the stack that is neither ours nor a library's below us."""
    frame = _user_frame()
    return f"{_shown(frame.f_code.co_filename)}, line {frame.f_lineno}" if frame else "an unknown line"


def _user_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def _shown(file: str) -> str:
    """A file as people know it: by its name, and a notebook's cell as `cell 3`."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and (cell := shell.compile.format_code_name(file)) is not None:
        return str(cell[1]).replace("In[", "cell ").rstrip("]")
    return os.path.basename(file)


class ChainruleError(Exception):
    """The base of all errors that chainrule raises on purpose."""


class ShapeError(ChainruleError, ValueError):
    """Shapes that do not fit together."""


class DtypeError(ChainruleError, TypeError):
    """Types of numbers that do not fit together."""


class TraceError(ChainruleError):  # no TypeError: NumPy would swallow it, and say something else
    """Code that cannot be recorded as it stands; the message names the user's line and what to write instead."""


class DerivativeError(ChainruleError):
    """A derivative that does not exist, or a rule that returned something that cannot be one."""


class DivergenceError(ChainruleError, ArithmeticError):
    """A training whose loss is no longer a number."""


class DataError(ChainruleError, ValueError):
    """A file, an array or a label that is not what it should be."""


class SealedError(ChainruleError):
    """A test set that was opened too early or a second time."""


class CompilerError(ChainruleError):
    """Compiled code gave another result than the interpreter; nothing of it was kept."""


class Notice(UserWarning):
    """Something that works, and could work better; the message says how."""


def show_notice(text: str) -> None:
    """Warn with a `Notice` of the line of the user's that led to it."""
    frame = _user_frame() or sys._getframe(1)
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    file, line, module = frame.f_code.co_filename, frame.f_lineno, frame.f_globals.get("__name__")
    warnings.warn_explicit(text, Notice, file, line, module, registry)


class UnknownNameError(ChainruleError, LookupError):
    """A name that chainrule does not know; the message suggests the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        from difflib import get_close_matches

        known = sorted(known)
        self.arguments = kind, name, known
        near = get_close_matches(str(name).lower(), known, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'? " if near else ""
        super().__init__(f"There is no {kind} called '{name}': {hint}Known are {', '.join(known)}.")

    def __reduce__(self) -> tuple[type["UnknownNameError"], tuple[str, str, list[str]]]:
        return UnknownNameError, self.arguments  # so that a worker process can send it home
