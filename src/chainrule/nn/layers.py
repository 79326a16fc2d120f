"""The layers: linear ones, activations, and the way to put them one after another."""

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.errors import ShapeError
from chainrule.nn import init
from chainrule.nn.module import Module, Parameter
from chainrule.ops.dims import same, show


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
        if in_features < 1 or out_features < 1:
            raise ShapeError(f"Linear({in_features}, {out_features}): both numbers of features must be at least 1.")
        rng = rng or init.generator()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(weight_init((in_features, out_features), rng), dtype)
        self.bias = Parameter(bias_init((out_features,), rng), dtype) if bias else None

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


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Any:
        return ops.relu(x)

    def config(self) -> dict[str, Any]:
        return {}


class Tanh(Module):
    """tanh x."""

    def forward(self, x: Any) -> Any:
        return ops.tanh(x)

    def config(self) -> dict[str, Any]:
        return {}


class Sigmoid(Module):
    """1 / (1 + e^-x)."""

    def forward(self, x: Any) -> Any:
        return ops.sigmoid(x)

    def config(self) -> dict[str, Any]:
        return {}


class Softplus(Module):
    """ln(1 + e^x)."""

    def forward(self, x: Any) -> Any:
        return ops.softplus(x)

    def config(self) -> dict[str, Any]:
        return {}


class Softmax(Module):
    """The softmax along an axis. Not to be used before CrossEntropyLoss, which contains it."""

    def __init__(self, axis: int = -1) -> None:
        if not isinstance(axis, int):
            raise ShapeError(f"Softmax: the axis is {axis!r}; expected an int.")
        self.axis = axis

    def forward(self, x: Any) -> Any:
        return ops.softmax(x, self.axis)

    def config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class Flatten(Module):
    """(N, a, b, ...) to (N, a·b·...)."""

    def forward(self, x: Any) -> Any:
        return x.reshape(x.shape[0], -1)

    def config(self) -> dict[str, Any]:
        return {}


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
