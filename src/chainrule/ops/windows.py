"""Windows that slide over images (N, C, H, W): how many fit, and what each place in a window meets. Convolution and
pooling have this in common; no op is here.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops.dims import Shape, Size, show
from chainrule.ops.op import Array

Pair = tuple[int, int]


def array(x: Any) -> Array:
    """A list as an array; what is one already stays as it is."""
    return np.asarray(x) if isinstance(x, (list, tuple)) else x


def pair(value: Any, op: str, name: str, least: int = 1) -> Pair:
    """An argument for both axes of an image: one int for both, or one each.

    Raises
    ------
    ShapeError
        If it is neither, or a number is less than `least`.
    """
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(_is_int(n) and n >= least for n in both):
        raise ShapeError(f"{op}: {name} is {value!r}; expected an int of at least {least}, or a pair of them.")
    return int(both[0]), int(both[1])


def _is_int(n: Any) -> bool:
    return isinstance(n, (int, np.integer)) and not isinstance(n, bool)


def pool(op: str, kernel: Any, stride: Any, padding: Any, dilation: Pair = (1, 1)) -> tuple[Pair, Pair, Pair]:
    """The kernel, stride and padding of a pool, as pairs; the stride is the kernel if it is None.

    Raises
    ------
    ShapeError
        If one is no pair of sizes, or the padding is more than half of a window.
    """
    kernel = pair(kernel, op, "kernel_size")
    stride = kernel if stride is None else pair(stride, op, "stride")
    padding = pair(padding, op, "padding", 0)
    if any(2 * p > d * (k - 1) + 1 for p, k, d in zip(padding, kernel, dilation, strict=True)):
        raise ShapeError(
            f"{op}: padding {padding} is more than half of the windows of {kernel}; expected at most half of a window."
        )
    return kernel, stride, padding


def check_images(op: str, x: Shape) -> None:
    """Raise a ShapeError unless an array of this shape is a batch of images."""
    if len(x) != 4:
        raise ShapeError(f"{op}: expected images of shape (N, channels, height, width), found {show(x)}.")


def count(
    op: str, size: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)
) -> tuple[Size, Size]:
    """How many windows fit along each of the two axes: (H + 2p - d(k - 1) - 1) // s + 1.

    Raises
    ------
    ShapeError
        If none does.
    """
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    spare = [n + 2 * p - span for n, p, span in zip(size, padding, spans, strict=True)]
    if any(n < 0 for n in spare):
        found = [n // s + 1 for n, s in zip(spare, stride, strict=True)]
        wide = f" that dilation {_by(dilation)} spreads over {_by(spans)}" if dilation != (1, 1) else ""
        with_padding = f" with padding {_by(padding)}" if any(padding) else ""
        raise ShapeError(
            f"{op}: a kernel of {_by(kernel)}{wide} does not fit into an input of {_by(size)}{with_padding}: the "
            f"result would be of {_by(found)}. Take a smaller kernel, or more padding."
        )
    height, width = (n // s + 1 if s > 1 else n + 1 for n, s in zip(spare, stride, strict=True))
    return height, width


def check_reach(
    op: str, size: Shape, windows: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)
) -> None:
    """Raise a ShapeError if some window consists of padding alone: where it is dilated, it may step over the image."""
    for axis, (n, count, k, s, p, d) in enumerate(zip(size, windows, kernel, stride, padding, dilation, strict=True)):
        for start in range(-p, -p + s * count, s) if p else ():  # without padding, what fits is within the image
            first = max(start, start % d)  # the first place of the window that is not before the image
            if first >= n or first > start + d * (k - 1):
                raise ShapeError(
                    f"{op}: a window of {_by(kernel)} with padding {_by(padding)} and dilation {_by(dilation)} meets "
                    f"no {('row', 'column')[axis]} of an input of {_by(size)}; expected every window to reach into "
                    "the input. Take less padding or a smaller dilation."
                )


def _by(sizes: Any) -> str:
    return " x ".join(map(str, sizes))


def padded(x: Array, padding: Pair, value: float = 0) -> Array:
    """Images with `padding` rows and columns of a number on each side."""
    if not any(padding):
        return x
    y = np.full((*x.shape[:2], *(n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True))), value, x.dtype)
    inside(y, padding)[...] = x
    return y


def blank(x: Array, padding: Pair) -> Array:
    """Zeros to add to: x itself, overwritten, or padded images whose inside x is to become."""
    if not any(padding):
        x[...] = 0
        return x
    return padded(np.zeros_like(x), padding)


def inside(x: Array, padding: Pair) -> Array:
    """Images without their padding: a view."""
    (top, left), (height, width) = padding, x.shape[2:]
    return x[:, :, top : height - top, left : width - left]


def places(kernel: Pair, stride: Pair, dilation: Pair, windows: Pair) -> Iterator[tuple[Pair, Any]]:
    """For each offset (i, j) in a window, the index of the elements of the images that it meets."""
    for i, j in np.ndindex(kernel):
        starts = i * dilation[0], j * dilation[1]
        ends = [a + s * (n - 1) + 1 for a, s, n in zip(starts, stride, windows, strict=True)]
        yield (i, j), (..., *(slice(a, b, s) for a, b, s in zip(starts, ends, stride, strict=True)))


def sliding(x: Array, kernel: Pair, stride: Pair, dilation: Pair, windows: Pair) -> Array:
    """The elements under each window: a view (N, C, kh, kw, H', W') of images that are padded already."""
    n, c, h, w = x.strides
    strides = (n, c, h * dilation[0], w * dilation[1], h * stride[0], w * stride[1])
    return np.lib.stride_tricks.as_strided(x, (*x.shape[:2], *kernel, *windows), strides, writeable=False)
