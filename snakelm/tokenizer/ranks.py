"""tiktoken's ranks format: one line a token, base64 of its bytes, a space, its rank (which is its id).

One reader and one writer. The written form is canonical (ascending ranks, one newline a line), so equal ranks are equal
files. Encodings that OpenAI published are recognised by the SHA-256 of their file, which tiktoken states too.
"""

import base64
import binascii
import hashlib
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError

__all__ = ["KnownEncoding", "format_ranks", "known_encoding", "parse_ranks", "read_ranks"]

# Ids index tables of the size of the greatest one: a stray rank must not allocate gigabytes.
MAX_RANK = 1 << 24


class KnownEncoding(NamedTuple):
    """What a published ranks file does not say about itself."""

    name: str
    pattern: str
    eot: int  # id of <|endoftext|>


KNOWN = {
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930": KnownEncoding("r50k_base", "gpt2", 50256),
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069": KnownEncoding("p50k_base", "gpt2", 50256),
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": KnownEncoding("cl100k_base", "cl100k", 100257),
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d": KnownEncoding("o200k_base", "o200k", 199999),
}


def read_ranks(path: str | Path) -> tuple[dict[bytes, int], bytes]:
    """The ranks in a file, and the file's bytes."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected ranks in tiktoken's format") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a folder; expected a ranks file in tiktoken's format") from None
    return parse_ranks(data, path), data


def parse_ranks(data: bytes, where: str | Path) -> dict[bytes, int]:
    """Token bytes -> rank. Raises UserError with the line that is wrong; gaps are allowed here (p50k has one)."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        try:
            encoded, digits = line.split()
            token, rank = base64.b64decode(encoded, validate=True), int(digits)
        except (ValueError, binascii.Error):
            raise UserError(
                f"{where}:{number}: found {line[:60]!r}; expected «base64 rank»; is this a ranks file in tiktoken's format?"
            ) from None
        if not token or not 0 <= rank < MAX_RANK:
            raise UserError(
                f"{where}:{number}: found token {token!r}, rank {rank}; expected bytes, rank below {MAX_RANK}"
            )
        if token in ranks:
            raise UserError(f"{where}:{number}: token {token!r} is there already, with rank {ranks[token]}")
        ranks[token] = rank
    if len(set(ranks.values())) != len(ranks):
        raise UserError(f"{where}: a rank is given to two tokens; the file is damaged, fetch or make it again")
    return ranks


def format_ranks(ranks: dict[bytes, int]) -> bytes:
    """The file for these ranks."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ordered)


def known_encoding(data: bytes) -> KnownEncoding | None:
    """The published encoding whose file has these bytes."""
    return KNOWN.get(hashlib.sha256(data).hexdigest())
