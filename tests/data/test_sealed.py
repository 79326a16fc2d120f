"""A sealed test set opens once, when it may, and shows nothing before."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest

from chainrule.data import Dataset, DataSplits, SealedDataset
from chainrule.errors import SealedError


@pytest.fixture
def data():
    return Dataset(np.arange(5.0), np.arange(5), name="mnist test")


def test_it_opens_once_and_says_where_it_was_opened(data):
    sealed = SealedDataset(data)
    assert sealed.open() is data
    with pytest.raises(
        SealedError, match=r"'mnist test' has been opened already, at test_sealed.py, line \d+: .*[Kk]eep"
    ):
        sealed.open()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda splits: replace(splits, validation=None)])
def test_a_copy_has_the_same_seal(copied, data):
    splits = DataSplits(data, data, SealedDataset(data))
    others = [copied(splits), copied(splits)]
    others[0].test.open()
    for each in (splits, others[1]):
        with pytest.raises(SealedError, match="opened already"):
            each.test.open()


def test_a_pickle_of_an_opened_or_locked_one_stays_shut(data):
    opened = SealedDataset(data)
    opened.open()
    for sealed, says in ((opened, "opened already"), (SealedDataset(data, "no."), "is sealed: no")):
        with pytest.raises(SealedError, match=says):
            pickle.loads(pickle.dumps(sealed)).open()


def test_a_locked_one_says_why_and_stays_closed(data):
    sealed = SealedDataset(data, "load the data with final=True.")
    for _ in range(2):
        with pytest.raises(SealedError, match=r"'mnist test' is sealed: load the data with final=True\."):
            sealed.open()


def test_its_length_and_its_state_can_be_read(data):
    sealed = SealedDataset(data)
    assert len(sealed) == 5
    assert repr(sealed) == "SealedDataset('mnist test': 5 samples, not opened yet)"
    sealed.open()
    assert "opened at test_sealed.py, line " in repr(sealed)
    assert repr(SealedDataset(data, "no.")) == "SealedDataset('mnist test': 5 samples, sealed)"


def test_nothing_else_leaks(data):
    sealed = SealedDataset(data)
    assert [name for name in dir(sealed) if not name.startswith("_")] == ["open"]
    assert not hasattr(sealed, "__dict__")
    with pytest.raises(TypeError):
        iter(sealed)
