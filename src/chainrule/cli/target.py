"""What a command works on: a function or a model that somebody names, and arguments of the shapes that they give."""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, UnknownNameError

SHAPE = re.compile(r"(?P<name>\w+)=(?P<shape>\d+(x\d+)*|)(:(?P<dtype>[a-z]+\d*)(<(?P<below>\d+))?)?$")
HOW = "write NAME=SHAPE, NAME=SHAPE:DTYPE or, for labels, NAME=SHAPE:int<CLASSES, such as --input x=50x784:float32"


def load(target: str) -> Any:
    """What `package.module:name` or `file.py:name` stands for; the name of a report stands for its network's Trainer.

    The module is imported, which runs it: it is the user's own.
    """
    place, colon, name = target.rpartition(":")
    if not colon:
        raise ChainruleError(f"'{target}' names no function: write package.module:function or file.py:function.")
    try:
        if place.endswith(".py"):
            module = _from_file(Path(place))
        else:
            sys.path.insert(0, "")  # as `python -m` has it
            module = importlib.import_module(place)
    except ChainruleError:
        raise
    except ModuleNotFoundError as error:
        raise ChainruleError(f"'{target}': there is no module {error.name}, seen from the current folder.") from None
    except Exception as error:
        raise ChainruleError(f"'{target}': importing it failed with {type(error).__name__}: {error}") from error
    if not hasattr(module, name):
        raise UnknownNameError(f"function in {place}", name, [n for n in vars(module) if not n.startswith("_")])
    return getattr(module, name)


def examples(module: Any) -> tuple[Any, ...] | dict[str, Any] | None:
    """What `example_inputs()` of the target's module gives, if it has one."""
    owner = sys.modules.get(getattr(module, "__module__", "") or "")
    make = getattr(owner, "example_inputs", None)
    return None if make is None else make()


def arguments(f: Any, inputs: Sequence[str], seed: int = 0) -> tuple[Any, ...]:
    """Arguments of `f`: random ones of the shapes that are asked for, else those of its module's `example_inputs()`.

    Parameters
    ----------
    f : callable
    inputs : sequence of str
        `W=784x64`, `x=50x784:float32`, `t=50:int<10` (whole numbers below 10), `lr=` (a number).
    seed : int
        Of the random numbers.
    """
    given = {}
    rng = np.random.default_rng(seed)
    for text in inputs:
        found = SHAPE.match(text)
        if found is None:
            raise ChainruleError(f"--input {text}: not understood; {HOW}.")
        given[found["name"]] = _random(rng, text, found)
    if not given and (made := examples(f)) is not None:
        if not isinstance(made, dict):
            return tuple(made)
        given = dict(made)
    names = [p.name for p in inspect.signature(f).parameters.values() if p.default is p.empty]
    if set(given) - set(inspect.signature(f).parameters):
        raise UnknownNameError("argument", sorted(set(given) - set(names))[0], names)
    missing = [name for name in names if name not in given]
    if missing:
        raise ChainruleError(
            f"the argument {missing[0]} of {getattr(f, '__name__', 'the target')} is not given: {HOW}; or give the "
            "module a function example_inputs() that returns them all."
        )
    return tuple(given[name] for name in inspect.signature(f).parameters if name in given)


def _random(rng: np.random.Generator, text: str, found: re.Match[str]) -> Any:
    shape = tuple(int(n) for n in found["shape"].split("x")) if found["shape"] else ()
    dtype = found["dtype"] or "float64"
    if found["below"] or dtype.startswith(("int", "uint")):
        if not found["below"]:
            raise ChainruleError(f"--input {text}: whole numbers need a bound, such as {text}<10.")
        return rng.integers(0, int(found["below"]), shape).astype(dtype)
    try:
        return rng.normal(size=shape).astype(dtype)
    except TypeError:
        raise ChainruleError(f"--input {text}: there is no dtype '{dtype}'; float32, float64 and int are known.") from None


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise ChainruleError(f"there is no file {path}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module


def numbers(text: str) -> int | tuple[int, ...] | None:
    """`0`, `0,2` or `none` as `argnums` takes it."""
    if text == "none":
        return None
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ChainruleError(f"--argnums {text}: expected numbers such as 0 or 0,2, or none.") from None
    return found[0] if len(found) == 1 else found
