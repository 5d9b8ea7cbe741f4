"""Several runs over each other: a panel for each column of their metrics, a line for each run, one
axis of tokens.

This run is blue and thick. Training loss and gradient norm are averaged; a panel for which no run
has numbers is left out. What was measured on other held-out text, or counts other tokens, is not
drawn beside ours; a line below says so.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.typing import LineStyleType

from ..trainings import Training
from .style import COLOURS, figure, literal, note, percent, shortened, thousands
from .training import smooth, visible_point

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
FROM_ZERO = ("lr", "tokens_per_second", "mfu")
PANEL_HEIGHT = 1.75  # inches

# Three colours in three styles: nine runs beside this one.
OTHER_COLOURS = ("orange", "green", "purple")
OTHER_STYLES: tuple[LineStyleType, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)))


def compare(trainings: Sequence[Training], path: str | Path) -> None:
    """Draws ``trainings``, the first of which is this run's."""
    columns = [
        name
        for name in PANELS
        if any(t.metrics.points(name)[0].size for t in trainings if name not in t.apart)
    ]
    with figure(path, (5.4, 0.9 + PANEL_HEIGHT * max(1, len(columns)))) as drawing:
        panels = drawing.subplots(max(1, len(columns)), 1, sharex=True, squeeze=False)[:, 0]
        if not columns:
            note(panels[0], "No data yet: no run has a row of metrics.")
            return

        for axes, column in zip(panels, columns, strict=True):
            _panel(axes, column, trainings)
        label = panels[-1].set_xlabel(
            "\n".join(["training tokens", *_left_out(trainings, columns)])
        )
        label.set_parse_math(False)  # a run may be called $x$
        thousands(panels[-1].xaxis)

        named = {
            name: line
            for axes in panels
            for line, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        names = [training.name for training in trainings if training.name in named]
        across = 1 if max(map(len, names)) > 20 else 2
        lines = [named[name] for name in names]
        literal(drawing.legend(lines, names, loc="outside upper left", ncols=across))


def _left_out(trainings: Sequence[Training], columns: Sequence[str]) -> Iterator[str]:
    """A line for each reason: the runs that some panels leave out."""
    apart = [
        (why, training.name)
        for training in trainings
        for column, why in training.apart.items()
        if column in columns
    ]
    for why in sorted({why for why, _ in apart}):
        names = dict.fromkeys(name for reason, name in apart if reason == why)
        yield f"not drawn where it doesn't compare ({why}): {shortened(', '.join(names), 40)}"


def _panel(axes: Axes, column: str, trainings: Sequence[Training]) -> None:
    values = []
    for i, training in reversed(list(enumerate(trainings))):  # this run is drawn last: on top
        x, y = training.metrics.points(column)
        if column in training.apart:
            continue
        y = smooth(y) if column in AVERAGED else y
        values.append(y)

        colour, style, width = COLOURS["blue"], OTHER_STYLES[0], 2.2
        if i > 0:
            nth_style, nth_colour = divmod(i - 1, len(OTHER_COLOURS))
            colour = COLOURS[OTHER_COLOURS[nth_colour]]
            style, width = OTHER_STYLES[nth_style % len(OTHER_STYLES)], 1.3
        axes.plot(
            x,
            y,
            color=colour,
            linestyle=style,
            linewidth=width,
            label=training.name,
            **visible_point(x),
        )

    axes.set_title(PANELS[column])
    _set_limits(axes, column, np.concatenate(values))


def _set_limits(axes: Axes, column: str, y: np.ndarray) -> None:
    """Shows the part where runs differ: the first losses, far above the rest, may be cut off; rates
    begin at zero.
    """
    if column in FROM_ZERO:
        axes.set_ylim(0, float(y.max()) * 1.1 or 1)
    elif y.size >= 4:
        low = float(y.min())
        axes.set_ylim(low * 0.97, max(float(np.quantile(y, 0.96)) * 1.05, low * 1.03))

    if column == "tokens_per_second":
        thousands(axes.yaxis)
    elif column == "mfu":
        percent(axes.yaxis)
