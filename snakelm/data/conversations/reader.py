"""A user's files as one stream of sound conversations, with every other row counted, and every
column that nobody knows.

Two kinds of rows are left out. Damaged ones (not JSON, not UTF-8) and files that can't be read
follow on_bad_file, as documents do: error stops and names file and row. Rows that are sound but not
a conversation to learn from (an unknown role, an empty turn, …) are part of any large data set;
they are always left out and counted by reason.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from ...parquet import BadFile
from ...terminal import harmless
from ..reading.formats import FORMATS as FILE_FORMATS
from ..reading.formats import file_format
from ..reading.parquet_text import parquet_filled
from ..reading.readers import FileReader
from ..reading.records import columns_of, records
from ..reading.rows import LARGEST, Place
from .field_names import is_known, is_read
from .fields import Rejected, unread
from .formats import (
    COLUMNS,
    EVERY,
    FORMATS,
    TURNS,
    ConversationFormat,
    Messages,
    Row,
    format_of,
    read_as,
)
from .named_columns import NamedColumns
from .trees import TREE_COLUMNS, TREE_MAY, Trees, is_tree
from .turns import PLAIN, keys_read

__all__ = ["COLUMN_NAMES", "ConversationReader"]

# What a source's `columns` may name, beside the columns of formats: keys of turns, and of what
# field_names.py knows a name for each meaning.
TURN_NAMES = ("from", "value", "content", "weight", "train", "masked", "reasoning", "tool_calls")
ROW_NAMES = ("system", "history", "label", "tools", "images")
COLUMN_NAMES = sorted({*COLUMNS, *TREE_COLUMNS, *TREE_MAY, *TURN_NAMES, *ROW_NAMES})
COLUMNS_SHOWN = 20
MOST_NAMES, LONGEST_NAME = 100, 60  # what is counted apart, and its characters
TURN_LISTS = {*TURNS, "prompt", "completion"}

# Reasons of two kinds: the file's damage, and a format that isn't known.
DAMAGED = {"not JSON", "not UTF-8", "not a JSON object", "lone surrogate"}
UNKNOWN = ("no known format", "not of the format")

PlacedRows = Iterator[tuple[Place, Row]]


class ConversationReader(FileReader[Messages]):
    """Reads ``files``: `conversations` returns the sound ones, ``counts`` has the rest.

    ``shape``: a format of `formats.FORMATS`, oasst, or auto. ``columns``: a format's name of a
    column → the file's. ``ignore``: columns, and keys of turns, that are as if they weren't there.
    ``largest``: bytes from which a row is bad. ``on_bad`` and ``warn``: as for `FileReader`. The
    rows of oasst are messages, several to a conversation.

    ``unread``: columns, and keys of turns, that had a value and that nobody knows → in how many
    rows. They are warned of once.
    """

    duplicate_fate = "its conversations count once"

    def __init__(
        self,
        files: Iterable[Path],
        *,
        shape: str = "auto",
        columns: Mapping[str, str] | None = None,
        ignore: Collection[str] = (),
        largest: int = LARGEST,
        on_bad: str = "error",
        warn: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(files, on_bad=on_bad, warn=warn)
        self.shape, self.largest = shape, largest
        self.named = NamedColumns(columns, COLUMN_NAMES, "sft_data.sources[]", "format")
        self.ignore, self._ignored = frozenset(ignore), set[str]()
        self._columns: set[str] = set()  # of all files so far
        self.unread: dict[str, int] = {}
        self._say = warn or (lambda message: None)
        # The row of the file that the latest conversation came from; None for a tree's.
        self.row: int | None = None

    def conversations(self, on_file: Callable[[int], None] | None = None) -> Iterator[Messages]:
        """The sound conversations, in the order of the files and their rows (see `items`)."""
        self.unread = {}
        yield from self.items(on_file)

        if self.counts.read and (missed := sorted(self.ignore - self._ignored)):
            self._say(
                f"sft_data.sources[].ignore: no row of {self.files[0]}"
                f"{' …' if len(self.files) > 1 else ''} has {', '.join(missed)}"
            )
        if self.unread:
            counts = sorted(self.unread.items(), key=lambda one: (-one[1], one[0]))
            self.unread = dict(counts)
            names = [f"{name} ({rows:,} rows)" for name, rows in counts]
            more = f" and {len(names) - COLUMNS_SHOWN} more" if len(names) > COLUMNS_SHOWN else ""
            self._say(
                f"{self.files[0]}{' …' if len(self.files) > 1 else ''}: not read, as no format has "
                f"it: {', '.join(names[:COLUMNS_SHOWN])}{more}; where one changes what is said, "
                "say what it is in sft_data.sources[].columns, else name it in ignore"
            )

    def check_columns(self) -> None:
        """UserError for a name in ``columns`` that nothing had, once all files were read."""
        if self.counts.read and not self.counts.bad_files:  # one that was left out may have it
            self.named.check_met(self.files, self._columns)

    def _file(self, file: Path) -> Iterator[Messages]:
        kind = file_format(file)
        if FILE_FORMATS[kind].records is None:
            raise BadFile("a text file, expected conversations as JSONL, CSV or parquet", file)

        # The format, by the columns: of a parquet or CSV file they hold for all rows, of JSONL they
        # are those of the first row and each row is looked at anew.
        theirs = columns_of(file, kind)
        self._columns.update(theirs)
        self._ignored |= self.ignore & set(theirs)
        ours = {name: self.named.ours.get(name, name) for name in theirs}
        tree = self._is_tree(list(ours.values()))
        known = is_tree(ours.values()) if tree else _formats(ours.values(), self._kinds())
        if kind != "jsonl" and not known:
            raise BadFile(self._no_format(theirs), file)

        wanted = {n: our for n, our in ours.items() if our in COLUMN_NAMES or is_read(our)}
        if kind == "parquet":  # its other columns aren't loaded: they may be large
            others = {n for n in theirs if not (n in wanted or n in self.ignore or is_known(n))}
            for name, count in parquet_filled(file, others).items():
                _add(self.unread, name, count)
        rows = self._rows(file, kind, wanted | self.named.ours)
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
        for place, row, problem in records(file, kind, wanted, self.largest, self.named.met):
            self.counts.read += 1
            if row is None:
                self._bad_row(file, place, problem or "")
            else:
                yield place, self._without_ignored(row) if self.ignore else row

    def _plain(self, file: Path, rows: PlacedRows) -> Iterator[Messages]:
        """A conversation a row."""
        for place, row in rows:
            try:
                kind = format_of(row, self.shape)
                messages = read_as(kind, row)
            except Rejected as reason:
                self._reject(file, place, str(reason))
                continue

            self.counts.kept += 1
            self.row = place.row
            for name in sorted(set(_unread(row, kind, messages))):
                _add(self.unread, name)
            yield messages

    def _trees(self, file: Path, rows: PlacedRows) -> Iterator[Messages]:
        """A message a row."""
        trees, read = Trees(), {*TREE_COLUMNS, *TREE_MAY}
        for place, row in rows:
            try:
                trees.add(row)
            except Rejected as reason:
                self._reject(file, place, str(reason))
            else:
                for name in unread(row, read, row=False):
                    _add(self.unread, name)

        for conversation in trees.conversations():
            if isinstance(conversation, str):
                self._count(conversation)
            else:
                self.counts.kept += 1
                self.row = None
                yield conversation
        self._count("no way to it from a root", trees.unreached())

    def _without_ignored(self, row: Row) -> Row:
        """The row without the columns and keys that the source ignores."""
        self._ignored |= self.ignore & row.keys()
        kept = {name: value for name, value in row.items() if name not in self.ignore}
        for name in TURN_LISTS & kept.keys():
            if isinstance(kept[name], list):
                turns = [turn for turn in kept[name] if isinstance(turn, dict)]
                self._ignored.update(*(self.ignore & turn.keys() for turn in turns))
                kept[name] = [
                    {key: value for key, value in turn.items() if key not in self.ignore}
                    if isinstance(turn, dict)
                    else turn
                    for turn in kept[name]
                ]
        return kept

    def _reject(self, file: Path, place: Place, reason: str) -> None:
        if reason in DAMAGED:
            self._bad_row(file, place, reason)
        else:
            self._count(reason)

    def _count(self, reason: str, rows: int = 1) -> None:
        if rows:
            _add(self.counts.invalid, reason, rows)

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


def _unread(row: Row, kind: ConversationFormat, messages: Messages) -> Iterator[str]:
    """What nobody read of a row; a column that says one of its turns again isn't missed."""
    lists = [row[name] for name in kind.needs if isinstance(row[name], list)]
    for name in unread(row, kind.columns):
        if row[name] not in lists and row[name] not in [one["content"] for one in messages]:
            yield name

    for turn in (turn for turns in lists for turn in turns if turn.keys() not in PLAIN):
        for name in unread(turn, keys_read(turn), row=False):
            yield f"{name[:LONGEST_NAME]} of turns"


def _add(counts: dict[str, int], name: str, rows: int = 1) -> None:
    """Counts under a name from a file, which may have made up any number of any kind."""
    name = harmless(name[: 2 * LONGEST_NAME])
    if name not in counts and len(counts) >= MOST_NAMES:
        name = "others"
    counts[name] = counts.get(name, 0) + rows


def _formats(
    columns: Iterable[str], kinds: Iterable[ConversationFormat]
) -> list[ConversationFormat]:
    """Which of the formats have all the columns they need."""
    there = set(columns)
    return [kind for kind in kinds if set(kind.needs) <= there]
