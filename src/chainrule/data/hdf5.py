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

from chainrule.data.checked import class_targets, finite_numbers
from chainrule.data.dataset import Dataset
from chainrule.data.encoding import check_labels, labels, one_hot
from chainrule.errors import ChainruleError, DataError

Array = np.ndarray[Any, Any]

_AGAIN = "get the file again"
_CHUNK = 3 << 20  # bytes that are compressed together
# What h5py raises on a damaged file depends on where the damage is.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)
# What HDF5 says where a soft link leads nowhere, or round in a circle.
_NOWHERE = ("component not found", "doesn't exist", "too many links")
# What it says where a program has the file open to write, or did not live to close it.
_IN_USE, _LEFT_OPEN = "unable to lock file", "already open for write"


def read_hdf5(
    path: str | os.PathLike[str], inputs: str = "xdata", targets: str = "ydata", *, limit: int = 2**31
) -> Dataset:
    """The inputs and targets in an HDF5 file.

    Parameters
    ----------
    path : path
    inputs, targets : str
        The keys of two arrays as long as each other: inputs (n, ...) of real numbers; targets that are labels, integers
        (n,), or one-hot rows (n, C), or other floats to be predicted.
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
        has the wrong shape or type, is larger than `limit` or lies in another file; if numbers are NaN or infinite.
    ChainruleError
        If h5py is missing.
    """
    h5py, path = _h5py(), _path(path, "read_hdf5")
    if not path.is_file():  # also keeps us from waiting at a pipe
        what = "this is no regular file" if path.exists() else "there is no such file"
        raise DataError(f"{path}: expected an HDF5 file, but {what}; check the path.")
    with _damage_as_sentence(path), h5py.File(path, "r") as file:
        found = {key: _dataset(h5py, file, key, path, limit) for key in (inputs, targets)}
        _check_lengths(found, path)
        x, y = (_values(found[key], f"{path}: '{key}'") for key in (inputs, targets))
    finite_numbers(x, f"{path}: '{inputs}'")
    y, classes = class_targets(finite_numbers(y, f"{path}: '{targets}'"), None, f"{path}: '{targets}'")
    if classes is not None and y.ndim == 2:
        y = labels(y)
    return Dataset(x, y, classes=classes, name=path.name)


def write_hdf5(path: str | os.PathLike[str], dataset: Dataset, inputs: str = "xdata", targets: str = "ydata") -> None:
    """Write a data set as an HDF5 file, which is put in its place whole.

    Parameters
    ----------
    path : path
    dataset : Dataset
        Its features, scaled as the network sees them, are written as float32, a few rows at a time; classes as one-hot
        rows of uint8, a single class as labels; numbers to be predicted as they are.
    inputs, targets : str
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
    h5py, path = _h5py(), _path(path, "write_hdf5")
    if not isinstance(dataset, Dataset):
        raise DataError(f"{path}: expected a Dataset to write, such as data.arrays(x, y), found {_kind(dataset)}.")
    for key in (inputs, targets):
        if not isinstance(key, str) or key.strip("/.") == "":
            raise DataError(f"{path}: the key {key!r} is no name for an array; expected text such as 'xdata'.")
    if inputs == targets:
        raise DataError(f"{path}: inputs and targets need two keys, but both are '{inputs}'.")
    classes = dataset.classes if dataset.targets.ndim == 1 else None  # one-hot rows stay what they are
    if classes == 1:  # a column of ones could be anything
        check_labels(dataset.targets, classes, f"{path}: targets")
        classes = None
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    try:
        with h5py.File(temporary, "w") as file:
            x = _create(file, inputs, dataset.inputs.shape, np.dtype(np.float32))
            shape = dataset.targets.shape if classes is None else (len(dataset), classes)
            y = _create(file, targets, shape, dataset.targets.dtype if classes is None else np.dtype(np.uint8))
            for start in range(0, len(dataset), 1000):
                rows = slice(start, start + 1000)
                x[rows] = dataset.features(rows)
                block = dataset.targets[rows]
                y[rows] = block if classes is None else one_hot(block, classes, np.uint8)
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
    """What is under a key, an array or not."""
    there = f"the file holds {', '.join(repr(name) for name in list(file)[:20]) or 'nothing'}; name one of its arrays."
    if not isinstance(key, str):
        raise DataError(f"{path}: the key {key!r} is no text; {there}")
    if key.strip("/") in ("", "."):
        raise DataError(f"{path}: '{key}' is no array, but all of the file; {there}")
    link = file.get(key, getlink=True)
    if link is None:
        raise DataError(f"{path}: there is no '{key}' in the file; {there}")
    if isinstance(link, h5py.ExternalLink):
        raise _elsewhere(key, path)
    try:
        return file[key]
    except (KeyError, RuntimeError) as error:
        if isinstance(link, h5py.SoftLink) and any(words in str(error) for words in _NOWHERE):
            raise DataError(f"{path}: '{key}' is a link to '{link.path}', which leads nowhere; {there}") from None
        raise


def _elsewhere(key: str, path: Path) -> DataError:
    return DataError(f"{path}: the numbers of '{key}' lie in another file; expected them in this one.")


def _dataset(h5py: Any, file: Any, key: str, path: Path, limit: int) -> Any:
    """The array under a key, looked at but not read."""
    found = _found(h5py, file, key, path)
    if not isinstance(found, h5py.Dataset):
        names = list(found)[:20] if isinstance(found, h5py.Group) else []
        holds = ", ".join(f"'{key.rstrip('/')}/{name}'" for name in names) or "nothing"
        raise DataError(
            f"{path}: '{key}' is no array, but a {type(found).__name__.lower()} that holds {holds}; name one of its "
            "arrays."
        )
    if found.external or found.is_virtual or found.file.filename != file.filename:
        raise _elsewhere(key, path)
    if found.dtype.kind not in "biuf":
        raise DataError(f"{path}: '{key}' has dtype {found.dtype}; expected real numbers.")
    if not found.shape or not found.size:
        raise DataError(
            f"{path}: '{key}' has shape {found.shape if found.shape is not None else 'none'}; expected an array with "
            "one row a sample, and at least one."
        )
    if found.size * found.dtype.itemsize > limit:
        raise DataError(
            f"{path}: '{key}' is {found.dtype} of shape {found.shape}, {found.size * found.dtype.itemsize:,} bytes, "
            f"more than the limit of {limit:,}; if the file is right, give read_hdf5 a larger limit."
        )
    return found


def _check_lengths(found: dict[str, Any], path: Path) -> None:
    shapes = {key: each.shape for key, each in found.items()}
    if len({shape[0] for shape in shapes.values()}) == 1:
        return
    (x_key, x), (y_key, y) = shapes.items()
    hint = f" Are the samples of '{x_key}' in its columns? Transpose it." if len(x) == 2 and x[1] == y[0] else ""
    raise DataError(
        f"{path}: '{x_key}' has {x[0]:,} rows (shape {x}), but '{y_key}' has {y[0]:,} (shape {y}); expected one target "
        f"for each row.{hint}"
    )


def _values(found: Any, where: str) -> Array:
    try:
        array: Array = np.empty(found.shape, found.dtype.newbyteorder("="))
    except (MemoryError, ValueError):
        raise DataError(f"{where}: {found.dtype} of shape {found.shape} does not fit into memory.") from None
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
            raise DataError(f"{path}: {what} {_AGAIN}.") from None
        elif "truncated" in said:
            what = f"the file is truncated: it has {path.stat().st_size:,} bytes, fewer than it says itself"
        else:
            what = f"the file is damaged, HDF5 says '{_reason(error)}'"
        raise DataError(f"{path}: {what}; {_AGAIN}.") from None


def _path(given: Any, where: str) -> Path:
    try:
        return Path(given)
    except TypeError:
        raise DataError(f"{where}: expected the path of a file, found {_kind(given)}.") from None


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
