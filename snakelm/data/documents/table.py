"""Documents between steps: one parquet schema, one writer, one reader.

Rows of text with where each came from. Row groups are cut by bytes of text alone, so the bytes of a
file depend on its documents and not on how they arrived. They start at 1 MB, for a small corpus
must spread over several jobs too, and grow to 32 MB, for the footer of a large one must stay small.
Pages carry checksums: without them most flipped bits in a parquet file come back as wrong text in
silence.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import UserError
from ...files import atomic_path

__all__ = [
    "RAW_SCHEMA",
    "SCHEMA",
    "DocumentWriter",
    "byte_views",
    "open_documents",
    "read_documents",
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
SMALLEST_GROUP, LARGEST_GROUP = 1 << 20, 32 << 20


class DocumentWriter:
    """Writes record batches of ``schema`` as one parquet file; a context manager, atomic.

    A row group is full when its text reaches a sixteenth of the text before it (at least 1 MB, at
    most 32 MB), so 16 jobs or more have something to do from the 16th megabyte on.
    """

    def __init__(self, path: str | Path, schema: pa.Schema = SCHEMA) -> None:
        self.path, self.schema = Path(path), schema
        self.documents = self.text_bytes = 0
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0

    def __enter__(self) -> "DocumentWriter":
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._file = stack.enter_context(
                pq.ParquetWriter(
                    temporary,
                    self.schema,
                    compression="zstd",
                    use_dictionary=[
                        name for name in ("source", "origin_file") if name in self.schema.names
                    ],
                    write_page_checksum=True,
                    write_statistics=[
                        name for name in self.schema.names if name != "text"
                    ],  # they hold whole texts
                )
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind, error, trace) -> bool | None:
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
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self.schema)
            if len(self._waiting) > 1:  # pages end where chunks do
                table = table.combine_chunks()
            self._file.write_table(table, row_group_size=max(1, table.num_rows))
            self._waiting, self._waiting_bytes = [], 0


def open_documents(path: str | Path) -> pq.ParquetFile:
    """A documents file of ours, its pages' checksums verified when read."""
    try:
        return pq.ParquetFile(
            path, page_checksum_verification=True, pre_buffer=False, buffer_size=1 << 20
        )
    except FileNotFoundError:
        raise UserError(f"{path}: missing; run the step that makes it") from None
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None


def read_documents(
    path: str | Path, columns: Sequence[str] | None = None, groups: Sequence[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a documents file in order, a row group a time; UserError when it is damaged."""
    with open_documents(path) as file:
        for group in range(file.num_row_groups) if groups is None else groups:
            try:
                table = file.read_row_group(group, columns=columns, use_threads=False)
            except (pa.ArrowException, OSError) as error:
                raise _damaged(path, error) from None
            rows = file.metadata.row_group(group).num_rows
            if (
                table.num_rows != rows
            ):  # page headers have no checksum; damage there can hide whole pages
                raise _damaged(path, f"{table.num_rows} rows of {rows}")
            yield from table.combine_chunks().to_batches()


def _damaged(path: str | Path, error: Exception | str) -> UserError:
    return UserError(
        f"{path}: damaged ({' '.join(str(error).split())}); delete it and run its step again"
    )


def text_sizes(texts: pa.Array) -> np.ndarray:
    """UTF-8 bytes of each text of a large_string or large_binary array without nulls: int64 [n]."""
    return np.diff(_offsets(texts))


def byte_views(texts: pa.Array) -> list[memoryview]:
    """The bytes of each text of a large_string or large_binary array without nulls, none copied."""
    offsets = _offsets(texts)
    data = memoryview(texts.buffers()[2] or b"")
    return [data[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]


def _offsets(texts: pa.Array) -> np.ndarray:
    if not len(texts):
        return np.zeros(1, np.int64)
    return np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1, 8 * texts.offset)
