"""Figures for reports: curves over epochs with a band over seeds, images, and confusion matrices; each as PNG and PDF
with the same stem.

The same numbers give the same bytes: no date and no random name goes into a file. Title and caption do, so that whoever
shows a figure need not be told them. matplotlib is imported when the first figure is drawn, so that a worker process
that only trains does without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import ChainruleError, ShapeError
from chainrule.lab.verdict import Printed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision can tell apart; the yellow is too pale for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))

_STYLE: dict[Any, Any] = {
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fontsize": 9.0,
    "legend.title_fontsize": 8.5,
    "pdf.fonttype": 42,
    "svg.hashsalt": "chainrule",
}
_INSIDE = 4  # so many entries of a legend fit among the curves; more go below the axes
_MANY_POINTS = 5000  # from here on a PDF file holds a line as pixels


@dataclass(frozen=True)
class Curve:
    """One line of a panel.

    Attributes
    ----------
    label : str
        Its name in the legend.
    runs : sequence of sequences of float
        One run a seed. The line is their mean, the band one sample standard deviation to either side. Where some runs
        end earlier than others, both are those of the runs that are still there, and the legend says so.
    x : sequence of float, optional
        Where the points are; 1, 2, ... if left out.
    reported : mapping of int to str, optional
        The report's own figures as printed, by x: drawn as open markers in the line's colour.
    joined : bool
        Whether points are joined by a line and a band. Without, each has a bar of one deviation to either side: for
        values taken so seldom that a line between them would tell a story of its own.
    colour : int, optional
        Which of `COLOURS`. Curves that share one (training and validation of one network) differ in their dashes. If
        left out, each curve has its own.
    """

    label: str
    runs: Sequence[Sequence[float]]
    x: Sequence[float] | None = None
    reported: Mapping[int, Printed] = field(default_factory=dict)
    joined: bool = True
    colour: int | None = None


@dataclass(frozen=True)
class Mark:
    """A vertical line where something happens, such as an epoch at which the learning rate changes.

    Marks with the same label share an entry of the legend. `of` is the label of a curve whose colour the line takes.
    """

    x: float
    label: str
    of: str = ""


@dataclass(frozen=True)
class Panel:
    """A set of axes: what the vertical axis measures, with its unit, the curves and marks on it, whether it is
    logarithmic, what 1, 2, ... on the horizontal axis are called, if they are no numbers, and where the vertical axis
    begins and ends, if that does not depend on the curves.
    """

    y: str
    curves: Sequence[Curve]
    marks: Sequence[Mark] = ()
    log: bool = False
    names: Sequence[str] = ()
    limits: tuple[float, float] | None = None


def curves(path: Path, title: str, x: str, panels: Sequence[Panel], caption: str = "") -> list[Path]:
    """Draw panels side by side over the same horizontal axis and write them as PNG and PDF.

    Parameters
    ----------
    path : Path
        Folder and stem; the endings are added.
    title, x : str
        The title over all panels; what the horizontal axis counts.
    panels : sequence of Panel
        From left to right, such as the loss and the error.
    caption : str
        What there is to see, as sentences. How to read lines, bands and markers is added.

    Returns
    -------
    list of Path
        The two files.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(_STYLE):
        below = max(map(_legend_rows, panels))
        figure = _figure(5.2 * len(panels), 3.9 + 0.19 * below, title)
        for axes, panel in zip(_row_of_axes(figure, len(panels)), panels, strict=True):
            if panel.log:
                axes.set_yscale("log")
            _draw_panel(axes, panel)
            axes.set(xlabel=x, ylabel=fill(panel.y, 38), ylim=panel.limits)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
            if panel.names:
                axes.set_xticks(range(1, len(panel.names) + 1), panel.names, rotation=45, ha="right")
            _legend(axes, panel, below > 0)
        return _write(figure, path, title, " ".join(filter(None, [caption, _how_to_read(x, panels)])))


def images(
    path: Path, title: str, pictures: Mapping[str, Any], caption: str = "", columns: int = 0, width: float = 2.6
) -> list[Path]:
    """Draw pictures side by side, each under its name, and write them as PNG and PDF.

    Parameters
    ----------
    path, title
        As for `curves`.
    pictures : mapping of arrays
        By name: (height, width) of brightness, 0 is black and the largest value white; or (height, width, 3) of red,
        green and blue from 0 to 255.
    caption : str
        By default the names.
    columns : int
        How many stand side by side; by default all.
    width : float
        Of each, in inches.
    """
    require_matplotlib()
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        columns = columns or len(pictures)
        figure = _figure(width * columns, (width + 0.4) * -(-len(pictures) // columns), title)
        for number, (name, pixels) in enumerate(pictures.items()):
            array = np.asarray(pixels)
            if array.ndim != 2 and array.shape[2:] != (3,):
                raise ShapeError(
                    f"The picture '{name}' must have shape (height, width), or with 3 colours (height, width, 3), but "
                    f"has {array.shape}."
                )
            axes = figure.add_subplot(-(-len(pictures) // columns), columns, number + 1)
            axes.imshow(array, cmap="gray", vmin=0, interpolation="nearest")
            axes.set(title=name, xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
        return _write(figure, path, title, caption or f"{', '.join(pictures)}.")


def confusion(
    path: Path, title: str, matrices: Mapping[str, Any], classes: Sequence[str], caption: str = ""
) -> list[Path]:
    """Draw confusion matrices, two side by side, each under its name, and write them as PNG and PDF.

    `matrices` maps names to arrays (C, C) of per cent: how many of a class (row) are taken for each (column). The
    darker a cell, the more; its number is in it.
    """
    require_matplotlib()
    import matplotlib

    with matplotlib.rc_context(_STYLE | {"axes.grid": False}):
        down = -(-len(matrices) // 2)
        figure = _figure(5.6 * min(2, len(matrices)), 5.3 * down, title)
        places = range(len(classes))
        for number, (name, matrix) in enumerate(matrices.items(), 1):
            axes = figure.add_subplot(down, min(2, len(matrices)), number)
            axes.imshow(matrix, cmap="Blues", vmin=0, vmax=100)
            for (row, column), share in np.ndenumerate(matrix):
                colour = "white" if share > 60 else "#aaaaaa" if share < 0.5 else "black"
                text = "" if np.isnan(share) else f"{share:.0f}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8.5)
            axes.set(title=name, xlabel="taken for", ylabel="true class")
            axes.set_xticks(places, classes, rotation=45, ha="right")
            axes.set_yticks(places, classes)
        return _write(figure, path, title, caption)


def require_matplotlib() -> None:
    """Raise a `ChainruleError` that says how to install matplotlib, if it is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ChainruleError(
            'Figures are drawn with matplotlib, which is missing: pip install "chainrule[lab]"'
        ) from error


def _figure(width: float, height: float, title: str) -> Figure:
    from matplotlib.figure import Figure

    # A Figure of its own, without pyplot: no window system, and nothing is kept after it is written.
    figure = Figure(figsize=(max(width, 4.0), height), layout="constrained")
    figure.suptitle(title)
    return figure


def _row_of_axes(figure: Figure, columns: int) -> list[Axes]:
    return list(figure.subplots(1, columns, squeeze=False)[0])


def _draw_panel(axes: Axes, panel: Panel) -> None:
    drawn: dict[int, int] = {}  # how many curves have a colour so far
    colours: dict[str, str] = {}
    notes = {_seeds(curve) for curve in panel.curves}
    for number, curve in enumerate(panel.curves):
        place = number if curve.colour is None else curve.colour
        # Dashes as well as colours, for those who print in black and white.
        dash = number if curve.colour is None else drawn.get(place, 0)
        drawn[place] = drawn.get(place, 0) + 1
        colours[curve.label] = COLOURS[place % len(COLOURS)]
        note = f" ({_seeds(curve)})" if len(notes) > 1 and _seeds(curve) else ""
        _draw(axes, curve, curve.label + note, colours[curve.label], dash, panel.log)
    _draw_reported(axes, panel, colours)
    labels = list(dict.fromkeys(mark.label for mark in panel.marks))
    for mark in panel.marks:
        axes.axvline(
            mark.x,
            color=colours.get(mark.of, "#666666"),
            linestyle=DASHES[2 - labels.index(mark.label) % 3],
            linewidth=1.2,
            zorder=1.5,
            label=mark.label,
        )


def _draw(axes: Axes, curve: Curve, label: str, colour: str, dash: int, log: bool) -> None:
    x, mean, spread = _mean_and_spread(curve)
    if log:
        mean = np.where(mean > 0, mean, np.nan)
    if not curve.joined:
        axes.errorbar(x, mean, spread, color=colour, fmt=".", ms=8, capsize=4, label=label)
        return
    dashes, marker = DASHES[dash % len(DASHES)], "." if len(x) <= 20 else ""
    many = len(x) >= _MANY_POINTS
    axes.plot(x, mean, color=colour, linestyle=dashes, label=label, marker=marker, rasterized=many)
    if spread is not None:
        # On a logarithmic axis mean - s may lie below zero; there the band is as wide to the eye as above the mean.
        low = mean**2 / (mean + spread) if log else mean - spread
        axes.fill_between(x, low, mean + spread, color=colour, alpha=0.2, linewidth=0, rasterized=many)


def _mean_and_spread(curve: Curve) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Where the points are, the mean of the runs that are still there, and their deviation if there are several."""
    lengths = np.array([len(run) for run in curve.runs])
    if not lengths.size or not lengths.max():
        raise ShapeError(f"The curve '{curve.label}' has nothing to draw: no run with a point.")
    x = np.arange(1, lengths.max() + 1) if curve.x is None else np.asarray(curve.x, dtype=float)
    if len(x) != lengths.max():
        raise ShapeError(
            f"The curve '{curve.label}' has {len(x)} places on the horizontal axis, but runs of {lengths.max()} points."
        )
    there = np.arange(lengths.max()) < lengths[:, None]
    runs = np.zeros(there.shape)
    for row, run in zip(runs, curve.runs, strict=True):
        row[: len(run)] = run
    runs[~np.isfinite(runs)] = np.nan  # a gap in the line; infinities would only give warnings on the way there
    count = there.sum(axis=0)
    mean = runs.sum(axis=0, where=there) / count
    if len(runs) == 1:
        return x, mean, None
    squares = ((runs - mean) ** 2).sum(axis=0, where=there)
    return x, mean, np.sqrt(np.where(count > 1, squares, np.nan) / np.maximum(count - 1, 1))


def _draw_reported(axes: Axes, panel: Panel, colours: Mapping[str, str]) -> None:
    reporting = [(number, curve) for number, curve in enumerate(panel.curves) if curve.reported]
    one_entry = len(reporting) > 2
    for number, curve in reporting:
        values = [float(printed) for printed in curve.reported.values()]
        label = None if one_entry else f"{curve.label}, as reported"
        marker = MARKERS[number % len(MARKERS)]
        colour = colours[curve.label]
        axes.plot(list(curve.reported), values, marker, mfc="none", mec=colour, mew=1.4, ms=7.5, zorder=3, label=label)
    if one_entry:
        axes.plot([], [], "o", mfc="none", mec="#444444", mew=1.4, ms=7.5, label="as reported, in the curve's colour")


def _legend(axes: Axes, panel: Panel, below: bool) -> None:
    entries = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # one entry for marks of one label
    notes = {_seeds(curve) for curve in panel.curves}
    options: dict[str, Any] = {"title": notes.pop() or None} if len(notes) == 1 else {}
    if below:
        columns = _columns(entries)
        options |= {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": columns}
    axes.legend(entries.values(), entries.keys(), alignment="left", **options)


def _legend_rows(panel: Panel) -> int:
    """How many rows the legend has below the axes; 0 if it fits among the curves."""
    labels = [curve.label for curve in panel.curves] + list({mark.label for mark in panel.marks})
    labels += [f"{curve.label}, as reported" for curve in panel.curves if curve.reported][:2]
    return 0 if len(labels) <= _INSIDE else 1 + -(-len(labels) // _columns(labels))


def _columns(labels: Iterable[str]) -> int:
    return 2 if max(map(len, labels)) <= 36 else 1


def _seeds(curve: Curve) -> str:
    """What line and band are, if there are several runs."""
    if len(curve.runs) < 2:
        return ""
    shortest, longest = (f(map(len, curve.runs)) for f in (min, max))
    note = f"mean ± s of {len(curve.runs)} seeds"
    if shortest == longest:
        return note
    return f"{note}; after {shortest if curve.x is None else curve.x[shortest - 1]:g} of those still there"


def _how_to_read(x: str, panels: Sequence[Panel]) -> str:
    every = [curve for panel in panels for curve in panel.curves]
    several = [curve for curve in every if len(curve.runs) > 1]
    measured = " and ".join(panel.y for panel in panels)
    sentences = [f"{measured[:1].upper()}{measured[1:]} over {x}."]
    if seeds := sorted({len(curve.runs) for curve in several}):
        of = " or ".join(map(str, seeds))
        lines = "Lines are means" if any(curve.joined for curve in several) else "Points are means"
        sentences.append(f"{lines} over {of} seeds, bands or bars one sample standard deviation to either side.")
    if any(len({len(run) for run in curve.runs}) > 1 for curve in every):
        sentences.append("Where runs have ended, they are those of the runs still there.")
    if any(curve.reported for curve in every):
        sentences.append("Open markers are the report's own figures.")
    if any(panel.log for panel in panels):
        sentences.append("The vertical axis is logarithmic, and bands are as wide below the line as above it.")
    return " ".join(sentences)


def _write(figure: Figure, path: Path, title: str, caption: str) -> list[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No date and no version: they would differ from run to run. The stem may contain dots (2.11), so no with_suffix.
    png, pdf = path.with_name(path.name + ".png"), path.with_name(path.name + ".pdf")
    figure.savefig(png, dpi=150, metadata={"Software": None, "Title": title, "Description": caption})
    figure.set_layout_engine("none")  # it is laid out now
    figure.savefig(pdf, metadata={"CreationDate": None, "Title": title, "Subject": caption})
    return [png, pdf]
