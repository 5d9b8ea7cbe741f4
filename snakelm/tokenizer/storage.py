"""A tokenizer on disk, three files in a folder:

ranks.tiktoken   the ranks, loadable by tiktoken tokenizer.json   the same tokenizer for Hugging
Face's tokenizers meta.json        pattern, special tokens, sizes, hashes, training facts; written
last, so it commits the others
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UserError
from ..files import atomic_path, write_json
from .huggingface import tokenizer_json
from .patterns import tiktoken_regex
from .ranks import format_ranks, parse_ranks

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

__all__ = ["META", "RANKS", "TOKENIZER_JSON", "Loaded", "read", "write"]

RANKS, TOKENIZER_JSON, META = "ranks.tiktoken", "tokenizer.json", "meta.json"
FORMAT, VERSION = "snakelm tokenizer", 1
FIELDS = {
    "pattern": str,
    "sha256": str,
    "special_tokens": dict,
    "tokenizer_json_sha256": str,
    "training": dict,
    "unused_ids": list,
    "vocab_size": int,
}


class Loaded(NamedTuple):
    """What was read; whether it belongs together is for `Tokenizer.load` to check."""

    path: Path
    meta: dict[str, Any]
    ranks: dict[bytes, int]
    ranks_file: bytes


def write(path: Path, tokenizer: "Tokenizer") -> None:
    """Writes the three files, each atomically. A break in between leaves no meta.json, so no half
    tokenizer loads.
    """
    path.mkdir(parents=True, exist_ok=True)
    (path / META).unlink(missing_ok=True)
    exported = json.dumps(
        tokenizer_json(tokenizer), ensure_ascii=False, separators=(",", ":")
    ).encode()
    for name, data in (
        (RANKS, format_ranks(tokenizer.mergeable_ranks)),
        (TOKENIZER_JSON, exported),
    ):
        with atomic_path(path / name) as temporary:
            temporary.write_bytes(data)
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "pattern": tokenizer.pattern,
        "regex": tiktoken_regex(tokenizer.pattern),
        "sha256": tokenizer.sha256,
        "special_tokens": tokenizer.special_tokens,
        "tokenizer_json_sha256": hashlib.sha256(exported).hexdigest(),
        "training": tokenizer.facts,
        "unused_ids": tokenizer.unused_ids,
        "vocab_size": tokenizer.vocab_size,
    }
    write_json(path / META, meta)


def read(path: Path) -> Loaded:
    """Reads the folder ``path``, or the one that the file ``path`` is in."""
    if not path.exists():
        raise UserError(
            f"{path}: no tokenizer here; run train_tokenizer, or name the folder that has {META}"
        )
    folder = path if path.is_dir() else path.parent
    if not (folder / META).is_file():
        raise UserError(
            f"{folder}: no {META}, so no finished tokenizer; run train_tokenizer, or for a bare ranks file use "
            "Tokenizer.from_tiktoken"
        )
    meta = _read_meta(folder / META)
    try:
        data = (folder / RANKS).read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{folder / RANKS}: missing; make the tokenizer again (train_tokenizer)"
        ) from None
    exported = folder / TOKENIZER_JSON
    if (
        exported.is_file()
        and hashlib.sha256(exported.read_bytes()).hexdigest() != meta["tokenizer_json_sha256"]
    ):
        raise UserError(
            f"{exported}: changed since it was written; make the tokenizer again (train_tokenizer)"
        )
    return Loaded(folder, meta, parse_ranks(data, folder / RANKS), data)


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path}: not JSON; make the tokenizer again (train_tokenizer)") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT or meta.get("version") != VERSION:
        raise UserError(
            f"{path}: not a «{FORMAT}» of version {VERSION}; make the tokenizer again (train_tokenizer)"
        )
    wrong = [name for name, kind in FIELDS.items() if not isinstance(meta.get(name), kind)]
    if wrong:
        raise UserError(
            f"{path}: {wrong[0]} is missing or no {FIELDS[wrong[0]].__name__}; make the tokenizer again"
        )
    return meta
