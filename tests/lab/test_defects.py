"""Each defect shows its symptom, and its clean twin, called in the same way, does not."""

import inspect

import numpy as np
import pytest

from chainrule.check.numeric import numerical_gradient
from chainrule.lab.defects import DEFECTS

TWINS = ("defective", "clean")


def rng(seed=0):
    return np.random.default_rng(seed)


def regression(classes=10, samples=6, features=4):
    """Parameters at the start, inputs and labels for softmax regression."""
    p = {"W": np.zeros((features, classes)), "b": np.zeros(classes)}
    return p, rng().normal(size=(samples, features)), rng(1).integers(0, classes, samples)


def sigmoid_network():
    """Parameters of a network with one hidden layer, 4-5-3."""
    return {"W1": rng(1).normal(size=(4, 5)), "b1": np.zeros(5), "W2": rng(2).normal(size=(5, 3)), "b2": np.zeros(3)}


def blobs(samples=200, classes=3, features=4, noise=1.0, seed=0):
    """Points around one centre a class, and their labels; other seeds give other points around the same centres."""
    centres = 2 * rng(99).normal(size=(classes, features))
    labels = rng(seed).integers(0, classes, samples)
    labels[:classes] = np.arange(classes)
    return centres[labels] + noise * rng(seed + 1).normal(size=(samples, features)), labels


def derivative_error(f, p, x, t):
    """The largest difference between the gradients that f returns and those of the loss that it returns."""
    _, gradients = f(p, x, t)
    errors = []
    for name in p:
        numerical = numerical_gradient(lambda value, name=name: f({**p, name: value}, x, t)[0], p[name])
        errors.append(np.abs(numerical - gradients[name]).max())
    return max(errors)


def test_every_defect_of_the_reports_is_there():
    numbers = [*range(1, 20), *range(21, 25)]
    assert list(DEFECTS) == [f"6.{n}" for n in numbers]
    assert all(defect.id == id for id, defect in DEFECTS.items())


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS)
def test_twins_are_called_in_the_same_way(defect):
    assert inspect.signature(defect.defective) == inspect.signature(defect.clean)
    assert defect.defective is not defect.clean
    assert defect.id in defect.defective.__doc__
    assert "Right" in defect.clean.__doc__


@pytest.mark.parametrize("id", ["6.3", "6.9", "6.11", "6.17", "6.18"])
@pytest.mark.parametrize("twin", TWINS)
def test_a_derivative_check_tells_the_twins_apart_where_the_derivative_is_wrong(id, twin):
    p, x, t = regression(classes=5)
    p = {name: rng(3).normal(size=value.shape) for name, value in p.items()}
    error = derivative_error(getattr(DEFECTS[id], twin), p, x, t)
    if twin == "defective" and DEFECTS[id].concerns_derivative:
        assert error > 1e-2
    else:
        assert error < 1e-8


def test_6_1_the_same_input_twice_gives_different_outputs():
    w, v, x = [[1.0, 2.0, -1.0], [0.5, -2.0, 1.0]], [[1.0, -1.0], [2.0, 0.5], [-1.0, 1.0]], [1.0, -0.5]
    twice = {}
    for twin in TWINS:
        network = getattr(DEFECTS["6.1"], twin)(w, v)
        twice[twin] = network.forward(x), network.forward(x)
    assert twice["clean"][0] == twice["clean"][1]
    assert twice["defective"][0] == twice["clean"][0]  # the first time nothing is left over yet
    assert max(abs(a - b) for a, b in zip(*twice["defective"], strict=True)) > 0.02


def test_6_1_the_step_of_both_is_the_gradient_of_what_was_computed():
    w, v, x, lr = rng().normal(size=(2, 3)), rng(1).normal(size=(3, 2)), [0.3, -0.7], 1e-6
    p = {"W1": w, "b1": np.zeros(3), "W2": v, "b2": np.zeros(2)}
    loss, gradients = DEFECTS["6.4"].clean(p, np.array([x]), 1)
    for twin in TWINS:
        network = getattr(DEFECTS["6.1"], twin)(w, v)
        assert network.step(x, 1, lr) == pytest.approx(loss, abs=1e-12)
        after = {"W1": network.w, "b1": network.b, "W2": network.v, "b2": network.c}
        for name in p:
            assert (p[name] - np.array(after[name])) / lr == pytest.approx(gradients[name], abs=1e-8)


def test_6_2_parameters_change_during_evaluation():
    x, t = blobs()
    for twin in TWINS:
        run = getattr(DEFECTS["6.2"], twin)(4, 3)
        run.train(x, t)
        before = {name: p.copy() for name, p in run.parameters.items()}
        run.validate(x, t)
        changed = any(not np.array_equal(before[name], p) for name, p in run.parameters.items())
        assert changed == (twin == "defective")


def test_6_3_the_loss_starts_at_325_thousandths():
    start = {twin: getattr(DEFECTS["6.3"], twin)(*regression())[0] for twin in TWINS}
    assert start["defective"] == pytest.approx(0.325, abs=5e-4)
    assert start["clean"] == pytest.approx(np.log(10))


def test_6_4_the_output_bias_never_moves_and_hidden_biases_are_equal():
    x = rng().normal(size=(20, 1, 4))
    for twin in TWINS:
        p = sigmoid_network()
        for i in range(20):
            _, gradients = getattr(DEFECTS["6.4"], twin)(p, x[i], i % 3)
            p = {name: p[name] - 0.1 * gradients[name] for name in p}
        assert p["b1"].shape == (5,)
        assert (np.abs(p["b2"]).max() < 1e-12) == (twin == "defective")
        assert (np.ptp(p["b1"]) < 1e-12) == (twin == "defective")


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize(("id", "wrong"), [("6.4", {"b1", "b2"}), ("6.5", {"W1", "b1", "W2", "b2"})])
def test_6_4_and_6_5_a_derivative_check_tells_which_gradients_are_wrong(id, wrong, twin):
    f, p, x = getattr(DEFECTS[id], twin), sigmoid_network(), rng().normal(size=(1, 4))
    _, gradients = f(p, x, 1)
    for name in p:
        numerical = numerical_gradient(lambda value, name=name: f({**p, name: value}, x, 1)[0], p[name])
        differs = np.abs(numerical - gradients[name]).max() > 1e-6
        assert differs == (twin == "defective" and name in wrong)


def test_6_5_each_output_of_a_single_sample_is_1():
    x = rng().normal(size=(1, 4))
    assert DEFECTS["6.5"].defective(sigmoid_network(), x, 1)[0] == 0  # -ln 1
    assert DEFECTS["6.5"].clean(sigmoid_network(), x, 1)[0] > 0.1


def test_6_6_the_initial_loss_is_far_above_ln_10():
    x, t = rng().uniform(size=(100, 784)) * (rng(1).uniform(size=(100, 784)) < 0.19), rng(2).integers(0, 10, 100)
    for twin in TWINS:
        y = getattr(DEFECTS["6.6"], twin)(rng(3)).forward(x)
        loss = -np.log(y[np.arange(100), t]).mean()
        assert (loss > 1.5 * np.log(10)) == (twin == "defective")


def test_6_7_three_runs_have_the_standard_deviation_0():
    assert np.std(DEFECTS["6.7"].defective(blobs())) == 0
    assert np.std(DEFECTS["6.7"].clean(blobs())) > 1e-3


def test_6_8_the_sigmoids_are_saturated():
    x = rng().normal(size=(1000, 2))
    saturated, size = {}, {}
    for twin in TWINS:
        networks = [getattr(DEFECTS["6.8"], twin)(rng(seed)) for seed in range(500)]
        for network in networks:
            network.forward(x)
        saturated[twin] = np.mean([np.abs(network.a) >= 5 for network in networks])
        weights = [network.parameters[name].ravel() for network in networks for name in ("W1", "W2")]
        size[twin] = np.sqrt(np.mean(np.concatenate(weights) ** 2))
    assert saturated["defective"] > 0.4
    assert saturated["clean"] < 0.02
    assert size["defective"] == pytest.approx(5.8, abs=0.2)
    assert size["clean"] == pytest.approx(1, abs=0.1)


def test_6_9_is_right_for_two_classes_only():
    for classes, ratio in ((2, 1), (10, 1 / 5)):
        arguments = regression(classes)
        loss, gradients = DEFECTS["6.9"].defective(*arguments)
        right, right_gradients = DEFECTS["6.9"].clean(*arguments)
        assert loss == pytest.approx(ratio * right)
        assert gradients["W"] == pytest.approx(ratio * right_gradients["W"])


def test_6_10_is_nan_where_an_output_underflows():
    harmless, underflow, t = np.array([[0.2, 1.0, -1.0]]), np.array([[0.0, 800.0, 0.0]]), np.array([1])
    with np.errstate(all="ignore"):
        assert np.isnan(DEFECTS["6.10"].defective(underflow, np.array([0]))).any()
    assert DEFECTS["6.10"].clean(underflow, np.array([0])) == pytest.approx(np.array([[-1.0, 1.0, 0.0]]))
    assert DEFECTS["6.10"].defective(harmless, t) == pytest.approx(DEFECTS["6.10"].clean(harmless, t))


def test_6_11_is_a_tenth_of_the_cross_entropy():
    arguments = regression()
    loss, gradients = DEFECTS["6.11"].defective(*arguments)
    right, right_gradients = DEFECTS["6.11"].clean(*arguments)
    assert loss == pytest.approx(right / 10)
    assert gradients["W"] == pytest.approx(right_gradients["W"])


def test_6_12_the_forgotten_layer_never_changes():
    x, t = blobs()
    for twin in TWINS:
        model = getattr(DEFECTS["6.12"], twin)(rng())
        layers = {"first": model.first, "second": model.second, "last": model.last}
        before = {name: layer.W.copy() for name, layer in layers.items()}
        losses = [model.step(x, t, 0.1) for _ in range(20)]
        still = [name for name, layer in layers.items() if np.array_equal(before[name], layer.W)]
        assert still == (["second"] if twin == "defective" else [])
        assert losses[-1] < 0.8 * losses[0]  # it learns all the same, which is why nobody notices


@pytest.mark.parametrize("twin", TWINS)
def test_6_13_the_derivative_is_wrong_for_the_denominator(twin):
    op, x, y, g = getattr(DEFECTS["6.13"], twin), *(rng(i).uniform(0.5, 2, (3, 2)) for i in range(3))
    dx, dy = op.backward(g, x, y)
    assert dx == pytest.approx(numerical_gradient(lambda x: (g * op.forward(x, y)).sum(), x), abs=1e-8)
    right = numerical_gradient(lambda y: (g * op.forward(x, y)).sum(), y)
    assert dy == pytest.approx(-right if twin == "defective" else right, abs=1e-8)


def test_6_14_the_gradient_has_the_wrong_shape():
    x, g = rng().normal(size=(3, 1)), rng(1).normal(size=(3, 16))
    assert DEFECTS["6.14"].defective.backward(g, x)[0].shape == (3, 16)
    (d,) = DEFECTS["6.14"].clean.backward(g, x)
    assert d == pytest.approx(numerical_gradient(lambda x: (g * DEFECTS["6.14"].clean.forward(x)).sum(), x), abs=1e-8)


def test_6_15_a_constant_gradient_gives_constant_steps():
    for twin in TWINS:
        p = {"w": np.zeros(1)}
        optimiser = getattr(DEFECTS["6.15"], twin)(p, lr=0.1, momentum=0.5)
        places = [0.0]
        for _ in range(4):
            optimiser.step({"w": np.ones(1)})
            places.append(p["w"].item())
        steps = -np.diff(places)
        expected = [0.1] * 4 if twin == "defective" else [0.1, 0.15, 0.175, 0.1875]
        assert steps == pytest.approx(expected)
        optimiser.next_epoch()
        assert optimiser.lr == pytest.approx(0.05 if twin == "defective" else 0.1)


@pytest.mark.parametrize("seed", range(3))
def test_6_16_one_class_is_predicted_for_everything(seed):
    x, t = blobs(1000, classes=10, features=20, noise=3.0)
    for twin in TWINS:
        run = getattr(DEFECTS["6.16"], twin)(20, 10, seed)
        for i in range(600):
            rows = rng(i).integers(0, 1000, 4)
            run.step(x[rows], t[rows])
        found = run.forward(x).argmax(axis=1)
        assert (len(set(found)) == 1) == (twin == "defective")
        assert ((found == t).mean() > 0.6) == (twin == "clean")


def test_6_17_an_output_depends_on_its_neighbours():
    p = {"W": np.eye(3), "b": np.zeros(3)}
    alone, beside = np.array([[0.0, 1.0, 2.0]]), np.array([[0.0, 1.0, 2.0], [1000.0, 0.0, 0.0]])
    for twin in TWINS:
        f = getattr(DEFECTS["6.17"], twin)
        with np.errstate(all="ignore"):
            row, rows = f(p, alone, np.array([2]))[0], f(p, beside, np.array([2, 0]))[0]
        assert row == pytest.approx(0.4076, abs=1e-4)
        assert np.isnan(rows) if twin == "defective" else rows == pytest.approx(row / 2)


def test_6_18_duplicating_the_batch_doubles_the_step():
    p, x, t = regression()
    for twin in TWINS:
        _, once = getattr(DEFECTS["6.18"], twin)(p, x, t)
        _, twice = getattr(DEFECTS["6.18"], twin)(p, np.tile(x, (2, 1)), np.tile(t, 2))
        assert twice["W"] == pytest.approx((2 if twin == "defective" else 1) * once["W"])


def test_6_19_a_series_is_empty():
    train, validation = blobs(), blobs(seed=5)
    defective = DEFECTS["6.19"].defective(train, validation, epochs=3)
    clean = DEFECTS["6.19"].clean(train, validation, epochs=3)
    assert defective["train"] == []
    assert len(clean["train"]) == 3
    assert defective["validation"] == clean["validation"]


def test_6_21_other_test_data_change_the_choice():
    train, validation = blobs(100, noise=3.0), blobs(100, noise=3.0, seed=5)
    tests = [blobs(40, noise=3.0, seed=seed) for seed in range(10, 20)]
    for twin in TWINS:
        f = getattr(DEFECTS["6.21"], twin)
        choices = {f(train, validation, test, 20)[0] for test in tests}
        assert (len(choices) > 1) == (twin == "defective")


def test_6_21_choosing_by_the_test_set_flatters():
    train, validation = blobs(100, noise=3.0), blobs(100, noise=3.0, seed=5)
    tests = [blobs(40, noise=3.0, seed=seed) for seed in range(10, 30)]
    found = {
        twin: np.mean([getattr(DEFECTS["6.21"], twin)(train, validation, s, 20)[1] for s in tests]) for twin in TWINS
    }
    assert found["defective"] > found["clean"] + 0.01


def test_6_22_the_first_layers_gradient_vanishes():
    x, t = rng().normal(size=(50, 20)), rng(1).integers(0, 5, 50)
    for twin in TWINS:
        norms = [np.linalg.norm(d) for d in getattr(DEFECTS["6.22"], twin)(rng(2)).gradients(x, t)]
        ratio = norms[0] / norms[-1]
        assert ratio < 1e-3 if twin == "defective" else ratio > 0.1


def test_6_22_the_gradients_are_right_nevertheless():
    x, t = rng().normal(size=(2, 20)), rng(1).integers(0, 5, 2)
    for twin in TWINS:
        network = getattr(DEFECTS["6.22"], twin)(rng(2))
        last = network.layers[0]
        found = network.gradients(x, t)[0][0, :3]

        def loss(entries, network=network, last=last):
            last.W[0, :3] = entries
            h = x
            for layer in network.layers[:-1]:
                h, _ = network.activation(layer.forward(h))
            o = network.layers[-1].forward(h)
            return -(o[np.arange(2), t] - np.log(np.exp(o).sum(axis=1))).mean()

        assert found == pytest.approx(numerical_gradient(loss, last.W[0, :3].copy()), abs=1e-8)


@pytest.mark.parametrize("seed", [0, 100, 200])
def test_6_23_the_chosen_epoch_overfits(seed):
    train, validation = blobs(60, features=10, noise=4.0, seed=seed), blobs(400, features=10, noise=4.0, seed=seed + 5)
    for twin in TWINS:
        curves, chosen = getattr(DEFECTS["6.23"], twin)(train, validation, 40)
        loss, accuracy = curves["validation_loss"], curves["validation_accuracy"]
        best = int(np.argmin(loss))
        assert (loss[chosen] > 1.3 * loss[best]) == (twin == "defective")
        error = np.sqrt(accuracy[best] * (1 - accuracy[best]) / 400)
        assert accuracy[chosen] - accuracy[best] < 2 * error  # what may look like a gain is no more than chance gives


def test_6_24_budgets_differ_and_there_is_no_spread():
    for twin in TWINS:
        found = getattr(DEFECTS["6.24"], twin)(blobs())
        updates = {each["updates"] for each in found.values()}
        assert (len(updates) > 1) == (twin == "defective")
        assert all((len(each["losses"]) > 1) == (twin == "clean") for each in found.values())
