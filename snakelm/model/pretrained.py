"""The model that tuning starts from: a file of ours, an exported folder, or a folder that
transformers saved.

A folder with model.safetensors alone is as good as ours where its tokenizer.json says the same as
our tokenizer: the same tokens with the same ids, cut in the same way. In a folder with both forms
both must hold the same weights, or one of them is stale and nobody can say which was meant.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from ..data.conversations.chat_template import JINJA
from ..errors import UserError
from ..files import sha256_file
from ..tokenizer import Tokenizer
from ..tokenizer.huggingface import tokenizer_json
from .decoder import Decoder
from .file import load_model
from .huggingface import from_huggingface, huggingface_weights

__all__ = ["base_digest", "base_files", "load_base"]

OURS, WEIGHTS, SHAPE, WORDS = "model.pt", "model.safetensors", "config.json", "tokenizer.json"
TEMPLATES = (
    "tokenizer_config.json",
    "chat_template.jinja",
)  # where transformers keeps a chat template


def base_files(path: Path) -> list[Path]:
    """The files that say what the model is, its weights first."""
    if not path.is_dir():
        return [path]
    if (path / OURS).is_file():
        return [path / OURS]
    if not (path / WEIGHTS).is_file():
        raise UserError(
            f"{path}: neither {OURS} nor {WEIGHTS} in it; name a model's file or an exported folder"
        )
    return [path / name for name in (WEIGHTS, SHAPE, WORDS)]


def base_digest(path: Path) -> str:
    """SHA-256 over `base_files`; of a single one, its own."""
    digests = [sha256_file(file) for file in base_files(path)]
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()
    )


def load_base(path: Path, tokenizer: Tokenizer) -> tuple[Decoder, dict[str, Any]]:
    """The model in evaluation mode and its record, as `load_model`; UserError where it isn't of
    this tokenizer.
    """
    files = base_files(path)
    if len(files) == 1:
        model, record = load_model(files[0])
        _check_sha256(files[0], record["tokenizer"]["sha256"], tokenizer)
        if path.is_dir() and (path / WEIGHTS).is_file():
            _check_same(path, model)
        return model, record
    model = from_huggingface(path)
    _check_words(path, model, tokenizer)
    about = {"sha256": tokenizer.sha256, "vocab_size": tokenizer.vocab_size}
    return model, {"tokenizer": about, "chat": _is_tuned(path)}


def _check_sha256(path: Path, found: str, tokenizer: Tokenizer) -> None:
    if found != tokenizer.sha256:
        raise UserError(
            f"{path}: trained with tokenizer {found[:12]}…, the conversations are made with {tokenizer.sha256[:12]}…; "
            "name in sft.base a model of this tokenizer, or prepare the conversations with the model's"
        )


def _check_same(folder: Path, ours: Decoder) -> None:
    theirs, own = huggingface_weights(from_huggingface(folder)), huggingface_weights(ours)
    if theirs.keys() != own.keys() or not all(torch.equal(theirs[name], own[name]) for name in own):
        raise UserError(
            f"{folder}: {OURS} and {WEIGHTS} hold different weights; take the one out that isn't meant, or export again"
        )


def _check_words(folder: Path, model: Decoder, tokenizer: Tokenizer) -> None:
    """Whether the folder's tokenizer.json cuts text as ``tokenizer`` does."""
    path = folder / WORDS
    try:
        found = _decisive(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(
            f"{path}: missing, so nobody can say which tokenizer the model knows; put it there"
        ) from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise UserError(
            f"{path}: not a byte-level BPE tokenizer as we write it; name a model of our tokenizer"
        ) from None
    expected = _decisive(tokenizer_json(tokenizer))
    differs = [what for what in expected if found[what] != expected[what]]
    if model.vocab_size != tokenizer.vocab_size:
        differs.append(f"size of the vocabulary ({model.vocab_size:,} in {SHAPE})")
    if differs:
        raise UserError(
            f"{path}: not the tokenizer {tokenizer.sha256[:12]}…, of the conversations; they differ in "
            f"{differs[0]}; name in sft.base a model of this tokenizer"
        )


def _decisive(words: dict[str, Any]) -> dict[str, Any]:
    """What of a tokenizer.json decides a token's id, whoever wrote the file."""
    model, steps = words["model"], words["pre_tokenizer"]["pretokenizers"]
    merges = [
        tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]
    ]
    return {
        "kind": (model["type"], words["normalizer"], [step["type"] for step in steps]),
        "pattern": steps[0]["pattern"]["Regex"],
        "vocabulary": model["vocab"],
        "merges": merges,
        "whole words": bool(model.get("ignore_merges")),
        "special tokens": {added["content"]: added["id"] for added in words["added_tokens"]},
    }


def _is_tuned(folder: Path) -> bool:
    """Whether its chat tokens are trained: it has our chat template."""
    for path in (folder / name for name in TEMPLATES):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            if (json.loads(text).get("chat_template") if path.suffix == ".json" else text) == JINJA:
                return True
    return False
