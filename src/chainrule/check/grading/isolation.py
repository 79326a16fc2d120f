"""Somebody else's functions, called in a process of their own: with a time and a memory that they cannot exceed, and a
copy of their folder as all that they are given.

The other end of the pipe is `worker.py`; nothing that comes back from it is executed. This contains mistakes: endless
loops, full memories, `sys.exit`, files that are overwritten. It does not contain an attacker, who may read what the
grader's user may read; against that, grade in a container.
"""

import inspect
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

import chainrule
from chainrule.check.grading import worker
from chainrule.check.grading.worker import Other, kind_of, pack, printable, unpack
from chainrule.errors import ChainruleError

START = 60  # seconds that Python may take to start, which are nobody's fault
AXES = 8
FOLDER = 64 * 2**20  # bytes that a submission's folder may have
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class SubmissionError(ChainruleError):
    """What somebody's code did instead of answering, as a sentence about it."""


@dataclass(frozen=True)
class Limits:
    """What a process may use: seconds, also by the clock, and megabytes of memory."""

    seconds: float = 10.0
    memory: int = 1024


class Isolated:
    """A file of somebody's, loaded in a process of its own; to be used in a `with`.

    Parameters
    ----------
    file : Path
        Its folder is copied; hidden files, links and what is left out are not.
    limits : Limits
    leave_out : iterable of Path
        Files that are not to be copied, such as a solution that stands in the same folder.

    Attributes
    ----------
    limited : bool
        Whether memory is limited; where it is not, as on Windows, only the clock stops a submission.

    Raises
    ------
    SubmissionError
        If it cannot be loaded, here; later, from `ask`, for all that may happen.
    """

    def __init__(self, file: Path, limits: Limits | None = None, leave_out: Iterable[Path] = ()) -> None:
        self.file, self.limits = file, limits or Limits()
        self.left = self.limits.seconds
        self.failed = ""
        self.limited = True
        self._killed = False
        self._leave_out = {path.resolve() for path in leave_out}

    def __enter__(self) -> "Isolated":
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        try:
            _copy(self.file.parent, Path(self._folder.name), self._leave_out)
            self._process = self._start()
        except BaseException:
            self._folder.cleanup()
            raise
        try:
            self._exchange(None, START)
            limits = {"seconds": self.limits.seconds, "memory": self.limits.memory}
            self.limited = bool(self.ask({"load": self.file.name, **limits}).get("limited"))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._kill()
        self._folder.cleanup()

    def function(self, *names: str) -> "RemoteFunction":
        """The first of these functions that there is."""
        found = self.ask({"describe": list(names)})
        if "function" not in found:
            known = ", ".join(map(str, found.get("known", [])))
            there = f"it defines {known}" if known else "it defines no function"
            raise SubmissionError(f"there is no function {' or '.join(names)}; {there}.")
        return RemoteFunction(self, found)

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """What the other end answers; the time that it takes is taken off what is left."""
        if self.failed:
            raise SubmissionError(self.failed)
        begun = time.monotonic()
        reply = self._exchange(pack(message), max(self.left, 0.0))
        self.left -= time.monotonic() - begun
        if not isinstance(reply, dict):
            raise self._over("it answered with something that is no answer.")
        if "failed" in reply:
            raise SubmissionError(printable(str(reply["failed"])))
        return reply

    def _start(self) -> subprocess.Popen[bytes]:
        folder = self._folder.name
        paths = [str(Path(chainrule.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG", "LC_ALL") if name in os.environ}
        environment = kept | dict.fromkeys(THREADS, "1") | dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP"), folder)
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", worker.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )

    def _exchange(self, message: bytes | None, seconds: float) -> Any:
        """Send something and wait for the answer, no longer than this."""
        received: list[Any] = []
        self._thread = threading.Thread(target=self._send_and_read, args=(message, received), daemon=True)
        self._thread.start()
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise self._over(self._too_long())
        if not received:
            raise self._over(self._ending())
        return received[0]

    def _send_and_read(self, message: bytes | None, received: list[Any]) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            if message is not None:
                self._process.stdin.write(message)
                self._process.stdin.flush()
            received.append(unpack(self._process.stdout, self.limits.memory * 2**20))
        except (EOFError, OSError):
            pass  # the process has ended: `_ending` says how
        except Exception:  # bytes that are no message
            received.append(None)

    def _over(self, sentence: str) -> SubmissionError:
        """The error after which nothing more can be asked."""
        self.failed = sentence
        self._kill()
        return SubmissionError(sentence)

    def _too_long(self) -> str:
        return f"it took longer than {self.limits.seconds:g} seconds and was stopped."

    def _ending(self) -> str:
        """How the process ended by itself."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "it closed its connection to the grader."
        if code >= 0:
            return f"it ended its own process, with the code {code}, instead of returning a result."
        if code == -getattr(signal, "SIGXCPU", 0):
            return self._too_long()
        if code == -getattr(signal, "SIGKILL", 0):
            return "its process was killed, as happens when memory runs out."
        return f"its process crashed ({signal.Signals(-code).name})."

    def _kill(self) -> None:
        """End the process and all that it has started."""
        if self._killed:
            return
        self._killed = True
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
        self._process.wait()
        self._thread.join(1)
        if self._thread.is_alive():  # something that left the group still holds the pipe; closing it would wait too
            return
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()


class RemoteFunction:
    """A function in another process: called with arrays, it gives arrays back, and changes in its arguments too.

    Attributes
    ----------
    returns : list of str
        The names in its `return dx, dW, db`, if it has such a line.
    """

    def __init__(self, process: Isolated, found: dict[str, Any]) -> None:
        self._process = process
        self.__name__ = str(found["function"])
        self.returns = [str(name) for name in found.get("returns", [])]
        self.__signature__ = inspect.Signature(
            [
                inspect.Parameter(name, getattr(inspect.Parameter, kind), default=given if optional else inspect._empty)
                for name, kind, optional, given in found.get("parameters", [])
            ]
        )

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call it; `SubmissionError` for whatever is not an array of numbers, alone or in a container."""
        _check_sendable(self.__name__, (arguments, named))
        reply = self._process.ask({"call": self.__name__, "arguments": arguments, "named": named})
        if reply.get("changed") is not None:
            _write_back((arguments, named), reply["changed"])
        result = reply.get("result")
        if kinds := _strange(result):
            raise SubmissionError(
                f"{self.__name__} returned {kinds[0]}; expected arrays of numbers, alone or in a tuple, list or dict."
            )
        return result


def _copy(folder: Path, to: Path, leave_out: set[Path]) -> None:
    """Copy what a submission may need; `SubmissionError` if that is too much."""

    def left_out(where: str, names: list[str]) -> list[str]:
        paths = [Path(where, name) for name in names]
        return [p.name for p in paths if p.name[0] == "." or p.name == "__pycache__" or _unfit(p)]

    def _unfit(path: Path) -> bool:
        return path.is_symlink() or path.resolve() in leave_out or not (path.is_file() or path.is_dir())

    total = 0
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        total += sum(p.stat().st_size for p in (Path(where, name) for name in files) if not p.is_symlink())
        if total > FOLDER:
            break
    if total > FOLDER:
        raise SubmissionError(
            f"its folder has more than {FOLDER // 2**20} MB, which is more than is copied; give each submission a "
            "folder of its own."
        )
    shutil.copytree(folder, to, ignore=left_out, dirs_exist_ok=True)


def _check_sendable(name: str, arguments: Any) -> None:
    if kinds := [kind for kind in _strange(arguments) if kind not in ("a str", "a CacheOf")]:
        raise SubmissionError(
            f"{name} cannot be given {kinds[0]}, which cannot be sent to another process; for a cache of the "
            "submission's own, the task names its `forward`."
        )


def _strange(x: Any) -> list[str]:
    """The types of the leaves that are no numbers."""
    if isinstance(x, (tuple, list)):
        return [kind for each in x for kind in _strange(each)]
    if isinstance(x, dict):
        return [kind for each in x.values() for kind in _strange(each)]
    if isinstance(x, (np.ndarray, np.generic)):
        few = x.ndim <= AXES  # a cause is looked for in all sets of axes
        return [] if few and x.dtype.kind in "biufc" else [kind_of(x) if few else f"an array with {x.ndim} axes"]
    if x is None or isinstance(x, (bool, int, float)):
        return []
    return [x.type if isinstance(x, Other) else kind_of(x)]


def _write_back(ours: Any, theirs: Any) -> None:
    """Make the changes here that were made to the arguments there."""
    if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray) and ours.shape == theirs.shape:
        ours[...] = theirs
    elif isinstance(ours, (tuple, list)) and isinstance(theirs, (tuple, list)):
        for i, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            if isinstance(ours, list) and not isinstance(one, (np.ndarray, tuple, list, dict)):
                ours[i] = other
            _write_back(one, other)
    elif isinstance(ours, dict) and isinstance(theirs, dict):
        for key, other in theirs.items():
            if key in ours and isinstance(ours[key], (np.ndarray, tuple, list, dict)):
                _write_back(ours[key], other)
            else:
                ours[key] = other
