"""PyTorch as an oracle for layers and losses: values and gradients in float64, and a hundred steps of training with
each that agree in loss and predictions. Dropout is compared by its statistics, since its random numbers are others.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.check.numeric import relative_error

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers
torch.set_num_threads(1)  # small products wait for a second thread longer than they take

AGREE = 1e-10
N, INPUTS, HIDDEN, CLASSES = 20, 5, 8, 4
rng = np.random.default_rng(0)
X = rng.normal(size=(N, INPUTS))
LABELS = rng.integers(0, CLASSES, N)
ROWS = rng.dirichlet(np.ones(CLASSES), N)
WEIGHTS = np.array([0.5, 2.0, 1.0, 3.0])
FLOAT: dict[str, Any] = {"dtype": np.float64}
DOUBLE: dict[str, Any] = {"dtype": torch.float64}


class LeCunTanh(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return 1.7159 * torch.tanh(2 * x / 3)


LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "relu": (nn.ReLU, torch.nn.ReLU),
    "tanh": (nn.Tanh, torch.nn.Tanh),
    "lecun tanh": (nn.LeCunTanh, LeCunTanh),
    "sigmoid": (nn.Sigmoid, torch.nn.Sigmoid),
    "softplus": (nn.Softplus, torch.nn.Softplus),
    "leaky relu": (lambda: nn.LeakyReLU(0.2), lambda: torch.nn.LeakyReLU(0.2)),
    "elu": (lambda: nn.ELU(0.7), lambda: torch.nn.ELU(0.7)),
    "gelu": (nn.GELU, torch.nn.GELU),
    "silu": (nn.SiLU, torch.nn.SiLU),
    "softmax": (nn.Softmax, lambda: torch.nn.Softmax(-1)),
    "log softmax": (nn.LogSoftmax, lambda: torch.nn.LogSoftmax(-1)),
    "layer norm": (lambda: nn.LayerNorm(HIDDEN, **FLOAT), lambda: torch.nn.LayerNorm(HIDDEN, **DOUBLE)),
    "batch norm": (lambda: nn.BatchNorm1d(HIDDEN, **FLOAT), lambda: torch.nn.BatchNorm1d(HIDDEN, **DOUBLE)),
    "batch norm, slow": (
        lambda: nn.BatchNorm1d(HIDDEN, eps=1e-3, momentum=0.01, **FLOAT),
        lambda: torch.nn.BatchNorm1d(HIDDEN, eps=1e-3, momentum=0.01, **DOUBLE),
    ),
}

LOSSES: dict[str, tuple[nn.Loss, Callable[..., Any], np.ndarray]] = {
    "binary cross-entropy": (nn.BCEWithLogitsLoss(), torch.nn.BCEWithLogitsLoss(), ROWS),
    "binary cross-entropy, sum": (nn.BCEWithLogitsLoss("sum"), torch.nn.BCEWithLogitsLoss(reduction="sum"), ROWS),
    "huber": (nn.HuberLoss(), torch.nn.HuberLoss(), ROWS),
    "huber, delta": (nn.HuberLoss("sum", delta=0.3), torch.nn.HuberLoss(reduction="sum", delta=0.3), ROWS),
    "squared error": (nn.MSELoss(), torch.nn.MSELoss(), ROWS),
}
for reduction in ("mean", "sum"):
    for weights in (None, WEIGHTS):
        for smoothing in (0.0, 0.1):
            for kind, targets in (("labels", LABELS), ("probabilities", ROWS)):
                LOSSES[f"cross-entropy, {reduction}, {kind}{', weights' * (weights is not None)}, {smoothing}"] = (
                    nn.CrossEntropyLoss(reduction, class_weights=weights, label_smoothing=smoothing),
                    torch.nn.CrossEntropyLoss(
                        None if weights is None else torch.tensor(weights),
                        reduction=reduction,
                        label_smoothing=smoothing,
                    ),
                    targets,
                )


def networks(ours: list[nn.Module], theirs: list[Any]) -> tuple[nn.Sequential, Any]:
    """Two networks of these layers that begin at the same weights."""
    cr.manual_seed(1)
    ours, theirs = nn.Sequential(*ours), torch.nn.Sequential(*theirs)
    with torch.no_grad():
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.assign(rng.normal(0.0, 0.5, p.shape))
            q.copy_(torch.tensor(as_theirs(p.value, theirs, q)))
    return ours, theirs


def as_theirs(array: np.ndarray, network: Any, q: Any) -> np.ndarray:
    """A parameter's array (or its gradient's) as PyTorch holds it: weights of linear layers are (out, in) there."""
    table = any(isinstance(m, torch.nn.Embedding) and m.weight is q for m in network)
    return array.copy() if array.ndim < 2 or table else array.T.copy()


def around(layer: Any, linear: Callable[..., Any]) -> list[Any]:
    return [linear(INPUTS, HIDDEN), layer, linear(HIDDEN, CLASSES)]


def ours_linear(n: int, m: int) -> nn.Module:
    return nn.Linear(n, m, **FLOAT)


def theirs_linear(n: int, m: int) -> Any:
    return torch.nn.Linear(n, m, **DOUBLE)


def check_training(
    ours: nn.Module, theirs: Any, loss: nn.Loss, their_loss: Any, x: np.ndarray, targets: np.ndarray
) -> None:
    """A hundred steps on two batches: the losses, the predictions, and at the first step every gradient."""
    sgd = optim.SGD(ours.parameters(), lr=0.02)
    their_sgd = torch.optim.SGD(theirs.parameters(), lr=0.02)
    for step in range(100):
        rows = slice(0, N // 2) if step % 2 else slice(N // 2, N)
        value = loss(ours(x[rows]), targets[rows])
        sgd.zero_grad()
        value.backward()
        their_value = their_loss(theirs(torch.tensor(x[rows])), torch.tensor(targets[rows]))
        their_sgd.zero_grad()
        their_value.backward()
        assert relative_error(value.value, np.array(their_value.item())) <= AGREE, f"loss at step {step + 1}"
        if not step:
            for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
                assert relative_error(as_theirs(p.grad, theirs, q), q.grad.numpy(), 1e-3) <= AGREE, name
        sgd.step()
        their_sgd.step()
    theirs.eval()
    with torch.no_grad():
        assert relative_error(ours.predict(x), theirs(torch.tensor(x)).numpy(), 1e-6) <= AGREE


@pytest.mark.parametrize(("ours", "theirs"), LAYERS.values(), ids=LAYERS)
def test_a_network_with_the_layer_trains_as_pytorchs(ours: Any, theirs: Any) -> None:
    pair = networks(around(ours(), ours_linear), around(theirs(), theirs_linear))
    check_training(*pair, nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(), X, LABELS)


@pytest.mark.parametrize(("loss", "their_loss", "targets"), LOSSES.values(), ids=LOSSES)
def test_a_network_trains_with_the_loss_as_pytorchs(loss: nn.Loss, their_loss: Any, targets: np.ndarray) -> None:
    pair = networks(around(nn.Tanh(), ours_linear), around(torch.nn.Tanh(), theirs_linear))
    check_training(*pair, loss, their_loss, X, targets)


@pytest.mark.parametrize(("loss", "their_loss", "targets"), LOSSES.values(), ids=LOSSES)
def test_the_gradient_of_a_loss_is_pytorchs_far_from_zero_too(loss: Any, their_loss: Any, targets: np.ndarray) -> None:
    outputs = rng.normal(0.0, 20.0, size=(N, CLASSES))
    theirs = torch.tensor(outputs, requires_grad=True)
    value = their_loss(theirs, torch.tensor(targets))
    value.backward()
    ours, gradient = cr.value_and_grad(lambda z: loss(z, targets))(outputs)
    assert relative_error(ours, np.array(value.item())) <= AGREE
    assert relative_error(gradient, theirs.grad.numpy(), 1e-6) <= AGREE


def test_the_running_statistics_are_pytorchs() -> None:
    ours, theirs = nn.BatchNorm1d(INPUTS, **FLOAT), torch.nn.BatchNorm1d(INPUTS, **DOUBLE)
    for _ in range(5):
        x = rng.normal(3.0, 2.0, size=(7, INPUTS))
        ours(x)
        theirs(torch.tensor(x))
    assert relative_error(ours.running_mean.value, theirs.running_mean.numpy()) <= AGREE
    assert relative_error(ours.running_var.value, theirs.running_var.numpy()) <= AGREE


def test_an_embedding_trains_as_pytorchs() -> None:
    words = rng.integers(0, 6, (N, 3))
    pair = networks(
        [nn.Embedding(6, 4, **FLOAT), nn.Flatten(), ours_linear(12, CLASSES)],
        [torch.nn.Embedding(6, 4, **DOUBLE), torch.nn.Flatten(), theirs_linear(12, CLASSES)],
    )
    ours, theirs = pair
    ours.predict = lambda x: ours(x).value  # predict takes floats
    check_training(ours, theirs, nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(), words, LABELS)


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_dropout_has_pytorchs_statistics(p: float) -> None:
    x = np.ones((1000, 100))
    cr.manual_seed(0)
    torch.manual_seed(0)
    for y in (nn.Dropout(p)(x), torch.nn.Dropout(p)(torch.tensor(x)).numpy()):
        assert set(np.unique(y)) == {0.0, 1 / (1 - p)}
        assert abs((y == 0).mean() - p) < 5 * np.sqrt(p * (1 - p) / y.size)
