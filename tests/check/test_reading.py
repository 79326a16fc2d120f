"""What people's backward passes return, and how they want to be called."""

import numpy as np
import pytest

from chainrule.check.derivatives.asking import InputError, Question, bindings, split
from chainrule.check.derivatives.reading import match, returned_names


def forward(x, W, t):
    return ((x @ W - t) ** 2).sum()


INPUTS = np.ones((2, 3)), np.ones((3, 4)), np.ones((2, 4))


def sources(backward, cache=None, inputs=INPUTS, f=forward):
    return bindings(Question(f, inputs), backward, cache)[0].sources


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["dW1", "db1"], ["W1", "b1"]),
        (["W1", "b1"], ["W1", "b1"]),
        (["grad_b1", "grad_W1"], ["b1", "W1"]),
        (["W1_grad", "b1_grad"], ["W1", "b1"]),
        (["dw1", "DB1"], ["W1", "b1"]),
        (["dL_dW1", "b1.grad"], ["W1", "b1"]),
        (["dz1", "W1"], [None, "W1"]),
    ],
)
def test_names_of_gradients(keys, expected):
    found = match(keys, ["W1", "b1"])
    assert [found.get(key) for key in keys] == expected


def test_names_in_the_return_statement():
    def backward(x):
        dx, dW = x, x
        return dx, dW

    assert returned_names(backward, 2) == ["dx", "dW"]
    assert returned_names(len, 2) == ["", ""]


def test_arguments_by_name_and_by_number():
    assert sources(lambda t, W, x: None) == {k: ("argument", k) for k in ("t", "W", "x")}
    assert sources(lambda a, b, c: None) == {"a": ("argument", "x"), "b": ("argument", "W"), "c": ("argument", "t")}
    assert sources(lambda dout, cache: None, cache=(1, 2)) == {"dout": ("gradient", 0), "cache": ("cache", "")}
    assert sources(lambda cache: None, cache=(1, 2)) == {"cache": ("cache", "")}
    assert sources(lambda h, W: None, cache={"h": 1}) == {"h": ("entry", "h"), "W": ("argument", "W")}
    assert sources(lambda x, W, t, lr: None)["lr"] == ("rate", "")
    assert sources(lambda x, W, t, lr=0.1: None)["lr"] == ("rate", "")
    assert sources(lambda g, y, x, W, t: None)["y"] == ("output", 0)
    assert sources(lambda x, W, t, verbose=False: None) == {k: ("argument", k) for k in ("x", "W", "t")}
    with pytest.raises(InputError, match="it is not clear how to call"):
        sources(lambda foo, bar: None)


def test_inputs_in_containers():
    def loss(params, x):
        return x @ params["W"] + params["b"]

    question = Question(loss, ({"W": np.ones((3, 4)), "b": np.zeros(4)}, np.ones((2, 3))))
    assert list(question.leaves) == ["W", "b", "x"]
    assert sources(lambda W, x: None, inputs=({"W": np.ones((3, 4)), "b": np.zeros(4)}, np.ones((2, 3))), f=loss) == {
        "W": ("leaf", "W"),
        "x": ("argument", "x"),
    }
    assert list(Question(loss, {"params": {"W": 1.0, "b": 2.0}, "x": 3.0}).leaves) == ["W", "b", "x"]
    assert list(Question(lambda p: p["a"], {"a": 1.0, "b": 2.0}).leaves) == ["a", "b"]


def test_results_of_forward():
    assert split(1.5) == ((1.5,), None)
    assert split((1.5, "cache")) == ((1.5,), "cache")
    assert split((1.5, 2, 3)) == ((1.5,), (2, 3))
    assert split((1.5, 2.5, "cache"), 2) == ((1.5, 2.5), "cache")
