"""A source's files as one stream of sound documents, with everything that was not sound counted.

Files are read in sorted order, rows in their file's order. What becomes of a document or file:

    null, or empty (white space only)     dropped and counted, always
    not UTF-8, UTF-16, lone surrogate,    on_bad_file: error stops and names file and line;
      not JSON, too large                 warn and skip drop the row
    a page of a crawl that isn't text     dropped and counted by reason, always
    a file that can't be read, or whose   on_bad_file: error stops; warn and skip leave it out from
      column is missing or not text       where it broke, its rows counted if its footer tells
    a file without rows                   left out with a warning
    the same file under two names         read, with a warning: exact deduplication drops the second

Nothing is dropped without a count, and each count reaches the manifest.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
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
from .encodings import not_utf8, nul_problem
from .formats import FORMATS, file_format, source_format
from .parquet_text import parquet_texts
from .rows import LARGEST, Place, Problem, Reading, TextBatch, too_large
from .warnings import Warnings

__all__ = [
    "FileReader",
    "ReadCounts",
    "Reader",
    "expand",
    "file_format",
    "reading_of",
    "source_named",
]

ORIGIN = ("origin_file", "origin_row")
WITHOUT_COLUMNS = {name for name, kind in FORMATS.items() if kind.columns is None}
Item = TypeVar("Item")


def source_named(config: Config, name: str) -> Source:
    """The source called ``name``; a UserError that lists the names there are."""
    sources = {source.name: source for source in config.sources if source.name}
    if name not in sources:
        close = difflib.get_close_matches(name, sources, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"--source: no source {name!r}; sources are {', '.join(sources)}{hint}")
    return sources[name]


def reading_of(source: Source, files: Sequence[Path], largest: int = LARGEST) -> Reading:
    """How a source's ``files`` are read; UserError for a key that says how to read another kind of
    file than there is.
    """
    _check_unread(source, files)
    piece = None if source.split_kb is None else int(source.split_kb * 1000)
    return Reading(source.text, largest, source.split, piece, alone=len(files) == 1)


def _check_unread(source: Source, files: Sequence[Path]) -> None:
    kinds: set[str] = set()
    for file in files:
        with suppress(BadFile):  # which its reader says
            kinds.add(file_format(file, source.format))

    if source.text != Source.model_fields["text"].default and kinds and kinds <= WITHOUT_COLUMNS:
        raise UserError(
            f"source {source.name}: text: found {source.text!r}, and none of its files has columns "
            f"({', '.join(sorted(kinds))}); leave it out"
        )
    if source.split_kb is not None and kinds and "text" not in kinds:
        raise UserError(
            f"source {source.name}: split_kb: found {source.split_kb:g}, and none of its files is "
            f"plain text ({', '.join(sorted(kinds))}); leave it out"
        )


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

    def summary(self, not_sampled: int = 0) -> str:
        """What was left out, in one line. ``not_sampled``: sound documents that `fraction`
        and `limit` left.
        """
        reasons = {"null": self.null, "empty": self.empty, **self.invalid}
        reasons["not sampled (fraction, limit)"] = not_sampled
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
        self._warnings = Warnings(warn if warn and on_bad != "skip" else None)

    def items(self, on_file: Callable[[int], None] | None = None) -> Iterator[Item]:
        """What the files hold, in order; ``on_file`` is called with the number of files done.

        May be called again; the counts then start anew.
        """
        self.counts = ReadCounts(files=len(self.files), duplicate_files=_same_content(self.files))
        for twin in self.counts.duplicate_files:
            found = f"the same bytes as {twin['same_as']}; {self.duplicate_fate}"
            self._warnings.add("duplicate", twin["file"], found)

        for number, file in enumerate(self.files, 1):
            before = self.counts.read
            try:
                yield from self._file(file)
            except BadFile as bad:
                self._bad_file(file, bad)
            else:
                if self.counts.read == before:
                    self.counts.files_without_rows.append(file.as_posix())
                    self._warnings.add("no rows", file.as_posix(), "no rows")

            if on_file:
                on_file(number)
        self._warnings.say()

    def _file(self, file: Path) -> Iterator[Item]:
        raise NotImplementedError

    def _bad_row(self, file: Path, place: Place, problem: Problem | str) -> None:
        if isinstance(problem, Problem) and problem.sound:
            self.counts.invalid[problem.why] = self.counts.invalid.get(problem.why, 0) + 1
            return
        if self.on_bad == "error":
            raise UserError(
                f"{place.of(file)}: {problem}; fix it, or set on_bad_file: warn to leave such rows "
                "out"
            )

        why = problem.why if isinstance(problem, Problem) else problem
        self.counts.invalid[why] = self.counts.invalid.get(why, 0) + 1
        self._warnings.add(why, place.of(file), f"{problem}; left out")

    def _bad_file(self, file: Path, bad: BadFile) -> None:
        if self.on_bad == "error":
            raise UserError(f"{file}: {bad.why}")

        self.counts.rows_unread += bad.rows_unread
        self.counts.bad_files.append({"file": file.as_posix(), "why": bad.why})
        self._warnings.add_file(file.as_posix(), f"{bad.why}; left out")


class Reader(FileReader[pa.RecordBatch]):
    """Reads documents from ``files``.

    ``reading``: how; ``format``: of what kind they are. ``origin``: the files are this project's
    raw parquet and carry the origin of each row themselves.
    """

    duplicate_fate = "deduplicate.exact drops its documents"

    def __init__(
        self,
        files: Iterable[Path],
        *,
        reading: Reading = Reading(),
        format: str = "auto",
        on_bad: str = "error",
        warn: Callable[[str], None] | None = None,
        origin: bool = False,
    ) -> None:
        super().__init__(files, on_bad=on_bad, warn=warn)
        self.reading, self.format, self.origin = reading, format, origin

    def batches(self, on_file: Callable[[int], None] | None = None) -> Iterator[pa.RecordBatch]:
        """Record batches of `RAW_SCHEMA`, sound documents only (see `items`)."""
        return self.items(on_file)

    def _file(self, file: Path) -> Iterator[pa.RecordBatch]:
        kind = source_format(file, self.format, self.reading)
        if self.origin:
            texts = parquet_texts(file, self.reading, ORIGIN)
        else:
            texts = FORMATS[kind].texts(file, self.reading)

        first_row = 0
        for batch in texts:
            yield from self._sound(file, batch, first_row)
            first_row += len(batch.texts)

    def _sound(self, file: Path, batch: TextBatch, first_row: int) -> Iterator[pa.RecordBatch]:
        """The batch's sound documents as RAW_SCHEMA; its first row is ``first_row`` of the file."""
        texts = batch.texts
        self.counts.read += len(texts)

        problems = {**_strange(texts, self.reading.largest), **batch.problems}
        for i, problem in sorted(problems.items()):
            self._bad_row(file, batch.place(i, problem, first_row), problem)

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


def _strange(texts: pa.Array, largest: int) -> dict[int, Problem]:
    """Index of each value that is too large or isn't UTF-8 → what is wrong with it."""
    if not len(texts):
        return {}

    # Arrow validates all at once, and most batches have no NUL; only else is each value tried.
    data = texts.buffers()[2]
    sound = data is None or b"\0" not in memoryview(data).tobytes()
    try:
        texts.view(pa.large_string()).validate(full=True)
    except pa.ArrowInvalid:
        sound = False
    if sound and texts.nbytes <= largest:
        return {}

    found = (
        (i, _problem(text, largest)) for i, text in enumerate(byte_views(texts.fill_null(b"")))
    )
    return {i: problem for i, problem in found if problem}


def _problem(text: memoryview, largest: int) -> Problem | None:
    if len(text) > largest:
        return too_large(largest)
    problem = nul_problem(text) if b"\0" in bytes(text) else None
    return problem or not_utf8(text)


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
