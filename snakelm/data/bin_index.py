"""The index of a token file, `X.idx`, as it is read: what it says of `X.bin`, and every field of it
checked. A checksum that is right only says that the bytes are those that were written: by a program
with a fault, or by hand. bins.py has the format.
"""

import math
import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import UserError
from ..json_files import JsonError, parse_json

__all__ = [
    "CHUNK_BYTES",
    "DTYPES",
    "HEADER",
    "MAGIC",
    "PLAIN",
    "BinIndex",
    "BinKind",
    "DtypeName",
    "Meta",
    "idx_path",
    "read_index",
    "rises",
]

MAGIC = b"SNKTOKEN"
HEADER = struct.Struct("<8sII")
CHUNK_BYTES = 16 << 20
MOST_CHUNK_BYTES = 1 << 30
MOST = 1 << 62  # of anything that is counted
MOST_VOCABULARY = 1 << 24  # tokenizer.storage.MAX_RANK, without loading the tokenizer's core

DtypeName = Literal["uint16", "uint32"]
DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


@dataclass(frozen=True)
class BinKind:
    """A kind of token file: the version of its idx, and the step to rerun when it doesn't
    verify.
    """

    version: int
    step: str


PLAIN = BinKind(1, "prepare_data")


@dataclass
class Meta:
    """What `X.idx` says of `X.bin`: its JSON."""

    dtype: DtypeName
    vocab_size: int
    eot: int
    tokenizer_sha256: str
    config_hash: str = ""
    inputs: dict[str, str] = field(default_factory=dict)  # file name → SHA-256
    weights: dict[str, float] = field(default_factory=dict)  # source → copies of its documents
    part: list[int] | None = None  # [i, n] of shard i of n; None for a complete file
    max_token: int = 0
    tokens: int = 0  # end-of-text tokens included
    documents: int = 0
    text_bytes: int = 0  # UTF-8 bytes of the documents' texts: what bits per byte divides by
    chunk_bytes: int = CHUNK_BYTES


def idx_path(path: str | Path) -> Path:
    """`…/train.bin` → `…/train.idx`."""
    return Path(path).with_suffix(".idx")


@dataclass(frozen=True)
class BinIndex:
    """The parts of an idx."""

    meta: Meta
    offsets: np.ndarray  # int64 [n+1]
    ids: np.ndarray  # uint64 [n]
    crcs: np.ndarray  # uint32 [chunks]
    more: bytes


def read_index(path: Path, kind: BinKind) -> BinIndex:
    """The index ``path`` of a ``kind``; a UserError that says what does not verify."""
    again = f"run {kind.step} again"
    broken = UserError(f"{path}: damaged (its checksum does not match); {again}")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{path}: missing, so {path.stem}.bin is unfinished or not ours; {again}"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {again}") from None

    # The frame: magic, checksum, version, in the order in which each makes the next meaningful.
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

    # The parts, all of which must end before the file does.
    meta = _read_meta(path, data[HEADER.size : HEADER.size + length], again)
    documents = meta.documents
    chunks = -(-meta.tokens * DTYPES[meta.dtype].itemsize // meta.chunk_bytes)
    offsets_at = HEADER.size + length
    ids_at = offsets_at + 8 * (documents + 1)
    crcs_at = ids_at + 8 * documents
    end = crcs_at + 4 * chunks
    if len(data) < end + 4 or (kind is PLAIN and len(data) != end + 4):
        raise broken

    offsets = np.frombuffer(data, "<u8", documents + 1, offsets_at)
    if not rises(offsets, meta.tokens):
        raise UserError(f"{path}: document offsets don't rise from 0 to {meta.tokens}; {again}")
    return BinIndex(
        meta,
        offsets.view("<i8"),  # none is beyond MOST
        np.frombuffer(data, "<u8", documents, ids_at),
        np.frombuffer(data, "<u4", chunks, crcs_at),
        data[end:-4],
    )


def _read_meta(path: Path, text: bytes, again: str) -> Meta:
    try:
        meta = parse_json(text, Meta)
    except JsonError as error:
        raise UserError(f"{path}: its description is wrong ({error}); {again}") from None

    if fault := _fault(meta):
        raise UserError(f"{path}: its description has {fault}; {again}")
    return meta


def _fault(meta: Meta) -> str | None:
    """What no writer of ours would have said, for the end of "its description has"."""
    counts = (meta.vocab_size, meta.max_token, meta.tokens, meta.documents, meta.text_bytes)
    item = DTYPES[meta.dtype].itemsize
    if min(counts) < 0 or meta.chunk_bytes < 1:
        return "negative counts"
    if max(counts) >= MOST:
        return "counts beyond all that can be"

    if meta.vocab_size > min(MOST_VOCABULARY, 1 << 8 * item):
        return f"a vocabulary of {meta.vocab_size} tokens, too many for {meta.dtype} or at all"
    if meta.tokens and meta.max_token >= meta.vocab_size:
        return f"largest token {meta.max_token}, the vocabulary has {meta.vocab_size}"

    if meta.chunk_bytes % item or meta.chunk_bytes > MOST_CHUNK_BYTES:
        return f"chunks of {meta.chunk_bytes} bytes, expected a multiple of {item} up to 1 GiB"
    if not 0 <= meta.eot < meta.vocab_size:
        return f"end-of-text token {meta.eot}, the vocabulary {meta.vocab_size}"
    if meta.part is not None and not (len(meta.part) == 2 and 0 <= meta.part[0] < meta.part[1]):
        return f"part {meta.part[:3]}, expected its number and how many there are"
    if any(not math.isfinite(weight) or weight < 0 for weight in meta.weights.values()):
        return "weights that are no numbers from 0 on"
    if not re.fullmatch(r"[0-9a-f]*", meta.tokenizer_sha256):
        return "a tokenizer that is no SHA-256"
    return None


def rises(offsets: np.ndarray, last: int) -> bool:
    """Whether ``offsets`` (uint64) rise from 0 to ``last``: compared, because differences wrap."""
    return bool(offsets[0] == 0 and offsets[-1] == last and (offsets[1:] > offsets[:-1]).all())
