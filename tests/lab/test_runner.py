"""Jobs run here or in workers, with the same results; errors and an early end stop the workers."""

import json
import multiprocessing
import os
import signal
import time
from typing import Any

import pytest
import threadpoolctl  # type: ignore[import-untyped, unused-ignore]

from chainrule.errors import ChainruleError
from chainrule.lab import reports, runner
from chainrule.lab.experiment import Experiment, Job


def job(name: str, run: Any, /, **arguments: Any) -> Job:
    return Job("a-report", name, None, run, arguments)


def failing(run: Any, /, **arguments: Any) -> list[Job]:
    return [*Experiment("fine", dict, seeds=(0,)).jobs("a-report"), job("bad", run, **arguments)]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_comes_back_with_its_own_result(workers: int) -> None:
    jobs = Experiment("e", dict, seeds=range(4), settings={"lr": 0.1}).jobs("a-report")
    finished = dict(runner.run(jobs, workers))
    assert [finished[job] for job in jobs] == [{"lr": 0.1, "seed": seed} for seed in range(4)]


def test_one_worker_is_this_process_and_keeps_the_order() -> None:
    jobs = Experiment("e", dict, seeds=(3, 1, 2)).jobs("a-report")
    assert [result["seed"] for _, result in runner.run(jobs)] == [3, 1, 2]
    pids: list[Any] = [result for _, result in runner.run([job("pid", os.getpid)], workers=4)]
    assert pids == [os.getpid()]


def test_workers_use_one_thread_each() -> None:
    jobs = [job(f"threads {i}", threadpoolctl.threadpool_info) for i in range(2)]
    found: list[Any] = [result for _, result in runner.run(jobs, workers=2)]
    assert all({library["num_threads"] for library in libraries} == {1} for libraries in found)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_job_comes_out_and_leaves_no_process_behind(workers: int) -> None:
    with pytest.raises(ChainruleError, match=r"^a-report: bad: There is no report called 'x'"):
        list(runner.run(failing(reports.load, name="x"), workers))
    with pytest.raises(json.JSONDecodeError):
        list(runner.run(failing(json.loads, s="{"), workers))
    assert multiprocessing.active_children() == []


def test_a_worker_that_dies_is_an_error_that_says_so() -> None:
    with pytest.raises(ChainruleError, match="ended without a result"):
        list(runner.run(failing(os._exit, status=3), workers=2))


def test_closing_ends_the_workers_at_once() -> None:
    started = time.perf_counter()
    running = runner.run([job("quick", dict), job("endless", signal.pause), job("next", signal.pause)], workers=2)
    next(running)
    running.close()
    assert time.perf_counter() - started < 20
    assert multiprocessing.active_children() == []
