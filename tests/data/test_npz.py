"""NumPy's files come back as they were written; whatever is wrong with one is said in a sentence with its name."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.data.mutations import survive

import chainrule as cr
from chainrule.data import arrays, read_npy, read_npz
from chainrule.errors import DataError

X = np.arange(24, dtype=np.float32).reshape(6, 4) / 10
LABELS = np.array([0, 2, 1, 2, 0, 1])
DTYPES = ("?", "u1", "i2", "i8", "u8", "f2", "f4", ">f8", ">i4")


def npy(array, **options):
    """The bytes of an array as NumPy writes it."""
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def header(text, version=1):
    """The beginning of a .npy file with this text as its header."""
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text.encode()


def promise(shape, descr="<f8", order="False"):
    return header(f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n")


@pytest.fixture
def write(tmp_path):
    """A function that writes a file of these bytes."""

    def put(content, name="a.npy"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return put


@pytest.fixture
def zipped(tmp_path):
    """A function that writes a zip with these members."""

    def put(**members):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(f"{name}.npy", content if isinstance(content, bytes) else npy(content))
        return tmp_path / "a.npz"

    return put


def fails(read, path, *words, **options):
    """The message of a DataError: one line that names the file and has these words."""
    with pytest.raises(DataError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message[-1] in ".?"
    assert "\n" not in message
    assert "says ''" not in message
    assert " at 0x" not in message
    for word in words:
        assert word in message, message


# --- .npy


@given(
    array=st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    ),
    fortran=st.booleans(),
    mmap=st.booleans(),
)
def test_an_array_comes_back_as_it_was_written(array, fortran, mmap, tmp_path_factory):
    array = np.asfortranarray(array) if fortran else array
    path = tmp_path_factory.getbasetemp() / "round-trip.npy"
    np.save(path, array)
    read = read_npy(path, mmap=mmap)
    assert (read.dtype.newbyteorder("="), read.shape) == (array.dtype.newbyteorder("="), array.shape)
    assert mmap or read.dtype.isnative
    np.testing.assert_array_equal(read, array)


def test_what_is_read_belongs_to_the_reader_and_what_is_mapped_to_nobody(write):
    path = write(npy(X))
    read = read_npy(path)
    read[0] = 7
    mapped = read_npy(path, mmap=True)
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, X)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_both_versions_of_the_format(version, write):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, X, version)
    np.testing.assert_array_equal(read_npy(write(stream.getvalue())), X)


def test_what_python_2_wrote(write):
    content = promise("(6L, 4L)", "<f4") + X.tobytes()
    np.testing.assert_array_equal(read_npy(write(content)), X)


@pytest.mark.parametrize("dtype", ["f4", ">f4"])
def test_a_mapped_data_set_is_checked_and_trained_on_without_being_read_whole(dtype, tmp_path):
    n = 40_000
    rng = np.random.default_rng(0)
    x = rng.integers(0, 200, (n, 784), dtype=np.uint8)
    labels = rng.integers(0, 2, n)
    x[:, 0] = 255 * labels
    np.save(tmp_path / "x.npy", x.astype(dtype))
    np.save(tmp_path / "y.npy", labels)
    size = x.astype(dtype).nbytes
    del x
    cr.manual_seed(0)
    tracemalloc.start()
    try:
        data = arrays(read_npy(tmp_path / "x.npy", mmap=True), read_npy(tmp_path / "y.npy"), scale=1 / 255, shift=-0.4)
        model = cr.nn.Linear(784, 2)
        trainer = cr.Trainer(
            model, cr.nn.CrossEntropyLoss(), cr.optim.SGD(model.parameters(), lr=0.02), backend="eager"
        )
        trainer.fit(data, epochs=1, batch_size=100)
        assert tracemalloc.get_traced_memory()[1] < size / 5
    finally:
        tracemalloc.stop()
    part = data.subset(slice(1000))
    assert (model(part.features()).value.argmax(axis=1) == part.targets).mean() > 0.9


def test_nan_in_a_mapped_array_is_found_where_it_is(tmp_path):
    x = np.zeros((5_000, 1000), np.float64)
    x[4321, 7] = np.nan
    x[4999, 9] = np.inf
    np.save(tmp_path / "x.npy", x)
    mapped = read_npy(tmp_path / "x.npy", mmap=True)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"2 of 5,000,000 values .* the first \(nan\) at row 4321, column 7"):
            arrays(mapped, np.zeros(5_000, int))
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


DAMAGED = {
    "empty": (b"", ["another format"]),
    "text": (b"<!DOCTYPE html>", ["another format"]),
    "a zip": (b"PK\3\4" + bytes(100), ["another format"]),
    "in the magic number": (npy(X)[:5], ["another format"]),
    "no version": (npy(X)[:6], ["version is b''"]),
    "another version": (npy(X)[:6] + b"\x09\0" + npy(X)[8:], ["version is b'\\t\\x00'"]),
    "in the header": (npy(X)[:40], ["truncated", "in its header"]),
    "a header of 4 GiB": (b"\x93NUMPY\2\0\xff\xff\xff\xff", ["header has 4,294,967,295 bytes"]),
    "a byte too few": (npy(X)[:-1], ["float32 of shape (6, 4), 96 bytes, 224 in all, found 223"]),
    "a byte too many": (npy(X) + b"\0", ["224 in all, found 225"]),
    "code in the header": (header("__import__('os').abort()"), ["its header describes no array"]),
    "no header": (header(""), ["is damaged: "]),
    "deep": (header("(" * 5000), ["is damaged: "]),
    "another dict": (header("{'descr': '<f4'}\n"), ["NumPy says"]),
    "negative": (promise("(-4, -4)") + bytes(128), ["its shape is (-4, -4)"]),
    "an axis that is true": (promise("(True,)") + bytes(8), ["its shape is (True,)"]),
    "many axes": (promise((1,) * 65) + bytes(8), ["its shape is"]),
    "absurd": (promise((2**40, 2**40)), ["9,671,406,556,917,033,397,649,408 bytes"]),
    "absurd and empty": (promise((2**40, 2**40, 0)), ["its shape is (1099511627776, 1099511627776, 0)"]),
    "objects": (npy(np.array([None, 1]), allow_pickle=True), ["dtype object (a pickle", "expected real numbers"]),
    "words": (npy(np.array(["a"])), ["dtype <U1; expected real numbers"]),
    "complex": (npy(X.astype(complex)), ["dtype complex128"]),
    "a table": (npy(np.zeros(6, "f4,i4")), ["dtype [('f0'"]),
    "dates": (npy(np.zeros(6, "M8[s]")), ["dtype datetime64"]),
    "odd bools": (npy(LABELS == 1)[:-1] + b"\x07", ["bools that are neither 0 nor 1"]),
}


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file(case, mmap, write):
    content, words = DAMAGED[case]
    path = write(content)
    tracemalloc.start()
    try:
        fails(read_npy, path, *words, mmap=mmap)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


def test_the_limit_is_the_callers_and_not_of_what_stays_in_the_file(write):
    path = write(npy(X))
    assert read_npy(path, limit=96).shape == (6, 4)
    fails(read_npy, path, "float32 of shape (6, 4), 96 bytes, more than the limit of 95", "mmap=True", limit=95)
    assert read_npy(path, limit=95, mmap=True).shape == (6, 4)


@pytest.mark.parametrize("read", [read_npy, read_npz])
def test_no_file(read, tmp_path):
    fails(read, tmp_path / "missing", "there is no such file")
    fails(read, tmp_path, "no regular file")
    fails(read, "a" * 300, "the system says 'File name too long'")
    with pytest.raises(DataError, match=f"{read.__name__}: expected the path of a file, found a int"):
        read(3)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        fails(read, tmp_path / "pipe", "no regular file")


@pytest.mark.parametrize("mmap", [False, True])
def test_any_damage_is_found_or_harmless(mmap, tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(20, 6)))
    np.save(tmp_path / "b.npy", LABELS > 1)
    np.save(tmp_path / "c.npy", np.asfortranarray(np.ones((4, 4, 4), ">f2")))
    read = f"from functools import partial; from chainrule.data import read_npy; read = partial(read_npy, mmap={mmap})"
    outcome = survive(read, sorted(tmp_path.iterdir()), rounds=700)
    assert min(outcome.refused, outcome.unchanged, outcome.changed) > 10


# --- .npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("targets", [LABELS, LABELS.astype(">u2"), np.eye(3)[LABELS], np.eye(3, dtype=int)[LABELS]])
def test_labels_and_one_hot_rows_are_classes_and_inputs_keep_their_type(save, targets, tmp_path):
    save(tmp_path / "a.npz", x=X, y=targets)
    data = read_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(data.inputs, X)
    assert data.targets.tolist() == LABELS.tolist()
    assert (data.inputs.dtype, data.targets.dtype, data.classes, data.name) == (np.float32, np.int64, 3, "a.npz")


def test_the_names_are_the_callers(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=X, y_train=X[:, 0], x_test=X[:2], y_test=LABELS[:2])
    data = read_npz(tmp_path / "a.npz", "x_train", "y_train")
    assert (data.classes, data.targets.tolist()) == (None, X[:, 0].tolist())
    assert len(read_npz(tmp_path / "a.npz", x="x_test", y="y_test")) == 2
    fails(read_npz, tmp_path / "a.npz", "no array 'x'", "'x_train', 'y_train', 'x_test', 'y_test'")
    fails(read_npz, tmp_path / "a.npz", "no array 3", x=3)
    np.savez(tmp_path / "b.npz")
    fails(read_npz, tmp_path / "b.npz", "no array 'x' in the file, which holds no arrays")


WRONG = {
    "different lengths": ({"x": X, "y": LABELS[:5]}, ["'x' has 6 rows (shape (6, 4))", "'y' has 5"]),
    "a number": ({"x": X, "y": np.array(3)}, ["'y' has shape ()", "one row a sample"]),
    "no rows": ({"x": X[:0], "y": LABELS[:0]}, ["'x' has shape (0, 4)"]),
    "NaN": ({"x": np.where(X[2, 1] == X, np.nan, X), "y": LABELS}, ["'x' has 1 of 24 values", "row 2, column 1"]),
    "negative labels": ({"x": X, "y": LABELS - 1}, ["'y': 2 of 6 labels are outside"]),
    "objects": (
        {"x": npy(np.array([None] * 6), allow_pickle=True), "y": LABELS},
        ["'x': it has dtype object (a pickle"],
    ),
    "a pickle": ({"x": pickle.dumps(X), "y": LABELS}, ["'x': expected an array as numpy.save writes it"]),
    "truncated": ({"x": npy(X)[:-1], "y": LABELS}, ["'x': the file is damaged", "224 in all, found 223"]),
    "absurd": ({"x": promise((2**40, 2**20)), "y": LABELS}, ["'x': the file is damaged", "bytes"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_contents_that_cannot_be_trained_on(case, zipped):
    members, words = WRONG[case]
    fails(read_npz, zipped(**members), *words)


def test_an_array_that_is_larger_than_allowed_is_not_unpacked(zipped):
    path = zipped(x=np.zeros((6, 2**21)), y=LABELS)
    assert path.stat().st_size < 2**18
    tracemalloc.start()
    try:
        fails(read_npz, path, "'x' is float64 of shape (6, 2097152)", "limit of 50,000,000", limit=50_000_000)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert read_npz(path).inputs.shape == (6, 2**21)


def test_a_zip_that_promises_what_it_cannot_hold_is_refused_before_memory_is_taken(zipped):
    path = zipped(x=promise((6, 2**24)) + bytes(100), y=LABELS)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2")  # the central directory: sizes 20 and 24 bytes on
    content[at + 24 : at + 28] = struct.pack("<I", 6 * 2**27 + len(promise((6, 2**24))))
    path.write_bytes(content)
    tracemalloc.start()
    try:
        fails(read_npz, path, "the file is damaged: 'x' is said to be 805,3")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_other_zips(tmp_path, write):
    fails(read_npz, write(npy(X)), "expected an .npz file, which is a zip, found another format")
    fails(read_npz, write(b""), "another format")
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", npy(X))
    fails(read_npz, tmp_path / "b.npz", "'x' is packed by method 14 of zip")
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("x.npy", npy(X))
        archive.writestr("y.npy", npy(LABELS))
    content = bytearray((tmp_path / "c.npz").read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    fails(read_npz, write(content), "'x' is encrypted")
    hole = (tmp_path / "c.npz").read_bytes().replace(X[3].tobytes(), bytes(16))
    fails(read_npz, write(hole), "damaged", "CRC")


def test_any_damage_to_a_zip_is_found_or_harmless(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=LABELS)
    np.savez_compressed(tmp_path / "b.npz", x=X, y=LABELS == 1)
    outcome = survive("from chainrule.data import read_npz as read", sorted(tmp_path.iterdir()), rounds=1000)
    assert min(outcome.refused, outcome.unchanged) > 50
    assert outcome.changed == 0  # a zip has checksums


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, array in (("z.npy", X), ("x.npy", X), ("z.npy", X), ("x.npy", X + 1), ("y.npy", LABELS)):
            archive.writestr(name, npy(array))
    fails(read_npz, tmp_path / "a.npz", "the file has 2 arrays called 'x', and only one can be right")
