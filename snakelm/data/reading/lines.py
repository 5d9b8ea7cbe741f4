"""Texts from JSON lines (plain, gzip, zstd; streamed) and from plain text (one document a file).

JSON goes through Python's parser line by line: a bad line then costs that line only, where Arrow's
parser gives up the block, and a lone surrogate is recognised for what it is. NUL bytes and
`<|endoftext|>` are ordinary text.
"""

import difflib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...json_files import Fault, JsonError, parse_json
from ...parquet import REMEDY_USERS, BadFile
from .rows import Glance, Record, TextBatch

__all__ = [
    "COMPRESSION",
    "jsonl_columns",
    "jsonl_glance",
    "jsonl_records",
    "jsonl_texts",
    "plain_glance",
    "plain_texts",
]

COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
EXPANSION = 4  # a guess for gzip and zstd: bytes of text per compressed byte
BATCH_BYTES, BATCH_ROWS = 8 << 20, 8192
BOM = b"\xef\xbb\xbf"

# What a bad line is counted under in the manifest.
PROBLEMS: dict[Fault, str] = {
    "not UTF-8": "not UTF-8",
    "not JSON": "not JSON",
    "a key twice": "a key written twice",
    "another shape": "not a JSON object",
}


class _Rows:
    """Rows collected for a batch: texts as bytes, or None, and what is wrong with which."""

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

    def batch(self) -> TextBatch:
        return TextBatch(pa.array(self.texts, pa.large_binary()), self.problems)


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """The file's bytes, decompressed as its name says; BadFile when the stream is damaged.

    All members of a gzip file and all frames of a zstd file are read.
    """
    compression = COMPRESSION.get(path.suffix.lower())
    try:
        stream = pa.input_stream(str(path), compression=compression, buffer_size=1 << 20)
        with io.BufferedReader(stream, 1 << 20) as file:
            yield file
    except OSError as error:
        fault = " ".join(str(error).split())
        raise BadFile(f"broken off or damaged ({fault}); {REMEDY_USERS}", path) from None


def jsonl_texts(path: Path, field: str) -> Iterator[TextBatch]:
    """The text in ``field`` (dots reach into objects) of each line; blank lines are not rows.

    BadFile when the stream is broken, when it is one JSON array, or when no row has the field.
    """
    rows, seen, first_keys = _Rows(), False, None
    for record, problem in jsonl_records(path):
        if record is None:
            rows.add(None, problem)
        else:
            first_keys = list(record) if first_keys is None else first_keys
            there, text, problem = _reach(record, field)
            seen = seen or there
            rows.add(text, problem)

        if rows.full:
            yield rows.batch()
            rows = _Rows()

    if first_keys is not None and not seen:
        raise BadFile(_no_field(field, first_keys), path)
    if rows.texts:
        yield rows.batch()


def _no_field(field: str, keys: list[str]) -> str:
    close = difflib.get_close_matches(field, keys, 1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"no line has the field {field!r}; fields are {', '.join(keys) or 'none'}{hint}"


def jsonl_records(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[Record]:
    """Each line's object, or None and what is wrong with the line; blank lines are not rows.

    All fields are given, whatever ``columns`` says: the line had to be parsed anyway. BadFile when
    the stream is broken or when it is one JSON array.
    """
    objects = False
    with _opened(path) as stream:
        for number, line in enumerate(stream):
            line = line.removeprefix(BOM) if number == 0 else line
            if not line.strip():
                continue

            # A data set saved as one array, not a bad line among good ones.
            if not objects and line.lstrip().startswith(b"["):
                raise BadFile(
                    "a JSON array, expected one JSON object a line; write it as JSONL", path
                )

            record, problem = _parse(line)
            objects = objects or record is not None
            yield record, problem


def _parse(line: bytes) -> Record:
    try:
        return parse_json(line, dict, allow_nan=True), None
    except JsonError as error:
        return None, PROBLEMS[error.fault]


def _reach(record: dict[str, Any], field: str) -> tuple[bool, bytes | None, str | None]:
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


def jsonl_columns(path: Path) -> list[str]:
    """The fields of the first sound object; none in a file without one."""
    return next((list(record) for record, _ in jsonl_records(path) if record is not None), [])


def jsonl_glance(path: Path, field: str) -> Glance:
    """Unknown rows, but BadFile unless the file begins with a JSON object.

    Whether any line has the field only all lines together tell.
    """
    if next(jsonl_texts(path, field), None) is None:
        raise BadFile("no rows", path)
    return Glance(None, None, _unpacked_bytes(path))


def plain_texts(path: Path, field: str) -> Iterator[TextBatch]:
    """One row: the text of the file. ``field`` has no meaning here."""
    rows = _Rows()
    with _opened(path) as stream:
        rows.add(stream.read().removeprefix(BOM))
    yield rows.batch()


def plain_glance(path: Path, field: str) -> Glance:
    """One row."""
    return Glance(1, 0, _unpacked_bytes(path))


def _unpacked_bytes(path: Path) -> int:
    return path.stat().st_size * (EXPANSION if path.suffix.lower() in COMPRESSION else 1)
