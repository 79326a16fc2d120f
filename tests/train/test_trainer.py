"""Training: what a step does, what the curves mean, and that evaluation changes nothing."""

import subprocess
import sys
from itertools import chain

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.errors import ChainruleError, DataError
from chainrule.train import Callback, EarlyStopping
from chainrule.train import trainer as trainer_module


def points(n=53, seed=0, dtype=np.float64):
    r = np.random.default_rng(seed)
    x = r.normal(size=(n, 4)).astype(dtype)
    return data.arrays(
        x, (x @ np.array([[1.0], [-2.0], [0.5], [0.0]]).astype(dtype) > 0).astype(int).ravel(), name="points"
    )


def line(n=53):
    x = np.random.default_rng(1).normal(size=(n, 4))
    return data.arrays(x, x @ np.array([[1.0], [-2.0], [0.5], [0.0]]), name="line")


def network(out=2, dtype=np.float64):
    r = np.random.default_rng(7)
    return nn.Sequential(nn.Linear(4, 6, dtype=dtype, rng=r), nn.Tanh(), nn.Linear(6, out, dtype=dtype, rng=r))


def trainer_of(model, loss=None, lr=0.1, **options):
    return cr.Trainer(
        model, loss=loss or nn.CrossEntropyLoss(), optimizer=optim.SGD(model.parameters(), lr=lr), **options
    )


def bits(model):
    return [p.value.tobytes() for p in model.parameters()]


def nats(model, dataset):
    z = model.predict(dataset)
    z = z - z.max(axis=1, keepdims=True)
    return -(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))[np.arange(len(z)), dataset.targets]


# --------------------------------------------------------------------------------------------------- a step


def test_a_step_is_forward_backward_update_and_returns_the_loss_before_it():
    model, dataset = network(), points()
    trainer = trainer_of(model, lr=0.5)
    expected = nats(model, dataset).mean()
    f, parameters = model.as_function()
    values = {k: p.value for k, p in parameters.items()}
    x, t = dataset.features(dtype=np.float64), dataset.targets
    g = cr.grad(lambda p: cr.cross_entropy(f(p, x), t))({k: v.copy() for k, v in values.items()})
    before = {k: p.numpy() for k, p in parameters.items()}
    assert trainer.step(x, t) == pytest.approx(expected, rel=1e-12)
    for name, p in parameters.items():
        np.testing.assert_allclose(p.value, before[name] - 0.5 * g[name], rtol=1e-12, atol=1e-15)


def test_gradients_do_not_accumulate_over_steps():
    model, dataset = network(), points()
    trainer = trainer_of(model, lr=1e-12)
    x, t = dataset.features(dtype=np.float64), dataset.targets
    trainer.step(x, t)
    first = model[0].weight.grad.copy()
    trainer.step(x, t)
    np.testing.assert_allclose(model[0].weight.grad, first, rtol=1e-8)


def test_training_learns():
    history = trainer_of(model := network()).fit(points(400), points(200, seed=1), epochs=20, batch_size=20, seed=0)
    assert history.train_loss[-1] < 0.3 * np.log(2)
    assert history.validation_accuracy[-1] > 0.95
    assert trainer_of(model).evaluate(points(200, seed=2)).accuracy > 0.95


def test_every_sample_is_seen_once_an_epoch_in_an_order_drawn_anew():
    seen = []

    class Watching(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 2)

        def forward(self, x):
            if self.training:
                seen.append(np.asarray(x).ravel().tolist())
            return self.layer(x)

    dataset = data.arrays(np.arange(23.0)[:, None], np.arange(23) % 2)
    trainer_of(Watching(), lr=1e-9).fit(dataset, epochs=2, batch_size=10, seed=3)
    assert [len(b) for b in seen] == [10, 10, 3, 10, 10, 3]
    epochs = [[*chain(*seen[:3])], [*chain(*seen[3:])]]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(23))
    assert epochs[0] != epochs[1] != list(range(23))
    seen.clear()
    trainer_of(Watching(), lr=1e-9).fit(dataset, epochs=1, batch_size=10, shuffle=False)
    assert [*chain(*seen)] == list(range(23))


# ------------------------------------------------------------------------------------------------ the curves


def test_training_and_validation_scores_are_taken_at_the_same_weights():
    train, validation = points(), points(31, seed=5)
    model = network()
    kept = []

    class Keep(Callback):
        def on_epoch_end(self, trainer, epoch, scores):
            kept.append(model.state_dict())

    history = trainer_of(model, callbacks=[Keep()]).fit(train, validation, epochs=3, batch_size=8, seed=0)
    assert history.epochs == [1, 2, 3]
    for i, state in enumerate(kept):
        model.load_state_dict(state)
        assert history.train_loss[i] == pytest.approx(nats(model, train).mean(), rel=1e-12)
        assert history.validation_loss[i] == pytest.approx(nats(model, validation).mean(), rel=1e-12)
        right = model.predict(validation).argmax(axis=1) == validation.targets
        assert history.validation_accuracy[i] == pytest.approx(right.mean())


def test_scores_are_taken_every_so_many_epochs_and_after_the_last():
    history = trainer_of(network()).fit(points(), epochs=7, evaluate_every=3)
    assert history.epochs == [3, 6, 7]
    assert len(history.train_loss) == 3
    assert len(history.seconds) == 3
    assert history.seconds == sorted(history.seconds)


def test_no_scores_are_taken_where_none_are_wanted():
    def trained(**options):
        trainer = trainer_of(model := network())
        history = trainer.fit(points(), points(), epochs=3, batch_size=8, seed=1, **options)
        return bits(model), history, trainer

    weights, history, trainer = trained(evaluate_every=None)
    assert (history.epochs, history.series, history.seconds) == ([], {}, [])
    assert len(history.learning_rate) == trainer.epoch == 3
    assert trainer.monitored == []
    assert weights == trained()[0]


def test_a_score_that_is_watched_has_to_be_taken():
    trainer = trainer_of(network(), callbacks=[EarlyStopping(patience=1)])
    with pytest.raises(ChainruleError, match=r"EarlyStopping watches 'validation_loss', .*evaluate_every=None"):
        trainer.fit(points(), points(), epochs=3, evaluate_every=None)


@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_entries"])
@pytest.mark.parametrize("rows", [7, 53, 1000])
def test_the_loss_of_a_set_is_reduced_over_the_whole_set_whatever_is_evaluated_at_a_time(monkeypatch, reduction, rows):
    monkeypatch.setattr(trainer_module, "_ROWS", rows)
    model, dataset = network(), points(53)
    expected = {"mean": np.mean, "sum": np.sum, "mean_entries": lambda v: v.mean() / 2}[reduction](nats(model, dataset))
    assert trainer_of(model, nn.CrossEntropyLoss(reduction)).evaluate(dataset).loss == pytest.approx(
        expected, rel=1e-12
    )
    model, dataset = network(out=1), line(53)
    squares = (model.predict(dataset) - dataset.targets) ** 2
    expected = squares.sum() if reduction == "sum" else squares.mean()
    assert trainer_of(model, nn.MSELoss(reduction)).evaluate(dataset).loss == pytest.approx(expected, rel=1e-12)


def test_the_history_says_the_unit_of_its_losses():
    assert (
        trainer_of(network(), nn.CrossEntropyLoss("sum")).history.loss_unit == "cross-entropy in nats, sum over samples"
    )
    assert "nats" in repr(trainer_of(network()).fit(points(), epochs=1))


def test_metrics_by_name_and_by_function():
    def distance(outputs, targets):
        return np.abs(outputs[:, 0] - targets)

    model, dataset = network(), points()
    scores = trainer_of(model, metrics=["error", "accuracy", distance]).evaluate(dataset)
    assert scores.error == pytest.approx(1 - scores.accuracy)
    assert scores["distance"] == pytest.approx(np.abs(model.predict(dataset)[:, 0] - dataset.targets).mean())
    with pytest.raises(ChainruleError, match="metric called 'acuracy': did you mean 'accuracy'"):
        trainer_of(model, metrics=["acuracy"])


def test_there_is_an_accuracy_where_there_are_classes_alone():
    assert set(trainer_of(network()).evaluate(points())) == {"loss", "accuracy"}
    assert set(trainer_of(network(out=1), nn.MSELoss()).evaluate(line())) == {"loss"}


def test_one_hot_targets_have_the_scores_of_their_labels():
    model, labels = network(), points()
    one_hot = data.arrays(labels.inputs, np.eye(2)[labels.targets])
    a, b = trainer_of(model).evaluate(labels), trainer_of(model).evaluate(one_hot)
    assert a.accuracy == b.accuracy
    assert a.loss == pytest.approx(b.loss, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inputs_and_targets_are_cast_to_the_models_dtype(dtype):
    for dataset, loss, out in [
        (line(), nn.MSELoss(), 1),
        (data.arrays(points().inputs, np.eye(2)[points().targets]), nn.CrossEntropyLoss(), 2),
        (points(dtype=np.float32), nn.CrossEntropyLoss(), 2),
    ]:
        for batch_size in (10, None):
            model = network(out, dtype)
            trainer_of(model, loss).fit(dataset, epochs=1, batch_size=batch_size)
            assert all(p.dtype == p.grad.dtype == dtype for p in model.parameters())


# ------------------------------------------------------------------------------------------------- evaluation


def test_evaluating_changes_no_bit_and_restores_the_modes():
    model = network()
    model.train()
    model[1].training = False
    before = bits(model)
    trainer = trainer_of(model)
    trainer.evaluate(points())
    assert bits(model) == before
    assert [m.training for _, m in model.named_modules()] == [True, True, False, True]
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("how", ["assign", "replace", "buffer"])
def test_a_forward_that_changes_something_cannot_be_evaluated(how):
    class Meddling(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(4, 2)
            self.seen = cr.tensor(0.0)

        def forward(self, x):
            if not self.training and how == "assign":
                self.layer.bias.assign(self.layer.bias.value + 1)
            if not self.training and how == "replace":
                self.layer.bias = nn.Parameter(np.zeros(2, np.float32))
            if not self.training and how == "buffer":
                self.seen.assign(1.0)
            return self.layer(x)

    with pytest.raises(ChainruleError, match="forward changed a parameter; evaluation must leave them as they are"):
        trainer_of(Meddling()).evaluate(points())


def test_layers_are_in_training_mode_in_steps_and_in_evaluation_mode_for_scores():
    modes = []

    class Mode(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            modes.append(self.training)
            return self.layer(x)

    trainer_of(Mode()).fit(points(20), points(20), epochs=2, batch_size=10)
    assert modes == [True, True, False, False] * 2


def test_evaluating_or_training_on_nothing_names_the_data_set():
    empty = data.Dataset(np.zeros((0, 4)), np.zeros(0, int), name="nobody")
    with pytest.raises(DataError, match="evaluate: the data set 'nobody' is empty"):
        trainer_of(network()).evaluate(empty)
    with pytest.raises(DataError, match="fit: the data set 'nobody' is empty"):
        trainer_of(network()).fit(empty, epochs=1)


# ------------------------------------------------------------------------------------------- seeds, going on


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not():
    def trained(seed):
        trainer_of(model := network()).fit(points(), epochs=3, batch_size=8, seed=seed)
        return bits(model)

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


def test_manual_seed_covers_weights_and_order():
    def trained():
        cr.manual_seed(11)
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
        trainer_of(model).fit(points(), epochs=2, batch_size=8)
        return bits(model)

    assert trained() == trained()


SCRIPT = """
import hashlib, numpy as np, chainrule as cr
from chainrule import data, nn, optim
cr.manual_seed(3)
x = np.random.default_rng(0).normal(size=(60, 20))
model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 3))
trainer = cr.Trainer(model, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
trainer.fit(data.arrays(x, np.arange(60) % 3), epochs=3, batch_size=7)
print(hashlib.sha256(b"".join(p.value.tobytes() for p in model.parameters())).hexdigest())
"""


def test_two_processes_give_the_same_bits():
    runs = [
        subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True) for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 64


def test_fitting_again_goes_on():
    whole, parts = network(), network()
    expected = trainer_of(whole).fit(points(), epochs=4, batch_size=8, shuffle=False)
    trainer = trainer_of(parts)
    first = trainer.fit(points(), epochs=1, batch_size=8, shuffle=False)
    history = trainer.fit(points(), epochs=3, batch_size=8, shuffle=False)
    assert first is history
    assert history.epochs == [1, 2, 3, 4]
    assert trainer.epoch == 4
    assert history.train_loss == expected.train_loss
    assert bits(whole) == bits(parts)


def test_no_batch_size_and_one_beyond_the_set_take_the_whole_set_as_one_batch():
    def trained(batch_size):
        steps = []

        class Count(Callback):
            def on_batch_end(self, trainer, epoch, batch, loss):
                steps.append(batch)

        trainer_of(model := network(), callbacks=[Count()]).fit(points(), epochs=2, batch_size=batch_size)
        return bits(model), steps

    assert trained(None) == trained(53) == trained(10**9)
    assert trained(None)[1] == [1, 1]
    assert trained(52)[1] == [1, 2, 1, 2]


# ------------------------------------------------------------------------------------------------ bad arguments


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", float("nan")])
@pytest.mark.parametrize("name", ["epochs", "batch_size", "evaluate_every"])
def test_numbers_that_are_none_are_refused_before_anything_happens(name, value):
    trainer = trainer_of(model := network())
    before = bits(model)
    with pytest.raises(ChainruleError, match=rf"fit: {name} is .*; expected a whole number, at least 1"):
        trainer.fit(points(), **{"epochs": 1, name: value})
    assert trainer.epoch == 0
    assert bits(model) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": None}, r"the model is None; expected one made as nn\.Linear\(784, 10\) is"),
        ({"loss": None}, r"the loss is None; expected one made as nn\.CrossEntropyLoss\(\) is"),
        ({"loss": nn.MSELoss}, "the loss is <class"),
        ({"optimizer": None}, r"the optimizer is None; expected one made as optim\.SGD"),
        ({"optimizer": optim.SGD}, "the optimizer is <class"),
        ({"metrics": "accuracy"}, r"metrics is 'accuracy'; expected a list, such as \['accuracy'\]"),
        ({"metrics": 3}, "metrics is 3; expected a list"),
        ({"callbacks": Callback()}, r"callbacks is .*; expected a list, such as \[EarlyStopping"),
        ({"callbacks": [3]}, r"the callback is 3; expected one made as EarlyStopping\(patience=5\) is"),
    ],
)
def test_parts_that_are_none_are_refused(options, says):
    model = network()
    parts = {"model": model, "loss": nn.CrossEntropyLoss(), "optimizer": optim.SGD(model.parameters(), lr=0.1)}
    with pytest.raises(ChainruleError, match=f"Trainer: {says}"):
        cr.Trainer(**{**parts, **options})


@pytest.mark.parametrize("seed", [-1, "a", 1.5])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ChainruleError, match=r"fit: seed is .*; expected a whole number, at least 0"):
        trainer_of(network()).fit(points(), epochs=1, seed=seed)


def test_an_optimiser_of_another_model_is_refused():
    with pytest.raises(ChainruleError, match=r"none of the model's parameters; pass it model\.parameters"):
        cr.Trainer(network(), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD(network().parameters(), lr=0.1))


def test_a_loss_that_is_no_number_is_refused():
    class PerSample(nn.CrossEntropyLoss):
        def __call__(self, outputs, targets):
            return self.samples(outputs, targets, "none")

    with pytest.raises(ChainruleError, match=r"the loss must be one number, of shape \(\)"):
        trainer_of(network(), PerSample()).fit(points(), epochs=1)


def test_a_column_of_targets_is_asked_for():
    dataset = data.arrays(line().inputs, line().targets.ravel())
    with pytest.raises(ChainruleError, match=r"reshape the targets to \(53, 1\)"):
        trainer_of(network(out=1), nn.MSELoss()).fit(dataset, epochs=1)


def test_inputs_that_do_not_fit_name_the_layer():
    dataset = data.arrays(np.ones((5, 3)), np.arange(5) % 2)
    with pytest.raises(ChainruleError, match=r"layer 0 = Linear\(4, 6\): .*\(5, 3\)"):
        trainer_of(network()).fit(dataset, epochs=1)


def test_labels_beyond_the_outputs_are_named():
    dataset = data.arrays(points().inputs, np.arange(53) % 3)
    with pytest.raises(DataError, match="label 2 is outside the 2 classes"):
        trainer_of(network()).fit(dataset, epochs=1)


def test_what_is_no_dataset_is_refused_in_a_sentence():
    model = network()
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    x = np.zeros((3, 4))
    for act in (
        lambda: trainer.fit(x, np.zeros(3, int), epochs=1),
        lambda: trainer.fit((x, np.zeros(3, int)), epochs=1),
        lambda: trainer.fit(points(), x, epochs=1),
        lambda: trainer.evaluate(x),
        lambda: trainer.evaluate(data.load("mnist").test),
    ):
        with pytest.raises(DataError, match=r"was given a \w+; expected a Dataset: data\.arrays\(x, y\) makes one"):
            act()
    assert trainer.epoch == 0
