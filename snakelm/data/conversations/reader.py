"""A user's files as one stream of sound conversations, with every other row counted.

Two kinds of rows are left out. Damaged ones (not JSON, not UTF-8) and files that can't be read
follow on_bad_file, as documents do: error stops and names file and row. Rows that are sound but not
a conversation to learn from (an unknown role, an empty turn, …) are part of any large data set;
they are always left out and counted by reason.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ...errors import UserError
from ...parquet import BadFile
from ..reading.formats import FORMATS as FILE_FORMATS
from ..reading.formats import file_format
from ..reading.readers import FileReader
from ..reading.records import columns_of, records
from ..reading.rows import LARGEST, Place
from .formats import (
    COLUMNS,
    EVERY,
    FORMATS,
    ConversationFormat,
    Messages,
    Rejected,
    Row,
    messages_of,
)
from .trees import TREE_COLUMNS, TREE_MAY, Trees, is_tree

__all__ = ["COLUMN_NAMES", "ConversationReader"]

COLUMN_NAMES = sorted({*COLUMNS, *TREE_COLUMNS, *TREE_MAY, "from", "value", "content"})
COLUMNS_SHOWN = 20

# Reasons of two kinds: the file's damage, and a format that isn't known.
DAMAGED = {"not JSON", "not UTF-8", "not a JSON object", "lone surrogate"}
UNKNOWN = ("no known format", "not of the format")

PlacedRows = Iterator[tuple[Place, Row]]


class ConversationReader(FileReader[Messages]):
    """Reads ``files``: `conversations` returns the sound ones, ``counts`` has the rest.

    ``shape``: a format of `formats.FORMATS`, oasst, or auto. ``columns``: a format's name of a
    column → the file's. ``largest``: bytes from which a row is bad. ``on_bad`` and ``warn``: as for
    `FileReader`. The rows of oasst are messages, several to a conversation.
    """

    duplicate_fate = "its conversations count once"

    def __init__(
        self,
        files: Iterable[Path],
        *,
        shape: str = "auto",
        columns: Mapping[str, str] | None = None,
        largest: int = LARGEST,
        on_bad: str = "error",
        warn: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(files, on_bad=on_bad, warn=warn)
        self.shape, self.largest = shape, largest
        self.ours = {theirs: ours for ours, theirs in (columns or {}).items()}
        # The row of the file that the latest conversation came from; None for a tree's.
        self.row: int | None = None

        unknown = [name for name in columns or {} if name not in COLUMN_NAMES]
        if unknown:
            close = difflib.get_close_matches(unknown[0], COLUMN_NAMES, 1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(COLUMN_NAMES)}"
            raise UserError(
                f"sft_data.sources[].columns.{unknown[0]}: no format has such a column; {hint}"
            )

    def conversations(self, on_file: Callable[[int], None] | None = None) -> Iterator[Messages]:
        """The sound conversations, in the order of the files and their rows (see `items`)."""
        return self.items(on_file)

    def _file(self, file: Path) -> Iterator[Messages]:
        kind = file_format(file)
        if FILE_FORMATS[kind].records is None:
            raise BadFile("a text file, expected conversations as JSONL or parquet", file)

        # The format, by the columns: of a parquet file they hold for all rows, of JSONL they are
        # those of the first row and each row is looked at anew.
        theirs = columns_of(file, kind)
        ours = {name: self.ours.get(name, name) for name in theirs}
        tree = self._is_tree(list(ours.values()))
        known = is_tree(ours.values()) if tree else _formats(ours.values(), self._kinds())
        if kind == "parquet" and not known:
            raise BadFile(self._no_format(theirs), file)

        wanted = {name: our for name, our in ours.items() if our in COLUMN_NAMES}
        rows = self._rows(file, kind, wanted | self.ours)
        read, kept, unknown = self.counts.read, self.counts.kept, self._unknown()
        yield from self._trees(file, rows) if tree else self._plain(file, rows)

        # Not one row in a known format: the columns are named otherwise, which is worth an error.
        read = self.counts.read - read
        if read and self.counts.kept == kept and self._unknown() - unknown == read:
            raise BadFile(self._no_format(theirs), file)

    def _is_tree(self, columns: list[str]) -> bool:
        if self.shape != "auto":
            return self.shape == "oasst"
        return is_tree(columns) and not _formats(columns, EVERY)

    def _kinds(self) -> tuple[ConversationFormat, ...]:
        return EVERY if self.shape == "auto" else FORMATS.get(self.shape, ())

    def _rows(self, file: Path, kind: str, wanted: Mapping[str, str]) -> PlacedRows:
        """The file's sound rows with their places; the others counted."""
        for place, row, problem in records(file, kind, wanted, self.largest):
            self.counts.read += 1
            if row is None:
                self._bad_row(file, place, problem or "")
            else:
                yield place, row

    def _plain(self, file: Path, rows: PlacedRows) -> Iterator[Messages]:
        """A conversation a row."""
        for place, row in rows:
            try:
                messages = messages_of(row, self.shape)
            except Rejected as reason:
                self._reject(file, place, str(reason))
                continue

            self.counts.kept += 1
            self.row = place.row
            yield messages

    def _trees(self, file: Path, rows: PlacedRows) -> Iterator[Messages]:
        """A message a row."""
        trees = Trees()
        for place, row in rows:
            try:
                trees.add(row)
            except Rejected as reason:
                self._reject(file, place, str(reason))

        for conversation in trees.conversations():
            if isinstance(conversation, str):
                self._count(conversation)
            else:
                self.counts.kept += 1
                self.row = None
                yield conversation
        self._count("no way to it from a root", trees.unreached())

    def _reject(self, file: Path, place: Place, reason: str) -> None:
        if reason in DAMAGED:
            self._bad_row(file, place, reason)
        else:
            self._count(reason)

    def _count(self, reason: str, rows: int = 1) -> None:
        if rows:
            self.counts.invalid[reason] = self.counts.invalid.get(reason, 0) + rows

    def _unknown(self) -> int:
        """Rows in no known format so far."""
        return sum(
            count for reason, count in self.counts.invalid.items() if reason.startswith(UNKNOWN)
        )

    def _no_format(self, columns: list[str]) -> str:
        needs = {name: " + ".join(kinds[0].needs) for name, kinds in FORMATS.items()}
        needs["oasst"] = " + ".join(TREE_COLUMNS)
        expected = needs.get(self.shape) or "; ".join(dict.fromkeys(needs.values()))
        shown = ", ".join(columns[:COLUMNS_SHOWN]) or "none"
        return (
            f"columns are {shown}; expected {expected}; say which is which in "
            "sft_data.sources[].columns"
        )


def _formats(
    columns: Iterable[str], kinds: Iterable[ConversationFormat]
) -> list[ConversationFormat]:
    """Which of the formats have all the columns they need."""
    there = set(columns)
    return [kind for kind in kinds if set(kind.needs) <= there]
