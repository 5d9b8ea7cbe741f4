"""Everything a report can say about a run, read from the files that its steps left; what isn't
there is None.

A report is made of half-finished and of old runs too, so nothing here insists: a missing manifest
means a missing line in a table. Only a file that is there and is something else is a person's
error.
"""

import csv
import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import Config
from ..errors import UserError
from ..training.metrics import Metrics, Sample, read_metrics, read_samples
from ..workflow.code_digest import ROOT
from ..workflow.manifest import manifest_path

__all__ = ["Record", "git_commit", "read_manifests", "read_record", "read_resumes"]

RUN_LINE = re.compile(r"\brun ([0-9a-f]{16}) on\b")
RESUME_LINE = re.compile(r"\bresumes after step (\d+)\b")


@dataclass(frozen=True)
class Record:
    """A run as its files tell it."""

    config: Config
    metrics: Metrics
    tuned: Metrics | None = None  # of instruction tuning
    samples: list[Sample] = field(default_factory=list)
    baseline: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    manifests: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # path of the artefact → its manifest
    timings: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # step → seconds, cpu_seconds, peak_mb
    resumes: tuple[int, ...] = ()  # steps after which the run was taken up again
    commit: str | None = None
    rerun: str | None = None

    def made_by(self, step: str) -> list[dict[str, Any]]:
        """The manifests of what scripts of that name made, in the order they were given."""
        return [m for m in self.manifests.values() if Path(str(m.get("script", ""))).stem == step]

    def result(self, step: str = "train") -> dict[str, Any]:
        """What the finished training said of itself; empty for an unfinished one."""
        return next((dict(m.get("result") or {}) for m in self.made_by(step)), {})

    def last_takes_more(self) -> bool:
        """Whether the last evaluation took all held-out documents and those before it only some: no
        line joins them.
        """
        some, train = self.config.train.eval_tokens, self.config.train
        all_of_them = next(
            (m["val"]["tokens"] for m in self.made_by("prepare_data") if "val" in m), 0
        )
        return some is not None and all_of_them > some and self.metrics.last("step") == train.steps


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
) -> Record:
    """Reads all of it. ``artefacts``: files with a manifest beside them. ``timings``: benchmark
    files.
    """
    values = read_metrics(metrics)
    resumes = read_resumes(training_log) if training_log and Path(training_log).is_file() else ()
    return Record(
        config=config,
        metrics=values,
        tuned=read_metrics(tuned) if tuned and Path(tuned).is_file() else None,
        samples=read_samples(samples) if samples and Path(samples).is_file() else [],
        baseline=_json(baseline) if baseline and Path(baseline).is_file() else {},
        evaluation=_json(evaluation) if evaluation and Path(evaluation).is_file() else {},
        manifests=read_manifests(artefacts),
        timings=_timings(timings),
        resumes=resumes,
        commit=git_commit(),
        rerun=rerun,
    )


def read_manifests(artefacts: Iterable[str | Path]) -> dict[str, dict[str, Any]]:
    """Path of each artefact that has a manifest beside it → the manifest."""
    return {str(path): m for path in artefacts if (m := _manifest(path)) is not None}


def read_resumes(training_log: str | Path) -> tuple[int, ...]:
    """Steps after which the last run in training.log was resumed: the metrics are cut back there,
    so only it knows.
    """
    run, before, steps = None, [], []
    for line in Path(training_log).read_text(encoding="utf-8", errors="replace").splitlines():
        if found := RUN_LINE.search(line):
            before, steps = (steps if run == found[1] else []), []
            run = found[1]
        elif found := RESUME_LINE.search(line):
            steps = [step for step in before if step < int(found[1])] + [int(found[1])]
    return tuple(steps)


def git_commit() -> str | None:
    """`a1b2c3d4e5f6`, with ` + uncommitted changes` if there are; None outside of a git
    checkout.
    """
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return None
    return commit + (
        " + uncommitted changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
    )


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


def _manifest(artefact: str | Path) -> dict[str, Any] | None:
    path = manifest_path(artefact)
    return _json(path) if path.is_file() else None


def _json(path: str | Path) -> dict[str, Any]:
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path}: not JSON; delete it and run its step again") from None
    if not isinstance(value, dict):
        raise UserError(
            f"{path}: found {type(value).__name__}, expected an object; run its step again"
        )
    return value


def _timings(files: Iterable[str | Path]) -> dict[str, dict[str, float]]:
    """Snakemake's benchmark files, `<step>.tsv` or `<step>.<part>.tsv`; the parts of a step added
    up.
    """
    steps: dict[str, dict[str, float]] = {}
    for file in filter(Path.is_file, map(Path, files)):
        with open(file, newline="", encoding="utf-8", errors="replace") as opened:
            for row in csv.DictReader(opened, delimiter="\t"):
                total = steps.setdefault(
                    file.name.split(".")[0], {"seconds": 0.0, "cpu_seconds": 0.0, "peak_mb": 0.0}
                )
                total["seconds"] += _number(row.get("s"))
                total["cpu_seconds"] += _number(row.get("cpu_time"))
                total["peak_mb"] = max(total["peak_mb"], _number(row.get("max_rss")))
    return steps


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:  # Snakemake writes NA for jobs that ended before it could look
        return 0.0
