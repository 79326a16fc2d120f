"""Layers that bring their inputs to mean 0 and variance 1: over the features of a sample, or over the batch."""

from typing import Any

import numpy as np

from chainrule.engine import Tensor
from chainrule.errors import ShapeError
from chainrule.nn import init
from chainrule.nn.arguments import not_negative, real, whole
from chainrule.nn.module import Module, Parameter, innermost
from chainrule.ops.dims import same, show, size_of
from chainrule.ops.op import Value


class LayerNorm(Module):
    """y = γ (x - mean) / √(variance + eps) + β over the last axis, for each sample alone. [Ba et al. 2016]

    Parameters
    ----------
    normalized_shape : int
        The size of the last axis.
    eps : float
    weight_init, bias_init : initialiser
        Of γ and β; ones and zeros by default.
    dtype : dtype

    Attributes
    ----------
    weight, bias : Parameter (normalized_shape,)
        γ and β.
    """

    def __init__(
        self,
        normalized_shape: int,
        eps: float = 1e-5,
        *,
        weight_init: init.Initializer = init.ones,
        bias_init: init.Initializer = init.zeros,
        dtype: Any = np.float32,
    ) -> None:
        self.normalized_shape = whole("LayerNorm: normalized_shape", normalized_shape, error=ShapeError)
        self.eps = not_negative("LayerNorm: eps", eps)
        self.weight, self.bias = _scale_and_shift(self, self.normalized_shape, weight_init, bias_init, dtype)

    def forward(self, x: Any) -> Any:
        _check_features(x, self.normalized_shape, "...")
        centered = x - x.mean(axis=-1, keepdims=True)
        variance = (centered**2).mean(axis=-1, keepdims=True)
        return centered / np.sqrt(variance + self.eps) * self.weight + self.bias


class BatchNorm1d(Module):
    """y = γ (x - mean) / √(variance + eps) + β over the batch, for inputs (N, num_features). [Ioffe and Szegedy 2015]

    In training mode the mean and variance are those of the batch, and the running ones move towards them; in
    evaluation mode the running ones are used, and stay as they are.

    Parameters
    ----------
    num_features : int
    eps : float
    momentum : float
        The share of the batch in the new running statistics, as in PyTorch.
    weight_init, bias_init : initialiser
        Of γ and β; ones and zeros by default.
    dtype : dtype

    Attributes
    ----------
    weight, bias : Parameter (num_features,)
        γ and β.
    running_mean, running_var : Tensor (num_features,)
        No parameters, but part of `state_dict`. The variance is the unbiased one.

    Notes
    -----
    A recorded graph has no side effects: recording in training mode, and running the graph, leave the running
    statistics alone. Where they are inputs of what is recorded, the new ones take their place: see
    `Module.as_function`.
    """

    _axes: tuple[int, ...] = (0,)  # what the statistics are taken over

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        weight_init: init.Initializer = init.ones,
        bias_init: init.Initializer = init.zeros,
        dtype: Any = np.float32,
    ) -> None:
        name = type(self).__name__
        self.num_features = whole(f"{name}: num_features", num_features, error=ShapeError)
        self.eps = not_negative(f"{name}: eps", eps)
        self.momentum = real(f"{name}: momentum", momentum, "a share from 0 to 1", lambda m: 0 <= m <= 1)
        self.weight, self.bias = _scale_and_shift(self, self.num_features, weight_init, bias_init, dtype)
        self.running_mean = Tensor(np.zeros(num_features, dtype))
        self.running_var = Tensor(np.ones(num_features, dtype))

    def forward(self, x: Any) -> Any:
        self._check(x)
        if self.training:
            n = size_of(tuple(x.shape[axis] for axis in self._axes))
            if same(n, 0) or same(n, 1):
                raise ShapeError(f"a batch of size {n} has no variance; train with larger batches, or call eval().")
            mean = x.mean(axis=self._axes)
            centered = x - self._expanded(mean)
            variance = (centered**2).mean(axis=self._axes)
            self._remember(mean, variance, n)
        else:
            centered, variance = x - self._expanded(self.running_mean), self.running_var
        scaled = centered / np.sqrt(self._expanded(variance) + self.eps)
        return scaled * self._expanded(self.weight) + self._expanded(self.bias)

    def _check(self, x: Any) -> None:
        _check_features(x, self.num_features, "N", axes=2)

    def _expanded(self, v: Any) -> Any:
        """A number for each feature, with axes for what it is combined with."""
        return v

    def _remember(self, mean: Any, variance: Any, n: Any) -> None:
        mean, variance = innermost(mean), innermost(variance)
        own = isinstance(self.running_mean, Tensor) and self.running_mean.level == 0
        if own and isinstance(mean, Value):
            return
        for name, batch in (("running_mean", mean), ("running_var", variance * (n / (n - 1)))):
            running = getattr(self, name)
            new = (1 - self.momentum) * (running.value if own else running) + self.momentum * batch
            if own:
                running.assign(new)
            else:  # an input of a function, which hands out what stands here in the end
                setattr(self, name, new)


class BatchNorm2d(BatchNorm1d):
    """`BatchNorm1d` for images (N, num_features, H, W): the statistics of a channel are over the batch and all places.

    Parameters and attributes are those of `BatchNorm1d`. [Ioffe and Szegedy 2015, section 3.2]
    """

    _axes = (0, 2, 3)

    def _check(self, x: Any) -> None:
        if len(x.shape) != 4 or not same(x.shape[1], self.num_features):
            raise ShapeError(f"the input has the shape {show(x.shape)}; expected (N, {self.num_features}, H, W).")

    def _expanded(self, v: Any) -> Any:
        return v.reshape(-1, 1, 1)


def _scale_and_shift(
    layer: Module, size: int, weight_init: init.Initializer, bias_init: init.Initializer, dtype: Any
) -> tuple[Parameter, Parameter]:
    name = type(layer).__name__
    return (
        Parameter(init.begin(f"{name}: weight_init", weight_init, (size,)), dtype),
        Parameter(init.begin(f"{name}: bias_init", bias_init, (size,)), dtype),
    )


def _check_features(x: Any, size: int, wanted: str, axes: int | None = None) -> None:
    if not x.shape or not same(x.shape[-1], size) or len(x.shape) != (axes or len(x.shape)):
        raise ShapeError(f"the input has the shape {show(x.shape)}; expected ({wanted}, {size}).")
