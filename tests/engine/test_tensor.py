"""Tensors in PyTorch's habits: what they remember, what `backward` adds up, and what they refuse."""

import copy
import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule.errors import ChainruleError, DerivativeError, DtypeError, ShapeError


@pytest.fixture
def x():
    return cr.tensor([1.0, 2.0, 3.0], requires_grad=True)


def test_backward_fills_grad_of_the_tensors_that_ask_for_it(x):
    constant = cr.tensor([1.0, 1.0, 2.0])
    (x * x * constant).sum().backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0, 12.0])
    assert constant.grad is None


def test_grad_accumulates_until_it_is_set_to_none(x):
    (2 * x).sum().backward()
    (3 * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [5.0, 5.0, 5.0])
    x.grad = None
    (3 * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [3.0, 3.0, 3.0])


def test_a_grad_is_an_array_of_its_own():
    a, b = cr.tensor([1.0, 2.0], requires_grad=True), cr.tensor([3.0, 4.0], requires_grad=True)
    (a + b).backward(seed := np.array([1.0, 1.0]))
    a.grad += 100
    np.testing.assert_array_equal(b.grad, [1.0, 1.0])
    np.testing.assert_array_equal(seed, [1.0, 1.0])


def test_grad_of_a_number_is_an_array_of_shape_empty():
    t = cr.tensor(3.0, requires_grad=True)
    (t * t).backward()
    assert isinstance(t.grad, np.ndarray)
    assert t.grad.shape == ()
    assert t.grad == 6.0


def test_a_value_used_many_times_gets_the_sum(x):
    y = x * x
    (y + y * y + x).sum().backward()
    v = x.value
    np.testing.assert_allclose(x.grad, 2 * v + 4 * v**3 + 1)


def test_backward_of_a_tensor_that_was_given_adds_the_direction(x):
    x.backward([1.0, 0.0, 2.0])
    np.testing.assert_array_equal(x.grad, [1.0, 0.0, 2.0])


def test_float32_stays_float32_in_values_and_gradients():
    t = cr.tensor(np.ones(3, np.float32), requires_grad=True)
    y = (t / np.sqrt(784) * np.float64(2.0) + 0.5).sum()
    y.backward()
    assert y.dtype == t.grad.dtype == np.float32


def test_tensor_copies_what_it_is_given():
    array = np.ones(2)
    t = cr.tensor(array)
    array[0] = 5
    np.testing.assert_array_equal(t.value, [1.0, 1.0])
    again = cr.tensor(t, requires_grad=True)
    again.assign([7.0, 7.0])
    np.testing.assert_array_equal(t.value, [1.0, 1.0])


def test_value_is_read_only(x):
    with pytest.raises(ValueError, match="read-only"):
        x.value[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        (x * 2).value[0] = 1


def test_numpy_gives_a_copy_of_ones_own(x):
    mine = x.numpy()
    mine[0] = 100
    assert x.value[0] == 1.0


def test_item_gives_a_python_number(x):
    assert type(x.sum().item()) is float
    assert x.sum().item() == 6.0


def test_source_names_the_op_and_its_inputs(x):
    y = np.tanh(x * 2.0)
    assert y.source.op.name == "tanh"
    product = y.source.inputs[0]
    assert product.source.op.name == "multiply"
    np.testing.assert_array_equal(product.source.inputs[0].value, [1.0, 2.0, 3.0])
    assert product.source.inputs[0] is x
    assert x.source is None


def test_source_keeps_attributes(x):
    assert x.reshape(3, 1).source.attributes == {"shape": (3, 1)}


def test_an_input_that_nobody_kept_says_that_it_is_gone(x):
    y = (x * 2.0 + 1.0) + 1.0  # no rule of the sums needs the values between
    between = y.source.inputs[0]
    assert between.shape == (3,)
    with pytest.raises(DerivativeError, match="freed"):
        _ = between.value


def test_shape_dtype_size_and_ndim_are_those_of_the_array():
    t = cr.tensor(np.zeros((2, 3), np.float32))
    assert (t.shape, t.ndim, t.size, t.dtype, len(t)) == ((2, 3), 2, 6, np.float32, 2)


def test_operators_follow_numpy(x):
    v = x.value
    for ours, numpys in [
        (1 - x, 1 - v), (x - 1, v - 1), (2 / x, 2 / v), (x / 2, v / 2), (x**2, v**2), (2**x, 2**v), (-x, -v),
        (abs(-x), v), (x @ x, v @ v), (+x, v), (v + x, v + v), (v @ x, v @ v), (x > 1.5, v > 1.5), (x == v, v == v),
        (np.exp(x), np.exp(v)), (x.T, v.T), (x[::-1], v[::-1]), (np.add.reduce(x), v.sum()),
    ]:  # fmt: skip
        assert isinstance(ours, cr.Tensor)
        np.testing.assert_allclose(ours.value, numpys)


def test_iterating_goes_along_the_first_axis_and_keeps_the_derivative():
    t = cr.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    first, second = t
    (first * second).sum().backward()
    np.testing.assert_array_equal(t.grad, [[3.0, 4.0], [1.0, 2.0]])


def test_in_place_operators_rebind_a_number_and_leave_the_old_one():
    total = start = cr.tensor(1.0, requires_grad=True)
    total += start * 2
    total *= 3.0
    total.backward()
    assert start.item() == 1.0
    assert start.grad == 9.0


def test_detach_is_a_constant_of_the_same_values(x):
    y = x.detach()
    assert not y.requires_grad
    (x * y).sum().backward()
    np.testing.assert_array_equal(x.grad, [1.0, 2.0, 3.0])


def test_what_was_detached_keeps_its_values_when_the_tensor_is_assigned(x):
    w = cr.tensor(np.ones(3), requires_grad=True)
    loss = (w * x.detach()).sum()
    x.assign(np.zeros(3))
    loss.backward()
    np.testing.assert_array_equal(w.grad, [1.0, 2.0, 3.0])


def test_stop_gradient_is_a_constant(x):
    (x * cr.stop_gradient(x * x)).sum().backward()
    np.testing.assert_array_equal(x.grad, [1.0, 4.0, 9.0])


def test_no_grad_remembers_nothing_and_ends_with_its_block(x):
    with cr.no_grad():
        y = x * x
        with cr.no_grad():
            pass
        z = x * x
    assert not y.requires_grad
    assert not z.requires_grad
    assert y.source is None
    assert (x * x).requires_grad


def test_no_grad_ends_when_its_block_raises(x):
    with pytest.raises(KeyError), cr.no_grad():
        raise KeyError
    assert (x * x).requires_grad


def test_no_grad_is_a_threads_own(x):
    seen = {}

    def work():
        seen["other"] = (x * x).requires_grad

    with cr.no_grad():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        seen["here"] = (x * x).requires_grad
    assert seen == {"other": True, "here": False}


def test_threads_record_side_by_side():
    results = {}

    def work(i):
        t = cr.tensor(np.full(4, float(i)), requires_grad=True)
        y = t
        for _ in range(200):
            y = y * 1.0 + 0.0
        (y * t).sum().backward()
        results[i] = t.grad

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        np.testing.assert_array_equal(results[i], np.full(4, 2.0 * i))


def test_backward_of_an_array_needs_a_direction(x):
    with pytest.raises(ShapeError, match=r"\(3,\) has no single derivative; reduce it first.*or give the direction"):
        (x * x).backward()
    (x * x).backward(np.array([1.0, 0.0, 0.0]))
    np.testing.assert_array_equal(x.grad, [2.0, 0.0, 0.0])


def test_backward_with_a_direction_of_another_shape_names_both(x):
    with pytest.raises(ShapeError, match=r"\(1, 3\).*\(3,\)"):
        (x * x).backward(np.ones((1, 3)))


def test_backward_twice_raises_and_says_what_to_do(x):
    y = (x * x).sum()
    y.backward()
    with pytest.raises(DerivativeError, match="retain_graph=True"):
        y.backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0, 6.0])


def test_retain_graph_lets_backward_go_twice(x):
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad, [4.0, 8.0, 12.0])


def test_two_losses_of_one_graph_need_retain_graph_for_the_first(x):
    shared = x * x
    first, second = shared.sum(), (shared * 2.0).sum()
    first.backward(retain_graph=True)
    second.backward()
    np.testing.assert_array_equal(x.grad, [6.0, 12.0, 18.0])


def test_backward_of_what_depends_on_nothing_raises(x):
    for y in (cr.tensor(1.0), (x > 1).sum(), x.detach().sum()):
        with pytest.raises(DerivativeError, match="does not depend on any tensor with requires_grad"):
            y.backward()


def test_assigning_between_forward_and_backward_raises_and_leaves_grad_alone(x):
    y = (x * x).sum()
    x.assign([0.0, 0.0, 0.0])
    with pytest.raises(DerivativeError, match="multiply was applied to has been assigned since"):
        y.backward()
    assert x.grad is None


def test_a_step_of_an_optimiser_counts_as_assigning(x):
    y = (x * x).sum()
    x.subtract_(np.ones(3))
    with pytest.raises(DerivativeError, match="assigned since"):
        y.backward()


def test_assign_refuses_another_shape_and_a_computed_tensor(x):
    with pytest.raises(ShapeError, match=r"\(3,\).*\(1,\)"):
        x.assign([1.0])
    with pytest.raises(DerivativeError, match="was computed"):
        (x * 2).assign([1.0, 1.0, 1.0])
    np.testing.assert_array_equal(x.value, [1.0, 2.0, 3.0])


def test_only_floats_can_ask_for_derivatives():
    with pytest.raises(DtypeError, match=r"int64 array with \.astype\(float\)"):
        cr.tensor([1, 2], requires_grad=True)
    assert cr.tensor([1, 2]).dtype.kind == "i"
    with pytest.raises(DtypeError, match="made of numbers"):
        cr.tensor(["a"])
    with pytest.raises(DtypeError, match="made of numbers"):
        cr.tensor(None)


def test_mixed_floats_raise_and_name_both(x):
    with pytest.raises(DtypeError, match=r"float64 \(3,\) and float32 \(3,\)"):
        x * np.ones(3, np.float32)


def test_shapes_that_do_not_fit_are_named_with_the_op(x):
    with pytest.raises(ShapeError, match=r"\(3,\) and \(2,\) do not broadcast"):
        x + np.ones(2)
    with pytest.raises(ShapeError, match=r"matmul of \(2, 3\) and \(2, 3\)"):
        cr.tensor(np.ones((2, 3))) @ np.ones((2, 3))


def test_a_deep_copy_is_independent(x):
    other = copy.deepcopy(x)
    other.assign([0.0, 0.0, 0.0])
    np.testing.assert_array_equal(x.value, [1.0, 2.0, 3.0])
    assert other.requires_grad


def test_tensors_are_keys_by_identity(x):
    assert len({x: 1, x.detach(): 2, x.detach(): 3}) == 3


def test_repr_shows_values_dtype_and_source(x):
    assert repr(x) == "tensor([1., 2., 3.], dtype=float64, requires_grad=True)"
    assert repr(x + 1) == "tensor([2., 3., 4.], dtype=float64, source=add)"
    assert repr(cr.tensor(1.5)) == "tensor(1.5, dtype=float64)"


def test_detect_nan_names_the_first_op_that_is_not_finite(x):
    with np.errstate(all="ignore"), cr.detect_nan():
        with pytest.raises(ArithmeticError, match=r"log of \(3,\) gives NaN$"):
            np.exp(np.log(-x))
        with pytest.raises(ArithmeticError, match=r"gives infinity$"):
            1.0 / (x - 1.0)
        with pytest.raises(ArithmeticError, match="because an input is not finite already"):
            cr.tensor([np.nan]) * 2.0
    with np.errstate(all="ignore"):
        assert math.isnan(np.log(-x).value[0])


def test_every_error_of_the_engine_is_a_chainrule_error(x):
    for act in (
        lambda: (x * x).backward(), lambda: x.assign([1.0]), lambda: cr.tensor("a"), lambda: np.asarray(x),
        lambda: x + np.ones(2), lambda: cr.tensor(1.0).backward(), lambda: np.nansum(x),
    ):  # fmt: skip
        with pytest.raises(ChainruleError):
            act()


@given(st.lists(st.sampled_from(["add", "multiply", "tanh", "reuse"]), max_size=12), st.floats(-2, 2))
def test_any_chain_of_ops_has_the_derivative_of_central_differences(steps, at):
    rules = {
        "add": lambda y, x: y + 0.5,
        "multiply": lambda y, x: y * 0.7,
        "tanh": lambda y, x: np.tanh(y),
        "reuse": lambda y, x: y * 0.5 + x * 0.25,
    }

    def f(x):
        y = x
        for step in steps:
            y = rules[step](y, x)
        return y

    t = cr.tensor(at, requires_grad=True)
    f(t).backward() if steps else (t * 1.0).backward()
    h = 1e-6
    numeric = (f(at + h) - f(at - h)) / (2 * h)
    assert t.grad == pytest.approx(numeric, abs=1e-8)


def test_a_step_of_an_optimiser_changes_nothing_that_is_still_held():
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    w = cr.tensor([3.0, 4.0], requires_grad=True)
    seen, detached = x.value, x.detach()
    y = (detached * w).sum()
    x.subtract_(np.array([10.0, 10.0]))
    y.backward()
    np.testing.assert_array_equal(w.grad, [1.0, 2.0])
    np.testing.assert_array_equal(seen, [1.0, 2.0])
    np.testing.assert_array_equal(x.value, [-9.0, -8.0])


def test_a_step_of_an_optimiser_is_in_place_where_nobody_else_holds_the_array():
    x = cr.tensor(np.ones(1000), requires_grad=True)
    (x * 2).sum().backward()
    before = x._value.__array_interface__["data"]
    x.subtract_(x.grad)
    assert x._value.__array_interface__["data"] == before


def test_one_no_grad_may_be_entered_inside_itself(x):
    quiet = cr.no_grad()
    with quiet, quiet:
        pass
    assert (x * 2.0).requires_grad
