"""`NumpyValue`: what Tensor and Symbol have in common, so that a person's own NumPy code runs on them as it stands.

Operators, methods and NumPy's two protocols lead to the ops. What cannot be honoured raises and says what to write.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from chainrule.errors import TraceError, user_line
from chainrule.ops import arithmetic, comparison, control, dims, indexing, product, reduction, structure
from chainrule.ops.op import NUMPY, Value

# NumPy functions that look at values without computing with them: on a Value they see its array, if it may be seen.
_LOOK = {
    np.allclose, np.array_equal, np.array2string, np.array_repr, np.array_str, np.isclose, np.isfinite, np.isinf,
    np.isnan, np.may_share_memory, np.shares_memory,
}  # fmt: skip


def _in_place(operator: str) -> Callable[[Any, Any], Any]:
    """The method for `a += b` and its kin, which would write into arrays."""

    def method(self: Any, other: Any) -> Any:
        if self.shape == ():
            return NotImplemented  # Python then rebinds the name: a = a + b
        raise TraceError(
            f"{user_line()}: `a {operator}= b` would change an array in place, which would lose the derivative; "
            f"write `a = a {operator} b`."
        )

    return method


class NumpyValue(Value):
    """A Value with NumPy's operators, methods and protocols."""

    __slots__ = ()
    __hash__ = object.__hash__  # by identity: == is an op

    def lift(self, array: Any) -> Any:
        """A constant beside this value, in whatever form its ops can take."""
        return array

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        original = ufunc if method == "__call__" else getattr(ufunc, method)
        return self._numpy(original, inputs, options)

    def __array_function__(self, original: Any, types: Any, args: Any, options: Any) -> Any:
        return self._numpy(original, args, options)

    def _numpy(self, original: Any, args: Any, options: Any) -> Any:
        name = f"np.{getattr(original, '__name__', original)}"
        if options.get("out") is not None:
            raise TraceError(
                f"{user_line()}: {name}(..., out=) and `array += tensor` write in place, which would lose the "
                "derivative; write `result = ...` or `a = a + b`."
            )
        f = NUMPY.get(original) or _by_reduce(original)
        if f is not None:
            try:
                return f(*args, **options)
            except TypeError as error:
                if "argument" not in str(error):
                    raise
                raise TraceError(f"{user_line()}: {name} is supported, but not in this form: {error}.") from None
        if original in _LOOK:
            return original(*(np.asarray(x) if isinstance(x, Value) else x for x in args), **options)
        from difflib import get_close_matches

        known = sorted({f"np.{k.__name__}" for k in NUMPY})
        near = get_close_matches(name, known, n=1, cutoff=0.6)
        raise TraceError(
            f"{user_line()}: {name} has no derivative here; "
            + (f"did you mean {near[0]}? " if near else "")
            + "Write it with the supported functions, or give it a rule with chainrule.custom_vjp."
        )

    # Operators. `+=` rebinds a name for numbers (as NumPy does) but would change an array in place.
    def __add__(self, other: Any) -> Any:
        return arithmetic.add(self, other)

    def __radd__(self, other: Any) -> Any:
        return arithmetic.add(other, self)

    def __sub__(self, other: Any) -> Any:
        return arithmetic.subtract(self, other)

    def __rsub__(self, other: Any) -> Any:
        return arithmetic.subtract(other, self)

    def __mul__(self, other: Any) -> Any:
        return arithmetic.multiply(self, other)

    def __rmul__(self, other: Any) -> Any:
        return arithmetic.multiply(other, self)

    def __truediv__(self, other: Any) -> Any:
        return arithmetic.divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return arithmetic.divide(other, self)

    def __pow__(self, other: Any) -> Any:
        return arithmetic.power(self, other)

    def __rpow__(self, other: Any) -> Any:
        return arithmetic.power(other, self)

    def __matmul__(self, other: Any) -> Any:
        return product.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return product.matmul(other, self)

    def __neg__(self) -> Any:
        return arithmetic.negative(self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return arithmetic.abs(self)

    def __eq__(self, other: object) -> Any:
        return comparison.equal(self, other)

    def __ne__(self, other: object) -> Any:
        return comparison.not_equal(self, other)

    def __lt__(self, other: Any) -> Any:
        return comparison.less(self, other)

    def __le__(self, other: Any) -> Any:
        return comparison.less_equal(self, other)

    def __gt__(self, other: Any) -> Any:
        return comparison.greater(self, other)

    def __ge__(self, other: Any) -> Any:
        return comparison.greater_equal(self, other)

    __iadd__, __isub__, __imul__ = _in_place("+"), _in_place("-"), _in_place("*")
    __itruediv__, __ipow__, __imatmul__ = _in_place("/"), _in_place("**"), _in_place("@")

    def __getitem__(self, index: Any) -> Any:
        return indexing.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TraceError(
            f"{user_line()}: `a[...] = b` would change an array in place, which would lose the derivative; write "
            "np.where(condition, b, a) or np.concatenate."
        )

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a value without axes")
        size = self.shape[0]
        if isinstance(size, dims.Dim):
            raise TraceError(f"{user_line()}: len(x) needs a number, but the batch size is symbolic; write x.shape[0].")
        return size

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    # Attributes and methods of an ndarray.
    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> dims.Size:
        """The number of elements."""
        return dims.size_of(self.shape)

    @property
    def T(self) -> Any:
        """The value with its axes in reverse order."""
        return structure.transpose(self)

    @property
    def mT(self) -> Any:
        """The value with its last two axes exchanged."""
        return structure.swapaxes(self, -1, -2)

    def astype(self, dtype: Any) -> Any:
        """The value in another dtype."""
        dtype = np.dtype(dtype)  # to round is to be constant almost everywhere
        return structure.Cast.apply(self if dtype.kind == "f" else control.stop_gradient(self), dtype=dtype)

    def reshape(self, *shape: Any) -> Any:
        """The value in another shape."""
        return structure.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *order: Any) -> Any:
        """The value with its axes in another order."""
        return structure.transpose(
            self, order[0] if len(order) == 1 and not isinstance(order[0], int) else order or None
        )

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The sum along axes."""
        return reduction.sum(self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The mean along axes."""
        return reduction.mean(self, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The largest element along axes."""
        return reduction.max(self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The smallest element along axes."""
        return reduction.min(self, axis, keepdims)

    def var(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
        """The variance along axes."""
        return reduction.var(self, axis, ddof, keepdims)

    def std(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
        """The standard deviation along axes."""
        return reduction.std(self, axis, ddof, keepdims)

    def cumsum(self, axis: int | None = None) -> Any:
        """The running sum along an axis."""
        return reduction.cumsum(self, axis)

    def clip(self, min: Any = None, max: Any = None) -> Any:
        """The value held between two bounds."""
        return arithmetic.clip(self, min, max)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Any:
        """The index of the largest element."""
        return reduction.argmax(self, axis, keepdims)

    def dot(self, other: Any) -> Any:
        """NumPy's dot."""
        return product.dot(self, other)

    def squeeze(self, axis: Any = None) -> Any:
        """The value without axes of size 1."""
        return structure.squeeze(self, axis)

    def swapaxes(self, axis1: int, axis2: int) -> Any:
        """The value with two axes exchanged."""
        return structure.swapaxes(self, axis1, axis2)

    def ravel(self) -> Any:
        """The value with a single axis."""
        return structure.ravel(self)

    flatten = ravel


def _by_reduce(original: Any) -> Any:
    """The answer to `np.add.reduce` and its kin: bound methods are new objects at each access, so compared by owner."""
    for ufunc, answer in ((np.add, reduction.sum), (np.maximum, reduction.max), (np.minimum, reduction.min)):
        if getattr(original, "__self__", None) is ufunc and original.__name__ == "reduce":
            return lambda x, axis=0, keepdims=False, answer=answer: answer(x, axis, keepdims)
    return None
