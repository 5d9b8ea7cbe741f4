"""Exact and near duplicates over all sources, before the validation split.

Exact: 128-bit BLAKE2b of the text. Near: MinHash signatures of word shingles (minhash.py).
Documents are considered in the order that `deduplicate.keep` says, and one is dropped when it
equals, or is near, one that was considered before and is kept:

    first      in canonical order: the sources as configured, their files and rows in order
    longest    the longest text (bytes of UTF-8), of equal ones the first
    source     the sources as configured, within a source the longest

So for every document dropped, one at least as good by the rule is kept. The output is written in
canonical order.

Two passes over the files: the first keeps 16 bytes a document in memory, the signatures on disk and
no text; the second copies what is kept.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...config import Deduplicate
from ...log import Bar, Log
from .minhash import NearDuplicates
from .table import (
    DocumentWriter,
    by_source,
    byte_views,
    open_documents,
    read_documents,
    text_sizes,
)

__all__ = ["deduplicate", "exact_duplicates", "order_considered", "text_digests"]

SLICE = 1 << 15  # documents whose signatures are in memory at a time

KEPT, EXACT, NEAR = 0, 1, 2  # the fates of a document

Inputs = Sequence[str | Path]


def deduplicate(
    inputs: Inputs, output: Path, rules: Deduplicate, log: Log, threads: int = 1
) -> dict[str, Any]:
    """Writes the kept documents of all ``inputs`` (in their order) to ``output``; returns the
    counts per source.
    """
    total = sum(_num_rows(path) for path in inputs)
    counts: dict[str, dict[str, int]] = {}

    with log.progress(3 * total, "documents") as bar:
        fates = _fates(inputs, total, output.parent, rules, threads, bar)
        with DocumentWriter(output) as writer:
            row = 0
            for batch in _all(inputs):
                here = fates[row : row + batch.num_rows]
                _count(counts, batch, here)
                kept = batch.take(pa.array(np.flatnonzero(here == KEPT))) if here.any() else batch
                writer.append(kept)
                row += batch.num_rows
                bar.update(2 * total + row, "writing")

    exact, near = (sum(count[kind] for count in counts.values()) for kind in ("exact", "near"))
    log.say(
        f"{total:,} documents → {writer.documents:,} (exact duplicates {exact:,}, near {near:,})"
    )
    return {"sources": counts, "documents": writer.documents, "text_bytes": writer.text_bytes}


def _num_rows(path: str | Path) -> int:
    with open_documents(path) as file:
        return file.num_rows


def _all(inputs: Inputs) -> Iterator[pa.RecordBatch]:
    for path in inputs:
        yield from read_documents(path)


def _fates(
    inputs: Inputs, total: int, folder: Path, rules: Deduplicate, threads: int, bar: Bar
) -> np.ndarray:
    """What becomes of each document (KEPT, EXACT, NEAR): uint8 [total]."""
    digests = np.zeros((total if rules.exact else 0, 2), np.uint64)
    sizes, sources = np.zeros(total, np.int64), np.zeros(total, np.int32)
    near = NearDuplicates(folder, total, rules) if rules.minhash else None

    # The pass over the texts: a digest, a size and a signature of each.
    row = 0
    for number, path in enumerate(inputs):
        for batch in read_documents(path, ["text"]):
            texts = batch.column("text")
            here = slice(row, row + len(texts))
            sizes[here], sources[here] = text_sizes(texts), number
            if rules.exact:
                digests[here] = text_digests(texts)
            if near is not None:
                for first in range(0, len(texts), SLICE):
                    near.add(texts.slice(first, SLICE), threads)
            row = here.stop
            bar.update(row, "reading")

    fates = np.zeros(total, np.uint8)
    fates[exact_duplicates(digests)] = EXACT
    del digests  # as large as all that the next stage needs

    if near is not None:
        order = order_considered(rules.keep, sizes, sources)
        del sizes, sources
        dropped = near.near(
            order, fates != KEPT, lambda share: bar.update(total + share * total, "comparing")
        )
        fates[dropped] = NEAR
    return fates


def text_digests(texts: pa.Array) -> np.ndarray:
    """BLAKE2b-128 of each text: uint64 [n, 2]."""
    blake = hashlib.blake2b
    joined = b"".join(blake(text, digest_size=16).digest() for text in byte_views(texts))
    return np.frombuffer(joined, np.uint64).reshape(-1, 2)


def exact_duplicates(digests: np.ndarray) -> np.ndarray:
    """Rows of ``digests`` (uint64 [n, 2]) that equal an earlier row, ascending."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: equal rows stay in their order
    ordered = digests[order]
    again = np.zeros(order.size, bool)
    again[1:] = (ordered[1:] == ordered[:-1]).all(axis=1)
    return np.sort(order[again])


def order_considered(keep: str, sizes: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Rows in the order of `deduplicate.keep`: uint32 [n]. ``sizes``: bytes of text; ``sources``:
    ascending numbers.
    """
    if keep == "first":
        return np.arange(sizes.size, dtype=np.uint32)
    keys = (-sizes,) if keep == "longest" else (-sizes, sources)
    return np.lexsort(keys).astype(np.uint32)  # stable: the first of equals


def _count(counts: dict[str, dict[str, int]], batch: pa.RecordBatch, fates: np.ndarray) -> None:
    sizes = text_sizes(batch.column("text"))
    for name, mine in by_source(batch):
        count = counts.setdefault(
            name, {"read": 0, "exact": 0, "near": 0, "kept": 0, "kept_bytes": 0}
        )
        count["read"] += int(mine.sum())
        for key, fate in (("exact", EXACT), ("near", NEAR), ("kept", KEPT)):
            count[key] += int((mine & (fates == fate)).sum())
        count["kept_bytes"] += int(sizes[mine & (fates == KEPT)].sum())
