"""training_metrics.csv and samples.jsonl: their columns and their one reader (metrics_writer.py has
their one writer).

The reader takes the files as runs really leave them: empty, cut off in the middle of a line, with
NaN, or from an older version whose resumed runs repeated steps. Of a step that was done twice the
later row counts: it is the one that the final model went through.
"""

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..json_files import JsonError, parse_json

__all__ = [
    "COLUMNS",
    "FINETUNING",
    "PREFERENCES",
    "PRETRAINING",
    "Metrics",
    "MetricsRow",
    "RunFiles",
    "Sample",
    "fields_of",
    "parse_row",
    "read_metrics",
    "read_samples",
    "read_text",
]


@dataclass(frozen=True)
class MetricsRow:
    """One row of the metrics file; a field that is None is left empty (docs/LOGGING.md)."""

    step: int
    tokens: int | None = None
    epoch: float | None = None
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    mfu: float | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    val_loss: float | None = None
    val_bpb: float | None = None
    val_bpb_clean: float | None = None
    rewards_chosen: float | None = None
    rewards_rejected: float | None = None
    rewards_margins: float | None = None
    rewards_accuracies: float | None = None
    val_rewards_chosen: float | None = None
    val_rewards_rejected: float | None = None
    val_rewards_margins: float | None = None
    val_rewards_accuracies: float | None = None
    val_logps_accuracies: float | None = None


@dataclass(frozen=True)
class Sample:
    """What the model wrote at a step of its training."""

    step: int
    prompt: str
    text: str
    expected: str = ""  # the answer that a held-out conversation has there


@dataclass(frozen=True)
class RunFiles:
    """How pretraining or fine-tuning names its files and columns."""

    section: str  # of the configuration, where its learning rates are
    stem: str  # of checkpoint files
    csv: str
    samples: str
    columns: tuple[str, ...]
    metric: str  # the column that says how good the model is; lower is better
    answers: bool  # whether samples are answers, with the expected one beside them


COLUMNS = tuple(field.name for field in fields(MetricsRow))
UP_TO_LOSS = COLUMNS[: COLUMNS.index("val_loss") + 1]  # bytes are not counted in conversations
REWARDS = COLUMNS[COLUMNS.index("rewards_chosen") :]  # of preferences alone

PRETRAINING = RunFiles(
    section="train",
    stem="step",
    csv="training_metrics.csv",
    samples="samples.jsonl",
    columns=COLUMNS[: -len(REWARDS)],
    metric="val_bpb",
    answers=False,
)
FINETUNING = RunFiles(
    section="sft",
    stem="sft_step",
    csv="sft_metrics.csv",
    samples="sft_samples.jsonl",
    columns=UP_TO_LOSS,
    metric="val_loss",
    answers=True,
)

PREFERENCES = RunFiles(
    section="preferences",
    stem="preference_step",
    csv="preference_metrics.csv",
    samples="preference_samples.jsonl",
    columns=(*UP_TO_LOSS, *REWARDS),
    metric="val_loss",
    answers=True,
)


def read_text(path: str | Path) -> str:
    """UTF-8 as written; a damaged byte makes its line unreadable, and only that."""
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        return file.read()


@dataclass(frozen=True)
class Metrics:
    """A metrics file as it was read: rows in the order of their steps, each step once."""

    # name → float64 [rows]. NaN: the field is empty. inf: the file has nan or inf.
    columns: dict[str, np.ndarray]
    resumes: tuple[int, ...]  # the first row after each resume, as an index into the rows
    redone: int  # rows left out because a later row did the same step again
    unreadable: int  # lines left out because they aren't numbers, as a kill in mid-write leaves

    def __len__(self) -> int:
        return self.columns["step"].size

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def points(self, name: str, x: str = "tokens") -> tuple[np.ndarray, np.ndarray]:
        """x and y [points] of a column, where both are finite numbers."""
        finite = np.isfinite(self[name]) & np.isfinite(self[x])
        return self[x][finite], self[name][finite]

    def last(self, name: str) -> float | None:
        """The last number in a column; None when it has none."""
        numbers = self[name][np.isfinite(self[name])]
        return float(numbers[-1]) if numbers.size else None

    def best(self, name: str) -> tuple[float, int] | None:
        """The smallest number in a column and its step."""
        if not np.isfinite(self[name]).any():
            return None
        row = int(np.nanargmin(self[name]))
        return float(self[name][row]), int(self["step"][row])

    def non_finite_losses(self) -> int:
        """Rows whose training loss was written as NaN or infinite."""
        return int(np.isinf(self["loss"]).sum())


def read_metrics(path: str | Path) -> Metrics:
    """The metrics file; an empty one gives no rows. UserError when it's another kind of file."""
    lines = fields_of(read_text(path))
    if not lines:
        return Metrics({name: np.zeros(0) for name in COLUMNS}, (), 0, 0)

    header = lines[0]
    if "step" not in header:
        found = ", ".join(header)[:80]
        raise UserError(f"{path}: no column `step` (found {found}); expected training_metrics.csv")

    parsed = [parse_row(header, line) for line in lines[1:]]
    rows = [row for row in parsed if row is not None]
    for row in rows:
        if row["step"] == 0:  # nothing has run yet that could have a speed
            row.update(tokens_per_second=math.nan, mfu=math.nan)

    kept, resumes = _drop_repeated(rows)
    columns = {
        name: np.array([row.get(name, math.nan) for row in kept], np.float64) for name in COLUMNS
    }
    return Metrics(columns, resumes, len(rows) - len(kept), len(parsed) - len(rows))


def read_samples(path: str | Path) -> list[Sample]:
    """Samples in the order of their steps; of two for the same step and prompt the later one.

    Damaged lines are left out.
    """
    samples: dict[tuple[int, str], Sample] = {}
    for line in read_text(path).split("\n"):
        try:
            sample = parse_json(line, Sample)
        except JsonError:
            continue
        samples = {key: old for key, old in samples.items() if old.step <= sample.step}
        samples[sample.step, sample.prompt] = sample
    return sorted(samples.values(), key=lambda sample: sample.step)


def fields_of(text: str) -> list[list[str]]:
    """Lines as fields. Nothing that we write is quoted; a damaged byte may look like a quote, and
    must not take the lines that follow for one field.
    """
    return [line.rstrip("\r").split(",") for line in text.split("\n") if line.strip()]


def parse_row(header: list[str], line: list[str]) -> dict[str, float] | None:
    """A line as numbers, NaN for an empty field; None when a field isn't a number or there is no
    step.
    """
    if len(line) != len(header):
        return None
    try:
        row = {name: _number(value) for name, value in zip(header, line, strict=True)}
    except ValueError:
        return None
    return row if math.isfinite(row["step"]) else None


def _number(text: str) -> float:
    """NaN stands for an empty field, so a NaN in the file becomes infinite."""
    if not text.strip():
        return math.nan
    value = float(text)
    return math.inf if math.isnan(value) else value


def _drop_repeated(
    rows: list[dict[str, float]],
) -> tuple[list[dict[str, float]], tuple[int, ...]]:
    """Rows without those that a later one goes back behind, and which rows begin a resumed part.

    A resume shows as a step that is no further than the one before, or as a clock that was set
    back.
    """
    kept: list[dict[str, float]] = []
    resumes: list[int] = []
    for row in rows:
        resumed = bool(kept) and (
            row["step"] <= kept[-1]["step"] or row.get("seconds", 0) < kept[-1].get("seconds", 0)
        )
        while kept and kept[-1]["step"] >= row["step"]:
            kept.pop()

        if resumed:
            resumes = [place for place in resumes if place < len(kept)] + [len(kept)]
        kept.append(row)
    return kept, tuple(resumes)
