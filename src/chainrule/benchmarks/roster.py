"""`CANDIDATES`: who takes part in which works, and what must be installed for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from chainrule.benchmarks.results import Role
from chainrule.benchmarks.run import Run
from chainrule.benchmarks.works import MOST_STEPS, WORKS, Problem, Work
from chainrule.errors import UnknownNameError

OURS = "chainrule"
IMAGES = [name for name, work in WORKS.items() if work.channels]
DENSE = [name for name, work in WORKS.items() if work.data == "random"]
COMPILED, PLAN, EAGER = "chainrule compiled", "chainrule plan", "chainrule eager"


@dataclass(frozen=True)
class Candidate:
    """Somebody who does a work.

    Attributes
    ----------
    name : str
        As tables call it.
    peer : str
        The library, as `--peers` names it: several candidates may be of one.
    file : str
        Its module in `chainrule.benchmarks.candidates`.
    training, prediction : str
        Its functions there; empty where it does no such work.
    needs : str
        The module that must be installed; empty if none beyond NumPy.
    each_step : bool
        Whether each step goes through Python, so that of an epoch with very many steps a part is timed.
    works : sequence of str
        The only works that it does, if there are such.
    but : sequence of str
        The works that it does not do.
    """

    name: str
    peer: str
    file: str
    training: str = "training"
    prediction: str = "prediction"
    needs: str = ""
    each_step: bool = True
    works: Sequence[str] = ()
    but: Sequence[str] = ()

    def does(self, work: Work) -> bool:
        """Whether it takes part in a work."""
        listed = work.name not in self.but and (not self.works or work.name in self.works)
        return listed and bool(getattr(self, work.kind))

    @property
    def role(self) -> Role:
        """What it is in a comparison."""
        return "ours" if self.peer == OURS else "floor" if self.peer == "products" else "peer"

    @property
    def installed(self) -> bool:
        """Whether what it needs is there."""
        return not self.needs or find_spec(self.needs) is not None

    def rows(self, work: Work) -> int | None:
        """How many samples a pass takes: all (None), or the first so many."""
        return MOST_STEPS * work.batch if self.each_step and work.kind == "training" else None

    def prepare(self, problem: Problem) -> Run:
        """Make everything ready for the first step."""
        module = import_module(f"chainrule.benchmarks.candidates.{self.file}")
        run: Run = getattr(module, getattr(self, problem.work.kind))(problem)
        return run


CANDIDATES = (
    Candidate(COMPILED, OURS, "ours", "compiled", "", "numba", each_step=False),
    Candidate(PLAN, OURS, "ours", "plan", ""),
    Candidate(EAGER, OURS, "ours", "eager", ""),
    Candidate("chainrule predict", OURS, "ours", ""),
    Candidate("by hand, NumPy", "numpy", "by_hand", but=("S", *IMAGES)),
    Candidate("by hand, plain Python", "numpy", "by_hand", "plain_python", "", works=("S",)),
    Candidate("by hand, im2col", "numpy", "im2col", prediction="", works=IMAGES),
    Candidate("PyTorch eager", "pytorch", "in_pytorch", needs="torch"),
    Candidate("torch.compile", "pytorch", "in_pytorch", "training_compiled", "", needs="torch", but=DENSE),
    Candidate("JAX", "jax", "in_jax", needs="jax", each_step=False),
    # For two classes it has one output, not two.
    Candidate("scikit-learn", "sklearn", "in_sklearn", needs="sklearn", but=("S", *IMAGES)),
    # A convolution need not be made of matrix products, so they would be no bound of it.
    Candidate("bare products", "products", "bare_products", prediction="", but=("S", *IMAGES)),
)
PEERS = tuple(dict.fromkeys(candidate.peer for candidate in CANDIDATES if candidate.peer != OURS))


def candidate(name: str) -> Candidate:
    """The candidate of this name."""
    return next(each for each in CANDIDATES if each.name == name)


def chosen(peers: Sequence[str] | None = None) -> list[Candidate]:
    """Those to be timed: chainrule, and the peers that are asked for, or all of them.

    Raises
    ------
    UnknownNameError
        If there is no such peer.
    """
    for peer in peers or ():
        if peer not in PEERS:
            raise UnknownNameError("peer", peer, PEERS)
    return [each for each in CANDIDATES if each.peer == OURS or peers is None or each.peer in peers]
