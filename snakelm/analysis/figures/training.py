"""Figures of the training run, each from the metrics file: what the model learned, how fast, and how it was driven."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..metrics import Metrics
from .style import AXIS, COLOURS, figure, mark, note, thousands

__all__ = ["bits_per_byte", "gradient_norm", "learning_rate", "loss", "throughput"]

NOTHING = "No numbers yet: the metrics file has no rows for this figure."


def loss(metrics: Metrics, path: str | Path) -> None:
    """Training loss (thin: as measured; thick: averaged) and validation loss against tokens."""
    with figure(path) as drawing:
        axes = drawing.subplots()
        x, y = metrics.points("loss")
        val_x, val_y = metrics.points("val_loss")
        if not x.size and not val_x.size:
            note(axes, NOTHING)
            return
        axes.plot(x, y, color=COLOURS["faint"], linewidth=1, **_dot(x))
        axes.plot(x, smooth(y), color=COLOURS["blue"], label="training (averaged)")
        axes.plot(val_x, val_y, color=COLOURS["orange"], marker="o", markersize=3.5, label="held-out text")
        for at in metrics["tokens"][np.isinf(metrics["loss"])]:
            axes.axvline(at, color=COLOURS["purple"], linewidth=1, linestyle="--", label="loss was not a number")
        _over_tokens(axes, metrics, "Loss", "nats per token")
        _room_for_the_end(axes, np.concatenate([y, val_y]))


def bits_per_byte(metrics: Metrics, baseline: Mapping[str, Any], path: str | Path) -> None:
    """Bits per byte of the held-out text, whole and clean, with primed PPMd as level lines."""
    with figure(path) as drawing:
        axes = drawing.subplots()
        drawn = []
        for column, key, name, colour in (
            ("val_bpb", "bpb", "all documents", COLOURS["blue"]),
            ("val_bpb_clean", "bpb_clean", "clean documents", COLOURS["green"]),
        ):
            x, y = metrics.points(column)
            if x.size:
                axes.plot(x, y, color=colour, marker="o", markersize=3.5, label=f"model, {name}: {y[-1]:.3f}")
                drawn.append(y)
            level = (baseline.get("ppmd") or {}).get(key)
            if isinstance(level, int | float):
                axes.axhline(level, color=colour, linestyle=(0, (5, 3)), linewidth=1.3)
                axes.plot([], [], color=colour, linestyle=(0, (5, 3)), label=f"primed PPMd, {name}: {level:.3f}")
                drawn.append(np.array([level]))
        if not drawn:
            note(axes, NOTHING)
            return
        _over_tokens(axes, metrics, "Bits per byte of text never seen", "bits per byte")
        _room_for_the_end(axes, np.concatenate(drawn), low=0.92)


def learning_rate(metrics: Metrics, path: str | Path) -> None:
    """The schedule as it was driven."""
    with figure(path) as drawing:
        _line(drawing.subplots(), metrics, "lr", "Learning rate of the matrices", "learning rate", bottom=0)


def gradient_norm(metrics: Metrics, clip: float | None, path: str | Path) -> None:
    """Norm of the gradient before clipping, on a logarithmic axis when it spans more than a factor of 20."""
    with figure(path) as drawing:
        axes = drawing.subplots()
        _, y = metrics.points("grad_norm")
        if clip is not None and y.size:
            axes.axhline(clip, color=AXIS, linestyle=(0, (5, 3)), linewidth=1.3, label=f"clipped above {clip:g}")
        if y.size and y.min() > 0 and y.max() / y.min() > 20:
            axes.set_yscale("log")
        _line(axes, metrics, "grad_norm", "Gradient norm", "norm")


def throughput(metrics: Metrics, path: str | Path) -> None:
    """Tokens a second, and the share of the processor's peak that they stand for where that is known."""
    has_mfu = metrics.points("mfu")[0].size > 0
    with figure(path, (5.4, 4.4 if has_mfu else 3.4)) as drawing:
        parts = drawing.subplots(2 if has_mfu else 1, 1, sharex=True, squeeze=False)[:, 0]
        _line(parts[0], metrics, "tokens_per_second", "Speed", "tokens per second", bottom=0)
        thousands(parts[0].yaxis)
        if has_mfu:
            _line(parts[1], metrics, "mfu", "Model FLOPs utilisation", "share of peak", bottom=0)
            parts[1].yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            parts[0].set_xlabel("")


def smooth(y: np.ndarray, share: float = 0.04) -> np.ndarray:
    """A centred moving average [rows] over ``share`` of the rows; shorter at the ends, so nothing is shifted."""
    half = max(1, int(y.size * share / 2)) if y.size > 10 else 0
    sums = np.concatenate([[0.0], np.cumsum(y)])
    rows = np.arange(y.size)
    reach = np.minimum(half, np.minimum(rows, y.size - 1 - rows))  # as far to the left as to the right
    return (sums[rows + reach + 1] - sums[rows - reach]) / (2 * reach + 1)


def _line(axes: Axes, metrics: Metrics, column: str, title: str, label: str, bottom: float | None = None) -> None:
    x, y = metrics.points(column)
    if not x.size:
        note(axes, NOTHING)
        return
    axes.plot(x, y, color=COLOURS["blue"], **_dot(x))
    _over_tokens(axes, metrics, title, label)
    if bottom is not None:
        axes.set_ylim(bottom=bottom)


def _dot(x: np.ndarray) -> dict[str, Any]:
    """A line of one point is invisible; a dot is not."""
    return {"marker": "o", "markersize": 4} if x.size == 1 else {}


def _over_tokens(axes: Axes, metrics: Metrics, title: str, label: str) -> None:
    """Title, axis labels, resumes and legend, as all of these figures have them."""
    axes.set_title(title)
    axes.set_xlabel("training tokens")
    axes.set_ylabel(label)
    thousands(axes.xaxis)
    mark(axes, [float(metrics["tokens"][i]) for i in metrics.resumes], f"resumed ({len(metrics.resumes)}×)")
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        unique = dict(zip(labels, handles, strict=True))
        axes.legend(unique.values(), unique.keys())


def _room_for_the_end(axes: Axes, y: np.ndarray, low: float = 0.95) -> None:
    """Shows the part where something is decided: the first values, far above the rest, may leave the picture."""
    if y.size >= 4:
        top = float(np.quantile(y, 0.98))
        axes.set_ylim(float(y.min()) * low, max(top * 1.08, float(y[-1]) * 1.02))
