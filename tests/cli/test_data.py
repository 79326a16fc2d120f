"""`chainrule data`: the list, the files, and one sentence where something is missing."""

import os
import subprocess
import sys

import numpy as np
import pytest

COMMAND = "import sys; from chainrule.cli import main; sys.exit(main())"


@pytest.fixture
def run(tmp_path):
    """A function that runs `chainrule data`, with an empty cache folder."""

    def command(*arguments: str, **environment: str):
        inherited = {name: value for name, value in os.environ.items() if name != "CHAINRULE_DATA"}
        return subprocess.run(
            [sys.executable, "-c", COMMAND, "data", *arguments],
            env=inherited
            | {"CHAINRULE_CACHE": str(tmp_path / "cache"), "COLUMNS": "300", "PYTHONIOENCODING": "utf-8"}
            | environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
        )

    return command


@pytest.fixture
def cifar(tmp_path):
    """A folder with a CIFAR-10 of two records a batch."""
    records = np.arange(2 * 3073).reshape(2, 3073).astype(np.uint8) % 10
    folder = tmp_path / "mine" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        records.tofile(folder / f"{name}.bin")
    return tmp_path / "mine"


def rows(text: str) -> dict[str, str]:
    return {line.split()[0]: line for line in text.splitlines()}


def test_the_list_says_what_there_is_and_what_is_here(run, cifar):
    done = run("list")
    assert (done.returncode, done.stderr) == (0, "")
    found = rows(done.stdout)
    assert list(found) == ["name", "mnist", "fashion-mnist", "cifar-10"]
    assert found["mnist"].rstrip().endswith("packaged")
    assert "55 MB" in found["fashion-mnist"]
    assert "MIT (Zalando)" in found["fashion-mnist"]
    assert found["cifar-10"].rstrip().endswith("not here")
    for done in (run("list", "--data-dir", str(cifar)), run("list", CHAINRULE_DATA=str(cifar))):
        assert rows(done.stdout)["cifar-10"].rstrip().endswith(str(cifar))
    assert rows(done.stdout)["mnist"].rstrip().endswith("packaged")


def test_mnist_need_not_be_got(run):
    done = run("get", "mnist")
    assert (done.returncode, done.stdout, done.stderr) == (0, "mnist comes with the package.\n", "")


def test_an_unknown_name(run):
    done = run("get", "cifar")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: There is no data set called 'cifar': did you mean 'cifar-10'? Known are cifar-10, fashion-mnist, "
        "mnist.\n"
    )
    assert "Known are cifar-10, fashion-mnist, mnist." in run("get", "nothere").stderr


def test_a_folder_with_other_files_is_left_alone(run, cifar):
    done = run("get", "cifar-10", "--data-dir", str(cifar))
    assert (done.returncode, done.stdout) == (1, "")
    assert "data_batch_1.bin: the file is there, but it is not the published one of cifar-10; remove it" in done.stderr


def test_what_is_missing_says_how_to_get_it(run, tmp_path):
    done = run("show", "cifar-10", "--index", "3")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: {tmp_path / 'cache' / 'data'} (from the default): expected the files of cifar-10")
    assert line.endswith("or let `chainrule data get cifar-10` get them.")


def test_a_photograph_is_shown_and_written(run, cifar, tmp_path):
    done = run("show", "cifar-10", "--index", "3", "--data-dir", str(cifar))
    assert done.stdout.startswith("cifar-10, train image 3: label 1 (automobile)\n")
    done = run("show", "cifar-10", "--index", "3", "--data-dir", str(cifar), "--png", str(tmp_path / "car.png"))
    assert (done.returncode, (tmp_path / "car.png").read_bytes()[:4]) == (0, b"\x89PNG"), done.stderr
