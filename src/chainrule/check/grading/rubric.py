"""A rubric: what a submission is graded by. It is a TOML file, data and no code; its references are the teacher's."""

import inspect
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.check.derivatives.reading import is_float
from chainrule.check.grading.isolation import Limits
from chainrule.check.grading.worker import raised
from chainrule.errors import ChainruleError, UnknownNameError

SHAPE = re.compile(r"(?P<shape>\d+(x\d+)*|)(:(?P<dtype>[a-z]+\d*)(<(?P<below>\d+))?)?")
KINDS = ("backward", "gradients", "forward")
Types = tuple[type, ...]
NUMBER: Types = (int, float)
TEXT: Types = (str,)
TABLE: Types = (dict,)
LIST: Types = (list,)
WHOLE: Types = (int,)
RUBRIC: dict[str, Types] = {
    "title": TEXT, "seed": WHOLE, "seconds": NUMBER, "memory": WHOLE, "credit": TABLE, "task": LIST
}  # fmt: skip
TASK: dict[str, Types] = {
    "name": TEXT, "points": NUMBER, "kind": TEXT, "function": TEXT, "names": LIST, "reference": TEXT, "inputs": TABLE,
    "gradients": LIST, "forward": TEXT, "credit": TABLE, "tolerance": NUMBER,
}  # fmt: skip
CREDIT: dict[str, Types] = {"factor": NUMBER, "shape": NUMBER}
WORDS = {NUMBER: "a number", TEXT: "a text", TABLE: "a table", LIST: "a list", WHOLE: "a whole number"}


class RubricError(ChainruleError, ValueError):
    """A rubric that cannot be used; the message names the file, the task and what was expected."""


@dataclass(frozen=True)
class Credit:
    """Which share of an item's points there is for something that is not right.

    Attributes
    ----------
    factor : float
        For what is right up to a constant factor.
    shape : float
        For a wrong one of the right shape.
    """

    factor: float = 0.5
    shape: float = 0.25


@dataclass(frozen=True)
class Task:
    """One task of a rubric.

    Attributes
    ----------
    name : str
    points : float
    kind : {"backward", "gradients", "forward"}
        A derivative, by whichever word; or a function whose values are compared.
    functions : tuple of str
        What the submission's function may be called.
    reference : callable
        The teacher's forward pass.
    inputs : dict of arrays
    gradients : tuple of str
        The inputs whose gradients are asked for; each has the same share of the points.
    forward : str
        The submission's own forward pass, whose cache its backward pass takes; "" for that of the reference.
    credit : Credit
    tolerance : float or None
    """

    name: str
    points: float
    kind: str
    functions: tuple[str, ...]
    reference: Callable[..., Any]
    inputs: dict[str, Any]
    gradients: tuple[str, ...]
    forward: str = ""
    credit: Credit = field(default_factory=Credit)
    tolerance: float | None = None


@dataclass(frozen=True)
class Rubric:
    """All tasks; `files` are the teacher's, which no submission gets to see."""

    title: str
    tasks: tuple[Task, ...]
    limits: Limits
    seed: int
    files: tuple[Path, ...]


def read(path: Path, load: Callable[[str], Any]) -> Rubric:
    """Read a rubric.

    Parameters
    ----------
    path : Path
    load : callable
        Gives the function that `file.py:function` stands for; files are looked for beside the rubric.

    Raises
    ------
    RubricError
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RubricError(f"{path.name} is no TOML: {error}.") from None
    _check(table, RUBRIC, path.name)
    if not table.get("task"):
        raise RubricError(f"{path.name} has no task: each begins with a line [[task]].")
    credit = _credit(table.get("credit", {}), Credit(), path.name)
    seed = table.get("seed", 0)
    references: list[Path] = []

    def beside(name: str) -> Any:
        place, _, function = name.rpartition(":")
        if place.endswith(".py"):
            references.append(path.parent / place)
            return load(f"{path.parent / place}:{function}")
        return load(name)

    tasks = tuple(
        _task(each, f"{path.name}, task {i}", beside, credit, np.random.default_rng([seed, i]))
        for i, each in enumerate(table["task"], 1)
    )
    limits = Limits(float(table.get("seconds", Limits.seconds)), table.get("memory", Limits.memory))
    if not limits.seconds > 0 or limits.memory < 256:
        raise RubricError(f"{path.name}: expected seconds above 0 and a memory of at least 256 (megabytes).")
    return Rubric(table.get("title", path.stem), tasks, limits, seed, (path, *references))


def random_array(text: str, rng: np.random.Generator) -> Any:
    """A random array of the shape and dtype that `50x784`, `3:float32` or `50:int<10` stands for; "" is a number.

    Raises
    ------
    ChainruleError
        A sentence without an end, about the text alone.
    """
    found = SHAPE.fullmatch(text)
    if found is None:
        raise ChainruleError("not understood; expected a shape such as 50x784, 3:float32 or 50:int<10")
    shape = tuple(int(n) for n in found["shape"].split("x")) if found["shape"] else ()
    dtype = found["dtype"] or "float64"
    if found["below"] or dtype.startswith(("int", "uint")):
        if not found["below"]:
            raise ChainruleError(f"whole numbers need a bound, such as {text}<10")
        return rng.integers(0, int(found["below"]), shape).astype(dtype)
    if dtype not in ("float32", "float64", "float16", "float"):
        raise ChainruleError(f"there is no dtype '{dtype}'; float32, float64 and int are known")
    return np.asarray(rng.normal(size=shape)).astype(dtype)[()]


def _task(table: Any, where: str, load: Callable[[str], Any], credit: Credit, rng: np.random.Generator) -> Task:
    if not isinstance(table, dict):
        raise RubricError(f"{where}: expected a table, which begins with a line [[task]].")
    _check(table, TASK, where)
    for key in ("points", "function", "reference", "inputs"):
        if key not in table:
            raise RubricError(f"{where}: '{key}' is missing.")
    where = f"{where} ({table['function']})"
    kind = table.get("kind", "backward")
    if kind not in KINDS:
        raise RubricError(f"{where}: the kind is '{kind}'; expected one of {', '.join(KINDS)}.")
    if not table["points"] > 0:
        raise RubricError(f"{where}: the points are {table['points']}; expected a number above 0.")
    inputs = {name: _input(value, f"{where}, input {name}", rng) for name, value in table["inputs"].items()}
    reference = load(table["reference"])
    _check_reference(reference, inputs, where)
    return Task(
        name=str(table.get("name", table["function"])),
        points=table["points"],
        kind=kind,
        functions=(table["function"], *_names(table, "names", where)),
        reference=reference,
        inputs=inputs,
        gradients=_gradients(table, inputs, kind, where),
        forward=table.get("forward", ""),
        credit=_credit(table.get("credit", {}), credit, where),
        tolerance=table.get("tolerance"),
    )


def _gradients(table: dict[str, Any], inputs: Mapping[str, Any], kind: str, where: str) -> tuple[str, ...]:
    floats = [name for name, x in inputs.items() if is_float(x)]
    names = tuple(_names(table, "gradients", where)) or tuple(floats)
    if kind != "forward":
        for name in names:
            if name not in floats:
                raise RubricError(f"{where}: the gradient by '{name}' is asked for; inputs of floats are {floats}.")
        if not names:
            raise RubricError(f"{where}: no input is of floats, so there is no gradient to ask for.")
    return names


def _check_reference(reference: Any, inputs: Mapping[str, Any], where: str) -> None:
    if not callable(reference):
        raise RubricError(f"{where}: the reference is no function but a {type(reference).__name__}.")
    try:
        inspect.signature(reference).bind(**inputs)
    except (TypeError, ValueError):
        names = ", ".join(inspect.signature(reference).parameters)
        raise RubricError(
            f"{where}: the reference takes ({names}), the inputs are {', '.join(inputs)}; expected the same names."
        ) from None
    try:
        reference(**{name: np.array(x)[()] for name, x in inputs.items()})
    except Exception as error:
        raise RubricError(f"{where}: the reference {raised(error)}.") from error


def _input(value: Any, where: str, rng: np.random.Generator) -> Any:
    try:
        if isinstance(value, str):
            return random_array(value, rng)
        array = np.asarray(value)
    except (ChainruleError, ValueError) as error:
        raise RubricError(f"{where}: {error}.") from None
    if array.dtype.kind not in "fi":
        raise RubricError(f'{where}: expected a shape such as "5x3", a number, or lists of numbers.')
    return array[()] if array.ndim else value


def _names(table: Mapping[str, Any], key: str, where: str) -> list[str]:
    names: list[str] = table.get(key, [])
    if not all(isinstance(name, str) for name in names):
        raise RubricError(f"{where}: '{key}' is {names}; expected a list of names.")
    return names


def _credit(table: Mapping[str, Any], default: Credit, where: str) -> Credit:
    _check(table, CREDIT, f"{where}, credit")
    credit = Credit(table.get("factor", default.factor), table.get("shape", default.shape))
    if not (0 <= credit.shape <= 1 and 0 <= credit.factor <= 1):
        raise RubricError(f"{where}: credit is a share of the points, between 0 and 1.")
    return credit


def _check(table: Mapping[str, Any], known: Mapping[str, Types], where: str) -> None:
    """Every key is known, and its value of the right type."""
    for key, value in table.items():
        if key not in known:
            raise RubricError(f"{where}: {UnknownNameError('key', key, known)}")
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise RubricError(f"{where}: '{key}' is {value!r}; expected {WORDS[known[key]]}.")
