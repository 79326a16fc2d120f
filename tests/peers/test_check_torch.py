"""Models of PyTorch under `check.backward`."""

import numpy as np
import pytest

from chainrule import check

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


class Doubled(torch.autograd.Function):
    """tanh with a derivative that is twice too large."""

    @staticmethod
    def forward(ctx, x):
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return 2 * g * (1 - y**2)


class Wrong(torch.nn.Module):
    def forward(self, x):
        return Doubled.apply(x)


def network(activation):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 6), activation, torch.nn.Linear(6, 3))


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(5, 4)).astype(np.float32), rng.integers(3, size=5)


def test_a_model_that_is_right():
    for activation in (torch.nn.Tanh(), torch.nn.ReLU()):
        model = network(activation)
        before = [p.clone() for p in model.parameters()]
        report = check.backward(model, None, data(), loss=torch.nn.CrossEntropyLoss())
        assert report, report
        assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


def test_a_wrong_function_of_ones_own():
    report = check.backward(network(Wrong()), None, data(), loss=torch.nn.CrossEntropyLoss())
    assert [f.verdict for f in report.findings] == ["wrong", "wrong", "right", "right"]
    assert {cause.kind for cause in report.causes} == {"factor"}
