"""Which documents get a vector, and what is known of them before a model reads them.

The documents whose ids hash to the smallest numbers are taken, so the selection depends on their
text and on the seed alone: another source adds documents to the map and pushes some out, but never
reshuffles it. Two passes over the ids, a row group at a time, so memory holds what is selected and
not what there is to select from.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ...data.documents.table import open_documents, read_documents
from ...data.split import mixed

__all__ = ["DocumentFacts", "Selection", "select_documents"]

PURPOSE = "embeddings"  # of the hash: independent of what is sampled or held out
EVERYTHING = 2**64  # a threshold above every uint64


class Selection:
    """The selected documents: rows by row group, and their ``ids``, uint64 [n], in file order."""

    def __init__(self, rows: dict[int, np.ndarray], ids: np.ndarray) -> None:
        self._rows, self.ids = rows, ids

    def __len__(self) -> int:
        return self.ids.size

    def groups(self) -> Iterator[tuple[int, np.ndarray]]:
        """(row group, rows int64 [n] within it), in order; row groups without any are left out."""
        return iter(sorted(self._rows.items()))

    def read(self, documents: Path, group: int) -> pa.RecordBatch:
        """The selected rows of a row group of ``documents``, with their texts."""
        (batch,) = read_documents(documents, groups=[group])
        return batch.take(pa.array(self._rows[group]))


def select_documents(documents: Path, limit: int | None, seed: int) -> Selection:
    """At most ``limit`` documents of a documents file; None selects all."""
    with open_documents(documents) as file:
        groups = [g for g in range(file.num_row_groups) if file.metadata.row_group(g).num_rows]

    threshold, ties = EVERYTHING, 0
    if limit is not None:
        hashes = (mixed(ids, seed, PURPOSE) for ids in _ids(documents, groups))
        threshold, ties = _threshold(hashes, limit)

    rows: dict[int, np.ndarray] = {}
    selected_ids = [np.zeros(0, np.uint64)]
    for group, ids in zip(groups, _ids(documents, groups), strict=True):
        selected, ties_used = _select(mixed(ids, seed, PURPOSE), threshold, ties)
        ties -= ties_used
        if selected.size:
            rows[group] = selected
            selected_ids.append(ids[selected])

    return Selection(rows, np.concatenate(selected_ids))


def _ids(documents: Path, groups: Iterable[int]) -> Iterator[np.ndarray]:
    """The documents' ids: uint64 [rows], one row group after the other."""
    for group in groups:
        (batch,) = read_documents(documents, ["id"], [group])
        yield batch.column("id").to_numpy()


def _threshold(hashes: Iterable[np.ndarray], limit: int) -> tuple[int, int]:
    """`split.limit_threshold` of all ``hashes`` together: the ``limit`` smallest are those below
    the threshold and the first ``ties`` equal to it. Only the smallest so far are in memory.
    """
    smallest, seen = np.zeros(0, np.uint64), 0
    for group_hashes in hashes:
        seen += group_hashes.size
        smallest = np.concatenate([smallest, group_hashes])
        if smallest.size > limit:
            smallest = np.partition(smallest, limit - 1)[:limit]
    if seen <= limit:
        return EVERYTHING, 0

    last = smallest.max()
    return int(last), int(np.count_nonzero(smallest == last))


def _select(hashes: np.ndarray, threshold: int, ties: int) -> tuple[np.ndarray, int]:
    """Rows of the ``hashes`` below the threshold and of the first ``ties`` equal to it, sorted; how
    many ties were used up.
    """
    if threshold >= EVERYTHING:  # compares with no uint64
        return np.arange(hashes.size), 0

    below = np.flatnonzero(hashes < np.uint64(threshold))
    equal = np.flatnonzero(hashes == np.uint64(threshold))[:ties]
    return np.sort(np.concatenate([below, equal])), equal.size


@dataclass(frozen=True)
class DocumentFacts:
    """What earlier steps say of documents, by id: which are held out, and the filter's scores."""

    held_out: np.ndarray  # uint64 [n]
    scored: np.ndarray  # uint64 [m], sorted; empty in a run without a filter
    scores: np.ndarray  # float32 [m]

    @classmethod
    def of(cls, selection: Selection, held_out: np.ndarray, scores: Path | None) -> "DocumentFacts":
        """``held_out``: ids, uint64 [n]; ``scores``: the filter's scores.parquet, of which only the
        rows of the selection are kept in memory.
        """
        ids, values = [np.zeros(0, np.uint64)], [np.zeros(0, np.float32)]
        for batch in read_documents(scores, ["id", "score"]) if scores else []:
            batch_ids = batch.column("id").to_numpy()
            wanted = np.isin(batch_ids, selection.ids)
            ids.append(batch_ids[wanted])
            values.append(batch.column("score").to_numpy()[wanted])

        scored, first = np.unique(np.concatenate(ids), return_index=True)
        return cls(held_out, scored, np.concatenate(values)[first])

    def score(self, ids: np.ndarray) -> pa.Array:
        """The filter's score of each of ``ids`` [n]: float32 [n], null where there is none."""
        if not self.scored.size:
            return pa.nulls(ids.size, pa.float32())

        known = np.isin(ids, self.scored)
        rows = np.where(known, np.searchsorted(self.scored, ids), 0)
        return pa.array(self.scores[rows], pa.float32(), mask=~known)
