"""`Run`: a candidate that is ready to do a work."""

from collections.abc import Callable
from dataclasses import dataclass

from chainrule.benchmarks.works import Array
from chainrule.errors import ChainruleError


@dataclass(frozen=True)
class Run:
    """What a candidate has prepared.

    Attributes
    ----------
    go : function of int
        Do so many epochs, or so often the calls of a prediction. Returns when all is computed.
    result : function
        The parameters as they are now, W1, b1, W2, b2, ... with weights (in, out); or the outputs of a prediction.
    """

    go: Callable[[int], None]
    result: Callable[[], list[Array]]


class UnavailableError(ChainruleError):
    """A candidate that cannot do a work here; the message says why."""
