"""IDX files, the format of MNIST: a few bytes of header, then the numbers, big-endian, in C order.

The header is two zero bytes, a byte for the type, a byte for the number of dimensions, and four bytes for the size of
each. Nothing that a header says is believed before it is compared with the file.
"""

import math
import os
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.encoding import check_labels
from chainrule.data.streams import AGAIN, Source, file_path, fill, opened
from chainrule.errors import DataError

Array = np.ndarray[Any, Any]

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 64  # NumPy's own limit


def read_idx(path: str | os.PathLike[str], *, limit: int = 2**31) -> Array:
    """The array in an IDX file, plain or gzip (known by its content, not by its name).

    Parameters
    ----------
    path : path
    limit : int
        The largest array that is accepted, in bytes. A small gzip file can hold an enormous array.

    Returns
    -------
    ndarray
        Of the file's shape and type (uint8, int8, int16, int32, float32 or float64), in the machine's byte order.

    Raises
    ------
    DataError
        If there is no such file, or it is empty, damaged, too short, too long, larger than `limit` or no IDX file.
    """
    path = file_path(path, "read_idx", "an IDX file")
    with opened(path) as source:
        return _read(source, path, limit)


def read_pair(images: str | os.PathLike[str], labels: str | os.PathLike[str], classes: int = 10) -> tuple[Array, Array]:
    """Images and their labels from two IDX files that belong together.

    Parameters
    ----------
    images, labels : path
    classes : int
        Labels are 0 to classes-1.

    Returns
    -------
    images : ndarray of uint8 (n, ...)
        With at least one axis besides the first.
    labels : ndarray of integers (n,)

    Raises
    ------
    DataError
        As `read_idx`; also if the files are exchanged, hold something else, differ in length or are without images, or
        if a label is outside the classes.
    """
    x, t = read_idx(images), read_idx(labels)
    if x.ndim < 2 or x.dtype != np.uint8:
        raise _mislabelled(images, "images, uint8 with 2 dimensions or more", x)
    if t.ndim != 1 or t.dtype.kind not in "iu":
        raise _mislabelled(labels, "labels, integers with 1 dimension", t)
    if len(x) != len(t):
        raise DataError(
            f"{images} has {len(x):,} images, but {labels} has {len(t):,} labels; expected one label for each image: "
            "take two files that belong together."
        )
    if not x.size:
        raise DataError(f"{images}: expected images, found none (shape {x.shape}); {AGAIN}.")
    check_labels(t, classes, str(labels))
    return x, t


def _read(source: Source, path: Path, limit: int) -> Array:
    """The array in an open file."""
    dtype, shape, header = _header(source.stream, path)
    promised = math.prod(shape) * dtype.itemsize
    form = f"{dtype.name} of shape {shape}"
    # NumPy refuses some shapes without a single element, so for the limit an axis of 0 counts as 1.
    if math.prod(max(n, 1) for n in shape) * dtype.itemsize > limit:
        raise DataError(
            f"{path}: the header promises {form}, {promised:,} bytes, more than the limit of {limit:,}; if the file is "
            "right, give read_idx a larger limit."
        )
    need = header + promised
    if source.most < need:
        raise DataError(
            f"{path}: the header promises {form}, {need:,} bytes in all, but the file has {source.size:,}"
            f"{' in gzip, which cannot hold as much' if source.packed else ''}: it is truncated, or its header is "
            f"wrong; {AGAIN}."
        )
    array = np.empty(shape, dtype)
    found = fill(source.stream, array)
    if found < promised:
        raise DataError(
            f"{path}: the header promises {form}, {promised:,} bytes, but {found:,} follow it: the file is truncated; "
            f"{AGAIN}."
        )
    # One byte more tells whether the file is too long, and makes gzip compare its checksum at the end.
    if source.stream.read(1):
        raise DataError(
            f"{path}: the header promises {form}, {promised:,} bytes, but more follow; the file is damaged or no IDX "
            f"file: {AGAIN}."
        )
    return array.astype(dtype.newbyteorder("="), copy=False)


def _header(stream: BufferedIOBase, path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """The type, the shape and how many bytes the header has."""
    magic = stream.read(4)
    if not magic:
        raise DataError(f"{path}: expected an IDX file, but the file is empty; {AGAIN}.")
    if any(magic[:2]):
        raise DataError(
            f"{path}: expected an IDX file, which begins with two zero bytes, found {magic!r}; this is another format, "
            "or an error page in place of the file."
        )
    if len(magic) < 4:
        raise DataError(f"{path}: the file is truncated: it ends after {len(magic)} bytes, in its header; {AGAIN}.")
    code, rank = magic[2], magic[3]
    if code not in _TYPES:
        known = ", ".join(f"0x{c:02x} {np.dtype(t).name}" for c, t in _TYPES.items())
        raise DataError(f"{path}: unknown type code 0x{code:02x}; expected one of {known}: {AGAIN}.")
    if rank > _MOST_DIMENSIONS:
        raise DataError(f"{path}: the header promises {rank} dimensions; expected at most {_MOST_DIMENSIONS}: {AGAIN}.")
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise DataError(
            f"{path}: the file is truncated: it ends after {4 + len(sizes)} bytes, in the header of {rank} dimensions; "
            f"{AGAIN}."
        )
    return np.dtype(_TYPES[code]), tuple(int(n) for n in np.frombuffer(sizes, ">u4")), 4 + 4 * rank


def _mislabelled(path: str | os.PathLike[str], expected: str, found: Array) -> DataError:
    return DataError(
        f"{path}: expected {expected}, found {found.dtype} of shape {found.shape}; are the files of images and labels "
        "exchanged?"
    )
