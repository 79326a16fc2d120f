"""A graph at known sizes as a Python function of NumPy calls, which write into arrays that are made ahead."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.compiler.planning import memory
from chainrule.compiler.planning.lowering import lower
from chainrule.compiler.planning.recording import Array, Planned, Recorder, Storage
from chainrule.errors import ShapeError
from chainrule.graph.graph import Graph, Variable
from chainrule.ops import dims
from chainrule.ops.dims import show

Function = Callable[..., tuple[Array, ...]]


class Program:
    """The steps of a graph at given sizes, and how much memory they need.

    Parameters
    ----------
    graph : Graph
    sizes : mapping of str to int
        The values of the symbolic sizes.
    into : mapping of int to int
        Which output is to be written into which input.

    Attributes
    ----------
    nbytes : int
        The memory that `function` is to be given.
    """

    def __init__(self, graph: Graph, sizes: Mapping[str, int], into: Mapping[int, int]) -> None:
        self.recorder = recorder = Recorder()
        self.values: dict[Variable, Planned] = {}
        for v in graph.inputs:
            self.values[v] = recorder.input(dims.evaluate(v.shape, sizes), v.dtype)
        self.inputs = list(self.values.values())
        self.values.update({v: recorder.known(array) for v, array in graph.constants.items()})
        for e in graph.equations:
            inputs = [self.values[x] if isinstance(x, Variable) else dims.evaluate(x, sizes) for x in e.inputs]
            attributes = {key: dims.evaluate(value, sizes) for key, value in e.attributes.items()}
            shape = dims.evaluate(e.output.shape, sizes)
            y = lower(recorder, e.op, inputs, attributes, np.empty(shape, e.output.dtype))
            if y.shape != shape:
                raise ShapeError(f"{e!r} gives {show(y.shape)}.")
            self.values[e.output] = y
        self.outputs = self._own([self.values[v] for v in graph.outputs])
        pairs = {self.outputs[o]: self.inputs[i] for o, i in into.items()}
        storages = memory.lifetimes(recorder.steps, self.outputs)
        memory.write_into_inputs(recorder.steps, pairs)
        memory.share(recorder.steps)
        self.stored = [s for s in storages if s.home is s and s.given is None]
        self.nbytes = memory.place(self.stored)
        self.last: list[tuple[Planned, Planned]] = []  # what is copied into inputs at the end
        for o, i in into.items():
            if self.outputs[o].home is not self.inputs[i].home:
                self.last.append((self.inputs[i], self.outputs[o]))
            self.outputs[o] = self.inputs[i]

    def _own(self, outputs: Sequence[Planned]) -> list[Planned]:
        """The outputs, each in a storage of its own."""
        taken: set[Storage] = set()
        own = []
        for y in outputs:
            if y.kind != "stored" or y.layout.nbytes != y.home.nbytes or y.storages <= taken:
                y = self.recorder.copy(y)
            taken |= y.storages
            own.append(y)
        return own

    def function(self, arena: Array) -> tuple[Function, str]:
        """The function that takes the inputs and returns the outputs, computing in this memory; and its text."""
        names = _Names(arena)
        for i, x in enumerate(self.inputs):
            x.name = f"x{i}"
        lines = []
        for step in self.recorder.steps:
            reads, out = [names(x) for x in step.reads], "" if step.out is None else names(step.out)
            if not (step.is_copy and reads == [out]):
                lines.append(step.text.format(*reads, out=out))
        lines += [f"{x.name}[...] = {names(y)}" for x, y in self.last]
        results = "".join(f"{names(y)}, " for y in self.outputs)
        arguments = ", ".join(x.name for x in self.inputs)
        # The source is made of the names of NumPy's functions and of numbers; no text of the user's is in it.
        source = "\n    ".join([f"def step({arguments}):", *names.comments, *lines, f"return ({results})"])
        bound = {**names.arrays, **{f"k{i}": thing for i, thing in enumerate(self.recorder.things)}}
        return _maker(source, tuple(bound))(*bound.values()), source


class _Names:
    """Names for what the lines mention, and the arrays behind them: `x` inputs, `c` constants, `b` results, `v` views,
    `y` what each call makes anew.
    """

    def __init__(self, arena: Array) -> None:
        self.arena, self.arrays = arena, dict[str, Any]()
        self.comments: list[str] = []
        self.names: dict[Any, str] = {}
        self.counts: dict[str, int] = {}

    def __call__(self, x: Planned) -> str:
        if x.kind == "input":
            return x.name
        if x.kind == "stored" and x.base is None:
            home = x.home
            if home.given is not None:
                return home.given.name
            # What lies in one storage, one after the other, has one name if it has one shape.
            return self._name((home, x.shape, x.dtype), "b", lambda: self._array(x))
        if x.kind == "stored":
            return self._name(x, "v", lambda: self._array(x))
        if x.kind == "known":
            return self._name(x, "c", lambda: x.layout)
        return self._name(x, "y")

    def _name(self, key: Any, letter: str, array: Callable[[], Any] | None = None) -> str:
        if key not in self.names:
            number = self.counts[letter] = self.counts.get(letter, -1) + 1
            name = self.names[key] = f"{letter}{number}"
            if array is not None:
                self.arrays[name] = made = array()
                if letter == "c" and made.ndim == 0:
                    self.comments.append(f"# {name} = {made.item()!r}")
        return self.names[key]

    def _array(self, x: Planned) -> Array:
        if x.array is None:
            if x.base is None:
                x.array = np.ndarray(x.shape, x.dtype, self.arena, x.home.offset)
            else:
                x.array = x.view(self._array(x.base))
        array: Array = x.array
        return array


@functools.lru_cache(256)
def _maker(source: str, bound: tuple[str, ...]) -> Callable[..., Function]:
    """What makes a function of this text from what it mentions; of one text there is one code, which is quicker."""
    body = source.replace("\n", "\n    ")
    namespace: dict[str, Any] = {"np": np}
    exec(compile(f"def make({', '.join(bound)}):\n    {body}\n    return step", "<chainrule plan>", "exec"), namespace)
    make: Callable[..., Function] = namespace["make"]
    return make
