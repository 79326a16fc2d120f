"""Lists of non-zero elements: right for any rows, in any memory, and made anew without asking for more of it."""

import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compiler.trainings import compare, digits, network, trained

from chainrule import data, nn

pytest.importorskip("numba")

from chainrule.compiler import kernels
from chainrule.compiler.fusion import nonzeros

PORTABLE = "any processor"


@pytest.fixture(params=["this processor", PORTABLE], scope="module")
def processor(request):
    """Lists are made as this processor can, and as any can."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == PORTABLE:
            patch.setattr(kernels, "compresses", lambda: False)
        yield request.param


def part_of(found, i, p):
    place = slice(found.cuts[i, p], found.cuts[i, p + 1])
    return found.columns[place].tolist(), found.values[place].tolist()


def check(inputs, rows, parts, room=None):
    """Compare lists with np.nonzero, part by part; the lists."""
    found = nonzeros.listed(inputs, rows, np.dtype(np.float32), parts, room)
    lines = -(-inputs.shape[1] // 16)
    ends = [min(inputs.shape[1], 16 * (lines * p // parts)) for p in range(parts + 1)]
    for i, row in enumerate(inputs[rows]):
        for p in range(parts):
            columns = ends[p] + np.flatnonzero(row[ends[p] : ends[p + 1]])
            assert part_of(found, i, p) == (columns.tolist(), row[columns].tolist())
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(32, 200),
    st.integers(0, 30),
    st.integers(1, 3),
    st.sampled_from([np.uint8, np.float32, np.float64, np.int16]),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_lists_are_those_of_numpy(processor, width, count, parts, dtype, share, seed):
    rng = np.random.default_rng(seed)
    inputs = rng.integers(1, 256, (20, width)).astype(dtype)
    inputs[rng.random(inputs.shape) >= share] = 0
    rows = rng.integers(0, 20, count)
    for kept in (inputs, np.asfortranarray(inputs)):
        room = check(kept, rows, parts)
        again = check(kept, rows[: count // 2], parts, room)
        assert again.columns is room.columns
        assert again.values is room.values


def test_nothing_is_read_beyond_the_last_row(processor, tmp_path):
    """The file ends at the end of a page: who reads on is killed."""
    inputs = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=(16, 16380))
    inputs[:, ::5] = 7
    inputs.flush()
    pages = np.memmap(tmp_path / "x.npy", np.uint8, mode="r", offset=inputs.offset, shape=(15, 4096))
    check(pages, np.arange(15)[::-1], 2)


def test_more_columns_than_sixteen_bits_count(processor):
    inputs = np.zeros((3, 2**16 + 8), np.uint8)
    inputs[:, [0, 2**16 - 1, 2**16, 2**16 + 7]] = 3
    check(inputs, np.arange(3), 2)


# ---- data larger than memory -----------------------------------------------------------------------------------------


def anonymous():
    """MiB of memory of this process that no file stands behind."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


class Watch(threading.Thread):
    """Looks at the memory until it is told to stop; `most` is the most that it has seen."""

    def __enter__(self):
        self.most, self.going = anonymous(), True
        self.start()
        return self

    def run(self):
        while self.going:
            self.most = max(self.most, anonymous())
            time.sleep(0.002)

    def __exit__(self, *_):
        self.going = False
        self.join()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says how much memory no file stands behind")
def test_a_mapped_file_is_trained_from_as_memory_is_and_stays_a_file(tmp_path, monkeypatch):
    from chainrule.train import fused

    monkeypatch.setattr(fused, "LISTED", 2**24)
    monkeypatch.setattr(fused, "CHUNK", 2**12)
    few = digits(2**12, 1024)
    inputs = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=(2**16, 1024))
    for start in range(0, 2**16, 2**12):
        inputs[start : start + 2**12] = few.inputs
    inputs.flush()
    del inputs
    mapped = data.Dataset(
        np.load(tmp_path / "x.npy", mmap_mode="r"), np.tile(few.targets, 16), scale=1 / 255, classes=4
    )
    make = lambda: network([1024, 16, 4], nn.ReLU, "float32")  # noqa: E731
    options = {"batch_size": 100, "epochs": 1}
    trained("numba", make, mapped.subset(slice(0, 2**15)), **options)  # compiled, loaded, allocated
    before = anonymous()
    with Watch() as watch:
        found = trained("numba", make, mapped, **options)
    assert found.backend == "numba"
    assert watch.most - before < 32
    monkeypatch.undo()
    whole = data.Dataset(np.array(mapped.inputs), mapped.targets, scale=1 / 255, classes=4)
    compare(found, trained("numba", make, whole, **options), few, 0)
