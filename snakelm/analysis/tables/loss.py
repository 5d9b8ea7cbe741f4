"""loss_documents.html: the loss in numbers, the gap to text that training has read, and the hardest
and easiest documents. tuning_change.html: what tuning taught, and what it cost.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from ...evaluation.loss_record import (
    DocumentExcerpt,
    FittedLaw,
    LossRecord,
)
from ...evaluation.records import FEW_BYTES_MORE, STAGES, Interval
from ...publishing import publishable
from ..figures.loss import stage_names
from ..pages import write_page
from ..units import human, per_character
from ..verdict import ENOUGH_DOCUMENTS

__all__ = ["TwoLines", "two_lines", "write_loss", "write_tuning_change"]

LONGEST = 600  # characters of a document
LONGEST_NAME = 60  # of a source
LONGEST_PLACE = 120  # of a source, a file
MOST_SOURCES = 40
FROM_ANOTHER = (
    "Tuning began with another model than the one that was pretrained here (sft.base), so the two "
    "differ by more than tuning: what it taught and cost can't be told from them."
)
CURVES = {"held_out": "held-out text", "training": "training text"}


@dataclass(frozen=True)
class TwoLines:
    """A value and, small below it, its interval, and what else is to be said: narrow enough for
    several in a row on a phone.
    """

    value: str
    below: str | None
    more: str | None = None


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
        other_scripts=loss.other_scripts(),
        stage_names=list(stage_names(loss).values()),
        stages=list(_stages(loss)),
        sentences=list(_sentences(loss)),
        sources=list(_sources(loss)),
        documents={
            "Hardest": [_document(excerpt, loss) for excerpt in loss.hardest],
            "Easiest": [_document(excerpt, loss) for excerpt in loss.easiest],
        },
    )


def write_tuning_change(loss: LossRecord, path: str | Path) -> None:
    """The page of loss.json on tuning: answers and text before and after it."""
    change = loss.change
    write_page(
        path,
        "tuning_change.html",
        stage_names=list(stage_names(loss).values()),
        stages=list(_stages(loss)),
        text=_tuning_in_words(change.all, loss.preferred) if change else FROM_ANOTHER,
        answers=change.answers.in_words("+.3f") if change and change.answers else None,
        seen=list(_seen(loss)),
    )


def _seen(loss: LossRecord) -> Iterator[LossRow]:
    """Of each range of tokens before the target: the loss of each stage."""
    bins = loss.by_visible
    of_stages = [bins.of(stage) for stage in STAGES]
    for i, (first, end) in enumerate(pairwise(bins.edges)):
        losses = [losses[i] if losses else None for losses in of_stages]
        values = [None if one is None else TwoLines(f"{one:.3f}", None) for one in losses]
        if any(values):
            name = f"{first:,}" if end == first + 1 else f"{first:,}–{end - 1:,}"
            yield LossRow(name, f"{bins.tokens[i]:,} tokens", values)


def two_lines(values: Interval | None, style: str = ".3f") -> TwoLines | None:
    """`1.518` and `1.492–1.542`."""
    return TwoLines(f"{values.value:{style}}", values.bounds(style, "–")) if values else None


def _by_character(values: Interval | None, size: int, characters: int | None) -> TwoLines | None:
    """Bits per byte, and per character below."""
    lines = two_lines(values)
    if lines is None or values is None:
        return None
    bits = per_character(values.value, size, characters)
    return lines if bits is None else replace(lines, more=f"{bits:.3f} a character")


def _stages(loss: LossRecord) -> Iterator[LossRow]:
    """What there is of all documents, the clean ones and the answers."""
    text = loss.held_out
    sizes = {
        "all": (text.bytes, text.characters),
        "clean": (text.clean_bytes or 0, text.clean_characters),
        "answers": (0, None),
    }
    for name, (size, characters) in sizes.items():
        of_stages = [loss.stages.get(stage) for stage in STAGES]
        values = [
            _by_character(getattr(one, name), size, characters if loss.other_scripts() else None)
            if one
            else None
            for one in of_stages
        ]
        if any(values):
            yield LossRow("answers" if name == "answers" else f"{name} documents", None, values)


def _sources(loss: LossRecord) -> Iterator[LossRow]:
    largest = sorted(loss.sources.items(), key=lambda pair: (-pair[1].bytes, pair[0]))
    for name, source in largest[:MOST_SOURCES]:
        size = f"{source.documents:,} documents, {human(source.bytes)} bytes"
        characters = source.characters if loss.other_scripts() else None
        rates = [_by_character(source.of(stage), source.bytes, characters) for stage in STAGES]
        yield LossRow(name[:LONGEST_NAME], size, rates)
    if len(largest) > MOST_SOURCES:
        yield LossRow(f"{len(largest) - MOST_SOURCES:,} smaller ones", None, [None, None])


def _sentences(loss: LossRecord) -> Iterator[str]:
    """What the numbers mean."""
    if loss.change:
        yield _tuning_in_words(loss.change.all, loss.preferred)
    elif "tuned" in loss.stages:
        yield FROM_ANOTHER
    else:
        yield (
            "Nothing was tuned in this run (export: base), so there is no second stage to compare."
        )

    yield _gap_in_words(loss)

    for name, law in loss.law.items():
        if not isinstance(law, FittedLaw):
            yield f"No law of the curve on {CURVES[name]}: {law.reason}."
            continue
        yield (
            f"The curve on {CURVES[name]} follows E + A·D⁻ᵃ with a = {law.power.in_words('.2f')}, "
            f"E = {law.floor.in_words('.2f')}; for ten times the tokens it predicts "
            f"{law.ahead[-1].in_words('.2f')}. It is the law of this run's schedule: a falling "
            "learning rate bends the curve by itself."
        )


def _gap_in_words(loss: LossRecord) -> str:
    """Two groups of different documents were measured; why they differ was not."""
    train, held_out = loss.train_loss, loss.stages["base"].all
    if train.bpb is None or train.gap is None:
        return "No training document was read to its end yet, so there is no gap to tell."

    measured = (
        f"Held-out text takes {held_out.value:.3f} bits per byte, training text that was read to "
        f"its end {train.bpb.in_words()}: {train.documents:,} of {train.train_documents:,} "
        f"documents, {train.epochs:.2f} epochs."
    )
    fewest = min(train.documents, loss.held_out.documents)
    if fewest < ENOUGH_DOCUMENTS:
        few = "One document" if fewest == 1 else f"{fewest} documents"
        return f"{measured} {few} can't say whether the two differ."
    if _could_be_nothing(train.gap):
        return f"{measured} The difference, {train.gap.in_words('+.3f')}, may be chance."
    return (
        f"{measured} The difference is {train.gap.in_words('+.3f')}; these are different "
        "documents, so how much of it was learned by heart was not measured."
    )


def _tuning_in_words(change: Interval, preferred: bool) -> str:
    what = "tuning and preferences" if preferred else "tuning"
    took = f"After {what} plain text takes {change.in_words('+.3f')} bits per byte"
    if change.low is None:
        return f"{took}."
    if _could_be_nothing(change):
        return f"{took}: maybe chance."

    verb = "cost" if change.value > 0 else "gain"
    low, high = sorted(abs(bound) for bound in (change.low, change.high) if bound is not None)
    size = f"{abs(change.value):.3f} bits per byte on plain text ({low:.3f} to {high:.3f})"
    return f"{what.capitalize()} {verb}{'' if preferred else 's'} {size}."


def _could_be_nothing(difference: Interval) -> bool:
    low, high = difference.low, difference.high
    return low is None or high is None or low <= 0 <= high


def _document(excerpt: DocumentExcerpt, loss: LossRecord) -> ShownDocument:
    rates = f"{excerpt.bpb_base:.3f}"
    if excerpt.bpb_tuned is not None:
        rates += f", {excerpt.bpb_tuned:.3f} {stage_names(loss)['tuned']}"
    bits = per_character(excerpt.bpb_base, excerpt.bytes, excerpt.characters)
    if bits is not None and bits > excerpt.bpb_base * (1 + FEW_BYTES_MORE):
        rates += f" ({bits:.3f} a character)"

    row = None if excerpt.row is None else f"row {excerpt.row:,}"
    places = [
        part[:LONGEST_PLACE] for part in (excerpt.source, publishable(excerpt.file), row) if part
    ]
    return ShownDocument(rates, " · ".join(places), excerpt.clean, excerpt.text[:LONGEST])
