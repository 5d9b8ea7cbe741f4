"""Where the time went: wall-clock and CPU time of each step."""

from collections.abc import Sequence
from pathlib import Path

from ..cost import StepCost
from ..units import duration
from .style import AXIS, COLOURS, bars_only, figure, note

__all__ = ["time_by_step"]

STEP_HEIGHT = 0.34  # inches


def time_by_step(steps: Sequence[StepCost], path: str | Path) -> None:
    """A bar of wall-clock time for each of ``steps``, in the order of the workflow, and below it a
    thin one of CPU time: longer where a step used several cores.
    """
    with figure(path, (5.4, 1.1 + STEP_HEIGHT * max(4, len(steps)))) as drawing:
        axes = drawing.subplots()
        seconds = [step.seconds for step in steps]
        cpu_seconds = [step.cpu_seconds for step in steps]
        longest = max([*seconds, *cpu_seconds], default=0)
        if not longest:
            note(axes, "No step was timed: Snakemake's benchmark files are missing.")
            return

        rows = range(len(steps))
        above, below = [row - 0.12 for row in rows], [row + 0.22 for row in rows]
        axes.barh(above, seconds, height=0.42, color=COLOURS["blue"], label="time")
        axes.barh(below, cpu_seconds, height=0.18, color=COLOURS["faint"], label="CPU time")
        for row, step in enumerate(steps):
            end = max(step.seconds, step.cpu_seconds) + longest * 0.012
            text = duration(step.seconds) or ""
            axes.text(end, row, text, va="center", color=AXIS, fontsize=9)

        axes.set_title("Time of each step")
        bars_only(axes, [step.step for step in steps])
        axes.set_ylim(len(steps) - 0.4, -0.6)
        axes.set_xlim(0, longest * 1.22)
        axes.legend(loc="lower right")
