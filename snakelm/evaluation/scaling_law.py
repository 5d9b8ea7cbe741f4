"""The law of a run's own curves, from its metrics: of the held-out text, and of the training loss
where that is fair.

A run has few evaluations and many training losses. As long as no text comes a second time, the loss
on the next batch is the loss on text never seen, and so as good a curve as the other; beyond one
epoch it isn't, and is cut there.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ..training.metrics import Metrics, read_metrics
from .power_law import NoLaw, fit

__all__ = ["laws"]


def laws(
    metrics_file: str | Path, warmup_tokens: int, last_apart: bool, seed: int
) -> dict[str, Any]:
    """`held_out` (bits per byte) and `training` (nats per token): each the fit with its points, or
    `none` and why.

    ``warmup_tokens``: what comes before is left out. ``last_apart``: the last evaluation took other
    documents.
    """
    metrics = read_metrics(metrics_file)
    x, y = metrics.points("val_bpb")
    if last_apart and x.size:
        x, y = x[:-1], y[:-1]
    found = {"held_out": _law(x, y, warmup_tokens, seed)}
    x, y = metrics.points("loss")
    fresh = x <= _first_epoch(metrics)
    return {**found, "training": _law(x[fresh], y[fresh], warmup_tokens, seed)}


def _law(tokens: np.ndarray, losses: np.ndarray, warmup_tokens: int, seed: int) -> dict[str, Any]:
    tokens, first = np.unique(tokens, return_index=True)
    after = tokens > warmup_tokens
    tokens, losses = tokens[after], losses[first][after]
    told = {"points": int(tokens.size)}
    try:
        law = fit(tokens, losses, seed)
    except NoLaw as why:
        return {**told, "none": str(why)}
    ahead = tokens[-1] * np.array([1.0, 2.0, 10.0])
    low, high = law.band(ahead)
    curve = np.geomspace(tokens[0], ahead[-1], 60)
    band = law.band(curve)
    return {
        **told,
        **law.as_dict(),
        "first_tokens": float(tokens[0]),
        "last_tokens": float(tokens[-1]),
        "ahead": [
            {"tokens": t, "value": v, "low": lo, "high": hi}
            for t, v, lo, hi in zip(
                ahead.tolist(), law.at(ahead).tolist(), low.tolist(), high.tolist(), strict=True
            )
        ],
        "measured": {"tokens": tokens.tolist(), "loss": losses.tolist()},
        "curve": {
            "tokens": curve.tolist(),
            "loss": law.at(curve).tolist(),
            "low": band[0].tolist(),
            "high": band[1].tolist(),
        },
    }


def _first_epoch(metrics: Metrics) -> float:
    """Tokens of the first epoch; without an end when the metrics don't tell."""
    x, epoch = metrics.points("epoch")
    whole = x[epoch > 0] / epoch[epoch > 0]
    return float(whole[-1]) if whole.size else float("inf")
