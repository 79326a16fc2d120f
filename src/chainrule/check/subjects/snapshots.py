"""`Snapshot`: everything that an object holds, as it is now, so that it can be put back after an experiment.

Nothing is pickled, and no object is replaced: what had changed is changed back in place, so that an optimiser outside
still holds the same arrays as the model.
"""

import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from chainrule.engine import Tensor
from chainrule.nn import init

_LEFT_ALONE = {"numpy", "logging", "threading", "multiprocessing", "concurrent", "weakref", "matplotlib"}
_NOT_SHARED = {*_LEFT_ALONE, "builtins", "torch", "chainrule", "typing", "collections"}


class Snapshot:
    """The state of some objects, and of all that can be reached from them: attributes, lists, dicts, arrays, closures.

    The random generators (NumPy's and Python's global ones, the library's, PyTorch's where it is loaded, and those
    among the attributes) are part of it.

    Parameters
    ----------
    *roots : objects
    """

    def __init__(self, *roots: Any) -> None:
        self._undo: list[Callable[[], None]] = []
        self._kept: list[Any] = []  # so that no id is given to another object while the walk goes on
        seen: set[int] = set()
        waiting = [*roots, init.generator(), _LEGACY_NUMPY, _LEGACY_PYTHON]
        while waiting:
            item = waiting.pop()
            if id(item) not in seen and not isinstance(item, _ATOMS):
                seen.add(id(item))
                self._kept.append(item)
                waiting.extend(self._note(item))
        torch = sys.modules.get("torch")
        if torch is not None:
            state = torch.get_rng_state()
            self._undo.append(lambda: torch.set_rng_state(state))

    def restore(self) -> None:
        """Put everything back. It may be called again and again."""
        for undo in self._undo:
            undo()

    def _note(self, item: Any) -> list[Any]:
        """Remember how to put this one item back; what it holds in its turn."""
        if isinstance(item, np.ndarray):
            if item.flags.writeable:
                self._undo.append(_array_back(item))
            return list(item.flat) if item.dtype == object else []
        if isinstance(item, Tensor):
            self._undo.append(_tensor_back(item))
            return []
        if isinstance(item, (list, dict, set, deque)):
            self._undo.append(_container_back(item))
            return list(item.values()) if isinstance(item, dict) else list(item)
        if isinstance(item, (tuple, frozenset)):
            return list(item)
        if _is_torch_tensor(item):
            self._undo.append(_torch_back(item))
            return []
        generator = _generator_back(item)
        if generator is not None:
            self._undo.append(generator)
            return []
        return self._note_object(item)

    def _note_object(self, item: Any) -> list[Any]:
        if isinstance(item, MethodType):
            return [item.__self__, item.__func__]
        if isinstance(item, FunctionType):
            cells = [cell for cell in item.__closure__ or () if _filled(cell)]
            self._undo += [_cell_back(cell) for cell in cells]
            return [*(cell.cell_contents for cell in cells), *(item.__defaults__ or ())]
        if type(item).__name__ == "partial":
            return [item.func, *item.args, *item.keywords.values()]
        if type(item).__module__.split(".")[0] in _LEFT_ALONE:
            return []
        found: list[Any] = []
        if isinstance(getattr(item, "__dict__", None), dict):
            self._undo.append(_container_back(vars(item)))
            found += vars(item).values()
        slots = {name: getattr(item, name) for name in _slots(type(item)) if hasattr(item, name)}
        if slots:
            self._undo.append(_slots_back(item, slots))
        return [*found, *slots.values(), *_shared(type(item))]


_ATOMS = (type, ModuleType, BuiltinFunctionType, str, bytes, int, float, complex, type(None), np.generic, np.dtype)
_LEGACY_NUMPY = np.random.mtrand._rand  # the generator behind np.random.rand and its kin
_LEGACY_PYTHON = random._inst


def _array_back(array: Any) -> Callable[[], None]:
    copy = array.copy()
    return lambda: np.copyto(array, copy)


def _container_back(container: Any) -> Callable[[], None]:
    if isinstance(container, list):
        copy = list(container)
        return lambda: container.__setitem__(slice(None), copy)
    copied = dict(container) if isinstance(container, dict) else list(container)

    def back() -> None:
        container.clear()
        getattr(container, "extend" if isinstance(container, deque) else "update")(copied)

    return back


def _tensor_back(tensor: Tensor) -> Callable[[], None]:
    grad = tensor.grad
    if tensor.source is not None or not isinstance(tensor._value, np.ndarray):
        return lambda: None
    value, kept_grad = tensor.numpy(), None if grad is None else grad.copy()

    def back() -> None:
        if not np.array_equal(tensor.value, value, equal_nan=True):
            tensor.assign(value)
        tensor.grad = None if kept_grad is None else kept_grad.copy()

    return back


def _is_torch_tensor(item: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(item, torch.Tensor)


def _torch_back(tensor: Any) -> Callable[[], None]:
    if not tensor.is_leaf:
        return lambda: None
    value = tensor.detach().clone()
    grad = None if tensor.grad is None else tensor.grad.detach().clone()

    def back() -> None:
        tensor.data.copy_(value)
        tensor.grad = None if grad is None else grad.clone()

    return back


def _generator_back(item: Any) -> Callable[[], None] | None:
    if isinstance(item, np.random.Generator):
        bits, state = item.bit_generator, item.bit_generator.state
        return lambda: setattr(bits, "state", state)
    if isinstance(item, np.random.RandomState):
        legacy = item.get_state()
        return lambda: item.set_state(legacy)
    if isinstance(item, random.Random):
        python = item.getstate()
        return lambda: item.setstate(python)
    if type(item).__module__.startswith("torch") and type(item).__name__ == "Generator":
        bytes_ = item.get_state()
        return lambda: _set_state(item, bytes_)
    return None


def _set_state(generator: Any, state: Any) -> None:
    generator.set_state(state)


def _slots_back(item: Any, slots: dict[str, Any]) -> Callable[[], None]:
    def back() -> None:
        for name, value in slots.items():
            object.__setattr__(item, name, value)

    return back


def _cell_back(cell: Any) -> Callable[[], None]:
    contents = cell.cell_contents
    return lambda: setattr(cell, "cell_contents", contents)


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        names = vars(base).get("__slots__", ())
        yield from (n for n in ([names] if isinstance(names, str) else names) if n not in ("__dict__", "__weakref__"))


def _shared(cls: type) -> list[Any]:
    """What a class that somebody wrote keeps for all its instances, and can be changed: arrays, lists, dicts."""
    own = [base for base in cls.__mro__ if base.__module__.split(".")[0] not in _NOT_SHARED]
    return [v for base in own for v in vars(base).values() if isinstance(v, (np.ndarray, list, dict, set, deque))]
