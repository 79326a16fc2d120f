"""Dropout: how much it drops, when, and that the same key gives the same bits wherever it is computed."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.errors import DivergenceError, ShapeError, TraceError

ONES = np.ones((400, 250))


def network() -> nn.Sequential:
    cr.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 30, dtype=np.float64), nn.Dropout(0.5), nn.Tanh(), nn.Dropout(0.2))


X = np.random.default_rng(0).normal(size=(6, 4))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_it_drops_a_share_of_p_and_keeps_the_mean(p):
    y = nn.Dropout(p)(ONES)
    n = y.size
    assert set(np.unique(y)) == {0, 1 / (1 - p)}
    assert abs((y == 0).mean() - p) < 5 * np.sqrt(p * (1 - p) / n)
    assert abs(y.mean() - 1) < 5 * np.sqrt(p / (1 - p) / n)


def test_elements_are_dropped_independently():
    kept = nn.Dropout(0.5)(ONES) > 0
    for other in (kept[1:] == kept[:-1], kept[:, 1:] == kept[:, :-1]):
        assert abs(other[1:].mean() - 0.5) < 5 * 0.5 / np.sqrt(other[1:].size)


def test_in_evaluation_mode_and_with_p_0_it_is_the_identity():
    assert nn.Dropout(0.9).eval()(ONES) is ONES
    assert nn.Dropout(0.0)(ONES) is ONES


def test_the_gradient_is_dropped_where_the_value_is():
    x = cr.tensor(ONES, requires_grad=True)
    y = nn.Dropout(0.5)(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y.value)


def test_float32_stays_float32():
    assert nn.Dropout(0.5)(cr.tensor(ONES.astype(np.float32))).dtype == np.float32


def test_the_same_seed_gives_the_same_bits_and_each_call_another_mask():
    layer = nn.Dropout(0.5)
    cr.manual_seed(3)
    first, second = layer(ONES), layer(ONES)
    cr.manual_seed(3)
    assert np.array_equal(layer(ONES), first)
    assert not np.array_equal(first, second)


def test_a_training_with_dropout_is_repeated_bit_for_bit():
    def train():
        model = network()
        trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
        return trainer.fit(data.arrays(X, np.arange(6)), epochs=3, batch_size=2, progress=False).train_loss

    assert train() == train()


def test_recorded_in_training_mode_a_model_takes_the_key_as_an_input():
    model = network()
    graph = cr.trace(model, X)
    assert [v.name for v in graph.inputs] == ["W1", "b1", "key", "x"]
    assert str(graph.inputs[2]) == "key: () int64"
    f, parameters = model.as_function()
    values = {name: p.value for name, p in parameters.items()}
    for x in (X, np.ones((9, 4))):  # one graph for every batch size
        for key in (5, 6, -1):
            assert np.array_equal(graph.run(values, key, x), f(values, key, x))
    assert not np.array_equal(graph.run(values, 5, X), graph.run(values, 6, X))


def test_recorded_in_evaluation_mode_it_leaves_no_trace():
    model = network().eval()
    graph = cr.trace(model, X)
    assert [v.name for v in graph.inputs] == ["W1", "b1", "x"]
    assert "dropout_mask" not in repr(graph)


def test_the_masks_of_one_key_differ_also_where_one_layer_is_used_twice():
    class Twice(nn.Module):
        def __init__(self) -> None:
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return np.stack([self.drop(x), self.drop(x)])

    f, _ = Twice().as_function()
    first, second = f({}, 1, ONES)
    assert abs((first == second).mean() - 0.5) < 0.01


def test_the_gradient_of_the_function_is_that_of_its_mask():
    model = network()
    f, parameters = model.as_function()
    values = {name: p.value for name, p in parameters.items()}
    loss = lambda values: (f(values, 7, X) ** 2).sum()  # noqa: E731
    recorded = cr.trace(lambda values, key, x: (f(values, key, x) ** 2).sum(), values, np.int64(7), X)
    graph = cr.derive(recorded, wrt=["W1", "b1"])
    gradients = cr.grad(loss)(values)
    for a, b in zip(graph.run(values, 7, X)[1:], gradients.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_a_module_of_ones_own_may_have_an_attribute_named_keys():
    class Attention(nn.Module):
        def __init__(self) -> None:
            self.keys = nn.Linear(4, 3, dtype=np.float64)

        def forward(self, x):
            return self.keys(x)

    model = Attention()
    assert [v.name for v in cr.trace(model, X).inputs] == ["W1", "b1", "x"]


def test_after_the_function_the_layer_draws_keys_of_its_own_again():
    model = network()
    f, parameters = model.as_function()
    f(parameters, 7, X)
    assert not np.array_equal(model(X).value, model(X).value)
    with pytest.raises(ShapeError):
        f(parameters, 7, X[:, :2])
    assert not np.array_equal(model(X).value, model(X).value)


def test_a_missing_key_is_said_in_a_sentence():
    f, parameters = network().as_function()
    with pytest.raises(ShapeError, match=r"random key before its inputs: expected an int, found float64 of shape \(6"):
        f(parameters, X)


def test_a_key_that_would_be_frozen_into_a_graph_is_refused():
    model = network()
    with pytest.raises(TraceError, match=r"record the Module itself.*or call model.eval\(\) first"):
        cr.trace(lambda x: model(x), X)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan"), "a", None])
def test_a_probability_that_is_none_is_refused(p):
    with pytest.raises(ShapeError, match="expected a probability, 0 <= p < 1"):
        nn.Dropout(p)


def test_it_comes_back_from_a_file(tmp_path):
    nn.Sequential(nn.Dropout(0.25)).save(path := tmp_path / "m.safetensors")
    assert repr(nn.load(path)[0]) == "Dropout(p=0.25)"


def test_a_trainers_step_draws_one_key_from_which_all_masks_come():
    model = network()
    trainer = cr.Trainer(model, loss := nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    f, parameters = model.as_function()
    labels = np.arange(6)
    for _ in range(3):
        state = nn.init.generator().bit_generator.state
        key = nn.init.generator().integers(2**63)
        expected = loss(f({name: p.value for name, p in parameters.items()}, key, X), labels)
        after = nn.init.generator().bit_generator.state
        nn.init.generator().bit_generator.state = state
        assert trainer.step(X, labels) == float(expected)
        assert nn.init.generator().bit_generator.state == after


def test_a_trainers_step_draws_nothing_where_nothing_is_random():
    model = network().eval()
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    before = nn.init.generator().bit_generator.state
    trainer.step(X, np.arange(6))
    assert nn.init.generator().bit_generator.state == before


def test_a_loss_that_is_not_finite_is_explained_with_the_masks_of_its_own_step():
    causes = []
    for seed in range(8):  # in about half of them the weight that is too large is dropped
        cr.manual_seed(seed)
        model = nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 1, bias=False, dtype=np.float64, weight_init=nn.init.ones))
        model[1].weight.assign(np.where(np.arange(64)[:, None] == 0, 1e200, 1.0))
        trainer = cr.Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
        try:
            trainer.step(np.ones((1, 64)), np.zeros((1, 1)))
        except DivergenceError as error:
            causes.append(str(error))
    assert 0 < len(causes) < 8
    assert all("in MSELoss" in cause for cause in causes)
