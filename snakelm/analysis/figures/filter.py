"""The filter's figure: precision and recall over the threshold, on the labelled texts that it was
not trained on.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...filter.records import FilterRecord
from .style import AXIS, COLOURS, figure, note

__all__ = ["filter_threshold"]

KIND_NAMES = {"setfit": "SetFit", "static": "static"}
KIND_LINES = {"setfit": "-", "static": ":"}


def filter_threshold(record: FilterRecord, path: str | Path) -> None:
    """A share of nothing (precision where nothing is kept) leaves a gap in its line."""
    with figure(path) as drawing:
        axes = drawing.subplots()
        if not any(record.curve.values()):
            note(axes, "No labelled texts were held out.")
            return

        for kind, name in KIND_NAMES.items():
            curve, line = record.curve.get(kind, []), KIND_LINES[kind]
            thresholds = [point.threshold for point in curve]
            for shares, what, colour in (
                (_shares([point.precision for point in curve]), "precision", "blue"),
                (_shares([point.recall for point in curve]), "recall", "orange"),
            ):
                label = f"{what}, {name}"
                axes.plot(thresholds, shares, color=COLOURS[colour], linestyle=line, label=label)

        label = f"threshold {record.threshold:g}"
        axes.axvline(record.threshold, color=AXIS, linewidth=1, label=label)
        axes.axvspan(
            *record.band,
            color=COLOURS["faint"],
            alpha=0.35,
            linewidth=0,
            label="in doubt: SetFit decides",
        )

        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.03)
        axes.set_title(f"The filter on {record.held_out['setfit'].texts} held-out labelled texts")
        axes.set_xlabel("score from which a text is kept")
        axes.set_ylabel("share")
        axes.legend(loc="lower left")


def _shares(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], np.float64)
