"""Predictions by machine code and by a plan are those of eager mode, also after anything in the model has changed."""

import gc
import time

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.compiler.fusion import listing
from chainrule.errors import DataError, DtypeError, Notice, ShapeError
from chainrule.nn import prediction

pytest.importorskip("numba")

COMPILED = ["numba", "numpy"]


@pytest.fixture(autouse=True)
def _seeded():
    cr.manual_seed(1)


def network(*between, dtype="float32", width=8):
    return nn.Sequential(nn.Linear(6, width, dtype=dtype), *between, nn.Linear(width, 3, dtype=dtype))


def samples(n, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(size=(n, 6)).astype(dtype)


def agrees(model, x, backend="numba", **options):
    found, expected = model.predict(x, backend=backend, **options), model.predict(x, backend="eager", **options)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    tolerance = 1e-12 if expected.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    return found


MODELS = {
    "relu": lambda d: network(nn.ReLU(), dtype=d),
    "tanh, gelu": lambda d: network(nn.Tanh(), nn.GELU(), dtype=d),
    "batch norm, dropout": lambda d: network(nn.BatchNorm1d(8, dtype=d), nn.SiLU(), nn.Dropout(0.5), dtype=d),
    "layer norm": lambda d: network(nn.LayerNorm(8, dtype=d), nn.Softplus(), dtype=d),
    "softmax": lambda d: nn.Sequential(network(nn.LeakyReLU(0.1), dtype=d), nn.Softmax()),
    "bias trick": lambda d: nn.Sequential(nn.AppendOne(), nn.Linear(7, 2, bias=False, dtype=d)),
    "flatten": lambda d: nn.Sequential(nn.Flatten(), network(nn.ELU(), dtype=d)),
}


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_layer_for_any_number_of_samples(name, backend):
    dtype = "float64" if name in ("relu", "layer norm") else "float32"
    model = MODELS[name](dtype)
    for n in (1, 2, 7, *[0] * (name != "flatten"), 1, 700, 1):
        agrees(model, samples(n, dtype, seed=n), backend)
    agrees(model, samples(5, "float64"), backend, batch_size=2)  # which is cast


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(monkeypatch, threads):
    monkeypatch.setattr("chainrule.compiler.backend.threads", lambda work: threads)
    for n in (1, 5, 1300):
        agrees(network(nn.ReLU()), samples(n))


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, np.float64, bool])
def test_data_sets_are_scaled(backend, kind):
    u = np.random.default_rng(1).integers(0, 2 if kind is bool else 200, (600, 6)).astype(kind)
    u.flags.writeable = False
    model = network(nn.ReLU())
    for scale, shift in ((1 / 255, 0), (1 / 255, -0.5), (1, 0)):
        dataset = data.Dataset(u, np.zeros(600, int), scale=scale, shift=shift)
        for rows in (slice(None), slice(3, 4), slice(0, 0)):
            agrees(model, dataset.subset(rows), backend)


def mostly_zeros(kind, n=600, **options):
    """A data set that machine code takes as lists."""
    u = np.random.default_rng(1).integers(1, 2 if kind is bool else 200, (n, 40)).astype(kind)
    u[np.random.default_rng(2).random(u.shape) < 0.8] = 0
    u.flags.writeable = False
    return data.Dataset(u, np.zeros(n, int), **options)


def way_of(model, dataset):
    """How machine code takes a data set."""
    return prediction.outputs(model, dataset, "numba", len(dataset), asked=True).way.feed.kind


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64, bool])
def test_data_sets_with_many_zeros_are_listed(monkeypatch, threads, kind):
    monkeypatch.setattr("chainrule.compiler.backend.threads", lambda work: threads)
    models = (
        nn.Sequential(nn.Linear(40, 100), nn.ReLU(), nn.Linear(100, 3)),
        nn.Linear(40, 5, dtype="float64"),
        nn.Sequential(nn.AppendOne(), nn.Linear(41, 100, bias=False)),
    )
    for model, options in [(m, o) for m in models for o in ({}, {"scale": 1 / 255}, {"scale": 0.01, "shift": -0.4})]:
        dataset = mostly_zeros(kind, **options)
        exact = kind is not np.float64 or model.dtype == np.float64 or not options
        assert way_of(model, dataset) == ("nonzeros" if exact else "rows")
        for rows in (slice(None), slice(3, 4), slice(550, 600), slice(0, 0)):
            agrees(model, dataset.subset(rows))


def test_a_large_data_set_is_listed_some_rows_at_a_time(monkeypatch):
    monkeypatch.setattr(prediction, "LISTED", 2**10)
    monkeypatch.setattr(prediction, "CHUNK", 70)
    dataset, model = mostly_zeros(np.uint8), nn.Linear(40, 3)
    assert prediction.outputs(model, dataset, "numba", 600, asked=True).at_once == 70
    agrees(model, dataset)


def test_lists_are_made_only_where_zeros_count():
    x = mostly_zeros(np.uint8)
    biased = nn.Sequential(nn.AppendOne(), nn.Linear(41, 3, bias=False))
    assert way_of(biased, x) == "nonzeros"
    assert way_of(biased, x.scaled(0.0, 1.0)) == "data"
    assert way_of(nn.Sequential(nn.AppendOne(), nn.Tanh(), nn.Linear(41, 3)), x) == "data"
    assert way_of(nn.Linear(40, 3), x) == "nonzeros"
    assert way_of(nn.Sequential(nn.LayerNorm(40), nn.Linear(40, 3)), x) == "data"
    assert way_of(nn.Linear(40, 3), data.Dataset(x.inputs + np.uint8(1), x.targets)) == "data"


def test_lists_are_kept_in_a_with_block_alone():
    x, lists, dtype = mostly_zeros(np.uint8), listing.Lists(), np.dtype(np.float32)
    some = np.arange(20, 30)
    found, places = lists.of(x.inputs, some, dtype)
    assert len(found.cuts) == 10
    assert places.tolist() == list(range(10))
    with lists:
        kept, places = lists.of(x.inputs, some, dtype)
        assert len(kept.cuts) == 600
        assert places.tolist() == some.tolist()
        assert lists.of(x.inputs, some, dtype, 2)[0] is kept
        in_parts = lists.of(x.inputs, some, dtype, 2, cut=True)[0]
        assert in_parts.cuts.shape == (600, 3)
        assert lists.of(x.inputs, some, dtype)[0] is in_parts
        for _ in range(3 * listing.KEPT):
            lists.of(x.inputs.copy(), some, dtype)
        assert len(lists._kept) == listing.KEPT
    assert not lists._kept


def test_memory_of_any_kind():
    model = network(nn.ReLU())
    x = samples(4)
    frozen = x.copy()
    frozen.flags.writeable = False
    shifted = np.frombuffer(b"0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(4, 6)
    swapped = x.astype(">f4")
    for given in (x, x, np.asfortranarray(x), x[::-1], frozen, shifted, swapped, x[:, ::-1], x.tolist()):
        agrees(model, np.array(given) if isinstance(given, list) else given)
    before = x.copy()
    y = agrees(model, x)
    again = model.predict(x, backend="numba")
    y[:] = 0
    assert again.any()
    assert np.array_equal(x, before)


def touch_by_assign(model):
    model[0].weight.assign(model[0].weight.value * 2)


def touch_by_a_transposed_array(model):
    model[0].weight.assign(np.asfortranarray(model[0].weight.value * 3))


def touch_by_subtracting(model):
    model[2].bias.subtract_(np.full(3, 0.5, np.float32))


def touch_by_an_optimiser(model):
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    cr.Trainer(model, nn.CrossEntropyLoss(), optimizer).step(samples(4), np.array([0, 1, 2, 0]))


def touch_a_parameter(model):
    model[0].bias = nn.Parameter(np.ones(8, np.float32))


def touch_a_layer(model):
    setattr(model, "1", nn.Tanh())


def touch_behind_the_back(model):
    vars(model)["1"] = nn.Sigmoid()


def touch_by_one_more_layer(model):
    setattr(model, "3", nn.Softmax())


def touch_by_one_layer_less(model):
    delattr(model, "2")


def touch_an_option(model):
    model[1].negative_slope = 0.7


def touch_the_mode(model):
    model.train(not model.training)


def touch_the_state(model):
    model.load_state_dict({name: array + 1 for name, array in model.state_dict().items()})


TOUCHES = [f for name, f in list(globals().items()) if name.startswith("touch_")]


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("n", [1, 3])
def test_no_change_goes_unseen(n, backend):
    x = samples(n)
    for touch in TOUCHES:
        model = network(nn.LeakyReLU(0.1))
        before = agrees(model, x, backend)
        assert np.array_equal(agrees(model, x, backend), before)
        touch(model)
        after = agrees(model, x, backend)
        if touch is not touch_the_mode:
            assert after.shape != before.shape or not np.allclose(after, before), touch.__name__
        agrees(model, x, backend)


def test_statistics_are_those_of_now():
    model = network(nn.BatchNorm1d(8))
    for seed in range(3):
        model.train()
        model(samples(20, seed=seed) * 3)
        agrees(model, samples(1))
        agrees(model, samples(1))


def test_a_small_parameter_that_is_replaced_by_an_equal_one():
    model = nn.Linear(1, 1)
    x = np.ones((1, 1), np.float32)
    agrees(model, x)
    agrees(model, x)
    model.weight = nn.Parameter(model.weight.numpy())
    agrees(model, x)
    model.weight.assign(np.full((1, 1), 5.0))
    assert agrees(model, x) == pytest.approx(5)


SLOPE = 0.5


class Own(nn.Module):
    """A model with an attribute, a list, a class attribute, a global and a closure."""

    shift = 1.0

    def __init__(self, f):
        self.layers = [nn.Linear(6, 6), nn.Linear(6, 3)]
        self.options = {"scale": 2.0}
        self.f = f

    def forward(self, x):
        for layer in self.layers:
            x = np.tanh(layer(x)) * self.options["scale"] + self.shift * SLOPE
        return self.f(x)


def test_what_a_model_of_ones_own_reads_is_looked_at(monkeypatch):
    factor = 1.0

    def f(x):
        return x * factor

    model, x = Own(f), samples(1)

    def changes():
        before = model.predict(x, backend="numba")
        yield
        after = agrees(model, x)
        assert after.shape != before.shape or not np.allclose(after, before)
        agrees(model, x)

    for change in range(7):
        step = changes()
        next(step)
        if change == 0:
            model.options["scale"] = 3.0
        elif change == 1:
            model.layers[0] = nn.Linear(6, 6)
        elif change == 2:
            model.layers.append(nn.Linear(3, 3))
        elif change == 3:
            monkeypatch.setattr(Own, "shift", 2.0)
        elif change == 4:
            monkeypatch.setitem(globals(), "SLOPE", 0.1)
        elif change == 5:
            factor = 4.0
        else:
            monkeypatch.setattr(Own, "forward", lambda self, x: self.layers[0](x))
        next(step, None)


class Counting(nn.Module):
    def __init__(self):
        self.layer, self.calls = nn.Linear(6, 3), 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x)


class Keeping(Counting):
    def forward(self, x):
        self.seen = [x]
        return self.layer(x)


class Listing(Counting):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(1)
        return self.layer(x)


def drawn():
    """A number of its own in each call, by ways that nobody can look into."""
    return time.perf_counter()


class Drawing(Counting):
    def forward(self, x):
        return self.layer(x) * drawn()


class Masked(Counting):
    def __init__(self):
        super().__init__()
        self.mask = np.ones(6, np.float32)

    def forward(self, x):
        return self.layer(x * self.mask)


class Branching(Counting):
    def forward(self, x):
        return self.layer(x) if np.asarray(x).sum() > 0 else -self.layer(x)


TABLE = {"factor": np.ones(3, np.float32)}


class Reading(Counting):
    def forward(self, x):
        return self.layer(x) * TABLE["factor"]


class Whole(Counting):
    def forward(self, x):
        return self.layer(x).sum(axis=0, keepdims=True)


@pytest.mark.parametrize("kind", [Counting, Keeping, Listing, Drawing, Masked, Branching, Reading, Whole])
def test_what_cannot_be_kept_as_a_graph_is_computed_by_eager_mode(kind):
    model, x = kind(), samples(3)
    for backend in COMPILED:
        with pytest.warns(Notice, match="his model's outputs cannot be compiled, so eager mode computes them"):
            y = model.predict(x, backend=backend)
        assert isinstance(y, np.ndarray)
    if kind is Masked:
        model.mask[:] = 2
        with pytest.warns(Notice, match=r"Masked\.mask is a ndarray"):
            np.testing.assert_allclose(model.predict(x, backend="numba"), model.layer(2 * x).value, rtol=1e-6)
    if kind is Counting:
        assert model.calls == len(COMPILED)
    if kind is Listing:
        assert model.seen == [1] * len(COMPILED)
    model.predict(x)  # nobody asked: no notice


class OfTheBatch(nn.Module):
    """Rows that depend on their batch, and on its size."""

    def __init__(self):
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        y = self.layer(x)
        return (y - y.mean(axis=0)) / x.shape[0]


class OfItsSize(OfTheBatch):
    def forward(self, x):
        return self.layer(x) / x.shape[0]


@pytest.mark.parametrize("kind", [OfTheBatch, OfItsSize])
def test_rows_that_depend_on_their_batch_are_computed_batch_by_batch(kind):
    model = kind()
    for n in (7, 7, 1):
        agrees(model, samples(n), batch_size=3)
        agrees(model, samples(n), batch_size=3, backend="numpy")
        agrees(model, samples(n))


def test_nan_and_infinity_are_handed_on():
    model = network(nn.ReLU())
    x = samples(4)
    x[0, 0], x[1, 1], x[2, :2] = np.nan, np.inf, (-np.inf, np.inf)
    with np.errstate(all="ignore"):
        agrees(model, x)
        agrees(model, x[:1])
        model[0].weight.assign(np.full((6, 8), np.inf))
        zeros = data.Dataset(np.zeros((5, 6), np.uint8), np.zeros(5, int))
        assert np.isnan(agrees(model, zeros)).all()


def test_errors_are_those_of_eager_mode():
    model = network(nn.ReLU())
    agrees(model, samples(1))
    with pytest.raises(ShapeError, match=r"the last axis\s+of the input must be 6"), pytest.warns(Notice):
        model.predict(np.ones((1, 5), np.float32), backend="numba")
    with pytest.raises(DtypeError, match="uint8"):
        model.predict(np.ones((1, 6), np.uint8), backend="numba")
    with pytest.raises(cr.ChainruleError, match="batch_size"):
        model.predict(samples(1), batch_size=0, backend="numba")
    with pytest.raises(cr.ChainruleError, match="batch_size"):
        model.predict(samples(1), batch_size=True, backend="numba")
    with pytest.raises(cr.ChainruleError, match="quick"):
        model.predict(samples(1), backend="quick")
    large = data.Dataset(np.full((2, 6), 1e300), np.zeros(2, int))
    with pytest.raises(DataError, match="too large"):
        model.predict(large, backend="numba")
    agrees(model, samples(1))
    with cr.detect_nan(), pytest.raises(cr.ChainruleError, match="NaN"):
        model.predict(np.full((1, 6), np.nan, np.float32), backend="numba")


def test_the_backend_is_chosen_by_the_work_of_the_call(monkeypatch):
    model, asked = network(nn.ReLU()), []
    compute = prediction.Outputs.__init__
    monkeypatch.setattr(prediction.Outputs, "__init__", lambda self, *a: (asked.append(a[3]), compute(self, *a))[1])
    x = samples(1)
    model.predict(x)
    assert asked == []
    monkeypatch.setattr("chainrule.compiler.backend.PLANNED_FROM", 1e-9)
    model.predict(x)
    monkeypatch.setattr("chainrule.compiler.backend.FUSED_FROM", 2e-9)
    model.predict(x)
    assert asked == ["numpy", "numba"]
    monkeypatch.setenv("CHAINRULE_BACKEND", "eager")
    model.predict(x)
    assert len(asked) == 2
    monkeypatch.setenv("CHAINRULE_BACKEND", "numpy")
    model.predict(x)
    assert asked[2:] == ["numpy"]


def test_a_model_is_freed_with_what_is_kept_of_it():
    model = network(nn.ReLU())
    agrees(model, samples(1))
    agrees(model, samples(1))
    key = id(model)
    assert key in prediction._predictors
    assert key in prediction.quick
    del model
    gc.collect()
    assert key not in prediction._predictors
    assert key not in prediction.quick


def test_one_sample_takes_the_short_way():
    model, x = network(nn.ReLU()), samples(1)
    first = model.predict(x, backend="numba")
    quick = prediction.quick[id(model)]
    assert np.array_equal(quick(x, 4096), first)
    assert quick(x.astype(float), 4096) is None
    assert quick(samples(2), 4096) is None
    assert quick(x, 0) is None
    touch_by_assign(model)
    assert quick(x, 4096) is None
    model.predict(x, backend="numba")
    assert prediction.quick[id(model)] is not quick


@pytest.mark.parametrize("backend", ["eager", "numpy", "numba"])
def test_scores_are_taken_in_the_backend_of_the_fit(backend, monkeypatch):
    computed = []
    call = prediction.Outputs.__call__
    monkeypatch.setattr(
        prediction.Outputs, "__call__", lambda self, rows: (computed.append(self.function), call(self, rows))[1]
    )
    monkeypatch.setattr("chainrule.train.trainer._ROWS", 30)
    u = np.random.default_rng(1).integers(0, 255, (80, 6)).astype(np.uint8)
    train = data.Dataset(u, u[:, 0].astype(int) % 3, scale=1 / 255, shift=-0.5, classes=3)
    cr.manual_seed(1)
    model = network(nn.Tanh(), nn.Dropout(0.5), dtype="float64")
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), backend=backend)
    trainer.fit(train, train.subset(slice(0, 31)), epochs=2, batch_size=20, progress=False)
    assert trainer.backend == backend
    assert len(computed) == (0 if backend == "eager" else 2 * (3 + 2))
    assert all((f is not None) == (backend == "numba") for f in computed)
    scores = trainer.evaluate(train)
    outputs = model.predict(train, backend="eager")
    expected = nn.CrossEntropyLoss()(outputs, train.targets)
    assert scores.loss == pytest.approx(float(expected), rel=1e-12)
    assert scores["accuracy"] == np.mean(outputs.argmax(axis=1) == train.targets)


def test_machine_code_is_compared_with_the_plan_once(monkeypatch):
    """A planted error: the plan's numbers come back, with a notice, and so they do later."""
    pytest.importorskip("numba")
    from chainrule.compiler.fusion import expressions

    monkeypatch.setitem(expressions.FORMULAS, "tanh", "({0} * 0.9)")
    model = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))
    x = np.random.default_rng(0).normal(size=(20, 7)).astype(np.float32)
    with pytest.warns(Notice, match="other numbers than the plan"):
        found = model.predict(x, backend="numba")
    np.testing.assert_array_equal(found, model.predict(x, backend="numpy"))
    with pytest.warns(Notice, match="other numbers than the plan"):
        np.testing.assert_array_equal(model.predict(x, backend="numba"), found)
