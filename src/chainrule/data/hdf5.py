"""HDF5 files with one array of inputs and one of targets, read and written with h5py; what has another layout needs
h5py itself.

Nothing that a file says is believed before it is looked at: a file can promise more numbers than there is memory, or
point to another file.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.checked import Stored, check_stored, from_file
from chainrule.data.chunks import damaged, read_chunks
from chainrule.data.dataset import Dataset
from chainrule.data.encoding import check_labels, one_hot
from chainrule.data.streams import AGAIN, file_path
from chainrule.errors import ChainruleError, DataError

Array = np.ndarray[Any, Any]

_CHUNK = 3 << 20  # bytes that are compressed together
# What h5py raises on a damaged file depends on where the damage is.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)
_MOST_STEPS = 1000  # of links and groups: soft links may lead round in a circle
# What HDF5 says where a program has the file open to write, or did not live to close it.
_IN_USE, _LEFT_OPEN = "unable to lock file", "already open for write"


def read_hdf5(path: str | os.PathLike[str], x: str = "xdata", y: str = "ydata", *, limit: int = 2**31) -> Dataset:
    """The inputs and targets in an HDF5 file.

    Parameters
    ----------
    path : path
    x, y : str
        The keys, such as "xdata" or "train/images", of two arrays as long as each other: inputs (n, ...) of real
        numbers; targets that are labels, integers (n,), or one-hot rows (n, C), or other floats to be predicted.
    limit : int
        The largest array that is accepted, in bytes. A small file can hold, or promise, an enormous array.

    Returns
    -------
    Dataset
        Inputs in the file's own scale and type, read once into memory. Classes are labels, int64 (n,), also where the
        file has one-hot rows.

    Raises
    ------
    DataError
        If there is no such file or key; if the file is no HDF5 file, truncated, damaged or being written; if an array
        has the wrong shape or type, is larger than `limit`, lies in another file, is packed by another filter than
        gzip, shuffle and fletcher32, or was not written whole; if numbers are NaN or infinite.
    ChainruleError
        If h5py is missing.
    """
    h5py, path = _h5py(), file_path(path, "read_hdf5", "an HDF5 file")
    with _damage_as_sentence(path), h5py.File(path, "r") as file:
        found = [_dataset(h5py, file, key, path) for key in (x, y)]
        stored = [Stored(key, each.dtype, each.shape) for key, each in zip((x, y), found, strict=True)]
        check_stored(stored[0], stored[1], path, "read_hdf5", limit)
        inputs, targets = (
            _values(h5py, each, path, f"{path}: '{key}'") for key, each in zip((x, y), found, strict=True)
        )
    return from_file(path, x, inputs, y, targets)


def write_hdf5(path: str | os.PathLike[str], dataset: Dataset, x: str = "xdata", y: str = "ydata") -> None:
    """Write a data set as an HDF5 file, which is put in its place whole.

    Parameters
    ----------
    path : path
    dataset : Dataset
        Its features, scaled as the network sees them, are written as float32, a few rows at a time; classes as one-hot
        rows of uint8, a single class as labels; numbers to be predicted as they are.
    x, y : str
        The keys.

    Raises
    ------
    DataError
        If the file cannot be written, if this is no Dataset, or if the keys are the same or no names.
    ChainruleError
        If h5py is missing.

    Notes
    -----
    Compressed, with a checksum in each piece. The same data give the same bytes.
    """
    h5py = _h5py()
    try:
        path = Path(path)
    except TypeError:
        raise DataError(f"write_hdf5: expected the path of a file, found {_kind(path)}.") from None
    if not isinstance(dataset, Dataset):
        raise DataError(f"{path}: expected a Dataset to write, such as data.arrays(x, y), found {_kind(dataset)}.")
    for key in (x, y):
        if not isinstance(key, str) or key.strip("/.") == "":
            raise DataError(f"{path}: the key {key!r} is no name for an array; expected text such as 'xdata'.")
    if x == y:
        raise DataError(f"{path}: inputs and targets need two keys, but both are '{x}'.")
    classes = dataset.classes if dataset.targets.ndim == 1 else None  # one-hot rows stay what they are
    if classes == 1:  # a column of ones could be anything
        check_labels(dataset.targets, classes, f"{path}: targets")
        classes = None
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    try:
        with h5py.File(temporary, "w") as file:
            inputs = _create(file, x, dataset.inputs.shape, np.dtype(np.float32))
            shape = dataset.targets.shape if classes is None else (len(dataset), classes)
            targets = _create(file, y, shape, dataset.targets.dtype if classes is None else np.dtype(np.uint8))
            for start in range(0, len(dataset), 1000):
                rows = slice(start, start + 1000)
                inputs[rows] = dataset.features(rows)
                block = dataset.targets[rows]
                targets[rows] = block if classes is None else one_hot(block, classes, np.uint8)
        os.replace(temporary, path)
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(f"{path} could not be written ({_reason(error)}); nothing was changed.") from None
    finally:
        temporary.unlink(missing_ok=True)


def _create(file: Any, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    row = int(np.prod(shape[1:])) * dtype.itemsize
    if not row * shape[0]:
        return file.create_dataset(key, shape, dtype)  # nothing to cut into chunks
    chunk = min(shape[0], max(1, _CHUNK // row))
    return file.create_dataset(
        key, shape, dtype, chunks=(chunk, *shape[1:]), compression="gzip", compression_opts=1, fletcher32=True
    )


def _found(h5py: Any, file: Any, key: str, path: Path) -> Any:
    """What is under a key, an array or not. Links are followed here one by one, so that none leads into another file:
    HDF5 would open that before anybody could ask.
    """
    if not isinstance(key, str):
        raise DataError(f"{path}: the key {key!r} is no text; {_there(file)}")
    if key.strip("/") in ("", "."):
        raise DataError(f"{path}: '{key}' is no array, but all of the file; {_there(file)}")
    found, ahead, via = file, key.split("/"), None
    for _ in range(_MOST_STEPS):
        if not ahead:
            return found
        name, *ahead = ahead
        if name in ("", "."):
            continue
        link = found.get(name, getlink=True) if isinstance(found, h5py.Group) else None
        if link is None:
            break
        if isinstance(link, h5py.ExternalLink):
            raise _elsewhere(key, path)
        if isinstance(link, h5py.SoftLink):
            via, ahead = via or link.path, link.path.split("/") + ahead
            found = file if link.path.startswith("/") else found
        else:
            found = found[name]
    if via is None:
        raise DataError(f"{path}: there is no '{key}' in the file; {_there(file)}")
    raise DataError(f"{path}: '{key}' is a link to '{via}', which leads nowhere; {_there(file)}")


def _there(file: Any) -> str:
    return f"the file holds {', '.join(repr(name) for name in list(file)[:20]) or 'nothing'}; name one of its arrays."


def _elsewhere(key: str, path: Path) -> DataError:
    return DataError(f"{path}: the numbers of '{key}' lie in another file; expected them in this one.")


def _dataset(h5py: Any, file: Any, key: str, path: Path) -> Any:
    """The array under a key, looked at but not read."""
    found = _found(h5py, file, key, path)
    if not isinstance(found, h5py.Dataset):
        names = list(found)[:20] if isinstance(found, h5py.Group) else []
        holds = ", ".join(f"'{key.rstrip('/')}/{name}'" for name in names) or "nothing"
        raise DataError(
            f"{path}: '{key}' is no array, but a {type(found).__name__.lower()} that holds {holds}; name one of its "
            "arrays."
        )
    if found.external or found.is_virtual:
        raise _elsewhere(key, path)
    if found.shape is None:
        raise DataError(f"{path}: '{key}' has no numbers; expected an array with one row a sample.")
    return found


def _values(h5py: Any, found: Any, path: Path, where: str) -> Array:
    if found.chunks is not None:
        return read_chunks(h5py, found, path, where)
    stored, size = found.id.get_storage_size(), found.size * found.dtype.itemsize
    if stored < size:
        raise DataError(
            f"{where}: {found.dtype} of shape {found.shape} are {size:,} bytes, but only {stored:,} were ever written; "
            f"{AGAIN}."
        )
    if size > path.stat().st_size:
        raise damaged(where, f"it promises {size:,} bytes, more than there are in all")
    array: Array = np.empty(found.shape, found.dtype.newbyteorder("="))
    found.read_direct(array)
    return array


@contextmanager
def _damage_as_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except PermissionError:
        raise DataError(f"{path}: the file cannot be read: permission denied.") from None
    except MemoryError:
        raise DataError(f"{path}: an array does not fit into memory.") from None
    except _DAMAGE as error:
        said = str(error)
        if "signature not found" in said:
            what = "expected an HDF5 file, found another format, or an error page in place of the file"
        elif _IN_USE in said:
            raise DataError(
                f"{path}: the file is in use: a program has it open to write; close it there, or wait."
            ) from None
        elif _LEFT_OPEN in said:
            what = "a program has the file open to write, or ended before it closed it: if it still runs, wait, else"
            raise DataError(f"{path}: {what} {AGAIN}.") from None
        elif "truncated" in said:
            what = f"the file is truncated: it has {path.stat().st_size:,} bytes, fewer than it says itself"
        else:
            what = f"the file is damaged, HDF5 says '{_reason(error)}'"
        raise DataError(f"{path}: {what}; {AGAIN}.") from None


def _kind(given: Any) -> str:
    return "None" if given is None else f"a {type(given).__name__}"


def _reason(error: BaseException) -> str:
    """What the system or HDF5 says, on one line."""
    code = getattr(error, "errno", None)
    if code is not None and code in errno.errorcode:
        return os.strerror(code)
    return " ".join(str(error).split()).strip("'\"")[:200]


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise ChainruleError(
            'HDF5 files are read and written with h5py, which is missing: pip install "chainrule[lab]"'
        ) from None
    return h5py
