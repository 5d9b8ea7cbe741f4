"""cost.html: time, energy, money, memory and disk of each step, with what the estimates are made
of.
"""

from collections.abc import Iterator
from pathlib import Path

from ...config import Cost
from ...files import human_bytes
from ..cost import Spent, spent, total
from ..run_record import Record
from ..verdict import seconds_in_words
from .page import element, rows, write_page

__all__ = ["energy", "money", "write_cost"]


def write_cost(record: Record, path: str | Path) -> None:
    """The page of costs; says so when no step was timed."""
    steps = spent(record)
    if not steps:
        write_page(
            path,
            "Time and cost",
            element("p", "No step was timed: Snakemake's benchmark files are missing."),
        )
        return
    whole, cost = total(steps), record.config.cost
    head = ["step", "time", "CPU time", "energy", "cost", "memory", "written"]
    body = [[s.step, *_cells(s, cost)] for s in [*steps, whole]]
    write_page(
        path,
        "Time and cost",
        element(
            "p",
            element("span", seconds_in_words(whole.seconds), class_="big"),
            " of work, step after step",
        ),
        element("p", f"Estimated: {energy(whole.kwh)}, {money(whole.money, cost)}."),
        element("div", rows(head, body, numbers=range(1, 7)), class_="wide"),
        element("h2", "How this is estimated"),
        [element("p", said, class_="soft") for said in _basis(record, whole)],
    )


def _cells(step: Spent, cost: Cost) -> Iterator[str | None]:
    yield seconds_in_words(step.seconds)
    yield seconds_in_words(step.cpu_seconds)
    yield energy(step.kwh)
    yield money(step.money, cost)
    yield f"{step.peak_mb:,.0f} MB" + (
        f", GPU {step.gpu_peak_mb:,.0f} MB" if step.gpu_peak_mb else ""
    )
    yield human_bytes(step.written) if step.written else "–"


def _basis(record: Record, whole: Spent) -> Iterator[str]:
    cost = record.config.cost
    yield (
        "Time, CPU time and memory are measured, by Snakemake and by training itself. Steps that ran at the same time "
        "are added up, so the clock on the wall may have shown less. Written is what stays of a step's main files."
    )
    yield (
        f"Energy is an estimate: busy CPU seconds times {cost.watts_per_core:g} watts a core (cost.watts_per_core)"
        + (
            ", GPU time times the GPU's power limit or cost.watts_per_gpu"
            if whole.gpu_seconds
            else ""
        )
        + ". What memory, disks, fans and idle cores take is not in it."
    )
    if cost.price_per_hour is not None:
        yield f"Cost is time times {cost.price_per_hour:g} {cost.currency} an hour (cost.price_per_hour)."
    else:
        yield (
            f"Cost is that energy at {cost.price_per_kwh:g} {cost.currency} a kilowatt-hour (cost.price_per_kwh). "
            "For a rented machine set cost.price_per_hour."
        )
    if whole.gpu_seconds and not (cost.watts_per_gpu or _told_watts(record)):
        yield "The GPU did not say its power limit: its energy is missing. Set cost.watts_per_gpu."


def _told_watts(record: Record) -> bool:
    return any("gpu_watts" in record.result(step) for step in ("train", "train_sft"))


def energy(kwh: float) -> str:
    """`0.0042` → `4.2 Wh`."""
    return (
        f"{kwh:.3g} kWh"
        if kwh >= 1
        else f"{kwh * 1000:.2g} Wh"
        if kwh * 1000 < 10
        else f"{kwh * 1000:.0f} Wh"
    )


def money(amount: float | None, cost: Cost) -> str:
    """An amount with its currency."""
    if amount is None:
        return "–"
    return f"< 0.01 {cost.currency}" if 0 < amount < 0.01 else f"{amount:,.2f} {cost.currency}"
