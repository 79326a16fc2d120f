"""An equation of a graph as a NumPy expression, as somebody would write it: `h1.T @ d_a2`, `x[:, None]`.

Expressions are put together with brackets around every part and then written by Python's own `ast.unparse`, which
leaves the brackets that are needed.
"""

import ast
import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from chainrule.errors import TraceError
from chainrule.graph.graph import Equation, Variable
from chainrule.ops import dims
from chainrule.ops.activation import Erf
from chainrule.ops.arithmetic import Power
from chainrule.ops.chance import DropoutMask
from chainrule.ops.dims import Dim, Later
from chainrule.ops.families import Elementwise
from chainrule.ops.indexing import ARRAY, Getitem, Onehot, ScatterAdd
from chainrule.ops.op import Op
from chainrule.ops.product import Matmul
from chainrule.ops.reduction import Argmax, Cumsum, Max, Mean, Min, Sum
from chainrule.ops.structure import BroadcastTo, Cast, Concatenate, Pad, Reshape, Transpose
from chainrule.written.forms import Accumulate, Einsum, Pick, Spread, Windows

STATEMENTS = (ScatterAdd, Accumulate, DropoutMask, Spread)  # what takes several lines
ROOT = re.compile(r"np\.sqrt\(([^()]*)\)")
KNOWN_NUMBERS = {
    math.pi: "np.pi",
    2 * math.pi: "2 * np.pi",
    math.sqrt(2 / math.pi): "(2 / np.pi) ** 0.5",
    2 / math.sqrt(math.pi): "2 / np.pi ** 0.5",
}
Text = Callable[[Any], str]  # of an operand: a name, or a whole expression if it is written in place


def expression(e: Equation, text: Text) -> str:
    """The right-hand side of an equation as an expression of the texts of its inputs."""
    inputs = [_number(e, x) if not isinstance(x, Variable) else f"({text(x)})" for x in e.inputs]
    if e.op in SPECIAL:
        return tidy(SPECIAL[e.op](e, *inputs))
    template = e.op.longhand or e.op.code
    if not template or e.attributes:
        raise TraceError(
            f"{e.origin}: the op {e.op.name} has no NumPy code to be written as; give its class a `code`, or write the "
            "function with NumPy's own."
        )
    names = e.op.forward.__code__.co_varnames
    code = template.format_map(dict(zip(names, inputs, strict=False)))
    return tidy(f"({code}).astype(np.{e.output.dtype})" if _widens(e) else code)


def _widens(e: Equation) -> bool:
    """Whether NumPy would make float64 of it, as it does of a mask beside a number, where float32 is meant."""
    if e.output.dtype.kind != "f" or e.output.dtype == np.float64 or not e.output.shape:
        return False
    return not any(isinstance(x, Variable) and x.shape and x.dtype == e.output.dtype for x in e.inputs)


def statements(e: Equation, name: str, text: Text) -> list[str]:
    """The lines of an op that takes two."""
    inputs = [text(x) if isinstance(x, Variable) else str(x) for x in e.inputs]
    if e.op is DropoutMask:
        p, use = e.attributes["p"], e.attributes["use"]
        kind = "" if e.output.dtype == np.float64 else f".astype(np.{e.output.dtype})"
        return [
            f"bits = np.random.Philox(key=np.array([{inputs[0]}, {use}], np.int64).view(np.uint64))",
            f"{name} = (np.random.Generator(bits).random({_shape(e.output.shape)}) >= {p}){kind} / {_plain(1 - p)}",
        ]
    kind = "" if e.output.dtype == np.float64 else f", np.{e.output.dtype}"
    zeros = f"np.zeros({_shape(e.output.shape)}{kind})"
    if e.op is Spread:
        return [f"{name} = {zeros}", *_spread(e, name, inputs)]
    if e.op is ScatterAdd:
        return [f"{name} = {zeros}", _added(name, e.attributes["index"], inputs[0], inputs[1:], "=")]
    lines = [f"{name} = {zeros}"]
    if e.attributes["dense"]:
        first = inputs.pop(0)
        lines = [f"{name} = {first}" if _is_new(first) else f"{name} = {tidy(f'({first}).copy()')}"]
    for index in e.attributes["indices"]:
        count = index.count(ARRAY)
        lines.append(_added(name, index, inputs[0], inputs[1 : 1 + count], "+="))
        del inputs[: 1 + count]
    return lines


def _added(name: str, index: tuple[Any, ...], g: str, arrays: Sequence[str], sign: str) -> str:
    if arrays:
        return tidy(f"np.add.at({name}, {_alone(index, arrays)}, {g})")
    added = ast.parse(g, mode="eval").body
    if sign == "+=" and isinstance(added, ast.UnaryOp) and isinstance(added.op, ast.USub):
        sign, g = "-=", ast.unparse(added.operand)
    return f"{name}[{_index(index, arrays)}] {sign} {g}"


def _spread(e: Equation, name: str, inputs: Sequence[str]) -> list[str]:
    """One addition for each place of a window."""
    kernel, windows = e.attributes["kernel"], e.inputs[0].shape[-2:]
    parts = []
    for letter, n, s, d in zip("ij", windows, e.attributes["stride"], e.attributes["dilation"], strict=True):
        start = letter if d == 1 else f"{d} * {letter}"
        parts.append(f"{start}:{start} + {s * (n - 1) + 1}" + (f":{s}" if s > 1 else ""))
    return [
        f"for i, j in np.ndindex{kernel}:",
        f"    {name}[..., {', '.join(parts)}] += {e.attributes['term'].format(*inputs)}",
    ]


def _is_new(text: str) -> bool:
    """Whether an expression makes an array, into which one may write: not a name, a transpose, a slice or a reshape."""
    node = ast.parse(text, mode="eval").body
    if isinstance(node, ast.Call):
        return getattr(node.func, "attr", "") not in ("reshape", "transpose", "broadcast_to")
    return not isinstance(node, (ast.Name, ast.Attribute, ast.Subscript))


def tidy(text: str) -> str:
    """An expression with the brackets that it needs, and no others."""
    return ast.unparse(ast.parse(text, mode="eval"))


def literal(array: np.ndarray[Any, Any]) -> str | None:
    """A constant as an expression: a number, a range, ones, the unit matrix, a short list; None if it is long."""
    if array.shape == ():
        return _plain(array.item())
    kind = "" if array.dtype in (np.float64, np.int64) else f", dtype=np.{array.dtype}"
    if array.ndim == 1 and array.dtype == np.int64 and np.array_equal(array, np.arange(len(array))):
        return f"np.arange({len(array)})"
    if array.ndim == 2 and array.shape[0] == array.shape[1] > 1 and (matrix := _square(array, kind)):
        return matrix
    if array.size and array.dtype.kind == "f" and (array == array.flat[0]).all() and array.size > 3:
        value = array.flat[0].item()
        name = {0.0: "np.zeros", 1.0: "np.ones"}.get(value)
        shape = _shape(array.shape)
        return f"{name}({shape}{kind})" if name else f"np.full({shape}, {_plain(value)}{kind})"
    if array.size > 24:
        return None
    return f"np.array({array.tolist()}{kind})"


def _square(array: np.ndarray[Any, Any], kind: str) -> str | None:
    """A square matrix made of the unit matrix, or of ones above or below a diagonal; None if it is another."""
    n = len(array)
    if array.dtype.kind == "f":
        within, beside = array[0, 0], array[0, 1]
        if not np.array_equal(array, np.where(np.eye(n, dtype=bool), within, beside)) or within == beside:
            return None
        if not np.array_equal(array, beside + (within - beside) * np.eye(n, dtype=array.dtype)):
            return None
        factor = "" if abs(within - beside) == 1 else f"{_whole(abs(within - beside).item())} * "
        sign = "-" if within < beside else ""
        eye = f"{factor}np.eye({n}{kind})"
        return f"{sign}{eye}" if beside == 0 else f"{_whole(beside.item())} {sign or '+'} {eye}"
    for k in range(-1, 2) if array.dtype.kind == "b" else ():
        for name in ("tril", "triu"):
            if np.array_equal(array, getattr(np, name)(np.ones((n, n), bool), k)):
                return f"np.{name}(np.ones(({n}, {n}), bool){f', {k}' if k else ''})"
    return None


def _whole(x: float) -> str:
    return str(int(x)) if x.is_integer() else _plain(x)


def _number(e: Equation, x: Any) -> str:
    """A plain number beside arrays: whole floats as ints where the result is a float all the same."""
    if isinstance(x, Later):
        root = ROOT.sub(r"(\1) ** 0.5", str(x))  # np.sqrt gives a number that would make float32 arrays float64
        return f"({root})"
    if isinstance(x, float) and x.is_integer() and abs(x) < 1e6:
        floats = any(isinstance(v, Variable) and v.dtype.kind == "f" for v in e.inputs)
        x = int(x) if floats and issubclass(e.op, Elementwise) else x
    return f"({_plain(x)})"


def _plain(x: Any) -> str:
    """A number as it is written; a root of a whole number as that."""
    if not isinstance(x, float):
        return repr(x)
    if not math.isfinite(x):
        return "np.nan" if math.isnan(x) else "np.inf" if x > 0 else "-np.inf"
    third = Fraction(x).limit_denominator(12)
    if third.denominator not in (1, 2, 4, 5, 8, 10) and third.numerator / third.denominator == x:
        return f"{third.numerator} / {third.denominator}"
    for value, text in KNOWN_NUMBERS.items():
        if x in (value, -value):
            return text if x > 0 else f"-({text})"
    square = round(x * x) if 1 < x < 1e4 else 0
    return f"{square} ** 0.5" if square**0.5 == x and not x.is_integer() else repr(x)


def _shape(shape: dims.Shape) -> str:
    return str(shape[0]) if len(shape) == 1 else dims.show(shape)


def _size(size: Any) -> str:
    return str(size)


def _index(index: tuple[Any, ...], arrays: Sequence[str]) -> str:
    rest = iter(arrays)
    parts = [next(rest) if part is ARRAY else _slice(part) if isinstance(part, slice) else str(part) for part in index]
    while len(parts) > 1 and parts[-1] == ":":
        parts.pop()
    return ", ".join(parts)


def _slice(part: slice) -> str:
    ends = ["" if end is None else _size(end) for end in (part.start, part.stop)]
    return ":".join([*ends, *([] if part.step in (None, 1) else [str(part.step)])])


def _alone(index: tuple[Any, ...], arrays: Sequence[str]) -> str:
    """An index as an argument of a function: slices need another spelling there."""
    rest, parts = iter(arrays), []
    for part in index:
        if isinstance(part, slice):
            ends = [part.start, part.stop, *([] if part.step in (None, 1) else [part.step])]
            parts.append("slice(None)" if ends == [None, None] else f"slice({', '.join(map(str, ends))})")
        else:
            parts.append(next(rest) if part is ARRAY else str(part))
    while len(parts) > 1 and parts[-1] == "slice(None)":
        parts.pop()
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"


def _reduction(method: str) -> Callable[..., str]:
    def write(e: Equation, x: str) -> str:
        axis, keepdims = e.attributes["axis"], e.attributes["keepdims"]
        ndim = len(e.inputs[0].shape)
        options = [] if len(axis) == ndim and not keepdims else [f"axis={axis[0] if len(axis) == 1 else axis}"]
        options += ["keepdims=True"] if keepdims else []
        return f"{x}.{method}({', '.join(options)})"

    return write


def _matmul(e: Equation, a: str, b: str) -> str:
    return f"{a} @ {b}"


def _transpose(e: Equation, x: str) -> str:
    order = e.attributes["order"]
    if order == (1, 0):
        return f"{x}.T"
    if order == (*range(len(order) - 2), len(order) - 1, len(order) - 2):
        return f"{x}.mT"
    return f"{x}.transpose{order}"


def _reshape(e: Equation, x: str) -> str:
    """New axes as x[:, None], axes of size 1 taken out as x[:, 0], anything else as a reshape."""
    old, new = e.inputs[0].shape, e.output.shape
    if (parts := _with_axes(old, new)) is not None and old:
        return f"{x}[{parts}]"
    if (parts := _with_axes(new, old)) is not None:
        return f"{x}[{parts.replace('None', '0')}]"
    if len(old) == len(new) == 2 and dims.same_shape(old[::-1], new) and any(dims.same(n, 1) for n in new):
        return f"{x}.T"
    sizes = [_size(n) for n in new]
    symbolic = [i for i, n in enumerate(new) if isinstance(n, Dim)]
    if symbolic:
        sizes[symbolic[0]] = "-1"
    return f"{x}.reshape({', '.join(sizes)})" if new else f"{x}.reshape(())"


def _with_axes(old: dims.Shape, new: dims.Shape) -> str | None:
    """The index that makes `new` of `old` by axes of size 1 alone; None if there is none."""
    parts, rest = [], list(old)
    for n in new:
        if rest and dims.same(n, rest[0]):
            parts.append(":")
            rest.pop(0)
        elif dims.same(n, 1):
            parts.append("None")
        else:
            return None
    if rest or len(new) <= len(old):
        return None
    while parts[-1] == ":" and len(parts) > 1:
        parts.pop()
    return ", ".join(parts)


def _getitem(e: Equation, x: str, *arrays: str) -> str:
    return f"{x}[{_index(e.attributes['index'], arrays)}]"


def _broadcast_to(e: Equation, x: str) -> str:
    if e.inputs[0].shape != ():
        return f"np.broadcast_to({x}, {dims.show(e.output.shape)})"
    kind = "" if e.output.dtype == np.float64 else f", np.{e.output.dtype}"
    shape, number = _shape(e.output.shape), x.strip("()")
    name = {"0.0": "np.zeros", "1.0": "np.ones"}.get(number)
    return f"{name}({shape}{kind})" if name else f"np.full({shape}, {x}{kind})"


def _concatenate(e: Equation, *xs: str) -> str:
    axis = e.attributes["axis"]
    return f"np.concatenate([{', '.join(xs)}]{f', axis={axis}' if axis else ''})"


def _pad(e: Equation, x: str) -> str:
    value = e.attributes["value"]
    return f"np.pad({x}, {e.attributes['widths']}{f', constant_values={_plain(value)}' if value else ''})"


def _cast(e: Equation, x: str) -> str:
    return f"{x}.astype(np.{e.output.dtype})"


def _onehot(e: Equation, t: str) -> str:
    kind = "" if e.output.dtype == np.float64 else f", dtype=np.{e.output.dtype}"
    return f"np.eye({e.attributes['classes']}{kind})[{t}]"


def _argmax(e: Equation, x: str) -> str:
    keep = ", keepdims=True" if e.attributes["keepdims"] else ""
    return f"{x}.argmax(axis={e.attributes['axis'][0]}{keep})"


def _cumsum(e: Equation, x: str) -> str:
    return f"{x}.cumsum(axis={e.attributes['axis']})"


def _pick(e: Equation, y: str, t: str) -> str:
    if len(e.output.shape) == 1:
        return f"{y}[np.arange({_size(e.output.shape[0])}), {t}]"
    return f"np.take_along_axis({y}, {t}[..., None], -1)[..., 0]"


def _power(e: Equation, x: str, p: str) -> str:
    return f"{x} ** {p}"


def _erf(e: Equation, x: str) -> str:
    kind = "" if e.output.dtype == np.float64 else f".astype(np.{e.output.dtype})"
    return f"np.vectorize(math.erf, [float])({x}){kind}"


def _windows(e: Equation, x: str) -> str:
    kernel, dilation = e.attributes["kernel"], e.attributes["dilation"]
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    steps = [*e.attributes["stride"], *dilation]
    while steps and steps[-1] == 1:
        steps.pop()
    parts = ", ".join("::" + str(step) if step > 1 else ":" for step in (1, 1, *steps))
    return f"sliding_window_view({x}, {spans}, axis=(2, 3))" + (f"[{parts}]" if steps else "")


def _einsum(e: Equation, a: str, b: str) -> str:
    return f"np.einsum('{e.attributes['subscripts']}', {a}, {b})"


SPECIAL: dict[type[Op], Callable[..., str]] = {
    Sum: _reduction("sum"),
    Mean: _reduction("mean"),
    Max: _reduction("max"),
    Min: _reduction("min"),
    Matmul: _matmul,
    Transpose: _transpose,
    Reshape: _reshape,
    Getitem: _getitem,
    BroadcastTo: _broadcast_to,
    Concatenate: _concatenate,
    Pad: _pad,
    Cast: _cast,
    Onehot: _onehot,
    Argmax: _argmax,
    Cumsum: _cumsum,
    Pick: _pick,
    Power: _power,
    Erf: _erf,
    Windows: _windows,
    Einsum: _einsum,
}
