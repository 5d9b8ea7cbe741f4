"""Rows of a person's JSONL or parquet file as plain dictionaries of the columns that are wanted,
streamed.

Parquet's nested columns come as lists and dictionaries: struct fields by name, in whatever order
the file has them, lists of either width, dictionary-coded values as the values they stand for.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from .lines import jsonl_records
from .parquet_text import BadFile, open_parquet, row_batches

__all__ = ["columns_of", "records"]

TURN_KEYS = ("role", "content", "from", "value")
Record = tuple[dict[str, Any] | None, str | None]


def columns_of(path: Path, kind: str) -> list[str]:
    """The top-level columns of a file, or the fields of its first object; BadFile when it can't be
    read.
    """
    if kind == "jsonl":
        return next((list(record) for record, _ in jsonl_records(path) if record is not None), [])
    if path.stat().st_size == 0:
        raise BadFile("empty, 0 bytes; fetch it again or take it out")
    with open_parquet(path) as file:
        names = file.schema_arrow.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadFile(f"{names.count(twice[0])} columns are named {twice[0]!r}; rename one")
    return names


def records(path: Path, kind: str, wanted: Mapping[str, str]) -> Iterator[Record]:
    """(row, None) for each sound row, (None, what is wrong) for another.

    ``wanted``: the file's name of a column → the name it has in the row; those of turns inside it
    too (JSONL: all fields are given). BadFile where the file breaks.
    """
    renamed = {theirs: ours for theirs, ours in wanted.items() if theirs != ours}
    if kind == "jsonl":
        for record, problem in jsonl_records(path):
            yield (_renamed(record, renamed) if renamed and record is not None else record), problem
        return
    with open_parquet(path) as file:
        # Asked for by its name alone, a nested column comes whole; a name with dots would reach
        # into one.
        names = [name for name in file.schema_arrow.names if name in wanted and "." not in name]
        for batch in row_batches(file, names):
            for row, problem in _rows(batch):
                yield (_renamed(row, renamed) if renamed and row is not None else row), problem


def _rows(batch: pa.RecordBatch) -> Iterator[Record]:
    try:
        yield from ((row, None) for row in batch.to_pylist())
    except UnicodeDecodeError:  # Arrow gives no row then; one by one, the others are there
        for i in range(batch.num_rows):
            try:
                yield batch.slice(i, 1).to_pylist()[0], None
            except UnicodeDecodeError:
                yield None, "not UTF-8"


def _renamed(row: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The row with its keys as they are called here, and those of its turns, but not of what is
    inside a turn.
    """
    inside = {theirs: ours for theirs, ours in names.items() if ours in TURN_KEYS}
    return {
        key: [_rekeyed(turn, inside) for turn in value]
        if inside and isinstance(value, list)
        else value
        for key, value in _rekeyed(row, names).items()
    }


def _rekeyed(value: Any, names: Mapping[str, str]) -> Any:
    """An object with its keys as ``names`` has them; a key that another one takes goes."""
    if not isinstance(value, dict):
        return value
    kept = {key: item for key, item in value.items() if key not in names}
    return kept | {ours: value[theirs] for theirs, ours in names.items() if theirs in value}
