"""What every op must fulfil, as functions that raise where it does not, and the cases to try it on.

Cases are derived from the op: its examples, its domain, its family, the signature of its `forward`. The functions are
used twice: every op must pass them (test_every_op.py), wrong rules must not (test_planted_errors.py).
"""

import gc
import inspect
import itertools
import re
import weakref
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.check.numeric import central_difference, complex_step, numerical_gradient, relative_error
from chainrule.errors import TraceError
from chainrule.ops.families import Elementwise
from chainrule.ops.op import OPS, Op

# Ten digits of a central difference are right; a wrong rule is wrong in the first. The complex step and the other
# routes to the same derivative must agree to rounding.
NUMERICAL, EXACT = 1e-8, 1e-13

# What element-wise ops are tried on: equal shapes, stretched on either side or both, no axes, one element, none.
UNARY = [(), (1,), (1, 1), (3, 4), (2, 1, 3), (0, 3)]
BINARY = [
    ((), ()), ((3, 4), (3, 4)), ((3,), ()), ((), (3,)), ((1,), (3,)), ((3,), (1,)), ((1,), ()), ((), (1, 1)),
    ((3, 1), (1, 4)), ((2, 3, 4), (4,)), ((3, 1), (2, 3, 4)), ((2, 1, 4), (3, 1)), ((1, 1), (1, 1)),
    ((0, 3), (3,)), ((0, 3), (1, 3)), ((0, 1), (1, 3)), ((), (0, 3)),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """An op with inputs (arrays, numbers) and attributes. `floats` tells which inputs derivatives are taken of."""

    op: type[Op]
    inputs: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def floats(self) -> list[int]:
        return [i for i, x in enumerate(self.inputs) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]

    @property
    def random(self) -> np.random.Generator:
        """Random numbers that are the same in every run and of their own in every case."""
        return np.random.default_rng(zlib.crc32(str(self).encode()))

    def __str__(self) -> str:
        inputs = [str(x.shape).replace(" ", "") if isinstance(x, np.ndarray) else repr(x) for x in self.inputs]
        given = [f"{key}={value}" for key, value in self.attributes.items()]
        text = f"{self.op.name}({', '.join([*inputs, *given])})"
        return re.sub(r"slice\((.*?), (.*?), None\)", r"\1:\2", text).replace("None", "")

    def call(self, *floats: Any) -> Any:
        """The op as a function of its float inputs alone, whatever stands for them."""
        full = list(self.inputs)
        for i, x in zip(self.floats, floats, strict=True):
            full[i] = x
        return self.op.apply(*full, **self.attributes)

    @property
    def arguments(self) -> list[np.ndarray]:
        return [self.inputs[i] for i in self.floats]


def ops() -> list[type[Op]]:
    """Every op that chainrule has."""
    return list(OPS.values())


def cases_of(op: type[Op]) -> list[Case]:
    """The cases of an op: its examples, and all pairs of shapes if it is element-wise."""
    cases = [Case(op, tuple(_fill(op, x, i) for i, x in enumerate(e.inputs)), e.attributes) for e in op.examples]
    if issubclass(op, Elementwise):
        arity = len(inspect.signature(op.forward).parameters)
        given = [_dtype_of_input(op, i) for i in range(arity)]
        shapes = [(s,) * arity for s in UNARY] if arity == 1 else [(*[a] * (arity - 1), b) for a, b in BINARY]
        cases += [
            Case(op, tuple(_fill(op, s, i).astype(d) for i, (s, d) in enumerate(zip(each, given, strict=True))))
            for each in shapes
        ]
    return cases


def _fill(op: type[Op], x: Any, i: int) -> Any:
    """A shape filled with random numbers of the op's domain; what is given already, as it is."""
    if not isinstance(x, tuple):
        return x
    seed = zlib.crc32(f"{op.name} {x} {i}".encode())
    return np.asarray(np.random.default_rng(seed).uniform(*op.domain, x))


def _dtype_of_input(op: type[Op], i: int) -> np.dtype:
    """What the examples give as input i: an array that is not of floats (a condition, labels), else floats."""
    arrays = [e.inputs[i] for e in op.examples if isinstance(e.inputs[i], np.ndarray)]
    return arrays[0].dtype if arrays else np.dtype(float)


def all_cases() -> list[Case]:
    return [case for op in ops() for case in cases_of(op)]


def derivable_cases() -> list[Case]:
    return [case for case in all_cases() if case.floats and not case.op.no_gradient]


# ---- a number that depends on all of the op's output, and its derivatives by the engine


def loss(case: Case, *floats: Any) -> Any:
    """Σ p ⊙ y + y²/2 for fixed random p: its gradient of y, p + y, depends on y, so second derivatives are never 0."""
    y = case.call(*floats)
    p = case.random.normal(size=y.shape).astype(y.dtype)
    return (p * y + y * y / 2).sum()


def plain_loss(y: Any) -> Any:
    """The same for an output y of any size, with p = 1/4."""
    return (0.25 * y + y * y / 2).sum()


def gradients(case: Case) -> tuple[Any, ...]:
    """The gradients of `loss` at the case's inputs."""
    n = len(case.floats)
    return cr.grad(lambda *xs: loss(case, *xs), range(n))(*case.arguments)


def second_gradients(case: Case, directions: list[np.ndarray]) -> tuple[Any, ...]:
    """The gradients of the projection Σ ⟨gradient, direction⟩ of the gradients of `loss`."""
    n = len(case.floats)

    def projection(*xs: Any) -> Any:
        first = cr.grad(lambda *xs: loss(case, *xs), range(n))(*xs)
        return sum((g * q).sum() for g, q in zip(first, directions, strict=True))

    return cr.grad(projection, range(n))(*case.arguments)


# ---- the requirements


def check_complete(op: type[Op]) -> None:
    """The class of an op says everything about it that others rely on."""
    where = f"The op {op.name} ({op.__module__})"
    assert op.__doc__, f"{where} has no docstring: say what it computes, and of what shape."
    assert op.math, f"{where} has no `math`: give it as LaTeX."
    assert op.reference, f"{where} has no `reference`: give its values by another route than `forward`'s."
    assert op.examples or issubclass(op, Elementwise), f"{where} has no `examples`: the tests cannot guess its inputs."
    assert op.vjp or op.no_gradient, f"{where} has neither a `vjp` nor `no_gradient = True`: declare one."
    assert not (op.vjp and op.no_gradient), f"{where} has a `vjp` and `no_gradient = True`: only one can hold."


def check_values(case: Case) -> None:
    """The op's values are its reference's, on arrays and on Tensors."""
    expected = _reference(case)
    found = np.asarray(case.op.apply(*case.inputs, **case.attributes))
    assert found.shape == expected.shape, f"{case}: shape {found.shape}, by the reference {expected.shape}"
    assert relative_error(found, expected) <= EXACT, f"{case}: {found} is not the reference's {expected}"
    on_tensors = case.call(*(cr.tensor(x, requires_grad=True) for x in case.arguments)) if case.floats else found
    assert np.array_equal(getattr(on_tensors, "value", on_tensors), found), f"{case}: on Tensors the values differ"


def _reference(case: Case) -> np.ndarray:
    if not issubclass(case.op, Elementwise):
        return np.asarray(case.op.reference(*case.inputs, **case.attributes))
    each = np.broadcast_arrays(*case.inputs)  # the reference is a function of numbers
    result = np.zeros(each[0].shape)
    for i in np.ndindex(result.shape):
        result[i] = case.op.reference(*(x[i].item() for x in each))
    return result


def check_first_derivative(case: Case) -> None:
    """The gradients are central differences', in random directions and element by element."""
    found = gradients(case)
    xs = case.arguments
    scale = _scale(case)
    for _ in range(2):
        ds = [case.random.normal(size=x.shape) for x in xs]
        numerical = central_difference(lambda v: loss(case, *_split(v, xs)), _joined(xs), _joined(ds))
        analytic = sum(float(np.sum(g * d)) for g, d in zip(found, ds, strict=True))
        error = relative_error(analytic, numerical, scale)
        assert error <= NUMERICAL, f"{case}: in a direction {analytic}, by central differences {numerical}"
    for i, (x, g) in enumerate(zip(xs, found, strict=True)):
        numerical = numerical_gradient(lambda v, i=i: loss(case, *xs[:i], v, *xs[i + 1 :]), x)
        error = relative_error(g, numerical, scale)
        assert error <= NUMERICAL, f"{case}: gradient {i + 1} is {g}, by central differences {numerical}"


def check_complex_step(case: Case) -> bool:
    """Where the op is analytic, its derivative is the complex step's to rounding. Returns whether it was compared."""
    xs, forward = case.arguments, case.op.forward
    joined, d = _joined(xs), case.random.normal(size=_joined(xs).shape)

    def f(v: np.ndarray) -> Any:
        full = list(case.inputs)
        for i, x in zip(case.floats, _split(v, xs), strict=True):
            full[i] = x
        return forward(*full, **case.attributes)

    numerical = central_difference(f, joined, d)
    try:
        exact = complex_step(f, joined, d)
    except (TypeError, np.exceptions.ComplexWarning):  # not defined for complex numbers, or the imaginary part is lost
        return False
    if relative_error(exact, numerical, float(np.max(np.abs(f(joined)), initial=0.0))) > 1e-6:
        return False  # not analytic: the two agree for every analytic function, whatever the rule says
    found = np.asarray(cr.jvp(lambda v: case.call(*_split(v, xs)), (joined,), (d,))[1])
    assert relative_error(found, exact, 1e-3) <= EXACT, f"{case}: {found}, by the complex step {exact}"
    return True


def check_second_derivative(case: Case) -> None:
    """The gradient of a random projection of the gradients is the central difference of that projection."""
    xs, n = case.arguments, len(case.floats)
    qs, ds = ([case.random.normal(size=x.shape) for x in xs] for _ in range(2))
    gradient = cr.grad(lambda *xs: loss(case, *xs), range(n))

    def projection(v: np.ndarray) -> float:
        return sum(float(np.sum(g * q)) for g, q in zip(gradient(*_split(v, xs)), qs, strict=True))

    numerical = central_difference(projection, _joined(xs), _joined(ds))
    analytic = sum(float(np.sum(g * d)) for g, d in zip(second_gradients(case, qs), ds, strict=True))
    error = relative_error(analytic, numerical, _scale(case))
    assert error <= NUMERICAL, f"{case}: second derivative {analytic}, by central differences {numerical}"


def check_float32(case: Case) -> None:
    """float32 stays float32 in values, gradients and second gradients, and they are near those of float64."""
    exact = case.op.apply(*case.inputs, **case.attributes)
    small = _as_float32(case)
    expected = small.attributes.get("dtype", np.float32 if exact.dtype == float else exact.dtype)
    tensors = [cr.tensor(x, requires_grad=True) for x in small.arguments]
    y = small.call(*tensors)
    value = getattr(y, "value", y)
    assert y.dtype == expected, f"{case}: float32 becomes {y.dtype}"
    assert value.dtype == expected, f"{case}: float32 becomes {value.dtype} although its dtype says {y.dtype}"
    assert relative_error(value, exact, 1e-3) <= 1e-5, f"{case}: in float32 {value}, in float64 {exact}"
    if case.op.no_gradient or not case.floats:
        return
    loss(small, *tensors).backward()
    qs = [case.random.normal(size=x.shape) for x in case.arguments]
    small_qs = [q.astype(np.float32) for q in qs]
    for what, got, wanted in (
        ("the gradient by backward()", [x.grad for x in tensors], gradients(case)),
        ("the gradient by grad", gradients(small), gradients(case)),
        ("the second gradient", second_gradients(small, small_qs), second_gradients(case, qs)),
    ):
        for a, b in zip(got, wanted, strict=True):
            assert a.dtype == np.float32, f"{case}: {what} is {a.dtype}"
            assert relative_error(a, b, 1e-2) <= 1e-4, f"{case}: {what} in float32 is {a}, in float64 {b}"


def check_float32_beside_numbers(case: Case) -> None:
    """Python's and NumPy's scalars beside float32 leave it float32, in values and in gradients."""
    small = _as_float32(case)
    for i, kind in itertools.product(case.floats, (float, np.float64)):
        inputs = list(small.inputs)
        inputs[i] = kind(np.asarray(case.inputs[i]).flat[0])
        mixed = replace(small, inputs=tuple(inputs))
        if not mixed.floats:
            continue
        tensors = [cr.tensor(x, requires_grad=True) for x in mixed.arguments]
        y = mixed.call(*tensors)
        assert y.dtype.kind == "b" or y.value.dtype == np.float32, f"{mixed}: float32 becomes {y.dtype}"
        if not case.op.no_gradient:
            loss(mixed, *tensors).backward()
            assert all(x.grad.dtype == np.float32 for x in tensors), f"{mixed}: a gradient is no longer float32"


def _as_float32(case: Case) -> Case:
    inputs = tuple(x.astype(np.float32) if i in case.floats else x for i, x in enumerate(case.inputs))
    return replace(case, inputs=inputs)


def check_inputs_unchanged(case: Case) -> None:
    """Inputs keep their bytes, and may be read-only."""
    arrays = [x for x in case.inputs if isinstance(x, np.ndarray)]
    before = [x.tobytes() for x in arrays]
    for x in arrays:
        x.flags.writeable = False
    try:
        case.op.apply(*case.inputs, **case.attributes)
        if case.floats and not case.op.no_gradient:
            gradients(case)
            second_gradients(case, [np.ones(x.shape) for x in case.arguments])
    finally:
        for x in arrays:
            x.flags.writeable = True
    assert [x.tobytes() for x in arrays] == before, f"{case}: an input was changed"


def check_gradients_are_ones_own(case: Case) -> None:
    """Every gradient may be written to: it shares memory with no input, no other gradient and nothing that is kept."""
    xs = case.arguments
    seed = np.asarray(case.random.normal(size=np.shape(case.call(*xs))))
    y, pull = cr.vjp(case.call, *xs)
    tensors = [cr.tensor(x, requires_grad=True) for x in xs]
    case.call(*tensors).backward(seed)
    for what, found in (
        ("grad", gradients(case)),
        ("vjp", pull(seed)),
        ("backward", [t.grad for t in tensors]),
        ("the derived graph", _derived(case).run(*xs)[1:]),
    ):
        kept = [*xs, seed, np.asarray(y), *(t.value for t in tensors)]
        for g in found:
            if isinstance(g, np.generic) and what != "backward":  # a number, which nobody can write to
                continue
            assert type(g) is np.ndarray, f"{case}: {what} gives a {type(g).__name__}"
            assert g.flags.writeable, f"{case}: a gradient of {what} cannot be written to"
            assert g.flags.owndata or g.base.size == g.size, f"{case}: a gradient of {what} is a view"
            assert not any(np.shares_memory(g, other) for other in kept), f"{case}: a gradient of {what} is shared"
            kept.append(g)


def check_graph(case: Case) -> None:
    """The recorded program and its derivative compute what eager mode does."""
    y = cr.trace(case.call, *case.arguments).run(*case.arguments)
    assert np.array_equal(y, case.op.apply(*case.inputs, **case.attributes)), f"{case}: the graph's values differ"
    if not case.op.no_gradient:
        _compare(case, _derived(case).run(*case.arguments)[1:], gradients(case))


def check_symbolic_batches(op: type[Op]) -> None:
    """Recorded with a symbolic batch, the program is the same whatever the batch was, and right at another one.

    Every axis that the op lets grow is tried as the batch. A refusal must say that it is because of the symbolic size,
    and not all may be refused.
    """
    tried = [(case, axes) for case in cases_of(op) for axes in _batches(case)]
    recorded = sum(_check_symbolic_batch(case, axes) for case, axes in tried)
    assert recorded or not tried, f"{op.name}: none of its {len(tried)} batches can be recorded"


def _check_symbolic_batch(case: Case, axes: dict[int, int]) -> bool:
    cases = case, _grown(case, axes)
    try:
        programs = [_symbolic(each, axes) for each in cases]
    except TraceError as error:
        if "symbolic" not in str(error):
            raise
        return False
    assert repr(programs[0]) == repr(programs[1]), f"{case}, batch {axes}: the program depends on the batch size"
    graph, derived = programs[0]
    for each in cases:
        y = graph.run(*_arrays(each))
        expected = each.op.apply(*each.inputs, **each.attributes)
        assert np.array_equal(y, expected), f"{each}: a graph recorded at another batch size gives {y}"
        if derived is not None:
            eager = cr.grad(lambda *xs, each=each: plain_loss(each.call(*xs)), range(len(each.floats)))
            _compare(each, derived.run(*_arrays(each))[1:], eager(*each.arguments))
    return True


def _symbolic(case: Case, axes: dict[int, int]) -> tuple[Any, Any]:
    """The graph of the op, and the derivative of a loss of it, with these axes of these arrays symbolic."""
    places = [i for i, x in enumerate(case.inputs) if isinstance(x, np.ndarray)]

    def call(*arrays: Any) -> Any:
        full = list(case.inputs)
        for i, x in zip(places, arrays, strict=True):
            full[i] = x
        return case.op.apply(*full, **case.attributes)

    batch = {f"arg{places.index(i)}": axis for i, axis in axes.items()}
    graph = cr.trace(call, *_arrays(case), batch=batch)
    if case.op.no_gradient or not case.floats:
        return graph, None
    return graph, cr.derive(cr.trace(lambda *arrays: plain_loss(call(*arrays)), *_arrays(case), batch=batch))


def _arrays(case: Case) -> list[np.ndarray]:
    return [x for x in case.inputs if isinstance(x, np.ndarray)]


def _batches(case: Case) -> list[dict[int, int]]:
    """Which axes of which inputs could be the batch: one of one input, or the same of all; as far as NumPy allows."""
    arrays = {i: x for i, x in enumerate(case.inputs) if isinstance(x, np.ndarray)}
    ndim = max((x.ndim for x in arrays.values()), default=0)
    single = [{i: axis} for i, x in arrays.items() for axis in range(x.ndim)]
    joint = []
    for axis in range(ndim):
        long = {i: x for i, x in arrays.items() if axis < x.ndim and x.shape[axis] != 1}
        if len(long) > 1:
            joint += [dict.fromkeys(long, axis)] if len({x.shape[axis] for x in long.values()}) == 1 else []
    shared = [
        {i: a, j: b}
        for i, x in arrays.items()
        for j, y in arrays.items()
        if i < j
        for a, b in itertools.product(range(x.ndim), range(y.ndim))
        if x.shape[a] == y.shape[b]
    ]
    candidates = {tuple(sorted(each.items())): each for each in [*joint, *single, *shared]}
    return [each for each in candidates.values() if _numpy_allows(case, each)]


def _numpy_allows(case: Case, axes: dict[int, int]) -> bool:
    """Whether the axes can be of any size: of three, with the attributes as they are, the rest unchanged."""
    if any(case.inputs[i].shape[axis] < 2 for i, axis in axes.items()):
        return False  # a size of 1 broadcasts: another program than that of a batch
    try:
        for by in (1, 2, 3):
            grown = _grown(case, axes, by)
            grown.op.forward(*grown.inputs, **grown.attributes)
            shapes = [x.shape for x in grown.inputs if isinstance(x, np.ndarray)]
            if issubclass(case.op, Elementwise):
                np.broadcast_shapes(*shapes)
    except (ValueError, IndexError):
        return False
    return True


def _grown(case: Case, axes: dict[int, int], by: int = 2) -> Case:
    """The case with more along the given axes: the first elements once more, so labels stay labels."""
    inputs = list(case.inputs)
    for i, axis in axes.items():
        n = inputs[i].shape[axis]
        inputs[i] = np.take(inputs[i], np.arange(n + by) % n, axis)
    return replace(case, inputs=tuple(inputs))


def _derived(case: Case) -> Any:
    return cr.derive(cr.trace(lambda *xs: loss(case, *xs), *case.arguments))


def _compare(case: Case, found: Sequence[Any], expected: Sequence[Any]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype, f"{case}: the derived graph gives {a.dtype}, eager mode {b.dtype}"
        assert relative_error(a, b, 1e-3) <= EXACT, f"{case}: the derived graph gives {a}, eager mode {b}"


def check_memory_is_freed(case: Case) -> None:
    """Without the garbage collector, a result and all that it needed are freed with their last user."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for backward in (False, True):
            tensors = [cr.tensor(x, requires_grad=True) for x in case.arguments]
            y = case.call(*tensors)
            total = (y * y).sum()
            if backward:
                total.backward()
            watched = [weakref.ref(x) for x in (y, total, *tensors)]
            if isinstance(y._value, np.ndarray):
                watched.append(weakref.ref(y._value))
            del y, total, tensors
            assert not any(ref() is not None for ref in watched), f"{case}: something is kept alive by a cycle"
        gradients(case)
        assert not gc.collect(), f"{case}: grad leaves cycles behind"
    finally:
        if enabled:
            gc.enable()


# ---- several arrays as one vector


def _joined(xs: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([x.reshape(-1) for x in xs])


def _split(v: Any, like: list[np.ndarray]) -> list[Any]:
    ends = np.cumsum([x.size for x in like]).tolist()
    return [v[end - x.size : end].reshape(x.shape) for x, end in zip(like, ends, strict=True)]


def _scale(case: Case) -> float:
    """What a numerical derivative cannot tell from 0: the size of the loss's terms over that of the inputs."""
    y = np.asarray(case.call(*case.arguments))
    x = _joined(case.arguments)
    return float(np.sum(np.abs(y) + y**2)) / float(np.sqrt(np.mean(x**2))) if x.size and y.size else 0.0


def function_of(case):
    """The op of a case as a function of its arrays, with the arrays."""
    places = [i for i, x in enumerate(case.inputs) if isinstance(x, np.ndarray)]

    def f(*arrays):
        inputs = list(case.inputs)
        for i, x in zip(places, arrays, strict=True):
            inputs[i] = x
        return case.op.apply(*inputs, **case.attributes)

    return f, [case.inputs[i] for i in places]
