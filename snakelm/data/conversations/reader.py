"""A person's files as one stream of sound conversations, and the count of every row that was none.

Two kinds of rows are left out. Damaged ones (not JSON, not UTF-8) and files that can't be read
follow on_bad_file, as documents do: error stops and names file and row. Rows that are sound but no
conversation to learn from (an unknown role, an empty turn, …) are part of any large data set; they
are left out and counted by reason, always.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ...errors import UserError
from ..reading.parquet_text import BadFile
from ..reading.readers import Reader, file_format
from ..reading.records import columns_of, records
from .formats import COLUMNS, EVERY, FORMATS, Rejected, Row, messages_of
from .trees import TREE_COLUMNS, TREE_MAY, Trees, is_tree

__all__ = ["COLUMN_NAMES", "ConversationReader"]

Messages = list[dict[str, str]]
COLUMN_NAMES = sorted({*COLUMNS, *TREE_COLUMNS, *TREE_MAY, "from", "value", "content"})
DAMAGED = {"not JSON", "not UTF-8", "not a JSON object", "lone surrogate"}
UNKNOWN = ("no known format", "not of the format")


class ConversationReader(Reader):
    """Reads ``files``: `conversations` gives the sound ones, ``counts`` the rest.

    ``shape``: a format of snakelm.data.conversation_formats, oasst, or auto. ``columns``: a
    format's name of a column → the file's. ``on_bad`` and ``warn``: as for `Reader`. Of oasst the
    rows are messages, several to a conversation.
    """

    twins = "its conversations count once"

    def __init__(
        self,
        files: Iterable[Path],
        *,
        shape: str = "auto",
        columns: Mapping[str, str] | None = None,
        on_bad: str = "error",
        warn: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(files, on_bad=on_bad, warn=warn)
        unknown = [name for name in columns or {} if name not in COLUMN_NAMES]
        if unknown:
            near = difflib.get_close_matches(unknown[0], COLUMN_NAMES, 1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(COLUMN_NAMES)}"
            raise UserError(
                f"sft_data.sources[].columns.{unknown[0]}: no format has such a column; {hint}"
            )
        self.shape = shape
        self.row: int | None = (
            None  # of the file, that the conversation just given was read in; None of a tree's
        )
        self.ours = {theirs: ours for ours, theirs in (columns or {}).items()}

    def conversations(self, on_file: Callable[[int], None] | None = None) -> Iterator[Messages]:
        """The sound conversations, in the order of the files and their rows; may be called
        again.
        """
        return self.batches(on_file)

    def _file(self, file: Path) -> Iterator[Messages]:
        kind = file_format(file)
        if kind == "text":
            raise BadFile("a text file, expected conversations as JSONL or parquet")
        theirs = columns_of(file, kind)
        columns = [self.ours.get(name, name) for name in theirs]
        tree = self.shape == "oasst" or (
            self.shape == "auto" and is_tree(columns) and not _formats(columns, EVERY)
        )
        if kind == "parquet" and not (
            is_tree(columns) if tree else _formats(columns, self._kinds())
        ):
            raise BadFile(self._no_format(theirs))
        wanted = {
            name: self.ours.get(name, name)
            for name in theirs
            if self.ours.get(name, name) in COLUMN_NAMES
        }
        rows = self._rows(file, kind, wanted | self.ours)
        before, kept = self.counts.read, self.counts.kept
        unknown = self._unknown()
        yield from self._trees(file, rows) if tree else self._plain(file, rows)
        read = self.counts.read - before
        if read and self.counts.kept == kept and self._unknown() - unknown == read:
            raise BadFile(self._no_format(theirs))

    def _kinds(self) -> tuple:
        return EVERY if self.shape == "auto" else FORMATS.get(self.shape, ())

    def _rows(self, file: Path, kind: str, wanted: Mapping[str, str]) -> Iterator[tuple[int, Row]]:
        """The file's sound rows with their numbers; the others counted."""
        for number, (row, problem) in enumerate(records(file, kind, wanted)):
            self.counts.read += 1
            if row is None:
                self._bad_row(file, number, problem)
            else:
                yield number, row

    def _plain(self, file: Path, rows: Iterable[tuple[int, Row]]) -> Iterator[Messages]:
        for number, row in rows:
            try:
                messages = messages_of(row, self.shape)
            except Rejected as reason:
                self._reject(file, number, str(reason))
                continue
            self.counts.kept += 1
            self.row = number
            yield messages

    def _trees(self, file: Path, rows: Iterable[tuple[int, Row]]) -> Iterator[Messages]:
        trees = Trees()
        for number, row in rows:
            try:
                trees.add(row)
            except Rejected as reason:
                self._reject(file, number, str(reason))
        for found in trees.conversations():
            if isinstance(found, str):
                self._count(found)
            else:
                self.counts.kept += 1
                self.row = None
                yield found
        self._count("no way to it from a root", trees.unreached())

    def _reject(self, file: Path, number: int, reason: str) -> None:
        if reason in DAMAGED:
            self._bad_row(file, number, reason)
        else:
            self._count(reason)

    def _count(self, reason: str, rows: int = 1) -> None:
        if rows:
            self.counts.invalid[reason] = self.counts.invalid.get(reason, 0) + rows

    def _unknown(self) -> int:
        return sum(
            count for reason, count in self.counts.invalid.items() if reason.startswith(UNKNOWN)
        )

    def _no_format(self, columns: list[str]) -> str:
        needs = {name: " + ".join(kinds[0].needs) for name, kinds in FORMATS.items()} | {
            "oasst": " + ".join(TREE_COLUMNS)
        }
        expected = needs.get(self.shape) or "; ".join(dict.fromkeys(needs.values()))
        shown = ", ".join(columns[:20]) or "none"
        return f"columns are {shown}; expected {expected}; say which is which in sft_data.sources[].columns"


def _formats(columns: Iterable[str], kinds: Iterable) -> list:
    """Which of the formats have all the columns they need."""
    return [kind for kind in kinds if set(kind.needs) <= set(columns)]
