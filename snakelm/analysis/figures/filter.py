"""The filter's figure: precision and recall over the threshold, on the labelled texts that only
measured.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .style import AXIS, COLOURS, figure, note

__all__ = ["filter_threshold"]

LINES = {("setfit", "precision"): ("blue", "-"), ("setfit", "recall"): ("orange", "-")}
LINES |= {("static", "precision"): ("blue", ":"), ("static", "recall"): ("orange", ":")}
NAMES = {"setfit": "SetFit", "static": "static"}


def filter_threshold(table: Mapping[str, Any], path: str | Path) -> None:
    """Draws what setfit_train measured; a share of nothing (precision where nothing is kept) leaves
    a gap.
    """
    with figure(path) as drawing:
        axes = drawing.subplots()
        curves = table.get("curve") or {}
        if not any(curves.values()):
            note(axes, "No labelled texts were held out.")
            return
        for (kind, what), (colour, style) in LINES.items():
            x, y = _line(curves.get(kind) or [], what)
            axes.plot(x, y, color=COLOURS[colour], linestyle=style, label=f"{what}, {NAMES[kind]}")
        axes.axvline(
            table["threshold"], color=AXIS, linewidth=1, label=f"threshold {table['threshold']:g}"
        )
        low, high = table["band"]
        axes.axvspan(
            low,
            high,
            color=COLOURS["faint"],
            alpha=0.35,
            linewidth=0,
            label="in doubt: SetFit is asked",
        )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.03)
        texts = table["held_out"]["setfit"]["texts"]
        axes.set_title(f"The filter on {texts} held-out labelled texts")
        axes.set_xlabel("score from which a text is kept")
        axes.set_ylabel("share")
        axes.legend(loc="lower left")


def _line(curve: Sequence[Mapping[str, Any]], what: str) -> tuple[np.ndarray, np.ndarray]:
    x = np.array([point["threshold"] for point in curve], np.float64)
    return x, np.array(
        [np.nan if point[what] is None else point[what] for point in curve], np.float64
    )
