"""Each longhand of the corpus runs, with NumPy alone: it agrees with eager mode and with differences at a batch size
other than the traced one, is the same twice, and leaves its arguments as they were.
"""

import copy
import re
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.check.numeric import central_difference
from chainrule.errors import DtypeError
from chainrule.graph import tree

sys.path.insert(0, str(Path(__file__).parent))
from tests.written.functions import CASES, MODELS

TRACED, OTHER = 7, 4
UPDATES = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw")


def run(text, *args, **options):
    """Execute a program in a namespace without anything, and call the function that it defines."""
    namespace = {}
    exec(compile(text, "longhand", "exec"), namespace)
    names = [name for name in namespace if name not in ("np", "math", "sliding_window_view", "__builtins__")]
    assert len(names) == 1
    return namespace[names[0]](*args, **options)


@cache
def text_of(name):
    case = CASES[name]
    return cr.longhand(case.f, *case.make(np.random.default_rng(1), TRACED), argnums=case.argnums, batch=case.batch)


def arguments(case, seed=2):
    """Arguments at another batch size, or at the only one."""
    return case.make(np.random.default_rng(seed), OTHER if case.batch else TRACED)


def leaves(*trees):
    return [np.asarray(leaf) for _, leaf in tree.flatten(list(trees))]


def chosen(case, args):
    """The arguments with respect to which the derivative is taken."""
    return args[case.argnums] if isinstance(case.argnums, int) else tuple(args[i] for i in case.argnums)


def assert_agree(found, expected, tolerance):
    found, expected = leaves(found), leaves(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max(initial=0) <= tolerance * max(1, np.abs(b).max(initial=0))


def float32(args):
    def convert(x):
        x = np.asarray(x)
        return x.astype(np.float32) if x.dtype.kind == "f" else x

    return tree.map_leaves(convert, args)


def assert_well_laid_out(text):
    assert [line for line in text.splitlines() if len(line) > 100] == []
    assert text.endswith("\n")
    assert "\n\n\n\n" not in text


@pytest.mark.parametrize("name", list(CASES))
def test_it_agrees_with_eager_mode_at_another_batch_size(name):
    case = CASES[name]
    args = arguments(case)
    before = copy.deepcopy(args)
    found = run(text_of(name), *args)
    assert_agree(found, cr.value_and_grad(case.f, case.argnums)(*args), 1e-12)
    assert all(map(np.array_equal, leaves(args), leaves(before)))  # arguments are left as they were


@pytest.mark.parametrize("name", list(CASES))
def test_its_gradients_agree_with_differences(name):
    case, rng = CASES[name], np.random.default_rng(3)
    args = arguments(case, seed=4)
    _, gradients = run(text_of(name), *args)
    points = leaves(chosen(case, args))
    for _ in range(3):
        directions = [rng.normal(size=p.shape) / np.sqrt(max(1, p.size)) for p in points]

        def along(s, directions=directions):
            moved = [p + s * d for p, d in zip(points, directions, strict=True)]
            new = tree.rebuild(chosen(case, args), moved)
            numbers = [case.argnums] if isinstance(case.argnums, int) else case.argnums
            full = list(args)
            for i, x in zip(numbers, [new] if isinstance(case.argnums, int) else new, strict=True):
                full[i] = x
            return case.f(*full)

        expected = central_difference(along, np.zeros(()), np.ones(()))
        found = sum((g * d).sum() for g, d in zip(leaves(gradients), directions, strict=True))
        assert abs(found - expected) <= 1e-7 * max(1, abs(expected))


@pytest.mark.parametrize("name", list(CASES))
def test_it_is_the_same_to_the_byte_and_well_laid_out(name):
    case, text = CASES[name], text_of(name)
    # Only shapes matter: other values, and another size of the batch, give the same text.
    args = case.make(np.random.default_rng(5), 5 if case.batch else TRACED)
    assert cr.longhand(case.f, *args, argnums=case.argnums, batch=case.batch) == text
    assert_well_laid_out(text)


@pytest.mark.parametrize("name", list(CASES))
def test_float32_stays_float32(name):
    case = CASES[name]
    args = float32(case.make(np.random.default_rng(6), TRACED))
    try:
        eager = cr.value_and_grad(case.f, case.argnums)(*args)
    except DtypeError:  # float64 from outside beside float32: refused by both
        with pytest.raises(DtypeError):
            cr.longhand(case.f, *args, argnums=case.argnums, batch=case.batch)
        return
    text = cr.longhand(case.f, *args, argnums=case.argnums, batch=case.batch)
    found = run(text, *args)
    assert [x.dtype for x in leaves(found)] == [x.dtype for x in leaves(eager)]
    assert_agree(found, eager, 2e-4)


@pytest.mark.parametrize("name", list(CASES))
def test_the_forward_pass_alone(name):
    case = CASES[name]
    args = arguments(case)
    text = cr.longhand(case.f, *args, argnums=None, batch=case.batch)
    assert_agree(run(text, *args), case.f(*args), 1e-12)
    assert "# backward" not in text


def model_and_data(name, dtype=np.float64, n=TRACED):
    spec = MODELS[name]
    model = spec.build(np.random.default_rng(0), dtype)
    args = spec.make(np.random.default_rng(n), n)
    return model, spec.loss, args if dtype == np.float64 else float32(args)


def eager_step(model, loss, args):
    """The loss and the gradients of all parameters."""
    for p in model.parameters():
        p.grad = None
    value = loss(model(*args[:-1]), args[-1])
    value.backward()
    return value.numpy(), tuple(p.grad.copy() for p in model.parameters())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MODELS)
def test_a_models_program_agrees_at_another_batch_size(name, dtype):
    model, loss, args = model_and_data(name, dtype)
    text = cr.longhand(model, *args, loss=loss)
    assert_well_laid_out(text)
    _, _, args = model_and_data(name, dtype, OTHER)
    parameters = [p.numpy() for p in model.parameters()]
    before = copy.deepcopy(parameters)
    found = run(text, *args, *parameters)
    expected = eager_step(model, loss, args)
    assert_agree(found, expected, 1e-12 if dtype == np.float64 else 1e-4)
    assert [x.dtype for x in leaves(found)] == [x.dtype for x in leaves(expected)]
    assert all(map(np.array_equal, parameters, before))


@pytest.mark.parametrize("name", MODELS)
def test_a_models_gradients_agree_with_differences(name):
    model, loss, args = model_and_data(name)
    text = cr.longhand(model, *args, loss=loss)
    _, _, args = model_and_data(name, n=OTHER)
    parameters, rng = [p.numpy() for p in model.parameters()], np.random.default_rng(1)
    _, gradients = run(text, *args, *parameters)
    f, named = model.as_function()
    directions = [rng.normal(size=p.shape) / np.sqrt(p.size) for p in parameters]

    def along(s):
        moved = [p + s * d for p, d in zip(parameters, directions, strict=True)]
        return loss(f(dict(zip(named, moved, strict=True)), *args[:-1]), args[-1])

    expected = central_difference(along, np.zeros(()), np.ones(()))
    found = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    assert abs(found - expected) <= 1e-7 * max(1, abs(expected))


def optimizers(parameters):
    """An optimiser for each of the updates, and one with weight decay."""
    parameters = list(parameters)
    return {
        "sgd": optim.SGD(parameters, lr=0.1),
        "momentum": optim.SGD(parameters, lr=0.1, momentum=0.9),
        "nesterov": optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
        "rmsprop": optim.RMSprop(parameters, lr=1e-2),
        "adam": optim.Adam(parameters, lr=1e-3),
        "adamw": optim.AdamW(parameters, lr=1e-3),
        "sgd, decay": optim.SGD(parameters, lr=0.2, weight_decay=0.03),
        "momentum, decay": optim.SGD(parameters, lr=0.2, momentum=0.8, weight_decay=0.03),
        "nesterov, decay": optim.SGD(parameters, lr=0.2, momentum=0.8, nesterov=True, weight_decay=0.03),
        "rmsprop, decay": optim.RMSprop(parameters, lr=0.02, alpha=0.9, eps=1e-6, weight_decay=0.03),
        "adam, decay": optim.Adam(parameters, lr=0.02, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.03),
        "adamw, decay": optim.AdamW(parameters, lr=0.02, betas=(0.8, 0.99), weight_decay=0.2),
    }


@pytest.mark.parametrize("which", optimizers(nn.Linear(1, 1).parameters()))
@pytest.mark.parametrize("name", ["ucsd_ece285", "ntnu_tdt4265", "usc_ee541_tanh"])
def test_three_steps_are_those_of_the_optimiser(name, which):
    model, loss, args = model_and_data(name)
    optimizer = optimizers(model.parameters())[which]
    if "decay" in which:  # what the user set becomes the program's defaults
        trainer = cr.Trainer(model, loss, optimizer)
        text = cr.longhand(trainer, *args)
    else:
        text = cr.longhand(model, *args, loss=loss, update=which)
    assert_well_laid_out(text)
    parameters = [p.numpy() for p in model.parameters()]
    state = None
    for k in range(3):
        args = MODELS[name].make(np.random.default_rng(k), OTHER + k)
        remembered = {} if state is None else {"state": state}
        before = copy.deepcopy([parameters, state])
        value, new, state = run(text, *args, *parameters, **remembered)
        assert all(map(np.array_equal, leaves(parameters), leaves(before[0])))
        parameters = list(new)
        expected, _ = eager_step(model, loss, args)
        optimizer.step()
        assert_agree(value, expected, 1e-12)
        assert_agree(parameters, [p.numpy() for p in model.parameters()], 1e-12)


def test_the_step_of_ucsd_ece285_takes_at_most_30_lines():
    model, loss, args = model_and_data("ucsd_ece285")
    for update in UPDATES:
        text = cr.longhand(model, *args, loss=loss, update=update)
        code = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
        assert len(code) <= 30


def test_no_line_ends_in_a_space():
    texts = [text_of(name) for name in CASES]
    model, loss, args = model_and_data("normalised")
    texts += [cr.longhand(model, *args, loss=loss, update=update) for update in UPDATES]
    assert [line for text in texts for line in text.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize("name", CASES)
def test_a_gradient_is_called_after_what_it_is_the_gradient_of(name):
    shapes = dict(re.findall(r"^    (\w+) = .*# (\([^)]*\))", text_of(name), re.M))
    named = {d: v for d, v in ((d, d.removeprefix("d_")) for d in shapes if d.startswith("d_")) if v in shapes}
    assert {d: shapes[d] for d in named} == {d: shapes[v] for d, v in named.items()}


def test_a_program_needs_numpy_alone():
    for name in CASES:
        modules = {line for line in text_of(name).splitlines() if line.startswith(("import", "from"))}
        view = "from numpy.lib.stride_tricks import sliding_window_view"
        assert modules <= {"import numpy as np", "import math", view}
        assert "chainrule" not in text_of(name)


def test_the_corpus_is_large():
    assert len(CASES) >= 40
