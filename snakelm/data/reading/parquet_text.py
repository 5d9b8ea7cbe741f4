"""Texts and rows from a user's parquet file, a few megabytes at a time.

Only the columns needed are read. A dotted name reaches into structs.
"""

import codecs
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...parquet import BadFile, no_column, open_parquet
from .encodings import not_utf8, nul_problem_in
from .rows import LARGEST, Glance, Place, Problem, Reading, Record, TextBatch, too_large

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

__all__ = [
    "column_of",
    "parquet_columns",
    "parquet_filled",
    "parquet_glance",
    "parquet_records",
    "parquet_texts",
]


def parquet_texts(path: Path, reading: Reading, also: tuple[str, ...] = ()) -> Iterator[TextBatch]:
    """The texts of ``reading.column``, with the columns ``also`` as the batches' origin."""
    with open_parquet(path) as file:
        parts = column_of(path, file.schema, reading.column)
        for batch in file.batches([".".join(parts), *also]):
            texts = batch.column(parts[0])
            if len(parts) > 1:
                texts = pc.struct_field(texts, parts[1:])
            yield TextBatch(_as_bytes(texts), origin=batch.select(also) if also else None)


def parquet_glance(path: Path, reading: Reading) -> Glance:
    """Rows, nulls and bytes of text by the footer alone."""
    with open_parquet(path) as file:
        column_path = ".".join(column_of(path, file.schema, reading.column))
        groups = range(file.num_row_groups)
        size = sum(file.column_bytes(group, column_path) for group in groups)

        nulls: int | None = 0
        for group in groups:
            metadata = file.metadata.row_group(group)
            for i in range(metadata.num_columns):
                chunk = metadata.column(i)
                if chunk.path_in_schema == column_path and nulls is not None:
                    known = chunk.statistics is not None and chunk.statistics.has_null_count
                    nulls = nulls + chunk.statistics.null_count if known else None
        return Glance(file.num_rows, nulls, size)


def parquet_columns(path: Path) -> list[str]:
    """The top-level columns; BadFile when two have one name."""
    with open_parquet(path) as file:
        names = file.schema.names

    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _ambiguous(path, names, twice[0])
    return names


def parquet_filled(path: Path, names: Collection[str]) -> dict[str, int]:
    """Of those of the top-level columns ``names`` that have values: in how many rows at most, by
    the footer alone. Lists and structs count in all rows of a row group where any leaf has a value.
    """
    rows: dict[str, int] = {}
    with open_parquet(path) as file:
        names = {f.name for f in file.schema if f.name in names and not pa.types.is_null(f.type)}
        for group in range(file.num_row_groups):
            metadata = file.metadata.row_group(group)
            filled: dict[str, int] = {}
            for chunk in map(metadata.column, range(metadata.num_columns)):
                name = chunk.path_in_schema.split(".")[0]
                if name in names:
                    filled[name] = max(filled.get(name, 0), _filled(chunk, metadata.num_rows))
            for name, count in filled.items():
                rows[name] = rows.get(name, 0) + count
    return {name: count for name, count in rows.items() if count}


def _filled(chunk: pq.ColumnChunkMetaData, rows: int) -> int:
    """In how many of ``rows`` a leaf has a value, at most; blank text is none."""
    known = chunk.statistics
    if known is None or not known.has_null_count:
        return rows
    if known.null_count == chunk.num_values:
        return 0
    if known.has_min_max and known.min == known.max and known.max in ("", b""):
        return 0
    return rows if "." in chunk.path_in_schema else rows - known.null_count


def parquet_records(
    path: Path, columns: Mapping[str, str], largest: int = LARGEST
) -> Iterator[Record]:
    """Rows with those of ``columns`` that the file has.

    Nested columns come as lists and dictionaries: struct fields by name, in whatever order the file
    has them, lists of either width, dictionary-coded values as the values they stand for.
    """
    with open_parquet(path) as file:
        # By its top-level name a nested column comes complete; a dotted name would reach into one.
        names = [name for name in file.schema.names if name in columns and "." not in name]
        for name in names:
            _check_fields(path, name, file.schema.field(name).type)

        number = 0
        for batch in file.batches(names):
            for row, problem in _rows(batch, names, largest):
                yield Record(Place(number), None if problem else row, problem)
                number += 1


def _check_fields(path: Path, name: str, kind: pa.DataType) -> None:
    """BadFile when a struct somewhere in the column ``name`` has two fields of one name."""
    fields = [kind.field(i) for i in range(kind.num_fields)]
    if pa.types.is_struct(kind):
        names = [field.name for field in fields]
        if len(set(names)) < len(names):
            twice = next(field for field in names if names.count(field) > 1)
            why = f"column {name!r} has {names.count(twice)} fields named {twice!r}; rename one"
            raise BadFile(why, path)

    for field in fields:
        _check_fields(path, name, field.type)


def _rows(
    batch: pa.RecordBatch, names: list[str], largest: int
) -> Iterator[tuple[dict[str, Any] | None, Problem | None]]:
    """The rows, with what is wrong with each."""
    large, nul = batch.nbytes > largest, any(map(_has_nul, batch.columns))
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:  # Arrow then gives no row at all; one by one the sound ones come
        rows = [None] * batch.num_rows

    for i, row in enumerate(rows):
        if large and batch.slice(i, 1).nbytes > largest:
            yield None, too_large(largest)
            continue
        try:
            row = row or batch.slice(i, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            yield None, not_utf8(error.object)
        else:
            yield row, nul_problem_in(row, names) if nul else None


def _has_nul(array: pa.Array) -> bool:
    """Whether any text of a column, however nested, has a NUL in it."""
    if pa.types.is_dictionary(array.type):
        return _has_nul(array.dictionary)
    if pa.types.is_struct(array.type):
        return any(map(_has_nul, array.flatten()))
    if pa.types.is_nested(array.type):
        return _has_nul(array.flatten()) if hasattr(array, "flatten") else True
    if not _is_text(array.type) or pa.types.is_null(array.type):
        return False
    return bool(pc.any(pc.match_substring(_as_bytes(array), "\0")).as_py())


def column_of(path: Path, schema: pa.Schema, name: str) -> list[str]:
    """The parts of the column ``name``, which must hold text; BadFile otherwise."""
    parts = [name] if name in schema.names else name.split(".")
    if schema.names.count(parts[0]) > 1:
        raise _ambiguous(path, schema.names, parts[0])

    kind: pa.DataType = pa.struct(list(schema))
    for part in parts:
        if not pa.types.is_struct(kind) or kind.get_field_index(part) < 0:
            raise BadFile(no_column(name, [leaf for leaf, _ in _leaves(schema)]), path)
        kind = kind.field(part).type

    if not _is_text(kind):
        texts = ", ".join(leaf for leaf, type_ in _leaves(schema) if _is_text(type_)) or "none"
        raise BadFile(
            f"column {name!r} holds {kind}, expected text; columns with text: {texts}", path
        )
    return parts


def _ambiguous(path: Path, names: list[str], name: str) -> BadFile:
    return BadFile(f"{names.count(name)} columns are named {name!r}; rename one", path)


def _as_bytes(texts: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_decode()
    if pa.types.is_string(texts.type) or pa.types.is_string_view(texts.type):
        texts = texts.cast(pa.large_string())
    elif pa.types.is_binary(texts.type) or texts.type in (pa.large_binary(), pa.binary_view()):
        texts = _unmarked(texts.cast(pa.large_binary()))
    return texts.cast(pa.large_binary())


def _unmarked(texts: pa.Array) -> pa.Array:
    """Values that begin with the byte order mark of UTF-16, as UTF-8; those of a text column are
    UTF-8 by their type.
    """
    marked = [pc.starts_with(texts, mark) for mark in UTF16_MARKS]
    if not pc.any(pc.or_(*marked)).as_py():
        return texts
    return pa.array([_decoded(value) for value in texts.to_pylist()], pa.large_binary())


def _decoded(value: bytes | None) -> bytes | None:
    if value is None or not value.startswith(UTF16_MARKS):
        return value
    try:
        return value.decode("utf-16").encode()
    except UnicodeDecodeError:
        return value


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind in (
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.null(),
    )


def _leaves(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    """Dotted names and types of all columns that aren't structs, in the schema's order."""
    leaves, waiting = [], [(field.name, field.type) for field in reversed(schema)]
    while waiting:
        name, kind = waiting.pop()
        if pa.types.is_struct(kind):
            fields = [kind.field(i) for i in reversed(range(kind.num_fields))]
            waiting += [(f"{name}.{field.name}", field.type) for field in fields]
        else:
            leaves.append((name, kind))
    return leaves
