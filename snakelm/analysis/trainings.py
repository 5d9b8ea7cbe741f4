"""Trainings as figures draw them: this run's, and those of the runs that it is compared with.

Pretraining and instruction tuning leave the same columns; what tells them apart (the unit of their
loss, what the held-out loss is of) is said here and nowhere in the figures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..training.metrics import PRETRAINING, TUNING
from ..training.metrics_reader import Metrics, read_metrics
from .manifests import TrainManifest, as_kind, read_manifests
from .run_record import RunRecord, read_resumes

__all__ = ["ComparedRun", "Training", "pretraining", "read_runs", "run_names", "tuning", "tunings"]

LONGEST_NAME = 28  # characters of a run's name that a legend has room for


@dataclass(frozen=True)
class Training:
    """One training of one run."""

    metrics: Metrics
    name: str = "this run"
    unit: str = "nats per token"  # of its losses
    held_out: str = "held-out text"  # what its held-out loss is of
    clip: float | None = None
    resumes: tuple[int, ...] = ()  # steps after which it was resumed
    last_takes_more: bool = False  # the last evaluation took more documents than those before it


@dataclass(frozen=True)
class ComparedRun:
    """A pretraining and, once it is finished, the manifest of its model."""

    training: Training
    manifest: TrainManifest | None = None


def pretraining(record: RunRecord) -> Training:
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


def read_runs(own: str | Path, others: Sequence[str | Path]) -> list[ComparedRun]:
    """This run, then the others; UserError for a folder in which nothing was trained."""
    runs = []
    for folder, name in _named(own, others):
        file = Path(folder, "logs", PRETRAINING.csv)
        if not file.is_file():
            raise UserError(
                f"compare: {folder}: no logs/{PRETRAINING.csv}; expected the results folder of a "
                "run; name another or take it out"
            )

        manifests = read_manifests([Path(folder, "final_model.pt")]).values()
        finished = next((as_kind(manifest, TrainManifest) for manifest in manifests), None)
        runs.append(ComparedRun(Training(read_metrics(file), name), finished))
    return runs


def tunings(own: str | Path, others: Sequence[str | Path]) -> list[Training]:
    """The instruction tunings of those runs that have one."""
    files = [(Path(folder, "logs", TUNING.csv), name) for folder, name in _named(own, others)]
    return [tuning(read_metrics(file), name=name) for file, name in files if file.is_file()]


def _named(own: str | Path, others: Sequence[str | Path]) -> list[tuple[str | Path, str]]:
    return [(own, "this run"), *zip(others, run_names(others), strict=True)]


def run_names(folders: Iterable[str | Path]) -> list[str]:
    """Names for runs: the last parts of their paths, as many as tell them apart, cut to what a
    legend holds.

    Most results folders are called `results`, so that part counts only where there is no other.
    """
    parts = [
        [p for p in Path(folder).parts if p not in ("/", ".", "..")] or ["run"]
        for folder in folders
    ]
    parts = [part[:-1] if len(part) > 1 and part[-1] == "results" else part for part in parts]

    names: list[str] = []
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            break

    short = [
        name if len(name) <= LONGEST_NAME else "…" + name[1 - LONGEST_NAME :] for name in names
    ]
    if len(set(short)) == len(short):
        return short
    return [f"{i}: {name}" for i, name in enumerate(short, 1)]
