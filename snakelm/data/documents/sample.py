"""One source's sound documents, or the share of them that `fraction` and `limit` take, with ids.

Which documents are taken depends on their text and the seed alone, not on the order of files. A
`limit` needs the ids of all documents before the first is taken, so the files are then read twice,
which costs time and no memory.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...config import Source
from ...errors import UserError
from ...log import Log
from ..reading.readers import Reader, reading_of
from ..reading.rows import LARGEST, Reading
from ..split import chosen, document_ids, limit_threshold, mixed
from .table import SCHEMA, DocumentWriter, byte_views

__all__ = ["sample"]

NO_LIMIT = (2**64, 0)  # a threshold above every number, and no ties


def sample(
    source: Source,
    files: Iterable[str | Path],
    output: Path,
    *,
    seed: int,
    on_bad: str,
    largest: int = LARGEST,
    log: Log,
) -> dict[str, Any]:
    """Writes the documents taken from ``files`` to ``output`` (SCHEMA); returns the counts for its
    manifest. Those of more than ``largest`` bytes are left out.

    UserError when none is left.
    """
    collected = not source.path  # by our own step: parquet that carries the rows' origins
    paths = [Path(file) for file in files]
    reader = Reader(
        paths,
        reading=Reading(largest=largest) if collected else reading_of(source, paths, largest),
        format="parquet" if collected else source.format,
        on_bad=on_bad,
        warn=log.warn,
        origin=collected,
    )
    threshold, ties = _limit(reader, source, seed, log)

    with DocumentWriter(output) as writer:
        with log.progress(len(reader.files), "files") as bar:
            batches = reader.batches(
                lambda done: bar.update(done, f"{writer.documents:,} documents taken")
            )
            for batch in batches:
                ids = document_ids(byte_views(batch.column("text")))
                keep = chosen(ids, source.fraction, seed)
                if threshold < NO_LIMIT[0]:
                    below, ties = _within(mixed(ids, seed, "sample"), keep, threshold, ties)
                    keep &= below
                _append(writer, batch, ids, keep, source.name or "")

        counts = reader.counts
        left_out = counts.summary(counts.kept - writer.documents)
        if not writer.documents:
            raise UserError(
                f"source {source.name}: no documents left of {counts.read:,} rows in "
                f"{counts.files} files ({left_out}); check its text column, fraction and "
                "limit"
            )
        log.say(
            f"{source.name}: {counts.read:,} rows → {writer.documents:,} documents, "
            f"{writer.text_bytes:,} bytes of text ({left_out})"
        )

    return {
        "counts": counts.as_dict() | {"taken": writer.documents},
        "text_bytes": writer.text_bytes,
    }


def _limit(reader: Reader, source: Source, seed: int, log: Log) -> tuple[int, int]:
    """(threshold, ties) of `limit_threshold`; in memory are the smallest 2 × ``limit`` numbers."""
    if source.limit is None:
        return NO_LIMIT

    # A second reader, which warns of nothing: the pass that writes will.
    first_pass = Reader(
        reader.files,
        reading=reader.reading,
        format=reader.format,
        on_bad=reader.on_bad,
        origin=reader.origin,
    )
    smallest, total = np.zeros(0, np.uint64), 0
    for batch in first_pass.batches():
        ids = document_ids(byte_views(batch.column("text")))
        numbers = mixed(ids, seed, "sample")[chosen(ids, source.fraction, seed)]
        total += numbers.size
        smallest = np.concatenate([smallest, numbers])
        if smallest.size > 2 * source.limit + 65_536:
            smallest = np.partition(smallest, source.limit)[: source.limit + 1]

    log.file_only(f"{source.name}: limit {source.limit:,} of {total:,}")
    return limit_threshold(smallest, source.limit)


def _within(
    numbers: np.ndarray, candidates: np.ndarray, threshold: int, ties: int
) -> tuple[np.ndarray, int]:
    """Which of the ``candidates`` the limit takes, and how many ties are left to take after
    them.
    """
    below = numbers < np.uint64(threshold)
    equal = np.flatnonzero(candidates & (numbers == np.uint64(threshold)))[:ties]
    below[equal] = True
    return below, ties - equal.size


def _append(
    writer: DocumentWriter, batch: pa.RecordBatch, ids: np.ndarray, keep: np.ndarray, source: str
) -> None:
    taken = np.flatnonzero(keep)
    if not taken.size:
        return

    rows = batch if taken.size == batch.num_rows else batch.take(pa.array(taken))
    sources = pa.array([source]).take(pa.array(np.zeros(taken.size, np.int64)))
    columns = [
        rows.column("text"),
        sources,
        pa.array(ids[taken]),
        rows.column("origin_file"),
        rows.column("origin_row"),
    ]
    writer.append(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
