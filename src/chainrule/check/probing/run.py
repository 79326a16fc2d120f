"""Probes: experiments with a model that need no derivative. Each does something to it (feeds the same input twice,
changes a neighbour, doubles the batch), looks whether what must hold does hold, and leaves the model as it was.
"""

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.check.probing import evaluation as evaluation_probes
from chainrule.check.probing import loss as loss_probes
from chainrule.check.probing import training as training_probes
from chainrule.check.probing.experiment import Experiment, FailedError, SkippedError
from chainrule.check.subjects.recognition import as_subject
from chainrule.errors import ChainruleError

_PROBES: tuple[tuple[str, Callable[[Experiment], str]], ...] = (
    ("same input, same output", evaluation_probes.same_input),
    ("no sample depends on its neighbours", evaluation_probes.neighbours),
    ("evaluation changes no parameter", evaluation_probes.evaluation),
    ("the output depends on the input", evaluation_probes.depends_on_input),
    ("no output depends on the targets", evaluation_probes.no_leak),
    ("extreme inputs", evaluation_probes.extremes),
    ("loss at the start", loss_probes.loss_at_the_start),
    ("the same batch twice gives the same gradients", training_probes.same_gradients),
    ("a doubled batch", training_probes.doubled_batch),
    ("every parameter moves", training_probes.every_parameter_moves),
    ("a tiny set can be learnt", training_probes.tiny_set),
    ("shuffled labels cannot be learnt", training_probes.shuffled_labels),
)


@dataclass(frozen=True)
class Probe:
    """What one probe found.

    Attributes
    ----------
    name : str
        What must hold.
    verdict : {"passed", "failed", "skipped"}
    sentence : str
        The numbers that were found; for a skipped probe, why.
    """

    name: str
    verdict: str
    sentence: str


@dataclass(frozen=True, repr=False)
class ProbeReport:
    """All probes of a model, those that were skipped too; false if one failed.

    Attributes
    ----------
    name : str
        The model's.
    recognised : str
        What was taken for its parameters, outputs, loss and step.
    results : tuple of Probe
    """

    name: str
    recognised: str
    results: tuple[Probe, ...]

    def __bool__(self) -> bool:
        return not self.failed

    def __iter__(self) -> Iterator[Probe]:
        return iter(self.results)

    def __getitem__(self, name: str) -> Probe:
        return {probe.name: probe for probe in self.results}[name]

    @property
    def failed(self) -> list[Probe]:
        """The probes that failed."""
        return [probe for probe in self.results if probe.verdict == "failed"]

    def __str__(self) -> str:
        counts = {v: sum(p.verdict == v for p in self.results) for v in ("passed", "failed", "skipped")}
        first = f"{self.name}: {', '.join(f'{n} {verdict}' for verdict, n in counts.items() if n)}"
        lines = [f"  {probe.verdict:<7}  {probe.name}: {probe.sentence}" for probe in self.results]
        return "\n".join([first, *lines, f"  {self.recognised}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(p.verdict)}</td><td>{html.escape(p.name)}</td>"
            f'<td style="text-align: left">{html.escape(p.sentence)}</td></tr>'
            for p in self.results
        )
        return f"<p>{html.escape(self.recognised)}</p><table>{rows}</table>"


def _said(error: Exception) -> str:
    """An error in words: ours are sentences, others need their kind."""
    return str(error) if isinstance(error, ChainruleError) else f"{type(error).__name__}: {error}"


def probes(
    thing: Any,
    x: Any,
    t: Any,
    *,
    loss: Any = None,
    classes: int | None = None,
    frozen: tuple[str, ...] = (),
    seed: int = 0,
    seconds: float = 3.0,
    **options: Any,
) -> ProbeReport:
    """Try a model in all ways that need no derivative.

    Parameters
    ----------
    thing : Subject, Trainer, Module, torch.nn.Module, object or function
        See `as_subject`. It is left as it was found.
    x, t : arrays (N, ...)
        Some samples and their targets, in the form in which the model takes them; 20 to 200 are enough.
    loss : Loss, function of (outputs, targets), or {"cross-entropy", "mse"}, optional
        The model's loss, where it has none of its own, or what the loss of a function is meant to be.
    classes : int, optional
        How many there are; by default as many as outputs, or as the labels tell.
    frozen : tuple of str
        The names of parameters that are not meant to be learnt.
    seed : int
        Of what is drawn: permutations, other starts, labels.
    seconds : float
        How long a probe may train. One that had more to do is skipped, never failed.
    **options
        Further arguments of `as_subject`: `optimizer`, `parameters`, `lr`.

    Returns
    -------
    ProbeReport
        Every probe with its verdict. What could not be tried is listed as skipped, and why.
    """
    subject = as_subject(thing, loss, **options)
    experiment = Experiment(subject, np.asarray(x), np.asarray(t), classes, tuple(frozen), seed, seconds)
    found = tuple(_outcome(name, probe, experiment) for name, probe in _PROBES)
    return ProbeReport(subject.name, subject.recognised(), found)


def _outcome(name: str, probe: Callable[[Experiment], str], experiment: Experiment) -> Probe:
    try:
        with experiment.subject.kept():
            return Probe(name, "passed", probe(experiment.begun()))
    except FailedError as error:
        return Probe(name, "failed", str(error))
    except SkippedError as error:
        return Probe(name, "skipped", str(error))
    except Exception as error:  # somebody's code, called in a way that it may not be made for
        return Probe(name, "skipped", f"it could not be tried: {_said(error)}")
