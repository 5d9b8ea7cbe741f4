"""Several runs, by their results folders: this one and those that `compare` names, each with what
it is called.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..training.metrics import FINETUNING, PRETRAINING
from ..training.metrics import read_metrics
from .run_record import read_manifests
from .trainings import Training, tuning

__all__ = ["Run", "read_runs", "run_names", "tunings"]

LONGEST_NAME = 28  # characters of a run's name that a legend has room for


@dataclass(frozen=True)
class Run:
    """A pretraining and, once it is finished, the manifest of its model."""

    training: Training
    manifest: Mapping[str, Any] = field(default_factory=dict)


def read_runs(own: str | Path, others: Sequence[str | Path]) -> list[Run]:
    """This run, then the others; UserError for a folder in which nothing was trained."""
    runs = []
    for folder, name in _named(own, others):
        file = Path(folder, "logs", PRETRAINING.csv)
        if not file.is_file():
            raise UserError(
                f"compare: {folder}: no logs/{PRETRAINING.csv}; expected the results folder of a run; name another or "
                "take it out"
            )
        (manifest,) = read_manifests([Path(folder, "final_model.pt")]).values() or ({},)
        runs.append(Run(Training(read_metrics(file), name), manifest))
    return runs


def tunings(own: str | Path, others: Sequence[str | Path]) -> list[Training]:
    """The instruction tunings of those runs that have one."""
    files = [(Path(folder, "logs", FINETUNING.csv), name) for folder, name in _named(own, others)]
    return [tuning(read_metrics(file), name=name) for file, name in files if file.is_file()]


def _named(own: str | Path, others: Sequence[str | Path]) -> list[tuple[str | Path, str]]:
    return [(own, "this run"), *zip(others, run_names(others), strict=True)]


def run_names(folders: Iterable[str | Path]) -> list[str]:
    """Names for runs: the last parts of their paths, as many as tell them apart, cut to what a
    legend holds.

    The folder `results` is what all of them are called, so it counts only where there is no more of
    a name.
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
    return (
        short
        if len(set(short)) == len(short)
        else [f"{i}: {name}" for i, name in enumerate(short, 1)]
    )
