"""Exact and near duplicates over all sources, before the validation split; the first in canonical order stays.

Exact: 128-bit BLAKE2b of the text. Near: MinHash signatures (rensa) of word shingles; documents that share a band of
their signatures are candidates, and one goes when the signatures put its Jaccard similarity to an earlier document
that stays at the threshold or above. Compared is only with documents that stay, so no chain of small differences
carries a document away from all that is kept.

Two passes over the files: the first keeps 16 bytes and a signature (4 bytes a permutation) per document in memory and
no text; the second copies what stays.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import rensa

from ..config import Deduplicate
from ..log import Log
from .documents import DocumentWriter, byte_views, open_documents, read_documents, text_sizes
from .shingles import LARGE, large_shingle_hashes, shingle_hashes

__all__ = ["bands", "deduplicate", "exact_duplicates", "near_duplicates"]

SEED = 1  # of the signatures' permutations; not the run's: which documents are alike is no matter of chance
RECALL = 0.97  # wanted chance that a pair just at the threshold becomes a candidate
FULLEST_BUCKET = 1000  # documents one bucket may hold against which a new one is compared; bounds the worst case
SLICE = 4096  # documents whose signatures exist as Python numbers at a time

KEPT, EXACT, NEAR = 0, 1, 2


def deduplicate(inputs: Sequence[str | Path], output: Path, rules: Deduplicate, log: Log) -> dict[str, Any]:
    """Writes the documents that stay of all ``inputs`` (in their order) to ``output``; gives the counts per source."""
    total = sum(_rows(path) for path in inputs)
    with log.progress(2 * total, "documents") as bar:
        digests, signatures = _first_pass(inputs, total, rules, bar)
        fate = np.zeros(total, np.uint8)
        if rules.exact:
            fate[exact_duplicates(digests)] = EXACT
        if rules.minhash:
            alive = np.flatnonzero(fate == KEPT)
            fate[alive[near_duplicates(signatures, alive, rules.threshold)]] = NEAR
        del digests, signatures
        counts: dict[str, dict[str, int]] = {}
        with DocumentWriter(output) as writer:
            row = 0
            for batch in _all(inputs):
                some = fate[row : row + batch.num_rows]
                _count(counts, batch, some)
                writer.append(batch.take(pa.array(np.flatnonzero(some == KEPT))) if some.any() else batch)
                row += batch.num_rows
                bar.update(total + row)
    exact, near = (sum(c[kind] for c in counts.values()) for kind in ("exact", "near"))
    log.say(f"{total:,} documents → {writer.documents:,} (exact duplicates {exact:,}, near {near:,})")
    return {"sources": counts, "documents": writer.documents, "text_bytes": writer.text_bytes}


def _rows(path: str | Path) -> int:
    with open_documents(path) as file:
        return file.metadata.num_rows


def _all(inputs: Sequence[str | Path], columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    for path in inputs:
        yield from read_documents(path, columns)


def _first_pass(
    inputs: Sequence[str | Path], total: int, rules: Deduplicate, bar: Any
) -> tuple[np.ndarray, np.ndarray]:
    """(digests uint64 [n, 2], signatures uint32 [n, permutations]); what the rules don't need is empty."""
    digests = np.zeros((total if rules.exact else 0, 2), np.uint64)
    signatures = np.zeros((total if rules.minhash else 0, rules.permutations), np.uint32)
    row = 0
    for batch in _all(inputs, ["text"]):
        texts = batch.column("text")
        if rules.exact:
            digests[row : row + len(texts)] = _digests(texts)
        if rules.minhash:
            for first in range(0, len(texts), SLICE):
                some = texts.slice(first, SLICE)
                signatures[row + first : row + first + len(some)] = _signatures(some, rules)
        row += len(texts)
        bar.update(row)
    return digests, signatures


def _digests(texts: pa.Array) -> np.ndarray:
    blake = hashlib.blake2b
    joined = b"".join(blake(text, digest_size=16).digest() for text in byte_views(texts))
    return np.frombuffer(joined, np.uint64).reshape(-1, 2)


def _signatures(texts: pa.Array, rules: Deduplicate) -> np.ndarray:
    """uint32 [n, permutations]; the signature of a large text is the minimum over its stretches' signatures."""
    large = np.flatnonzero(text_sizes(texts) >= LARGE)
    small = texts if not large.size else pc.if_else(_mask(len(texts), large), pa.scalar("", pa.large_string()), texts)
    signatures = _minhash(*shingle_hashes(small, rules.shingle), rules.permutations)
    for i in large.tolist():
        for hashes in large_shingle_hashes(byte_views(texts.slice(i, 1))[0], rules.shingle):
            part = _minhash(hashes, np.array([0, hashes.size]), rules.permutations)
            np.minimum(signatures[i], part[0], out=signatures[i])
    return signatures


def _minhash(hashes: np.ndarray, offsets: np.ndarray, permutations: int) -> np.ndarray:
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets.astype(np.uint64), permutations, SEED)
    return np.array(matrix.to_rows(), np.uint32).reshape(offsets.size - 1, permutations)


def _mask(size: int, places: np.ndarray) -> pa.Array:
    mask = np.zeros(size, bool)
    mask[places] = True
    return pa.array(mask)


def exact_duplicates(digests: np.ndarray) -> np.ndarray:
    """Rows of ``digests`` (uint64 [n, 2]) that equal an earlier row, ascending."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: equal rows stay in their order
    ordered = digests[order]
    again = np.zeros(order.size, bool)
    again[1:] = (ordered[1:] == ordered[:-1]).all(axis=1)
    return np.sort(order[again])


def bands(permutations: int, threshold: float) -> tuple[int, int]:
    """(bands, rows in each): the longest rows for which a pair at ``threshold`` is a candidate in 97 of 100 cases."""
    rows = [r for r in range(1, permutations + 1) if 1 - (1 - threshold**r) ** (permutations // r) >= RECALL]
    longest = max(rows, default=1)
    return permutations // longest, longest


def near_duplicates(signatures: np.ndarray, alive: np.ndarray, threshold: float) -> np.ndarray:
    """Positions in ``alive`` (rows of ``signatures``, ascending) of documents near an earlier one that stays."""
    signed = (signatures[alive] != np.uint32(0xFFFFFFFF)).any(axis=1)  # no words, no shingles: nothing to compare
    candidates, buckets = _collisions(signatures, alive, *bands(signatures.shape[1], threshold))
    order = np.argsort(candidates, kind="stable")
    candidates, buckets = candidates[order], buckets[order]
    edges = [*np.flatnonzero(np.diff(candidates, prepend=-1)).tolist(), candidates.size]
    staying: dict[int, list[int]] = {}
    dropped = []
    for start, end in itertools.pairwise(edges):
        place = int(candidates[start])
        if not signed[place]:
            continue
        mine = buckets[start:end].tolist()
        others = {other for bucket in mine for other in staying.get(bucket, ())[-FULLEST_BUCKET:]}
        if others:
            alike = (signatures[alive[sorted(others)]] == signatures[alive[place]]).mean(axis=1)
            if alike.max() >= threshold:
                dropped.append(place)
                continue
        for bucket in mine:
            staying.setdefault(bucket, []).append(place)
    return np.array(dropped, np.int64)


def _collisions(signatures: np.ndarray, alive: np.ndarray, count: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(position in ``alive``, bucket) for every bucket that holds two documents or more; buckets differ by band."""
    places, buckets, used = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for band in range(count):
        keys = np.zeros(alive.size, np.uint64)
        for column in range(band * rows, (band + 1) * rows):
            keys = (keys ^ signatures[alive, column]) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(32)
        order = np.argsort(keys, kind="stable")
        new = np.ones(alive.size, bool)
        new[1:] = keys[order][1:] != keys[order][:-1]
        bucket = np.cumsum(new) - 1
        shared = np.bincount(bucket, minlength=1)[bucket] > 1
        places.append(order[shared])
        buckets.append(bucket[shared] + used)
        used += alive.size
    return np.concatenate(places), np.concatenate(buckets)


def _count(counts: dict[str, dict[str, int]], batch: pa.RecordBatch, fate: np.ndarray) -> None:
    sources = batch.column("source").dictionary_encode()
    codes, sizes = sources.indices.to_numpy(), text_sizes(batch.column("text"))
    for code, name in enumerate(sources.dictionary.to_pylist()):
        mine = codes == code
        so_far = counts.setdefault(name, {"read": 0, "exact": 0, "near": 0, "kept": 0, "kept_bytes": 0})
        so_far["read"] += int(mine.sum())
        for key, value in (("exact", EXACT), ("near", NEAR), ("kept", KEPT)):
            so_far[key] += int((mine & (fate == value)).sum())
        so_far["kept_bytes"] += int(sizes[mine & (fate == KEPT)].sum())
