"""Machine code that fails: the plan goes on, and a notice names the layer, the equation, and the generated module."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from tests.compiler.trainings import compare, digits, network, trained

import chainrule as cr
from chainrule import nn
from chainrule.compiler import backend
from chainrule.errors import Notice

pytest.importorskip("numba")

from chainrule.compiler.fusion import source
from chainrule.compiler.fusion.expressions import FORMULAS

TRAIN = digits(95)
PLANTED = """@njit
def planted(x):
    if x == x:
        raise ArithmeticError("planted")
    return x


"""


class Block(nn.Module):
    """A tanh that is deeper in the model."""

    def __init__(self):
        self.inner = [nn.Linear(12, 12, dtype="float64"), nn.Tanh()]

    def forward(self, x):
        for layer in self.inner:
            x = layer(x)
        return x


def model():
    return nn.Sequential(nn.Linear(40, 12, dtype="float64"), Block(), nn.Linear(12, 4, dtype="float64"))


def train():
    found = trained("numba", model, TRAIN)
    assert found.backend == "numpy"
    compare(found, trained("numpy", model, TRAIN), TRAIN, 0)


def predict():
    net = model()
    x = TRAIN.features(slice(0, 50), np.float64)
    np.testing.assert_array_equal(net.predict(x, backend="numba"), net.predict(x, backend="numpy"))


def compiled():
    f, parameters = model().as_function()
    arrays = {name: p.numpy() for name, p in parameters.items()}
    x = TRAIN.features(slice(0, 50), np.float64)
    function = cr.compile(lambda p, x: f(p, x), batch={"x": 0}, backend="numba")
    np.testing.assert_allclose(function(arrays, x), f(arrays, x), rtol=1e-12)


@pytest.fixture(params=["cannot be compiled", "raises"])
def failing(request, monkeypatch):
    """The machine code of tanh is wrong; the exception that comes of it, and what stands in the line that is named."""
    if request.param == "cannot be compiled":
        monkeypatch.setitem(FORMULAS, "tanh", "undefined_function({0})")
        return "TypingError", "undefined_function"
    monkeypatch.setitem(FORMULAS, "tanh", "planted({0})")
    monkeypatch.setattr(source, "_HEAD", source._HEAD + PLANTED)
    return "ArithmeticError: planted", "raise ArithmeticError"


def notices(function):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        function()
    return [w for w in found if w.category is Notice]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("use", [train, predict, compiled])
def test_a_failure_names_the_layer_the_equation_and_the_module(use, threads, failing, monkeypatch):
    monkeypatch.setattr(backend, "threads", lambda work: threads)
    (notice,) = notices(use)
    text, (error, line) = str(notice.message), failing
    assert error in text
    assert "plan" in text
    assert re.search(r"It happened in layer 1\.inner\.1 = Tanh\(\), at 'v\d+: \(N, 12\) float64 = tanh\(v\d+\)' ", text)
    file, number = re.search(r"The generated module is (.*\.py), line (\d+)\.$", text).groups()
    assert line in Path(file).read_text().splitlines()[int(number) - 1]
    assert notice.filename == (trained if use is train else use).__code__.co_filename  # where chainrule was called


def test_a_gradient_belongs_to_the_layer_that_it_goes_through(monkeypatch):
    monkeypatch.setattr(source.Source, "_module", spoilt(source.Source._module, r"gemm\(True, False"))
    (notice,) = notices(lambda: trained("numba", lambda: network([70, 12, 4]), digits(95, 70, sparse=False)))
    assert re.search(r"It happened in layer [02] = Linear\(\d+, \d+\), at ", str(notice.message))


def spoilt(write, pattern):
    """A writer of modules in which the first call like this one has a name that there is not."""
    return lambda self, head: re.sub(pattern, lambda m: f"un{m[0]}", write(self, head), count=1)


def test_without_a_line_there_is_the_module(monkeypatch):
    """A `raise` before the first equation."""
    write = source.Source._module
    monkeypatch.setattr(source.Source, "_module", lambda self, head: planted(write(self, head)))
    (notice,) = notices(train)
    assert "ArithmeticError: planted. The generated module is " in str(notice.message)


def planted(text):
    begin = "        begin = step"
    return text.replace(begin, f"        if step == 3:\n            raise ArithmeticError('planted')\n{begin}")


def test_equations_know_their_layers():
    graph = cr.trace(model(), np.zeros((2, 40)))
    assert [e.layer for e in graph.equations] == [
        *["layer 0 = Linear(40, 12)"] * 2,
        *["layer 1.inner.0 = Linear(12, 12)"] * 2,
        "layer 1.inner.1 = Tanh()",
        *["layer 2 = Linear(12, 4)"] * 2,
    ]
    assert {e.layer for e in cr.trace(lambda x: np.tanh(x), np.zeros(3)).equations} == {""}
