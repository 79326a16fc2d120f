"""The checks of test_every_op.py are checked: ops with an error planted in them must be rejected, each by the check
that is there for such errors, and the ops as they are must be accepted by it.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from op_checks import (
    Case,
    cases_of,
    check_complete,
    check_complex_step,
    check_first_derivative,
    check_float32,
    check_graph,
    check_inputs_unchanged,
    check_memory_is_freed,
    check_second_derivative,
    check_symbolic_batches,
    check_values,
)

from chainrule.errors import ChainruleError
from chainrule.ops.families import Elementwise, restore_axes
from chainrule.ops.indexing import ScatterAdd
from chainrule.ops.loss import Softmax
from chainrule.ops.op import OPS, Op, example

kept: list[Any] = []


def overwrite(g: Any, _y: Any, _x: Any, *arrays: Any, index: Any) -> Any:
    if not arrays or not isinstance(g, np.ndarray):
        return ScatterAdd.apply(g, *arrays, index=index, shape=_x.shape), *(None for _ in arrays)
    result, rest = np.zeros(_x.shape), iter(arrays)
    result[tuple(next(rest) if part == "array" else part for part in index)] = g
    return result, *(None for _ in arrays)


def unmoved_parts(g: Any, _y: Any, *_xs: Any, axis: int) -> Any:
    return tuple(g[(slice(None),) * axis + (slice(0, x.shape[axis]),)] for x in _xs)


def without_g(_g: Any, _y: Any, logits: Any, targets: Any) -> Any:
    if len(targets.shape) < len(logits.shape):
        targets = OPS["onehot"].apply(targets, classes=logits.shape[-1], dtype=logits.dtype)
    return Softmax.apply(logits, axis=len(logits.shape) - 1) - targets, lambda: targets * 0


def over_all_elements(g: Any, _y: Any, _x: Any, axis: Any, keepdims: bool) -> Any:
    return np.broadcast_to(restore_axes(g, axis, keepdims) / np.prod(_x.shape), _x.shape)


def scaled_in_place(x: np.ndarray) -> np.ndarray:
    x *= 1.0
    return np.tanh(x)


def kept_alive(x: np.ndarray) -> np.ndarray:
    kept.append(np.tanh(x))
    return kept[-1]


# What is wrong, in which op, what its class then says, and the check that is there for such errors.
PLANTED: list[tuple[str, str, dict[str, Any], Callable[[Case], Any]]] = [
    ("sign", "cos", {"vjp": lambda g, _y, x: g * np.sin(x)}, check_first_derivative),
    ("sign of the second input", "subtract", {"vjp": lambda g, _y, _a, _b: (g, g)}, check_first_derivative),
    ("sign lost", "abs", {"vjp": lambda g, _y, _x: g}, check_first_derivative),
    ("factor 2", "sqrt", {"vjp": lambda g, y, _x: g / y}, check_first_derivative),
    ("factor 1 + 1e-6", "exp", {"vjp": lambda g, y, _x: g * y * 1.000001}, check_first_derivative),
    ("factor 1 + 1e-11", "exp", {"vjp": lambda g, y, _x: g * y * 1.00000000001}, check_complex_step),
    (
        "factor 1/n forgotten",
        "mean",
        {"vjp": lambda g, _y, _x, axis, keepdims: np.broadcast_to(restore_axes(g, axis, keepdims), _x.shape)},
        check_first_derivative,
    ),
    ("1/n of all elements instead of those averaged", "mean", {"vjp": over_all_elements}, check_first_derivative),
    ("missing term", "softmax", {"vjp": lambda g, y, _x, axis: y * g}, check_first_derivative),
    ("missing sum over the axis", "log_softmax", {"vjp": lambda g, y, _x, axis: g - np.exp(y) * g},
     check_first_derivative),
    (
        "wrong axis",
        "softmax",
        {"vjp": lambda g, y, _x, axis: y * (g - (g * y).sum(axis=0, keepdims=True))},
        check_first_derivative,
    ),
    ("wrong saved value", "tanh", {"vjp": lambda g, _y, x: g * (1 - x**2)}, check_first_derivative),
    ("output and input mixed up", "sigmoid", {"vjp": lambda g, y, x: g * y * (1 - x)}, check_first_derivative),
    ("missing square", "divide", {"vjp": lambda g, _y, a, b: (g / b, -g * a / b)}, check_first_derivative),
    ("own instead of other factor", "multiply", {"vjp": lambda g, _y, a, b: (g * a, g * b)}, check_first_derivative),
    ("missing logarithm", "power", {"vjp": lambda g, y, x, p: (g * p * x ** (p - 1), lambda: g * y)},
     check_first_derivative),
    ("missing exponent", "power", {"vjp": lambda g, y, x, p: (g * x ** (p - 1), lambda: g * y * np.log(x))},
     check_first_derivative),
    ("not transposed", "matmul", {"vjp": lambda g, _y, a, b: (g @ b, a @ g)}, check_first_derivative),
    ("permutation not inverted", "transpose", {"vjp": lambda g, _y, _x, order: np.transpose(g, order)},
     check_first_derivative),
    ("branches exchanged", "where", {"vjp": lambda g, _y, c, _a, _b: (None, np.where(c, 0, g), np.where(c, g, 0))},
     check_first_derivative),
    ("gradient also where the input is not the larger", "maximum", {"vjp": lambda g, _y, _a, _b: (g, g)},
     check_first_derivative),
    ("one for negative inputs", "relu", {"vjp": lambda g, y, _x: g * (y >= 0)}, check_first_derivative),
    (
        "to every element",
        "max",
        {"vjp": lambda g, y, x, axis, keepdims: restore_axes(g, axis, keepdims) * np.ones(x.shape)},
        check_first_derivative,
    ),
    (
        "shared equally",
        "logsumexp",
        {"vjp": lambda g, y, x, axis, keepdims: restore_axes(g, axis, keepdims) / x.size + x * 0},
        check_first_derivative,
    ),
    ("incoming gradient forgotten", "cross_entropy", {"vjp": without_g}, check_first_derivative),
    ("written instead of added", "getitem", {"vjp": overwrite}, check_first_derivative),
    ("every part from the start", "concatenate", {"vjp": unmoved_parts}, check_first_derivative),
    ("the first copy alone", "broadcast_to", {"vjp": lambda g, _y, _x, shape: g[0]}, check_first_derivative),
    ("broadcasting forgotten", "add", {"broadcasts": False}, check_first_derivative),
    ("wrong shape", "reshape", {"vjp": lambda g, _y, _x, shape: g}, check_first_derivative),
    ("wrong shape where broadcasting is undone", "tanh", {"vjp": lambda g, y, _x: np.transpose(g * (1 - y**2))},
     check_first_derivative),
    ("one gradient for two inputs", "add", {"vjp": lambda g, _y, _a, _b: g}, check_first_derivative),
    ("a constant to the second derivative", "exp", {"vjp": lambda g, y, _x: g * OPS["stop_gradient"].apply(y)},
     check_second_derivative),
    ("g as a constant", "multiply",
     {"vjp": lambda g, _y, a, b: (OPS["stop_gradient"].apply(g) * b, OPS["stop_gradient"].apply(g) * a)},
     check_second_derivative),
    ("wrong dtype", "tanh", {"forward": lambda x: np.tanh(x) * np.ones(())}, check_float32),
    ("wrong dtype beside a float64 constant", "log", {"forward": lambda x: np.log(x) + np.zeros(1)[0]}, check_float32),
    ("wrong value", "softplus", {"forward": lambda x: np.log(2 + np.exp(x))}, check_values),
    ("wrong shape of the value", "sum", {"forward": lambda x, axis, keepdims: np.add.reduce(x, axis=axis)},
     check_values),
    ("a shape rule that disagrees", "mean", {"shape": lambda x, axis, keepdims: x}, check_graph),
    ("input overwritten", "tanh", {"forward": scaled_in_place}, check_inputs_unchanged),
    ("result kept", "tanh", {"forward": kept_alive}, check_memory_is_freed),
    ("batch size frozen", "sigmoid", {"vjp": lambda g, y, x: g * y * (1 - y) * np.ones(x.shape)},
     lambda case: check_symbolic_batches(case.op)),
]  # fmt: skip


@pytest.fixture
def planted(request: pytest.FixtureRequest) -> Iterator[type[Op]]:
    """The op of the library with other rules."""
    name, rules = request.param
    yield type(f"Wrong{OPS[name].__name__}", (OPS[name],), dict(rules))
    kept.clear()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a wrong rule may divide by zero
@pytest.mark.parametrize(
    ("planted", "check"),
    [((name, rules), check) for _, name, rules, check in PLANTED],
    ids=[f"{name}: {what}" for what, name, _, _ in PLANTED],
    indirect=["planted"],
)
def test_a_planted_error_is_rejected(planted: type[Op], check: Callable[[Case], Any]) -> None:
    rejected = []
    for case in cases_of(planted):
        try:
            check(case)
        except (AssertionError, ChainruleError, ValueError):
            rejected.append(case)
    assert rejected, f"none of {len(cases_of(planted))} cases shows the error"


@pytest.mark.parametrize(("name", "check"), dict.fromkeys((name, check) for _, name, _, check in PLANTED))
def test_the_right_rule_is_accepted(name: str, check: Callable[[Case], Any]) -> None:
    for case in cases_of(OPS[name]):
        if case.floats and all(getattr(x, "size", 1) for x in case.inputs):
            check(case)


def test_at_least_twenty_errors_are_planted() -> None:
    assert len(PLANTED) >= 20


def test_an_error_in_a_tiny_gradient_is_rejected() -> None:
    rule = {"code": "1e-12 * np.sin({x})", "vjp": lambda g, _y, x: 1e-12 * g * np.cos(x)}
    wrong = rule | {"vjp": lambda g, _y, x: 1.0001e-12 * g * np.cos(x)}
    for case in cases_of(type("TinySine", (Elementwise,), rule)):
        check_first_derivative(case)
    with pytest.raises(AssertionError, match="by central differences"):
        check_first_derivative(cases_of(type("WrongTinySine", (Elementwise,), wrong))[-2])


COMPLETE = {
    "__doc__": "x.",
    "math": "{x}",
    "reference": lambda x: x,
    "examples": (example((3,)),),
    "vjp": lambda g, _y, _x: g,
    "forward": lambda x: x,
}


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("__doc__", "has no docstring: say what it computes"),
        ("math", "has no `math`: give it as LaTeX"),
        ("reference", "has no `reference`: give its values by another route"),
        ("examples", "has no `examples`: the tests cannot guess its inputs"),
        ("vjp", "has neither a `vjp` nor `no_gradient = True`: declare one"),
    ],
)
def test_an_incomplete_op_is_named_and_told_what_it_lacks(missing: str, sentence: str) -> None:
    lacking = type("Identity", (Op,), {key: value for key, value in COMPLETE.items() if key != missing})
    whole = type("Identity", (Op,), COMPLETE)
    check_complete(whole)
    with pytest.raises(AssertionError, match=re.escape(f"The op identity ({__name__}) {sentence}")):
        check_complete(lacking)
