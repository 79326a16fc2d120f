"""An optimiser's step is one formula, on arrays as on the Symbols of a graph; what the eager step makes of it."""

import copy
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.errors import ChainruleError, DerivativeError, ShapeError

OPTIMIZERS = {
    "SGD": (optim.SGD, {}),
    "SGD decay": (optim.SGD, {"weight_decay": 0.1}),
    "momentum": (optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    "nesterov": (optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "Adam": (optim.Adam, {"weight_decay": 0.1}),
    "amsgrad": (optim.Adam, {"amsgrad": True, "betas": (0.5, 0.6), "eps": 0.1}),
    "AdamW": (optim.AdamW, {"weight_decay": 0.2}),
    "RMSprop": (optim.RMSprop, {}),
    "RMSprop all": (optim.RMSprop, {"momentum": 0.9, "centered": True, "weight_decay": 0.1}),
}
every = pytest.mark.parametrize(("cls", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS)
SHAPES = ((3, 4), (4,), (), (3, 4))


def tensors(dtype=np.float64):
    r = np.random.default_rng(1)
    return [cr.tensor(r.normal(size=shape).astype(dtype), requires_grad=True) for shape in SHAPES]


def gradients(dtype=np.float64, steps=12):
    r = np.random.default_rng(2)
    return [[np.asarray(r.normal(size=shape), dtype) for shape in SHAPES] for _ in range(steps)]


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_formula_on_arrays_gives_the_bits_of_the_eager_steps_and_writes_nothing(cls, options, dtype):
    optimizer = cls(tensors(dtype), lr=0.05, **options)
    values = [p.numpy() for p in optimizer.parameters]
    memory = [{name: np.zeros_like(v) for name in m} for v, m in zip(values, optimizer.memory, strict=True)]
    for t, gs in enumerate(gradients(dtype), 1):
        numbers = {name: dtype(n) for name, n in optimizer.numbers(t).items()}
        for i, (p, g) in enumerate(zip(optimizer.parameters, gs, strict=True)):
            given = [values[i], g, *memory[i].values()]
            before = [a.copy() for a in given]
            values[i], memory[i] = map(copy.copy, optimizer.formula(values[i], g, memory[i], numbers))
            for a, b in zip(given, before, strict=True):
                np.testing.assert_array_equal(a, b)
            p.grad = g
        optimizer.step()
    for p, value, now, expected in zip(optimizer.parameters, values, optimizer.memory, memory, strict=True):
        np.testing.assert_array_equal(p.value, value)
        assert p.dtype == value.dtype == dtype
        assert now.keys() == expected.keys()
        for name, array in now.items():
            np.testing.assert_array_equal(array, expected[name])


@every
def test_the_formula_can_be_recorded(cls, options):
    optimizer = cls(tensors(), lr=0.05, **options)
    p, g, memory = optimizer.parameters[0].numpy(), gradients()[0][0], optimizer.memory[0]
    numbers = {name: np.float64(n) for name, n in optimizer.numbers(1).items()}
    graph = cr.trace(optimizer.formula, p, g, memory, numbers)
    assert [v.name for v in graph.inputs] == ["p", "g", *memory, *numbers]
    new, remembered = optimizer.formula(p, g, memory, numbers)
    for a, b in zip(graph.run(p, g, memory, numbers), [new, *remembered.values()], strict=True):
        np.testing.assert_array_equal(a, b)


@every
def test_arrays_of_memory_stay_the_same_and_belong_to_one_parameter(cls, options):
    optimizer = cls(tensors(), lr=0.05, **options)
    before = [dict(m) for m in optimizer.memory]
    first, *_, last = optimizer.parameters
    first.grad = np.ones((3, 4))
    optimizer.step()
    for m, b in zip(optimizer.memory, before, strict=True):
        assert all(m[name] is b[name] for name in b)
    assert not any(array.any() for array in optimizer.memory[-1].values())
    last.grad = np.full((3, 4), 2.0)
    kept = [array.copy() for array in optimizer.memory[0].values()]
    first.grad = None
    optimizer.step()
    for array, k in zip(optimizer.memory[0].values(), kept, strict=True):
        np.testing.assert_array_equal(array, k)


class SignDescent(optim.Optimizer):
    """lr / √t times the sign of a moving mean, as a person might write it."""

    def __init__(self, parameters, lr=0.1, mean=0.5):
        super().__init__(parameters, lr)
        self.mean = mean
        self._count()
        self._remember("mean")

    def numbers(self, step):
        return {"rate": self.lr / step**0.5}

    def formula(self, p, g, memory, numbers):
        m = self.mean * memory["mean"] + (1 - self.mean) * g
        return p - numbers["rate"] * np.sign(m), {"mean": m}


def test_an_optimiser_of_ones_own():
    p = cr.tensor([1.0, -1.0], requires_grad=True)
    optimizer = SignDescent([p])
    for g in ([4.0, -4.0], [-1.0, -1.0]):
        p.grad = np.array(g)
        optimizer.step()
    # m: (2, -2), (0.5, -1.5)
    np.testing.assert_allclose(p.value, [1 - 0.1 - 0.1 / 2**0.5, -1 + 0.1 + 0.1 / 2**0.5], rtol=1e-15)
    assert list(optimizer.state_dict()) == ["lr", "steps.0", "mean.0"]
    assert repr(optimizer) == "SignDescent(lr=0.1)"


@every
def test_a_copy_goes_on_by_itself(cls, options):
    optimizer = cls(tensors(), lr=0.05, **options)
    for copied in (copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))):
        for p in optimizer.parameters:
            p.grad = np.ones(p.shape)
        optimizer.step()
        before = [p.numpy() for p in optimizer.parameters]
        other = copied(optimizer)
        other.step()
        for p, q, b in zip(optimizer.parameters, other.parameters, before, strict=True):
            np.testing.assert_array_equal(p.value, b)
            assert (q.value != b).all()
        optimizer.step()
        for p, q in zip(optimizer.parameters, other.parameters, strict=True):
            np.testing.assert_array_equal(p.value, q.value)


def test_a_gradient_of_another_shape_is_refused():
    p, *_ = tensors()
    p.grad = np.ones(4)
    with pytest.raises(ShapeError, match=r"SGD: a gradient has the shape \(4,\), its parameter \(3, 4\)"):
        optim.SGD([p], lr=0.1).step()


def test_a_gradient_may_be_set_in_another_dtype_or_to_the_parameter_itself():
    p = cr.tensor(np.float32([1, 2, 3]), requires_grad=True)
    sgd = optim.SGD([p], lr=0.5)
    p.grad = np.array([2.0, 2.0, 2.0])
    sgd.step()
    assert p.value.tolist() == [0, 1, 2]
    assert p.dtype == np.float32
    p.grad = p.value
    sgd.step()
    assert p.value.tolist() == [0, 0.5, 1]


@every
def test_what_was_taken_from_a_parameter_before_the_step_keeps_its_values(cls, options):
    p, *_ = tensors()
    optimizer = cls([p], lr=0.05, **options)
    view, constant, result = p.value, p.detach(), (p * p).sum()
    before = view.copy()
    p.grad = np.ones((3, 4))
    optimizer.step()
    np.testing.assert_array_equal(view, before)
    np.testing.assert_array_equal(constant.value, before)
    assert (p.value != before).all()
    with pytest.raises(DerivativeError, match="assigned since"):
        result.backward()


def test_a_parameter_whose_columns_lie_together_is_changed_in_its_place():
    p = cr.tensor(np.asfortranarray(np.arange(6.0).reshape(2, 3)), requires_grad=True)
    p.grad = np.arange(6.0).reshape(2, 3)
    optim.SGD([p], lr=0.5, momentum=0.9).step()
    np.testing.assert_array_equal(p.value, np.arange(6.0).reshape(2, 3) / 2)


def test_steps_that_somebody_takes_himself_are_counted():
    optimizer = optim.Adam(tensors(), lr=0.05)
    assert optimizer.counts
    optimizer.count_steps((0, 2), 3)
    assert optimizer.steps_made((0, 2)) == 3
    assert optimizer.steps_made(()) == 0
    assert [int(optimizer.state_dict()[f"steps.{i}"]) for i in range(4)] == [3, 0, 3, 0]
    with pytest.raises(ChainruleError, match=r"Adam: the parameters have made different numbers of steps \(\[0, 3\]\)"):
        optimizer.steps_made((0, 1))
    sgd = optim.SGD(tensors(), lr=0.05)
    sgd.count_steps((0, 1), 3)
    assert not sgd.counts
    assert sgd.steps_made((0, 1)) == 0
