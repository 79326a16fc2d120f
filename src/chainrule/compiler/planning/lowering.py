"""An equation as steps: most by running the op's own `forward` on what is planned; here are the ops whose `forward`
writes into arrays or looks at values, and what is done where nothing can be planned.

A line may raise IndexError or ValueError where values are wrong (a label that is no class): the plan then computes the
graph in the usual way, which says what is wrong.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.compiler.planning.recording import Planned, Recorder, UnplannableError
from chainrule.ops.activation import Erf
from chainrule.ops.chance import DropoutMask
from chainrule.ops.convolution import Conv2d, Conv2dInput, Conv2dWeight, correlate, spread, summed
from chainrule.ops.indexing import ARRAY, Getitem, Onehot, ScatterAdd
from chainrule.ops.loss import BinaryCrossEntropy, CrossEntropy
from chainrule.ops.op import OPS, Op
from chainrule.ops.pooling import (
    AvgPool2d,
    AvgPool2dInput,
    MaxPool2d,
    MaxPool2dInput,
    MaxPool2dOutput,
    averaged,
    largest,
    routed,
    shared,
    taken,
)
from chainrule.ops.structure import Pad, SumTo

LOWERINGS: dict[type[Op], Callable[..., Any]] = {}


def lowering(op: type[Op]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: this function says how an op is planned."""

    def register(f: Callable[..., Any]) -> Callable[..., Any]:
        LOWERINGS[op] = f
        return f

    return register


def lower(recorder: Recorder, op: type[Op], inputs: list[Any], attributes: dict[str, Any], like: Any) -> Planned:
    """The steps of one equation, and its result, which has the shape and dtype of `like`."""
    if OPS.get(op.name) is not op:  # one's own op may do anything
        return called(recorder, op, inputs, attributes, like)
    if all(x.kind == "known" for x in inputs if isinstance(x, Planned)):
        return recorder.known(op.forward(*(x.layout if isinstance(x, Planned) else x for x in inputs), **attributes))
    before = len(recorder.steps)
    try:
        plan = functools.partial(LOWERINGS[op], op, recorder) if op in LOWERINGS else op.forward
        y = recorder.array(plan(*inputs, **attributes))
        if y.dtype == like.dtype:
            return y
    except UnplannableError:
        pass
    del recorder.steps[before:]
    return called(recorder, op, inputs, attributes, like)


def called(recorder: Recorder, op: type[Op], inputs: list[Any], attributes: dict[str, Any], like: Any) -> Planned:
    """The op's own `forward`, called in each step."""
    reads = [x for x in inputs if isinstance(x, Planned)]
    places = iter(range(len(reads)))
    parts = [f"{{{next(places)}}}" if isinstance(x, Planned) else recorder.mention(x) for x in inputs]
    parts += [f"{key}={recorder.mention(value)}" for key, value in attributes.items()]
    return recorder.made(f"np.asarray({recorder.mention(op.forward)}({', '.join(parts)}))", reads, like)


@lowering(SumTo)
def _sum_to(op: type[Op], _: Recorder, x: Planned, shape: tuple[int, ...]) -> Planned:
    if np.prod(shape) == x.size:
        return x.reshape(shape)
    y: Planned = op.forward(x, shape)
    return y


@lowering(Getitem)
def _getitem(op: type[Op], recorder: Recorder, x: Planned, *arrays: Planned, index: tuple[Any, ...]) -> Planned:
    if not arrays:
        return x[index]
    layout = op.forward(x.layout, *(np.zeros(a.shape, a.dtype) for a in arrays), index=index)
    return recorder.made(f"{{0}}[{_index(index)}]", [x, *arrays], layout)


def _index(index: tuple[Any, ...]) -> str:
    """An index as text, in which the arrays are what is read from the second on."""
    count = iter(range(1, len(index) + 1))
    return ", ".join(f"{{{next(count)}}}" if part is ARRAY else repr(part) for part in index)


def _filled(recorder: Recorder, shape: tuple[int, ...], dtype: Any, value: Any) -> Planned:
    y = recorder.stored(shape, dtype)
    recorder.step(f"{{out}}.fill({value!r})", [], y)
    return y


@lowering(ScatterAdd)
def _scatter_add(
    op: type[Op], recorder: Recorder, x: Planned, *arrays: Planned, index: tuple[Any, ...], shape: Any
) -> Planned:
    y = _filled(recorder, shape, x.dtype, 0)
    if arrays:
        recorder.step(f"np.add.at({{out}}, ({_index(index)},), {{0}})", [x, *arrays], y)
    else:
        recorder.step("{out}[...] = {0}", [x], y[index])
    return y


@lowering(Pad)
def _pad(op: type[Op], recorder: Recorder, x: Planned, widths: Any, value: Any) -> Planned:
    shape = tuple(before + n + after for n, (before, after) in zip(x.shape, widths, strict=True))
    inside = tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, widths, strict=True))
    y = _filled(recorder, shape, x.dtype, value)
    recorder.step("{out}[...] = {0}", [x], y[inside])
    return y


@lowering(Onehot)
def _onehot(op: type[Op], recorder: Recorder, labels: Planned, classes: int, dtype: np.dtype[Any]) -> Planned:
    y = _filled(recorder, (labels.size, classes), dtype, 0)
    rows = recorder.mention(np.arange(labels.size))
    recorder.step(f"{{out}}[{rows}, {{0}}] = 1", [labels.reshape((labels.size,))], y)
    return y.reshape((*labels.shape, classes))


@lowering(CrossEntropy)
def _cross_entropy(op: type[Op], recorder: Recorder, logits: Planned, targets: Any) -> Planned:
    targets = recorder.array(targets)
    if targets.ndim == logits.ndim:
        y: Planned = op.forward(logits, targets)
        return y
    if targets.dtype.kind not in "iu":
        raise UnplannableError("labels are integers")
    labels = targets.reshape((targets.size,))
    if targets.size and targets.dtype.kind == "i":  # a label that is too large is found by the index
        recorder.step(f"{recorder.mention(_refuse_negative)}(np.minimum.reduce({{0}}))", [labels], None)
    rows = logits.reshape((-1 if logits.size else labels.size, logits.shape[-1]))
    shifted = rows - rows.max(axis=1, keepdims=True)
    count = recorder.mention(np.arange(labels.size))
    picked = recorder.made(f"{{0}}[{count}, {{1}}]", [shifted, labels], np.empty(labels.size, logits.dtype))
    losses: Planned = np.log(np.add.reduce(np.exp(shifted), axis=1)) - picked
    return losses.reshape(targets.shape)


def _refuse_negative(label: Any) -> None:
    if label < 0:
        raise IndexError


@lowering(BinaryCrossEntropy)
def _binary_cross_entropy(op: type[Op], recorder: Recorder, z: Any, t: Any) -> Planned:
    dtype = np.result_type(*(x.dtype if isinstance(x, Planned) else x for x in (z, t)))
    t = recorder.array(t)
    if t.size:
        check = recorder.mention(_refuse_improbable)
        recorder.step(f"{check}(np.minimum.reduce({{0}}, axis=None), np.maximum.reduce({{0}}, axis=None))", [t], None)
    t = recorder.cast(t, dtype)
    z = recorder.cast(z, dtype) if isinstance(z, Planned) else recorder.known(np.asarray(z, dtype))
    y: Planned = np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z)))
    return y


def _refuse_improbable(smallest: Any, largest: Any) -> None:
    if not (smallest >= 0 and largest <= 1):  # NaN is neither
        raise ValueError


@lowering(DropoutMask)
def _dropout_mask(
    op: type[Op], recorder: Recorder, key: Planned, use: int, shape: Any, p: float, dtype: np.dtype[Any]
) -> Planned:
    uniform = recorder.stored(shape, np.float64)
    recorder.step(f"{recorder.mention(_generator)}({{0}}, {use}).random(out={{out}})", [key], uniform)
    y: Planned = (uniform >= p) * dtype.type(1 / (1 - p))
    return y


def _generator(key: Any, use: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([key, use], np.int64).view(np.uint64)))


@lowering(Erf)
def _erf(op: type[Op], recorder: Recorder, x: Planned) -> Planned:
    size = np.minimum(np.abs(x).astype(float), 6.0)
    nearest = np.rint(np.fmin(size, 6.0) * 32).astype(np.intp)
    h = size - nearest.astype(float) / 32

    def taken(coefficients: Any) -> Planned:
        y = recorder.stored(x.shape, np.float64)
        recorder.step(f"{recorder.mention(coefficients)}.take({{0}}, out={{out}}, mode='clip')", [nearest], y)
        return y

    table = list(Erf.table)
    y = taken(table[-1])
    for coefficients in table[-2::-1]:
        y = y * h + taken(coefficients)
    signed: Any = np.copysign(y, x.astype(float))
    result: Planned = signed.astype(x.dtype if x.dtype.kind == "f" else float)
    return result


# What the ops on images compute, into an array that is given, and the attribute that the shape of this array tells.
INTO: dict[type[Op], tuple[Callable[..., Any], str]] = {
    Conv2d: (correlate, ""),
    Conv2dInput: (spread, "size"),
    Conv2dWeight: (summed, "kernel"),
    MaxPool2d: (largest, ""),
    MaxPool2dInput: (routed, ""),
    MaxPool2dOutput: (taken, ""),
    AvgPool2d: (averaged, ""),
    AvgPool2dInput: (shared, "size"),
}


def _on_images(op: type[Op], recorder: Recorder, *inputs: Any, **attributes: Any) -> Planned:
    compute, told = INTO[op]
    assert op.shape is not None
    reads = [recorder.array(x) for x in inputs]
    shape: Any = op.shape(*(x.shape for x in reads), **attributes)
    y = recorder.stored(shape, op.result_dtype(reads, attributes))
    given = [f"{{{i}}}" for i in range(len(reads))]
    options = [f"{key}={value!r}" for key, value in attributes.items() if key != told]
    recorder.step(f"{recorder.mention(compute)}({', '.join([*given, '{out}', *options])})", reads, y)
    return y


LOWERINGS.update(dict.fromkeys(INTO, _on_images))
