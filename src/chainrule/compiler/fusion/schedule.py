"""When each value of a graph is computed: which values are stored and which are only parts of a loop's expressions, and
between which barriers they fall.

A step alternates between *phases*: in one, every thread computes its own rows of the batch (phases 0, 2, ...); in the
next, its own part of what belongs to the whole batch, such as gradients (phases 1, 3, ...). Phase -1 is for what
depends on no row. Inside a phase, *parts* follow each other: loops over rows (even) and products (odd), or pieces of
whole arrays with a barrier between them. Inside a loop over rows, *levels* follow each other, each a loop over columns.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from chainrule.graph.graph import Equation, Graph, Variable
from chainrule.ops import dims
from chainrule.ops.arithmetic import Divide, Multiply, Negative, Subtract
from chainrule.ops.chance import DropoutMask
from chainrule.ops.convolution import Conv2d, Conv2dInput, Conv2dWeight
from chainrule.ops.dims import Dim, Later
from chainrule.ops.families import Comparison, Elementwise
from chainrule.ops.indexing import ARRAY, Getitem, Onehot
from chainrule.ops.pooling import AvgPool2d, AvgPool2dInput, MaxPool2d, MaxPool2dInput
from chainrule.ops.product import Matmul
from chainrule.ops.reduction import Max, Min, Sum
from chainrule.ops.structure import BroadcastTo, Cast, Concatenate, Pad, Reshape, Transpose

REARRANGED = (Reshape, BroadcastTo, Transpose, Getitem, Pad, Concatenate, Cast, Onehot)
REDUCED = (Sum, Max, Min)
OF_IMAGES = (Conv2d, Conv2dInput, MaxPool2d, MaxPool2dInput, AvgPool2d, AvgPool2dInput)  # row by row
STORED = (Matmul, *OF_IMAGES, Conv2dWeight)  # what takes part in them is in an array
SPLIT = 4096  # elements: smaller arrays are one thread's business


class NotFusibleError(Exception):
    """A graph has something that no generated loop computes; the message says what and where."""


@dataclass(eq=False)
class Root:
    """A value that is computed where its turn is, and not inside other values' expressions."""

    equation: Equation
    kind: str  # "element", "reduce", "product", "fill"; "update": a product that is added to a carried array; or
    # "partial": each thread adds up the rows that it has, and what the threads have is added up afterwards
    rows: bool
    leaves: list[Variable] = field(default_factory=list)
    moved: set[Variable] = field(default_factory=set)  # those of them that it reads at other places than its own
    phase: int = 0
    part: int = 0
    level: int = 0
    stored: bool = True
    flat: bool = False  # whether the loops over height and width of images are one
    target: Variable | None = None  # the input whose array takes the value
    product: Equation | None = None  # of an "update"
    factors: list[tuple[type, Any]] = field(default_factory=list)  # what multiplies or divides the product

    @property
    def output(self) -> Variable:
        return self.equation.output

    @property
    def group(self) -> tuple[Any, ...]:
        """The sizes of the loops that it is computed in, but for that over rows; sizes of 1 need no loop."""
        source = self.equation.inputs[0] if self.kind == "reduce" else self.output
        sizes = source.shape[int(self.rows) :]
        if self.flat:
            sizes = (*sizes[:-2], math.prod(sizes[-2:]))
        return tuple(n if isinstance(n, int) else "n" for n in sizes if not dims.same(n, 1))


def by_rows(shape: tuple[Any, ...]) -> bool:
    """Whether the first axis is that of the batch."""
    return bool(shape) and isinstance(shape[0], Dim)


class Schedule:
    """The roots of a graph in order, each with its turn.

    Parameters
    ----------
    graph : Graph
        Decomposed (see `primitives`).
    into : dict of int to int
        Which output is written into which input's array.
    tiled : bool
        Whether a batch is worked in several tiles; then nothing of the whole batch may be needed by its rows.
    """

    def __init__(self, graph: Graph, into: dict[int, int], tiled: bool) -> None:
        self.graph, self.tiled = graph, tiled
        self.made = {e.output: e for e in graph.equations}
        self.uses: dict[Variable, int] = defaultdict(int)
        for e in graph.equations:
            _check(e)
            for x in e.inputs:
                if isinstance(x, Variable):
                    self.uses[x] += 1
        self.targets: dict[Variable, Variable] = {}
        for out, given in into.items():
            v, target = graph.outputs[out], graph.inputs[given]
            if v is target:
                continue
            if v in self.targets or v not in self.made:
                raise NotFusibleError(f"two arrays would take the value '{v.name}', or it is no result")
            if v.shape == ():
                raise NotFusibleError(f"'{target.name}', a single number, would be replaced while it is read")
            self.targets[v] = target
        self.roots: dict[Variable, Root] = {}
        for e in graph.equations:
            if kind := self._kind(e):
                self.roots[e.output] = Root(e, kind, by_rows(e.output.shape), target=self.targets.get(e.output))
        if not tiled:
            self._merge_updates()
        for root in self.roots.values():
            root.leaves = list(dict.fromkeys(self._leaves(root)))
            root.moved = set(self._moved(root))
            root.flat = root.kind in ("element", "reduce") and self._is_flat(root)
        for root in self.roots.values():
            self._place(root)
        self._delay_overwriting()
        self._choose_stored()

    def base(self, x: Any) -> tuple[Any, bool]:
        """A product's operand without its transposition, and whether it had one."""
        e = self.made.get(x)
        if e is not None and e.op is Transpose and e.output not in self.roots:
            inner, turned = self.base(e.inputs[0])
            return inner, not turned
        return x, False

    def _kind(self, e: Equation) -> str:
        if e.op is Matmul or e.op in OF_IMAGES:
            return "product"
        if e.op is Conv2dWeight:
            return "partial"
        if e.op in REDUCED:
            return "reduce"
        if e.op is DropoutMask:
            return "fill"
        v = e.output
        if e.op is Transpose and any(isinstance(n, Dim) for n in v.shape[1:]):
            return ""
        consumers = [c for c in self.graph.equations if any(x is v for x in c.inputs)]
        whole_sum = any(c.op in REDUCED and by_rows(v.shape) and 0 in c.attributes["axis"] for c in consumers)
        needed = v in self.graph.outputs or any(c.op in STORED or sums_images(c) for c in consumers)
        needed |= self._under_product(v)
        if e.op is Transpose and v not in self.graph.outputs and all(c.op is Matmul for c in consumers):
            return ""
        cheap = e.op in REARRANGED or e.op is Negative or issubclass(e.op, Comparison)
        mixed = any(by_rows(c.output.shape) != by_rows(v.shape) for c in consumers)
        return "element" if needed or whole_sum or mixed or (self.uses[v] > 1 and not cheap) else ""

    def _under_product(self, v: Variable) -> bool:
        """Whether a product takes it transposed."""
        for e in self.graph.equations:
            if e.op is Transpose and e.inputs[0] is v:
                consumers = [c.op for c in self.graph.equations if any(x is e.output for x in c.inputs)]
                if Matmul in consumers or self._under_product(e.output):
                    return True
        return False

    def _merge_updates(self) -> None:
        """Let `W - lr * (xᵀ @ d)` be one product that is added to W, if nothing else needs the gradient."""
        for root in list(self.roots.values()):
            e, w = root.equation, root.target
            if w is None or e.op is not Subtract or e.inputs[0] is not w:
                continue
            factors: list[tuple[type, Any]] = [(Negative, None)]
            x: Any = e.inputs[1]
            while self.uses[x] == 1 and (made := self.made.get(x)) is not None and x not in self.graph.outputs:
                if made.op is Matmul:
                    if self._crosses(made) and all(y is not w for y in made.inputs):
                        del self.roots[x]
                        root.kind, root.product, root.factors = "update", made, factors
                    break
                numbers = [y for y in made.inputs if getattr(y, "shape", ()) == ()]
                if made.op not in (Multiply, Divide, Negative) or (made.op is not Negative and len(numbers) != 1):
                    break
                if made.op is Divide and made.inputs[1] is not numbers[0]:
                    break
                factors.append((made.op, numbers[0] if numbers else None))
                x = next(y for y in made.inputs if not numbers or y is not numbers[0])
                if not isinstance(x, Variable) or (x in self.roots and self.roots[x].kind != "product"):
                    break

    def _crosses(self, e: Equation) -> bool:
        """Whether it adds up over the rows of the batch."""
        if e.op is Matmul:
            return by_rows(tuple(reversed(e.inputs[0].shape)))
        return e.op in REDUCED and by_rows(e.inputs[0].shape) and 0 in e.attributes["axis"]

    def crosses(self, root: Root) -> bool:
        """Whether a root adds up over the rows of the batch."""
        return root.kind == "update" or (root.kind in ("product", "reduce") and self._crosses(root.equation))

    def _leaves(self, root: Root) -> Iterator[Variable]:
        """The inputs and roots that a root's expression reads."""
        if root.kind == "update":
            assert root.product is not None
            yield from self._operands(root.product)
            for _, number in root.factors:
                if isinstance(number, Variable):
                    yield from self._read(number)
            return
        if root.kind == "product":
            yield from self._operands(root.equation)
            return
        for x in root.equation.inputs:
            if isinstance(x, Variable):
                yield from self._read(x)

    def _operands(self, e: Equation) -> Iterator[Variable]:
        for x in e.inputs:
            yield self.base(x)[0]

    def _read(self, v: Variable) -> Iterator[Variable]:
        if v in self.roots or v not in self.made:
            yield v
            return
        for x in self.made[v].inputs:
            if isinstance(x, Variable):
                yield from self._read(x)

    def _moved(self, root: Root) -> Iterator[Variable]:
        """The leaves that a root reads at other places, as where rows are shifted or turned around."""
        if root.kind not in ("element", "reduce"):
            return
        waiting = [(root.equation, False)]
        seen: set[tuple[Variable, bool]] = set()
        while waiting:
            e, before = waiting.pop()
            moved = before or _moves(e)
            for x in e.inputs:
                if not isinstance(x, Variable) or (x, moved) in seen:
                    continue
                seen.add((x, moved))
                if x not in self.roots and x in self.made:
                    waiting.append((self.made[x], moved))
                elif moved:
                    yield x

    def _is_flat(self, root: Root) -> bool:
        """Whether an element of images is computed in the same way wherever it is in its image."""
        e = root.equation
        source = e.inputs[0] if root.kind == "reduce" else e.output
        if len(source.shape) != 4 or any(dims.same(n, 1) for n in source.shape[2:]):
            return False
        if root.kind == "reduce" and len({2, 3} & set(e.attributes["axis"])) == 1:
            return False
        waiting: list[Any] = [source]
        while waiting:
            x = waiting.pop()
            shape = getattr(x, "shape", ())
            if all(dims.same(n, 1) for n in shape[-2:]):
                continue
            if len(shape) != 4 or not dims.same_shape(shape[2:], source.shape[2:]):
                return False
            if (made := self.made.get(x)) is None or (x in self.roots and x is not root.output):
                continue
            if not (issubclass(made.op, Elementwise) or made.op in (BroadcastTo, Cast)):
                return False
            waiting += made.inputs
        return True

    def _place(self, root: Root) -> None:
        leaves = [self.roots[v] for v in root.leaves if v in self.roots]
        if root.rows:
            root.phase = max((leaf.phase + (not leaf.rows) for leaf in leaves), default=0)
            root.phase = max(root.phase, 0)
            parts = [leaf for leaf in leaves if leaf.phase == root.phase and leaf.rows]
            product = root.kind == "product"
            # Loops have even numbers, products odd ones, and a product begins when all that came before is done.
            after = [leaf.part + ((leaf.part % 2 == 1) or product) + (product and leaf.part % 2) for leaf in parts]
            root.part = max(after, default=int(product))
            same = [leaf for leaf in parts if leaf.part == root.part]
            root.level = max((leaf.level + self._steps(leaf, root) for leaf in same), default=0)
            return
        adds_up = self.crosses(root) or root.kind == "partial"
        if self.tiled and any(leaf.rows for leaf in leaves) and not adds_up:
            raise NotFusibleError(f"'{root.equation!r}' mixes rows and whole arrays")
        rows = any(by_rows(v.shape) for v in root.leaves)
        root.phase = max((leaf.phase + leaf.rows for leaf in leaves), default=-1)
        root.phase = max(root.phase, 1 if rows else -1)
        parts = [leaf for leaf in leaves if leaf.phase == root.phase and not leaf.rows]
        collected = self.tiled and root.phase == 1 and not self.crosses(root)
        start = 1 if collected else 0  # after the last tile
        root.part = max((leaf.part + self._waits(leaf, root) for leaf in parts), default=start)
        root.part = max(root.part, start)

    def _steps(self, leaf: Root, root: Root) -> int:
        together = leaf.kind == "element" and leaf.group == root.group and root.kind != "fill"
        return int(not together or leaf.output in root.moved or sums_images(root.equation))

    def _waits(self, leaf: Root, root: Root) -> int:
        """Whether a part of a whole array must wait for all threads before it reads this one."""
        if leaf.output.shape == ():
            return 0
        aligned = root.kind == "element" and dims.same_shape(leaf.output.shape, root.output.shape)
        return int(not aligned or leaf.output in root.moved)

    def _delay_overwriting(self) -> None:
        """What takes an input's array comes after everything that reads the old value elsewhere."""
        for root in self.roots.values():
            if root.target is None:
                continue
            if root.target in root.moved:
                raise NotFusibleError(f"'{root.target.name}' is replaced by its own elements at other places")
            for other in self.roots.values():
                aligned = other.kind == "element" and dims.same_shape(other.output.shape, root.output.shape)
                aligned &= root.target not in other.moved
                if other is root or root.target not in other.leaves or other.rows:
                    late = other.rows and root.target in other.leaves and other.phase > root.phase
                    if late:
                        raise NotFusibleError(f"'{root.target.name}' is needed after it has been replaced")
                    continue
                if other.phase > root.phase:
                    raise NotFusibleError(f"'{root.target.name}' is needed after it has been replaced")
                if other.phase == root.phase and (other.part > root.part or (other.part == root.part and not aligned)):
                    root.part = other.part + (not aligned)

    def _choose_stored(self) -> None:
        readers: dict[Variable, list[Root]] = defaultdict(list)
        for root in self.roots.values():
            for v in root.leaves:
                readers[v].append(root)
        for v, root in self.roots.items():
            outside = v in self.graph.outputs and v not in self.targets
            if root.kind in ("product", "fill", "partial") or outside:
                continue
            found = readers[v]
            if root.rows:
                here = [r for r in found if r.rows and (r.phase, r.part) == (root.phase, root.part)]
                single = root.group == () if root.kind == "element" else _single(root)
                together = all(r.level == root.level and r.group == root.group for r in found)
                root.stored = len(here) < len(found) or not (single or (root.kind == "element" and together))
                root.stored |= any(r.kind in ("product", "update", "partial") for r in found)
            elif root.output.shape == ():
                root.stored = False
            elif root.kind == "element":
                same = [r for r in found if (r.phase, r.part) == (root.phase, root.part) and r.group == root.group]
                root.stored = len(same) < len(found) or any(r.kind != "element" for r in found)


def _moves(e: Equation) -> bool:
    """Whether an element of its output comes from another place of its input."""
    if e.op is Reshape:
        old, new = ([n for n in shape if not dims.same(n, 1)] for shape in (e.inputs[0].shape, e.output.shape))
        return not dims.same_shape(tuple(old), tuple(new))
    if e.op is Getitem:
        return any(part != slice(None) for part in e.attributes["index"])
    return e.op in (Transpose, Pad, Concatenate)


def sums_images(e: Equation) -> bool:
    """Whether an equation adds up the elements of each image, which a kernel of its own does."""
    x = e.inputs[0]
    floats = e.op is Sum and x.dtype == e.output.dtype and x.dtype.kind == "f"
    return floats and by_rows(x.shape) and len(x.shape) == 4 and e.attributes["axis"] == (2, 3)


def _single(root: Root) -> bool:
    """Whether a reduction leaves one number for each row."""
    return all(dims.same(n, 1) for n in root.output.shape[1:])


def _check(e: Equation) -> None:
    """Raise unless loops can compute this equation."""
    where = f"{e.op.name}{' at ' + e.origin if e.origin else ''}"
    shapes = [e.output.shape, *(x.shape for x in e.inputs if isinstance(x, Variable))]
    for shape in shapes:
        symbolic = [i for i, n in enumerate(shape) if isinstance(n, Later)]
        plain = all(isinstance(shape[i], Dim) and str(shape[i]).isidentifier() for i in symbolic)
        if not plain or len(symbolic) > 1 or (symbolic and symbolic != [0] and e.op not in (Transpose, Matmul)):
            raise NotFusibleError(f"{where} works on the shape {dims.show(shape)}")
    known = issubclass(e.op, Elementwise) or e.op in (
        Matmul,
        DropoutMask,
        Conv2dWeight,
        *OF_IMAGES,
        *REDUCED,
        *REARRANGED,
    )
    if not known:
        raise NotFusibleError(f"{where} is no loop over elements")
    if e.op is Matmul and any(len(x.shape) != 2 for x in e.inputs):
        raise NotFusibleError(f"{where} multiplies more than two matrices")
    if e.op is Conv2dWeight or e.op in OF_IMAGES:
        rows = [by_rows(x.shape) for x in e.inputs]
        if rows != ([True, False] if e.op in (Conv2d, Conv2dInput) else [True] * len(rows)):
            raise NotFusibleError(f"{where} is not computed image by image")
    if e.op is DropoutMask and not (by_rows(e.output.shape) and len(e.output.shape) > 1):
        raise NotFusibleError(f"{where} is no mask for the rows of a batch")
    if e.op is Getitem and ARRAY in e.attributes["index"] and not _picks(e):
        raise NotFusibleError(f"{where} has an index of arrays")
    if e.op is Transpose and by_rows(e.inputs[0].shape) and e.attributes["order"] != (1, 0):
        moved = e.attributes["order"][0] != 0
        if moved:
            raise NotFusibleError(f"{where} moves the axis of the batch")


def _picks(e: Equation) -> bool:
    """Whether an index picks rows of a whole array by one array of ints."""
    index = e.attributes["index"]
    rest = all(part == slice(None) for part in index[1:] if part is not ARRAY)
    return index[0] is ARRAY and index.count(ARRAY) == 1 and rest and not by_rows(e.inputs[0].shape)
