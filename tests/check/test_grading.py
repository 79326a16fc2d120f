"""The grader gives points with reasons, gives nothing away, and outlives whatever a submission does. Real processes."""

import io
import json
import os
import time
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from chainrule.check.grading import rubric as rubrics
from chainrule.check.grading.grader import grade
from chainrule.check.grading.isolation import Isolated, Limits, SubmissionError
from chainrule.check.grading.worker import SIZES, unpack

SOLUTION = """
import numpy as np

def affine(x, W, b):
    return x @ W + b, (x, W, b)

def loss(W, b, x, t):
    z = x @ W + b
    z = z - z.max(axis=1, keepdims=True)
    return (np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(t)), t]).mean()

def tanh(x):
    return np.tanh(x)
"""
AFFINE = """
[[task]]
name = "Affine"
points = 3
function = "affine_backward"
names = ["backward_affine"]
reference = "solution.py:affine"
inputs = { x = "5x4", W = "4x3", b = "3" }
"""
LOSS = """
[[task]]
name = "Loss"
points = 4
kind = "gradients"
function = "gradients"
reference = "solution.py:loss"
inputs = { W = "4x3", b = "3", x = "5x4", t = "5:int<3" }
gradients = ["W", "b"]
"""
TANH = """
[[task]]
name = "Tanh"
points = 2
kind = "forward"
function = "tanh"
reference = "solution.py:tanh"
inputs = { x = "3x4" }
"""
RIGHT = """
import numpy as np

def affine_backward(dout, cache):
    x, W, b = cache
    return dout @ W.T, x.T @ dout, dout.sum(axis=0)

def gradients(W, b, x, t):
    z = x @ W + b
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    p[np.arange(len(t)), t] -= 1
    p /= len(t)
    return {"dW": x.T @ p, "db": p.sum(axis=0)}

def tanh(x):
    return np.tanh(x)
"""
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no limits but the clock")


def load(target):
    """`file.py:name`, as the command line does it."""
    file, _, name = target.rpartition(":")
    spec = util.spec_from_file_location("solution_of_the_teacher", file)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


@pytest.fixture
def graded(tmp_path):
    """Grade the text of a submission by the text of a rubric."""

    def run(submission, tasks=AFFINE, seconds=20, memory=1024):
        (tmp_path / "alice").mkdir(exist_ok=True)
        (tmp_path / "solution.py").write_text(SOLUTION)
        (tmp_path / "alice" / "submission.py").write_text(submission)
        (tmp_path / "rubric.toml").write_text(f'title = "One"\nseconds = {seconds}\nmemory = {memory}\n{tasks}')
        rubric = rubrics.read(tmp_path / "rubric.toml", load)
        return grade(rubric, tmp_path / "alice" / "submission.py")

    return run


def task(grades):
    return grades.tasks[0].earned, " ".join(grades.tasks[0].reasons)


def affine(body):
    return f"import numpy as np\ndef affine_backward(dout, cache):\n    x, W, b = cache\n    {body}\n"


def test_right_work_gets_all_points_and_no_remarks(graded):
    grades = graded(RIGHT, AFFINE + LOSS + TANH)
    assert (grades.earned, grades.points) == (9, 9)
    assert not any(each.reasons for each in grades.tasks)
    assert str(grades).splitlines()[0] == "submission.py, One: 9 of 9 points"
    assert json.loads(json.dumps(grades.as_dict()))["tasks"][1]["earned"] == 4


@pytest.mark.parametrize(
    "body",
    [
        "return [dout @ W.T, x.T @ dout, dout.sum(0)]",
        "return {'b': dout.sum(0), 'grad_x': dout @ W.T, 'W_grad': x.T @ dout}",
        "return dout @ W.T, x.T @ dout, dout.sum(0, keepdims=True)",
        "return dout @ W.T, x.T @ dout, dout.sum(0).reshape(-1, 1)",
        "return dout @ W.T, x.T @ dout, dout.sum(0).tolist()",
        "db = dout.sum(0); return db, x.T @ dout, dout @ W.T",
        "db = dout.sum(0); dW = x.T @ dout; dx = dout @ W.T; return db, dW, dx",
        "print('noise'); return dout @ W.T, x.T @ dout, dout.sum(0)",
    ],
)
def test_equivalent_forms_are_accepted(graded, body):
    assert task(graded(affine(body))) == (3, "")


def test_another_name_and_another_way_of_asking_are_accepted(graded):
    body = "import numpy as np\ndef backward_affine(x, W, b, dy):\n    return dy @ W.T, x.T @ dy, dy.sum(0)\n"
    assert task(graded(body)) == (3, "")


def test_a_constant_factor_is_worth_its_share_and_named(graded):
    earned, why = task(graded(RIGHT.replace("    p /= len(t)\n", ""), LOSS))
    assert earned == 2
    assert "dW is wrong, right up to a constant factor." in why
    assert "1/N is missing" in why


def test_an_unknown_factor_is_not_told(graded):
    earned, why = task(graded(affine("return 1.37 * dout @ W.T, x.T @ dout, dout.sum(0)")))
    assert earned == pytest.approx(2.5)
    assert "constant factor" in why
    assert "1.37" not in why


def test_a_sign_is_a_factor(graded):
    earned, why = task(graded(affine("return dout @ W.T, -x.T @ dout, dout.sum(0)")))
    assert earned == pytest.approx(2.5)
    assert "the sign is wrong" in why


def test_wrong_values_of_the_right_shape_are_worth_a_little(graded):
    earned, why = task(graded(affine("return dout @ W.T, (x ** 2).T @ dout, dout.sum(0)")))
    assert earned == pytest.approx(2.25)
    assert why.startswith("dW is wrong, worst at [")


def test_a_wrong_shape_is_worth_nothing_and_named(graded):
    earned, why = task(graded(affine("return dout @ W.T, x.T @ dout, dout")))
    assert earned == 2
    assert "it has the shape (5, 3), b has (3,)" in why
    assert "sum over axis 0 is missing" in why


def test_a_wrong_shape_is_that_of_the_gradient_that_is_left_over(graded):
    earned, why = task(graded(affine("return dout @ W.T, x.T @ dout, dout.sum(1)")))
    assert earned == 2
    assert why.startswith("db is wrong: it has the shape (5,), b has (3,).")
    assert "the sum runs over the wrong axis" in why


def test_a_gradient_that_is_missing_is_named(graded):
    earned, why = task(graded(affine("return {'dx': dout @ W.T, 'dW': x.T @ dout}")))
    assert (earned, why) == (2, "db is missing: no gradient came back for it.")


def test_the_rubric_sets_the_shares(graded):
    tasks = AFFINE + "credit = { factor = 0, shape = 0 }\n"
    earned, _ = task(graded(affine("return dout @ W.T, -x.T @ dout, dout.sum(0)"), tasks))
    assert earned == 2


def test_the_cache_may_be_the_submissions_own(graded):
    text = """
def affine_forward(x, W, b):
    return x @ W + b, {"in": x, "weights": W, "other": object()}

def affine_backward(dout, cache):
    return dout @ cache["weights"].T, cache["in"].T @ dout, dout.sum(0)
"""
    assert task(graded(text, AFFINE + 'forward = "affine_forward"\n')) == (3, "")


def test_values_of_a_forward_pass(graded):
    def of(expression):
        return task(graded(f"import numpy as np\ndef tanh(x):\n    {expression}\n", TANH))

    assert of("return np.tanh(x), x") == (2, "")
    assert of("return -np.tanh(x)") == (1, "The result has the wrong sign.")
    earned, why = of("return np.sin(x)")
    assert earned == 0.5
    assert why.startswith("The result has the right shape and other values, most at [")
    assert of("return np.tanh(x).T") == (0, "The result has the shape (4, 3); expected (3, 4).")
    earned, why = of("x *= 1\n    x += 0.5\n    return np.tanh(x - 0.5)")
    assert (earned, why) == (2, "It changes its input x in place; a caller does not expect that.")


def test_no_reason_holds_a_correct_value(graded, tmp_path):
    submission = affine("return dout @ W.T * 1.5 + 1, (x ** 2).T @ dout, dout.sum(0) * x.sum()")
    text = str(graded(submission)) + str(graded(RIGHT.replace("p /= len(t)", "p = np.abs(p)"), LOSS))
    rubric = rubrics.read(tmp_path / "rubric.toml", load)
    (one,) = rubric.tasks
    x = one.inputs["x"]
    assert "solution" not in text
    assert "correct " not in text
    assert not any(f"{value:.3g}" in text for value in np.ravel(x))


def test_the_example_of_the_documentation():
    folder = Path(__file__).parents[2] / "docs" / "examples" / "grading"
    grades = grade(rubrics.read(folder / "rubric.toml", load), folder / "submissions" / "ada" / "submission.py")
    assert [(each.name, each.earned) for each in grades.tasks] == [
        ("Softmax regression", 2.25),
        ("Affine layer", 3),
        ("Softmax", 0.25),
    ]
    assert "0.1 · W is missing everywhere" in grades.tasks[0].reasons[0]
    assert grades.tasks[2].reasons == ("The result is wrong: 3 elements are not finite.",)


# ---- what submissions do ---------------------------------------------------------------------------------------------

MISDEEDS = {
    "while True: pass": "It took longer than 2 seconds and was stopped.",
    "import time; time.sleep(60)": "It took longer than 2 seconds and was stopped.",
    "return np.ones(10**9), 1, 1": "It needed more than 600 MB of memory.",
    "import sys; sys.exit(0)": "affine_backward called sys.exit (submission.py, line 4).",
    "import os; os._exit(7)": "It ended its own process, with the code 7, instead of returning a result.",
    "raise ValueError('not \\x1b[31m yet')": "affine_backward raised ValueError: not [31m yet (submission.py, line 4).",
    "return 'dx', 'dW', 'db'": "affine_backward returned a str; expected arrays of numbers",
    "return lambda: 0": "affine_backward returned a function; expected arrays of numbers",
    "return np.array([None, 'a'])": "affine_backward returned an array of object; expected",
    "return np.zeros((1,) * 30), 1, 1": "affine_backward returned an array with 30 axes; expected",
    "l = []; l.append(l); return l": "itself",
    "return affine_backward(dout, cache)": "It calls itself without end",
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "Its process crashed (SIGSEGV).",
    "return None": "returned None",
    "import os\n    os.write(4, b'x' * 64)": "It answered with something that is no answer.",
    "open('big', 'wb').truncate(2**31)": "File too large",
}


@posix
@pytest.mark.parametrize("body", MISDEEDS)
def test_whatever_it_does_is_a_sentence_and_the_other_task_is_graded(graded, body):
    begun = time.monotonic()
    grades = graded(affine(body) + "def tanh(x):\n    return np.tanh(x)\n", AFFINE + TANH, 2, 600)
    assert time.monotonic() - begun < 25
    assert MISDEEDS[body] in grades.tasks[0].reasons[0]
    assert (grades.tasks[0].earned, grades.tasks[1].earned) == (0, 2)


@posix
def test_what_it_started_ends_with_it(graded, tmp_path):
    trace = tmp_path / "alive"
    code = f"import time\\nwhile True: open({str(trace)!r}, 'a').write('x'); time.sleep(.05)"
    start = f'import subprocess, sys, time; subprocess.Popen([sys.executable, "-c", "{code}"])'
    graded(affine(f"{start}; time.sleep(1); raise OSError"))
    size = trace.stat().st_size
    time.sleep(0.5)
    assert trace.stat().st_size == size > 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import sys\nsys.exit(1)\n", "It called sys.exit (submission.py, line 2)."),
        ("x = 1\ndef f(:\n", "It is no Python: "),
        ("import nowhere\n", "No module named 'nowhere' (submission.py, line 1)."),
        ("def other(): pass\n", "There is no function affine_backward or backward_affine; it defines other."),
        ("", "it defines no function."),
        ("input()\n", "It raised EOFError"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_sentence(graded, text, why):
    earned, said = task(graded(text))
    assert earned == 0
    assert why in said


def test_writing_into_the_inputs_is_said_and_costs_nothing(graded):
    earned, why = task(graded(affine("r = dout @ W.T, x.T @ dout, dout.sum(0); x[:] = 0; return r")))
    assert earned == 3
    assert "changes x in place" in why


def test_it_sees_a_copy_of_its_folder_without_the_solution(tmp_path):
    for name in ("submission.py", "helper.py", "solution.py", ".secret"):
        (tmp_path / name).write_text("")
    (tmp_path / "submission.py").write_text(
        "import helper, os, sys\n"
        "def files():\n    return {n: 1.0 for n in os.listdir('.')}\n"
        "def write():\n    open('helper.py', 'w').write('1/0'); return 1.0\n"
        "def secrets():\n    return float('SECRET_TOKEN' in os.environ), float(len(sys.argv))\n"
    )
    os.environ["SECRET_TOKEN"] = "1"
    try:
        with Isolated(tmp_path / "submission.py", leave_out=[tmp_path / "solution.py"]) as process:
            assert process.function("files")() == {"submission.py": 1.0, "helper.py": 1.0}
            assert process.function("write")() == 1.0
            assert process.function("secrets")() == (0.0, 1.0)
    finally:
        del os.environ["SECRET_TOKEN"]
    assert (tmp_path / "helper.py").read_text() == ""


def test_arrays_and_containers_come_back_as_they_were(tmp_path):
    (tmp_path / "submission.py").write_text("def same(x, *, k=2.5):\n    return x\n")
    thing = ({"a": np.arange(6, dtype=np.float32).reshape(2, 3)}, [1, None, True, np.float32(2)], np.zeros((0, 3)))
    with Isolated(tmp_path / "submission.py", Limits(seconds=30)) as process:
        same = process.function("missing", "same")
        back = same(thing)
        assert str(same.__signature__) == "(x, *, k=2.5)"
    assert back[0]["a"].dtype == np.float32
    np.testing.assert_array_equal(back[0]["a"], thing[0]["a"])
    assert back[1] == [1, None, True, 2]
    assert back[2].shape == (0, 3)


@pytest.mark.parametrize(
    "text",
    [
        b'["array", "<f8", [3], false]',
        b'["array", "|O8", [1], false]',
        b'["array", "<f8", [-1], false]',
        b"[",
        b"[[1]]",
    ],
)
def test_a_message_that_is_none_is_refused(text):
    with pytest.raises((ValueError, TypeError)):
        unpack(io.BytesIO(SIZES.pack(len(text), 8) + text + bytes(8)))


def test_an_endless_message_is_refused():
    with pytest.raises(ValueError, match="the answer has 1024 MB"):
        unpack(io.BytesIO(SIZES.pack(2**30, 0)))


def test_a_folder_that_is_too_large_is_refused(tmp_path):
    (tmp_path / "submission.py").write_text("")
    with open(tmp_path / "big", "wb") as file:
        file.truncate(2**27)
    with pytest.raises(SubmissionError, match="folder has more than 64 MB"), Isolated(tmp_path / "submission.py"):
        pass


# ---- rubrics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "why"),
    [
        ("", "rubric.toml has no task"),
        ("[[task]\n", "rubric.toml is no TOML"),
        (AFFINE.replace("points", "point"), "did you mean 'points'"),
        (AFFINE.replace("points = 3", ""), "'points' is missing"),
        (AFFINE.replace("points = 3", 'points = "3"'), "expected a number"),
        (AFFINE.replace("points = 3", "points = 0"), "expected a number above 0"),
        (AFFINE.replace('"5x4"', '"5y4"'), "input x: not understood"),
        (AFFINE.replace("x = ", "y = "), "the reference takes (x, W, b), the inputs are y, W, b"),
        (AFFINE.replace('"4x3"', '"3x4"'), "(affine_backward): the reference raised ValueError: matmul"),
        (AFFINE + 'kind = "derivative"\n', "expected one of backward, gradients, forward"),
        (AFFINE + 'gradients = ["V"]\n', "the gradient by 'V' is asked for"),
        (AFFINE + "credit = { factor = 2 }\n", "between 0 and 1"),
    ],
)
def test_a_rubric_that_is_wrong_is_a_sentence_with_its_task(graded, tasks, why):
    with pytest.raises(rubrics.RubricError) as error:
        graded(RIGHT, tasks)
    assert why in str(error.value)


def test_the_inputs_of_a_rubric_are_the_same_each_time(graded, tmp_path):
    graded(RIGHT)
    one, other = (rubrics.read(Path(tmp_path, "rubric.toml"), load).tasks[0].inputs for _ in range(2))
    np.testing.assert_array_equal(one["W"], other["W"])
