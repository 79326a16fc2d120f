"""Where the arrays of a program lie: results over operands that nobody reads again, and memory shared by what is never
needed at the same time.
"""

import bisect
from collections.abc import Mapping, Sequence

from chainrule.compiler.planning.recording import Planned, Step, Storage

ALIGNMENT = 64  # bytes: a cache line


def lifetimes(steps: Sequence[Step], outputs: Sequence[Planned]) -> list[Storage]:
    """Set from which step to which one each storage is needed, outputs until the end; returns all of them."""
    found: dict[Storage, None] = {}
    for i, step in enumerate(steps):
        for x in (*step.reads, *([] if step.out is None else [step.out])):
            for storage in x.storages:
                storage.first = i if storage not in found else storage.first
                storage.last = i
                found[storage] = None
    for x in outputs:
        for storage in x.storages:
            storage.last = len(steps)
            found[storage] = None
    return list(found)


def write_into_inputs(steps: Sequence[Step], pairs: Mapping[Planned, Planned]) -> None:
    """Let outputs be written into the arrays of inputs at once where that is safe.

    It is where the step that begins an output comes after all that read the input, or is the last of them and reads of
    the input only the element that it writes.
    """
    for y, x in pairs.items():
        if y.kind != "stored" or y.base is not None or (y.shape, y.dtype) != (x.shape, x.dtype):
            continue
        storage: Storage | None = next(iter(y.storages))
        (given,) = x.storages
        while storage is not None and not storage.viewed and _is_free(x, steps[storage.first], storage.first):
            storage.taken_over = given
            storage = _operand(steps[storage.first], storage, y)


def _is_free(x: Planned, begin: Step, i: int) -> bool:
    """Whether step i may write over an input: nobody reads it later, and this step only the element that it writes."""
    (given,) = x.storages
    over = begin.elementwise and all(r is x or given not in r.storages for r in begin.reads)
    return given.last < i or (over and given.last == i)


def _operand(step: Step, storage: Storage, y: Planned) -> Storage | None:
    """What an element-wise step reads for the last time, in an array like y: it may lie where the result will."""
    for r in step.reads if step.elementwise else ():
        if r.kind == "stored" and r.base is None and (r.shape, r.dtype) == (y.shape, y.dtype):
            (other,) = r.storages
            if other.last == storage.first and other.taken_over is None and other.given is None:
                return other
    return None


def share(steps: Sequence[Step]) -> None:
    """Let element-wise steps write over an operand of the same shape and dtype that is read for the last time."""
    for i, step in enumerate(steps):
        if not step.elementwise or step.out is None:
            continue
        out = step.out.home
        if out.first != i or out.given is not None:
            continue
        for x in step.reads:
            if x.kind == "stored" and x.home.last == i and x.home.given is None:
                others = [r for r in step.reads if x.home in [storage.home for storage in r.storages]]
                if all(_is_whole(r, step.out) for r in others):
                    x.home.last = out.last
                    out.taken_over = x.home
                    break


def _is_whole(x: Planned, y: Planned) -> bool:
    """Whether an operand lies in its storage as the result does in its own: element by element in the same order."""
    same = x.kind == "stored" and (x.shape, x.dtype) == (y.shape, y.dtype)
    return same and x.layout.flags.c_contiguous and x.layout.nbytes == x.home.nbytes


def place(storages: Sequence[Storage]) -> int:
    """Give each storage an offset, such that those needed at the same time do not overlap; returns the bytes in all.

    The largest first, each at the lowest place that is free throughout its life.
    """
    placed: list[Storage] = []
    for storage in sorted(storages, key=lambda s: (-s.nbytes, s.first)):
        offset = 0
        for other in placed:
            together = other.first <= storage.last and storage.first <= other.last
            if together and offset < other.offset + other.nbytes and other.offset < offset + storage.nbytes:
                offset = -(-(other.offset + other.nbytes) // ALIGNMENT) * ALIGNMENT
        storage.offset = offset
        bisect.insort(placed, storage, key=lambda s: s.offset)
    return max((s.offset + s.nbytes for s in placed), default=0)
