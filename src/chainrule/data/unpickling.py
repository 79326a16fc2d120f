"""Pickles of plain containers and NumPy's bytes, read without running anything that they ask for.

A pickle is a program for a stack machine, and Python's own machine calls whatever function the program names. The one
here knows lists, tuples, dicts, numbers and strings, and the few calls by which NumPy's pickles describe an array of
uint8; it makes such an array itself, after its sizes have been compared with its bytes, and refuses all else.
"""

import math
import pickletools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError

_MOST_OPERATIONS = 1 << 20  # a batch of CIFAR-10 has about 60,000
_LONGEST_TEXT, _LONGEST_WORD = 100, 40  # characters that a message quotes

# What NumPy's pickles call, in its first version and its second, from Python 2 and 3; what each is called here.
_ADMITTED = {
    "numpy.core.multiarray _reconstruct": "array",
    "numpy._core.multiarray _reconstruct": "array",
    "numpy.core.numeric _frombuffer": "buffer",
    "numpy._core.numeric _frombuffer": "buffer",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
}


@dataclass(frozen=True)
class _Name:
    """A function that the pickle names; it is never called."""

    is_: str


class _Bytes:
    """The dtype uint8."""


class _Array:
    """An array that is described but not made yet."""

    value: "np.ndarray[Any, Any] | None" = None


def unpickle(raw: bytes, where: str) -> Any:
    """What a pickle of protocol 2 to 5 holds.

    Parameters
    ----------
    raw : bytes
        The whole file.
    where : str
        Its name, with which errors begin.

    Returns
    -------
    dict, list, tuple, int, bool, None, str, bytes, or ndarray of uint8
        Strings of Python 2 are bytes.

    Raises
    ------
    DataError
        If the pickle is damaged, or asks for anything but these.
    """
    machine = _Machine(len(raw))
    at = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in strings of protocol 0, which are refused in any case
            for number, (operation, argument, position) in enumerate(pickletools.genops(raw)):
                at = position or 0
                if number >= _MOST_OPERATIONS:
                    raise _RefusalError(f"it has more than {_MOST_OPERATIONS:,} operations")
                machine.do(operation.name, argument)
        if at + 1 != len(raw):
            raise _RefusalError(f"its end is followed by {len(raw) - at - 1:,} bytes")
        (result,) = machine.stack
        return _made(result)
    except _RefusalError as refusal:
        what = str(refusal)
    except (LookupError, ValueError) as error:  # an empty stack, a broken string: whatever the parser says
        what = str(error).partition("\n")[0][:_LONGEST_TEXT] or type(error).__name__
    raise DataError(
        f"{where}: expected a pickle of plain containers and uint8 arrays, but {what} (byte {at:,} of {len(raw):,}); "
        "this is not the published file: get it again, and do not open this one with pickle."
    )


def shown(value: Any) -> str:
    """A pickled value in a message: a list may hold itself or a billion others, and a number have a million digits."""
    if isinstance(value, str | bytes):
        return repr(value[:_LONGEST_WORD])
    if value is None or (isinstance(value, int) and value.bit_length() < 100):  # also True and False
        return repr(str(value))
    return f"of type {type(value).__name__.lstrip('_')}"


class _RefusalError(Exception):
    """Why the pickle is not read."""


class _Machine:
    """The stack, and what each operation does with it."""

    def __init__(self, budget: int) -> None:
        self.budget = budget  # characters that may become bytes: each of them is in the file once
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def do(self, operation: str, argument: Any) -> None:
        stack = self.stack
        match operation:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self.marks.append(len(stack))
            case "POP":
                stack.pop()
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8":
                stack.append(argument)
            case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8" | "BYTEARRAY8":
                stack.append(bytes(argument))
            case "BINSTRING" | "SHORT_BINSTRING":
                stack.append(argument.encode("latin-1"))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[operation])
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL" | "STACK_GLOBAL":
                stack.append(_named(argument or " ".join(_of(str, name) for name in self._popped(2))))
            case "REDUCE":
                stack.append(self._called(*self._popped(2)))
            case "BUILD":
                _build(*self._popped(2, keep=1))
            case _:
                self._contain(operation)

    def _contain(self, operation: str) -> None:
        """Operations on lists, tuples and dicts."""
        stack = self.stack
        match operation:
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE":
                stack.append({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[operation]())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._popped(int(operation[-1]))))
            case "TUPLE":
                stack.append(tuple(self._marked()))
            case "APPEND" | "APPENDS":
                items = self._marked() if operation == "APPENDS" else self._popped(1)
                _of(list, stack[-1]).extend(map(_made, items))
            case "SETITEM" | "SETITEMS":
                items = self._marked() if operation == "SETITEMS" else self._popped(2)
                _set(_of(dict, stack[-1]), items)
            case _:
                raise _RefusalError(f"it has the operation {operation}, which such a pickle does not need")

    def _called(self, function: Any, arguments: Any) -> Any:
        """What one of the admitted functions would return."""
        match function, arguments:
            case _Name("encode"), (str() as text, "latin1" | "latin-1" | b"latin1"):
                self.budget -= len(text)
                if self.budget < 0:
                    raise _RefusalError("it makes more bytes of its texts than it has")
                return text.encode("latin-1")
            case _Name("dtype"), ("u1" | b"u1", *_):
                return _Bytes()
            case _Name("dtype"), (str() | bytes() as code, *_):
                raise _RefusalError(f"an array has the dtype {shown(code)}, not uint8")
            case _Name("array"), (_Name("ndarray"), (0,), b"b" | "b"):
                return _Array()
            case _Name("buffer"), (bytes() as raw, _Bytes(), tuple() as shape, "C" | "F" as order):
                array = _Array()
                array.value = _reshaped(raw, shape, order)
                return array
        what = function.is_ if isinstance(function, _Name) else type(function).__name__
        raise _RefusalError(f"it calls {what} in a way that NumPy does not")

    def _popped(self, count: int, keep: int = 0) -> list[Any]:
        """The topmost values, of which the lowest `keep` stay on the stack."""
        if len(self.stack) < count:
            raise _RefusalError("an operation finds too few values")
        values = self.stack[-count:]
        del self.stack[len(self.stack) - count + keep :]
        return values

    def _marked(self) -> list[Any]:
        """The values above the last mark, which goes with them."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise _RefusalError(f"an operation on a {kind.__name__} finds a {type(value).__name__.lstrip('_')}")
    return value


def _set(into: dict[Any, Any], items: list[Any]) -> None:
    if len(items) % 2:
        raise _RefusalError("a key has no value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | bytes):  # the hash of deeply nested tuples would overflow the stack
            raise _RefusalError(f"a key is a {type(key).__name__.lstrip('_')}, not a string")
        into[key] = _made(value)


def _named(name: str) -> _Name:
    if name not in _ADMITTED:
        raise _RefusalError(f"it asks for the function {'.'.join(name.split())[:80]!r}, that is to run code")
    return _Name(_ADMITTED[name])


def _build(target: Any, state: Any) -> None:
    """The state that NumPy gives an array, or a dtype: of uint8 it says nothing new."""
    match target, state:
        case _Array(), (1, tuple() as shape, _Bytes(), bool() | 0 | 1 as by_columns, bytes() as raw):
            target.value = _reshaped(raw, shape, "F" if by_columns else "C")
        case _Bytes(), tuple():
            pass
        case _:
            raise _RefusalError(f"it gives a {type(target).__name__.lstrip('_')} a state that NumPy does not")


def _reshaped(raw: bytes, shape: tuple[Any, ...], order: Any) -> "np.ndarray[Any, Any]":
    if not all(type(n) is int and n > 0 for n in shape) or len(shape) > 32:
        raise _RefusalError("the shape of an array is no tuple of positive sizes")
    if math.prod(shape) != len(raw):
        raise _RefusalError(f"an array of shape {str(shape)[:80]} has {len(raw):,} bytes")
    return np.frombuffer(raw, np.uint8).reshape(shape, order=order)


def _made(value: Any) -> Any:
    """An array in place of its description."""
    if isinstance(value, _Array):
        if value.value is None:
            raise _RefusalError("an array has no content")
        return value.value
    if isinstance(value, _Name | _Bytes):
        raise _RefusalError("a function or a dtype is among its values")
    return value
