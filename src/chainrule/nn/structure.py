"""What a Module's forward pass depends on besides its inputs, noted so that a look tells whether it is still the same.

Parameters may change at any time; everything else that `forward` reads decides what is recorded: the attributes of all
parts and, of classes that are not chainrule's own, what stands in the class and what its functions read from outside.
"""

import dis
import types
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.engine import Tensor
from chainrule.errors import ChainruleError

if TYPE_CHECKING:
    from chainrule.nn.module import Module

_NUMBERS = (type(None), bool, int, float, complex, str, bytes, np.generic, np.dtype, slice, type(...))
_LIBRARIES = ("chainrule", "numpy", "math", "scipy", "builtins", "typing", "functools", "itertools", "operator")
_SEE_ALL = {"getattr", "vars", "globals", "locals", "eval", "exec", "__dict__", "__import__"}
_END = object()
_array_of = attrgetter("_value")


class NotRecordableError(ChainruleError):
    """A forward pass, or a training step, cannot be kept as a graph; the message says why. Eager mode computes it."""


class Structure:
    """What a model is made of at a moment; and other objects that take part, such as a loss.

    Attributes
    ----------
    tensors : list of Tensor
        Parameters and statistics, in the order of `as_function(statistics=True)`.
    foreign : bool
        Whether a part is of a class that is not chainrule's own.

    Raises
    ------
    NotRecordableError
        If the forward pass reads something that may change unseen.
    """

    def __init__(self, model: "Module", *others: Any) -> None:
        self._views: list[Iterable[Any]] = []
        self._expected: list[Any] = []
        self._decisive: list[Any] = []  # what is expected, without the flags of training mode
        self._restored: list[tuple[Any, Any]] = []
        self._seen: set[int] = set()
        self.tensors: list[Tensor] = list(model.as_function(statistics=True)[1].values())
        self.versions = [t.version for t in self.tensors]
        modules = [m for _, m in model.named_modules()]
        for m in modules:
            m.training = m.training  # an attribute of each, so that evaluation mode adds none
        self._classes = {cls for m in (*modules, *others) for cls in type(m).__mro__}
        self.foreign = not all(_of_a_library(cls) for cls in self._classes)
        for m in (*modules, *others):
            self._module(m)
        for cls in self._classes:
            if not _of_a_library(cls):
                self._class(cls)
        self._note([_END], [_END])

    def unchanged(self) -> bool:
        """Whether all is as it was, but for the values of parameters."""
        return all(map(is_, chain.from_iterable(self._views), self._expected))

    def current(self) -> list[Any]:
        """What the forward pass depends on now, with the arrays of all tensors.

        Two of these lists are compared by `==`, which looks for identity first and takes a fraction of a microsecond.
        (Where two elements are not identical it goes on to compare their values: if they are equal, so are the outputs;
        arrays raise.) Whoever keeps one holds the arrays, so that a change of a tensor gives it another one.
        """
        return [*chain.from_iterable(self._views), *map(_array_of, self.tensors)]

    def decides_the_same(self, other: "Structure") -> bool:
        """Whether what is recorded of one holds for the other."""
        same = len(self._decisive) == len(other._decisive) and all(map(is_, self._decisive, other._decisive))
        return same and len(self.tensors) == len(other.tensors) and all(map(is_, self.tensors, other.tensors))

    def restore(self) -> bool:
        """Put back the attributes that were set in the meantime; whether there were any, or a tensor was assigned."""
        if self.unchanged():
            return [t.version for t in self.tensors] != self.versions
        for container, copy in self._restored:
            container.clear()
            container.update(copy) if isinstance(container, dict) else container.extend(copy)
        return True

    def _note(self, view: Iterable[Any], values: Iterable[Any], decisive: Iterable[Any] | None = None) -> None:
        values = list(values)
        self._views.append(view)
        self._expected += values
        self._decisive += values if decisive is None else decisive

    def _module(self, module: Any) -> None:
        attributes = vars(module)
        self._restored.append((attributes, dict(attributes)))
        decisive = [x for pair in attributes.items() if pair[0] != "training" for x in pair]
        self._note(attributes.values(), attributes.values(), decisive)
        if not _of_a_library(type(module)):
            for name, x in attributes.items():
                self._value(x, f"{type(module).__name__}.{name}", inside=True)

    def _class(self, cls: type) -> None:
        self._note(vars(cls).values(), vars(cls).values())
        for name, x in vars(cls).items():
            f = getattr(x, "fget", None) or getattr(x, "__func__", x)
            if isinstance(f, types.FunctionType):
                self._function(f)
            elif not name.startswith("__"):
                self._value(x, f"{cls.__name__}.{name}")

    def _value(self, x: Any, where: str, inside: bool = False) -> None:
        """Note a value; `inside` is for attributes of Modules, whose Tensors and Modules are found otherwise."""
        if isinstance(x, _NUMBERS) or id(x) in self._seen:
            return
        if inside and (isinstance(x, Tensor) or hasattr(x, "as_function")):
            return
        if isinstance(x, types.FunctionType):
            self._function(x)
            return
        self._seen.add(id(x))
        if isinstance(x, (list, tuple, dict)):
            if not isinstance(x, tuple):
                self._restored.append((x, x.copy()))
            parts = list(x.values()) if isinstance(x, dict) else list(x)
            self._note(x.values() if isinstance(x, dict) else x, parts)
            self._note(x if isinstance(x, dict) else (), x if isinstance(x, dict) else ())
            for part in parts:
                self._value(part, where, inside)
        elif isinstance(x, partial):
            for part in (x.func, *x.args, *x.keywords.values()):
                self._value(part, where)
        elif not _is_code(x) and not (isinstance(x, type) and x in self._classes):
            raise NotRecordableError(f"{where} is a {type(x).__name__}, which may change unseen")

    def _function(self, f: types.FunctionType) -> None:
        if id(f) in self._seen or _of_a_library(f):
            return
        self._seen.add(id(f))
        name, loaded = f.__qualname__, set(_loads(f.__code__))
        if hidden := _SEE_ALL & {n for _, n in loaded}:
            raise NotRecordableError(f"{name} uses {hidden.pop()}, which hides what it reads")
        for kind, n in loaded:
            if kind == "global" and n in f.__globals__:
                x = f.__globals__[n]
                self._note(_Entry(f.__globals__, n), [x])
                if isinstance(x, types.ModuleType) and not _of_a_library(x):
                    self._parts_of(x, [n for kind, n in loaded if kind == "attribute"])
                else:
                    self._value(x, f"'{n}', which {name} reads,")
        cells = f.__closure__ or ()
        try:
            contents = [cell.cell_contents for cell in cells]
        except ValueError:
            raise NotRecordableError(f"{name} reads a variable that has no value yet") from None
        self._note(_Contents(cells), contents)
        for x in (*contents, *(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
            self._value(x, f"what {name} closes over")

    def _parts_of(self, module: types.ModuleType, names: list[str]) -> None:
        for name in names:
            if name in vars(module):
                x = vars(module)[name]
                self._note(_Entry(vars(module), name), [x])
                self._value(x, f"{module.__name__}.{name}")


class _Entry:
    """The value of a name in a namespace, as something to iterate over."""

    def __init__(self, place: dict[str, Any], name: str) -> None:
        self.place, self.name = place, name

    def __iter__(self) -> Iterator[Any]:
        yield self.place.get(self.name, _END)


class _Contents:
    """What is in the cells of a closure now."""

    def __init__(self, cells: tuple[types.CellType, ...]) -> None:
        self.cells = cells

    def __iter__(self) -> Iterator[Any]:
        return (cell.cell_contents for cell in self.cells)


def _loads(code: types.CodeType) -> Iterator[tuple[str, str]]:
    """The names of globals and attributes that a function reads, and those within it."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield "global", step.argval
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            yield "attribute", step.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _loads(constant)


def _is_code(x: Any) -> bool:
    """Whether it is a function, a class or a module that stays what it is."""
    if isinstance(x, types.BuiltinFunctionType):
        return isinstance(x.__self__, types.ModuleType)
    if isinstance(x, (type, types.ModuleType)):
        return _of_a_library(x)
    return isinstance(x, np.ufunc) or (callable(x) and type(x).__module__ == "numpy")


def _of_a_library(x: Any) -> bool:
    name = x.__name__ if isinstance(x, types.ModuleType) else getattr(x, "__module__", None) or ""
    return name.partition(".")[0] in _LIBRARIES
