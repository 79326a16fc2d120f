"""`chainrule reproduce`: runs reports again, prints each figure beside ours with a verdict, and writes it all down.

Each job's result is kept as soon as it is there, so that a run that was interrupted goes on with what is missing. What
people read is written when everything has run, and each file is put in its place whole.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from chainrule.errors import DataError
from chainrule.lab import reports as known_reports
from chainrule.lab import runner
from chainrule.lab.experiment import Job, Report, Result, Results
from chainrule.lab.figures import require_matplotlib
from chainrule.lab.page import page, require_jinja2
from chainrule.lab.store import Store
from chainrule.lab.table import count, table
from chainrule.lab.verdict import Row

KEPT, UNFINISHED, PAGE = ".jobs", ".unfinished-", "index.html"
_SURELY_KILLED = 3600  # seconds; nobody draws for so long


@dataclass(frozen=True)
class _Outcome:
    """What came of a report."""

    report: Report
    results: Results
    rows: Sequence[Row]


def reproduce(reports: list[str], *, quick: bool, out: Path, workers: int = 1, fresh: bool = False) -> int:
    """Run reports again and compare.

    Parameters
    ----------
    reports : list of str
        Their names; an empty list means all.
    quick : bool
        Run the small version, which takes seconds; rows that it cannot judge say so.
    out : Path
        The folder for the page `index.html`, `results.json` and `figures/`; made if it is missing. The jobs' results
        are kept there too, in `.jobs/`; what an earlier run with the same code, settings and data has kept is used
        again.
    workers : int
        How many processes run jobs, with one BLAS thread each. One is this process.
    fresh : bool
        Use nothing of an earlier run.

    Returns
    -------
    int
        1 if a deterministic value came out wrong, else 0.

    Raises
    ------
    UnknownNameError
        For a report that is not known.
    DataError
        If `out` cannot be written to. This and the one above are raised before anything runs.
    ChainruleError
        From a job, with the job's name before it. Only the results of finished jobs are kept then.
    """
    chosen = [known_reports.load(name) for name in dict.fromkeys(reports or known_reports.KNOWN)]
    if workers < 1:
        raise DataError(f"The number of workers must be at least 1; found {workers}.")
    require_matplotlib()
    require_jinja2()
    started = time.perf_counter()
    console = _console()
    with _folder(Path(out)) as folder:
        store = Store(folder / KEPT)
        if fresh:
            store.forget(job for report in chosen for job in report.jobs(quick))
        outcomes, reused = _run(chosen, quick, workers, console, store)
        figures = _write(folder, outcomes, quick)
    rows = [row for outcome in outcomes for row in outcome.rows]
    console.print(count(rows), Text(f"in {time.perf_counter() - started:.0f} s{reused}"), sep=" ", soft_wrap=True)
    drawn = f", {figures} figure{'s' * (figures > 1)} as PNG and PDF in {folder / 'figures'}" if figures else ""
    console.print(Text(f"Written: {folder / 'results.json'}{drawn}"), soft_wrap=True)
    console.print(Text(f"All on one page: {folder / PAGE}"), soft_wrap=True)
    return int(any(row.verdict == "wrong" for row in rows))


def _run(
    chosen: Sequence[Report], quick: bool, workers: int, console: Console, store: Store
) -> tuple[list[_Outcome], str]:
    """Run the jobs whose results are not kept; print a report's table as soon as the last of its jobs is done.

    Besides what came of the reports, return a remark on how many results were there already.
    """
    jobs = {report.name: report.jobs(quick) for report in chosen}
    every = [job for report in chosen for job in _in_turns(jobs[report.name])]
    done = {job: result for job in every if (result := store.get(job)) is not None}
    missing = [job for job in every if job not in done]
    remark = f"{len(done)} of {len(every)} results were there from an earlier run" if done else ""
    outcomes: dict[str, _Outcome] = {}

    def compare() -> None:
        for report in chosen:
            if report.name not in outcomes and all(job in done for job in jobs[report.name]):
                results = _by_experiment(jobs[report.name], done)
                rows = list(report.rows(results, quick))
                outcomes[report.name] = _Outcome(report, results, rows)
                console.print(table(f"{report.name}: {report.title}", rows, console.width))

    if done:
        console.print(Text(f"{remark}; --fresh runs them again."), soft_wrap=True)
    compare()
    try:
        with _progress(console, missing, len(every), workers) as progress, closing(runner.run(missing, workers)) as new:
            for job, result in new:
                store.keep(job, result)
                done[job] = result
                progress(job)
                compare()
    except BaseException:
        if done:
            what = f"{len(done)} of {len(every)} results are kept: the same command, without --fresh, does the others."
            console.print(Text(what), soft_wrap=True)
        raise
    return [outcomes[report.name] for report in chosen], f" ({remark})" if remark else ""


def _in_turns(jobs: Sequence[Job]) -> list[Job]:
    """The first run of each experiment, then the second: those that start together would compile the same program."""
    made: Counter[str] = Counter()
    turns = []
    for job in jobs:
        turns.append(made[job.experiment])
        made[job.experiment] += 1
    return [job for _, job in sorted(zip(turns, jobs, strict=True), key=lambda pair: pair[0])]


def _by_experiment(jobs: Sequence[Job], done: dict[Job, Result]) -> Results:
    results: dict[str, list[Result]] = {}
    for job in jobs:
        results.setdefault(job.experiment, []).append(done[job])
    return results


def _write(folder: Path, outcomes: Sequence[_Outcome], quick: bool) -> int:
    """Draw and write everything beside its place, then move it there; return the number of figures."""
    try:
        with _unfinished(folder) as unfinished:
            figures = unfinished / "figures"
            for outcome in outcomes:
                outcome.report.figures(outcome.results, figures)
            rows = [row.as_json() for outcome in outcomes for row in outcome.rows]
            text = json.dumps(rows, indent=1, allow_nan=False, ensure_ascii=False)
            (unfinished / "results.json").write_text(text + "\n", encoding="utf-8")
            tables = {outcome.report.name: outcome.report.tables(outcome.results, quick) for outcome in outcomes}
            html = page([(outcome.report, outcome.rows) for outcome in outcomes], figures, quick, tables)
            (unfinished / PAGE).write_text(html, encoding="utf-8")
            drawn = sorted(figures.glob("*"))
            if drawn:
                (folder / "figures").mkdir(exist_ok=True)
            for file in drawn:
                os.replace(file, folder / "figures" / file.name)
            for name in ("results.json", PAGE):
                os.replace(unfinished / name, folder / name)
    except OSError as error:
        raise DataError(f"The results could not be written to '{folder}': {error.strerror or error}.") from error
    return len({file.stem for file in drawn})


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A folder of our own within, since another run may write to the same place; what killed runs left is removed."""
    for other in folder.glob(f"{UNFINISHED}*"):
        with suppress(FileNotFoundError):  # its run is just done
            if time.time() - other.stat().st_mtime > _SURELY_KILLED:
                shutil.rmtree(other, ignore_errors=True)
    path = Path(mkdtemp(prefix=UNFINISHED, dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """Make the folder and prove that it can be written to; if what follows fails, remove what was made and is empty."""
    for place in (path / "figures", path / KEPT, path, *path.parents):
        if place.exists() and not place.is_dir():
            raise DataError(f"Results cannot be written to '{path}': '{place}' is a file. Name a folder.")
    for name in ("results.json", PAGE):
        if (path / name).is_dir():
            raise DataError(f"Results cannot be written to '{path}': '{name}' in it is a folder. Name another folder.")
    made = [place for place in (path, *path.parents) if not place.exists()]
    try:
        try:
            path.mkdir(parents=True, exist_ok=True)
            for place in (path, path / "figures", path / KEPT):
                if place.exists():
                    TemporaryFile(dir=place).close()
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"Results cannot be written to '{path}': {reason}. Name another folder.") from error
        yield path
    except BaseException:
        for place in made:
            try:
                place.rmdir()
            except OSError:  # not made after all, or no longer empty
                break
        raise


@contextmanager
def _progress(console: Console, jobs: Sequence[Job], total: int, workers: int) -> Iterator[Callable[[Job], None]]:
    """Give a function to call for each finished job: a bar in a terminal, otherwise a line for each.

    `jobs` are those that are missing of a `total`.
    """
    started = time.perf_counter()
    waiting = list(jobs)
    if not console.is_terminal:

        def line(job: Job) -> None:
            waiting.remove(job)
            seconds = time.perf_counter() - started
            console.print(Text(f"[{total - len(waiting)}/{total}] {job} ({seconds:.1f} s)"), soft_wrap=True)

        yield line
        return
    names = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
    columns = (SpinnerColumn(), MofNCompleteColumn(), BarColumn(20), TimeElapsedColumn(), names)
    with Progress(*columns, console=console, transient=True, expand=True) as bar:

        def running() -> str:
            return "; ".join(map(str, waiting[:workers]))  # jobs start in order

        task = bar.add_task(running(), total=total, completed=total - len(jobs))

        def advance(job: Job) -> None:
            waiting.remove(job)
            bar.update(task, advance=1, description=running())

        yield advance


def _console() -> Console:
    console = Console(highlight=False)
    # Into a file or a pipe there is no window to fit into, and 80 columns would break every line.
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, 140))
