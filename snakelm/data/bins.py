"""Token files: `X.bin` holds the tokens, `X.idx` describes and commits them. The one reader is
here; the one writer is in bin_writer.py, the reading of `X.idx` in bin_index.py.

`X.bin` is raw little-endian uint16 or uint32 without a header, so a plain `np.memmap` (as in
nanoGPT) reads it too. A document is the end-of-text token followed by its text's tokens; the
document's offset points at that token.

`X.idx` is renamed into place last; without it the bin does not exist. All integers little-endian:

    8 bytes    magic, SNKTOKEN
    u32        version, 1; 2 where packs follow (snakelm.data.packs)
    u32        length of the JSON; padded with spaces, so that what follows it is 8-byte aligned
    JSON       the fields of `Meta`
    u64 [n+1]  document offsets, in tokens
    u64 [n]    document ids (snakelm.data.split)
    u32 [c]    CRC-32 of each 16 MiB chunk of X.bin
    bytes      what another version adds; nothing in version 1
    u32        CRC-32 of all of X.idx before this field

The CRC is zlib's CRC-32 (ISO-HDLC), not CRC-32C: both detect every burst of up to 32 bits and miss
one in 2**32 of other damage, and any language's standard library has zlib's. Ours, in the core, is
the same function at four times the speed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._text import crc32
from ..errors import UserError
from .bin_index import (
    DTYPES,
    PLAIN,
    BinIndex,
    BinKind,
    DtypeName,
    Meta,
    idx_path,
    read_index,
)
from .bin_writer import BinWriter

__all__ = [
    "BinKind",
    "BinWriter",
    "Meta",
    "TokenBin",
    "checked_index",
    "idx_path",
    "open_bin",
    "open_kind",
    "token_dtype",
    "verified_chunks",
]

READ_BYTES = 1 << 20  # of a chunk at a time
MARK = 65_535  # never a token of 16 bits: the largest number stays free


@dataclass(frozen=True)
class TokenBin:
    """An opened token file. ``tokens``: read-only memmap [tokens]; ``document_offsets``: int64
    [n+1], in tokens.
    """

    path: Path
    tokens: np.ndarray
    document_offsets: np.ndarray
    document_ids: np.ndarray  # uint64 [n]
    meta: Meta

    def document(self, i: int) -> np.ndarray:
        """Document ``i``, its end-of-text token first."""
        return self.tokens[self.document_offsets[i] : self.document_offsets[i + 1]]

    def read(self, first: int, last: int) -> np.ndarray:
        """A copy of tokens [first, last), by reading: a pass over the memmap would count as memory
        in use.
        """
        dtype = self.tokens.dtype
        count = max(0, min(last, self.meta.tokens) - first)
        return np.fromfile(self.path, dtype, count, offset=first * dtype.itemsize)


def token_dtype(vocab_size: int, bits: str = "auto") -> DtypeName:
    """`uint16` or `uint32` for prepare.token_bits; UserError when 16 bits are required and too few.

    The largest vocabulary for 16 bits is 65,535, not 65,536, so that 65,535 stays free as a mark.
    """
    if bits == "16" and vocab_size > MARK:
        raise UserError(
            f"prepare.token_bits: 16 bits hold vocabularies up to {MARK:,}, the tokenizer's is "
            f"{vocab_size}; say 32 or auto"
        )
    return "uint16" if bits == "16" or (bits == "auto" and vocab_size <= MARK) else "uint32"


def open_bin(
    path: str | Path, tokenizer_sha256: str | None = None, verify: bool = True
) -> TokenBin:
    """Opens a token file, or raises a UserError that says what does not verify.

    Always checked: the idx (magic, version, its own CRC), the bin's size, the largest token against
    the vocabulary, and the tokenizer when ``tokenizer_sha256`` is given. ``verify`` also reads all
    of the bin and compares every chunk's CRC and the largest token; leave it out only where another
    process of the same run has just done it.
    """
    return open_kind(PLAIN, path, tokenizer_sha256, verify)[0]


def open_kind(
    kind: BinKind, path: str | Path, tokenizer_sha256: str | None, verify: bool
) -> tuple[TokenBin, bytes]:
    """`open_bin` for files of a ``kind``, with the bytes that its idx adds."""
    path = Path(path)
    index = checked_index(kind, path, tokenizer_sha256)
    meta, dtype = index.meta, DTYPES[index.meta.dtype]

    if meta.tokens:
        tokens: np.ndarray = np.memmap(path, dtype, "r", shape=(meta.tokens,))
    else:
        tokens = np.zeros(0, dtype)
    tokens.flags.writeable = False
    if verify:
        for _ in verified_chunks(path, meta, index.crcs, f"run {kind.step} again", wanted=False):
            pass
    return TokenBin(path, tokens, index.offsets, index.ids, meta), index.more


def checked_index(kind: BinKind, path: Path, tokenizer_sha256: str | None) -> BinIndex:
    """The index of a token file, after all checks of `open_bin` but that of the tokens."""
    again = f"run {kind.step} again"
    index = read_index(idx_path(path), kind)
    meta = index.meta

    if not path.is_file():
        raise UserError(f"{path}: missing, though {idx_path(path).name} is there; {again}")
    width = DTYPES[meta.dtype].itemsize
    size, expected = path.stat().st_size, meta.tokens * width
    if size != expected:
        raise UserError(
            f"{path}: {size} bytes, expected {expected} ({meta.tokens} tokens of {width} bytes); "
            f"truncated or overwritten: {again}"
        )
    if tokenizer_sha256 is not None and meta.tokenizer_sha256 != tokenizer_sha256:
        raise UserError(
            f"{path}: made with tokenizer {meta.tokenizer_sha256[:12]}…, this one is "
            f"{tokenizer_sha256[:12]}…; {again} with this tokenizer, or give the one it was made "
            "with"
        )
    return index


def verified_chunks(
    path: Path, meta: Meta, crcs: np.ndarray, again: str, wanted: bool = True
) -> Iterator[np.ndarray]:
    """The tokens, a chunk at a time, each in the place of the one before; UserError for one whose
    checksum is not the idx's, and at the end where the largest token is not. Nothing but that
    where they aren't ``wanted``: then a megabyte is in memory instead of a chunk.
    """
    dtype = DTYPES[meta.dtype]
    largest, left = 0, meta.tokens * dtype.itemsize
    buffer = memoryview(bytearray(min(meta.chunk_bytes if wanted else READ_BYTES, left)))
    with open(path, "rb", buffering=0) as file:
        for i, expected in enumerate(crcs):
            size, done, crc = min(meta.chunk_bytes, left), 0, 0
            left -= size

            # Summed and searched in parts that are still in the cache.
            while done < size:
                at = done if wanted else 0
                part = buffer[at : at + min(READ_BYTES, size - done)]
                part = part[: file.readinto(part)]
                if not len(part) or len(part) % dtype.itemsize:
                    break  # cut off meanwhile
                done += len(part)
                crc = crc32(part, crc)
                largest = max(largest, int(np.frombuffer(part, dtype).max()))

            if done < size or crc != expected:
                first = i * meta.chunk_bytes
                raise UserError(
                    f"{path}: damaged between bytes {first} and {first + size} (checksum does not "
                    f"match); {again}"
                )
            if wanted:
                yield np.frombuffer(buffer[:size], dtype)

    if largest != meta.max_token:
        raise UserError(
            f"{path}: largest token {largest}, its index says {meta.max_token}; {again}"
        )
