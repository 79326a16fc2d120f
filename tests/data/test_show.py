"""An image is shown as characters that one recognises, or written whole to a PNG file."""

import builtins
import io
import os
import re
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest

from chainrule.data import load
from chainrule.data.cifar import BATCHES
from chainrule.data.show import show
from chainrule.errors import ChainruleError, DataError, UnknownNameError

SEVEN = """\
mnist, train image 42: label 7
                              ▒▒▓▓██
                        ▒▒▓▓████████
                    ▓▓██████▒▒▒▒██▓▓
              ░░██████▒▒░░      ██▒▒
              ░░▓▓▓▓░░          ██▒▒
                              ▓▓██
                              ████
                              ██▓▓
                              ██▓▓
                            ▒▒██░░
                            ▓▓██
                            ▓▓██
                            ▓▓██
                            ██▓▓
                          ░░██░░
                          ▓▓██
                          ▓▓██
                          ████
                        ▒▒██▒▒
                        ▒▒██░░"""


@pytest.fixture(autouse=True)
def _packaged_files(monkeypatch):
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)


@pytest.fixture
def terminal(monkeypatch):
    """A function that sets what the terminal can print."""

    def use(encoding):
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))

    return use


def test_training_image_42_is_a_7(terminal):
    terminal("utf-8")
    assert show("mnist", 42) == SEVEN


def test_a_terminal_without_shades_gets_ascii(terminal):
    terminal("ascii")
    text = show("mnist", 42)
    assert text.isascii()
    assert text == SEVEN.translate(str.maketrans("░▒▓█", ".:*#"))


def test_the_image_has_the_ink_of_the_file(terminal, small):
    terminal("utf-8")
    folder = small()
    pixels = np.frombuffer((folder / "t10k-images-idx3-ubyte").read_bytes()[16:], np.uint8).reshape(-1, 28, 28)
    lines = show("mnist", 3, "test", data_dir=folder).splitlines()
    assert lines[0] == "mnist, test image 3: label 3"
    shades = [[" ░▒▓█".index(c) for c in line.ljust(56)[::2]] for line in lines[1:]]
    np.testing.assert_array_equal(shades, pixels[3].astype(int) * 5 // 256)


def test_a_blank_image_is_shown_as_blank(terminal, small):
    terminal("utf-8")
    folder = small(train_images_idx3_ubyte=np.zeros((20, 28, 28), np.uint8))
    assert show("mnist", 0, data_dir=folder) == "mnist, train image 0: label 0" + "\n" * 28


def test_the_part_and_the_file_are_chosen():
    assert show("mnist", 42, "test").startswith("mnist, test image 42: label 4\n")
    assert show("mnist", 59_999).startswith("mnist, train image 59999: label ")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("mnist", 60_000), DataError, "mnist train: there is no image 60000; expected an index from 0 to 59999"),
        (("mnist", -1), DataError, "there is no image -1"),
        (("mnist", 10_000, "test"), DataError, "0 to 9999"),
        (("mnist", 0, "tset"), UnknownNameError, r"no part called 'tset': did you mean 'test'\?"),
        (("mist", 0), UnknownNameError, r"did you mean 'mnist'\?"),
    ],
)
def test_what_is_not_there(arguments, error, message):
    with pytest.raises(error, match=message):
        show(*arguments)


def test_a_png_file_is_written_large_enough_to_be_seen(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    png = tmp_path / "seven.png"
    assert show("mnist", 42, png=png) == f"mnist, train image 42: label 7; written to {png}."
    picture = image.imread(png)
    assert picture.shape[:2] == (280, 280)
    pixels = load("mnist").train.inputs[42].reshape(28, 28)
    np.testing.assert_array_equal(np.round(picture[..., 0] * 255), np.kron(pixels, np.ones((10, 10))))
    assert [path.name for path in tmp_path.iterdir()] == ["seven.png"]


@pytest.fixture
def photograph(tmp_path):
    """A folder with a CIFAR-10 of one record a batch; in the pixel at row y and column x, red is 8y and green 8x."""
    y, x = np.mgrid[:32, :32]
    image = np.stack([8 * y, 8 * x, np.full((32, 32), 100)]).astype(np.uint8)
    for name in BATCHES:
        (tmp_path / f"{name}.bin").write_bytes(b"\x06" + image.tobytes())
    return tmp_path, image


def test_a_photograph_is_written_in_its_colours(photograph):
    reading = pytest.importorskip("matplotlib.image")
    folder, image = photograph
    png = folder / "frog.png"
    assert show("cifar-10", 0, png=png, data_dir=folder).startswith("cifar-10, train image 0: label 6 (frog); written")
    picture = np.round(reading.imread(png) * 255)
    np.testing.assert_array_equal(picture[..., :3], np.kron(np.moveaxis(image, 0, -1), np.ones((10, 10, 1))))


def test_a_photograph_in_shades_goes_from_dark_to_bright(terminal, photograph):
    terminal("utf-8")
    lines = show("cifar-10", 0, data_dir=photograph[0]).splitlines()
    assert lines[0] == "cifar-10, train image 0: label 6 (frog)"
    assert len(lines) == 33
    assert (lines[1][:2], lines[-1][-2:], {len(line) for line in lines[20:]}) == ("  ", "██", {64})
    columns = [" ░▒▓█".index(line.ljust(64)[40]) for line in lines[1:]]
    assert columns == sorted(columns)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
def test_a_terminal_that_shows_colours_gets_them(photograph):
    folder, image = photograph
    code = f"from chainrule.data.show import show; print(show('cifar-10', 0, data_dir={str(folder)!r}))"
    ours, theirs = os.openpty()
    source = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"COLORTERM": "truecolor", "PYTHONPATH": source}
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs, env=environment):
        os.close(theirs)
        text = b""
        with suppress(OSError):  # how a terminal of Linux ends
            while piece := os.read(ours, 1 << 16):
                text += piece
    os.close(ours)
    lines = text.decode().splitlines()[1:]
    found = [re.findall(r"\x1b\[48;2;(\d+);(\d+);(\d+)m  ", line) for line in lines]
    np.testing.assert_array_equal(np.array(found, int), np.moveaxis(image, 0, -1))
    assert all(line.endswith("\x1b[0m") for line in lines)


def test_a_png_file_that_cannot_be_written_leaves_nothing(tmp_path):
    pytest.importorskip("matplotlib.image")
    (tmp_path / "taken").mkdir()
    for png in (tmp_path / "missing" / "x.png", tmp_path / "taken"):
        with pytest.raises(ChainruleError, match=r"could not be written \(.*\); choose another file"):
            show("mnist", 42, png=png)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ChainruleError, match=r'pip install "chainrule\[lab\]"'):
        show("mnist", 42, png=tmp_path / "x.png")
