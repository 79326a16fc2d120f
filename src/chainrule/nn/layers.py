"""The layers that are no activations and do not normalise, and the way to put layers one after another."""

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.errors import DataError, ShapeError, TraceError
from chainrule.nn import init
from chainrule.nn.arguments import real, whole
from chainrule.nn.module import Module, Parameter, RandomKey, values_of
from chainrule.ops.chance import DropoutMask
from chainrule.ops.dims import same, show

_STANDARD_NORMAL = init.normal(1.0)


class Linear(Module):
    """y = x W + b, for inputs (N, in_features) (or with more leading axes).

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Whether there is a b.
    weight_init, bias_init : initialiser
        See `chainrule.nn.init`; He's normal initialisation and zeros by default. [He et al. 2015]
    dtype : dtype
    rng : numpy.random.Generator, optional
        By default the library's, which `chainrule.manual_seed` sets.

    Attributes
    ----------
    weight : Parameter (in_features, out_features)
    bias : Parameter (out_features,) or None
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: init.Initializer = init.he_normal,
        bias_init: init.Initializer = init.zeros,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.in_features = whole("Linear: in_features", in_features, error=ShapeError)
        self.out_features = whole("Linear: out_features", out_features, error=ShapeError)
        shape = self.in_features, self.out_features
        self.weight = Parameter(init.begin("Linear: weight_init", weight_init, shape, rng), dtype)
        self.bias = Parameter(init.begin("Linear: bias_init", bias_init, shape[1:], rng), dtype) if bias else None

    def forward(self, x: Any) -> Any:
        if not x.shape or not same(x.shape[-1], self.in_features):
            raise ShapeError(
                f"the input has the shape {show(x.shape)}, but the weight is {show(self.weight.shape)}: the last axis "
                f"of the input must be {self.in_features}."
            )
        y = x @ self.weight
        return y if self.bias is None else y + self.bias

    def arguments(self) -> str:
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")

    def config(self) -> dict[str, Any]:
        bias = self.bias is not None
        return {"in_features": self.in_features, "out_features": self.out_features, "bias": bias}


class Flatten(Module):
    """(N, a, b, ...) to (N, a·b·...)."""

    def forward(self, x: Any) -> Any:
        if not x.shape:
            raise ShapeError("the input is a single number, of shape (); expected (N, ...).")
        return x.reshape(x.shape[0], -1)


class AppendOne(Module):
    """(..., n) to (..., n + 1): a constant 1 behind the inputs, so that a Linear layer without bias has one after all.

    The "bias trick": the last row of the next layer's weight is its bias, and begins as the other weights do.
    """

    def forward(self, x: Any) -> Any:
        if not x.shape:
            raise ShapeError("the input is a single number, of shape (); expected (..., n).")
        return ops.pad(x, (*((0, 0),) * (len(x.shape) - 1), (0, 1)), constant_values=1)


class Dropout(Module):
    """Sets each element to 0 with probability p while training, and divides the others by 1 - p. [Srivastava 2014]

    Each call draws a key from the library's generator (`chainrule.manual_seed`), and the key determines the mask. A
    Trainer draws one key for each step, which all calls share, with a number each. Where a Module is recorded or
    differentiated as a function, the key is an input: see `Module.as_function`.
    """

    is_random = True

    def __init__(self, p: float = 0.5) -> None:
        self.p = real("Dropout: p", p, "a probability, 0 <= p < 1", lambda p: 0 <= p < 1, ShapeError)

    def forward(self, x: Any) -> Any:
        if not self.training or not self.p:
            return x
        key = RandomKey.current()
        if not key.is_input and values_of(x) is None:
            raise TraceError(
                "Dropout in training mode cannot be recorded here, since its key would be the same in every run: "
                "record the Module itself (`trace(model, x)`), whose key becomes an input, or call model.eval() first."
            )
        value, use = key.use()
        return x * DropoutMask.apply(value, use=use, shape=x.shape, p=self.p, dtype=x.dtype)


class Embedding(Module):
    """Row x of a table for each index x: (...) to (..., embedding_dim).

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    weight_init : initialiser
        N(0, 1) by default, as in PyTorch.
    dtype : dtype
    rng : numpy.random.Generator, optional

    Attributes
    ----------
    weight : Parameter (num_embeddings, embedding_dim)

    Notes
    -----
    Indices are integers, or whole numbers as floats, since a Trainer casts all inputs to the model's dtype.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        weight_init: init.Initializer = _STANDARD_NORMAL,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.num_embeddings = whole("Embedding: num_embeddings", num_embeddings, error=ShapeError)
        self.embedding_dim = whole("Embedding: embedding_dim", embedding_dim, error=ShapeError)
        shape = self.num_embeddings, self.embedding_dim
        self.weight = Parameter(init.begin("Embedding: weight_init", weight_init, shape, rng), dtype)

    def forward(self, x: Any) -> Any:
        values = values_of(x)
        if values is not None and values.size:
            whole = values.dtype.kind in "iu" or (values.dtype.kind == "f" and (values == np.rint(values)).all())
            if not whole or values.min() < 0 or values.max() >= self.num_embeddings:
                raise DataError(
                    f"Embedding: the indices run from {values.min()} to {values.max()} ({values.dtype}); expected "
                    f"whole numbers from 0 to {self.num_embeddings - 1}."
                )
        if x.dtype.kind == "f":
            x = ops.stop_gradient(x).astype(np.int64)
        return self.weight[x]


class Sequential(Module):
    """Modules one after another; `model[i]` is the i-th."""

    def __init__(self, *layers: Module) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise TypeError(
                    f"Sequential: layer {i} is a {type(layer).__name__}; expected a Module such as nn.ReLU()."
                )
            setattr(self, str(i), layer)

    def __getitem__(self, i: int) -> Module:
        return [layer for _, layer in self.children()][i]

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def forward(self, x: Any) -> Any:
        for layer in vars(self).values():
            if isinstance(layer, Module):
                x = layer(x)
        return x

    def config(self) -> dict[str, Any]:
        return {"layers": [{"layer": type(layer).__name__, **layer.config()} for _, layer in self.children()]}
