"""What an op is: one class that holds what it computes, its shape rule, its derivative, its mathematics and its source.

`Op.apply` sends a call where it belongs: plain arrays are computed at once, everything else (a Tensor, a Symbol: a
`Value`) records the op. `pullback` applies an op's rule and is where broadcasting is undone, once for all ops.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from chainrule.errors import DerivativeError, DtypeError, ShapeError
from chainrule.ops import dims
from chainrule.ops.dims import Shape, show

Array: TypeAlias = Any  # an ndarray, a Tensor or a Symbol: the code of an op runs on all three

OPS: dict[str, type["Op"]] = {}  # every op of the library by name
NUMPY: dict[Any, Callable[..., Any]] = {}  # what answers a NumPy function that is called on a Value


class Value:
    """Stands for an array and records the ops applied to it; among several, the one of the highest level does."""

    __slots__ = ()
    level: int
    record: Callable[..., Any]  # record(op, inputs, attributes) -> Value
    lift: Callable[..., Any]  # lift(array) -> a constant beside this value

    if TYPE_CHECKING:  # each kind of Value finds them in its own way

        @property
        def shape(self) -> Shape: ...

        @property
        def dtype(self) -> np.dtype[Any]: ...


@dataclass(frozen=True)
class Example:
    """Inputs on which the generated tests run an op: shapes (filled with random numbers) or arrays, and attributes."""

    inputs: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


def example(*inputs: Any, **attributes: Any) -> Example:
    """An `Example`: `example((3, 4), axis=(0,))`."""
    return Example(inputs, attributes)


class Op:
    """The base of all ops. A subclass is never instantiated: it is a name with rules; `Op.apply` records or computes.

    A subclass gives, as plain functions without `self`:

    code : str
        The op as one NumPy expression, `"np.tanh({x})"`. `forward` is made from it unless it is given.
    longhand : str
        How people write it, where that is not `code`: shorter, or without a function that `code` calls.
    forward(*inputs, **attributes)
        What the op computes, in plain NumPy.
    shape(*shapes, **attributes)
        The shape of the result. Families have it; if neither the op nor its family does, `forward` is traced.
    vjp(g, y, *inputs, **attributes)
        The derivative: from the gradient `g` of the output `y` to the gradients of the inputs (a tuple if there are
        several), in plain NumPy. An input whose name begins with an underscore is not saved: the rule may only use its
        `shape` and `dtype`. An entry may be a function without arguments: it is called only if it is needed. `None` is
        for inputs that have no derivative. Broadcasting is not the rule's business.
    no_gradient : bool
        Declares that the op has no derivative (comparisons, argmax): it is then a constant to all derivatives.
    math : str
        The op in LaTeX, with the inputs' names in braces.
    rule : str
        The derivative in a few words, `"tanh′ = 1 − tanh²"`; it stands beside the lines that come from `vjp`.
    reference(*inputs, **attributes)
        The values by another route than `forward`'s; used by the tests alone.
    examples, domain
        What the generated tests run the op on.
    """

    name: ClassVar[str]
    code: ClassVar[str] = ""
    longhand: ClassVar[str] = ""
    math: ClassVar[str] = ""
    rule: ClassVar[str] = ""
    numpy: ClassVar[tuple[Any, ...]] = ()
    no_gradient: ClassVar[bool] = False
    broadcasts: ClassVar[bool] = False  # inputs are broadcast against each other, so gradients are summed back
    arithmetic: ClassVar[bool] = False  # integers are numbers here (not indices): they take the others' float dtype
    domain: ClassVar[tuple[float, float]] = (-2.0, 2.0)
    examples: ClassVar[Sequence[Example]] = ()
    forward: ClassVar[Callable[..., Any]]
    shape: ClassVar[Callable[..., Shape] | None] = None
    vjp: ClassVar[Callable[..., Any] | None] = None
    reference: ClassVar[Callable[..., Any] | None] = None
    saves: ClassVar[tuple[bool, ...]]  # per input; the last one also for further inputs of a variadic op
    saves_output: ClassVar[bool]

    def __init_subclass__(cls, abstract: bool = False) -> None:
        for rule in ("forward", "shape", "vjp", "reference"):
            if isinstance(cls.__dict__.get(rule), FunctionType):
                setattr(cls, rule, staticmethod(cls.__dict__[rule]))
        if abstract:
            return
        cls.name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()
        if "code" in cls.__dict__ and "forward" not in cls.__dict__:
            names = dict.fromkeys(re.findall(r"\{(\w+)\}", cls.code))
            # The code of an op is part of its class, written by whoever writes the op; it never comes from data.
            source = f"lambda {', '.join(names)}: " + cls.code.format_map({name: name for name in names})
            cls.forward = staticmethod(eval(compile(source, f"<chainrule op {cls.name}>", "eval"), {"np": np}))
        cls.saves_output, cls.saves = _what_is_saved(cls.vjp) if cls.vjp else (False, (False,))
        if cls.__module__.startswith("chainrule.ops."):  # one's own op may have the name of one of these
            OPS[cls.name] = cls

    @classmethod
    def apply(cls, *inputs: Any, **attributes: Any) -> Any:
        """Compute on arrays, or record on the Value of the highest level among the inputs."""
        top = None
        for x in inputs:
            if isinstance(x, Value) and (top is None or x.level > top.level):
                top = x
        if top is None:
            return cls.forward(*inputs, **attributes)
        return top.record(cls, inputs, attributes)

    @classmethod
    def saved(cls, inputs: Sequence[Any]) -> Sequence[bool]:
        """For each of these inputs, whether the rule asks for it."""
        further = len(inputs) - len(cls.saves)
        return cls.saves[: len(inputs)] if further <= 0 else cls.saves + cls.saves[-1:] * further

    @classmethod
    def result_dtype(cls, inputs: Sequence[Any], attributes: dict[str, Any]) -> np.dtype[Any]:
        """The dtype of the result, found by computing on arrays of one element; `inputs` are Values or numbers."""
        ones = [np.ones((1,) * len(x.shape), x.dtype) if hasattr(x, "dtype") else x for x in inputs]
        ones = [1 if isinstance(x, dims.Dim) else 1.0 if isinstance(x, dims.Later) else x for x in ones]
        return np.asarray(cls.forward(*ones, **attributes)).dtype


def _what_is_saved(vjp: Callable[..., Any]) -> tuple[bool, tuple[bool, ...]]:
    """From a rule's signature: whether the output is saved, and which inputs are."""
    code = vjp.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    positional = list(names[: code.co_argcount])
    if code.co_flags & 0x04:  # *inputs
        positional.append(code.co_varnames[code.co_argcount + code.co_kwonlyargcount])
    saved = [not name.startswith("_") for name in positional]
    return saved[1], tuple(saved[2:])


def function(op: type[Op]) -> Callable[..., Any]:
    """The public function of an op without attributes; it also answers the NumPy functions named in `op.numpy`."""
    apply = op.apply

    def call(*inputs: Any) -> Any:
        return apply(*inputs)

    call.__name__ = call.__qualname__ = op.name
    call.__doc__ = op.__doc__
    return answers(*op.numpy)(call)


def answers(*numpy_functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: this function is what the given NumPy functions do when they meet a Value."""

    def register(f: Callable[..., Any]) -> Callable[..., Any]:
        for original in numpy_functions:
            NUMPY[original] = f
        return f

    return register


_REAL = "derivatives are those of real numbers."


def operands(op: type[Op], inputs: Sequence[Any]) -> list[Any]:
    """The inputs with NumPy's scalars made weak and all floats of one dtype, so that float32 stays float32.

    Raises
    ------
    DtypeError
        If arrays of two float dtypes meet, or something is given that is no real number.
    """
    float_dtype, integers, values = None, False, []
    for x in inputs:
        if isinstance(x, np.generic):
            x = x.item()
        elif isinstance(x, (list, tuple)):
            x = np.asarray(x)
        values.append(x)
        dtype = getattr(x, "dtype", None)
        if dtype is None:
            if isinstance(x, complex):
                raise DtypeError(f"{op.name} was given the complex number {x}; {_REAL}")
            continue
        if dtype.kind == "f":
            if float_dtype is not None and dtype != float_dtype:
                shapes = " and ".join(f"{v.dtype} {show(v.shape)}" for v in values if hasattr(v, "dtype"))
                raise DtypeError(
                    f"{op.name} was given {shapes}: mixed floats would silently change the precision. Convert one "
                    f"of them, with .astype(np.{float_dtype}) or .astype(np.{dtype})."
                )
            float_dtype = dtype
        elif dtype.kind in "iu":
            integers = True
        elif dtype.kind != "b":
            raise DtypeError(f"{op.name} was given an array of dtype {dtype}; {_REAL}")
    if integers and op.arithmetic and float_dtype is not None:
        values = [v.astype(float_dtype) if hasattr(v, "dtype") and v.dtype.kind in "iu" else v for v in values]
    return values


def pullback(
    op: type[Op], g: Array, y: Array, inputs: Sequence[Any], attributes: dict[str, Any], needed: Sequence[bool]
) -> list[Any]:
    """The gradients of an op's inputs from the gradient `g` of its output: the op's rule, with broadcasting undone.

    Raises
    ------
    DerivativeError
        If the op has no rule, or the rule returned something that cannot be the gradient.
    """
    if op.vjp is None:
        raise DerivativeError(
            f"The op {op.name} has no derivative rule: give its class a `vjp`, or `no_gradient = True`."
        )
    pulled = op.vjp(g, y, *inputs, **attributes)
    if type(pulled) is not tuple:
        pulled = (pulled,)
    if len(pulled) != len(inputs):
        raise DerivativeError(f"The rule of {op.name} returned {len(pulled)} gradients for {len(inputs)} inputs.")
    gradients: list[Any] = []
    for i, (d, x, need) in enumerate(zip(pulled, inputs, needed, strict=True)):
        if not need:
            gradients.append(None)
            continue
        if type(d) is FunctionType:
            d = d()
        if d is None:
            raise DerivativeError(f"The op {op.name} declares no derivative for its input {i + 1}.")
        gradients.append(_fit(op, d, x))
    return gradients


def _fit(op: type[Op], d: Array, x: Any) -> Array:
    """A gradient brought to the shape and dtype of its input; only broadcasting may have made the shape larger."""
    if type(d) is not np.ndarray and not hasattr(d, "shape"):
        if not isinstance(d, (bool, int, float)):
            raise DerivativeError(f"The rule of {op.name} returned a {type(d).__name__} where a gradient was expected.")
        d = np.asarray(d)
    if d.shape != x.shape if type(d) is np.ndarray else not dims.same_shape(d.shape, x.shape):
        try:
            if not op.broadcasts:
                raise ShapeError
            d = OPS["sum_to"].apply(d, shape=x.shape)
        except ShapeError:
            raise DerivativeError(
                f"The rule of {op.name} returned a gradient of shape {show(d.shape)} for an input of shape "
                f"{show(x.shape)}."
            ) from None
    return d if d.dtype == x.dtype else d.astype(x.dtype)


def explain(op: type[Op], error: Exception, inputs: Sequence[Any], attributes: dict[str, Any]) -> Exception:
    """NumPy's complaint about an op as a sentence that names the op and the shapes."""
    shapes = [x.shape if hasattr(x, "shape") else () for x in inputs]
    if op.shape is not None:
        try:
            op.shape(*shapes, **attributes)
        except ShapeError as better:
            return better
    text = " and ".join(map(show, shapes))
    return ShapeError(f"{op.name} does not work on shapes {text}: {error}")
