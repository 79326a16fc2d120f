"""IDX files written here by other means than the reader's, and the packaged MNIST."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

import chainrule.data

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def header(code, *sizes):
    return bytes([0, 0, code, len(sizes)]) + b"".join(struct.pack(">I", n) for n in sizes)


def encode(array):
    """The bytes of an array as an IDX file."""
    return header(CODES[array.dtype.name], *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture(scope="session")
def idx():
    """A function: the bytes of an array as an IDX file."""
    return encode


@pytest.fixture(scope="session")
def idx_header():
    """A function: the header for a type code and sizes."""
    return header


@pytest.fixture(scope="session")
def packaged():
    """The folder of the packaged MNIST files."""
    return Path(chainrule.data.__file__).parent / "mnist"


@pytest.fixture
def small(tmp_path):
    """A function that writes a small data set like MNIST, with some of its files replaced, and returns the folder."""

    def write(**replaced):
        rng = np.random.default_rng(0)
        arrays = {}
        for stem, n in (("train", 20), ("t10k", 10)):
            arrays[f"{stem}_images_idx3_ubyte"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
            arrays[f"{stem}_labels_idx1_ubyte"] = np.arange(n, dtype=np.uint8) % 10
        for name, array in (arrays | replaced).items():
            if array is not None:
                (tmp_path / name.replace("_", "-")).write_bytes(encode(array))
        return tmp_path

    return write


@pytest.fixture(scope="session")
def blank(tmp_path_factory):
    """A folder with files as long as MNIST's: blank images but for the first pixel, which counts modulo 256."""
    folder = tmp_path_factory.mktemp("blank")
    for stem, n in (("train", 60_000), ("t10k", 10_000)):
        images = np.zeros((n, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(n) % 256
        for kind, array in (("images-idx3", images), ("labels-idx1", (np.arange(n) % 10).astype(np.uint8))):
            (folder / f"{stem}-{kind}-ubyte.gz").write_bytes(gzip.compress(encode(array), compresslevel=1))
    return folder
