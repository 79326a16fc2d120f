"""The comparisons as a page in Markdown, with the machine, the versions and the date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.benchmarks import machine
from chainrule.benchmarks.results import Comparison, rows, summary
from chainrule.benchmarks.works import MOST_STEPS

_HEAD = """\
# How fast it is

Written by `chainrule bench --page` (`make bench`); do not edit. Rounds: {rounds}; in each, every candidate does a pass
in a process of its own that waits in between, with the threads that it takes by itself; the numbers are medians, with
the range of the rounds beside them. All do the same arithmetic from the same start on the same data (a test compares
their parameters): SGD on softmax cross-entropy, plain, or for images with momentum, data in memory, reshuffled each
epoch, nothing evaluated inside, the first (compiling) epoch left out, for chainrule that of every `fit`; those who need
Python for each step do at most {steps:,} of them in a pass, on the first samples. Absolute times move from machine to
machine; the ratios within a table are what counts. Ratios are cut off, not rounded up. *Bare products* is `np.matmul`
alone, for all products of forward and backward; a convolution need not be made of them, so there they are no bound and
not shown. The starts are of fresh processes that have imported NumPy and have the arrays of two batches; cold is with
empty caches.
"""


def page(
    comparisons: Sequence[Comparison], made: dict[str, Any], rounds: int, quick: bool, picture: str | None = None
) -> str:
    """All comparisons, and before them what they come to; `picture` is the picture's place, seen from the page."""
    parts = [_HEAD.format(rounds=rounds, steps=MOST_STEPS)]
    if quick:
        parts.append("**Of a quick run, which only shows that it runs: these times mean nothing.**\n")
    parts.append("\n".join(machine.sentences(made)) + "\n")
    parts.append("## What it comes to\n")
    for heading, sentences in summary(comparisons):
        parts.append(heading + "\n")
        parts += [f"- {sentence}" for sentence in sentences] + [""] * bool(sentences)
    if picture is not None:
        parts.append(f"![Each candidate's bar beside chainrule's line, on a logarithmic axis]({picture})\n")
    parts += [_section(each) for each in comparisons]
    return "\n".join(parts)


def _section(comparison: Comparison) -> str:
    ours = comparison.reference
    ratio = f"× {ours.name}" if ours else "×"
    lines = [
        f"## {comparison.name}: {comparison.title}\n",
        f"| | {comparison.unit} | rounds | {ratio} | goal | |",
        "|---|---:|---:|---:|---|---|",
    ]
    for row in rows(comparison):
        name = f"**{row.name}**" if row.role == "ours" else f"*{row.name}*" if row.role == "floor" else row.name
        cells = name, row.median, row.spread, row.ratio, row.goal, row.verdict
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += [f"\nLeft out: {name}: {why}." for name, why in comparison.left_out]
    return "\n".join(lines) + "\n"
