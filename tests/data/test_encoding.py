"""Labels and one-hot rows turn into one another, and what is neither is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.data import labels, one_hot
from chainrule.errors import DataError


@given(st.integers(1, 12).flatmap(lambda c: st.tuples(st.just(c), st.lists(st.integers(0, c - 1), max_size=20))))
def test_one_hot_and_back(drawn):
    classes, given_labels = drawn
    rows = one_hot(given_labels, classes)
    assert rows.shape == (len(given_labels), classes)
    back = labels(rows)
    assert back.dtype == np.int64
    assert back.tolist() == given_labels


@pytest.mark.parametrize("dtype", ["u1", "i8", "u8", "?"])
def test_labels_of_any_integer_type(dtype):
    np.testing.assert_array_equal(one_hot(np.array([1, 0, 1]).astype(dtype), 2), [[0, 1], [1, 0], [0, 1]])


def test_rows_are_float32_unless_another_dtype_is_asked_for():
    assert one_hot([0], 2).dtype == np.float32
    assert one_hot([0], 2, dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize(
    ("given_labels", "classes", "message"),
    [
        ([0, 3, 1, 4], 3, r"2 of 4 labels .* 3 classes 0 to 2, the first is 3 at row 1"),
        ([0, -1], 3, r"first is -1 at row 1"),
        ([0.0, 1.0], 2, r"integer labels .* float64"),
        ([[0], [1]], 2, r"shape \(2, 1\)"),
        (1, 2, r"shape \(\)"),
        ([0], 0, r"classes is 0"),
    ],
)
def test_what_are_no_labels(given_labels, classes, message):
    with pytest.raises(DataError, match=message):
        one_hot(given_labels, classes)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 1], [0, 0], [1, 1]], r"2 of 3 rows are not one-hot, the first is row 1"),
        ([[0.9, 0.1]], r"row 0.*argmax"),
        ([[np.nan, 1]], r"row 0"),
        ([[2, 0]], r"row 0"),
        ([[1, -1, 1]], r"row 0"),
        ([0, 1], r"shape \(2,\)"),
        ([["a", "b"]], r"<U1"),
    ],
)
def test_what_are_no_one_hot_rows(rows, message):
    with pytest.raises(DataError, match=message):
        labels(rows)
