"""A source's files as one stream of sound documents, with everything that was not sound counted.

Files are read in sorted order, rows in their file's order. What becomes of a document or file:

    null, or empty (white space only)     dropped and counted, always
    not UTF-8, lone surrogate, not JSON   on_bad_file: error stops and names file and row;
                                          warn and skip drop the row
    a file that can't be read, or whose   on_bad_file: error stops; warn and skip leave it out from
      column is missing or not text       where it broke, its rows counted if its footer tells
    a file without rows                   left out with a warning
    the same file under two names         read, with a warning: exact deduplication drops the second

Nothing is dropped without a count, and each count reaches the manifest.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...config import Config, Source
from ...errors import UserError
from ...files import sha256_file
from ...parquet import BadFile
from ...user_paths import expand
from ..documents.table import RAW_SCHEMA, byte_views
from .formats import FORMATS, file_format
from .parquet_text import parquet_texts
from .rows import TextBatch

__all__ = ["FileReader", "ReadCounts", "Reader", "expand", "file_format", "source_named"]

ORIGIN = ("origin_file", "origin_row")
WARNINGS_EACH = 3  # bad rows of one kind that are warned of one by one

Item = TypeVar("Item")


def source_named(config: Config, name: str) -> Source:
    """The source called ``name``; a UserError that lists the names there are."""
    sources = {source.name: source for source in config.sources if source.name}
    if name not in sources:
        close = difflib.get_close_matches(name, sources, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"--source: no source {name!r}; sources are {', '.join(sources)}{hint}")
    return sources[name]


@dataclass
class ReadCounts:
    """What a source's files held. ``read`` = ``kept`` + null + empty + the sum of ``invalid``."""

    files: int = 0
    read: int = 0
    kept: int = 0
    null: int = 0
    empty: int = 0
    invalid: dict[str, int] = field(default_factory=dict)  # what was wrong → rows
    rows_unread: int = 0  # rows of broken files that were never reached, as far as footers tell
    bad_files: list[dict[str, str]] = field(default_factory=list)  # {file, why}
    files_without_rows: list[str] = field(default_factory=list)
    duplicate_files: list[dict[str, str]] = field(default_factory=list)  # {file, same_as}

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON types, for the manifest."""
        return asdict(self)

    def summary(self) -> str:
        """What was left out, in one line."""
        reasons = {"null": self.null, "empty": self.empty, **self.invalid}
        parts = [f"{name} {count:,}" for name, count in reasons.items() if count]
        if self.bad_files:
            parts.append(f"files left out {len(self.bad_files)}")
        return ", ".join(parts) or "nothing left out"


class FileReader(Generic[Item]):
    """Goes through ``files``, applies ``on_bad`` (error, warn or skip) and counts.

    A subclass reads one file in `_file`. ``warn`` is called for everything dropped that isn't null
    or empty.
    """

    duplicate_fate = ""  # what becomes of the items of a file that is there twice

    def __init__(
        self, files: Iterable[Path], *, on_bad: str, warn: Callable[[str], None] | None
    ) -> None:
        self.files = list(files)
        self.on_bad = on_bad
        self.counts = ReadCounts()
        self._warn = warn if warn and on_bad != "skip" else lambda message: None

    def items(self, on_file: Callable[[int], None] | None = None) -> Iterator[Item]:
        """What the files hold, in order; ``on_file`` is called with the number of files done.

        May be called again; the counts then start anew.
        """
        self.counts = ReadCounts(files=len(self.files), duplicate_files=_same_content(self.files))
        for twin in self.counts.duplicate_files:
            self._warn(
                f"{twin['file']}: the same bytes as {twin['same_as']}; {self.duplicate_fate}"
            )

        for number, file in enumerate(self.files, 1):
            before = self.counts.read
            try:
                yield from self._file(file)
            except BadFile as bad:
                self._bad_file(file, bad)
            else:
                if self.counts.read == before:
                    self.counts.files_without_rows.append(file.as_posix())
                    self._warn(f"{file}: no rows")

            if on_file:
                on_file(number)

    def _file(self, file: Path) -> Iterator[Item]:
        raise NotImplementedError

    def _bad_row(self, file: Path, row: int, why: str) -> None:
        if self.on_bad == "error":
            raise UserError(
                f"{file}: row {row}: {why}; fix it, or set on_bad_file: warn to leave such rows out"
            )

        count = self.counts.invalid[why] = self.counts.invalid.get(why, 0) + 1
        if count <= WARNINGS_EACH:
            more = " (and so on)" if count == WARNINGS_EACH else ""
            self._warn(f"{file}: row {row}: {why}; left out{more}")

    def _bad_file(self, file: Path, bad: BadFile) -> None:
        if self.on_bad == "error":
            raise UserError(f"{file}: {bad.why}")

        self.counts.rows_unread += bad.rows_unread
        self.counts.bad_files.append({"file": file.as_posix(), "why": bad.why})
        self._warn(f"{file}: {bad.why}; left out")


class Reader(FileReader[pa.RecordBatch]):
    """Reads documents from ``files``.

    ``column``: the one with the text. ``origin``: the files are this project's raw parquet and
    carry the origin of each row themselves.
    """

    duplicate_fate = "deduplicate.exact drops its documents"

    def __init__(
        self,
        files: Iterable[Path],
        *,
        column: str = "text",
        format: str = "auto",
        on_bad: str = "error",
        warn: Callable[[str], None] | None = None,
        origin: bool = False,
    ) -> None:
        super().__init__(files, on_bad=on_bad, warn=warn)
        self.column, self.format, self.origin = column, format, origin

    def batches(self, on_file: Callable[[int], None] | None = None) -> Iterator[pa.RecordBatch]:
        """Record batches of `RAW_SCHEMA`, sound documents only (see `items`)."""
        return self.items(on_file)

    def _file(self, file: Path) -> Iterator[pa.RecordBatch]:
        kind = file_format(file, self.format)
        if self.origin:
            texts = parquet_texts(file, self.column, ORIGIN)
        else:
            texts = FORMATS[kind].texts(file, self.column)

        first_row = 0
        for batch in texts:
            yield from self._sound(file, batch, first_row)
            first_row += len(batch.texts)

    def _sound(self, file: Path, batch: TextBatch, first_row: int) -> Iterator[pa.RecordBatch]:
        """The batch's sound documents as RAW_SCHEMA; its first row is ``first_row`` of the file."""
        texts = batch.texts
        self.counts.read += len(texts)

        problems = {**batch.problems, **_not_utf8(texts)}
        for i, why in problems.items():
            self._bad_row(file, first_row + i, why)

        null = texts.is_null().to_numpy(zero_copy_only=False)
        filled = texts.fill_null(b"") if null.any() else texts
        wrong = np.zeros(len(texts), bool)
        wrong[list(problems)] = True
        decoded = _decoded(filled, wrong)
        blank = _is_blank(decoded)

        self.counts.null += int((null & ~wrong).sum())
        self.counts.empty += int((blank & ~null & ~wrong).sum())
        keep = np.flatnonzero(~(null | blank | wrong))
        self.counts.kept += keep.size
        if not keep.size:
            return

        rows = pa.array(keep)
        if batch.origin is not None:
            origin = [batch.origin.column(name).take(rows) for name in ORIGIN]
        else:
            same = pa.array(np.zeros(keep.size, np.int64))
            origin = [pa.array([file.as_posix()]).take(same), pa.array(first_row + keep)]

        text = decoded if keep.size == len(decoded) else decoded.take(rows)
        yield pa.RecordBatch.from_arrays([text, *origin], schema=RAW_SCHEMA)


def _not_utf8(texts: pa.Array) -> dict[int, str]:
    """Indices of the values that aren't UTF-8. Arrow validates all at once; only when that fails is
    each tried.
    """
    try:
        texts.view(pa.large_string()).validate(full=True)
        return {}
    except pa.ArrowInvalid:
        pass

    bad = {}
    for i, value in enumerate(byte_views(texts.fill_null(b""))):
        try:
            str(value, "utf-8")
        except UnicodeDecodeError:
            bad[i] = "not UTF-8"
    return bad


def _decoded(texts: pa.Array, wrong: np.ndarray) -> pa.Array:
    """The values as large_string; the ``wrong`` ones as empty."""
    if wrong.any():
        texts = pc.if_else(pa.array(wrong), pa.scalar(b"", pa.large_binary()), texts)
    return texts.view(pa.large_string())


def _is_blank(texts: pa.Array) -> np.ndarray:
    """Which texts are empty or white space only: bool [n]."""
    empty = pc.binary_length(texts).to_numpy(zero_copy_only=False) == 0
    return empty | pc.utf8_is_space(texts).to_numpy(zero_copy_only=False)


def _same_content(files: list[Path]) -> list[dict[str, str]]:
    """Files whose bytes are those of an earlier one; only files of equal size are hashed."""
    sizes: dict[int, list[Path]] = {}
    for file in files:
        size = file.stat().st_size
        if size:
            sizes.setdefault(size, []).append(file)

    twins = []
    for same_size in sizes.values():
        first: dict[str, Path] = {}
        for file in same_size if len(same_size) > 1 else []:
            original = first.setdefault(sha256_file(file), file)
            if original is not file:
                twins.append({"file": file.as_posix(), "same_as": original.as_posix()})
    return twins
