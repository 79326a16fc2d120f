"""Gradient clipping: gradients that are too large are made smaller before an optimiser follows them."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from chainrule.engine import Tensor
from chainrule.errors import ChainruleError
from chainrule.nn.arguments import positive
from chainrule.optim.optimizer import Array


def clip_norm(parameters: Iterable[Tensor], limit: float) -> float:
    """Scale all gradients, in place, so that their norm is at most `limit`. [Pascanu et al. 2013, algorithm 1]

    The norm ‖g‖ is that of all gradients taken as one vector, so the direction of the step is kept. Each is multiplied
    by min(1, limit / (‖g‖ + 1e-6)), as PyTorch's `clip_grad_norm_` does.

    Parameters
    ----------
    parameters : iterable of Parameter
        Those without a gradient are passed over.
    limit : float
        Positive.

    Returns
    -------
    float
        The norm before. If it is not finite, the gradients are left as they are: there is no scale that mends them.
    """
    limit = positive("clip_norm: limit", limit)
    gradients = _gradients("clip_norm", parameters)
    total = math.hypot(*(norm(g) for g in gradients))
    scale = limit / (total + 1e-6)
    if math.isfinite(total) and scale < 1:
        for g in gradients:
            g *= scale
    return total


def clip_value(parameters: Iterable[Tensor], limit: float) -> None:
    """Clip each element of the gradients, in place, to [-limit, limit].

    Parameters
    ----------
    parameters : iterable of Parameter
        Those without a gradient are passed over.
    limit : float
        Positive.
    """
    limit = positive("clip_value: limit", limit)
    for g in _gradients("clip_value", parameters):
        np.clip(g, -limit, limit, out=g)


def clipped(gradients: Sequence[Any], norm: float | None, value: float | None) -> list[Any]:
    """Gradients after `clip_norm` and then `clip_value`, as a formula, which runs on Symbols too.

    Squares are summed in the gradients' own dtype. Where their sum is no longer finite there (in float32, from a norm
    of 1.8e19 on), the gradients are left as they are.
    """
    gradients = list(gradients)
    if norm is not None and gradients:
        first, *others = [(g * g).sum() for g in gradients]
        total = np.sqrt(sum(others, first))
        scale = np.where(total < math.inf, np.minimum(norm / (total + 1e-6), 1), 1)
        gradients = [g * scale for g in gradients]
    return gradients if value is None else [np.clip(g, -value, value) for g in gradients]


def _gradients(where: str, parameters: Iterable[Tensor]) -> list[Array]:
    if not isinstance(parameters, Iterable):
        raise ChainruleError(f"{where} was given a {type(parameters).__name__}; pass model.parameters().")
    return [p.grad for p in parameters if p.grad is not None]


def norm(g: np.ndarray[Any, Any]) -> float:
    """‖g‖ = √Σ g², also where a square would be too large or too small for the dtype."""
    with np.errstate(all="ignore"):
        square = float(np.vdot(g, g))
        if 1e-30 < square < math.inf:
            return math.sqrt(square)
        largest = float(np.abs(g).max(initial=0))
        if not 0 < largest < math.inf:
            return largest
        scaled = g.astype(np.float64) / largest
        return largest * math.sqrt(float(np.vdot(scaled, scaled)))
