"""What the reader of a format delivers, whatever the format: texts in batches, or rows as mappings.

A new format is three or five functions of these types and an entry in `formats.FORMATS`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

__all__ = ["LARGEST", "Glance", "Place", "Problem", "Reading", "Record", "TextBatch", "too_large"]

LARGEST = 64 * 1000 * 1000  # bytes of a line or value, where no key says otherwise


@dataclass(frozen=True)
class Reading:
    """How a file is read.

    ``column``: the one with the text. ``largest``: bytes of a line or a document, from which it
    isn't kept in memory. ``split``: what of a text file is a document (`Source.split`);
    ``piece_bytes``: of about how many bytes, for split: size; ``alone``: whether the source is this
    one file, which split: auto goes by.
    """

    column: str = "text"
    largest: int = LARGEST
    split: str = "file"
    piece_bytes: int | None = None
    alone: bool = False


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row: ``why`` is what it is counted under, ``detail`` is of this row, and
    so many ``line_ends`` of its text come before the fault. ``sound``: the file is as it should be
    and this row merely holds no text; it is left out and counted, whatever on_bad_file says.
    """

    why: str
    detail: str = ""
    line_ends: int = 0
    sound: bool = False

    def __str__(self) -> str:
        return f"{self.why} ({self.detail})" if self.detail else self.why


class Place(NamedTuple):
    """Where a row is: its number, from 0; and in a file of lines the number of its line, from 1."""

    row: int
    line: int | None = None

    def __str__(self) -> str:
        return f"row {self.row} (the first is 0)" if self.line is None else f"line {self.line}"

    def of(self, file: Path) -> str:
        """With the file's name, as editors and compilers write it."""
        return f"{file}: {self}" if self.line is None else f"{file}:{self.line}"


class Record(NamedTuple):
    """A row as a mapping, or None and what is wrong with it."""

    place: Place
    row: dict[str, Any] | None
    problem: Problem | None = None


@dataclass(frozen=True)
class TextBatch:
    """Consecutive rows of a file.

    ``texts``: large_binary, null where the row has no text. They are bytes because files do hold
    strings that aren't UTF-8, and the reader above decides what becomes of those. ``problems``: a
    row's index in here → what is wrong with it. ``lines``: the line that each row begins in, where
    the file has lines. ``origin``: the columns that came along, if any.
    """

    texts: pa.Array
    problems: dict[int, Problem] = field(default_factory=dict)
    lines: list[int] | None = None
    origin: pa.RecordBatch | None = None

    def place(self, index: int, problem: Problem, first_row: int) -> Place:
        """Where the problem of a row is, the batch's first row being ``first_row`` of its file."""
        line = self.lines[index] + problem.line_ends if self.lines else None
        return Place(first_row + index, line)


@dataclass(frozen=True)
class Glance:
    """What a file says of itself before it is read.

    ``rows`` and ``nulls``: None where only reading would tell. ``notes``: what its name doesn't
    say. ``bad_row``: the first bad row among those that were looked at, with its place.
    ``documents``: how many a text file is split into, roughly; ``split``: where.
    """

    rows: int | None
    nulls: int | None
    text_bytes: int
    notes: tuple[str, ...] = ()
    bad_row: str = ""
    documents: int = 0
    split: str = ""


def too_large(largest: int) -> Problem:
    """The problem of a row with more than ``largest`` bytes."""
    return Problem("too large", f"more than {largest / 1e6:g} MB; max_document_mb allows more")
