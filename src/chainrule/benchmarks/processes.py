"""`Worker`: a candidate in a process of its own, which does a pass when it is told to and otherwise waits.

One process each, because the idle threads of one library would slow down the next one, and because settings of a whole
process (JAX's 64 bits) are nobody else's business.
"""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.connection import Connection
from typing import Any

from chainrule.benchmarks import roster
from chainrule.benchmarks.run import UnavailableError
from chainrule.benchmarks.works import WORKS, Array, Problem
from chainrule.errors import ChainruleError


class Worker:
    """A candidate, ready for a work: its data are in memory, and a first pass has compiled what is to be compiled.

    Parameters
    ----------
    candidate : str
        Its name.
    work : str
        The work's name.
    rows : int, optional
        Take the first so many samples alone.
    shuffle : bool
        Whether each epoch draws its order.

    Attributes
    ----------
    steps : int
        In one epoch.

    Raises
    ------
    UnavailableError
        If the candidate cannot do the work here.
    """

    def __init__(self, candidate: str, work: str, rows: int | None = None, shuffle: bool = True) -> None:
        processes = multiprocessing.get_context("spawn")
        self._pipe, end = processes.Pipe()
        self._process = processes.Process(target=_serve, args=(end, candidate, work, rows, shuffle), daemon=True)
        self._process.start()
        end.close()  # so that the end of the process is the end of the pipe
        try:
            self.steps: int = self._answer()
        except BaseException:
            self.close()
            raise

    def seconds(self, epochs: int) -> float:
        """Do so many epochs; the time of one."""
        spent: float = self._answer(epochs)
        return spent / epochs

    def result(self) -> list[Array]:
        """The parameters as they are now, or the outputs of a prediction."""
        arrays: list[Array] = self._answer("result")
        return arrays

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()
        self._pipe.close()

    def _answer(self, order: int | str | None = None) -> Any:
        try:
            if order is not None:
                self._pipe.send(order)
            done, answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise UnavailableError(f"its process ended with code {self._process.exitcode}") from None
        if not done:
            raise UnavailableError(answer)
        return answer


def _serve(pipe: Connection, candidate: str, work: str, rows: int | None, shuffle: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the parent answers
    try:
        problem = Problem(WORKS[work], rows, shuffle)
        run = roster.candidate(candidate).prepare(problem)
        run.go(1)
        pipe.send((True, problem.steps))
        while True:
            order = pipe.recv()
            pipe.send((True, run.result() if order == "result" else run.seconds(order)))
    except EOFError:  # the parent is gone
        return
    except Exception as error:
        pipe.send((False, _reason(error)))


def _reason(error: Exception) -> str:
    """An error in one line: ours as they are, others' with their kind."""
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, ChainruleError) else f"{type(error).__name__}: {lines[0]}"
