"""A training as figures of it are drawn: its metrics, where it was resumed, and what its numbers
are of.

Pretraining and instruction tuning are told apart here and nowhere in the figures.
"""

from dataclasses import dataclass
from pathlib import Path

from ..training.metrics import Metrics
from .run_record import Record, read_resumes

__all__ = ["Training", "pretraining", "tuning"]


@dataclass(frozen=True)
class Training:
    """One training of one run. ``unit`` is that of its losses; ``held_out`` says what the held-out
    loss is of.
    """

    metrics: Metrics
    name: str = "this run"
    unit: str = "nats per token"
    held_out: str = "held-out text"
    clip: float | None = None
    resumes: tuple[int, ...] = ()  # steps after which it was taken up again
    last_takes_more: bool = False  # the last evaluation took more documents than those before it


def pretraining(record: Record) -> Training:
    """The pretraining of ``record``."""
    return Training(
        record.metrics,
        clip=record.config.train.clip,
        resumes=record.resumes,
        last_takes_more=record.last_takes_more(),
    )


def tuning(
    metrics: Metrics,
    clip: float | None = None,
    log: str | Path | None = None,
    name: str = "this run",
) -> Training:
    """An instruction tuning; ``log`` is sft_training.log, where it is there."""
    resumes = read_resumes(log) if log and Path(log).is_file() else ()
    return Training(metrics, name, "nats per learned token", "held-out answers", clip, resumes)
