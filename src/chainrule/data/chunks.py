"""The numbers of an HDF5 dataset, put together from its chunks here and not by HDF5.

HDF5 believes a file about what a chunk unpacks to: one that is shorter than it should be, as a few changed bytes make
it, is read past its end, and the process may end with it. So chunks are taken as they are stored, and unpacked with
their sizes checked. The filters are those that HDF5 itself brings for this: gzip, shuffle and Fletcher's checksum
[HDF5 File Format Specification, IV.A.2.l].
"""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.streams import AGAIN, MOST_DEFLATED
from chainrule.errors import DataError

Array = np.ndarray[Any, Any]

_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_LARGEST_CHUNK = 1 << 26  # bytes; a chunk may be larger than that only if the array is
_BLOCK = 1 << 16  # words that are added up without overflow


def read_chunks(h5py: Any, found: Any, path: Path, where: str) -> Array:
    """All numbers of a chunked dataset.

    Raises
    ------
    DataError
        If chunks are missing, too many, or not what they should be, or need another filter.
    """
    shape, chunk, dtype = found.shape, found.chunks, found.dtype
    filters = _filters(found, dtype, where)
    if not found.id.get_type().equal(h5py.h5t.py_create(dtype, logical=True)):
        raise DataError(f"{where}: its numbers are stored in a form that NumPy has not; {_BY_HAND}.")
    length, size = math.prod(chunk) * dtype.itemsize, math.prod(shape) * dtype.itemsize
    if length > max(size, _LARGEST_CHUNK):
        raise DataError(
            f"{where}: {size:,} bytes are stored in chunks of {length:,}; the file is damaged, or {_BY_HAND}."
        )
    corners = _corners(found, path, where)
    packed = _DEFLATE in (code for code, _ in filters)
    most = sum(corners.values()) * (MOST_DEFLATED if packed else 1)
    if len(corners) * length > most:
        raise damaged(where, f"its chunks hold at most {most:,} bytes; expected {len(corners) * length:,}")
    array: Array = np.empty(shape, dtype)
    for corner in corners:
        skipped, raw = found.id.read_direct_chunk(corner)
        values = np.frombuffer(_unpacked(raw, filters, skipped, length, dtype.itemsize, where), dtype).reshape(chunk)
        room = array[tuple(slice(at, at + n) for at, n in zip(corner, chunk, strict=True))]
        room[...] = values[tuple(slice(n) for n in room.shape)]
    return array.astype(dtype.newbyteorder("="), copy=False)


_BY_HAND = "read it with h5py itself and give the arrays to chainrule.data.arrays"


def damaged(where: str, what: str) -> DataError:
    """What is said of a chunk that is not what the file says of it; to get the file again is what to do."""
    return DataError(f"{where}: the file is damaged: {what}; {AGAIN}.")


def _filters(found: Any, dtype: np.dtype[Any], where: str) -> list[tuple[int, int]]:
    """The filters that the chunks went through, each with its number among them, the last one first."""
    created = found.id.get_create_plist()
    filters = []
    for i in range(created.get_nfilters()):
        code, _, values, name = created.get_filter(i)
        if code not in (_DEFLATE, _SHUFFLE, _FLETCHER32):
            called = f"'{name.decode(errors='replace')}' (number {code})" if name else f"number {code}"
            raise DataError(
                f"{where}: it is packed by the filter {called}; expected gzip, shuffle or fletcher32: {_BY_HAND}."
            )
        if code == _SHUFFLE and values[:1] not in ((), (dtype.itemsize,)):
            raise damaged(where, f"numbers of {dtype.itemsize} bytes were shuffled as {values[0]}")
        filters.append((code, i))
    if len({code for code, _ in filters}) < len(filters):
        raise damaged(where, "its chunks went through the same filter twice")
    return filters[::-1]


def _corners(found: Any, path: Path, where: str) -> dict[tuple[int, ...], int]:
    """Where each chunk begins in the array, and how many bytes it has in the file."""
    shape, chunk, size = found.shape, found.chunks, path.stat().st_size
    expected = math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=True))
    if expected > size:
        raise damaged(where, f"it should have {expected:,} chunks in {size:,} bytes")
    stored: list[Any] = []

    def take(info: Any) -> bool | None:
        stored.append(info)
        return True if len(stored) > expected else None  # True: that is enough

    found.id.chunk_iter(take)
    corners = {
        info.chunk_offset: info.size
        for info in stored
        if all(at < n and at % c == 0 for at, n, c in zip(info.chunk_offset, shape, chunk, strict=True))
    }
    total = sum(corners.values())
    if len(stored) > len(corners) or total > size:
        raise damaged(where, f"it has {len(stored):,} chunks of {total:,} bytes in a file of {size:,}")
    if len(corners) < expected:
        raise DataError(
            f"{where}: {expected - len(corners):,} of its {expected:,} chunks were never written; expected an array "
            "that is complete: write it again."
        )
    return corners


def _unpacked(raw: bytes, filters: list[tuple[int, int]], skipped: int, length: int, width: int, where: str) -> bytes:
    """A chunk of numbers of so many bytes as it was before it was stored; bit i of `skipped`: filter i was left out."""
    for code, i in filters:
        if skipped >> i & 1:
            continue
        if code == _FLETCHER32:
            raw = _checked(raw, where)
        elif code == _DEFLATE:
            try:
                raw = zlib.decompressobj().decompress(raw, length + 8)  # a few more tell that it is too long
            except zlib.error as error:
                raise damaged(where, f"zlib says '{error}'") from None
        else:  # the first bytes of all numbers, then the second ones, and so on
            whole = len(raw) // width * width
            raw = np.frombuffer(raw, np.uint8, whole).reshape(width, -1).T.tobytes() + raw[whole:]
    if len(raw) != length:
        raise damaged(where, f"a chunk has {len(raw):,} bytes; expected {length:,}")
    return raw


def _checked(raw: bytes, where: str) -> bytes:
    """What comes before its checksum of four bytes: the sums of its 16-bit words, and of these sums, modulo 65535."""
    content = raw[:-4]
    words = np.frombuffer(content + bytes(len(content) % 2), ">u2")
    first = second = 0
    for start in range(0, len(words), _BLOCK):
        block = words[start : start + _BLOCK].astype(np.int64)
        second += first * len(block) + int(np.arange(len(block), 0, -1) @ block)
        first += int(block.sum())
    said = int.from_bytes(raw[-4:], "little")
    if len(raw) < 4 or (second - (said >> 16)) % 65535 or (first - (said & 0xFFFF)) % 65535:
        raise damaged(where, "a chunk does not have its checksum")
    return content
