"""A Dataset keeps what it is given, scales where the numbers are used, and loses no row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.data import Dataset
from chainrule.errors import DataError, DtypeError

PIXELS = np.arange(256, dtype=np.uint8).repeat(3).reshape(-1, 2)  # (384, 2)
LABELS = np.arange(len(PIXELS)) % 10


@pytest.fixture
def data():
    return Dataset(PIXELS, LABELS, scale=2 / 255, shift=-1, classes=10, name="pixels")


def test_inputs_and_targets_are_kept_and_not_copied(data):
    assert data.inputs is PIXELS
    assert data.targets is LABELS
    assert len(data) == 384


def test_its_repr_says_what_it_holds(data):
    assert repr(data) == "Dataset('pixels': 384 inputs of shape (2,) uint8, 10 classes, x = 0.00784314 u - 1)"
    assert repr(Dataset(np.ones((2, 3)), np.ones(2))) == "Dataset('dataset': 2 inputs of shape (3,) float64, x = u)"


@pytest.mark.parametrize(
    ("inputs", "targets", "options", "message"),
    [
        (np.ones((3, 2)), np.ones(4), {}, r"mine: inputs of shape \(3, 2\) and targets of shape \(4,\)"),
        (np.float64(1), np.ones(1), {}, r"inputs of shape \(\)"),
        (np.ones(1), np.float64(1), {}, r"targets of shape \(\)"),
        (np.ones(1), np.ones(1), {"scale": float("nan")}, "scale nan"),
        (np.ones(1), np.ones(1), {"shift": float("inf")}, "shift inf"),
        (PIXELS, LABELS, {"classes": 10, "class_names": ["cat"]}, "1 class names, but classes is 10"),
        (PIXELS, LABELS, {"class_names": ["cat"]}, "1 class names, but classes is None"),
    ],
)
def test_what_cannot_be_a_dataset(inputs, targets, options, message):
    with pytest.raises(DataError, match=message):
        Dataset(inputs, targets, name="mine", **options)


def test_the_names_of_classes_stay_with_its_parts():
    data = Dataset(PIXELS, LABELS % 2, classes=2, class_names=["cat", "dog"])
    assert data.class_names == data.subset([1, 2]).class_names == data.scaled(2).class_names == ("cat", "dog")


# --- features


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_features_are_scaled_floats(data, dtype):
    x = data.features(dtype=dtype)
    assert (x.dtype, x.shape) == (np.dtype(dtype), PIXELS.shape)
    np.testing.assert_allclose(x, 2 * (PIXELS - 127.5) / 255, atol=2 * np.finfo(dtype).eps)
    assert (x.min(), x.max()) == (-1, 1)


def test_features_are_float32_by_default(data):
    assert data.features().dtype == np.float32


@pytest.mark.parametrize("rows", [slice(3, 9), slice(None, None, -7), np.array([5, 5, 0]), [1, 2], LABELS == 3, 4])
def test_features_of_some_rows(data, rows):
    np.testing.assert_array_equal(data.features(rows), data.features()[rows])


@pytest.mark.parametrize("shape", [(6,), (6, 2), (6, 3, 2, 2)])
@pytest.mark.parametrize("dtype", ["u1", "?", "i2", "i8", "f2", "f4", ">f4", "f8"])
@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (0.5, 0), (1, -2), (0.5, 3)])
def test_inputs_of_any_number_of_axes_and_any_type(shape, dtype, scale, shift):
    u = (np.arange(np.prod(shape)).reshape(shape) % 7).astype(dtype)
    before = u.copy()
    data = Dataset(u, np.zeros(6), scale=scale, shift=shift)
    x = data.features()
    assert x.dtype == np.float32
    assert x.dtype.isnative
    np.testing.assert_array_equal(x, scale * before.astype(float) + shift)
    np.testing.assert_array_equal(data.features(5), x[5])
    np.testing.assert_array_equal(u, before)


def test_floats_that_need_no_scaling_are_not_copied():
    own = np.ones((3, 2), np.float32)
    assert np.shares_memory(Dataset(own, np.zeros(3)).features(slice(1, 3)), own)
    assert not np.shares_memory(Dataset(own, np.zeros(3), scale=2).features(), own)


def test_large_numbers_are_scaled_before_they_lose_their_digits():
    seconds = np.array([1_700_000_000.0, 1_700_000_001.0])
    for u in (seconds, seconds.astype(np.int64)):
        data = Dataset(u, np.zeros(2), shift=-1_700_000_000)
        np.testing.assert_array_equal(data.features(), np.array([0, 1], np.float32))


@pytest.mark.parametrize("scale", [1, 2])
def test_numbers_that_a_dtype_cannot_hold_are_an_error_and_no_infinity(scale):
    data = Dataset(np.array([1e300]), np.zeros(1), scale=scale, name="huge")
    with pytest.raises(DataError, match="huge: some numbers are too large for float32"):
        data.features()
    assert data.features(dtype=np.float64)[0] == scale * 1e300


@pytest.mark.parametrize("dtype", [int, np.uint8, complex])
def test_features_are_floats_only(data, dtype):
    with pytest.raises(DtypeError, match="expected a dtype such as float32"):
        data.features(dtype=dtype)
    with pytest.raises(DtypeError, match="expected a dtype such as float32"):
        data.batches(2, dtype=dtype)


def test_scaled_is_the_same_memory_with_another_preprocessing(data):
    other = data.scaled(1 / 255)
    assert other.inputs is data.inputs
    assert other.targets is data.targets
    assert (other.scale, other.shift, other.classes, other.name) == (1 / 255, 0, 10, "pixels")
    assert (data.scale, data.shift) == (2 / 255, -1)
    np.testing.assert_allclose(other.features(), PIXELS / 255, rtol=1e-6)


# --- subset


def test_a_slice_stays_in_the_same_memory(data):
    part = data.subset(slice(10, 20))
    assert np.shares_memory(part.inputs, PIXELS)
    np.testing.assert_array_equal(part.targets, LABELS[10:20])
    np.testing.assert_array_equal(part.features(), data.features()[10:20])
    assert (part.classes, part.name) == (10, "pixels")


@pytest.mark.parametrize("rows", [[7, 0, 7], np.array([3], np.uint8), LABELS == 3, [], np.array([-1])])
def test_indices_are_gathered(data, rows):
    index = rows if len(rows) else np.zeros(0, int)
    part = data.subset(rows)
    np.testing.assert_array_equal(part.inputs, PIXELS[index])
    np.testing.assert_array_equal(part.targets, LABELS[index])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 384], "index 384 is out of bounds"),
        ([0.5], "found float64"),
        ([[1, 2]], r"shape \(1, 2\)"),
        (3, r"shape \(\)"),
        ([True, False], "pixels: subset of 384 rows: boolean index"),
    ],
)
def test_rows_that_are_none(data, rows, message):
    with pytest.raises(DataError, match=message):
        data.subset(rows)


# --- batches


@given(n=st.integers(1, 40), size=st.integers(1, 50), shuffled=st.booleans())
def test_every_row_comes_once_with_its_own_target(n, size, shuffled):
    data = Dataset(np.arange(n, dtype=np.uint8)[:, None], np.arange(n), scale=2, shift=1)
    batches = list(data.batches(size, rng=np.random.default_rng(n) if shuffled else None))
    assert [len(t) for _, t in batches] == [size] * (n // size) + [n % size] * (n % size > 0)
    targets = np.concatenate([t for _, t in batches])
    x = np.concatenate([x for x, _ in batches])
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[:, 0], 2 * targets + 1)
    assert (sorted(targets) if shuffled else list(targets)) == list(range(n))


def test_the_order_is_drawn_anew_for_each_pass_and_comes_from_the_seed(data):
    def order(rng):
        return np.concatenate([t for _, t in Dataset(PIXELS, np.arange(384)).batches(100, rng=rng)]).tolist()

    rng = np.random.default_rng(3)
    first, second = order(rng), order(rng)
    assert first != second
    again = np.random.default_rng(3)
    assert [order(again), order(again)] == [first, second]
    assert first == np.random.default_rng(3).permutation(384).tolist()


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_batch_has_the_bits_of_the_features(data, shuffled):
    order = np.random.default_rng(0).permutation(384) if shuffled else np.arange(384)
    rng = np.random.default_rng(0) if shuffled else None
    x = np.concatenate([x for x, _ in data.batches(100, rng=rng)])
    np.testing.assert_array_equal(x, data.features()[order])


def test_batches_of_another_dtype(data):
    x, _ = next(data.batches(5, dtype=np.float64))
    assert x.dtype == np.float64


@pytest.mark.parametrize(
    ("size", "rng", "message"),
    [
        (0, None, "pixels: batch_size is 0; expected at least 1"),
        (-3, None, "batch_size is -3"),
        (2.5, None, "batch_size is 2.5; expected a whole number"),
        (2, 7, r"rng is 7; expected a generator, such as np.random.default_rng\(1\)"),
    ],
)
def test_batches_that_cannot_be_made_fail_at_the_call(data, size, rng, message):
    with pytest.raises(DataError, match=message):
        data.batches(size, rng=rng)


# --- classes


def test_class_counts():
    counts = [3, 1, 0]
    labels = np.array([0, 1, 0, 0], np.uint8)
    assert Dataset(np.ones(4), labels, classes=3).class_counts().tolist() == counts
    assert Dataset(np.ones(4), np.eye(3)[labels], classes=3).class_counts().tolist() == counts


def test_numbers_have_no_classes_to_count():
    with pytest.raises(DataError, match="no classes to count"):
        Dataset(np.ones(2), np.ones(2)).class_counts()
