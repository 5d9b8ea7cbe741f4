"""Exact and near duplicates over all sources, before the validation split.

Exact: 128-bit BLAKE2b of the text. Near: MinHash signatures of word shingles
(snakelm/data/near.py). Documents are considered in the order that `deduplicate.keep` says, and one
goes when it equals, or is near, one that was considered before and stays:

    first      in canonical order: the sources as configured, their files and rows in order
    longest    the longest text (bytes of UTF-8), of equal ones the first
    source     the sources as configured, within a source the longest

So of any document that goes, one at least as good by the rule stays. What stays is written in
canonical order.

Two passes over the files: the first keeps 16 bytes a document in memory, the signatures on disk and
no text; the second copies what stays.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...config import Deduplicate
from ...log import Log
from .minhash import NearDuplicates
from .table import DocumentWriter, byte_views, open_documents, read_documents, text_sizes

__all__ = ["deduplicate", "exact_duplicates", "order_considered"]

SLICE = 1 << 15  # documents whose signatures are in memory at a time

KEPT, EXACT, NEAR = 0, 1, 2


def deduplicate(
    inputs: Sequence[str | Path], output: Path, rules: Deduplicate, log: Log, threads: int = 1
) -> dict[str, Any]:
    """Writes the documents that stay of all ``inputs`` (in their order) to ``output``; gives the
    counts per source.
    """
    total = sum(_rows(path) for path in inputs)
    with log.progress(3 * total, "documents") as bar:
        fate = _fates(inputs, total, output.parent, rules, threads, bar)
        counts: dict[str, dict[str, int]] = {}
        with DocumentWriter(output) as writer:
            row = 0
            for batch in _all(inputs):
                some = fate[row : row + batch.num_rows]
                _count(counts, batch, some)
                writer.append(
                    batch.take(pa.array(np.flatnonzero(some == KEPT))) if some.any() else batch
                )
                row += batch.num_rows
                bar.update(2 * total + row, "writing")
    exact, near = (sum(c[kind] for c in counts.values()) for kind in ("exact", "near"))
    log.say(
        f"{total:,} documents → {writer.documents:,} (exact duplicates {exact:,}, near {near:,})"
    )
    return {"sources": counts, "documents": writer.documents, "text_bytes": writer.text_bytes}


def _rows(path: str | Path) -> int:
    with open_documents(path) as file:
        return file.metadata.num_rows


def _all(inputs: Sequence[str | Path]) -> Iterator[pa.RecordBatch]:
    for path in inputs:
        yield from read_documents(path)


def _fates(
    inputs: Sequence[str | Path],
    total: int,
    folder: Path,
    rules: Deduplicate,
    threads: int,
    bar: Any,
) -> np.ndarray:
    """What becomes of each document (KEPT, EXACT, NEAR): uint8 [total]."""
    digests = np.zeros((total if rules.exact else 0, 2), np.uint64)
    sizes, sources = np.zeros(total, np.int64), np.zeros(total, np.int32)
    near = NearDuplicates(folder, total, rules) if rules.minhash else None
    row = 0
    for number, path in enumerate(inputs):
        for batch in read_documents(path, ["text"]):
            texts = batch.column("text")
            here = slice(row, row + len(texts))
            sizes[here], sources[here] = text_sizes(texts), number
            if rules.exact:
                digests[here] = _digests(texts)
            for first in range(0, len(texts) if near else 0, SLICE):
                near.add(texts.slice(first, SLICE), threads)
            row = here.stop
            bar.update(row, "reading")
    fate = np.zeros(total, np.uint8)
    fate[exact_duplicates(digests)] = EXACT
    del digests
    if near:
        order = order_considered(rules.keep, sizes, sources)
        del sizes, sources
        gone = near.near(
            order, fate != KEPT, lambda share: bar.update(total + share * total, "comparing")
        )
        fate[gone] = NEAR
    return fate


def _digests(texts: pa.Array) -> np.ndarray:
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


def _count(counts: dict[str, dict[str, int]], batch: pa.RecordBatch, fate: np.ndarray) -> None:
    sources = batch.column("source").dictionary_encode()
    codes, sizes = sources.indices.to_numpy(), text_sizes(batch.column("text"))
    for code, name in enumerate(sources.dictionary.to_pylist()):
        mine = codes == code
        so_far = counts.setdefault(
            name, {"read": 0, "exact": 0, "near": 0, "kept": 0, "kept_bytes": 0}
        )
        so_far["read"] += int(mine.sum())
        for key, value in (("exact", EXACT), ("near", NEAR), ("kept", KEPT)):
            so_far[key] += int((mine & (fate == value)).sum())
        so_far["kept_bytes"] += int(sizes[mine & (fate == KEPT)].sum())
