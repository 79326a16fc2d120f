"""Memory is freed when its last user goes: by counting references, without the garbage collector."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import chainrule as cr


@pytest.fixture(autouse=True)
def _without_the_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def network(W, x):
    return (np.tanh(x @ W + 1.0) ** 2).mean()


def tensors():
    return cr.tensor(np.ones((3, 2)), requires_grad=True), cr.tensor(np.ones((4, 3)))


def nothing_is_left_to_collect():
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return [x for x in gc.garbage if type(x).__module__.startswith(("chainrule", "numpy"))] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def test_a_forward_pass_that_is_dropped_is_freed_at_once():
    W, x = tensors()
    y = network(W, x)
    gone = weakref.ref(y)
    del y
    assert gone() is None
    assert nothing_is_left_to_collect()


def test_a_step_leaves_no_cycles():
    W, x = tensors()
    for retain in (True, False):
        loss = network(W, x)
        loss.backward(retain_graph=retain)
        del loss
    assert nothing_is_left_to_collect()


@pytest.mark.parametrize(
    "use",
    [
        lambda W, x: cr.grad(network)(W, x),
        lambda W, x: cr.hessian(network)(W, x),
        lambda W, x: cr.jvp(lambda W: network(W, x), (W,), (W,)),
        lambda W, x: cr.vjp(network, W, x)[1](1.0),
        lambda W, x: cr.derive(cr.trace(network, W, x)).run(W, x),
    ],
    ids=["grad", "hessian", "jvp", "vjp", "graph"],
)
def test_the_transforms_leave_no_tensors_in_cycles(use):
    use(np.ones((3, 2)), np.ones((4, 3)))
    assert nothing_is_left_to_collect()


def test_an_error_in_the_middle_leaves_no_cycles():
    W, x = tensors()
    with pytest.raises(ValueError, match="matmul"):
        np.tanh(x @ W) @ x
    assert nothing_is_left_to_collect()


def test_what_no_rule_needs_is_freed_before_backward():
    W, x = tensors()
    a = x @ W
    held = weakref.ref(a._value)
    y = (a + 1.0).sum()
    del a
    assert held() is None, "neither the sum nor the addition needs it"
    y.backward()


def test_what_a_rule_needs_is_kept_until_backward_and_freed_by_it():
    W, x = tensors()
    h = np.tanh(x @ W)
    held = weakref.ref(h._value)
    y = h.sum()
    del h
    assert held() is not None
    y.backward()
    assert held() is None


def test_under_no_grad_nothing_is_kept():
    W, x = tensors()
    with cr.no_grad():
        h = np.tanh(x @ W)
        held = weakref.ref(h._value)
        y = h.sum()
        del h
    assert held() is None
    assert y.source is None


def test_a_chain_of_100_000_ops_goes_backward_and_is_freed():
    t = cr.tensor(1.0, requires_grad=True)
    y = t
    for _ in range(100_000):
        y = y + 1.0
    y.backward()
    assert t.grad == 1.0
    del y


def test_a_chain_of_100_000_ops_is_freed_without_going_backward():
    t = cr.tensor(1.0, requires_grad=True)
    y = t
    for _ in range(100_000):
        y = y * 1.0
    del y
    assert nothing_is_left_to_collect()


def test_memory_does_not_grow_over_1000_steps():
    W, x = cr.tensor(np.ones((200, 100)), requires_grad=True), cr.tensor(np.ones((2, 200)))

    def peak_of(steps):
        tracemalloc.reset_peak()
        for _ in range(steps):
            W.grad = None
            network(W, x).backward()
            W.subtract_(1e-3 * W.grad)
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        assert peak_of(1000) - peak_of(10) < W.value.nbytes, "less than a single gradient is still held"
    finally:
        tracemalloc.stop()
