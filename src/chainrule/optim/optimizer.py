"""`Optimizer`: what all optimisers share. How parameters follow their gradients is said in files of their own."""

import inspect
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from chainrule.engine import Tensor
from chainrule.errors import ChainruleError
from chainrule.nn.arguments import positive, real

Array = np.ndarray[Any, Any]


class Optimizer:
    """The base of all optimisers. A subclass gives `_step`, and names the arrays that it remembers with `_remember`.

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
        The learning rate, positive; it may be changed between steps.
    weight_decay : float
        λ ≥ 0: the gradient becomes g + λ p, which is that of the loss plus λ/2 ‖p‖². `grad` itself is left alone.

    Notes
    -----
    All options but `lr` are settled here, since the arrays that are remembered depend on them; to set one later raises.
    """

    _decoupled = False  # whether the decay is a step of its own, which `_step` takes, and no part of the gradient

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float = 0.0) -> None:
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
        self.lr = lr
        self.weight_decay = self._number("weight_decay", weight_decay)
        self._state: dict[str, Array] = {}
        self._update = [np.empty_like(p.value) for p in self.parameters]
        decayed = self.weight_decay and not self._decoupled
        self._decayed = [np.empty_like(p.value) for p in self.parameters] if decayed else []

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) and name in inspect.signature(type(self)).parameters:
            raise ChainruleError(
                f"{type(self).__name__}: {name} is settled when the optimiser is made; only lr may be changed. Make "
                "a new one, and give it the state of this one by load_state_dict if its arrays are to be kept."
            )
        super().__setattr__(name, value)

    @property
    def lr(self) -> float:
        """The learning rate, as a plain float: with one of NumPy's, float32 steps would be computed in float64."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = positive(f"{type(self).__name__}: lr", value)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for i, p in enumerate(self.parameters):
            g = p.grad
            if g is not None:
                if self._decayed:
                    g = np.multiply(p.value, self.weight_decay, out=self._decayed[i])
                    g += p.grad
                self._step(i, p, g, self._update[i])

    def _step(self, i: int, p: Tensor, g: Array, update: Array) -> None:
        """Change the i-th parameter by its gradient; `update` is an array to compute in. Neither p nor g is written."""
        raise TypeError(f"{type(self).__name__} has no rule: give it a method `_step`.")

    def _remember(self, name: str) -> list[Array]:
        """Zeros in the shape of each parameter, which the state holds under this name."""
        arrays = [np.zeros_like(p.value) for p in self.parameters]
        self._state.update({f"{name}.{i}": a for i, a in enumerate(arrays)})
        return arrays

    def _count(self) -> list[Array]:
        """How many steps each parameter has made: integers of shape (), which the state holds."""
        counts = [np.zeros((), np.int64) for _ in self.parameters]
        self._state.update({f"steps.{i}": n for i, n in enumerate(counts)})
        return counts

    def state_dict(self) -> dict[str, Any]:
        """What must be kept to go on later to the same bits: the learning rate, and copies of the arrays by name."""
        return {"lr": self.lr, **{name: array.copy() for name, array in self._state.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave, from an optimiser of the same kind with parameters of the same shapes.

        Raises
        ------
        ChainruleError
            If the state is another optimiser's; nothing is changed then.
        """
        own: dict[str, Any] = {"lr": self.lr, **self._state}
        for name in {**own, **state}:
            if name not in own or name not in state or np.shape(own[name]) != np.shape(state[name]):
                raise ChainruleError(f"load_state_dict: '{name}' does not fit the state of {self!r}.")
        try:
            arrays = {name: np.asarray(state[name], array.dtype) for name, array in self._state.items()}
        except (TypeError, ValueError):
            raise ChainruleError(f"load_state_dict: the state of {self!r} is made of arrays of numbers.") from None
        self.lr = state["lr"]
        for name, array in arrays.items():
            np.copyto(self._state[name], array)

    def _number(self, name: str, value: Any, below: float = math.inf) -> float:
        """An option as a float, if it is a number in [0, below)."""
        kind = "a number that is not negative" if below == math.inf else f"a number in [0, {below:g})"
        return real(f"{type(self).__name__}: {name}", value, kind, lambda x: 0 <= x < below)

    def __repr__(self) -> str:
        options = inspect.signature(type(self)).parameters.items()
        shown = [name for name, option in options if name == "lr" or getattr(self, name, None) != option.default]
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)}' for n in shown if n != 'parameters')})"
