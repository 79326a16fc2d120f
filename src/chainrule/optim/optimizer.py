"""Optimisers: how parameters follow their gradients."""

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

from chainrule.engine import Tensor
from chainrule.errors import ChainruleError


class Optimizer:
    """The base of all optimisers.

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
        The learning rate, positive; it may be changed between steps.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        self.parameters = list(parameters) if isinstance(parameters, Iterable) else [parameters]
        for p in self.parameters:
            if not (isinstance(p, Tensor) and p.requires_grad and p.source is None):
                raise ChainruleError(
                    f"{type(self).__name__} was given a {type(p).__name__} that cannot be learnt; pass "
                    "model.parameters(), or tensors made with requires_grad=True."
                )
        if not self.parameters:
            raise ChainruleError(f"{type(self).__name__} was given no parameters; pass model.parameters().")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ChainruleError(
                f"{type(self).__name__} was given the same parameter twice; it would be updated twice."
            )
        self.lr = positive("lr", lr)
        self._update = [np.empty_like(p.value) for p in self.parameters]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                self._step(i, p, p.grad, self._update[i])

    def _step(self, i: int, p: Tensor, g: np.ndarray[Any, Any], update: np.ndarray[Any, Any]) -> None:
        raise TypeError(f"{type(self).__name__} has no rule: give it a method `_step`.")

    def state_dict(self) -> dict[str, Any]:
        """What must be kept to go on later: the learning rate, and arrays by name."""
        return {"lr": self.lr}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave, from an optimiser of the same kind with parameters of the same shapes.

        Raises
        ------
        ChainruleError
            If the state is another optimiser's; nothing is changed then.
        """
        own = self.state_dict()
        for name in {**own, **state}:
            if name not in own or name not in state or np.shape(own[name]) != np.shape(state[name]):
                raise ChainruleError(f"load_state_dict: '{name}' does not fit the state of {self!r}.")
        self.lr = positive("lr", state["lr"])


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wanted: v ← μ v + g, p ← p - lr · v. [Polyak 1964]

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
    momentum : float
        μ in [0, 1).
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.0) -> None:
        super().__init__(parameters, lr)
        self.momentum = number(momentum)
        if not 0 <= self.momentum < 1:
            raise ChainruleError(f"SGD: momentum is {momentum!r}; expected a number in [0, 1).")
        self._velocity = [np.zeros_like(p.value) for p in self.parameters] if self.momentum else []

    def _step(self, i: int, p: Tensor, g: np.ndarray[Any, Any], update: np.ndarray[Any, Any]) -> None:
        if self.momentum:
            v = self._velocity[i]
            v *= self.momentum
            v += g
            g = v
        np.multiply(g, float(self.lr), out=update)  # a schedule may have set one of NumPy's floats
        p.subtract_(update)

    def state_dict(self) -> dict[str, Any]:
        return {"lr": self.lr, **{f"velocity.{i}": v.copy() for i, v in enumerate(self._velocity)}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for i, v in enumerate(self._velocity):
            np.copyto(v, state[f"velocity.{i}"])

    def __repr__(self) -> str:
        return f"SGD(lr={self.lr}" + (f", momentum={self.momentum})" if self.momentum else ")")


def number(value: Any) -> float:
    """The value as a float (with one of NumPy's, float32 steps would be computed in float64); NaN if it is none."""
    return float(value) if isinstance(value, Real) else math.nan


def positive(name: str, value: Any) -> float:
    """The value as a float, if it is a positive finite number."""
    if not (math.isfinite(number(value)) and value > 0):
        raise ChainruleError(f"{name} is {value!r}; expected a positive number.")
    return number(value)
