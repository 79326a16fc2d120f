"""Convolution and pooling as people write them: the windows of an image as a view with two more axes, sums of products
over it, and one addition for each place of a window where gradients go back to the images.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.graph.graph import Equation
from chainrule.ops.convolution import Conv2d, Conv2dInput, Conv2dWeight
from chainrule.ops.dims import Shape
from chainrule.ops.indexing import Getitem
from chainrule.ops.op import Op
from chainrule.ops.pooling import AvgPool2d, AvgPool2dInput, MaxPool2d, MaxPool2dInput, MaxPool2dOutput
from chainrule.ops.reduction import Argmax, Max, Mean
from chainrule.ops.structure import Pad
from chainrule.ops.windows import Pair
from chainrule.written.forms import Einsum, Pick, Spread, Windows


@dataclass
class Images:
    """Expands the ops on images; windows that are used twice are made once.

    Attributes
    ----------
    notes : dict of Variable to str
        What is said beside the lines.
    names : dict of Variable to str
        What some of them are called.
    """

    notes: dict[Any, str]
    names: dict[Any, str]
    _windows: dict[Any, Any] = field(default_factory=dict)
    _winners: dict[Any, Any] = field(default_factory=dict)

    def expanded(self, e: Equation, inputs: list[Any]) -> Any:
        """What an equation becomes; None if it is not on images."""
        rule = RULES.get(e.op)
        return None if rule is None else rule(self, *inputs, **e.attributes)

    def _note(self, x: Any, note: str) -> Any:
        self.notes[x.variable] = note
        return x

    def _seen(self, x: Any, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, value: float = 0) -> Any:
        """The elements under each window, (N, C, H', W', kh, kw)."""
        key = x.variable, kernel, stride, padding, dilation, value
        if key not in self._windows:
            if any(padding):
                x = Pad.apply(x, widths=((0, 0), (0, 0), *((p, p) for p in padding)), value=value)
            self._windows[key] = Windows.apply(x, kernel=kernel, stride=stride, dilation=dilation)
        return self._windows[key]

    def _spread(self, *xs: Any, shape: Shape, term: str, padding: Pair, note: str, **slides: Any) -> Any:
        """What is added over windows onto padded images, without the padding."""
        wide = (*shape[:-2], *(n + 2 * p for n, p in zip(shape[-2:], padding, strict=True)))
        y = self._note(Spread.apply(*xs, shape=wide, term=term, **slides), note)
        if not any(padding):
            return y
        self.names[y.variable] = "d_padded"
        inner = tuple(slice(p, p + n) for n, p in zip(shape[-2:], padding, strict=True))
        cut = Getitem.apply(y, index=((slice(None),) * (len(shape) - 2) + inner))
        return self._note(cut, "without the padding")

    # Convolution: n is the image, o and c the channels, h and w the window, i and j the place in it, g the group.

    def _convolution(self, x: Any, w: Any, groups: int, **slides: Any) -> Any:
        seen = self._seen(x, w.shape[2:], **slides)
        if groups == 1:
            return Einsum.apply(seen, w, subscripts="nchwij,ocij->nohw")
        parted = _parted(seen, 1, groups), _parted(w, 0, groups)
        return _joined(Einsum.apply(*parted, subscripts="ngchwij,gocij->ngohw"), 1)

    def _to_images(self, g: Any, w: Any, size: Pair, groups: int, padding: Pair, stride: Pair, dilation: Pair) -> Any:
        shape: Shape
        options: Any = {"kernel": w.shape[2:], "stride": stride, "dilation": dilation, "padding": padding}
        options["note"] = "convolution: each weight hands G back to what it met"
        if groups == 1:
            term, shape = "np.einsum('nohw,oc->nchw', {0}, {1}[..., i, j])", (g.shape[0], w.shape[1], *size)
            return self._spread(g, w, shape=shape, term=term, **options)
        term, shape = "np.einsum('ngohw,goc->ngchw', {0}, {1}[..., i, j])", (g.shape[0], groups, w.shape[1], *size)
        parted = _parted(g, 1, groups), _parted(w, 0, groups)
        for x, name in zip(parted, ("G", "kernels"), strict=True):
            self.names[self._note(x, "by groups").variable] = name
        return self._note(_joined(self._spread(*parted, shape=shape, term=term, **options), 1), "groups as channels")

    def _to_kernels(self, g: Any, x: Any, kernel: Pair, groups: int, **slides: Any) -> Any:
        seen = self._seen(x, kernel, **slides)
        if groups == 1:
            y = Einsum.apply(seen, g, subscripts="nchwij,nohw->ocij")
        else:
            parted = _parted(seen, 1, groups), _parted(g, 1, groups)
            y = _joined(Einsum.apply(*parted, subscripts="ngchwij,ngohw->gocij"), 0)
        return self._note(y, "dW = windows · G")

    # Pooling.

    def _largest(self, x: Any, **slides: Any) -> Any:
        return self._note(Max.apply(self._seen(x, value=-np.inf, **slides), axis=(4, 5), keepdims=False), "max-pool")

    def _winner(self, x: Any, **slides: Any) -> Any:
        """Where in each window the first largest element stands: 0, 1, ..., row by row."""
        seen = self._seen(x, value=-np.inf, **slides)
        if seen.variable not in self._winners:
            y = Argmax.apply(_flat(seen), axis=(4,), keepdims=False)
            self._winners[seen.variable] = self._note(y, "the place of the largest")
        return self._winners[seen.variable]

    def _to_largest(self, g: Any, x: Any, padding: Pair, **slides: Any) -> Any:
        winner = self._winner(x, padding=padding, **slides)
        place = "i" if slides["kernel"][1] == 1 else f"{slides['kernel'][1]} * i + j"
        note = "max-pool: G goes to the largest element of each window"
        return self._spread(
            g, winner, shape=x.shape, term=f"{{0}} * ({{1}} == {place})", padding=padding, note=note, **slides
        )

    def _of_largest(self, h: Any, x: Any, **slides: Any) -> Any:
        return Pick.apply(_flat(self._seen(h, **slides)), self._winner(x, **slides))

    def _mean(self, x: Any, **slides: Any) -> Any:
        seen = self._seen(x, dilation=(1, 1), **slides)
        return self._note(Mean.apply(seen, axis=(4, 5), keepdims=False), "mean of each window")

    def _to_all(self, g: Any, size: Pair, kernel: Pair, **slides: Any) -> Any:
        share = g / (kernel[0] * kernel[1])
        self.names[share.variable] = "share"
        note = "mean of each window: equal shares of G"
        shape = (*g.shape[:2], *size)
        return self._spread(share, shape=shape, term="{0}", note=note, kernel=kernel, dilation=(1, 1), **slides)


RULES: dict[type[Op], Callable[..., Any]] = {
    Conv2d: Images._convolution,
    Conv2dInput: Images._to_images,
    Conv2dWeight: Images._to_kernels,
    MaxPool2d: Images._largest,
    MaxPool2dInput: Images._to_largest,
    MaxPool2dOutput: Images._of_largest,
    AvgPool2d: Images._mean,
    AvgPool2dInput: Images._to_all,
}


def _parted(x: Any, axis: int, groups: int) -> Any:
    """Channels as groups of channels."""
    return x.reshape((*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :]))


def _joined(x: Any, axis: int) -> Any:
    """Groups of channels as channels."""
    return x.reshape((*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :]))


def _flat(seen: Any) -> Any:
    """Windows whose elements stand in one row."""
    return seen.reshape((*seen.shape[:4], seen.shape[4] * seen.shape[5]))
