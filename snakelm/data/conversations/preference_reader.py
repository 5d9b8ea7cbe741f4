"""A user's files as one stream of sound preferences, with every other row counted by its reason."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ...parquet import BadFile
from ..reading.formats import FORMATS as FILE_FORMATS
from ..reading.formats import file_format
from ..reading.readers import FileReader
from ..reading.records import columns_of, records
from ..reading.rows import LARGEST
from .field_names import is_read
from .fields import Rejected
from .named_columns import NamedColumns
from .preferences import COLUMNS, LABELLED, PAIRS, Example, example_of
from .reader import COLUMNS_SHOWN, DAMAGED, ROW_NAMES, TURN_NAMES

__all__ = ["PreferenceReader"]

KNOWN = sorted({*COLUMNS, *ROW_NAMES, *TURN_NAMES})
EXPECTED = f"prompt + {' + '.join(PAIRS)}; {' + '.join(PAIRS)}; prompt + {' + '.join(LABELLED)}"


class PreferenceReader(FileReader[Example]):
    """Reads ``files``: `items` gives the sound examples, ``counts`` has the rest.

    ``columns``: our name of a column → the file's. ``largest``: bytes from which a row is bad.
    ``on_bad`` and ``warn``: as for `FileReader`.
    """

    duplicate_fate = "its preferences count once"

    def __init__(
        self,
        files: Iterable[Path],
        *,
        columns: Mapping[str, str] | None = None,
        largest: int = LARGEST,
        on_bad: str = "error",
        warn: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(files, on_bad=on_bad, warn=warn)
        self.largest = largest
        self.row: int | None = None  # of the file, that the latest example came from
        self.named = NamedColumns(columns, KNOWN, "preferences.sources[]", "shape of preferences")
        self._columns: set[str] = set()  # of all files so far

    def check_columns(self) -> None:
        """UserError for a name in ``columns`` that nothing had, once all files were read."""
        if self.counts.read and not self.counts.bad_files:  # one that was left out may have it
            self.named.check_met(self.files, self._columns)

    def _file(self, file: Path) -> Iterator[Example]:
        kind = file_format(file)
        if FILE_FORMATS[kind].records is None:
            raise BadFile("a text file, expected preferences as JSONL or parquet", file)
        theirs = columns_of(file, kind)
        self._columns.update(theirs)
        ours = {name: self.named.ours.get(name, name) for name in theirs}
        if not any(set(some) <= set(ours.values()) for some in (PAIRS, LABELLED)):
            shown = ", ".join(theirs[:COLUMNS_SHOWN]) or "none"
            raise BadFile(
                f"columns are {shown}; expected {EXPECTED}; say which is which in "
                "preferences.sources[].columns",
                file,
            )

        wanted = {name: our for name, our in ours.items() if our in KNOWN or is_read(our)}
        for place, row, problem in records(
            file, kind, wanted | self.named.ours, self.largest, self.named.met
        ):
            self.counts.read += 1
            if row is None:
                self._bad_row(file, place, problem or "")
                continue
            try:
                example = example_of(row)
            except Rejected as reason:
                if str(reason) in DAMAGED:
                    self._bad_row(file, place, str(reason))
                else:
                    invalid = self.counts.invalid
                    invalid[str(reason)] = invalid.get(str(reason), 0) + 1
                continue
            self.counts.kept += 1
            self.row = place.row
            yield example
