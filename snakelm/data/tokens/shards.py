"""Documents to token files, in shards that any number of jobs can share: gathered, they give the
same bytes.

Shard i of n holds complete row groups of the documents file, in order; the groups are shared out by
their bytes. What a document becomes depends on its text, its source's weight and the seed: it is
held out or trained on (as one, so no text is on both sides), and occurs in train.bin as often as
the weight says. Copies follow each other slice by slice; the order of training is up to the
trainer.

Slices of a few megabytes are read, tokenised and written side by side, one ahead of the other:
memory is that of three of them whatever the size of the file, and on one thread each finds the
memory of the one before still in the cache. A shard that was interrupted goes on behind the last
group that it finished (journal.py), to the same bytes.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from snakelm import _text

from ...config import Config, as_mapping
from ...errors import UserError
from ...log import Log
from ...tokenizer import Tokenizer, storage
from ...workflow.manifest import content_hash
from ..bin_index import DtypeName
from ..bins import BinWriter, Meta, token_dtype
from ..documents.table import open_documents, read_documents, slices, text_sizes
from ..split import is_validation, mixed, repeats, validation_threshold
from .ahead import ahead
from .journal import Journal

__all__ = ["config_hash", "groups_of", "prepare_shard"]

SLICE_BYTES = 4 << 20  # of text; with weights of 2 and more the order in a bin depends on it


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
    metas = {"train": replace(meta, weights=weights), "val": meta}
    paths = {split: output / f"{split}-{shard}.bin" for split in metas}

    with ExitStack() as stack:
        journal = stack.enter_context(Journal(output / f".shard-{shard}", _identity(metas)))
        writers = {
            split: stack.enter_context(BinWriter(path, metas[split], partial=journal.folder))
            for split, path in paths.items()
        }
        done = journal.resume(writers)
        if done:
            log.say(f"shard {shard} of {of}: going on behind row group {done} of {len(groups)}")

        encoder = _Encoder(tokenizer, config, weights, threshold, meta.dtype, threads)
        read = stack.enter_context(ahead(_read_slices(documents, groups[done:]), threads))
        encoded = stack.enter_context(ahead(map(encoder.encode, read), threads))
        bar = stack.enter_context(log.progress(sum(sizes[done:]) / 1e6, "MB"))
        finished = iter(np.cumsum(sizes[done:]) / 1e6)
        began = time.monotonic()
        for one in encoded:
            if one is not None:
                one.append_to(writers)
                continue
            journal.commit(writers)
            megabytes = next(finished)
            rate = megabytes / max(1e-3, time.monotonic() - began)
            tokens = metas["train"].tokens + metas["val"].tokens
            bar.update(float(megabytes), f"{rate:.0f} MB/s | {tokens:,} tokens")

    log.say(
        f"shard {shard} of {of}: {metas['train'].tokens:,} tokens to train on, "
        f"{metas['val'].tokens:,} held out"
    )
    return paths


def _identity(metas: Mapping[str, Meta]) -> dict[str, Any]:
    """What the tokens depend on: a shard that was begun with anything else begins anew."""
    return {"code": _code(), **{split: asdict(meta) for split, meta in metas.items()}}


def _code() -> str:
    """SHA-256 over the code that makes tokens. By bytes: code_digest takes a second to tell a
    comment from a change, and here a comment only costs beginning anew.
    """
    here = Path(__file__).parent
    folders = [here, here.parent, Path(storage.__file__).parent]
    sources = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    digest = hashlib.sha256()
    for file in [*sources, Path(_text.__file__)]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


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
    smallest and the largest number decide: no more are read once there are such on both sides.
    """
    fraction, extremes = config.prepare.val_fraction, np.zeros(0, np.uint64)
    for batch in read_documents(documents, ["id"]):
        ids = np.concatenate([extremes, batch.column("id").to_numpy()])
        order = mixed(ids, config.seed, "validation")
        extremes = ids[[order.argmin(), order.argmax()]]
        if is_validation(extremes, fraction, config.seed).tolist() == [True, False]:
            break

    try:
        return validation_threshold(extremes, fraction, config.seed)
    except ValueError as error:
        raise UserError(
            f"{documents}: {error}, but one must be held out and one trained on; bring more "
            "documents (one file of text is one document: split it, or use JSONL or parquet)"
        ) from None


def _read_slices(documents: Path, groups: list[int]) -> Iterator[pa.RecordBatch | None]:
    """The documents a few megabytes at a time, and None where a row group ends."""
    with open_documents(documents, coded=["source"]) as file:
        for group in groups:
            for batch in file.group_batches(group, ["text", "source", "id"], SLICE_BYTES):
                yield from slices(batch, SLICE_BYTES)
            yield None


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
    times = np.zeros(ids.size, np.int64)
    for code, name in enumerate(names):
        own = codes == code
        times[own] = repeats(ids[own], weights[name], seed)
    return times


@dataclass(frozen=True)
class _Encoder:
    """Row groups to tokens, and where each document goes."""

    tokenizer: Tokenizer
    config: Config
    weights: Mapping[str, float]
    threshold: int
    dtype: DtypeName
    threads: int

    def encode(self, batch: pa.RecordBatch | None) -> "_Slice | None":
        """A slice's documents, each complete; the end of a row group is passed on."""
        if batch is None:
            return None

        fraction, seed = self.config.prepare.val_fraction, self.config.seed
        ids, texts = batch.column("id").to_numpy(), batch.column("text")
        held_out = is_validation(ids, fraction, seed, self.threshold)
        times = np.where(held_out, 0, _times(batch.column("source"), ids, self.weights, seed))

        # What is held out goes behind the rest: then each side's tokens are one piece.
        order = np.argsort(held_out, kind="stable")
        bits = 16 if self.dtype == "uint16" else 32
        tokens, offsets = self.tokenizer.encode_batch(
            _sides(texts, held_out), self.threads, bits=bits, eot=True
        )
        sizes = text_sizes(texts)
        return _Slice(tokens, offsets, ids[order], sizes[order], held_out[order], times[order])


def _sides(texts: pa.Array, held_out: np.ndarray) -> pa.ChunkedArray:
    """The texts to train on, then those held out, in their order and where they lie."""
    bounds = [0, *(np.flatnonzero(np.diff(held_out)) + 1).tolist(), len(texts)]
    runs = [texts.slice(first, last - first) for first, last in pairwise(bounds)]
    first_out = int(held_out[0])
    return pa.chunked_array([*runs[first_out::2], *runs[1 - first_out :: 2]], texts.type)


@dataclass(frozen=True)
class _Slice:
    """Documents as tokens, the end-of-text token before each; those that are held out are last.
    Nothing here refers to their text, which is freed.
    """

    tokens: np.ndarray  # [total]
    offsets: np.ndarray  # [n+1] where each document begins
    ids: np.ndarray  # [n]
    sizes: np.ndarray  # [n] bytes of text
    held_out: np.ndarray  # bool [n]
    times: np.ndarray  # [n] how often it is trained on

    def append_to(self, writers: Mapping[str, BinWriter]) -> None:
        """Adds the documents to the bin of their side, as often as they are due."""
        lengths = np.diff(self.offsets)
        self._append(writers["val"], lengths, self.held_out)
        for copy in range(int(self.times.max(initial=0))):
            self._append(writers["train"], lengths, self.times > copy)

    def _append(self, writer: BinWriter, lengths: np.ndarray, chosen: np.ndarray) -> None:
        if not chosen.any():
            return

        # Runs of neighbours are written as one: without weights a side is one run.
        edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False))
        runs = self.offsets[edges].reshape(-1, 2)
        parts = [self.tokens[first:last] for first, last in runs.tolist()]
        text_bytes = int(self.sizes[chosen].sum())
        writer.append_parts(parts, lengths[chosen], self.ids[chosen], text_bytes)
