"""The verdict on a run in words that need no prior knowledge, and what to do about it."""

from dataclasses import dataclass

import numpy as np

from .run_record import CompressionRate, RunRecord

__all__ = ["VerdictScores", "resume_count", "scores", "sentences", "warnings"]

Pair = tuple[float | None, float | None]  # of all held-out documents, and of the clean ones

WORSE_AT_THE_END = 1.02  # last bits per byte over the best: beyond it, the end of the run did harm
ENOUGH_DOCUMENTS = 30  # clean documents below which their bits per byte are noise


@dataclass(frozen=True)
class VerdictScores:
    """Bits per byte of the held-out text: of all documents and of the clean ones; None where
    unknown.
    """

    model: Pair
    ppmd: Pair
    xz: Pair
    unigram: Pair

    def deciding(self) -> tuple[float | None, float | None, bool]:
        """The model's and the compressor's number that decide, and whether they are those of the
        clean documents.
        """
        clean = self.model[1] is not None and self.ppmd[1] is not None
        return self.model[clean], self.ppmd[clean], clean


def scores(record: RunRecord) -> VerdictScores:
    """The model's last evaluation (of a finished run, on all held-out documents) and the
    baselines.
    """
    result, metrics, baseline = record.training_result(), record.metrics, record.baseline
    model = (
        result.val_bpb or metrics.last("val_bpb"),
        result.val_bpb_clean or metrics.last("val_bpb_clean"),
    )
    return VerdictScores(model, *map(_pair, (baseline.ppmd, baseline.xz, baseline.unigram)))


def sentences(found: VerdictScores) -> list[str]:
    """What the numbers mean, most important first."""
    model, compressor, clean = found.deciding()
    if model is None:
        return ["No verdict yet: this run has not been evaluated on held-out text."]

    meaning = (
        "A byte is one letter of English. Without any knowledge of the language it takes 8 bits to "
        f"write one down; this model needs {model:.3f}, because it predicts what comes next. The "
        "fewer bits, the better it knows the language."
    )
    if compressor is None:
        return [meaning]

    where = (
        "on held-out documents that repeat no passages of the training text"
        if clean
        else "on held-out text"
    )
    against = (
        "PPMd, a strong compressor that read the same training text first, needs "
        f"{compressor:.3f} {where}"
    )
    difference = abs(1 - model / compressor)
    if model < compressor:
        outcome = f"the model needs {difference:.0%} less. It has learned more than copying gives."
    else:
        outcome = (
            f"the model needs {difference:.0%} more. So far it has learned less than a good "
            "copyist. Train longer (train.steps), add more text, or try a larger preset."
        )
    return [f"{against}; {outcome}", meaning]


def warnings(record: RunRecord) -> list[str]:
    """What is wrong with the run according to its metrics; nothing for a sound one."""
    if record.metrics.last("step") is None:
        return ["The metrics file has no rows: training has not logged its first step yet."]

    checks = (_unfinished, _not_a_number, _few_documents, _overfitting, _unreadable)
    return [warning for check in checks if (warning := check(record))]


def _unfinished(record: RunRecord) -> str | None:
    last, steps = record.metrics.last("step"), record.config.train.steps
    if last is None or last >= steps:
        return None
    return (
        f"The run is at step {last:,.0f} of {steps:,}. The same command continues it; until then "
        "these are the numbers of an unfinished model."
    )


def _not_a_number(record: RunRecord) -> str | None:
    if not (count := record.metrics.not_numbers()):
        return None
    return (
        f"The training loss is NaN or infinite in {count} rows. Try a lower train.lr or a longer "
        "warm-up (train.warmup)."
    )


def _few_documents(record: RunRecord) -> str | None:
    few = record.baseline.docs.clean
    if few is None or few >= ENOUGH_DOCUMENTS:
        return None
    return (
        f"Only {few} held-out documents are clean, so their bits per byte are mostly chance. More "
        "documents or a larger prepare.val_fraction would make the number reliable."
    )


def _overfitting(record: RunRecord) -> str | None:
    if (best := _best_step(record)) is None:
        return None
    return (
        f"The held-out loss was lowest at step {best:,} and rose after it: the model memorises the "
        "training text. Fewer steps or more text would help."
    )


def _unreadable(record: RunRecord) -> str | None:
    if not (lines := record.metrics.unreadable):
        return None
    return f"{lines} lines of the metrics file could not be read and were left out."


def _best_step(record: RunRecord) -> int | None:
    """The step after which held-out text got worse for good; None when it didn't."""
    metrics = record.metrics
    rows = np.flatnonzero(np.isfinite(metrics["val_bpb"]))
    if record.last_takes_more():
        rows = rows[:-1]  # other documents than before: its number doesn't compare with theirs

    values = metrics["val_bpb"][rows]
    if not values.size or values[-1] <= values.min() * WORSE_AT_THE_END:
        return None
    return int(metrics["step"][rows[values.argmin()]])


def resume_count(record: RunRecord) -> int:
    """How often the run was resumed, as far as its log or its metrics tell."""
    return max(len(record.resumes), len(record.metrics.resumes))


def _pair(rate: CompressionRate) -> Pair:
    return rate.bpb, rate.bpb_clean
