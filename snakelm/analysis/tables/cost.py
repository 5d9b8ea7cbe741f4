"""cost.html: time, energy, money, memory and disk of each step, with what the estimates are made
of.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...config import Cost
from ...files import human_bytes
from ..cost import TRAININGS, StepCost, step_costs, total_cost
from ..pages import write_page
from ..run_record import RunRecord
from ..units import duration, energy, money

__all__ = ["write_cost"]


@dataclass(frozen=True)
class CostPage:
    """What the page shows."""

    rows: list[list[str]]  # step, time, CPU time, energy, cost, memory, written; the last of all
    time: str | None
    energy: str
    money: str
    prices: Cost
    on_gpu: bool
    gpu_power_unknown: bool
    changed_processes: list[str]  # a sentence for each training that went on with other numbers


def write_cost(record: RunRecord, path: str | Path) -> None:
    """The page of costs; says so when no step was timed."""
    steps = step_costs(record)
    write_page(path, "cost.html", cost=_page(record, steps) if steps else None)


def _page(record: RunRecord, steps: list[StepCost]) -> CostPage:
    total, prices = total_cost(steps), record.config.cost
    on_gpu = total.gpu_seconds > 0
    return CostPage(
        rows=[_row(step, prices.currency) for step in [*steps, total]],
        time=duration(total.seconds),
        energy=energy(total.kwh),
        money=money(total.money, prices.currency),
        prices=prices,
        on_gpu=on_gpu,
        gpu_power_unknown=on_gpu and not (prices.watts_per_gpu or _measured_watts(record)),
        changed_processes=[*_changed_processes(record)],
    )


def _changed_processes(record: RunRecord) -> Iterator[str]:
    for step in TRAININGS:
        numbers = record.training_result(step).processes_from_step
        if len(numbers) > 1:
            in_order = sorted(numbers.items(), key=lambda one: int(one[0]))
            said = ", ".join(f"{count} from step {first} on" for first, count in in_order)
            yield (
                f"Processes of {step}: {said}. The batches are the same for any number; the "
                "weights within rounding, by train.reproducible to the bit."
            )


def _row(step: StepCost, currency: str) -> list[str]:
    gpu = f", GPU {step.gpu_peak_mb:,.0f} MB" if step.gpu_peak_mb else ""
    return [
        step.step,
        duration(step.seconds) or "–",
        duration(step.cpu_seconds) or "–",
        energy(step.kwh),
        money(step.money, currency),
        f"{step.peak_mb:,.0f} MB{gpu}",
        human_bytes(step.written) if step.written else "–",
    ]


def _measured_watts(record: RunRecord) -> bool:
    results = (record.training_result(step) for step in TRAININGS)
    return any(result.gpu_watts is not None for result in results)
