"""The verdict on a run in words that need no prior knowledge, and what to do about it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .run_record import Record

__all__ = ["Scores", "resumes", "scores", "seconds_in_words", "sentences", "warnings"]

WORSE_AT_THE_END = 1.02  # last bits per byte over the best: beyond it, the end of the run did harm

ENOUGH_DOCUMENTS = 30  # clean documents below which their bits per byte are noise


@dataclass(frozen=True)
class Scores:
    """Bits per byte on the held-out text, whole and clean; None where unknown."""

    model: tuple[float | None, float | None]
    ppmd: tuple[float | None, float | None]
    xz: tuple[float | None, float | None]
    unigram: tuple[float | None, float | None]

    def deciding(self) -> tuple[float | None, float | None, bool]:
        """The model's and the compressor's number that decide, and whether they are those of the
        clean documents.
        """
        clean = self.model[1] is not None and self.ppmd[1] is not None
        return self.model[clean], self.ppmd[clean], clean


def scores(record: Record) -> Scores:
    """The model's last evaluation (of the finished run, on all held-out documents) and the
    baselines.
    """
    result, metrics = record.result(), record.metrics
    whole, clean = (
        _finite(result.get(name)) or metrics.last(name) for name in ("val_bpb", "val_bpb_clean")
    )
    return Scores(
        (whole, clean), *(_pair(record.baseline.get(name)) for name in ("ppmd", "xz", "unigram"))
    )


def sentences(found: Scores) -> list[str]:
    """What the numbers mean, most important first."""
    model, compressor, clean = found.deciding()
    if model is None:
        return ["No verdict yet: this run has not been evaluated on held-out text."]
    said = [
        f"A byte is one letter of English. Knowing nothing, it takes 8 bits to write one down; this model needs "
        f"{model:.3f}, because it guesses what comes next. The fewer, the better it knows the text."
    ]
    if compressor is None:
        return said
    where = (
        "on held-out documents that repeat no passages of the training text"
        if clean
        else "on held-out text"
    )
    against = f"PPMd, a strong compressor that read the same training text first, needs {compressor:.3f} {where}"
    share = abs(1 - model / compressor)
    if model < compressor:
        return [
            f"{against}; the model needs {share:.0%} less. It has learned more than copying gives.",
            *said,
        ]
    return [
        f"{against}; the model needs {share:.0%} more. So far it has learned less than a good copyist. "
        "Train longer (train.steps), bring more text, or try a larger preset.",
        *said,
    ]


def warnings(record: Record) -> list[str]:
    """What is wrong with the run as its metrics tell it; nothing for a sound one."""
    metrics, steps = record.metrics, record.config.train.steps
    last = metrics.last("step")
    if last is None:
        return ["The metrics file has no rows: training has not got as far as its first line."]
    said = []
    if last < steps:
        said.append(
            f"The run stands at step {last:,.0f} of {steps:,}. The same command goes on with it; "
            "until then these are numbers of an unfinished model."
        )
    if count := metrics.non_finite_losses():
        said.append(
            f"{count} rows have a training loss that is no number. Try a smaller train.lr or a longer warm-up."
        )
    documents = record.baseline.get("docs")
    few = documents.get("clean") if isinstance(documents, Mapping) else None
    if isinstance(few, int) and few < ENOUGH_DOCUMENTS:
        said.append(
            f"Only {few} held-out documents are clean: their number is a matter of luck. "
            "More documents, or a larger prepare.val_fraction, make it firm."
        )
    if turn := _turned(record):
        said.append(
            f"Held-out text was best at step {turn:,} and got worse after it: the model repeats the training text. "
            "Fewer steps or more text would help."
        )
    if metrics.unreadable:
        said.append(
            f"{metrics.unreadable} lines of the metrics file could not be read and were left out."
        )
    return said


def _turned(record: Record) -> int | None:
    """The step after which held-out text got worse for good; None when it didn't. Like is compared
    with like.
    """
    rows = np.flatnonzero(np.isfinite(record.metrics["val_bpb"]))
    rows = rows[:-1] if record.last_takes_more() else rows
    values = record.metrics["val_bpb"][rows]
    if not values.size or values[-1] <= values.min() * WORSE_AT_THE_END:
        return None
    return int(record.metrics["step"][rows[values.argmin()]])


def resumes(record: Record) -> int:
    """How often the run was taken up again, as far as its log or its metrics tell."""
    return max(len(record.resumes), len(record.metrics.resumes))


def seconds_in_words(seconds: float | None) -> str | None:
    """`3 min 41 s`, `2 h 5 min`."""
    if seconds is None or not math.isfinite(seconds):
        return None
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _pair(rates: Any) -> tuple[float | None, float | None]:
    rates = rates if isinstance(rates, Mapping) else {}
    return _finite(rates.get("bpb")), _finite(rates.get("bpb_clean"))


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
