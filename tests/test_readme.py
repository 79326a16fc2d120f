"""The README's first screen is what the library says today: its code is run, and the texts below it are compared."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```(?:python)?\n(.*?)```", README.read_text(encoding="utf-8"), re.S)


def printed_by(code, namespace):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, "digits.py", "exec"), namespace)
    return out.getvalue()


def test_the_first_screen_is_what_is_printed(monkeypatch):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(100, 784)), rng.integers(0, 10, 100)
    W1, b1 = rng.normal(size=(784, 64)) / 28, np.zeros(64)
    W2, b2 = rng.normal(size=(64, 10)) / 8, np.zeros(10)
    namespace = {"x": x, "t": t, "W1": W1, "b1": b1, "W2": W2, "b2": b2}
    call, program, wrong, verdict = BLOCKS[:4]
    assert printed_by(call, namespace).split("\n\n\n")[1].strip() == program.strip()
    said = printed_by(wrong, namespace)
    # The last digits of what is found belong to the machine's BLAS; the sentences do not.
    digits = re.compile(r"yours \S+, correct \S+,")
    assert digits.sub("", said).strip() == digits.sub("", verdict).strip()
