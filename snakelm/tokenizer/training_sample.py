"""Which documents the merges are learned from: an even share of every part of a parquet file, never
a held-out one.

Decisions
- A document's turn is decided by its own id and the seed (as in snakelm.data.split), so the choice does not depend on
  threads, and the documents that evaluation holds out never shape the vocabulary.
- Of a file much larger than the budget, only evenly spaced row groups are read: reading 100 GB to train on 64 MB would
  take longer than the training.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..config import TokenizerConfig
from ..data.split import is_validation, mixed, validation_threshold
from ..errors import UserError
from ..log import Log
from .special import CHAT, EOT
from .tokenizer import Tokenizer
from .training import train_bpe

__all__ = ["train_on_documents", "training_documents"]

# Row groups are left out only where those read still hold this many times the budget, and are at
# least this many.
READ_FACTOR, READ_GROUPS = 4, 64


def training_documents(
    documents: str | Path, budget: int, *, val_fraction: float, seed: int
) -> Iterator[pa.Array | pa.ChunkedArray]:
    """Texts of at most ``budget`` bytes together, one Arrow array a row group.

    ``documents``: parquet with columns `text` and `id` (uint64). Raises UserError where nothing can
    be taken.
    """
    path = Path(documents)
    with _open(path) as file:
        held_out_below = _validation_threshold(file, path, val_fraction, seed)
        groups = _groups(file, budget)
        sizes = np.array([_text_bytes(file, group) for group in groups], np.float64)
        shares = budget * sizes / max(sizes.sum(), 1.0)
        allowance, taken = 0.0, 0
        for group, share in zip(groups, shares, strict=True):
            allowance += share
            table = _read(file, path, group)
            ids = table["id"].to_numpy()
            held_out = is_validation(ids, val_fraction, seed, held_out_below)
            rows, size = _take(table["text"], np.flatnonzero(~held_out), ids, seed, allowance)
            allowance -= size
            taken += size
            if rows.size:
                yield table["text"].take(pa.array(rows))
    if not taken:
        raise UserError(
            f"{path}: no document fits into {budget} bytes of training text; raise tokenizer.train_mb"
        )


def _take(
    text: pa.ChunkedArray, rows: np.ndarray, ids: np.ndarray, seed: int, allowance: float
) -> tuple[np.ndarray, int]:
    """The ``rows`` whose turn comes before ``allowance`` bytes are spent, ascending, and their
    bytes.
    """
    lengths = pc.fill_null(pc.binary_length(text), 0).to_numpy()
    order = rows[np.argsort(mixed(ids[rows], seed, "tokenizer"), kind="stable")]
    spent = np.cumsum(lengths[order])
    count = int(np.searchsorted(spent, allowance, side="right"))
    return np.sort(order[:count]), int(spent[count - 1]) if count else 0


def _open(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected the documents that deduplicate writes")
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: not a parquet file, or damaged: {error}") from None
    missing = {"text", "id"} - set(file.schema_arrow.names)
    if missing:
        file.close()
        raise UserError(
            f"{path}: has no column {', '.join(sorted(missing))}; expected the documents of deduplicate"
        )
    return file


def _read(file: pq.ParquetFile, path: Path, group: int) -> pa.Table:
    try:
        return file.read_row_group(group, columns=["text", "id"], use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"{path}: row group {group} is damaged ({error}); run deduplicate again"
        ) from None


def _validation_threshold(file: pq.ParquetFile, path: Path, val_fraction: float, seed: int) -> int:
    ids = [
        batch.column(0).to_numpy()
        for batch in file.iter_batches(1 << 16, columns=["id"], use_threads=False)
    ]
    try:
        return validation_threshold(
            np.concatenate(ids) if ids else np.empty(0, np.uint64), val_fraction, seed
        )
    except ValueError as error:
        raise UserError(f"{path}: {error}, so none is left for training; add documents") from None


def _text_bytes(file: pq.ParquetFile, group: int) -> int:
    """Size of a row group's texts before compression, from the file's footer."""
    metadata = file.metadata.row_group(group)
    columns = (metadata.column(i) for i in range(metadata.num_columns))
    return next(
        column.total_uncompressed_size for column in columns if column.path_in_schema == "text"
    )


def _groups(file: pq.ParquetFile, budget: int) -> list[int]:
    """Row groups to read: all, or evenly spaced ones that hold several times the budget."""
    count = file.num_row_groups
    total = sum(_text_bytes(file, group) for group in range(count))
    wanted = max(READ_GROUPS, int(np.ceil(count * READ_FACTOR * budget / max(total, 1))))
    if wanted >= count:
        return list(range(count))
    return [i * count // wanted for i in range(wanted)]


def train_on_documents(
    documents: Path,
    settings: TokenizerConfig,
    *,
    val_fraction: float,
    seed: int,
    threads: int,
    log: Log,
) -> Tokenizer:
    """Learns the merges from at most `tokenizer.train_mb` of the documents that are not held out.

    ``documents``: parquet with columns text and id. The number of threads changes no result.
    """
    started = time.process_time()
    texts = training_documents(
        documents, int(settings.train_mb * 1e6), val_fraction=val_fraction, seed=seed
    )
    tokenizer = train_bpe(
        texts, settings.vocab_size, settings.pattern, max(1, threads), (EOT, *CHAT)
    )

    facts = tokenizer.facts
    log.say(
        f"{facts['bytes'] / 1e6:.1f} MB of text, {facts['words']:,} words, "
        f"{facts['distinct_words']:,} different, "
        f"{time.process_time() - started:.1f} CPU-seconds"
    )
    return tokenizer
