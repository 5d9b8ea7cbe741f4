"""The source of each document of a token file, which knows documents by their ids alone: looked up
in the documents file that it was made from.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError
from .table import by_source, read_documents

__all__ = ["source_numbers"]


def source_numbers(documents: Path, names: Sequence[str], *ids: np.ndarray) -> list[np.ndarray]:
    """For each array of ``ids`` (uint64 [n]) which of ``names`` its documents are from, int64 [n].
    Of rows with the same text, and so the same id, the first counts. UserError for an id that isn't
    there, and for a source of another name.
    """
    known, numbers = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for batch in read_documents(documents, ["id", "source"]):
        own = np.zeros(batch.num_rows, np.int64)
        for name, rows in by_source(batch):
            if name not in names:
                raise UserError(
                    f"{documents}: documents of source {name!r}, and the configuration has no such "
                    "source; run deduplicate again"
                )
            own[rows] = names.index(name)
        known.append(batch.column("id").to_numpy())
        numbers.append(own)

    ascending, first = np.unique(np.concatenate(known), return_index=True)
    number = np.concatenate(numbers)[first]
    return [_looked_up(documents, one, ascending, number) for one in ids]


def _looked_up(
    documents: Path, ids: np.ndarray, ascending: np.ndarray, number: np.ndarray
) -> np.ndarray:
    if not ids.size:
        return np.zeros(0, np.int64)
    places = np.minimum(np.searchsorted(ascending, ids), max(0, ascending.size - 1))
    missing = np.flatnonzero(ascending[places] != ids) if ascending.size else np.arange(1)
    if missing.size:
        raise UserError(
            f"{documents}: has no document {int(ids[missing[0]]):016x}: not what the token files "
            "were made from; run prepare_data again"
        )
    return number[places]
