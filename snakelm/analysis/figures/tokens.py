"""Figures of the tokenizer: bytes that a token stands for, by source, and how often each token is
used.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...evaluation.records import SourceTokens, TextTokens, TokenizerRecord
from .style import AXIS, COLOURS, INK, figure, human, note, shortened, thousands

__all__ = ["fertility", "token_frequencies"]

MOST = 12  # sources that have a bar
ROW = 0.34  # inches of height a bar takes
LONGEST_NAME = 24


@dataclass(frozen=True)
class FertilityBar:
    """A source, or all of a token file's text."""

    name: str
    bytes_per_token: float
    tokens_per_word: float | None
    colour: str

    @property
    def label(self) -> str:
        """`4.12 · 1.31 tokens a word`"""
        words = (
            "" if self.tokens_per_word is None else f" · {self.tokens_per_word:.2f} tokens a word"
        )
        return f"{self.bytes_per_token:.2f}{words}"


def fertility(record: TokenizerRecord, path: str | Path) -> None:
    """A bar of bytes per token for each of the largest sources, with tokens per word; training text
    and held-out text last.
    """
    bars = _bars(record)
    with figure(path, (5.4, 1.1 + ROW * max(4, len(bars)))) as drawing:
        axes = drawing.subplots()
        if not bars:
            note(axes, "There is no text to measure.")
            return

        longest = max(bar.bytes_per_token for bar in bars)
        for row, bar in enumerate(bars):
            axes.barh(row, bar.bytes_per_token, height=0.6, color=bar.colour, linewidth=0)
            x = bar.bytes_per_token + longest * 0.012
            axes.text(x, row, bar.label, va="center", color=INK, fontsize=9)

        axes.set_title("Bytes of text that a token stands for")
        axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
        for label in axes.get_yticklabels():
            label.set_parse_math(False)  # a source may be called $x$
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_xlim(0, longest * 1.55)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_visible(False)
        axes.grid(False)
        axes.spines[["bottom", "left"]].set_visible(False)


def _bars(record: TokenizerRecord) -> list[FertilityBar]:
    """Of what has tokens."""
    sources = [_bar(source, COLOURS["blue"]) for source in record.sources[:MOST] if source.tokens]
    return sources + [_bar(part, AXIS) for part in record.bins if part.tokens]


def _bar(text: TextTokens, colour: str) -> FertilityBar:
    words = text.words if isinstance(text, SourceTokens) else 0
    return FertilityBar(
        shortened(" ".join(text.name.split()), LONGEST_NAME),
        text.bytes / text.tokens,
        text.tokens / words if words else None,
        colour,
    )


def token_frequencies(record: TokenizerRecord, path: str | Path) -> None:
    """Count over rank, both logarithmic; below, how many tokens are never used."""
    rank, count = np.array(record.curve.rank), np.array(record.curve.count)
    used = count > 0

    with figure(path) as drawing:
        axes = drawing.subplots()
        if not used.any():
            note(axes, "The training text has no tokens.")
            return

        axes.axhspan(0.7, record.rare_below, color=COLOURS["faint"], alpha=0.35, linewidth=0)
        axes.plot(rank[used], count[used], color=COLOURS["blue"])
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(1, record.text_tokens * 1.15)
        axes.set_ylim(0.7, float(count.max()) * 2)
        axes.minorticks_off()
        thousands(axes.xaxis)
        thousands(axes.yaxis)

        words = (
            f"{human(record.rare)} of {human(record.text_tokens)} tokens used less than "
            f"{record.rare_below}×, {human(record.never)} never"
        )
        axes.text(0.03, 0.06, words, transform=axes.transAxes, color=INK, fontsize=9)
        axes.set_title("How often each token is used")
        axes.set_xlabel("tokens, the most frequent first")
        axes.set_ylabel("times in the training text")
