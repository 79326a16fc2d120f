"""Shapes, axes, indices and values that nobody thought of: hypothesis draws them, NumPy says what is right."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from agreement import assert_agrees_with_numpy
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import chainrule as cr
from chainrule.check.numeric import relative_error

draws = settings(
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
FILLED = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4)


def numbers(shape: tuple[int, ...], low: float = -3, high: float = 3) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(float, shape, elements=st.floats(low, high, allow_subnormal=False).map(lambda v: round(v, 3)))


def distinct(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    """Numbers no two of which are equal or nearly so: what is largest stays so under small steps."""
    size = math.prod(shape)
    return st.permutations(range(size)).map(lambda order: np.array(order, float).reshape(shape) / 4 - size / 8)


@st.composite
def broadcasting(draw: Any, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=4)).input_shapes
    return tuple(draw(numbers(shape, low, high)) for shape in shapes)


@st.composite
def with_axes(draw: Any, arrays: Callable[[tuple[int, ...]], Any]) -> tuple[np.ndarray, Any]:
    """An array and an `axis` in any form: None, an int, a tuple; from either end."""
    x = draw(FILLED.flatmap(arrays))
    axis = st.integers(-x.ndim, x.ndim - 1)
    several = st.lists(axis, unique_by=lambda i: i % x.ndim, max_size=x.ndim).map(tuple)
    return x, draw(st.one_of(st.none(), axis, several) if x.ndim else st.just(None))


@given(broadcasting(-3, 3))
@draws
def test_sums_differences_and_products_of_shapes_that_broadcast(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert_agrees_with_numpy(lambda a, b: a + b * a - b, *pair)


@given(broadcasting(0.2, 3))
@draws
def test_quotients_and_powers_of_shapes_that_broadcast(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert_agrees_with_numpy(lambda a, b: a / b + a**b, *pair)


@given(broadcasting(-3, 3))
@draws
def test_choices_between_shapes_that_broadcast(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    assume(np.all(np.abs(a - b) > 1e-2))
    assert_agrees_with_numpy(lambda a, b: np.maximum(a, b) * np.minimum(a, b) + np.where(a > b, a, 2 * b), *pair)


@given(with_axes(numbers), st.booleans())
@draws
def test_sums_and_means_along_any_axes(given: tuple[np.ndarray, Any], keepdims: bool) -> None:
    x, axis = given
    assert_agrees_with_numpy(lambda x: np.sum(x, axis=axis, keepdims=keepdims), x)
    assert_agrees_with_numpy(lambda x: np.mean(x, axis=axis, keepdims=keepdims), x)


@given(with_axes(distinct), st.booleans())
@draws
def test_maxima_along_any_axes(given: tuple[np.ndarray, Any], keepdims: bool) -> None:
    x, axis = given
    assert_agrees_with_numpy(lambda x: np.max(x, axis=axis, keepdims=keepdims), x)
    assert_agrees_with_numpy(lambda x: np.min(x, axis=axis, keepdims=keepdims), x)


@given(with_axes(lambda shape: numbers(shape, -50, 50)), st.booleans())
@draws
def test_logsumexp_along_any_axes_is_scipys(given: tuple[np.ndarray, Any], keepdims: bool) -> None:
    from scipy.special import logsumexp

    x, axis = given
    if x.ndim:  # scipy adds an axis to a number
        expected = logsumexp(x, axis=axis, keepdims=keepdims)
        assert relative_error(cr.logsumexp(x, axis, keepdims), expected, scale=1) <= 1e-14
    # The functions vary on the scale of 1, whatever the size of x: differences need steps on that scale.
    assert_agrees_with_numpy(lambda x: cr.logsumexp(x, axis, keepdims), x / 20)


@given(st.data(), FILLED.filter(len))
@draws
def test_softmax_along_any_axis_is_scipys(data: st.DataObject, shape: tuple[int, ...]) -> None:
    from scipy.special import log_softmax, softmax

    x = data.draw(numbers(shape, -50, 50))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    assert relative_error(cr.softmax(x, axis), softmax(x, axis=axis)) <= 1e-14
    assert relative_error(cr.log_softmax(x, axis), log_softmax(x, axis=axis), scale=1) <= 1e-14
    assert_agrees_with_numpy(lambda x: cr.softmax(x, axis), x / 20)
    assert_agrees_with_numpy(lambda x: cr.log_softmax(x, axis), x / 20)


@given(st.data(), st.integers(1, 5), hnp.array_shapes(min_dims=0, max_dims=2, min_side=1, max_side=3))
@draws
def test_cross_entropy_of_labels_of_any_shape(data: st.DataObject, classes: int, shape: tuple[int, ...]) -> None:
    logits = data.draw(numbers((*shape, classes), -20, 20))
    labels = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, classes - 1)))
    assert_agrees_with_numpy(lambda x, t: cr.cross_entropy(x, t, "none"), logits / 10, labels)
    rows = np.eye(classes)[labels]
    by_rows = cr.cross_entropy(logits, rows, "none")
    assert relative_error(cr.cross_entropy(logits, labels, "none"), by_rows, scale=1) <= 1e-14


# ---- indices


@given(st.data(), SHAPES)
@draws
def test_ints_slices_new_axes_and_ellipses(data: st.DataObject, shape: tuple[int, ...]) -> None:
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True, max_dims=5))
    assert_agrees_with_numpy(lambda x: x[index], data.draw(numbers(shape)))


@given(st.data(), FILLED.filter(len))
@draws
def test_arrays_of_ints_also_the_same_ones_twice_and_negative(data: st.DataObject, shape: tuple[int, ...]) -> None:
    index = data.draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=4)))
    assert_agrees_with_numpy(lambda x: x[index], data.draw(numbers(shape)))


@given(st.data(), SHAPES.filter(len))
@draws
def test_masks_of_some_axes(data: st.DataObject, shape: tuple[int, ...]) -> None:
    first = data.draw(st.integers(0, len(shape) - 1))
    last = data.draw(st.integers(first + 1, len(shape)))
    mask = data.draw(hnp.arrays(bool, shape[first:last]))
    before = (slice(None),) * first if data.draw(st.booleans()) or last < len(shape) else (...,)
    assert_agrees_with_numpy(lambda x: x[(*before, mask)], data.draw(numbers(shape)))


@st.composite
def mixed_index(draw: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """An int, a slice, an array or a mask for each of some axes, with new axes and an Ellipsis in between."""
    result = draw(hnp.array_shapes(min_dims=1, max_dims=1, max_side=3))
    index: list[Any] = []
    for size in shape[: draw(st.integers(0, len(shape)))]:
        ints = st.integers(-size, size - 1)
        steps = st.one_of(st.none(), st.integers(-3, 3).filter(bool))
        ends = st.one_of(st.none(), st.integers(-size - 1, size + 1))
        index += draw(
            st.one_of(
                ints.map(lambda i: [i]),
                st.builds(slice, ends, ends, steps).map(lambda s: [s]),
                hnp.arrays(np.int64, result, elements=ints).map(lambda a: [a]),
                hnp.arrays(np.int64, (1,), elements=ints).map(lambda a: [a]),
                st.just([None, slice(None)]),
            )
        )
    if draw(st.booleans()):
        index.insert(draw(st.integers(0, len(index))), ...)
        tail = len(shape) - sum(part is not None and part is not ... for part in index)
        assume(tail >= 0)
    return tuple(index)


@given(st.data(), FILLED.filter(len))
@settings(draws, max_examples=150)
def test_mixtures_of_all_kinds_of_indices(data: st.DataObject, shape: tuple[int, ...]) -> None:
    index = data.draw(mixed_index(shape))
    x = data.draw(numbers(shape))
    try:
        x[index]
    except IndexError:  # an Ellipsis moved parts to axes that they do not fit
        with pytest.raises(ValueError, match=r"index|mask"):
            cr.tensor(x)[index]
        return
    assert_agrees_with_numpy(lambda x: x[index], x)


# ---- other arrangements


@given(st.data(), SHAPES)
@draws
def test_reshapes_with_an_unknown_size(data: st.DataObject, shape: tuple[int, ...]) -> None:
    x = data.draw(numbers(shape))
    rest, target = x.size, []
    while rest > 1 and data.draw(st.booleans()):
        divisor = data.draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0]))
        target.append(divisor)
        rest //= divisor
    target.append(rest)
    if math.prod(target) and data.draw(st.booleans()):
        target[data.draw(st.integers(0, len(target) - 1))] = -1
    assert_agrees_with_numpy(lambda x: x.reshape(tuple(target)), x)
    assert_agrees_with_numpy(lambda x: x.reshape(*target), x)


@given(st.data(), SHAPES.filter(len))
@draws
def test_axes_in_another_order_added_and_removed(data: st.DataObject, shape: tuple[int, ...]) -> None:
    x = data.draw(numbers(shape))
    axis = st.integers(-x.ndim, x.ndim - 1)
    order = tuple(data.draw(st.permutations(range(x.ndim))))
    a, b, new = data.draw(axis), data.draw(axis), data.draw(st.integers(-x.ndim - 1, x.ndim))
    assert_agrees_with_numpy(lambda x: np.transpose(x, order), x)
    assert_agrees_with_numpy(lambda x: np.swapaxes(x, a, b), x)
    assert_agrees_with_numpy(lambda x: np.moveaxis(x, a, b), x)
    assert_agrees_with_numpy(lambda x: np.expand_dims(x, new), x)
    assert_agrees_with_numpy(lambda x: np.squeeze(np.expand_dims(x, new), new), x)


@given(st.data(), FILLED)
@draws
def test_broadcasts_and_their_inverse(data: st.DataObject, shape: tuple[int, ...]) -> None:
    target = data.draw(hnp.broadcastable_shapes(shape, min_dims=len(shape), max_dims=4, min_side=0, max_side=4))
    assume(np.broadcast_shapes(shape, target) == target)
    x = data.draw(numbers(shape))
    assert_agrees_with_numpy(lambda x: np.broadcast_to(x, target), x)
    y = data.draw(numbers(target))
    assert_agrees_with_numpy(lambda y: cr.sum_to(y, shape), y)
    assert math.isclose(np.sum(np.broadcast_to(x, target) * y), np.sum(x * cr.sum_to(y, shape)), abs_tol=1e-9)


@given(st.data(), SHAPES.filter(len))
@draws
def test_concatenation_along_any_axis(data: st.DataObject, shape: tuple[int, ...]) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    parts = []
    for _ in range(data.draw(st.integers(1, 3))):
        each = list(shape)
        each[axis] = data.draw(st.integers(0, 3))
        parts.append(data.draw(numbers(tuple(each))))
    assert_agrees_with_numpy(lambda *xs: np.concatenate(xs, axis=axis), *parts)


@given(st.data())
@draws
def test_matrix_products_of_vectors_matrices_and_batches(data: st.DataObject) -> None:
    signature = np.matmul.signature
    shapes = data.draw(hnp.mutually_broadcastable_shapes(signature=signature, max_dims=2, min_side=0, max_side=3))
    a, b = (data.draw(numbers(shape)) for shape in shapes.input_shapes)
    assert_agrees_with_numpy(lambda a, b: a @ b, a, b)


@given(st.data(), FILLED.filter(len))
@draws
def test_elements_taken_along_an_axis(data: st.DataObject, shape: tuple[int, ...]) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    wanted = list(shape)
    wanted[axis] = data.draw(st.integers(1, 3))
    size = shape[axis]
    indices = data.draw(hnp.arrays(np.int64, tuple(wanted), elements=st.integers(-size, size - 1)))
    assert_agrees_with_numpy(lambda x, i: np.take_along_axis(x, i, axis), data.draw(numbers(shape)), indices)


# ---- with a symbolic batch

BATCHED: dict[str, Callable[[Any], Any]] = {
    "reshape to rows": lambda x: x.reshape(x.shape[0], -1),
    "reshape to one axis": lambda x: x.reshape(-1),
    "reshape and back": lambda x: x.reshape(x.shape[0] * 4, 3).reshape(x.shape),
    "rows of twice the batch": lambda x: x.reshape(2 * x.shape[0], 6),
    "joined along the batch": lambda x: np.concatenate([x, 2 * x, x * x]),
    "joined along another axis": lambda x: np.concatenate([x, 2 * x], axis=1),
    "without the last sample": lambda x: x[:-1] * x[1:],
    "the last sample": lambda x: x[-1] * x,
    "backwards": lambda x: x[::-1] * x,
    "mean over the batch": lambda x: x - x.mean(axis=0),
    "variance over the batch": lambda x: np.var(x, axis=0),
    "over the size of the batch": lambda x: x / x.shape[0] + x * x.shape[0] ** 0.5,
    "size of the batch as a power": lambda x: (x * x + 1) ** (1 / x.shape[0]),
    "broadcast over the batch": lambda x: np.broadcast_to(x[0], x.shape) * x,
    "ones of the batch": lambda x: np.ones_like(x) @ x.mT,
    "every pair of samples": lambda x: x.reshape(x.shape[0], -1) @ x.reshape(x.shape[0], -1).T,
    "softmax over the batch": lambda x: cr.softmax(x, axis=0),
    "the largest of the batch": lambda x: np.max(x, axis=0),
    "a new axis": lambda x: x[:, None] * x[None],
}


def test_integers_times_the_size_of_the_batch_stay_integers() -> None:
    graph = cr.trace(lambda x: x * x.shape[0], np.arange(3), batch={"x": 0})
    assert graph.run(np.arange(4)).tolist() == [0, 4, 8, 12]
    assert graph.run(np.arange(4)).dtype == graph.outputs[0].dtype == np.int64


@pytest.mark.parametrize("f", BATCHED.values(), ids=BATCHED)
def test_a_graph_recorded_at_one_batch_size_runs_and_is_derived_at_every_other(f: Callable[[Any], Any]) -> None:
    random = np.random.default_rng(2)
    recorded = [cr.trace(f, np.zeros((n, 4, 3)), batch={"x": 0}) for n in (2, 5)]
    derived = [cr.derive(cr.trace(lambda x: (f(x) ** 2).sum(), np.zeros((n, 4, 3)), batch={"x": 0})) for n in (2, 5)]
    assert repr(recorded[0]) == repr(recorded[1])
    assert repr(derived[0]) == repr(derived[1])
    for n in (1, 2, 7):
        x = random.normal(size=(n, 4, 3))
        assert relative_error(recorded[0].run(x), f(x)) <= 1e-15
        value, gradient = cr.value_and_grad(lambda x: (f(x) ** 2).sum())(x)
        assert relative_error(derived[0].run(x)[0], value) <= 1e-14
        assert relative_error(derived[0].run(x)[1], gradient) <= 1e-14
