"""Where the time went: the clock and the processor, step by step."""

from collections.abc import Sequence
from pathlib import Path

from ..cost import StepCost
from ..units import duration
from .style import AXIS, COLOURS, figure, note

__all__ = ["time_by_step"]

ROW = 0.34  # inches of height a step takes


def time_by_step(steps: Sequence[StepCost], path: str | Path) -> None:
    """A bar of clock time and a thin one of CPU time for each of ``steps``, in the order of the
    workflow.
    """
    with figure(path, (5.4, 1.1 + ROW * max(4, len(steps)))) as drawing:
        axes = drawing.subplots()
        most = max((max(s.seconds, s.cpu_seconds) for s in steps), default=0)
        if not most:
            note(axes, "No step was timed: Snakemake's benchmark files are missing.")
            return
        rows = range(len(steps))
        axes.barh(
            [r - 0.12 for r in rows],
            [s.seconds for s in steps],
            height=0.42,
            color=COLOURS["blue"],
            label="time",
        )
        axes.barh(
            [r + 0.22 for r in rows],
            [s.cpu_seconds for s in steps],
            height=0.18,
            color=COLOURS["faint"],
            label="CPU time",
        )
        for row, step in enumerate(steps):
            longest = max(step.seconds, step.cpu_seconds)
            axes.text(
                longest + most * 0.012,
                row,
                duration(step.seconds) or "",
                va="center",
                color=AXIS,
                fontsize=9,
            )
        axes.set_title("Time of each step")
        axes.set_yticks(list(rows), [s.step for s in steps])
        axes.set_ylim(len(steps) - 0.4, -0.6)
        axes.set_xlim(0, most * 1.22)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_visible(False)
        axes.grid(False)
        axes.spines[["bottom", "left"]].set_visible(False)
        axes.legend(loc="lower right")
