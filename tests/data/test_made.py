"""The synthetic data are the points that the course's generator draws."""

import numpy as np
import pytest

from chainrule.data import synthetic
from chainrule.errors import DataError


def test_the_first_version_is_drawn_with_seed_0():
    train, test = synthetic()
    x = np.random.RandomState(0).randn(70_000, 2)
    np.testing.assert_array_equal(np.concatenate([train.inputs, test.inputs]), x)
    inside = x[:, 0] ** 2 + 0.95 * x[:, 0] * x[:, 1] + 0.4 * x[:, 1] ** 2 > 0.6
    np.testing.assert_array_equal(np.concatenate([train.targets, test.targets]), inside)
    for part, n in ((train, 60_000), (test, 10_000)):
        assert (len(part), part.inputs.dtype, part.targets.dtype, part.classes) == (n, np.float64, np.int64, 2)
    np.testing.assert_array_equal(train.features(slice(3), np.float64), x[:3])


def test_the_second_version_has_another_form_and_takes_any_seed():
    _, first = synthetic(2, seed=1)
    _, second = synthetic(2, seed=2)
    assert (first.inputs != second.inputs).all()
    x, y = first.inputs.T
    np.testing.assert_array_equal(first.targets, x**2 + 1.5 * x * y + 0.2 * y**2 > 0.6)


def test_neither_class_is_rare():
    for version in (1, 2):
        share = synthetic(version)[0].targets.mean()
        assert 0.3 < share < 0.7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"version": 3}, "no version 3"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"seed": None}, "seed is None"),
        ({"version": []}, r"no version \[\]"),
    ],
)
def test_what_is_not_there(arguments, message):
    with pytest.raises(DataError, match=message):
        synthetic(**arguments)
