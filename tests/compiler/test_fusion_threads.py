"""Programs shared by threads: right at any number of rows, the same bits each time, and nobody is left waiting."""

import hashlib
import os
import subprocess
import sys
import threading
from multiprocessing import get_context

import numpy as np
import pytest
from tests.compiler.trainings import agree, compare, digits, network, trained
from threadpoolctl import threadpool_info

from chainrule import nn
from chainrule.compiler import backend
from chainrule.compiler.fusion.program import Program

pytest.importorskip("numba")


@pytest.fixture
def threads(monkeypatch):
    """Sets how many threads share a step."""
    return lambda n: monkeypatch.setattr(backend, "threads", lambda work: n)


def limits():
    import scipy.linalg.cython_blas  # noqa: F401  the BLAS of machine code: loaded later, it would be one more

    return [(library["filepath"], library["num_threads"]) for library in threadpool_info()]


class Normed(nn.Module):
    """A step begins with a sum over the first weight, of which every thread has changed its part."""

    def __init__(self):
        self.first, self.last = nn.Linear(70, 12, dtype="float64"), nn.Linear(12, 4, dtype="float64")

    def forward(self, x):
        return self.last(np.tanh(self.first(x) / np.sqrt((self.first.weight**2).sum())))


def biased(width):
    """The bias trick: a column of ones is part of the first product."""
    first = nn.Linear(width + 1, 12, bias=False, dtype="float64")
    return nn.Sequential(nn.AppendOne(), first, nn.Tanh(), nn.Linear(12, 4, dtype="float64"))


# By threads, what the program is: by columns of the data or not, sparse or not, memory of an optimiser or not.
SHARED = {
    "sparse, by columns": (lambda: network([70, 12, 4]), "momentum", digits(95, 70)),
    "sparse, large": (lambda: network([64, 70, 4]), "adam", digits(95, 64)),
    "sparse, narrow": (lambda: network([40, 130, 5, 4]), "rmsprop", digits(95)),
    "appended, by columns": (lambda: biased(112), "sgd", digits(95, 112)),  # 112 are whole cache lines, 113 are not
    "appended, shifted": (lambda: biased(112), "sgd", digits(95, 112, shift=-0.1)),
    "appended, narrow": (lambda: biased(40), "adam", digits(95)),
    "dense": (lambda: network([70, 64, 66, 4], nn.ReLU), "sgd", digits(95, 70, sparse=False, shift=-0.5)),
    "weight norm": (Normed, "sgd", digits(95, 70)),
    "one unit": (lambda: network([70, 1, 4]), "adamw", digits(95, 70, sparse=False)),
}


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", SHARED)
def test_threads_share_a_step(name, count, threads):
    make, optimizer, train = SHARED[name]
    threads(count)
    for rows, batch_size in [(95, 10), (95, 1), (1, 1), (2, 2), (95, None), (94, 31)]:
        some = train.subset(slice(0, rows))
        agree(make, some, backends=["numba"], optimizer=optimizer, batch_size=batch_size, epochs=3)


def test_what_is_appended_hides_no_zeros():
    program = trained("numba", lambda: biased(112), digits(95, 112, scale=1 / 80, shift=-0.4)).source
    assert "nonzeros_times_matrix" in program
    assert "add_nonzeros_outer_row" in program


def test_threads_share_tiles_and_dropout(threads):
    threads(3)
    train = digits(5000, 70)
    agree(lambda: network([70, 8, 4], between=[lambda: nn.Dropout(0.2)]), train, backends=["numba"], batch_size=None)


def test_how_many_threads_there_are(monkeypatch):
    info = [{"user_api": "blas", "num_threads": 3}, {"user_api": "openmp", "num_threads": 1}]
    monkeypatch.setattr(backend, "_controller", lambda: type("", (), {"info": lambda self: info})())
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert backend.threads(backend.ONE_THREAD * 0.99) == 1
    assert backend.threads(backend.ONE_THREAD) == 2
    assert backend.threads(backend.ONE_THREAD * 100) == 3  # no more than BLAS may use
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    assert backend.threads(backend.ONE_THREAD * 100) == 2  # nor than the process has cores


SCRIPT = """
import hashlib, sys
from chainrule.compiler import backend
from tests.compiler.trainings import digits, network, trained
backend.threads = lambda work: int(sys.argv[1])
trainer = trained("numba", lambda: network([70, 12, 4]), digits(95, 70), optimizer="adam", epochs=5)
assert trainer.backend == "numba"
print(hashlib.sha256(b"".join(a.tobytes() for a in trainer.model.state_dict().values())).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_two_processes_compute_the_same_bits_whatever_is_in_the_cache(count, tmp_path):
    def run():
        env = {**os.environ, "CHAINRULE_CACHE": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", SCRIPT, str(count)], env=env, capture_output=True, text=True)
        assert not done.returncode, done.stderr
        return done.stdout

    cold = run()
    entries = sorted((tmp_path / "modules").iterdir())
    assert run() == cold
    assert sorted((tmp_path / "modules").iterdir()) == entries  # the text is the same, so it was found
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:-100])
    assert run() == cold


def test_blas_gets_its_threads_back(threads, monkeypatch):
    threads(2)
    train, before, seen = digits(95, 70), limits(), []
    kept = Program._guarded

    def fails(self, *arguments):
        seen.append([library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"])
        if arguments[1] == 0:
            raise KeyboardInterrupt
        return kept(self, *arguments)

    trained("numba", lambda: network([70, 12, 4]), train)
    assert limits() == before
    monkeypatch.setattr(Program, "_guarded", fails)
    with pytest.raises(KeyboardInterrupt):  # the other thread does not wait for the one that was interrupted
        trained("numba", lambda: network([70, 12, 4]), train)
    assert limits() == before
    assert {n for counts in seen for n in counts} == {1}


def test_two_trainers_at_once(threads):
    threads(2)
    make, train, before = (lambda: network([70, 12, 4])), digits(95, 70), limits()
    start = {name: a.copy() for name, a in make().state_dict().items()}
    found = []

    def fit():
        model = make()
        model.load_state_dict(start)
        found.append(trained("numba", lambda: model, train, epochs=30, shuffle=False))

    workers = [threading.Thread(target=fit) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 3
    model = make()
    model.load_state_dict(start)
    expected = trained("numba", lambda: model, train, epochs=30, shuffle=False)
    for trainer in found:
        compare(trainer, expected, train, 0)
    assert limits() == before


def weights(send):
    """The bits that a process gets."""
    backend.threads = lambda work: 2
    trainer = trained("numba", lambda: network([70, 12, 4]), digits(95, 70))
    arrays = trainer.model.state_dict().values()
    send.send(hashlib.sha256(b"".join(map(np.ndarray.tobytes, arrays))).hexdigest())


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_process_forked_after_a_fit(threads):
    threads(2)
    trainer = trained("numba", lambda: network([70, 12, 4]), digits(95, 70))
    arrays = trainer.model.state_dict().values()
    receive, send = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(target=weights, args=(send,), daemon=True)
    process.start()
    try:
        assert receive.poll(60), "the child hangs"
        assert receive.recv() == hashlib.sha256(b"".join(map(np.ndarray.tobytes, arrays))).hexdigest()
    finally:
        process.kill()
        process.join()
