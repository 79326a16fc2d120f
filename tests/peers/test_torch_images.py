"""PyTorch as an oracle for images: convolution, pooling and batch normalisation over a grid of strides, paddings,
dilations and groups, values and all gradients in float64; and a LeNet that is trained beside PyTorch's.
"""

from itertools import product
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.check.numeric import relative_error
from chainrule.errors import ShapeError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers
torch.set_num_threads(1)

AGREE = 1e-10
F = torch.nn.functional
CHANNELS = 4


def derived(f: Any, g: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    """The value of chainrule's `f`, and the gradients of ⟨f, g⟩."""
    tensors = [cr.tensor(a, requires_grad=True) for a in arrays]
    y = f(*tensors)
    y.backward(g)
    return [y.numpy(), *(t.grad for t in tensors)]


def derived_by_torch(f: Any, arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The same by PyTorch, with a random g."""
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = f(*tensors)
    g = np.random.default_rng(1).normal(size=tuple(y.shape))
    y.backward(torch.tensor(g))
    return g, [y.detach().numpy(), *(t.grad.numpy() for t in tensors)]


def assert_alike(ours: Any, theirs: Any, *arrays: np.ndarray) -> None:
    g, expected = derived_by_torch(theirs, arrays)
    for found, wanted in zip(derived(ours, g, *arrays), expected, strict=True):
        assert relative_error(found, wanted) <= AGREE


@pytest.mark.parametrize("kernel", [(3, 3), (2, 3), (1, 4)], ids=str)
@pytest.mark.parametrize("size", [(7, 9), (8, 5)], ids=str)
def test_convolution(size: tuple[int, int], kernel: tuple[int, int]) -> None:
    rng, compared = np.random.default_rng(0), 0
    for stride, padding, dilation, groups in product((1, 2, 3, (2, 1)), (0, 1, 2, (0, 2)), (1, 2), (1, 2, CHANNELS)):
        x = rng.normal(size=(2, CHANNELS, *size))
        w = rng.normal(size=(2 * CHANNELS, CHANNELS // groups, *kernel))
        b = rng.normal(size=2 * CHANNELS)
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        try:
            cr.conv2d(x, w, b, **options)
        except ShapeError:
            with pytest.raises(RuntimeError):  # PyTorch has no result either
                F.conv2d(*map(torch.tensor, (x, w, b)), **options)
            continue
        compared += 1
        assert_alike(
            lambda x, w, b, o=options: cr.conv2d(x, w, b, **o), lambda *a, o=options: F.conv2d(*a, **o), x, w, b
        )
    assert compared >= 48


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_that_keeps_the_size(padding: str) -> None:
    x, w = np.random.default_rng(0).normal(size=(2, 3, 6, 7)), np.random.default_rng(1).normal(size=(2, 3, 3, 5))
    ours = "same" if padding == "same" else 0
    assert_alike(lambda x, w: cr.conv2d(x, w, padding=ours), lambda x, w: F.conv2d(x, w, padding=padding), x, w)


def pools() -> Any:
    return product(((7, 9), (8, 5)), (2, 3, (3, 2), (1, 3)), (None, 1, 2, (3, 1)), (0, 1))


def test_max_pool() -> None:
    rng, compared = np.random.default_rng(0), 0
    for (size, kernel, stride, padding), dilation in product(pools(), (1, 2)):
        x = np.round(rng.normal(size=(2, 3, *size)), 1)  # with ties: the first one gets the gradient
        try:
            cr.max_pool2d(x, kernel, stride, padding, dilation)
        except ShapeError:
            with pytest.raises(RuntimeError):
                F.max_pool2d(torch.tensor(x), kernel, stride, padding, dilation)
            continue
        compared += 1
        options = (kernel, stride, padding, dilation)
        assert_alike(lambda x, o=options: cr.max_pool2d(x, *o), lambda x, o=options: F.max_pool2d(x, *o), x)
    assert compared >= 80


def test_average_pool() -> None:
    rng, compared = np.random.default_rng(0), 0
    for size, kernel, stride, padding in pools():
        x = rng.normal(size=(2, 3, *size))
        try:
            cr.avg_pool2d(x, kernel, stride, padding)
        except ShapeError:
            with pytest.raises(RuntimeError):
                F.avg_pool2d(torch.tensor(x), kernel, stride, padding)
            continue
        compared += 1
        options = (kernel, stride, padding)
        assert_alike(lambda x, o=options: cr.avg_pool2d(x, *o), lambda x, o=options: F.avg_pool2d(x, *o), x)
    assert compared >= 48


def test_second_derivatives_of_a_convolution() -> None:
    """The gradient of |dL/dx|² + |dW|² by x and W, for a loss that is not linear in y."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 2, 6, 5)), rng.normal(size=(4, 1, 3, 2))
    options = {"stride": (2, 1), "padding": 1, "groups": 2}

    def penalty(x: Any, w: Any) -> Any:
        dx, dw = cr.grad(lambda x, w: (cr.conv2d(x, w, **options) ** 3).sum(), (0, 1))(x, w)
        return (dx**2).sum() + (dw**2).sum()

    tx, tw = (torch.tensor(a, requires_grad=True) for a in (x, w))
    dx, dw = torch.autograd.grad((F.conv2d(tx, tw, **options) ** 3).sum(), (tx, tw), create_graph=True)
    expected = torch.autograd.grad((dx**2).sum() + (dw**2).sum(), (tx, tw))
    for found, wanted in zip(cr.grad(penalty, (0, 1))(x, w), expected, strict=True):
        assert relative_error(found, wanted.numpy()) <= AGREE


def test_batch_norm_of_channels_in_training_and_in_evaluation() -> None:
    rng = np.random.default_rng(0)
    ours = nn.BatchNorm2d(
        3, momentum=0.2, weight_init=nn.init.normal(1.0, 1.0), bias_init=nn.init.normal(1.0), dtype=float
    )
    theirs = torch.nn.BatchNorm2d(3, momentum=0.2, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(ours.weight.numpy()))
        theirs.bias.copy_(torch.tensor(ours.bias.numpy()))
    for mode in (True, True, False):
        x = rng.normal(2.0, 3.0, size=(4, 3, 5, 2))
        assert_alike(ours.train(mode), theirs.train(mode), x)
        assert relative_error(ours.running_mean.numpy(), theirs.running_mean.numpy()) <= AGREE
        assert relative_error(ours.running_var.numpy(), theirs.running_var.numpy()) <= AGREE


def lenets() -> tuple[nn.Sequential, Any]:
    """LeNet-5 for 1 x 14 x 14, here and in PyTorch, with the same weights."""
    cr.manual_seed(0)
    d: dict[str, Any] = {"dtype": np.float64}
    ours = nn.Sequential(
        nn.Conv2d(1, 3, 5, padding=2, **d), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 6, 4, **d), nn.BatchNorm2d(6, **d), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(24, 12, **d), nn.ReLU(), nn.Linear(12, 10, **d),
    )  # fmt: skip
    t = torch.nn
    theirs = t.Sequential(
        t.Conv2d(1, 3, 5, padding=2), t.ReLU(), t.MaxPool2d(2),
        t.Conv2d(3, 6, 4), t.BatchNorm2d(6), t.Tanh(), t.AvgPool2d(2),
        t.Flatten(), t.Linear(24, 12), t.ReLU(), t.Linear(12, 10),
    ).double()  # fmt: skip
    with torch.no_grad():
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            q.copy_(torch.tensor(p.numpy().T if p.ndim == 2 else p.numpy()))
    return ours, theirs


def test_thirty_steps_of_a_lenet_are_pytorchs() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = lenets()
    optimizer = optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    other = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    first = last = 0.0
    x, labels = rng.normal(size=(60, 1, 14, 14)), rng.integers(0, 10, 60)
    for step in range(30):
        rows = slice(step % 3 * 20, step % 3 * 20 + 20)
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(ours(x[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        other.zero_grad()
        expected = F.cross_entropy(theirs(torch.tensor(x[rows])), torch.tensor(labels[rows]))
        expected.backward()
        other.step()
        assert relative_error(float(loss.value), expected.item()) <= 1e-8
        first, last = first or float(loss.value), float(loss.value)
    assert last < first / 2
    y = theirs.eval()(torch.tensor(x)).detach().numpy()
    assert relative_error(ours.predict(x), y) <= 1e-7
