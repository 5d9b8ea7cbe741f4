"""The figure of learning from preferences: rewards of both sides, and how often they are in
order.
"""

from pathlib import Path

from matplotlib.axes import Axes

from ..trainings import Training
from .style import COLOURS, figure, note, percent, thousands
from .training import NO_DATA, evaluations, visible_point

__all__ = ["rewards"]

SIDES = (("chosen", COLOURS["green"]), ("rejected", COLOURS["orange"]))
DASHED = (0, (5, 3))


def rewards(training: Training, path: str | Path) -> None:
    """Above, mean rewards of chosen and rejected answers, held out (dots) and in training (dashed);
    below, the share that is in order.
    """
    with figure(path, (5.4, 5.6)) as drawing:
        above, below = drawing.subplots(2, 1, sharex=True)
        for side, colour in SIDES:
            name = f"{side}, held out"
            _line(above, training, f"val_rewards_{side}", colour, name)
            _line(above, training, f"rewards_{side}", colour, f"{side}, training", dashed=True)
        above.set_title("Rewards")
        above.set_ylabel("nats × beta")

        for column, colour, name, dashed in (
            ("val_rewards_accuracies", COLOURS["blue"], "in order by reward, held out", False),
            ("rewards_accuracies", COLOURS["blue"], "likewise, training", True),
            ("val_logps_accuracies", COLOURS["purple"], "chosen is likelier, held out", False),
        ):
            _line(below, training, column, colour, name, dashed)
        below.set_title("Answers in order")
        below.set_ylabel("share")
        below.set_xlabel("training tokens")
        below.set_ylim(0, 1)
        percent(below.yaxis)
        thousands(below.xaxis)

        for axes in (above, below):
            if axes.lines:
                axes.legend()
            else:
                note(axes, NO_DATA)


def _line(
    axes: Axes,
    training: Training,
    column: str,
    colour: str,
    name: str,
    dashed: bool = False,
) -> None:
    """A column of the metrics; held out unless ``dashed``."""
    x, y = training.metrics.points(column)
    if x.size and not dashed:
        evaluations(axes, x, y, colour, name, training)
    elif x.size:
        marker = visible_point(x).get("marker", "")
        axes.plot(x, y, color=colour, label=name, linestyle=DASHED, marker=marker, markersize=3.5)
