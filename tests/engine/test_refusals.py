"""What cannot be honoured raises, names the user's line, and says what to write instead."""

import inspect
import math
import re

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import DerivativeError, DtypeError, TraceError


@pytest.fixture
def x():
    return cr.tensor([1.0, 2.0, 3.0], requires_grad=True)


def refusal(act, *args):
    """The message that `act` raises, which must name this file and the line of `act` that is marked with `# here`."""
    with pytest.raises(TraceError) as caught:
        act(*args)
    message = str(caught.value)
    lines, first = inspect.getsourcelines(act)
    (marked,) = [first + i for i, line in enumerate(lines) if "# here" in line]
    assert message.startswith(f"test_refusals.py, line {marked}: "), message
    assert message.endswith("."), message
    assert "\n" not in message
    return message


def test_asarray_of_a_tensor_that_records(x):
    def act():
        return np.asarray(x)  # here

    assert re.search(r"np\.asarray\(tensor\) would lose the derivative; write \.value.*\.detach\(\)", refusal(act))
    np.testing.assert_array_equal(np.asarray(x.detach()), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(np.asarray(x.value), [1.0, 2.0, 3.0])
    assert np.asarray(cr.tensor([1.0]), np.float32).dtype == np.float32


def test_filling_an_array_with_a_tensor(x):
    def act():
        array = np.zeros((2, 3))
        array[0] = x  # here

    refusal(act)


def test_out(x):
    def act():
        np.add(x, 1.0, out=np.zeros(3))  # here

    assert "write `result = ...`" in refusal(act)


def test_an_array_plus_equals_a_tensor(x):
    def act():
        array = np.zeros(3)
        array += x  # here

    assert "`a = a + b`" in refusal(act)


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "**", "@"])
def test_a_tensor_of_an_array_in_place(x, operator):
    with pytest.raises(TraceError, match=re.escape(f"write `a = a {operator} b`.")):
        exec(f"x {operator}= np.ones(3)", {"x": x, "np": np})


def test_the_line_of_an_in_place_operator(x):
    def act():
        y = x * 1.0
        y -= 0.1 * np.ones(3)  # here

    assert "`a = a - b`" in refusal(act)


def test_writing_into_a_tensor(x):
    def act():
        x[0] = 1.0  # here

    assert "np.where(condition, b, a)" in refusal(act)


def test_maths_functions(x):
    def act():
        return math.exp(x.sum())  # here

    assert "or NumPy's functions" in refusal(act)
    assert math.exp(x.detach()[0]) == math.e


def test_int_of_a_tensor_that_records(x):
    def act():
        return int(x[0])  # here

    assert ".item()" in refusal(act)


def test_a_numpy_function_without_a_derivative_suggests_the_nearest(x):
    def act():
        return np.nansum(x)  # here

    message = refusal(act)
    assert "np.nansum has no derivative here; did you mean np.sum?" in message
    assert "chainrule.custom_vjp" in message


def test_a_supported_function_with_an_unsupported_argument(x):
    def act():
        return np.sum(x, dtype=np.float32)  # here

    assert "np.sum is supported, but not in this form" in refusal(act)


def test_the_line_is_the_users_also_inside_a_derivative():
    def act():
        def f(v):
            v = v * 2.0
            return np.median(v)  # here

        return cr.grad(lambda v: f(v) * 2.0)(np.ones(3))

    refusal(act)


def test_the_line_of_a_rule_of_ones_own():
    def act():
        rule = lambda g, y, v: np.nansum(g * v)  # here  # noqa: E731
        cr.hessian(lambda v: cr.custom_vjp(lambda v: v * 2.0, rule, "mine")(v).sum())(np.ones(3))

    refusal(act)


def test_branching_on_an_eager_tensor_is_allowed(x):
    assert x.sum() > 0
    assert cr.grad(lambda v: v * v if v > 0 else -v)(3.0) == 6.0
    assert cr.grad(lambda v: v * v if v > 0 else -v)(-3.0) == -1.0


@pytest.mark.parametrize(
    "other", [1j, np.complex128(1j), np.array([1j, 2, 3]), np.array(["a"] * 3), np.array([None] * 3)]
)
def test_what_is_no_real_number_has_no_derivative(x, other):
    for act in (
        lambda: x * other,
        lambda: cr.grad(lambda v: np.abs(v * other).sum())(np.ones(3)),
        lambda: cr.trace(lambda v: v * other, np.ones(3)),
    ):
        with pytest.raises(DtypeError, match=r"multiply was given .*; derivatives are those of real numbers"):
            act()


def test_a_rule_of_ones_own_may_return_a_number_and_nothing_stranger():
    twice = cr.custom_vjp(lambda v: 2 * v, lambda g, y, v: 2.0)
    assert cr.grad(twice)(1.0) == 2.0
    with pytest.raises(DerivativeError, match="The rule of strange returned a str where a gradient was expected"):
        cr.grad(cr.custom_vjp(lambda v: 2 * v, lambda g, y, v: "2", "strange"))(1.0)
