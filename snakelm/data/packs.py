"""Packed conversations: rows of `context` tokens that hold whole conversations, with as little
padding as can be.

`X.bin` and `X.idx` are those of snakelm.data.bins, a document being a conversation; the idx is
version 2 and goes on:

    u64        context, the most tokens in a pack
    u64        p, the number of packs
    u64 [p+1]  the first conversation of each pack
    bytes      the mask, a bit a token, the lowest bit first: 1 where the token is to be predicted

so one rename commits tokens, packs and mask together. The conversations of a pack follow each other
in the bin.

Packing is best-fit decreasing: the longest first, each into the fullest pack that still takes it.
It is within 11/9 of the fewest packs there can be; the share of padding goes into the manifest.
Cutting conversations instead would leave no padding, but the second half of an answer teaches
something else than what was asked.
"""

import struct
from bisect import bisect_left, insort
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import UserError
from .bins import BinWriter, Kind, Meta, TokenBin, open_kind

__all__ = ["IGNORED", "PackWriter", "Packs", "best_fit", "open_packs"]

PACKED = Kind(2, "prepare_sft_data")
HEAD = struct.Struct("<QQ")
IGNORED = -100  # the target that torch's losses leave out by default


def best_fit(lengths: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray]:
    """Packs for conversations of ``lengths`` (int [n], each 1 to ``context``).

    Gives the conversations in the packs' order, int64 [n], and the packs' bounds in that order,
    int64 [packs + 1]. Equal lengths are told apart by their place alone, so they go in groups: O(n
    log n), and quick where lengths repeat.
    """
    lengths = np.asarray(lengths, np.int64)
    assert lengths.size == 0 or 1 <= lengths.min() <= lengths.max() <= context, (
        "whole conversations of 1 to context"
    )
    order = np.argsort(-lengths, kind="stable")
    pack_of, packs = np.empty(lengths.size, np.int64), 0
    room: dict[int, list[int]] = {}  # free tokens → packs with so many
    rooms: list[int] = []  # keys of room, rising
    at = 0
    for length, group in _groups(lengths):
        while group:
            place = bisect_left(rooms, length)
            free = rooms[place] if place < len(rooms) else context
            each = (
                free // length
            )  # a pack once begun on is the fullest that fits, until it fits no more
            wanted = -(-group // each)
            if place < len(rooms):
                taken = room[free][-wanted:]
                del room[free][-wanted:]
                if not room[free]:
                    del room[free], rooms[place]
            else:
                taken = list(range(packs, packs + wanted))
                packs += wanted
            put = min(group, each * len(taken))
            pack_of[order[at : at + put]] = np.repeat(taken, each)[:put]
            last = put - each * (len(taken) - 1)
            _give_back(room, rooms, free - each * length, taken[:-1])
            _give_back(room, rooms, free - last * length, taken[-1:])
            at, group = at + put, group - put
    placed = order[np.argsort(pack_of[order], kind="stable")]
    return placed, np.concatenate([[0], np.cumsum(np.bincount(pack_of, minlength=packs))]).astype(
        np.int64
    )


def _groups(lengths: np.ndarray) -> list[list[int]]:
    """[length, how many], the longest first."""
    found, counts = np.unique(lengths, return_counts=True)
    return np.stack([found, counts], axis=1)[::-1].tolist()


def _give_back(room: dict[int, list[int]], rooms: list[int], free: int, packs: list[int]) -> None:
    if free and packs:
        if free not in room:
            room[free] = []
            insort(rooms, free)
        room[free] += packs


class PackWriter(BinWriter):
    """Writes packed conversations; a context manager, atomic as `BinWriter` is.

    ``pack_offsets``: the first conversation of each pack, int [p+1]. Call `append_masked`, not
    `append`.
    """

    kind = PACKED

    def __init__(
        self,
        path: str | Path,
        meta: Meta,
        context: int,
        pack_offsets: np.ndarray,
        expected_tokens=0,
    ) -> None:
        super().__init__(path, meta, expected_tokens)
        self.context, self.pack_offsets = context, np.asarray(pack_offsets, np.int64)
        self.learned = 0  # tokens to be predicted
        self._bits: list[np.ndarray] = []
        self._rest = np.zeros(0, bool)  # of the mask, less than a byte

    def append_masked(
        self,
        tokens: np.ndarray,
        mask: np.ndarray,
        lengths: np.ndarray,
        ids: np.ndarray,
        text_bytes: int,
    ) -> None:
        """Adds whole conversations in the packs' order; ``mask`` bool [tokens], the rest as
        `BinWriter.append`.
        """
        assert mask.size == tokens.size, "a bit of the mask for each token"
        assert not mask[np.cumsum(lengths) - lengths].any(), (
            "no target may cross into the next conversation"
        )
        self.append(tokens, lengths, ids, text_bytes)
        self.learned += int(mask.sum())
        bits = np.concatenate([self._rest, mask])
        whole = bits.size // 8 * 8
        self._bits.append(np.packbits(bits[:whole], bitorder="little"))
        self._rest = bits[whole:]

    def _more(self) -> bytes:
        assert self.pack_offsets[-1] == self.meta.documents, "packs must hold every conversation"
        if not self.learned:
            raise _no_mask(self.path)
        bits = np.concatenate([*self._bits, np.packbits(self._rest, bitorder="little")])
        head = HEAD.pack(self.context, self.pack_offsets.size - 1)
        return head + self.pack_offsets.astype("<u8").tobytes() + bits.tobytes()


@dataclass(frozen=True)
class Packs:
    """An opened file of packs; ``pack_offsets`` int64 [p+1] in conversations, ``context`` in
    tokens.
    """

    bin: TokenBin
    context: int
    pack_offsets: np.ndarray
    mask_bits: np.ndarray  # uint8 [tokens / 8, rounded up]

    def __len__(self) -> int:
        return self.pack_offsets.size - 1

    @property
    def path(self) -> Path:
        return self.bin.path

    @property
    def meta(self) -> Meta:
        return self.bin.meta

    @property
    def tokens(self) -> np.ndarray:
        """Read-only memmap [tokens]."""
        return self.bin.tokens

    @property
    def document_offsets(self) -> np.ndarray:
        """Where each conversation begins, in tokens: int64 [n+1]."""
        return self.bin.document_offsets

    @cached_property
    def mask(self) -> np.ndarray:
        """Which tokens are to be predicted: bool [tokens]."""
        return np.unpackbits(self.mask_bits, count=self.meta.tokens, bitorder="little").view(bool)

    @property
    def efficiency(self) -> float:
        """Share of the rows' tokens that is no padding."""
        return self.meta.tokens / (len(self) * self.context)

    def rows(self, packs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The ``packs`` (int [R]) as rows [R, context]: tokens and targets int64, row_start int32.

        A target is the token after, where that is to be predicted; everywhere else, padding too,
        it's `IGNORED`. The first token of a conversation is never to be predicted, so no target
        crosses from one into the next. row_start says where a position's conversation begins, and
        attention looks back no further; padding (end-of-text tokens) sees itself alone. Positions
        go on counting through the row: rotary embedding turns queries and keys by their positions,
        and their product depends on the distance only, so counting anew would give the same
        numbers.
        """
        packs = np.asarray(packs, np.int64)
        shape = (packs.size, self.context)
        tokens = np.full(shape, self.meta.eot, np.int64)
        targets = np.full(shape, IGNORED, np.int64)
        row_start = np.tile(np.arange(self.context, dtype=np.int32), (packs.size, 1))
        for row, pack in enumerate(packs.tolist()):
            starts = self.document_offsets[
                self.pack_offsets[pack] : self.pack_offsets[pack + 1] + 1
            ]
            first, last = int(starts[0]), int(starts[-1])
            here, learned = self.tokens[first:last], self.learned(first + 1, last)
            tokens[row, : last - first] = here
            targets[row, : last - first - 1][learned] = here[1:][learned]
            row_start[row, : last - first] = np.repeat(starts[:-1] - first, np.diff(starts))
        return tokens, targets, row_start

    def learned(self, first: int, last: int) -> np.ndarray:
        """The mask of tokens [first, last), bool: the whole of it needn't be in memory."""
        bits = np.unpackbits(self.mask_bits[first // 8 : -(-last // 8)], bitorder="little")
        return bits[first % 8 : first % 8 + last - first].view(bool)


def open_packs(path: str | Path, tokenizer_sha256: str | None = None, verify: bool = True) -> Packs:
    """Opens packed conversations, or raises a UserError that says what does not verify (see
    `open_bin`).
    """
    opened, more = open_kind(PACKED, path, tokenizer_sha256, verify)
    broken = UserError(
        f"{path}: packs or mask don't fit its conversations; run {PACKED.step} again"
    )
    if len(more) < HEAD.size:
        raise broken
    context, packs = HEAD.unpack_from(more)
    size = -(-opened.meta.tokens // 8)
    if len(more) != HEAD.size + 8 * (packs + 1) + size:
        raise broken
    offsets = np.frombuffer(more, "<u8", packs + 1, HEAD.size).astype(np.int64)
    bits = np.frombuffer(more, np.uint8, size, HEAD.size + 8 * (packs + 1))
    if offsets[0] or offsets[-1] != opened.meta.documents or (np.diff(offsets) <= 0).any():
        raise broken
    if (np.diff(opened.document_offsets[offsets]) > context).any():
        raise UserError(f"{path}: a pack holds more than {context} tokens; run {PACKED.step} again")
    if not bits.any():
        raise _no_mask(path)
    return Packs(opened, context, offsets, bits)


def _no_mask(path: str | Path) -> UserError:
    return UserError(
        f"{path}: no token is to be predicted, so there is nothing to learn; bring conversations in which the "
        f"assistant answers and run {PACKED.step} again"
    )
