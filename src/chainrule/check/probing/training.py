"""Probes of how a model learns. Each returns its sentence, or raises why it failed."""

import time
from itertools import islice

import numpy as np

from chainrule.check.probing.experiment import Experiment, FailedError, SkippedError, batches, difference
from chainrule.check.subjects.interface import Array, Subject, are_probabilities, labels_of, listed
from chainrule.errors import ChainruleError

_STEPS = 600
_FAR = 0.05  # a training that moves the parameters by a smaller share of their size has not been tried


def same_gradients(e: Experiment) -> str:
    """Gradients have the shapes of their parameters, and are the same the second time."""
    x, t = e.few(16)
    first = e.subject.gradients(x, t) if e.subject.offers("gradients") else None
    if first is None:
        raise SkippedError("the model gives no gradients of its own.")
    e.needs_determinism()
    own = e.subject.parameters
    wrong = [
        f"{name} {g.shape} instead of {own[name].shape}" for name, g in first.items() if g.shape != own[name].shape
    ]
    if wrong:
        raise FailedError(
            f"gradients have not the shape of their parameter: {listed(wrong)}. Broadcasting hides it, and spreads one "
            "number over many parameters."
        )
    again = e.subject.gradients(x, t) or first
    for name, g in first.items():
        found = difference(g, again[name])
        if found > e.tolerance(g):
            ratio = _ratio(g, again[name])
            times = f" ({ratio[0]:.3g} times the first)" if ratio[1] > 0.999 else ""
            raise FailedError(
                f"the gradient of {name} for the same batch differs the second time by up to {found:.3g}{times}: it is "
                "added to what an earlier batch has left. Set gradients to zero first, or assign with =."
            )
    missing = [name for name in own if name not in first]
    remark = f"; none was given for {listed(missing)}" if missing else ""
    return f"{len(first)} gradients have the shapes of their parameters, and are the same the second time{remark}."


def doubled_batch(e: Experiment) -> str:
    """Each sample twice gives the same step if the loss is a mean, and twice the step if it is a sum."""
    if e.subject.single:
        raise SkippedError("the model takes one sample at a time.")
    x, t = e.few(3)
    twice = np.concatenate([x, x]), np.concatenate([t, t])
    declared, by_loss = e.subject.reduction, None
    if e.subject.offers("loss"):
        losses = e.loss(x, t), e.loss(*twice)
        if losses[0] and np.isfinite(losses).all() and not e.subject.loss_assumed:
            by_loss = {1.0: "mean", 2.0: "sum"}.get(round(losses[1] / losses[0], 4))
    once, double, exact = _gradients_or_steps(e, (x, t), twice)
    ratio, cosine = _ratio(once, double)
    what = "gradient" if exact else "step"
    expected = declared or by_loss
    grown = f"{ratio:.6g} times as large" if abs(ratio - 1) > 1e-3 else "as large as with each once"
    numbers = f"with each of 3 samples twice, the {what} is {grown}"
    if cosine < 1 - 1e-6:
        raise SkippedError(f"the {what} of a doubled batch points elsewhere: it is not that of the batch alone.")
    near = {"mean": abs(ratio - 1), "sum": abs(ratio - 2)}
    if expected is None:
        if min(near.values()) > 1e-3:
            raise SkippedError(f"{numbers}, and nobody says whether the loss is a mean or a sum.")
        return f"{numbers}: {'a mean' if near['mean'] < 1e-3 else 'a sum'} over samples."
    if near[expected] < 1e-3:
        return f"{numbers}, as that of a {expected} is."
    other = "sum" if expected == "mean" else "mean"
    if near[other] < 1e-6 or exact:
        said = "is declared to be" if declared else "behaves as"
        raise FailedError(
            f"{numbers}, but the loss {said} a {expected} over samples, for which it is "
            f"{1 if expected == 'mean' else 2}. Loss and gradient must be divided by the number of samples alike."
        )
    raise SkippedError(f"{numbers}: several updates are made in one step, or an optimiser remembers earlier ones.")


def _gradients_or_steps(e: Experiment, *pairs: tuple[Array, Array]) -> tuple[Array, Array, bool]:
    """The gradients of two batches in one long array each, or the steps; and whether they are gradients."""
    found = [e.subject.gradients(*pair) if e.subject.offers("gradients") else None for pair in pairs]
    if found[0] and found[1]:
        vectors = [np.concatenate([np.ravel(g) for g in each.values()]) for each in found if each]
        return vectors[0], vectors[1], True
    e.needs_update()
    steps = []
    for pair in pairs:
        before = e.subject.parameters
        with e.subject.kept():
            e.subject.update(*pair)
            after = e.subject.parameters
        steps.append(np.concatenate([np.ravel(after[name] - p) for name, p in before.items()]))
    return steps[0], steps[1], False


def _ratio(a: Array, b: Array) -> tuple[float, float]:
    """How many times as large b is as a, and the cosine between them."""
    a, b = np.asarray(a, float).ravel(), np.asarray(b, float).ravel()
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all() and a.any() and b.any()):
        raise SkippedError("the gradient or step is zero or no finite number.")
    return float(a @ b / (a @ a)), float(a @ b / np.sqrt((a @ a) * (b @ b)))


def every_parameter_moves(e: Experiment) -> str:
    """Each parameter changes in some step: from the model's own start, from zero, or from other starts."""
    unknown = [name for name in e.frozen if name not in e.subject.parameters]
    if unknown:
        raise SkippedError(f"there is no parameter {listed(unknown)}, which is said to be frozen.")
    steps = e.can_update()
    given = e.subject.gradients(*e.few(4)) if e.subject.offers("gradients") and not steps else None
    if not steps and given is None:
        raise SkippedError("the model has no step and no gradients.")
    # A function may give the gradients that it is asked for alone; the probe of the gradients names the others.
    own = e.subject.parameters if given is None else given
    wanted = [name for name in own if name not in e.frozen]
    still = set(wanted)
    for trial in range(5):
        with e.subject.kept():
            if trial == 1:  # a step too small to be seen at a large value is seen at zero
                e.subject.set_parameters({n: np.zeros_like(p) for n, p in e.subject.parameters.items() if n in still})
            elif trial:
                e.redrawn()
            still -= _moved(e, still, steps)
        if not still:
            break
    count = f"{len(wanted)} parameter{'s' * (len(wanted) > 1)}"
    if not still:
        return f"all of {count} {'moved in four steps' if steps else 'have gradients'} on batches of {_size(e)}."
    names = listed([name for name in wanted if name in still])
    done = "moved" if steps else "got a gradient"
    raise FailedError(
        f"of {count}, {names} never {done}, in four batches from each of five starts: "
        "a layer was forgotten in the list of parameters, or nothing computes its gradient. (If it is meant to stay, "
        f"say frozen=({next(name for name in wanted if name in still)!r}, ...).)"
    )


def _size(e: Experiment) -> int:
    return min(len(e.x), 16)


def _moved(e: Experiment, names: set[str], steps: bool) -> set[str]:
    found: set[str] = set()
    for rows in islice(batches(len(e.x), _size(e), e.rng), 4):
        before = e.subject.parameters
        try:
            if steps:
                e.subject.update(e.x[rows], e.t[rows])
                after = e.subject.parameters
                found |= {n for n in names if not np.array_equal(before[n], after[n], equal_nan=True)}
            else:
                gradients = e.subject.gradients(e.x[rows], e.t[rows]) or {}
                found |= {n for n in names if n in gradients and np.any(gradients[n])}
        except (ChainruleError, ArithmeticError):  # a start from which this model diverges says nothing
            break
    return found


def tiny_set(e: Experiment) -> str:
    """A few samples can be learnt by heart, from the model's start, from others of the same size, or from sane ones."""
    e.needs_update()
    rows = _tiny(e)
    x, t = e.x[rows], e.t[rows]
    if e.loss(x, t) == 0:
        raise SkippedError("the loss of these samples is 0 already.")
    until, sentences, unsure = time.monotonic() + e.seconds, [], False
    rates = (e.subject.lr, e.subject.lr / 10, e.subject.lr / 100)
    for attempt in range(5):
        with e.subject.kept():
            if attempt in (1, 2):
                e.reshuffle()
            elif attempt:
                e.redrawn()
            kept_rate, e.subject.lr = e.subject.lr, rates[attempt % 3]
            try:
                outcome, sentence = _learn(e, x, t, until)
            finally:
                e.subject.lr = kept_rate
        if outcome == "learnt":
            return f"{len(rows)} samples were learnt: {sentence}{f', at start {attempt + 1}' if attempt else ''}."
        sentences.append(sentence)
        unsure = unsure or outcome == "unsure"
    if unsure:
        raise SkippedError(f"it cannot be told whether {len(rows)} samples can be learnt: {sentences[0]}.")
    raise FailedError(
        f"{len(rows)} samples could not be learnt from five starts: {sentences[0]}, and it no longer fell. The step "
        "does not follow the loss down (a sign, what is kept between samples), or it is far too large."
    )


def _tiny(e: Experiment) -> Array:
    """At most eight samples that are as independent as can be, so that even one linear layer can learn them.

    Each is the one with the largest part that is no combination of those before it.
    """
    rest = np.array(e.x[:200], float).reshape(min(len(e.x), 200), -1)
    chosen: list[int] = []
    largest = float(np.max((rest**2).sum(axis=1)))
    while len(chosen) < 8:
        i = int(np.argmax((rest**2).sum(axis=1)))
        norm = float(np.sqrt((rest[i] ** 2).sum()))
        if not norm**2 > 1e-4 * largest:
            break
        chosen.append(i)
        direction = rest[i] / norm
        rest -= np.outer(rest @ direction, direction)
    if len(chosen) < 2:
        raise SkippedError("there are no two samples with independent inputs.")
    return np.array(chosen)


def _learn(e: Experiment, x: Array, t: Array, until: float) -> tuple[str, str]:
    """Train on a few samples: whether they are `learnt`, `not learnt`, or it is `unsure`; and the numbers."""
    subject = e.subject
    first, start, curve = subject.loss(x, t), subject.parameters, []
    for step in range(1, _STEPS + 1):
        try:
            subject.update(x, t)
            loss = subject.loss(x, t) if step % 20 == 0 else None
        except (ChainruleError, ArithmeticError) as error:
            return "not learnt", f"the training broke off after {step} steps ({error})"
        if loss is None:
            continue
        curve.append(loss)
        numbers = f"the loss went from {first:.4g} to {loss:.4g} in {step} steps"
        if not np.isfinite(loss):
            return "not learnt", numbers
        if (first > 0 and loss < 0.2 * first) or (loss < first and _all_right(subject, x, t)):
            return "learnt", numbers
        if time.monotonic() > until:
            return "unsure", numbers
    moved = _distance(start, subject.parameters)
    if moved < _FAR:
        return "unsure", f"{numbers}, in which the parameters moved by {100 * moved:.2g} %"
    third = len(curve) // 3
    early, late = float(np.mean(curve[third : 2 * third])), float(np.mean(curve[2 * third :]))
    if late > first + 0.05 * abs(first):
        return "not learnt", numbers
    # The loss of labels can fall to about 0, if nothing hinders it; how far another can fall, nobody knows.
    hard = e.classes is not None or bool(np.isin(t, (0, 1)).all())
    fell = late < early - 1e-3 * abs(early) or late < first - 0.1 * abs(first)
    return "not learnt" if hard and not fell else "unsure", numbers


def _distance(before: dict[str, Array], after: dict[str, Array]) -> float:
    """How far parameters have moved, as a share of their size."""
    moved = sum(float(np.sum((after[name] - p) ** 2)) for name, p in before.items())
    return float(np.sqrt(moved / (sum(float(np.sum(p**2)) for p in before.values()) or 1e-300)))


def _all_right(subject: Subject, x: Array, t: Array) -> bool:
    """Whether all labels are predicted."""
    if not subject.offers("predict"):
        return False
    y = subject.predict(x)
    labels = labels_of(t, y.shape[1]) if y.ndim == 2 and y.shape[1] > 1 else None
    return labels is not None and bool((y.argmax(axis=1) == labels).all())


def shuffled_labels(e: Experiment) -> str:
    """Trained on labels that were drawn, a model knows no more of other samples' labels than chance."""
    classes = e.classes
    if classes is None:
        raise SkippedError("the targets are no labels of classes.")
    e.needs_update()
    y = e.outputs(e.x[:2])
    if y.ndim != 2 or y.shape[1] != classes or not (are_probabilities(y) or y.dtype.kind == "f"):
        raise SkippedError("there is not one output for each class.")
    n = min(len(e.x), 400)
    if n < 20:
        raise SkippedError(f"{n} samples are too few; it takes at least 20.")
    order, labels = e.rng.permutation(len(e.x))[:n], e.rng.integers(0, classes, n)
    seen, held = order[: n // 2], order[n // 2 :]
    t, until = e.as_targets(labels), time.monotonic() + e.seconds
    for rows in islice(batches(len(seen), 16, e.rng), 60):
        try:
            e.subject.update(e.x[seen[rows]], t[rows])
        except (ChainruleError, ArithmeticError) as error:
            raise SkippedError(f"the training broke off: {error}") from None
        e.loss(e.x[held], t[n // 2 :])
        if time.monotonic() > until:
            break
    right = int((e.outputs(e.x[held]).argmax(axis=1) == labels[n // 2 :]).sum())
    chance = 1 / classes
    most = len(held) * chance + 5.5 * np.sqrt(len(held) * chance * (1 - chance)) + 1
    numbers = f"{right} of {len(held)} held-out labels, all drawn, were right; chance gives {len(held) * chance:.3g}"
    if right > most:
        raise FailedError(f"{numbers}: the model has seen them, as when evaluating on them is learning from them.")
    return f"{numbers}."
