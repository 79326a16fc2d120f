"""Where the files of a data set are, and what they hold: the packaged ones or those in a person's own folder."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from chainrule.data.dataset import Dataset
from chainrule.data.idx import read_pair
from chainrule.errors import DataError, UnknownNameError

VARIABLE = "CHAINRULE_DATA"


@dataclass(frozen=True)
class Source:
    """A data set in two pairs of IDX files, images and labels, for training and for the test."""

    train: tuple[str, str]
    test: tuple[str, str]
    image_shape: tuple[int, ...]
    classes: int


SOURCES = {
    "mnist": Source(
        train=("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        test=("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        image_shape=(28, 28),
        classes=10,
    )
}


def read(name: str, data_dir: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset]:
    """The training and the test file of a data set: uint8 pixels (n, pixels), not scaled, and int64 labels (n,).

    Parameters
    ----------
    name : str
    data_dir : path, optional
        A folder with the files; by default the one in the environment variable CHAINRULE_DATA, else the packaged files.

    Raises
    ------
    UnknownNameError, DataError
        If there is no such data set; if the files are missing or not what they should be.
    """
    if name not in SOURCES:
        raise UnknownNameError("data set", name, SOURCES)
    folder = data_dir if data_dir is not None else os.environ.get(VARIABLE) or None
    if folder is None:
        return _packaged(name)
    return _read(name, Path(folder), "data_dir" if data_dir is not None else VARIABLE)


@lru_cache(maxsize=1)
def _packaged(name: str) -> tuple[Dataset, Dataset]:
    """Read once a process; all who load it share the memory, so nobody may write into it."""
    train, test = _read(name, Path(__file__).parent, "the installed package")
    for array in (train.inputs, train.targets, test.inputs, test.targets):
        array.setflags(write=False)
    return train, test


def _read(name: str, folder: Path, origin: str) -> tuple[Dataset, Dataset]:
    source = SOURCES[name]
    found = {stem: _find(folder, name, stem) for stem in (*source.train, *source.test)}
    missing = [stem for stem, path in found.items() if path is None]
    if missing:
        what = "there is no such folder" if not folder.is_dir() else f"these are missing: {', '.join(missing)}"
        raise DataError(
            f"{folder} (from {origin}): expected the files of {name}, but {what}. Put {', '.join(found)}, each plain "
            f"or with .gz at its end, into {folder} or {folder / name}."
        )

    def part(stems: tuple[str, str], which: str) -> Dataset:
        images, labels = (found[stem] for stem in stems)
        assert images is not None
        assert labels is not None
        x, t = read_pair(images, labels, source.classes)
        if x.shape[1:] != source.image_shape:
            raise DataError(
                f"{images}: expected {name} images of shape {source.image_shape}, found {x.shape[1:]}; this is another "
                "data set: read it with read_idx and give it to chainrule.data.arrays."
            )
        return Dataset(
            x.reshape(len(x), -1),
            t.astype(np.int64),
            classes=source.classes,
            name=f"{name} {which}",
            image_shape=source.image_shape,
        )

    return part(source.train, "train"), part(source.test, "test")


def _find(folder: Path, name: str, stem: str) -> Path | None:
    """The file, plain or gzip, in the folder or in its subfolder named after the data set."""
    candidates = (place / (stem + end) for place in (folder, folder / name) for end in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)
