"""Figures of the data: what became of the documents, and how long they are against the model's
context.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from ..funnel import FunnelStage
from .style import AXIS, COLOURS, INK, figure, human, note, thousands

__all__ = ["document_lengths", "draw_funnel"]

SOURCE_COLOURS = [COLOURS[name] for name in ("blue", "orange", "green", "purple")]
OTHERS = "other sources"
ROW = 0.62  # inches of height a stage takes


def draw_funnel(stages: Sequence[FunnelStage], path: str | Path) -> None:
    """A bar a stage, sources in colours, what was dropped and why underneath."""
    with figure(path, (5.4, 1.0 + ROW * max(3, len(stages)))) as drawing:
        axes = drawing.subplots()
        most = max((stage.total for stage in stages), default=0)
        if not most:
            note(axes, "No manifests of the preparation were found.")
            return
        sources = _largest_sources(stages)
        for row, stage in enumerate(stages):
            _bar(axes, row, stage, sources)
            _words(axes, row, stage, most)
        _frame(axes, stages, sources)


def _largest_sources(stages: Sequence[FunnelStage]) -> list[str]:
    """The sources that get a colour of their own, largest first."""
    first = stages[0].documents
    return sorted(first, key=lambda name: (-first[name], name))[: len(SOURCE_COLOURS)]


def _bar(axes: Axes, row: int, stage: FunnelStage, sources: Sequence[str]) -> None:
    left = 0
    parts = {name: count for name, count in stage.documents.items() if name in sources}
    parts[OTHERS] = stage.total - sum(parts.values())
    for name, count in parts.items():
        whole = "" in stage.documents  # a stage that doesn't tell sources apart
        colour = (
            AXIS
            if whole
            else COLOURS["faint"]
            if name == OTHERS
            else SOURCE_COLOURS[sources.index(name)]
        )
        axes.barh(row - 0.16, count, left=left, height=0.36, color=colour, linewidth=0)
        left += count


def _words(axes: Axes, row: int, stage: FunnelStage, most: int) -> None:
    tokens = f" · {human(stage.tokens)} tokens" if stage.tokens is not None else ""
    axes.annotate(
        f"{stage.total:,}{tokens}",
        (stage.total, row - 0.16),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=INK,
        fontsize=9.5,
        fontweight="bold",
    )
    if stage.dropped:
        largest = sorted(stage.dropped.items(), key=lambda pair: -pair[1])
        said = [f"−{count:,} {_short(reason)}" for reason, count in largest[:2]]
        if len(largest) > 2:
            said.append(
                f"−{sum(count for _, count in largest[2:]):,} for {len(largest) - 2} more reasons"
            )
        axes.text(
            most * 0.006,
            row + 0.22,
            ", ".join(said),
            va="center",
            color=AXIS,
            fontsize=8.5,
            parse_math=False,
        )


def _frame(axes: Axes, stages: Sequence[FunnelStage], sources: Sequence[str]) -> None:
    axes.set_title("What became of the documents")
    axes.set_yticks(np.arange(len(stages)) - 0.16, [stage.name for stage in stages])
    axes.set_ylim(len(stages) - 0.5, -0.5)
    axes.set_xlim(
        0, max(stage.total for stage in stages) * (1.3 if stages[-1].tokens is None else 1.8)
    )
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_visible(False)
    axes.grid(False)
    axes.spines[["bottom", "left"]].set_visible(False)
    if len(sources) > 1:
        more = len(stages[0].documents) > len(sources)
        names = [*sources, OTHERS] if more else sources
        colours = [*SOURCE_COLOURS[: len(sources)], COLOURS["faint"]]
        for name, colour in zip(names, colours, strict=False):
            axes.barh([0], [0], color=colour, label=_short(name))
        legend = axes.legend(
            loc="upper center", bbox_to_anchor=(0.4, 0.0), ncols=min(3, len(names))
        )
        for text in legend.get_texts():
            text.set_parse_math(False)


def _short(text: str, most: int = 34) -> str:
    """Names and reasons come from a person's files: one line, no longer than there is room for."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def document_lengths(lengths: np.ndarray, context: int, path: str | Path) -> None:
    """Histogram over the logarithm of tokens in a document, ``lengths`` [documents], with the
    model's context.
    """
    with figure(path) as drawing:
        axes = drawing.subplots()
        lengths = lengths[lengths > 0]
        if not lengths.size:
            note(axes, "train.bin has no documents.")
            return
        low, high = np.log10(lengths.min()), np.log10(max(lengths.max(), context))
        edges = np.logspace(low, max(high, low + 0.1) + 1e-9, 41)
        counts, _ = np.histogram(lengths, edges)
        axes.stairs(counts, edges, fill=True, color=COLOURS["blue"])
        longer = float((lengths > context).mean())
        axes.axvline(
            context,
            color=COLOURS["orange"],
            linewidth=1.8,
            label=f"context {context:,}: {longer:.0%} longer",
        )
        axes.axvline(
            np.median(lengths), color=AXIS, linestyle=":", label=f"median {np.median(lengths):,.0f}"
        )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high - low < 2.5 else (1,)))
        axes.minorticks_off()
        thousands(axes.xaxis)
        thousands(axes.yaxis)
        axes.set_title("Lengths of the training documents")
        axes.set_xlabel("tokens in a document")
        axes.set_ylabel("documents")
        axes.legend()
