"""The checks of derivatives: `gradients` for the library's own, `backward` for hand-written ones."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import index
from typing import Any

import numpy as np

from chainrule.check.derivatives.asking import Binding, InputError, Question, bindings, name_of, split
from chainrule.check.derivatives.causes import explain, record, wrong_rules
from chainrule.check.derivatives.comparison import Array, Point
from chainrule.check.derivatives.judge import Case, Judge
from chainrule.check.derivatives.models import TOLERANCES, is_model, of_model
from chainrule.check.derivatives.objects import MethodHand, MethodQuestion, has_parameters, methods_of
from chainrule.check.derivatives.patterns import known_numbers, near
from chainrule.check.derivatives.reading import Answer, Hand, is_float
from chainrule.check.derivatives.tape import Tape
from chainrule.check.derivatives.watching import Glasses
from chainrule.check.verdict import Cause, Finding, GradientError, Report
from chainrule.engine import Tensor, value_and_grad


@np.errstate(all="ignore")  # an overflow is judged by its result
def backward(
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    inputs: Any,
    *,
    loss: Any = None,
    optimizer: Any = None,
    lr: float | None = None,
    step: float | None = None,
    tolerance: float | None = None,
    seed: int = 0,
) -> Report:
    """Check a derivative that was written by hand against arithmetic, and say what is wrong with it.

    Parameters
    ----------
    forward : callable
        Returns the loss, or `(loss, cache)`, or an array, or `(array, cache)`; plain NumPy or anything else. Of an
        array, the derivative of a random linear function of it is checked.
    backward : callable
        As it stands: a function of the inputs, of the cache, of `(dout, cache)`, or of the output's gradient and the
        inputs, that returns gradients as a tuple, list or dict (`dW1`, `W1`, `grad_W1`, `W1_grad`, or in the order of
        the inputs, None where there is none), also behind the loss; or an update step that returns new parameters or
        changes them in place. It may be `forward` itself. Both may be methods of an object that has parameters.
    inputs : tuple, list, dict or array
        What `forward` is called with: arguments in their order, or by name. Arrays may stand in nested containers.
        Integers and inputs for which no gradient comes back are skipped.
    loss, optimizer : optional
        For a model of PyTorch's or of the library's, which stands for `forward` with None for `backward`, and
        `(inputs, targets)`: the loss, a function of (outputs, targets), and what makes its steps. An object of your own
        that has no loss takes one, too.
    lr : float, optional
        The learning rate of an update step; otherwise its default, or estimated.
    step : float, optional
        A step for difference quotients, relative to the size of an input, to be judged beside those that are tried.
    tolerance : float, optional
        The relative error that is allowed: by default 1e-5 for float64, 1e-3 for float32.
    seed : int
        For the random directions.

    Returns
    -------
    Report
        True if the derivative is right.

    Raises
    ------
    InputError
        If it cannot be told how the functions are to be called, or what came back.
    """
    if is_model(forward) and backward is None:
        return of_model(forward, loss, inputs, optimizer, lr, step=step, tolerance=tolerance, seed=seed)
    forward, backward = methods_of(forward, backward, inputs, loss)
    _called("forward", forward)
    _called("backward", backward)
    kind, of_hand = (MethodQuestion, MethodHand) if has_parameters(forward) else (Question, Hand)
    question = kind(forward, inputs)
    _floats(question, [*question.leaves])
    result = question.ask(question.copies(question.leaves))
    _, cache = split(result)
    chosen: Report | None = None
    errors: list[Exception] = []
    for binding in bindings(question, backward, cache):
        try:
            hand = of_hand(kind(forward, inputs), backward, binding, lr)
            report = _Check(question, hand, result, step, tolerance, seed).report()
        except Exception as error:  # this way of calling it was not what was meant, or its code fails
            errors.append(error)
            continue
        if chosen is None or report:
            chosen = report
        if report:
            break
    if chosen is None:
        raise errors[0]
    return chosen


_report_of = backward  # the functions here have a parameter of this name


def assert_backward(
    forward: Callable[..., Any], backward: Callable[..., Any] | None, inputs: Any, **options: Any
) -> None:
    """Raise AssertionError with the report of `check.backward` unless the derivative is right; for tests."""
    __tracebackhide__ = True
    report = _report_of(forward, backward, inputs, **options)
    if not report:
        raise AssertionError(str(report))


@np.errstate(all="ignore")
def gradients(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] | None = None,
    step: float | None = None,
    tolerance: float | None = None,
    seed: int = 0,
) -> Report:
    """Check chainrule's own derivative of a function against arithmetic.

    Parameters
    ----------
    f : callable
        A function of arrays (or nested containers of them) that returns a number, or an array, of which a random
        linear function is then checked.
    *args
        Where to check it.
    argnums : int or sequence of int, optional
        Which arguments; by default all, and in them all arrays of floats.
    step, tolerance, seed
        As for `check.backward`.

    Returns
    -------
    Report

    Raises
    ------
    GradientError
        If the verdict is not "right"; it holds the report.
    """
    _called("f", f)
    question = Question(f, args)
    groups = list(question.of_argument.values())
    names = _floats(question, [name for i in _picked(argnums, len(groups)) for name in groups[i]])
    result = question.ask(question.copies(question.leaves))
    loss = _Loss(question, Binding({"": ("gradient", 0)}), result, seed)
    if (report := loss.differs()) is None:
        point = {name: np.asarray(question.leaves[name]) for name in names}
        _, found = value_and_grad(lambda *xs: loss.at(dict(zip(names, xs, strict=True))), tuple(range(len(names))))(
            *point.values()
        )
        given = {name: np.asarray(g) for name, g in zip(names, found, strict=True)}
        case = Case(loss, {n: x.astype(float) for n, x in point.items()}, given, known_numbers(question.leaves, ()))
        case.step, case.seed, case.tolerance = step, seed, _tolerance(given, point, tolerance)
        report = Judge(case).report()
        findings = tuple(replace(finding, whose="chainrule's") for finding in report.findings)
        if not report and (rules := _wrong_rules(loss, point)):
            reason = f"{report.reason[:-1]}. The rule of {', '.join(rules)} does not fit what is computed."
            report = replace(report, reason=reason)
        skipped = _without_gradient(question, names, "it is not among the arguments that were asked for")
        report = replace(report, findings=findings, skipped=(*skipped, *report.skipped))
    if not report:
        raise GradientError(report)
    return report


def _called(what: str, f: Any) -> None:
    if not callable(f):
        raise InputError(f"{what} is {f!r}; expected a function.")


def _picked(argnums: Any, count: int) -> list[int]:
    """The places of the arguments that a derivative is taken by."""
    if argnums is None:
        return list(range(count))
    try:
        found = [index(i) for i in (argnums if isinstance(argnums, Iterable) else [argnums])]
    except TypeError:
        raise InputError(f"argnums is {argnums!r}; expected the number of an argument, or several.") from None
    if any(not -count <= i < count for i in found):
        given = f"{count} arguments were given" if count != 1 else "one argument was given"
        raise InputError(f"argnums is {argnums!r}, but {given}, and they are counted from 0.")
    return list(dict.fromkeys(i % count for i in found))


def _floats(question: Question, names: Sequence[str]) -> list[str]:
    """Those of the inputs that a derivative can be taken by; there must be one."""
    leaves = {name: question.leaves[name] for name in names}
    floats = [name for name, x in leaves.items() if is_float(x) and np.size(x)]
    if floats:
        return floats
    kinds = {name: _kind(x) for name, x in leaves.items()}
    found = ", ".join(f"{name} is {kind}" for name, kind in kinds.items()) or "there is no array"
    whole = [name for name, kind in kinds.items() if kind.startswith(("int", "uint", "bool"))]
    how = f": {whole[0]}.astype(float)" if whole else ""
    raise InputError(
        f"{name_of(question.forward)} was given nothing to take a derivative by: {found}; pass arrays of floats{how}."
    )


def _kind(x: Any) -> str:
    if isinstance(x, (np.ndarray, np.generic, int, float, complex)):
        return np.asarray(x).dtype.name if np.size(x) else "empty"
    return f"a {type(x).__name__}"


def _wrong_rules(loss: "_Loss", point: Mapping[str, Array]) -> list[str]:
    """The rules, perhaps of one's own, that are wrong."""
    at = {name: x.astype(float) for name, x in point.items()}
    tape = record(loss.watched, at, [*at], loss.cotangents, loss.traced(at))
    return wrong_rules(tape) if tape is not None else []


class _Loss:
    """The number that is derived: the loss, or a linear function of the outputs; of the inputs in float64."""

    def __init__(self, question: Question, binding: Binding, result: Any, seed: int) -> None:
        self.question, self.outputs = question, binding.outputs
        self.values, _ = split(result, binding.outputs)
        rng = np.random.default_rng([seed, 1])
        self.cotangents = [_cotangent(y, rng, "gradient" in binding.kinds) for y in self.values]
        self.leaves = {name: _double(x) for name, x in question.leaves.items()}
        try:
            self({})
        except Exception:  # code that insists on its own dtype
            self.leaves = dict(question.leaves)

    def __call__(self, point: Point) -> Any:
        changed = {name: x[()] if np.ndim(x) == 0 else x for name, x in point.items()}
        total = self._total({**self.leaves, **changed})
        return total.value if isinstance(total, Tensor) else total

    def at(self, point: Point) -> Any:
        """The same with the inputs as they are, in their own dtype."""
        return self._total({**self.question.leaves, **point})

    def _total(self, leaves: Mapping[str, Any]) -> Any:
        outputs, _ = split(self.question.ask(self.question.copies(leaves)), self.outputs)
        total: Any = 0
        for y, e in zip(outputs, self.cotangents, strict=True):
            total = total + (y * e if np.ndim(y) == 0 else (y * e).sum())
        return total

    def traced(self, point: Point) -> tuple[Any, ...]:
        """The outputs."""
        outputs, _ = split(self.question.ask(self.question.copies({**self.leaves, **point})), self.outputs)
        return outputs

    def watched(self, point: Point) -> tuple[Any, ...]:
        """The outputs of watched inputs: `forward` is run with a NumPy that watches new arrays too."""
        glasses = Glasses()
        glasses.tracer = next(iter(point.values())).tracer
        return split(self.question.seen(glasses, self.question.copies({**self.leaves, **point})), self.outputs)[0]

    def differs(self) -> Report | None:
        """A report if two calls do not give the same."""
        one, other = (float(np.real(self({}))) for _ in range(2))
        if abs(one - other) <= 1e-12 * abs(one) or not np.isfinite(one):
            return None
        reason = (
            f"two calls of {name_of(self.question.forward)} with the same inputs gave {one:.6g} and {other:.6g}; seed "
            "its random numbers inside, or pass them in."
        )
        return Report("not deterministic", reason=reason, skipped=("all gradients: there is no function to derive.",))


class _Check:
    """One way of asking for a hand-written derivative, from the first call to the report."""

    def __init__(
        self, question: Question, hand: Hand, result: Any, step: float | None, tolerance: float | None, seed: int
    ) -> None:
        self.question, self.hand = question, hand
        self.step, self.tolerance, self.seed = step, tolerance, seed
        self.loss = _Loss(question, hand.binding, result, seed)

    def report(self) -> Report:
        report = self.loss.differs()
        if report is not None:
            return report
        answer, second = (self.hand.answer(self.question.leaves, self.loss.cotangents) for _ in range(2))
        if not any(np.size(g) for g in answer.gradients.values()):
            nothing = f"{name_of(self.hand.backward)} returned no gradient that could be compared."
            raise InputError(" ".join([nothing, *dict.fromkeys(answer.notes)]))
        repeated = self._repeated(answer, second)
        if isinstance(repeated, Report):
            return repeated
        judge = Judge(self._case(second if repeated else answer))
        report = judge.report()
        if not report and not answer.update and self._looks_updated(answer, judge):
            answer = self.hand.from_update(answer, self.question.leaves)
            judge = Judge(self._case(answer))
            report = judge.report()
        if answer.update and answer.rate is None:
            answer, report = self._estimated(answer, judge)
        findings = report.findings
        if repeated:
            findings = tuple(replace(f, cause=_accumulated(f)) if f.name in repeated else f for f in findings)
        names = [*answer.gradients]
        shape = (
            f"{name_of(self.hand.backward)} takes {self.hand.binding.sentence()} and {answer.form}{self._rate(answer)}."
        )
        skipped = _without_gradient(self.question, names, "backward gives no gradient for it")
        return replace(
            report,
            findings=findings,
            checked=(shape, *dict.fromkeys(answer.notes), *report.checked),
            skipped=(*skipped, *report.skipped),
        )

    def _case(self, answer: Answer) -> Case:
        leaves = self.question.leaves
        point = {name: np.asarray(leaves[name], float) for name in answer.gradients}
        sizes = known_numbers(leaves, self.loss.values, answer.rate)
        case = Case(self.loss, point, answer.gradients, sizes, answer.lost, self.step, seed=self.seed)
        case.tolerance = _tolerance(answer.gradients, {n: leaves[n] for n in point}, self.tolerance)
        tapes: list[Tape | None] = []  # recorded when it is first needed, that is when something is wrong

        def exact() -> dict[str, Array] | None:
            floats = {n: np.asarray(x, float) for n, x in leaves.items() if is_float(x)}
            watched = {**floats, **point}
            tapes.append(record(self.loss.watched, watched, [*point], self.loss.cotangents, self.loss.traced(point)))
            return tapes[0].gradients if tapes[0] else None

        def explained(given: dict[str, Array], correct: dict[str, Array], wrong: list[str]) -> dict[str, Cause]:
            if not tapes or tapes[0] is None:
                return {}
            rate = answer.rate or 1.0
            updated = {n: point[n] - rate * g for n, g in given.items() if g.shape == point[n].shape}
            targets = [np.asarray(x) for n, x in leaves.items() if n not in point and _is_target(x)]
            tol = 10 * max(case.tolerance, 1e-7)
            return explain(tapes[0], given, correct, wrong, updated if answer.update else {}, targets, tol)

        case.exact, case.explain = exact, explained
        return case

    def _repeated(self, first: Answer, second: Answer) -> list[str] | Report:
        """The inputs whose gradient grows by itself from call to call; a report if it changes in another way."""
        changed = [
            name
            for name, g in first.gradients.items()
            if not near(np.asarray(second.gradients.get(name, g), float), np.asarray(g, float), 1e-9)
            and np.isfinite(g).all() and np.any(g)
        ]  # fmt: skip
        if not changed:
            return []
        third = self.hand.answer(self.question.leaves, self.loss.cotangents)
        for name in changed:
            a, b, c = (np.asarray(answer.gradients[name], float) for answer in (first, second, third))
            if a.shape != b.shape or b.shape != c.shape or not near(c - b, b - a, 1e-6):
                reason = f"two calls of {name_of(self.hand.backward)} with the same inputs gave different d{name}."
                return Report("not deterministic", reason=reason)
        return changed

    def _looks_updated(self, answer: Answer, judge: Judge) -> bool:
        """Whether what came back is rather the parameters after a step than their gradients."""
        agree = []
        for name, g in answer.gradients.items():
            x = judge.case.point[name]
            if g.shape != x.shape or not np.linalg.norm(g - x) < 0.5 * np.linalg.norm(x):
                return False
            change = x - g
            slopes = np.array([t.slope.value for t in judge.trials[name]])
            ours = np.array([float(np.sum(change * t.direction)) for t in judge.trials[name]])
            agree.append(float(ours @ slopes) > 0.99 * float(np.linalg.norm(ours) * np.linalg.norm(slopes)))
        return bool(agree) and sum(agree) >= len(agree) / 2

    def _estimated(self, answer: Answer, judge: Judge) -> tuple[Answer, Report]:
        """The gradients of an update whose learning rate is not known: it is what most inputs agree on."""
        ratios = [
            t.yours / t.slope.value
            for trials in judge.trials.values()
            for t in trials
            if t.yours and abs(t.slope.value) > judge.floor
        ]
        rate = float(np.median(ratios)) if ratios else 1.0
        if not rate > 0:
            rate = 1.0
        found = {name: g / rate for name, g in answer.gradients.items()}
        lost = {name: x / rate for name, x in answer.lost.items()}
        answer = replace(answer, gradients=found, lost=lost, rate=rate)
        answer.notes = [
            *answer.notes,
            f"the learning rate is estimated as {rate:.4g}, so a factor common to all is not seen.",
        ]
        return answer, Judge(self._case(answer)).report()

    def _rate(self, answer: Answer) -> str:
        return f", divided by the learning rate {answer.rate:.4g}" if answer.update and answer.rate else ""


def _accumulated(finding: Finding) -> Cause:
    return Cause("accumulated", "It grows with each call: gradients of an earlier call are kept and added to.")


def _without_gradient(question: Question, names: Sequence[str], reason: str) -> list[str]:
    """A sentence for each input that was not checked."""
    sentences = []
    for name, x in question.leaves.items():
        if name in names:
            continue
        if is_float(x):
            sentences.append(f"{name}: {reason}.")
        elif isinstance(x, (np.ndarray, np.generic, int)):
            kind = np.asarray(x).dtype.name
            sentences.append(f"{name}: it is {kind}, which has no derivative.")
        else:
            sentences.append(f"{name}: a {type(x).__name__} has no derivative.")
    return sentences


def _cotangent(y: Any, rng: np.random.Generator, random: bool) -> Any:
    """The gradient of the number that is checked by an output: random if backward takes one, else 1."""
    dtype = np.asarray(y).dtype
    if dtype.kind not in "fiu":
        raise InputError(f"forward returned {dtype}; expected a number or an array of floats.")
    shape = np.shape(y)
    e = rng.normal(size=shape) if random and shape else rng.uniform(0.5, 1.5) if random else np.ones(shape)
    return np.asarray(e, dtype if dtype.kind == "f" else float)[()]


def _is_target(x: Any) -> bool:
    return isinstance(x, (np.ndarray, np.generic, int)) and np.asarray(x).dtype.kind in "fiub"


def _double(x: Any) -> Any:
    return x.astype(float) if isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind == "f" else x


def _tolerance(given: Mapping[str, Array], point: Mapping[str, Any], asked: float | None) -> float:
    if asked is not None:
        return asked
    floats = [np.asarray(x).dtype for x in (*given.values(), *point.values())]
    return max((TOLERANCES.get(dtype.itemsize, 1e-5) for dtype in floats if dtype.kind == "f"), default=1e-5)
