"""The text column of a person's parquet file, a few megabytes at a time.

Only that column is read, row group by row group, through small buffers: a file of any size takes
the memory of one batch. A dotted name reaches into structs. Texts come as bytes, because parquet
files do hold strings that aren't UTF-8 and who reads them decides what becomes of those.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

__all__ = ["BadFile", "column_of", "open_parquet", "row_batches", "text_batches"]

BATCH_BYTES = 8 << 20


class BadFile(Exception):
    """A file that can't be read, or not as asked; the message is the reason and the remedy, without
    the file's name.
    """


def open_parquet(path: Path) -> pq.ParquetFile:
    """The file with its footer read; BadFile when it isn't whole parquet."""
    try:
        return pq.ParquetFile(
            path, page_checksum_verification=True, pre_buffer=False, buffer_size=1 << 20
        )
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise BadFile(error.strerror) from None
    except (pa.ArrowException, OSError) as error:
        raise BadFile(
            f"not a whole parquet file ({_one_line(error)}); fetch it again or take it out"
        ) from None


def column_of(schema: pa.Schema, name: str) -> list[str]:
    """The path of the column ``name`` (dots reach into structs), whose values must be text; BadFile
    otherwise.
    """
    parts = [name] if name in schema.names else name.split(".")
    if schema.names.count(parts[0]) > 1:
        raise BadFile(f"{schema.names.count(parts[0])} columns are named {parts[0]!r}; rename one")
    kind: pa.DataType = pa.struct(list(schema))
    for part in parts:
        if not pa.types.is_struct(kind) or kind.get_field_index(part) < 0:
            raise BadFile(_no_column(schema, name))
        kind = kind.field(part).type
    if not _is_text(kind):
        texts = [n for n, t in _leaves(schema) if _is_text(t)]
        raise BadFile(
            f"column {name!r} holds {kind}, expected text; columns with text: {', '.join(texts) or 'none'}"
        )
    return parts


def text_batches(
    file: pq.ParquetFile, parts: list[str], also: tuple[str, ...] = ()
) -> Iterator[pa.RecordBatch]:
    """Record batches of `text` (large_binary, nulls kept) and the columns ``also``; BadFile where
    the file breaks.
    """
    for batch in row_batches(file, [".".join(parts), *also]):
        text = batch.column(parts[0])
        if len(parts) > 1:
            text = pc.struct_field(text, parts[1:])
        kept = [batch.column(name) for name in also]
        yield pa.record_batch([_as_bytes(text), *kept], ["text", *also])


def row_batches(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Record batches of some ``columns``, a few megabytes each; BadFile where the file breaks."""
    for group in range(file.num_row_groups):
        meta = file.metadata.row_group(group)
        rows = max(1, min(65_536, BATCH_BYTES * meta.num_rows // max(1, meta.total_byte_size)))
        found = 0
        try:
            for batch in file.iter_batches(
                rows, row_groups=[group], columns=columns, use_threads=False
            ):
                found += batch.num_rows
                yield batch
        except (pa.ArrowException, OSError) as error:
            raise BadFile(
                f"row group {group} is damaged ({_one_line(error)}); fetch it again or take it out"
            ) from None
        if (
            found != meta.num_rows
        ):  # page headers have no checksum; damage there can hide whole pages
            raise BadFile(
                f"row group {group} is damaged ({found} rows of {meta.num_rows}); fetch it again"
            )


def _as_bytes(texts: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_decode()
    if pa.types.is_string(texts.type) or pa.types.is_string_view(texts.type):
        texts = texts.cast(pa.large_string())
    return texts.cast(pa.large_binary())


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    checks = (
        "string",
        "large_string",
        "string_view",
        "binary",
        "large_binary",
        "binary_view",
        "null",
    )
    return any(getattr(pa.types, f"is_{check}")(kind) for check in checks)


def _leaves(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    found, waiting = [], [(f.name, f.type) for f in reversed(schema)]
    while waiting:
        name, kind = waiting.pop()
        if pa.types.is_struct(kind):
            waiting += [
                (f"{name}.{kind.field(i).name}", kind.field(i).type)
                for i in reversed(range(kind.num_fields))
            ]
        else:
            found.append((name, kind))
    return found


def _no_column(schema: pa.Schema, name: str) -> str:
    names = [n for n, _ in _leaves(schema)]
    near = difflib.get_close_matches(name, names, 1, cutoff=0.5)
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return f"no column {name!r}; columns are {shown or 'none'}" + (
        f"; did you mean {near[0]}?" if near else ""
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
