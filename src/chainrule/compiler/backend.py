"""Which way a graph is computed, decided before it starts from the work alone, so that the same specification gives the
same bits whatever is in a cache; and how many threads share it.
"""

import math
import os
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

from chainrule.errors import UnknownNameError, show_notice
from chainrule.graph.graph import Equation, Graph
from chainrule.ops import dims
from chainrule.ops.convolution import Conv2d, Conv2dInput, Conv2dWeight, Convolution
from chainrule.ops.product import Matmul

BACKENDS = ("auto", "numba", "numpy", "eager")
VARIABLE = "CHAINRULE_BACKEND"
PLANNED_FROM, FUSED_FROM = 0.2, 4.0  # estimated seconds on the plan from which planning, and compiling, pay
RATE, CALL = 20e9, 2e-6  # the plan's multiplications and additions a second, and seconds for each of its calls
IMAGE_RATE = 8e9  # those of convolutions, with the copies that they take
ONE_THREAD = 1e6  # multiplications and additions of a step that one thread does sooner than two agree about


def requested(backend: str | None) -> str:
    """The backend asked for: an argument, else the environment's `CHAINRULE_BACKEND`, else "auto".

    Raises
    ------
    UnknownNameError
    """
    name = backend if backend is not None else os.environ.get(VARIABLE) or "auto"
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)
    return name


def chosen(backend: str, seconds: float) -> str:
    """What "auto" stands for where the plan would take so many seconds; others stay, if they are installed."""
    if backend == "auto":
        backend = "eager" if seconds < PLANNED_FROM else "numpy" if seconds < FUSED_FROM else "numba"
        if backend == "numba" and not installed():
            _say_what_fast_gives()
            return "numpy"
    if backend == "numba" and not installed():
        notify(
            "Numba and SciPy are not installed, so the plan computes this; `pip install chainrule[fast]` brings them."
        )
        return "numpy"
    return backend


@cache
def installed() -> bool:
    """Whether machine code can be made."""
    return find_spec("numba") is not None and find_spec("scipy") is not None


@cache
def _say_what_fast_gives() -> None:
    notify(
        "this training would take a fraction of the time as machine code: `pip install chainrule[fast]` brings Numba."
    )


def notify(text: str) -> None:
    """A notice that begins with a capital letter."""
    show_notice(f"{text[0].upper()}{text[1:]}")


def described(error: Exception) -> str:
    """What has failed, and where, as far as those have noted it that the exception came through."""
    return " ".join([f"{type(error).__name__}: {error}".rstrip(".") + ".", *getattr(error, "__notes__", [])])


def operations(graph: Graph, sizes: Mapping[str, int]) -> float:
    """How many multiplications and additions a run takes, roughly: an element of any other op counts once."""
    return sum(_operations(e, sizes) for e in graph.equations)


def _operations(e: Equation, sizes: Mapping[str, int]) -> float:
    return 2 * multiplications(e, sizes) or float(dims.evaluate(dims.size_of(e.output.shape), sizes))


def multiplications(e: Equation, sizes: Mapping[str, int]) -> float:
    """How many numbers a product of matrices or a convolution multiplies; 0 for other ops."""
    if e.op is Matmul:
        shape = (*e.output.shape, e.inputs[0].shape[-1])
    elif e.op is Conv2d:
        shape = (*e.output.shape, *e.inputs[1].shape[1:])
    elif e.op in (Conv2dInput, Conv2dWeight):
        kernels = e.output if e.op is Conv2dWeight else e.inputs[1]
        shape = (*e.inputs[0].shape, *kernels.shape[1:])
    else:
        return 0
    return float(dims.evaluate(dims.size_of(shape), sizes))


def planned_seconds(graph: Graph, sizes: Mapping[str, int], runs: int) -> float:
    """How long a plan would take for so many runs, on a machine that is everywhere the same one."""
    return runs * sum(
        CALL + _operations(e, sizes) / (IMAGE_RATE if issubclass(e.op, Convolution) else RATE) for e in graph.equations
    )


def threads(work: float) -> int:
    """How many threads share a step of so much work: at most those that BLAS may use here, and the process's cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = before_limit[-1] if before_limit else blas_threads()
    return max(1, min(cores, allowed, math.floor(work / ONE_THREAD) + (work >= ONE_THREAD)))


def blas_threads() -> int:
    """How many threads BLAS may use now."""
    return min((lib["num_threads"] for lib in _controller().info() if lib["user_api"] == "blas"), default=2**16)


# While a program runs, BLAS has one thread; here is how many it had before.
before_limit: list[int] = []


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController  # only machine code asks for threads

    return ThreadpoolController()
