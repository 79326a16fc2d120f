"""Activations as layers: the functions of the same names, with their options, there and back from a file."""

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ChainruleError, DataError

X = np.random.default_rng(0).normal(size=(3, 4))

LAYERS: list[tuple[nn.Module, Any, str]] = [
    (nn.LeakyReLU(), lambda x: np.where(x > 0, x, 0.01 * x), "LeakyReLU(negative_slope=0.01)"),
    (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x), "LeakyReLU(negative_slope=0.2)"),
    (nn.ELU(0.5), lambda x: np.where(x > 0, x, 0.5 * (np.exp(x) - 1)), "ELU(alpha=0.5)"),
    (nn.GELU(), lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2, "GELU()"),
    (nn.SiLU(), lambda x: x / (1 + np.exp(-x)), "SiLU()"),
    (nn.LeCunTanh(), lambda x: 1.7159 * np.tanh(2 * x / 3), "LeCunTanh()"),
    (nn.LogSoftmax(), lambda x: x - np.log(np.exp(x).sum(axis=-1, keepdims=True)), "LogSoftmax(axis=-1)"),
    (nn.LogSoftmax(axis=0), lambda x: x - np.log(np.exp(x).sum(axis=0)), "LogSoftmax(axis=0)"),
]


@pytest.mark.parametrize(("layer", "formula", "text"), LAYERS, ids=[text for *_, text in LAYERS])
def test_a_layer_is_its_formula_and_prints_its_options(layer, formula, text):
    np.testing.assert_allclose(layer(cr.tensor(X)).value, formula(X), rtol=1e-12)
    np.testing.assert_allclose(layer(X), formula(X), rtol=1e-12)
    assert repr(layer) == text


@pytest.mark.parametrize(("layer", "formula", "text"), LAYERS, ids=[text for *_, text in LAYERS])
def test_a_layer_comes_back_from_a_file(tmp_path, layer, formula, text):
    nn.Sequential(layer).save(path := tmp_path / "m.safetensors")
    again = nn.load(path)
    assert repr(again[0]) == text
    np.testing.assert_allclose(again.predict(X.astype(np.float32)), formula(X), rtol=1e-4)


def test_an_option_of_another_type_in_a_file_is_refused(tmp_path):
    model = nn.Sequential(nn.LeakyReLU())
    model[0].negative_slope = "steep"
    model.save(path := tmp_path / "m.safetensors")
    with pytest.raises(DataError, match="LeakyReLU: the option 'negative_slope' is 'steep'; expected a float"):
        nn.load(path)


@pytest.mark.parametrize("value", ["a", None, float("nan"), float("inf")])
def test_an_option_that_is_no_number_is_refused(value):
    with pytest.raises(ChainruleError, match=r"LeakyReLU: negative_slope is .*; expected a finite number"):
        nn.LeakyReLU(value)
    with pytest.raises(ChainruleError, match=r"ELU: alpha is .*; expected a finite number"):
        nn.ELU(value)
