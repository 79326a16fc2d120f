"""The optimisers' steps as formulas: what `updates.py` has as code."""

from collections.abc import Sequence

from chainrule.written.mathematics.formula import Formula, Number, Symbol
from chainrule.written.mathematics.template import Template
from chainrule.written.updates import UPDATES, Update

LETTERS: dict[str, Formula] = {
    "lr": Symbol("lr", "η"),
    "momentum": Symbol("momentum", "μ"),
    "alpha": Symbol("alpha", "α"),
    "beta1": Symbol("beta1", "β", (Number(1),)),
    "beta2": Symbol("beta2", "β", (Number(2),)),
    "eps": Symbol("eps", "ε"),
    "weight_decay": Symbol("weight_decay", "λ"),
    "m": Symbol("m", "m"),
    "v": Symbol("v", "v"),
    "s": Symbol("s", "s"),
    "k": Symbol("k", "k"),
    "c1": Symbol("m_hat", "m", accent="hat"),
    "c2": Symbol("v_hat", "v", accent="hat"),
}
VELOCITY = ("v", r"{momentum} \odot {v} + {d}")
MOMENTS = (
    ("m", r"{beta1} \odot {m} + (1 - {beta1}) \odot {d}"),
    ("v", r"{beta2} \odot {v} + (1 - {beta2}) \odot {d}^2"),
    ("c1", r"\frac{{m}}{1 - {beta1}^{k}}"),
    ("c2", r"\frac{{v}}{1 - {beta2}^{k}}"),
    ("p", r"{p} - {lr} \odot \frac{{c1}}{\sqrt{{c2}} + {eps}}"),
)
# What each line gives a new value to, and which; p is the parameter, d its gradient.
STEPS: dict[str, tuple[tuple[str, str], ...]] = {
    "sgd": (("p", r"{p} - {lr} \odot {d}"),),
    "momentum": (VELOCITY, ("p", r"{p} - {lr} \odot {v}")),
    "nesterov": (VELOCITY, ("p", r"{p} - {lr} \odot ({d} + {momentum} \odot {v})")),
    "rmsprop": (
        ("s", r"{alpha} \odot {s} + (1 - {alpha}) \odot {d}^2"),
        ("p", r"{p} - {lr} \odot \frac{{d}}{\sqrt{{s}} + {eps}}"),
    ),
    "adam": MOMENTS,
    "adamw": (("p", r"{p} - {lr} \odot {weight_decay} \odot {p}"), *MOMENTS),
}


def step(update: Update, parameter: Formula, gradient: Formula) -> list[tuple[Formula, Formula]]:
    """The lines of an update: what becomes what. The number k of the step counts from 1."""
    name = next(key for key, known in UPDATES.items() if known.title == update.title)
    lines: Sequence[tuple[str, str]] = STEPS[name]
    if "weight_decay" in update.numbers and name != "adamw":
        lines = [("d", r"{d} + {weight_decay} \odot {p}"), *lines]
    places = {**LETTERS, "p": parameter, "d": gradient}
    return [(places[left], Template(right, places, "numbers").formula()) for left, right in lines]
