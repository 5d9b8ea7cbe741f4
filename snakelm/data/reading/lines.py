"""Texts and rows from JSON lines, streamed.

JSON goes through Python's parser line by line: a bad line then costs that line only, where Arrow's
parser gives up the block, and a lone surrogate is recognised for what it is. A line ends with a
line feed and nothing else: JSON texts hold U+2028 and its kind as they are. A lone NUL and
`<|endoftext|>` are ordinary text.
"""

import difflib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...json_files import Fault, JsonError, parse_json
from ...parquet import BadFile
from .encodings import not_utf8, nul_problem_in
from .rows import LARGEST, Glance, Place, Problem, Reading, Record, TextBatch, too_large
from .streams import SUFFIXES, OpenText, lines, open_text

__all__ = [
    "in_batches",
    "jsonl_columns",
    "jsonl_glance",
    "jsonl_records",
    "jsonl_texts",
    "unpacked_bytes",
]

EXPANSION = 4  # a guess for compressed text: bytes of it per byte of the file
BATCH_BYTES, BATCH_ROWS = 8 << 20, 8192
GLANCE_BYTES = 1 << 20  # of JSON lines that are looked at beforehand
NUL = b"\\u0000"  # as JSON has it
CARRIAGE_RETURNS = re.compile(rb"\}[ \t]*\r\s*\{")

# What a bad line is counted under in the manifest.
PROBLEMS: dict[Fault, str] = {
    "not UTF-8": "not UTF-8",
    "not JSON": "not JSON",
    "a key twice": "a key written twice",
    "another shape": "not a JSON object",
}


# The line that a row begins in, its text, and what is wrong with it.
Part = tuple[int, bytes | None, Problem | None]


def in_batches(parts: Iterator[Part]) -> Iterator[TextBatch]:
    """The rows in batches; where a BadFile ends them, after all that came before it."""
    rows, fault = TextRows(), None
    try:
        for part in parts:
            rows.add(*part)
            if rows.full:
                yield rows.batch()
                rows = TextRows()
    except BadFile as bad:
        fault = bad

    if rows.texts:
        yield rows.batch()
    if fault:
        raise fault


class TextRows:
    """Rows collected for a batch: texts as bytes, or None, and what is wrong with which."""

    def __init__(self) -> None:
        self.texts: list[bytes | None] = []
        self.lines: list[int] = []
        self.problems: dict[int, Problem] = {}
        self.size = 0

    def add(self, line: int, text: bytes | None, problem: Problem | None) -> None:
        """Adds the row that begins in a line."""
        if problem:
            self.problems[len(self.texts)] = problem
        self.texts.append(text)
        self.lines.append(line)
        self.size += len(text or b"")

    @property
    def full(self) -> bool:
        """Whether it is time for the next batch."""
        return self.size >= BATCH_BYTES or len(self.texts) >= BATCH_ROWS

    def batch(self) -> TextBatch:
        """The rows as they are handed on."""
        return TextBatch(pa.array(self.texts, pa.large_binary()), self.problems, self.lines)


def jsonl_texts(path: Path, reading: Reading) -> Iterator[TextBatch]:
    """The text in the field ``reading.column`` (dots reach into objects) of each line; blank lines
    are not rows.

    BadFile when the stream is broken, when it is no JSON lines, or when no row has the field.
    """
    seen = False
    first_keys: list[str] | None = None

    def parts() -> Iterator[Part]:
        nonlocal seen, first_keys
        for place, record, problem in jsonl_records(path, largest=reading.largest):
            text = None
            if record is not None:
                first_keys = list(record) if first_keys is None else first_keys
                there, text, problem = _reach(record, reading.column)
                seen = seen or there
            yield place.line or 0, text, problem

        if first_keys is not None and not seen:
            raise BadFile(_no_field(reading.column, first_keys), path)

    yield from in_batches(parts())


def _no_field(field: str, keys: list[str]) -> str:
    close = difflib.get_close_matches(field, keys, 1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"no line has the field {field!r}; fields are {', '.join(keys) or 'none'}{hint}"


def jsonl_records(
    path: Path, columns: Mapping[str, str] | None = None, largest: int = LARGEST
) -> Iterator[Record]:
    """Each line's object, or None and what is wrong with the line; blank lines are not rows.

    All fields are given, whatever ``columns`` says: the line had to be parsed anyway. BadFile when
    the stream is broken or when it is no JSON lines.
    """
    with open_text(path) as opened:
        yield from _records(opened, path, columns or {}, largest)


def _records(
    opened: OpenText,
    path: Path,
    columns: Mapping[str, str],
    largest: int,
    most: int = sys.maxsize,
) -> Iterator[Record]:
    """The records in the first ``most`` bytes and in the line that these end in."""
    objects, row, done = False, 0, 0
    for number, line in lines(opened.stream, largest):
        done += largest if line is None else len(line)
        if line is not None and not line.strip():
            continue

        record, problem = _parse(line) if line is not None else (None, too_large(largest))
        if line is not None and problem and not objects:
            _refuse(line, path)
        objects = objects or record is not None
        if record is not None and line is not None and NUL in line:
            problem = nul_problem_in(record, columns)

        yield Record(Place(row, number), None if problem else record, problem)
        row += 1
        if done >= most:
            return


def _refuse(line: bytes, path: Path) -> None:
    """BadFile where a line that no object came before shows that none will come: a data set saved
    in another way, not a bad line among good ones.
    """
    start = line.strip()
    if start.startswith(b"["):
        raise BadFile(
            "a JSON array, expected one JSON object a line; jq -c '.[]' writes it so", path
        )
    if start == b"{":
        raise BadFile(
            "JSON over several lines, expected one object a line; jq -c . writes it so", path
        )

    if CARRIAGE_RETURNS.search(line):
        raise BadFile(
            "its lines end with carriage returns alone, expected line feeds; convert it: "
            "tr '\\r' '\\n'",
            path,
        )


def _parse(line: bytes) -> tuple[dict[str, Any] | None, Problem | None]:
    try:
        return parse_json(line, dict, allow_nan=True), None
    except JsonError as error:
        return None, Problem(PROBLEMS[error.fault], _detail(line, error))


def _detail(line: bytes, error: JsonError) -> str:
    """What is wrong with a line, in words that help to mend it."""
    if error.fault == "another shape":
        return str(error).split(",")[0]
    if problem := not_utf8(line):
        return problem.detail

    text = line.strip()
    if text.endswith(b",") and _parse(text[:-1])[0] is not None:
        return "a comma after the object"
    if text.startswith(b"{'"):
        return "single quotes, where JSON has double ones"
    if not text.startswith(b"{"):
        kind = "tab-separated text" if b"\t" in text else "text"
        return f"{kind}: {text[:40].decode('utf-8', 'replace')!r}"
    found = str(error).removeprefix("not JSON: ").split(" at line")[0].removesuffix(" at")
    return f"{found}, column {error.column}" if error.column else found


def _reach(record: dict[str, Any], field: str) -> tuple[bool, bytes | None, Problem | None]:
    """(whether the field is there, its text, what is wrong with it)."""
    value: object = record
    for part in [field] if field in record else field.split("."):
        if not isinstance(value, dict) or part not in value:
            return False, None, None
        value = value[part]

    if value is None:
        return True, None, None
    if not isinstance(value, str):
        return True, None, Problem(f"a {type(value).__name__} where text should be")

    try:
        return True, value.encode("utf-8"), None
    except UnicodeEncodeError:
        return True, None, Problem("lone surrogate")


def jsonl_columns(path: Path) -> list[str]:
    """The fields of the first sound object; none in a file without one."""
    return next((list(row) for _, row, _ in jsonl_records(path) if row is not None), [])


def jsonl_glance(path: Path, reading: Reading) -> Glance:
    """What the first lines tell; BadFile unless there is an object among them.

    Whether any line has the field only all lines together tell.
    """
    with open_text(path) as opened:
        records = list(_records(opened, path, {}, reading.largest, GLANCE_BYTES))
        complete, notes = not opened.stream.peek(1), opened.notes

    objects = [record.row for record in records if record.row is not None]
    if not objects:
        first = next((f"{one.place}: {one.problem}" for one in records), "no rows")
        raise BadFile(f"{first}; expected one JSON object a line", path)

    reached = [_reach(row, reading.column) for row in objects]
    if complete and not any(there for there, _, _ in reached):
        raise BadFile(_no_field(reading.column, list(objects[0])), path)

    values = iter(reached)
    problems = [(one.place, one.problem or next(values)[2]) for one in records]
    return Glance(
        rows=len(records) if complete else None,
        nulls=sum(text is None and not why for _, text, why in reached) if complete else None,
        text_bytes=unpacked_bytes(path),
        notes=notes,
        bad_row=next((f"{place}: {problem}" for place, problem in problems if problem), ""),
    )


def unpacked_bytes(path: Path) -> int:
    """Bytes of text in a file, guessed where it is compressed."""
    return path.stat().st_size * (EXPANSION if path.suffix.lower() in SUFFIXES else 1)
