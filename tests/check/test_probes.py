"""Probes find what was planted, say it with numbers, and let what is right pass, from many starts."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.check.probing.run import probes
from chainrule.errors import DataError
from chainrule.lab.defects import DEFECTS
from chainrule.lab.defects.derivatives import softmax

SAME, NEIGHBOURS, EVALUATION = (
    "same input, same output",
    "no sample depends on its neighbours",
    "evaluation changes no parameter",
)
INPUT, LEAK, EXTREMES = "the output depends on the input", "no output depends on the targets", "extreme inputs"
START, GRADIENTS = "loss at the start", "the same batch twice gives the same gradients"
DOUBLED, MOVES = "a doubled batch", "every parameter moves"
TINY, SHUFFLED = "a tiny set can be learnt", "shuffled labels cannot be learnt"
ALL = [SAME, NEIGHBOURS, EVALUATION, INPUT, LEAK, EXTREMES, START, GRADIENTS, DOUBLED, MOVES, TINY, SHUFFLED]


def rng(seed=0):
    return np.random.default_rng(seed)


def data(seed=0, samples=60, features=4, classes=3):
    x = rng(seed + 100).normal(size=(samples, features))
    return x, (x @ rng(seed + 200).normal(size=(features, classes))).argmax(axis=1)


X, T = data()
LONG = 60.0  # so that no verdict depends on how busy the machine is


def failed(thing, x=X, t=T, **options):
    return {probe.name for probe in probes(thing, x, t, seconds=LONG, **options).failed}


class Network:
    """Right: a ReLU network with a softmax, of which each test plants one error in a subclass."""

    def __init__(self, seed=0):
        r = rng(seed)
        self.W1, self.b1 = r.normal(size=(4, 8)) / 2, np.zeros(8)
        self.W2, self.b2 = r.normal(size=(8, 3)) / 3, np.zeros(3)

    def forward(self, x):
        self.x = x
        self.h = np.maximum(x @ self.W1 + self.b1, 0)
        self.y = softmax(self.h @ self.W2 + self.b2)
        return self.y

    def loss(self, x, t):
        return -np.log(self.forward(x)[np.arange(len(t)), t]).mean()

    def gradients(self, x, t):
        d2 = (self.forward(x) - np.eye(3)[t]) / len(t)
        d1 = d2 @ self.W2.T * (self.h > 0)
        return {"W1": self.x.T @ d1, "b1": d1.sum(axis=0), "W2": self.h.T @ d2, "b2": d2.sum(axis=0)}

    def step(self, x, t, lr):
        for name, g in self.gradients(x, t).items():
            setattr(self, name, getattr(self, name) - lr * g)


class NormalisesByTheBatch(Network):
    def forward(self, x):
        return super().forward((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-5))


class KeepsAMean(Network):
    mean = 0.0

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.mean()
        return super().forward(x - self.mean)


class LearnsWhileItMeasures(Network):
    def accuracy(self, x, t):
        self.step(x, t, 0.01)
        return (self.y.argmax(axis=1) == t).mean()


class ForgetsABias(Network):
    def step(self, x, t, lr):
        for name, g in self.gradients(x, t).items():
            if name != "b1":
                setattr(self, name, getattr(self, name) - lr * g)


class SumsGradients(Network):
    def gradients(self, x, t):
        return {name: len(t) * g for name, g in super().gradients(x, t).items()}


class SumsInTheStep(Network):
    gradients = None

    def step(self, x, t, lr):
        for name, g in Network.gradients(self, x, t).items():
            setattr(self, name, getattr(self, name) - lr * len(t) * g)


class AddsToOldGradients(Network):
    def __init__(self):
        super().__init__()
        self.kept = {"W1": 0.0, "b1": 0.0, "W2": 0.0, "b2": 0.0}

    def gradients(self, x, t):
        for name, g in super().gradients(x, t).items():
            self.kept[name] = self.kept[name] + g
        return dict(self.kept)


class GoesUphill(Network):
    def gradients(self, x, t):
        return {name: -g for name, g in super().gradients(x, t).items()}


class IgnoresItsInput(Network):
    def forward(self, x):
        return super().forward(np.zeros_like(x))


class LooksAtTheTargets(Network):
    t = None

    def forward(self, x):
        y = super().forward(x)
        return y if self.t is None or len(self.t) != len(x) else 0.5 * y + 0.5 * np.eye(3)[self.t]

    def loss(self, x, t):
        self.t = t
        return super().loss(x, t)


class Overflows(Network):
    def forward(self, x):
        super().forward(x)
        e = np.exp(self.h @ self.W2 + self.b2)
        self.y = e / e.sum(axis=1, keepdims=True)
        return self.y


class StartsTooLarge(Network):
    def __init__(self, seed=0):
        super().__init__(seed)
        self.W1, self.W2 = 30 * self.W1, 30 * self.W2


class WrongShape(Network):
    def gradients(self, x, t):
        g = super().gradients(x, t)
        return g | {"b2": g["b2"].sum(keepdims=True)}


def test_what_is_right_passes_every_probe():
    report = probes(Network(), X, T, seconds=LONG)
    assert report
    assert [probe.name for probe in report] == ALL
    assert {probe.verdict for probe in report} == {"passed"}


PLANTED = [
    (NormalisesByTheBatch, {NEIGHBOURS}, "mean"),
    (KeepsAMean, {SAME}, "kept between the calls"),
    (LearnsWhileItMeasures, {EVALUATION}, "accuracy changed W1, b1, W2, b2"),
    (ForgetsABias, {MOVES}, "of 4 parameters, b1 never moved"),
    (SumsGradients, {DOUBLED}, "the gradient is 2 times as large"),
    (SumsInTheStep, {DOUBLED}, "the step is 2 times as large"),
    (AddsToOldGradients, {GRADIENTS}, "2 times the first"),
    (GoesUphill, {TINY}, "could not be learnt from five starts"),
    (LooksAtTheTargets, {LEAK}, "the targets take part in the prediction"),
    (Overflows, {EXTREMES}, "Take off the maximum"),
    (StartsTooLarge, {START}, "ln 3 = 1.099"),
    (WrongShape, {GRADIENTS}, r"b2 (1,) instead of (3,)"),
]


@pytest.mark.parametrize(("network", "expected", "words"), PLANTED, ids=lambda v: getattr(v, "__name__", None))
def test_what_was_planted_is_found(network, expected, words):
    report = probes(network(), X, T, seconds=LONG)
    assert not report
    names = {probe.name for probe in report.failed}
    assert expected <= names
    assert names <= expected | {TINY, SHUFFLED, DOUBLED}  # what else may follow from it
    assert words in " ".join(report[name].sentence for name in expected)


def test_a_network_that_ignores_its_input_is_found():
    assert INPUT in failed(IgnoresItsInput())


@pytest.mark.parametrize("seed", range(5))
def test_there_is_no_false_alarm_for_what_is_written_by_hand(seed):
    x, t = data(seed)
    p = {"W": rng(seed).normal(size=(4, 3)), "b": np.zeros(3)}
    zeros = {"W": np.zeros((4, 3)), "b": np.zeros(3)}
    two = {
        "W1": rng(seed).normal(size=(4, 5)),
        "b1": np.zeros(5),
        "W2": rng(seed).normal(size=(5, 3)),
        "b2": np.zeros(3),
    }
    things = [
        (Network(seed), {}),
        (DEFECTS["6.1"].clean(rng(seed).normal(size=(4, 3)), rng(seed + 1).normal(size=(3, 3))), {}),
        (DEFECTS["6.2"].clean(4, 3), {}),
        (DEFECTS["6.6"].clean(rng(seed), (4, 300, 3)), {}),
        (DEFECTS["6.12"].clean(rng(seed)), {}),
        (DEFECTS["6.16"].clean(4, 3, seed), {}),
        (DEFECTS["6.22"].clean(rng(seed), 4, 3), {}),
        (DEFECTS["6.3"].clean, {"parameters": p}),
        (DEFECTS["6.3"].clean, {"parameters": zeros, "loss": "cross-entropy"}),
        (DEFECTS["6.4"].clean, {"parameters": two}),
    ]
    for thing, options in things:
        report = probes(thing, x, t, seed=seed, **options)
        assert report, str(report)


TWINS = [
    ("6.1", lambda d: d(rng().normal(size=(4, 3)), rng(1).normal(size=(3, 3))), SAME),
    ("6.2", lambda d: d(4, 3), EVALUATION),
    ("6.6", lambda d: d(rng(), (4, 300, 3)), START),
    ("6.12", lambda d: d(rng()), MOVES),
]


@pytest.mark.parametrize(("id", "make", "name"), TWINS)
def test_defects_of_the_reports_are_told_from_their_twins(id, make, name):
    assert failed(make(DEFECTS[id].clean)) == set()
    assert name in failed(make(DEFECTS[id].defective))


FUNCTIONS = [("6.3", START), ("6.9", START), ("6.11", START), ("6.17", NEIGHBOURS), ("6.18", DOUBLED)]


@pytest.mark.parametrize(("id", "name"), FUNCTIONS)
def test_defects_of_functions_are_told_from_their_twins(id, name):
    options = {"parameters": {"W": rng(1).normal(size=(4, 3)), "b": np.zeros(3)}, "loss": "cross-entropy"}
    assert failed(DEFECTS[id].clean, **options) == set()
    assert name in failed(DEFECTS[id].defective, **options)


@pytest.mark.parametrize(("id", "name"), [("6.4", GRADIENTS), ("6.5", START)])
def test_defects_of_functions_of_one_sample_are_told_from_their_twins(id, name):
    r = rng(1)
    p = {"W1": r.normal(size=(4, 5)), "b1": np.zeros(5), "W2": r.normal(size=(5, 3)), "b2": np.zeros(3)}
    assert failed(DEFECTS[id].clean, parameters=p) == set()
    assert name in failed(DEFECTS[id].defective, parameters=p)


def trainer(*layers, loss=None, optimizer=None):
    model = nn.Sequential(*layers)
    return cr.Trainer(model, loss or nn.CrossEntropyLoss(), optimizer or optim.SGD(model.parameters(), lr=0.1))


STACKS = {
    "linear": lambda: [nn.Linear(4, 3)],
    "dropout": lambda: [nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)],
    "batch norm": lambda: [nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)],
    "all": lambda: [nn.Linear(4, 8), nn.LayerNorm(8), nn.Tanh(), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.Linear(8, 3)],
    "narrow": lambda: [nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3)],
}
LOSSES = [
    nn.CrossEntropyLoss(),
    nn.CrossEntropyLoss("sum"),
    nn.CrossEntropyLoss("mean_entries"),
    nn.CrossEntropyLoss(class_weights=[1, 2, 3]),
    nn.CrossEntropyLoss(label_smoothing=0.1),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stack", STACKS)
def test_there_is_no_false_alarm_for_trainers(stack, seed):
    cr.manual_seed(seed)
    x, t = data(seed)
    subject = trainer(*STACKS[stack](), loss=LOSSES[(seed + len(stack)) % 5])
    before = subject.model.state_dict()
    report = probes(subject, x, t)
    assert report, str(report)
    assert all(np.array_equal(before[name], value) for name, value in subject.model.state_dict().items())


@pytest.mark.parametrize("rate", [1e-5, 1e-3])
def test_a_small_learning_rate_is_no_failure(rate):
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    report = probes(cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=rate)), X, T)
    assert report, str(report)
    assert report[TINY].verdict in ("skipped", "passed")


def test_a_trained_network_with_a_small_learning_rate_and_noise_is_no_failure():
    cr.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Linear(3, 3))
    subject = cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    for _ in range(300):
        subject.step(X.astype(np.float32), T)
    subject.optimizer.lr = 1e-4
    report = probes(subject, X, T)
    assert report, str(report)


def test_a_learning_rate_that_is_far_too_large_is_one():
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    subject = cr.Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=1e4))
    assert failed(subject, X, X[:, :3]) == {TINY}


def test_a_layer_that_the_optimizer_was_not_given_is_found_unless_it_is_said_to_be_frozen():
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    _, _, last = (child for _, child in model.children())
    subject = cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(last.parameters(), lr=0.1))
    assert failed(subject) == {MOVES}
    assert failed(subject, frozen=("0.weight", "0.bias")) == set()


def test_a_trained_network_and_a_regression_have_no_loss_of_a_start():
    cr.manual_seed(0)
    subject = trainer(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    for _ in range(300):
        subject.step(X.astype(np.float32), T)
    report = probes(subject, X, T)
    assert report, str(report)
    assert report[START].verdict == "skipped"
    assert "trained" in report[START].sentence
    regression = probes(trainer(nn.Linear(4, 2), loss=nn.MSELoss()), X, X[:, :2])
    assert regression, str(regression)
    assert {probe.name for probe in regression if probe.verdict == "skipped"} == {START, SHUFFLED}


def test_a_loss_that_cannot_fall_far_is_no_failure():
    cr.manual_seed(0)
    soft = rng(1).uniform(0.4, 0.6, (60, 1))
    report = probes(trainer(nn.Linear(4, 1), loss=nn.BCEWithLogitsLoss()), X, soft, seconds=LONG)
    assert report, str(report)
    assert report[TINY].verdict == "skipped"


def test_indices_as_inputs_are_not_scaled():
    cr.manual_seed(0)
    words = rng().integers(0, 20, (60, 5))
    report = probes(trainer(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(20, 3)), words, words[:, 0] % 3)
    assert report, str(report)
    assert report[EXTREMES].verdict == "skipped"


def test_dropout_that_is_never_switched_off_is_found():
    class Net(Network):
        def forward(self, x):
            return super().forward(x * (np.random.rand(*x.shape) > 0.5))  # noqa: NPY002

    assert SAME in failed(Net())


def test_whole_report_is_printed_and_shown_escaped():
    class Odd(Network):
        def predict(self, x):
            raise ValueError("<b>no</b>")

    report = probes(Odd(), X, T)
    lines = str(report).splitlines()
    assert lines[0] == "Odd: 12 passed"
    assert [line.split(":")[0].split("  ")[-1].strip() for line in lines[1:13]] == ALL
    assert "predict is forward" in lines[-1]
    page = probes(WrongShape(), X, T)._repr_html_()
    assert page.count("<tr>") == len(ALL)
    broken = probes(DEFECTS["6.3"].clean, X, T, parameters={"W": np.zeros((4, 3)), "<b>": np.zeros(3)})
    assert "<b>" not in broken._repr_html_()
    assert "&lt;b&gt;" in broken._repr_html_()


def test_targets_that_do_not_fit_the_inputs_are_refused():
    with pytest.raises(DataError, match=r"as many targets as inputs.*\(60, 4\).*\(59,\)"):
        probes(Network(), X, T[1:])
