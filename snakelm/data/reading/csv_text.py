"""Texts and rows from CSV and TSV, streamed: the first line names the columns.

Python's csv module finds the values. Of a bad row it costs that row only, it keeps line ends in
quotes as they are, and it needs no block that a row has to fit into; Arrow's reader gives up the
file. It is given bytes as characters of Latin-1, so text that isn't UTF-8 is told in the value that
holds it. What separates the values is told by the first line: a tab, or the commonest of , ; and |.

A quote inside quotes is doubled (RFC 4180). A value with a lone one, or a row with more or fewer
values than there are columns, is a bad row, named by line and column: to guess would shift or join
texts in silence. Lines without a character are no rows.
"""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ...parquet import BadFile, no_column
from .encodings import not_utf8, nul_problem_in
from .lines import GLANCE_BYTES, Part, in_batches, unpacked_bytes
from .rows import LARGEST, Glance, Place, Problem, Reading, Record, TextBatch, too_large
from .streams import CHUNK, open_text

__all__ = ["csv_columns", "csv_glance", "csv_records", "csv_texts"]

SEPARATORS = "\t,;|"
UNCLOSED = "a quote that is never closed"
QUOTED = r'"(?:[^"]++|"")*+"?'
MOST = 2**31 - 1  # characters of a value, for the csv module; `_Feed` has the limit that is set


class _Row(NamedTuple):
    """A row: the line it begins in, its values, or what is wrong with it."""

    line: int
    values: list[str]
    problem: Problem | None


class _Feed:
    """Lines for the csv module, which asks for as many as a row has.

    Of a row with more than ``largest`` bytes only the characters that decide where it ends go on,
    one for each run of others, so it is passed over without being held.
    """

    def __init__(self, stream: io.BufferedReader, largest: int) -> None:
        self.stream, self.largest = stream, largest
        self.separator = ""  # once the first line has told
        self.line = 0  # of the last one given
        self.bytes_before = self.row_bytes = 0  # of the rows that are done, and of this one
        self.others = re.compile(rb'[^"\r\n' + re.escape(SEPARATORS).encode() + rb"]+")
        self.begin()

    def begin(self) -> None:
        """Forgets the row that is done."""
        self.row: list[str] = []
        self.bytes_before += self.row_bytes
        self.row_bytes = 0

    @property
    def too_large(self) -> bool:
        """Whether the row is."""
        return self.row_bytes > self.largest

    def __iter__(self) -> Iterator[str]:
        while part := self.stream.readline(CHUNK):
            self.line += 1
            line = self._kept(part)
            if not part.endswith(b"\n"):
                line += b"".join(map(self._kept, self._rest_of_line()))
            text = line.decode("latin-1")
            self.row.append(text)
            yield text

    def _rest_of_line(self) -> Iterator[bytes]:
        while part := self.stream.readline(CHUNK):
            yield part
            if part.endswith(b"\n"):
                return

    def _kept(self, part: bytes) -> bytes:
        self.row_bytes += len(part)
        if self.row_bytes <= self.largest:
            return part
        self.row.clear()
        return self.others.sub(b"x", part)


def csv_texts(path: Path, reading: Reading) -> Iterator[TextBatch]:
    """The values of the column ``reading.column``."""

    def parts() -> Iterator[Part]:
        with open_text(path) as opened:
            names, rows = _opened(_Feed(opened.stream, reading.largest), path)
            at = _index(names, reading.column, path)
            for line, values, problem in rows:
                if problem:
                    yield line, None, problem
                else:
                    before = sum(value.count("\n") for value in values[:at])
                    yield line + before, values[at].encode("latin-1"), None

    yield from in_batches(parts())


def csv_columns(path: Path) -> list[str]:
    """The names in the first line; BadFile when two are the same."""
    with open_text(path) as opened:
        names, _ = _opened(_Feed(opened.stream, LARGEST), path)
        return _distinct(names, path)


def csv_records(path: Path, columns: Mapping[str, str], largest: int = LARGEST) -> Iterator[Record]:
    """Rows of all columns, whatever ``columns`` says: texts, or None for an empty one."""
    with open_text(path) as opened:
        names, rows = _opened(_Feed(opened.stream, largest), path)
        _distinct(names, path)
        for number, (line, values, problem) in enumerate(rows):
            texts = [value.encode("latin-1") for value in values]
            problem = problem or next(filter(None, map(not_utf8, texts)), None)
            place = Place(number, line + (problem.line_ends if problem else 0))
            if problem:
                yield Record(place, None, problem)
                continue

            row = {name: text.decode() or None for name, text in zip(names, texts, strict=True)}
            problem = nul_problem_in(row, columns) if any(b"\0" in text for text in texts) else None
            yield Record(place, None if problem else row, problem)


def csv_glance(path: Path, reading: Reading) -> Glance:
    """What the first rows tell; BadFile where there is no such column."""
    with open_text(path) as opened:
        feed = _Feed(opened.stream, reading.largest)
        names, rows = _opened(feed, path)
        _index(names, reading.column, path)
        count, bad = 0, ""
        for row in rows:
            count += 1
            if row.problem and not bad:
                bad = f"line {row.line + row.problem.line_ends}: {row.problem}"
            if feed.bytes_before >= GLANCE_BYTES:
                break
        complete = not opened.stream.peek(1)
        return Glance(count if complete else None, None, unpacked_bytes(path), opened.notes, bad)


def _opened(feed: _Feed, path: Path) -> tuple[list[str], Iterator[_Row]]:
    """(names of the columns, the rows below)."""
    csv.field_size_limit(MOST)
    for first in feed:
        if first.strip("\r\n"):
            break
        feed.begin()
    else:
        raise BadFile("no line in it, expected one that names the columns", path)
    if "\r" in first.rstrip("\r\n"):
        raise BadFile(
            "its lines end with carriage returns alone, expected line feeds; convert it: "
            "tr '\\r' '\\n'",
            path,
        )

    feed.separator = _separator(first)
    reader = csv.reader(itertools.chain([first], feed), delimiter=feed.separator, strict=True)
    rows = _rows(reader, feed)
    header = next(rows)
    if header.problem:
        raise BadFile(f"line {header.line}, which names the columns: {header.problem}", path)
    names = [name.encode("latin-1").decode("utf-8", "replace").strip() for name in header.values]
    return names, (_counted(row, names) for row in rows)


def _separator(first: str) -> str:
    """What stands between the values of a line; where nothing does, it is one value."""
    bare = re.sub(QUOTED, "", first)
    if "\t" in bare:
        return "\t"
    return max(",;|", key=bare.count)


def _rows(reader: Iterator[list[str]], feed: _Feed) -> Iterator[_Row]:
    """Every row, a bad one too; lines without a character are none."""
    line = feed.line
    while True:
        values, problem = [], None
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = _problem(str(error), feed)
        if feed.too_large and not (problem and problem.why == UNCLOSED):
            problem = too_large(feed.largest)
        if values or problem:
            yield _Row(line, values, problem)
        line = feed.line + 1
        feed.begin()


def _counted(row: _Row, names: list[str]) -> _Row:
    """The row, a bad one unless it has a value for each column."""
    if row.problem or len(row.values) == len(names):
        return row
    detail = f"{len(row.values)}, expected {len(names)}: {', '.join(names)}"
    return row._replace(problem=Problem("not as many values as columns", detail[:200]))


def _problem(error: str, feed: _Feed) -> Problem:
    """What is wrong with the row that was read last, and where in it."""
    row = "".join(feed.row)
    if "unexpected end" in error:
        lines, column = _position(row, feed.separator, last=True)
        return Problem(UNCLOSED, f"column {column}" if not feed.too_large else "", lines)
    if "new-line" in error:
        return Problem("a carriage return outside quotes", "", row[:-1].count("\n"))

    lines, column = _position(row, feed.separator)
    return Problem("a quote inside a quoted value", f"column {column}; expected it doubled", lines)


def _position(row: str, separator: str, last: bool = False) -> tuple[int, int]:
    """(lines before, column from 1) of the first quote that ends a value without a separator behind
    it; or of the ``last`` one that begins a value.
    """
    at = 0
    for value in re.finditer(rf"(?:^|[{separator}])({QUOTED})", row, re.MULTILINE):
        after = row[value.end() : value.end() + 1]
        if last:
            at = value.start(1)
        elif after and after not in separator + "\r\n":
            at = value.end() - 1
            break
    before = row[:at]
    return before.count("\n"), at - before.rfind("\n")


def _index(names: list[str], name: str, path: Path) -> int:
    if names.count(name) > 1:
        raise _ambiguous(names, name, path)
    if name not in names:
        why = f"{no_column(name, names)} (by its first line, which must name them)"
        raise BadFile(why, path)
    return names.index(name)


def _distinct(names: list[str], path: Path) -> list[str]:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise _ambiguous(names, twice[0], path)
    return names


def _ambiguous(names: list[str], name: str, path: Path) -> BadFile:
    return BadFile(f"{names.count(name)} columns are named {name!r}; rename one", path)
