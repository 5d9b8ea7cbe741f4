"""What each step took: time, energy, money, memory, disk. Time is measured; energy and money are
estimates and say so.

A CPU's energy is its busy seconds times `cost.watts_per_core`; a GPU's is the time of the training
on it times its power limit, which is more than it drew on average. Neither counts what the rest of
the machine takes. Training that was interrupted is counted whole: its metrics add the parts up,
Snakemake's record knows only the last.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Cost
from ..training.metrics import Metrics
from .run_record import Record

__all__ = ["Spent", "spent", "total"]

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Spent:
    """A step, or all of them. ``money`` is in `cost.currency`; None where no price was given."""

    step: str
    seconds: float  # of the clock
    cpu_seconds: float  # over all cores
    gpu_seconds: float  # over all GPUs
    kwh: float
    money: float | None
    peak_mb: float  # the most memory that one of its jobs held
    gpu_peak_mb: float
    written: int  # bytes of what it made


def spent(record: Record) -> list[Spent]:
    """Every step that was timed, in the order of the workflow."""
    written = _written(record)
    trainings = {"train": record.metrics, "train_sft": record.tuned}
    return [
        _one(
            step,
            timing,
            trainings.get(step),
            record.result(step),
            written.get(step, 0),
            record.config.cost,
        )
        for step, timing in record.timings.items()
    ]


def total(steps: list[Spent]) -> Spent:
    """The sum; of memory the largest."""
    money = [s.money for s in steps if s.money is not None]
    return Spent(
        "all",
        sum(s.seconds for s in steps),
        sum(s.cpu_seconds for s in steps),
        sum(s.gpu_seconds for s in steps),
        sum(s.kwh for s in steps),
        sum(money) if money else None,
        max((s.peak_mb for s in steps), default=0.0),
        max((s.gpu_peak_mb for s in steps), default=0.0),
        sum(s.written for s in steps),
    )


def _one(
    step: str,
    timing: Mapping[str, float],
    metrics: Metrics | None,
    result: Mapping[str, Any],
    written: int,
    cost: Cost,
) -> Spent:
    seconds, cpu = timing["seconds"], timing["cpu_seconds"]
    processes = int(result.get("processes") or 1)
    if metrics is not None:
        seconds = max(seconds, metrics.last("seconds") or 0.0)
        cpu = max(cpu, processes * (metrics.last("cpu_seconds") or 0.0))
    on_gpu = "gpu_peak_bytes" in result
    gpu = (
        processes * ((metrics.last("seconds") if metrics is not None else None) or seconds)
        if on_gpu
        else 0.0
    )
    watts = cost.watts_per_gpu or float(result.get("gpu_watts") or 0)
    kwh = (cpu * cost.watts_per_core + gpu * watts) / JOULES_PER_KWH
    money = (
        kwh * cost.price_per_kwh
        if cost.price_per_hour is None
        else seconds / 3600 * cost.price_per_hour
    )
    gpu_peak = float(result.get("gpu_peak_bytes") or 0) / 2**20
    return Spent(step, seconds, cpu, gpu, kwh, money, timing["peak_mb"], gpu_peak, written)


def _written(record: Record) -> dict[str, int]:
    """Bytes of what each step made, as its manifests say."""
    sizes: dict[str, int] = {}
    for manifest in record.manifests.values():
        step, made = Path(str(manifest.get("script", ""))).stem, manifest.get("artefact")
        if isinstance(made, Mapping) and isinstance(made.get("bytes"), int):
            sizes[step] = sizes.get(step, 0) + made["bytes"]
    return sizes
