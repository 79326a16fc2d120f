"""`Run`: a candidate that is ready to do a work."""

import time
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
    watch : function of int, optional
        Do so many epochs and return their seconds, where that is not simply the time of `go`.
    """

    go: Callable[[int], None]
    result: Callable[[], list[Array]]
    watch: Callable[[int], float] | None = None

    def seconds(self, epochs: int) -> float:
        """Do so many epochs; the time of all."""
        if self.watch is not None:
            return self.watch(epochs)
        begin = time.perf_counter()
        self.go(epochs)
        return time.perf_counter() - begin


class UnavailableError(ChainruleError):
    """A candidate that cannot do a work here; the message says why."""
