"""HDF5 files come back as they were written; whatever is wrong with one is said in a sentence that names the file."""

import os
import subprocess
import sys
import zlib

import h5py
import numpy as np
import pytest
from tests.data.mutations import survive

from chainrule.data import Dataset, arrays, load, mnist_hdf5, read_hdf5, write_hdf5
from chainrule.errors import ChainruleError, DataError, SealedError

X = np.arange(24, dtype=np.float32).reshape(6, 4) / 10
LABELS = np.array([0, 2, 1, 2, 0, 1])
ONE_HOT = np.eye(3)[LABELS]


@pytest.fixture
def make(tmp_path):
    """A function that writes arrays with h5py itself."""

    def write(**contents):
        with h5py.File(tmp_path / "data.h5", "w") as file:
            for key, values in contents.items():
                file[key] = values
        return tmp_path / "data.h5"

    return write


def fails(path, *words, **options):
    """The message of a DataError: one line that names the file and has these words."""
    with pytest.raises(DataError) as caught:
        read_hdf5(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message[-1] in ".?"
    assert "\n" not in message
    for word in words:
        assert word in message


# --- what is right


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", ">f8", "u1", "i4"])
@pytest.mark.parametrize("targets", [LABELS, LABELS.astype(np.uint8), ONE_HOT, ONE_HOT.astype(np.int64)], ids=str)
def test_labels_and_one_hot_rows_are_classes_and_inputs_keep_their_type(dtype, targets, make):
    data = read_hdf5(make(xdata=X.astype(dtype), ydata=targets))
    np.testing.assert_array_equal(data.inputs, X.astype(dtype))
    np.testing.assert_array_equal(data.targets, LABELS)
    assert data.inputs.dtype == np.dtype(dtype).newbyteorder("=")
    assert (data.targets.dtype, data.classes, data.scale, data.shift) == (np.int64, 3, 1, 0)
    assert data.name == "data.h5"


def test_numbers_to_be_predicted_stay_numbers(make):
    data = read_hdf5(make(xdata=X, ydata=X[:, :2]))
    np.testing.assert_array_equal(data.targets, X[:, :2])
    assert data.classes is None


def test_keys_are_the_callers_also_in_groups(make):
    data = read_hdf5(make(**{"train/x": X, "train/y": LABELS}), "train/x", "train/y")
    np.testing.assert_array_equal(data.inputs, X)


def test_what_is_written_is_what_the_network_sees_and_classes_as_one_hot_rows(tmp_path):
    pixels = np.arange(2500 * 3, dtype=np.uint8).reshape(2500, 3)
    data = arrays(pixels, np.arange(2500) % 7, scale=1 / 255)
    write_hdf5(tmp_path / "a.h5", data)
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file) == ["xdata", "ydata"]
        assert (file["xdata"].dtype, file["xdata"].fletcher32) == (np.float32, True)
        np.testing.assert_array_equal(file["xdata"][:], data.features())
        np.testing.assert_array_equal(file["ydata"][:], np.eye(7)[data.targets])
    back = read_hdf5(tmp_path / "a.h5")
    np.testing.assert_array_equal(back.features(), data.features())
    np.testing.assert_array_equal(back.targets, data.targets)
    assert back.classes == 7


@pytest.mark.parametrize("targets", [ONE_HOT, X[:, 0].astype(float), X], ids=["one-hot", "numbers", "rows"])
def test_other_targets_are_written_as_they_are(targets, tmp_path):
    data = arrays(X, targets)
    write_hdf5(tmp_path / "a.h5", data, "in", "out")
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["out"][:], data.targets)
        assert file["out"].dtype == data.targets.dtype


@pytest.mark.parametrize("targets", [np.zeros(6, int), np.zeros(6, np.uint8)], ids=["int64", "uint8"])
def test_a_single_class_comes_back(targets, tmp_path):
    write_hdf5(tmp_path / "a.h5", Dataset(X, targets, classes=1))
    back = read_hdf5(tmp_path / "a.h5")
    assert back.classes == 1
    np.testing.assert_array_equal(back.targets, targets)


def test_the_same_data_give_the_same_bytes_and_a_file_is_replaced(tmp_path):
    data = arrays(X, LABELS)
    for name in ("a.h5", "b.h5", "b.h5"):
        write_hdf5(tmp_path / name, data)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "b.h5"]


# --- what is wrong with a file


def test_a_missing_key_says_which_there_are(make):
    path = make(images=X, labels=LABELS)
    fails(path, "there is no 'xdata'", "the file holds 'images', 'labels'; name one of its arrays")
    fails(path, "there is no 'ydata'", x="images")
    fails(make(), "holds nothing")


WRONG = {
    "different lengths": ({"xdata": X, "ydata": LABELS[:5]}, ["'xdata' has 6 rows (shape (6, 4))", "'ydata' has 5"]),
    "in columns": ({"xdata": X.T, "ydata": LABELS}, ["4 rows", "6 (shape (6,))", "in its columns? Transpose it"]),
    "a number": ({"xdata": X, "ydata": 3}, ["'ydata' has shape ()", "one row a sample"]),
    "nothing": ({"xdata": h5py.Empty("f4"), "ydata": LABELS}, ["'xdata' has no numbers"]),
    "no rows": ({"xdata": X[:0], "ydata": LABELS[:0]}, ["'xdata' has shape (0, 4)", "at least one"]),
    "words": (
        {"xdata": X, "ydata": np.array([b"a"] * 6)},
        ["'ydata' has dtype |S1", "real numbers: give each word a number"],
    ),
    "text": ({"xdata": X, "ydata": ["a"] * 6}, ["'ydata' has dtype object", "real numbers: give each word a number"]),
    "complex": ({"xdata": X.astype(complex), "ydata": LABELS}, ["'xdata' has dtype complex128"]),
    "a table": ({"xdata": np.zeros(6, "f4,i4"), "ydata": LABELS}, ["'xdata' has dtype [('f0'"]),
    "a group": ({"xdata/images": X, "ydata": LABELS}, ["'xdata' is no array, but a group that holds 'xdata/images'"]),
    "NaN": (
        {"xdata": np.where(np.isclose(X, 0.9), np.nan, X), "ydata": LABELS},
        ["'xdata' has 1 of 24 values", "row 2, column 1"],
    ),
    "infinite targets": ({"xdata": X, "ydata": [np.inf] * 6}, ["'ydata' has 6 of 6 values"]),
    "negative labels": ({"xdata": X, "ydata": LABELS - 1}, ["'ydata': 2 of 6 labels are outside"]),
    "a column of labels": ({"xdata": X, "ydata": LABELS[:, None]}, ["'ydata': int64 of shape (6, 1)"]),
    "no one-hot rows": ({"xdata": X, "ydata": np.ones((6, 3), int)}, ["nor one-hot rows"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_contents_that_cannot_be_trained_on(case, make):
    contents, words = WRONG[case]
    fails(make(**contents), *words)


def test_a_missing_file_a_folder_and_a_pipe(tmp_path):
    fails(tmp_path / "missing.h5", "there is no such file")
    fails(tmp_path, "no regular file")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        fails(tmp_path / "pipe", "no regular file")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>" * 100, b"\x89HDF", b"PK\x03\x04" + bytes(2000)])
def test_what_is_no_hdf5_file(content, tmp_path):
    (tmp_path / "a.h5").write_bytes(content)
    fails(tmp_path / "a.h5", "expected an HDF5 file", "another format")


@pytest.mark.parametrize("share", [0.999, 0.5, 0.1])
def test_a_truncated_file(share, tmp_path):
    path = tmp_path / "a.h5"
    write_hdf5(path, arrays(np.random.default_rng(0).normal(size=(500, 20)), np.arange(500) % 3))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    fails(path, "truncated", "get the file again")


def test_a_hole_in_the_numbers_is_found_by_their_checksum(tmp_path):
    path = tmp_path / "a.h5"
    write_hdf5(path, arrays(np.random.default_rng(0).normal(size=(500, 20)), np.arange(500) % 3))
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(50) + content[middle + 50 :])
    fails(path, "damaged", "get the file again")


def test_an_array_that_is_larger_than_allowed_is_not_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("xdata", (2**40, 784), "f8", chunks=(1000, 784))  # promised, but not on the disk
        file["ydata"] = LABELS
    fails(tmp_path / "a.h5", "'xdata' is float64", "bytes", "more than the limit of 2,147,483,648")


def test_numbers_in_another_file_are_not_followed(make, tmp_path):
    other = make(xdata=X, ydata=LABELS)
    path = tmp_path / "links.h5"
    layout = h5py.VirtualLayout((6, 4), "f4")
    layout[:] = h5py.VirtualSource(other, "xdata", (6, 4))
    (tmp_path / "raw").write_bytes(bytes(96))
    with h5py.File(path, "w") as file:
        file["ydata"] = LABELS
        file["link"] = h5py.ExternalLink(str(other), "xdata")
        file["whole"] = h5py.ExternalLink(str(other), "/")
        file["soft"] = h5py.SoftLink("/link")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("external", (6, 4), "f4", external=[(str(tmp_path / "raw"), 0, 96)])
    for key in ("link", "whole/xdata", "soft", "virtual", "external"):
        fails(path, f"'{key}'", "lie in another file", x=key)


def test_keys_that_name_no_array_are_not_called_damage(make):
    path = make(**{"xdata": X, "ydata": LABELS, "group/x": X})
    links = {"nowhere": "/missing", "round": "/round", "deep": "/missing/x", "on": "/nowhere"}
    with h5py.File(path, "a") as file:
        for name, target in links.items():
            file[name] = h5py.SoftLink(target)
    for name, target in links.items():
        fails(path, f"'{name}' is a link to '{target}', which leads nowhere; the file holds 'deep', 'group'", x=name)
    for name in ("/", "", ".", "//"):
        fails(path, f"'{name}' is no array, but all of the file; the file holds", "'xdata'", x=name)
    for key in (3, None, b"xdata", ["xdata"]):
        fails(path, f"the key {key!r} is no text; the file holds", "'xdata'", x=key)
    fails(path, "'group/' is no array, but a group that holds 'group/x'", x="group/")
    fails(path, "'nowhere/x' is a link to '/missing', which leads nowhere", x="nowhere/x")


@pytest.mark.skipif(sys.platform == "win32", reason="locks files otherwise")
@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_a_file_that_a_program_writes_is_in_use_and_not_damaged(version, make):
    path = make(xdata=X, ydata=LABELS)
    program = f"import h5py; file = h5py.File({str(path)!r}, 'a', libver='{version}'); print('open'); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-u", "-c", program], text=True, **pipes) as writer:
        assert writer.stdout.readline() == "open\n"
        fails(path, "the file is in use: a program has it open to write; close it there, or wait")
        writer.communicate("\n", timeout=60)
    assert writer.returncode == 0
    read_hdf5(path)


def test_a_file_whose_writer_did_not_live_to_close_it(make):
    path = make()
    program = f"import os, h5py; file = h5py.File({str(path)!r}, 'w', libver='latest'); file.flush(); os._exit(0)"
    subprocess.run([sys.executable, "-c", program], check=True)
    fails(path, "open to write, or ended before it closed it", "if it still runs, wait, else get the file again")


@pytest.mark.parametrize("given", [None, 3, ["a.h5"]])
def test_what_is_no_path_is_said(given):
    kind = "None" if given is None else f"a {type(given).__name__}"
    with pytest.raises(DataError, match=f"read_hdf5: expected the path of a file, found {kind}"):
        read_hdf5(given)
    with pytest.raises(DataError, match=f"write_hdf5: expected the path of a file, found {kind}"):
        write_hdf5(given, arrays(X, LABELS))


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_any_damage_is_found_or_harmless(version, tmp_path):
    """Above all to chunks: HDF5 reads past the end of one that unpacks to less than it should, and ends the process."""
    x = np.random.default_rng(0).normal(size=(20, 6)).astype("f4")
    with h5py.File(tmp_path / "plain.h5", "w", libver=version) as file:
        file["xdata"], file["ydata"] = x, np.arange(20) % 3
    packed = {"compression": "gzip", "shuffle": True, "fletcher32": True, "maxshape": (None, 6)}
    with h5py.File(tmp_path / "chunks.h5", "w", libver=version) as file:
        file.create_dataset("xdata", data=x, chunks=(7, 6), **packed)
        file.create_dataset("ydata", data=np.arange(20) % 3, chunks=(5,))
    outcome = survive("from chainrule.data import read_hdf5 as read", sorted(tmp_path.iterdir()), rounds=700)
    assert min(outcome.refused, outcome.unchanged, outcome.changed) > 50


# --- chunks


@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (4, 3, 2)},
        {"chunks": (40, 30, 20)},
        {"chunks": True, "maxshape": (None, None, None), "compression": "gzip"},
        {"chunks": (3, 4, 5), "compression": 9, "shuffle": True},
        {"chunks": (3, 4, 5), "fletcher32": True},
        {"chunks": (1, 7, 3), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (11, 7, 5), "shuffle": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["u1", "?", ">i2", "f4", ">f8", "f2"])
def test_chunks_are_put_together_as_hdf5_does(dtype, options, version, tmp_path):
    x = (np.random.default_rng(0).normal(size=(11, 7, 5)) * 10).astype(np.int8).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w", libver=version) as file:
        chunk = options["chunks"]
        sizes = options | ({} if chunk is True or chunk <= x.shape else {"maxshape": (None, None, None)})
        file.create_dataset("xdata", data=x, **sizes)
        file.create_dataset("ydata", data=np.arange(11) % 3, chunks=(2,), fletcher32=True)
    with h5py.File(tmp_path / "a.h5") as file:
        theirs = file["xdata"][:]
    ours = read_hdf5(tmp_path / "a.h5").inputs
    np.testing.assert_array_equal(ours, theirs)
    assert (ours.dtype, ours.dtype.isnative) == (x.dtype.newbyteorder("="), True)


@pytest.mark.parametrize("length", [1, 2, 7, 131_072, 131_073, 1_000_003])
def test_the_checksum_is_that_of_hdf5_at_any_length(length, tmp_path):
    drawn = np.random.default_rng(length).integers(0, 256, (1, length), dtype=np.uint8)
    for x in (drawn, np.full_like(drawn, 255), np.zeros_like(drawn)):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("xdata", data=x, fletcher32=True)
            file["ydata"] = [1.5]
        np.testing.assert_array_equal(read_hdf5(tmp_path / "a.h5").inputs, x)


def test_a_number_that_changed_in_a_chunk_is_found(tmp_path):
    x = np.arange(1000.0, 1040.0).reshape(10, 4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("xdata", data=x, fletcher32=True)
        file["ydata"] = np.zeros(10)
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(content.replace(np.float64(1017).tobytes(), np.float64(1018).tobytes()))
    fails(tmp_path / "a.h5", "'xdata': the file is damaged: a chunk does not have its checksum; get the file again")


def test_what_was_never_written_is_not_taken_for_zeros(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("plain", (6, 4), "f4")
        file.create_dataset("chunks", (6, 4), "f4", chunks=(2, 4))[:2] = 1
        file["ydata"] = LABELS
    fails(tmp_path / "a.h5", "'plain': float32 of shape (6, 4) are 96 bytes, but only 0 were ever written", x="plain")
    fails(tmp_path / "a.h5", "'chunks': 2 of its 3 chunks were never written", x="chunks")


def test_a_few_numbers_in_an_enormous_chunk_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("xdata", (6, 4), "f4", chunks=(2**24, 4), maxshape=(None, 4), compression="gzip")
        x.id.write_direct_chunk((0, 0), b"anything")
        file["ydata"] = LABELS
    fails(tmp_path / "a.h5", "'xdata': 96 bytes are stored in chunks of 268,435,456")


def test_a_chunk_that_unpacks_to_something_else_is_refused(tmp_path):
    for chunk, words in (
        (zlib.compress(bytes(2**20)), "a chunk has 104 bytes; expected 96"),
        (zlib.compress(bytes(95)), "a chunk has 95 bytes; expected 96"),
        (zlib.compress(bytes(96))[:-7], "a chunk has"),
        (b"anything", "zlib says"),
    ):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            x = file.create_dataset("xdata", (6, 4), "f4", chunks=(6, 4), compression="gzip")
            x.id.write_direct_chunk((0, 0), chunk)
            file["ydata"] = LABELS
        fails(tmp_path / "a.h5", "'xdata': the file is damaged", words, "get the file again")


def test_other_filters_and_forms_are_left_to_h5py(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("lzf", data=X, compression="lzf")
        file.create_dataset("offset", data=X, scaleoffset=2)
        bits = h5py.h5t.NATIVE_FLOAT.copy()  # an exponent of another size
        bits.set_fields(31, 24, 7, 0, 24)
        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_chunk((6, 4))
        h5py.Dataset(h5py.h5d.create(file.id, b"odd", bits, h5py.h5s.create_simple((6, 4)), created))[:] = 1
        file["ydata"] = LABELS
    fails(tmp_path / "a.h5", "'lzf': it is packed by the filter 'lzf' (number 32000)", "h5py itself", x="lzf")
    fails(tmp_path / "a.h5", "'offset': it is packed by the filter 'scaleoffset' (number 6)", x="offset")
    fails(tmp_path / "a.h5", "'odd': its numbers are stored in a form that NumPy has not", "h5py itself", x="odd")


# --- links


def test_links_inside_the_file_are_followed(make):
    path = make(**{"train/x": X, "ydata": LABELS})
    with h5py.File(path, "a") as file:
        file["soft"] = h5py.SoftLink("/train")
        file["train/relative"] = h5py.SoftLink("x")
        file["hard"] = file["train/x"]
    for key in ("soft/x", "/train//x", "./train/relative", "soft/relative", "hard"):
        np.testing.assert_array_equal(read_hdf5(path, key).inputs, X)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_the_file_of_an_external_link_is_not_even_opened(make, tmp_path):
    """It could be a pipe, at which HDF5 would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    path = make(ydata=LABELS)
    with h5py.File(path, "a") as file:
        file["out"] = h5py.ExternalLink(str(tmp_path / "pipe"), "/")
        file["soft"] = h5py.SoftLink("/out/x")
    for key in ("out", "out/x", "soft"):
        fails(path, "lie in another file", x=key)


def test_the_same_array_can_be_input_and_target(make):
    data = read_hdf5(make(xdata=X), y="xdata")
    np.testing.assert_array_equal(data.targets, X)


# --- what is wrong with writing


def test_a_place_that_cannot_be_written_to(tmp_path):
    with pytest.raises(DataError, match=r"missing.a\.h5 could not be written \(No such file or directory\)"):
        write_hdf5(tmp_path / "missing" / "a.h5", arrays(X, LABELS))


def test_a_disk_that_is_full_leaves_the_old_file_alone(tmp_path, monkeypatch):
    write_hdf5(tmp_path / "a.h5", arrays(X, LABELS))
    before = (tmp_path / "a.h5").read_bytes()

    def full(*_):
        raise OSError(28, "Can't write data")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_hdf5(tmp_path / "a.h5", arrays(X + 1, LABELS))
    assert os.listdir(tmp_path) == ["a.h5"]
    assert (tmp_path / "a.h5").read_bytes() == before


def test_two_arrays_need_two_keys(tmp_path):
    with pytest.raises(DataError, match="two keys, but both are 'x'"):
        write_hdf5(tmp_path / "a.h5", arrays(X, LABELS), "x", "x")


@pytest.mark.parametrize("key", [None, 3, b"x", "", "/", "."])
def test_a_key_that_is_no_name_is_refused_and_nothing_is_written(key, tmp_path):
    for keys in ((key, "y"), ("x", key)):
        with pytest.raises(DataError, match=r"a\.h5: the key .* is no name for an array"):
            write_hdf5(tmp_path / "a.h5", arrays(X, LABELS), *keys)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("given", [(X, LABELS), None, X])
def test_what_is_no_dataset_is_refused(given, tmp_path):
    with pytest.raises(DataError, match=r"a\.h5: expected a Dataset to write, such as data\.arrays\(x, y\), found"):
        write_hdf5(tmp_path / "a.h5", given)
    assert os.listdir(tmp_path) == []


def test_labels_that_are_none_are_not_written(tmp_path):
    with pytest.raises(DataError, match="targets: 4 of 6 labels are outside the 1 classes"):
        write_hdf5(tmp_path / "a.h5", Dataset(X, LABELS, classes=1))
    with pytest.raises(DataError, match="one_hot: 2 of 6 labels"):
        write_hdf5(tmp_path / "a.h5", Dataset(X, LABELS, classes=2))
    assert os.listdir(tmp_path) == []


def test_without_h5py_the_error_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ChainruleError, match=r'pip install "chainrule\[lab\]"'):
        read_hdf5(tmp_path / "a.h5")


# --- MNIST by way of two files


@pytest.fixture(scope="module")
def folder(blank, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hdf5")
    mnist_hdf5(folder, data_dir=blank)
    return folder


def test_mnist_is_divided_as_its_report_does_and_scaled_as_the_file_is(folder, blank):
    mnist, direct = mnist_hdf5(folder, data_dir=blank), load("mnist", "usc-ee541", data_dir=blank)
    assert sorted(os.listdir(folder)) == ["mnist_testdata.hdf5", "mnist_traindata.hdf5"]
    for ours, theirs in ((mnist.train, direct.train), (mnist.validation, direct.validation)):
        np.testing.assert_array_equal(ours.features(), theirs.features())
        np.testing.assert_array_equal(ours.targets, theirs.targets)
        assert (ours.name, ours.classes, ours.image_shape) == (theirs.name, 10, (28, 28))
        assert (ours.inputs.dtype, ours.scale, ours.inputs.base is not None) == (np.float32, 1, True)
    assert (len(mnist.train), len(mnist.validation), len(mnist.test)) == (50_000, 10_000, 10_000)
    with pytest.raises(SealedError, match="final=True"):
        mnist.test.open()


def test_the_final_run_has_all_images_and_opens_the_test_set(folder, blank):
    mnist = mnist_hdf5(folder, final=True, data_dir=blank)
    assert (len(mnist.train), mnist.validation, len(mnist.test.open())) == (60_000, None, 10_000)


def test_files_of_other_data_are_not_taken(tmp_path, blank):
    write_hdf5(tmp_path / "mnist_traindata.hdf5", arrays(np.zeros((60_000, 1)), np.arange(60_000) % 10))
    with pytest.raises(DataError, match=r"mnist_traindata\.hdf5: the file does not hold .* remove it"):
        mnist_hdf5(tmp_path, data_dir=blank)
