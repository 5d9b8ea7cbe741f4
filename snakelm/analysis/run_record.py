"""Everything a report can say about a run, read once from the files that its steps left.

A report is made of unfinished and of old runs too, so nothing here insists: a missing file means a
missing line in a table. Only a file that is there and is something else is the user's error.
"""

import csv
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from ..config import Config
from ..evaluation.records import (
    BaselineRecord,
    EvaluationRecord,
    read_baseline,
    read_evaluation,
)
from ..publishing import public_command
from ..training.metrics import Metrics, Sample, read_metrics, read_samples
from ..workflow.code_digest import ROOT
from .manifests import (
    M,
    SplitManifest,
    StartedFrom,
    StepManifest,
    TrainingResult,
    TrainManifest,
    made_by,
    read_manifests,
)

__all__ = [
    "RunRecord",
    "StepTiming",
    "read_record",
    "read_resumes",
]

RUN_LINE = re.compile(r"\brun ([0-9a-f]{16}) on\b")
RESUME_LINE = re.compile(r"\bresumes after step (\d+)\b")


@dataclass
class StepTiming:
    """What Snakemake measured of a step, its parts added up; of memory the largest part."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0


@dataclass(frozen=True)
class RunRecord:
    """A run as its files tell it."""

    config: Config
    metrics: Metrics
    finetuning: Metrics | None = None
    samples: list[Sample] = field(default_factory=list)
    baseline: BaselineRecord | None = None
    evaluation: EvaluationRecord | None = None
    manifests: Mapping[str, StepManifest] = field(default_factory=dict)  # artefact → its manifest
    timings: Mapping[str, StepTiming] = field(default_factory=dict)  # step → timing
    resumes: tuple[int, ...] = ()  # steps after which an interrupted training was resumed
    commit: str | None = None
    rerun: str | None = None  # the command that makes this run again

    def made_by(self, step: str, kind: type[M]) -> Sequence[M]:
        """The manifests of what ``step`` made, in the order they were given."""
        return made_by(self.manifests.values(), step, kind)

    def training_result(self, step: str = "train") -> TrainingResult:
        """What the finished training says of itself; empty for an unfinished one."""
        models = self.made_by(step, TrainManifest)
        return models[0].result if models else TrainingResult()

    def started_from(self) -> StartedFrom:
        """The model that pretraining went on from; without a name for one that began anew."""
        models = self.made_by("train", TrainManifest)
        return models[0].base if models else StartedFrom()

    def last_takes_more(self) -> bool:
        """Whether the last evaluation was on all held-out documents and those before it on a
        sample: the two don't compare, so no line joins them.
        """
        return self.samples_held_out() and self.metrics.last("step") == self.config.train.steps

    def samples_held_out(self) -> bool:
        """Whether evaluations are on a sample of the held-out documents: all but the last, and the
        one before the first step of a run that has a base.
        """
        eval_tokens = self.config.train.eval_tokens
        for model in self.made_by("train", TrainManifest):  # the key may have changed since
            eval_tokens = model.config.get("train", {}).get("eval_tokens", eval_tokens)
        parts = (m.val for m in self.made_by("prepare_data", SplitManifest))
        held_out = next((part.tokens for part in parts if part), 0)
        return eval_tokens is not None and held_out > eval_tokens


def read_record(
    config: Config,
    *,
    metrics: str | Path,
    tuned: str | Path | None = None,
    samples: str | Path | None = None,
    baseline: str | Path | None = None,
    evaluation: str | Path | None = None,
    artefacts: Iterable[str | Path] = (),
    timings: Iterable[str | Path] = (),
    training_log: str | Path | None = None,
    rerun: str | None = None,
) -> RunRecord:
    """Reads all of it; files that aren't there are left out.

    ``tuned``: sft_metrics.csv. ``artefacts``: files with a manifest beside them. ``timings``:
    Snakemake's benchmark files.
    """
    return RunRecord(
        config=config,
        metrics=read_metrics(metrics),
        finetuning=read_metrics(tuned) if _there(tuned) else None,
        samples=read_samples(samples) if _there(samples) else [],
        baseline=read_baseline(baseline) if _there(baseline) else None,
        evaluation=read_evaluation(evaluation) if _there(evaluation) else None,
        manifests=read_manifests(artefacts),
        timings=_read_timings(timings),
        resumes=read_resumes(training_log) if _there(training_log) else (),
        commit=git_commit(),
        rerun=public_command(rerun) if rerun else None,
    )


def read_resumes(training_log: str | Path) -> tuple[int, ...]:
    """Steps after which the last run in training.log was resumed.

    The metrics are cut back to the step that a run resumes from, so only the log knows. A run that
    starts without resuming begins anew, whatever was logged of it before; one that resumes earlier
    than last time did the later steps again.
    """
    run: str | None = None
    before: list[int] = []
    steps: list[int] = []
    for line in Path(training_log).read_text(encoding="utf-8", errors="replace").split("\n"):
        if started := RUN_LINE.search(line):
            before, steps = (steps if run == started[1] else []), []
            run = started[1]
        elif resumed := RESUME_LINE.search(line):
            step = int(resumed[1])
            steps = [earlier for earlier in before if earlier < step] + [step]

    return tuple(steps)


def git_commit() -> str | None:
    """`a1b2c3d4e5f6`, with ` + uncommitted changes` if there are; None outside of a git
    checkout.
    """
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return None

    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{commit} + uncommitted changes" if changed else commit


def _git(*arguments: str) -> str | None:
    if not (ROOT / ".git").exists():  # or git would find the repository of a folder above
        return None

    try:
        done = subprocess.run(
            ["git", "-C", ROOT, *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _there(path: str | Path | None) -> TypeGuard[str | Path]:
    return path is not None and Path(path).is_file()


def _read_timings(files: Iterable[str | Path]) -> dict[str, StepTiming]:
    """Snakemake's benchmark files, `<step>.tsv` or `<step>.<part>.tsv`; a step's parts are added
    up.
    """
    steps: dict[str, StepTiming] = {}
    for file in filter(Path.is_file, map(Path, files)):
        with open(file, newline="", encoding="utf-8", errors="replace") as opened:
            for row in csv.DictReader(opened, delimiter="\t"):
                total = steps.setdefault(file.name.split(".")[0], StepTiming())
                total.seconds += _number(row.get("s"))
                total.cpu_seconds += _number(row.get("cpu_time"))
                total.peak_mb = max(total.peak_mb, _number(row.get("max_rss")))
    return steps


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:  # Snakemake writes NA for jobs that ended before it could look
        return 0.0
