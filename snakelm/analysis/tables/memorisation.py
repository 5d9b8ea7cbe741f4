"""memorisation.html and .csv: what models have by heart of some documents, beside what they say of
texts that they never saw.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from ...evaluation.memorisation_record import MemorisationRecord, Memory, ModelMemory
from ...evaluation.records import Interval
from ...files import write_text
from ...publishing import publishable
from ..pages import write_page

__all__ = ["verdict", "write_by_document", "write_memorisation"]

UNSEEN = 1.44  # bits: the mean exposure of a document that takes any place, 1 / ln 2
MOST_DOCUMENTS = 200  # that the page lists; the CSV has all


def write_memorisation(record: MemorisationRecord, path: str | Path) -> None:
    """The page of ``record``."""
    write_page(
        path,
        "memorisation.html",
        verdict=list(verdict(record)),
        record=record,
        models=[_model(model) for model in record.models],
        names=[model.name for model in record.models],
        documents=list(_documents(record))[:MOST_DOCUMENTS],
        more=max(0, len(record.documents) - MOST_DOCUMENTS),
        unseen=UNSEEN,
    )


def write_by_document(record: MemorisationRecord, path: str | Path) -> None:
    """A line for each model and document."""
    said = io.StringIO()
    writer = csv.writer(said, lineterminator="\n")
    document = ("id", "source", "file", "row", "bytes", "held_out", "trained")
    memory = ("places", "exact", "near", "similarity", "bits_per_byte", "exposure")
    writer.writerow(["model", *document, *memory])
    for model in record.models:
        for one, of_it in zip(record.documents, model.documents, strict=True):
            values = [getattr(one, key) for key in document]
            writer.writerow([model.name, *values, *(getattr(of_it, key) for key in memory)])
    write_text(path, said.getvalue())


def verdict(record: MemorisationRecord) -> Iterator[str]:
    """What may be said, a sentence for each model."""
    count = sum(not one.held_out for one in record.documents)
    for model in record.models:
        if model.exact is None:
            yield f"{model.name}: every document is too short to be asked for a continuation."
            continue
        guessed = model.control_exact.value if model.control_exact else 0.0
        exposure = model.exposure.value if model.exposure else 0.0
        yield (
            f"{model.name}: {model.exact.value:.1%} of continuations word for word (held-out "
            f"documents {guessed:.1%}), {model.reproduced} of {count} documents at one place at "
            f"least; exposure {exposure:.1f} of at most {record.most_exposure:.1f} bits (unseen "
            f"documents {UNSEEN:.1f})."
        )


def _model(model: ModelMemory) -> list[str]:
    return [
        model.name,
        _words(model.exact, ".1%"),
        _words(model.control_exact, ".1%"),
        _words(model.near, ".1%"),
        _words(model.control_near, ".1%"),
        _words(model.similarity, ".2f"),
        _words(model.control_similarity, ".2f"),
        _words(model.exposure, ".1f"),
        _words(model.bits_per_byte, ".2f"),
        f"{model.control_bits_per_byte:.2f}",
    ]


def _words(interval: Interval | None, style: str) -> str:
    return "–" if interval is None else interval.in_words(style)


def _documents(record: MemorisationRecord) -> Iterator[list[str]]:
    for i, one in enumerate(record.documents):
        row = "" if one.row is None else f", row {one.row:,}"
        where = f"{one.source}: {publishable(one.file or '')}{row}"
        fate = "held out" if one.held_out else "" if one.trained else "not trained on"
        yield [one.id, where, fate, *(_memory(model.documents[i]) for model in record.models)]


def _memory(one: Memory) -> str:
    said = "too short" if one.exact is None else f"{one.exact} and {one.near} of {one.places}"
    return f"{said}; {one.exposure:.1f} bits"
