"""Figures are files that are there, whole, the same each time, and that do not touch matplotlib's global state."""

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from chainrule.errors import ChainruleError, ShapeError
from chainrule.lab.figures import (
    Curve,
    Mark,
    Panel,
    _draw_panel,
    _legend,
    _mean_and_spread,
    confusion,
    curves,
    images,
    require_matplotlib,
)

PANELS = [
    Panel("loss (nats)", [Curve("training", [[3.0, 2.0, 1.0], [3.1, 2.2, 0.9]], reported={1: "3.0", 3: "1.1"})]),
    Panel("error (%)", [Curve("training", [[30.0, 20.0, 10.0]]), Curve("test", [[31.0, 12.0]], x=[1, 3])]),
]


@pytest.fixture
def axes() -> Axes:
    return Figure().subplots()


@pytest.fixture
def legend() -> Callable[..., tuple[str, list[str]]]:
    """A function that draws curves on a panel: the legend's title and its entries."""

    def draw(*lines: Curve) -> tuple[str, list[str]]:
        axes, panel = Figure().subplots(), Panel("loss", lines)
        _draw_panel(axes, panel)
        _legend(axes, panel, below=False)
        drawn = axes.get_legend()
        return drawn.get_title().get_text(), [text.get_text() for text in drawn.get_texts()]

    return draw


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


def test_runs_that_end_early_leave_the_mean_to_those_still_there() -> None:
    x, mean, spread = _mean_and_spread(Curve("training", [[1.0, 2.0, 6.0], [3.0], [2.0, 4.0]]))
    assert spread is not None
    np.testing.assert_allclose(x, [1, 2, 3])
    np.testing.assert_allclose(mean, [2, 3, 6])
    np.testing.assert_allclose(spread, [1, math.sqrt(2), math.nan])


def test_a_number_that_is_none_leaves_a_gap_also_where_other_runs_have_ended() -> None:
    _, mean, _ = _mean_and_spread(Curve("training", [[1.0, math.nan, 6.0, math.inf], [3.0, 2.0]]))
    np.testing.assert_allclose(mean, [2, math.nan, 6, math.nan])


def test_the_legend_says_what_lines_and_bands_are(legend: Callable[..., tuple[str, list[str]]]) -> None:
    ended = Curve("a", [[1.0, 2.0], [3.0]])
    assert legend(ended) == ("mean ± s of 2 seeds; after 1 of those still there", ["a"])
    assert legend(Curve("a", [[1.0, 2.0], [3.0]], x=[10, 20]))[0].endswith("after 10 of those still there")
    assert legend(Curve("one", [[1.0]])) == ("", ["one"])
    assert legend(ended, Curve("b", [[1.0]]))[1] == ["a (mean ± s of 2 seeds; after 1 of those still there)", "b"]


def test_marks_of_one_label_share_an_entry_and_take_the_colour_of_their_curve(axes: Axes) -> None:
    marks = [Mark(2, "halved"), Mark(4, "halved"), Mark(3, "a stops", of="a")]
    _draw_panel(axes, Panel("loss", [Curve("a", [[1.0] * 5])], marks))
    _legend(axes, Panel("loss", [Curve("a", [[1.0] * 5])], marks), below=False)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "halved", "a stops"]
    curve, *lines = axes.lines
    assert [list(line.get_xdata()) for line in lines] == [[2, 2], [4, 4], [3, 3]]
    assert lines[2].get_color() == curve.get_color() != lines[0].get_color() == lines[1].get_color()


def test_curves_of_one_thing_share_a_colour_and_differ_in_dashes(axes: Axes) -> None:
    lines = [Curve(f"{i} {part}", [[1.0, 2.0]], colour=i) for i in range(3) for part in ("train", "validation")]
    _draw_panel(axes, Panel("loss", lines))
    looks = [(line.get_color(), line.get_linestyle()) for line in axes.lines]
    assert looks[0][0] == looks[1][0] != looks[2][0]
    assert len(set(looks)) == 6


def test_reported_figures_of_many_curves_share_an_entry(legend: Callable[..., tuple[str, list[str]]]) -> None:
    two = [Curve(name, [[1.0]], reported={1: "1.0"}) for name in "ab"]
    assert legend(*two)[1] == ["a", "b", "a, as reported", "b, as reported"]
    assert legend(*two, Curve("c", [[2.0]], reported={1: "2.0"}))[1][3:] == ["as reported, in the curve's colour"]


def test_a_logarithmic_axis_leaves_gaps_where_there_is_no_logarithm(tmp_path: Path, axes: Axes) -> None:
    panel = Panel("norm", [Curve("a", [[1.0, 0.0, -1.0, 0.3], [1.0, 3.0, 0.0, 1e-9]]), Curve("b", [[0.0]])], log=True)
    assert all(path.exists() for path in curves(tmp_path / "a", "t", "layer", [panel]))
    axes.set_yscale("log")
    _draw_panel(axes, panel)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [1, 1.5, math.nan, 0.15], atol=1e-8)
    assert all((path.vertices[:, 1] > 0).all() for band in axes.collections for path in band.get_paths())


def test_six_configurations_leave_the_legend_below_the_axes(tmp_path: Path) -> None:
    def height(n: int) -> int:
        lines = [Curve(f"ReLU, lr 1e-{i}", [[1.0, 2.0]]) for i in range(n)]
        png, _ = curves(tmp_path / str(n), "t", "epochs", [Panel("loss", lines)])
        return int(matplotlib.image.imread(png).shape[0])

    assert height(6) > height(4) == height(1)


def test_title_and_caption_are_in_the_files(tmp_path: Path) -> None:
    png, pdf = curves(tmp_path / "a", "2.11: α < β", "epochs", PANELS, "It falls.")
    with Image.open(png) as image:
        assert image.info["Title"] == "2.11: α < β"
        assert image.info["Description"] == (
            "It falls. Loss (nats) and error (%) over epochs. Lines are means over 2 seeds, bands or bars one sample "
            "standard deviation to either side. Open markers are the report's own figures."
        )
    assert b"/Subject" in pdf.read_bytes()
    png, _ = images(tmp_path / "b", "t", {"a 7": np.eye(2), "a 4": np.eye(2)})
    with Image.open(png) as image:
        assert image.info["Description"] == "a 7, a 4."


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (Curve("training", []), "'training' has nothing to draw"),
        (Curve("training", [[], []]), "'training' has nothing to draw"),
        (Curve("training", [[1.0], [1.0, 2.0]], x=[1]), "has 1 places on the horizontal axis, but runs of 2 points"),
    ],
)
def test_what_cannot_be_drawn_is_an_error_that_names_the_curve(tmp_path: Path, curve: Curve, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        curves(tmp_path / "a", "t", "epoch", [Panel("loss", [curve])])


@pytest.mark.parametrize("shape", [(784,), (28, 28, 1), (3, 32, 32), (1, 3, 32, 32)])
def test_a_picture_with_the_wrong_shape_is_an_error_that_names_it(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=rf"'a' must have shape \(height, width\).*but has {re.escape(str(shape))}"):
        images(tmp_path / "a", "t", {"a": np.zeros(shape)})


def test_pictures_in_colour_stand_in_rows(tmp_path: Path) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :, 0] = 255
    three, _ = images(tmp_path / "three", "t", dict.fromkeys("abc", red.tolist()), columns=2)
    one, _ = images(tmp_path / "one", "t", {"a": red}, columns=2)
    with Image.open(three) as image, Image.open(one) as single:
        assert image.height == 2 * single.height
        pixels, alone = (np.asarray(each.convert("RGB")) for each in (image, single))
        reds = [(each == [255, 0, 0]).all(axis=-1) for each in (pixels, alone)]
        assert reds[0].sum() > 2.5 * reds[1].sum() > 0


def test_a_confusion_matrix_is_darkest_where_most_are(tmp_path: Path) -> None:
    png, pdf = confusion(tmp_path / "a", "3.7: t", {"m": [[90.0, 10.0], [0.0, 100.0]]}, ["x", "y"], "What is seen.")
    other, _ = confusion(tmp_path / "b", "3.7: t", {"m": [[10.0, 90.0], [0.0, 100.0]]}, ["x", "y"], "What is seen.")
    assert pdf.exists()
    with Image.open(png) as image, Image.open(other) as swapped:
        assert image.info["Description"] == "What is seen."
        left, right = (np.asarray(each.convert("L"), float) for each in (image, swapped))
    height, width = left.shape
    corner = (slice(height // 4, height // 3), slice(width // 4, width // 2))
    assert left[corner].mean() < right[corner].mean() - 50


def test_names_stand_in_place_of_numbers(tmp_path: Path) -> None:
    curve = Curve("a", [[1.0, 2.0]])
    sizes = []
    for stem, names in (("with", ("a long name of a class", "another")), ("without", ())):
        png, _ = curves(tmp_path / stem, "t", "class", [Panel("loss", [curve], names=names)])
        with Image.open(png) as image:
            sizes.append(np.asarray(image.convert("L")))
    assert (sizes[0] != sizes[1]).mean() > 0.01


def test_without_matplotlib_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ChainruleError, match=r'pip install "chainrule\[lab\]"'):
        require_matplotlib()


def test_reports_do_not_import_matplotlib_before_they_draw() -> None:
    code = "import sys, chainrule.lab.reports as r; [r.load(n) for n in r.KNOWN]; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
