"""What can be known of a user's files before they are read: footers, columns, rows, nulls, sizes,
free disk.

Every problem of every file is found now and reported at once, not file by file over the hours.
"""

import math
import multiprocessing
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...config import Config, Source
from ...errors import DiskFullError, UserError
from ...files import human_bytes
from ...log import Log
from ...parquet import REMEDY_USERS, BadFile
from ...terminal import harmless
from .formats import FORMATS, source_format
from .readers import expand, reading_of
from .rows import Glance, Reading
from .warnings import Warnings

__all__ = ["preflight"]

# Bytes on disk per byte of text: sampled and deduplicated parquet (zstd, 0.35 each), shards and the
# gathered bins (2 bytes a token at 4 bytes of text each, 0.5 each), and a tenth for logs and
# manifests.
DISK_PER_TEXT = 0.35 + 0.35 + 0.5 + 0.5 + 0.1
FILES_SHOWN = 20  # of the problems, in one error


@dataclass
class SourcePreflight:
    """One source's files in sum; rows and nulls are None where only reading would tell."""

    name: str
    files: int = 0
    rows: int | None = 0
    nulls: int | None = 0
    text_bytes: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)  # {file, why}
    hollow: list[dict[str, str]] = field(default_factory=list)  # the same; sound, but without text
    notes: list[dict[str, str]] = field(default_factory=list)  # the same; read, but not as named
    documents: int = 0  # that text files are split into, roughly
    split: str = ""  # where

    def add(self, file: Path, glance: Glance, column: str) -> None:
        """Takes one sound file into account."""
        rows, nulls = glance.rows, glance.nulls
        self.rows = None if rows is None or self.rows is None else self.rows + rows
        self.nulls = None if nulls is None or self.nulls is None else self.nulls + nulls
        self.text_bytes += glance.text_bytes
        self.notes += [{"file": file.as_posix(), "why": why} for why in glance.notes]
        self.documents += glance.documents
        self.split = self.split or glance.split

        if rows == 0:
            self.hollow.append({"file": file.as_posix(), "why": "no rows"})
        elif rows is not None and nulls == rows:
            why = f"all {rows:,} values of {column!r} are null"
            self.hollow.append({"file": file.as_posix(), "why": why})

    def most_documents(self, source: Source) -> float:
        """How many documents it can give; infinite where only reading would tell."""
        rows = math.inf if self.rows is None else self.rows - (self.nulls or 0)
        return min(rows, source.limit or math.inf)

    def disk_needed(self, source: Source) -> float:
        """Bytes that this source's share will take on the disk, roughly."""
        share = source.fraction
        if source.limit is not None and self.rows:
            share = min(share, source.limit / self.rows)
        return self.text_bytes * share * DISK_PER_TEXT


def preflight(config: Config, results: Path, log: Log) -> dict[str, Any]:
    """Looks at every local source, logs one line, returns what it found.

    UserError listing the files that can't be used (on_bad_file: error), when none can, or when
    there can't be two documents; DiskFullError when the disk is plainly too small.
    """
    local = [source for source in config.sources if source.path]
    with _GlanceProcess() as process:
        looked = [_look(source, config, process) for source in local]
    _judge(looked, config, log)
    if len(local) == len(config.sources):
        _check_enough(looked, local)
    for one in looked:
        if one.split:
            log.say(_split_line(one))

    needed = int(sum(one.disk_needed(source) for one, source in zip(looked, local, strict=True)))
    free = shutil.disk_usage(_existing(results)).free
    log.say(_line(looked, config, free, needed))
    if needed > free:
        raise DiskFullError(
            f"{results}: disk full before it begins (need about {human_bytes(needed)}, "
            f"have {human_bytes(free)}); free some space, point `results` to another disk, "
            "or take a smaller fraction"
        )
    return {"sources": [asdict(one) for one in looked], "disk_free": free, "disk_needed": needed}


class _GlanceProcess:
    """Looks at files in a process of its own: a flipped bit in a footer can make Arrow abort, and
    that must end in an error message, not in the end of this process.
    """

    def __enter__(self) -> "_GlanceProcess":
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def glance(
        self, file: Path, reading: Reading, look: Callable[[Path, Reading], Glance]
    ) -> Glance:
        """``look`` at a file; BadFile when it can't be used."""
        try:
            return self._pool.submit(look, file, reading).result()
        except BrokenProcessPool:
            self._pool.shutdown()
            self.__enter__()
            why = f"damaged (its footer makes the reader abort); {REMEDY_USERS}"
            raise BadFile(why, file) from None


def _look(source: Source, config: Config, process: _GlanceProcess) -> SourcePreflight:
    looked = SourcePreflight(source.name or "")
    files = expand(source.path or [])
    reading = reading_of(source, files, config.max_document_bytes)

    for file in files:
        looked.files += 1
        try:
            kind = source_format(file, source.format, reading)
            if file.stat().st_size == 0:
                raise BadFile(f"empty, 0 bytes; {REMEDY_USERS}", file)
            glance = process.glance(file, reading, FORMATS[kind].glance)
            if glance.bad_row and config.on_bad_file == "error":
                raise BadFile(glance.bad_row, file)
        except BadFile as bad:
            looked.problems.append({"file": file.as_posix(), "why": bad.why})
        except OSError as error:
            why = error.strerror or str(error)
            looked.problems.append({"file": file.as_posix(), "why": why})
        else:
            looked.add(file, glance, source.text)
    return looked


def _judge(looked: list[SourcePreflight], config: Config, log: Log) -> None:
    """Warns or raises, as on_bad_file says."""
    bad = [one for source in looked for one in source.problems]
    notes = [one for source in looked for one in source.notes]
    if bad and config.on_bad_file == "error":
        files = sum(source.files for source in looked)
        also = "\nThese are read, but aren't what their names say:" + _listed(notes)
        raise UserError(
            f"{len(bad)} of {files} files can't be used:{_listed(bad)}"
            + (also if notes else "")
            + "\nFix or take them out, or set on_bad_file: warn to continue without them."
        )

    warnings = Warnings(log.warn if config.on_bad_file != "skip" else None)
    for one in [*(one for source in looked for one in source.hollow), *bad, *notes]:
        warnings.add_file(one["file"], one["why"])
    warnings.say()

    for source in looked:
        left_out = [*source.problems, *source.hollow]
        if len(left_out) == source.files:
            first = f"{left_out[0]['file']}: {left_out[0]['why']}"
            raise UserError(
                f"source {source.name}: none of its {source.files} files has a text: {first}; "
                "fix sources[]"
            )


def _listed(files: Sequence[dict[str, str]]) -> str:
    """A line for each file and what is wrong with it, as far as they can be shown."""
    lines = [harmless(f"{one['file']}: {one['why']}") for one in files[:FILES_SHOWN]]
    more = len(files) - len(lines)
    return "".join(f"\n  {line}" for line in lines) + (f"\n  … and {more} more" if more else "")


def _check_enough(looked: list[SourcePreflight], sources: list[Source]) -> None:
    """UserError when it is certain that there aren't two documents."""
    pairs = zip(looked, sources, strict=True)
    documents = sum(one.most_documents(source) for one, source in pairs)
    if documents < 2:
        raise UserError(
            f"sources: {documents:.0f} document in all, and one must be held out and one trained "
            "on; bring more text, or have a text file split: sources[].split"
        )


def _split_line(source: SourcePreflight) -> str:
    """`input: 1 file → 499 documents, cut at blank lines where there are any (sources[].split)`."""
    about = "about " if source.rows is None else ""
    return (
        f"{source.name}: {_count(source.files, 'file')} → {about}"
        f"{_count(source.documents, 'document')}, "
        f"{source.split} (sources[].split)"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _line(looked: list[SourcePreflight], config: Config, free: int, needed: int) -> str:
    """The summary: `PREFLIGHT 2 files · 4 rows · text='body' · disk 10.0 GB free`."""
    files = sum(source.files for source in looked)
    parts = [f"PREFLIGHT {_count(files, 'file')}"]

    if looked:
        rows = [source.rows for source in looked]
        known = f"{sum(r or 0 for r in rows):,}" + ("+" if None in rows else "")
        parts.append(f"{known} rows")
        nulls = sum(source.nulls or 0 for source in looked)
        if nulls:
            parts.append(f"{nulls:,} null")
        columns = sorted({repr(source.text) for source in config.sources if source.path})
        parts.append(f"text={','.join(columns)}")

    other = [source.name or "" for source in config.sources if not source.path]
    if other:
        parts.append(f"builtin or fetched: {', '.join(other)}")

    need = f", needs ~{human_bytes(needed)}" if needed else ""
    parts.append(f"disk {human_bytes(free)} free{need}")
    return " · ".join(parts)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not os.path.isdir(folder):
        folder = folder.parent
    return folder
