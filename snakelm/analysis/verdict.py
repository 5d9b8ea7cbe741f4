"""The verdict on a run in words that need no prior knowledge, and what to do about it.

It claims what was measured: a difference from the compressor only where the model's 95% interval
leaves the compressor's number out, and nothing of a handful of documents.
"""

from dataclasses import dataclass

import numpy as np

from ..evaluation.records import FEW_BYTES_MORE, HeldOutLoss, Interval, Rates
from .run_record import RunRecord

__all__ = [
    "ENOUGH_DOCUMENTS",
    "VerdictScores",
    "resume_count",
    "sentences",
    "verdict_scores",
    "warnings",
]

Pair = tuple[float | None, float | None]  # of all held-out documents, and of the clean ones
UNKNOWN: Pair = (None, None)

WORSE_AT_THE_END = 1.02  # last bits per byte over the best: beyond it, the end of the run did harm
ENOUGH_DOCUMENTS = 30  # documents below which bits per byte are noise


@dataclass(frozen=True)
class VerdictScores:
    """Bits per byte of the held-out text: of all documents and of the clean ones; None where
    unknown. So are the numbers of these documents, the model's intervals and the bytes of a letter.
    """

    model: Pair
    ppmd: Pair = UNKNOWN
    xz: Pair = UNKNOWN
    unigram: Pair = UNKNOWN
    documents: tuple[int | None, int | None] = (None, None)
    intervals: tuple[Interval | None, Interval | None] = (None, None)
    bytes_per_character: Pair = UNKNOWN

    def clean_decides(self) -> bool:
        """Whether the verdict is of the clean documents: where there are enough, since copying
        helps little there.
        """
        measured = self.model[1] is not None and self.ppmd[1] is not None
        count = self.documents[1]
        return measured and (count is None or count >= ENOUGH_DOCUMENTS)

    def deciding(self) -> tuple[float | None, float | None, bool]:
        """The model's and the compressor's number that decide, and whether they are those of the
        clean documents.
        """
        clean = self.clean_decides()
        return self.model[clean], self.ppmd[clean], clean

    def too_few(self) -> int | None:
        """The number of documents that decide, where it is too small for any claim."""
        count = self.documents[self.clean_decides()]
        return count if count is not None and count < ENOUGH_DOCUMENTS else None

    def undecided(self) -> bool:
        """Whether the model's number may lie on either side of the compressor's."""
        model, compressor, clean = self.deciding()
        interval = self.intervals[clean]
        if model is None or compressor is None or self.too_few() is not None:
            return True
        if interval is None or interval.low is None or interval.high is None:
            return round(model, 3) == round(compressor, 3)
        return interval.low <= compressor <= interval.high


def verdict_scores(record: RunRecord) -> VerdictScores:
    """The model's last evaluation (of a finished run, on all held-out documents) and the
    baselines.
    """
    result, metrics, baseline = record.training_result(), record.metrics, record.baseline
    model = (
        result.val_bpb or metrics.last("val_bpb"),
        result.val_bpb_clean or metrics.last("val_bpb_clean"),
    )
    if baseline is None:
        return VerdictScores(model)

    evaluation = record.evaluation
    measured: HeldOutLoss | None = evaluation.held_out.get("base") if evaluation else None
    text = evaluation.text if evaluation else None
    return VerdictScores(
        model,
        ppmd=_pair(baseline.ppmd),
        xz=_pair(baseline.xz),
        unigram=_pair(baseline.unigram),
        documents=(baseline.docs.total, baseline.docs.clean),
        intervals=(measured.all, measured.clean) if measured else (None, None),
        bytes_per_character=(
            (text.bytes_per_character(), text.bytes_per_character(clean=True)) if text else UNKNOWN
        ),
    )


def sentences(scores: VerdictScores) -> list[str]:
    """What the numbers mean, most important first."""
    model, compressor, clean = scores.deciding()
    if model is None:
        return ["No verdict yet: this run has not been evaluated on held-out text."]

    meaning = (
        f"{_letters(model, scores.bytes_per_character[clean])} Without any knowledge of the "
        f"language it takes 8 bits to write a byte down; this model needs {model:.3f}, because it "
        "predicts what comes next. The fewer bits, the better it predicts."
    )
    if compressor is None:
        return [meaning]

    where = (
        "on held-out documents that hardly repeat passages of the training text"
        if clean
        else "on held-out text"
    )
    against = (
        "PPMd, a strong compressor that read the same training text first, needs "
        f"{compressor:.3f} {where}"
    )
    return [f"{against}; {_outcome(scores, model, compressor)}", meaning]


def _letters(bits: float, each: float | None) -> str:
    if each is None:
        return "A byte is one letter of English, and less than one of many other scripts."
    if each <= 1 + FEW_BYTES_MORE:
        return "A byte of this text is one letter."
    return f"A letter of this text takes {each:.2f} bytes, so {bits * each:.3f} bits."


def _outcome(scores: VerdictScores, model: float, compressor: float) -> str:
    """How the model stands to the compressor, as far as the documents tell."""
    clean, few = scores.clean_decides(), scores.too_few()
    if few is not None:
        count = "one document" if few == 1 else f"{few} documents"
        return (
            f"the model needs {model:.3f}. Of {count} this is no verdict: more documents or a "
            "larger prepare.val_fraction would give one."
        )

    interval = scores.intervals[clean]
    needs = interval.in_words() if interval else f"{model:.3f}"
    if scores.undecided():
        return f"the model needs about as many, {needs}: no difference can be told."

    difference = abs(1 - model / compressor)
    bounds = f": {needs}" if interval else ""
    if model < compressor:
        return (
            f"the model needs {difference:.0%} less{bounds}. So it predicts this text better than "
            "a compressor that remembers the training text word for word."
        )
    return (
        f"the model needs {difference:.0%} more{bounds}. So far remembering the training text word "
        "for word does better. Train longer (train.steps), add more text, or try a larger preset."
    )


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
    if not (count := record.metrics.non_finite_losses()):
        return None
    return (
        f"The training loss is NaN or infinite in {count} rows. Try a lower train.lr or a longer "
        "warm-up (train.warmup)."
    )


def _few_documents(record: RunRecord) -> str | None:
    few = record.baseline.docs.clean if record.baseline else ENOUGH_DOCUMENTS
    if few >= ENOUGH_DOCUMENTS:
        return None
    count = {0: "No held-out document is", 1: "Only one held-out document is"}.get(
        few, f"Only {few} held-out documents are"
    )
    return (
        f"{count} clean, too few for a number to go by; the verdict is of all documents, on which "
        "copying helps. More documents or a larger prepare.val_fraction would give one of clean "
        "documents."
    )


def _overfitting(record: RunRecord) -> str | None:
    if (best := _best_step(record)) is None:
        return None
    return (
        f"Bits per byte of held-out text were lowest at step {best:,} and rose after it by more "
        f"than {WORSE_AT_THE_END - 1:.0%}. Where the training loss went on falling, that is "
        "overfitting: fewer steps or more text would help. Where it rose, too, a lower train.lr "
        "would."
    )


def _unreadable(record: RunRecord) -> str | None:
    if not (lines := record.metrics.unreadable):
        return None
    return f"{lines} lines of the metrics file could not be read and were left out."


def _best_step(record: RunRecord) -> int | None:
    """The step after which held-out text got worse for good; None when it didn't."""
    metrics = record.metrics
    rows = np.flatnonzero(np.isfinite(metrics["val_bpb"]))
    # Of other documents than those between, so that their numbers don't compare.
    if record.samples_held_out():
        rows = rows[metrics["step"][rows] > 0]
    if record.last_takes_more():
        rows = rows[:-1]

    values = metrics["val_bpb"][rows]
    if not values.size or values[-1] <= values.min() * WORSE_AT_THE_END:
        return None
    return int(metrics["step"][rows[values.argmin()]])


def resume_count(record: RunRecord) -> int:
    """How often the run was resumed, as far as its log or its metrics tell."""
    return max(len(record.resumes), len(record.metrics.resumes))


def _pair(rates: Rates) -> Pair:
    return rates.bpb, rates.bpb_clean
