"""`chainrule check`, seen from outside, through real processes: verdicts, exit codes, and whose fault an error is."""

import json
import os
import re
import subprocess
import sys

import pytest

NET = """
import numpy as np

import chainrule as cr
from chainrule import nn, optim


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def forward(W, b, x, t):
    z = x @ W + b
    return (np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(t)), t]).mean()


def backward(W, b, x, t):
    p = softmax(x @ W + b)
    p[np.arange(len(t)), t] -= 1
    return {"dW": x.T @ p / len(t), "db": p.sum(axis=0) / len(t)}


def unscaled(W, b, x, t):
    return {name: len(t) * g for name, g in backward(W, b, x, t).items()}


def refuses(x):
    raise ValueError("not for <b>me</b>")


def misfit(x):
    return (np.ones((3, 2)) @ x).sum()


def example_inputs():
    rng = np.random.default_rng(0)
    return {"W": rng.normal(size=(4, 3)), "b": np.zeros(3), "x": rng.normal(size=(20, 4)), "t": np.arange(20) % 3}


class Net:
    def __init__(self, features=4):
        self.W, self.b = np.random.default_rng(0).normal(size=(features, 3)) * 0.3, np.zeros(3)

    def forward(self, x):
        return softmax(x @ self.W + self.b)

    def loss(self, x, t):
        return -np.log(self.forward(x)[np.arange(len(t)), t]).mean()

    def gradients(self, x, t):
        return backward(self.W, self.b, x, t)


class WrongNet(Net):
    def gradients(self, x, t):
        return unscaled(self.W, self.b, x, t)


class Wide(Net):
    def __init__(self, features):
        super().__init__(features)


cr.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
plain = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
trainer = cr.Trainer(plain, nn.CrossEntropyLoss(), optim.SGD(plain.parameters(), lr=0.1))
number = 3
"""


@pytest.fixture
def check(tmp_path):
    """Run `chainrule check` beside net.py."""
    (tmp_path / "net.py").write_text(NET)

    def run(*arguments):
        inherited = {name: value for name, value in os.environ.items() if name != "CHAINRULE_DEBUG"}
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "chainrule", "check", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env=inherited | {"PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))},
            check=False,
        )

    return run


def test_the_librarys_derivative_of_a_function(check):
    done = check("net.py:forward")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("net.py:forward: right\ndW, db and dx right, ")
    assert "Checked: W, b, x: " in done.stdout
    assert "Skipped: t: it is int64" in done.stdout


def test_inputs_by_shape(check):
    done = check("net.py:forward", *given("W=6x4", "b=4", "x=9x6:float64", "t=9:int<4"))
    assert (done.returncode, done.stderr) == (0, "")


def given(*inputs):
    return [part for each in inputs for part in ("--input", each)]


def test_a_hand_written_derivative_that_is_right(check):
    done = check("net.py:forward", "--backward", "net.py:backward")
    assert (done.returncode, done.stderr) == (0, "")
    assert "net.py:backward for net.py:forward: right" in done.stdout


def test_a_hand_written_derivative_that_is_wrong(check):
    done = check("net.py:forward", "--backward", "net.py:unscaled")
    assert (done.returncode, done.stderr) == (1, "")
    assert "ratio 20 = batch size everywhere: 1/N is missing" in done.stdout


def test_a_file_runs_once_so_that_its_functions_share_their_globals(check, tmp_path):
    (tmp_path / "kept.py").write_text(
        "saved = []\n\ndef forward(x):\n    saved[:] = [x]\n    return (x**2).sum()\n\n"
        "def backward(x):\n    return 2 * saved[0]\n"
    )
    done = check("kept.py:forward", "--backward", "kept.py:backward", "--input", "x=3")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_method_of_an_object_in_a_package(check, tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "nets.py").write_text(NET + "net = WrongNet()\n")
    target, hand = "package.nets:net.loss", "package.nets:net.gradients"
    done = check(target, "--backward", hand, *given("x=20x4", "t=20:int<3"))
    assert (done.returncode, done.stderr) == (1, "")
    assert "dW wrong, worst at [" in done.stdout


def test_a_class_is_made_and_tried_in_all_ways(check):
    samples = given("x=20x4", "t=20:int<3")
    right, wrong = check("net.py:Net", *samples), check("net.py:WrongNet", *samples)
    assert (right.returncode, wrong.returncode) == (0, 1)
    assert right.stdout.startswith("Derivatives: right\n")
    assert re.search(r"^Net: \d+ passed", right.stdout, re.M)
    assert wrong.stdout.startswith("Derivatives: wrong: 2 of 2 gradients.\n")


@pytest.mark.parametrize("arguments", [["net.py:model", "--loss", "cross-entropy"], ["net.py:trainer"], ["vu-a2"]])
def test_a_network_of_the_librarys(check, arguments):
    done = check(*arguments, *([] if arguments == ["vu-a2"] else given("x=20x4", "t=20:int<3")))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Derivatives: right\n")
    assert "passed   same input, same output" in done.stdout


@pytest.mark.peers
def test_a_model_of_pytorchs(check, tmp_path):
    (tmp_path / "theirs.py").write_text(
        "import torch\ntorch.manual_seed(0)\n"
        "model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))\n"
    )
    done = check("theirs.py:model", "--loss", "cross-entropy", *given("x=20x4", "t=20:int<3"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Derivatives: right\n")
    assert "dlayer0_weight" in done.stdout


def test_the_page_needs_nothing_else_and_is_escaped(check, tmp_path):
    done = check("net.py:forward", "--backward", "net.py:unscaled", "--html", "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert done.returncode == 1
    assert '<span class="wrong">wrong: 2 of 2 gradients.</span>' in page
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"https?://|<script|<link", page)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["net.py:refuses", *given("x=3")], "your refuses raised ValueError: not for <b>me</b> (net.py, line 29)."),
        (["net.py:misfit", *given("x=3")], "(net.py, line 33)"),
        (["net.py:forwrd"], "did you mean 'forward'?"),
        (["net.py:Wide"], "Wide needs arguments"),
        (["net.py:number"], "net.py:number is a int; expected a function of arrays, a model or a Trainer."),
        (["net.py:plain", *given("x=20x4", "t=20:int<3")], "a model needs a loss: --loss cross-entropy"),
        (["net.py:plain", "--loss", "mae", *given("x=20x4", "t=20:int<3")], "There is no loss called 'mae'"),
        (["net.py:softmax"], "the argument z of softmax"),
        (["net.py:refuses", *given("x=3y")], "--input x=3y: not understood"),
        (["net.py:refuses", *given("x=3:int")], "whole numbers need a bound"),
        (["nowhere.at.all:f"], "there is no module nowhere"),
        (["ucsd"], "or the name of a report"),
        (["missing.py:f"], "there is no file missing.py"),
        (["math:sqrt", *given("x=3")], "sqrt(x) cannot be computed here"),
        (["math:hypot", *given("x=", "y=")], "would lose the derivative"),
        (["math:hypot"], "hypot does not say what it takes"),
        (["statistics:mean", *given("data=3")], "statistics:mean raised TypeError"),
    ],
)
def test_whose_fault_it_is_and_where(check, arguments, sentence):
    done = check(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert sentence in done.stderr
    assert "a bug in chainrule" not in done.stderr


@pytest.mark.parametrize(("text", "sentence"), [("1 / 0", "raised ZeroDivisionError"), ("exit(0)", "called sys.exit")])
def test_a_module_that_fails_when_it_is_imported(check, tmp_path, text, sentence):
    (tmp_path / "broken.py").write_text(f"\n{text}\n")
    done = check("broken.py:f")
    assert done.returncode == 1
    assert f"importing it {sentence}" in done.stderr
    assert "broken.py, line 2" in done.stderr


def test_grading(check, tmp_path):
    (tmp_path / "rubric.toml").write_text(
        '[[task]]\nname = "Loss"\npoints = 4\nfunction = "gradients"\nreference = "net.py:forward"\n'
        'inputs = { W = "4x3", b = "3", x = "5x4", t = "5:int<3" }\ngradients = ["W", "b"]\n'
    )
    (tmp_path / "alice").mkdir()
    submission = tmp_path / "alice" / "submission.py"
    submission.write_text(NET.replace("def unscaled", "def gradients"))
    done = check("--grade", "rubric.toml", "alice/submission.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("submission.py, rubric: 2 of 4 points\n  Loss: 2 of 4\n")
    found = json.loads(check("--grade", "rubric.toml", "alice/submission.py", "--json").stdout)
    assert (found["earned"], found["points"], found["tasks"][0]["name"]) == (2, 4, "Loss")
    assert "no file" in check("--grade", "rubric.toml", "bob.py").stderr


def test_json_is_for_grades(check):
    done = check("net.py:forward", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'--json'" in done.stderr
    assert check("--grade", "net.py", "net.py:forward", "--loss", "mse").returncode == 2
