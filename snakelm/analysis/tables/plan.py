"""plan.html: what `snakemake plan` predicted of the run, beside what came out."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...evaluation.plan_record import PlannedSize, PlanRecord
from ...files import human_bytes
from ..pages import write_page
from ..units import duration, human

__all__ = ["sentences", "write_plan"]


def write_plan(plan: PlanRecord, result: Mapping[str, Any], path: str | Path) -> None:
    """The page. ``result``: the figures of the finished run (`RunResult`)."""
    write_page(
        path,
        "plan.html",
        sentences=list(sentences(plan, result)),
        compared=[
            ["bits per byte", _predicted(plan.choice), _figure(result.get("val_bpb"))],
            [
                "time",
                duration(plan.choice.training_seconds) or "–",
                duration(result.get("seconds")) or "–",
            ],
            ["memory", human_bytes(plan.choice.memory_bytes), _memory(result)],
        ],
        sizes=[_size(size, i == plan.chosen) for i, size in enumerate(plan.sizes)],
        plan=plan,
        text=human(plan.text_bytes),
    )


def sentences(plan: PlanRecord, result: Mapping[str, Any]) -> Iterator[str]:
    """What may be said of the prediction, a sentence each."""
    bpb, found = plan.choice.bpb, result.get("val_bpb")
    if bpb and found is not None and bpb.low is not None and bpb.high is not None:
        place = "above" if found > bpb.high else "below" if found < bpb.low else "inside"
        yield (
            f"{found:.4f} bits per byte, predicted {bpb.value:.4f}: {place} the interval "
            f"{bpb.low:.4f} to {bpb.high:.4f}."
        )

    if plan.choice.beyond:
        yield (
            f"In {' and '.join(plan.choice.beyond)} the run is beyond every recorded one, so that "
            "the prediction was an extrapolation."
        )
    if seconds := result.get("seconds"):
        yield (
            f"Training took {seconds / plan.choice.training_seconds:.2f} times the time that was "
            f"planned for it, of {plan.hours:g} hours."
        )
    if plan.shared:
        yield plan.shared
    if result.get("device") != plan.machine:
        yield f"Planned on {plan.machine}, trained on {result.get('device')}."


def _size(size: PlannedSize, chosen: bool) -> list[str]:
    return [
        f"{size.size}" + " (chosen)" * chosen,
        human(size.parameters),
        f"{size.vocab_size:,}",
        f"{size.steps:,}",
        f"{size.epochs:.2f}",
        duration(size.training_seconds) or "–",
        human_bytes(size.memory_bytes),
        size.note or _predicted(size),
    ]


def _predicted(size: PlannedSize) -> str:
    bpb = size.bpb
    return f"{bpb.value:.3f} ({bpb.low:.3f} to {bpb.high:.3f})" if bpb else "–"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _memory(result: Mapping[str, Any]) -> str:
    taken = result.get("gpu_peak_bytes", result.get("peak_bytes"))
    return "–" if taken is None else human_bytes(taken)
