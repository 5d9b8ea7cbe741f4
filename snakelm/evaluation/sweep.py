"""What a sweep says: the mean of each setting over its seeds, and how far it is from the best.

A difference between two trainings may be chance: another seed of the same setting ends elsewhere.
So a setting's mean has the 95% interval of Student's t over its seeds, and its distance to the best
setting that of the differences seed by seed where both have the same seeds (a paired t interval:
the order of the text, which a seed decides, is common to both). With one seed there is none.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ..errors import UserError
from ..training.metrics import PRETRAINING, read_metrics
from ..workflow.manifest import read_manifest
from .intervals import CONFIDENCE
from .records import Interval
from .sweep_record import Setting, SweepPoint, SweepRecord, Value

__all__ = ["measure_sweep", "paired_difference", "student"]

SEED = "train.seed"


def measure_sweep(keys: Sequence[str], models: Sequence[Path]) -> SweepRecord:
    """The record of a sweep over ``keys`` from the manifests of its ``models``, each
    `sweep/<point>/final_model.pt`.
    """
    keys = sorted(keys, key=lambda key: key == SEED)
    points = [_point(keys, model) for model in models]
    measure = "val_bpb" if any(p.val_bpb_clean is None for p in points) else "val_bpb_clean"

    groups: dict[tuple[Value, ...], list[SweepPoint]] = {}
    for point in points:
        groups.setdefault(tuple(point.values[k] for k in keys if k != SEED), []).append(point)
    scores = [
        {point.values.get(SEED): float(getattr(point, measure)) for point in group}
        for group in groups.values()
    ]
    best = min(range(len(scores)), key=lambda i: float(np.mean(list(scores[i].values()))))

    settings = [
        Setting(
            values={key: value for key, value in group[0].values.items() if key != SEED},
            runs=[point.name for point in group],
            mean=student(list(scores[i].values())),
            above_best=None if i == best else paired_difference(scores[i], scores[best]),
        )
        for i, group in enumerate(groups.values())
    ]
    return SweepRecord(keys=keys, measure=measure, points=points, settings=settings, best=best)


def student(values: Sequence[float]) -> Interval:
    """The mean with Student's t interval; of one value only the value is known."""
    numbers = np.asarray(values, np.float64)
    mean, n = float(numbers.mean()), numbers.size
    if n < 2:
        return Interval(mean, None, None)

    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1) * numbers.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half)


def paired_difference(a: Mapping[Value, float], b: Mapping[Value, float]) -> Interval:
    """``a`` − ``b``, values by seed, over the seeds that both have."""
    return student([a[seed] - b[seed] for seed in a if seed in b])


def _point(keys: Sequence[str], model: Path) -> SweepPoint:
    manifest = read_manifest(model)
    result, folder = manifest["counts"]["result"], model.parent
    metrics = read_metrics(folder / "logs" / PRETRAINING.csv)
    tokens, seconds = metrics.last("tokens"), metrics.last("seconds")
    if result.get("val_bpb") is None or tokens is None or seconds is None:
        raise UserError(f"{model}: its manifest has no bits per byte; train it again")

    return SweepPoint(
        name=_name(folder),
        values={key: _value(manifest["config"], key, folder) for key in keys},
        val_bpb=result["val_bpb"],
        val_bpb_clean=result.get("val_bpb_clean"),
        val_loss=result["val_loss"],
        parameters=result["parameters"],
        tokens=int(tokens),
        seconds=seconds,
        regime=result["regime"]["name"] if "regime" in result else None,
    )


def _name(folder: Path) -> str:
    """What stands behind `sweep/`."""
    parts = folder.parts
    return "/".join(parts[len(parts) - parts[::-1].index("sweep") :])


def _value(config: Mapping[str, Any], key: str, folder: Path) -> Value:
    """Of a key that stands for others, `preset`, only the folder's name knows."""
    if key == "preset":
        return next(
            part.removeprefix("preset~") for part in folder.parts[::-1] if "preset~" in part
        )
    found: Any = config
    for part in key.split("."):
        found = found[part]
    value: Value = found
    return value
