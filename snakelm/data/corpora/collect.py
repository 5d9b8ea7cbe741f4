"""Sources that aren't the user's own files, made into one parquet file: built in, generated, or
fetched and verified.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...config import Source
from ...errors import UserError
from ...files import sha256_file
from ...log import Log
from ...publishing import public_url
from ..documents.table import RAW_SCHEMA, DocumentWriter
from ..reading.readers import Reader, reading_of
from ..reading.rows import LARGEST
from . import docstrings, everyday, synthetic

__all__ = ["SYNTHETIC_DOCUMENTS", "collect"]

SYNTHETIC_DOCUMENTS = 2000
BATCH = 1024


def collect(
    source: Source,
    files: Iterable[str | Path],
    output: Path,
    *,
    seed: int,
    on_bad: str,
    largest: int = LARGEST,
    log: Log,
) -> dict[str, Any]:
    """Writes the documents of a builtin or url ``source`` to ``output`` (RAW_SCHEMA); returns what
    its manifest records.

    ``files`` are the fetched files of a url source, in the order of its addresses; documents of
    more than ``largest`` bytes in them are left out.
    """
    if source.path:
        raise UserError(f"source {source.name}: its files are local; there is nothing to collect")

    with DocumentWriter(output, RAW_SCHEMA) as writer:
        if source.url:
            about = _fetched(source, [Path(f) for f in files], writer, on_bad, largest, log)
        elif source.builtin == "docs":
            about = _docs(writer, log)
        else:
            name = source.builtin or "synthetic"
            about = _generated(writer, name, source.limit or SYNTHETIC_DOCUMENTS, seed)
        if not writer.documents:
            raise UserError(f"source {source.name}: no documents found; {about}")

    log.say(f"{source.name}: {writer.documents:,} documents, {writer.text_bytes:,} bytes of text")
    return {**about, "documents": writer.documents, "text_bytes": writer.text_bytes}


def _docs(writer: DocumentWriter, log: Log) -> dict[str, Any]:
    processes = min(2, len(os.sched_getaffinity(0)))
    with log.progress(None, "files") as bar:
        packages = docstrings.documents(processes, lambda done, of: bar.update(done, f"of {of:,}"))

    listed = []
    for package in packages:
        _append(writer, package.documents)
        texts = [text for text, _, _ in package.documents]
        listed.append(
            {
                "package": package.package,
                "version": package.version,
                "licence": package.licence,
                "documents": len(texts),
                "characters": sum(map(len, texts)),
                "sha256": hashlib.sha256("\0".join(texts).encode()).hexdigest(),
            }
        )

    there = {"" if package.package == "python" else package.package for package in packages}
    missing = sorted(set(docstrings.PACKAGES) - there)
    if missing:
        log.warn(f"docs: not installed and so left out: {', '.join(missing)}")
    return {"packages": listed, "packages_missing": missing}


def _generated(writer: DocumentWriter, name: str, count: int, seed: int) -> dict[str, Any]:
    texts = (everyday if name == "everyday" else synthetic).documents(count, seed)
    _append(writer, ((text, name, i) for i, text in enumerate(texts)))
    return {"generator_seed": seed}


def _fetched(
    source: Source,
    files: list[Path],
    writer: DocumentWriter,
    on_bad: str,
    largest: int,
    log: Log,
) -> dict[str, Any]:
    expected = [source.sha256] if isinstance(source.sha256, str) else list(source.sha256 or [])
    given = [source.url] if isinstance(source.url, str) else list(source.url or [])
    urls = [public_url(url) for url in given]
    if len(files) != len(expected):
        raise UserError(
            f"source {source.name}: {len(files)} files given for {len(expected)} addresses"
        )

    for url, file, digest in zip(urls, files, expected, strict=True):
        actual = sha256_file(file)
        if actual != digest.lower():
            raise UserError(
                f"{url}: SHA-256 {actual}, expected {digest.lower()} (sources[].sha256); if the "
                f"new content is right, put its hash in the config, otherwise delete {file} and "
                "fetch again"
            )

    reading = reading_of(source, files, largest)
    reader = Reader(files, reading=reading, format=source.format, on_bad=on_bad, warn=log.warn)
    for batch in reader.batches():
        writer.append(batch)
    return {"urls": urls, "counts": reader.counts.as_dict()}


def _append(writer: DocumentWriter, rows: Iterable[tuple[str, str, int]]) -> None:
    """Adds (text, origin, row); texts with lone surrogates can't be encoded and are left out."""
    for some in _batches(row for row in rows if row[0].isascii() or _is_encodable(row[0])):
        columns = [list(column) for column in zip(*some, strict=True)]
        writer.append(pa.record_batch(columns, schema=RAW_SCHEMA))


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _batches(rows: Iterable[tuple]) -> Iterator[list[tuple]]:
    some: list[tuple] = []
    for row in rows:
        some.append(row)
        if len(some) == BATCH:
            yield some
            some = []
    if some:
        yield some
