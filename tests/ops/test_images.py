"""Convolution and pooling beyond their examples: any sizes against plain loops, more images than a block holds, NaN,
ties, and what is said about shapes that do not fit.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.check.numeric import relative_error
from chainrule.errors import ShapeError
from chainrule.ops import convolution, windows
from chainrule.ops.convolution import Conv2d, Conv2dInput, Conv2dWeight
from chainrule.ops.pooling import AvgPool2d, AvgPool2dInput, MaxPool2d, MaxPool2dInput, MaxPool2dOutput

EXACT = 1e-13
RNG = np.random.default_rng(0)


def pairs(least: int, most: int) -> Any:
    return st.tuples(st.integers(least, most), st.integers(least, most))


WINDOWS = {"kernel": pairs(1, 3), "stride": pairs(1, 3), "padding": pairs(0, 2), "dilation": pairs(1, 2)}


def assert_is_the_reference(op: Any, *inputs: np.ndarray, **attributes: Any) -> np.ndarray:
    found, expected = op.apply(*inputs, **attributes), op.reference(*inputs, **attributes)
    assert found.shape == expected.shape
    assert relative_error(found, expected) <= EXACT
    return found


def fits(size: tuple[int, int], slides: dict[str, Any]) -> bool:
    spans = [d * (k - 1) + 1 for d, k in zip(slides["dilation"], slides["kernel"], strict=True)]
    return all(n + 2 * p >= s for n, p, s in zip(size, slides["padding"], spans, strict=True))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 3),
    size=pairs(1, 7),
    parts=pairs(1, 2),
    groups=st.integers(1, 3),
    slides=st.fixed_dictionaries(WINDOWS),
)
def test_convolutions_of_any_sizes_are_those_of_plain_loops(n, size, parts, groups, slides):
    assume(fits(size, slides))
    kernel, slides = slides.pop("kernel"), {**slides, "groups": groups}
    x, w = RNG.normal(size=(n, groups * parts[0], *size)), RNG.normal(size=(groups * parts[1], parts[0], *kernel))
    y = assert_is_the_reference(Conv2d, x, w, **slides)
    g = RNG.normal(size=y.shape)
    assert_is_the_reference(Conv2dInput, g, w, size=size, **slides)
    assert_is_the_reference(Conv2dWeight, g, x, kernel=kernel, **slides)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(0, 3), size=pairs(1, 7), slides=st.fixed_dictionaries(WINDOWS))
def test_pools_of_any_sizes_are_those_of_plain_loops(n, size, slides):
    slides["padding"] = tuple(min(p, k // 2) for p, k in zip(slides["padding"], slides["kernel"], strict=True))
    slides["dilation"] = (1, 1)
    assume(fits(size, slides))
    x = RNG.integers(-2, 3, (n, 2, *size)).astype(float)  # with ties
    y = assert_is_the_reference(MaxPool2d, x, **slides)
    g, h = RNG.normal(size=y.shape), RNG.normal(size=x.shape)
    assert_is_the_reference(MaxPool2dInput, g, x, **slides)
    assert_is_the_reference(MaxPool2dOutput, h, x, **slides)
    del slides["dilation"]
    assert_is_the_reference(AvgPool2d, h, **slides)
    assert_is_the_reference(AvgPool2dInput, g, size=size, **slides)


@settings(max_examples=300, deadline=None)
@given(size=pairs(0, 4), slides=st.fixed_dictionaries({**WINDOWS, "dilation": pairs(1, 4)}))
def test_a_pool_is_refused_if_and_only_if_a_window_meets_no_element(size, slides):
    assume(fits(size, slides))
    seen = np.pad(np.ones(size), [(p, p) for p in slides["padding"]])
    count = windows.count("pool", size, **slides)
    met = sum(seen[place] for _, place in windows.places(slides["kernel"], slides["stride"], slides["dilation"], count))
    x = np.ones((1, 1, *size))
    if (met > 0).all():
        assert (MaxPool2d.apply(x, **slides) == 1).all()
    else:
        with pytest.raises(ShapeError, match=r"meets no (row|column)"):
            MaxPool2d.apply(x, **slides)


@pytest.mark.parametrize("block", [1, 2000, 10**9])
def test_how_many_images_are_computed_at_a_time_changes_nothing(monkeypatch, block):
    x, w = RNG.normal(size=(7, 3, 6, 5)), RNG.normal(size=(4, 3, 3, 2))
    g = RNG.normal(size=(7, 4, 4, 4))
    attributes = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    monkeypatch.setattr(convolution, "BLOCK", block)
    assert_is_the_reference(Conv2d, x, w, **attributes)
    assert_is_the_reference(Conv2dInput, g, w, size=(6, 5), **attributes)
    assert_is_the_reference(Conv2dWeight, g, x, kernel=(3, 2), **attributes)


def test_arrays_in_any_order_of_memory_are_taken():
    x, w = (
        RNG.normal(size=(5, 2, 6, 3)).transpose(3, 1, 2, 0),
        RNG.normal(size=(3, 2, 4, 2))[..., ::-1].transpose(2, 1, 0, 3),
    )
    np.testing.assert_array_equal(cr.conv2d(x, w), cr.conv2d(x.copy(), w.copy()))
    np.testing.assert_array_equal(cr.max_pool2d(x, 2), cr.max_pool2d(x.copy(), 2))


def test_ints_stand_for_pairs_and_a_pool_steps_by_its_own_size():
    x, w = RNG.normal(size=(2, 3, 7, 9)), RNG.normal(size=(4, 3, 3, 3))
    np.testing.assert_array_equal(
        cr.conv2d(x, w, stride=2, padding=1, dilation=2), cr.conv2d(x, w, None, (2, 2), (1, 1), (2, 2))
    )
    np.testing.assert_array_equal(cr.max_pool2d(x, 3), cr.max_pool2d(x, (3, 3), (3, 3)))
    np.testing.assert_array_equal(cr.avg_pool2d(x, (1, 2)), cr.avg_pool2d(x, (1, 2), (1, 2)))


def test_the_bias_is_added_to_each_channel_and_gets_the_sum_of_its_gradients():
    x, w, b = RNG.normal(size=(2, 3, 5, 5)), RNG.normal(size=(4, 3, 2, 2)), RNG.normal(size=4)
    np.testing.assert_allclose(cr.conv2d(x, w, b), cr.conv2d(x, w) + b[:, None, None])
    np.testing.assert_allclose(cr.grad(lambda b: cr.conv2d(x, w, b).sum())(b), np.full(4, 2 * 4 * 4.0))


def test_pixels_stay_integers_in_a_maximum_and_become_floats_in_a_mean():
    x = RNG.integers(0, 256, (1, 1, 4, 4)).astype(np.uint8)
    assert cr.max_pool2d(x, 3, 1, 1).dtype == np.uint8
    np.testing.assert_array_equal(cr.max_pool2d(x, 3, 1, 1), cr.max_pool2d(x.astype(float), 3, 1, 1))
    np.testing.assert_allclose(cr.avg_pool2d(x, 2)[0, 0, 0, 0], x[0, 0, :2, :2].mean())
    assert not cr.max_pool2d(np.zeros((1, 1, 2, 2), bool), 2, 1, 1).any()
    assert (cr.max_pool2d(np.full((1, 1, 2, 2), -5), 2, 1, 1) == -5).all()


def test_lists_are_arrays():
    x, w = RNG.normal(size=(1, 2, 3, 3)), RNG.normal(size=(2, 2, 2, 2))
    np.testing.assert_array_equal(cr.conv2d(x.tolist(), w.tolist(), [1.0, 2.0]), cr.conv2d(x, w, np.array([1.0, 2.0])))
    np.testing.assert_array_equal(cr.max_pool2d(x.tolist(), 2), cr.max_pool2d(x, 2))
    np.testing.assert_array_equal(cr.avg_pool2d(x.tolist(), 2), cr.avg_pool2d(x, 2))


def test_sums_have_the_dtype_of_what_is_summed():
    pixels, ones = np.full((1, 1, 2, 2), 200, np.uint8), np.ones((1, 1, 2, 2), np.uint8)
    assert cr.conv2d(pixels, ones).item() == 800 % 256
    assert cr.conv2d(pixels, ones.astype(np.float32)).item() == 800
    large = np.full((1, 1, 2, 2), 60000, np.float16)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(cr.conv2d(large, ones), np.full((1, 1, 1, 1), np.inf, np.float16), strict=True)
        np.testing.assert_array_equal(cr.avg_pool2d(large, 2), np.full((1, 1, 1, 1), np.inf, np.float16), strict=True)


def test_nan_in_a_window_is_nan_and_stays_in_its_window():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    x[0, 0, 0, 1] = np.nan
    for pool in (cr.max_pool2d, cr.avg_pool2d):
        np.testing.assert_array_equal(np.isnan(pool(x, 2)), [[[[True, False], [False, False]]]])


def test_the_first_of_equal_elements_gets_the_gradient_and_shared_ones_get_several():
    dx = cr.grad(lambda x: cr.max_pool2d(x, 2).sum())(np.zeros((1, 1, 4, 4)))
    np.testing.assert_array_equal(dx[0, 0], [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])
    peak = np.zeros((1, 1, 3, 3))
    peak[0, 0, 1, 1] = 1
    assert cr.grad(lambda x: cr.max_pool2d(x, 2, 1).sum())(peak)[0, 0, 1, 1] == 4


def test_no_gradient_is_computed_of_images_that_need_none(monkeypatch):
    monkeypatch.setattr(convolution, "spread", lambda *_: pytest.fail("the gradient of the images was computed"))
    w = cr.tensor(RNG.normal(size=(2, 1, 3, 3)), requires_grad=True)
    cr.conv2d(RNG.normal(size=(2, 1, 5, 5)), w).sum().backward()
    assert w.grad is not None


X = np.zeros((2, 4, 5, 6))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: cr.conv2d(X, np.zeros((3, 4, 7, 7))), "a kernel of 7 x 7 does not fit into an input of 5 x 6"),
        (lambda: cr.conv2d(X, np.zeros((3, 4, 7, 7)), stride=2), "the result would be of 0 x 0"),
        (lambda: cr.conv2d(X, np.zeros((3, 4, 3, 3)), dilation=4, padding=1), "dilation 4 x 4 spreads over 9 x 9"),
        (lambda: cr.conv2d(X, np.zeros((3, 4, 9, 3)), padding=(1, 0)), "with padding 1 x 0"),
        (
            lambda: cr.conv2d(X, np.zeros((3, 5, 3, 3))),
            r"have 4 channels, and kernels of shape \(3, 5, 3, 3\) are for 5",
        ),
        (lambda: cr.conv2d(X, np.zeros((4, 4, 3, 3)), groups=2), "are for 4 in each of 2 groups"),
        (lambda: cr.conv2d(X, np.zeros((3, 2, 3, 3)), groups=2), "4 channels in and 3 out cannot be parted into 2"),
        (lambda: cr.conv2d(X, np.zeros((3, 4, 3, 3)), groups=0), "groups is 0; expected an int of at least 1"),
        (lambda: cr.conv2d(X[0], np.zeros((3, 4, 3, 3))), r"expected images of shape \(N, .*, found \(4, 5, 6\)"),
        (lambda: cr.conv2d(X, np.zeros((4, 3)), padding="same"), r"expected kernels of shape"),
        (lambda: cr.conv2d(X, np.zeros((4, 3))), r"expected kernels of shape \(O, .*, found \(4, 3\)"),
        (lambda: cr.conv2d(X, np.zeros((3, 4, 3, 3)), np.zeros(4)), r"the bias has shape \(4,\); expected \(3,\)"),
        (
            lambda: cr.conv2d(X, np.zeros((3, 4, 3, 3)), stride=(1, 0)),
            r"stride is \(1, 0\); expected an int of at least 1",
        ),
        (lambda: cr.conv2d(X, np.zeros((3, 4, 3, 3)), padding=1.5), "padding is 1.5; expected an int of at least 0"),
        (lambda: cr.conv2d(X, np.zeros((3, 4, 2, 3)), padding="same"), "needs stride 1 and a kernel of odd sizes"),
        (lambda: cr.conv2d(X, np.zeros((3, 4, 0, 3))), r"at least 1 x 1, found \(3, 4, 0, 3\)"),
        (lambda: cr.conv2d(X, np.zeros((3, 4, 3, 3)), stride=True), "stride is True; expected an int"),
        (lambda: cr.conv2d(X, np.zeros((3, 4, 3, 3)), groups=True), "groups is True; expected an int"),
        (lambda: cr.max_pool2d(X[:, :, :1, :1], 2, 1, 1, 2), "dilation 2 x 2 meets no row of an input of 1 x 1"),
        (lambda: cr.max_pool2d(X[:, :, :, :1], 2, 1, 1, 2), "meets no column of an input of 5 x 1"),
        (lambda: cr.max_pool2d(X[:, :, :2], (2, 1), 1, (2, 0), (4, 1)), "dilation 4 x 1 meets no row"),
        (lambda: cr.max_pool2d(X[:, :, :0], (2, 1), 1, (1, 0)), "meets no row of an input of 0 x 6"),
        (lambda: cr.avg_pool2d(X[:, :, :, :0], (1, 2), 1, (0, 1)), "meets no column of an input of 5 x 0"),
        (lambda: cr.max_pool2d(X, 7), "max_pool2d: a kernel of 7 x 7 does not fit into an input of 5 x 6"),
        (lambda: cr.max_pool2d(X, 2, padding=2), r"padding \(2, 2\) is more than half"),
        (lambda: cr.avg_pool2d(X, (2, 1), padding=1), r"padding \(1, 1\) is more than half"),
        (lambda: cr.avg_pool2d(X, (1, 2, 3)), r"kernel_size is \(1, 2, 3\)"),
    ],
)
def test_what_does_not_fit_is_said(call, said):
    with pytest.raises(ShapeError, match=said):
        call()


def test_a_graph_of_any_batch_size_says_the_same_with_the_line():
    with pytest.raises(ShapeError, match=r"test_images.py, line \d+: conv2d: a kernel of 7 x 7 does not fit"):
        cr.trace(lambda x: cr.conv2d(x, np.zeros((3, 4, 7, 7))), X, batch={"x": 0})
