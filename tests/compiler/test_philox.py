"""The words, numbers and masks of generated code against NumPy's generator and `DropoutMask`, bit for bit."""

import inspect

import numpy as np
import pytest

from chainrule.compiler import philox
from chainrule.ops.chance import DropoutMask

KEYS = [0, 7, -7, 2**40 + 1, 2**63 - 1, -(2**63)]


def mask_by_numpy(size, key, use, p, dtype):
    return DropoutMask.forward(np.array(key), use=use, shape=(size,), p=p, dtype=np.dtype(dtype))


def filled(fill_mask, size, first, key, use, p, dtype):
    """A row of a mask, written over numbers that a mask does not have."""
    row = np.full(size, 9, dtype)
    fill_mask(row, first, key, use, p)
    return row


@pytest.fixture(scope="module")
def compiled():
    """The file's functions, compiled from their source as the compiler does."""
    numba = pytest.importorskip("numba")
    space = {"np": np, "njit": numba.njit}
    sources = [inspect.getsource(function) for _, function in inspect.getmembers(philox, inspect.isfunction)]
    exec("\n".join('@njit(error_model="numpy", forceinline=True)\n' + source for source in sources), space)
    return space


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("use", [0, 3, -1])
def test_in_plain_python_the_words_and_numbers_are_numpys(key, use):
    seed = np.array([key, use], np.int64).view(np.uint64)
    words = np.random.Philox(key=seed).random_raw(11)
    numbers = np.random.Generator(np.random.Philox(key=seed)).random(11)
    with np.errstate(over="ignore"):
        assert [philox.philox_word(k, key, use) for k in range(11)] == words.tolist()
        assert [philox.philox_uniform(k, key, use) for k in range(11)] == numbers.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1 - 2**-53])
def test_in_plain_python_a_row_is_a_piece_of_the_mask(p, dtype):
    mask = mask_by_numpy(20, -7, 2, p, dtype)
    with np.errstate(over="ignore"):
        for first, size in [(0, 20), (1, 2), (3, 9), (6, 0), (8, 8), (5, 15)]:
            row = filled(philox.fill_mask, size, first, -7, 2, p, dtype)
            assert row.tobytes() == mask[first : first + size].tobytes()


def test_a_number_that_equals_p_is_kept():
    with np.errstate(over="ignore"):
        p = float(philox.philox_uniform(0, 5, 0))
        above = float(np.nextafter(p, 1))
        for probability, kept in [(p, True), (above, False)]:
            row = filled(philox.fill_mask, 1, 0, 5, 0, probability, np.float64)
            assert row.tobytes() == mask_by_numpy(1, 5, 0, probability, float).tobytes()
            assert bool(row[0]) is kept


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_a_row_is_a_piece_of_the_mask(compiled, dtype):
    random = np.random.default_rng(4)
    for _ in range(500):
        first, size = (int(n) for n in random.integers(0, 200, 2))
        key, use = int(random.integers(-(2**63), 2**63 - 1)), int(random.integers(-3, 30))
        p = float(random.choice([0, 0.5, random.random()]))
        row = filled(compiled["fill_mask"], size, first, key, use, p, dtype)
        assert row.tobytes() == mask_by_numpy(first + size, key, use, p, dtype)[first:].tobytes()


@pytest.mark.parametrize("key", KEYS)
def test_compiled_the_numbers_are_numpys(compiled, key):
    seed = np.array([key, 1], np.int64).view(np.uint64)
    numbers = np.random.Generator(np.random.Philox(key=seed)).random(50)
    assert [compiled["philox_uniform"](k, key, 1) for k in range(50)] == numbers.tolist()


def test_a_position_beyond_32_bits_is_reached_at_once():
    far = 2**35
    bits = np.random.Philox(key=np.array([7, 0], np.uint64)).advance(far // 4)
    with np.errstate(over="ignore"):
        assert [philox.philox_word(k, 7, 0) for k in range(far, far + 4)] == bits.random_raw(4).tolist()
