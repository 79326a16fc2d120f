"""`load`: a data set divided as one of the reports divides it, with that report's preprocessing declared. `mnist_hdf5`:
the same by way of HDF5 files.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from chainrule.data.dataset import Dataset
from chainrule.data.files import read
from chainrule.data.hdf5 import read_hdf5, write_hdf5
from chainrule.data.sealed import SealedDataset
from chainrule.errors import DataError, UnknownNameError

_UNLOCK = "choose by the validation set; for the last run load the data with final=True."


@dataclass(frozen=True)
class Split:
    """How the training file is divided, and how its pixels become features.

    Attributes
    ----------
    train : int
        The first so many of the training file.
    validation : int
        The last so many of it; 0 for none.
    scale, shift : float
        x = scale · u + shift of the pixels u.
    standardise : bool
        Take the scale and shift that give the training pixels mean 0 and standard deviation 1, one number each.
    test_validates : bool
        The test file is the validation set, and there is no other.
    """

    train: int
    validation: int = 0
    scale: float = 1 / 255
    shift: float = 0.0
    standardise: bool = False
    test_validates: bool = False


def _vu_a2(train: int) -> Split:
    """All images train, from -1 to 1, and the test file validates."""
    return Split(train, scale=2 / 255, shift=-1.0, test_validates=True)


# By data set; None is the split where none is asked for.
SPLITS: dict[str, dict[str | None, Split]] = {
    "mnist": {
        None: Split(train=50_000, validation=10_000),
        "vu-a1": Split(train=55_000, validation=5_000),
        "ucsd-ece285": Split(train=60_000, scale=2 / 255, shift=-1.0),  # 2 (u - 127.5) / 255
        "usc-ee541": Split(train=50_000, validation=10_000),
        "ntnu-tdt4265": Split(train=20_000, standardise=True, test_validates=True),
        "vu-a2": _vu_a2(60_000),
    },
    "fashion-mnist": {None: Split(train=50_000, validation=10_000), "vu-a2": _vu_a2(60_000)},
    "cifar-10": {None: Split(train=45_000, validation=5_000), "vu-a2": _vu_a2(50_000)},
}


@dataclass(frozen=True)
class DataSplits:
    """The parts of a data set.

    Attributes
    ----------
    train : Dataset
    validation : Dataset or None
        None where the split has none, and in a final run, which trains on it.
    test : SealedDataset
    """

    train: Dataset
    validation: Dataset | None
    test: SealedDataset


def load(
    name: str, split: str | None = None, *, final: bool = False, data_dir: str | os.PathLike[str] | None = None
) -> DataSplits:
    """A data set, divided.

    Parameters
    ----------
    name : str
        `"mnist"`, which comes with the package, or `"fashion-mnist"` or `"cifar-10"`, which
        `chainrule data get NAME` gets.
    split : str, optional
        A report's name. By default the last 10,000 images of the training file validate, of CIFAR-10 the last 5,000,
        those before them train, and pixels are scaled to 0..1.

        - `"vu-a1"`: the first 55,000 and the last 5,000; 0..1.
        - `"ucsd-ece285"`: all 60,000 and no validation; -1..1.
        - `"usc-ee541"`: the first 50,000 and the last 10,000; 0..1.
        - `"ntnu-tdt4265"`: the first 20,000, and the test file to validate; minus the mean and over the standard
          deviation of those 20,000 images' pixels. There is no test set beside it.
        - `"vu-a2"`, of any data set: all of the training file, and the test file to validate; -1..1. There is no test
          set beside it.

        The others are of MNIST alone.
    final : bool
        For the last run: train on the whole training file, without validation, and let the test set be opened, once.
        (`"ntnu-tdt4265"` and `"vu-a2"` stay as they are.)
    data_dir : path, optional
        A folder with the data set's files, there or in a subfolder of the data set's name: IDX files (plain or .gz), or
        CIFAR-10's as `read_cifar` takes them. The environment variable CHAINRULE_DATA does the same.

    Returns
    -------
    DataSplits
        Inputs are uint8, (n, 784) or for CIFAR-10 (n, 3, 32, 32); those of the packaged files are shared by all who
        load them and therefore read-only. Targets are labels, int64 (n,).

    Raises
    ------
    UnknownNameError
        If there is no such data set or split.
    DataError
        If the files are missing, damaged or not those of the data set.
    """
    train, test = read(name, data_dir)
    splits = SPLITS[name]
    if split not in splits:
        raise UnknownNameError("split", str(split), [known for known in splits if known is not None])
    return _divide(train, test, splits[split], f"the split '{split or 'default'}'", final)


def mnist_hdf5(
    folder: str | os.PathLike[str], *, final: bool = False, data_dir: str | os.PathLike[str] | None = None
) -> DataSplits:
    """MNIST as the report `usc-ee541` reads it: from two HDF5 files, divided as in the split of that name.

    Parameters
    ----------
    folder : path
        Where `mnist_traindata.hdf5` and `mnist_testdata.hdf5` are, made from the IDX files in their order where they
        are missing: `xdata`, float32 (n, 784) from 0 to 1, and `ydata`, one-hot (n, 10).
    final, data_dir
        As for `load`.

    Returns
    -------
    DataSplits
        As from `load("mnist", "usc-ee541")`, but inputs are float32 (n, 784) in the files' own scale.

    Raises
    ------
    DataError
        If a file cannot be written, is damaged, or does not hold what the IDX files hold.
    """
    files = {}
    for which, source in zip(("train", "test"), read("mnist", data_dir), strict=True):
        source = source.scaled(1 / 255)
        path = Path(folder) / f"mnist_{which}data.hdf5"
        if not path.exists():
            write_hdf5(path, source)
        data = read_hdf5(path)
        data = Dataset(data.inputs, data.targets, classes=10, name=source.name, image_shape=source.image_shape)
        if not _same(data, source):
            raise DataError(f"{path}: the file does not hold what the IDX files of MNIST hold; remove it.")
        files[which] = data
    rule = replace(SPLITS["mnist"]["usc-ee541"], scale=1.0)
    return _divide(files["train"], files["test"], rule, "the split 'usc-ee541'", final)


def _same(data: Dataset, source: Dataset) -> bool:
    if data.inputs.shape != source.inputs.shape or not np.array_equal(data.targets, source.targets):
        return False
    blocks = (slice(start, start + 1000) for start in range(0, len(data), 1000))
    return all(np.array_equal(data.inputs[rows], source.features(rows)) for rows in blocks)


def _divide(train: Dataset, test: Dataset, rule: Split, called: str, final: bool) -> DataSplits:
    name = train.name.removesuffix(" train")
    if len(train) < rule.train + rule.validation:
        raise DataError(
            f"{name}: {called} needs {rule.train + rule.validation:,} training images, found "
            f"{len(train):,}; check the folder that the files came from."
        )
    if final and not rule.test_validates:
        rule = replace(rule, train=len(train), validation=0)
    validation = train.subset(slice(len(train) - rule.validation, None)) if rule.validation else None
    train = train.subset(slice(rule.train))
    locked = None if final else _UNLOCK
    if rule.test_validates:
        validation, test = test, test.subset(slice(0))
        locked = (
            f"{called} validates on the test file, as its report does, so no test set is left; take .validation, or "
            "another split."
        )
    scale, shift = _standard(train) if rule.standardise else (rule.scale, rule.shift)
    if validation is not None:
        validation = validation.scaled(scale, shift)
        validation.name = f"{name} validation"
    return DataSplits(train.scaled(scale, shift), validation, SealedDataset(test.scaled(scale, shift), locked))


def _standard(data: Dataset) -> tuple[float, float]:
    """1/σ and -μ/σ of all pixels, from how often each of the 256 values occurs: exact, and without a float copy."""
    counts = np.zeros(256, np.int64)
    for start in range(0, len(data), 1000):
        counts += np.bincount(data.inputs[start : start + 1000].ravel(), minlength=256)
    values, share = np.arange(256), counts / counts.sum()
    mean = float(values @ share)
    deviation = float(((values - mean) ** 2 @ share) ** 0.5)
    if not deviation:
        raise DataError(f"{data.name}: all pixels are {mean:.0f}, so they have no standard deviation; check the files.")
    return 1 / deviation, -mean / deviation
