"""`arrays` takes what can be trained on as it is, and says of everything else what is wrong and where."""

import numpy as np
import pytest

from chainrule.data import arrays
from chainrule.errors import DataError

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([0, 2, 1, 2])


def with_value(value, *index, dtype=np.float64):
    x = np.zeros((4, 3) if len(index) < 3 else (4, 3, 2), dtype)
    x[index] = value
    return x


# --- what is right


def test_ones_own_array_is_kept_and_not_copied():
    data = arrays(X, Y, scale=0.5, shift=1, name="mine")
    assert data.inputs is X
    assert (data.scale, data.shift, data.name, data.classes) == (0.5, 1, "mine", 3)
    np.testing.assert_array_equal(data.features(), X / 2 + 1)


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f2", "f8", ">f8"])
def test_inputs_of_any_type_of_real_numbers(dtype):
    x = (X % 2).astype(dtype)
    assert arrays(x, Y).inputs is x


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 2, 3, 1)])
def test_inputs_of_any_number_of_axes(shape):
    assert arrays(np.zeros(shape), Y).inputs.shape == shape


def test_lists_are_converted():
    data = arrays([[0.5, 1], [2, 3]], [1, 0])
    np.testing.assert_array_equal(data.features(), np.array([[0.5, 1], [2, 3]], np.float32))
    assert data.targets.tolist() == [1, 0]


@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "u8"])
def test_integers_are_labels_and_tell_the_number_of_classes(dtype):
    data = arrays(X, Y.astype(dtype))
    assert (data.classes, data.targets.dtype) == (3, np.int64)
    assert arrays(X, Y.astype(dtype), classes=7).classes == 7


def test_bools_are_labels_of_two_classes():
    data = arrays(X, np.zeros(4, bool))
    assert (data.classes, data.targets.dtype) == (2, np.int64)


@pytest.mark.parametrize("dtype", ["?", "i8", "f4"])
def test_one_hot_rows_are_classes_and_leave_a_float32_loss_float32(dtype):
    rows = np.eye(3)[Y].astype(dtype)
    data = arrays(X, rows)
    assert data.classes == 3
    np.testing.assert_array_equal(data.targets, rows.astype(float))
    assert (data.targets * np.float32(2)).dtype == np.float32


@pytest.mark.parametrize(
    "y", [Y / 2, np.ones((4, 1)), np.ones((4, 2)), np.zeros((4, 3, 2))], ids=lambda y: str(y.shape)
)
def test_other_floats_are_numbers_to_be_predicted(y):
    data = arrays(X, y)
    assert data.classes is None
    assert data.targets is y


# --- what is wrong

WRONG = {
    "different lengths": (X, Y[:3], {}, r"mine: x has 4 rows \(shape \(4, 3\)\), but y has 3"),
    "no samples": (X[:0], Y[:0], {}, r"at least one sample"),
    "no columns": (X[:, :0], Y, {}, r"shape \(4, 0\)"),
    "a single number": (3.0, Y, {}, r"mine: x is a single number"),
    "a single target": (X, 3, {}, r"mine: y is a single number"),
    "words": (np.array([["a"], ["b"], ["c"], ["d"]]), Y, {}, r"x has dtype <U1; .*give each word a number"),
    "word labels": (X, list("abca"), {}, r"y has dtype <U1; .*give each word a number"),
    "objects": (X.astype(object), Y, {}, r"x has dtype object; .*astype\(float\)"),
    "complex": (X.astype(complex), Y, {}, r"x has dtype complex128; expected real numbers"),
    "dates": (np.zeros(4, "M8[s]"), Y, {}, r"x has dtype datetime64"),
    "ragged": ([[1, 2], [3]], [0, 1], {}, r"mine: x cannot become an array"),
    "NaN": (with_value(np.nan, 2, 1), Y, {}, r"x has 1 of 12 values .* the first \(nan\) at row 2, column 1;"),
    "two NaN": (with_value(np.nan, slice(1, 3), 0), Y, {}, r"2 of 12 values .* row 1, column 0"),
    "infinity": (with_value(-np.inf, 3, 2, dtype=np.float16), Y, {}, r"\(-inf\) at row 3, column 2"),
    "NaN in images": (with_value(np.nan, 1, 2, 1), Y, {}, r"1 of 24 .* at index \(1, 2, 1\)"),
    "NaN in a column": (np.array([0, np.nan, 1, 2]), Y, {}, r"at row 1;"),
    "NaN targets": (X, np.array([0, 1, np.inf, 1]), {}, r"mine: y has 1 of 4 .* \(inf\) at row 2"),
    "negative label": (X, Y - 1, {}, r"y: 1 of 4 labels are outside the 2 classes 0 to 1, the first is -1 at row 0"),
    "all negative": (X, -Y - 1, {}, r"4 of 4 labels"),
    "label beyond classes": (X, Y, {"classes": 2}, r"2 of 4 labels .* first is 2 at row 1"),
    "no classes": (X, Y, {"classes": 0}, r"classes is 0"),
    "prices": (X, Y * 100_000, {}, r"largest of 4 labels is 200000; .*give floats.*classes="),
    "a column of labels": (X, Y[:, None], {}, r"int64 of shape \(4, 1\) .*ravel"),
    "many labels a row": (X, np.ones((4, 3), int), {}, r"neither labels.*nor one-hot"),
    "float labels": (X, Y.astype(float), {"classes": 3}, r"float64 of shape \(4,\) .*astype\(int\)"),
    "probabilities": (X, np.full((4, 2), 0.5), {"classes": 2}, r"nor one-hot rows"),
    "other one-hot": (X, np.eye(3)[Y], {"classes": 4}, r"rows of 3 classes, but classes is 4"),
    "scale": (X, Y, {"scale": np.nan}, r"mine: scale nan"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_trained_on(case):
    x, y, options, message = WRONG[case]
    with pytest.raises(DataError, match=message) as caught:
        arrays(x, y, name="mine", **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_thousand_classes_need_no_asking_and_more_only_where_samples_are_few():
    assert arrays(X, Y * 400).classes == 801
    assert arrays(X, Y * 100_000, classes=200_001).classes == 200_001
    many = np.arange(2000)
    assert arrays(many, many).classes == 2000


def test_masked_values_are_not_taken_for_numbers():
    masked = np.ma.masked_array([[1.0], [2.0]], mask=[[False], [True]])
    with pytest.raises(DataError, match=r"arrays: x has masked values; remove their rows, or fill them in"):
        arrays(masked, [0, 1])
    assert len(arrays(masked.filled(0.0), [0, 1])) == 2
    assert len(arrays(np.ma.masked_array([[1.0], [2.0]]), [0, 1])) == 2
