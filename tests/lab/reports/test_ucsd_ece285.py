"""ucsd-ece285: what needs no training."""

import pytest

from chainrule.lab.reports import ucsd_ece285
from chainrule.lab.verdict import as_printed


def test_image_42_has_the_labels_of_the_report() -> None:
    result = ucsd_ece285.image_42()
    assert {name: each["label"] for name, each in result.items()} == {"training": 7, "test": 4}
    assert all(each["pixels"].shape == (28, 28) for each in result.values())


@pytest.mark.parametrize(
    "name", [name for name, value in vars(ucsd_ece285).items() if isinstance(value, dict) and name.isupper()]
)
def test_the_printed_numbers_are_numbers(name: str) -> None:
    for printed in getattr(ucsd_ece285, name).values():
        as_printed(printed)
