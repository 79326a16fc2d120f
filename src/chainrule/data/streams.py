"""A file opened to be read, plain or gzip, and what the system or gzip says about it as a sentence with its name."""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import DataError

AGAIN = "get the file again"
MOST_DEFLATED = 1032  # deflate makes no more than so many bytes of one
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Source:
    """What a file holds, unpacked as it is read.

    Attributes
    ----------
    stream : binary stream
    size : int
        Bytes on the disk.
    packed : bool
        Whether that is gzip.
    """

    stream: BufferedIOBase
    size: int
    packed: bool

    @property
    def most(self) -> int:
        """How many bytes can come out of it at most."""
        return self.size * MOST_DEFLATED if self.packed else self.size


def file_path(given: Any, reader: str, kind: str, *, or_folder: bool = False) -> Path:
    """The path of a regular file; `reader` and `kind` ("read_idx", "an IDX file") are for the messages."""
    try:
        path = Path(given)
    except TypeError:
        found = "None" if given is None else f"a {type(given).__name__}"
        raise DataError(f"{reader}: expected the path of a file, found {found}.") from None
    thing, regular = ("file or folder", "neither a file nor a folder") if or_folder else ("file", "no regular file")
    try:
        if path.is_file() or (or_folder and path.is_dir()):  # also keeps us from waiting at a pipe
            return path
        what = f"this is {regular}" if path.exists() else f"there is no such {thing}"
    except (OSError, ValueError) as error:  # such as a name that is too long
        what = f"the system says '{getattr(error, 'strerror', None) or error}'"
    raise DataError(f"{path}: expected {kind}, but {what}; check the path.")


@contextmanager
def opened(path: Path, *, packed: bool = True) -> Iterator[Source]:
    """An open file; gzip, if it may be `packed`, is known by its content and not by its name."""
    with faults(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if packed and file.peek(2)[:2] == b"\x1f\x8b":
            raw: Any = gzip.GzipFile(fileobj=file)  # whose own `readline` is slow
            yield Source(BufferedReader(raw, 1 << 16), size, True)
        else:
            yield Source(file, size, False)


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """What goes wrong when a file is opened and read becomes a sentence."""
    try:
        yield
    except EOFError:
        raise DataError(f"{path}: the file is truncated, its gzip stream breaks off; {AGAIN}.") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the file is damaged, gzip says '{error}'; {AGAIN}.") from None
    except OSError as error:
        raise DataError(
            f"{path}: the file cannot be read ({error.strerror or error}); check its permissions."
        ) from None
    except MemoryError as error:
        raise DataError(f"{path}: the array does not fit into memory ({error}).") from None


def fill(stream: Any, array: np.ndarray[Any, Any]) -> int:
    """Read into a new array, in pieces so that a compressed file needs no second copy; how many bytes there were."""
    if not array.size:
        return 0
    target = array.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(target):
        piece = stream.readinto(target[done : done + _CHUNK])
        if not piece:
            break
        done += piece
    return done
