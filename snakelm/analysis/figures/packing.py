"""How the conversations fill their packs: what is learned, what is only read, what is padding."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes

from ..manifests import PackedPart, PacksManifest
from .style import AXIS, COLOURS, INK, figure, human, note

__all__ = ["packing"]

PARTS = {"learned": COLOURS["green"], "read only": COLOURS["faint"], "padding": AXIS}
NARROW = 0.06  # a smaller share has no room for its number


def packing(packs: PacksManifest, path: str | Path) -> None:
    """A bar each for training and held-out packs; ``packs``: the manifest of
    train_sft_packed.bin.
    """
    with figure(path, (5.4, 2.3)) as drawing:
        axes = drawing.subplots()
        rows = {
            name: filling
            for name, part in (("training", packs.train), ("held out", packs.val))
            if (filling := _of(part))
        }
        if not rows:
            note(axes, "No packed conversations were found.")
            return
        for row, (shares, tokens) in enumerate(rows.values()):
            _bar(axes, row, shares)
            axes.text(1.015, row, f"{human(tokens)} tokens", va="center", color=AXIS, fontsize=9)
        axes.set_title("What the packs are filled with")
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 1.3)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_visible(False)
        axes.grid(False)
        axes.spines[["bottom", "left"]].set_visible(False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.42, 0.02), ncols=3)


def _of(part: PackedPart | None) -> tuple[dict[str, float], int] | None:
    """Shares of the rows' tokens, which add up to 1, and how many tokens are no padding."""
    if part is None or not part.tokens:
        return None

    filled = part.efficiency or 1.0
    learned = filled * part.learned_tokens / part.tokens
    shares = {"learned": learned, "read only": filled - learned, "padding": 1 - filled}
    return shares, part.tokens


def _bar(axes: Axes, row: int, shares: Mapping[str, float]) -> None:
    left = 0.0
    for name, share in shares.items():
        label = name if row == 0 else None
        axes.barh(row, share, left=left, height=0.5, color=PARTS[name], linewidth=0, label=label)
        if share >= NARROW:
            colour = INK if name == "read only" else "#fffffe"
            axes.text(
                left + share / 2,
                row,
                f"{share:.0%}",
                ha="center",
                va="center",
                color=colour,
                fontsize=9.5,
            )
        left += share
