"""Confusion matrix and per-class accuracy: of outputs, of a model on a data set, and as a table."""

import numpy as np
import pytest

from chainrule import data, nn
from chainrule.errors import DataError
from chainrule.train import confusion_matrix, per_class_accuracy

LABELS = np.array([0, 0, 0, 1, 1, 2])
TAKEN_FOR = np.array([0, 0, 1, 1, 1, 0])
OUTPUTS = np.eye(4)[TAKEN_FOR] + 0.1


def test_each_sample_is_counted_where_its_class_meets_what_it_was_taken_for():
    found = confusion_matrix(OUTPUTS, LABELS)
    assert found.counts.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert found.accuracy == pytest.approx(4 / 6)


def test_the_accuracy_of_a_class_is_its_share_of_right_answers_and_nan_without_samples():
    np.testing.assert_array_equal(per_class_accuracy(OUTPUTS, LABELS), [2 / 3, 1, 0, np.nan])


def test_labels_and_one_hot_rows_give_the_same():
    assert (confusion_matrix(OUTPUTS, np.eye(4)[LABELS]).counts == confusion_matrix(OUTPUTS, LABELS).counts).all()


def test_of_sequences_every_element_is_counted():
    found = confusion_matrix(OUTPUTS.reshape(2, 3, 4), LABELS.reshape(2, 3))
    assert (found.counts == confusion_matrix(OUTPUTS, LABELS).counts).all()


def test_a_model_is_shown_a_data_set_in_evaluation_mode():
    model = nn.Sequential(nn.Dropout(0.9), nn.Linear(4, 4, bias=False, weight_init=lambda shape, rng: np.eye(4)))
    found = confusion_matrix(model, data.arrays(OUTPUTS, LABELS))
    assert (found.counts == confusion_matrix(OUTPUTS, LABELS).counts).all()
    np.testing.assert_array_equal(per_class_accuracy(model, data.arrays(OUTPUTS, LABELS)), found.per_class)
    assert model[0].training


def test_it_prints_as_a_table():
    assert repr(confusion_matrix(OUTPUTS, LABELS, ["plane", "car", "bird", "cat"])).splitlines() == [
        "true \\ taken for  plane  car  bird  cat    right",
        "plane                 2    1     0    0   66.67%",
        "car                   0    2     0    0  100.00%",
        "bird                  1    0     0    0    0.00%",
        "cat                   0    0     0    0     none",
        "all                   3    3     0    0   66.67%",
    ]


@pytest.mark.parametrize(
    ("outputs", "targets", "says"),
    [
        (OUTPUTS, LABELS[:5], r"outputs of shape \(6, 4\).*labels of shape \(6,\).*found int64 of shape \(5,\)"),
        (OUTPUTS, LABELS.astype(float), "found float64"),
        (OUTPUTS[:0], LABELS[:0], "at least one"),
        (OUTPUTS, LABELS + 2, "from 2 to 4, but there are 4 outputs"),
        (OUTPUTS, LABELS - 1, "from -1 to 1"),
        (nn.Linear(4, 4), LABELS, "a model and a Dataset"),
        (np.float64(3.0), LABELS, r"outputs of shape \(\)"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(outputs, targets, says):
    with pytest.raises(DataError, match=says):
        confusion_matrix(outputs, targets)


def test_outputs_that_are_nan_are_taken_for_no_class():
    some = OUTPUTS.copy()
    some[1, 2] = np.nan
    for outputs, said in ((some, "1 of 6"), (np.full((6, 4), np.nan), "6 of 6")):
        with pytest.raises(DataError, match=f"{said} outputs hold NaN, so they are taken for no class"):
            confusion_matrix(outputs, LABELS)
        with pytest.raises(DataError, match=said):
            per_class_accuracy(outputs, LABELS)


def test_as_many_names_as_classes():
    with pytest.raises(DataError, match="3 names were given for 4 classes"):
        confusion_matrix(OUTPUTS, LABELS, ["a", "b", "c"])
