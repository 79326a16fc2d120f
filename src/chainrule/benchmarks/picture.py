"""The comparisons of the works as one picture: how many times what chainrule takes each candidate takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.benchmarks.results import Comparison, amount, cut
from chainrule.lab.figures import COLOURS, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS, _FLOOR = "#000000", "#bbbbbb"
_BAR = 0.27  # inches
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "svg.hashsalt": "chainrule",
}


def picture(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draw a panel a comparison, with a bar for each candidate on one logarithmic axis; the suffix says the format."""
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    shown = [each for each in comparisons if each.reference is not None]
    peers = list(dict.fromkeys(m.peer for each in shown for m in each.measured if m.role == "peer"))
    colours = dict(zip(peers, COLOURS, strict=False))
    heights = [len(each.measured) + 1.6 for each in shown]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, _BAR * sum(heights) + 1), layout="constrained")
        panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for comparison, axes in zip(shown, panels, strict=True):
            _panel(axes, comparison, colours)
        panels[-1].set_xlabel(
            "times what chainrule takes (logarithmic); to the left of the line is better than chainrule"
        )
        figure.savefig(path, dpi=150)


def _panel(axes: Axes, comparison: Comparison, colours: dict[str, str]) -> None:
    ratios = [comparison.ratio(each) or 1.0 for each in comparison.measured]
    for place, (each, ratio) in enumerate(zip(comparison.measured, ratios, strict=True)):
        colour = {"ours": _OURS, "floor": _FLOOR}.get(each.role) or colours[each.peer]
        axes.barh(place, ratio - 1, left=1, color=colour, height=0.72)
        if each is comparison.reference:
            axes.plot(1, place, "D", color=_OURS, ms=5)
        times = "" if each is comparison.reference else f" ({cut(ratio)} ×)"
        axes.annotate(
            f"{amount(each.median)} {comparison.unit}{times}",
            (max(ratio, 1.0), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.axvline(1, color="#000000", linewidth=1)
    axes.set_yticks(range(len(ratios)), [each.name for each in comparison.measured])
    axes.tick_params(left=False)
    axes.invert_yaxis()
    axes.margins(x=0.12)  # room for what stands beside the longest bar
    axes.set_title(f"{comparison.name}: {comparison.title}", loc="left", fontsize=10, fontweight="bold")
