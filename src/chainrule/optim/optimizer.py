"""`Optimizer`: what all optimisers share. How parameters follow their gradients is said in files of their own."""

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from chainrule.compiler.plan import Plan
from chainrule.engine import Tensor
from chainrule.errors import ChainruleError, ShapeError
from chainrule.graph import trace
from chainrule.nn.arguments import positive, real
from chainrule.ops.dims import show

Array = np.ndarray[Any, Any]
Named: TypeAlias = Mapping[str, Any]  # arrays, or Symbols of a graph that is being recorded, by name


class Optimizer:
    """The base of all optimisers.

    A subclass gives `formula`, in plain NumPy, and `numbers`, if others than the learning rate change from step to
    step; it names the arrays that it remembers with `_remember`. So one formula is the step on arrays and what a
    compiler puts into the graph of a whole training step.

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

    Attributes
    ----------
    memory : list of dict of str to ndarray
        What is remembered of each parameter, by name; the arrays stay the same and are written to.
    """

    _decoupled = False  # whether the decay is a step of its own, in `formula`, and no part of the gradient

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
        self.memory: list[dict[str, Array]] = [{} for _ in self.parameters]
        self._state: dict[str, Array] = {}
        self._steps: list[Array] = []
        self._plans: list[tuple[Plan, list[Array], np.dtype[Any]] | None] = [None] * len(self.parameters)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_plans": [None] * len(self._plans)}  # functions, which a copy makes for itself

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
        last, numbers = None, []
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                plan, memory, dtype = self._plans[i] or self._plan(i)
                g = np.asarray(p.grad, dtype)  # which a person may have set to something else
                if g.shape != p.shape:
                    raise ShapeError(
                        f"{type(self).__name__}: a gradient has the shape {show(g.shape)}, its parameter "
                        f"{show(p.shape)}."
                    )
                now = (int(self._steps[i]) if self._steps else 0), dtype
                if now != last:
                    last, numbers = now, [np.asarray(n, dtype) for n in self.numbers(now[0] + 1).values()]
                plan(p.writable(), g, *memory, *numbers)
                if self._steps:
                    self._steps[i] += 1

    @property
    def counts(self) -> bool:
        """Whether the numbers change from step to step."""
        return bool(self._steps)

    def steps_made(self, indices: Sequence[int]) -> int:
        """How many steps the parameters at these places have made, 0 where nobody counts.

        Raises
        ------
        ChainruleError
            If they have made different numbers of steps so far, and so share no `numbers`.
        """
        made = {int(self._steps[i]) for i in indices} if self._steps else {0}
        if len(made) > 1:
            raise ChainruleError(
                f"{type(self).__name__}: the parameters have made different numbers of steps ({sorted(made)}), so they "
                "share no numbers."
            )
        return made.pop() if made else 0

    def count_steps(self, indices: Sequence[int], made: int) -> None:
        """Count steps that somebody has taken himself, with `formula` and the arrays of `memory`."""
        for i in indices if self._steps else ():
            self._steps[i] += made

    def numbers(self, step: int) -> dict[str, float]:
        """What changes from step to step, by name; `step` counts from 1. By default the learning rate, `lr`."""
        return {"lr": self._lr}

    def formula(self, p: Any, g: Any, memory: Named, numbers: Named) -> tuple[Any, dict[str, Any]]:
        """The new parameter, and what is remembered of it from now on.

        Parameters
        ----------
        p, g : array
            The parameter and its gradient: ndarrays, or Symbols of a graph being recorded.
        memory : dict of str to array
            What was remembered, by name; zeros at first.
        numbers : dict of str to number
            Those of `numbers`, of the parameter's dtype.
        """
        raise TypeError(f"{type(self).__name__} has no rule: give it a method `formula`.")

    def _decayed(self, p: Any, g: Any) -> Any:
        """The gradient with that of the decay."""
        return self.weight_decay * p + g if self.weight_decay and not self._decoupled else g

    def _plan(self, i: int) -> tuple[Plan, list[Array], np.dtype[Any]]:
        """The formula for the i-th parameter, which writes the new values over the old ones; its memory; its dtype."""
        p, kinds, memory = self.parameters[i], list(self.memory[i]), list(self.memory[i].values())

        def step(p: Any, g: Any, memory: Named, numbers: Named) -> tuple[Any, ...]:
            new, remembered = self.formula(p, g, memory, numbers)
            return new, *(remembered[kind] for kind in kinds)

        for known, other in zip(self._plans, self.parameters, strict=True):
            if known is not None and (other.shape, other.dtype) == (p.shape, p.dtype):
                plan = known[0]
                break
        else:
            numbers = dict.fromkeys(self.numbers(1), np.zeros((), p.dtype))
            graph = trace(step, p.value, p.value, self.memory[i], numbers)
            plan = Plan(graph, into={0: 0, **{1 + k: 2 + k for k in range(len(kinds))}})
        made = self._plans[i] = plan, memory, p.dtype
        return made

    def _remember(self, name: str) -> None:
        """Zeros in the shape of each parameter, which `memory` and the state hold under this name."""
        for i, (p, memory) in enumerate(zip(self.parameters, self.memory, strict=True)):
            memory[name] = self._state[f"{name}.{i}"] = np.zeros_like(p.value)

    def _count(self) -> None:
        """Count how many steps each parameter has made: integers of shape (), which the state holds."""
        self._steps = [np.zeros((), np.int64) for _ in self.parameters]
        self._state.update({f"steps.{i}": n for i, n in enumerate(self._steps)})

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
