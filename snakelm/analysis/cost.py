"""What each step cost: time, energy, money, memory, disk. Time is measured; energy and money are
estimates and say so.

A CPU's energy is its busy seconds times `cost.watts_per_core`; a GPU's is the time of the training
on it times its power limit, which is more than it drew on average. Neither counts what the rest of
the machine draws. Training that was interrupted counts in full: its own clock adds the parts up,
Snakemake's record knows only the last.
"""

from collections import Counter
from dataclasses import dataclass

from ..config import Cost
from ..training.metrics import Metrics
from .manifests import TrainingResult
from .run_record import RunRecord, StepTiming

__all__ = ["TRAININGS", "StepCost", "step_costs", "total_cost"]

TRAININGS = ("train", "train_sft", "train_preferences")
JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class StepCost:
    """The cost of a step, or of all of them. ``money`` is in `cost.currency`; None where no price
    was given.
    """

    step: str
    seconds: float  # wall-clock time
    cpu_seconds: float  # over all cores
    gpu_seconds: float  # over all GPUs
    kwh: float
    money: float | None
    peak_mb: float  # the most memory that one of its jobs held
    gpu_peak_mb: float
    written: int  # bytes of the files it made


def step_costs(record: RunRecord) -> list[StepCost]:
    """Every step that was timed, in the order of the workflow."""
    written = _written(record)
    trainings = {"train": record.metrics, "train_sft": record.finetuning}
    return [
        _one(
            step,
            timing,
            trainings.get(step),
            record.training_result(step),
            written[step],
            record.config.cost,
        )
        for step, timing in record.timings.items()
    ]


def total_cost(steps: list[StepCost]) -> StepCost:
    """The sum; of memory the largest."""
    money = [s.money for s in steps if s.money is not None]
    return StepCost(
        step="all",
        seconds=sum(s.seconds for s in steps),
        cpu_seconds=sum(s.cpu_seconds for s in steps),
        gpu_seconds=sum(s.gpu_seconds for s in steps),
        kwh=sum(s.kwh for s in steps),
        money=sum(money) if money else None,
        peak_mb=max((s.peak_mb for s in steps), default=0.0),
        gpu_peak_mb=max((s.gpu_peak_mb for s in steps), default=0.0),
        written=sum(s.written for s in steps),
    )


def _one(
    step: str,
    timing: StepTiming,
    metrics: Metrics | None,
    result: TrainingResult,
    written: int,
    cost: Cost,
) -> StepCost:
    # A training's own clock goes on over interruptions; Snakemake's starts anew with each job.
    # Before its end the metrics have it.
    trained, trained_cpu = result.seconds or 0.0, result.cpu_seconds or 0.0
    if metrics is not None:
        trained = max(trained, metrics.last("seconds") or 0.0)
        trained_cpu = max(trained_cpu, metrics.last("cpu_seconds") or 0.0)

    seconds = max(timing.seconds, trained)
    cpu = max(timing.cpu_seconds, result.processes * trained_cpu)

    # Only a result with a GPU's memory was computed on GPUs, one for each process.
    on_gpu = result.gpu_peak_bytes is not None
    gpu = result.processes * (trained or seconds) if on_gpu else 0.0
    watts = cost.watts_per_gpu or result.gpu_watts or 0.0

    kwh = (cpu * cost.watts_per_core + gpu * watts) / JOULES_PER_KWH
    rented = cost.price_per_hour
    money = kwh * cost.price_per_kwh if rented is None else seconds / 3600 * rented
    # Snakemake looks now and then, the training's own figure misses no moment.
    peak_mb = max(timing.peak_mb, (result.peak_bytes or 0) / 2**20)
    gpu_peak_mb = (result.gpu_peak_bytes or 0) / 2**20
    return StepCost(step, seconds, cpu, gpu, kwh, money, peak_mb, gpu_peak_mb, written)


def _written(record: RunRecord) -> Counter[str]:
    """Bytes of what each step made, as its manifests say."""
    sizes: Counter[str] = Counter()
    for manifest in record.manifests.values():
        sizes[manifest.step] += manifest.artefact.bytes or 0
    return sizes
