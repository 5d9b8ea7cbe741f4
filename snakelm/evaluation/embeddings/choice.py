"""Which documents get a vector: the ones whose ids mix to the smallest numbers, so the choice is
the same everywhere.

It depends on a document's text and the seed alone: more sources add documents to the map and push
some out, but never shuffle it. Memory is what is chosen, not what is there.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from ...data.documents.table import open_documents, read_documents
from ...data.split import mixed

__all__ = ["Chosen", "choose"]

PURPOSE = "embeddings"


class Chosen:
    """The places of the chosen documents, by row group, and their ``ids``: uint64 [n]."""

    def __init__(self, places: dict[int, np.ndarray], ids: np.ndarray) -> None:
        self._places, self.ids = places, ids

    def __len__(self) -> int:
        return self.ids.size

    def groups(self) -> Iterator[tuple[int, np.ndarray]]:
        """(row group, rows int64 [n] in it), in order."""
        return iter(sorted(self._places.items()))

    def rows(self, documents: Path, group: int) -> pa.RecordBatch:
        """The chosen rows of a row group of ``documents``, with their texts."""
        (batch,) = read_documents(documents, groups=[group])
        return batch.take(pa.array(self._places[group]))


def choose(documents: Path, most: int | None, seed: int) -> Chosen:
    """At most ``most`` documents of a documents file; all for None."""
    with open_documents(documents) as file:
        groups = [g for g in range(file.num_row_groups) if file.metadata.row_group(g).num_rows]
    threshold, ties = 2**64, 0
    if most is not None:
        threshold, ties = _threshold(
            (mixed(ids, seed, PURPOSE) for ids in _ids(documents, groups)), most
        )
    places, taken_ids = {}, [np.zeros(0, np.uint64)]
    for group, ids in zip(groups, _ids(documents, groups), strict=True):
        taken, equal = _taken(mixed(ids, seed, PURPOSE), threshold, ties)
        ties -= equal
        if taken.size:
            places[group] = taken
            taken_ids.append(ids[taken])
    return Chosen(places, np.concatenate(taken_ids))


def _ids(documents: Path, groups: Iterable[int]) -> Iterator[np.ndarray]:
    """The documents' ids: uint64 [rows], a row group at a time."""
    for group in groups:
        (batch,) = read_documents(documents, ["id"], [group])
        yield batch.column("id").to_numpy()


def _taken(numbers: np.ndarray, threshold: int, ties: int) -> tuple[np.ndarray, int]:
    """Places of the ``numbers`` below the threshold and of the first ``ties`` equal to it; how many
    are equal.
    """
    if threshold >= 2**64:
        return np.arange(numbers.size), 0
    equal = np.flatnonzero(numbers == np.uint64(threshold))[:ties]
    return np.sort(
        np.concatenate([np.flatnonzero(numbers < np.uint64(threshold)), equal])
    ), equal.size


def _threshold(numbers: Iterable[np.ndarray], most: int) -> tuple[int, int]:
    """`split.limit_threshold` of all ``numbers``, with no more than the smallest of them in
    memory.
    """
    smallest, seen = np.zeros(0, np.uint64), 0
    for some in numbers:
        seen += some.size
        smallest = np.concatenate([smallest, some])
        if smallest.size > most:
            smallest = np.partition(smallest, most - 1)[:most]
    if seen <= most:
        return 2**64, 0
    last = smallest.max()
    return int(last), int(np.count_nonzero(smallest == last))
