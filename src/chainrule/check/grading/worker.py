"""The submission's end of the pipe, run in a process of its own by `Isolated`: it loads a file and calls its functions.

And what both ends share: messages, which are JSON and the bytes of arrays, so that nothing in them is executed; and how
an exception in somebody's code is said.
"""

import ast
import importlib.util
import inspect
import json
import math
import os
import re
import struct
import sys
import sysconfig
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from chainrule.check.derivatives.reading import returned_names
from chainrule.errors import is_ours

SIZES = struct.Struct("<QQ")
HEAD = 2**25  # bytes of JSON: a million numbers, should somebody return lists of them
DTYPE = re.compile(r"[<>|=][biufc]\d+")


@dataclass(frozen=True)
class CacheOf:
    """The cache of one of the submission's own functions: it is made, and stays, in the submission's process."""

    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Other:
    """Something that is neither a number nor an array nor a container of them; only its type is sent."""

    type: str


# ---- what is sent ----------------------------------------------------------------------------------------------------


def pack(message: Any) -> bytes:
    """A message as bytes: two lengths, JSON, the arrays one after the other."""
    arrays: list[bytes] = []
    head = json.dumps(_tagged(message, arrays)).encode()
    body = b"".join(arrays)
    return SIZES.pack(len(head), len(body)) + head + body


def unpack(stream: IO[bytes], most: int = 2**40) -> Any:
    """The next message of a stream; `EOFError` if it has ended, `ValueError` if it is none."""
    head, body = SIZES.unpack(_exactly(stream, SIZES.size))
    if head > HEAD or head + body > most:
        raise ValueError(f"the answer has {(head + body) / 2**20:.0f} MB")
    tagged = json.loads(_exactly(stream, head))
    return _untagged(tagged, memoryview(_exactly(stream, body)), [0])


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _tagged(x: Any, arrays: list[bytes]) -> Any:
    if isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "biufc":
        arrays.append(np.asarray(x, order="C").tobytes())
        return ["array", x.dtype.str, list(x.shape), isinstance(x, np.generic)]
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    if isinstance(x, CacheOf):
        return ["cache", x.function, [_tagged(each, arrays) for each in x.arguments]]
    if hasattr(x, "_asdict"):
        x = x._asdict()
    if isinstance(x, dict):
        return ["dict", [[str(key), _tagged(value, arrays)] for key, value in x.items()]]
    if isinstance(x, (tuple, list)):
        return ["tuple" if isinstance(x, tuple) else "list", [_tagged(each, arrays) for each in x]]
    if hasattr(x, "__array__") and not isinstance(x, (np.ndarray, np.generic)):
        return _tagged(np.asarray(x), arrays)
    return ["other", kind_of(x)]


def _untagged(x: Any, body: memoryview, at: list[int]) -> Any:
    if not isinstance(x, list):
        return x
    kind, *rest = x
    if kind == "array":
        dtype, shape, single = rest
        if not DTYPE.fullmatch(dtype) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise ValueError(f"an array of {dtype} and the shape {shape}")
        size = np.dtype(dtype).itemsize * math.prod(shape)
        array = np.frombuffer(body[at[0] : at[0] + size], dtype).reshape(shape).copy()
        at[0] += size
        return array[()] if single else array
    if kind == "dict":
        return {key: _untagged(value, body, at) for key, value in rest[0]}
    if kind == "cache":
        return CacheOf(rest[0], tuple(_untagged(each, body, at) for each in rest[1]))
    if kind == "other":
        return Other(rest[0])
    if kind not in ("tuple", "list"):
        raise ValueError(f"no such thing as {kind}")
    items = [_untagged(each, body, at) for each in rest[0]]
    return tuple(items) if kind == "tuple" else items


def kind_of(x: Any) -> str:
    """What a thing is called in a sentence: "a str", "an array of object"."""
    if isinstance(x, np.ndarray):
        return f"an array of {x.dtype.name}"
    name = type(x).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


# ---- what is said about somebody's exception -------------------------------------------------------------------------


def raised(error: BaseException) -> str:
    """`raised ValueError: no (net.py, line 12)`: an exception in somebody's code, with their innermost line."""
    if isinstance(error, SystemExit):
        what = "called sys.exit"
    elif isinstance(error, SyntaxError):
        return f"is no Python: {error.msg} ({os.path.basename(error.filename or '')}, line {error.lineno})"
    else:
        try:
            text = f": {error}" if str(error) else ""
        except Exception:  # somebody's own exception, whose __str__ fails as well
            text = ""
        what = f"raised {type(error).__name__}{text}"
    line = line_of(error)
    return f"{what} ({line})" if line else what


def line_of(error: BaseException) -> str:
    """`net.py, line 12`: the innermost line that is neither chainrule's, NumPy's nor Python's own; "" for none."""
    return _innermost(error)[1]


def function_of(error: BaseException) -> str:
    """The name of the function in which that line stands."""
    return _innermost(error)[0]


def _innermost(error: BaseException) -> tuple[str, str]:
    libraries = tuple(sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    found, traceback = ("", ""), error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not is_ours(code.co_filename) and not code.co_filename.startswith(("<", *libraries)):
            found = code.co_name, f"{os.path.basename(code.co_filename)}, line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found


def printable(text: str, most: int = 400) -> str:
    """Somebody's words on one line of a terminal, without characters that would control it."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    line = " ".join(words)
    return line if len(line) <= most else line[:most] + " ..."


# ---- the end that answers --------------------------------------------------------------------------------------------


class _Answers:
    """The submission's process: it loads a file, says what its functions are like, and calls them."""

    module: Any = None
    memory = 0

    def to(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answer to a message, whatever the submission does."""
        try:
            if "load" in message:
                return self._load(message)
            if "describe" in message:
                return self._describe(message["describe"])
            return self._call(message["call"], message["arguments"], message["named"])
        except MemoryError:
            return {"failed": f"it needed more than {self.memory} MB of memory."}
        except RecursionError as error:
            return {"failed": f"it calls itself without end, or returned something that holds itself ({error})."}
        except BaseException as error:
            what = message.get("call") or "it"
            return {"failed": f"{what} {raised(error)}."}

    def _load(self, message: dict[str, Any]) -> dict[str, Any]:
        self.memory = message["memory"]
        limited = _limit(message["seconds"], message["memory"] * 2**20)
        file = Path(message["load"])
        sys.path.insert(0, os.getcwd())
        spec = importlib.util.spec_from_file_location(file.stem, file)
        if spec is None or spec.loader is None:
            return {"failed": f"{file.name} is no Python file."}
        self.module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        return {"limited": limited}

    def _describe(self, names: list[str]) -> dict[str, Any]:
        for name in names:
            if callable(f := getattr(self.module, name, None)):
                return {"function": name, "parameters": _parameters(f), "returns": _returns(f)}
        own = [
            n for n, f in vars(self.module).items() if inspect.isfunction(f) and f.__module__ == self.module.__name__
        ]
        return {"known": own[:20]}

    def _call(self, name: str, arguments: Any, named: Any) -> dict[str, Any]:
        arguments = tuple(self._cache(each) for each in arguments)
        named = {key: self._cache(each) for key, each in named.items()}
        before = pack((arguments, named))
        with np.errstate(all="ignore"):
            result = getattr(self.module, name)(*arguments, **named)
        changed = (arguments, named) if pack((arguments, named)) != before else None
        return {"result": result, "changed": changed}

    def _cache(self, x: Any) -> Any:
        """The cache that was asked for, made by the submission's own forward pass."""
        if not isinstance(x, CacheOf):
            return x
        result = getattr(self.module, x.function)(*x.arguments)
        if not isinstance(result, (tuple, list)) or len(result) < 2:
            raise TypeError(f"{x.function} returned no cache beside its result")
        return result[1] if len(result) == 2 else tuple(result[1:])


def _parameters(f: Callable[..., Any]) -> list[Any]:
    """The parameters of a function: name, kind, whether there is a default, and the default if it is a number."""
    found = []
    for p in inspect.signature(f).parameters.values():
        given = p.default if isinstance(p.default, (bool, int, float, str)) else None
        found.append([p.name, p.kind.name, p.default is not p.empty, given])
    return [tuple(each) for each in found]


def _returns(f: Callable[..., Any]) -> list[str]:
    """The names of a function's last `return a, b, c`, if it has such a line."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(f)))
    except (OSError, TypeError, SyntaxError):
        return []
    counts = [len(n.value.elts) for n in ast.walk(tree) if isinstance(n, ast.Return) and isinstance(n.value, ast.Tuple)]
    return returned_names(f, counts[-1]) if counts else []


def _limit(seconds: float, memory: int) -> bool:
    """Take the limits on; returns whether that of memory is one here. Windows has none, macOS not this one."""
    try:
        import resource
    except ImportError:
        return False
    taken = []
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    limits = {"RLIMIT_CPU": allowed, "RLIMIT_AS": memory, "RLIMIT_FSIZE": memory, "RLIMIT_CORE": 0}
    for name, value in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, max(hard - 1, 0))
        try:
            resource.setrlimit(kind, (value, value + (name == "RLIMIT_CPU")))  # at the second one it is killed
        except (ValueError, OSError):  # a system that has the name and not the limit
            continue
        taken.append(name)
    return "RLIMIT_AS" in taken


def _main() -> None:
    """Answer until nobody asks any more. What the submission prints goes nowhere: the pipes are the grader's."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    submission = _Answers()
    reply: dict[str, Any] = {}
    while True:
        try:
            packed = pack(reply)
        except (RecursionError, MemoryError, ValueError):
            packed = pack({"failed": "it returned something that is too large, or that holds itself."})
        answers.write(packed)
        answers.flush()
        try:
            message = unpack(requests)
        except EOFError:
            return
        reply = submission.to(message)


if __name__ == "__main__":
    _main()
