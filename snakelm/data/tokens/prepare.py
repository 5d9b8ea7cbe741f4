"""The shards put together: train.bin and val.bin, the same bytes for any number of shards, and how
much of each held-out document occurs in the training text.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ...config import Config
from ...errors import UserError
from ...files import atomic_path
from ...log import Log
from ...tokenizer import Tokenizer
from ..bin_index import PLAIN, BinIndex
from ..bins import BinWriter, Meta, TokenBin, checked_index, open_bin, verified_chunks
from .overlap import copied_share
from .shards import config_hash

__all__ = ["gather", "prepare_data", "shard_bins"]

AGAIN = "run prepare_shard again"
DOCUMENTS_AT_ONCE = 1 << 16
SHARED = ("dtype", "vocab_size", "eot", "tokenizer_sha256", "config_hash", "inputs", "weights")


def prepare_data(
    shards: Iterable[str | Path], tokenizer: Tokenizer, config: Config, output: Path, log: Log
) -> dict[str, Any]:
    """Writes train.bin, val.bin (with .idx) and val_overlap.npy into ``output``; returns the counts
    for the manifests.
    """
    shards = list(shards)
    metas = {}
    for split in ("train", "val"):
        bins = shard_bins(shards, split)
        path = output / f"{split}.bin"
        metas[split] = gather(bins, path, tokenizer.sha256, config_hash(config))
        _refuse_empty(path, metas[split].documents, config)

    # `gather` verified every shard's checksums and wrote these itself a moment ago.
    train, val = (open_bin(output / f"{split}.bin", verify=False) for split in ("train", "val"))
    span = config.evaluate.span
    with log.progress(train.meta.tokens, "tokens") as bar:
        shares, overall = copied_share(
            val, train, span, lambda done: bar.update(done, "copied spans")
        )
    with atomic_path(output / "val_overlap.npy") as temporary, open(temporary, "wb") as file:
        np.save(file, shares)

    different = {"train": _different(train), "val": _different(val)}
    repeated = train.meta.documents - different["train"]
    log.say(
        f"train {train.meta.tokens:,} tokens in {train.meta.documents:,} documents"
        f"{f' ({repeated:,} of them again)' if repeated else ''}, "
        f"val {val.meta.tokens:,} in {val.meta.documents:,}; {overall:.1%} of the held-out tokens "
        f"lie in {span}-token spans of the training text"
    )
    counts = {
        split: {
            "tokens": meta.tokens,
            "documents": meta.documents,
            "different": different[split],
            "text_bytes": meta.text_bytes,
        }
        for split, meta in metas.items()
    }
    return {**counts, "overlap": {"span": span, "copied_tokens": overall}}


def _different(bin_: TokenBin) -> int:
    """Documents of other texts than all before them: a source's weight repeats some."""
    return int(np.unique(bin_.document_ids).size)


def shard_bins(given: Iterable[str | Path], split: str) -> list[Path]:
    """The bins of one split among folders and files; UserError where there is none."""
    bins: list[Path] = []
    for path in map(Path, given):
        files = sorted(path.glob(f"{split}-*.bin")) if path.is_dir() else [path]
        bins += [file for file in files if file.name.startswith(f"{split}-")]

    if not bins:
        raise UserError(
            f"--shards: no {split}-*.bin in {', '.join(map(str, given))}; run prepare_shard first"
        )
    return bins


def gather(
    shards: Iterable[str | Path], path: str | Path, tokenizer_sha256: str, config_hash: str
) -> Meta:
    """Writes the shards' documents, in the order of their parts, as one bin; returns its meta.

    UserError when a shard is missing, does not verify, or was made with another tokenizer, config
    or input.
    """
    paths = map(Path, shards)
    metas = [(path, checked_index(PLAIN, path, tokenizer_sha256).meta) for path in paths]
    metas.sort(key=lambda one: one[1].part or [0, 0])
    _check_shards(metas, config_hash)

    meta = Meta(**_shared(metas[0][1]))
    alone = len(metas) == 1
    with BinWriter(path, meta, 0 if alone else sum(one.tokens for _, one in metas)) as writer:
        for shard, _ in metas:
            one = checked_index(PLAIN, shard, tokenizer_sha256)  # read again: all need memory
            _append_documents(writer, one)
            linked = alone and writer.link_tokens(shard, one.meta, one.crcs)
            chunks = verified_chunks(shard, one.meta, one.crcs, AGAIN, wanted=not linked)
            for tokens in chunks:
                writer.append_tokens(tokens)
            meta.text_bytes += one.meta.text_bytes
    return meta


def _append_documents(writer: BinWriter, shard: BinIndex) -> None:
    """Adds a shard's documents behind those there are, some at a time: of ten gigabytes of text
    there are millions, and each takes twice the memory of the index on its way.
    """
    before, ends = writer.meta.tokens, shard.offsets[1:]
    for first in range(0, ends.size, DOCUMENTS_AT_ONCE):
        some = slice(first, first + DOCUMENTS_AT_ONCE)
        writer.append_documents(before + ends[some], shard.ids[some])


def _shared(meta: Meta) -> dict[str, Any]:
    """What all shards of a bin must have in common, and the bin has from them."""
    return {name: getattr(meta, name) for name in SHARED}


def _check_shards(metas: list[tuple[Path, Meta]], config_hash: str) -> None:
    if not metas:
        raise UserError("prepare_data: no shards given; run prepare_shard first")

    first, meta = metas[0]
    count = (meta.part or [0, 1])[1]
    parts = [one.part for _, one in metas]
    if parts != [[i, count] for i in range(count)]:
        names = ", ".join(f"{part[0]} of {part[1]}" if part else "no part" for part in parts)
        raise UserError(
            f"{first.parent}: found shards {names}; expected each of 0 to {count - 1} of {count} "
            "once"
        )

    for path, one in metas:
        if one.config_hash != config_hash or _shared(one) != _shared(meta):
            raise UserError(
                f"{path}: made from another config, input or tokenizer; run prepare_shard again"
            )


def _refuse_empty(path: Path, documents: int, config: Config) -> None:
    if documents:
        return

    remedy = (
        "raise prepare.val_fraction"
        if path.stem == "val"
        else "lower prepare.val_fraction, raise the weights"
    )
    raise UserError(
        f"{path}: no documents (prepare.val_fraction {config.prepare.val_fraction}); {remedy} or "
        "bring more text"
    )
