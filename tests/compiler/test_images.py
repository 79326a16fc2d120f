"""Convolutions and pooling as machine code: eager mode, graph, plan and program agree, in functions and in training."""

import itertools

import numpy as np
import pytest
from tests.compiler.trainings import agree, trained

import chainrule as cr
from chainrule import data, nn
from chainrule.compiler import backend

pytest.importorskip("numba")

from chainrule.compiler.fusion.calls import FusedCall
from chainrule.compiler.plan import Plan

BATCH = 3
TOGETHER = 3  # functions in one program: larger ones take long to compile
MANY = 14  # kinds of windows, of which not all fit
SIZES = [(5, 5), (7, 4), (8, 9), (32, 17)]
KERNELS = [(1, 1), (2, 3), (3, 2), (5, 5)]
STRIDES = [(1, 1), (2, 2), (1, 3), (3, 2)]
PADDINGS = [(0, 0), (1, 1), (2, 1)]
DILATIONS = [(1, 1), (2, 1), (2, 3)]
CHANNELS = [(1, 1, 1), (3, 6, 1), (4, 18, 2), (5, 5, 5), (2, 9, 1)]  # in, out, groups


def fits(size, kernel, padding, dilation):
    return all(n + 2 * p >= d * (k - 1) + 1 for n, k, p, d in zip(size, kernel, padding, dilation, strict=True))


def drawn(number, *lists):
    """Some of all combinations, always the same ones."""
    everything = list(itertools.product(*lists))
    order = np.random.default_rng(0).permutation(len(everything))
    return [everything[i] for i in order][:number]


def convolutions():
    for size, kernel, stride, padding, dilation, (inputs, outputs, groups) in drawn(
        MANY, SIZES, KERNELS, STRIDES, PADDINGS, DILATIONS, CHANNELS
    ):
        if fits(size, kernel, padding, dilation):
            rng = np.random.default_rng(len(size))
            x, w = rng.normal(size=(BATCH, inputs, *size)), rng.normal(size=(outputs, inputs // groups, *kernel))
            options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
            yield lambda x, w, options=options: cr.conv2d(x, w, **options), x, w


def poolings():
    for size, kernel, stride, padding, dilation in drawn(MANY, SIZES, KERNELS, [None, *STRIDES], PADDINGS, DILATIONS):
        halves = all(2 * p <= d * (k - 1) + 1 for p, k, d in zip(padding, kernel, dilation, strict=True))
        if fits(size, kernel, padding, dilation) and halves:
            x = np.random.default_rng(1).normal(size=(BATCH, 2, *size))
            if dilation == (1, 1):
                yield lambda x, o=(kernel, stride, padding): cr.avg_pool2d(x, *o), x
            yield lambda x, o=(kernel, stride, padding, dilation): cr.max_pool2d(x, *o), x


def check(cases, dtype, tolerance):
    """The values and the derivatives of functions, in programs of a few of them."""
    for first in range(0, len(cases), TOGETHER):
        check_together(cases[first : first + TOGETHER], dtype, tolerance)


def check_together(cases, dtype, tolerance):
    cases = [(f, *(a.astype(dtype) for a in arrays)) for f, *arrays in cases]
    # The same weights for all images: a constant may not have the batch's size.
    weights = [np.random.default_rng(2).normal(size=f(*arrays).shape[1:]).astype(dtype) for f, *arrays in cases]

    def everything(*given):
        rest, found = iter(given), []
        for (f, *arrays), weight in zip(cases, weights, strict=True):
            mine = [next(rest) for _ in arrays]
            found.append(f(*mine))
            places = tuple(range(len(mine)))
            found += cr.grad(lambda *xs, f=f, weight=weight: (np.tanh(f(*xs)) * weight).sum(), places)(*mine)
        return tuple(found)

    flat = [a for _, *arrays in cases for a in arrays]
    images = itertools.chain.from_iterable([True] + [False] * (len(arrays) - 1) for _, *arrays in cases)
    graph = cr.trace(everything, *flat, batch={f"arg{i}": 0 for i, image in enumerate(images) if image})
    call = FusedCall(graph)
    for ours, planned, expected in zip(call(*flat), Plan(graph)(*flat), everything(*flat), strict=True):
        scale = max(1, np.abs(expected).max())
        assert ours.dtype == expected.dtype == dtype
        np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance * scale)
        np.testing.assert_allclose(planned, expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 1e-4)])
def test_convolutions_of_many_kinds(dtype, tolerance):
    cases = list(convolutions())
    assert len(cases) > 8
    check(cases if dtype == np.float64 else cases[:3], dtype, tolerance)


def test_pooling_of_many_kinds():
    cases = list(poolings())
    assert len(cases) > 12
    check(cases, np.float64, 1e-11)


def classifier(dtype="float64"):
    """The network of the convolutional classifier, smaller."""
    rng = np.random.default_rng(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3, dtype=dtype, rng=rng), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 6, 3, dtype=dtype, rng=rng), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(24, 8, dtype=dtype, rng=rng), nn.ReLU(), nn.Linear(8, 5, dtype=dtype, rng=rng)),
    )


def normed():
    """Strides, padding, groups, batch norm, dropout, overlapping windows, and a mean over images."""
    rng = np.random.default_rng(0)
    return nn.Sequential(
        *(
            nn.Conv2d(3, 6, (3, 2), 2, padding=1, bias=False, dtype="float64", rng=rng),
            nn.BatchNorm2d(6, dtype="float64"),
        ),
        *(nn.Tanh(), nn.Dropout(0.2), nn.MaxPool2d(3, 2, padding=1)),
        *(nn.Conv2d(6, 9, 3, dilation=2, padding=2, groups=3, dtype="float64", rng=rng), nn.AvgPool2d(2)),
        *(nn.GlobalAvgPool2d(), nn.Linear(9, 5, dtype="float64", rng=rng)),
    )


def photographs(n):
    rng = np.random.default_rng(3)
    images, labels = rng.integers(0, 256, (n, 3, 14, 14), dtype=np.uint8), rng.integers(0, 5, n)
    return data.Dataset(images, labels, scale=2 / 255, shift=-1.0, classes=5)


@pytest.mark.parametrize(("count", "batch_size"), [(1, 1), (2, 4), (2, 30)])
def test_a_convolutional_network_is_trained_alike(count, batch_size, monkeypatch):
    monkeypatch.setattr(backend, "threads", lambda work: count)
    agree(classifier, photographs(30), batch_size=batch_size, epochs=3, optimizer="momentum")


def test_a_hundred_steps_in_float32():
    agree(lambda: classifier("float32"), photographs(40), 1e-4, batch_size=4, epochs=10, optimizer="adam")


def test_layers_of_all_kinds_are_trained_alike():
    agree(normed, photographs(30), batch_size=8, epochs=3, optimizer="momentum")


def test_large_batches_are_worked_in_tiles(monkeypatch):
    monkeypatch.setattr("chainrule.compiler.fusion.program.UNTILED", 20)
    monkeypatch.setattr("chainrule.compiler.fusion.program.TILE", 8)
    monkeypatch.setattr(backend, "threads", lambda work: 2)
    agree(classifier, photographs(30), backends=["numba"], batch_size=29, epochs=3, optimizer="momentum")


def test_the_same_bits_twice():
    first, second = (trained("numba", lambda: classifier("float32"), photographs(30), batch_size=4) for _ in range(2))
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        np.testing.assert_array_equal(a.value, b.value)


def test_predictions_agree(monkeypatch):
    """Any number of images, in tiles that are not full."""
    model = classifier()
    for n in (1, 3, 40):
        images = photographs(n).features(dtype=np.float64)
        expected = model.predict(images, backend="eager")
        np.testing.assert_allclose(model.predict(images, backend="numba"), expected, rtol=1e-10, atol=1e-10)


def lined():
    """Groups within the network, without padding; statistics of lines; a maximum of images, whose ties are counted."""
    rng = np.random.default_rng(0)
    return nn.Sequential(
        *(
            nn.Conv2d(3, 6, 3, dtype="float64", rng=rng),
            nn.Tanh(),
            nn.Conv2d(6, 9, 3, groups=3, dtype="float64", rng=rng),
        ),
        *(nn.LayerNorm(10, dtype="float64"), nn.ReLU(), nn.Conv2d(9, 6, 2, 2, dtype="float64", rng=rng)),
        *(nn.GlobalMaxPool2d(), nn.Linear(6, 5, dtype="float64", rng=rng)),
    )


def test_groups_and_lines_within_a_network():
    agree(lined, photographs(30), backends=["numba"], batch_size=8, epochs=3)


def test_what_no_window_meets_may_be_anything():
    """Also what other images left in memory: nothing of it comes to the kernels' gradient."""

    def f(x, w, v):
        return (cr.conv2d(np.tanh(cr.conv2d(x, w, stride=2)), v) ** 2).sum()

    rng = np.random.default_rng(0)
    x, w, v = rng.normal(size=(4, 2, 9, 9)), rng.normal(size=(3, 2, 2, 2)), rng.normal(size=(2, 3, 3, 3))
    x[..., 8] = np.nan  # two columns a window: the ninth is left over
    derivative = cr.grad(f, argnums=(0, 1, 2))
    graph = cr.trace(derivative, x, w, v, batch={"x": 0})
    call, lost = FusedCall(graph), x.copy()
    lost[2:] = np.nan
    for images in (x, lost, x[:2], x):
        for ours, expected in zip(call(images, w, v), derivative(images, w, v), strict=True):
            if not np.isnan(images[..., :8]).any():
                assert np.isfinite(ours).all()
                np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-10)
