"""Damaged copies of files, and a process of its own in which a reader has to survive them.

A test writes small whole files, says in a line or two of Python what `read(path)` is, and asks::

    from tests.data.mutations import survive

    def test_a_damaged_file_is_read_right_or_refused(tmp_path):
        (tmp_path / "a.idx").write_bytes(...)
        outcome = survive("from chainrule.data import read_idx as read", [tmp_path / "a.idx"], rounds=300)
        assert outcome.refused > 100
        assert outcome.unchanged < 10

The file is changed where it lies, so that a reader of a folder can be tried too: `def read(path): return
read_folder(path.parent)`. `read` gives an array, a Dataset, or a tuple or list of such. `survive` raises an
AssertionError that says how to do it again, if a changed file

- raises anything but a DataError of one line with the file's name in it (a warning counts as raised),
- gives what is neither the original nor plausible: real numbers; in a Dataset finite, and arrays of one length,
- takes more than `memory` bytes beyond what the process had (refusing with "memory" in the message counts as that),
  or more than `seconds` of processor time,
- ends the process.

It needs Linux, and is skipped elsewhere.
"""

import json
import os
import random
import signal
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

_SIZES = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)


def mutations(content: bytes, rounds: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """So many damaged copies, each with what was done to it; the same seed gives the same ones.

    Half of the places are within 200 bytes of the beginning or the end, where formats keep what describes the rest.
    """
    rng = random.Random(seed)
    for _ in range(rounds):
        changed, done = content, []
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            what = rng.choice(list(_CHANGES))
            at = rng.choice((rng.randrange(len(changed) + 1), _near(rng, len(changed))))
            changed = _CHANGES[what](rng, changed, at)
            done.append(f"{what} at {at}")
        yield ", ".join(done), changed


def _near(rng: random.Random, length: int) -> int:
    at = rng.randrange(min(length, 200) + 1)
    return rng.choice((at, length - at))


def _flip(rng, content, at):
    return _write(content, at, bytes(b ^ 1 << rng.randrange(8) for b in content[at : at + 1]))


def _set(rng, content, at):
    return _write(content, at, bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))]))


def _size(rng, content, at):
    """A number in place of what may be a size."""
    width = rng.choice((2, 4, 8))
    return _write(content, at, (rng.choice(_SIZES) % 256**width).to_bytes(width, rng.choice(("little", "big"))))


def _delete(rng, content, at):
    return content[:at] + content[at + _length(rng) :]


def _insert(rng, content, at):
    return content[:at] + rng.randbytes(_length(rng)) + content[at:]


def _repeat(rng, content, at):
    return content[:at] + content[at : at + _length(rng)] * rng.choice((2, 2, 50)) + content[at:]


def _exchange(rng, content, at):
    n, other = _length(rng), rng.randrange(len(content) + 1)
    return _write(_write(content, at, content[other : other + n]), other, content[at : at + n])


def _blank(rng, content, at):
    return _write(content, at, bytes(_length(rng)))


def _truncate(rng, content, at):
    return content[:at]


_CHANGES = {
    "flip": _flip,
    "set": _set,
    "size": _size,
    "delete": _delete,
    "insert": _insert,
    "repeat": _repeat,
    "exchange": _exchange,
    "blank": _blank,
    "truncate": _truncate,
}


def _length(rng):
    return rng.choice((1, 1, 2, 4, 8, rng.randrange(1, 64), rng.randrange(1, 1024)))


def _write(content, at, piece):
    """The content with a piece written over it, as long as before."""
    return (content[:at] + piece + content[at + len(piece) :])[: len(content)]


@dataclass
class Outcome:
    """How many changed files were refused, read as the original, or read as something else that is plausible."""

    refused: int = 0
    unchanged: int = 0
    changed: int = 0


def survive(
    read: str,
    paths: list[Path],
    *,
    rounds: int,
    seed: int = 0,
    memory: int = 2**28,
    seconds: int = 10,
) -> Outcome:
    """Have a reader read so many damaged copies of each file, in a process of its own.

    Parameters
    ----------
    read : str
        Python code that defines `read(path)`.
    paths : list of Path
        Whole files; they are as before afterwards.
    rounds : int
        So many copies of each file.
    seed : int
    memory : int
        How many bytes of address space one file may take.
    seconds : int
        How much processor time.
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("limits of memory and processor time are Linux's here")
    task = {"read": read, "paths": [str(p) for p in paths], "rounds": rounds, "seed": seed}
    originals = {path: path.read_bytes() for path in paths}
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)]),
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", "from tests.data.mutations import child; child()"],
        input=json.dumps(task | {"memory": memory, "seconds": seconds}),
        env=environment,
        capture_output=True,
        text=True,
        timeout=3600,  # of waiting; work is limited by processor time
    )
    for path, content in originals.items():
        path.write_bytes(content)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    faults = [f"{r['file']}, round {r['round']} ({r['what']}): {r['fault']}" for r in reports if "fault" in r]
    if done.returncode:
        last = reports[-1] if reports else {}
        faults.append(f"the process ended with {done.returncode} after {last}: {done.stderr[-2000:]}")
    assert not faults, f"{len(faults)} of {len(paths) * rounds} with seed {seed}:\n" + "\n".join(faults[:20])
    counts = Counter(r["result"] for r in reports if "result" in r)
    assert sum(counts.values()) == len(paths) * rounds
    return Outcome(**counts)


def child() -> None:
    """What the process does: a line of JSON before a file is read, and another after it."""
    import resource

    task = json.load(sys.stdin)
    warnings.simplefilter("error")
    names: dict[str, object] = {}
    exec(task["read"], names)
    paths = [Path(path) for path in task["paths"]]
    originals = {path: path.read_bytes() for path in paths}
    whole = {path: _arrays(names["read"](path)) for path in paths}  # also imports what is imported late
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for path in paths:
        for number, (what, content) in enumerate(mutations(originals[path], task["rounds"], task["seed"])):
            print(json.dumps({"file": path.name, "round": number, "what": what}), flush=True)
            path.write_bytes(content)
            resource.setrlimit(resource.RLIMIT_AS, (used + task["memory"], resource.RLIM_INFINITY))
            signal.setitimer(signal.ITIMER_PROF, task["seconds"])  # its signal ends the process
            report = _judge(names["read"], path, whole[path])
            signal.setitimer(signal.ITIMER_PROF, 0)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            print(json.dumps({"file": path.name, "round": number, "what": what} | report), flush=True)
        path.write_bytes(originals[path])


def _judge(read, path, whole):
    from chainrule.errors import DataError

    try:
        result = read(path)
        found = _arrays(result)
    except DataError as error:
        message = str(error)
        if path.name not in message or "\n" in message or "memory" in message:
            return {"fault": f"refused with {message!r}"}
        return {"result": "refused"}
    except Exception as error:
        return {"fault": f"raised {type(error).__name__}: {error}"}
    if len(found) == len(whole) and all(
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(found, whole, strict=True)
    ):
        return {"result": "unchanged"}
    if any(a.dtype.kind not in "biuf" for a in found):
        return {"fault": f"read as {[a.dtype for a in found]}"}
    if hasattr(result, "inputs") and not (
        len(found[0]) == len(found[1]) > 0 and all(a.dtype.kind != "f" or np.isfinite(a).all() for a in found)
    ):
        return {"fault": f"read as numbers that cannot be trained on: {found}"}
    return {"result": "changed"}


def _arrays(result):
    """The arrays of what a reader gives; copies, since it may have left them in the file."""
    if isinstance(result, tuple | list):
        return [array for each in result for array in _arrays(each)]
    if hasattr(result, "inputs"):
        return [np.array(result.inputs), np.array(result.targets)]
    return [np.array(result)]
