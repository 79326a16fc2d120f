"""Models of PyTorch's, taken as they are."""

import numpy as np
import pytest

from chainrule.check.numeric import numerical_gradient
from chainrule.check.probing.run import probes
from chainrule.check.subjects.recognition import as_subject
from chainrule.errors import ChainruleError, ShapeError, UnknownNameError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

MANY = np.random.default_rng(2).normal(size=(40, 4))
LABELS = np.abs(MANY[:, :3]).argmax(axis=1)
X, T = np.random.default_rng(0).normal(size=(12, 4)), np.random.default_rng(1).integers(0, 3, 12)


def model(*extra, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(4, 6), *extra, torch.nn.ReLU(), torch.nn.Linear(6, 3)).to(dtype)


def subject(*extra, loss=None, optimizer=torch.optim.SGD, **options):
    net = model(*extra, **options)
    return as_subject(net, loss or torch.nn.CrossEntropyLoss(), optimizer=optimizer(net.parameters(), lr=0.1))


def test_gradients_are_those_of_the_loss():
    s = subject(torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(6))
    gradients = s.gradients(X, T)
    for name, value in s.parameters.items():

        def loss(changed, name=name):
            s.set_parameters({name: changed})
            return s.loss(X, T)

        assert gradients[name] == pytest.approx(numerical_gradient(loss, value), abs=1e-7)
        s.set_parameters({name: value})


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_step_learns_and_is_put_back(optimizer):
    s = subject(torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(6), optimizer=optimizer)
    s.update(X, T)
    before, outputs, state, runs = s.parameters, s.predict(X), s.snapshot(), []
    for _ in range(2):
        for _ in range(3):
            s.update(X, T)
        runs.append({name: value.clone() for name, value in s.model.state_dict().items()})
        s.restore(state)
        assert all(np.array_equal(before[name], p) for name, p in s.parameters.items())
        assert np.array_equal(s.predict(X), outputs)
    assert all(torch.equal(runs[0][name], value) for name, value in runs[1].items())
    assert not np.array_equal(runs[0]["0.weight"].numpy(), before["0.weight"])


def test_evaluation_is_in_evaluation_mode_and_modes_are_kept():
    s = subject(torch.nn.Dropout(0.9))
    assert s.loss(X, T) == s.loss(X, T)
    assert s.model.training
    s.model.eval()
    s.update(X, T)
    assert not any(m.training for m in s.model.modules())


def test_floats_take_the_dtype_of_the_model_and_ints_stay_ints():
    s = subject(dtype=torch.float32)
    assert s.predict(X).dtype == np.float32
    embedding = torch.nn.Embedding(5, 3)
    assert as_subject(embedding, "mse").predict(np.array([1, 2])).shape == (2, 3)


def test_reduction_and_loss_are_known_where_they_are_declared():
    assert subject().reduction == "mean"
    assert subject().loss_kind == "cross-entropy"
    assert subject(loss=torch.nn.CrossEntropyLoss(reduction="sum")).reduction == "sum"
    assert as_subject(model(), lambda y, t: ((y - t) ** 2).sum()).reduction is None
    assert subject(loss=torch.nn.MSELoss()).loss_kind == "other"
    assert subject(loss="cross-entropy").loss(X, T) == pytest.approx(subject().loss(X, T))


NETWORKS = {
    "linear": lambda: model(),
    "dropout and batch norm": lambda: model(torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(6)),
    "float32": lambda: model(torch.nn.LayerNorm(6), dtype=torch.float32),
}


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("name", NETWORKS)
def test_probes_give_no_false_alarm(name, optimizer):
    net = NETWORKS[name]()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    step = optimizer(net.parameters(), lr=0.05)
    report = probes(net, MANY, LABELS, loss=torch.nn.CrossEntropyLoss(), optimizer=step, seconds=60)
    assert report, str(report)
    assert {probe.verdict for probe in report} == {"passed"}
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


class BatchStatisticsInEvaluation(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(4, 6), torch.nn.Linear(6, 3)

    def forward(self, x):
        h = self.a(x)
        return self.b((h - h.mean(dim=0)) / (h.std(dim=0) + 1e-5))


class Detached(BatchStatisticsInEvaluation):
    def forward(self, x):
        return self.b(torch.relu(self.a(x)).detach())


class DropoutThatIsNeverOff(BatchStatisticsInEvaluation):
    def forward(self, x):
        return self.b(torch.nn.functional.dropout(self.a(x)))


class SoftmaxOverTheBatch(BatchStatisticsInEvaluation):
    def forward(self, x):
        return torch.softmax(self.b(torch.relu(self.a(x))), dim=0)


PLANTED = [
    (BatchStatisticsInEvaluation, "no sample depends on its neighbours"),
    (SoftmaxOverTheBatch, "no sample depends on its neighbours"),
    (Detached, "every parameter moves"),
    (DropoutThatIsNeverOff, "same input, same output"),
]


@pytest.mark.parametrize(("network", "name"), PLANTED)
def test_probes_find_what_was_planted(network, name):
    torch.manual_seed(0)
    net = network().double()
    report = probes(net, MANY, LABELS, loss="cross-entropy", optimizer=torch.optim.SGD(net.parameters(), lr=0.1))
    assert name in {probe.name for probe in report.failed}


def test_what_does_not_fit_is_refused():
    with pytest.raises(ChainruleError, match="comes with a loss"):
        as_subject(model())
    with pytest.raises(ChainruleError, match=r"torch\.optim"):
        as_subject(model(), "cross-entropy", optimizer=0.1)
    with pytest.raises(ChainruleError, match="without an optimizer"):
        as_subject(model(), "cross-entropy").update(X, T)
    with pytest.raises(UnknownNameError, match="'W'"):
        subject().set_parameters({"W": X})
    with pytest.raises(ShapeError, match=r"0\.weight"):
        subject().set_parameters({"0.weight": X})
