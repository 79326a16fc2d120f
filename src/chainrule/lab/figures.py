"""Figures for reports: curves over epochs with a band over seeds, and images; each as PNG and PDF with the same stem.

The same numbers give the same bytes: no date and no random name goes into a file. matplotlib is imported when the first
figure is drawn, so that a worker process that only trains does without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "chainrule",
}


@dataclass(frozen=True)
class Curve:
    """One line of a panel.

    Attributes
    ----------
    label : str
        Its name in the legend.
    runs : sequence of sequences of float
        One run a seed, equally long. The line is their mean, the band one sample standard deviation to either side.
    x : sequence of float, optional
        Where the points are; 1, 2, ... if left out.
    reported : mapping of int to str, optional
        The report's own figures as printed, by x: drawn as open markers in the line's colour.
    joined : bool
        Whether points are joined by a line and a band. Without, each has a bar of one deviation to either side: for
        values taken so seldom that a line between them would tell a story of its own.
    """

    label: str
    runs: Sequence[Sequence[float]]
    x: Sequence[float] | None = None
    reported: Mapping[int, Printed] = field(default_factory=dict)
    joined: bool = True


@dataclass(frozen=True)
class Panel:
    """A set of axes: what the vertical axis measures, with its unit, and the curves on it."""

    y: str
    curves: Sequence[Curve]


def curves(path: Path, title: str, x: str, panels: Sequence[Panel]) -> list[Path]:
    """Draw panels side by side over the same horizontal axis and write them as PNG and PDF.

    Parameters
    ----------
    path : Path
        Folder and stem; the endings are added.
    title, x : str
        The title over all panels; what the horizontal axis counts.
    panels : sequence of Panel
        From left to right, such as the loss and the error.

    Returns
    -------
    list of Path
        The two files.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(_STYLE):
        figure = _figure(5.2 * len(panels), 3.9, title)
        for axes, panel in zip(_row_of_axes(figure, len(panels)), panels, strict=True):
            for number, curve in enumerate(panel.curves):
                _draw(axes, curve, number)
            axes.set(xlabel=x, ylabel=panel.y)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
            axes.legend()
        return _write(figure, path)


def images(path: Path, title: str, pictures: Mapping[str, Any]) -> list[Path]:
    """Draw grey pictures side by side, each under its caption, and write them as PNG and PDF.

    `pictures` maps captions to arrays (height, width) of brightness; 0 is black, the largest value white.
    """
    require_matplotlib()
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        figure = _figure(2.6 * len(pictures), 3.0, title)
        for axes, (caption, pixels) in zip(_row_of_axes(figure, len(pictures)), pictures.items(), strict=True):
            array = np.asarray(pixels)
            if array.ndim != 2:
                raise ShapeError(f"The picture '{caption}' must have shape (height, width), but has {array.shape}.")
            axes.imshow(array, cmap="gray", vmin=0, interpolation="nearest")
            axes.set(title=caption, xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
        return _write(figure, path)


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


def _draw(axes: Axes, curve: Curve, number: int) -> None:
    colour, dashes = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
    lengths = {len(run) for run in curve.runs}
    if len(lengths) != 1:
        raise ShapeError(f"The runs of the curve '{curve.label}' must be equally long; found {sorted(lengths)} points.")
    runs = np.asarray(curve.runs, dtype=float)
    runs[~np.isfinite(runs)] = np.nan  # a gap in the line; infinities would only give warnings on the way there
    x = np.arange(1, runs.shape[1] + 1) if curve.x is None else np.asarray(curve.x, dtype=float)
    mean, several = runs.mean(axis=0), len(runs) > 1
    label = f"{curve.label} (mean ± s, {len(runs)} seeds)" if several else curve.label
    spread = runs.std(axis=0, ddof=1) if several else None
    if not curve.joined:
        axes.errorbar(x, mean, spread, color=colour, fmt=".", ms=8, capsize=4, label=label)
    else:
        axes.plot(x, mean, color=colour, linestyle=dashes, label=label, marker="." if len(x) <= 20 else "")
    if curve.joined and spread is not None:
        axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
    if curve.reported:
        values = [float(printed) for printed in curve.reported.values()]
        marker = MARKERS[number % len(MARKERS)]
        label = f"{curve.label}, as reported"
        axes.plot(list(curve.reported), values, marker, mfc="none", mec=colour, mew=1.4, ms=7.5, zorder=3, label=label)


def _write(figure: Figure, path: Path) -> list[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No date and no version: they would differ from run to run. The stem may contain dots (2.11), so no with_suffix.
    png, pdf = path.with_name(path.name + ".png"), path.with_name(path.name + ".pdf")
    figure.savefig(png, dpi=150, metadata={"Software": None})
    figure.savefig(pdf, metadata={"CreationDate": None})
    return [png, pdf]
