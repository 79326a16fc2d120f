"""Experiments as data: what a report runs, split into jobs that any process can do, and what it makes of the results.

A job is a function at the top of a module with plain arguments, and its result is plain data too. So a job can go to a
worker process, and its result can be kept and read back, without changing a bit of what follows from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chainrule.errors import ChainruleError
from chainrule.lab.verdict import Row

Result = dict[str, Any]
Results = Mapping[str, Sequence[Result]]


@dataclass(frozen=True)
class Experiment:
    """Something to run, once for each seed.

    Attributes
    ----------
    name : str
        What the results are kept under.
    run : callable
        A function at the top of a module, called as `run(**settings, seed=seed)`. It returns a dictionary of numbers,
        strings, lists and dictionaries (with strings as keys); NumPy arrays and scalars become lists and numbers.
    seeds : sequence of int, or None
        One job a seed. None is for what no chance enters: one job, without the argument `seed`.
    settings : mapping
        The other arguments of `run`, plain data as well.
    """

    name: str
    run: Callable[..., Result]
    seeds: Sequence[int] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def jobs(self, report: str) -> list[Job]:
        """The jobs, in the order of the seeds."""
        if self.seeds is None:
            return [Job(report, self.name, None, self.run, dict(self.settings))]
        return [Job(report, self.name, seed, self.run, {**self.settings, "seed": seed}) for seed in self.seeds]


@dataclass(frozen=True, eq=False)
class Job:
    """One run of one experiment: picklable, and named the same whenever and wherever it runs."""

    report: str
    experiment: str
    seed: int | None
    run: Callable[..., Result]
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.report}: {self.experiment}" + ("" if self.seed is None else f", seed {self.seed}")

    def result(self) -> Result:
        """Run it; an error that chainrule raises on purpose says which job it was."""
        try:
            result = self.run(**self.arguments)
        except ChainruleError as error:
            raise ChainruleError(f"{self}: {error}") from error
        # Through JSON and back: a result from this process equals one from a worker or from a file.
        same: Result = json.loads(json.dumps(result, default=plain))
        return same


@dataclass(frozen=True)
class Table:
    """A table for the page, of text: a title, a heading for each column, the cells by line, and a caption."""

    title: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    caption: str = ""


def no_tables(results: Results, quick: bool) -> Sequence[Table]:
    """What a report has whose rows say it all."""
    return ()


@dataclass(frozen=True)
class Report:
    """A report, to be run again.

    Attributes
    ----------
    name, title : str
        The name that the command line uses, and what the report is about.
    experiments : callable
        `experiments(quick)` lists what to run; quick is a small version that takes seconds.
    rows : callable
        `rows(results, quick)` compares: `results[name]` has one result a seed, in the order of the seeds.
    figures : callable
        `figures(results, folder)` draws into the folder; file names begin with the report's name.
    network : callable
        `network()` gives its main network, untrained, in a Trainer, and a small batch of inputs and targets of the
        right shapes: for looking at its longhand, and for checking its derivatives.
    tables : callable
        `tables(results, quick)` puts side by side what the rows have one below the other, for the page.
    """

    name: str
    title: str
    experiments: Callable[[bool], Sequence[Experiment]]
    rows: Callable[[Results, bool], Iterable[Row]]
    figures: Callable[[Results, Path], object]
    network: Callable[[], tuple[Any, Any, Any]]
    tables: Callable[[Results, bool], Sequence[Table]] = no_tables

    def jobs(self, quick: bool) -> list[Job]:
        """The jobs of all experiments."""
        return [job for experiment in self.experiments(quick) for job in experiment.jobs(self.name)]


def plain(array: Any) -> Any:
    """An array or scalar of NumPy as what JSON can write; `TypeError` for anything else."""
    if hasattr(array, "tolist"):
        return array.tolist()
    raise TypeError(f"A result must be numbers, strings, lists and dictionaries, but one holds {type(array).__name__}.")
