"""Which run this is: everything that decides its result, as 16 hex digits that name its
directory.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import Config, Evaluate, Train, as_mapping
from ..data.bins import TokenBin, idx_path
from ..files import sha256_file
from ..model.base import base_hashes
from ..model.pretrained import base_digest
from ..user_paths import home

__all__ = [
    "finetuning_fingerprint",
    "fingerprint_of",
    "preference_fingerprint",
    "pretraining_parts",
]

# Keys that earlier versions didn't have, which are off when they are zero, false or empty.
NEW = (
    "reproducible",
    "bigram_steps",
    "dropout",
    "weight_decay_schedule",
    "average",
    "keep_best",
)
# Raised when training itself changes what the same configuration leads to.
PRETRAINING_VERSION, FINETUNING_VERSION, PREFERENCE_VERSION = 3, 2, 1


def pretraining_parts(config: Config, train: TokenBin, val: TokenBin) -> dict[str, Any]:
    """What decides pretraining's result: the configuration without its cosmetic keys, both token
    files, the tokenizer and the base. Where the base lies doesn't count, what it is does.

    A token file is known by its idx, which holds the CRC of every chunk of its tokens and the
    offsets of its documents.
    """
    # How much text the compressor reads has nothing to do with training; in the hash it keeps its
    # default, so that earlier runs keep their folders.
    evaluate = config.evaluate.model_copy(update={"compressor_mb": Evaluate().compressor_mb})
    counted = config.model_copy(update={"evaluate": evaluate})
    settings = as_mapping(counted, ["model", "train", "evaluate"], cosmetic=False)
    return {
        "version": PRETRAINING_VERSION,
        "config": _with_seed(_as_ever(settings), "train"),
        "train": sha256_file(idx_path(train.path)),
        "val": sha256_file(idx_path(val.path)),
        "tokenizer": train.meta.tokenizer_sha256,
        **({"base": base_hashes(home(config.train.base))} if config.train.base else {}),
    }


def finetuning_fingerprint(
    config: Config, training: Train, base: Path, packs: Sequence[Path], text: Path | None
) -> str:
    """Over the keys of sft, ``training`` as they set it, the base model's bytes, both packed files
    (for training and held out) and the pretraining text that is mixed in, where some is.

    The packs' idx holds their tokenizer too. Where the base model lies doesn't count, what it is
    does.
    """
    sft = config.sft.model_copy(update={"base": None})
    counted = config.model_copy(update={"train": training, "sft": sft})
    settings = as_mapping(counted, ["train", "sft"], cosmetic=False)
    train, val = packs

    parts: dict[str, Any] = {
        "version": FINETUNING_VERSION,
        "config": _with_seed(_as_ever(settings), "sft"),
        "base": base_digest(base),
        "train": sha256_file(idx_path(train)),
        "val": sha256_file(idx_path(val)),
    }

    if text is None:
        del parts["config"]["sft"]["mix"]  # as before there was one
    else:
        parts["text"] = sha256_file(idx_path(text))
    return fingerprint_of(parts)


def preference_fingerprint(
    config: Config, training: Train, base: Path, packs: Sequence[Path]
) -> str:
    """Over the keys of preferences, ``training`` as they set it, the bytes of the model that it
    starts from, and both packed files (for training and held out).
    """
    counted = config.model_copy(update={"train": training})
    settings = as_mapping(counted, ["train", "preferences"], cosmetic=False)
    train, val = packs
    return fingerprint_of(
        {
            "version": PREFERENCE_VERSION,
            "config": _with_seed(_as_ever(settings), "preferences"),
            "base": base_digest(base),
            "train": sha256_file(idx_path(train)),
            "val": sha256_file(idx_path(val)),
        }
    )


def _as_ever(settings: dict[str, Any]) -> dict[str, Any]:
    """With one process, whatever their number, which counted once, and without the keys of what is
    off: earlier versions had none, and their runs so keep their folders.
    """
    train = {**settings["train"], "processes": 1}
    # What the regime settles stands in the other keys; a base, in the hashes of its files.
    off = {name for name in NEW if not train[name]} | {"regime", "base"}
    if train["sampled_softmax"] == "off":
        off |= {"sampled_softmax", "sampled_common", "sampled_random"}
    return {**settings, "train": {name: train[name] for name in train if name not in off}}


def _with_seed(settings: dict[str, Any], section: str) -> dict[str, Any]:
    """The seed of ``section`` at the top, where earlier runs had theirs, which so keep their
    folders.
    """
    own = {name: value for name, value in settings[section].items() if name != "seed"}
    return {**settings, section: own, "seed": settings[section]["seed"]}


def fingerprint_of(parts: Mapping[str, Any]) -> str:
    """16 hex digits over what decides a result."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
