"""Packed preferences: packs of conversations (packs.py) of which each is known to be wanted or not.

A conversation is a prompt with one answer, the last turn, which alone is to be predicted. The idx
is version 3; behind the mask it continues:

    u8         1 where conversations come in pairs, 0 where each stands for itself
    bytes      a bit a conversation, the lowest bit first: 1 where its answer is the wanted one

Of pairs, conversation 2i is the chosen and 2i + 1 the rejected side of pair i. A loss compares the
two, so they have to be read together: both are in one pack where they fit in there, and else in two
packs to themselves, one behind the other. So a pair may be as long as two whole rows, and a pack
that begins with a rejected side goes with the one before it.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import UserError
from .bins import BinKind, Meta
from .packs import Packs, PackWriter, best_fit, open_packs_of

__all__ = ["PreferencePacks", "PreferenceWriter", "lay_pairs", "open_preferences"]

KIND = BinKind(3, "prepare_preferences")


def lay_pairs(lengths: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray]:
    """Packs for pairs of ``lengths`` (int [n, 2], each 1 to ``context``): the pairs in the packs'
    order, int64 [n], and the packs' bounds in conversations, int64 [packs + 1].
    """
    sums = lengths.sum(axis=1)
    together, apart = np.flatnonzero(sums <= context), np.flatnonzero(sums > context)
    order, bounds = best_fit(sums[together], context)
    alone = 2 * together.size + 1 + np.arange(2 * apart.size)
    return np.concatenate([together[order], apart]), np.concatenate([2 * bounds, alone])


class PreferenceWriter(PackWriter):
    """Writes packed preferences, as `PackWriter` does; ``wanted``: bool of each conversation, in
    the packs' order.
    """

    kind = KIND

    def __init__(
        self,
        path: str | Path,
        meta: Meta,
        context: int,
        pack_offsets: np.ndarray,
        wanted: np.ndarray,
        *,
        paired: bool,
        expected_tokens: int = 0,
    ) -> None:
        super().__init__(path, meta, context, pack_offsets, expected_tokens)
        self.wanted, self.paired = np.asarray(wanted, bool), paired

    def _more(self) -> bytes:
        assert self.wanted.size == self.meta.documents, "each is wanted or not"
        bits = np.packbits(self.wanted, bitorder="little")
        return super()._more() + bytes([self.paired]) + bits.tobytes()


@dataclass(frozen=True)
class PreferencePacks:
    """An open file of packed preferences; ``wanted``: bool [conversations]."""

    packs: Packs
    paired: bool
    wanted: np.ndarray

    @property
    def path(self) -> Path:
        return self.packs.path

    @cached_property
    def unit_packs(self) -> np.ndarray:
        """The first pack of each unit, and their number at the end: int64 [units + 1]. A unit is a
        pack, or the two packs of a long pair.
        """
        starts = self.packs.pack_offsets
        begins = starts[:-1] % 2 == 0 if self.paired else np.ones(len(self.packs), bool)
        return np.append(np.flatnonzero(begins), len(self.packs))

    @property
    def unit_conversations(self) -> np.ndarray:
        """The first conversation of each unit, and their number at the end: int64 [units + 1]."""
        return self.packs.pack_offsets[self.unit_packs]

    @property
    def each(self) -> int:
        """Conversations that the loss takes together."""
        return 2 if self.paired else 1

    @property
    def count(self) -> int:
        """Pairs, or answers that stand for themselves."""
        return self.wanted.size // self.each

    @cached_property
    def answer_lengths(self) -> np.ndarray:
        """Tokens of each conversation's answer, with which it ends: int64 [conversations]."""
        starts = self.packs.document_offsets[:-1]
        return np.add.reduceat(self.packs.mask, starts, dtype=np.int64)


def open_preferences(
    path: str | Path, tokenizer_sha256: str | None = None, verify: bool = True
) -> PreferencePacks:
    """Opens packed preferences, or raises a UserError that says what does not verify (see
    `open_bin`).
    """
    packs, rest = open_packs_of(KIND, path, tokenizer_sha256, verify)
    count = packs.meta.documents
    broken = UserError(f"{path}: its answers aren't told apart; run {KIND.step} again")
    if len(rest) != 1 + -(-count // 8) or rest[0] > 1:
        raise broken

    paired = bool(rest[0])
    bits = np.frombuffer(rest, np.uint8, offset=1)
    wanted = np.unpackbits(bits, count=count, bitorder="little").view(bool)
    if paired and (count % 2 or not wanted[::2].all() or wanted[1::2].any()):
        raise broken

    data = PreferencePacks(packs, paired, wanted)
    if not data.answer_lengths.all():
        raise broken
    begins = packs.document_offsets[1:] - data.answer_lengths
    if (np.add.reduceat(packs.mask, begins, dtype=np.int64) != data.answer_lengths).any():
        raise broken  # the answer isn't what a conversation ends with
    return data
