"""Derivatives of functions, after JAX: grad, value_and_grad, vjp, jvp, jacobian, hessian, and rules of one's own.

Each call differentiates on a level of its own: the arguments are wrapped in Tensors of that level, whose values are
whatever was given: arrays, Tensors of an outer derivative, or Symbols of a graph being recorded. So the same rules give
derivatives of derivatives, and `trace(grad(f), x)` works.
"""

import functools
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from chainrule.engine.tensor import Tensor, backpropagate, held_elsewhere
from chainrule.errors import DerivativeError, DtypeError, ShapeError
from chainrule.graph import tree
from chainrule.graph.tracing import BACKWARD, LEVELS
from chainrule.ops.dims import same_shape, show
from chainrule.ops.families import Elementwise
from chainrule.ops.numpy_names import ones_like, zeros_like
from chainrule.ops.op import Op, Value

Function = Callable[..., Any]
BACKWARD.add(backpropagate.__code__)


def grad(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The function that computes the gradient of a scalar function.

    Parameters
    ----------
    f : callable
        A function of arrays that returns a number (shape `()`).
    argnums : int or sequence of int
        The argument, or the arguments, with respect to which to differentiate; each an array of floats or nested
        tuples, lists and dicts of them.

    Returns
    -------
    callable
        Takes the same arguments; returns the gradient in the form of the argument (a tuple if `argnums` is a sequence).
    """
    both = value_and_grad(f, argnums)

    @functools.wraps(f)
    def gradient(*args: Any, **options: Any) -> Any:
        return both(*args, **options)[1]

    return gradient


def value_and_grad(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The function that computes `(f(*args), gradient)`; see `grad`."""

    @functools.wraps(f)
    def both(*args: Any, **options: Any) -> tuple[Any, Any]:
        picked = tuple(argnums) if isinstance(argnums, Sequence) else (argnums,)
        for i in picked:
            if not isinstance(i, (int, np.integer)):
                raise DerivativeError(f"grad: argnums is {argnums!r}; expected an int, or a tuple of ints.")
            if not -len(args) <= i < len(args):
                raise DerivativeError(f"grad: argnums names the argument {i}, but {len(args)} were given.")
        picked = tuple(i % len(args) for i in picked)
        if len(set(picked)) < len(picked):
            raise DerivativeError(f"grad: argnums {argnums} names an argument twice.")

        def of_picked(*chosen: Any) -> Any:
            full = list(args)
            for i, x in zip(picked, chosen, strict=True):
                full[i] = x
            return f(*full, **options)

        y, pull = vjp(of_picked, *(args[i] for i in picked))
        if type(y) in (int, float):
            y = np.float64(y)  # a constant: its derivatives are zeros
        if not hasattr(y, "shape") or y.shape != () or y.dtype.kind != "f":
            found = f"{y.dtype} of shape {show(y.shape)}" if hasattr(y, "shape") else f"a {type(y).__name__}"
            raise DerivativeError(
                f"grad: the function returned {found}; expected one float, of shape (). See jacobian."
            )
        gradients = pull(ones_like(y) if isinstance(y, Value) else np.ones_like(y))
        return y, gradients if isinstance(argnums, Sequence) else gradients[0]

    return both


def vjp(f: Function, *args: Any) -> tuple[Any, Function]:
    """The value of `f` and the function that pulls gradients of it back to its arguments.

    Returns
    -------
    y : array, or tuple of arrays
        `f(*args)`.
    pull : callable
        Takes a gradient of the form of `y`; returns a tuple with a gradient in the form of each argument. Linear.
    """
    level = next(LEVELS)
    wrapped = tree.map_leaves(lambda x: _variable(x, level), args)
    variables = [leaf for _, leaf in tree.flatten(wrapped)]
    result = f(*wrapped)
    outputs = [leaf for _, leaf in tree.flatten(result)]

    def pull(cotangents: Any) -> tuple[Any, ...]:
        seeds = tree.leaves_like(result, cotangents, "vjp: a gradient for each output")
        pairs = [
            (y, _seed(s, y))
            for y, s in zip(outputs, seeds, strict=True)
            if isinstance(y, Tensor) and y.level == level and y.requires_grad
        ]
        leaves = backpropagate([y for y, _ in pairs], [s for _, s in pairs], variables)
        for i, x in enumerate(variables):
            if leaves[i] is None:
                leaves[i] = _zeros(x._value)
            # A rule may hand one array, or the seed itself, to several inputs: what others still hold is copied.
            elif isinstance(leaves[i], np.ndarray) and held_elsewhere(leaves, i):
                leaves[i] = leaves[i].copy()
            leaves[i] = _unwrap(leaves[i])
        gradients: tuple[Any, ...] = tree.rebuild(args, leaves)
        return gradients

    return tree.map_leaves(lambda y: _unwrap(_below(y, level)), result), pull


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """The value of `f` at `primals` and its derivative in the direction `tangents`, by pulling back twice.

    The pullback u ↦ uᵀJ is linear in u; pulling `tangents` back through it gives J · tangents.
    """
    y, pull = vjp(f, *primals)
    if not isinstance(y, Value) and not hasattr(y, "shape"):
        raise DerivativeError("jvp: the function must return one array.")
    _, pull_twice = vjp(lambda u: pull(u), zeros_like(y) if isinstance(y, Value) else np.zeros_like(y))
    return y, pull_twice(tuple(tangents))[0]


def jacobian(f: Function, argnum: int = 0) -> Function:
    """The function that computes all derivatives of `f`: an array of shape (*output shape, *argument shape)."""

    @functools.wraps(f)
    def full(*args: Any) -> Any:
        if not -len(args) <= argnum < len(args):
            raise DerivativeError(f"jacobian: argnum is {argnum}, but {len(args)} arguments were given.")
        i = argnum % len(args)
        x = args[i]
        y, pull = vjp(lambda x: f(*args[:i], x, *args[i + 1 :]), x)
        for what, value in (("the function returned", y), ("the argument is", x)):
            if isinstance(value, (tuple, list, dict)) or value is None:
                raise DerivativeError(f"jacobian: {what} a {type(value).__name__}; expected one array.")
        y = np.asarray(y, float) if type(y) in (int, float) else y
        shape = y.shape
        size = int(np.prod(shape))
        basis = np.eye(size, dtype=y.dtype).reshape(size, *shape)
        rows = [pull(e)[0] for e in basis]
        if any(isinstance(row, Value) for row in rows):
            stacked = np.concatenate([row.reshape((1, *row.shape)) for row in rows])
        else:
            stacked = np.array(rows, y.dtype).reshape(size, *np.shape(x))
        return stacked.reshape((*shape, *np.shape(x)))

    return full


def hessian(f: Function, argnum: int = 0) -> Function:
    """The function that computes all second derivatives of a scalar function, of shape (*shape, *shape)."""
    return jacobian(grad(f, argnum), argnum)


def custom_vjp(forward: Function, vjp: Function, name: str | None = None) -> Function:
    """A function with a derivative rule of one's own.

    Parameters
    ----------
    forward : callable
        `forward(*inputs)` in plain NumPy.
    vjp : callable
        `vjp(g, y, *inputs)`: from the gradient `g` of the output `y` to the gradients of the inputs, as in `Op`.
    name : str, optional
        How graphs call it; by default the name of `forward`.

    Returns
    -------
    callable
        Works on arrays, Tensors and Symbols.
    """
    return _own_op(Op, forward, vjp, name)


def elementwise(f: Function, derivative: Function, name: str | None = None) -> Function:
    """An element-wise function of one's own that is not made of functions with a derivative here.

    A function in plain NumPy, such as `lambda x: 1 / (1 + np.exp(-x))`, is differentiated as it stands; this is for
    others, such as `np.arctan`, or for a derivative that is to be written by hand.

    Parameters
    ----------
    f : callable
        From an array to an array of the same shape and dtype, each element from the one in its place.
    derivative : callable
        f'(x), in plain NumPy.
    name : str, optional
        How graphs call it; by default the name of `f`.

    Returns
    -------
    callable
        Works on arrays, Tensors and Symbols.
    """
    return _own_op(Elementwise, f, lambda g, _y, x: g * derivative(x), name)


def _own_op(family: type[Op], forward: Function, vjp: Function, name: str | None) -> Function:
    title = str(name or getattr(forward, "__name__", type(forward).__name__)).strip("<>")
    if not isinstance(vjp, FunctionType) or vjp.__code__.co_argcount < 2:
        raise DerivativeError(f"custom_vjp: the rule of {title} must be a function `vjp(g, y, *inputs)`.")
    op: type[Op] = type(title, (family,), {"forward": forward, "vjp": vjp, "__doc__": forward.__doc__})

    @functools.wraps(forward)
    def call(*inputs: Any) -> Any:
        return op.apply(*inputs)

    return call


def _variable(x: Any, level: int) -> Tensor:
    if not isinstance(x, Value):
        x = np.asarray(x, float if isinstance(x, float) else None)
    if x.dtype.kind != "f":
        raise DtypeError(
            f"derivatives are taken with respect to floats; an argument is {x.dtype}: convert it with .astype(float)."
        )
    return Tensor._made(x, None, level)


def _below(y: Any, level: int) -> Any:
    return y._value if isinstance(y, Tensor) and y.level == level else y


def _unwrap(x: Any) -> Any:
    """What a caller gets: an array of its own, a NumPy scalar for shape (), or the Value of an outer level."""
    if not isinstance(x, np.ndarray):
        return x
    return x[()] if x.shape == () else x if x.base is None and x.flags.writeable else x.copy()


def _zeros(x: Any) -> Any:
    return zeros_like(x) if isinstance(x, Value) else np.zeros_like(x)


def _seed(seed: Any, y: Tensor) -> Any:
    if not isinstance(seed, Value):
        seed = np.asarray(seed, y.dtype)
    if not same_shape(seed.shape, y.shape):
        raise ShapeError(
            f"vjp: a gradient of shape {show(seed.shape)} was given for an output of shape {show(y.shape)}."
        )
    return seed
