"""Layers for images (N, C, H, W): convolution, pooling, and the ways from images to features and back."""

import math
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.errors import ShapeError
from chainrule.nn import init
from chainrule.nn.arguments import whole
from chainrule.nn.module import Module, Parameter
from chainrule.ops.dims import same, show
from chainrule.ops.windows import Pair, array, pair, pool

OneOrTwo = int | Pair


class Conv2d(Module):
    """The convolution of images (N, in_channels, H, W) with kernels, plus a bias: see `chainrule.conv2d`.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation : int, or a pair for height and width
    groups : int
        The channels are parted into so many groups, each with kernels of its own; it divides both numbers of channels.
    bias : bool
        Whether there is a number for each channel that is added.
    weight_init, bias_init : initialiser
        See `chainrule.nn.init`; He's normal initialisation and zeros by default. [He et al. 2015]
    dtype : dtype
    rng : numpy.random.Generator, optional
        By default the library's, which `chainrule.manual_seed` sets.

    Attributes
    ----------
    weight : Parameter (out_channels, in_channels / groups, kh, kw)
    bias : Parameter (out_channels,) or None
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: OneOrTwo,
        stride: OneOrTwo = 1,
        padding: OneOrTwo = 0,
        dilation: OneOrTwo = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        weight_init: init.Initializer = init.he_normal,
        bias_init: init.Initializer = init.zeros,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.in_channels = whole("Conv2d: in_channels", in_channels, error=ShapeError)
        self.out_channels = whole("Conv2d: out_channels", out_channels, error=ShapeError)
        self.kernel_size = pair(kernel_size, "Conv2d", "kernel_size")
        self.stride = pair(stride, "Conv2d", "stride")
        self.padding = pair(padding, "Conv2d", "padding", 0)
        self.dilation = pair(dilation, "Conv2d", "dilation")
        self.groups = whole("Conv2d: groups", groups, error=ShapeError)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ShapeError(
                f"Conv2d: {self.in_channels} channels in and {self.out_channels} out cannot be parted into "
                f"{self.groups} equal groups each."
            )
        shape = self.out_channels, self.in_channels // self.groups, *self.kernel_size
        self.weight = Parameter(init.begin("Conv2d: weight_init", weight_init, shape, rng), dtype)
        self.bias = Parameter(init.begin("Conv2d: bias_init", bias_init, shape[:1], rng), dtype) if bias else None

    def forward(self, x: Any) -> Any:
        x = array(x)
        if len(x.shape) != 4 or not same(x.shape[1], self.in_channels):
            raise ShapeError(f"the input has the shape {show(x.shape)}; expected (N, {self.in_channels}, H, W).")
        return ops.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def arguments(self) -> str:
        changed = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
        options = _written(self, changed) + (f", groups={self.groups}" if self.groups > 1 else "")
        options += "" if self.bias is not None else ", bias=False"
        return f"{self.in_channels}, {self.out_channels}, {_shortest(self.kernel_size)}{options}"

    def config(self) -> dict[str, Any]:
        return {**super().config(), "bias": self.bias is not None}


class MaxPool2d(Module):
    """The largest element of each window of images (N, C, H, W): see `chainrule.max_pool2d`.

    Parameters
    ----------
    kernel_size, stride, padding, dilation : int, or a pair for height and width
        Windows are `stride` apart, by default their own size; `padding` is at most half of a window.
    """

    def __init__(
        self, kernel_size: OneOrTwo, stride: OneOrTwo | None = None, padding: OneOrTwo = 0, dilation: OneOrTwo = 1
    ) -> None:
        self.dilation = pair(dilation, "MaxPool2d", "dilation")
        self.kernel_size, self.stride, self.padding = pool("MaxPool2d", kernel_size, stride, padding, self.dilation)

    def forward(self, x: Any) -> Any:
        return ops.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation)

    def arguments(self) -> str:
        changed = {"stride": self.kernel_size, "padding": (0, 0), "dilation": (1, 1)}
        return _shortest(self.kernel_size) + _written(self, changed)


class AvgPool2d(Module):
    """The mean of each window of images (N, C, H, W), zeros of the padding counted: see `chainrule.avg_pool2d`.

    Parameters
    ----------
    kernel_size, stride, padding : int, or a pair for height and width
        Windows are `stride` apart, by default their own size; `padding` is at most half of a window.
    """

    def __init__(self, kernel_size: OneOrTwo, stride: OneOrTwo | None = None, padding: OneOrTwo = 0) -> None:
        self.kernel_size, self.stride, self.padding = pool("AvgPool2d", kernel_size, stride, padding)

    def forward(self, x: Any) -> Any:
        return ops.avg_pool2d(x, self.kernel_size, self.stride, self.padding)

    def arguments(self) -> str:
        return _shortest(self.kernel_size) + _written(self, {"stride": self.kernel_size, "padding": (0, 0)})


class GlobalAvgPool2d(Module):
    """The mean of each channel: (N, C, H, W) to (N, C). [Lin et al. 2014]"""

    def forward(self, x: Any) -> Any:
        return _with_pixels(x).mean(axis=(2, 3))


class GlobalMaxPool2d(Module):
    """The largest element of each channel: (N, C, H, W) to (N, C)."""

    def forward(self, x: Any) -> Any:
        return _with_pixels(x).max(axis=(2, 3))


class Unflatten(Module):
    """One axis as several: with dim=1 and sizes=(C, H, W), features (N, C·H·W) become images (N, C, H, W).

    Parameters
    ----------
    dim : int
        The axis; it may be counted from the end.
    sizes : tuple of int
        What it becomes; their product is its size.
    """

    def __init__(self, dim: int, sizes: tuple[int, ...]) -> None:
        self.dim = whole("Unflatten: dim", dim, "the number of an axis", least=-64, error=ShapeError)
        if not isinstance(sizes, (tuple, list)) or not sizes:
            raise ShapeError(f"Unflatten: sizes is {sizes!r}; expected some sizes, such as (1, 28, 28).")
        self.sizes = tuple(whole("Unflatten: a size", size, error=ShapeError) for size in sizes)

    def forward(self, x: Any) -> Any:
        ndim, size = len(x.shape), math.prod(self.sizes)
        if not -ndim <= self.dim < ndim or not same(x.shape[self.dim], size):
            raise ShapeError(f"the input has the shape {show(x.shape)}; expected the size {size} on axis {self.dim}.")
        at = self.dim % ndim
        return x.reshape((*x.shape[:at], *self.sizes, *x.shape[at + 1 :]))


def _with_pixels(x: Any) -> Any:
    """Images of which each has a mean and a largest element."""
    x = array(x)
    if len(x.shape) != 4 or any(same(n, 0) for n in x.shape[2:]):
        raise ShapeError(f"the input has the shape {show(x.shape)}; expected (N, channels, H, W), at least 1 x 1.")
    return x


def _written(layer: Module, defaults: dict[str, Pair]) -> str:
    """The options that are not what they are by default, as they are written in a call."""
    changed = [name for name, default in defaults.items() if getattr(layer, name) != default]
    return "".join(f", {name}={_shortest(getattr(layer, name))}" for name in changed)


def _shortest(value: Pair) -> str:
    return str(value[0] if value[0] == value[1] else value)
