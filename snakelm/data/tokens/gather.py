"""Shards of token files put together into one, the same bytes for any number of shards."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..bins import BinWriter, Meta, TokenBin, open_bin

__all__ = ["gather"]


def gather(
    shards: Iterable[str | Path], path: str | Path, tokenizer_sha256: str, config_hash: str
) -> Meta:
    """Writes the shards' documents, in the order of their parts, as one bin; gives its meta.

    UserError when a shard is missing, does not verify, or was made with another tokenizer, config
    or input.
    """
    bins = sorted(
        (open_bin(shard, tokenizer_sha256) for shard in shards), key=lambda b: b.meta.part or [0, 0]
    )
    _check_shards(bins, config_hash)
    meta = Meta(**{**_common(bins[0].meta), "part": None})
    with BinWriter(path, meta, sum(b.meta.tokens for b in bins)) as writer:
        for b in bins:
            for tokens, lengths, ids in _slices(b):
                writer.append(tokens, lengths, ids, 0)
            meta.text_bytes += b.meta.text_bytes
    return meta


def _common(meta: Meta) -> dict:
    names = ("dtype", "vocab_size", "eot", "tokenizer_sha256", "config_hash", "inputs", "weights")
    return {name: getattr(meta, name) for name in names}


def _check_shards(bins: list[TokenBin], config_hash: str) -> None:
    if not bins:
        raise UserError("prepare_data: no shards given; run prepare_shard first")
    count = (bins[0].meta.part or [0, 1])[1]
    parts = [b.meta.part for b in bins]
    if parts != [[i, count] for i in range(count)]:
        names = ", ".join(f"{p[0]} of {p[1]}" if p else "no part" for p in parts)
        raise UserError(
            f"{bins[0].path.parent}: found shards {names}; expected each of 0 to {count - 1} of {count} once"
        )
    for b in bins:
        if b.meta.config_hash != config_hash or _common(b.meta) != _common(bins[0].meta):
            raise UserError(
                f"{b.path}: made from another config, input or tokenizer; run prepare_shard again"
            )


def _slices(
    b: TokenBin, tokens: int = 4 << 20
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Whole documents of about ``tokens`` tokens at a time: (tokens, lengths, ids)."""
    first, offsets = 0, b.document_offsets
    while first < b.meta.documents:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + tokens, "right")) - 1)
        part = b.read(int(offsets[first]), int(offsets[last]))
        yield part, np.diff(offsets[first : last + 1]), b.document_ids[first:last]
        first = last
