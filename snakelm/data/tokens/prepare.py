"""The shards put together: train.bin, val.bin, and how much of each held-out document stands in
training.
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
from ..bins import open_bin
from .gather import gather
from .overlap import copied_share
from .shards import config_hash

__all__ = ["prepare_data", "shard_bins"]


def shard_bins(given: Iterable[str | Path], split: str) -> list[Path]:
    """The bins of one split among folders and files; UserError where there is none."""
    found: list[Path] = []
    for path in map(Path, given):
        here = sorted(path.glob(f"{split}-*.bin")) if path.is_dir() else [path]
        found += [file for file in here if file.name.startswith(f"{split}-")]
    if not found:
        raise UserError(
            f"--shards: no {split}-*.bin in {', '.join(map(str, given))}; run prepare_shard first"
        )
    return found


def prepare_data(
    shards: Iterable[str | Path], tokenizer: Tokenizer, config: Config, output: Path, log: Log
) -> dict[str, Any]:
    """Writes train.bin, val.bin (with .idx) and val_overlap.npy into ``output``; gives the counts
    for the manifests.
    """
    shards = list(shards)
    metas = {}
    for split in ("train", "val"):
        bins = shard_bins(shards, split)
        metas[split] = gather(bins, output / f"{split}.bin", tokenizer.sha256, config_hash(config))
        _refuse_empty(output / f"{split}.bin", metas[split].documents, config)
    train, val = (open_bin(output / f"{split}.bin", verify=False) for split in ("train", "val"))
    span = config.evaluate.span
    with log.progress(train.meta.tokens, "tokens") as bar:
        shares, overall = copied_share(
            val, train, span, lambda done: bar.update(done, "copied spans")
        )
    with atomic_path(output / "val_overlap.npy") as temporary, open(temporary, "wb") as file:
        np.save(file, shares)
    clean = int((shares < config.evaluate.clean_share).sum())
    log.say(
        f"train {train.meta.tokens:,} tokens in {train.meta.documents:,} documents, val {val.meta.tokens:,} in "
        f"{val.meta.documents:,}; {overall:.1%} of the held-out tokens lie in {span}-token spans of the training text, "
        f"{clean:,} documents are clean"
    )
    counts = {
        split: {"tokens": m.tokens, "documents": m.documents, "text_bytes": m.text_bytes}
        for split, m in metas.items()
    }
    return {**counts, "overlap": {"span": span, "copied_tokens": overall, "clean_documents": clean}}


def _refuse_empty(path: Path, documents: int, config: Config) -> None:
    if not documents:
        remedy = (
            "raise prepare.val_fraction"
            if path.stem == "val"
            else "lower prepare.val_fraction, raise the weights"
        )
        raise UserError(
            f"{path}: no documents (prepare.val_fraction {config.prepare.val_fraction}); {remedy} or bring more text"
        )
