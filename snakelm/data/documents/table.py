"""Documents between steps: one parquet schema, one writer, one reader.

Rows of text with where each came from. Row groups are cut by bytes of text alone, so the bytes of a
file depend on its documents and not on how they arrived. Groups start at 1 MB, because a small
corpus must spread over several jobs too, and grow to 32 MB, because the footer of a large one must
stay small. Pages carry checksums (snakelm.parquet verifies them).
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...files import atomic_path
from ...parquet import REMEDY_OURS, ParquetReader, open_parquet

__all__ = [
    "RAW_SCHEMA",
    "SCHEMA",
    "WITH_LANGUAGE",
    "DocumentWriter",
    "by_source",
    "byte_views",
    "languages_of",
    "open_documents",
    "read_documents",
    "slices",
    "text_sizes",
]

RAW_SCHEMA = pa.schema(
    [("text", pa.large_string()), ("origin_file", pa.string()), ("origin_row", pa.int64())]
)
SCHEMA = pa.schema(
    [
        ("text", pa.large_string()),
        ("source", pa.string()),
        ("id", pa.uint64()),
        ("origin_file", pa.string()),
        ("origin_row", pa.int64()),
    ]
)
WITH_LANGUAGE = SCHEMA.append(pa.field("language", pa.string()))  # where `languages` tells it
SMALLEST_GROUP, LARGEST_GROUP = 1 << 20, 32 << 20  # bytes of text
DICTIONARY_CODED = ("source", "origin_file", "language")


class DocumentWriter:
    """Writes record batches of ``schema`` as one parquet file; a context manager, atomic.

    A row group is full when its text reaches a sixteenth of the text before it (at least 1 MB, at
    most 32 MB), so 16 jobs or more have work from the 16th megabyte on.
    """

    def __init__(self, path: str | Path, schema: pa.Schema = SCHEMA) -> None:
        self.path, self.schema = Path(path), schema
        self.documents = self.text_bytes = 0
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0

    def __enter__(self) -> "DocumentWriter":
        names = self.schema.names
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._file = stack.enter_context(
                pq.ParquetWriter(
                    temporary,
                    self.schema,
                    compression="zstd",
                    use_dictionary=[name for name in DICTIONARY_CODED if name in names],
                    write_page_checksum=True,
                    # Not of the text: minimum and maximum would be complete texts.
                    write_statistics=[name for name in names if name != "text"],
                )
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if kind is not None:
            return self._stack.__exit__(kind, error, trace)
        with self._stack:
            self._flush()
        return None

    def append(self, batch: pa.RecordBatch) -> None:
        """Adds documents, cutting row groups where they are full."""
        ends = np.cumsum(text_sizes(batch.column("text")))
        first = 0
        while first < batch.num_rows:
            before = int(ends[first - 1]) if first else 0
            room = self._group_bytes() - self._waiting_bytes
            last = min(batch.num_rows, int(np.searchsorted(ends, before + room)) + 1)
            size = int(ends[last - 1]) - before

            self._waiting.append(batch.slice(first, last - first))
            self._waiting_bytes += size
            self.documents += last - first
            self.text_bytes += size

            first = last
            if self._waiting_bytes >= self._group_bytes():
                self._flush()

    def _group_bytes(self) -> int:
        written = self.text_bytes - self._waiting_bytes
        return min(LARGEST_GROUP, max(SMALLEST_GROUP, written // 16))

    def _flush(self) -> None:
        if not self._waiting:
            return

        table = pa.Table.from_batches(self._waiting, self.schema)
        if len(self._waiting) > 1:
            # Pages end where chunks do, and the bytes must not depend on how documents arrived.
            table = table.combine_chunks()
        self._file.write_table(table, row_group_size=max(1, table.num_rows))
        self._waiting, self._waiting_bytes = [], 0


def open_documents(path: str | Path, coded: Sequence[str] = ()) -> ParquetReader:
    """A documents file of ours; BadFile (a UserError) when it is missing or damaged. ``coded``:
    columns to read as dictionaries.
    """
    return open_parquet(path, remedy=REMEDY_OURS, coded=coded)


def read_documents(
    path: str | Path, columns: Sequence[str] | None = None, groups: Sequence[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a documents file in order, a row group at a time; BadFile when it is damaged."""
    with open_parquet(path, columns=columns or (), remedy=REMEDY_OURS) as file:
        for group in range(file.num_row_groups) if groups is None else groups:
            yield from file.row_group(group, columns).combine_chunks().to_batches()


def slices(batch: pa.RecordBatch, size: int) -> Iterator[pa.RecordBatch]:
    """The rows in slices of at most ``size`` bytes of text, or of one row that is larger."""
    ends = np.cumsum(text_sizes(batch.column("text")))
    first = 0
    while first < batch.num_rows:
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + size, "right")))
        yield batch.slice(first, last - first)
        first = last


def by_source(batch: pa.RecordBatch) -> Iterator[tuple[str, np.ndarray]]:
    """(name of a source, which rows are its: bool [rows]) for each source in the batch."""
    sources = batch.column("source").dictionary_encode()
    codes = sources.indices.to_numpy()
    for code, name in enumerate(sources.dictionary.to_pylist()):
        yield name, codes == code


def languages_of(batch: pa.RecordBatch) -> list[str | None]:
    """The language of each document; None for all where `languages` didn't tell it."""
    if "language" not in batch.schema.names:
        return [None] * batch.num_rows
    return batch.column("language").to_pylist()


def text_sizes(texts: pa.Array) -> np.ndarray:
    """UTF-8 bytes of each text of a large_string or large_binary array without nulls: int64 [n]."""
    return np.diff(_offsets(texts))


def byte_views(texts: pa.Array) -> list[memoryview]:
    """The bytes of each text of a large_string or large_binary array without nulls, uncopied."""
    offsets = _offsets(texts)
    data = memoryview(texts.buffers()[2] or b"")
    return [data[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]


def _offsets(texts: pa.Array) -> np.ndarray:
    if not len(texts):
        return np.zeros(1, np.int64)
    return np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1, 8 * texts.offset)
