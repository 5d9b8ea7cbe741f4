"""loss_documents.html: the loss in numbers, the gap to text that training has read, and the hardest
and easiest documents.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...evaluation.loss_record import (
    DocumentExcerpt,
    FittedLaw,
    LossRecord,
    TuningChange,
)
from ...evaluation.records import STAGES, Interval
from ...publishing import publishable
from ..figures.loss import STAGE_NAMES
from ..pages import write_page
from ..units import human

__all__ = ["TwoLines", "interval", "two_lines", "write_loss"]

LONGEST = 600  # characters of a document
LONGEST_NAME = 60  # of a source
LONGEST_PLACE = 120  # of a source, a file
MOST_SOURCES = 40
CURVES = {"held_out": "held-out text", "training": "training text"}


@dataclass(frozen=True)
class TwoLines:
    """A value and, small below it, its interval: narrow enough for several in a row on a phone."""

    value: str
    below: str | None


@dataclass(frozen=True)
class LossRow:
    """A line of a table: what it is of, what is small below that, a value for each stage."""

    name: str
    below: str | None
    values: list[TwoLines | None]


@dataclass(frozen=True)
class ShownDocument:
    """A document, its rates and where it is from."""

    rates: str
    place: str
    clean: bool
    text: str


def write_loss(loss: LossRecord, path: str | Path) -> None:
    """The page of loss.json."""
    write_page(
        path,
        "loss_documents.html",
        held_out=loss.held_out,
        held_out_bytes=human(loss.held_out.bytes),
        stage_names=list(STAGE_NAMES.values()),
        stages=list(_stages(loss)),
        sentences=list(_sentences(loss)),
        sources=list(_sources(loss)),
        documents={
            "Hardest": [_document(excerpt) for excerpt in loss.hardest],
            "Easiest": [_document(excerpt) for excerpt in loss.easiest],
        },
    )


def interval(values: Interval | None, style: str = ".3f") -> str:
    """`1.518 (1.492 to 1.542)`; – for nothing."""
    if values is None:
        return "–"
    if values.low is None:
        return f"{values.value:{style}}"
    return f"{values.value:{style}} ({values.low:{style}} to {values.high:{style}})"


def two_lines(values: Interval | None, style: str = ".3f") -> TwoLines | None:
    """`1.518` and `1.492–1.542`."""
    if values is None:
        return None
    bounds = None if values.low is None else f"{values.low:{style}}–{values.high:{style}}"
    return TwoLines(f"{values.value:{style}}", bounds)


def _stages(loss: LossRecord) -> Iterator[LossRow]:
    """What there is of all documents, the clean ones and the answers."""
    for name in ("all", "clean", "answers"):
        of_stages = [loss.stages.get(stage) for stage in STAGES]
        values = [two_lines(getattr(one, name)) if one else None for one in of_stages]
        if any(values):
            yield LossRow("answers" if name == "answers" else f"{name} documents", None, values)


def _sources(loss: LossRecord) -> Iterator[LossRow]:
    largest = sorted(loss.sources.items(), key=lambda pair: (-pair[1].bytes, pair[0]))
    for name, source in largest[:MOST_SOURCES]:
        size = f"{source.documents:,} documents, {human(source.bytes)} bytes"
        rates = [two_lines(source.of(stage)) for stage in STAGES]
        yield LossRow(name[:LONGEST_NAME], size, rates)
    if len(largest) > MOST_SOURCES:
        yield LossRow(f"{len(largest) - MOST_SOURCES:,} smaller ones", None, [None, None])


def _sentences(loss: LossRecord) -> Iterator[str]:
    """What the numbers mean."""
    if loss.change:
        yield _tuning_in_words(loss.change)
    else:
        yield (
            "Nothing was tuned in this run (export: base), so there is no second stage to compare."
        )

    train = loss.train_loss
    if train.gap:
        yield (
            f"Held-out text needs {interval(train.gap, '+.3f')} bits per byte against training "
            f"text that was read to its end ({train.read_documents:,} of "
            f"{train.train_documents:,} documents, {train.epochs:.2f} epochs): the difference is "
            "what was learned by heart."
        )
    else:
        yield "No training document was read to its end yet, so there is no gap to tell."

    for name, law in loss.law.items():
        if not isinstance(law, FittedLaw):
            yield f"No law of the curve on {CURVES[name]}: {law.reason}."
            continue
        yield (
            f"The curve on {CURVES[name]} follows E + A·D⁻ᵃ with a = {interval(law.power, '.2f')}, "
            f"E = {interval(law.floor, '.2f')}; for ten times the tokens it predicts "
            f"{interval(law.ahead[-1], '.2f')}. It is the law of this run's schedule: a falling "
            "learning rate bends the curve by itself."
        )


def _tuning_in_words(change: TuningChange) -> str:
    verb = "costs" if change.all.value > 0 else "gains"
    bounds = ""
    if change.all.low is not None and change.all.high is not None:
        low, high = sorted(map(abs, (change.all.low, change.all.high)))
        bounds = f" ({low:.3f} to {high:.3f})"
    return f"Tuning {verb} {abs(change.all.value):.3f} bits per byte on plain text{bounds}."


def _document(excerpt: DocumentExcerpt) -> ShownDocument:
    rates = f"{excerpt.bpb_base:.3f}"
    if excerpt.bpb_tuned is not None:
        rates += f", {excerpt.bpb_tuned:.3f} after tuning"

    row = None if excerpt.row is None else f"row {excerpt.row:,}"
    places = [
        part[:LONGEST_PLACE] for part in (excerpt.source, publishable(excerpt.file), row) if part
    ]
    return ShownDocument(rates, " · ".join(places), excerpt.clean, excerpt.text[:LONGEST])
