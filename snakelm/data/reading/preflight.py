"""What can be known of a person's files before anything is read: footers, columns, rows, nulls,
sizes, free disk.

Every problem of every file is found now and said at once, not file by file over the hours.
"""

import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...config import Config, Source
from ...errors import DiskFullError, UserError
from ...files import human_bytes
from ...log import Log
from .lines import COMPRESSION, jsonl_rows
from .parquet_text import BadFile, column_of, open_parquet
from .readers import expand, file_format

__all__ = ["preflight"]

# Bytes on disk per byte of text: sampled and deduplicated parquet (zstd, 0.35 each), shards and the
# gathered bins (2 bytes a token at 4 bytes of text each, 0.5 each), and a tenth for logs and
# manifests.
DISK_PER_TEXT = 0.35 + 0.35 + 0.5 + 0.5 + 0.1
TEXT_PER_COMPRESSED = 4  # a guess for gzip and zstd: what text compresses to


@dataclass
class SourceFacts:
    """What one source's files say of themselves; rows and nulls are None where only reading would
    tell.
    """

    name: str
    files: int = 0
    rows: int | None = 0
    nulls: int | None = 0
    text_bytes: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)  # {file, why}
    hollow: list[dict[str, str]] = field(
        default_factory=list
    )  # {file, why}: sound files without a text


def preflight(config: Config, results: Path, log: Log) -> dict[str, Any]:
    """Looks at every local source; says one line; gives what it found.

    UserError listing the files that can't be used (on_bad_file: error) or when none can,
    DiskFullError when the disk plainly won't do.
    """
    with _Footers() as footers:
        facts = [_look(source, footers) for source in config.sources if source.path]
    _judge(facts, config, log)
    builtins = [source.name for source in config.sources if not source.path]
    need = int(
        sum(_need(f, s) for f, s in zip(facts, (s for s in config.sources if s.path), strict=True))
    )
    free = shutil.disk_usage(_existing(results)).free
    log.say(_line(facts, builtins, config, free, need))
    if need > free:
        raise DiskFullError(
            f"{results}: disk full before it begins (need about {human_bytes(need)}, have {human_bytes(free)}); free "
            "some room, point `results` to another disk, or take a smaller fraction"
        )
    return {"sources": [asdict(f) for f in facts], "disk_free": free, "disk_needed": need}


class _Footers:
    """Reads footers in a process of its own: a flipped bit in one can make Arrow abort, and that
    must be an answer.
    """

    def __enter__(self) -> "_Footers":
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def read(self, file: Path, column: str) -> tuple[int, int | None, int]:
        """(rows, nulls if known, bytes of text); BadFile when it can't be used."""
        try:
            return self._pool.submit(_parquet_facts, file, column).result()
        except BrokenProcessPool:
            self._pool.shutdown()
            self.__enter__()
            raise BadFile(
                "not a whole parquet file (its footer makes the reader abort); fetch it again"
            ) from None


def _look(source: Source, footers: _Footers) -> SourceFacts:
    facts = SourceFacts(source.name or "")
    for file in expand(source.path or []):
        facts.files += 1
        try:
            rows, nulls, size = _look_at(file, source, footers)
        except BadFile as bad:
            facts.problems.append({"file": file.as_posix(), "why": str(bad)})
            continue
        except OSError as error:
            facts.problems.append({"file": file.as_posix(), "why": error.strerror or str(error)})
            continue
        facts.rows = None if rows is None or facts.rows is None else facts.rows + rows
        facts.nulls = None if nulls is None or facts.nulls is None else facts.nulls + nulls
        facts.text_bytes += size
        if rows == 0 or (nulls is not None and nulls == rows):
            what = "no rows" if not rows else f"all {rows:,} values of {source.text!r} are null"
            facts.hollow.append({"file": file.as_posix(), "why": what})
    return facts


def _look_at(file: Path, source: Source, footers: _Footers) -> tuple[int | None, int | None, int]:
    """(rows, nulls, bytes of text) as far as the file tells without being read."""
    kind = file_format(file, source.format)
    size = file.stat().st_size
    if size == 0:
        raise BadFile("empty, 0 bytes; fetch it again or take it out")
    if kind == "parquet":
        return footers.read(file, source.text)
    if kind == "jsonl":
        _first_line(file, source.text)
    unpacked = size * (TEXT_PER_COMPRESSED if file.suffix.lower() in COMPRESSION else 1)
    return (1, 0, unpacked) if kind == "text" else (None, None, unpacked)


def _parquet_facts(file: Path, name: str) -> tuple[int, int | None, int]:
    with open_parquet(file) as opened:
        path = ".".join(column_of(opened.schema_arrow, name))
        meta, size, nulls = opened.metadata, 0, 0
        for group in range(meta.num_row_groups):
            columns = (meta.row_group(group).column(i) for i in range(meta.num_columns))
            for column in columns:
                if column.path_in_schema == path:
                    size += column.total_uncompressed_size
                    known = column.statistics is not None and column.statistics.has_null_count
                    nulls = (
                        nulls + column.statistics.null_count
                        if known and nulls is not None
                        else None
                    )
        return meta.num_rows, nulls, size


def _first_line(file: Path, name: str) -> None:
    """BadFile unless the file begins with a JSON object; whether it has the field only all lines
    together tell.
    """
    rows = next(jsonl_rows(file, name), None)
    if rows is None:
        raise BadFile("no rows")


def _judge(facts: list[SourceFacts], config: Config, log: Log) -> None:
    problems = [problem for f in facts for problem in f.problems]
    lines = [f"{problem['file']}: {problem['why']}" for problem in problems]
    if problems and config.on_bad_file == "error":
        more = f"\n  … and {len(lines) - 20} more" if len(lines) > 20 else ""
        raise UserError(
            f"{len(lines)} of {sum(f.files for f in facts)} files can't be used:\n  "
            + "\n  ".join(lines[:20])
            + more
            + "\nMend or take them out, or say on_bad_file: warn to go on without them."
        )
    hollow = [f"{found['file']}: {found['why']}" for f in facts for found in f.hollow]
    for line in hollow + lines if config.on_bad_file != "skip" else []:
        log.warn(line)
    for f in facts:
        left_out = [*f.problems, *f.hollow]
        if len(left_out) == f.files:
            first = f"{left_out[0]['file']}: {left_out[0]['why']}"
            raise UserError(
                f"source {f.name}: none of its {f.files} files has a text: {first}; mend sources[]"
            )


def _need(facts: SourceFacts, source: Source) -> float:
    share = source.fraction
    if source.limit is not None and facts.rows:
        share = min(share, source.limit / facts.rows)
    return facts.text_bytes * share * DISK_PER_TEXT


def _line(
    facts: list[SourceFacts], builtins: list[str], config: Config, free: int, need: int
) -> str:
    files = sum(f.files for f in facts)
    rows = [f.rows for f in facts]
    known = f"{sum(r or 0 for r in rows):,}" + ("+" if None in rows else "")
    columns = sorted({repr(s.text) for s in config.sources if s.path})
    parts = [f"PREFLIGHT {files:,} file{'' if files == 1 else 's'}"]
    if facts:
        nulls = sum(f.nulls or 0 for f in facts)
        parts += [
            f"{known} rows",
            *([f"{nulls:,} null"] if nulls else []),
            f"text={','.join(columns)}",
        ]
    parts += [f"builtin or fetched: {', '.join(builtins)}"] if builtins else []
    parts.append(
        f"disk {human_bytes(free)} free" + (f", needs ~{human_bytes(need)}" if need else "")
    )
    return " · ".join(parts)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not os.path.isdir(folder):
        folder = folder.parent
    return folder
