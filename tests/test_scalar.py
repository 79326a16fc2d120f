"""The scalar engine: values and derivatives against `math` and central differences, and its promises about memory."""

import ast
import gc
import math
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chainrule import scalar
from chainrule.scalar import Number, cross_entropy, exp, log, relu, sigmoid, softmax, tanh

moderate = st.floats(-3, 3, allow_subnormal=False)

UNARY: dict[str, tuple[Callable[[Number], Number], Callable[[float], float]]] = {
    "-x": (lambda x: -x, lambda x: -x),
    "x + 2": (lambda x: x + 2, lambda x: x + 2),
    "2 + x": (lambda x: 2 + x, lambda x: 2 + x),
    "x - 2": (lambda x: x - 2, lambda x: x - 2),
    "2 - x": (lambda x: 2 - x, lambda x: 2 - x),
    "3 * x": (lambda x: 3 * x, lambda x: 3 * x),
    "x / 3": (lambda x: x / 3, lambda x: x / 3),
    "3 / x": (lambda x: 3 / x, lambda x: 3 / x),
    "x ** 3": (lambda x: x**3, lambda x: x**3),
    "x ** -2": (lambda x: x**-2, lambda x: x**-2),
    "x ** 0": (lambda x: x**0, lambda x: 1.0),
    "exp": (exp, math.exp),
    "log": (lambda x: log(x * x), lambda x: math.log(x * x)),
    "tanh": (tanh, math.tanh),
    "sigmoid": (sigmoid, lambda x: 1 / (1 + math.exp(-x))),
    "relu": (relu, lambda x: max(x, 0.0)),
}


@pytest.mark.parametrize("name", UNARY)
@given(x=moderate)
def test_value_and_derivative_of_one_number(name: str, x: float) -> None:
    ours, reference = UNARY[name]
    assume(abs(x) > 0.01)  # away from the kink of relu and the pole of 1/x
    number = Number(x)
    y = ours(number)
    y.backward()
    step = 1e-6
    slope = (reference(x + step) - reference(x - step)) / (2 * step)
    assert y.value == pytest.approx(reference(x), rel=1e-12, abs=1e-12)
    assert number.grad == pytest.approx(slope, rel=1e-3, abs=1e-6)


@given(a=moderate, b=moderate)
def test_derivatives_of_two_numbers(a: float, b: float) -> None:
    assume(abs(b) > 0.01)
    x, y = Number(a), Number(b)
    (x * y + x / y - y).backward()
    assert x.grad == pytest.approx(b + 1 / b)
    assert y.grad == pytest.approx(a - a / b**2 - 1)


def test_a_number_that_is_used_twice_gets_the_sum_of_both_paths() -> None:
    x = Number(3.0)
    y = x * x
    (y * y + y + x).backward()
    assert x.grad == 4 * 3.0**3 + 2 * 3.0 + 1
    assert y.grad == 2 * 9.0 + 1


def test_calling_backward_again_adds_each_derivative_once_more() -> None:
    x = Number(2.0)
    y = exp(x)
    z = y * y
    z.backward()
    once = (x.grad, y.grad, z.grad)
    z.backward()
    assert (x.grad, y.grad, z.grad) == tuple(2 * grad for grad in once)


def test_the_derivative_of_a_number_by_itself_is_one() -> None:
    x = Number(5)
    x.backward()
    assert x.grad == 1.0


def test_relu_has_derivative_zero_at_zero() -> None:
    x = Number(0.0)
    relu(x).backward()
    assert x.grad == 0.0


def test_a_number_says_how_it_was_made() -> None:
    x = Number(2.0)
    y = tanh(x)
    assert (x.made_by, x.inputs, y.made_by, y.inputs) == ("", (), "tanh", (x,))
    assert y.slopes == (1 - math.tanh(2.0) ** 2,)
    assert repr(x) == "Number(2.0, grad=0.0)"
    assert "made_by='tanh'" in repr(y)


def test_a_number_as_exponent_is_refused() -> None:
    with pytest.raises(TypeError):
        Number(2.0) ** Number(3.0)  # type: ignore[operator]


@given(st.floats(-1e300, 1e300))
def test_sigmoid_never_overflows(x: float) -> None:
    number = Number(x)
    y = sigmoid(number)
    y.backward()
    assert 0 <= y.value <= 1
    assert 0 <= number.grad <= 0.25 + 1e-15


def test_sigmoid_keeps_its_digits_in_both_tails() -> None:
    for x in (-40.0, 40.0):
        number = Number(x)
        sigmoid(number).backward()
        assert number.grad == pytest.approx(math.exp(-40.0), rel=1e-12)
    assert sigmoid(Number(-40.0)).value == pytest.approx(math.exp(-40.0), rel=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6), st.data())
def test_softmax_and_cross_entropy_are_stable_and_have_the_known_derivative(
    values: list[float], data: st.DataObject
) -> None:
    target = data.draw(st.integers(0, len(values) - 1))
    one_hot = [float(i == target) for i in range(len(values))]
    logits = [Number(value) for value in values]
    y = softmax(logits)
    loss = cross_entropy(logits, one_hot)
    loss.backward()
    assert math.isfinite(loss.value)
    assert loss.value >= -1e-9
    assert sum(each.value for each in y) == pytest.approx(1)
    for o, y_i, t_i in zip(logits, y, one_hot, strict=True):
        assert o.grad == pytest.approx(y_i.value - t_i, abs=1e-9)


def test_softmax_derivative() -> None:
    logits = [Number(0.3), Number(-1.2), Number(2.0)]
    y = softmax(logits)
    y[1].backward()
    values = [each.value for each in y]
    expected = [values[1] * ((j == 1) - values[j]) for j in range(3)]
    assert [o.grad for o in logits] == pytest.approx(expected, abs=1e-15)


def test_cross_entropy_equals_its_definition_for_soft_targets() -> None:
    targets = [0.2, 0.5, 0.3]
    logits = [Number(0.3), Number(-1.2), Number(2.0)]
    definition = -sum(t * math.log(y.value) for t, y in zip(targets, softmax(logits), strict=True))
    assert cross_entropy(logits, targets).value == pytest.approx(definition, rel=1e-14)


def test_cross_entropy_needs_a_target_for_each_logit() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        cross_entropy([Number(1.0), Number(2.0)], [1.0])


def test_a_chain_of_a_hundred_thousand_numbers() -> None:
    x = Number(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1e-5
    y.backward()
    assert x.grad == 1.0
    assert y.value == pytest.approx(2.0)
    del y  # letting go of the chain must not recurse either


def test_memory_is_freed_without_the_garbage_collector() -> None:
    class Watched(Number):
        __slots__ = ("__weakref__",)

    gc.disable()
    try:
        x = Watched(1.0)
        watch = weakref.ref(x)
        y = softmax([x, x * 2])[0]
        y.backward()
        del x, y
        assert watch() is None
    finally:
        gc.enable()


def test_it_is_plain_python() -> None:
    tree = ast.parse(Path(scalar.__file__).read_text(encoding="utf-8"))
    imported = {node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.Import)}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "math", "collections.abc", "itertools"}
