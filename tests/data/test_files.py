"""A data set is read from the package or from a person's own folder, and a folder that is not right says how."""

import gzip

import numpy as np
import pytest

from chainrule.data.files import SOURCES, VARIABLE, read
from chainrule.errors import DataError, UnknownNameError

TRAIN = "train-images-idx3-ubyte"


@pytest.fixture(autouse=True)
def _no_folder_of_ones_own(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def test_the_packaged_files_are_read_once_and_nobody_can_write_into_them():
    train, test = read("mnist")
    assert read("mnist")[0] is train
    assert (len(train), len(test), train.inputs.shape, train.inputs.dtype) == (60_000, 10_000, (60_000, 784), np.uint8)
    assert (train.image_shape, train.classes, train.targets.dtype) == ((28, 28), 10, np.int64)
    for array in (train.inputs, train.targets, test.inputs, test.targets):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_licence_comes_with_the_files(packaged):
    text = (packaged / "LICENSE").read_text()
    for word in ("LeCun", "Cortes", "Burges", "https://creativecommons.org/licenses/by-sa/3.0/", "gzip"):
        assert word in text


def test_a_folder_is_read_in_place_of_the_package(small):
    folder = small()
    train, test = read("mnist", folder)
    assert (len(train), len(test)) == (20, 10)
    assert len(read("mnist", str(folder))[0]) == 20


def test_the_environment_names_a_folder_and_an_argument_goes_before_it(small, tmp_path, monkeypatch):
    folder = small()
    monkeypatch.setenv(VARIABLE, str(folder))
    assert len(read("mnist")[0]) == 20
    monkeypatch.setenv(VARIABLE, str(tmp_path / "elsewhere"))
    assert len(read("mnist", folder)[0]) == 20
    with pytest.raises(DataError, match=rf"elsewhere \(from {VARIABLE}\).*no such folder"):
        read("mnist")
    monkeypatch.setenv(VARIABLE, "")
    assert len(read("mnist")[0]) == 60_000


def test_the_files_of_one_data_set_are_not_taken_for_another(small, idx):
    folder = small()
    labels = np.resize(np.array(SOURCES["mnist"].begins, np.uint8), 20)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    assert len(read("mnist", folder)[0]) == 20
    with pytest.raises(DataError, match="expected the files of fashion-mnist, but the files there are those of mnist"):
        read("fashion-mnist", folder)
    (folder / "fashion-mnist").mkdir()
    for path in small(train_images_idx3_ubyte=IMAGES).glob("*ubyte"):
        (folder / "fashion-mnist" / path.name).write_bytes(path.read_bytes())
    train, _ = read("fashion-mnist", folder)  # its own folder goes before
    assert (train.inputs.max(), train.class_names[9], train.name) == (0, "Ankle boot", "fashion-mnist train")


def test_the_packaged_labels_begin_as_they_are_known_to():
    assert tuple(read("mnist")[0].targets[:10]) == SOURCES["mnist"].begins


def test_where_nothing_was_fetched_it_says_how(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    for name in ("fashion-mnist", "cifar-10"):
        with pytest.raises(DataError, match=rf"data \(from the default\): .*`chainrule data get {name}` get them"):
            read(name)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match=rf"\(from {VARIABLE}\): .*cifar-10-binary\.tar\.gz"):
        read("cifar-10")


@pytest.mark.parametrize("name", ["mnist", "cifar-10"])
def test_a_folder_that_the_system_cannot_look_for(name, monkeypatch):
    with pytest.raises(DataError, match=r"aaa \(from data_dir\): .*the system says 'File name too long'"):
        read(name, "a" * 300)
    with pytest.raises(DataError, match="data_dir: expected the path of a folder, found a int"):
        read(name, 5)
    monkeypatch.setenv(VARIABLE, "a" * 300)
    with pytest.raises(DataError, match=rf"aaa \(from {VARIABLE}\): .*the system says 'File name too long'"):
        read(name)


def test_files_may_be_in_a_subfolder_and_compressed(small):
    folder = small()
    (folder / "mnist").mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        (folder / "mnist" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert len(read("mnist", folder)[0]) == 20


def test_a_folder_without_the_files_says_which_to_put_where(tmp_path):
    with pytest.raises(DataError) as caught:
        read("mnist", tmp_path)
    message = str(caught.value)
    for stem in (*SOURCES["mnist"].train, *SOURCES["mnist"].test):
        assert stem in message
    assert f"into {tmp_path} or {tmp_path / 'mnist'}, or let" in message
    assert f"`chainrule data get mnist --data-dir {tmp_path}`" in message


def test_a_folder_without_one_of_the_files_says_which(small):
    with pytest.raises(DataError, match=r"these are missing: t10k-labels-idx1-ubyte\. Put"):
        read("mnist", small(t10k_labels_idx1_ubyte=None))


def test_an_unknown_data_set_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no data set called 'mnits': did you mean 'mnist'\?"):
        read("mnits")


IMAGES = np.zeros((20, 28, 28), np.uint8)
LABELS = np.zeros(20, np.uint8)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"train_images_idx3_ubyte": LABELS, "train_labels_idx1_ubyte": IMAGES}, "exchanged"),
        ({"train_images_idx3_ubyte": IMAGES[:19]}, "19 images.*20 labels"),
        ({"t10k_labels_idx1_ubyte": LABELS}, "10 images.*20 labels"),
        ({"train_labels_idx1_ubyte": LABELS + 10}, "20 of 20 labels are outside the 10 classes"),
        ({"train_images_idx3_ubyte": np.zeros((20, 32, 32), np.uint8)}, r"\(28, 28\), found \(32, 32\)"),
        ({"train_images_idx3_ubyte": np.zeros((20, 784), np.uint8)}, r"\(28, 28\), found \(784,\)"),
        ({"train_images_idx3_ubyte": IMAGES[:0], "train_labels_idx1_ubyte": LABELS[:0]}, "found none"),
    ],
    ids=["exchanged", "too few images", "too many labels", "labels", "larger", "flat", "empty"],
)
def test_files_that_do_not_fit(replaced, message, small):
    with pytest.raises(DataError, match=message):
        read("mnist", small(**replaced))


def test_a_damaged_file_is_named(small):
    folder = small()
    content = (folder / TRAIN).read_bytes()
    (folder / TRAIN).write_bytes(content[:-1])
    with pytest.raises(DataError, match=f"{TRAIN}: .*truncated"):
        read("mnist", folder)
