"""Documents to token files, in shards that any number of jobs can share: gathered, they give the
same bytes.

Shard i of n holds complete row groups of the documents file, in order; the groups are shared out by
their bytes. What a document becomes depends on its text, its source's weight and the seed: it is
held out or trained on (as one, so no text is on both sides), and occurs in train.bin as often as
the weight says. Copies follow each other slice by slice; the order of training is up to the
trainer.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from ...config import Config, as_mapping
from ...errors import UserError
from ...log import Log
from ...tokenizer import Tokenizer
from ...workflow.manifest import content_hash
from ..bins import BinWriter, Meta, token_dtype
from ..documents.table import open_documents, read_documents, slices, text_sizes
from ..split import is_validation, mixed, repeats, validation_threshold

__all__ = ["config_hash", "groups_of", "prepare_shard"]

SLICE_BYTES = 8 << 20  # text tokenised at a time


def config_hash(config: Config) -> str:
    """SHA-256 over the settings that shards must share with what gathers them: prepare and seed."""
    text = json.dumps(as_mapping(config, ("prepare", "seed"), cosmetic=False), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def prepare_shard(
    documents: Path,
    tokenizer: Tokenizer,
    config: Config,
    *,
    shard: int,
    of: int,
    output: Path,
    threads: int,
    log: Log,
) -> dict[str, Path]:
    """Writes `train-<shard>` and `val-<shard>` (.bin and .idx) into ``output``; returns the two
    bins' paths by split.
    """
    if not 0 <= shard < of:
        raise UserError(f"--shard: found {shard} of {of}; shards are numbered from 0 to {of - 1}")

    weights = {source.name or "": source.weight for source in config.sources}
    threshold = _threshold(documents, config)
    groups, sizes = groups_of(documents, shard, of)
    meta = _meta(documents, tokenizer, config, [shard, of])
    paths = {split: output / f"{split}-{shard}.bin" for split in ("train", "val")}
    with (
        BinWriter(paths["train"], replace(meta, weights=weights)) as train,
        BinWriter(paths["val"], meta) as val,
        log.progress(sum(sizes), "bytes") as bar,
    ):
        for batch in _slices(documents, groups):
            ids = batch.column("id").to_numpy()
            held_out = is_validation(ids, config.prepare.val_fraction, config.seed, threshold)
            times = np.where(held_out, 0, _times(batch.column("source"), ids, weights, config.seed))

            encoded = _Encoded(batch, ids, tokenizer, threads)
            encoded.append_to(val, held_out)
            for copy in range(int(times.max(initial=0))):
                encoded.append_to(train, times > copy)

            bar.update(
                train.meta.text_bytes + val.meta.text_bytes,
                f"{train.meta.tokens + val.meta.tokens:,} tokens",
            )

    log.say(
        f"shard {shard} of {of}: {train.meta.tokens:,} tokens to train on, "
        f"{val.meta.tokens:,} held out"
    )
    return paths


def _meta(documents: Path, tokenizer: Tokenizer, config: Config, part: list[int]) -> Meta:
    return Meta(
        dtype=token_dtype(tokenizer.vocab_size, config.prepare.token_bits),
        vocab_size=tokenizer.vocab_size,
        eot=tokenizer.eot,
        tokenizer_sha256=tokenizer.sha256,
        config_hash=config_hash(config),
        inputs={documents.name: content_hash(documents)},
        part=part,
    )


def groups_of(documents: Path, shard: int, of: int) -> tuple[list[int], list[int]]:
    """(row groups of one shard, their bytes of text): consecutive ones, shared out by bytes.

    A group belongs to the shard in whose share of all bytes its middle lies.
    """
    with open_documents(documents) as file:
        sizes = [file.column_bytes(group, "text") for group in range(file.num_row_groups)]

    middles = np.cumsum(sizes) - np.array(sizes) / 2
    mine = np.flatnonzero((middles * of / max(1, sum(sizes))).astype(np.int64) == shard)
    return mine.tolist(), [sizes[i] for i in mine]


def _threshold(documents: Path, config: Config) -> int:
    """The threshold of the split; whether the plain share will do, only the two documents with the
    smallest and the largest number decide.
    """
    extremes = np.zeros(0, np.uint64)
    for batch in read_documents(documents, ["id"]):
        ids = np.concatenate([extremes, batch.column("id").to_numpy()])
        order = mixed(ids, config.seed, "validation")
        extremes = ids[[order.argmin(), order.argmax()]]

    try:
        return validation_threshold(extremes, config.prepare.val_fraction, config.seed)
    except ValueError as error:
        raise UserError(
            f"{documents}: {error}, but one must be held out and one trained on; bring more "
            "documents (one file of text is one document: split it, or use JSONL or parquet)"
        ) from None


def _slices(documents: Path, groups: list[int]) -> Iterator[pa.RecordBatch]:
    """The row groups' documents, a few megabytes at a time; a document is never cut."""
    for batch in read_documents(documents, ["text", "source", "id"], groups):
        yield from slices(batch, SLICE_BYTES)


def _times(
    sources: pa.Array, ids: np.ndarray, weights: Mapping[str, float], seed: int
) -> np.ndarray:
    """How often each document is trained on: int64 [n]."""
    coded = sources.dictionary_encode()
    codes, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    unknown = [name for name in names if name not in weights]
    if unknown:
        raise UserError(
            f"documents of source {unknown[0]!r}: the config has no such source; run deduplicate "
            "again"
        )
    if not names:
        return np.zeros(0, np.int64)
    return np.choose(codes, [repeats(ids, weights[name], seed) for name in names])


class _Encoded:
    """A slice of documents as tokens, ready to be appended in part and more than once."""

    def __init__(
        self, batch: pa.RecordBatch, ids: np.ndarray, tokenizer: Tokenizer, threads: int
    ) -> None:
        texts = batch.column("text")
        self.tokens, offsets = tokenizer.encode_batch(texts, threads=threads)
        self.lengths = np.diff(offsets)
        self.ids, self.sizes, self.eot = ids, text_sizes(texts), tokenizer.eot

    def append_to(self, writer: BinWriter, chosen: np.ndarray) -> None:
        """Adds the ``chosen`` documents (bool [n]), the end-of-text token before each."""
        if not chosen.any():
            return

        tokens, lengths, ids, sizes = self.tokens, self.lengths, self.ids, self.sizes
        if not chosen.all():
            tokens = tokens[np.repeat(chosen, lengths)]
            lengths, ids, sizes = lengths[chosen], ids[chosen], sizes[chosen]

        starts = np.cumsum(lengths) - lengths
        writer.append(np.insert(tokens, starts, self.eot), lengths + 1, ids, int(sizes.sum()))
