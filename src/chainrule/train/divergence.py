"""Why a loss is no longer a number: which parameter, or which op in which layer, was the first."""

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.engine import detect_nan, no_grad
from chainrule.errors import DivergenceError
from chainrule.nn.module import Module


def divergence(model: Module, lr: float, value: float, where: str, compute: Callable[[], Any]) -> DivergenceError:
    """What happened: the loss is computed once more, looking at the result of every op.

    Parameters
    ----------
    model : Module
    lr : float
        The learning rate of the step before.
    value : float
        The loss.
    where : str
        Such as "epoch 1, batch 2".
    compute : callable
        Computes the loss again.
    """
    for name, p in model.named_parameters():
        if not np.isfinite(p.value).all():
            why = f"the step before was too large; take a smaller learning rate than {lr:g}"
            if p.grad is None:  # compiled steps keep no gradients
                why = f"{why}, or look for an op without a derivative, as np.sqrt at 0"
            elif not np.isfinite(p.grad).all():
                why = "its gradient was not finite; look for an op without a derivative there, as np.sqrt at 0"
            return DivergenceError(
                f"The loss is {value} at {where}: the parameter '{name}' is no longer finite, because {why}."
            )
    cause = "which op began it could not be found again"
    try:
        with no_grad(), detect_nan(), np.errstate(all="ignore"):
            compute()
    except DivergenceError as error:
        cause = str(error)
    return DivergenceError(
        f"The loss is {value} at {where}: {cause}. Look at that op's inputs; a smaller learning rate than {lr:g} or "
        "scaled inputs may help."
    )
