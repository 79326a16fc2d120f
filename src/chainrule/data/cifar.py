"""CIFAR-10's files, in each form in which they are published: the binary version and the Python version, in a folder or
in the archive as it comes.

A batch of the binary version is a row of records of 3,073 bytes: the label, then the red, the green and the blue plane
of 32 × 32 pixels. A batch of the Python version is a pickle of the same bytes; no pickle is loaded (`unpickling.py`).
"""

import os
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.archives import MOST_AT_ONCE, File, in_archive, in_folder
from chainrule.data.dataset import Dataset
from chainrule.data.encoding import check_labels
from chainrule.data.streams import AGAIN, file_path
from chainrule.data.unpickling import shown, unpickle
from chainrule.errors import DataError

Array = np.ndarray[Any, Any]
_Images = tuple[Array, Array]  # pixels (n, 3072) and labels (n,)

SHAPE, CLASSES = (3, 32, 32), 10
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")
FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")
ARCHIVES = ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz")

_PIXELS = 3 * 32 * 32
_RECORD = 1 + _PIXELS
_MOST = 1 << 31  # bytes of all files; the published ones have 184 million
_MOST_NAMES = 1 << 16  # bytes of the file of class names
_CHUNK = 250  # records that are read at once, few enough for the processor's cache
_PUBLISHED = 10_000  # images in each batch


def read_cifar(path: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """CIFAR-10 from its published files.

    Parameters
    ----------
    path : path
        A folder with `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin` (the binary version), or with the
        same names without `.bin` (the Python version); or `cifar-10-binary.tar.gz` or `cifar-10-python.tar.gz`.

    Returns
    -------
    train, test : Dataset
        Inputs uint8 (n, 3, 32, 32), C-contiguous, colours first; labels int64 (n,), 0 to 9; n is 50,000 and 10,000.

    Raises
    ------
    DataError
        If a file is missing, damaged, of another size or another kind, or has more or fewer images than the others, or
        a label is not 0 to 9.

    Notes
    -----
    The classes' names are those in the file `batches.meta.txt` (`batches.meta`), or CIFAR-10's own where there is none.

    References
    ----------
    A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009. https://www.cs.toronto.edu/~kriz
    """
    path = file_path(path, "read_cifar", "CIFAR-10", or_folder=True)
    try:
        if path.is_dir():
            return _read(path, in_folder(path))
        with in_archive(path, _MOST) as files:
            return _read(path, files)
    except OSError as error:
        raise DataError(
            f"{error.filename or path}: the file cannot be read ({error.strerror or error}); check its permissions."
        ) from None
    except MemoryError as error:
        raise DataError(f"{path}: the images do not fit into memory ({error}).") from None


def find(folder: Path) -> Path | None:
    """The folder or archive of CIFAR-10 in a folder, or in its subfolder `cifar-10`."""
    places = (folder, folder / "cifar-10")
    complete = (
        candidate
        for place in places
        for candidate in (place, *(place / name for name in FOLDERS))
        if any(all((candidate / (name + end)).is_file() for name in BATCHES) for end in (".bin", ""))
    )
    archives = (place / name for place in places for name in ARCHIVES if (place / name).is_file())
    return next(complete, None) or next(archives, None)


def _read(path: Path, files: dict[str, File]) -> tuple[Dataset, Dataset]:
    for end, read, named in ((".bin", _binary, "batches.meta.txt"), ("", _pickled, "batches.meta")):
        batches = [files[name + end] for name in BATCHES if name + end in files]
        if len(batches) == len(BATCHES):
            names = _class_names(files[named]) if named in files else CLASS_NAMES
            train, test = read(batches)
            return _dataset(train, "train", names), _dataset(test, "test", names)
    missing = [f"{name}.bin" for name in BATCHES if f"{name}.bin" not in files]
    raise DataError(
        f"{path}: expected the six batches of CIFAR-10, but {', '.join(missing)} are missing, and those of the Python "
        "version are not complete either; `chainrule data get cifar-10` gets them."
    )


def _check_counts(counts: list[int], batches: list[File]) -> None:
    """A file that is cut or continued at the end of a record can be known only by the others."""
    usual = statistics.mode(counts)
    for file, count in zip(batches, counts, strict=True):
        if count != usual:
            raise DataError(
                f"{file.where}: the file has {count:,} images, but other batches have {usual:,}; expected as many in "
                f"each of the six, {_PUBLISHED:,} in the published ones; {AGAIN}."
            )


def _dataset(images: _Images, part: str, names: tuple[str, ...]) -> Dataset:
    x, t = images
    return Dataset(
        x.reshape(-1, *SHAPE), t, classes=CLASSES, name=f"cifar-10 {part}", image_shape=SHAPE, class_names=names
    )


def _binary(batches: list[File]) -> tuple[_Images, _Images]:
    """Batches of the binary version, those for training read into one array."""
    for file in batches:
        if file.size % _RECORD or not file.size:
            raise DataError(
                f"{file.where}: the file has {file.size:,} bytes; expected records of {_RECORD:,} bytes each, "
                f"30,730,000 in all: the file is truncated or another one; {AGAIN}."
            )
    _bounded(batches)
    _check_counts([file.size // _RECORD for file in batches], batches)
    return _filled(batches[:-1]), _filled(batches[-1:])


def _filled(batches: list[File]) -> _Images:
    count = batches[0].size // _RECORD
    pixels, labels = np.empty((len(batches) * count, _PIXELS), np.uint8), np.empty(len(batches) * count, np.int64)
    for k, file in enumerate(batches):
        rows = slice(k * count, (k + 1) * count)
        _fill(file, pixels[rows], labels[rows])
    return pixels, labels


def _bounded(batches: list[File]) -> None:
    size = sum(file.size for file in batches)
    if size > _MOST:
        raise DataError(
            f"{batches[0].where} and those beside it have {size:,} bytes; expected 184 million: these are other files."
        )


def _fill(file: File, pixels: Array, labels: Array) -> None:
    with file.open() as stream:
        for start in range(0, len(labels), _CHUNK):
            rows = slice(start, min(start + _CHUNK, len(labels)))
            raw = stream.read((rows.stop - start) * _RECORD)
            if len(raw) < (rows.stop - start) * _RECORD:
                raise DataError(f"{file.where}: the file is truncated, it ends before {file.size:,} bytes; {AGAIN}.")
            records = np.frombuffer(raw, np.uint8).reshape(-1, _RECORD)
            labels[rows], pixels[rows] = records[:, 0], records[:, 1:]
    check_labels(labels, CLASSES, file.where)


def _pickled(batches: list[File]) -> tuple[_Images, _Images]:
    """Batches of the Python version."""
    _bounded(batches)
    pixels, labels = zip(*(_unpickled(file) for file in batches), strict=True)
    _check_counts([len(each) for each in labels], batches)
    return (np.concatenate(pixels[:-1]), np.concatenate(labels[:-1])), (pixels[-1], labels[-1])


def _unpickled(file: File) -> _Images:
    batch = _entries(file)
    pixels, labels = batch.get("data"), batch.get("labels")
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        found = f"of shape {pixels.shape}" if isinstance(pixels, np.ndarray) else f"a {type(pixels).__name__}"
        raise DataError(f"{file.where}: expected 'data', uint8 of shape (n, {_PIXELS}), found {found}; {AGAIN}.")
    if not isinstance(labels, list) or len(labels) != len(pixels):
        found = f"{len(labels):,} in a" if isinstance(labels, list) else "a"
        raise DataError(
            f"{file.where}: expected 'labels', a list of {len(pixels):,} integers, found {found} "
            f"{type(labels).__name__}; {AGAIN}."
        )
    for row, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < CLASSES:
            raise DataError(
                f"{file.where}: the label at row {row} is {shown(label)}; expected an integer from 0 to "
                f"{CLASSES - 1}: {AGAIN}."
            )
    return np.ascontiguousarray(pixels), np.array(labels, np.int64)


def _entries(file: File, most: int = MOST_AT_ONCE) -> dict[str, Any]:
    """A pickled dict, whose keys are bytes in Python 2."""
    pickled = unpickle(file.read(most), file.where)
    if not isinstance(pickled, dict):
        raise DataError(f"{file.where}: expected a dict, found a {type(pickled).__name__}; {AGAIN}.")
    return {_text(key): value for key, value in pickled.items()}


def _class_names(file: File) -> tuple[str, ...]:
    """The names in `batches.meta.txt`, one a line, or in the dict of `batches.meta`."""
    if file.where.rstrip("'").endswith(".txt"):
        names = _text(file.read(_MOST_NAMES)).split("\n")
        names = [name.strip() for name in names if name.strip()]
    else:
        named = _entries(file, _MOST_NAMES).get("label_names")
        names = list(map(_text, named[: CLASSES + 1])) if isinstance(named, list) and _are_texts(named) else []
    if len(names) != CLASSES or not all(name.isprintable() for name in names):
        raise DataError(f"{file.where}: expected the names of {CLASSES} classes, found {len(names)}; {AGAIN}.")
    return tuple(names)


def _are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str | bytes) for value in values)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
