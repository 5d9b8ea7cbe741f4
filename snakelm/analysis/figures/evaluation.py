"""The figure of evaluation.json: what share of each task's items is right, with intervals and what
guessing gives.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .loss import NAMES, STAGE_COLOURS
from .style import AXIS, figure, note

__all__ = ["MEASURES", "evaluation"]

MEASURES = {
    "acc": "right",
    "acc_norm": "right by length",
    "exact": "word for word",
    "loose": "but for case and points",
}


def evaluation(table: Mapping[str, Any], path: str | Path) -> None:
    """A row a task and measure, a dot a model."""
    rows = [
        (name, key, task)
        for name, task in table["tasks"].items()
        for key in MEASURES
        if key in task.get("base", {})
    ]
    with figure(path, (5.4, 1.4 + 0.42 * max(2, len(rows)))) as drawing:
        axes = drawing.subplots()
        if not rows:
            note(axes, "No task was asked.")
            return
        for place, (_, key, task) in enumerate(rows):
            _dots(axes, place, task, key)
        axes.set_title("Tasks: share of items that are right")
        axes.set_yticks(
            range(len(rows)), [f"{_short(name)}\n{MEASURES[key]}" for name, key, _ in rows]
        )
        for text in axes.get_yticklabels():
            text.set_parse_math(False)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        axes.legend(
            unique.values(), unique.keys(), loc="upper center", bbox_to_anchor=(0.4, -0.12), ncols=3
        )


def _dots(axes, place: int, task: Mapping[str, Any], key: str) -> None:
    for stage in [name for name in NAMES if name in task]:
        value, y = task[stage][key], place + (0.13 if stage == "tuned" else -0.13)
        axes.plot([value["low"], value["high"]], [y, y], color=STAGE_COLOURS[stage], linewidth=2)
        axes.plot(
            [value["value"]],
            [y],
            color=STAGE_COLOURS[stage],
            marker="o",
            linestyle="",
            label=NAMES[stage],
        )
    if "chance" in task:
        axes.plot(
            [task["chance"]] * 2,
            [place - 0.35, place + 0.35],
            color=AXIS,
            linestyle=":",
            label="guessing",
        )


def _short(text: str, most: int = 18) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
