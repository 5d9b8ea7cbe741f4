"""The formats of source files, one entry each: to read another, write its functions and add it here
(and to the choices of `sources[].format` in snakelm/config).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...parquet import BadFile
from .csv_text import csv_columns, csv_glance, csv_records, csv_texts
from .lines import jsonl_columns, jsonl_glance, jsonl_records, jsonl_texts
from .parquet_text import parquet_columns, parquet_glance, parquet_records, parquet_texts
from .plain import plain_glance, plain_texts
from .rows import Glance, Reading, Record, TextBatch
from .streams import SUFFIXES as COMPRESSION
from .warc_text import warc_glance, warc_texts

__all__ = ["FORMATS", "SourceFormat", "file_format", "source_format"]


@dataclass(frozen=True)
class SourceFormat:
    """How files with these ``suffixes`` are read; every function raises BadFile.

    ``texts``: the texts of one column. ``glance``: what can be known beforehand. ``columns`` and
    ``records``: (file) → names of the columns, and (file, columns needed, largest) → rows of them;
    None for a format without rows of several columns.
    """

    suffixes: tuple[str, ...]
    texts: Callable[[Path, Reading], Iterator[TextBatch]]
    glance: Callable[[Path, Reading], Glance]
    columns: Callable[[Path], list[str]] | None = None
    records: Callable[[Path, Mapping[str, str], int], Iterator[Record]] | None = None


FORMATS = {
    "parquet": SourceFormat(
        (".parquet", ".pq"), parquet_texts, parquet_glance, parquet_columns, parquet_records
    ),
    "jsonl": SourceFormat(
        (".jsonl", ".ndjson", ".json"), jsonl_texts, jsonl_glance, jsonl_columns, jsonl_records
    ),
    "csv": SourceFormat((".csv", ".tsv", ".tab"), csv_texts, csv_glance, csv_columns, csv_records),
    "warc": SourceFormat((".warc", ".wet"), warc_texts, warc_glance),
    "text": SourceFormat((".txt", ".text", ".md", ".rst"), plain_texts, plain_glance),
}
TABLES = (".xls", ".xlsx", ".ods", ".arrow", ".feather", ".orc", ".avro")
SUFFIXES = {suffix: name for name, kind in FORMATS.items() for suffix in kind.suffixes}


def source_format(path: Path, given: str, reading: Reading) -> str:
    """The `file_format` of a source's file; BadFile for one that can't be split as asked."""
    kind = file_format(path, given)
    if kind != "text" and reading.split not in ("auto", "file"):
        raise BadFile(f"{kind}, and sources[].split is for text files; take it out", path)
    return kind


def file_format(path: Path, given: str = "auto") -> str:
    """A name in `FORMATS`: the one given, or the one that the file's suffix stands for; BadFile for
    an unknown suffix.
    """
    if given != "auto":
        return given

    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSION:
        suffixes.pop()

    suffix = suffixes[-1] if suffixes else ""
    if suffix in TABLES:
        raise BadFile(f"a table that isn't read ({suffix}); write it as parquet or JSONL", path)
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise BadFile(
            f"can't tell its format by its name; set the source's format (known are {known})", path
        )
    return SUFFIXES[suffix]
