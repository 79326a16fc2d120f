"""Pickles as Python 2 wrote them, among them those of CIFAR-10: today's Python cannot write such ones any more."""

import numpy as np


def string(value: bytes) -> bytes:
    """A string of Python 2."""
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + len(value).to_bytes(4, "little") + value


def number(value: int) -> bytes:
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + value.to_bytes(4, "little", signed=True)


def listed(items: list[bytes]) -> bytes:
    return b"](" + b"".join(items) + b"e"


def array(pixels: np.ndarray) -> bytes:
    """An array of uint8 of two dimensions."""
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + string(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + string(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + string(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    shape = number(pixels.shape[0]) + number(pixels.shape[1]) + b"\x86"
    return made + b"(" + number(1) + shape + dtype + b"\x89" + string(pixels.tobytes()) + b"tb"


def entries(**values: bytes) -> bytes:
    """A whole pickle: a dict."""
    return b"\x80\x02}(" + b"".join(string(key.encode()) + value for key, value in values.items()) + b"u."


def batch(pixels: np.ndarray, labels: np.ndarray) -> bytes:
    """A batch of CIFAR-10's Python version."""
    return entries(
        batch_label=string(b"training batch 1 of 5"),
        labels=listed([number(int(label)) for label in labels]),
        data=array(pixels),
        filenames=listed([string(b"frog_%d.png" % k) for k in range(len(labels))]),
    )
