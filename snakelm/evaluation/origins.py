"""Where held-out documents came from: token files know ids alone, the documents file has source,
file and row.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.documents.table import read_documents

__all__ = ["UNKNOWN", "Origins", "origins"]

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Origins:
    """Each a list [documents]; ``source`` is `UNKNOWN`, the others None, for an id that isn't
    there.
    """

    source: list[str]
    file: list[str | None]
    row: list[int | None]


def origins(documents: str | Path, ids: np.ndarray) -> Origins:
    """Looks up ``ids`` (uint64 [n]); of documents with the same text the first one counts."""
    order = np.argsort(ids, kind="stable")
    ascending = ids[order]
    found = Origins([UNKNOWN] * ids.size, [None] * ids.size, [None] * ids.size)
    for batch in (
        read_documents(documents, ["id", "source", "origin_file", "origin_row"]) if ids.size else ()
    ):
        here = batch.column("id").to_numpy()
        at = np.minimum(np.searchsorted(ascending, here), ids.size - 1)
        for row in np.flatnonzero(ascending[at] == here).tolist():
            first = int(np.searchsorted(ascending, here[row], "left"))
            last = int(np.searchsorted(ascending, here[row], "right"))
            for place in order[first:last].tolist():
                if found.source[place] == UNKNOWN:
                    found.source[place], found.file[place], found.row[place] = (
                        batch.column(name)[row].as_py()
                        for name in ("source", "origin_file", "origin_row")
                    )
    return found
