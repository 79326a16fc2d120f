"""What a pickle holds is found without running anything that it asks for, and whatever else is in it is refused."""

import os
import pickle
import subprocess
import time
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from tests.data import pickles

from chainrule.data.unpickling import unpickle
from chainrule.errors import DataError

PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 6)


def whole(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


# --- what is read


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_todays_pickles_of_containers_and_bytes_of_numpy(protocol):
    value = {
        "data": PIXELS,
        "labels": [0, 255, 65_536, -1, 2**70],
        b"bytes": b"x" * 300,
        "rest": [None, True, False, "é", "y" * 300, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, []],
    }
    found = unpickle(pickle.dumps(value, protocol), "f")
    np.testing.assert_array_equal(found.pop("data"), value.pop("data"))
    assert found == value


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_array_in_either_order_and_twice(protocol, order):
    array = np.asarray(PIXELS, order=order)
    for found in unpickle(pickle.dumps([array, array], protocol), "f"):
        np.testing.assert_array_equal(found, PIXELS)
        assert found.dtype == np.uint8


def test_the_pickles_of_python_2():
    raw = pickles.batch(PIXELS, np.array([1, 2, 3, 0]))
    theirs = pickle.loads(raw, encoding="bytes")
    ours = unpickle(raw, "f")
    np.testing.assert_array_equal(ours.pop(b"data"), theirs.pop(b"data"))
    assert ours == theirs


# --- what is refused


class Calling:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


CALLS = {
    "a command": Calling(os.system, "touch {}"),
    "another": Calling(subprocess.getoutput, "touch {}"),
    "eval": Calling(eval, "open({!r}, 'w')"),
    "exec": Calling(exec, "open({!r}, 'w')"),
    "open": Calling(open, "{}", "w"),
    "a module": Calling(__import__, "os"),
    "an attribute": Calling(getattr, "", "join"),
    "a file of NumPy": Calling(np.save, "{}", [1]),
    "memory of NumPy": Calling(np.zeros, 10**13),
    "bytes": Calling(bytearray, 10**13),
    "a class": Calling(type, "X", (), {}),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_called(name, protocol, tmp_path):
    function, arguments = CALLS[name].call
    touched = tmp_path / "touched"
    arguments = tuple(a.format(str(touched)) if isinstance(a, str) else a for a in arguments)
    raw = pickle.dumps({"data": Calling(function, *arguments)}, protocol)
    with pytest.raises(
        DataError, match=r"f: .*asks for the function '[\w.]+', that is to run code .*not open this one"
    ):
        unpickle(raw, "f")
    assert not touched.exists()


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
EMPTY = RECONSTRUCT + b"cnumpy\nndarray\n" + pickles.number(0) + b"\x85" + pickles.string(b"b") + b"\x87R"
UINT8 = b"cnumpy\ndtype\n" + pickles.string(b"u1") + pickles.number(0) + pickles.number(1) + b"\x87R"


def state(shape: bytes, dtype: bytes, content: bytes) -> bytes:
    """An array with this state."""
    return EMPTY + b"(" + pickles.number(1) + shape + dtype + b"\x89" + content + b"tb"


def sizes(*numbers: int) -> bytes:
    return b"(" + b"".join(pickles.number(n) for n in numbers) + b"t"


REFUSED = {
    "an object": (pickle.dumps(test_nothing_is_called), "asks for the function"),
    "an instance": (pickle.dumps(np.random.default_rng(0), 2), "asks for the function"),
    "objects in an array": (pickle.dumps(np.array([print], object), 2), "dtype 'O8'"),
    "another dtype": (pickle.dumps(np.zeros(3), 2), "dtype 'f8'"),
    "an array of its own class": (pickle.dumps(np.ma.masked_array(PIXELS), 2), "asks for the function"),
    "a dtype with fields": (pickle.dumps(np.dtype([("a", "u1")]), 2), "dtype 'V1'"),
    "a huge shape": (whole(state(sizes(2**31 - 1, 2**31 - 1), UINT8, pickles.string(b"x"))), "has 1 bytes"),
    "a negative size": (whole(state(sizes(-1, -1), UINT8, pickles.string(b"x"))), "positive sizes"),
    "no size": (whole(state(sizes(0, 5), UINT8, pickles.string(b""))), "positive sizes"),
    "a shape of strings": (whole(state(b"(" + pickles.string(b"a") + b"t", UINT8, pickles.string(b"x"))), "positive"),
    "no bytes": (whole(state(sizes(1), UINT8, b"N")), "a state that NumPy does not"),
    "objects in place of bytes": (whole(state(sizes(1), UINT8, b"](K\x01e")), "a state that NumPy does not"),
    "a huge array to begin with": (
        whole(RECONSTRUCT + b"cnumpy\nndarray\n" + sizes(2**31 - 1, 1000) + pickles.string(b"b") + b"\x87R"),
        "calls array in a way that NumPy does not",
    ),
    "an array of another class": (
        whole(RECONSTRUCT + b"cnumpy\ndtype\n" + sizes(0) + pickles.string(b"b") + b"\x87R"),
        "in a way that NumPy does not",
    ),
    "an array without content": (b"\x80\x02]" + EMPTY + b"a.", "no content"),
    "a function as a value": (b"\x80\x02]cnumpy\nndarray\na.", "a function or a dtype is among"),
    "a call of a string": (whole(pickles.string(b"a") + b")R"), "calls bytes"),
    "another encoding": (whole(b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R"), "calls encode"),
    "protocol 0": (pickle.dumps([1], 0), "the operation"),
    "a persistent number": (whole(b"Pid\n"), "the operation PERSID"),
    "an extension": (whole(b"\x82\x01"), "the operation EXT1"),
    "a class by its name": (b"\x80\x02(ios\nsystem\n.", "the operation INST"),
    "a new object": (whole(b"cnumpy\nndarray\n)\x81"), "the operation NEWOBJ"),
    "a tuple as a key": (whole(b"}((K\x01tK\x02u"), "a key is a tuple"),
    "a list as a key": (whole(b"}]K\x02s"), "a key is a list"),
    "a key without a value": (whole(b"}(K\x01u"), "a key has no value"),
    "items for a number": (whole(b"K\x01(K\x01e"), "on a list finds a int"),
    "entries for a list": (whole(b"]U\x01aK\x01s"), "on a dict finds a list"),
    "nothing": (b"", "expected a pickle"),
    "no end": (b"\x80\x02K\x01", "exhausted before seeing STOP"),
    "two values": (whole(b"K\x01K\x01"), "too many values"),
    "no value": (whole(b""), "not enough values"),
    "more after its end": (whole(b"K\x01") + b"abc", "followed by 3 bytes"),
    "no mark": (whole(b"t"), "pop from empty list"),
    "an empty stack": (whole(b"R"), "too few values"),
    "what is not remembered": (whole(b"h\x05"), "(5|KeyError)"),
    "nothing to remember": (whole(b"q\x05"), "list index out of range"),
    "no pickle": (b"<html>404</html>", "(opcode|operation|expected)"),
    "a short string": (whole(b"T\xff\xff\xff\x7fabc"), "remain"),
    "a huge string": (whole(b"\x8e" + b"\xff" * 7 + b"\x7fabc"), "remain"),
    "a frame beyond the end": (b"\x80\x04\x95" + b"\xff" * 7 + b"\x7fN", "exhausted before seeing STOP"),
    "a broken character": (whole(b"X\x01\x00\x00\x00\xff"), "utf-8"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    raw, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as caught:
        unpickle(raw, "some/file")
    text = str(caught.value)
    assert text.startswith("some/file: expected a pickle of plain containers and uint8 arrays, but ")
    assert "\n" not in text


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


ENCODE = b"c_codecs\nencode\n"
LAUGHS = b"]q\x00(K\x01K\x01e" + b"".join(b"](h%ch%ceq%c" % (k, k, k + 1) for k in range(40))  # 2^41 numbers, as text
DEEP = b")" + b"\x85" * 50_000
QUOTED = {
    "many laughs in a module": (whole(LAUGHS + text("a") + b"\x93"), "on a str finds a list"),
    "many laughs in a name": (whole(text("a") + LAUGHS + b"\x93"), "on a str finds a list"),
    "many laughs in a dtype": (whole(b"cnumpy\ndtype\n(" + LAUGHS + b"tR"), "calls dtype in a way that NumPy does not"),
    "a deep module": (whole(DEEP + text("a") + b"\x93"), "on a str finds a tuple"),
    "a deep dtype": (whole(b"cnumpy\ndtype\n(" + DEEP + b"tR"), "calls dtype in a way that NumPy does not"),
    "a long dtype": (whole(b"cnumpy\ndtype\n(" + text("a" * 10**6) + b"tR"), "dtype 'aaa"),
    "a long word": (b"S" + b"a" * 10**6 + b"\n.", "no string quotes around"),
    "a long number": (b"F" + b"a" * 10**6 + b"\n.", "could not convert"),
    "the same text again and again": (
        whole(text("a" * 10**6) + b"q\x01" + text("latin1") + b"q\x02" + (ENCODE + b"h\x01h\x02\x86R") * 100),
        "it makes more bytes of its texts than it has",
    ),
}


@pytest.mark.parametrize("case", QUOTED)
def test_what_is_quoted_and_made_is_short(case):
    raw, message = QUOTED[case]
    tracemalloc.start()
    with pytest.raises(DataError, match=message) as caught:
        unpickle(raw, "f")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(str(caught.value)) < 400
    assert peak < 20 * 2**20


BOMBS = {
    "a far memo": b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # Python's own machine would make a table of 2 billion
    "memory at once": b"\x80\x02\x8e" + (2**40).to_bytes(8, "little") + b"abc.",
    "deep lists": b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
    "deep tuples": b"\x80\x02)" + b"\x85" * 50_000 + b".",
    "deep tuples as a key": b"\x80\x02})" + b"\x85" * 50_000 + b"K\x01s.",
    "doubled lists": b"\x80\x02]q\x00"
    + b"".join(b"](h" + bytes([k]) * 1 + b"h" + bytes([k]) + b"eq" + bytes([k + 1]) for k in range(100))
    + b".",
    "many operations": b"\x80\x02" + b"N0" * 10**6 + b".",
    "itself": b"\x80\x02]q\x00h\x00a.",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_small_pickles_need_little_memory_and_time(bomb):
    tracemalloc.start()
    began = time.process_time()
    with suppress(DataError):
        unpickle(BOMBS[bomb], "f")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20
    assert time.process_time() - began < 20
