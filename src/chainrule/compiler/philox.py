"""Dropout in generated machine code: the bits of `DropoutMask`, each a pure function of key, use and position.

NumPy's `Philox` encrypts a counter [Salmon et al. 2011, Philox4x64-10]: under the key (key, use), block b of four words
is made of the counter b + 1. Number k of `Generator(Philox(key=[key, use])).random()` is word k % 4 of block k // 4,
its upper 53 bits divided by 2⁵³. So the rows of a mask can be made in any order, and in parallel.

As in `elementary.py`, the source of `fill_mask` and of what it calls is copied into generated modules, where it needs
`np` alone. A function should be compiled with `forceinline=True` there, all but `fill_mask`. In plain Python they run
on NumPy's scalars, which warn of the overflow that is intended here.
"""

import numpy as np

__all__ = ["fill_mask", "philox_uniform", "philox_word"]


def high_product(a: np.uint64, b: np.uint64) -> np.uint64:
    """The upper 64 of the 128 bits of a b, by the schoolbook's multiplication with digits of 32 bits.

    LLVM recognises it as the one instruction that it is on most machines.
    """
    digit, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    a0, a1, b0, b1 = a & digit, a >> shift, b & digit, b >> shift
    left, right = a1 * b0, a0 * b1
    carry = ((a0 * b0) >> shift) + (left & digit) + (right & digit)
    return a1 * b1 + (left >> shift) + (right >> shift) + (carry >> shift)


def philox_block(
    counter: np.uint64, key: np.uint64, use: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Four words from the counter (counter, 0, 0, 0) in ten rounds. [Salmon et al. 2011, section 3.3]"""
    a, b = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
    x0, x1, x2, x3 = counter, np.uint64(0), np.uint64(0), np.uint64(0)
    for _ in range(10):
        x0, x1, x2, x3 = high_product(b, x2) ^ x1 ^ key, b * x2, high_product(a, x0) ^ x3 ^ use, a * x0
        key, use = key + np.uint64(0x9E3779B97F4A7C15), use + np.uint64(0xBB67AE8584CAA73B)
    return x0, x1, x2, x3


def philox_word(k: int, key: int, use: int) -> np.uint64:
    """Word k of NumPy's `Philox(key=[key, use])`, the last of its `random_raw(k + 1)`; key and use are signed."""
    unsigned_key, unsigned_use = np.int64(key).view(np.uint64), np.int64(use).view(np.uint64)
    return philox_block(np.uint64((k >> 2) + 1), unsigned_key, unsigned_use)[k & 3]


def philox_uniform(k: int, key: int, use: int) -> np.float64:
    """Number k, in [0, 1), of NumPy's `Generator(Philox(key=[key, use])).random()`."""
    return np.float64(np.int64(philox_word(k, key, use) >> np.uint64(11))) * np.float64(2.0**-53)


def dropout_threshold(p: float) -> np.uint64:
    """The smallest word whose number is at least p, for 0 ≤ p < 1: comparing words is comparing numbers."""
    return np.uint64(np.int64(np.ceil(p * 2.0**53))) << np.uint64(11)


def fill_mask(row: np.ndarray[tuple[int], np.dtype[np.floating]], first: int, key: int, use: int, p: float) -> None:
    """Elements first, first + 1, ... of a dropout mask, as `DropoutMask` has them in the flattened array.

    Parameters
    ----------
    row
        Written: 0 or 1 / (1 - p), as many elements as it has, in its own dtype.
    first
        The position of the row's first element in the flattened mask.
    key, use
        Those of `DropoutMask`, 64-bit signed.
    p
        The probability of a zero, 0 ≤ p < 1.
    """
    threshold, kept = dropout_threshold(p), 1.0 / (1.0 - p)
    unsigned_key, unsigned_use = np.int64(key).view(np.uint64), np.int64(use).view(np.uint64)
    for block in range(first >> 2, (first + row.shape[0] + 3) >> 2):
        w0, w1, w2, w3 = philox_block(np.uint64(block + 1), unsigned_key, unsigned_use)
        start = 4 * block - first
        if start >= 0 and start + 4 <= row.shape[0]:
            row[start] = kept if w0 >= threshold else 0.0
            row[start + 1] = kept if w1 >= threshold else 0.0
            row[start + 2] = kept if w2 >= threshold else 0.0
            row[start + 3] = kept if w3 >= threshold else 0.0
        else:
            for j in range(max(0, start), min(start + 4, row.shape[0])):
                row[j] = kept if (w0, w1, w2, w3)[j - start] >= threshold else 0.0
