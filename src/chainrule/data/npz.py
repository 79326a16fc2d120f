"""NumPy's own files: .npy, one array, which can stay where it is; and .npz, a zip of several.

Nothing is unpickled, and nothing that a header says is believed before it is compared with the file.
"""

import io
import math
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from chainrule.data.checked import Stored, blocks, check_stored, from_file
from chainrule.data.dataset import Dataset
from chainrule.data.streams import AGAIN, MOST_DEFLATED, file_path, fill, opened
from chainrule.errors import DataError

Array = np.ndarray[Any, Any]

_LONGEST_HEADER = 10_000  # NumPy's own limit
_MOST_DIMENSIONS = 64  # and this one
# What zipfile raises on a damaged file depends on where the damage is.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError),
    *(ValueError, KeyError, IndexError, OverflowError),
)


def read_npy(path: str | os.PathLike[str], *, mmap: bool = False, limit: int = 2**31) -> Array:
    """The array in a .npy file.

    Parameters
    ----------
    path : path
    mmap : bool
        Leave the numbers in the file, which must stay as it is, and read them where they are used: for data that are
        larger than memory, `data.arrays(read_npy("x.npy", mmap=True), read_npy("y.npy"))`.
    limit : int
        The largest array that is read into memory, in bytes.

    Returns
    -------
    ndarray
        Of the file's shape and type, real numbers; mapped ones are read-only and keep the file's byte order.

    Raises
    ------
    DataError
        If there is no such file, or it is damaged, too short, too long, larger than `limit` or no .npy file, or holds
        anything but real numbers.
    """
    path = file_path(path, "read_npy", "a .npy file")
    with opened(path, packed=False) as source:
        header = _Header(source.stream, str(path))
        header.check(source.size)
        if mmap and header.count:
            mapped: Array = np.memmap(path, header.dtype, "r", header.length, header.shape, header.order)
            header.check_bools(mapped)
            return mapped
        if header.nbytes > limit:
            raise DataError(
                f"{path}: it holds {header}, more than the limit of {limit:,} bytes; give read_npy a larger limit, or "
                "mmap=True, which leaves it in the file."
            )
        return header.values(source.stream)


def read_npz(path: str | os.PathLike[str], x: str = "x", y: str = "y", *, limit: int = 2**31) -> Dataset:
    """The inputs and targets in a .npz file, as `numpy.savez` and `numpy.savez_compressed` write it.

    Parameters
    ----------
    path : path
    x, y : str
        The names of two arrays as long as each other: inputs (n, ...) of real numbers; targets that are labels,
        integers (n,), or one-hot rows (n, C), or other floats to be predicted.
    limit : int
        The largest array that is accepted, in bytes. A small file can hold an enormous one.

    Returns
    -------
    Dataset
        Inputs in the file's own scale and type. Classes are labels, int64 (n,), also where the file has one-hot rows.

    Raises
    ------
    DataError
        If there is no such file or array; if the file is no .npz file, or is damaged; if an array has the wrong shape
        or type, or is larger than `limit`; if numbers are NaN or infinite.
    """
    path = file_path(path, "read_npz", "an .npz file")
    with _zip_faults(path), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = [_member(archive, key, path) for key in (x, y)]
        headers = [_header(archive, info, f"{path}: '{key}'") for info, key in zip(members, (x, y), strict=True)]
        stored = [Stored(key, h.dtype, h.shape) for key, h in zip((x, y), headers, strict=True)]
        check_stored(stored[0], stored[1], path, "read_npz", limit)
        arrays = []
        for info, header in zip(members, headers, strict=True):
            with archive.open(info) as stream:
                stream.read(header.length)
                arrays.append(header.values(stream))
    return from_file(path, x, arrays[0], y, arrays[1])


@contextmanager
def _zip_faults(path: Path) -> Iterator[None]:
    """What goes wrong with a zip becomes a sentence."""
    try:
        yield
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{path}: an array does not fit into memory.") from None
    except PermissionError:
        raise DataError(f"{path}: the file cannot be read: permission denied.") from None
    except _DAMAGE as error:
        said = " ".join(str(error).split())[:200]
        if said == "File is not a zip file":
            raise DataError(f"{path}: expected an .npz file, which is a zip, found another format; {AGAIN}.") from None
        what = f"zip says '{said}'" if said else "its parts do not fit together"
        raise DataError(f"{path}: the file is damaged, {what}; {AGAIN}.") from None


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> "_Header":
    with archive.open(info) as stream:
        header = _Header(stream, where)
    header.check(info.file_size)
    return header


def _member(archive: zipfile.ZipFile, key: str, path: Path) -> zipfile.ZipInfo:
    """An array in the zip, as the zip describes it."""
    infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    found = [info for info in infos if info.filename.removesuffix(".npy") == key]
    if not found:
        there = ", ".join(repr(info.filename.removesuffix(".npy")) for info in infos[:20]) or "no arrays"
        raise DataError(f"{path}: there is no array {key!r} in the file, which holds {there}; name one of its arrays.")
    if len(found) > 1:
        raise DataError(f"{path}: the file has {len(found)} arrays called {key!r}, and only one can be right; {AGAIN}.")
    (info,) = found
    if info.flag_bits & 1:
        raise DataError(f"{path}: '{key}' is encrypted; expected a file as numpy.savez writes it.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(
            f"{path}: '{key}' is packed by method {info.compress_type} of zip; expected a file as numpy.savez or "
            "numpy.savez_compressed writes it."
        )
    most = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else MOST_DEFLATED)
    if info.compress_size > path.stat().st_size or info.file_size > most:
        raise DataError(
            f"{path}: the file is damaged: '{key}' is said to be {info.file_size:,} bytes, in a file of "
            f"{path.stat().st_size:,}; {AGAIN}."
        )
    return info


class _Header:
    """What a .npy file says of its array, read from its beginning."""

    def __init__(self, stream: Any, where: str) -> None:
        self._where = where
        start = stream.read(8)
        if start[:6] != b"\x93NUMPY":
            raise DataError(f"{where}: expected an array as numpy.save writes it, found another format; {AGAIN}.")
        width = {b"\1\0": 2, b"\2\0": 4}.get(start[6:])
        if width is None:
            raise self._damaged(f"its version is {start[6:]!r}; expected 1.0 or 2.0")
        start += stream.read(width)
        length = int.from_bytes(start[8:], "little")
        if length > _LONGEST_HEADER:
            raise self._damaged(f"its header has {length:,} bytes; expected at most {_LONGEST_HEADER:,}")
        content = start + stream.read(length)
        self.length = 8 + width + length
        if len(content) < self.length:
            raise self._damaged("it is truncated, and ends in its header")
        reader = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what Python 2 wrote
                self.shape, fortran, self.dtype = reader(io.BytesIO(content[8:]))
        except Exception as error:  # the header is a Python expression, and anything can be wrong with one
            said = " ".join(str(error).split())[:200]
            is_of_use = said and " at 0x" not in said  # not an object's address
            raise self._damaged(f"NumPy says '{said}'" if is_of_use else "its header describes no array") from None
        self.order: Literal["C", "F"] = "F" if fortran else "C"
        if self.dtype.kind not in "biuf":
            pickled = " (a pickle, which could run anything)" if self.dtype.hasobject else ""
            raise DataError(f"{where}: it has dtype {self.dtype}{pickled}; expected real numbers.")
        # NumPy refuses some shapes without a single element, so here an axis of 0 counts as 1.
        full = math.prod(max(n, 1) for n in self.shape) * self.dtype.itemsize
        odd = len(self.shape) > _MOST_DIMENSIONS or any(type(n) is not int or n < 0 for n in self.shape)  # not True
        if odd or (not self.count and full >= 2**63):
            raise self._damaged(f"its shape is {self.shape}")

    def __str__(self) -> str:
        return f"{self.dtype} of shape {self.shape}, {self.nbytes:,} bytes"

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize

    def check(self, size: int) -> None:
        """Raise a DataError if the file, or the member of a zip, has not just as many bytes."""
        if self.length + self.nbytes != size:
            raise self._damaged(f"the header promises {self}, {self.length + self.nbytes:,} in all, found {size:,}")

    def values(self, stream: Any) -> Array:
        """The numbers, which come next in the stream; in the machine's byte order."""
        array: Array = np.empty(self.count, self.dtype)
        if fill(stream, array) < self.nbytes or stream.read(1):  # at the end, zip compares its checksum
            raise self._damaged(f"the header promises {self}, but fewer or more follow")
        self.check_bools(array)
        array = array.reshape(self.shape, order=self.order)
        return array.astype(self.dtype.newbyteorder("="), copy=False)

    def check_bools(self, array: Array) -> None:
        """Raise a DataError if a bool is anything but 0 or 1; what NumPy does with such ones is anybody's guess."""
        if self.dtype.kind == "b" and any(block.view(np.uint8).max() > 1 for block in blocks(np.atleast_1d(array))):
            raise self._damaged("it has bools that are neither 0 nor 1")

    def _damaged(self, what: str) -> DataError:
        return DataError(f"{self._where}: the file is damaged: {what}; {AGAIN}.")
