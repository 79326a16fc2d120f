"""Measures: each candidate once a round, one after another, so that whatever slows the machine down slows down all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from chainrule.benchmarks import fresh, roster
from chainrule.benchmarks.processes import Worker
from chainrule.benchmarks.results import Comparison, Goal, Measured, Role
from chainrule.benchmarks.roster import COMPILED, EAGER, Candidate
from chainrule.benchmarks.run import UnavailableError
from chainrule.benchmarks.works import WORKS, Work

# Beside the works, by name: what is measured in fresh processes.
FRESH = {
    "start-cold": "from before the import to the end of the first steps of M100, caches empty",
    "start-warm": "from before the import to the end of the first steps of M100, caches filled",
    "memory": "the most memory that a process holds that trains M100 for an epoch",
    "import": "the time to import",
}
_START_GOALS = {"start-cold": 4.0, "start-warm": 0.5}
_IMPORTS: dict[str, tuple[str, Role]] = {  # by module: whose it is
    "numpy": ("numpy", "floor"),
    "chainrule": ("chainrule", "ours"),
    "torch": ("pytorch", "peer"),
    "jax": ("jax", "peer"),
    "sklearn.neural_network": ("sklearn", "peer"),
}
_PASS = 0.2  # seconds that a pass takes at least, if need be by several epochs
_REST = 0.05  # seconds between passes, in which a library's threads stop waiting for more work
_QUICK_BATCHES = 3

Values = dict[str, list[float]]
Pass = Callable[[int], float]  # of the round's number
LeftOut = list[tuple[str, str]]


def comparison(name: str, candidates: Sequence[Candidate], rounds: int, quick: bool = False) -> Comparison:
    """Measure a work, or one of `FRESH`.

    Parameters
    ----------
    name : str
    candidates : sequence of Candidate
    rounds : int
    quick : bool
        Take a few batches alone.

    Returns
    -------
    Comparison
        What those who cannot take part say is in its `left_out`.
    """
    if name in WORKS:
        return _work(WORKS[name], candidates, rounds, quick)
    if name == "import":
        return _imports(candidates, rounds)
    takers = [each for each in candidates if each.role != "floor" and each.does(WORKS[fresh.WORK])]
    left_out = _missing(takers)
    takers = [each for each in takers if each.installed]
    if name == "memory":
        return _memory(takers, left_out, rounds, quick)
    return _start(name, takers, left_out, rounds)


def _missing(candidates: Sequence[Candidate]) -> LeftOut:
    return [(each.name, f"{each.needs} is not installed") for each in candidates if not each.installed]


def _work(work: Work, candidates: Sequence[Candidate], rounds: int, quick: bool) -> Comparison:
    takers = [each for each in candidates if each.does(work)]
    left_out = _missing(takers)
    with ExitStack() as ends:
        passes: dict[str, Pass] = {}
        for each in takers:
            if not each.installed:
                continue
            try:
                rows = _QUICK_BATCHES * work.batch if quick else each.rows(work)
                worker = ends.enter_context(closing(Worker(each.name, work.name, rows)))
                passes[each.name] = _pass(worker, 0.0 if quick else _PASS)
            except UnavailableError as error:
                left_out.append((each.name, str(error)))
        values = _rounds(passes, rounds, left_out)
    unit = f"µs a {work.unit}"
    return Comparison(work.name, work.title, unit, _measured(values, 1e6), _goals(work, candidates), left_out)


def _pass(worker: Worker, least: float) -> Pass:
    """A function that does a pass and gives the seconds of a step."""
    epochs = max(1, math.ceil(least / worker.seconds(1)))
    return lambda _: worker.seconds(epochs) / worker.steps


def _rounds(passes: Mapping[str, Pass], rounds: int, left_out: LeftOut) -> Values:
    """Call each once a round; who fails is left out from then on, with all its values."""
    values: Values = {name: [] for name in passes}
    for number in range(rounds):
        for name in list(values):
            time.sleep(_REST)
            try:
                values[name].append(passes[name](number))
            except UnavailableError as error:
                left_out.append((name, str(error)))
                del values[name]
    return values


def _fresh_rounds(passes: Mapping[str, Pass], rounds: int, left_out: LeftOut) -> Values:
    """The same, but round 0 is left out: it brings the libraries' files into memory, and fills their caches."""
    return {name: each[1:] for name, each in _rounds(passes, rounds + 1, left_out).items()}


def _measured(values: Values, factor: float = 1.0) -> list[Measured]:
    measured = []
    for name, each in values.items():
        candidate = roster.candidate(name)
        measured.append(Measured(name, candidate.peer, candidate.role, tuple(value * factor for value in each)))
    return measured


def _goals(work: Work, candidates: Sequence[Candidate]) -> list[Goal]:
    of = {COMPILED: work.goals, EAGER: work.eager_goals}
    if work.kind == "prediction":
        of = {"chainrule predict": work.goals}
    return [
        Goal(ours, goals[each.peer], each.name)
        for ours, goals in of.items()
        for each in candidates
        if each.peer in goals and each.does(work) and not (ours == EAGER and each.name == "torch.compile")
    ]


def _start(name: str, takers: Sequence[Candidate], left_out: LeftOut, rounds: int) -> Comparison:
    with TemporaryDirectory(prefix="chainrule-bench-") as folder:

        def start(each: Candidate, number: int) -> float:
            # Cold is a folder of its own each time; warm is one that the round left out has filled.
            cache = Path(folder, each.name, str(number if name == "start-cold" else 0))
            code = fresh.FIRST_STEP.format(name=each.name)
            return fresh.number(code, CHAINRULE_CACHE=str(cache), TORCHINDUCTOR_CACHE_DIR=str(cache / "torch"))

        values = _fresh_rounds({each.name: partial(start, each) for each in takers}, rounds, left_out)
    goals = [Goal(COMPILED, _START_GOALS[name])]
    return Comparison(name, FRESH[name], "s", _measured(values), goals, left_out)


def _memory(takers: Sequence[Candidate], left_out: LeftOut, rounds: int, quick: bool) -> Comparison:
    rows = _QUICK_BATCHES * WORKS[fresh.WORK].batch if quick else None

    def peak(each: Candidate, _: int) -> float:
        return fresh.number(fresh.PEAK_MEMORY.format(name=each.name, rows=rows))

    values = _fresh_rounds({each.name: partial(peak, each) for each in takers}, rounds, left_out)
    return Comparison("memory", FRESH["memory"], "MB", _measured(values), (), left_out)


def _imports(candidates: Sequence[Candidate], rounds: int) -> Comparison:
    peers = {each.peer for each in candidates} | {"numpy"}
    there = {each.peer for each in candidates if each.installed} | {"numpy"}
    left_out = [(module, "is not installed") for module, (peer, _) in _IMPORTS.items() if peer in peers - there]

    def seconds(module: str, _: int) -> float:
        return fresh.number(fresh.IMPORT.format(module=module))

    numbers = {module: partial(seconds, module) for module, (peer, _) in _IMPORTS.items() if peer in there}
    values = _fresh_rounds(numbers, rounds, left_out)
    measured = [Measured(module, *_IMPORTS[module], tuple(each)) for module, each in values.items()]
    goals = [Goal("chainrule", 1 / 1.5, "numpy")]
    return Comparison("import", FRESH["import"], "s", measured, goals, left_out)
