"""Files where they lie: in a folder, or in a tar archive, which is read without being unpacked to the disk.

What an archive says of itself is not believed: no more is unpacked, at once and altogether, than a caller allows.
"""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from chainrule.errors import DataError

MOST_AT_ONCE = 1 << 26  # bytes that are read, or unpacked, in one piece
_MOST_HEADERS = 1 << 24  # bytes of all headers, of which each can ask to be read whole
_MOST_MEMBERS = 10_000
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class File:
    """A regular file, its size in bytes, and how it is opened."""

    where: str
    size: int
    open: Callable[[], IO[bytes]]

    def read(self, most: int = MOST_AT_ONCE) -> bytes:
        """All of it; a DataError if that is more than `most` bytes."""
        if self.size > most:
            raise DataError(f"{self.where}: the file has {self.size:,} bytes; expected at most {most:,}.")
        with self.open() as stream:
            return stream.read(self.size)


def in_folder(path: Path) -> dict[str, File]:
    """The regular files of a folder, by name. A pipe would keep us waiting."""

    def file(entry: Path) -> File:
        return File(str(entry), entry.stat().st_size, lambda: entry.open("rb"))

    return {entry.name: file(entry) for entry in path.iterdir() if entry.is_file()}


@contextmanager
def in_archive(path: Path, most: int) -> Iterator[dict[str, File]]:
    """The regular files of a tar archive, plain or gzip, by name without the folders.

    Parameters
    ----------
    path : Path
    most : int
        How many bytes the archive may hold, unpacked.

    Raises
    ------
    DataError
        Also from what is done with the files: if the archive is damaged, or holds more, or another of the same name.
    """
    try:
        with path.open("rb") as file, _unpacked(file) as stream:
            guarded = _Guarded(stream, path, most)
            files = _listed(path, guarded, most)
            while stream is not file and guarded.read(1 << 20):  # at its very end gzip compares its checksum
                pass
            yield files
    except EOFError:
        raise DataError(f"{path}: the archive is truncated, its gzip stream breaks off; get it again.") from None
    except (zlib.error, gzip.BadGzipFile, tarfile.TarError, RecursionError) as error:
        raise DataError(f"{path}: expected a tar archive, but it is damaged or none ({error}); get it again.") from None


def _unpacked(file: IO[bytes]) -> Any:
    packed = file.read(2) == _GZIP
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if packed else file


def _listed(path: Path, stream: Any, most: int) -> dict[str, File]:
    files: dict[str, File] = {}
    try:
        tar = tarfile.TarFile(fileobj=stream)
        for member in _members(path, tar, most):
            name = member.name.rpartition("/")[2]
            file = File(f"{path}, member {member.name[:80]!r}", member.size, partial(_opened, tar, member))
            files[name] = _twice(files[name], member) if name in files else file
    except DataError:
        raise
    except (ValueError, OverflowError, LookupError) as error:  # from headers with odd numbers, or shorter than they say
        raise tarfile.ReadError(f"a header is wrong: {str(error)[:80]}") from None
    stream.is_listed = True
    return files


def _members(path: Path, tar: tarfile.TarFile, most: int) -> Iterator[tarfile.TarInfo]:
    for number, member in enumerate(tar, 1):
        if number > _MOST_MEMBERS:
            raise DataError(
                f"{path}: the archive has more than {_MOST_MEMBERS:,} members; expected a data set's files."
            )
        if member.size < 0 or tar.offset < member.offset_data:  # the next one would be this one again
            raise tarfile.ReadError(f"member {member.name[:80]!r} has a negative size")
        # Before the next one is looked for: that means unpacking this one.
        _bounded(path, max(tar.offset, member.offset_data + member.size), most)
        if member.isreg() and not member.issparse():
            yield member


def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    assert content is not None  # it is a regular file
    return content


def _twice(first: File, second: tarfile.TarInfo) -> File:
    """In place of two files of one name: an archive may have two that nobody asks for."""

    def refuse() -> IO[bytes]:
        raise DataError(
            f"{first.where}: the archive has another file of this name, {second.name[:80]!r}, and only one can be "
            "right; get it again."
        )

    return File(first.where, first.size, refuse)


def _bounded(path: Path, size: int, most: int) -> None:
    if size > most:
        raise DataError(f"{path}: the archive holds {size:,} bytes or more; expected at most {most:,}.")


class _Guarded:
    """What tarfile reads: `most` bytes at most, `MOST_AT_ONCE` in one piece; of headers `_MOST_HEADERS` in all."""

    def __init__(self, stream: Any, path: Path, most: int) -> None:
        self._stream, self._path, self._most = stream, path, most
        self._headers = _MOST_HEADERS
        self.is_listed = False
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= (MOST_AT_ONCE if self.is_listed else self._headers):
            raise tarfile.ReadError(f"a header asks for {size:,} bytes at once")
        if not self.is_listed:
            self._headers -= size
        _bounded(self._path, self.tell() + size, self._most)
        content: bytes = self._stream.read(size)
        return content
