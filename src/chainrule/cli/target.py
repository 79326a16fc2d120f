"""What a command works on: a function or a model that somebody names, and arguments of the shapes that they give."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, UnknownNameError

HOW = "write --input NAME=SHAPE, NAME=SHAPE:DTYPE (x=50x784:float32) or, for labels below 10, 't=50:int<10' in quotes"


def load(target: str) -> Any:
    """What `package.module:name` or `file.py:name` stands for; the name of a report stands for its network's Trainer.

    The module is imported, which runs it: it is the user's own.
    """
    place, colon, name = target.rpartition(":")
    if not colon:
        raise ChainruleError(
            f"'{target}' names no function: write package.module:function or file.py:function, or the name of a report."
        )
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
    except (Exception, SystemExit) as error:
        from chainrule.check.grading.worker import raised

        raise ChainruleError(f"'{target}': importing it {raised(error)}.") from error
    try:
        return attrgetter(name)(module)
    except AttributeError:
        raise UnknownNameError(
            f"function in {place}", name, [n for n in vars(module) if not n.startswith("_")]
        ) from None


def module_of(target: str) -> Any:
    """The module of a target that has been loaded; None for a report."""
    place, _, _ = target.rpartition(":")
    return sys.modules.get(Path(place).stem if place.endswith(".py") else place)


def examples(module: Any) -> tuple[Any, ...] | dict[str, Any] | None:
    """What a module's `example_inputs()` gives, if it has one."""
    make = getattr(module, "example_inputs", None)
    return None if make is None else make()


def arguments(f: Any, inputs: Sequence[str], seed: int = 0, module: Any = None) -> tuple[Any, ...]:
    """Arguments of `f`: random ones of the shapes that are asked for, else those of its module's `example_inputs()`.

    Parameters
    ----------
    f : callable
    inputs : sequence of str
        `W=784x64`, `x=50x784:float32`, `t=50:int<10` (whole numbers below 10), `lr=` (a number).
    seed : int
        Of the random numbers.
    module : module, optional
        Where `example_inputs()` is looked for; by default the one that `f` says it comes from.
    """
    given = arrays(inputs, np.random.default_rng(seed))
    if not _has_signature(f):  # some of C's do not say what they take
        if not given:
            raise ChainruleError(f"{getattr(f, '__name__', 'the target')} does not say what it takes: {HOW}.")
        return tuple(given.values())
    module = module or sys.modules.get(getattr(f, "__module__", "") or "")
    if not given and (made := examples(module)) is not None:
        if not isinstance(made, dict):
            return tuple(made)
        given = {name: x for name, x in made.items() if name in inspect.signature(f).parameters}
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


def _has_signature(f: Any) -> bool:
    try:
        inspect.signature(f)
    except ValueError:
        return False
    return True


def is_model(f: Any) -> bool:
    """Whether it is a Module or a Trainer, whose arguments have no names of their own."""
    return hasattr(f, "as_function") or (hasattr(f, "model") and hasattr(f, "optimizer"))


def arrays(inputs: Sequence[str], rng: np.random.Generator) -> dict[str, Any]:
    """Random arrays for `NAME=SHAPE`, in the order in which they are given."""
    from chainrule.check.grading.rubric import random_array

    given = {}
    for text in inputs:
        name, equals, shape = text.partition("=")
        if not equals or not name.isidentifier():
            raise ChainruleError(f"--input {text}: not understood; {HOW}.")
        try:
            given[name] = random_array(shape, rng)
        except ChainruleError as error:
            raise ChainruleError(f"--input {text}: {error}; {HOW}.") from None
    return given


def _from_file(path: Path) -> Any:
    """The module in a file; it runs once, so that two of its functions see the same globals."""
    if not path.is_file():
        raise ChainruleError(f"there is no file {path}.")
    known = sys.modules.get(path.stem)
    if known is not None and Path(getattr(known, "__file__", None) or "").resolve() == path.resolve():
        return known
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
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
