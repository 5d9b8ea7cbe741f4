"""Training documents that hold text of an evaluation set go, so that the evaluation measures what
was learned.

Same text is ``ngram`` words in a row, as deduplication reads words: case and punctuation don't
count. An evaluation text that is shorter is looked for whole, unless it is so short that it stands
anywhere. A document goes when more than ``share`` of its n-grams is found. The documents stream
past; memory is that of the evaluation sets' hashes.

Hashes are of 64 bits and not looked behind: ten million n-grams of evaluation against 10**10 of
training make 0.005 false finds in all.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...config import Decontaminate
from ...errors import UserError
from ...log import Log
from .benchmark_ngrams import EvaluationSet, Wanted, evaluation_sets, wanted
from .dropped_examples import Examples
from .shingles import shingle_hashes, words
from .table import DocumentWriter, open_documents, read_documents, text_sizes

__all__ = ["decontaminate"]

SLICE_BYTES = 8 << 20


@dataclass
class Find:
    """What of the evaluation sets stands in one document."""

    ngrams: int  # places where something was found
    sets: set[int]
    length: int  # words of the first find
    place: int  # the word it begins with


def decontaminate(
    documents: Path, output: Path, files: Sequence[Path], rules: Decontaminate, seed: int, log: Log
) -> tuple[dict[str, Any], dict]:
    """Writes the documents that are clean of ``files`` to ``output``; gives the counts, and
    examples per file.
    """
    sets = evaluation_sets(files, rules)
    lists = wanted(sets)
    _say_sets(sets, rules, log)
    counts: dict[str, dict[str, Any]] = {}
    per_set = [{"documents_with_text": 0, "documents_dropped": 0} for _ in sets]
    examples = Examples(seed)
    with open_documents(documents) as file:
        total = file.metadata.num_rows
    with log.progress(total, "documents") as bar, DocumentWriter(output) as writer:
        done = 0
        for batch in read_documents(documents):
            for part in _slices(batch):
                clean = _clean(part, sets, lists, rules, per_set, examples)
                _count(counts, part, clean)
                writer.append(part if clean.all() else part.take(pa.array(np.flatnonzero(clean))))
                done += part.num_rows
                bar.update(done, f"{done - writer.documents:,} dropped")
        if not writer.documents:
            raise UserError(
                f"{documents}: every document holds text of an evaluation set; raise decontaminate.share"
            )
    found = {one.file: {**one.counts(), **more} for one, more in zip(sets, per_set, strict=True)}
    dropped = {one.file: more["documents_dropped"] for one, more in zip(sets, per_set, strict=True)}
    why = (
        ", ".join(f"{Path(name).name} {count:,}" for name, count in dropped.items() if count)
        or "none was found"
    )
    log.say(f"{total:,} documents → {writer.documents:,} ({why})")
    result = {
        "sources": counts,
        "evaluation": found,
        "documents": writer.documents,
        "text_bytes": writer.text_bytes,
    }
    return result, examples.found()


def _say_sets(sets: list[EvaluationSet], rules: Decontaminate, log: Log) -> None:
    sums = Counter()
    for one in sets:
        log.file_only(
            f"{one.file}: " + ", ".join(f"{name} {count:,}" for name, count in one.counts().items())
        )
        sums.update(one.counts())
    log.say(
        f"{len(sets)} evaluation files, {sums['texts']:,} texts, {sums['ngrams']:,} n-grams of {rules.ngram} words; "
        f"{sums['short']:,} shorter texts are looked for whole, {sums['too_short']:,} with fewer than "
        f"{rules.shortest} words not at all"
    )
    if not sums["ngrams"]:
        log.warn("no evaluation text is long enough to be looked for; lower decontaminate.shortest")


def _slices(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
    """Rows of about SLICE_BYTES of text at a time: the hashes of a slice take as much memory again,
    or twice that.
    """
    ends = np.cumsum(text_sizes(batch.column("text")))
    cuts = np.flatnonzero(np.diff(ends // SLICE_BYTES)) + 1
    bounds = [0, *cuts.tolist(), batch.num_rows]
    return [batch.slice(a, b - a) for a, b in itertools.pairwise(bounds) if b > a]


def _clean(
    batch: pa.RecordBatch,
    sets: list[EvaluationSet],
    lists: list[Wanted],
    rules: Decontaminate,
    per_set: list[dict[str, int]],
    examples: Examples,
) -> np.ndarray:
    """Which documents stay: bool [rows]; adds to ``per_set`` and ``examples``."""
    finds, sizes = _finds(batch.column("text"), lists, rules.ngram)
    clean = np.ones(batch.num_rows, bool)
    for row, find in finds.items():
        goes = find.ngrams > rules.share * sizes[row]
        clean[row] = not goes
        for number in sorted(find.sets):
            per_set[number]["documents_with_text"] += 1
            per_set[number]["documents_dropped"] += int(goes)
            if goes:
                shared = words(batch.column("text")[row].as_py())[
                    find.place : find.place + find.length
                ]
                share = min(1.0, find.ngrams / max(1, sizes[row]))
                examples.add(
                    sets[number].file, batch, row, found=" ".join(shared), share=round(share, 4)
                )
    return clean


def _finds(texts: pa.Array, lists: list[Wanted], ngram: int) -> tuple[dict[int, Find], np.ndarray]:
    """(row → what was found there, n-grams of each row: int64 [n])."""
    finds: dict[int, Find] = {}
    hashes, offsets = shingle_hashes(texts, ngram)
    sizes = np.diff(offsets)
    for one in lists:
        if one.length != ngram:
            hashes, offsets = shingle_hashes(texts, one.length)
        places = one.places(hashes)
        rows = np.searchsorted(offsets, places, "right") - 1
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            find = finds.setdefault(row, Find(0, set(), one.length, place - int(offsets[row])))
            find.ngrams += 1
            find.sets.update(one.sets_of(hashes[place]))
    return dict(sorted(finds.items())), sizes


def _count(counts: dict[str, dict[str, Any]], batch: pa.RecordBatch, clean: np.ndarray) -> None:
    sources = batch.column("source").dictionary_encode()
    codes, sizes = sources.indices.to_numpy(), text_sizes(batch.column("text"))
    for code, name in enumerate(sources.dictionary.to_pylist()):
        mine = codes == code
        so_far = counts.setdefault(
            name, {"read": 0, "kept": 0, "kept_bytes": 0, "dropped": {"evaluation text": 0}}
        )
        so_far["read"] += int(mine.sum())
        so_far["kept"] += int((mine & clean).sum())
        so_far["kept_bytes"] += int(sizes[mine & clean].sum())
        so_far["dropped"]["evaluation text"] += int((mine & ~clean).sum())
