"""The part of a fused program that is pooling: loops over windows, and over the elements of each."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.compiler.fusion.convolutions import ConvolutionWriter, affine
from chainrule.compiler.fusion.schedule import Root
from chainrule.graph.graph import Equation, Variable
from chainrule.ops.convolution import Conv2d, Conv2dInput
from chainrule.ops.pooling import AvgPool2d, AvgPool2dInput, MaxPool2d, MaxPool2dInput

UNROLLED = 16  # places in a window that are written one by one


class ImageWriter(ConvolutionWriter):
    """Writes what is computed of images, one loop over the rows for each equation."""

    def _image_rows(self, root: Root) -> None:
        write = {
            Conv2d: self._convolution,
            Conv2dInput: self._spread,
            MaxPool2d: self._max_pool,
            MaxPool2dInput: self._routed,
            AvgPool2d: self._avg_pool,
            AvgPool2dInput: self._shared,
        }[root.equation.op]
        self.explain([root])
        write(root.equation)

    def _max_pool(self, e: Equation) -> None:
        x = e.inputs[0]
        with self._windows(e) as (offsets, place):
            if offsets is None:
                self.write("best = real(-np.inf)")
                self._inside_window(e, x, "best = maximum({x}, best)")
            else:
                self._largest(x, offsets)
            self.write(f"{place(e.output)} = best")

    def _largest(self, x: Variable, offsets: list[Sequence[str]]) -> None:
        for n, index in enumerate(offsets):
            value = self.expressions.places[x](["i", "j", *index])
            self.write(f"best = maximum({value}, best)" if n else f"best = {value}")

    def _routed(self, e: Equation) -> None:
        """What comes back goes to the first largest element of each window."""
        g, x = e.inputs
        d, a = self.expressions.places[e.output], e.attributes
        apart = all(s > n * (k - 1) for k, s, n in zip(a["kernel"], a["stride"], a["dilation"], strict=True))
        covered = all(k == s and n % s == 0 for k, s, n in zip(a["kernel"], a["stride"], x.shape[2:], strict=True))
        with self._windows(e, blank=not (covered and apart and _few(e))) as (offsets, place):
            if offsets is None or not apart:
                self.write("best, at = real(-np.inf), -1")
                at = f"y * {x.shape[3]} + z"
                self._inside_window(e, x, "if at < 0 or {x} > best:", "    best, at = {x}, " + at)
                self.write(f"{d(['i', 'j', '0', 'at'])} += {place(g)}")
                return
            self._largest(x, offsets)
            self.write(f"left = {place(g)}")
            for index in offsets:
                value = self.expressions.places[x](["i", "j", *index])
                self.write(f"won = not ({value} < best)")
                self.write(f"{d(['i', 'j', *index])} = left if won else real(0)")
                self.write("left = real(0) if won else left")

    def _avg_pool(self, e: Equation) -> None:
        x, area = e.inputs[0], math.prod(e.attributes["kernel"])
        with self._windows(e) as (offsets, place):
            if offsets is None:
                self.write("added = real(0)")
                self._inside_window(e, x, "added += {x}")
            else:
                values = [self.expressions.places[x](["i", "j", *index]) for index in offsets]
                self.write(f"added = {' + '.join(values)}")
            self.write(f"{place(e.output)} = added / real({area})")

    def _shared(self, e: Equation) -> None:
        g, area = e.inputs[0], math.prod(e.attributes["kernel"])
        with self._windows(e, blank=True) as (_, place):
            self.write(f"share = {place(g)} / real({area})")
            self._inside_window(e, e.output, "{x} += share")

    @contextmanager
    def _windows(self, e: Equation, blank: bool = False) -> Iterator[Any]:
        """Loops over the windows of all rows; the indices of a window's elements, if they are few and all inside."""
        v, a = e.output, e.attributes
        count = (e.inputs[0] if e.op in (MaxPool2dInput, AvgPool2dInput) else v).shape[2:]
        (sh, sw), (dh, dw) = a["stride"], a.get("dilation", (1, 1))
        offsets = [[affine(sh, "k", i * dh), affine(sw, "l", j * dw)] for i, j in np.ndindex(a["kernel"])]
        with self.block("for i in range(lo, hi):"):
            if blank:
                self._blank(v)
            with self.loops([v.shape[1], *count], ["j", "k", "l"]):
                yield offsets if _few(e) else None, lambda v: self.expressions.places[v](["i", "j", "k", "l"])

    def _inside_window(self, e: Equation, x: Variable, *lines: str) -> None:
        """A loop over the elements `{x}` of a window, in row y and column z, that are inside the image."""
        a, letters = e.attributes, zip("yz", "kl", strict=True)
        ranges = []
        for axis, (letter, window) in enumerate(letters):
            k, step, before = a["kernel"][axis], a["stride"][axis], a["padding"][axis]
            apart = a["dilation"][axis] if "dilation" in a else 1
            first, last = (affine(step, window, n - before) for n in (0, apart * (k - 1) + 1))
            ranges.append(f"for {letter} in range({first}, {last}, {apart}):")
        value = self.expressions.places[x](["i", "j", "y", "z"])
        height, width = x.shape[2:]
        inside = f"if 0 <= y < {height} and 0 <= z < {width}:"
        with self.block(ranges[0]), self.block(ranges[1]), self.block(inside):
            for line in lines:
                self.write(line.replace("{x}", value))


def _few(e: Equation) -> bool:
    """Whether the elements of a window are written one by one."""
    return math.prod(e.attributes["kernel"]) <= UNROLLED and not any(e.attributes["padding"])
