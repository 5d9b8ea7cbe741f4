"""Several runs over each other: a panel for each column of their metrics, a colour for each run,
one axis of tokens.

This run is blue and thick. Held-out numbers are compared where there are any, training loss
averaged; panels for which no run has numbers are left out.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from ..trainings import Training
from .style import COLOURS, figure, note, thousands
from .training import smooth

__all__ = ["compare"]

PANELS = {
    "val_bpb_clean": "Bits per byte, clean held-out text",
    "val_bpb": "Bits per byte, all held-out text",
    "val_loss": "Held-out loss",
    "loss": "Training loss, averaged",
    "lr": "Learning rate",
    "grad_norm": "Gradient norm, averaged",
    "tokens_per_second": "Tokens per second",
    "mfu": "Share of the processor's peak (MFU)",
}
AVERAGED = ("loss", "grad_norm")
HEIGHT = 1.75  # inches a panel
OTHERS = ("orange", "green", "purple")
STYLES = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.5)),
)  # three colours in three styles: nine runs beside this one


def compare(trainings: Sequence[Training], path: str | Path) -> None:
    """Draws ``trainings``, the first of which is this run's."""
    panels = [name for name in PANELS if any(t.metrics.points(name)[0].size for t in trainings)]
    with figure(path, (5.4, 0.9 + HEIGHT * max(1, len(panels)))) as drawing:
        parts = drawing.subplots(max(1, len(panels)), 1, sharex=True, squeeze=False)[:, 0]
        if not panels:
            note(parts[0], "No numbers yet: no run has a row of metrics.")
            return
        for axes, name in zip(parts, panels, strict=True):
            _panel(axes, name, trainings)
        parts[-1].set_xlabel("training tokens")
        thousands(parts[-1].xaxis)
        lines, names = parts[0].get_legend_handles_labels()
        columns = 1 if max(map(len, names)) > 20 else 2
        legend = drawing.legend(lines[::-1], names[::-1], loc="outside upper left", ncols=columns)
        for text in legend.get_texts():
            text.set_parse_math(False)


def _panel(axes: Axes, name: str, trainings: Sequence[Training]) -> None:
    shown = []
    for i, training in reversed(list(enumerate(trainings))):  # this run is drawn last: on top
        x, y = training.metrics.points(name)
        y = smooth(y) if name in AVERAGED else y
        colour = COLOURS["blue"] if i == 0 else COLOURS[OTHERS[(i - 1) % 3]]
        style = "-" if i == 0 else STYLES[(i - 1) // 3 % 3]
        point = {"marker": "o", "markersize": 3.5} if x.size == 1 else {}
        axes.plot(
            x,
            y,
            color=colour,
            linestyle=style,
            linewidth=2.2 if i == 0 else 1.3,
            label=training.name,
            **point,
        )
        shown.append(y)
    axes.set_title(PANELS[name])
    _room(axes, name, np.concatenate(shown))


def _room(axes: Axes, name: str, y: np.ndarray) -> None:
    """Where something is decided: the first, far higher losses may leave the picture; rates begin
    at zero.
    """
    if name in ("lr", "tokens_per_second", "mfu"):
        axes.set_ylim(0, float(y.max()) * 1.1 or 1)
    elif y.size >= 4:
        axes.set_ylim(
            float(y.min()) * 0.97, max(float(np.quantile(y, 0.96)) * 1.05, float(y.min()) * 1.03)
        )
    if name == "tokens_per_second":
        thousands(axes.yaxis)
    if name == "mfu":
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
