"""`Graph`: a typed program in which every name is assigned once. It prints itself, checks itself and runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, DtypeError, ShapeError, TraceError
from chainrule.graph import tree
from chainrule.ops import dims
from chainrule.ops.dims import Dim, Shape, show
from chainrule.ops.indexing import Getitem
from chainrule.ops.op import Op, Value, explain


class Variable:
    """A name in a graph, with the shape (whose sizes may be symbolic) and dtype of what it stands for."""

    __slots__ = ("dtype", "name", "shape")

    def __init__(self, name: str, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype

    def __repr__(self) -> str:
        return f"{self.name}: {show(self.shape)} {self.dtype}"


@dataclass(eq=False, slots=True)
class Equation:
    """One line of a graph: `output = op(inputs, attributes)`. Inputs are Variables, numbers or symbolic sizes.

    `origin` is the user's line that led to it; `rule` names the op whose derivative it belongs to ("" when forward);
    `layer` is the layer of the model that was being called, as errors name it ("" outside of all).
    """

    output: Variable
    op: type[Op]
    inputs: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    origin: str = ""
    rule: str = ""
    layer: str = ""

    def __repr__(self) -> str:
        parts = [x.name if isinstance(x, Variable) else str(x) for x in self.inputs]
        parts += [f"{key}={show_attribute(value)}" for key, value in self.attributes.items()]
        return f"{self.output!r} = {self.op.name}({', '.join(parts)})"


@dataclass(eq=False, repr=False)
class Graph:
    """Inputs, constants, equations, outputs; and where each symbolic size is read off: `sizes["N"] = (input, axis)`."""

    name: str
    inputs: tuple[Variable, ...]
    constants: dict[Variable, np.ndarray[Any, Any]]
    equations: list[Equation]
    outputs: tuple[Variable, ...]
    sizes: dict[str, tuple[Variable, int]]
    single: bool  # whether `run` returns the only output itself or a tuple
    form: tuple[Any, ...] | None = None  # the traced function's arguments, for the order of the entries of dicts

    def __repr__(self) -> str:
        lines = [f"graph {self.name}({', '.join(map(repr, self.inputs))})"]
        lines += [f"    {v!r} = {array if array.size <= 4 else 'constant'}" for v, array in self.constants.items()]
        width = max((len(repr(e)) for e in self.equations if e.rule), default=0)
        for e in self.equations:  # a line of a backward pass says whose rule it comes from
            lines.append(f"    {e!r:<{width}}  # {e.rule}" if e.rule else f"    {e!r}")
        return "\n".join([*lines, f"    return {', '.join(v.name for v in self.outputs)}"])

    def svg(self) -> str:
        """A picture of the graph as the text of an SVG file: forward down the left, backward up the right."""
        from chainrule.graph.drawing import svg  # above this file, and needed by this method alone

        return svg(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: the picture, and the program beneath it."""
        return f"{self.svg()}<details><summary>as a program</summary><pre>{escape(repr(self))}</pre></details>"

    def check(self) -> "Graph":
        """Verify the program: each name assigned once and before use, shapes and dtypes as the ops' rules give them.

        Returns the graph itself, so that a pass can end with `return graph.check()`.
        """
        defined: set[Variable] = set()
        names: set[str] = set()
        for variable in (*self.inputs, *self.constants, *(e.output for e in self.equations)):
            if variable.name in names:
                raise TraceError(f"graph {self.name}: '{variable.name}' is assigned twice.")
            names.add(variable.name)
        defined.update(self.inputs, self.constants)
        for equation in self.equations:
            for x in equation.inputs:
                if isinstance(x, Variable) and x not in defined:
                    raise TraceError(f"graph {self.name}: '{equation!r}' uses '{x.name}' before it is assigned.")
            _check_types(self.name, equation)
            defined.add(equation.output)
        for v in self.outputs:
            if v not in defined:
                raise TraceError(f"graph {self.name}: the output '{v.name}' is never assigned.")
        return self

    def run(self, *args: Any) -> Any:
        """Compute the outputs from inputs given as the traced function takes them.

        Parameters
        ----------
        *args
            Arrays (or nested containers of them, or Tensors, or Symbols) of the shapes and dtypes of `self.inputs`;
            symbolic sizes take any value, the same one everywhere.

        Returns
        -------
        ndarray or tuple of ndarray
            The outputs in the order in which the traced function returned them; arrays of their own.
        """
        if self.form is not None and len(args) == len(self.form):
            given = tree.leaves_like(self.form, args, f"graph {self.name}")
        else:
            given = [leaf for _, leaf in tree.flatten(args)]
        if len(given) != len(self.inputs):
            names = ", ".join(v.name for v in self.inputs)
            raise ShapeError(f"graph {self.name} takes {len(self.inputs)} arrays ({names}), {len(given)} were given.")
        values: dict[Variable, Any] = {v: _beside(given, array) for v, array in self.constants.items()}
        values.update({v: _as_input(v, x, self.name) for v, x in zip(self.inputs, given, strict=True)})
        sizes = self._bind(values)
        last_use = {v: i for i, e in enumerate(self.equations) for v in e.inputs if isinstance(v, Variable)}
        keep = {*self.outputs, *self.inputs, *self.constants}
        for i, equation in enumerate(self.equations):
            values[equation.output] = _run_equation(equation, values, sizes)
            for v in equation.inputs:  # memory is freed when its last user has run
                if isinstance(v, Variable) and last_use[v] == i and v not in keep:
                    values.pop(v, None)
        results = _unshared([values[v] for v in self.outputs], [values[v] for v in (*self.inputs, *self.constants)])
        return results[0] if self.single else results

    __call__ = run

    def _bind(self, values: Mapping[Variable, Any]) -> dict[str, int]:
        """The values of the symbolic sizes; every input's shape is compared with its declaration."""
        sizes = {name: values[v].shape[axis] for name, (v, axis) in self.sizes.items() if _has_axis(values[v], axis)}
        for v in self.inputs:
            shape = values[v].shape
            fits = len(shape) == len(v.shape) and all(
                dims.same(a, dims.evaluate(b, sizes)) for a, b in zip(shape, v.shape, strict=True)
            )
            if not fits:
                known = "".join(
                    f", with {k} = {n}" for k, n in sizes.items() if any(isinstance(d, Dim) for d in v.shape)
                )
                raise ShapeError(
                    f"graph {self.name}: the input '{v.name}' has the shape {show(shape)}; "
                    f"expected {show(v.shape)}{known}."
                )
        return sizes


def _has_axis(x: Any, axis: int) -> bool:
    return len(x.shape) > axis


def _as_input(v: Variable, x: Any, graph: str) -> Any:
    if not isinstance(x, Value):
        x = np.asarray(x, v.dtype if isinstance(x, (int, float, list)) else None)
    if x.dtype != v.dtype:
        raise DtypeError(
            f"graph {graph}: the input '{v.name}' is {x.dtype}, but the graph was recorded for {v.dtype}; convert it "
            f"with .astype(np.{v.dtype})."
        )
    return x


def _beside(given: Sequence[Any], array: Any) -> Any:
    """A constant that may meet symbolic sizes: one of the graph that is being recorded, if one is."""
    for x in given:
        if isinstance(x, Value) and isinstance(array, np.ndarray):
            array = x.lift(array)
    return array


def _unshared(results: Sequence[Any], others: Sequence[Any]) -> tuple[Any, ...]:
    """The results, copied where they share memory with each other or with other arrays."""
    taken, own = set(map(id, others)), []
    for y in results:
        if isinstance(y, np.ndarray) and (y.base is not None or id(y) in taken or not y.flags.writeable):
            y = y.copy()
        taken.add(id(y))
        own.append(y)
    return tuple(own)


def _run_equation(equation: Equation, values: Mapping[Variable, Any], sizes: Mapping[str, int]) -> Any:
    op = equation.op
    inputs = [values[x] if isinstance(x, Variable) else dims.evaluate(x, sizes) for x in equation.inputs]
    attributes = {key: dims.evaluate(value, sizes) for key, value in equation.attributes.items()}
    try:
        y = op.apply(*inputs, **attributes)
    except (ValueError, IndexError) as error:
        better = error if isinstance(error, ChainruleError) else explain(op, error, inputs, attributes)
        raise type(better)(f"{equation.origin}: {better}") from error
    if op is Getitem and not dims.same_shape(y.shape, dims.evaluate(equation.output.shape, sizes)):
        text = ", ".join(f"{name} = {n}" for name, n in sizes.items())
        raise ShapeError(
            f"{equation.origin}: with {text} there are too few rows for this index, which was recorded as giving "
            f"{show(equation.output.shape)} and gives {show(y.shape)}."
        )
    return y


def _check_types(graph: str, equation: Equation) -> None:
    v, op = equation.output, equation.op
    if op.shape is None:
        return
    shape = op.shape(*(getattr(x, "shape", ()) for x in equation.inputs), **equation.attributes)
    dtype = op.result_dtype(equation.inputs, equation.attributes)
    if not dims.same_shape(shape, v.shape) or dtype != v.dtype:
        raise TraceError(f"graph {graph}: in '{equation!r}' the op's rules give {show(shape)} {dtype}.")


def show_attribute(value: Any) -> str:
    """An attribute as it is printed: slices as in an index, tuples with their parts."""
    if isinstance(value, tuple):
        return f"({', '.join(map(show_attribute, value))}{',' * (len(value) == 1)})"
    if isinstance(value, slice):
        parts = [value.start, value.stop, *([value.step] if value.step is not None else [])]
        return ":".join("" if part is None else str(part) for part in parts)
    return str(value)


def live(equations: Sequence[Equation], outputs: Sequence[Variable]) -> list[Equation]:
    """The equations that the outputs depend on, in order."""
    needed, kept = set(outputs), []
    for equation in reversed(equations):
        if equation.output in needed:
            kept.append(equation)
            needed.update(x for x in equation.inputs if isinstance(x, Variable))
    return kept[::-1]
