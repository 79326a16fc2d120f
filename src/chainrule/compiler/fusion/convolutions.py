"""The part of a fused program that is convolutions and their derivatives.

An image of C channels is a row of C · H · W numbers, and a convolution a correlation of that row (`correlation`): the
result is laid out as wide as the image, so that all windows have the same distances between their elements, and what is
beyond the last window of a line is left out afterwards. Padding is zeros around a copy. With a stride the copy has the
elements of each remainder, for rows and for columns, in an image of its own; so it is as quick as without.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.compiler.fusion.schedule import Root
from chainrule.compiler.fusion.writer import Writer
from chainrule.graph.graph import Equation, Variable
from chainrule.ops.convolution import Conv2d, Conv2dInput

SLACK = 64  # elements behind a row that whole vectors may reach

Pair = tuple[int, int]


@dataclass(frozen=True)
class Slides:
    """How a kernel slides over padded images; each field is for height and width, but `groups`.

    Attributes
    ----------
    size, windows : pair
        Of the images, without padding, and how many windows there are.
    """

    size: Pair
    windows: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @property
    def plane(self) -> Pair:
        """The size of the image of one remainder: rows and columns that are a stride apart."""
        height, width = (-(-(n + 2 * p) // s) for n, p, s in zip(self.size, self.padding, self.stride, strict=True))
        return height, width

    @property
    def reach(self) -> Pair:
        """How many rows and columns of a remainder's image lie between the corner of a window and its last element."""
        down, right = (d * (k - 1) // s for d, k, s in zip(self.dilation, self.kernel, self.stride, strict=True))
        return down, right

    def remainders(self) -> Iterator[Pair]:
        """The remainders of rows and columns by the stride."""
        yield from np.ndindex(self.stride)

    def met(self, axis: int, remainder: int) -> list[tuple[int, int]]:
        """The rows (or columns) of the kernel that meet a remainder, each with its row there."""
        places = [(k, self.dilation[axis] * k) for k in range(self.kernel[axis])]
        return [(k, n // self.stride[axis]) for k, n in places if n % self.stride[axis] == remainder]


def slides_of(e: Equation) -> Slides:
    """What an equation says about its convolution."""
    a = e.attributes
    size: Any
    windows: Any
    if e.op is Conv2d:
        size, windows, kernel = e.inputs[0].shape[2:], e.output.shape[2:], e.inputs[1].shape[2:]
    elif e.op is Conv2dInput:
        size, windows, kernel = a["size"], e.inputs[0].shape[2:], e.inputs[1].shape[2:]
    else:
        size, windows, kernel = e.inputs[1].shape[2:], e.inputs[0].shape[2:], a["kernel"]
    return Slides(size, windows, kernel, a["stride"], a["padding"], a["dilation"], a["groups"])


class ConvolutionWriter(Writer):
    """Writes convolutions of the rows of a batch; each thread has its own rows."""

    def _convolution(self, e: Equation) -> None:
        x, w = e.inputs
        s, name = slides_of(e), self.names[e.output]
        channels, inputs = w.shape[0], w.shape[1]
        outputs = channels // s.groups
        taps = self._taps(f"{name}_taps", s, inputs)
        length = (s.windows[0] - 1) * s.plane[1] + s.windows[1]
        wide = self._scratch(f"{name}_wide", channels, length, e.output)
        with self.block("for i in range(lo, hi):"):
            image = self._spaced(x, s, name)
            for g in range(s.groups):
                given = self._from(image, g * inputs * math.prod(s.stride) * math.prod(s.plane))
                kernels, into = (self._from(v, g * outputs) for v in (self.names[w], f"{wide}[thread]"))
                self.write(f"correlate({given}, {taps}, {kernels}, {into}, {outputs}, {length})")
            with self.loops([channels, *s.windows], ["j", "k", "l"]):
                place = self.expressions.places[e.output](["i", "j", "k", "l"])
                self.write(f"{place} = {wide}[thread, j, {flat('k', s.plane[1], 'l')}]")

    def _spread(self, e: Equation) -> None:
        """The gradient by the images: for each remainder a correlation of the padded gradient, the kernel turned."""
        g, w = e.inputs
        s, name = slides_of(e), self.names[e.output]
        outputs, inputs = g.shape[1] // s.groups, w.shape[1]
        (down, right), plane = s.reach, s.plane
        tall, broad = plane[0] + down, plane[1] + right
        length = (plane[0] - 1) * broad + plane[1]
        wide = self._scratch(f"{name}_wide", inputs, length, e.output)
        given = self._scratch(f"{name}_padded", 1, g.shape[1] * tall * broad, e.output)
        parts = [p for p in s.remainders() if s.met(0, p[0]) and s.met(1, p[1])]
        for a, b in parts:
            self._turned_kernel(e, s, (a, b))
        with self.block("for i in range(lo, hi):"):
            with self.loops([g.shape[1], *s.windows], ["j", "k", "l"]):
                value = self.expressions.places[g](["i", "j", "k", "l"])
                start = f"j * {tall * broad} + {flat(f'(k + {down})', broad, f'l + {right}')}"
                self.write(f"{given}[thread, 0, {start}] = {value}")
            if len(parts) < math.prod(s.stride):
                self._blank(e.output)
            for a, b in parts:
                kernel, taps = self._part_names(name, s, (a, b))
                for group in range(s.groups):
                    source = self._from(f"{given}[thread, 0]", group * outputs * tall * broad)
                    kernels = self._from(f"{kernel}[thread]", group * inputs)
                    self.write(f"correlate({source}, {taps}, {kernels}, {wide}[thread], {inputs}, {length})")
                    self._take_apart(e, s, (a, b), group, f"{wide}[thread, j, {flat('k', broad, 'l')}]")

    def _turned_kernel(self, e: Equation, s: Slides, part: Pair) -> None:
        """The kernel's elements that meet a remainder, with a row for each channel of the images; and their taps."""
        (g, w), (down, right) = e.inputs, s.reach
        rows, columns = s.met(0, part[0]), s.met(1, part[1])
        outputs, inputs = g.shape[1] // s.groups, w.shape[1]
        tall, broad = s.plane[0] + down, s.plane[1] + right
        kernel, taps = self._part_names(self.names[e.output], s, part)
        self.constants[taps] = np.array(
            [(o * tall + down - m) * broad + right - n for o in range(outputs) for _, m in rows for _, n in columns],
            np.int64,
        )
        self.arguments.append(taps)
        self.buffers[kernel] = (self.threads, s.groups * inputs, self.constants[taps].size), w.dtype
        self.arguments.append(kernel)
        with self.loops([w.shape[0], inputs, len(rows), len(columns)], ["i", "j", "k", "l"]):
            row, column = (_progression(found, letter) for found, letter in ((rows, "k"), (columns, "l")))
            value = self.expressions.places[w](["i", "j", row, column])
            channel = f"i // {outputs} * {inputs} + j" if s.groups > 1 else "j"
            o = f"i % {outputs}" if s.groups > 1 else "i"
            place = f"({o}) * {len(rows) * len(columns)} + {flat('k', len(columns), 'l')}"
            self.write(f"{kernel}[thread, {channel}, {place}] = {value}")

    def _part_names(self, name: str, s: Slides, part: Pair) -> tuple[str, str]:
        end = "" if s.stride == (1, 1) else f"_{part[0]}_{part[1]}"
        return f"{name}_kernel{end}", f"{name}_taps{end}"

    def _take_apart(self, e: Equation, s: Slides, part: Pair, group: int, value: str) -> None:
        """Write a remainder's image where its elements belong."""
        inputs = e.inputs[1].shape[1]
        limits, index = [], []
        for axis, letter in enumerate("kl"):
            step, before = s.stride[axis], s.padding[axis] - part[axis]
            first, last = _inside(step, -before, s.size[axis], s.plane[axis])
            limits.append(f"{first}, {last}" if first else str(last))
            index.append(affine(step, letter, -before))
        with self.loops([inputs, *limits], ["j", "k", "l"]):
            channel = affine(1, "j", group * inputs)
            self.write(f"{self.expressions.places[e.output](['i', channel, *index])} = {value}")

    def _add_kernel_gradients(self, root: Root) -> None:
        """Add the rows' shares of a kernel's gradient to what this thread has."""
        e = root.equation
        g, x = e.inputs
        s, name = slides_of(e), self.names[e.output]
        outputs, inputs = (n // s.groups for n in (g.shape[1], x.shape[1]))
        taps = self._taps(f"{name}_taps", s, inputs)
        length = (s.windows[0] - 1) * s.plane[1] + s.windows[1]
        wide = self._scratch(f"{name}_wide", g.shape[1], length, e.output)
        own = f"{name}_own"
        self.buffers[own] = (self.threads, *e.output.shape[:2], math.prod(s.kernel)), e.output.dtype
        self.arguments.append(own)
        self.explain([root])
        if self.schedule.tiled:
            with self.block("if tile == 0:"):
                self.write(f"{own}[thread] = 0")
        else:
            self.write(f"{own}[thread] = 0")
        with self.block("for i in range(lo, hi):"):
            with self.loops([g.shape[1], *s.windows], ["j", "k", "l"]):
                value = self.expressions.places[g](["i", "j", "k", "l"])
                self.write(f"{wide}[thread, j, {flat('k', s.plane[1], 'l')}] = {value}")
            image = self._spaced(x, s, name)
            for group in range(s.groups):
                given = self._from(image, group * inputs * math.prod(s.stride) * math.prod(s.plane))
                factors, into = (self._from(f"{v}[thread]", group * outputs) for v in (wide, own))
                self.write(f"add_correlations({given}, {taps}, {factors}, {into}, {outputs}, {length})")

    def _sum_of_threads(self, v: Variable, share: str) -> None:
        """A kernel's gradient from what each thread has added up."""
        own, place = f"{self.names[v]}_own", self.expressions.places[v](["i", "j", "0", "k"])
        with self.loops([share, v.shape[1], math.prod(v.shape[2:])], ["i", "j", "k"]):
            self.write(f"{place} = {' + '.join(f'{own}[{t}, i, j, k]' for t in range(self.threads))}")

    def _spaced(self, x: Variable, s: Slides, name: str) -> str:
        """Images with their padding, each remainder by the stride in an image of its own: one row's, without axes.

        Elements that no window meets stay 0, since a kernel's gradient multiplies them by 0, which NaN would survive.
        """
        if s.stride == (1, 1) and s.padding == (0, 0) and self.names[x] in self.buffers:
            return f"{self.names[x]}[i].reshape({math.prod(x.shape[1:])})"
        area = math.prod(s.plane)
        image = self._scratch(f"{name}_image", 1, x.shape[1] * math.prod(s.stride) * area, x)
        for number, part in enumerate(s.remainders()):
            index, limits = [], []
            for axis, letter in enumerate("kl"):
                step, start = s.stride[axis], part[axis] - s.padding[axis]
                farthest = max((n for _, n in s.met(axis, part[axis])), default=0)
                first, last = _inside(step, start, s.size[axis], s.windows[axis] + farthest)
                limits.append(f"{first}, {last}" if first else str(last))
                index.append(affine(step, letter, start))
            if not all(s.met(axis, part[axis]) for axis in (0, 1)):
                continue
            with self.loops([x.shape[1], *limits], ["j", "k", "l"]):
                value = self.expressions.places[x](["i", "j", *index])
                channel = f"j * {math.prod(s.stride) * area} + {affine(1, flat('k', s.plane[1], 'l'), number * area)}"
                self.write(f"{image}[thread, 0, {channel}] = {value}")
        return f"{image}[thread, 0]"

    def _taps(self, name: str, s: Slides, channels: int) -> str:
        """How far the elements of a window are from its corner."""
        area, (rows, columns) = math.prod(s.plane), s.stride
        taps = [
            ((c * rows + i * s.dilation[0] % rows) * columns + j * s.dilation[1] % columns) * area
            + i * s.dilation[0] // rows * s.plane[1]
            + j * s.dilation[1] // columns
            for c in range(channels)
            for i, j in np.ndindex(s.kernel)
        ]
        self.constants[name] = np.array(taps, np.int64)
        self.arguments.append(name)
        return name

    def _scratch(self, name: str, rows: int, length: int, like: Variable) -> str:
        """An array of each thread's own, zeros at first, with room behind each row."""
        self.buffers[name] = (self.threads, rows, length + SLACK), like.dtype
        self.arguments.append(name)
        return name

    def _from(self, array: str, first: int) -> str:
        return f"{array}[{first}:]" if first else array

    def _blank(self, v: Variable) -> None:
        with self.loops([v.shape[1], math.prod(v.shape[2:])], ["j", "k"]):
            self.write(f"{self.expressions.places[v](['i', 'j', '0', 'k'])} = 0")


def flat(row: str, width: int, column: str) -> str:
    """The place in an image of a row and a column."""
    return f"{row} * {width} + {column}"


def affine(step: int, letter: str, start: int) -> str:
    """`step * letter + start`, as one would write it."""
    text = letter if step == 1 else f"{step} * {letter}"
    return f"{text} + {start}" if start > 0 else f"{text} - {-start}" if start else text


def _progression(found: list[tuple[int, int]], letter: str) -> str:
    """The kernel's rows in a list of those that meet a remainder: they are equally far apart."""
    step = found[1][0] - found[0][0] if len(found) > 1 else 1
    return affine(step, letter, found[0][0])


def _inside(step: int, start: int, size: int, count: int) -> Pair:
    """The range of those k below `count` for which step · k + start is in 0..size-1."""
    return max(0, -(start // step)), min(count, (size - 1 - start) // step + 1)
