"""Figures are files that are there, whole, the same each time, and that do not touch matplotlib's global state."""

import math
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from chainrule.errors import ChainruleError, ShapeError
from chainrule.lab.figures import Curve, Panel, curves, images, require_matplotlib

PANELS = [
    Panel("loss (nats)", [Curve("training", [[3.0, 2.0, 1.0], [3.1, 2.2, 0.9]], reported={1: "3.0", 3: "1.1"})]),
    Panel("error (%)", [Curve("training", [[30.0, 20.0, 10.0]]), Curve("test", [[31.0, 12.0]], x=[1, 3])]),
]


def test_curves_are_written_as_png_and_pdf(tmp_path: Path) -> None:
    png, pdf = curves(tmp_path / "figures" / "r-2.11", "2.11", "epoch", PANELS)
    assert (png.name, pdf.name) == ("r-2.11.png", "r-2.11.pdf")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")


def test_images_are_written_as_png_and_pdf(tmp_path: Path) -> None:
    png, pdf = images(tmp_path / "r-2.1", "2.1", {"a": np.eye(28), "b": np.zeros((28, 28)).tolist()})
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for first, second in zip(
        curves(tmp_path / "a", "t", "epoch", PANELS), curves(tmp_path / "b", "t", "epoch", PANELS), strict=True
    ):
        assert first.read_bytes() == second.read_bytes()


def test_a_single_epoch_and_values_that_are_no_numbers_are_drawn_without_a_warning(tmp_path: Path) -> None:
    runs = [[math.nan, math.inf, 1.0], [math.inf, math.inf, 2.0]]
    panels = [Panel("loss", [Curve("one", [[1.0]]), Curve("bad", runs), Curve("worse", [[math.nan, math.nan]])])]
    assert all(path.exists() for path in curves(tmp_path / "a", "t", "epoch", panels))


def test_more_curves_than_colours_can_be_drawn(tmp_path: Path) -> None:
    curves(tmp_path / "a", "t", "epoch", [Panel("loss", [Curve(f"{i}", [[float(i), 0.0]]) for i in range(12)])])


def test_global_settings_stay_as_they_are(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    curves(tmp_path / "a", "t", "epoch", PANELS)
    assert dict(matplotlib.rcParams) == before


def test_runs_of_different_lengths_are_an_error_that_names_the_curve(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"the curve 'training' must be equally long; found \[1, 2\] points"):
        curves(tmp_path / "a", "t", "epoch", [Panel("loss", [Curve("training", [[1.0], [1.0, 2.0]])])])


def test_a_picture_with_the_wrong_shape_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"'a' must have shape \(height, width\), but has \(784,\)"):
        images(tmp_path / "a", "t", {"a": np.zeros(784)})


def test_without_matplotlib_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ChainruleError, match=r'pip install "chainrule\[lab\]"'):
        require_matplotlib()


def test_reports_do_not_import_matplotlib_before_they_draw() -> None:
    code = "import sys, chainrule.lab.reports as r; [r.load(n) for n in r.KNOWN]; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
