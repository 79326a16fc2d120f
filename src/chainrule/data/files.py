"""Where the files of a data set are, and what they hold: in a person's own folder, in the package, or in the folder of
what was fetched.
"""

import gzip
import os
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from chainrule.compiler.cache import user_cache
from chainrule.data import cifar
from chainrule.data.dataset import Dataset
from chainrule.data.idx import read_pair
from chainrule.errors import DataError, UnknownNameError

VARIABLE = "CHAINRULE_DATA"


@dataclass(frozen=True)
class Source:
    """A data set in two pairs of IDX files, images and labels, for training and for the test.

    Attributes
    ----------
    begins : tuple of int
        The first labels of the training file: the files of all these data sets have the same names.
    """

    begins: tuple[int, ...]
    train: tuple[str, str] = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    test: tuple[str, str] = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    image_shape: tuple[int, ...] = (28, 28)
    classes: int = 10
    class_names: tuple[str, ...] | None = None


SOURCES = {
    "mnist": Source((5, 0, 4, 1, 9, 2, 1, 3, 1, 4)),
    "fashion-mnist": Source(
        (9, 0, 0, 3, 0, 2, 7, 2, 5, 5),
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
}
NAMES = (*SOURCES, "cifar-10")
PACKAGED = "mnist"


def read(name: str, data_dir: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset]:
    """The training and the test file of a data set: uint8 pixels, not scaled, and int64 labels (n,).

    Parameters
    ----------
    name : str
        `"mnist"` or `"fashion-mnist"`, with inputs (n, 784), or `"cifar-10"`, with inputs (n, 3, 32, 32).
    data_dir : path, optional
        A folder with the files. By default the one in the environment variable CHAINRULE_DATA; without it the package,
        for MNIST, and the folder where `chainrule data get` puts the others.

    Raises
    ------
    UnknownNameError, DataError
        If there is no such data set; if the files are missing or not what they should be.
    """
    known(name)
    if data_dir is None and is_packaged(name):
        return _packaged(name)
    folder, origin = place(data_dir)
    if not is_in(folder, name):
        raise _missing(name, folder, origin)
    return _read(name, folder)


def known(name: str) -> None:
    """Raise an UnknownNameError if there is no data set of this name."""
    if name not in NAMES:
        raise UnknownNameError("data set", name, NAMES)


def is_packaged(name: str) -> bool:
    """Whether it is the packaged files that are read where nobody names a folder.

    CHAINRULE_DATA may name a folder of other data sets: the packaged files are read then too.
    """
    chosen = os.environ.get(VARIABLE)
    if name != PACKAGED or not chosen:
        return name == PACKAGED
    folder = _folder(chosen, VARIABLE)
    return folder.is_dir() and not idx_files(folder, name)


def place(data_dir: str | os.PathLike[str] | None = None) -> tuple[Path, str]:
    """The folder of the data sets that are not packaged, and who says so."""
    if data_dir is not None:
        return _folder(data_dir, "data_dir"), "data_dir"
    if chosen := os.environ.get(VARIABLE):
        return _folder(chosen, VARIABLE), VARIABLE
    try:
        return user_cache() / "data", "the default"
    except RuntimeError as error:  # there is no home
        raise DataError(f"There is no folder for data sets ({error}); name one in {VARIABLE}.") from None


def _folder(given: str | os.PathLike[str], origin: str) -> Path:
    """A path that the system can look for, whether it finds a folder there or not."""
    try:
        path = Path(given)
        path.is_dir()
    except TypeError:
        raise DataError(f"{origin}: expected the path of a folder, found a {type(given).__name__}.") from None
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise DataError(
            f"{given} (from {origin}): expected a folder, the system says '{said}'; name another."
        ) from None
    return path


def is_in(folder: Path, name: str) -> bool:
    """Whether a folder, or its subfolder named after the data set, has all its files."""
    if name not in SOURCES:
        return cifar.find(folder) is not None
    return len(idx_files(folder, name)) == 4


@lru_cache(maxsize=1)
def _packaged(name: str) -> tuple[Dataset, Dataset]:
    """Read once a process; all who load it share the memory, so nobody may write into it."""
    train, test = _read(name, Path(__file__).parent)
    for array in (train.inputs, train.targets, test.inputs, test.targets):
        array.setflags(write=False)
    return train, test


def _missing(name: str, folder: Path, origin: str) -> DataError:
    if not folder.is_dir():
        what = "there is no such folder"
    elif name not in SOURCES:
        what = "they are not there"
    elif others := {_owner(place) for place in (folder / name, folder)} - {None, name}:
        what = f"the files there are those of {', '.join(map(str, others))}"
    else:
        source, found = SOURCES[name], idx_files(folder, name)
        what = f"these are missing: {', '.join(stem for stem in (*source.train, *source.test) if stem not in found)}"
    there = f" --data-dir {folder}" if origin == "data_dir" else ""
    return DataError(
        f"{folder} (from {origin}): expected the files of {name}, but {what}. Put {wanted(name)} into {folder} or "
        f"{folder / name}, or let `chainrule data get {name}{there}` get them."
    )


def wanted(name: str) -> str:
    """The files of a data set, as a person has to be told them."""
    if name not in SOURCES:
        return f"{' or '.join(cifar.ARCHIVES)}, or the folder {' or '.join(cifar.FOLDERS)} that is in it,"
    source = SOURCES[name]
    return f"{', '.join((*source.train, *source.test))}, each plain or with .gz at its end,"


def _read(name: str, folder: Path) -> tuple[Dataset, Dataset]:
    if name not in SOURCES:
        return cifar.read_cifar(cifar.find(folder) or folder)
    source, found = SOURCES[name], idx_files(folder, name)

    def part(stems: tuple[str, str], which: str) -> Dataset:
        images, labels = (found[stem] for stem in stems)
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
            class_names=source.class_names,
        )

    return part(source.train, "train"), part(source.test, "test")


def idx_files(folder: Path, name: str) -> dict[str, Path]:
    """The IDX files that are there, plain or gzip, in the subfolder named after the data set or in the folder."""
    source = SOURCES[name]
    places = [place for place in (folder / name, folder) if _owner(place) in (name, None)]
    candidates = {stem: _either(places, stem) for stem in (*source.train, *source.test)}
    return {stem: path for stem, path in candidates.items() if path is not None}


def _either(places: list[Path], stem: str) -> Path | None:
    candidates = (place / (stem + end) for place in places for end in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _owner(place: Path) -> str | None:
    """Which of the data sets the labels in a folder belong to, by the first of them; None if that cannot be said."""
    path = _either([place], Source.train[1])
    if path is None:
        return None
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            labels = tuple(file.read(18)[8:])
    except (OSError, EOFError, zlib.error):  # whoever reads it will say what is wrong
        return None
    return next((name for name, source in SOURCES.items() if source.begins == labels), None)
