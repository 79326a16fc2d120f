"""Small functions whose source is copied into generated modules, where Numba compiles them."""

from typing import Any

# What the generated module has from `chainrule.compiler.kernels`.
arrive: Any = None
arrived: Any = None
give_way: Any = None


def maximum(a: Any, b: Any) -> Any:
    """The larger one; NaN if one is NaN, and b if they are equal."""
    return a if a > b or a != a else b


def minimum(a: Any, b: Any) -> Any:
    """The smaller one; NaN if one is NaN, and b if they are equal."""
    return a if a < b or a != a else b


def wait(counter: Any, threads: Any) -> None:
    """Go on only when all threads have come here; one that waits for long gives its core away.

    `counter[0]` counts arrivals; `counter[1]` is set when a thread has failed, so that nobody waits for it.
    """
    if threads > 1:
        goal = (arrive(counter) // threads + 1) * threads
        spins = 0
        while arrived(counter) < goal and counter[1] == 0:
            spins += 1
            if spins > 4000:  # about 20 µs: longer than threads are apart, unless one was interrupted
                give_way()
