"""`reproduce`: what it writes, what it prints, and that nothing half written stays behind when it fails."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chainrule.errors import ChainruleError, DataError, UnknownNameError
from chainrule.lab import reports
from chainrule.lab.experiment import Experiment, Report, Results
from chainrule.lab.figures import images
from chainrule.lab.reproduce import reproduce
from chainrule.lab.verdict import Judge, Row

Make = Callable[..., None]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Register a report of one experiment over two seeds, in place of the real ones."""
    known: dict[str, Report] = {}
    monkeypatch.setattr(reports, "KNOWN", known)
    monkeypatch.setattr(reports, "load", lambda name: known[name])

    def add(
        name: str = "r",
        run: Any = dict,
        values: tuple[float, ...] = (1.0, 1.1),
        label: str = "7",
        seeds: tuple[int, ...] = (5, 3),
        settings: Any = None,
    ) -> None:
        judge = Judge(name)

        def rows(results: Results, quick: bool) -> Iterator[Row]:
            first = [result.get("seed", "?") for result in results["e"]]
            yield judge.band("1", f"loss of seeds {first}", "1.0", values, as_reported=not quick, unit="nats")
            yield judge.exact("2", "label", label, 7)

        def draw(results: Results, folder: Path) -> None:
            images(folder / f"{name}-1", "a figure", {"black": [[0, 0], [0, 0]]})

        experiments = [Experiment("e", run, seeds, settings or {})]
        known[name] = Report(name, "a report", lambda quick: experiments, rows, draw, no_network)

    return add


def no_network() -> Any:
    raise AssertionError("to compare needs no network")


def interrupted(seed: int) -> dict[str, Any]:
    raise KeyboardInterrupt


def broken(seed: int) -> dict[str, Any]:
    raise DataError("The file is damaged.")


def files(folder: Path) -> set[str]:
    """What people read; the kept results of jobs are not among it."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(".jobs/")}


def test_results_and_figures_are_written_and_the_table_is_printed(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    assert reproduce(["r"], quick=False, out=tmp_path / "deep" / "out") == 0
    out = tmp_path / "deep" / "out"
    assert files(out) == {"index.html", "results.json", "figures/r-1.png", "figures/r-1.pdf"}
    first, second = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert list(first) == ["report", "id", "quantity", "unit", "reported", "ours", "spread", "n", "verdict", "why"]
    assert (first["quantity"], first["verdict"], first["n"]) == ("loss of seeds [5, 3]", "in band", 2)
    assert (second["verdict"], second["spread"]) == ("exact", None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/2] r: e, seed 5 (")
    assert lines[1].startswith("[2/2] r: e, seed 3 (")
    assert any("r: a report" in line for line in lines)
    assert any("1.05 ± 0.07" in line and "in band" in line for line in lines)
    assert lines[-3].startswith("1 exact, 1 in band in ")
    assert lines[-2] == f"Written: {out / 'results.json'}, 1 figure as PNG and PDF in {out / 'figures'}"
    assert lines[-1] == f"All on one page: {out / 'index.html'}"


def test_all_reports_run_if_none_is_named_and_each_once_in_the_order_named(make: Make, tmp_path: Path) -> None:
    make("a")
    make("b")
    for names, expected in (([], ["a", "a", "b", "b"]), (["b", "a", "b"], ["b", "b", "a", "a"])):
        reproduce(names, quick=True, out=tmp_path)
        assert [
            row["report"] for row in json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
        ] == expected


def test_only_a_wrong_verdict_makes_the_code_one(make: Make, tmp_path: Path) -> None:
    make("differs", values=(5.0, 5.1))
    make("wrong", label="6")
    assert reproduce(["differs"], quick=False, out=tmp_path) == 0
    assert reproduce(["wrong"], quick=False, out=tmp_path) == 1
    assert (tmp_path / "results.json").exists()


def test_values_that_are_no_numbers_are_null_with_the_reason(make: Make, tmp_path: Path) -> None:
    make(values=(math.nan, 1.0))
    assert reproduce(["r"], quick=False, out=tmp_path) == 0
    row = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))[0]
    assert (row["ours"], row["spread"], row["verdict"]) == (None, None, "differs")
    assert "ours is nan in 1 of 2 runs" in row["why"]


def test_workers_give_the_same_bytes(make: Make, tmp_path: Path) -> None:
    make()
    reproduce(["r"], quick=False, out=tmp_path / "one", workers=1)
    reproduce(["r"], quick=False, out=tmp_path / "two", workers=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    for name in files(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def counted(seed: int, log: str) -> dict[str, Any]:
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{seed} ")
    return {"loss": seed / 3, "gap": [math.inf, math.nan]}


def test_results_are_used_again_and_the_table_says_so(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"

    def run() -> tuple[str, list[str]]:
        reproduce(["r"], quick=False, out=tmp_path / "out")
        return log.read_text(), capsys.readouterr().out.splitlines()

    make(run=counted, settings={"log": str(log)})
    seeds, lines = run()
    assert seeds == "5 3 "
    assert not any("earlier run" in line for line in lines)
    seeds, lines = run()
    assert seeds == "5 3 "
    assert lines[0] == "2 of 2 results were there from an earlier run; --fresh runs them again."
    assert any("1.05 ± 0.07" in line for line in lines)
    assert lines[-3].endswith(" s (2 of 2 results were there from an earlier run)")

    make(run=counted, settings={"log": str(log)}, seeds=(7, 5))
    seeds, lines = run()
    assert seeds == "5 3 7 "
    assert lines[0].startswith("1 of 2 results were there")
    assert lines[1].startswith("[2/2] r: e, seed 7 (")

    reproduce(["r"], quick=False, out=tmp_path / "out", fresh=True)
    assert log.read_text() == "5 3 7 7 5 "


def test_what_is_left_of_a_run_that_was_killed_while_it_drew_is_removed(make: Make, tmp_path: Path) -> None:
    make()
    for name, age in ((".unfinished-old", 7200), (".unfinished-of-another-run", 0)):
        (tmp_path / name / "figures").mkdir(parents=True)
        (tmp_path / name / "figures" / "r-2.png").touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    reproduce(["r"], quick=True, out=tmp_path)
    assert [path.name for path in tmp_path.glob(".unfinished*")] == [".unfinished-of-another-run"]
    assert not (tmp_path / "figures" / "r-2.png").exists()


@pytest.mark.parametrize(("run", "error"), [(broken, ChainruleError), (interrupted, KeyboardInterrupt)])
def test_a_run_that_ends_early_leaves_nothing_new(
    make: Make, tmp_path: Path, run: Any, error: type[BaseException]
) -> None:
    make(run=run)
    with pytest.raises(error):
        reproduce(["r"], quick=True, out=tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_ends_early_leaves_the_old_results_alone(make: Make, tmp_path: Path) -> None:
    make()
    reproduce(["r"], quick=True, out=tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    make(run=broken)
    with pytest.raises(ChainruleError, match="r: e, seed 5: The file is damaged"):
        reproduce(["r"], quick=True, out=tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_a_disk_that_fills_while_writing_is_said_and_leaves_the_old_results_alone(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results.json").write_text("old", encoding="utf-8")
    write_text = Path.write_text
    space = ["a result", "another"]

    def full(path: Path, *arguments: Any, **options: Any) -> int:
        if not space:
            write_text(path, "ha")
            raise OSError(28, "No space left on device")
        space.pop()
        return write_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full)
    make()
    with pytest.raises(DataError, match=r"could not be written to .*: No space left on device"):
        reproduce(["r"], quick=True, out=tmp_path)
    with pytest.raises(DataError, match=r"result of 'r: e, seed 5' could not be kept in .*: No space left on device"):
        reproduce(["r"], quick=True, out=tmp_path, fresh=True)
    assert list((tmp_path / ".jobs").iterdir()) == []
    assert files(tmp_path) == {"results.json"}
    assert (tmp_path / "results.json").read_bytes() == b"old"


def test_an_unknown_report_is_an_error_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownNameError, match="There is no report called 'ucsd': did you mean 'ucsd-ece285'"):
        reproduce(["vu-a1", "ucsd"], quick=True, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def block_with_a_file(out: Path) -> None:
    out.write_text("mine", encoding="utf-8")


def block_the_figures(out: Path) -> None:
    out.mkdir()
    (out / "figures").write_text("mine", encoding="utf-8")


def block_the_kept(out: Path) -> None:
    out.mkdir()
    (out / ".jobs").write_text("mine", encoding="utf-8")


def block_the_results(out: Path) -> None:
    (out / "results.json").mkdir(parents=True)


@pytest.mark.parametrize("block", [block_with_a_file, block_the_figures, block_the_kept, block_the_results])
def test_a_place_that_cannot_be_written_to_is_an_error_before_anything_runs(
    make: Make, tmp_path: Path, block: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    block(tmp_path / "out")
    with pytest.raises(DataError, match=r"Results cannot be written to .*out"):
        reproduce(["r"], quick=True, out=tmp_path / "out")
    assert capsys.readouterr().out == ""


def test_a_place_below_a_file_names_the_file(make: Make, tmp_path: Path) -> None:
    make()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file' is a file"):
        reproduce(["r"], quick=True, out=tmp_path / "file" / "out")


def test_a_folder_without_the_right_to_write_is_an_error_before_anything_runs(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make()

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Whoever runs the tests may be allowed to write everywhere, so the refusal is played.
    monkeypatch.setattr("chainrule.lab.reproduce.TemporaryFile", denied)
    with pytest.raises(DataError, match=r"out': Permission denied"):
        reproduce(["r"], quick=True, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_workers_must_be_at_least_one(make: Make, tmp_path: Path) -> None:
    make()
    with pytest.raises(DataError, match="at least 1; found 0"):
        reproduce(["r"], quick=True, out=tmp_path, workers=0)
