"""What only a fresh process can tell: the time to the first step, the memory that a training takes, the time to import.

The functions here either start such processes or run inside one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from chainrule.benchmarks import roster
from chainrule.benchmarks.run import UnavailableError
from chainrule.benchmarks.works import WORKS, Problem
from chainrule.data import Dataset

WORK = "M100"
IMPORT = "import time; begin = time.perf_counter(); import {module}; print(time.perf_counter() - begin)"
# NumPy comes first, since the arrays are given.
FIRST_STEP = (
    "import time, numpy; begin = time.perf_counter(); "
    "from chainrule.benchmarks import fresh; fresh.first_step({name!r}, begin)"
)
PEAK_MEMORY = "from chainrule.benchmarks import fresh; fresh.peak_memory({name!r}, {rows})"


def number(code: str, **environment: str) -> float:
    """Run code in a process of its own; the number that it prints last.

    Raises
    ------
    UnavailableError
        If it fails; the message is the last line of what it complains.
    """
    # With caches of bytecode for all: pip has made those of others; the first import makes ours, if it may.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=inherited | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        complaint = done.stderr.strip().splitlines() or [f"its process ended with code {done.returncode}"]
        raise UnavailableError(complaint[-1].removeprefix("chainrule.benchmarks.run.UnavailableError: "))
    return float(done.stdout.split()[-1])


def first_step(name: str, begin: float) -> None:
    """Print the seconds from before the import of the library to the end of the first steps, in this process.

    Two batches are given, so that there is an order to draw. `begin` is when our own imports began; for a peer, to whom
    they are foreign, the time begins after them.
    """
    work, rng = WORKS[WORK], np.random.default_rng(0)
    x, t = rng.random((2 * work.batch, work.layers[0]), np.float32), rng.integers(0, 10, 2 * work.batch)
    problem, candidate = Problem(work, data=Dataset(x, t, classes=10)), roster.candidate(name)
    if candidate.role != "ours":
        begin = time.perf_counter()
    candidate.prepare(problem).go(1)
    print(time.perf_counter() - begin)


def peak_memory(name: str, rows: int | None) -> None:
    """Print the most memory that this process has held, in MB, after an epoch."""
    roster.candidate(name).prepare(Problem(WORKS[WORK], rows)).go(1)
    print(_peak() / 1e6)


def _peak() -> int:
    """In bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would not do here: Linux hands a process the peak of the one that it was started from.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        raise UnavailableError("this system does not tell how much memory a process has held") from None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
