"""Parquet files, opened in one way: page checksums verified, every kind of damage in one wording.

Users' files and our own come through `open_parquet`. Whatever is wrong (no such file, a folder,
cut off, a flipped bit, a column that isn't there) is a `BadFile`: a UserError that names the file
and the remedy, which depends on whose file it is. Readers that may skip a bad file catch it.

Pages carry checksums because most flipped bits in a parquet file otherwise come back silently as
wrong text. Page headers have none, so the number of rows is compared with the footer's, too: damage
there can hide pages.
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from . import arrow  # noqa: F401  (keeps pandas out, before anything is read)
from .errors import UserError
from .signatures import foreign_file

__all__ = ["REMEDY_OURS", "REMEDY_USERS", "BadFile", "ParquetReader", "no_column", "open_parquet"]

REMEDY_USERS = "fetch it again or take it out"
REMEDY_OURS = "delete it and run its step again"

BATCH_BYTES = 8 << 20  # of text, as the footer has it: what `batches` holds in memory at a time
BATCH_ROWS = 65_536
NAMES_SHOWN = 20


class BadFile(UserError):
    """A file that can't be used as required.

    ``why``: the fault and the remedy, without the file's name. ``rows_unread``: the rows that were
    never reached, as far as a footer tells.
    """

    def __init__(self, why: str, path: str | Path | None = None, rows_unread: int = 0) -> None:
        super().__init__(why, path, rows_unread)  # all three, or it does not survive pickling
        self.why, self.path, self.rows_unread = why, path, rows_unread

    def __str__(self) -> str:
        return self.why if self.path is None else f"{self.path}: {self.why}"


def open_parquet(
    path: str | Path,
    *,
    columns: Iterable[str] = (),
    remedy: str = REMEDY_USERS,
    coded: Sequence[str] = (),
) -> "ParquetReader":
    """The file with its footer read and its ``columns`` known to be there; BadFile otherwise.
    ``coded``: columns to read as dictionaries, as they lie in the file.

    Neither prefetched nor mapped, and read through a small buffer: a file of any size takes the
    memory of one batch.
    """
    try:
        if Path(path).is_dir():
            raise BadFile(f"a folder, expected a parquet file; {remedy}", path)
        if Path(path).stat().st_size == 0:
            raise BadFile(f"empty, 0 bytes; {remedy}", path)

        file = pq.ParquetFile(
            path,
            page_checksum_verification=True,
            pre_buffer=False,
            buffer_size=1 << 20,
            read_dictionary=list(coded),
        )
    except FileNotFoundError:
        raise BadFile(f"no such file; {remedy}", path) from None
    except PermissionError:
        raise BadFile("permission denied; make it readable", path) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if what := foreign_file(path):
            raise BadFile(f"not a parquet file but {what}", path) from None
        why = f"damaged, or not a parquet file ({_one_line(error)}); {remedy}"
        raise BadFile(why, path) from None

    reader = ParquetReader(Path(path), file, remedy)
    for name in columns:
        if name not in reader.schema.names:
            reader.close()
            raise BadFile(f"{no_column(name, reader.schema.names)}; {remedy}", path)
    return reader


class ParquetReader:
    """An open parquet file; a context manager. What proves damaged while reading is a BadFile."""

    def __init__(self, path: Path, file: pq.ParquetFile, remedy: str) -> None:
        self.path, self.remedy = path, remedy
        self._file = file

    def __enter__(self) -> "ParquetReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    @property
    def schema(self) -> pa.Schema:
        """The columns and their types."""
        return self._file.schema_arrow

    @property
    def metadata(self) -> pq.FileMetaData:
        """The footer."""
        return self._file.metadata

    @property
    def num_rows(self) -> int:
        """Rows of the file, as the footer says."""
        return self._file.metadata.num_rows

    @property
    def num_row_groups(self) -> int:
        """Row groups of the file."""
        return self._file.num_row_groups

    def column_bytes(self, group: int, path: str) -> int:
        """Bytes of one column (dots reach into structs) in a row group, before compression."""
        metadata = self.metadata.row_group(group)
        columns = (metadata.column(i) for i in range(metadata.num_columns))
        return sum(c.total_uncompressed_size for c in columns if c.path_in_schema == path)

    def row_group(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One row group, in memory at once."""
        try:
            table = self._file.read_row_group(group, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(group, _one_line(error)) from None

        self._check_rows(group, table.num_rows)
        return table

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, a few megabytes at a time."""
        delivered = 0
        for group in range(self.num_row_groups):
            for batch in self.group_batches(group, columns, delivered=delivered):
                yield batch
                delivered += batch.num_rows

    def group_batches(
        self,
        group: int,
        columns: Sequence[str] | None = None,
        size: int = BATCH_BYTES,
        delivered: int = 0,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one row group, about ``size`` bytes of the file before compression at a time.
        ``delivered``: how many rows were read before, for what an error tells.
        """
        rows = 0
        try:
            batches = self._file.iter_batches(
                self._batch_rows(group, size),
                row_groups=[group],
                columns=columns,
                use_threads=False,
            )
            for batch in batches:
                rows += batch.num_rows
                yield batch
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(group, _one_line(error), delivered + rows) from None

        self._check_rows(group, rows, delivered + rows)

    def _batch_rows(self, group: int, size: int) -> int:
        metadata = self.metadata.row_group(group)
        rows = size * metadata.num_rows // max(1, metadata.total_byte_size)
        return max(1, min(BATCH_ROWS, rows))

    def _check_rows(self, group: int, rows: int, delivered: int = 0) -> None:
        expected = self.metadata.row_group(group).num_rows
        if rows != expected:
            raise self._damaged(group, f"{rows} rows of {expected}", delivered)

    def _damaged(self, group: int, fault: str, delivered: int = 0) -> BadFile:
        why = f"row group {group} is damaged ({fault}); {self.remedy}"
        return BadFile(why, self.path, self.num_rows - delivered)


def no_column(name: str, names: Sequence[str]) -> str:
    """That a column isn't there, which ones are, and which one was probably meant."""
    shown = ", ".join(names[:NAMES_SHOWN]) or "none"
    if len(names) > NAMES_SHOWN:
        shown += f" and {len(names) - NAMES_SHOWN} more"

    close = difflib.get_close_matches(name, names, 1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"no column {name!r}; columns are {shown}{hint}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
