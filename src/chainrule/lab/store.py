"""Results of finished jobs on the disk, so that a run that was interrupted goes on with what is missing.

A result is taken only for the job that made it: the same function and arguments, the same source files, the same data
and the same versions of what computes. Whatever does not match, or cannot be read, counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import chainrule
from chainrule.data.files import VARIABLE
from chainrule.errors import DataError
from chainrule.lab.experiment import Job, Result, plain

_VERSIONED = ("numpy", "scipy", "numba")


class Store:
    """The results in a folder, one file a job; the folder is made when the first result comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._surroundings = [_versions(), _source(Path(chainrule.__file__).parent), _data()]

    def get(self, job: Job) -> Result | None:
        """The result of a job, bit for bit as it was kept; None if there is none, or one of another job or code."""
        try:
            kept = json.loads(self._file(job).read_text(encoding="utf-8"))
            result: Result = kept["result"]
            return result if kept["key"] == self._key(job, result) else None
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None

    def keep(self, job: Job, result: Result) -> None:
        """Write the result of a job, whole or not at all; `DataError` if that fails."""
        file = self._file(job)
        unfinished = file.with_suffix(f".{os.getpid()}.unfinished")  # another run may do the same job
        try:
            self.folder.mkdir(exist_ok=True)
            text = json.dumps({"job": str(job), "key": self._key(job, result), "result": result})
            unfinished.write_text(text, encoding="utf-8")
            os.replace(unfinished, file)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise DataError(
                f"The result of '{job}' could not be kept in '{self.folder}': {error.strerror or error}."
            ) from error

    def forget(self, jobs: Iterable[Job]) -> None:
        """Remove the results of these jobs."""
        for job in jobs:
            self._file(job).unlink(missing_ok=True)

    def _file(self, job: Job) -> Path:
        name = str(job)
        readable = re.sub(r"[^\w.]+", "-", name)[:80]
        return self.folder / f"{readable}-{_digest(name)[:8]}.json"

    def _key(self, job: Job, result: Result) -> str:
        """A hash of all that the result follows from, and of the result, so that a damaged file is noticed too.

        Whether the run is a quick one is not in it: a job learns of that from its arguments alone.
        """
        module = sys.modules.get(job.run.__module__)
        own_file = getattr(module, "__file__", None)
        code = [job.run.__module__, job.run.__qualname__, _source(Path(own_file)) if own_file else ""]
        return _digest(json.dumps([str(job), code, job.arguments, self._surroundings, result], default=plain))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _source(path: Path) -> str:
    """A hash of a file, or of all files in a folder but those that Python compiles."""
    found = hashlib.sha256()
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts:
            content = file.read_bytes()
            found.update(f"{file.relative_to(path).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()


def _versions() -> list[str]:
    versions = [platform.python_version(), platform.machine()]
    for name in _VERSIONED:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    return versions


def _data() -> list[Any]:
    """The folder that takes the place of the packaged data, if there is one, and what can be seen of its files."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return []
    try:
        stats = [(str(file), file.stat()) for file in sorted(Path(folder).rglob("*")) if file.is_file()]
    except OSError:
        stats = []
    return [folder, *([name, stat.st_size, stat.st_mtime_ns] for name, stat in stats)]
