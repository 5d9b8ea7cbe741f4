"""Figures of a training, each from its metrics: what the model learned, how fast, and how it was
driven.

Pretraining and instruction tuning leave the same columns, so one function draws either.
"""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ...training.metrics_reader import Metrics
from ..run_record import Baseline
from ..trainings import Training
from .style import AXIS, COLOURS, figure, mark, note, thousands

__all__ = ["bits_per_byte", "gradient_norm", "learning_rate", "loss", "throughput"]

DASHED = (0, (5, 3))
NOTHING = "No numbers yet: the metrics file has no rows for this figure."


def loss(training: Training, path: str | Path) -> None:
    """Training loss (thin: as measured; thick: averaged) and held-out loss against tokens."""
    with figure(path) as drawing:
        axes = drawing.subplots()
        x, y = training.metrics.points("loss")
        val_x, val_y = training.metrics.points("val_loss")
        if not x.size and not val_x.size:
            note(axes, NOTHING)
            return
        axes.plot(x, y, color=COLOURS["faint"], linewidth=1)
        axes.plot(x, smooth(y), color=COLOURS["blue"], label="training (averaged)", **_dot(x))
        _evaluations(
            axes, val_x, val_y, COLOURS["orange"], training.held_out, training.last_takes_more
        )
        for at in training.metrics["tokens"][np.isinf(training.metrics["loss"])]:
            axes.axvline(
                at, color=COLOURS["purple"], linewidth=1, linestyle="--", label="loss was no number"
            )
        _name(axes, "Loss", training.unit)
        _finish(axes, training)
        _room_for_the_end(axes, np.concatenate([y, val_y]))


def bits_per_byte(training: Training, baseline: Baseline, path: str | Path) -> None:
    """Bits per byte of the held-out text, whole and clean, with the primed PPMd of ``baseline`` as
    level lines.
    """
    with figure(path, (5.4, 3.8)) as drawing:
        axes = drawing.subplots()
        drawn = []
        for column, key, name, colour in (
            ("val_bpb", "bpb", "all", COLOURS["blue"]),
            ("val_bpb_clean", "bpb_clean", "clean", COLOURS["green"]),
        ):
            x, y = training.metrics.points(column)
            if x.size:
                _evaluations(
                    axes, x, y, colour, f"model, {name}: {y[-1]:.3f}", training.last_takes_more
                )
                drawn.append(y)
            level = getattr(baseline.ppmd, key)
            if level is not None:
                axes.axhline(
                    level,
                    color=colour,
                    linestyle=DASHED,
                    linewidth=1.3,
                    label=f"PPMd, {name}: {level:.3f}",
                )
                drawn.append(np.array([level]))
        if not drawn:
            note(axes, NOTHING)
            return
        _name(axes, "Bits per byte of held-out text", "bits per byte")
        _finish(axes, training)
        _room_for_the_end(axes, np.concatenate(drawn), low=0.92)


def learning_rate(training: Training, path: str | Path) -> None:
    """The schedule as it was driven."""
    with figure(path) as drawing:
        axes = drawing.subplots()
        if _line(
            axes, training.metrics, "lr", "Learning rate of the matrices", "learning rate", bottom=0
        ):
            _finish(axes, training)


def gradient_norm(training: Training, path: str | Path) -> None:
    """Norm of the gradient before clipping, on a logarithmic axis when it spans more than a factor
    of 20.
    """
    with figure(path) as drawing:
        axes = drawing.subplots()
        if not _line(axes, training.metrics, "grad_norm", "Gradient norm", "norm"):
            return
        _, y = training.metrics.points("grad_norm")
        if (clip := training.clip) is not None:
            axes.axhline(
                clip,
                color=AXIS,
                linestyle=DASHED,
                linewidth=1.3,
                label=f"scaled down above {clip:g}",
            )
        if y.min() > 0 and y.max() / y.min() > 20:
            axes.set_yscale("log")
        _finish(axes, training)


def throughput(training: Training, path: str | Path) -> None:
    """Tokens a second, and the share of the processor's peak that they stand for where that is
    known.
    """
    has_mfu = training.metrics.points("mfu")[0].size > 0
    with figure(path, (5.4, 4.6 if has_mfu else 3.4)) as drawing:
        parts = drawing.subplots(2 if has_mfu else 1, 1, sharex=True, squeeze=False)[:, 0]
        if _line(
            parts[0], training.metrics, "tokens_per_second", "Speed", "tokens per second", bottom=0
        ):
            thousands(parts[0].yaxis)
        if has_mfu:
            _line(
                parts[1],
                training.metrics,
                "mfu",
                "Share of the processor's peak (MFU)",
                "share",
                bottom=0,
            )
            parts[1].yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            parts[0].set_xlabel("")
        _finish(parts[-1], training)


def smooth(y: np.ndarray, share: float = 0.04) -> np.ndarray:
    """A centred moving average [rows] over ``share`` of the rows; shorter at the ends, so nothing
    is shifted.
    """
    half = max(1, int(y.size * share / 2)) if y.size > 10 else 0
    sums = np.concatenate([[0.0], np.cumsum(y)])
    rows = np.arange(y.size)
    reach = np.minimum(
        half, np.minimum(rows, y.size - 1 - rows)
    )  # as far to the left as to the right
    return (sums[rows + reach + 1] - sums[rows - reach]) / (2 * reach + 1)


def _line(
    axes: Axes, metrics: Metrics, column: str, title: str, label: str, bottom: float | None = None
) -> bool:
    """One column as a line; false, and a note, when it has no numbers."""
    x, y = metrics.points(column)
    if not x.size:
        note(axes, NOTHING)
        return False
    axes.plot(x, y, color=COLOURS["blue"], **_dot(x))
    _name(axes, title, label)
    if bottom is not None:
        axes.set_ylim(bottom=bottom, top=float(y.max()) * 1.1 or None)
    return True


def _evaluations(
    axes: Axes, x: np.ndarray, y: np.ndarray, colour: str, label: str, last_apart: bool
) -> None:
    """Evaluations as a line with dots; ``last_apart``: the last is of more documents, so a diamond,
    joined to none.
    """
    joined = slice(None, -1 if last_apart else None)
    axes.plot(
        x[joined],
        y[joined],
        color=colour,
        marker="o",
        markersize=3.5,
        label=None if last_apart else label,
    )
    if last_apart:
        axes.plot(x[-1:], y[-1:], color=colour, marker="D", markersize=6, linestyle="", label=label)


def _dot(x: np.ndarray) -> dict[str, Any]:
    """A line of one point is invisible; a dot is not."""
    return {"marker": "o", "markersize": 4} if x.size == 1 else {}


def _name(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("training tokens")
    axes.set_ylabel(label)
    thousands(axes.xaxis)


def _finish(axes: Axes, training: Training) -> None:
    """Marks where the run was resumed (steps from its log, or rows that go back) and names the
    lines, each once.
    """
    metrics = training.metrics
    steps, tokens = metrics.points("tokens", "step")
    places = (
        [float(np.interp(step, steps, tokens)) for step in training.resumes] if steps.size else []
    )
    places = places or [float(metrics["tokens"][row]) for row in metrics.resumes]
    mark(axes, places, f"resumed ({len(places)}×)")
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        unique = dict(zip(labels, handles, strict=True))
        axes.legend(unique.values(), unique.keys())


def _room_for_the_end(axes: Axes, y: np.ndarray, low: float = 0.95) -> None:
    """Shows the part where something is decided: the first values, far above the rest, may leave
    the picture.
    """
    if y.size >= 4:
        top = float(np.quantile(y, 0.98))
        axes.set_ylim(float(y.min()) * low, max(top * 1.08, float(y[-1]) * 1.02))
