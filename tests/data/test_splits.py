"""The parts of MNIST are those that each report says, and the test set stays sealed until the last run."""

import numpy as np
import pytest

from chainrule.data import load, read_idx
from chainrule.data.cifar import BATCHES
from chainrule.errors import DataError, SealedError, UnknownNameError


@pytest.fixture(scope="module")
def files(packaged):
    """All images and labels, as the files hold them."""
    return {
        (part, kind): read_idx(packaged / f"{part}-{kind}-ubyte.gz").reshape(n, -1)
        for part, n in (("train", 60_000), ("t10k", 10_000))
        for kind in ("images-idx3", "labels-idx1")
    }


@pytest.fixture(autouse=True)
def _no_folder_of_ones_own(monkeypatch):
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)


def same(data, files, part, rows):
    np.testing.assert_array_equal(data.inputs, files[part, "images-idx3"][rows])
    np.testing.assert_array_equal(data.targets, files[part, "labels-idx1"][rows, 0])


@pytest.mark.parametrize(
    ("split", "train", "validation"), [(None, 50_000, 10_000), ("vu-a1", 55_000, 5_000), ("usc-ee541", 50_000, 10_000)]
)
def test_the_first_images_train_and_the_last_validate(split, train, validation, files):
    mnist = load("mnist", split)
    same(mnist.train, files, "train", slice(train))
    same(mnist.validation, files, "train", slice(60_000 - validation, None))
    assert (mnist.train.name, mnist.validation.name) == ("mnist train", "mnist validation")
    assert len(mnist.test) == 10_000
    for part in (mnist.train, mnist.validation):
        assert (part.scale, part.shift, part.classes, part.image_shape) == (1 / 255, 0, 10, (28, 28))


@pytest.mark.parametrize("split", [None, "vu-a1", "ucsd-ece285", "usc-ee541"])
def test_a_final_run_trains_on_everything_and_opens_the_test_set_once(split, files):
    mnist = load("mnist", split, final=True)
    same(mnist.train, files, "train", slice(None))
    assert mnist.validation is None
    test = mnist.test.open()
    same(test, files, "t10k", slice(None))
    assert (test.scale, test.shift) == (mnist.train.scale, mnist.train.shift)
    with pytest.raises(SealedError, match=r"opened already, at test_splits.py, line \d+"):
        mnist.test.open()
    assert len(load("mnist", split, final=True).test.open()) == 10_000


@pytest.mark.parametrize("split", [None, "vu-a1", "ucsd-ece285", "usc-ee541"])
def test_before_that_it_is_sealed(split):
    with pytest.raises(SealedError, match="load the data with final=True"):
        load("mnist", split).test.open()


def test_ucsd_has_all_images_between_minus_one_and_one(files):
    mnist = load("mnist", "ucsd-ece285")
    same(mnist.train, files, "train", slice(None))
    assert mnist.validation is None
    rows = slice(0, 1000)
    x = mnist.train.features(rows)
    np.testing.assert_allclose(x, 2 * (mnist.train.inputs[rows] - 127.5) / 255, atol=2e-7)
    assert (x.dtype, x.min(), x.max()) == (np.float32, -1, 1)


@pytest.mark.parametrize("final", [False, True])
def test_ntnu_standardises_20000_images_and_validates_on_the_test_file(final, files):
    mnist = load("mnist", "ntnu-tdt4265", final=final)
    same(mnist.train, files, "train", slice(20_000))
    same(mnist.validation, files, "t10k", slice(None))
    pixels = mnist.train.inputs
    mean, deviation = pixels.mean(), pixels.std()
    assert (mean, deviation) == pytest.approx((33.5, 78.9), abs=0.1)
    for part in (mnist.train, mnist.validation):
        assert part.scale == pytest.approx(1 / deviation, rel=1e-12)
        assert part.shift == pytest.approx(-mean / deviation, rel=1e-12)
    x = mnist.train.features(dtype=np.float32)
    assert x.mean(dtype=np.float64) == pytest.approx(0, abs=1e-6)
    assert len(mnist.test) == 0
    with pytest.raises(SealedError, match=r"'ntnu-tdt4265' validates on the test file.*take \.validation"):
        mnist.test.open()


@pytest.fixture(scope="module")
def black(tmp_path_factory):
    """A folder with a CIFAR-10 as long as the real one, all black airplanes: zeros need no room on the disk."""
    folder = tmp_path_factory.mktemp("black")
    for name in BATCHES:
        with (folder / f"{name}.bin").open("wb") as file:
            file.truncate(30_730_000)
    return folder


def folder_of(name, black, blank):
    return {"cifar-10": black, "fashion-mnist": blank, "mnist": None}[name]


@pytest.mark.parametrize(
    ("name", "train", "validation", "shape"),
    [("cifar-10", 45_000, 5_000, (3, 32, 32)), ("fashion-mnist", 50_000, 10_000, (784,))],
)
def test_the_other_data_sets_are_divided_by_default(name, train, validation, shape, black, blank):
    data = load(name, data_dir=folder_of(name, black, blank))
    assert (len(data.train), len(data.validation), len(data.test)) == (train, validation, 10_000)
    for part in (data.train, data.validation):
        assert (part.scale, part.shift, part.inputs.shape[1:], part.classes) == (1 / 255, 0, shape, 10)
        assert len(part.class_names) == 10
    with pytest.raises(SealedError, match="load the data with final=True"):
        data.test.open()
    final = load(name, data_dir=folder_of(name, black, blank), final=True)
    assert (len(final.train), final.validation, len(final.test.open())) == (train + validation, None, 10_000)


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize(("name", "train"), [("cifar-10", 50_000), ("fashion-mnist", 60_000), ("mnist", 60_000)])
def test_vu_a2_trains_on_all_and_validates_on_the_test_file(name, train, final, black, blank):
    data = load(name, "vu-a2", data_dir=folder_of(name, black, blank), final=final)
    assert (len(data.train), len(data.validation), len(data.test)) == (train, 10_000, 0)
    for part in (data.train, data.validation):
        assert (part.scale, part.shift, part.class_names) == (2 / 255, -1, data.train.class_names)
    assert data.train.features([0]).min() == -1
    with pytest.raises(SealedError, match=r"'vu-a2' validates on the test file.*take \.validation"):
        data.test.open()


def test_all_who_load_share_the_memory():
    assert np.shares_memory(load("mnist").train.inputs, load("mnist", "vu-a1", final=True).train.inputs)


def test_image_42_is_a_7_and_in_the_test_file_a_4():
    mnist = load("mnist", final=True)
    assert mnist.train.targets[42] == 7
    assert mnist.test.open().targets[42] == 4


def test_ones_own_folder_is_divided_in_the_same_way(blank):
    mnist = load("mnist", "vu-a1", data_dir=blank)
    np.testing.assert_array_equal(mnist.validation.inputs[:, 0], np.arange(55_000, 60_000) % 256)
    assert mnist.validation.inputs[:, 1:].max() == 0


def test_too_few_images_for_a_split(small):
    with pytest.raises(DataError, match="split 'vu-a1' needs 60,000 training images, found 20"):
        load("mnist", "vu-a1", data_dir=small())


def test_blank_images_cannot_be_standardised(blank, tmp_path, idx):
    for path in blank.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.full((60_000, 28, 28), 7, np.uint8)))
    with pytest.raises(DataError, match="all pixels are 7"):
        load("mnist", "ntnu-tdt4265", data_dir=tmp_path)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no data set called 'minst': did you mean 'mnist'\?"):
        load("minst")
    with pytest.raises(UnknownNameError, match=r"no split called 'vu-a3': did you mean 'vu-a[12]'\?.*ntnu-tdt4265"):
        load("mnist", "vu-a3")
