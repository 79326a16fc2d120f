"""`chainrule bench` from end to end, on few steps: tables, JSON, picture, page; who is left out; what is mistyped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.benchmarks import fresh, measuring, roster
from chainrule.benchmarks.bench import KNOWN, bench
from chainrule.benchmarks.processes import Worker
from chainrule.benchmarks.run import UnavailableError
from chainrule.errors import DataError, UnknownNameError

ROOT = Path(__file__).parents[2]


def command(*arguments):
    """Run `chainrule bench` in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "CHAINRULE_DEBUG"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "chainrule", "bench", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "140"},
        check=False,
    )


def test_a_quick_run_prints_and_writes_everything(tmp_path):
    pytest.importorskip("matplotlib")
    files = {name: tmp_path / f"bench.{name}" for name in ("json", "png", "md")}
    done = command(
        *("S", "m100", "predict-1", "--quick", "--rounds", "2", "--peers", "numpy,products"),
        *("--json", str(files["json"]), "--picture", str(files["png"]), "--page", str(files["md"])),
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "the times mean nothing" in done.stdout
    for part in ("S: 2-3-2", "M100: 784-64-10", "chainrule eager", "by hand, plain Python", "bare products"):
        assert part in done.stdout
    found = json.loads(files["json"].read_text("utf-8"))
    assert (found["format"], found["rounds"], found["quick"]) == (1, 2, True)
    assert {"date", "processor", "cores", "system", "versions", "products", "limits", "load"} == set(found["made"])
    assert [each["name"] for each in found["comparisons"]] == ["S", "M100", "predict-1"]
    for comparison in found["comparisons"]:
        assert set(comparison) == {"name", "title", "unit", "reference", "measured", "goals", "left_out"}
        assert comparison["reference"].startswith("chainrule")
        for each in comparison["measured"]:
            assert set(each) == {"name", "peer", "role", "median", "ratio", "values"}
            assert len(each["values"]) == 2
            assert min(each["values"]) > 0
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    page = files["md"].read_text("utf-8")
    assert "## M100: 784-64-10" in page
    assert "](bench.png)" in page


def test_the_step_is_what_is_timed_and_not_the_epoch():
    candidates = [roster.candidate("by hand, plain Python")]
    comparison = measuring.comparison("S", candidates, 1)
    assert comparison.unit == "µs a step"
    assert 1 < comparison.measured[0].median < 1000  # an epoch takes ten thousand of them


def test_who_is_not_installed_is_named_and_left_out(monkeypatch):
    monkeypatch.setattr(roster.Candidate, "installed", property(lambda self: self.needs != "torch"))
    candidates = [roster.candidate(name) for name in ("chainrule eager", "PyTorch eager")]
    comparison = measuring.comparison("S", candidates, 1, quick=True)
    assert [each.name for each in comparison.measured] == ["chainrule eager"]
    assert comparison.left_out == [("PyTorch eager", "torch is not installed")]
    assert [name for name, _ in measuring.comparison("import", candidates, 1).left_out] == ["torch"]


def test_who_fails_says_why_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path))
    with pytest.raises(UnavailableError, match="expected the files of mnist"):
        Worker("by hand, NumPy", "M100")
    with pytest.raises(UnavailableError, match="No module named 'nowhere'"):
        fresh.number("import nowhere")


def test_a_process_that_ends_is_no_riddle():
    worker = Worker("by hand, plain Python", "S", rows=3)
    worker._process.kill()
    with pytest.raises(UnavailableError, match="ended with code -9"):
        worker.seconds(1)
    worker.close()


def test_import_and_memory_and_first_steps_are_measured_in_fresh_processes():
    hand = [roster.candidate(name) for name in ("chainrule eager", "by hand, NumPy")]
    imports = measuring.comparison("import", hand, 1)
    numpy, ours = imports.measured
    assert (numpy.name, numpy.role, ours.name, ours.role) == ("numpy", "floor", "chainrule", "ours")
    assert all(0.001 < each.median < 10 for each in imports.measured)
    memory = measuring.comparison("memory", hand, 1, quick=True)
    assert [each.name for each in memory.measured] == ["chainrule eager", "by hand, NumPy"]
    assert all(20 < each.median < 2000 for each in memory.measured)
    start = measuring.comparison("start-cold", hand, 1)
    assert all(0 < each.median < 60 for each in start.measured)


def test_the_cache_is_new_for_a_cold_start_and_filled_for_a_warm_one(monkeypatch):
    seen = []

    def number(code, **environment):
        folder = Path(environment["CHAINRULE_CACHE"])
        seen.append(folder.exists())
        folder.mkdir(parents=True, exist_ok=True)
        return 1.0

    monkeypatch.setattr(fresh, "number", number)
    for name, expected in ("start-cold", [False] * 3), ("start-warm", [False, True, True]):
        seen.clear()
        measuring.comparison(name, [roster.candidate("chainrule eager")], 2)
        assert seen == expected


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["M5000"], "did you mean 'M500'"),
        (["M100", "--peers", "pytroch"], "did you mean 'pytorch'"),
        (["M100", "--json", "nowhere/at/all.json"], "there is no folder"),
    ],
)
def test_what_is_mistyped_is_said_before_anything_runs(arguments, hint):
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert hint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_round_is_no_measurement():
    with pytest.raises(DataError, match="at least 1"):
        bench(["S"], rounds=0)
    with pytest.raises(UnknownNameError):
        bench(["nothing"])


def test_every_work_has_somebody_of_ours_and_its_goals_have_peers():
    for name in KNOWN:
        if name in measuring.FRESH:
            continue
        work = measuring.WORKS[name]
        assert any(each.role == "ours" and each.does(work) for each in roster.CANDIDATES)
        for goals in (work.goals, work.eager_goals):
            for peer in goals:
                assert any(each.peer == peer and each.does(work) for each in roster.CANDIDATES)
