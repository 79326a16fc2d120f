"""Convolution of images with a kernel, as networks mean it: a cross-correlation, with its two gradients as ops.

⟨G, conv(x, W)⟩ is linear in each of G, x and W, so the three ops are each other's derivatives.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops import dims, windows
from chainrule.ops.dims import Shape, Size, show
from chainrule.ops.op import Array, Op, example
from chainrule.ops.windows import Pair

__all__ = ["conv2d"]

BLOCK = 2**20  # bytes of columns at a time: they stay in the cache between the copy and the product


class Convolution(Op, abstract=True):
    """What the three ops have in common: `stride`, `padding` and `dilation` are pairs, `groups` is an int."""

    arithmetic = True

    @classmethod
    def result_dtype(cls, inputs: Any, attributes: Any) -> np.dtype[Any]:
        return np.result_type(*(x.dtype for x in inputs))


def _slides(**changed: Any) -> dict[str, Any]:
    return {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, **changed}


_CASES = (  # images, kernel, result, attributes
    ((2, 1, 4, 5), (1, 1, 2, 3), (2, 1, 3, 3), _slides()),
    ((2, 2, 4, 4), (3, 2, 3, 3), (2, 3, 4, 4), _slides(padding=(1, 1))),
    ((1, 2, 6, 5), (2, 2, 3, 2), (1, 2, 2, 3), _slides(stride=(2, 2), padding=(0, 1))),  # a row is left over
    ((2, 4, 5, 3), (2, 2, 2, 1), (2, 2, 3, 2), _slides(stride=(1, 3), padding=(0, 1), dilation=(2, 1), groups=2)),
    ((1, 3, 4, 4), (3, 1, 2, 2), (1, 3, 2, 4), _slides(stride=(2, 1), padding=(1, 1), dilation=(3, 2), groups=3)),
    ((1, 1, 2, 2), (1, 1, 2, 2), (1, 1, 1, 1), _slides()),
    ((0, 1, 3, 3), (2, 1, 2, 2), (0, 2, 2, 2), _slides()),
)


def _products(x: Shape, w: Shape, y: Shape, **slides: Any) -> Iterator[tuple[Any, Any, Any]]:
    """The indices of x, w and y for all products x·w that y sums, one by one: what the references are made of."""
    (sh, sw), (ph, pw), (dh, dw) = slides["stride"], slides["padding"], slides["dilation"]
    for n, o, r, s in np.ndindex(y):
        first = o // (w[0] // slides["groups"]) * w[1]  # the first channel of o's group
        for c, i, j in np.ndindex(w[1:]):
            h, v = r * sh + i * dh - ph, s * sw + j * dw - pw
            if 0 <= h < x[2] and 0 <= v < x[3]:
                yield (n, first + c, h, v), (o, c, i, j), (n, o, r, s)


class Conv2d(Convolution):
    """y[n, o, r, s] = Σ x[n, c, r + i, s + j] w[o, c, i, j]: images (N, C, H, W), kernels (O, C / groups, kh, kw).

    The result is (N, O, H', W') with H' = (H + 2p - d(kh - 1) - 1) // s + 1. `padding` is of zeros, on both sides;
    windows are `stride` apart, and the elements under one `dilation` apart. Each of `groups` equal parts of the
    channels o sees its own part of the channels c. [LeCun et al. 1989; Dumoulin and Visin 2016]
    """

    math = r"{x} \star {w}"
    rule = "convolution: a weight and what it meets get G times the other"
    examples = tuple(example(x, w, **slides) for x, w, _, slides in _CASES)

    def shape(x, w, stride, padding, dilation, groups):
        windows.check_images("conv2d", x)
        _check_kernels(w)
        _check_channels(x[1], w, groups)
        return (x[0], w[0], *windows.count("conv2d", x[2:], w[2:], stride, padding, dilation))

    def forward(x, w, stride, padding, dilation, groups):
        shape = Conv2d.shape(x.shape, w.shape, stride, padding, dilation, groups)
        y = np.empty(shape, np.result_type(x, w))
        return correlate(x, w, y, stride, padding, dilation, groups)

    def vjp(g, _y, x, w, stride, padding, dilation, groups):
        slides = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return (
            lambda: Conv2dInput.apply(g, w, size=x.shape[2:], **slides),
            lambda: Conv2dWeight.apply(g, x, kernel=w.shape[2:], **slides),
        )

    def reference(x, w, **slides):
        y = np.zeros(Conv2d.shape(x.shape, w.shape, **slides))
        for i, j, k in _products(x.shape, w.shape, y.shape, **slides):
            y[k] += x[i] * w[j]
        return y


class Conv2dInput(Convolution):
    """The gradient of `Conv2d` by its images, from g (N, O, H', W') and the kernels: images (N, C, *size).

    Each element of g is spread over its window, times the kernel: the transposed convolution.
    """

    math = r"{g} \mathbin{\star^\top} {w}"
    rule = "transposed convolution: a weight and what it meets get G times the other"
    examples = tuple(example(y, w, size=x[2:], **slides) for x, w, y, slides in _CASES)

    def shape(g, w, size, stride, padding, dilation, groups):
        windows.check_images("conv2d_input", g)
        x = (g[0], w[1] * groups, *size)
        _check_gradient("conv2d_input", g, Conv2d.shape(x, w, stride, padding, dilation, groups))
        return x

    def forward(g, w, size, stride, padding, dilation, groups):
        shape = Conv2dInput.shape(g.shape, w.shape, size, stride, padding, dilation, groups)
        return spread(g, w, np.empty(shape, np.result_type(g, w)), stride, padding, dilation, groups)

    def vjp(h, _y, g, w, size, **slides):
        return (
            lambda: Conv2d.apply(h, w, **slides),
            lambda: Conv2dWeight.apply(g, h, kernel=w.shape[2:], **slides),
        )

    def reference(g, w, size, **slides):
        x = np.zeros((g.shape[0], w.shape[1] * slides["groups"], *size))
        for i, j, k in _products(x.shape, w.shape, g.shape, **slides):
            x[i] += g[k] * w[j]
        return x


class Conv2dWeight(Convolution):
    """The gradient of `Conv2d` by its kernels, from g (N, O, H', W') and the images: (O, C / groups, *kernel)."""

    math = r"{g} \mathbin{\star_W} {x}"
    rule = "convolution's dW: what is multiplied gets G times the other"
    examples = tuple(example(y, x, kernel=w[2:], **slides) for x, w, y, slides in _CASES)

    def shape(g, x, kernel, stride, padding, dilation, groups):
        windows.check_images("conv2d_weight", g)
        windows.check_images("conv2d_weight", x)
        w = (g[1], x[1] // groups if groups > 1 else x[1], *kernel)
        _check_gradient("conv2d_weight", g, Conv2d.shape(x, w, stride, padding, dilation, groups))
        return w

    def forward(g, x, kernel, stride, padding, dilation, groups):
        shape = Conv2dWeight.shape(g.shape, x.shape, kernel, stride, padding, dilation, groups)
        return summed(g, x, np.empty(shape, np.result_type(g, x)), stride, padding, dilation, groups)

    def vjp(v, _y, g, x, kernel, **slides):
        return (
            lambda: Conv2d.apply(x, v, **slides),
            lambda: Conv2dInput.apply(g, v, size=x.shape[2:], **slides),
        )

    def reference(g, x, kernel, **slides):
        w = np.zeros((g.shape[1], x.shape[1] // slides["groups"], *kernel))
        for i, j, k in _products(x.shape, w.shape, g.shape, **slides):
            w[j] += g[k] * x[i]
        return w


def _check_kernels(w: Shape) -> None:
    if len(w) != 4 or any(dims.same(n, 0) for n in w[2:]):
        raise ShapeError(f"conv2d: expected kernels of shape (O, C, height, width), at least 1 x 1, found {show(w)}.")


def _check_channels(channels: Size, w: Shape, groups: int) -> None:
    if groups > 1 and (channels % groups or w[0] % groups):
        raise ShapeError(
            f"conv2d: {channels} channels in and {w[0]} out cannot be parted into {groups} equal groups each."
        )
    if not dims.same(channels, w[1] * groups):
        parts = f" in each of {groups} groups" if groups > 1 else ""
        raise ShapeError(
            f"conv2d: the images have {channels} channels, and kernels of shape {show(w)} are for {w[1]}{parts}."
        )


def _check_gradient(op: str, g: Shape, y: Shape) -> None:
    if not dims.same_shape(g, y):
        raise ShapeError(f"{op}: a gradient of shape {show(g)} was given for a convolution's result of {show(y)}.")


# What the three compute, written into an array that is given. Columns are made for a few images at a time: all windows
# of these, one a column, so that a convolution is one product of matrices (and one for each group).


def correlate(x: Array, w: Array, y: Array, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Array:
    """The convolution: kernels as rows times windows as columns."""
    kernels = _kernels(w, groups)
    for block in _blocks(w, y, groups):
        result = y[block].swapaxes(0, 1)
        columns = _columns(x[block], w, result.shape[2:], stride, padding, dilation, groups)
        result[...] = (kernels @ columns).reshape(result.shape)
    return y


def spread(g: Array, w: Array, x: Array, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Array:
    """The gradient by the images: columns of windows, and one addition for each place in a window."""
    kernels = _kernels(w, groups).swapaxes(1, 2)
    for block in _blocks(w, g, groups):
        images = windows.blank(x[block], padding)
        channels = images.swapaxes(0, 1)
        columns = kernels @ _rows(g[block], groups)
        columns = columns.reshape(len(channels), *w.shape[2:], len(images), *g.shape[2:])
        for (i, j), place in windows.places(w.shape[2:], stride, dilation, g.shape[2:]):
            channels[place] += columns[:, i, j]
        if any(padding):
            x[block] = windows.inside(images, padding)
    return x


def summed(g: Array, x: Array, w: Array, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Array:
    """The gradient by the kernels: windows times gradients, which BLAS takes sooner than gradients times windows."""
    total = np.zeros((groups, math.prod(w.shape[1:]), len(w) // groups), w.dtype)
    for block in _blocks(w, g, groups):
        columns = _columns(x[block], w, g.shape[2:], stride, padding, dilation, groups)
        total += columns @ _rows(g[block], groups).swapaxes(1, 2)
    w[...] = total.swapaxes(1, 2).reshape(w.shape)
    return w


def _blocks(w: Array, y: Array, groups: int) -> Iterator[slice]:
    """A few images at a time: as many as fill a block of columns, and no fewer than are worth reading all kernels."""
    each = math.prod(w.shape[1:]) * groups * math.prod(y.shape[2:]) * y.itemsize
    step = max(1, max(BLOCK, w.nbytes) // max(1, each))
    return (slice(start, start + step) for start in range(0, len(y), step))


def _kernels(w: Array, groups: int) -> Array:
    return w.reshape(groups, len(w) // groups, math.prod(w.shape[1:]))


def _rows(g: Array, groups: int) -> Array:
    """A gradient (N, O, H', W') with a row for each channel."""
    n, o, *windows = g.shape
    return g.swapaxes(0, 1).reshape(groups, o // groups, n * math.prod(windows))


def _columns(x: Array, w: Array, count: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Array:
    """The elements under each window of the images as a column, for each group of channels."""
    seen = windows.sliding(windows.padded(x, padding), w.shape[2:], stride, dilation, count)
    return seen.transpose(1, 2, 3, 0, 4, 5).reshape(groups, math.prod(w.shape[1:]), len(x) * math.prod(count))


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Array:
    """The convolution of images with kernels, in the sense of networks (the kernel is not turned round), plus a bias.

    Parameters
    ----------
    x : array (N, C, H, W)
    weight : array (O, C / groups, kh, kw)
    bias : array (O,), optional
    stride, padding, dilation : int, or a pair for height and width
        `padding` is of zeros on each side; "same" (odd kernels, stride 1) keeps the size.
    groups : int
        The channels are parted into so many groups, each with its own kernels.

    Returns
    -------
    array (N, O, H', W')
        With H' = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1, and W' likewise. The dtype is that of a matrix
        product: two arrays of uint8 wrap around beyond 255, and a sum beyond 65,504 is infinite in float16; integers
        beside floats become floats.

    Raises
    ------
    ShapeError
        If the shapes do not fit together, or the kernel does not fit into the images.
    """
    x, weight = windows.array(x), windows.array(weight)
    _check_kernels(weight.shape)
    if not isinstance(groups, (int, np.integer)) or isinstance(groups, bool) or groups < 1:
        raise ShapeError(f"conv2d: groups is {groups!r}; expected an int of at least 1.")
    steps, spread_by = windows.pair(stride, "conv2d", "stride"), windows.pair(dilation, "conv2d", "dilation")
    margins = (
        _same(weight.shape[2:], steps, spread_by)
        if padding == "same"
        else windows.pair(padding, "conv2d", "padding", 0)
    )
    y = Conv2d.apply(x, weight, stride=steps, padding=margins, dilation=spread_by, groups=int(groups))
    if bias is None:
        return y
    bias = windows.array(bias)
    if not dims.same_shape(bias.shape, weight.shape[:1]):
        raise ShapeError(f"conv2d: the bias has shape {show(bias.shape)}; expected {show(weight.shape[:1])}.")
    return y + bias.reshape(-1, 1, 1)


def _same(kernel: Shape, stride: Pair, dilation: Pair) -> Pair:
    """The padding that keeps the size of the images."""
    spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if stride != (1, 1) or any(span % 2 for span in spans):
        raise ShapeError(
            f'conv2d: padding="same" needs stride 1 and a kernel of odd sizes; found stride {stride} and a kernel of '
            f"{show(kernel)}. Give the padding as numbers."
        )
    return spans[0] // 2, spans[1] // 2
