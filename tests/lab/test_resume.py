"""A run that is killed and started again ends in the same bytes as one that was not, and does nothing again that
was done.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

# The real command line with a report of six jobs that take a moment and write down that they ran.
PROGRAM = """
import os, sys, time
import numpy as np
from chainrule import cli
from chainrule.lab import reports
from chainrule.lab.experiment import Experiment, Report
from chainrule.lab.figures import Curve, Panel, curves
from chainrule.lab.verdict import Judge

def train(seed):
    time.sleep(0.3)
    with open(os.environ["LOG"], "a") as log:
        log.write(f"{seed} ")
    x = np.random.default_rng(seed).normal(size=(300, 300))
    return {"loss": np.tanh(x @ x).mean(axis=1)[:5]}

def rows(results, quick):
    yield Judge("r").band("1", "loss", "0.1", [run["loss"][-1] for run in results["e"]], as_reported=True)

def figures(results, folder):
    time.sleep(float(os.environ["DRAWING"]))
    curves(folder / "r-1", "1", "epochs", [Panel("loss", [Curve("training", [r["loss"] for r in results["e"]])])])

if __name__ == "__main__":
    report = Report("r", "a report", lambda quick: [Experiment("e", train, range(6))], rows, figures, None)
    reports.KNOWN, reports.load = ("r",), lambda name: report
    sys.exit(cli.main())
"""


def start(folder: Path, out: str, workers: int, drawing: float = 0) -> subprocess.Popen[str]:
    program = folder / "program.py"
    if not program.exists():  # a process may be reading it
        program.write_text(PROGRAM, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(program), "reproduce", "r", "--out", str(folder / out), "--workers", str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"LOG": str(folder / f"{out}.log"), "DRAWING": str(drawing), "PYTHONIOENCODING": "utf-8"},
    )


def finish(folder: Path, out: str, workers: int) -> str:
    with start(folder, out, workers) as process:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        return output


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    finish(folder, "out", workers=1)
    return everything(folder / "out")


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize(
    ("stop", "workers"), [("SIGKILL", 2), ("SIGKILL", 1), ("SIGINT", 2)], ids=["kill -9", "kill -9, one", "Ctrl-C"]
)
def test_a_run_that_was_stopped_goes_on(
    stop: str, workers: int, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    with start(tmp_path, "out", workers) as process:
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "out").glob(".jobs/*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(getattr(signal, stop))
        output, errors = process.communicate(timeout=60)
    kept = len(list((tmp_path / "out").glob(".jobs/*.json")))
    assert 2 <= kept < 6
    assert not (tmp_path / "out" / "results.json").exists()
    if stop == "SIGKILL":
        assert process.returncode == -signal.SIGKILL
    else:
        assert (process.returncode, errors) == (130, "Stopped: interrupted from the keyboard.\n")
        assert f"{kept} of 6 results are kept: the same command, without --fresh, does the others." in output
    time.sleep(0.5)  # workers that were in the middle of a job end with their parent

    output = finish(tmp_path, "out", workers)
    assert f"({kept} of 6 results were there from an earlier run)" in output
    assert everything(tmp_path / "out") == uninterrupted
    ran = Counter((tmp_path / "out.log").read_text().split())
    assert set(ran) == set("012345")
    assert sum(ran.values()) <= 6 + workers  # only what was cut off ran twice


def test_two_runs_into_the_same_folder_do_not_disturb_each_other(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    with start(tmp_path, "out", 1, drawing=1) as one, start(tmp_path, "out", 1, drawing=1) as two:
        for process in (one, two):
            _, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (0, "")
    assert everything(tmp_path / "out") == uninterrupted
