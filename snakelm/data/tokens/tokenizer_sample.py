"""Which documents the merges are learned from: an even share of every part of a parquet file, never
a held-out one.

Decisions
- A document's turn is decided by its own id and the seed (as in snakelm.data.split), so the choice
  does not depend on threads, and the documents that evaluation holds out never shape the
  vocabulary.
- Of a file much larger than the budget, only evenly spaced row groups are read: reading 100 GB to
  train on 64 MB would take longer than the training.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...arrow import ArrowTexts
from ...config import TokenizerConfig
from ...errors import UserError
from ...log import Log
from ...parquet import ParquetReader, open_parquet
from ...tokenizer import CHAT, EOT, Tokenizer, train_bpe
from ...tokenizer.patterns import slow_pattern
from ..split import is_validation, mixed, validation_threshold

__all__ = ["train_on_documents", "training_documents"]

# Row groups are skipped only where those read still hold this many times the budget, and are at
# least this many.
READ_FACTOR, READ_GROUPS = 4, 64


def training_documents(
    documents: str | Path, budget: int, *, val_fraction: float, seed: int
) -> Iterator[ArrowTexts]:
    """Texts of at most ``budget`` bytes together, one Arrow array a row group.

    ``documents``: parquet with columns `text` and `id` (uint64). UserError where nothing can be
    taken.
    """
    remedy = "run deduplicate again"
    with open_parquet(documents, columns=["text", "id"], remedy=remedy) as file:
        held_out_below = _validation_threshold(file, val_fraction, seed)
        groups = _groups(file, budget)
        sizes = np.array([file.column_bytes(group, "text") for group in groups], np.float64)
        shares = budget * sizes / max(sizes.sum(), 1.0)

        # What one row group leaves of its share passes on to the next.
        allowance, taken = 0.0, 0
        for group, share in zip(groups, shares, strict=True):
            allowance += share
            table = file.row_group(group, ["text", "id"])
            ids = table["id"].to_numpy()
            held_out = is_validation(ids, val_fraction, seed, held_out_below)
            rows, size = _take(table["text"], np.flatnonzero(~held_out), ids, seed, allowance)
            allowance -= size
            taken += size
            if rows.size:
                yield table["text"].take(pa.array(rows))

    if not taken:
        raise UserError(
            f"{documents}: no document fits into {budget} bytes of training text; raise "
            "tokenizer.train_mb"
        )


def _take(
    text: pa.ChunkedArray, rows: np.ndarray, ids: np.ndarray, seed: int, allowance: float
) -> tuple[np.ndarray, int]:
    """Those of ``rows`` whose turn comes before ``allowance`` bytes are used up, ascending, and
    their bytes.
    """
    lengths = pc.fill_null(pc.binary_length(text), 0).to_numpy()
    order = rows[np.argsort(mixed(ids[rows], seed, "tokenizer"), kind="stable")]
    used = np.cumsum(lengths[order])
    count = int(np.searchsorted(used, allowance, side="right"))
    return np.sort(order[:count]), int(used[count - 1]) if count else 0


def _validation_threshold(file: ParquetReader, val_fraction: float, seed: int) -> int:
    ids = [batch.column(0).to_numpy() for batch in file.batches(["id"])]
    try:
        return validation_threshold(
            np.concatenate(ids) if ids else np.empty(0, np.uint64), val_fraction, seed
        )
    except ValueError as error:
        raise UserError(
            f"{file.path}: {error}, so none is left for training; add documents"
        ) from None


def _groups(file: ParquetReader, budget: int) -> list[int]:
    """Row groups to read: all, or evenly spaced ones that hold several times the budget."""
    count = file.num_row_groups
    total = sum(file.column_bytes(group, "text") for group in range(count))
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

    ``documents``: parquet with columns text and id. The number of threads changes no result. Where
    the text has too few different words for `tokenizer.vocab_size`, the vocabulary is smaller.
    """
    if warning := slow_pattern(settings.pattern):
        log.warn(warning)
    started = time.process_time()
    texts = training_documents(
        documents, int(settings.train_mb * 1e6), val_fraction=val_fraction, seed=seed
    )
    tokenizer = train_bpe(
        texts, settings.vocab_size, settings.pattern, max(1, threads), (EOT, *CHAT), or_fewer=True
    )

    facts = tokenizer.facts
    if tokenizer.vocab_size < settings.vocab_size:
        log.warn(
            f"tokenizer.vocab_size: {settings.vocab_size:,} asked for, {tokenizer.vocab_size:,} "
            f"taken: {facts['distinct_words']:,} different words give no more; bring more text"
        )
    log.say(
        f"{facts['bytes'] / 1e6:.1f} MB of text, {facts['words']:,} words, "
        f"{facts['distinct_words']:,} different, "
        f"{time.process_time() - started:.1f} CPU-seconds"
    )
    return tokenizer
