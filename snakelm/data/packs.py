"""Packed conversations: rows of `context` tokens that hold complete conversations, with as little
padding as possible.

`X.bin` and `X.idx` are those of snakelm.data.bins, a document being a conversation; the idx is
version 2 and continues:

    u64        context, the most tokens in a pack
    u64        p, the number of packs
    u64 [p+1]  the first conversation of each pack
    bytes      the mask, a bit a token, the lowest bit first: 1 where the token is to be predicted

so one rename commits tokens, packs and mask together. The conversations of a pack follow each other
in the bin.

Cutting conversations would leave no padding at all, but the second half of an answer without its
question would teach something else than answering.
"""

import struct
from bisect import bisect_left, insort
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import UserError
from .bin_index import rises
from .bins import BinKind, BinWriter, Meta, TokenBin, open_kind

__all__ = ["IGNORED", "PackWriter", "Packs", "best_fit", "open_packs", "open_packs_of"]

PACKED = BinKind(2, "prepare_sft_data")
HEAD = struct.Struct("<QQ")
MOST_CONTEXT = 1 << 20  # as sft_data.context: rows of it are allocated
IGNORED = -100  # the target that torch's losses leave out by default


def best_fit(lengths: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray]:
    """Packs for conversations of ``lengths`` (int [n], each 1 to ``context``), by best-fit
    decreasing.

    Returns the conversations in the packs' order, int64 [n], and the packs' bounds in that order,
    int64 [packs + 1].

    Best-fit decreasing takes the conversations from the longest to the shortest and puts each into
    the fullest pack that still has room for it, or into a new one. It needs at most 11/9 of the
    fewest packs possible, plus a constant (Johnson 1973). Here equal lengths are placed as a group:
    once a pack is the fullest that fits, it stays so until nothing of that length fits any more, so
    it takes as many of them as it has room for, and other packs with the same room take as many.
    O(n log n), and quick where lengths repeat, as they do.
    """
    lengths = np.asarray(lengths, np.int64)
    assert lengths.size == 0 or 1 <= lengths.min() <= lengths.max() <= context, (
        "complete conversations of 1 to context tokens"
    )
    order = np.argsort(-lengths, kind="stable")
    pack_of, packs = np.empty(lengths.size, np.int64), 0

    room: dict[int, list[int]] = {}  # free tokens → the packs that have as many
    rooms: list[int] = []  # the keys of room, ascending
    placed = 0
    for length, left in _groups(lengths):
        while left:
            # The smallest room that suffices: the fullest packs. A new pack where there is none.
            smallest = bisect_left(rooms, length)
            is_open = smallest < len(rooms)
            free = rooms[smallest] if is_open else context
            each = free // length
            needed = -(-left // each)
            if is_open:
                taken = room[free][-needed:]
                del room[free][-needed:]
                if not room[free]:
                    del room[free], rooms[smallest]
            else:
                taken = list(range(packs, packs + needed))
                packs += needed

            # Every pack taken is filled with ``each`` of the group, the last one with the rest.
            count = min(left, each * len(taken))
            pack_of[order[placed : placed + count]] = np.repeat(taken, each)[:count]
            in_last = count - each * (len(taken) - 1)
            _add_room(room, rooms, free - each * length, taken[:-1])
            _add_room(room, rooms, free - in_last * length, taken[-1:])
            placed, left = placed + count, left - count

    by_pack = order[np.argsort(pack_of[order], kind="stable")]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(pack_of, minlength=packs))])
    return by_pack, bounds.astype(np.int64)


def _groups(lengths: np.ndarray) -> list[list[int]]:
    """[length, how many have it], the longest first."""
    values, counts = np.unique(lengths, return_counts=True)
    return np.stack([values, counts], axis=1)[::-1].tolist()


def _add_room(room: dict[int, list[int]], rooms: list[int], free: int, packs: list[int]) -> None:
    """Notes that ``packs`` have ``free`` tokens left."""
    if not free or not packs:
        return
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
        expected_tokens: int = 0,
    ) -> None:
        super().__init__(path, meta, expected_tokens)
        self.context, self.pack_offsets = context, np.asarray(pack_offsets, np.int64)
        self.learned = 0  # tokens to be predicted
        self._bits: list[np.ndarray] = []
        self._rest = np.zeros(0, bool)  # of the mask: the last bits, fewer than a byte

    def append_masked(
        self,
        tokens: np.ndarray,
        mask: np.ndarray,
        lengths: np.ndarray,
        ids: np.ndarray,
        text_bytes: int,
    ) -> None:
        """Adds complete conversations in the packs' order; ``mask`` bool [tokens], the rest as
        for `BinWriter.append`.
        """
        assert mask.size == tokens.size, "a bit of the mask for each token"
        assert not mask[np.cumsum(lengths) - lengths].any(), (
            "no target may cross into the next conversation"
        )
        self.append(tokens, lengths, ids, text_bytes)
        self.learned += int(mask.sum())

        bits = np.concatenate([self._rest, mask])
        full = bits.size // 8 * 8  # bits that make up full bytes
        self._bits.append(np.packbits(bits[:full], bitorder="little"))
        self._rest = bits[full:]

    def _more(self) -> bytes:
        assert self.pack_offsets[-1] == self.meta.documents, "packs must hold every conversation"
        if not self.learned:
            raise _no_mask(self.path, self.kind)

        bits = np.concatenate([*self._bits, np.packbits(self._rest, bitorder="little")])
        head = HEAD.pack(self.context, self.pack_offsets.size - 1)
        return head + self.pack_offsets.astype("<u8").tobytes() + bits.tobytes()


@dataclass(frozen=True)
class Packs:
    """An open file of packs; ``pack_offsets`` int64 [p+1] in conversations, ``context`` in
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
        """Share of the rows' tokens that is not padding."""
        return self.meta.tokens / (len(self) * self.context)

    def rows(self, packs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The ``packs`` (int [R]) as rows [R, context]: tokens and targets int64, row_start int32.

        The target of a position is the next token where that is to be predicted, and `IGNORED`
        elsewhere, padding included. The first token of a conversation is never to be predicted, so
        no target crosses from one into the next. row_start is where a position's conversation
        begins, and attention looks back no further; padding (end-of-text tokens) sees only itself.

        Positions are not restarted with each conversation: rotary embedding turns queries and keys
        by their positions and their product depends only on the distance, so restarting would give
        the same numbers.
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
        """The mask of tokens [first, last), bool, without unpacking all of it."""
        bits = np.unpackbits(self.mask_bits[first // 8 : -(-last // 8)], bitorder="little")
        return bits[first % 8 : first % 8 + last - first].view(bool)


def open_packs(path: str | Path, tokenizer_sha256: str | None = None, verify: bool = True) -> Packs:
    """Opens packed conversations, or raises a UserError that says what does not verify (see
    `open_bin`).
    """
    packs, rest = open_packs_of(PACKED, path, tokenizer_sha256, verify)
    if rest:
        raise _broken(path, PACKED)
    return packs


def open_packs_of(
    kind: BinKind, path: str | Path, tokenizer_sha256: str | None, verify: bool
) -> tuple[Packs, bytes]:
    """`open_packs` for files of a ``kind``, with the bytes that its idx adds behind the mask."""
    opened, more = open_kind(kind, path, tokenizer_sha256, verify)
    broken = _broken(path, kind)

    # The sizes first, so that nothing is read past the end.
    if len(more) < HEAD.size:
        raise broken
    context, packs = HEAD.unpack_from(more)
    mask_bytes = -(-opened.meta.tokens // 8)
    mask_at = HEAD.size + 8 * (packs + 1)
    if len(more) < mask_at + mask_bytes:
        raise broken

    offsets = np.frombuffer(more, "<u8", packs + 1, HEAD.size)
    bits = np.frombuffer(more, np.uint8, mask_bytes, mask_at)
    if not rises(offsets, opened.meta.documents) or not 1 <= context <= MOST_CONTEXT:
        raise broken
    offsets = offsets.astype(np.int64)
    firsts = opened.document_offsets[:-1]
    if (bits[firsts // 8] >> (firsts % 8).astype(np.uint8) & 1).any():  # would cross documents
        raise broken
    if (np.diff(opened.document_offsets[offsets]) > context).any():
        raise UserError(f"{path}: a pack holds more than {context} tokens; run {kind.step} again")
    if not bits.any():
        raise _no_mask(path, kind)
    return Packs(opened, context, offsets, bits), more[mask_at + mask_bytes :]


def _broken(path: str | Path, kind: BinKind) -> UserError:
    again = f"run {kind.step} again"
    return UserError(f"{path}: packs or mask don't fit its conversations; {again}")


def _no_mask(path: str | Path, kind: BinKind) -> UserError:
    return UserError(
        f"{path}: no token is to be predicted, so there is nothing to learn; bring conversations "
        f"in which the assistant answers and run {kind.step} again"
    )
