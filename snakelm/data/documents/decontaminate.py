"""Training documents that contain text of an evaluation set are dropped, so that the evaluation
measures what was learned and not what was memorised.

Same text means ``ngram`` consecutive words, with words as deduplication has them: case and
punctuation don't count. An evaluation text that is shorter is searched for in full, unless it is so
short that it occurs everywhere. A document is dropped when more than ``share`` of its n-grams are
found. The documents stream past; memory is that of the evaluation sets' hashes.

Hashes have 64 bits and are not verified: ten million evaluation n-grams against 10**10 of training
text make 0.005 false matches in all.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...config import Decontaminate
from ...log import Log
from .benchmark_ngrams import BenchmarkSet, NgramIndex, benchmark_sets, ngram_indexes
from .dropped_examples import DroppedExamples
from .shingles import shingle_hashes, words
from .table import (
    by_source,
    text_sizes,
)
from .write_kept import write_kept

__all__ = ["decontaminate"]

SLICE_BYTES = 8 << 20  # of text; the hashes of a slice take as much memory again, or twice that
REASON = "evaluation text"


@dataclass
class Match:
    """What of the evaluation sets one document contains."""

    ngrams: int  # places that match
    sets: set[int]
    length: int  # words of the first match
    place: int  # the word it begins with


def decontaminate(
    documents: Path, output: Path, files: Sequence[Path], rules: Decontaminate, seed: int, log: Log
) -> tuple[dict[str, Any], dict[str, list]]:
    """Writes the documents that are clean of ``files`` to ``output``; returns the counts, and
    examples per file.
    """
    sets = benchmark_sets(files, rules)
    _log_sets(sets, rules, log)
    cleaning = _Cleaning(sets, rules, seed)
    total, writer = write_kept(
        documents,
        output,
        cleaning.kept,
        lambda _: "every document holds text of an evaluation set; raise decontaminate.share",
        log,
        slice_bytes=SLICE_BYTES,
        dropped="dropped",
    )

    log.say(f"{total:,} documents → {writer.documents:,} ({cleaning.summary()})")
    counts = {
        "sources": cleaning.counts,
        "evaluation": cleaning.evaluation(),
        "documents": writer.documents,
        "text_bytes": writer.text_bytes,
    }
    return counts, cleaning.examples.by_reason()


def _log_sets(sets: list[BenchmarkSet], rules: Decontaminate, log: Log) -> None:
    sums: Counter[str] = Counter()
    for one in sets:
        counts = ", ".join(f"{name} {count:,}" for name, count in one.counts().items())
        log.file_only(f"{one.file}: {counts}")
        sums.update(one.counts())

    log.say(
        f"{len(sets)} evaluation files, {sums['texts']:,} texts, {sums['ngrams']:,} n-grams of "
        f"{rules.ngram} words; {sums['short']:,} shorter texts are searched for in full, "
        f"{sums['too_short']:,} with fewer than {rules.shortest} words not at all"
    )
    if not sums["ngrams"]:
        log.warn(
            "no evaluation text is long enough to be searched for; lower decontaminate.shortest"
        )


class _Cleaning:
    """Finds the documents to drop, batch by batch, and counts them by source and evaluation set."""

    def __init__(self, sets: list[BenchmarkSet], rules: Decontaminate, seed: int) -> None:
        self.sets, self.rules = sets, rules
        self.indexes = ngram_indexes(sets)
        self.counts: dict[str, dict[str, Any]] = {}
        self.with_text = [0] * len(sets)  # documents that contain text of each set
        self.dropped = [0] * len(sets)  # documents dropped for each set
        self.examples = DroppedExamples(seed)

    def kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The documents that stay."""
        matches, sizes = _matches(batch.column("text"), self.indexes, self.rules.ngram)
        clean = np.ones(batch.num_rows, bool)
        for row, match in matches.items():
            clean[row] = match.ngrams <= self.rules.share * sizes[row]
            for number in sorted(match.sets):
                self.with_text[number] += 1
                if not clean[row]:
                    self.dropped[number] += 1
                    self._add_example(batch, row, number, match, int(sizes[row]))

        self._count(batch, clean)
        return batch if clean.all() else batch.take(pa.array(np.flatnonzero(clean)))

    def _add_example(
        self, batch: pa.RecordBatch, row: int, number: int, match: Match, ngrams: int
    ) -> None:
        text = batch.column("text")[row].as_py()
        shared = words(text)[match.place : match.place + match.length]
        share = min(1.0, match.ngrams / max(1, ngrams))
        self.examples.add(
            self.sets[number].file, batch, row, found=" ".join(shared), share=round(share, 4)
        )

    def _count(self, batch: pa.RecordBatch, clean: np.ndarray) -> None:
        sizes = text_sizes(batch.column("text"))
        for name, mine in by_source(batch):
            count = self.counts.setdefault(
                name, {"read": 0, "kept": 0, "kept_bytes": 0, "dropped": {REASON: 0}}
            )
            count["read"] += int(mine.sum())
            count["kept"] += int((mine & clean).sum())
            count["kept_bytes"] += int(sizes[mine & clean].sum())
            count["dropped"][REASON] += int((mine & ~clean).sum())

    def evaluation(self) -> dict[str, dict[str, int]]:
        """Counts by evaluation file."""
        return {
            one.file: {
                **one.counts(),
                "documents_with_text": self.with_text[i],
                "documents_dropped": self.dropped[i],
            }
            for i, one in enumerate(self.sets)
        }

    def summary(self) -> str:
        """Documents dropped by evaluation file, in one line."""
        dropped = {one.file: count for one, count in zip(self.sets, self.dropped, strict=True)}
        parts = [f"{Path(name).name} {count:,}" for name, count in dropped.items() if count]
        return ", ".join(parts) or "no match"


def _matches(
    texts: pa.Array, indexes: list[NgramIndex], ngram: int
) -> tuple[dict[int, Match], np.ndarray]:
    """(row → what matches there, n-grams of each row: int64 [n])."""
    matches: dict[int, Match] = {}
    hashes, offsets = shingle_hashes(texts, ngram)
    sizes = np.diff(offsets)

    for index in indexes:
        if index.length != ngram:
            hashes, offsets = shingle_hashes(texts, index.length)
        places = index.places(hashes)
        rows = np.searchsorted(offsets, places, "right") - 1
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            first = Match(0, set(), index.length, place - int(offsets[row]))
            match = matches.setdefault(row, first)
            match.ngrams += 1
            match.sets.update(index.sets_of(hashes[place]))

    return dict(sorted(matches.items())), sizes
