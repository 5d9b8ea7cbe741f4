"""Trainings as figures draw them: this run's, and those of the runs that it is compared with.

Pretraining and instruction tuning leave the same columns; what tells them apart (the unit of their
loss, what the held-out loss is of) is said here and nowhere in the figures. So is which numbers of
another run compare with this one's: bits per byte on the same held-out text alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from ..data.held_out import HeldOut, held_out_of, held_out_on_disk
from ..errors import UserError
from ..training.metrics import FINETUNING, PRETRAINING, Metrics, read_metrics
from .manifests import StepManifest, TrainManifest, as_kind, made_by, read_manifests
from .run_record import RunRecord, read_resumes

__all__ = [
    "OTHER_CLEAN",
    "ComparedRun",
    "Training",
    "held_out_apart",
    "pretraining",
    "read_files",
    "read_runs",
    "run_names",
    "tuning",
    "tunings",
]

LOSSES = ("loss", "val_loss")  # nats per token
OTHER_TEXT, UNKNOWN_TEXT = "other held-out text", "held-out text unknown"
OTHER_CLEAN = "clean documents not known to be the same"
MEASURED = ("val_loss", "val_bpb", "val_bpb_clean")
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
    first_takes_more: bool = False  # so did the one before the first step, where there is one
    apart: Mapping[str, str] = field(default_factory=dict)  # column → why it compares with no other


@dataclass(frozen=True)
class ComparedRun:
    """A pretraining and, once it is finished, the manifest of its model."""

    training: Training
    manifest: TrainManifest | None = None
    held_out: HeldOut = HeldOut()


def pretraining(record: RunRecord) -> Training:
    """The pretraining of ``record``."""
    return Training(
        record.metrics,
        clip=record.config.train.clip,
        resumes=record.resumes,
        last_takes_more=record.last_takes_more(),
        first_takes_more=record.samples_held_out(),
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


def held_out_apart(
    training: Training, manifests: Iterable[StepManifest], step: str, held_out: int
) -> Training:
    """``training`` with what of its evaluations takes more than the others, by the manifest of the
    model that ``step`` made; of an unfinished one nobody knows. ``held_out``: tokens there are.
    """
    for model in made_by(manifests, step, TrainManifest):
        train = model.config.get("train")
        along = train.get("eval_tokens") if isinstance(train, Mapping) else None
        some = along is not None and held_out > along
        return replace(training, first_takes_more=some, last_takes_more=some)
    return training


def read_runs(own: str | Path, others: Sequence[str | Path]) -> list[ComparedRun]:
    """This run, then the others; UserError for a folder in which nothing was trained."""
    runs: list[ComparedRun] = []
    for folder, name in _named(own, others):
        file = Path(folder, "logs", PRETRAINING.csv)
        if not file.is_file():
            raise UserError(
                f"compare: {folder}: no logs/{PRETRAINING.csv}; expected the results folder of a "
                "run; name another or take it out"
            )

        finished, held_out = _measured_on(Path(folder), "final_model.pt")
        apart = _apart(held_out, runs[0].held_out) if runs else {}
        runs.append(
            ComparedRun(Training(read_metrics(file), name, apart=apart), finished, held_out)
        )
    return runs


def read_files(own: str | Path, others: Iterable[str | Path]) -> list[Path]:
    """The metrics that `read_runs` and `tunings` read, as far as they are there."""
    names = [PRETRAINING.csv, FINETUNING.csv]
    files = [Path(folder, "logs", name) for folder in (own, *others) for name in names]
    return [file for file in files if file.is_file()]


def tunings(own: str | Path, others: Sequence[str | Path]) -> list[Training]:
    """The instruction tunings of those runs that have one."""
    _, ours = _measured_on(Path(own), "sft_model.pt")
    made = []
    for folder, name in _named(own, others):
        file = Path(folder, "logs", FINETUNING.csv)
        if file.is_file():
            _, held_out = _measured_on(Path(folder), "sft_model.pt")
            apart = {} if folder is own else _apart(held_out, ours)
            made.append(replace(tuning(read_metrics(file), name=name), apart=apart))
    return made


def _measured_on(folder: Path, model: str) -> tuple[TrainManifest | None, HeldOut]:
    """The manifest of a finished model, and what it was measured on."""
    manifests = read_manifests([folder / model]).values()
    finished = next((as_kind(manifest, TrainManifest) for manifest in manifests), None)
    if finished is None:
        return None, held_out_on_disk(folder) if model == "final_model.pt" else HeldOut()

    inputs = {PurePath(file.path).name: file.sha256 for file in finished.inputs}
    return finished, held_out_of(finished.result.model_dump(), inputs)


def _apart(held_out: HeldOut, ours: HeldOut) -> dict[str, str]:
    """The columns of another run that don't compare with ours, and why."""
    apart = {} if held_out.same_tokens(ours) else dict.fromkeys(LOSSES, "another tokenizer")
    if not held_out.same_clean(ours):
        apart["val_bpb_clean"] = OTHER_CLEAN
    if not held_out.same_text(ours):
        known = (held_out.text or held_out.file) and (ours.text or ours.file)
        apart |= dict.fromkeys(MEASURED, OTHER_TEXT if known else UNKNOWN_TEXT)
    return apart


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
