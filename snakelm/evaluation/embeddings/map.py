"""map.parquet: where each document lies, and what it can be coloured by.

It is computed once and drawn twice, as figures and as a page, so both show the same map.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...data.documents.table import read_documents
from ...errors import UserError
from ...files import atomic_path

__all__ = ["COLOURINGS", "Colouring", "Map", "by_size", "read_map", "read_vectors", "write_map"]

KEPT = ("id", "source", "origin_file", "bytes", "tokens", "held_out", "loss", "score", "excerpt")


@dataclass(frozen=True)
class Colouring:
    """A column that colours the map: its name there, in words, how a value is written, whether it
    spans magnitudes.
    """

    column: str
    words: str
    written: str
    magnitudes: bool = False


COLOURINGS = (
    Colouring("loss", "bits per byte", ".2f"),
    Colouring("tokens", "length in tokens", ",.0f", magnitudes=True),
    Colouring("score", "score of the filter", ".2f"),
)


@dataclass(frozen=True)
class Map:
    """n documents: ``places`` float32 [n, 2] between -1 and 1, and their columns."""

    places: np.ndarray
    columns: pa.Table

    def __len__(self) -> int:
        return len(self.places)

    def texts(self, name: str) -> list[str]:
        """A column of words."""
        return self.columns[name].to_pylist()

    def numbers(self, name: str) -> np.ndarray:
        """A column of numbers: float64 [n], NaN where there is none."""
        return self.columns[name].cast(pa.float64()).fill_null(np.nan).to_numpy()

    def colourings(self) -> list[Colouring]:
        """Those that this map has numbers for."""
        return [c for c in COLOURINGS if np.isfinite(self.numbers(c.column)).any()]

    def origins(self) -> tuple[str, list[str]]:
        """What tells documents apart, in a word, and each one's: its source, or where there is but
        one, the first part in which the paths of the files differ (a built-in corpus: the
        package).
        """
        sources = self.texts("source")
        if len(set(sources)) > 1:
            return "source", sources
        paths = [(path or "").split("/") for path in self.texts("origin_file")]
        same = 0
        while len({tuple(path[: same + 1]) for path in paths}) == 1 and all(
            len(path) > same + 1 for path in paths
        ):
            same += 1
        return "origin", [path[same] for path in paths]


def by_size(names: Sequence[str]) -> list[str]:
    """The different ``names``, the one that is there most often first."""
    return [
        name for name, _ in sorted(Counter(names).items(), key=lambda found: (-found[1], found[0]))
    ]


def read_vectors(path: str | Path) -> tuple[np.ndarray, pa.Table]:
    """Vectors float16 [n, width] and the other columns of documents.parquet."""
    batches = list(read_documents(path))
    if not batches:
        raise UserError(f"{path}: holds no documents; run generate_embeddings again")
    table = pa.Table.from_batches(batches)
    vectors = table["vector"].combine_chunks()
    width = vectors.type.list_size
    return np.asarray(vectors.flatten()).reshape(-1, width), table.select(KEPT)


def write_map(path: str | Path, places: np.ndarray, columns: pa.Table) -> None:
    """Writes map.parquet, atomically. ``places``: float32 [n, 2]; ``columns``: what `read_vectors`
    gave.
    """
    table = columns.add_column(0, "x", pa.array(places[:, 0])).add_column(
        1, "y", pa.array(places[:, 1])
    )
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_map(path: str | Path) -> Map:
    """What `write_map` wrote."""
    table = pa.Table.from_batches(list(read_documents(path)))
    return Map(_stacked([table["x"], table["y"]]), table.drop_columns(["x", "y"]))


def _stacked(columns: Sequence[pa.ChunkedArray]) -> np.ndarray:
    return np.stack([column.to_numpy() for column in columns], 1)
