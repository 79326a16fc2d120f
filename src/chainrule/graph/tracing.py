"""Tracing: a function is called once with Symbols instead of arrays, and the ops applied to them become a Graph."""

import inspect
import itertools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, FrameType
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, ShapeError, TraceError, is_ours, user_line
from chainrule.graph import tree
from chainrule.graph.graph import Equation, Graph, Variable, live
from chainrule.ops.dims import Dim, Later, Shape, Size, same, show
from chainrule.ops.op import Op, Value, operands
from chainrule.ops.value import NumpyValue

AUTOMATIC = re.compile(r"v\d+(_\d+)*$")  # the names of values that nobody has named
# The code that calls a layer (`self`), by which calls are found on the stack, and what names the innermost of them; and
# the code that goes back through the ops (`node`). `nn` and the engine put them here, which stand above.
LAYERS: dict[CodeType, Callable[[list[Any]], str]] = {}
BACKWARD: set[CodeType] = set()
LEVELS = itertools.count(1)  # each tracing or differentiation records on a level of its own, later ones on higher ones


def _refuse(what: str, instead: str) -> Callable[..., Any]:
    def method(self: "Symbol", *_: Any, **__: Any) -> Any:
        raise TraceError(
            f"{user_line()}: {what} '{self.variable!r}', whose values are not known while the graph is recorded; "
            f"{instead}."
        )

    method.__doc__ = f"Raises: {what} a Symbol."
    return method


class Symbol(NumpyValue):
    """Stands for an array while a function is recorded: it has a shape and a dtype, but no values."""

    __slots__ = ("level", "tracer", "variable")

    def __init__(self, tracer: "Tracer", variable: Variable) -> None:
        self.tracer, self.variable, self.level = tracer, variable, tracer.level

    @property
    def shape(self) -> Shape:
        """The shape; sizes may be symbolic."""
        return self.variable.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""
        return self.variable.dtype

    def record(self, op: type[Op], inputs: Sequence[Any], attributes: dict[str, Any]) -> "Symbol":
        """Append the op to the graph being recorded."""
        return self.tracer.record(op, inputs, attributes)

    def lift(self, array: Any) -> "Symbol":
        """A constant of the graph."""
        return self.tracer.constant(np.asarray(array))

    def __repr__(self) -> str:
        return f"Symbol({self.variable!r})"

    __bool__ = _refuse("this branches on", "write np.where(condition, a, b)")
    __float__ = __int__ = __index__ = item = _refuse(
        "this needs the value of", "use NumPy's functions instead of math's"
    )
    __array__ = _refuse("this makes an ndarray of", "keep it as it is (one-hot rows: chainrule.onehot)")
    tolist = astuple = _refuse("this needs the values of", "keep it as it is")


class Tracer:
    """Collects the equations of one graph."""

    def __init__(self, name: str) -> None:
        self.name, self.level = name, next(LEVELS)
        self.inputs: list[Variable] = []
        self.constants: dict[Variable, np.ndarray[Any, Any]] = {}
        self.captured: list[tuple[Any, Symbol]] = []  # what the function closes over, and the constant made of it
        self.equations: list[Equation] = []
        self.layers: dict[Variable, str] = {}  # in which each value was made, and by the calls, what a layer is called
        self.titles: dict[tuple[int, ...], str] = {}
        self.sizes: dict[str, tuple[Variable, int]] = {}
        self.names: set[str] = set()
        self.batch: tuple[str, Size] | None = None  # the first input that has a batch axis, and its size when traced
        self.batch_name = "N"
        self.rule = ""  # while a derivative is being recorded: the op it belongs to
        self.unnamed: set[Variable] | None = None  # while a person's function runs: what has no name of theirs yet

    def variable(self, name: str, shape: Shape, dtype: Any) -> Variable:
        """A Variable with this name, or with a number behind it if the name is taken."""
        unique, count = name, itertools.count(2)
        while unique in self.names:
            unique = f"{name}_{next(count)}"
        self.names.add(unique)
        return Variable(unique, shape, np.dtype(dtype))

    def rename(self, variable: Variable, name: str) -> None:
        """Give a variable a better name than it was made with."""
        self.names.discard(variable.name)
        variable.name = self.variable(name, (), variable.dtype).name

    def input(self, name: str, shape: Shape, dtype: Any) -> Symbol:
        """A new input of the graph."""
        self.inputs.append(self.variable(name, shape, dtype))
        return Symbol(self, self.inputs[-1])

    def constant(self, array: np.ndarray[Any, Any]) -> Symbol:
        """An array that the function holds by itself."""
        for v, known in self.constants.items():
            if known is array:
                return Symbol(self, v)
        v = self.variable(f"c{len(self.constants) + 1}", array.shape, array.dtype)
        self.constants[v] = array
        return Symbol(self, v)

    def capture(self, x: Any) -> Symbol:
        """A constant with a copy of an array or eager Tensor that the function closes over."""
        for known, symbol in self.captured:
            if known is x:
                return symbol
        array = np.array(getattr(x, "value", x))
        array.flags.writeable = False
        self.captured.append((x, self.constant(array)))
        return self.captured[-1][1]

    def record(self, op: type[Op], inputs: Sequence[Any], attributes: dict[str, Any]) -> Symbol:
        """Append one equation; shapes and dtypes are found by the op's rules.

        Raises
        ------
        ShapeError, DtypeError
            If the inputs do not fit together; the message names the user's line.
        """
        try:
            symbols = [self._operand(x, op) for x in operands(op, inputs)]
            shape = self._shape(op, symbols, attributes)
            dtype = op.result_dtype(symbols, attributes)
        except (ChainruleError, ValueError) as error:
            if isinstance(error, TraceError):
                raise
            kind = type(error) if isinstance(error, ChainruleError) else ShapeError
            raise kind(f"{user_line()}: {error}") from None
        if self.unnamed is not None:
            self._take_names(self.unnamed)
        output = self.variable(f"v{len(self.equations) + 1}", shape, dtype)
        if self.unnamed is not None:
            self.unnamed.add(output)
            self.layers[output] = self._layer()
        names = tuple(x.variable if isinstance(x, Symbol) else x for x in symbols)
        layer = self.layers.get(output, "")
        self.equations.append(Equation(output, op, names, attributes, user_line(), self.rule, layer))
        return Symbol(self, output)

    def _take_names(self, unnamed: set[Variable]) -> None:
        """Name what a person's function has bound to a local variable since the last op as they named it."""
        frame = sys._getframe(2)
        while unnamed and frame.f_back is not None and frame.f_code is not trace.__code__:
            code, outermost = frame.f_code, frame.f_back.f_code is trace.__code__
            # What a function inside calls its arguments is not what they are to the whole.
            skipped = () if outermost else code.co_varnames[: code.co_argcount]
            for name, x in () if is_ours(code.co_filename) else frame.f_locals.items():
                if isinstance(x, Symbol) and x.variable in unnamed and name not in skipped and name.isidentifier():
                    unnamed.remove(x.variable)
                    self.rename(x.variable, name)
            frame = frame.f_back

    def _layer(self) -> str:
        """The innermost layer that is being called, or back through which it goes, as errors name it."""
        calls: list[Any] = []
        frame: FrameType | None = sys._getframe(2)
        name: Callable[[list[Any]], str] | None = None
        while frame is not None and frame.f_code is not trace.__code__:
            if frame.f_code in BACKWARD:
                y = getattr(frame.f_locals.get("node"), "saved_output", None)
                return self.layers.get(y.variable, "") if isinstance(y, Symbol) else ""
            if frame.f_code in LAYERS:
                name = name or LAYERS[frame.f_code]
                calls.insert(0, frame.f_locals["self"])
            frame = frame.f_back
        key = tuple(map(id, calls))
        if name is not None and key not in self.titles:
            self.titles[key] = name(calls)
        return self.titles.get(key, "")

    def _operand(self, x: Any, op: type[Op]) -> Any:
        if isinstance(x, Symbol) and x.tracer is self:
            return x
        if isinstance(x, (bool, int, float, Later)):
            return x
        if isinstance(x, np.ndarray) or (isinstance(x, Value) and x.level == 0):
            return self.capture(x)
        if isinstance(x, Value):
            raise TraceError(
                f"{user_line()}: {op.name} was given a value of an enclosing recording or differentiation; pass it as "
                "an argument of the recorded function."
            )
        raise TraceError(f"{user_line()}: {op.name} was given a {type(x).__name__}; expected an array or a number.")

    def _shape(self, op: type[Op], symbols: Sequence[Any], attributes: dict[str, Any]) -> Shape:
        if op.shape is not None:
            return op.shape(*(getattr(x, "shape", ()) for x in symbols), **attributes)
        scratch = Tracer(op.name)  # an op without a shape rule: its forward is plain NumPy, so it can be traced
        copies = [scratch.input("x", x.shape, x.dtype) if isinstance(x, Symbol) else x for x in symbols]
        return tuple(op.forward(*copies, **attributes).shape)

    def finish(self, outputs: Sequence[Any], single: bool, form: tuple[Any, ...] | None = None) -> Graph:
        """The graph of everything that the outputs depend on, checked."""
        found = tuple(self._operand(x, Op).variable if isinstance(x, Value) else _lift(self, x) for x in outputs)
        used = live(self.equations, found)
        self._drop_numbers({*found, *(e.output for e in used)})
        needed = {*found, *(x for e in used for x in e.inputs if isinstance(x, Variable))}
        constants = {v: a for v, a in self.constants.items() if v in needed}
        return Graph(self.name, tuple(self.inputs), constants, used, found, self.sizes, single, form).check()

    def _drop_numbers(self, living: set[Variable]) -> None:
        """Names without the numbers that told them from names of what is no longer there."""
        named = {v.name: v for v in (*self.inputs, *self.constants, *living)}
        taken = set(named)
        for v in sorted(living, key=lambda v: v.name):
            base, _, number = v.name.rpartition("_")
            derivative = named.get(f"d_{v.name}")
            free = base not in taken and (derivative is None or f"d_{base}" not in taken)
            if base and number.isdigit() and free and not AUTOMATIC.match(v.name) and not v.name.startswith("d_"):
                for x, name in ((v, base), (derivative, f"d_{base}")):
                    if x is not None:
                        taken.remove(x.name)
                        taken.add(name)
                        x.name = name


def _lift(tracer: Tracer, x: Any) -> Variable:
    if not isinstance(x, (bool, int, float, np.ndarray, np.generic)) or np.asarray(x).dtype.kind not in "fiub":
        raise TraceError(
            f"the function {tracer.name} returned a {type(x).__name__}; expected arrays or a tuple of arrays."
        )
    return tracer.capture(np.asarray(x, float if type(x) in (int, float) else None)).variable


class NamedFunction:
    """A function whose arguments have names that its code does not say, as that of a model's parameters.

    Attributes
    ----------
    parameter_names : list of str
        One for each argument.
    keys : tuple of arrays
        Example keys of random numbers, if it takes any: what to record it with.
    """

    def __init__(
        self, f: Callable[..., Any], name: str, parameter_names: list[str], keys: tuple[Any, ...] = ()
    ) -> None:
        self.f, self.__name__, self.parameter_names, self.keys = f, name, parameter_names, keys

    def __call__(self, *args: Any) -> Any:
        return self.f(*args)


def trace(f: Callable[..., Any], *args: Any, batch: Mapping[str, int] | None = None) -> Graph:
    """Record what `f` computes as a `Graph`.

    Parameters
    ----------
    f : callable
        A function of NumPy's functions and chainrule's, or a Module.
    *args
        Arguments as for a call: arrays, numbers, or nested tuples, lists and dicts of them. Only their shapes and
        dtypes matter.
    batch : dict of str to int, optional
        Which axis of which argument is the batch: `{"x": 0}` makes axis 0 of `x` symbolic (`N`), so that the graph
        runs at every batch size. None by default; for a Module, axis 0 of every argument.

    Returns
    -------
    Graph
        Its inputs are named after the function's parameters.

    Raises
    ------
    TraceError
        For code that cannot be recorded, with the user's line and what to write instead.
    """
    if batch is not None and not isinstance(batch, Mapping):
        raise TraceError(f"batch is {batch!r}; expected which axis of which argument it is, such as {{'x': 0}}.")
    if hasattr(f, "as_function"):  # a Module: its parameters become inputs, and its arguments are batches
        pure, parameters = f.as_function()
        f, inputs = pure, len(args)
        args = (parameters, *pure.keys, *args)
        batch = dict.fromkeys(parameter_names(f, len(args))[len(args) - inputs :], 0) if batch is None else batch
    names = parameter_names(f, len(args))
    tracer = Tracer(getattr(f, "__name__", type(f).__name__).strip("<>"))
    taken = {name for arg, own in zip(args, names, strict=True) for name, _ in tree.flatten(arg, own)}
    tracer.batch_name = next((n for n in ("N", "M", "batch_size") if n not in taken), "batch_rows")
    symbols = []
    for name, arg in zip(names, args, strict=True):
        leaves = [
            _input(tracer, leaf_name, leaf, (batch or {}).get(leaf_name, (batch or {}).get(name)))
            for leaf_name, leaf in tree.flatten(arg, name)
        ]
        symbols.append(tree.rebuild(arg, leaves))
    unknown = set(batch or {}) - {*names, *(v.name for v in tracer.inputs)}
    if unknown:
        raise TraceError(f"batch names '{unknown.pop()}', but the arguments of {tracer.name} are {', '.join(names)}.")
    tracer.unnamed = set()
    result = f(*symbols)
    tracer.unnamed = None
    outputs = [leaf for _, leaf in tree.flatten(result)]
    form = tree.map_leaves(lambda _: None, args)
    return tracer.finish(outputs, not isinstance(result, (tuple, list, dict)), form)


def _input(tracer: Tracer, name: str, x: Any, axis: int | None) -> Symbol:
    if not isinstance(x, Value):
        x = np.asarray(x, float if type(x) in (int, float) else None)
    if x.dtype.kind not in "fiub":
        raise TraceError(f"the argument '{name}' of {tracer.name} is of dtype {x.dtype}; expected an array of numbers.")
    shape = tuple(x.shape)
    if axis is None:
        return tracer.input(name, shape, x.dtype)
    if not -len(shape) <= axis < len(shape):
        raise ShapeError(f"batch names axis {axis} of '{name}', which has the shape {show(shape)}.")
    axis %= len(shape)
    first, size = tracer.batch = tracer.batch or (name, shape[axis])
    if not same(size, shape[axis]):
        raise ShapeError(f"batch: '{first}' has the size {size} along its batch axis, but '{name}' has {shape[axis]}.")
    symbol = tracer.input(name, (*shape[:axis], Dim(tracer.batch_name), *shape[axis + 1 :]), x.dtype)
    tracer.sizes.setdefault(tracer.batch_name, (symbol.variable, axis))
    return symbol


def parameter_names(f: Callable[..., Any], count: int) -> list[str]:
    """The names of a function's first `count` parameters."""
    f = inspect.unwrap(f)
    if isinstance(f, NamedFunction):
        return f.parameter_names[:count]
    called: Any = f if hasattr(f, "__code__") or hasattr(f, "__func__") else getattr(f, "__call__", f)  # noqa: B004
    code = getattr(getattr(called, "__func__", called), "__code__", None)
    names: list[str] = []
    if code is not None:
        names = list(code.co_varnames[: code.co_argcount])[1 if hasattr(called, "__self__") else 0 :]
    return [*names[:count], *(f"arg{i}" for i in range(len(names), count))]
