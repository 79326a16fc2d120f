"""A whole training step as one graph: it computes what the Trainer's steps do, and says when there cannot be one."""

from itertools import pairwise

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.compiler.plan import Plan
from chainrule.errors import ChainruleError
from chainrule.train.step_graph import NotRecordableError, step_graph

STEPS, INPUTS, CLASSES = 20, 12, 4


def stack(*layers, dtype, **options):
    """Linear layers of these sizes with activations between them."""
    sizes, activation = layers[:-1], layers[-1]
    parts = [nn.Linear(n, m, dtype=dtype, **options) for n, m in pairwise(sizes)]
    return nn.Sequential(*[layer for part in parts for layer in (part, activation())][:-1])


def with_ones(dtype):
    sizes, layers = (INPUTS, 9, CLASSES), []
    for n, m in pairwise(sizes):
        layers += [nn.AppendOne(), nn.Linear(n + 1, m, bias=False, dtype=dtype), nn.LeCunTanh()]
    return nn.Sequential(*layers[:-1])


def with_everything(dtype):
    return nn.Sequential(
        nn.Linear(INPUTS, 9, bias=False, dtype=dtype),  # before BatchNorm, its gradient would be rounding errors alone
        nn.BatchNorm1d(9, dtype=dtype),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(9, 7, dtype=dtype),
        nn.LayerNorm(7, dtype=dtype),
        nn.GELU(),
        nn.Dropout(0.1),
        nn.Linear(7, CLASSES, dtype=dtype),
    )


NETWORKS = {  # those of the reports, with fewer units
    "ucsd-ece285": lambda dtype: stack(INPUTS, 9, CLASSES, nn.ReLU, dtype=dtype),
    "vu-a1": lambda dtype: stack(INPUTS, 8, CLASSES, nn.Sigmoid, dtype=dtype),
    "vu-a2": lambda dtype: stack(INPUTS, 8, 8, CLASSES, nn.ReLU, dtype=dtype),
    "ntnu-tdt4265": with_ones,
    "usc-ee541": lambda dtype: stack(INPUTS, 9, 7, CLASSES, nn.Tanh, dtype=dtype, bias_init=nn.init.normal(0.1)),
    "everything": with_everything,
}
LOSSES = {
    "mean": nn.CrossEntropyLoss(),
    "sum": nn.CrossEntropyLoss("sum"),
    "weighted": nn.CrossEntropyLoss(class_weights=[1, 2, 0.5, 1], label_smoothing=0.1),
}
OPTIMIZERS = {
    "sgd": (optim.SGD, {"lr": 0.05}),
    "momentum": (optim.SGD, {"lr": 0.02, "momentum": 0.9}),
    "nesterov": (optim.SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "adam": (optim.Adam, {"lr": 0.01}),
    "amsgrad": (optim.Adam, {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1, "betas": (0.8, 0.9)}),
    "adamw": (optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    "rmsprop": (optim.RMSprop, {"lr": 0.002, "eps": 1e-3}),
    "rmsprop, all": (
        optim.RMSprop,
        {"lr": 0.002, "eps": 1e-2, "momentum": 0.5, "centered": True, "weight_decay": 0.01},
    ),
}
CLIPS = {"no clipping": {}, "norm": {"clip_norm": 0.5}, "value": {"clip_value": 0.02}}
CLIPS["both"] = CLIPS["norm"] | CLIPS["value"]


def batches(dtype, steps=STEPS):
    r = np.random.default_rng(3)
    for k in range(steps):
        n = 5 if k % 4 == 3 else 8  # the last batch of an epoch is shorter
        yield r.normal(size=(n, INPUTS)).astype(dtype), r.integers(0, CLASSES, n)


def made(network, optimizer, dtype):
    cr.manual_seed(5)
    model = NETWORKS[network](dtype)
    cls, options = OPTIMIZERS[optimizer]
    return model, cls(model.parameters(), **options)


def key():
    return nn.init.generator().integers(2**63)


def by_run(graph, roles):
    def execute(*arrays):
        results = graph.run(*arrays)
        for o, i in roles.replaces.items():
            arrays[i][...] = results[o]
        return results

    return execute


def by_plan(graph, roles):
    return Plan(graph, into=roles.replaces)


def follow(execute, model, loss, optimizer, dtype, **clips):
    """The losses of the steps that a graph takes."""
    x, t = next(batches(dtype))
    graph, roles = step_graph(model, loss, optimizer, x, t, **clips)
    graph.form = None
    step, losses = execute(graph, roles), []
    for x, t in batches(dtype):
        drawn = key() if roles.key is not None else None
        numbers = optimizer.numbers(optimizer.steps_made(roles.stepped) + 1)
        losses.append(float(step(*roles.arguments(numbers, drawn, x, t))[0]))
        optimizer.count_steps(roles.stepped, 1)
    return losses


def check(execute, network, optimizer, dtype, loss=LOSSES["mean"], **clips):
    model, own = made(network, optimizer, dtype)
    trainer = cr.Trainer(model, loss, own, **clips)
    expected = [trainer.step(x, t) for x, t in batches(dtype)]
    other, others = made(network, optimizer, dtype)
    found = follow(execute, other, loss, others, dtype, **clips)
    assert expected[0] != expected[-1]
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(found, expected, **tolerance)
    for kind, mine, ours in (("model", other, model), ("optimizer", others, own)):
        a, b = mine.state_dict(), ours.state_dict()
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], **tolerance, err_msg=f"{kind}: {name}")


executors = pytest.mark.parametrize("execute", [by_run, by_plan])
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


@executors
@dtypes
@pytest.mark.parametrize("network", NETWORKS)
def test_the_networks_of_the_reports(execute, dtype, network):
    check(execute, network, "momentum", dtype)


@executors
@dtypes
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_with_dropout_and_batch_norm(execute, dtype, optimizer):
    check(execute, "everything", optimizer, dtype)


@executors
@dtypes
@pytest.mark.parametrize("clips", CLIPS.values(), ids=CLIPS)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_clipping_and_losses(execute, dtype, clips, loss):
    check(execute, "ucsd-ece285", "sgd", dtype, loss, **clips)


@executors
@dtypes
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop, all"])
def test_clipping_before_an_optimiser_that_remembers(execute, dtype, optimizer):
    check(execute, "everything", optimizer, dtype, **CLIPS["both"])


def example(dtype=np.float64, n=6):
    r = np.random.default_rng(0)
    return r.normal(size=(n, INPUTS)).astype(dtype), r.integers(0, CLASSES, n)


def test_inputs_and_outputs_have_the_roles_that_are_said():
    model = nn.Sequential(nn.BatchNorm1d(INPUTS), nn.Dropout(0.5), nn.Linear(INPUTS, CLASSES))
    optimizer = optim.AdamW(model.parameters())
    graph, roles = step_graph(model, nn.CrossEntropyLoss(), optimizer, *example(np.float32))
    names = [v.name for v in graph.inputs]
    assert names[:6] == ["W1", "b1", "running_mean1", "running_var1", "W2", "b2"]
    assert names[6:14] == [f"{kind}_{p}" for p in ("W1", "b1", "W2", "b2") for kind in ("mean", "square")]
    assert names[14:] == ["rate", "eps", "decay", "key", "x", "t"]
    assert [names[i] for i in (roles.key, roles.x, roles.t)] == ["key", "x", "t"]
    assert {names[i]: p for i, p in roles.tensors.items()}["running_var1"] is model[0].running_var
    assert {names[i]: a for i, a in roles.memory.items()}["square_W2"] is optimizer.memory[2]["square"]
    assert sorted(names[i] for i in roles.replaces.values()) == sorted(names[:14])
    assert sorted(roles.replaces) == list(range(1, len(graph.outputs)))
    assert all(graph.outputs[o].shape == graph.inputs[i].shape for o, i in roles.replaces.items())
    assert roles.stepped == (0, 1, 2, 3)
    assert str(graph.inputs[roles.x]) == f"x: (N, {INPUTS}) float32"
    assert graph.outputs[0].shape == ()


def test_only_the_optimisers_parameters_change():
    model, _ = made("ucsd-ece285", "sgd", np.float64)
    optimizer = optim.SGD(model[2].parameters(), lr=0.1)
    graph, roles = step_graph(model, nn.CrossEntropyLoss(), optimizer, *example())
    names = [v.name for v in graph.inputs]
    assert [names[i] for i in roles.replaces.values()] == ["W2", "b2"]
    assert "W1" in names
    model[2].bias.requires_grad = False
    _, roles = step_graph(model, nn.CrossEntropyLoss(), optimizer, *example())
    assert [names[i] for i in roles.replaces.values()] == ["W2"]
    assert roles.stepped == (0,)


class Branch(nn.Module):
    """A model with a part that the loss does not depend on, and one that it depends on only as on a constant."""

    def __init__(self):
        self.used = nn.Linear(INPUTS, CLASSES, dtype=np.float64)
        self.idle = nn.Linear(INPUTS, CLASSES, dtype=np.float64)
        self.fixed = nn.Linear(INPUTS, CLASSES, dtype=np.float64)

    def forward(self, x):
        self.idle(x)
        return self.used(x) + cr.stop_gradient(self.fixed(x))


@executors
def test_parameters_without_a_gradient_stay_whatever_the_decay(execute):
    results = []
    for graphs in (False, True):
        cr.manual_seed(1)
        optimizer = optim.SGD((model := Branch()).parameters(), lr=0.1, momentum=0.9, weight_decay=0.5)
        if graphs:
            follow(execute, model, nn.CrossEntropyLoss(), optimizer, np.float64)
        else:
            trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optimizer)
            for x, t in batches(np.float64):
                trainer.step(x, t)
        results.append({**model.state_dict(), **optimizer.state_dict()})
    for name, expected in results[0].items():
        np.testing.assert_allclose(results[1][name], expected, rtol=1e-10, atol=1e-10, err_msg=name)


def test_a_shared_parameter_is_one_input():
    class Tied(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(INPUTS, INPUTS, dtype=np.float64)
            self.again = self.layer

        def forward(self, x):
            return self.again(np.tanh(self.layer(x)))

    model = Tied()
    graph, roles = step_graph(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), *example())
    assert [v.name for v in graph.inputs] == ["W1", "b1", "lr", "x", "t"]
    assert roles.key is None


def test_dropout_that_drops_nothing_takes_no_key():
    model = nn.Sequential(nn.Dropout(0.0), nn.Linear(INPUTS, CLASSES, dtype=np.float64))
    graph, roles = step_graph(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), *example())
    assert [v.name for v in graph.inputs] == ["W1", "b1", "lr", "x", "t"]
    assert roles.key is None
    before = nn.init.generator().bit_generator.state
    cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1)).step(*example())
    assert nn.init.generator().bit_generator.state == before


def test_in_evaluation_mode_the_statistics_are_inputs_and_stay():
    model = with_everything(np.float64).eval()
    graph, roles = step_graph(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), *example())
    names = [v.name for v in graph.inputs]
    assert "running_mean2" in names
    assert not [name for i in roles.replaces.values() if (name := names[i]).startswith("running")]


def test_recording_changes_nothing():
    model = with_everything(np.float64)
    optimizer = optim.Adam(model.parameters())
    before = {**model.state_dict(), **optimizer.state_dict()}
    state = nn.init.generator().bit_generator.state
    step_graph(model, nn.CrossEntropyLoss(), optimizer, *example(), clip_norm=1.0)
    assert nn.init.generator().bit_generator.state == state
    for name, value in {**model.state_dict(), **optimizer.state_dict()}.items():
        np.testing.assert_array_equal(value, before[name])
    assert all(isinstance(p, nn.Parameter) and p.grad is None for p in optimizer.parameters)


def test_clipping_leaves_gradients_whose_norm_is_not_finite():
    found = optim.clip.clipped([np.array([1.0, np.inf]), np.array([2.0])], 1.0, None)
    np.testing.assert_array_equal(found[0], [1.0, np.inf])
    np.testing.assert_array_equal(found[1], [2.0])
    found = optim.clip.clipped([np.array([3.0, np.nan]), np.array([2.0])], 1.0, 2.5)
    np.testing.assert_array_equal(found[0], [2.5, np.nan])


# ------------------------------------------------------------------------------------------- what cannot be recorded


class Branching(nn.Linear):
    def forward(self, x):
        y = super().forward(x)
        return y if y.sum() > 0 else -y


class Counting(nn.Linear):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class Keeping(nn.Linear):
    def forward(self, x):
        self.seen = super().forward(x)
        return self.seen


class Tuples(nn.Module):
    def __init__(self):
        self.layers = (nn.Linear(INPUTS, CLASSES, dtype=np.float64),)
        self.pair = (nn.Parameter(np.ones(CLASSES)), nn.Parameter(np.ones(CLASSES)))

    def forward(self, x):
        return self.layers[0](x) * self.pair[0]


class PerSample(nn.CrossEntropyLoss):
    def __call__(self, outputs, targets):
        return self.samples(outputs, targets, "none")


def linear(cls=nn.Linear):
    return cls(INPUTS, CLASSES, dtype=np.float64)


@pytest.mark.parametrize(
    ("model", "loss", "says"),
    [
        (linear(Branching), nn.CrossEntropyLoss(), "TraceError: .*this branches on"),
        (linear(Counting), nn.CrossEntropyLoss(), "Counting sets its attribute 'calls' when it is called"),
        (linear(Keeping), nn.CrossEntropyLoss(), "Keeping sets its attribute 'seen' when it is called"),
        (Tuples(), nn.CrossEntropyLoss(), "kept in a tuple"),
        (linear(), PerSample(), r"the loss must be one number, of shape \(\)"),
        (linear(), nn.MSELoss(), "ShapeError"),
    ],
    ids=["branching", "counting", "keeping", "tuples", "loss per sample", "loss that does not fit"],
)
def test_what_cannot_be_recorded_is_refused_with_a_reason_and_nothing_stays_behind(model, loss, says):
    before = dict(vars(model))
    with pytest.raises(NotRecordableError, match=says):
        step_graph(model, loss, optim.SGD(model.parameters(), lr=0.1), *example())
    assert vars(model) == before


def test_parameters_of_another_model_or_dtype_are_refused():
    model, x_t = linear(), example()
    with pytest.raises(NotRecordableError, match="the optimizer has parameters that are not the model's"):
        step_graph(model, nn.CrossEntropyLoss(), optim.SGD([*model.parameters(), *linear().parameters()], lr=0.1), *x_t)

    class Mixed(nn.Module):
        def __init__(self):
            self.first = linear()
            self.second = nn.Linear(CLASSES, CLASSES)

        def forward(self, x):
            return self.second(self.first(x).astype(np.float32))

    mixed = Mixed()
    with pytest.raises(NotRecordableError, match="the parameters are of different dtypes: float"):
        step_graph(mixed, nn.CrossEntropyLoss(), optim.SGD(mixed.parameters(), lr=0.1), *x_t)


def test_parameters_that_have_made_different_numbers_of_steps_share_no_numbers():
    model = linear()
    optimizer = optim.Adam(model.parameters())
    model.weight.grad = np.ones(model.weight.shape)
    optimizer.step()
    _, roles = step_graph(model, nn.CrossEntropyLoss(), optimizer, *example())
    with pytest.raises(ChainruleError, match=r"different numbers of steps \(\[0, 1\]\)"):
        optimizer.steps_made(roles.stepped)


def test_a_loss_that_goes_on_after_the_graphs_steps_in_eager_mode():
    model, optimizer = made("everything", "adam", np.float64)
    other, others = made("everything", "adam", np.float64)
    follow(by_plan, model, nn.CrossEntropyLoss(), optimizer, np.float64)
    trainer, twin = (cr.Trainer(m, nn.CrossEntropyLoss(), o) for m, o in ((model, optimizer), (other, others)))
    cr.manual_seed(5)
    made("everything", "adam", np.float64)  # the generator stands where it stood before the steps
    for x, t in batches(np.float64):
        twin.step(x, t)
    state = nn.init.generator().bit_generator.state
    x, t = example()
    expected = [twin.step(x, t) for _ in range(3)]
    nn.init.generator().bit_generator.state = state
    np.testing.assert_allclose([trainer.step(x, t) for _ in range(3)], expected, rtol=1e-10)
    a = trainer.evaluate(data.arrays(x, t)).loss
    assert a == pytest.approx(twin.evaluate(data.arrays(x, t)).loss, rel=1e-10)
