"""Texts from JSON lines (plain, gzip, zstd; streamed) and from plain text files (a file is a
document).

JSON goes through Python's parser, line by line: a bad line then costs that line, where Arrow's
parser gives up the block, and a lone surrogate is seen for what it is. NUL bytes and
`<|endoftext|>` are ordinary text.
"""

import difflib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from .parquet_text import BATCH_BYTES, BadFile

__all__ = ["Rows", "jsonl_records", "jsonl_rows", "open_lines", "text_rows"]

COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
BATCH_ROWS = 8192
BOM = b"\xef\xbb\xbf"


class Rows:
    """A stretch of rows: ``texts`` are bytes or None (null); ``problems`` maps a row's place here
    to what is wrong.
    """

    def __init__(self) -> None:
        self.texts: list[bytes | None] = []
        self.problems: dict[int, str] = {}
        self.size = 0

    def add(self, text: bytes | None, problem: str | None = None) -> None:
        if problem:
            self.problems[len(self.texts)] = problem
        self.texts.append(text)
        self.size += len(text or b"")

    @property
    def full(self) -> bool:
        return self.size >= BATCH_BYTES or len(self.texts) >= BATCH_ROWS


def open_lines(path: Path) -> io.BufferedReader:
    """The file's bytes, decompressed as its name says; concatenated gzip members and zstd frames
    are read on.
    """
    compression = COMPRESSION.get(path.suffix.lower())
    return io.BufferedReader(
        pa.input_stream(str(path), compression=compression, buffer_size=1 << 20), 1 << 20
    )


def jsonl_rows(path: Path, field: str) -> Iterator[Rows]:
    """The text in ``field`` (dots reach into objects) of each line; blank lines are no rows.

    BadFile when the stream is broken, when it is one JSON array, or when no row has the field.
    """
    rows, seen, first_keys = Rows(), False, None
    for record, problem in jsonl_records(path):
        if record is None:
            rows.add(None, problem)
        else:
            first_keys = list(record) if first_keys is None else first_keys
            found, text, problem = _reach(record, field)
            seen = seen or found
            rows.add(text, problem)
        if rows.full:
            yield rows
            rows = Rows()
    if first_keys is not None and not seen:
        near = difflib.get_close_matches(field, first_keys, 1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BadFile(
            f"no line has the field {field!r}; fields are {', '.join(first_keys) or 'none'}{hint}"
        )
    if rows.texts:
        yield rows


def jsonl_records(path: Path) -> Iterator[tuple[dict | None, str | None]]:
    """Each line's object, or None and what is wrong with the line; blank lines are no rows.

    BadFile when the stream is broken or when it is one JSON array.
    """
    objects = False
    try:
        with open_lines(path) as stream:
            for number, line in enumerate(stream):
                line = line.removeprefix(BOM) if number == 0 else line
                if not line.strip():
                    continue
                if not objects and line.lstrip().startswith(b"["):
                    raise BadFile(
                        "a JSON array, expected one JSON object a line; write it as JSONL"
                    )
                record, problem = _parse(line)
                objects = objects or record is not None
                yield record, problem
    except OSError as error:
        raise BadFile(
            f"broken off or damaged ({' '.join(str(error).split())}); fetch it again"
        ) from None


def _parse(line: bytes) -> tuple[dict | None, str | None]:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return None, "not UTF-8"
    except (ValueError, RecursionError):
        return None, "not JSON"
    return (record, None) if isinstance(record, dict) else (None, "not a JSON object")


def _reach(record: dict, field: str) -> tuple[bool, bytes | None, str | None]:
    """(whether the field is there, its text, what is wrong with it)."""
    value: object = record
    for part in [field] if field in record else field.split("."):
        if not isinstance(value, dict) or part not in value:
            return False, None, None
        value = value[part]
    if value is None:
        return True, None, None
    if not isinstance(value, str):
        return True, None, f"a {type(value).__name__} where text should be"
    try:
        return True, value.encode("utf-8"), None
    except UnicodeEncodeError:
        return True, None, "lone surrogate"


def text_rows(path: Path) -> Iterator[Rows]:
    """One row: the whole file."""
    try:
        with open_lines(path) as stream:
            rows = Rows()
            rows.add(stream.read().removeprefix(BOM))
            yield rows
    except OSError as error:
        raise BadFile(
            f"broken off or damaged ({' '.join(str(error).split())}); fetch it again"
        ) from None
