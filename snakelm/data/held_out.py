"""What a training was measured on, by its manifest: runs compare where that is the same.

The top-level seed decides which documents are held out, and so do the sources and
`prepare.val_fraction`. Two runs that differ there have numbers on different texts, of which one may
simply be the easier. Bits per byte compare on the same text, whatever the tokenizer; nats per token
need the same tokenizer, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import sha256_file
from .bins import open_bin
from .split import texts_digest

__all__ = ["HeldOut", "held_out_of", "held_out_on_disk"]


@dataclass(frozen=True)
class HeldOut:
    """Digests of what a model was measured on; None where nobody knows."""

    text: str | None = None  # the documents (`texts_digest`)
    clean: str | None = None  # those among them that repeat no training text
    file: str | None = None  # SHA-256 of the token file: all that earlier versions wrote down
    tokenizer: str | None = None

    def same_text(self, other: "HeldOut") -> bool:
        """Whether bits per byte compare."""
        return _same(self.text, other.text) or _same(self.file, other.file)

    def same_clean(self, other: "HeldOut") -> bool:
        """Whether bits per byte of clean documents compare."""
        return self.same_text(other) and _same(self.clean, other.clean)

    def same_tokens(self, other: "HeldOut") -> bool:
        """Whether nats per token compare, provided that the text is the same."""
        return _same(self.tokenizer, other.tokenizer)


def _same(ours: str | None, theirs: str | None) -> bool:
    return ours is not None and ours == theirs


def held_out_of(result: Mapping[str, Any], inputs: Mapping[str, str]) -> HeldOut:
    """By the manifest of a model: the figures of its training, and the SHA-256 of each file that it
    read, by name.
    """
    return HeldOut(
        text=result.get("held_out_text"),
        clean=result.get("held_out_clean"),
        file=inputs.get("val.bin") or inputs.get("val_sft_packed.bin"),
        tokenizer=inputs.get("meta.json"),
    )


def held_out_on_disk(folder: Path) -> HeldOut:
    """Of a run that isn't finished: the documents that lie in its results folder now."""
    try:
        val = open_bin(folder / "data/processed/val.bin", verify=False)
    except UserError:
        return HeldOut()
    tokenizer = folder / "tokenizer/meta.json"
    return HeldOut(
        text=texts_digest(val.document_ids),
        tokenizer=sha256_file(tokenizer) if tokenizer.is_file() else None,
    )
