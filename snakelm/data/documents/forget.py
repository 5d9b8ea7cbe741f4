"""Documents that are to be forgotten are taken out, before anything is learned from any.

The step stands behind deduplication, for two reasons. All that learns from documents stands behind
it: checks, the filter's and the tokenizer's training, the token files. And a document that
deduplication dropped as a copy stays dropped when the one it is a copy of is forgotten; in front of
it, the copy would take its place. The other way round, where a named document was dropped for a
near copy, that copy goes: named texts are looked up among the sampled documents, and what is near
them in what is left is forgotten too.

Source files, and what stands before this step in the results folder (raw, sampled, deduplicated),
still hold the texts: taking them away there is the user's, who may need them to prove what was
done.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...config import Deduplicate, Forget
from ...log import Log
from .forget_list import HashList, matches, read_hashes
from .minhash import band_keys, bands
from .shingles import NO_WORDS, signatures
from .table import (
    by_source,
    byte_views,
    read_documents,
    text_sizes,
)
from .write_kept import write_kept

__all__ = ["forget", "named_documents"]

SLICE_BYTES = 8 << 20  # of text, whose signatures are made at a time
NAMED, NEAR, TEXT, ORIGIN = "named", "near copy of a named one", "rule on text", "rule on origin"
PLACE = ("source", "id", "origin_file", "origin_row")
MOST_PLACES = 10_000  # of forgotten documents that are listed; the counts have all


def forget(
    documents: Path,
    sampled: Sequence[Path],
    lists: Sequence[Path],
    output: Path,
    rules: Forget,
    duplicates: Deduplicate,
    log: Log,
    threads: int = 1,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Writes the ``documents`` that stay to ``output``; returns the counts per source and reason,
    and where those are from that went. ``sampled``: the documents before deduplication.

    UserError for a line of ``lists`` that names none, unless `forget.missing` is warn, and when
    none is left.
    """
    hashes, texts = HashList(), pa.array([], pa.large_string())
    if lists:
        hashes = read_hashes(lists, "forget.documents")
        named = named_documents(sampled, hashes, log).values()
        texts = pa.array([one["text"] for one in named], pa.large_string())
        hashes.check("forget.documents", "document", rules.missing, log.warn)

    looking = _Forgetting(rules, hashes, _Near(texts, duplicates, threads) if rules.near else None)
    total, writer = write_kept(
        documents,
        output,
        looking.kept,
        lambda total: f"all {total:,} documents are to be forgotten; name fewer in forget",
        log,
        slice_bytes=SLICE_BYTES,
        dropped="forgotten",
    )

    log.say(f"{total:,} documents → {writer.documents:,} ({looking.summary()})")
    for name in ("text", "origin"):
        if getattr(rules, name) and not looking.matched[name]:
            log.warn(f"forget.{name}: found in no document")
    counts = {
        "sources": looking.counts,
        "lines": len(hashes.places),
        "lines_missing": len(hashes.missing),
        "documents": writer.documents,
        "text_bytes": writer.text_bytes,
    }
    return counts, looking.places


def named_documents(
    sampled: Sequence[Path], hashes: HashList, log: Log
) -> dict[int, dict[str, Any]]:
    """Id → the sampled document (a row of SCHEMA) that ``hashes`` name; marks the lines that name
    any. Of equal texts the first.
    """
    found: dict[int, dict[str, Any]] = {}
    with log.progress(len(sampled), "files") as bar:
        for done, path in enumerate(sampled, 1):
            for batch in read_documents(path):
                ids = batch.column("id").to_numpy()
                named = hashes.named(ids, partial(byte_views, batch.column("text")))
                for row in batch.take(pa.array(np.flatnonzero(named))).to_pylist():
                    found.setdefault(row["id"], row)
            bar.update(done, f"{len(found):,} named")
    return found


class _Near:
    """Which texts are near copies of some few, as deduplication would see it (minhash.py)."""

    def __init__(self, texts: pa.Array, rules: Deduplicate, threads: int) -> None:
        self.rules, self.threads = rules, threads
        self.bands, self.rows = bands(rules.permutations, rules.threshold)
        made = self._signatures(texts)
        self.named = made[(made != NO_WORDS).any(axis=1)]  # no words: near nothing
        self.keys = [np.unique(keys) for keys in self._keys(self.named)]
        # 0.55 × 100 is 55.00…01, hence the epsilon.
        self.least = math.ceil(rules.threshold * rules.permutations - 1e-9)

    def of(self, texts: pa.Array) -> np.ndarray:
        """bool [n]"""
        near = np.zeros(len(texts), bool)
        if not len(self.named):
            return near

        made = self._signatures(texts)
        pairs = zip(self._keys(made), self.keys, strict=True)
        candidate = np.any([np.isin(theirs, named) for theirs, named in pairs], axis=0)
        for row in np.flatnonzero(candidate).tolist():
            near[row] = (self.named == made[row]).sum(axis=1).max() >= self.least
        return near

    def _signatures(self, texts: pa.Array) -> np.ndarray:
        return signatures(texts, self.rules.shingle, self.rules.permutations, self.threads)

    def _keys(self, made: np.ndarray) -> list[np.ndarray]:
        starts = range(0, self.bands * self.rows, self.rows)
        return [band_keys(made[:, first : first + self.rows]) for first in starts]


class _Forgetting:
    """Looks through batches of documents, and counts what goes by source and reason."""

    def __init__(self, rules: Forget, hashes: HashList, near: _Near | None) -> None:
        self.rules, self.hashes, self.near = rules, hashes, near
        self.counts: dict[str, dict[str, Any]] = {}
        self.matched: Counter[str] = Counter()  # documents that a rule is found in
        self.places: list[dict[str, Any]] = []

    def kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The documents that stay."""
        reasons = self._reasons(batch)
        gone = np.any(list(reasons.values()), axis=0)
        self._count(batch, reasons, gone)
        return batch.take(pa.array(np.flatnonzero(~gone))) if gone.any() else batch

    def _reasons(self, batch: pa.RecordBatch) -> dict[str, np.ndarray]:
        """Why a document goes, the first reason of each: name → bool [n]."""
        texts, ids = batch.column("text"), batch.column("id").to_numpy()
        found = {
            NAMED: self.hashes.named(ids, partial(byte_views, texts)),
            NEAR: self.near.of(texts) if self.near else np.zeros(ids.size, bool),
            TEXT: matches(texts, self.rules.text),
            ORIGIN: matches(_origins(batch), self.rules.origin),
        }
        self.matched.update(text=int(found[TEXT].sum()), origin=int(found[ORIGIN].sum()))

        before = np.zeros(ids.size, bool)
        for reason, rows in found.items():
            found[reason] = rows & ~before
            before |= rows
        return found

    def _count(
        self, batch: pa.RecordBatch, reasons: dict[str, np.ndarray], gone: np.ndarray
    ) -> None:
        sizes = text_sizes(batch.column("text"))
        for name, mine in by_source(batch):
            empty = {"read": 0, "kept": 0, "kept_bytes": 0, "dropped": {}}
            counts = self.counts.setdefault(name, empty)
            counts["read"] += int(mine.sum())
            counts["kept"] += int((mine & ~gone).sum())
            counts["kept_bytes"] += int(sizes[mine & ~gone].sum())
            for reason, rows in reasons.items():
                if count := int((mine & rows).sum()):
                    counts["dropped"][reason] = counts["dropped"].get(reason, 0) + count

        for reason, rows in reasons.items():
            for row in np.flatnonzero(rows)[: MOST_PLACES - len(self.places)].tolist():
                place = {name: batch.column(name)[row].as_py() for name in PLACE}
                self.places.append({"why": reason, **place, "id": f"{place['id']:016x}"})

    def summary(self) -> str:
        """Documents that went, by reason, in one line."""
        dropped: Counter[str] = Counter()
        for counts in self.counts.values():
            dropped.update(counts["dropped"])
        parts = ", ".join(f"{reason} {count:,}" for reason, count in dropped.items())
        return f"forgotten: {parts or 'none'}"


def _origins(batch: pa.RecordBatch) -> pa.Array:
    """source/file of each document."""
    file = batch.column("origin_file").cast(pa.string()).fill_null("")
    return pc.binary_join_element_wise(batch.column("source").cast(pa.string()), file, "/")
