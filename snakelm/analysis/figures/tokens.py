"""Figures of the tokenizer: bytes a token stands for, by source, and how often each token is
used.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .style import AXIS, COLOURS, INK, figure, human, note, thousands

__all__ = ["fertility", "token_frequencies"]

MOST = 12  # sources that have a bar
ROW = 0.34  # inches of height a bar takes
LONGEST_NAME = 24


def fertility(table: Mapping[str, Any], path: str | Path) -> None:
    """A bar of bytes per token for each of the largest sources, with tokens per word; both parts of
    the text last.
    """
    bars = _bars(table)
    with figure(path, (5.4, 1.1 + ROW * max(4, len(bars)))) as drawing:
        axes = drawing.subplots()
        if not bars:
            note(axes, "There is no text to measure.")
            return
        most = max(bar[1] for bar in bars)
        for row, (_, value, words, colour) in enumerate(bars):
            axes.barh(row, value, height=0.6, color=colour, linewidth=0)
            said = f"{value:.2f}" + (f" · {words:.2f} tokens a word" if words else "")
            axes.text(value + most * 0.012, row, said, va="center", color=INK, fontsize=9)
        axes.set_title("Bytes of text that a token stands for")
        axes.set_yticks(range(len(bars)), [bar[0] for bar in bars])
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_xlim(0, most * 1.55)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_visible(False)
        axes.grid(False)
        axes.spines[["bottom", "left"]].set_visible(False)


def _bars(table: Mapping[str, Any]) -> list[tuple[str, float, float | None, str]]:
    """(name, bytes per token, tokens per word, colour) of what has tokens."""
    sources = [(_short(rates["name"]), rates, COLOURS["blue"]) for rates in table["sources"][:MOST]]
    parts = [(rates["name"], rates, AXIS) for rates in table["bins"]]
    return [
        (
            name,
            rates["bytes"] / rates["tokens"],
            rates["tokens"] / rates["words"] if rates.get("words") else None,
            colour,
        )
        for name, rates, colour in sources + parts
        if rates["tokens"]
    ]


def _short(name: str) -> str:
    line = " ".join(str(name).split())
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"


def token_frequencies(table: Mapping[str, Any], path: str | Path) -> None:
    """Count over rank, both logarithmic; below, how many tokens are never seen."""
    with figure(path) as drawing:
        axes = drawing.subplots()
        rank, count = (np.array(table["curve"][name]) for name in ("rank", "count"))
        seen = count > 0
        if not seen.any():
            note(axes, "The training text has no tokens.")
            return
        axes.axhspan(0.7, table["rare_below"], color=COLOURS["faint"], alpha=0.35, linewidth=0)
        axes.plot(rank[seen], count[seen], color=COLOURS["blue"])
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(1, table["text_tokens"] * 1.15)
        axes.set_ylim(0.7, float(count.max()) * 2)
        axes.minorticks_off()
        thousands(axes.xaxis)
        thousands(axes.yaxis)
        rare, whole = table["rare"], table["text_tokens"]
        seldom = f"{human(rare)} of {human(whole)} tokens seen less than {table['rare_below']}×"
        said = f"{seldom}, {human(table['never'])} never"
        axes.text(0.03, 0.06, said, transform=axes.transAxes, color=INK, fontsize=9)
        axes.set_title("How often each token is used")
        axes.set_xlabel("tokens, the most frequent first")
        axes.set_ylabel("times in the training text")
