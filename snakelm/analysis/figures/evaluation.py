"""The figure of evaluation.json: what share of each task's items is right, with intervals and what
guessing gives.
"""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes

from ...evaluation.records import STAGES, EvaluationRecord, Stage, TaskResult
from .loss import STAGE_COLOURS, stage_names
from .style import AXIS, figure, note, shortened

__all__ = ["MEASURE_NAMES", "evaluation"]

MEASURE_NAMES = {
    "acc": "right",
    "acc_norm": "right by length",
    "exact": "word for word",
    "loose": "but for case and punctuation",
}


def evaluation(record: EvaluationRecord, path: str | Path) -> None:
    """A row for each task and measure, a dot for each model."""
    rows = [
        (name, measure, task)
        for name, task in record.results().items()
        for measure in task.base.scores()
    ]
    with figure(path, (5.4, 1.4 + 0.42 * max(2, len(rows)))) as drawing:
        axes = drawing.subplots()
        if not rows:
            note(axes, "This run has no tasks.")
            return

        for row, (_, measure, task) in enumerate(rows):
            _dots(axes, row, task, measure, stage_names(record))

        axes.set_title("Tasks: share of items that are right")
        names = [f"{shortened(name, 18)}\n{MEASURE_NAMES[measure]}" for name, measure, _ in rows]
        axes.set_yticks(range(len(rows)), names)
        for label in axes.get_yticklabels():
            label.set_parse_math(False)  # a task may be called $x$
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")

        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        axes.legend(
            unique.values(), unique.keys(), loc="upper center", bbox_to_anchor=(0.4, -0.12), ncols=3
        )


def _dots(axes: Axes, row: int, task: TaskResult, measure: str, names: Mapping[Stage, str]) -> None:
    for stage in STAGES:
        model = task.of(stage)
        if model is None:
            continue
        score, y = model.scores()[measure], row + (0.13 if stage == "tuned" else -0.13)
        colour = STAGE_COLOURS[stage]
        if score.low is not None and score.high is not None:
            axes.plot([score.low, score.high], [y, y], color=colour, linewidth=2)
        axes.plot([score.value], [y], color=colour, marker="o", linestyle="", label=names[stage])

    if task.chance is not None:
        ends = [row - 0.35, row + 0.35]
        axes.plot([task.chance] * 2, ends, color=AXIS, linestyle=":", label="guessing")
