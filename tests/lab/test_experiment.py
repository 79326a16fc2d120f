"""Experiments become jobs that are plain data, and their results stay the same wherever they ran."""

import math
import pickle
from typing import Any

import numpy as np
import pytest

from chainrule.errors import ChainruleError, UnknownNameError
from chainrule.lab import reports
from chainrule.lab.experiment import Experiment, Job


def job(run: Any, **arguments: Any) -> Job:
    return Job("a-report", "an experiment", None, run, arguments)


def test_an_experiment_is_one_job_a_seed() -> None:
    jobs = Experiment("minibatch", dict, seeds=(3, 1), settings={"lr": 0.1}).jobs("a-report")
    assert [str(each) for each in jobs] == ["a-report: minibatch, seed 3", "a-report: minibatch, seed 1"]
    assert [each.result() for each in jobs] == [{"lr": 0.1, "seed": 3}, {"lr": 0.1, "seed": 1}]


def test_an_experiment_without_chance_is_one_job_without_a_seed() -> None:
    (only,) = Experiment("tables", dict, settings={"digits": 7}).jobs("a-report")
    assert str(only) == "a-report: tables"
    assert only.result() == {"digits": 7}


def test_results_become_plain_data_and_keep_every_bit() -> None:
    result = job(
        dict, array=np.array([[0.1, math.inf]]), scalar=np.float32(0.1), count=np.int64(3), pair=(1, 2)
    ).result()
    assert result == {"array": [[0.1, math.inf]], "scalar": float(np.float32(0.1)), "count": 3, "pair": [1, 2]}
    assert math.isnan(job(dict, loss=math.nan).result()["loss"])


def test_a_result_that_is_no_data_is_an_error() -> None:
    with pytest.raises(TypeError, match="must be numbers, strings, lists and dictionaries, but one holds object"):
        job(dict, thing=object()).result()


def test_an_error_names_the_job() -> None:
    with pytest.raises(ChainruleError, match=r"^a-report: an experiment: There is no report called 'x'"):
        job(reports.load, name="x").result()


def test_jobs_can_be_pickled() -> None:
    copy = pickle.loads(pickle.dumps(job(dict, lr=0.1)))
    assert copy.result() == {"lr": 0.1}


def test_every_known_report_loads_under_its_name_and_its_jobs_can_be_pickled() -> None:
    for name in reports.KNOWN:
        report = reports.load(name)
        assert report.name == name
        for quick in (True, False):
            jobs = report.jobs(quick)
            names = [str(each) for each in jobs]
            assert len(set(names)) == len(names) > 0
            pickle.dumps(jobs)


def test_an_unknown_report_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'vu-a1'"):
        reports.load("vu-1")
