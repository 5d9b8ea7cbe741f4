"""map.parquet: where each document lies, and what is known of it.

It is computed once and drawn twice, as figures and as a page, so both show the same map.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...data.documents.table import read_documents
from ...files import atomic_path

__all__ = ["DocumentMap", "read_map", "write_map"]


@dataclass(frozen=True)
class DocumentMap:
    """n documents: ``positions`` float32 [n, 2] between -1 and 1, and the columns that
    `read_vectors` gave.
    """

    positions: np.ndarray
    columns: pa.Table

    def __len__(self) -> int:
        return len(self.positions)

    def texts(self, column: str) -> list[str]:
        """A column of text."""
        return self.columns[column].to_pylist()

    def numbers(self, column: str) -> np.ndarray:
        """A column of numbers: float64 [n], NaN where there is none."""
        return self.columns[column].cast(pa.float64()).fill_null(np.nan).to_numpy()

    def by_hash(self) -> np.ndarray:
        """The documents' numbers in the order of their ids, int64 [n]. An id is a hash of the text,
        so the first of them are a random sample, and the same in each drawing.
        """
        return np.argsort(self.columns["id"].to_numpy(), kind="stable")


def write_map(path: str | Path, positions: np.ndarray, columns: pa.Table) -> None:
    """Writes map.parquet, atomically. ``positions``: float32 [n, 2]; ``columns``: what
    `read_vectors` gave.
    """
    table = columns.add_column(0, "x", pa.array(positions[:, 0]))
    table = table.add_column(1, "y", pa.array(positions[:, 1]))
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_map(path: str | Path) -> DocumentMap:
    """What `write_map` wrote."""
    table = pa.Table.from_batches(list(read_documents(path)))
    positions = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], 1)
    return DocumentMap(positions, table.drop_columns(["x", "y"]))
