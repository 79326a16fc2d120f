"""Layers and initialisers: formulas, shapes, moments, seeds."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ChainruleError, ShapeError
from chainrule.nn import init

X = np.random.default_rng(0).normal(size=(6, 4))


def test_linear_is_x_w_plus_b():
    layer = nn.Linear(4, 3, dtype=np.float64)
    layer.bias.assign([1.0, 2.0, 3.0])
    np.testing.assert_allclose(layer(X).value, X @ layer.weight.value + [1.0, 2.0, 3.0])
    bare = nn.Linear(4, 3, bias=False, dtype=np.float64)
    assert bare.bias is None
    np.testing.assert_allclose(bare(X).value, X @ bare.weight.value)


def test_linear_takes_more_leading_axes_and_a_single_sample():
    layer = nn.Linear(4, 3, dtype=np.float64)
    assert layer(np.ones((2, 5, 4))).shape == (2, 5, 3)
    assert layer(np.ones(4)).shape == (3,)


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (-1, 2), ("3", 4), (3.0, 4), (1.5, 3), (3, None), (True, 2)])
def test_linear_refuses_sizes_that_are_none(sizes):
    with pytest.raises(ShapeError, match=r"Linear: (in|out)_features is .*; expected a whole number, at least 1"):
        nn.Linear(*sizes)


def test_linear_refuses_a_number_for_an_input():
    with pytest.raises(ShapeError, match=r"Linear\(4, 3\): the input has the shape \(\)"):
        nn.Linear(4, 3)(np.float32(1.0))


@pytest.mark.parametrize(
    ("layer", "formula"),
    [
        (nn.ReLU(), lambda x: np.where(x > 0, x, 0)),
        (nn.Tanh(), np.tanh),
        (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
        (nn.Softplus(), lambda x: np.log(1 + np.exp(x))),
        (nn.Softmax(), lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)),
        (nn.Softmax(axis=0), lambda x: np.exp(x) / np.exp(x).sum(axis=0)),
    ],
    ids=["ReLU", "Tanh", "Sigmoid", "Softplus", "Softmax", "Softmax over axis 0"],  # the same in every process
)
def test_activations_are_their_formulas(layer, formula):
    np.testing.assert_allclose(layer(cr.tensor(X)).value, formula(X), rtol=1e-12)
    np.testing.assert_allclose(layer(X), formula(X), rtol=1e-12)
    assert list(layer.parameters()) == []


def test_softmax_refuses_an_axis_that_is_none():
    with pytest.raises(ShapeError, match="axis is 'rows'"):
        nn.Softmax("rows")
    with pytest.raises(ShapeError, match="no axis 2"):
        nn.Softmax(axis=2)(X)


def test_flatten_keeps_the_batch():
    assert nn.Flatten()(cr.tensor(np.zeros((5, 2, 3, 4)))).shape == (5, 24)
    assert nn.Flatten()(np.zeros((5, 7))).shape == (5, 7)


def test_flatten_refuses_a_single_number():
    with pytest.raises(ShapeError, match=r"Flatten\(\): the input is a single number, of shape \(\); expected \(N, "):
        nn.Flatten()(np.float32(1))


def test_sequential_applies_its_layers_in_order_and_gives_them_by_place():
    model = nn.Sequential(first := nn.Linear(4, 3, dtype=np.float64), nn.Tanh(), last := nn.Softmax())
    np.testing.assert_allclose(model(X).value, last(np.tanh(first(X).value)))
    for _ in range(2):
        assert len(model) == 3
        assert model[0] is first
        assert model[-1] is last
        model.eval()  # the mode is an attribute too, and no layer
    with pytest.raises(IndexError):
        model[3]


def test_an_empty_sequential_is_the_identity():
    np.testing.assert_array_equal(nn.Sequential()(X), X)


def test_sequential_refuses_what_is_no_module():
    with pytest.raises(TypeError, match=r"layer 1 is a function; expected a Module such as nn\.ReLU\(\)"):
        nn.Sequential(nn.Linear(2, 2), cr.relu)
    with pytest.raises(TypeError, match="layer 0 is a type"):
        nn.Sequential(nn.ReLU)


def test_layers_of_ones_own_and_plain_numpy_work_together():
    class Square(nn.Module):
        def forward(self, x):
            return x**2

    model = nn.Sequential(nn.Linear(4, 3, dtype=np.float64), Square())
    model(X).sum().backward()
    np.testing.assert_allclose(model[0].bias.grad, 2 * (X @ model[0].weight.value).sum(axis=0))


# ----------------------------------------------------------------------------------------------- initialisers


def draw(initializer, shape=(400, 250), seed=1):
    return initializer(shape, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("initializer", "mean", "std"),
    [
        (init.normal(0.3), 0.0, 0.3),
        (init.normal(0.1, mean=2.0), 2.0, 0.1),
        (init.uniform(-1.0, 3.0), 1.0, 4 / math.sqrt(12)),
        (init.he_normal, 0.0, math.sqrt(2 / 400)),
        (init.lecun_normal, 0.0, 1 / math.sqrt(400)),
        (init.lecun_uniform, 0.0, 1 / math.sqrt(400)),
        (init.fan_out_normal, 0.0, 1 / math.sqrt(250)),
        (init.ones, 1.0, 0.0),
        (init.constant(-0.5), -0.5, 0.0),
        (init.xavier_normal, 0.0, math.sqrt(2 / 650)),
        (init.xavier_uniform, 0.0, math.sqrt(2 / 650)),
    ],
)
def test_initialisers_have_their_mean_and_standard_deviation(initializer, mean, std):
    w = draw(initializer)
    n = w.size
    assert w.shape == (400, 250)
    assert abs(w.mean() - mean) <= 5 * std / math.sqrt(n)
    assert abs(w.std() - std) <= 5 * std / math.sqrt(n)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: init.normal("a"), "init.normal: std is 'a'; expected a number that is not negative"),
        (lambda: init.normal(-1), "init.normal: std is -1"),
        (lambda: init.normal(1, None), "init.normal: mean is None; expected a finite number"),
        (lambda: init.uniform("a", 1), "init.uniform: low is 'a'"),
        (lambda: init.uniform(0, math.nan), "init.uniform: high is nan"),
        (lambda: init.constant("a"), "init.constant: the value is 'a'"),
        (lambda: nn.Linear(2, 3, weight_init="zeros"), "Linear: weight_init is 'zeros'; expected an initialiser"),
        (lambda: nn.LayerNorm(2, bias_init=0.0), r"LayerNorm: bias_init is 0\.0; expected an initialiser"),
        (
            lambda: nn.Linear(2, 3, weight_init=lambda shape, rng: np.zeros(shape[::-1])),
            r"Linear: weight_init gave an array of shape \(3, 2\); expected \(2, 3\)",
        ),
    ],
)
def test_initialisers_that_are_none_are_refused(make, says):
    with pytest.raises(ChainruleError, match=says):
        make()


@pytest.mark.parametrize("seed", [-1, "a", 1.5, None, True])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ChainruleError, match=r"manual_seed: the seed is .*; expected a whole number, at least 0"):
        cr.manual_seed(seed)


def test_uniform_draws_stay_within_their_bounds():
    w = draw(init.uniform(-1.0, 3.0))
    assert w.min() >= -1
    assert w.max() < 3
    bound = math.sqrt(6 / 650)
    assert 0.99 * bound < np.abs(draw(init.xavier_uniform)).max() <= bound


def test_normal_draws_are_normal():
    z = draw(init.he_normal) / math.sqrt(2 / 400)
    assert abs((z**4).mean() - 3) < 5 * math.sqrt(96 / z.size)
    assert abs((np.abs(z) < 1).mean() - 0.6827) < 0.01


def test_a_linear_layer_begins_with_he_and_zeros_and_takes_others():
    cr.manual_seed(0)
    layer = nn.Linear(300, 200)
    assert layer.weight.value.std() == pytest.approx(math.sqrt(2 / 300), rel=0.03)
    assert not layer.bias.value.any()
    other = nn.Linear(300, 200, weight_init=init.xavier_uniform, bias_init=init.uniform(0.5, 0.6))
    assert np.abs(other.weight.value).max() <= math.sqrt(6 / 500)
    assert ((other.bias.value >= 0.5) & (other.bias.value < 0.6)).all()


def test_the_same_seed_gives_the_same_bits():
    def weights(seed):
        cr.manual_seed(seed)
        return [p.value for p in nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2)).parameters()]

    for a, b in zip(weights(3), weights(3), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(weights(3)[0], weights(4)[0])


def test_a_generator_of_ones_own_leaves_the_librarys_alone():
    cr.manual_seed(0)
    expected = nn.Linear(3, 3).weight.value
    cr.manual_seed(0)
    own = nn.Linear(3, 3, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(own.weight.value, nn.Linear(3, 3, rng=np.random.default_rng(5)).weight.value)
    np.testing.assert_array_equal(nn.Linear(3, 3).weight.value, expected)


def test_float64_and_float32_begin_alike():
    cr.manual_seed(0)
    single = nn.Linear(4, 3).weight.value
    cr.manual_seed(0)
    double = nn.Linear(4, 3, dtype=np.float64).weight.value
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(single, double.astype(np.float32))
