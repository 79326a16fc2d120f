"""LayerNorm and BatchNorm1d: what they bring to mean 0 and variance 1, and when the running statistics move."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.check.numeric import numerical_gradient, relative_error
from chainrule.errors import ChainruleError, DataError, ShapeError

X = np.random.default_rng(0).normal(3.0, 2.0, size=(6, 4))


def batch_norm(**options) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(4, dtype=np.float64, **options)


def test_layer_norm_brings_each_sample_to_mean_0_and_variance_1():
    y = nn.LayerNorm(4, eps=0.0, dtype=np.float64)(X).value
    np.testing.assert_allclose(y.mean(axis=1), 0, atol=1e-14)
    np.testing.assert_allclose(y.var(axis=1), 1, rtol=1e-12)


def test_layer_norm_does_not_look_at_the_other_samples_and_takes_more_leading_axes():
    layer = nn.LayerNorm(4, dtype=np.float64)
    np.testing.assert_allclose(layer(X).value[2], layer(X[2]).value, rtol=1e-14)
    np.testing.assert_allclose(layer(X.reshape(2, 3, 4)).value.reshape(6, 4), layer(X).value, rtol=1e-14)


def test_batch_norm_brings_each_feature_of_the_batch_to_mean_0_and_variance_1():
    y = batch_norm(eps=0.0)(X).value
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(y.var(axis=0), 1, rtol=1e-12)


def test_running_statistics_move_towards_the_batchs_by_the_momentum():
    layer = batch_norm(momentum=0.25)
    layer(X)
    np.testing.assert_allclose(layer.running_mean.value, 0.25 * X.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(layer.running_var.value, 0.75 + 0.25 * X.var(axis=0, ddof=1), rtol=1e-14)


def test_evaluation_uses_the_running_statistics_and_never_changes_them():
    layer = batch_norm(momentum=1.0, eps=0.0)
    layer(X)
    before = layer.state_dict()
    layer.eval()
    x = np.ones((1, 4))  # one sample will do
    np.testing.assert_allclose(layer(x).value, (x - X.mean(axis=0)) / X.std(axis=0, ddof=1), rtol=1e-13)
    layer.predict(X)
    for name, array in layer.state_dict().items():
        assert np.array_equal(array, before[name]), name


def test_a_trainer_evaluates_with_them_and_trains_them():
    cr.manual_seed(0)
    layer = batch_norm()
    model = nn.Sequential(layer, nn.Linear(4, 3, dtype=np.float64))
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    labels = np.array([0, 1, 2, 0, 1, 2])
    trainer.fit(data.arrays(X, labels), data.arrays(X, labels), epochs=30, batch_size=3, progress=False)
    assert np.abs(layer.running_mean.value - X.mean(axis=0)).max() < 1
    before = layer.running_mean.version
    trainer.evaluate(data.arrays(X, labels))
    assert layer.running_mean.version == before


def test_running_statistics_are_no_parameters_but_part_of_the_state(tmp_path):
    layer = batch_norm()
    layer(X)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert list(layer.state_dict()) == ["weight", "bias", "running_mean", "running_var"]
    model = nn.Sequential(layer, nn.LayerNorm(4, eps=1e-3, dtype=np.float64))
    model.save(path := tmp_path / "m.safetensors")
    again = nn.load(path)
    assert repr(again) == repr(model)
    assert np.array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("layer", [batch_norm(), nn.LayerNorm(4, dtype=np.float64)], ids=["batch", "layer"])
def test_gradients_are_numerical_derivatives(layer):
    f, parameters = layer.as_function()
    weight, bias = np.random.default_rng(1).normal(size=(2, 4))

    def loss(weight, bias, x):
        y = f(dict(zip(parameters, (weight, bias), strict=True)), x)
        return (y**3 + y).sum()

    args = [weight, bias, X]
    for i, g in enumerate(cr.grad(loss, (0, 1, 2))(*args)):
        numerical = numerical_gradient(lambda v, i=i: loss(*args[:i], v, *args[i + 1 :]), args[i])
        assert relative_error(g, numerical, 1.0) < 1e-7


def test_the_batch_may_be_symbolic_and_recording_leaves_the_running_statistics_alone():
    layer = batch_norm()
    before = layer.state_dict()
    graph = cr.trace(layer, X)
    f, parameters = layer.as_function()
    values = {name: p.value for name, p in parameters.items()}
    y = graph.run(values, X[:3])
    assert np.array_equal(layer.running_mean.value, before["running_mean"])
    np.testing.assert_allclose(y, f(values, X[:3]), rtol=1e-14)


def test_running_statistics_that_are_inputs_of_a_function_are_handed_out_and_stay_where_they_are():
    layer = batch_norm(momentum=0.25)
    f, parameters = layer.as_function(statistics=True, changes=True)
    values = {name: p.numpy() for name, p in parameters.items()}
    y, changed = f(values, X)
    assert list(changed) == ["running_mean1", "running_var1"]
    graph = cr.trace(f, values, X, batch={"x": 0})
    recorded = graph.run(values, X)
    assert layer.running_mean.value.tolist() == [0.0] * 4
    assert layer.running_mean is parameters["running_mean1"]
    np.testing.assert_allclose(y, layer(X).value, rtol=1e-14)
    for found, name in zip(recorded[1:], changed, strict=True):
        np.testing.assert_allclose(changed[name], parameters[name].value, rtol=1e-14)
        np.testing.assert_allclose(found, parameters[name].value, rtol=1e-14)
    layer.eval()
    assert f(values, X)[1] == {}


def test_in_evaluation_mode_the_running_statistics_are_constants_of_the_graph():
    layer = batch_norm()
    layer(X)
    layer.eval()
    graph = cr.trace(layer, X)
    values = {name: p.value for name, p in layer.as_function()[1].items()}
    np.testing.assert_allclose(graph.run(values, X[:1]), layer(X[:1]).value, rtol=1e-14)


def test_float32_stays_float32():
    for layer in (nn.BatchNorm1d(4), nn.LayerNorm(4)):
        assert layer(X.astype(np.float32)).dtype == np.float32
        assert all(t.dtype == np.float32 for t in layer.state_dict().values())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: nn.BatchNorm1d(4)(np.ones((2, 3), np.float32)), r"shape \(2, 3\); expected \(N, 4\)"),
        (lambda: nn.BatchNorm1d(4)(np.ones((2, 5, 4), np.float32)), r"expected \(N, 4\)"),
        (lambda: nn.BatchNorm1d(4)(np.ones((1, 4), np.float32)), "a batch of size 1 has no variance"),
        (lambda: nn.LayerNorm(4)(np.ones((2, 3), np.float32)), r"shape \(2, 3\); expected \(\.\.\., 4\)"),
        (lambda: nn.LayerNorm(4)(np.float32(1)), r"shape \(\); expected"),
        (lambda: nn.LayerNorm(0), "LayerNorm: normalized_shape is 0; expected a whole number"),
        (lambda: nn.LayerNorm(2.5), "LayerNorm: normalized_shape is 2.5; expected a whole number, at least 1"),
        (lambda: nn.BatchNorm1d("4"), "BatchNorm1d: num_features is '4'; expected a whole number, at least 1"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(call, says):
    with pytest.raises(ShapeError, match=says):
        call()


def test_an_empty_batch_is_refused_in_training_and_leaves_the_running_statistics_alone():
    layer = batch_norm()
    before = layer.state_dict()
    with pytest.raises(ShapeError, match="a batch of size 0 has no variance"):
        layer(X[:0])
    assert all(np.array_equal(array, before[name]) for name, array in layer.state_dict().items())
    assert layer.predict(X[:0]).shape == (0, 4)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d, nn.LayerNorm])
@pytest.mark.parametrize("eps", [-1, "a", None, float("nan")])
def test_an_eps_that_is_none_is_refused(layer, eps):
    with pytest.raises(ChainruleError, match=f"{layer.__name__}: eps is .*; expected a number that is not negative"):
        layer(4, eps=eps)


@pytest.mark.parametrize("momentum", [-0.1, 1.1, "a", None])
def test_a_momentum_that_is_none_is_refused(momentum):
    with pytest.raises(ChainruleError, match=r"BatchNorm1d: momentum is .*; expected a share from 0 to 1"):
        nn.BatchNorm1d(4, momentum=momentum)


def test_a_file_cannot_ask_for_more_memory_than_it_holds(tmp_path):
    model = nn.Sequential(nn.LayerNorm(3))
    model[0].normalized_shape = 10**15
    model.save(path := tmp_path / "m.safetensors")
    with pytest.raises(DataError, match="the file has no such array"):
        nn.load(path)
