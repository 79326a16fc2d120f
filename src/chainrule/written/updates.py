"""The optimisers' steps as lines of code: what `chainrule.optim` computes, without its memory-saving."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from chainrule.errors import ChainruleError, UnknownNameError


@dataclass(frozen=True)
class Update:
    """An optimiser's step in lines that speak of `parameters` and `gradients`, which they go through together.

    Attributes
    ----------
    title : str
        What it is called, with its source.
    steps : tuple of str
        Lines; `{new}` stands for the names of the new parameters.
    numbers : dict of str to float
        The arguments with their defaults.
    memory : tuple of str
        What is remembered from step to step; at first 0 for each parameter.
    counts : bool
        Whether the number of the step is remembered too, as `k`.
    """

    title: str
    steps: tuple[str, ...]
    numbers: dict[str, float]
    memory: tuple[str, ...] = ()
    counts: bool = False

    @property
    def arguments(self) -> list[str]:
        """The function's further arguments."""
        state = ["state=None"] if self.memory else []
        return [*state, *(f"{name}={value!r}" for name, value in self.numbers.items())]

    @property
    def given(self) -> list[str]:
        """The names of the further arguments, which nothing before the update may take."""
        return [*self.numbers, *(["state"] if self.memory else [])]

    @property
    def assigned(self) -> list[str]:
        """What the lines assign: no parameter may be called so."""
        return [*self.memory, "parameters", "gradients", "k", "c1", "c2", "norm"]

    @property
    def state(self) -> str:
        """What is returned as the new state."""
        parts = [*self.memory, *(["k"] if self.counts else [])]
        return f"({', '.join(parts)})" if len(parts) > 1 else parts[0] if parts else "None"

    def lines(self, parameters: Sequence[str], gradients: Sequence[str]) -> list[str]:
        """The lines for parameters and gradients of these names."""
        n = len(parameters)
        lines = [f"parameters = [{', '.join(parameters)}]", f"gradients = [{', '.join(gradients)}]"]
        if self.memory:
            start = [*(f"[0] * {n}" for _ in self.memory), *(["0"] if self.counts else [])]
            lines.append(f"{self.state.strip('()')} = state or {_tuple(start)}")
        new = parameters[0] + "," if n == 1 else ", ".join(parameters)
        return [*lines, *(step.format(new=new) for step in self.steps)]


def _tuple(parts: Sequence[str]) -> str:
    return f"({', '.join(parts)})" if len(parts) > 1 else parts[0]


DECAY = "gradients = [d + weight_decay * p for p, d in zip(parameters, gradients)]"
VELOCITY = "v = [momentum * v + d for v, d in zip(v, gradients)]"
MOMENTS = (
    "k = k + 1",
    "m = [beta1 * m + (1 - beta1) * d for m, d in zip(m, gradients)]",
    "v = [beta2 * v + (1 - beta2) * d ** 2 for v, d in zip(v, gradients)]",
    "c1, c2 = 1 - beta1 ** k, 1 - beta2 ** k",
    "{new} = [p - lr * (m / c1) / (np.sqrt(v / c2) + eps) for p, m, v in zip(parameters, m, v)]",
)
ADAM = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
SQUARES = "s = [alpha * s + (1 - alpha) * d ** 2 for s, d in zip(s, gradients)]"

CLIPS = {
    "clip_norm": (
        "norm = np.sqrt(sum((d ** 2).sum() for d in gradients))",
        "gradients = [d * min(1, clip_norm / (float(norm) + 1e-6)) for d in gradients]",
    ),
    "clip_value": ("gradients = [np.clip(d, -clip_value, clip_value) for d in gradients]",),
}

UPDATES = {
    "sgd": Update("gradient descent", ("{new} = [p - lr * d for p, d in zip(parameters, gradients)]",), {"lr": 0.1}),
    "momentum": Update(
        "momentum [Polyak 1964]",
        (VELOCITY, "{new} = [p - lr * v for p, v in zip(parameters, v)]"),
        {"lr": 0.1, "momentum": 0.9},
        ("v",),
    ),
    "nesterov": Update(
        "Nesterov's momentum [Sutskever et al. 2013]",
        (VELOCITY, "{new} = [p - lr * (d + momentum * v) for p, d, v in zip(parameters, gradients, v)]"),
        {"lr": 0.1, "momentum": 0.9},
        ("v",),
    ),
    "rmsprop": Update(
        "RMSprop [Hinton 2012]",
        (SQUARES, "{new} = [p - lr * d / (np.sqrt(s) + eps) for p, d, s in zip(parameters, gradients, s)]"),
        {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8},
        ("s",),
    ),
    "adam": Update("Adam [Kingma and Ba 2015]", MOMENTS, ADAM, ("m", "v"), counts=True),
    "adamw": Update(
        "AdamW [Loshchilov and Hutter 2019]",
        ("parameters = [p - lr * weight_decay * p for p in parameters]", *MOMENTS),
        {**ADAM, "weight_decay": 1e-2},
        ("m", "v"),
        counts=True,
    ),
}


def clipped(update: Update | None, trainer: Any) -> Update | None:
    """The update after the clipping that a Trainer does."""
    wanted = {name: getattr(trainer, name) for name in CLIPS if getattr(trainer, name, None) is not None}
    if update is None or not wanted:
        return update
    steps = [step for name in wanted for step in CLIPS[name]]
    return replace(update, steps=(*steps, *update.steps), numbers={**update.numbers, **wanted})


def update_of(which: Any) -> Update | None:
    """The update with this name, or that of an optimiser with its own numbers; None for None."""
    if which is None:
        return None
    if isinstance(which, str):
        if which not in UPDATES:
            raise UnknownNameError("update", which, UPDATES)
        return UPDATES[which]
    name = type(which).__name__.lower()
    if name == "sgd" and which.momentum:
        name = "nesterov" if which.nesterov else "momentum"
    unwritten = [key for key in ("amsgrad", "centered") if getattr(which, key, False)]
    if name == "rmsprop" and which.momentum:
        unwritten.append("momentum")
    if name not in UPDATES or unwritten:
        raise ChainruleError(
            f"longhand: there are no lines for the step of {which!r}"
            f"{' with ' + unwritten[0] if unwritten else ''}; known are {', '.join(UPDATES)}."
        )
    known = UPDATES[name]
    betas = dict(zip(("beta1", "beta2"), getattr(which, "betas", ()), strict=False))
    numbers = {key: betas[key] if key in betas else getattr(which, key) for key in known.numbers}
    if which.weight_decay and name != "adamw":
        numbers["weight_decay"] = which.weight_decay
        return Update(known.title, (DECAY, *known.steps), numbers, known.memory, known.counts)
    return Update(known.title, known.steps, numbers, known.memory, known.counts)
