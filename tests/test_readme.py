"""The README's first screen is what the library says today: its code is run, and the texts below it are compared."""

import contextlib
import io
import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```(?:python)?\n(.*?)```", README.read_text(encoding="utf-8"), re.S)


def printed_by(code, namespace):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, "digits.py", "exec"), namespace)
    return out.getvalue()


def test_the_first_screen_is_what_is_printed(monkeypatch):
    namespace = {}
    call, program, wrong, verdict = BLOCKS[:4]
    assert printed_by(call, namespace).split("\n\n\n")[1].strip() == program.strip()
    said = printed_by(wrong, namespace)
    # The last digits of what is found belong to the machine's BLAS; the sentences do not.
    digits = re.compile(r"yours \S+, correct \S+,")
    assert digits.sub("", said).strip() == digits.sub("", verdict).strip()
