"""IDX files are read as they are, and whatever is wrong with one is said in a sentence that names the file."""

import gzip
import math
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.data.mutations import survive

from chainrule.data import read_idx
from chainrule.data.idx import read_pair
from chainrule.errors import DataError

DTYPES = ("uint8", "int8", "int16", "int32", "float32", "float64")
LABELS = np.array([5, 0, 4, 1, 9, 2, 1, 3], np.uint8)


@pytest.fixture
def write(tmp_path):
    """A function that writes a file of these bytes."""

    def put(content, name="numbers.idx"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return put


def fails(path, *words, **options):
    """The message of a DataError: one line that names the file and has these words."""
    with pytest.raises(DataError) as caught:
        read_idx(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


# --- what is right


@given(
    array=st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5))
    ),
    packed=st.booleans(),
)
def test_an_array_comes_back_as_it_was_written(array, packed, idx, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "round-trip.idx"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    read = read_idx(path)
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    assert read.tobytes() == array.tobytes()


def test_the_name_of_a_file_does_not_say_whether_it_is_compressed(write, idx):
    np.testing.assert_array_equal(read_idx(write(idx(LABELS), "plain.gz")), LABELS)
    np.testing.assert_array_equal(read_idx(str(write(gzip.compress(idx(LABELS)), "packed"))), LABELS)


def test_what_is_read_belongs_to_the_reader(write, idx):
    array = read_idx(write(idx(LABELS)))
    array[0] = 7
    assert array.flags.owndata


def test_mnist_is_what_it_is_known_to_be(packaged):
    images, labels = read_pair(packaged / "train-images-idx3-ubyte.gz", packaged / "train-labels-idx1-ubyte.gz")
    assert (images.shape, images.dtype, labels.shape, labels.dtype) == ((60_000, 28, 28), "u1", (60_000,), "u1")
    assert images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


# --- what is wrong with one file


def test_a_missing_file(tmp_path):
    fails(tmp_path / "missing.gz", "no such file", "check the path")


@pytest.mark.parametrize("given", [None, 3, ["a.idx"]])
def test_what_is_no_path_is_said(given):
    with pytest.raises(DataError, match="read_idx: expected the path of a file, found"):
        read_idx(given)


def test_a_folder_in_place_of_a_file(tmp_path):
    fails(tmp_path, "no regular file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    fails(tmp_path / "pipe", "no regular file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is readable for root")
def test_a_file_that_may_not_be_read(write, idx):
    path = write(idx(LABELS))
    path.chmod(0)
    fails(path, "cannot be read", "permission")


HEADER = bytes([0, 0, 8, 1, 0, 0, 0, 8])
DAMAGED = {
    "empty": (b"", ["is empty", "get the file again"]),
    "one byte": (b"\0", ["truncated", "1 bytes"]),
    "in the magic number": (b"\0\0\x08", ["truncated", "3 bytes"]),
    "in the sizes": (bytes([0, 0, 8, 3, 0, 0, 0, 8]), ["truncated", "8 bytes", "3 dimensions"]),
    "no data": (HEADER, ["uint8 of shape (8,)", "16 bytes", "truncated"]),
    "a byte too few": (HEADER + bytes(7), ["uint8 of shape (8,)", "16 bytes", "15", "truncated"]),
    "a byte too many": (HEADER + bytes(9), ["uint8 of shape (8,)", "8 bytes", "more follow"]),
    "another type": (bytes([0, 0, 0x0D, 1, 0, 0, 0, 8]) + bytes(8), ["float32 of shape (8,)", "40 bytes", "truncated"]),
    "text": (b"<!DOCTYPE html>", ["two zero bytes", "b'<!DO'", "error page"]),
    "little-endian": (bytes([1, 8, 0, 0]) + bytes(12), ["two zero bytes"]),
    "unknown type": (bytes([0, 0, 0x0A, 1, 0, 0, 0, 8]) + bytes(8), ["type code 0x0a", "0x08 uint8", "0x0e float64"]),
    "255 dimensions": (bytes([0, 0, 8, 255]) + bytes([0, 0, 0, 1]) * 255 + b"\0", ["255 dimensions", "at most 64"]),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file(damage, packed, write):
    content, words = DAMAGED[damage]
    if packed:
        # How long the content of a gzip file is, is not known before it is read.
        content, words = gzip.compress(content), [word for word in words if not word[0].isdigit()]
    fails(write(content), *words)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("sizes", [(2**32 - 1,) * 3, (2**32 - 1, 2**32 - 1, 0, 2**32 - 1), (2**31 + 1,)], ids=str)
def test_absurd_sizes_are_refused_before_memory_is_taken(sizes, packed, write, idx_header):
    content = idx_header(0x08, *sizes) + bytes(100)
    path = write(gzip.compress(content) if packed else content)
    tracemalloc.start()
    try:
        fails(path, f"{math.prod(sizes):,} bytes", "limit of 2,147,483,648")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_more_than_the_file_can_hold_is_refused_before_memory_is_taken(packed, write, idx_header):
    content = idx_header(0x0E, 2**20, 2**7) + bytes(100)
    path = write(gzip.compress(content) if packed else content)
    tracemalloc.start()
    try:
        fails(path, "float64 of shape (1048576, 128)", "truncated", *(["cannot hold as much"] if packed else []))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_of_a_gzip_bomb_no_more_is_unpacked_than_the_header_promises(write, idx_header):
    path = write(gzip.compress(idx_header(0x08, 1000) + bytes(200_000_000), compresslevel=1))
    tracemalloc.start()
    try:
        fails(path, "uint8 of shape (1000,)", "more follow")
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


def test_the_limit_is_the_callers(write, idx):
    path = write(idx(LABELS))
    assert len(read_idx(path, limit=8)) == 8
    fails(path, "limit of 7", limit=7)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b[:15], ["truncated", "breaks off"]),
        (lambda b: b[:-9], ["truncated", "breaks off"]),
        (lambda b: b[:-8] + bytes(8), ["damaged", "CRC"]),
        (lambda b: b[:-4] + bytes(4), ["damaged", "length"]),
        (lambda b: b[:1000] + bytes(100) + b[1100:], ["damaged"]),
        (lambda b: b[:2] + b"\0" + b[3:], ["damaged", "compression method"]),
        (lambda b: b + b"more", ["damaged", "Not a gzipped file"]),
    ],
    ids=["start only", "end missing", "wrong checksum", "wrong length", "hole", "unknown method", "rubbish at the end"],
)
def test_a_damaged_copy_of_mnist(damage, words, packaged, write):
    intact = (packaged / "t10k-labels-idx1-ubyte.gz").read_bytes()
    assert len(read_idx(write(intact))) == 10_000
    fails(write(damage(intact)), *words)


def test_a_truncated_copy_of_the_images(packaged, write):
    content = (packaged / "t10k-images-idx3-ubyte.gz").read_bytes()
    fails(write(content[: len(content) // 2]), "truncated", "breaks off")


@given(data=st.data(), packed=st.booleans())
def test_any_change_of_bytes_ends_in_a_sentence_or_in_the_array_that_the_file_now_holds(
    data, packed, idx, tmp_path_factory
):
    original = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    content = bytearray(gzip.compress(idx(original), mtime=0) if packed else idx(original))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        what = data.draw(st.sampled_from(["set", "cut", "insert"]))
        if what == "set":
            content[at] = data.draw(st.integers(0, 255))
        elif what == "cut" and len(content) > 1:
            del content[at : at + data.draw(st.integers(1, 8))]
        else:
            content[at:at] = data.draw(st.binary(max_size=8))
        if not content:
            break
    path = tmp_path_factory.getbasetemp() / "mutated.idx"
    path.write_bytes(content)
    try:
        array = read_idx(path)
    except DataError:
        return
    # The checksum of gzip lets nothing through; a plain file must be just what the array would be written as.
    assert idx(array) == (idx(original) if packed else bytes(content))


def test_any_damage_is_found_or_harmless(packaged, idx, tmp_path):
    name = "t10k-labels-idx1-ubyte.gz"
    (tmp_path / name).write_bytes((packaged / name).read_bytes())
    (tmp_path / "a.idx").write_bytes(idx(np.arange(600, dtype=np.int16).reshape(20, 30)))
    (tmp_path / "b.idx").write_bytes(idx(np.random.default_rng(0).normal(size=(3, 2, 4, 5))))
    outcome = survive("from chainrule.data import read_idx as read", sorted(tmp_path.iterdir()), rounds=500)
    assert min(outcome.refused, outcome.unchanged, outcome.changed) > 10


# --- what is wrong with a pair


def pair(write, idx, images, labels):
    return write(idx(images), "images"), write(idx(labels), "labels")


IMAGES = np.arange(8 * 6, dtype=np.uint8).reshape(8, 2, 3)


def test_a_pair_is_read(write, idx):
    images, labels = read_pair(*pair(write, idx, IMAGES, LABELS))
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("images", "labels", "blamed", "words"),
    [
        (LABELS, IMAGES, "images", ["expected images", "shape (8,)", "exchanged"]),
        (LABELS, LABELS, "images", ["expected images", "shape (8,)"]),
        (IMAGES, IMAGES, "labels", ["expected labels", "shape (8, 2, 3)", "exchanged"]),
        (IMAGES.astype(np.float32), LABELS, "images", ["uint8", "found float32"]),
        (IMAGES, LABELS.astype(np.float64), "labels", ["integers", "found float64"]),
        (IMAGES[:7], LABELS, "images", ["7 images", "8 labels"]),
        (IMAGES, LABELS[:7], "images", ["8 images", "7 labels"]),
        (IMAGES[:0], LABELS[:0], "images", ["found none", "(0, 2, 3)"]),
        (IMAGES, np.where(LABELS == 9, 10, LABELS).astype(np.uint8), "labels", ["1 of 8", "is 10 at row 4", "0 to 9"]),
        (IMAGES, np.where(LABELS == 1, -1, LABELS).astype(np.int8), "labels", ["2 of 8", "is -1 at row 3"]),
    ],
    ids=[
        "exchanged",
        "labels twice",
        "images twice",
        "floats",
        "float labels",
        "few images",
        "few labels",
        "none",
        "too large",
        "negative",
    ],
)
def test_files_that_are_no_pair(images, labels, blamed, words, write, idx):
    paths = pair(write, idx, images, labels)
    with pytest.raises(DataError) as caught:
        read_pair(*paths)
    assert str(caught.value).startswith(str(paths[blamed == "labels"]))
    for word in words:
        assert word in str(caught.value)


def test_the_classes_of_a_pair_are_the_callers(write, idx):
    paths = pair(write, idx, IMAGES, LABELS)
    with pytest.raises(DataError, match=r"5 classes 0 to 4.*first is 5 at row 0"):
        read_pair(*paths, classes=5)
