"""Token files: `X.bin` holds the tokens, `X.idx` says what they are and commits them. One writer,
one reader, here.

`X.bin` is raw little-endian uint16 or uint32 with no header, so a plain `np.memmap` (as nanoGPT
does it) reads it too. A document is the end-of-text token followed by its text's tokens; the
document's offset points at that token.

`X.idx` is renamed into place last; without it the bin does not exist. All integers little-endian:

    8 bytes    magic, SNKTOKEN
    u32        version, 1; 2 where packs follow (snakelm.data.packs)
    u32        length of the JSON that follows; space-padded so that what follows it is 8-byte aligned
    JSON       the fields of `Meta`
    u64 [n+1]  document offsets, in tokens
    u64 [n]    document ids (snakelm.data.split)
    u32 [c]    CRC-32 of each 16 MiB chunk of X.bin
    bytes      what another version adds; nothing in version 1
    u32        CRC-32 of all of X.idx before this field

The CRC is zlib's CRC-32 (ISO-HDLC), not CRC-32C: both find every burst up to 32 bits and miss one
in 2**32 of other damage, so the choice is one of speed and dependencies, and zlib is in the
standard library, at 4 GB/s here.
"""

import json
import struct
import zlib
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import atomic_path, fsync_folder, reserve

__all__ = [
    "CHUNK_BYTES",
    "BinWriter",
    "Kind",
    "Meta",
    "TokenBin",
    "idx_path",
    "open_bin",
    "open_kind",
    "token_dtype",
]

MAGIC = b"SNKTOKEN"
HEADER = struct.Struct("<8sII")
CHUNK_BYTES = 16 << 20
DTYPES = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


@dataclass(frozen=True)
class Kind:
    """A sort of token file: the version of its idx, and the step to run again when it doesn't
    verify.
    """

    version: int
    step: str


PLAIN = Kind(1, "prepare_data")


@dataclass
class Meta:
    """What `X.idx` says of `X.bin`."""

    dtype: str
    vocab_size: int
    eot: int
    tokenizer_sha256: str
    config_hash: str = ""
    inputs: dict[str, str] = field(default_factory=dict)  # file name → SHA-256
    weights: dict[str, float] = field(
        default_factory=dict
    )  # source → how often its documents are in here
    part: list[int] | None = None  # [i, n] of a shard, None of the whole
    max_token: int = 0
    tokens: int = 0  # end-of-text tokens included
    documents: int = 0
    text_bytes: int = 0  # UTF-8 bytes of the documents' texts: what bits per byte divides by
    chunk_bytes: int = CHUNK_BYTES


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
        """A copy of tokens [first, last), by reading: a pass over a whole memmap would count as
        memory in use.
        """
        dtype = self.tokens.dtype
        return np.fromfile(
            self.path,
            dtype,
            max(0, min(last, self.meta.tokens) - first),
            offset=first * dtype.itemsize,
        )


def idx_path(path: str | Path) -> Path:
    """`…/train.bin` → `…/train.idx`."""
    return Path(path).with_suffix(".idx")


def token_dtype(vocab_size: int, bits: str = "auto") -> str:
    """`uint16` or `uint32` for prepare.token_bits; UserError when 16 bits are asked for and too
    few.

    The largest vocabulary for 16 bits is 65,535: one less than would fit, so 65,535 stays free as a
    mark.
    """
    if bits == "16" and vocab_size > 65_535:
        raise UserError(
            f"prepare.token_bits: 16 bits hold vocabularies up to 65,535, the tokenizer's is {vocab_size}; "
            "say 32 or auto"
        )
    return "uint16" if bits == "16" or (bits == "auto" and vocab_size <= 65_535) else "uint32"


class BinWriter:
    """Writes `X.bin` and `X.idx`; a context manager. Nothing has the final names until the block
    ends well.

    ``expected_tokens`` reserves the room beforehand, so that a disk too small is an error now, not
    in an hour.
    """

    kind = PLAIN

    def __init__(self, path: str | Path, meta: Meta, expected_tokens: int = 0) -> None:
        self.path, self.meta = Path(path), meta
        self._dtype, self._expected = DTYPES[meta.dtype], expected_tokens
        self._offsets: list[np.ndarray] = []
        self._ids: list[np.ndarray] = []
        self._crcs: list[int] = []
        self._chunk = bytearray()

    def __enter__(self) -> "BinWriter":
        with ExitStack() as stack:
            # Left in reverse order: the bin's temporary file is renamed, then the idx's.
            self._idx = stack.enter_context(atomic_path(idx_path(self.path)))
            self._bin = stack.enter_context(atomic_path(self.path))
            reserve(self._bin, self._expected * self._dtype.itemsize)
            self._file = stack.enter_context(open(self._bin, "r+b", buffering=0))
            self._stack = stack.pop_all()
        return self

    def append(
        self, tokens: np.ndarray, lengths: np.ndarray, ids: np.ndarray, text_bytes: int
    ) -> None:
        """Adds whole documents: ``tokens`` [sum of lengths] of any integer dtype, ``lengths`` and
        ``ids`` [n].
        """
        assert (tokens.size, lengths.size) == (int(lengths.sum()), ids.size), "lengths don't add up"
        if tokens.size:
            low, high = int(tokens.min()), int(tokens.max())
            if low < 0 or high >= self.meta.vocab_size:  # before astype, which would wrap silently
                raise UserError(
                    f"{self.path}: token id {high if low >= 0 else low}, expected 0 to {self.meta.vocab_size - 1}; "
                    "the tokenizer's vocabulary and its ids disagree: train it again"
                )
            self.meta.max_token = max(self.meta.max_token, high)
        self._offsets.append(self.meta.tokens + np.cumsum(lengths, dtype=np.uint64))
        self._ids.append(np.asarray(ids, np.uint64))
        self.meta.tokens += tokens.size
        self.meta.documents += ids.size
        self.meta.text_bytes += text_bytes
        self._write(
            memoryview(tokens.astype(self._dtype)).cast("B") if tokens.size else memoryview(b"")
        )

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

    def __exit__(self, kind, error, trace) -> bool | None:
        if kind is not None:
            return self._stack.__exit__(kind, error, trace)
        with self._stack:  # an error in here unwinds the stack as an error: nothing is renamed
            if self._chunk:
                self._flush()
            self._file.truncate(self.meta.tokens * self._dtype.itemsize)
            self._idx.write_bytes(self._index())
            idx_path(self.path).unlink(
                missing_ok=True
            )  # an older bin ends here: its idx goes before its tokens do
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

    Always checked: the idx (magic, version, CRC of itself), the bin's size, the largest token
    against the vocabulary, the tokenizer when ``tokenizer_sha256`` is given. ``verify`` reads the
    whole bin too and compares every chunk's CRC and its largest token; leave it out only where
    another process of the same run has just done it.
    """
    return open_kind(PLAIN, path, tokenizer_sha256, verify)[0]


def open_kind(
    kind: Kind, path: str | Path, tokenizer_sha256: str | None, verify: bool
) -> tuple[TokenBin, bytes]:
    """`open_bin` for files of a ``kind``, with the bytes that its idx adds."""
    path = Path(path)
    meta, offsets, ids, crcs, more = _read_idx(idx_path(path), kind)
    dtype = DTYPES[meta.dtype]
    if not path.is_file():
        raise UserError(
            f"{path}: missing, though {idx_path(path).name} is there; run {kind.step} again"
        )
    size, expected = path.stat().st_size, meta.tokens * dtype.itemsize
    if size != expected:
        raise UserError(
            f"{path}: {size} bytes, expected {expected} ({meta.tokens} tokens of {dtype.itemsize} bytes); "
            f"truncated or overwritten: run {kind.step} again"
        )
    if tokenizer_sha256 is not None and meta.tokenizer_sha256 != tokenizer_sha256:
        raise UserError(
            f"{path}: made with tokenizer {meta.tokenizer_sha256[:12]}…, this one is {tokenizer_sha256[:12]}…; "
            f"run {kind.step} again with this tokenizer, or give the one it was made with"
        )
    tokens = (
        np.memmap(path, dtype, "r", shape=(meta.tokens,)) if meta.tokens else np.zeros(0, dtype)
    )
    tokens.flags.writeable = False
    if verify:
        _verify_chunks(path, meta, crcs, kind)
    return TokenBin(path, tokens, offsets, ids, meta), more


def _read_idx(path: Path, kind: Kind) -> tuple[Meta, np.ndarray, np.ndarray, np.ndarray, bytes]:
    again = f"run {kind.step} again"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{path}: missing, so {path.stem}.bin is unfinished or not ours; {again}"
        ) from None
    broken = UserError(f"{path}: damaged (its checksum does not match); {again}")
    if len(data) < HEADER.size + 4 or not data.startswith(MAGIC):
        raise UserError(
            f"{path}: not an index of tokens (no {MAGIC.decode()} at its start); {again}"
        )
    _, version, length = HEADER.unpack_from(data)
    if zlib.crc32(memoryview(data)[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise broken
    if version != kind.version:
        raise UserError(
            f"{path}: version {version}, this program reads {kind.version} here; {again}"
        )
    values = json.loads(data[HEADER.size : HEADER.size + length])
    meta = Meta(**{f.name: values[f.name] for f in fields(Meta)})
    n, chunks = meta.documents, -(-meta.tokens * DTYPES[meta.dtype].itemsize // meta.chunk_bytes)
    at = HEADER.size + length
    end = at + 8 * (2 * n + 1) + 4 * chunks
    if len(data) < end + 4 or (kind is PLAIN and len(data) != end + 4):
        raise broken
    offsets = np.frombuffer(data, "<u8", n + 1, at).astype(np.int64)
    ids = np.frombuffer(data, "<u8", n, at + 8 * (n + 1))
    _check_meta(path, meta, offsets, again)
    return meta, offsets, ids, np.frombuffer(data, "<u4", chunks, end - 4 * chunks), data[end:-4]


def _check_meta(path: Path, meta: Meta, offsets: np.ndarray, again: str) -> None:
    """A sound file whose writer was wrong: what the checksums can't see."""
    if meta.tokens and meta.max_token >= meta.vocab_size:
        raise UserError(
            f"{path}: largest token {meta.max_token}, the vocabulary has {meta.vocab_size}; {again}"
        )
    if offsets[0] != 0 or offsets[-1] != meta.tokens or (np.diff(offsets) <= 0).any():
        raise UserError(f"{path}: document offsets don't rise from 0 to {meta.tokens}; {again}")


def _verify_chunks(path: Path, meta: Meta, crcs: np.ndarray, kind: Kind) -> None:
    largest = 0
    with open(path, "rb", buffering=0) as file:
        for i, expected in enumerate(crcs):
            chunk = file.read(meta.chunk_bytes)
            if zlib.crc32(chunk) != expected:
                raise UserError(
                    f"{path}: damaged between bytes {i * meta.chunk_bytes} and {i * meta.chunk_bytes + len(chunk)} "
                    f"(checksum does not match); run {kind.step} again"
                )
            largest = max(largest, int(np.frombuffer(chunk, DTYPES[meta.dtype]).max()))
    if largest != meta.max_token:
        raise UserError(
            f"{path}: largest token {largest}, its index says {meta.max_token}; run {kind.step} again"
        )
