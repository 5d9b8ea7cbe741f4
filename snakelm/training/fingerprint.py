"""Which run this is: everything that decides its result, as 16 hex digits that name its directory."""

import hashlib
import json

from ..config import Config, as_mapping
from ..data.bins import TokenBin, idx_path
from ..files import sha256_file

__all__ = ["fingerprint"]

VERSION = 1  # raise it when training itself changes what the same configuration leads to


def fingerprint(config: Config, train: TokenBin, val: TokenBin) -> str:
    """Over the configuration without its cosmetic keys, both token files and the tokenizer.

    A token file is known by its idx, which holds the CRC of every chunk of its tokens and the offsets of its documents.
    """
    parts = {
        "version": VERSION,
        "config": as_mapping(config, ["model", "train", "evaluate", "seed"], cosmetic=False),
        "train": sha256_file(idx_path(train.path)),
        "val": sha256_file(idx_path(val.path)),
        "tokenizer": train.meta.tokenizer_sha256,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
