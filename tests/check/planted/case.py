"""What a case of the corpus is, and how an error is planted: the right source with one place of it changed."""

from __future__ import annotations

import inspect
import itertools
import linecache
import re
import sys
import textwrap
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Inputs = Callable[[int], dict[str, np.ndarray]]

CAUSES = (
    "sign",
    "factor",
    "missing sum",
    "wrong axis",
    "transpose",
    "wrong point",
    "missing activation derivative",
    "overwritten",
    "accumulated",
    "other loss",
)
SHAPES = ("gradients", "directional", "cache", "update", "class")


@dataclass(frozen=True)
class Case:
    """A hand-written backward pass, right and with one planted error.

    Attributes
    ----------
    name : str
    cause : frozenset of str
        The kinds of error that an outside observer may rightly name.
    shape : str
        "gradients": `backward(*inputs)`;
        "directional": `backward(*inputs, dout)`, for a forward with an array as result;
        "cache": `forward(*inputs)` gives (out, cache), and `backward(dout, cache)` the gradients;
        "update": `step(*inputs, lr)` gives new parameters (lr = 0.1, say: an error may show at such an lr alone);
        "class": `net = cls({name: array})`, then `net.forward(*data)` gives the loss, `net.backward()` returns the
        gradients or keeps them in `net.grads`, and `net.update(lr)` changes the parameters.
    forward : callable
        The inputs, in order, to the scalar loss or the output; plain NumPy. For a class too.
    right, wrong : callable
    inputs : callable
        A seed to the inputs by name, in the order of the arguments; what has no gradient is int or bool.
    wrt : tuple of str
        The inputs that gradients are returned for. A tuple or list is for the first of the floats, in order.
    fault : tuple of (str, str)
        The lines changed: what `right` says, and what `wrong` says.
    """

    name: str
    cause: frozenset[str]
    shape: str
    forward: Callable[..., Any]
    right: Any
    wrong: Any
    inputs: Inputs
    wrt: tuple[str, ...]
    fault: tuple[tuple[str, str], ...]


def plant(
    name: str,
    cause: str,
    forward: Callable[..., Any],
    right: Any,
    inputs: Inputs,
    *fault: tuple[str, str],
    shape: str = "gradients",
    wrt: str = "",
) -> Case:
    """A case whose `wrong` is the source of `right` with each of `fault` (old, new) put in its place.

    `cause` names one kind, or two with a bar between them;
    `wrt` the inputs that have gradients, by default all floats.
    """
    floats = [key for key, value in inputs(0).items() if value.dtype.kind == "f"]
    return Case(
        name,
        frozenset(cause.split(" | ")),
        shape,
        forward,
        right,
        _changed(name, right, fault),
        inputs,
        tuple(wrt.split() or floats),
        fault,
    )


def _changed(name: str, right: Any, fault: tuple[tuple[str, str], ...]) -> Any:
    """The function or class `right`, with `fault`; in a module of its own, so that tools find its source."""
    source = textwrap.dedent(inspect.getsource(right))
    for old, new in fault:
        if source.count(old) != 1:
            raise ValueError(f"{name}: {old!r} occurs {source.count(old)} times in {right.__name__}, not once.")
        source = source.replace(old, new)
    module = types.ModuleType("planted_" + re.sub(r"\W", "_", name))
    module.__file__ = f"<{name}>"
    sys.modules[module.__name__] = module
    vars(module).update({k: v for k, v in vars(sys.modules[right.__module__]).items() if not k.startswith("__")})
    linecache.cache[module.__file__] = (len(source), None, source.splitlines(True), module.__file__)
    exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(module))
    return vars(module)[right.__name__]


def given(**make: Any) -> Inputs:
    """Inputs by name: a shape gives normal numbers, anything else is a function of a generator."""

    def inputs(seed: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        return {name: np.asarray(each(rng) if callable(each) else rng.normal(size=each)) for name, each in make.items()}

    return inputs


def labels(n: int | tuple[int, ...], classes: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Integers below `classes`."""
    return lambda rng: rng.integers(classes, size=n)


def one_hot(n: int, classes: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Integer rows with a single 1."""
    return lambda rng: np.eye(classes, dtype=int)[rng.integers(classes, size=n)]


def signs(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Integers -1 and 1."""
    return lambda rng: rng.choice([-1, 1], size=shape)


def positive(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Between 0.5 and 2."""
    return lambda rng: rng.uniform(0.5, 2, size=shape)


def off_zero(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Of either sign, and at least 0.1 away from 0: for ops with a kink there."""
    return lambda rng: rng.choice([-1.0, 1.0], size=shape) * rng.uniform(0.1, 2, size=shape)


def apart(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """No two alike to 0.05: for maxima."""
    return lambda rng: rng.permuted(np.linspace(-2, 2, int(np.prod(shape)))).reshape(shape)


def small(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Normal with deviation 0.5: for weights."""
    return lambda rng: 0.5 * rng.normal(size=shape)


def mask(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Booleans, about 0.6 of them True, and the first always."""

    def make(rng: np.random.Generator) -> np.ndarray:
        keep = rng.random(shape) < 0.6
        keep.flat[0] = True
        return keep

    return make


def gradients(case: Case, backward: Any, inputs: dict[str, np.ndarray], dout: Any = None) -> dict[str, np.ndarray]:
    """What `backward` (right or wrong) says at `inputs`, by input, whatever form it has; of two calls, the second."""
    for _ in range(2):
        copies = {name: value.copy() for name, value in inputs.items()}
        arguments = list(copies.values())
        if case.shape == "directional":
            found = backward(*arguments, np.copy(dout))
        elif case.shape == "cache":
            _, cache = case.forward(*arguments)
            found = backward(np.copy(dout), cache)
        elif case.shape == "update":
            lr = 0.1
            new = by_name(case, backward(*arguments, lr))
            found = {name: (inputs[name] - value) / lr for name, value in new.items()}
        else:
            found = backward(*arguments)
        found = by_name(case, found)
    return found


def class_gradients(case: Case, cls: Any, inputs: dict[str, np.ndarray]) -> tuple[float, dict[str, np.ndarray]]:
    """The loss and the gradients of a class, from the second of two passes over the same data."""
    net = cls({name: inputs[name].copy() for name in case.wrt})
    data = [value.copy() for name, value in inputs.items() if name not in case.wrt]
    for _ in range(2):
        loss = net.forward(*data)
        found = net.backward()
    return float(loss), by_name(case, net.grads if found is None else found)


def by_name(case: Case, found: Any) -> dict[str, np.ndarray]:
    """Gradients by the names of the inputs: "dW1", "grad_W1" and "W1" all belong to W1."""
    if isinstance(found, dict):
        names = {prefix + name: name for prefix in ("d", "grad_", "") for name in case.wrt}
        return {names[key]: np.asarray(value) for key, value in found.items()}
    values = list(found) if isinstance(found, tuple | list) else [found]
    return {name: np.asarray(value) for name, value in itertools.zip_longest(case.wrt, values)}
