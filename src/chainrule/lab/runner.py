"""Runs jobs, here or in worker processes, and hands over each result as soon as it is there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from chainrule.errors import ChainruleError
from chainrule.lab.experiment import Job, Result


def run(jobs: Sequence[Job], workers: int = 1) -> Generator[tuple[Job, Result], None, None]:
    """Yield each job with its result: in order with one worker, else as they finish.

    One worker is this process. More are processes of their own, started afresh (spawn), so that a result does not
    depend on what ran before it. A job has one BLAS thread wherever it runs, so that its result has the same bits.
    Closing the iterator, or an error in a job, ends the processes at once.
    """
    if workers == 1 or len(jobs) < 2:
        yield from ((job, _on_one_thread(job)) for job in jobs)
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_worker
    )
    try:
        futures = {pool.submit(job.result): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise ChainruleError(
            "A worker process ended without a result: the system may have stopped it because memory ran out. "
            "Use fewer workers."
        ) from error
    except BaseException:
        # A training may take minutes more: whoever stops the run, or reads of its error, should not have to wait.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _on_one_thread(job: Job) -> Result:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        return job.result()


def _prepare_worker() -> None:
    """Keep a worker on one thread, so that workers do not compete for the cores, and tie its life to the parent's."""
    from threadpoolctl import threadpool_limits

    # Libraries loaded from now on read the environment; NumPy's is loaded already.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    threadpool_limits(limits=1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the parent answers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process once the parent is gone: a parent that was killed cannot say that it is over."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
