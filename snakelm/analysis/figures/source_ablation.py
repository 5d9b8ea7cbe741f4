"""The figure of source_ablation.json: what held-out text costs without each source, the most
helpful first, with its interval; and the same on the other sources' text alone.
"""

from pathlib import Path

from matplotlib.axes import Axes

from ...evaluation.records import Interval
from ...evaluation.source_ablation_record import SourceAblationRecord
from .style import AXIS, COLOURS, figure, shortened

__all__ = ["draw_source_ablation"]

VERDICTS = {"helps": "green", "hurts": "orange", "can't be told": "blue"}
APART = 0.2  # rows, between a source's two intervals


def draw_source_ablation(record: SourceAblationRecord, path: str | Path) -> None:
    """Draws ``record`` as an SVG."""
    rows = len(record.sources)
    with figure(path, (5.4, 1.5 + 0.45 * max(2, rows))) as drawing:
        axes = drawing.subplots()
        axes.axvline(0, color=AXIS, linewidth=0.8)
        for row, one in enumerate(record.sources):
            _bar(axes, row - APART / 2, one.effect, COLOURS[VERDICTS[one.verdict]], "o")
            if one.elsewhere:
                _bar(axes, row + APART, one.elsewhere, COLOURS["faint"], ".")

        axes.set_title("Without each source")
        axes.set_xlabel("bits per byte more; pale: on the others' text")
        names = [f"{shortened(one.name, 20)}: {one.verdict}" for one in record.sources]
        axes.set_yticks(range(rows), names)
        axes.set_ylim(rows - 0.5, -0.5)


def _bar(axes: Axes, row: float, interval: Interval, colour: str, marker: str) -> None:
    if interval.low is not None and interval.high is not None:
        axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=1.4)
    axes.plot([interval.value], [row], color=colour, marker=marker, linestyle="")
