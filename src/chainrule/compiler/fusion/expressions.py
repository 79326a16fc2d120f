"""One element of a value, as an expression in the source of a loop."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.compiler.fusion.schedule import NotFusibleError, Schedule
from chainrule.graph.graph import Equation, Variable
from chainrule.ops import dims
from chainrule.ops.dims import Later
from chainrule.ops.families import Comparison
from chainrule.ops.indexing import ARRAY, Getitem, Onehot
from chainrule.ops.structure import BroadcastTo, Cast, Concatenate, Pad, Reshape, Transpose

Index = Sequence[str]

# The names are those of functions in the generated module; `{0}` is the first operand.
FORMULAS: Mapping[str, str] = {
    "add": "({0} + {1})",
    "subtract": "({0} - {1})",
    "multiply": "({0} * {1})",
    "divide": "({0} / {1})",
    "negative": "(-{0})",
    "power": "({0} ** {1})",
    "exp": "exp({0})",
    "log": "log({0})",
    "tanh": "tanh({0})",
    "sigmoid": "sigmoid({0})",
    "expm1": "expm1({0})",
    "log1p": "log1p({0})",
    "erf": "erf({0})",
    "sqrt": "np.sqrt({0})",
    "sin": "math.sin({0})",
    "cos": "math.cos({0})",
    "abs": "abs({0})",
    "sign": "np.sign({0})",
    "relu": "maximum({0}, {zero})",
    "maximum": "maximum({0}, {1})",
    "minimum": "minimum({0}, {1})",
    "where": "({1} if {0} else {2})",
    "equal": "({0} == {1})",
    "not_equal": "({0} != {1})",
    "less": "({0} < {1})",
    "less_equal": "({0} <= {1})",
    "greater": "({0} > {1})",
    "greater_equal": "({0} >= {1})",
}


class Expressions:
    """Writes elements of values.

    Attributes
    ----------
    places : dict of Variable to function
        How the elements of what is stored are read: from an index to an expression.
    locals : dict of Variable to str
        What stands in a variable of the loop that is being written.
    """

    def __init__(self, schedule: Schedule, dtype: np.dtype[Any]) -> None:
        self.schedule, self.dtype = schedule, dtype
        self.places: dict[Variable, Callable[[Index], str]] = {}
        self.locals: dict[Variable, str] = {}

    def element(self, x: Any, index: Index, dtype: np.dtype[Any]) -> str:
        """The element of `x` at an index, as a number of `dtype`."""
        if not isinstance(x, Variable):
            return self.number(x, dtype)
        if x in self.locals:
            text = self.locals[x]
        elif x in self.places:
            text = self.places[x](index)
        elif x in self.schedule.graph.constants:
            return self.number(self.schedule.graph.constants[x].item(), dtype)
        else:
            text = self.formula(self.schedule.made[x], index)
        return text if x.dtype == dtype else f"{self.type(dtype)}({text})"

    def type(self, dtype: np.dtype[Any]) -> str:
        """The function of the generated module that makes a number of this dtype."""
        return "real" if dtype == self.dtype else f"np.{dtype}" if dtype.kind != "b" else "bool"

    def number(self, x: Any, dtype: np.dtype[Any]) -> str:
        """A plain number, or one computed from the batch size."""
        if isinstance(x, Later):
            return f"{self.type(dtype)}({x})"
        if dtype.kind == "f":
            x = float(x)
            text = repr(x) if math.isfinite(x) else f"np.{'nan' if math.isnan(x) else 'inf'}"
            return f"real({'-' if x == -math.inf else ''}{text})"
        return repr(bool(x)) if dtype.kind == "b" else f"{self.type(dtype)}({int(x)})"

    def formula(self, e: Equation, index: Index) -> str:
        """An equation's element, from those of its inputs."""
        op, x, v = e.op, e.inputs[0], e.output
        if op in (Reshape, BroadcastTo, Transpose, Getitem, Pad, Concatenate):
            return self._rearranged(e, index)
        if op is Onehot:
            label = self.element(x, index[: len(x.shape)], x.dtype)
            hit = f"({label} == {index[-1]})"
            return hit if v.dtype.kind == "b" else f"{self.type(v.dtype)}({hit})"
        if op is Cast:
            return self.element(x, index, v.dtype)
        if op.name not in FORMULAS:
            raise NotFusibleError(f"{op.name} is no formula of one element")
        dtypes = self._operand_dtypes(e)
        parts = [self.element(y, aligned(y, v.shape, index), dtype) for y, dtype in zip(e.inputs, dtypes, strict=True)]
        power = e.inputs[1] if op.name == "power" and isinstance(e.inputs[1], (int, float)) else None
        if power in (0.5, -1) and v.dtype.kind == "f":
            return f"np.sqrt({parts[0]})" if power == 0.5 else f"({self.number(1, v.dtype)} / {parts[0]})"
        if op.name == "power" and v.dtype.kind != "f" and not (isinstance(power, int) and power >= 0):
            raise NotFusibleError("a power of integers whose sign is not known")
        text = FORMULAS[op.name].format(*parts, zero=self.number(0, v.dtype))
        # Numba computes with wider integers than NumPy, which would not overflow, and with bools as if they were such.
        narrow = v.dtype.kind in "iub" and v.dtype.itemsize < 8 and not issubclass(op, Comparison)
        return f"{self.type(v.dtype)}({text})" if narrow else text

    def _operand_dtypes(self, e: Equation) -> list[np.dtype[Any]]:
        """The dtype in which each operand takes part."""
        if issubclass(e.op, Comparison):
            arrays = [x.dtype for x in e.inputs if isinstance(x, Variable)]
            floats = [d for d in arrays if d.kind == "f"] or ([self.dtype] if _has_float(e) else [])
            plain = any(isinstance(x, int) for x in e.inputs)  # which need not fit into the integers of an array
            common = floats[0] if floats else np.result_type(*arrays, *[np.dtype(np.int64)] * plain)
            if common.kind == "f" and not floats:
                raise NotFusibleError("a comparison of integers with and without sign")
            return [common] * len(e.inputs)
        if e.op.name == "where":
            return [np.dtype(bool), e.output.dtype, e.output.dtype]
        return [e.output.dtype] * len(e.inputs)

    def _rearranged(self, e: Equation, index: Index) -> str:
        x, v = e.inputs[0], e.output
        if e.op is BroadcastTo:
            return self.element(x, aligned(x, v.shape, index), v.dtype)
        if e.op is Transpose:
            moved = [""] * len(index)
            for place, axis in enumerate(e.attributes["order"]):
                moved[axis] = index[place]
            return self.element(x, moved, v.dtype)
        if e.op is Reshape:
            return self.element(x, reshaped(x.shape, v.shape, index), v.dtype)
        if e.op is Getitem:
            return self.element(x, self._taken(e, index), v.dtype)
        if e.op is Pad:
            return self._padded(e, index)
        return self._concatenated(e, index)

    def _taken(self, e: Equation, index: Index) -> list[str]:
        rest, arrays, found = list(index), list(e.inputs[1:]), []
        x = e.inputs[0]
        given = list(e.attributes["index"])
        for axis, part in enumerate([*given, *[slice(None)] * (len(x.shape) - len(given))]):
            if part is ARRAY:
                t = arrays.pop(0)
                found.append(self.element(t, [rest.pop(0) for _ in t.shape], t.dtype))
            elif isinstance(part, slice):
                place = rest.pop(0)
                if part == slice(None):
                    found.append(place)
                    continue
                if not isinstance(x.shape[axis], int):
                    raise NotFusibleError("a slice of the batch")
                start, _, step = part.indices(x.shape[axis])
                found.append(f"({start} + {step} * {place})" if step != 1 else f"({place} + {start})")
            else:
                found.append(str(part % x.shape[axis]))
        return found

    def _padded(self, e: Equation, index: Index) -> str:
        x, inside, conditions = e.inputs[0], [], []
        for place, (before, after), n in zip(index, e.attributes["widths"], x.shape, strict=True):
            inside.append(f"({place} - {before})" if before else place)
            conditions += [f"{place} >= {before}"] * bool(before) + [f"{place} < {before + n}"] * bool(after)
        value = self.number(e.attributes["value"], e.output.dtype)
        text = self.element(x, inside, e.output.dtype)
        return f"({text} if {' and '.join(conditions)} else {value})" if conditions else text

    def _concatenated(self, e: Equation, index: Index) -> str:
        axis, begin, parts = e.attributes["axis"], 0, []
        for x in e.inputs:
            if not isinstance(x.shape[axis], int):
                raise NotFusibleError("batches one after another")
            inside = list(index)
            inside[axis] = f"({index[axis]} - {begin})" if begin else index[axis]
            begin += x.shape[axis]
            parts.append((self.element(x, inside, e.output.dtype), begin))
        text = parts[-1][0]
        for part, end in reversed(parts[:-1]):
            text = f"({part} if {index[axis]} < {end} else {text})"
        return text


def _has_float(e: Equation) -> bool:
    return any(isinstance(x, float) for x in e.inputs)


def aligned(x: Any, shape: tuple[Any, ...], index: Index) -> list[str]:
    """The index into an operand that is broadcast to a shape."""
    own: tuple[Any, ...] = getattr(x, "shape", ())
    places = list(index[len(shape) - len(own) :])
    return ["0" if dims.same(n, 1) else place for n, place in zip(own, places, strict=True)]


def reshaped(old: tuple[Any, ...], new: tuple[Any, ...], index: Index) -> list[str]:
    """The index into the array of the old shape of the element that has `index` in the new one."""
    kept = [(n, place) for n, place in zip(new, index, strict=True) if not dims.same(n, 1)]
    sizes = [n for n in old if not dims.same(n, 1)]
    if dims.same_shape(tuple(n for n, _ in kept), tuple(sizes)):
        rest = iter([place for _, place in kept])
        return ["0" if dims.same(n, 1) else next(rest) for n in old]
    head = bool(sizes) and not isinstance(sizes[0], int)
    if head != (bool(kept) and not isinstance(kept[0][0], int)) or (head and not dims.same(sizes[0], kept[0][0])):
        raise NotFusibleError(f"a reshape from {dims.show(old)} to {dims.show(new)}")
    flat = "0"
    for n, place in kept[int(head) :]:
        if not isinstance(n, int):
            raise NotFusibleError(f"a reshape from {dims.show(old)} to {dims.show(new)}")
        flat = place if flat == "0" else f"({flat} * {n} + {place})"
    places: list[str] = []
    for n in reversed(sizes[int(head) :]):
        places.append(f"({flat} % {n})")
        flat = f"({flat} // {n})"
    rest = iter([*([kept[0][1]] if head else []), *reversed(places)])
    return ["0" if dims.same(n, 1) else next(rest) for n in old]
