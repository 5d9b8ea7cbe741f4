"""A source's files as one stream of sound documents, and the count of everything that was not
sound.

Order is that of the sorted files and their rows. What becomes of a document:

    null, or empty (nothing but white space)    dropped and counted, always
    not UTF-8, lone surrogate, not JSON, …      on_bad_file: error stops and names file and row; warn and skip drop it
    a file that can't be read, has no such      on_bad_file: error stops; warn and skip leave it out from where it
      column, or holds something else there       broke, with its rows counted as far as its footer tells
    a file without rows                         left out with a warning
    the same file under two names               read, with a warning: exact deduplication drops the second

Nothing is dropped without a count, and each count reaches the manifest.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import UserError
from ...files import sha256_file
from ..documents.table import RAW_SCHEMA, byte_views
from .lines import COMPRESSION, Rows, jsonl_rows, text_rows
from .parquet_text import BadFile, column_of, open_parquet, text_batches

__all__ = ["Counts", "Reader", "expand", "file_format"]

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".rst": "text",
}
ORIGIN = ("origin_file", "origin_row")


def expand(patterns: str | Iterable[str], where: str = "sources[].path") -> list[Path]:
    """The files that paths and globs (`**` too) stand for, sorted, each once; UserError where one
    matches nothing.

    ``where``: the key of the configuration that has them.
    """
    found: dict[str, Path] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        expanded = os.path.expanduser(pattern)
        names = [expanded] if os.path.exists(expanded) else glob.glob(expanded, recursive=True)
        files = [Path(name) for name in names if os.path.isfile(name)]
        if os.path.isdir(expanded):
            raise UserError(
                f"{pattern}: a folder, expected files; say {pattern.rstrip('/')}/**/*.parquet"
            )
        if not files:
            raise UserError(f"{pattern}: no such file, seen from {os.getcwd()}; mend {where}")
        found.update((file.as_posix(), file) for file in files)
    return [found[name] for name in sorted(found)]


def file_format(path: Path, given: str = "auto") -> str:
    """`parquet`, `jsonl` or `text`: as given, or by the file's name; BadFile when the name doesn't
    tell.
    """
    if given != "auto":
        return given
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSION:
        suffixes.pop()
    kind = FORMATS.get(suffixes[-1] if suffixes else "")
    if kind is None:
        raise BadFile(
            f"can't tell its format by its name; set the source's format (known are {', '.join(FORMATS)})"
        )
    return kind


@dataclass
class Counts:
    """What was met in a source. ``read`` = ``kept`` + null + empty + the sum of ``invalid``."""

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
        return asdict(self)

    def summary(self) -> str:
        """What was left out, in one line."""
        left = {"null": self.null, "empty": self.empty, **self.invalid}
        parts = [f"{name} {count:,}" for name, count in left.items() if count]
        parts += [f"files left out {len(self.bad_files)}"] if self.bad_files else []
        return ", ".join(parts) or "nothing left out"


class Reader:
    """Reads ``files``; ``batches`` may be called again (the counts then start anew).

    ``column``: with the text. ``on_bad``: error, warn or skip. ``warn``: told of everything dropped
    that isn't null or empty. ``origin``: the files are this project's raw parquet and carry the
    origin of each row themselves.
    """

    twins = "deduplicate.exact drops its documents"  # what becomes of a file that is there twice

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
        self.files = list(files)
        self.column, self.format, self.on_bad, self.origin = column, format, on_bad, origin
        self.counts = Counts()
        self._warn = warn if warn and on_bad != "skip" else lambda message: None

    def batches(self, on_file: Callable[[int], None] | None = None) -> Iterator[pa.RecordBatch]:
        """Record batches of `RAW_SCHEMA`, sound documents only; ``on_file`` hears how many files
        are done.
        """
        self.counts = Counts(files=len(self.files), duplicate_files=_same_content(self.files))
        for twin in self.counts.duplicate_files:
            self._warn(f"{twin['file']}: the same bytes as {twin['same_as']}; {self.twins}")
        for number, file in enumerate(self.files):
            before = self.counts.read
            try:
                yield from self._file(file)
            except BadFile as bad:
                self._bad_file(file, str(bad))
            else:
                if self.counts.read == before:
                    self.counts.files_without_rows.append(file.as_posix())
                    self._warn(f"{file}: no rows")
            if on_file:
                on_file(number + 1)

    def _file(self, file: Path) -> Iterator[pa.RecordBatch]:
        kind = file_format(file, self.format)
        if kind == "parquet":
            yield from self._parquet(file)
            return
        row = 0
        for rows in jsonl_rows(file, self.column) if kind == "jsonl" else text_rows(file):
            yield from self._sound(file, _array(rows), row, rows.problems)
            row += len(rows.texts)

    def _parquet(self, file: Path) -> Iterator[pa.RecordBatch]:
        if file.stat().st_size == 0:
            raise BadFile("empty, 0 bytes; fetch it again or take it out")
        with open_parquet(file) as opened:
            parts = column_of(opened.schema_arrow, self.column)
            row, rows = 0, opened.metadata.num_rows
            try:
                for batch in text_batches(opened, parts, ORIGIN if self.origin else ()):
                    yield from self._sound(
                        file, batch.column("text"), row, {}, batch if self.origin else None
                    )
                    row += batch.num_rows
            except BadFile:
                self.counts.rows_unread += rows - row
                raise

    def _sound(
        self,
        file: Path,
        texts: pa.Array,
        row: int,
        problems: dict[int, str],
        carried: pa.RecordBatch | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """What is left of a stretch of rows (large_binary; its first is row ``row`` of the file),
        as RAW_SCHEMA.
        """
        self.counts.read += len(texts)
        problems = {**problems, **_not_utf8(texts)}
        for place, why in problems.items():
            self._bad_row(file, row + place, why)
        null = texts.is_null().to_numpy(zero_copy_only=False)
        sound = texts.fill_null(b"") if null.any() else texts
        blank = pc.fill_null(pc.binary_length(sound), 0).to_numpy(zero_copy_only=False) == 0
        wrong = np.zeros(len(texts), bool)
        wrong[list(problems)] = True
        decoded = _decoded(sound, wrong)
        blank |= pc.utf8_is_space(decoded).to_numpy(zero_copy_only=False)
        self.counts.null += int((null & ~wrong).sum())
        self.counts.empty += int((blank & ~null & ~wrong).sum())
        keep = np.flatnonzero(~(null | blank | wrong))
        self.counts.kept += keep.size
        if keep.size:
            where = [
                pa.array([file.as_posix()]).take(pa.array(np.zeros(keep.size, np.int64))),
                pa.array(row + keep),
            ]
            if carried is not None:
                where = [carried.column(name).take(pa.array(keep)) for name in ORIGIN]
            text = decoded if keep.size == len(decoded) else decoded.take(pa.array(keep))
            yield pa.RecordBatch.from_arrays([text, *where], schema=RAW_SCHEMA)

    def _bad_row(self, file: Path, row: int, why: str) -> None:
        if self.on_bad == "error":
            raise UserError(
                f"{file}: row {row}: {why}; mend it, or say on_bad_file: warn to leave such rows out"
            )
        self.counts.invalid[why] = self.counts.invalid.get(why, 0) + 1
        if self.counts.invalid[why] <= 3:
            self._warn(
                f"{file}: row {row}: {why}; left out"
                + ("" if self.counts.invalid[why] < 3 else " (and so on)")
            )

    def _bad_file(self, file: Path, why: str) -> None:
        if self.on_bad == "error":
            raise UserError(f"{file}: {why}")
        self.counts.bad_files.append({"file": file.as_posix(), "why": why})
        self._warn(f"{file}: {why}; left out")


def _array(rows: Rows) -> pa.Array:
    return pa.array(rows.texts, pa.large_binary())


def _not_utf8(texts: pa.Array) -> dict[int, str]:
    """Places of the values that aren't UTF-8. Arrow validates the whole at once; only then is each
    one tried.
    """
    try:
        texts.view(pa.large_string()).validate(full=True)
        return {}
    except pa.ArrowInvalid:
        found = {}
        for place, value in enumerate(byte_views(texts.fill_null(b""))):
            try:
                str(value, "utf-8")
            except UnicodeDecodeError:
                found[place] = "not UTF-8"
        return found


def _decoded(texts: pa.Array, wrong: np.ndarray) -> pa.Array:
    """The values as large_string; the ``wrong`` ones as empty."""
    if wrong.any():
        texts = pc.if_else(pa.array(wrong), pa.scalar(b"", pa.large_binary()), texts)
    return texts.view(pa.large_string())


def _same_content(files: list[Path]) -> list[dict[str, str]]:
    """Files whose bytes are those of an earlier one; only files of equal size are hashed."""
    sizes: dict[int, list[Path]] = {}
    for file in files:
        size = file.stat().st_size
        if size:
            sizes.setdefault(size, []).append(file)
    twins = []
    for same in sizes.values():
        first: dict[str, Path] = {}
        for file in same if len(same) > 1 else []:
            original = first.setdefault(sha256_file(file), file)
            if original is not file:
                twins.append({"file": file.as_posix(), "same_as": original.as_posix()})
    return twins
