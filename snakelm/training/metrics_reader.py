"""Reads training_metrics.csv and samples.jsonl as runs really leave them: empty, torn, with NaN,
resumed, overlapping.

A run that was killed after its last checkpoint does some steps a second time when it is resumed.
Rows that were done again are left out: what counts is the row that the final model went through,
which is the later one.
"""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from .metrics import COLUMNS

__all__ = ["COLUMNS", "Metrics", "Sample", "read_metrics", "read_samples"]


@dataclass(frozen=True)
class Metrics:
    """Rows in the order of their steps, each step once."""

    columns: dict[
        str, np.ndarray
    ]  # name → float64 [rows]; NaN: nothing there; inf: the file says nan or inf
    resumes: tuple[int, ...]  # the first row after each resume, as an index into the rows
    redone: int  # rows left out because a later row did the same step again
    unreadable: (
        int  # lines left out because they aren't numbers, as a kill in mid-write leaves them
    )

    def __len__(self) -> int:
        return self.columns["step"].size

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def points(self, name: str, x: str = "tokens") -> tuple[np.ndarray, np.ndarray]:
        """x and y [points] of a column, where both are finite numbers."""
        there = np.isfinite(self[name]) & np.isfinite(self[x])
        return self[x][there], self[name][there]

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

    def not_numbers(self) -> int:
        """Rows whose training loss was written down and is no number."""
        return int(np.isinf(self["loss"]).sum())


@dataclass(frozen=True)
class Sample:
    """What the model wrote at a step of its training."""

    step: int
    prompt: str
    text: str
    expected: str = ""  # the answer that a held-out conversation has there


def read_metrics(path: str | Path) -> Metrics:
    """The metrics file; an empty one gives no rows. UserError when it's another kind of file."""
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        lines = [line for line in csv.reader(file) if line]
    if not lines:
        return Metrics({name: np.zeros(0) for name in COLUMNS}, (), 0, 0)
    header = lines[0]
    if "step" not in header:
        raise UserError(
            f"{path}: no column `step` (found {', '.join(header)[:80]}); expected training_metrics.csv"
        )
    parsed = [_numbers(header, line) for line in lines[1:]]
    rows = [row for row in parsed if row is not None]
    for row in rows:
        if (
            row["step"] == 0
        ):  # an evaluation before the first step; nothing has run that could have a speed
            row.update(tokens_per_second=math.nan, mfu=math.nan)
    kept, resumes = _newest(rows)
    columns = {
        name: np.array([row.get(name, math.nan) for row in kept], np.float64) for name in COLUMNS
    }
    return Metrics(columns, resumes, len(rows) - len(kept), len(parsed) - len(rows))


def read_samples(path: str | Path) -> list[Sample]:
    """Samples in the order of their steps; of two for the same step and prompt the later. Torn
    lines are left out.
    """
    found: dict[tuple[int, str], Sample] = {}
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            prompt, expected = str(record.get("prompt", "")), str(record.get("expected", ""))
            sample = Sample(int(record["step"]), prompt, str(record["text"]), expected)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        found = {key: old for key, old in found.items() if old.step <= sample.step}
        found[sample.step, sample.prompt] = sample
    return sorted(found.values(), key=lambda sample: sample.step)


def _numbers(header: list[str], line: list[str]) -> dict[str, float] | None:
    """A line as numbers, NaN for an empty field; None when a field is no number or the line has no
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
    value = float(text) if text.strip() else None
    return math.nan if value is None else math.inf if math.isnan(value) else value


def _newest(rows: list[dict[str, float]]) -> tuple[list[dict[str, float]], tuple[int, ...]]:
    """Drops rows that a later one goes back behind; gives the rest and the rows that begin a
    resumed part.

    A resume shows as a step that is no further than the one before, or as a clock that was set
    back.
    """
    kept: list[dict[str, float]] = []
    marks: list[int] = []
    for row in rows:
        resumed = bool(kept) and (
            row["step"] <= kept[-1]["step"] or row.get("seconds", 0) < kept[-1].get("seconds", 0)
        )
        while kept and kept[-1]["step"] >= row["step"]:
            kept.pop()
        if resumed:
            marks = [m for m in marks if m < len(kept)] + [len(kept)]
        kept.append(row)
    return kept, tuple(marks)
