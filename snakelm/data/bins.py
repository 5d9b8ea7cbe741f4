"""Token files: `X.bin` holds the tokens, `X.idx` describes and commits them. The one writer and the
one reader are here; the reading of `X.idx` is in bin_index.py.

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
one in 2**32 of other damage, so the choice is one of speed and dependencies, and zlib is in the
standard library, at 4 GB/s here.
"""

import json
import struct
import zlib
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ..errors import UserError
from ..files import atomic_path, fsync_folder, reserve
from .bin_index import (
    CHUNK_BYTES,
    DTYPES,
    HEADER,
    MAGIC,
    PLAIN,
    BinKind,
    DtypeName,
    Meta,
    idx_path,
    read_index,
)

__all__ = [
    "CHUNK_BYTES",
    "BinKind",
    "BinWriter",
    "Meta",
    "TokenBin",
    "idx_path",
    "open_bin",
    "open_kind",
    "token_dtype",
]

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


class BinWriter:
    """Writes `X.bin` and `X.idx`; a context manager. Nothing has its final name until the block
    succeeds.

    ``expected_tokens`` reserves the space beforehand, so that a disk too small is an error now and
    not in an hour.
    """

    kind = PLAIN

    def __init__(self, path: str | Path, meta: Meta, expected_tokens: int = 0) -> None:
        self.path, self.meta = Path(path), meta
        self._dtype, self._expected = DTYPES[meta.dtype], expected_tokens
        self._offsets: list[np.ndarray] = []
        self._ids: list[np.ndarray] = []
        self._crcs: list[int] = []
        self._chunk = bytearray()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # Unwound in reverse order: the bin's temporary file is renamed first, then the idx's.
            self._idx = stack.enter_context(atomic_path(idx_path(self.path)))
            self._bin = stack.enter_context(atomic_path(self.path))
            reserve(self._bin, self._expected * self._dtype.itemsize)
            self._file = stack.enter_context(open(self._bin, "r+b", buffering=0))
            self._stack = stack.pop_all()
        return self

    def append(
        self, tokens: np.ndarray, lengths: np.ndarray, ids: np.ndarray, text_bytes: int
    ) -> None:
        """Adds complete documents: ``tokens`` [sum of lengths] of any integer dtype, ``lengths``
        and ``ids`` [n].
        """
        assert (tokens.size, lengths.size) == (int(lengths.sum()), ids.size), "lengths don't add up"
        if tokens.size:
            self._check_range(int(tokens.min()), int(tokens.max()))

        self._offsets.append(self.meta.tokens + np.cumsum(lengths, dtype=np.uint64))
        self._ids.append(np.asarray(ids, np.uint64))
        self.meta.tokens += tokens.size
        self.meta.documents += ids.size
        self.meta.text_bytes += text_bytes

        data = tokens.astype(self._dtype).data
        self._write(data.cast("B") if tokens.size else memoryview(b""))

    def _check_range(self, low: int, high: int) -> None:
        # Before the conversion to the file's dtype, which would wrap silently.
        if low < 0 or high >= self.meta.vocab_size:
            raise UserError(
                f"{self.path}: token id {high if low >= 0 else low}, expected 0 to "
                f"{self.meta.vocab_size - 1}; the tokenizer's vocabulary and its ids disagree: "
                "train it again"
            )
        self.meta.max_token = max(self.meta.max_token, high)

    def _write(self, data: memoryview) -> None:
        while len(data):
            take = min(len(data), CHUNK_BYTES - len(self._chunk))
            self._chunk += data[:take]
            data = data[take:]
            if len(self._chunk) == CHUNK_BYTES:
                self._flush()

    def _flush(self) -> None:
        self._crcs.append(zlib.crc32(self._chunk))
        view = memoryview(self._chunk)
        while len(view):
            view = view[self._file.write(view) :]
        view.release()
        self._chunk = bytearray()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if kind is not None:
            return self._stack.__exit__(kind, error, trace)

        with self._stack:  # an error in here unwinds the stack as an error: nothing is renamed
            if self._chunk:
                self._flush()
            self._file.truncate(self.meta.tokens * self._dtype.itemsize)
            self._idx.write_bytes(self._index())

            # An older bin of this name ends here: its idx goes before its tokens are replaced.
            idx_path(self.path).unlink(missing_ok=True)
            fsync_folder(self.path.parent)
        return None

    def _index(self) -> bytes:
        text = json.dumps(asdict(self.meta), sort_keys=True).encode()
        text += b" " * (-(HEADER.size + len(text)) % 8)
        body = b"".join(
            [
                HEADER.pack(MAGIC, self.kind.version, len(text)),
                text,
                np.concatenate([np.zeros(1, np.uint64), *self._offsets]).astype("<u8").tobytes(),
                np.concatenate([np.zeros(0, np.uint64), *self._ids]).astype("<u8").tobytes(),
                np.array(self._crcs, "<u4").tobytes(),
                self._more(),
            ]
        )
        return body + struct.pack("<I", zlib.crc32(body))

    def _more(self) -> bytes:
        """What another kind of file adds to its idx."""
        return b""


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
    again = f"run {kind.step} again"
    index = read_index(idx_path(path), kind)
    meta, dtype = index.meta, DTYPES[index.meta.dtype]

    if not path.is_file():
        raise UserError(f"{path}: missing, though {idx_path(path).name} is there; {again}")
    size, expected = path.stat().st_size, meta.tokens * dtype.itemsize
    if size != expected:
        raise UserError(
            f"{path}: {size} bytes, expected {expected} ({meta.tokens} tokens of {dtype.itemsize} "
            f"bytes); truncated or overwritten: {again}"
        )
    if tokenizer_sha256 is not None and meta.tokenizer_sha256 != tokenizer_sha256:
        raise UserError(
            f"{path}: made with tokenizer {meta.tokenizer_sha256[:12]}…, this one is "
            f"{tokenizer_sha256[:12]}…; {again} with this tokenizer, or give the one it was made "
            "with"
        )

    if meta.tokens:
        tokens: np.ndarray = np.memmap(path, dtype, "r", shape=(meta.tokens,))
    else:
        tokens = np.zeros(0, dtype)
    tokens.flags.writeable = False
    if verify:
        _verify_chunks(path, meta, index.crcs, again)
    return TokenBin(path, tokens, index.offsets, index.ids, meta), index.more


def _verify_chunks(path: Path, meta: Meta, crcs: np.ndarray, again: str) -> None:
    """Compares every chunk's checksum, and the largest token, with the idx."""
    largest, left = 0, meta.tokens * DTYPES[meta.dtype].itemsize
    with open(path, "rb", buffering=0) as file:
        for i, expected in enumerate(crcs):
            chunk = file.read(min(meta.chunk_bytes, left))
            left -= len(chunk)
            if zlib.crc32(chunk) != expected:
                first = i * meta.chunk_bytes
                raise UserError(
                    f"{path}: damaged between bytes {first} and {first + len(chunk)} (checksum "
                    f"does not match); {again}"
                )
            largest = max(largest, int(np.frombuffer(chunk, DTYPES[meta.dtype]).max()))

    if largest != meta.max_token:
        raise UserError(
            f"{path}: largest token {largest}, its index says {meta.max_token}; {again}"
        )
