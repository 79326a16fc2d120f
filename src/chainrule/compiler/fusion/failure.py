"""Where machine code has failed: which layer of the model, which equation of the graph, which line of the module."""

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType

from chainrule.compiler.cache import FILE
from chainrule.graph.graph import Equation

_ASSIGNED = re.compile(r"(\w+?)(?:_|_new|_sum|__out)?(?:\[.*\])? = ")
_DEFINED = re.compile(r"def (\w+)\(")
SHOWN = 3  # equations at most, where several may be meant


class Written:
    """The text of a generated module.

    Parameters
    ----------
    text : str
    equations : dict of str to Equation
        What each value's name in the text stands for.

    Notes
    -----
    Numba says the line of what it cannot compile, and of a `raise`. Nothing else fails in the modules: their divisions
    follow NumPy, and their indices are right (under NUMBA_BOUNDSCHECK an index that is not has no line).
    """

    def __init__(self, text: str, equations: Mapping[str, Equation]) -> None:
        self.text, self._equations = text, equations

    @property
    def path(self) -> str:
        """A file with the text, for people to read."""
        file = Path(tempfile.gettempdir()) / f"chainrule-{hashlib.sha256(self.text.encode()).hexdigest()[:12]}.py"
        file.write_text(self.text, encoding="utf-8")
        return str(file)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Add to an exception a note of where it comes from."""
        try:
            yield
        except Exception as error:
            error.add_note(self.place(error))
            raise

    def place(self, error: BaseException) -> str:
        """A sentence that says where an exception comes from, as far as that is known."""
        number = _line(error)
        where = f"The generated module is {self.path}"
        if number is None:
            return f"{where}."
        equations = list(islice(dict.fromkeys(self._at(number)), SHOWN))
        said = " or ".join(map(_described, equations))
        return f"It happened {said}. {where}, line {number}." if said else f"{where}, line {number}."

    def _at(self, number: int) -> Iterator[Equation]:
        """The equations that a line computes; for a line of another function, those that call it."""
        lines, comments = self.text.splitlines(), {f"# {e!r}": e for e in self._equations.values()}
        for k in range(min(number, len(lines)) - 1, -1, -1):
            line = lines[k].strip()
            assigned = _ASSIGNED.match(line) if k == number - 1 else None
            if assigned and assigned[1] in self._equations:
                yield self._equations[assigned[1]]
                return
            if line in comments:
                yield comments[line]
                return
            if defined := _DEFINED.match(line):
                for other, text in enumerate(lines, 1):
                    if f"{defined[1]}(" in text and not _DEFINED.match(text.strip()):
                        yield from self._at(other)
                return


def _described(e: Equation) -> str:
    return f"{f'in {e.layer}, ' if e.layer else ''}at '{e!r}'{f' ({e.origin})' if e.origin else ''}"


def _line(error: BaseException) -> int | None:
    """The line of the generated module that an exception comes from: Numba's errors say it, others' tracebacks."""
    place = getattr(error, "loc", None)
    if place is not None and str(place.filename).startswith(FILE):
        return int(place.line)
    found, step = None, error.__traceback__
    while isinstance(step, TracebackType):
        if step.tb_frame.f_code.co_filename.startswith(FILE):
            found = step.tb_lineno
        step = step.tb_next
    return found
