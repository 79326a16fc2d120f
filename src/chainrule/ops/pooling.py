"""Pooling of images: the largest element, or the mean, of each window; with the ops that are their derivatives."""

import math as scalar
from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops import dims, windows
from chainrule.ops.control import stop_gradient
from chainrule.ops.dims import Shape, show
from chainrule.ops.op import Array, Op, example
from chainrule.ops.windows import Pair

__all__ = ["avg_pool2d", "max_pool2d"]


class Pooling(Op, abstract=True):
    """What the ops have in common: `kernel`, `stride`, `padding` and, for maxima, `dilation` are pairs."""

    arithmetic = True

    @classmethod
    def result_dtype(cls, inputs: Any, attributes: Any) -> np.dtype[Any]:
        dtype: np.dtype[Any] = inputs[0].dtype
        return dtype


def _slides(kernel: Pair, **changed: Pair) -> dict[str, Any]:
    return {"kernel": kernel, "stride": kernel, "padding": (0, 0), **changed}


_MEANS = (
    ((2, 2, 4, 4), (2, 2, 2, 2), _slides((2, 2))),
    ((1, 2, 5, 7), (1, 2, 2, 2), _slides((2, 3))),  # a row and a column are left over
    ((1, 1, 5, 4), (1, 1, 3, 2), _slides((3, 2), stride=(1, 2))),  # windows overlap
    ((2, 1, 5, 4), (2, 1, 3, 5), _slides((3, 2), stride=(2, 1), padding=(1, 1))),
    ((1, 2, 1, 1), (1, 2, 1, 1), _slides((1, 1))),
    ((0, 1, 2, 2), (0, 1, 1, 1), _slides((2, 2))),
)
_DILATED = _slides((2, 2), stride=(2, 1), padding=(1, 0), dilation=(3, 1))
_MAXIMA = (
    *((x, y, {"dilation": (1, 1), **slides}) for x, y, slides in _MEANS),
    ((1, 2, 6, 5), (1, 2, 3, 4), _DILATED),
)


def _by_windows(x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Iterator[Any]:
    """For the references: each window's index in the result, with the indices in x of its elements, in order."""
    y = MaxPool2d.shape(x.shape, kernel, stride, padding, dilation)
    for n, c, r, s in np.ndindex(y):
        rows = [r * stride[0] + i * dilation[0] - padding[0] for i in range(kernel[0])]
        columns = [s * stride[1] + j * dilation[1] - padding[1] for j in range(kernel[1])]
        yield (n, c, r, s), [(n, c, h, v) for h in rows for v in columns if 0 <= h < x.shape[2] and 0 <= v < x.shape[3]]


class MaxPool2d(Pooling):
    """The largest element of each window: images (N, C, H, W) to (N, C, H', W'), H' = (H + 2p - d(k - 1) - 1) // s + 1.

    The padding is never the largest; NaN always is. The derivative goes to the first largest element of a window (row
    by row), whichever windows share it.
    """

    math = r"\operatorname{maxpool}({x})"
    rule = "max-pool: each window's gradient goes to its largest element"
    examples = tuple(example(x, **slides) for x, _, slides in _MAXIMA)

    def shape(x, kernel, stride, padding, dilation):
        return _shape("max_pool2d", x, kernel, stride, padding, dilation)

    def forward(x, kernel, stride, padding, dilation):
        y = np.empty(MaxPool2d.shape(x.shape, kernel, stride, padding, dilation), x.dtype)
        return largest(x, y, kernel, stride, padding, dilation)

    def vjp(g, _y, x, **slides):
        return MaxPool2dInput.apply(g, stop_gradient(x), **slides)

    def reference(x, **slides):
        y = np.zeros(MaxPool2d.shape(x.shape, **slides))
        for i, seen in _by_windows(x, **slides):
            y[i] = sorted(x[j] for j in seen)[-1]
        return y


class MaxPool2dInput(Pooling):
    """The gradient of `MaxPool2d`: of g (N, C, H', W'), each element at the largest element of its window of x."""

    math = r"\operatorname{maxpool}'({x})^\top {g}"
    rule = "max-pool′: what stands at the largest element of each window"
    examples = tuple(example(y, x, **slides) for x, y, slides in _MAXIMA)

    def shape(g, x, **slides):
        _check_gradient("max_pool2d_input", g, MaxPool2d.shape(x, **slides))
        return x

    def forward(g, x, **slides):
        MaxPool2dInput.shape(g.shape, x.shape, **slides)
        return routed(g, x, np.empty(x.shape, g.dtype), **slides)

    def vjp(h, _y, _g, x, **slides):
        return MaxPool2dOutput.apply(h, stop_gradient(x), **slides), lambda: np.zeros_like(x)

    def reference(g, x, **slides):
        result = np.zeros(x.shape)
        for i, seen in _by_windows(x, **slides):
            result[max(seen, key=lambda j: x[j])] += g[i]
        return result


class MaxPool2dOutput(Pooling):
    """The elements of h that stand where, in x, the largest element of each window is: two images (N, C, H, W) to
    (N, C, H', W')."""

    math = r"\operatorname{maxpool}'({x}) {h}"
    rule = "max-pool′: each window's gradient goes to its largest element"
    examples = tuple(example(x, x, **slides) for x, _, slides in _MAXIMA)

    def shape(h, x, **slides):
        _check_gradient("max_pool2d_output", h, x)
        return MaxPool2d.shape(x, **slides)

    def forward(h, x, **slides):
        return taken(h, x, np.empty(MaxPool2dOutput.shape(h.shape, x.shape, **slides), h.dtype), **slides)

    def vjp(g, _y, _h, x, **slides):
        return MaxPool2dInput.apply(g, stop_gradient(x), **slides), lambda: np.zeros_like(x)

    def reference(h, x, **slides):
        y = np.zeros(MaxPool2d.shape(x.shape, **slides))
        for i, seen in _by_windows(x, **slides):
            y[i] = h[max(seen, key=lambda j: x[j])]
        return y


class AvgPool2d(Pooling):
    """The mean of each window: images (N, C, H, W) to (N, C, H', W'), H' = (H + 2p - k) // s + 1.

    The zeros of the padding are counted.
    """

    math = r"\operatorname{avgpool}({x})"
    rule = "mean of each window: equal shares of its gradient"
    examples = tuple(example(x, **slides) for x, _, slides in _MEANS)

    def shape(x, kernel, stride, padding):
        return _shape("avg_pool2d", x, kernel, stride, padding)

    def forward(x, kernel, stride, padding):
        y = np.empty(AvgPool2d.shape(x.shape, kernel, stride, padding), x.dtype)
        return averaged(x, y, kernel, stride, padding)

    def vjp(g, _y, _x, **slides):
        return AvgPool2dInput.apply(g, size=_x.shape[2:], **slides)

    def reference(x, **slides):
        y = np.zeros(AvgPool2d.shape(x.shape, **slides))
        for i, seen in _by_windows(x, **slides):
            y[i] = scalar.fsum(x[j] for j in seen) / scalar.prod(slides["kernel"])
        return y


class AvgPool2dInput(Pooling):
    """The gradient of `AvgPool2d`: each element of g (N, C, H', W') in equal shares on its window of (N, C, *size)."""

    math = r"\operatorname{avgpool}^\top({g})"
    rule = "equal shares: their gradient is the mean of each window"
    examples = tuple(example(y, size=x[2:], **slides) for x, y, slides in _MEANS)

    def shape(g, size, kernel, stride, padding):
        windows.check_images("avg_pool2d_input", g)
        x = (*g[:2], *size)
        _check_gradient("avg_pool2d_input", g, AvgPool2d.shape(x, kernel, stride, padding))
        return x

    def forward(g, size, kernel, stride, padding):
        x = np.empty(AvgPool2dInput.shape(g.shape, size, kernel, stride, padding), g.dtype)
        return shared(g, x, kernel, stride, padding)

    def vjp(h, _y, _g, size, **slides):
        return AvgPool2d.apply(h, **slides)

    def reference(g, size, **slides):
        result = np.zeros((*g.shape[:2], *size))
        for i, seen in _by_windows(result, **slides):
            for j in seen:
                result[j] += g[i] / scalar.prod(slides["kernel"])
        return result


def _shape(op: str, x: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Shape:
    windows.check_images(op, x)
    count = windows.count(op, x[2:], kernel, stride, padding, dilation)
    windows.check_reach(op, x[2:], count, kernel, stride, padding, dilation)
    return (*x[:2], *count)


def _check_gradient(op: str, g: Shape, y: Shape) -> None:
    if not dims.same_shape(g, y):
        raise ShapeError(f"{op}: an array of shape {show(g)} was given where {show(y)} belongs to the images.")


# What the five compute, written into an array that is given: whole arrays at once, for each place in a window.


def largest(x: Array, y: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    """The largest element of each window."""
    x = windows.padded(x, padding, _lowest(x.dtype))
    for offset, place in windows.places(kernel, stride, dilation, y.shape[2:]):
        np.maximum(x[place] if offset == (0, 0) else y, x[place], out=y)
    return y


def _winners(x: Array, count: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Iterator[Any]:
    """For each place in a window, its index in padded images, and of which windows it holds the first largest."""
    x = windows.padded(x, padding, _lowest(x.dtype))
    y = largest(x, np.empty((*x.shape[:2], *count), x.dtype), kernel, stride, (0, 0), dilation)
    unsettled = np.ones(y.shape, bool)
    for _, place in windows.places(kernel, stride, dilation, count):
        smaller = x[place] < y  # false beside NaN: then the window's first element has won
        yield place, unsettled & ~smaller
        unsettled &= smaller


def routed(g: Array, x: Array, result: Array, padding: Pair, **slides: Pair) -> Array:
    """The elements of g, each added where the largest element of its window is."""
    images = windows.blank(result, padding)
    for place, wins in _winners(x, g.shape[2:], padding=padding, **slides):
        images[place] += g * wins
    return _finished(images, result, padding)


def taken(h: Array, x: Array, y: Array, padding: Pair, **slides: Pair) -> Array:
    """The elements of h where the largest elements of the windows are."""
    images = windows.padded(h, padding)
    y[...] = 0
    for place, wins in _winners(x, y.shape[2:], padding=padding, **slides):
        y += images[place] * wins
    return y


def averaged(x: Array, y: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """The mean of each window."""
    x = windows.padded(x, padding)
    y[...] = 0
    for _, place in windows.places(kernel, stride, (1, 1), y.shape[2:]):
        y += x[place]
    y /= scalar.prod(kernel)
    return y


def shared(g: Array, result: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """Each element of g in equal shares on its window."""
    images, share = windows.blank(result, padding), g / scalar.prod(kernel)
    for _, place in windows.places(kernel, stride, (1, 1), g.shape[2:]):
        images[place] += share
    return _finished(images, result, padding)


def _finished(images: Array, result: Array, padding: Pair) -> Array:
    if any(padding):
        result[...] = windows.inside(images, padding)
    return result


def _lowest(dtype: np.dtype[Any]) -> Any:
    """What is never larger than another number."""
    return np.iinfo(dtype).min if dtype.kind in "iu" else False if dtype.kind == "b" else -np.inf


def max_pool2d(
    x: Array,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
) -> Array:
    """The largest element of each window of images.

    Parameters
    ----------
    x : array (N, C, H, W)
    kernel_size, stride, padding, dilation : int, or a pair for height and width
        Windows are `stride` apart (by default, their own size). `padding` is never the largest; it is at most half of
        a window.

    Returns
    -------
    array (N, C, H', W')
        With H' = (H + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1, and W' likewise; of the dtype of x.

    Raises
    ------
    ShapeError
        If a window does not fit into the images, or consists of padding alone.
    """
    apart = windows.pair(dilation, "max_pool2d", "dilation")
    kernel, steps, margins = windows.pool("max_pool2d", kernel_size, stride, padding, apart)
    return MaxPool2d.apply(windows.array(x), kernel=kernel, stride=steps, padding=margins, dilation=apart)


def avg_pool2d(x: Array, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> Array:
    """The mean of each window of images; the zeros of the padding are counted.

    Parameters
    ----------
    x : array (N, C, H, W)
    kernel_size, stride, padding : int, or a pair for height and width
        Windows are `stride` apart (by default, their own size); `padding` is at most half of a window.

    Returns
    -------
    array (N, C, H', W')
        With H' = (H + 2 padding - kernel_size) // stride + 1, and W' likewise. Integers, such as pixels, become
        float64; floats keep their dtype, also for the sums: in float16, a sum beyond 65,504 is infinite.

    Raises
    ------
    ShapeError
        If a window does not fit into the images, or consists of padding alone.
    """
    x = windows.array(x)
    if x.dtype.kind != "f":
        x = x.astype(float)
    kernel, steps, margins = windows.pool("avg_pool2d", kernel_size, stride, padding)
    return AvgPool2d.apply(x, kernel=kernel, stride=steps, padding=margins)
