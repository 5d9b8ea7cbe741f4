"""Rows of a user's JSONL or parquet file as plain dictionaries of the columns needed, streamed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...parquet import BadFile
from .formats import FORMATS
from .rows import LARGEST, Record

__all__ = ["columns_of", "records"]

# Of turns: words, and what conversations.fields knows of them.
TURN_KEYS = (
    *("role", "content", "from", "value"),
    *("weight", "train", "masked", "label", "reasoning", "tool_calls"),
)


def columns_of(path: Path, kind: str) -> list[str]:
    """The top-level columns of a file, or the fields of its first object; BadFile when it can't be
    read.
    """
    columns = FORMATS[kind].columns
    if columns is None:
        raise BadFile(f"its format, {kind}, has no columns", path)
    return columns(path)


def records(
    path: Path,
    kind: str,
    wanted: Mapping[str, str],
    largest: int = LARGEST,
    met: set[str] | None = None,
) -> Iterator[Record]:
    """Each row, with its place and with what is wrong with a bad one.

    ``wanted``: the file's name of a column → its name in the row; of the turns inside it too (JSONL
    gives all fields). ``largest``: bytes from which a row is bad. ``met``: gets the file's names
    that a row had and that are others in it. BadFile where the file breaks.
    """
    read = FORMATS[kind].records
    if read is None:
        raise BadFile(f"its format, {kind}, has no columns", path)

    renamed = {theirs: ours for theirs, ours in wanted.items() if theirs != ours}
    found: set[str] = set() if met is None else met
    for record in read(path, wanted, largest):
        if renamed and record.row is not None:
            record = record._replace(row=_renamed(record.row, renamed, found))
        yield record


def _renamed(row: dict[str, Any], names: Mapping[str, str], met: set[str]) -> dict[str, Any]:
    """The row with its keys, and those of its turns, renamed; what is inside a turn stays."""
    inside = {theirs: ours for theirs, ours in names.items() if ours in TURN_KEYS}
    renamed = {}
    for key, value in _rekeyed(row, names, met).items():
        turns = inside and isinstance(value, list)
        renamed[key] = [_rekeyed(turn, inside, met) for turn in value] if turns else value
    return renamed


def _rekeyed(value: Any, names: Mapping[str, str], met: set[str]) -> Any:
    """An object with its keys renamed; a key whose name another one takes is dropped."""
    if not isinstance(value, dict):
        return value
    met |= names.keys() & value.keys()
    kept = {key: item for key, item in value.items() if key not in names}
    return kept | {ours: value[theirs] for theirs, ours in names.items() if theirs in value}
