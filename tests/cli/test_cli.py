"""The command line ends every run with the right code and one sentence, seen from outside, through real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule
from chainrule.cli import failure
from chainrule.errors import DataError

# A command of our own, `fail`, that runs the code it is given, in the real application.
WITH_FAIL = """
import sys
from chainrule import cli
from chainrule.errors import DataError

@cli.app.command()
def fail(code: str) -> None:
    exec(code)

sys.exit(cli.main())
"""


def run(*arguments: str, start: tuple[str, ...] = ("-m", "chainrule"), **environment: str):
    """Run the command line in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if name != "CHAINRULE_DEBUG"}
    return subprocess.run(
        [sys.executable, "-W", "error", *start, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=inherited | {"PYTHONIOENCODING": "utf-8"} | environment,
        check=False,
    )


def fail(code: str, **environment: str):
    """Run a command whose body is `code`."""
    return run("fail", code, start=("-c", WITH_FAIL), **environment)


def test_version_is_the_packages():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"chainrule {chainrule.__version__}\n", "")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_the_commands(option):
    done = run(option)
    assert done.returncode == 0
    assert "reproduce" in done.stdout
    assert "data" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["reprodcue"], "'reproduce'"),
        (["reproduce", "--quik"], "--quick"),
        (["reproduce", "--workers", "0"], "--workers"),
        (["data", "shw"], "'show'"),
        (["data", "show", "mnist"], "--index"),
        (["data", "show", "mnist", "--index", "-1"], "--index"),
        (["data", "show", "mnist", "--index", "1", "--part", "tset"], "'train', 'test'"),
    ],
)
def test_a_mistyped_command_line_says_what_was_meant(arguments, hint):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert hint in last


def test_our_errors_are_printed_as_they_are():
    done = fail("raise DataError('labels[3] is [bold]11[/bold]: expected 0 to 9.')")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: labels[3] is [bold]11[/bold]: expected 0 to 9.\n"


def test_an_error_of_the_file_system_names_the_file(tmp_path: Path):
    missing = tmp_path / "missing.gz"
    done = fail(f"open({str(missing)!r})")
    assert (done.returncode, done.stderr) == (1, f"Error: {str(missing)!r}: No such file or directory.\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_sentence():
    done = fail("with open('/dev/full', 'w') as file: file.write('x')")
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device.\n")


def test_a_bug_is_named_and_says_how_to_see_more():
    done = fail("{}['weight']")
    assert done.returncode == failure.BUG
    expected = "Error: a bug in chainrule: KeyError: 'weight' (CHAINRULE_DEBUG=1 shows where it happened)\n"
    assert done.stderr == expected


def test_debug_shows_the_traceback():
    done = fail("raise DataError('no')", CHAINRULE_DEBUG="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "DataError: no" in done.stderr


def test_an_interrupt_from_the_keyboard_ends_with_130():
    done = fail("import signal; signal.raise_signal(signal.SIGINT)")
    assert (done.returncode, done.stderr) == (130, "Stopped: interrupted from the keyboard.\n")


def test_a_reader_that_stops_reading_is_no_error():
    command = [sys.executable, "-c", WITH_FAIL, "fail", "print('x' * 1_000_000)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == failure.PIPE_CLOSED  # not 1: nothing is wrong


def test_a_terminal_without_a_character_gets_a_question_mark():
    done = fail("print('\\u2588 full block')", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "? full block\n")


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(failure.metadata, "requires", lambda package: ["h5py>=3.11; extra == 'lab'"])
    text, code = failure.sentence(ModuleNotFoundError("No module named 'h5py'", name="h5py"))
    assert code == failure.FAILED
    assert text.endswith("pip install 'chainrule[lab]' brings it.")


def test_a_missing_module_that_no_extra_brings_is_a_bug():
    assert failure.sentence(ModuleNotFoundError("No module named 'nowhere'", name="nowhere"))[1] == failure.BUG


def test_memory_that_runs_out_is_no_bug():
    text, code = failure.sentence(MemoryError("Unable to allocate 8.00 TiB"))
    assert (text, code) == ("Error: there is not enough memory. Unable to allocate 8.00 TiB", failure.FAILED)


def test_importing_the_library_leaves_the_command_line_out():
    code = "import sys, chainrule; print([m for m in ('typer', 'rich', 'chainrule.cli') if m in sys.modules])"
    done = run(start=("-c", code))
    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_data_errors_are_ours():
    assert failure.sentence(DataError("no")) == ("Error: no", failure.FAILED)


def test_longhand_of_a_file_of_ones_own(tmp_path):
    (tmp_path / "net.py").write_text(
        "import chainrule as cr\nfrom chainrule import nn\n"
        "model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))\n"
        "def loss(W, x):\n    return ((x @ W) ** 2).sum()\n",
        encoding="utf-8",
    )
    done = run("longhand", str(tmp_path / "net.py") + ":loss", "--input", "W=4x3", "--input", "x=5x4", "--batch", "x")
    assert done.returncode == 0, done.stderr
    assert "dW = x.T @ d_a" in done.stdout
    model = str(tmp_path / "net.py") + ":model"
    sizes = "--input", "x=5x4:float32", "--input", "t=5:int<2"
    done = run("longhand", model, *sizes, "--loss", "cross-entropy", "--update", "adam")
    assert done.returncode == 0, done.stderr
    assert "# update: Adam" in done.stdout
    done = run("longhand", model, *sizes)
    assert (done.returncode, done.stdout) == (1, "")
    assert "give the loss too" in done.stderr
