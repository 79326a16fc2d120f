"""What tries the readers finds a reader that is wrong."""

import random
import sys

import pytest
from tests.data.mutations import mutations, survive

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits a process as Linux does")

WHOLE = "import numpy as np\nfrom chainrule.errors import DataError\nok = bytes(range(100))\ndef read(path):\n"
WRONG = {
    "another error": ("raise KeyError('x')", r"raised KeyError: 'x'"),
    "a warning": ("import warnings; warnings.warn('odd')", r"raised UserWarning: odd"),
    "no name of the file": ("raise DataError('The file is damaged.')", r"refused with 'The file is damaged\.'"),
    "objects": ("return np.array([None])", r"read as \['object'\]|read as \[dtype\('O'\)\]"),
    "memory": ("return np.zeros(2**30, np.uint8)", r"raised .*MemoryError"),
    "memory that is hidden": ("raise DataError(f'{path}: not enough memory.')", r"refused with .*not enough memory"),
    "a hang": ("while True: pass", r"the process ended with -27"),
    "a crash": ("import os; os.abort()", r"the process ended with -6"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_reader_is_found(case, tmp_path):
    code, message = WRONG[case]
    (tmp_path / "a.bin").write_bytes(bytes(range(100)))
    read = f"{WHOLE}    if path.read_bytes() == ok: return np.zeros(2)\n    {code}\n"
    with pytest.raises(AssertionError, match=message):
        survive(read, [tmp_path / "a.bin"], rounds=2, seconds=1)
    assert (tmp_path / "a.bin").read_bytes() == bytes(range(100))


def test_a_data_set_with_nan_is_not_plausible(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(100)))
    nan = "float('nan') if path.read_bytes() != ok else 0.0"
    read = f"{WHOLE}    from chainrule.data import Dataset\n    return Dataset([[{nan}]], [0])\n"
    with pytest.raises(AssertionError, match="cannot be trained on"):
        survive(read, [tmp_path / "a.bin"], rounds=1)


def test_what_was_refused_and_what_was_read_is_counted(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(100)))
    refuse = "    if path.stat().st_size != 100: raise DataError(f'{path}: damaged.')\n"
    read = f"{WHOLE}{refuse}    return np.frombuffer(path.read_bytes()[50:], np.uint8)\n"
    outcome = survive(read, [tmp_path / "a.bin"], rounds=200)
    assert outcome.refused + outcome.unchanged + outcome.changed == 200
    assert min(outcome.refused, outcome.unchanged, outcome.changed) > 20


def test_the_same_seed_gives_the_same_copies_and_all_kinds_of_change():
    content = random.Random(0).randbytes(3000)
    copies = list(mutations(content, 300))
    assert copies == list(mutations(content, 300)) != list(mutations(content, 300, seed=1))
    kinds = {word for what, _ in copies for word in what.replace(",", "").split() if word.isalpha()} - {"at"}
    assert kinds == {"flip", "set", "size", "delete", "insert", "repeat", "exchange", "blank", "truncate"}
    assert sum(changed != content for _, changed in copies) > 280
    assert len(list(mutations(b"", 50))) == 50
