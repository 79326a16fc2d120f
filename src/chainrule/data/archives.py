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
from typing import IO

from chainrule.errors import DataError

MOST_AT_ONCE = 1 << 26  # bytes that are read, or unpacked, in one piece
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
        Also from what is done with the files: if the archive is damaged, or holds more.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
        with (
            _Unpacked(path, most) if packed else path.open("rb") as stream,
            tarfile.open(fileobj=stream, mode="r:") as tar,
        ):
            files = {member.name.rpartition("/")[2]: _member(path, tar, member) for member in _members(path, tar, most)}
            while packed and stream.read(1 << 20):  # at its very end gzip compares its checksum
                pass
            yield files
    except EOFError:
        raise DataError(f"{path}: the archive is truncated, its gzip stream breaks off; get it again.") from None
    except (zlib.error, gzip.BadGzipFile, tarfile.TarError, RecursionError) as error:
        raise DataError(f"{path}: expected a tar archive, but it is damaged or none ({error}); get it again.") from None


def _members(path: Path, tar: tarfile.TarFile, most: int) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        # Before the next one is looked for: that means unpacking this one.
        _bounded(path, member.offset_data + member.size, most)
        if member.isreg() and not member.issparse():
            yield member


def _member(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> File:
    return File(f"{path}, member {member.name[:80]!r}", member.size, partial(_opened, tar, member))


def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    assert content is not None  # it is a regular file
    return content


def _bounded(path: Path, size: int, most: int) -> None:
    if size > most:
        raise DataError(f"{path}: the archive holds {size:,} bytes or more; expected at most {most:,}.")


class _Unpacked(gzip.GzipFile):
    """A gzip file of which no more than `most` bytes are unpacked, and no more than `MOST_AT_ONCE` in one piece."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path, "rb")
        self._path, self._most = path, most

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MOST_AT_ONCE:
            raise tarfile.ReadError(f"a header asks for {size:,} bytes at once")
        _bounded(self._path, self.tell() + size, self._most)
        return super().read(size)
