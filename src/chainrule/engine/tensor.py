"""`Tensor`: an array that remembers how it was made, and the one backward pass that follows from it.

A Tensor holds its array and, if a derivative may be wanted, the `Node` it came from. Nodes hold what the rules need
and their parents, never the Tensor that they made: there are no cycles, and memory is freed when its last user goes.
"""

import heapq
import itertools
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import (
    ChainruleError,
    DerivativeError,
    DivergenceError,
    DtypeError,
    ShapeError,
    TraceError,
    user_line,
)
from chainrule.graph.tracing import LEVELS, Symbol
from chainrule.ops.dims import Shape, show
from chainrule.ops.op import Op, Value, explain, operands, pullback
from chainrule.ops.value import NumpyValue

_ORDER = itertools.count()  # nodes are numbered as they are made, so the backward pass knows their order


class _State(threading.local):
    silent = -1  # Tensors of this level and below do not remember
    detecting = False


_state = _State()


class Like:
    """The shape and dtype of an array that a rule does not need itself."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype


def _versions(parents: list[Any]) -> int:
    """A number that changes when one of the given Tensors among the parents is assigned."""
    total = 0
    for p in parents:
        if p is not None and type(p) is not Node:
            total += p.version
    return total


class Node:
    """One op that was applied: how its output depends on its inputs.

    Attributes
    ----------
    op : type[Op]
        What was applied.
    inputs : tuple of Tensor
        What it was applied to.
    attributes : dict
        The op's attributes, such as `axis`.
    """

    __slots__ = (
        "attributes",
        "dtype",
        "op",
        "order",
        "output",
        "parents",
        "saved",
        "saved_output",
        "shape",
        "versions",
    )

    def __init__(self, op: type[Op], attributes: dict[str, Any], parents: list[Any], saved: list[Any], y: Any) -> None:
        self.op, self.attributes, self.parents = op, attributes, parents
        self.saved: list[Any] | None = saved
        self.saved_output = y if op.saves_output or type(y) is Symbol else None
        self.shape, self.dtype = y.shape, y.dtype
        self.versions = _versions(parents)
        self.order = next(_ORDER)
        self.output: Any = None  # a weak reference to the Tensor that was made

    @property
    def inputs(self) -> "tuple[Tensor, ...]":
        """The Tensors (or constants) that the op was applied to. A value that nobody kept and no rule needs is gone."""
        found = []
        for i, parent in enumerate(self.parents):
            if isinstance(parent, Tensor):
                found.append(parent)
                continue
            alive = parent.output() if parent is not None else None
            if alive is None:
                kept = self.saved[i] if self.saved is not None else None
                kept = np.asarray(kept) if isinstance(kept, (bool, int, float)) else kept
                alive = Tensor._made(kept, parent, 0, parent is not None)
            found.append(alive)
        return tuple(found)

    def __repr__(self) -> str:
        shapes = [show(p.shape) if p is not None else "constant" for p in self.parents]
        return f"<{self.op.name} of {', '.join(shapes)}>"


class Tensor(NumpyValue):
    """An array that remembers how it was made.

    Made by `chainrule.tensor`. NumPy's functions, operators and methods work on it; `backward()` on a result of shape
    `()` fills `grad` of every Tensor made with `requires_grad=True` that it depends on.

    Attributes
    ----------
    value : ndarray
        The array, read-only; `assign` changes it.
    requires_grad : bool
        Whether derivatives with respect to this Tensor are followed.
    grad : ndarray or None
        What `backward` has accumulated; set it to None to begin anew.
    source : Node or None
        The op that made it (`source.op`, `source.inputs`); None for a Tensor that was given.
    """

    __slots__ = ("__weakref__", "_value", "grad", "level", "requires_grad", "source", "version")
    _value: Any

    def __init__(self, value: Any, requires_grad: bool = False) -> None:
        array = np.array(value)
        if array.dtype.kind not in "fiub":
            raise DtypeError(f"a tensor is made of numbers, not of dtype {array.dtype}.")
        if requires_grad and array.dtype.kind != "f":
            raise DtypeError(
                f"only floats have derivatives; convert the {array.dtype} array with .astype(float) first."
            )
        self._value, self.requires_grad = array, requires_grad
        self.grad: np.ndarray[Any, Any] | None = None
        self.source: Node | None = None
        self.level = self.version = 0

    @staticmethod
    def _made(value: Any, source: Node | None, level: int, requires_grad: bool = True) -> "Tensor":
        tensor = Tensor.__new__(Tensor)
        tensor._value, tensor.source, tensor.level = value, source, level
        tensor.requires_grad, tensor.grad, tensor.version = requires_grad, None, 0
        return tensor

    @property
    def value(self) -> Any:
        """The array, read-only, so that what a derivative needs cannot change unseen."""
        if isinstance(self._value, np.ndarray):
            view = self._value.view()
            view.flags.writeable = False
            return view
        if self._value is None or isinstance(self._value, Like):
            raise DerivativeError(
                "this value has been freed: nothing kept its tensor, and no derivative rule needs it."
            )
        return self._value

    @property
    def shape(self) -> Shape:
        """The number of elements along each axis."""
        made = self.source
        shape: Shape = self._value.shape if made is None else made.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""
        made = self.source
        dtype: np.dtype[Any] = self._value.dtype if made is None else made.dtype
        return dtype

    def record(self, op: type[Op], inputs: Sequence[Any], attributes: dict[str, Any]) -> "Tensor":
        """Apply an op to the values below, and remember it if a derivative may be wanted."""
        level = self.level
        parents: list[Any] = []
        values: list[Any] = []
        tracked = False
        for x in inputs:
            if isinstance(x, Tensor) and x.level == level:
                values.append(x._value)
                if x.requires_grad:
                    tracked = True
                    parents.append(x.source or x)
                    continue
            else:
                values.append(x)
            parents.append(None)
        if len(values) > 1:
            values = operands(op, values)
        try:  # below level 0 there are only arrays
            y = op.forward(*values, **attributes) if level == 0 else op.apply(*values, **attributes)
        except (ValueError, IndexError) as error:
            if isinstance(error, ChainruleError):
                raise
            raise explain(op, error, values, attributes) from error
        if type(y) is not np.ndarray:
            if not isinstance(y, Value):
                y = np.asarray(y)
            elif y.level >= level:
                raise TraceError(
                    f"{user_line()}: {op.name} closes over a tensor and would lose its derivative; pass it as an input."
                )
        if _state.detecting:
            _detect(op, y, values)
        if not tracked or op.no_gradient or level <= _state.silent:
            return Tensor._made(y, None, level, False)
        saved = [
            v if keep or not hasattr(v, "shape") else Like(v.shape, v.dtype)
            for v, keep in zip(values, op.saved(values), strict=True)
        ]
        node = Node(op, attributes, parents, saved, y)
        tensor = Tensor._made(y, node, level)
        node.output = weakref.ref(tensor)
        return tensor

    def lift(self, array: Any) -> Any:
        """A constant beside the value: of the graph, if that is being recorded."""
        return self._value.lift(array) if isinstance(self._value, Value) else array

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add the derivative of this Tensor to `grad` of every Tensor with `requires_grad` that it depends on.

        Parameters
        ----------
        gradient : array, optional
            The direction, of this Tensor's shape; may only be left out if that is `()`.
        retain_graph : bool
            Keep what the rules need, so that `backward` can be called again; by default it is freed on the way.
        """
        if not self.requires_grad:
            raise DerivativeError(
                "backward: this tensor does not depend on any tensor with requires_grad=True"
                " (or it was computed under no_grad, or through ops without derivative)."
            )
        if gradient is None and self.shape != ():
            raise ShapeError(
                f"backward: a tensor of shape {show(self.shape)} has no single derivative; reduce it first, as with "
                ".sum(), or give the direction: backward(gradient)."
            )
        seed = np.ones((), self.dtype) if gradient is None else np.asarray(gradient, self.dtype)
        if seed.shape != self.shape:
            raise ShapeError(f"backward: the gradient has the shape {show(seed.shape)}, the tensor {show(self.shape)}.")
        backpropagate([self], [seed], None, free=not retain_graph)

    def assign(self, value: Any) -> None:
        """Give this Tensor another array of the same shape; what was computed before can no longer be derived."""
        if self.source is not None:
            raise DerivativeError("assign: this tensor was computed; only a tensor that was given can be assigned to.")
        array = np.asarray(value, self.dtype)
        if array.shape != self.shape:
            raise ShapeError(f"assign: the tensor has the shape {show(self.shape)}, the new value {show(array.shape)}.")
        self.version += 1
        self._value = np.array(array)  # a new array: views and detached Tensors of the old one keep their values

    def writable(self) -> np.ndarray[Any, Any]:
        """The array itself, for an optimiser to write the new values into; what was computed before is then stale."""
        self.version += 1
        # Two references are the slot and the call's argument. A further one is a view, a detached Tensor or a recorded
        # op, which must go on seeing the old values: a derivative would else be taken at the wrong point, unseen.
        if sys.getrefcount(self._value) > 2:
            self._value = self._value.copy()
        array: np.ndarray[Any, Any] = self._value
        return array

    def subtract_(self, update: np.ndarray[Any, Any]) -> None:
        """Subtract an array of the same shape, in place unless somebody else holds the array."""
        array = self.writable()
        array -= update

    def detach(self) -> "Tensor":
        """A Tensor of the same values that is a constant to all derivatives."""
        return Tensor._made(self._value, None, self.level, False)

    def item(self) -> Any:
        """The only element, as a Python number."""
        return self._value.item()

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy of the values as an ndarray of one's own."""
        return np.array(self.value)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        self._may_be_seen("np.asarray(tensor)", ".value for its array or .detach() for a constant")
        return np.array(self.value, dtype) if copy or dtype is not None else np.asarray(self.value)

    def __float__(self) -> float:
        self._may_be_seen("float(tensor), and so math's functions,", ".item() for the number, or NumPy's functions")
        return float(self._value)

    def __int__(self) -> int:
        self._may_be_seen("int(tensor)", ".item() for the number")
        return int(self._value)

    def __index__(self) -> int:
        index: int = self._value.__index__()
        return index

    def __bool__(self) -> bool:
        return bool(self._value)

    def _may_be_seen(self, what: str, instead: str) -> None:
        if self.requires_grad or not isinstance(self._value, np.ndarray):
            raise TraceError(f"{user_line()}: {what} would lose the derivative; write {instead}.")

    def __repr__(self) -> str:
        value = self._value
        if isinstance(value, np.ndarray):
            value = np.array2string(value, separator=", ", prefix="tensor(")
        elif not isinstance(value, Value):
            return "tensor(freed)"
        how = f", source={self.source.op.name}" if self.source else ", requires_grad=True" * self.requires_grad
        return f"tensor({value}, dtype={self.dtype}{how})"


def tensor(value: Any, requires_grad: bool = False) -> Tensor:
    """A Tensor with a copy of `value` (an array, a number, nested lists); follow derivatives if `requires_grad`."""
    return Tensor(value.value if isinstance(value, Tensor) else value, requires_grad)


class no_grad:  # noqa: N801  # PyTorch's name
    """`with no_grad():` computes without remembering, for this thread. What `grad` and its kin do inside is theirs."""

    def __init__(self) -> None:
        self.before: list[int] = []  # one may be entered again inside itself

    def __enter__(self) -> None:
        self.before.append(_state.silent)
        _state.silent = next(LEVELS)

    def __exit__(self, *_: object) -> None:
        _state.silent = self.before.pop()


class detect_nan:  # noqa: N801
    """`with detect_nan():` raises at the first op whose result is not finite although its inputs are."""

    def __enter__(self) -> None:
        self.before, _state.detecting = _state.detecting, True

    def __exit__(self, *_: object) -> None:
        _state.detecting = self.before


def _detect(op: type[Op], y: Any, values: Sequence[Any]) -> None:
    if isinstance(y, np.ndarray) and y.dtype.kind == "f" and not np.isfinite(y).all():
        guilty = all(np.isfinite(v).all() for v in values if isinstance(v, np.ndarray))
        shapes = " and ".join(show(v.shape) for v in values if hasattr(v, "shape"))
        what = "NaN" if np.isnan(y).any() else "infinity"
        raise DivergenceError(
            f"{op.name} of {shapes} gives {what}" + ("" if guilty else ", because an input is not finite already")
        )


Parent = Node | Tensor


def backpropagate(
    outputs: Sequence[Tensor], seeds: Sequence[Any], targets: Sequence[Tensor] | None, free: bool = False
) -> list[Any]:
    """The backward pass: every rule once, in the reverse order of the forward pass.

    Parameters
    ----------
    outputs, seeds
        Tensors of one level, and the gradients with which to begin (values of the level below).
    targets : sequence of Tensor, optional
        The given Tensors whose gradients are wanted. By default `grad` of all given Tensors is added to.
    free : bool
        Free what the rules need on the way.

    Returns
    -------
    list
        The gradients of the targets; None for one that the outputs do not depend on.
    """
    gradients: dict[Parent, Any] = {}
    waiting: list[tuple[int, Node]] = []  # a heap: the latest node first, when all that was made from it is done

    def receive(parent: Parent, d: Any) -> None:
        if parent in gradients:
            gradients[parent] = gradients[parent] + d
        else:
            gradients[parent] = d
            if type(parent) is Node:
                heapq.heappush(waiting, (-parent.order, parent))

    for output, seed in zip(outputs, seeds, strict=True):
        if output.requires_grad:
            receive(output.source or output, seed)
    while waiting:
        _, node = heapq.heappop(waiting)
        parents = node.parents
        if node.saved is None or node.versions != _versions(parents):
            raise _stale(node)
        needed = [parent is not None for parent in parents]
        pulled = pullback(node.op, gradients.pop(node), node.saved_output, node.saved, node.attributes, needed)
        for parent, d in zip(parents, pulled, strict=True):
            if parent is not None:
                receive(parent, d)
        if free:
            node.saved = node.saved_output = None
    if targets is not None:
        return [gradients.get(t) for t in targets]
    pulled, d = [], None  # no longer hold the last gradients
    for leaf in [p for p in gradients if isinstance(p, Tensor)]:
        # A grad belongs to one tensor alone, but a rule may hand the same array, or a view of one, to several inputs.
        shared = held_elsewhere(gradients, leaf)
        g = gradients.pop(leaf)
        if leaf.grad is not None:
            leaf.grad = np.asarray(leaf.grad + g)  # NumPy makes a sum of shape () a number, to which nobody can write
        else:
            own = type(g) is np.ndarray and g.base is None and g.flags.owndata and not shared
            leaf.grad = g if own else np.array(g)
        del g
    return []


def held_elsewhere(holder: Any, key: Any) -> bool:
    """Whether something besides `holder[key]` refers to this object.

    The holder and the call's argument are two references. A local name is not asked for: Python 3.14 does not always
    count it.
    """
    return sys.getrefcount(holder[key]) > 2


def _stale(node: Node) -> DerivativeError:
    if node.saved is None:
        return DerivativeError(
            f"backward: what the rule of {node.op.name} needs was freed by an earlier backward(); call that with "
            "retain_graph=True to go through the graph twice."
        )
    return DerivativeError(
        f"backward: a tensor that {node.op.name} was applied to has been assigned since, so the derivative would be "
        "taken at the wrong point; call backward() before changing parameters."
    )
