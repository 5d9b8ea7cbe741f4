"""Figures of the data: what became of the documents, how long they are beside the model's context,
and how conversations fill their packs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from ..funnel import FunnelStage
from ..manifests import PackedPart, PacksManifest
from .style import (
    AXIS,
    COLOURS,
    INK,
    PAPER,
    bars_only,
    figure,
    human,
    literal,
    note,
    thousands,
)

__all__ = ["document_lengths", "draw_funnel", "packing"]

# The funnel: its largest sources have a colour each, the others share one.
SOURCE_COLOURS = [COLOURS[name] for name in ("blue", "orange", "green", "purple")]
OTHERS = "other sources"
STAGE_HEIGHT = 0.62  # inches
BAR_OFFSET = -0.16  # of a stage's bar from the middle of its row: the reasons stand below it
REASONS_SHOWN = 2
NAME_CHARACTERS = 34

# Packs of conversations.
PACK_COLOURS = {"learned": COLOURS["green"], "read only": COLOURS["faint"], "padding": AXIS}
NARROW = 0.06  # a smaller share has no room for its number


def draw_funnel(stages: Sequence[FunnelStage], path: str | Path) -> None:
    """A bar for each stage with its sources in colours; below it, what was dropped and why."""
    with figure(path, (5.4, 1.0 + STAGE_HEIGHT * max(3, len(stages)))) as drawing:
        axes = drawing.subplots()
        most = max((stage.total for stage in stages), default=0)
        if not most:
            note(axes, "No manifests of the preparation were found.")
            return

        sources = _largest_sources(stages)
        for row, stage in enumerate(stages):
            _stage_bar(axes, row, stage, sources)
            _stage_text(axes, row, stage, most)

        axes.set_title("What became of the documents")
        bars_only(axes, [stage.name for stage in stages], BAR_OFFSET)
        axes.set_ylim(len(stages) - 0.5, -0.5)
        room = 1.3 if stages[-1].tokens is None else 1.8
        axes.set_xlim(0, most * (room + 0.5 * any(stage.repeated for stage in stages)))
        if len(sources) > 1:
            _source_legend(axes, sources, len(stages[0].documents) > len(sources))


def _largest_sources(stages: Sequence[FunnelStage]) -> list[str]:
    """The sources that get a colour of their own, largest first."""
    first = stages[0].documents
    return sorted(first, key=lambda name: (-first[name], name))[: len(SOURCE_COLOURS)]


def _stage_bar(axes: Axes, row: int, stage: FunnelStage, sources: Sequence[str]) -> None:
    parts = {name: count for name, count in stage.documents.items() if name in sources}
    parts[OTHERS] = stage.total - sum(parts.values())

    left = 0
    for name, count in parts.items():
        if "" in stage.documents:  # a stage that doesn't record sources
            colour = AXIS
        elif name == OTHERS:
            colour = COLOURS["faint"]
        else:
            colour = SOURCE_COLOURS[sources.index(name)]
        axes.barh(row + BAR_OFFSET, count, left=left, height=0.36, color=colour, linewidth=0)
        left += count


def _stage_text(axes: Axes, row: int, stage: FunnelStage, most: int) -> None:
    """How many documents are left, beside the bar; the most frequent reasons to drop one, below."""
    tokens = f" · {human(stage.tokens)} tokens" if stage.tokens is not None else ""
    again = f" (+{human(stage.repeated)} again)" if stage.repeated else ""
    axes.annotate(
        f"{stage.total:,}{again}{tokens}",
        (stage.total, row + BAR_OFFSET),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=INK,
        fontsize=9.5,
        fontweight="bold",
    )
    if not stage.dropped:
        return

    reasons = sorted(stage.dropped.items(), key=lambda item: -item[1])
    texts = [f"−{count:,} {_short(reason)}" for reason, count in reasons[:REASONS_SHOWN]]
    if rest := reasons[REASONS_SHOWN:]:
        texts.append(f"−{sum(count for _, count in rest):,} for {len(rest)} more reasons")
    axes.text(
        most * 0.006,
        row + 0.22,
        ", ".join(texts),
        va="center",
        color=AXIS,
        fontsize=8.5,
        parse_math=False,
    )


def _source_legend(axes: Axes, sources: Sequence[str], others: bool) -> None:
    names = [*sources, OTHERS] if others else list(sources)
    colours = [*SOURCE_COLOURS[: len(sources)], COLOURS["faint"]]
    for name, colour in zip(names, colours, strict=False):
        axes.barh([0], [0], color=colour, label=_short(name))
    literal(axes.legend(loc="upper center", bbox_to_anchor=(0.4, 0.0), ncols=min(3, len(names))))


def _short(text: str) -> str:
    """Names and reasons come from a user's files: one line, no longer than there is room for."""
    line = " ".join(str(text).split())
    return line if len(line) <= NAME_CHARACTERS else line[: NAME_CHARACTERS - 1] + "…"


def document_lengths(lengths: np.ndarray, context: int, path: str | Path) -> None:
    """Histogram of the tokens in a document, ``lengths`` int64 [documents], on a logarithmic axis,
    with the model's context.
    """
    with figure(path) as drawing:
        axes = drawing.subplots()
        lengths = lengths[lengths > 0]
        if not lengths.size:
            note(axes, "train.bin has no documents.")
            return

        # All documents of one length are a bar of some width all the same.
        low, high = np.log10(lengths.min()), np.log10(max(lengths.max(), context))
        edges = np.logspace(low, max(high, low + 0.1) + 1e-9, 41)
        counts, _ = np.histogram(lengths, edges)
        axes.stairs(counts, edges, fill=True, color=COLOURS["blue"])

        longer, median = float((lengths > context).mean()), float(np.median(lengths))
        name = f"context {context:,}: {longer:.0%} longer"
        axes.axvline(context, color=COLOURS["orange"], linewidth=1.8, label=name)
        axes.axvline(median, color=AXIS, linestyle=":", label=f"median {median:,.0f}")

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high - low < 2.5 else (1,)))
        axes.minorticks_off()
        thousands(axes.xaxis)
        thousands(axes.yaxis)

        axes.set_title("Lengths of the training documents")
        axes.set_xlabel("tokens in a document")
        axes.set_ylabel("documents")
        axes.legend()


def packing(packs: PacksManifest, path: str | Path) -> None:
    """A bar each for training and held-out packs: tokens that are learned, that are only read, and
    padding.
    """
    with figure(path, (5.4, 2.3)) as drawing:
        axes = drawing.subplots()
        parts = {"training": packs.train, "held out": packs.val}
        filled = {name: part for name, part in parts.items() if part is not None and part.tokens}
        if not filled:
            note(axes, "No packed conversations were found.")
            return

        for row, part in enumerate(filled.values()):
            _pack_bar(axes, row, _pack_shares(part))
            text = f"{human(part.tokens)} tokens"
            axes.text(1.015, row, text, va="center", color=AXIS, fontsize=9)

        axes.set_title("What fills the packs")
        bars_only(axes, list(filled))
        axes.set_ylim(len(filled) - 0.4, -0.6)
        axes.set_xlim(0, 1.3)
        axes.legend(loc="upper center", bbox_to_anchor=(0.42, 0.02), ncols=3)


def _pack_shares(part: PackedPart) -> dict[str, float]:
    """Shares of the packs' positions, which add up to 1. Of a part, ``tokens`` are those that are
    no padding.
    """
    text = part.efficiency or 1.0
    learned = text * part.learned_tokens / part.tokens
    return {"learned": learned, "read only": text - learned, "padding": 1 - text}


def _pack_bar(axes: Axes, row: int, shares: Mapping[str, float]) -> None:
    left = 0.0
    for name, share in shares.items():
        label = name if row == 0 else None
        colour = PACK_COLOURS[name]
        axes.barh(row, share, left=left, height=0.5, color=colour, linewidth=0, label=label)

        if share >= NARROW:
            axes.text(
                left + share / 2,
                row,
                f"{share:.0%}",
                ha="center",
                va="center",
                color=INK if name == "read only" else PAPER,
                fontsize=9.5,
            )
        left += share
