"""The probe of a classifier's loss: whether it is the cross-entropy that it seems to be, and whether it is at the start
what guessing gives.
"""

import numpy as np

from chainrule.check.probing.experiment import Experiment, FailedError, SkippedError
from chainrule.check.subjects.interface import Array, cross_entropy_of

_MOST_CLASSES = 50
# Measured: over 24 starts by He's, LeCun's or Xavier's rule, networks of one to five layers of 3 to 64 units have a
# mean loss of at most ln C + 1.4 (N(0, 1) for four inputs: + 2.08); weights scaled by the fan-out have at least + 1.9.
_STARTS, _NEAR, _FAR, _MOST = 24, 1.0, 2.1, 50.0
_TRAINED = 0.9  # a loss below this share of what guessing gives is not that of a start


def loss_at_the_start(e: Experiment) -> str:
    """A cross-entropy before any training is about ln C."""
    if e.subject.loss_kind == "other":
        raise SkippedError("the loss is declared to be something else than a plain cross-entropy.")
    labels, classes = e.labels, e.classes or 0
    e.needs_determinism()
    if classes < 2:
        raise SkippedError("there is one class.")
    by_outputs = _by_outputs(e)
    if not by_outputs:
        with e.subject.kept():
            _is_cross_entropy(e, classes)
    found = _cross_entropy(e, by_outputs)
    shares = np.bincount(labels, minlength=classes) / len(labels)
    prior = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    guess = float(np.log(classes))
    numbers = f"the loss is {found:.4g}; ln {classes} = {guess:.4g}, the entropy of the labels {prior:.4g}"
    if found < _TRAINED * prior:
        raise SkippedError(f"{numbers}: the model seems to be trained already.")
    if _better_than_guessing(e, labels, classes):
        raise SkippedError(f"{numbers}, and more labels are right than guessing gives: the model seems to be trained.")
    if not found > guess + _NEAR:
        return f"{numbers}."
    typical = _typical(e, by_outputs)
    if typical > guess + _FAR:
        raise FailedError(
            f"{numbers}. It should be near ln {classes}, and is {typical:.4g} on average over {_STARTS} starts of the "
            "same size: the outputs are sure of themselves before they know anything. Smaller initial weights (scaled "
            "by the number of inputs of a unit), or scaled inputs, mend it."
        )
    return f"{numbers}; over {_STARTS} starts of the same size it is {typical:.4g} on average."


def _by_outputs(e: Experiment) -> bool:
    """Whether the loss is known to be the cross-entropy of the outputs."""
    if e.subject.offers("predict") and e.subject.loss_kind == "cross-entropy":
        return True
    if not e.subject.offers("loss"):
        raise SkippedError("the model has no loss.")
    e.loss(*e.few(8))
    return e.subject.loss_assumed


def _cross_entropy(e: Experiment, by_outputs: bool, rows: int = 100) -> float:
    """Of the outputs, or as the mean loss of single samples, which is the same for a mean and for a sum."""
    if by_outputs:
        return cross_entropy_of(e.outputs(e.x), e.t)
    return float(np.mean([e.loss(e.x[i : i + 1], e.t[i : i + 1]) for i in range(min(len(e.x), rows))]))


def _typical(e: Experiment, by_outputs: bool) -> float:
    """The mean over other starts of the same size, so that one unlucky draw of a small network is no failure."""
    found = []
    for _ in range(_STARTS):
        with e.subject.kept():
            e.reshuffle()
            found.append(min(_cross_entropy(e, by_outputs, 30), _MOST))
    return float(np.mean(found))


def _better_than_guessing(e: Experiment, labels: Array, classes: int) -> bool:
    if not e.subject.offers("predict"):
        return False
    y = e.outputs(e.x)
    if y.ndim != 2 or y.shape[1] != classes:
        return False
    share = max(np.bincount(labels).max() / len(labels), 1 / classes)
    right = float((y.argmax(axis=1) == labels).mean())
    return right > share + 4 * np.sqrt(share * (1 - share) / len(labels)) and len(labels) >= 10


def _is_cross_entropy(e: Experiment, classes: int) -> None:
    """Whether the losses of a sample under all its possible labels are those of one distribution: Σ exp(-loss) = 1.

    It is tried at the parameters as they are and at others, on a few samples. A factor, such as 1/C, shows as losses
    that would be right if divided by it; a penalty on the weights as a sum below 1 that is the same for all samples.
    """
    if classes > _MOST_CLASSES:
        raise SkippedError(f"there are more than {_MOST_CLASSES} classes, too many to try all labels of a sample.")
    meant, scales, sums = e.subject.loss_kind == "cross-entropy", [], []
    for _ in range(3):
        for i in range(min(len(e.x), 4)):
            losses = np.array([e.loss(e.x[i : i + 1], e.as_targets([c])) for c in range(classes)])
            if not losses.any():
                raise FailedError(
                    "the loss of a single sample is 0 whatever its label: each of its outputs is 1, as of a softmax "
                    "over the samples instead of the classes."
                )
            if np.isfinite(losses).all():
                scales.append(_scale(losses))
                sums.append(float(np.exp(-losses).sum()))
        e.redrawn()
    if not scales:
        raise SkippedError("the losses are not finite.")
    first = sums[: max(1, len(sums) // 3)]
    if np.allclose(sums, 1, atol=1e-3) or (
        np.ptp(first) < 1e-3 * max(first) and max(sums) < 1 and not _uniform(scales)
    ):
        return
    k, seen = float(np.median(scales)), f"{min(sums):.4g} to {max(sums):.4g}"
    if np.ptp(scales) < 1e-3 * k and any(abs(k * classes / n - 1) < 1e-3 for n in (1, 2)):
        raise FailedError(
            f"the loss is {k:.4g} times the cross-entropy, for every sample and label: it is divided by the number of "
            f"classes{', and doubled' if abs(k * classes / 2 - 1) < 1e-3 else ''}. The mean is over samples alone."
        )
    if meant:
        raise FailedError(
            f"it is no cross-entropy of a softmax: over all {classes} labels of a sample, exp(-loss) must add up to 1, "
            f"and it gives {seen}. It is the formula of another loss."
        )
    raise SkippedError(
        f"the loss is no cross-entropy of a softmax (exp(-loss) over all labels of a sample adds up to {seen}, not 1); "
        'if it is meant to be one, say loss="cross-entropy".'
    )


def _uniform(scales: list[float]) -> bool:
    """Whether one factor explains all losses."""
    return bool(np.ptp(scales) < 1e-3 * float(np.median(scales)))


def _scale(losses: Array) -> float:
    """The k for which Σ exp(-losses / k) = 1, by bisection; NaN if there is none."""
    if losses.min() <= 0:
        return float("nan")
    k, low, high = 1.0, float(losses.min()) / 50, float(losses.max()) / np.log(len(losses)) + 1e-12
    for _ in range(100):
        k = (low + high) / 2
        low, high = (k, high) if np.exp(-losses / k).sum() < 1 else (low, k)
    return k
