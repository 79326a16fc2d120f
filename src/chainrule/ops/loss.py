"""Softmax and the losses that go with it: named ops with rules of their own, for numerical stability and because their
derivations are worth reading. The tests prove each rule against the composition.
"""

import math as scalar

import numpy as np

from chainrule.errors import DataError, ShapeError
from chainrule.ops import dims
from chainrule.ops.activation import Sigmoid
from chainrule.ops.dims import show
from chainrule.ops.families import Elementwise, Rowwise, one_axis
from chainrule.ops.indexing import Onehot, getitem
from chainrule.ops.op import Array, Op, Value, example

__all__ = ["binary_cross_entropy", "cross_entropy", "huber", "log_softmax", "mean_squared_error", "softmax"]

SHORT = 24  # elements of a row, up to which its largest one is found sooner in columns

_EXAMPLES = (example((3, 4), axis=1), example((3, 4), axis=0), example((2, 3, 4), axis=1), example((1, 1), axis=1))


def _rows(f):
    """A reference: a function of a list of floats, applied to each row along the axis."""

    def reference(x, axis):
        return np.apply_along_axis(lambda row: np.array(f([float(v) for v in row])), axis, x)

    return reference


def _softmax(row):
    total = scalar.fsum(scalar.exp(v) for v in row)
    return [scalar.exp(v) / total for v in row]


def _largest(x, axis):
    """The largest elements along an axis, which stays; NumPy takes ten times as long for short rows as for columns."""
    if type(x) is np.ndarray and x.ndim == 2 and axis in (1, -1) and x.shape[1] <= SHORT:
        return np.maximum.reduce(np.ascontiguousarray(x.T), axis=0)[:, None]
    return np.maximum.reduce(x, axis=axis, keepdims=True)


class Softmax(Rowwise):
    """y = e^x / Σ e^x along an axis; the largest element is taken off first, so nothing overflows. [Bridle 1990]

    The derivative in a direction g is y ⊙ g - ⟨y, g⟩ y.
    """

    math = r"\operatorname{softmax}({x})"
    rule = "softmax: y ⊙ (g − ⟨g, y⟩)"
    examples = _EXAMPLES
    reference = _rows(_softmax)

    def forward(x, axis):
        e = np.exp(x - _largest(x, axis))
        return e / np.add.reduce(e, axis=axis, keepdims=True)

    def vjp(g, y, _x, axis):
        return y * (g - (g * y).sum(axis=axis, keepdims=True))


class LogSoftmax(Rowwise):
    """x - ln Σ e^x along an axis: the logarithm of the softmax, without its underflow."""

    math = r"\ln \operatorname{softmax}({x})"
    rule = "log-softmax: g − softmax(x) Σ g"
    examples = _EXAMPLES
    reference = _rows(lambda row: [scalar.log(p) for p in _softmax(row)])

    def forward(x, axis):
        shifted = x - _largest(x, axis)
        return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))

    def vjp(g, y, _x, axis):
        return g - np.exp(y) * g.sum(axis=axis, keepdims=True)


class CrossEntropy(Op):
    """-ln softmax(logits)[target] of each sample: logits (..., C) to losses (...).

    Targets are labels (...) of ints in 0..C-1, or rows (..., C) of probabilities such as one-hot vectors. The
    derivative is softmax(logits) - onehot(target).
    """

    math = r"-\ln \operatorname{softmax}({logits})_{targets}"
    rule = "cross-entropy of softmax: y − t"
    examples = (
        example((3, 4), np.array([2, 0, 3])),
        example((2, 3, 4), np.array([[2, 0, 3], [1, 1, 0]])),
        example((2, 3), np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])),
        example((2, 3), np.array([[0.2, 0.5, 0.1], [1.0, 0.3, 0.0]])),
    )

    def shape(logits, targets):
        if not logits or not (dims.same_shape(targets, logits[:-1]) or dims.same_shape(targets, logits)):
            raise ShapeError(
                f"cross-entropy of logits {show(logits)} needs targets of shape {show(logits[:-1])} (labels) or "
                f"{show(logits)} (probabilities), not {show(targets)}."
            )
        return logits[:-1]

    @classmethod
    def result_dtype(cls, inputs, attributes):
        return inputs[0].dtype

    def forward(logits, targets):
        CrossEntropy.shape(logits.shape, targets.shape)
        if targets.ndim == logits.ndim:
            return -(targets * LogSoftmax.forward(logits, axis=-1)).sum(axis=-1)
        _check_labels(targets, logits.shape[-1])
        rows = logits.reshape(-1, logits.shape[-1])
        shifted = rows - _largest(rows, 1)
        losses = np.log(np.add.reduce(np.exp(shifted), axis=1)) - shifted[np.arange(len(rows)), targets.reshape(-1)]
        return losses.reshape(targets.shape)

    def vjp(g, _y, logits, targets):
        g, last = g[..., None], len(logits.shape) - 1
        y = Softmax.apply(logits, axis=last)
        if len(targets.shape) == last:
            return g * (y - Onehot.apply(targets, classes=logits.shape[-1], dtype=logits.dtype)), None
        return (
            lambda: g * (y * targets.sum(axis=-1, keepdims=True) - targets),
            lambda: -g * LogSoftmax.apply(logits, axis=last),
        )

    def reference(logits, targets):
        rows = (
            targets if targets.ndim == logits.ndim else Onehot.forward(targets, classes=logits.shape[-1], dtype=float)
        )
        losses = np.zeros(logits.shape[:-1])
        for i in np.ndindex(losses.shape):
            losses[i] = -scalar.fsum(t * scalar.log(p) for t, p in zip(rows[i], _softmax(logits[i]), strict=True))
        return losses


def _check_labels(targets: Array, classes: int) -> None:
    if targets.dtype.kind not in "iu":
        raise DataError(
            f"cross-entropy of {classes} classes was given labels of dtype {targets.dtype}: labels are integers; for "
            f"probabilities the targets need a last axis of {classes}."
        )
    if targets.size and not (targets.min() >= 0 and targets.max() < classes):
        wrong = targets.min() if targets.min() < 0 else targets.max()
        raise DataError(f"cross-entropy: the label {wrong} is outside the {classes} classes 0 to {classes - 1}.")


class BinaryCrossEntropy(Elementwise):
    """-t ln σ(z) - (1 - t) ln(1 - σ(z)) of logits z and targets t in [0, 1], element by element; shapes are broadcast.

    Written as max(z, 0) - z t + ln(1 + e^-|z|), which neither overflows nor loses digits. The derivative is σ(z) - t.
    """

    code = "np.maximum({z}, 0) - {z} * {t} + np.log1p(np.exp(-np.abs({z})))"
    longhand = "np.logaddexp(0, {z}) - {z} * {t}"
    math = r"-{t} \odot \ln \sigma({z}) - (1 - {t}) \odot \ln(1 - \sigma({z}))"
    rule = "cross-entropy of σ: σ(z) − t"
    domain = (0.05, 0.95)

    def forward(z, t):
        if not np.all((t >= 0) & (t <= 1)):
            raise DataError(
                f"binary cross-entropy: the targets run from {np.min(t)} to {np.max(t)}; expected probabilities from "
                "0 to 1."
            )
        z = np.asarray(z, np.result_type(z, t))  # a plain number beside float32 is float32
        return np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z)))

    def vjp(g, _y, z, t):
        return lambda: g * (Sigmoid.apply(z) - t), lambda: -g * z

    def reference(z, t):
        p = 1 / (1 + scalar.exp(-z))
        return -t * scalar.log(p) - (1 - t) * scalar.log(1 - p)


def softmax(x: Array, axis: int = -1) -> Array:
    """e^x / Σ e^x along `axis`."""
    return Softmax.apply(x, axis=one_axis(axis, x.ndim, "softmax"))


def log_softmax(x: Array, axis: int = -1) -> Array:
    """ln softmax(x) along `axis`."""
    return LogSoftmax.apply(x, axis=one_axis(axis, x.ndim, "log_softmax"))


REDUCTIONS = ("mean", "sum", "mean_entries", "none")


def reduce(losses: Array, reduction: str, entries: dims.Size = 1) -> Array:
    """Losses of samples as one number: their mean, their sum, or the mean over all `entries` of each sample too."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean":
        return losses.mean()
    if reduction == "mean_entries":
        return losses.mean() / entries
    from chainrule.errors import UnknownNameError

    raise UnknownNameError("reduction", reduction, REDUCTIONS)


def cross_entropy(
    logits: Array,
    targets: Array,
    reduction: str = "mean",
    *,
    class_weights: Array | None = None,
    label_smoothing: float = 0.0,
) -> Array:
    """The softmax cross-entropy of logits (..., C) in nats.

    Parameters
    ----------
    logits : array of floats, (..., C)
    targets : array
        Labels (...) of ints in 0..C-1, or probabilities (..., C), such as one-hot rows.
    reduction : {"mean", "sum", "mean_entries", "none"}
        The mean over samples, the sum, the mean over samples and classes (a C-th of the mean), or one loss a sample.
    class_weights : array (C,), optional
        What -ln p of each class counts. With labels, the mean is divided by the sum of the labels' weights.
    label_smoothing : float
        ε from 0 to 1: targets become (1 - ε) target + ε/C. [Szegedy et al. 2016, section 7]
    """
    if not 0 <= label_smoothing <= 1:
        raise DataError(f"cross-entropy: label_smoothing is {label_smoothing!r}; expected a share from 0 to 1.")
    if not isinstance(targets, Value):
        targets = np.asarray(targets)
    classes, labels = logits.shape[-1], len(targets.shape) < len(logits.shape)
    if not labels and targets.dtype.kind in "iub":  # one-hot rows are floats to come
        targets = targets.astype(logits.dtype)
    weights = None if class_weights is None else checked_weights(class_weights, classes).astype(logits.dtype)
    losses = CrossEntropy.apply(logits, targets if labels or weights is None else targets * weights)
    each = getitem(weights, targets) if labels and weights is not None else None
    if each is not None:
        losses = losses * each
    if label_smoothing:
        surprise = -log_softmax(logits)
        evenly = (surprise if weights is None else surprise * weights).sum(axis=-1)
        losses = (1 - label_smoothing) * losses + label_smoothing / classes * evenly
    if each is not None and reduction.startswith("mean"):
        return reduce(losses, "sum") / each.sum() / (classes if reduction == "mean_entries" else 1)
    return reduce(losses, reduction, classes)


def checked_weights(class_weights: Array, classes: dims.Size) -> Array:
    """Weights of classes as an array, if they can be that.

    Raises
    ------
    DataError
        If there is not one for each class, or one is negative or not finite.
    """
    weights = np.asarray(class_weights, float)
    if weights.shape != (classes,) or not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise DataError(
            f"cross-entropy of {classes} classes was given the class weights {class_weights!r:.60}; expected "
            f"{classes} numbers that are not negative."
        )
    return weights


def mean_squared_error(y: Array, targets: Array, reduction: str = "mean") -> Array:
    """The squared difference of predictions and targets of the same shape; "mean" is over all elements.

    Raises
    ------
    ShapeError
        If the shapes differ: (n, 1) against (n,) would broadcast to (n, n) without a word.
    """
    return reduce((y - _alike("mean squared error", y, targets)) ** 2, reduction)


def huber(y: Array, targets: Array, delta: float = 1.0, reduction: str = "mean") -> Array:
    """d²/2 of the difference d where |d| ≤ δ, else δ (|d| - δ/2); "mean" is over all elements. [Huber 1964]

    Raises
    ------
    ShapeError
        If the shapes differ.
    DataError
        If δ is not a positive finite number.
    """
    if not 0 < delta < scalar.inf:
        raise DataError(f"Huber loss: delta is {delta!r}; expected a positive number.")
    distance = np.abs(y - _alike("Huber loss", y, targets))
    near = np.minimum(distance, delta)
    return reduce(near * near / 2 + delta * (distance - near), reduction)


def binary_cross_entropy(logits: Array, targets: Array, reduction: str = "mean") -> Array:
    """-t ln σ(z) - (1 - t) ln(1 - σ(z)) of logits z and targets t in [0, 1], in nats; "mean" is over all elements.

    Raises
    ------
    ShapeError
        If the shapes differ.
    DataError
        If a target is outside [0, 1].
    """
    return reduce(BinaryCrossEntropy.apply(logits, _alike("binary cross-entropy", logits, targets)), reduction)


def _alike(loss: str, y: Array, targets: Array) -> Array:
    """The targets, if they have the shape of the predictions."""
    if not isinstance(targets, Value):
        targets = np.asarray(targets)
    if not dims.same_shape(y.shape, targets.shape):
        raise ShapeError(
            f"{loss} of predictions {show(y.shape)} and targets {show(targets.shape)}: the shapes must be "
            f"equal, or every prediction would be compared with every target; reshape the targets to {show(y.shape)}."
        )
    return targets
