"""All candidates compute the same: after some steps in the same order their parameters are the same numbers."""

import time
from importlib.util import find_spec

import numpy as np
import pytest
from tests.benchmarks import lenet

from chainrule.benchmarks import roster
from chainrule.benchmarks.processes import Worker
from chainrule.benchmarks.run import UnavailableError
from chainrule.benchmarks.works import WORKS, Problem

OURS = [each for each in roster.CANDIDATES if each.role == "ours"]
HERE = [each for each in roster.CANDIDATES if each.peer == "numpy"]
PEERS = [each for each in roster.CANDIDATES if each.role == "peer" and each.needs]
WIDE = 60_000


def cases(candidates):
    return [
        pytest.param(each, work, id=f"{each.name} {work.name}")
        for each in candidates
        for work in WORKS.values()
        if each.does(work)
    ]


def some(work):
    """Rows for several steps, the last of them on fewer samples; more where JAX takes samples in groups."""
    if work.kind == "prediction" or work.batch == WIDE:
        return min(work.batch, 1000)
    return 45 if work.batch == 1 else work.batch * 5 // 2


def settled(problem, arrays):
    """Parameters as they are; of outputs the log-softmax, since not all give the same multiple."""
    if problem.work.kind == "training":
        return arrays
    outputs = arrays[0].astype(np.float64)
    return [outputs - np.logaddexp.reduce(outputs, axis=1, keepdims=True)]


def reference(problem):
    """By the rules of a textbook, in float64, written down once more: the layers and their derivatives."""
    if problem.work.channels:
        return lenet.trained(problem, 2)
    W, b = [w.astype(np.float64) for w in problem.weights], [v.astype(np.float64) for v in problem.biases]
    x, t, work = problem.x.astype(np.float64), problem.t, problem.work
    if work.kind == "prediction":
        x = x[: work.batch]
    act = {"sigmoid": lambda a: 1 / (1 + np.exp(-a)), "relu": lambda a: a * (a > 0), "tanh": np.tanh}[work.activation]
    slope = {
        "sigmoid": lambda a: np.exp(-a) / (1 + np.exp(-a)) ** 2,
        "relu": lambda a: 1.0 * (a > 0),
        "tanh": lambda a: 1 / np.cosh(a) ** 2,
    }[work.activation]

    def forward(x):
        sums = [x @ W[0] + b[0]]
        for weight, bias in zip(W[1:], b[1:], strict=True):
            sums.append(act(sums[-1]) @ weight + bias)
        return sums

    if work.kind == "prediction":
        return [forward(x)[-1]]
    for _ in range(2):
        for start in range(0, len(x), work.batch):
            inputs, labels = x[start : start + work.batch], t[start : start + work.batch]
            sums = forward(inputs)
            hidden = [inputs, *map(act, sums[:-1])]
            y = np.exp(sums[-1]) / np.exp(sums[-1]).sum(axis=1, keepdims=True)
            d = (y - np.eye(work.layers[-1])[labels]) / len(inputs)
            changes = []
            for k in reversed(range(len(W))):
                changes.append((k, hidden[k].T @ d, d.sum(axis=0)))
                d = (d @ W[k].T) * slope(sums[k - 1]) if k else d
            for k, dW, db in changes:
                W[k] -= work.lr * dW
                b[k] -= work.lr * db
    return [p for pair in zip(W, b, strict=True) for p in pair]


def check(problem, arrays):
    expected, found = settled(problem, reference(problem)), settled(problem, arrays)
    assert len(found) == len(expected)
    digits = 1e-12 if problem.work.dtype == np.float64 else 2e-6
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=digits)


@pytest.mark.parametrize(("candidate", "work"), cases([*OURS, *HERE]))
def test_chainrule_and_what_is_written_by_hand_learn_the_same(candidate, work):
    if not candidate.installed:
        pytest.skip(f"needs {candidate.needs}")
    problem = Problem(work, some(work), shuffle=False)
    try:
        run = candidate.prepare(problem)
    except UnavailableError as error:
        pytest.skip(str(error))
    if work.kind == "training":
        run.go(2)
    check(problem, run.result())


@pytest.mark.peers
@pytest.mark.parametrize(("candidate", "work"), cases(PEERS))
def test_peers_learn_the_same(candidate, work):
    if not candidate.installed:
        pytest.skip(f"needs {candidate.needs}")
    if candidate.name == "torch.compile" and work.name != "M100":
        pytest.skip("takes long to compile, and differs from PyTorch eager in its transform alone")
    worker = Worker(candidate.name, work.name, some(work), shuffle=False)  # has done a first epoch
    try:
        if work.kind == "training":
            worker.seconds(1)
        check(Problem(work, some(work), shuffle=False), worker.result())
    finally:
        worker.close()


def test_the_steps_change_every_parameter_by_much_more_than_the_tolerance():
    for work in WORKS.values():
        if work.kind == "training":
            problem = Problem(work, some(work), shuffle=False)
            start = [p for pair in zip(problem.weights, problem.biases, strict=True) for p in pair]
            for before, after in zip(start, reference(problem), strict=True):
                assert np.abs(after - before).max() > 1e-4


def test_a_shuffled_epoch_sees_every_sample_in_an_order_of_its_own():
    work = WORKS["M100"]
    by_order = []
    for shuffle in (True, False):
        run = roster.candidate("by hand, NumPy").prepare(Problem(work, 1000, shuffle))
        run.go(1)
        by_order.append(run.result()[0])
    difference = np.abs(by_order[0] - by_order[1]).max()
    assert 1e-5 < difference < 1e-1


def test_of_a_fit_the_epochs_after_its_first_are_timed():
    problem = Problem(WORKS["S"], 45, shuffle=False)
    ours, hand = (roster.candidate(name).prepare(problem) for name in ("chainrule eager", "by hand, plain Python"))
    begin = time.perf_counter()
    spent = ours.seconds(3)
    assert 0 < spent < 0.9 * (time.perf_counter() - begin)  # a quarter is not in it
    hand.go(4)
    np.testing.assert_allclose(ours.result()[0], hand.result()[0], rtol=1e-12)


def test_who_needs_python_for_each_step_does_a_part_of_a_long_epoch():
    eager, jax = roster.candidate("PyTorch eager"), roster.candidate("JAX")
    assert eager.rows(WORKS["M1"]) == 2000
    assert jax.rows(WORKS["M1"]) is None


def test_everything_that_is_needed_is_a_package_that_can_be_looked_up():
    for candidate in roster.CANDIDATES:
        assert candidate.installed == (not candidate.needs or find_spec(candidate.needs) is not None)
