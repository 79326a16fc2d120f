"""Modules: parameters by name, state, modes, printing, prediction, and where an error happened."""

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn
from chainrule.errors import ChainruleError, DtypeError, ShapeError, UnknownNameError


class Branches(nn.Module):
    """Layers in a list and a dict, a parameter of its own, one layer used twice."""

    def __init__(self):
        self.scale = nn.Parameter(np.ones(3, np.float32))
        self.layers = [nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)]
        self.heads = {"left": nn.Linear(3, 2), "right": nn.Linear(3, 2, bias=False)}
        self.again = self.layers[0]

    def forward(self, x):
        x = x * self.scale
        for layer in self.layers:
            x = layer(x)
        x = self.again(x)
        return self.heads["left"](x) + self.heads["right"](x)


@pytest.fixture
def model():
    cr.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def test_parameters_are_found_by_name_in_order(model):
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [p.shape for p in model.parameters()] == [(4, 5), (5,), (5, 3), (3,)]


def test_parameters_in_lists_and_dicts_are_found_and_shared_ones_once():
    names = [name for name, _ in Branches().named_parameters()]
    assert names == [
        "scale", "layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias", "heads.left.weight",
        "heads.left.bias", "heads.right.weight",
    ]  # fmt: skip


def test_every_parameter_gets_a_gradient_and_a_shared_one_the_sum():
    model = Branches()
    model(np.ones((2, 3), np.float32)).sum().backward()
    assert all(p.grad is not None and p.grad.dtype == np.float32 for p in model.parameters())
    shared = model.layers[0].weight
    before = shared.grad
    model.again = copy.deepcopy(model.again)
    shared.grad = model.again.weight.grad = None
    model(np.ones((2, 3), np.float32)).sum().backward()
    np.testing.assert_allclose(shared.grad + model.again.weight.grad, before, rtol=1e-5)


def test_a_new_attribute_needs_no_registration(model):
    model.extra = nn.Parameter(np.zeros(2, np.float32))
    assert "extra" in dict(model.named_parameters())
    del model.extra
    assert "extra" not in dict(model.named_parameters())


def test_state_dict_goes_there_and_back(model):
    other = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    other.load_state_dict(model.state_dict())
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(other.predict(x), model.predict(x))


def test_state_dict_holds_copies(model):
    state = model.state_dict()
    state["0.bias"] += 1
    assert model[0].bias.value[0] == 0
    model.load_state_dict(state)
    state["0.bias"] += 1
    assert model[0].bias.value[0] == 1


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (lambda s: s.pop("2.bias"), ChainruleError, "the parameter '2.bias' is missing"),
        (lambda s: s.update({"2.bais": np.ones(3)}), UnknownNameError, "'2.bais': did you mean '2.bias'"),
        (
            lambda s: s.update({"2.bias": np.ones(4)}),
            ShapeError,
            r"'2.bias' has the shape \(3,\), the given array \(4,\)",
        ),
        (lambda s: s.update({"2.bias": np.ones((3, 1))}), ShapeError, r"\(3,\), the given array \(3, 1\)"),
        (lambda s: s.update({"2.bias": ["a", "b", "c"]}), DtypeError, "'2.bias' is no array of numbers"),
        (lambda s: s.update({"2.bias": [[1], [2, 3], 4]}), DtypeError, "'2.bias' is no array of numbers"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(model, change, kind, says):
    before = model.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    change(state)
    with pytest.raises(kind, match=says):
        model.load_state_dict(state)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("state", [None, 3, [np.ones(3)], "model.npz"])
def test_a_state_that_is_no_mapping_is_refused(model, state):
    with pytest.raises(ChainruleError, match=r"expected arrays by name, as state_dict\(\) gives them, found"):
        model.load_state_dict(state)


def test_train_and_eval_reach_every_part():
    model = Branches()
    assert model.training
    assert model.eval() is model
    assert not any(m.training for _, m in model.named_modules())
    assert model.heads["left"].training is False
    model.train()
    assert all(m.training for _, m in model.named_modules())


def test_predict_restores_the_mode_of_each_part_also_after_an_error(model):
    model.train()
    model[1].training = False
    model.predict(np.ones((2, 4)))
    assert [m.training for _, m in model.named_modules()] == [True, True, False, True]
    with pytest.raises(ShapeError):
        model.predict(np.ones((2, 5)))
    assert [m.training for _, m in model.named_modules()] == [True, True, False, True]


def test_repr_shows_layers_shapes_and_counts(model):
    assert repr(nn.Linear(784, 64)) == "Linear(784, 64)"
    assert repr(nn.Linear(784, 64, bias=False)) == "Linear(784, 64, bias=False)"
    lines = repr(model).splitlines()
    assert lines[0].startswith("Sequential(")
    assert lines[1].split() == ["0:", "Linear(4,", "5)", "25"]
    assert lines[2].split() == ["1:", "Tanh()"]
    assert lines[3].split() == ["2:", "Linear(5,", "3)", "18"]
    assert lines[-1] == "43 parameters, float32"


def test_repr_counts_a_shared_parameter_once_and_names_places():
    text = repr(Branches())
    assert text.splitlines()[-1] == "41 parameters, float32"
    assert "heads.right: Linear(3, 2, bias=False)" in text
    big = repr(nn.Sequential(nn.Linear(784, 1000)))
    assert "785,000" in big


def test_predict_gives_an_array_in_the_models_dtype_whatever_the_batches(model):
    x = np.random.default_rng(0).normal(size=(10, 4))
    whole = model.predict(x)
    assert type(whole) is np.ndarray
    assert whole.dtype == np.float32
    assert whole.shape == (10, 3)
    np.testing.assert_allclose(model.predict(x, batch_size=3), whole, rtol=1e-5)


def test_predict_of_nothing_is_nothing(model):
    assert model.predict(np.zeros((0, 4))).shape == (0, 3)


def test_predict_refuses_a_number_and_batches_of_nothing(model):
    with pytest.raises(ShapeError, match="predict was given a single number"):
        model.predict(np.float32(1.0))
    for batch_size in (0, -1, 2.5, None):
        with pytest.raises(ChainruleError, match="predict: batch_size is"):
            model.predict(np.ones((2, 4)), batch_size=batch_size)


def test_predict_scales_a_dataset_as_training_does(model):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4)).astype(np.uint8)
    dataset = data.Dataset(pixels, np.zeros(6, int), scale=1 / 255, shift=-0.5)
    np.testing.assert_array_equal(model.predict(dataset), model.predict(dataset.features()))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool, object])
def test_predict_refuses_what_it_cannot_scale(model, dtype):
    with pytest.raises(DtypeError, match=r"dataset\.features\(\), or pass the Dataset itself"):
        model.predict(np.ones((2, 4), dtype))


def test_predict_records_nothing_and_does_not_hand_out_the_models_memory(model):
    class Constant(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(np.ones((1, 2)))

        def forward(self, x):
            return self.w

    constant = Constant()
    constant.predict(np.ones((1, 2)))[0] = 100
    np.testing.assert_array_equal(constant.w.value, [[1.0, 1.0]])


def test_an_error_names_the_layer_its_place_and_both_shapes(model):
    with pytest.raises(ShapeError, match=r"^layer 0 = Linear\(4, 5\): .*\(7, 3\).*\(4, 5\)"):
        model(np.ones((7, 3), np.float32))
    nested = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Tanh(), nn.Linear(5, 2)))
    with pytest.raises(ShapeError, match=r"^layer 1\.1 = Linear\(5, 2\): .*\(7, 4\).*\(5, 2\).*must be 5"):
        nested(np.ones((7, 3), np.float32))
    branches = Branches()
    branches.heads["left"] = nn.Linear(9, 2)
    with pytest.raises(ShapeError, match=r"^layer heads\.left = Linear\(9, 2\)"):
        branches(np.ones((7, 3), np.float32))


def test_mixed_dtypes_in_a_direct_call_raise(model):
    with pytest.raises(DtypeError, match=r"^layer 0 = Linear\(4, 5\): .*float64 \(2, 4\) and float32 \(4, 5\)"):
        model(np.ones((2, 4)))


def test_detect_nan_names_the_layer(model):
    model[2].weight.assign(np.full((5, 3), np.inf))
    with (
        cr.detect_nan(),
        pytest.raises(ArithmeticError, match=r"^layer 2 = Linear\(5, 3\): matmul"),
        np.errstate(all="ignore"),
    ):
        model(np.ones((2, 4), np.float32))


def test_a_module_is_a_pure_function_of_its_parameters(model):
    f, parameters = model.as_function()
    assert list(parameters) == ["W1", "b1", "W2", "b2"]
    x = np.ones((2, 4), np.float32)
    zeros = {name: np.zeros(p.shape, np.float32) for name, p in parameters.items()}
    np.testing.assert_array_equal(f(zeros, x), np.zeros((2, 3)))
    np.testing.assert_array_equal(f({k: p.value for k, p in parameters.items()}, x), model.predict(x))
    assert dict(model.named_parameters())["0.weight"] is parameters["W1"], "the module is as it was"


def test_the_pure_function_puts_the_parameters_back_after_an_error(model):
    f, parameters = model.as_function()
    with pytest.raises(ValueError, match="matmul"):
        f({name: np.zeros((1, 1), np.float32) for name in parameters}, np.ones((2, 4), np.float32))
    assert list(model.parameters()) == list(parameters.values())


def test_a_shared_parameter_is_one_argument_of_the_pure_function():
    f, parameters = Branches().as_function()
    assert len(parameters) == 8
    grads = cr.grad(lambda p: f(p, np.ones((2, 3), np.float32)).sum())({k: p.value for k, p in parameters.items()})
    assert list(grads) == list(parameters)


def test_parameters_in_a_tuple_train_but_cannot_be_recorded():
    class Mine(nn.Module):
        def __init__(self):
            self.pair = (nn.Parameter(np.ones(2)),)

        def forward(self, x):
            return x * self.pair[0]

    assert len(list(Mine().parameters())) == 1
    with pytest.raises(ChainruleError, match=r"'pair\.0' is kept in a tuple.*use a list"):
        cr.trace(Mine(), np.ones((3, 2)))


def test_a_deep_copy_trains_on_its_own(model):
    other = copy.deepcopy(model)
    other[0].weight.assign(np.zeros((4, 5)))
    assert model[0].weight.value.any()


def test_parameters_are_floats():
    with pytest.raises(DtypeError, match="only floats have derivatives"):
        nn.Parameter(np.ones(2, int))
    assert nn.Parameter([1, 2], np.float32).dtype == np.float32


def test_the_dtype_of_a_module_without_parameters_is_that_of_training():
    assert nn.Tanh().dtype == np.float32
    assert nn.Linear(2, 2, dtype=np.float64).dtype == np.float64
