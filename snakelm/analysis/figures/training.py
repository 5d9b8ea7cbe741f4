"""Figures of a training, each from its metrics: how well the model learned, how fast, and with what
schedule.

Pretraining and instruction tuning leave the same columns, so one function draws either.
"""

from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...evaluation.records import Rates
from ...training.metrics import Metrics
from ..trainings import Training
from .style import AXIS, COLOURS, figure, mark, note, percent, thousands

__all__ = [
    "bits_per_byte",
    "evaluations",
    "gradient_norm",
    "learning_rate",
    "loss",
    "smooth",
    "throughput",
    "visible_point",
]

DASHED = (0, (5, 3))
NO_DATA = "No data yet: the metrics file has no rows for this figure."
LOGARITHMIC_FROM = 20  # a gradient norm that varies by a larger factor gets a logarithmic axis


class PointStyle(TypedDict):
    """Arguments of `Axes.plot` for a marker."""

    marker: NotRequired[str]
    markersize: NotRequired[float]


def loss(training: Training, path: str | Path) -> None:
    """Training loss (thin: as measured; thick: averaged) and held-out loss against tokens."""
    with figure(path) as drawing:
        axes = drawing.subplots()
        x, y = training.metrics.points("loss")
        val_x, val_y = training.metrics.points("val_loss")
        if not x.size and not val_x.size:
            note(axes, NO_DATA)
            return

        axes.plot(x, y, color=COLOURS["faint"], linewidth=1)
        name = "training (averaged)"
        axes.plot(x, smooth(y), color=COLOURS["blue"], label=name, **visible_point(x))
        evaluations(axes, val_x, val_y, COLOURS["orange"], training.held_out, training)

        # The reader of the metrics gives inf for a loss that was written as nan or inf.
        for tokens in training.metrics["tokens"][np.isinf(training.metrics["loss"])]:
            axes.axvline(
                tokens,
                color=COLOURS["purple"],
                linewidth=1,
                linestyle="--",
                label="loss NaN or infinite",
            )

        _label(axes, "Loss", training.unit)
        _finish(axes, training)
        _cut_off_start(axes, np.concatenate([y, val_y]))


def bits_per_byte(training: Training, ppmd: Rates | None, path: str | Path) -> None:
    """Bits per byte of the held-out text, all of it and the clean part, with the primed PPMd as
    horizontal lines.
    """
    with figure(path, (5.4, 4.2)) as drawing:
        axes = drawing.subplots()
        drawn: list[np.ndarray] = []
        for part, column, level, colour in (
            ("all", "val_bpb", ppmd.bpb if ppmd else None, COLOURS["blue"]),
            ("clean", "val_bpb_clean", ppmd.bpb_clean if ppmd else None, COLOURS["green"]),
        ):
            x, y = training.metrics.points(column)
            if x.size:
                evaluations(axes, x, y, colour, f"model, {part}: {y[-1]:.3f}", training)
                drawn.append(y)
            if level is not None:
                name = f"PPMd, {part}: {level:.3f}"
                axes.axhline(level, color=colour, linestyle=DASHED, linewidth=1.3, label=name)
                drawn.append(np.array([level]))
        if not drawn:
            note(axes, NO_DATA)
            return

        _label(axes, "Bits per byte of held-out text", "bits per byte")
        _finish(axes, training, below=drawing)
        _cut_off_start(axes, np.concatenate(drawn), low=0.92)


def learning_rate(training: Training, path: str | Path) -> None:
    """The learning rate of each step."""
    with figure(path) as drawing:
        axes = drawing.subplots()
        title = "Learning rate of the matrices"
        if _line(axes, training.metrics, "lr", title, "learning rate", from_zero=True):
            _finish(axes, training)


def gradient_norm(training: Training, path: str | Path) -> None:
    """Norm of the gradient before clipping, on a logarithmic axis where it varies much."""
    with figure(path) as drawing:
        axes = drawing.subplots()
        if not _line(axes, training.metrics, "grad_norm", "Gradient norm", "norm"):
            return

        if (clip := training.clip) is not None:
            name = f"clipped above {clip:g}"
            axes.axhline(clip, color=AXIS, linestyle=DASHED, linewidth=1.3, label=name)
        _, y = training.metrics.points("grad_norm")
        if y.min() > 0 and y.max() / y.min() > LOGARITHMIC_FROM:
            axes.set_yscale("log")
        _finish(axes, training)


def throughput(training: Training, path: str | Path) -> None:
    """Tokens per second and, where the processor's peak is known, the share of it that they take
    (model FLOPs utilisation).
    """
    metrics = training.metrics
    has_mfu = metrics.points("mfu")[0].size > 0
    with figure(path, (5.4, 4.6 if has_mfu else 3.4)) as drawing:
        panels = drawing.subplots(2 if has_mfu else 1, 1, sharex=True, squeeze=False)[:, 0]
        if _line(
            panels[0], metrics, "tokens_per_second", "Speed", "tokens per second", from_zero=True
        ):
            thousands(panels[0].yaxis)

        if has_mfu:
            title = "Share of the processor's peak (MFU)"
            _line(panels[1], metrics, "mfu", title, "share", from_zero=True)
            percent(panels[1].yaxis)
            panels[0].set_xlabel("")
        _finish(panels[-1], training)


def smooth(y: np.ndarray, share: float = 0.04) -> np.ndarray:
    """A centred moving average of ``y`` [rows] over ``share`` of the rows. Towards either end the
    window shrinks on both sides alike, so that nothing is shifted.
    """
    half = max(1, int(y.size * share / 2)) if y.size > 10 else 0
    sums = np.concatenate([[0.0], np.cumsum(y)])
    rows = np.arange(y.size)
    reach = np.minimum(half, np.minimum(rows, y.size - 1 - rows))
    return (sums[rows + reach + 1] - sums[rows - reach]) / (2 * reach + 1)


def visible_point(x: np.ndarray) -> PointStyle:
    """A line through one point is invisible: it gets a dot."""
    return {"marker": "o", "markersize": 4} if x.size == 1 else {}


def _line(
    axes: Axes, metrics: Metrics, column: str, title: str, label: str, from_zero: bool = False
) -> bool:
    """One column as a line; a note, and False, when it has no data."""
    x, y = metrics.points(column)
    if not x.size:
        note(axes, NO_DATA)
        return False

    axes.plot(x, y, color=COLOURS["blue"], **visible_point(x))
    _label(axes, title, label)
    if from_zero:
        axes.set_ylim(bottom=0, top=float(y.max()) * 1.1 or None)
    return True


def evaluations(
    axes: Axes, x: np.ndarray, y: np.ndarray, colour: str, label: str, training: Training
) -> None:
    """Evaluations as a line with dots. A last one of more documents than those before it, and one
    before the first step, are diamonds on their own: a line to them would show a step that is none.
    """
    apart = training.last_takes_more
    first = training.first_takes_more and x.size > 0 and x[0] == 0
    joined = slice(1 if first else None, -1 if apart else None)
    axes.plot(
        x[joined],
        y[joined],
        color=colour,
        marker="o",
        markersize=3.5,
        label=None if apart else label,
    )

    if first:
        axes.plot(x[:1], y[:1], color=colour, marker="D", markersize=6, linestyle="")
    if apart:
        axes.plot(x[-1:], y[-1:], color=colour, marker="D", markersize=6, linestyle="", label=label)


def _label(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("training tokens")
    axes.set_ylabel(label)
    thousands(axes.xaxis)


def _finish(axes: Axes, training: Training, below: Figure | None = None) -> None:
    """Marks where the run was resumed (steps from its log, or rows that go back) and adds the
    legend, each name once: inside the axes, or under them in the figure ``below``.
    """
    metrics = training.metrics
    steps, tokens = metrics.points("tokens", "step")
    resumed_at: list[float] = []
    if steps.size:
        resumed_at = [float(np.interp(step, steps, tokens)) for step in training.resumes]
    if not resumed_at:
        resumed_at = [float(metrics["tokens"][row]) for row in metrics.resumes]
    mark(axes, resumed_at, f"resumed ({len(resumed_at)}×)")

    handles, labels = axes.get_legend_handles_labels()
    by_name = dict(zip(labels, handles, strict=True))
    if not by_name:
        return
    if below is not None:
        below.legend(by_name.values(), by_name.keys(), loc="outside lower center", ncols=2)
    else:
        axes.legend(by_name.values(), by_name.keys())


def _cut_off_start(axes: Axes, y: np.ndarray, low: float = 0.95) -> None:
    """Leaves room for the part where runs differ: the first values, far above the rest, may be cut
    off.
    """
    if y.size >= 4:
        top = float(np.quantile(y, 0.98))
        axes.set_ylim(float(y.min()) * low, max(top * 1.08, float(y[-1]) * 1.02))
