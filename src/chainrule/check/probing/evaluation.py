"""Probes of what a model computes when it is not being trained. Each returns its sentence, or raises why it failed."""

import numpy as np

from chainrule.check.probing.experiment import Experiment, FailedError, SkippedError, difference
from chainrule.check.subjects.interface import Array, listed

_MANY = 32


def same_input(e: Experiment) -> str:
    """The same input gives the same output, whatever was computed before it."""
    x, t = e.few(_MANY)
    first = e.answers(x, t)
    e.answers(x[::-1], t[::-1])
    again = e.answers(x, t)
    found, allowed = difference(first, again), e.tolerance(first)
    if found > allowed:
        raise FailedError(
            f"the same {len(x)} samples gave other outputs the second time, by up to {found:.3g} where outputs are up "
            f"to {np.abs(first).max():.3g}: something is kept between the calls (a buffer that is added to, running "
            "statistics), or drawn anew (dropout that is not switched off)."
        )
    return f"{len(x)} samples gave the same outputs again, to {found:.1g}."


def neighbours(e: Experiment) -> str:
    """A sample's output does not depend on the other samples of the batch."""
    x = e.x[:_MANY]
    if len(x) < 4:
        raise SkippedError("it takes at least four samples.")
    e.needs_determinism()
    try:
        y = e.outputs(x)
    except SkippedError:
        return _additive_loss(e)
    if e.subject.single:
        raise SkippedError("the model takes one sample at a time.")
    if not np.isfinite(y).all():
        raise SkippedError("the outputs are not finite numbers.")
    allowed = e.tolerance(y)
    order = e.rng.permutation(len(x))
    found = difference(e.outputs(x[order]), y[order])
    if found > allowed:
        raise FailedError(f"in another order of the samples, an output differs by up to {found:.3g}. {_MIXED}")
    found = difference(e.outputs(x[: len(x) - 1]), y[:-1])
    if found > allowed:
        raise FailedError(f"without the last sample, the outputs of others differ by up to {found:.3g}. {_MIXED}")
    others = [x[0]] if e.whole else [-1.7 * x[-1], 1e3 * x[-1] + 1]
    for other in others:
        changed = x.copy()
        changed[-1] = other
        found = difference(e.outputs(changed)[:-1], y[:-1])
        if found > allowed:
            raise FailedError(
                f"one sample was changed (from about {_size(x[-1]):.3g} to {_size(other):.3g}), and the outputs of "
                f"others by up to {found:.3g}. {_MIXED}"
            )
    return f"permuted, with one sample left out or changed, the outputs of the others stay, to {allowed:.1g}."


_MIXED = (
    "Something is taken over the batch that belongs to a sample: a mean, a maximum, a softmax along axis 0, statistics "
    "of the batch in evaluation."
)


def _additive_loss(e: Experiment) -> str:
    """The same by the loss alone: L(a, b) + L(c, d) = L(a, c) + L(b, d), for a mean and a sum, with a penalty or not.

    All four samples have one label, so that it holds for a mean that is weighted by class, too.
    """
    if e.subject.single:
        raise SkippedError("the model takes one sample at a time.")
    x, t = e.few(4)
    classes = e.classes
    for factor in (1.0,) if e.whole else (1.0, 1e3):
        last = x.copy()
        last[3] = factor * x[3]
        if classes is not None:
            alone = [e.loss(last[3:], e.as_targets([c])) for c in range(min(classes, 50))]
            t = e.as_targets([int(np.argmin(alone))] * 4)
        elif factor != 1:
            break
        if not all(np.isfinite(e.loss(last[i : i + 1], t[i : i + 1])) for i in range(4)):
            continue
        ab, cd, ac, bd = (e.loss(last[list(pair)], t[list(pair)]) for pair in ((0, 1), (2, 3), (0, 2), (1, 3)))
        scale = max(abs(v) for v in (ab, cd, ac, bd)) if np.isfinite([ab, cd, ac, bd]).all() else 0.0
        if not abs(ab + cd - ac - bd) <= 1e-4 * scale + 1e-12:
            large = f", one of them {factor:g} times as large," if factor > 1 else ""
            raise FailedError(
                f"the losses of two pairs of samples{large} add up to {ab + cd:.6g}, and paired otherwise to "
                f"{ac + bd:.6g}, although the loss of each sample alone is finite. {_MIXED}"
            )
    return "the losses of pairs add up to the same, however four samples are paired."


def evaluation(e: Experiment) -> str:
    """No evaluation changes a parameter."""
    done = []
    for name, evaluate in e.subject.evaluations().items():
        before = e.subject.parameters
        try:
            evaluate(e.x, e.t)
        except Exception:  # a way to evaluate that is not meant for these data
            continue
        after = e.subject.parameters
        moved = {
            n: difference(p, after[n]) for n, p in before.items() if not np.array_equal(p, after[n], equal_nan=True)
        }
        if moved:
            raise FailedError(
                f"{name} changed {listed(list(moved))}, by up to {max(moved.values()):.3g}: what evaluates must leave "
                "the parameters as they are."
            )
        done.append(name)
    if not done:
        raise SkippedError("there is nothing that evaluates.")
    return f"{' and '.join(done)} left all {len(e.subject.parameters)} parameters as they were, to the bit."


def depends_on_input(e: Experiment) -> str:
    """Other inputs give other outputs, at the model's parameters or at others."""
    x, t = e.few(_MANY)
    t = np.repeat(t[:1], len(x), axis=0)  # one target for all, for the loss where there are no outputs
    if not difference(x, np.repeat(x[:1], len(x), axis=0)) and not np.any(x):
        raise SkippedError("all inputs are zero.")
    for where in ("at its parameters", *["at other parameters"] * 4):
        y, zero = e.answers(x, t), e.answers(np.zeros_like(x), t)
        spread = max(difference(y, zero), difference(y, np.repeat(y[:1], len(y), axis=0)))
        if spread > 1e-12 * max(float(np.max(np.abs(y), initial=0.0)), 1e-30):
            return f"{where}, outputs differ by up to {spread:.3g} from those of other or zeroed inputs."
        e.redrawn()
    raise FailedError(
        "the outputs are the same for all inputs, and for inputs that are zero, at the model's parameters and at four "
        "others: the inputs are not used."
    )


def no_leak(e: Experiment) -> str:
    """Outputs do not depend on targets that were seen before."""
    x, t = e.few(_MANY)
    if not e.subject.offers("loss"):
        raise SkippedError("the model has no loss to show it targets with.")
    e.outputs(x)
    e.needs_determinism()
    y = []
    for targets in (t, np.roll(t, 1, axis=0)[::-1]):
        e.loss(x, targets)
        y.append(e.outputs(x))
    found = difference(y[0], y[1])
    if found > e.tolerance(y[0]):
        raise FailedError(
            f"after a loss with other targets the outputs for the same inputs differ by up to {found:.3g}: the targets "
            "take part in the prediction."
        )
    return "after a loss with other targets the outputs for the same inputs are the same."


def extremes(e: Experiment) -> str:
    """Inputs a thousand and ten thousand times as large give numbers."""
    x, t = e.few(_MANY)
    remarks = []
    if not np.isfinite(e.answers(x, t)).all():
        raise SkippedError("the outputs are not finite for the inputs as they are.")
    for factor in (1e3, 1e4):
        try:
            what = "an output" if e.subject.offers("predict") else "the loss"
            values = e.answers(factor * x, t)
            if not np.isnan(values).any() and e.subject.offers("loss"):
                what, values = "the loss", np.array([e.loss(factor * x, t)])
                remarks += ["the loss becomes infinite (the logarithm of an output that is 0)"] * bool(
                    np.isinf(values[0])
                )
            if not np.isnan(values).any():
                what, values = _extreme_gradients(e, factor * x, t, bool(np.isfinite(values).all()))
        except (ArithmeticError, LookupError, ValueError, TypeError) as error:
            if e.whole:
                raise SkippedError("the inputs are whole numbers, and larger ones are refused.") from None
            raise FailedError(f"with inputs {factor:g} times as large, {type(error).__name__}: {error}.") from None
        if np.isnan(values).any():
            raise FailedError(
                f"with inputs {factor:g} times as large, {what} is no number (NaN): an overflow in an exponential, "
                "0/0, or 0 times the logarithm of 0. Take off the maximum of each row before exp, and compute the loss "
                "from logits."
            )
    return f"with inputs 1e3 and 1e4 times as large nothing is NaN{'; but ' + remarks[0] if remarks else ''}."


def _extreme_gradients(e: Experiment, x: Array, t: Array, finite: bool) -> tuple[str, Array]:
    """The model's own gradients there, if the loss is finite."""
    gradients = e.subject.gradients(x, t) if finite and e.subject.offers("gradients") else None
    values = [g.ravel() for g in (gradients or {}).values()]
    return "a gradient", np.concatenate(values) if values else np.zeros(1)


def _size(x: Array) -> float:
    return float(np.max(np.abs(x), initial=0.0))
