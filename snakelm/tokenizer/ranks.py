"""tiktoken's ranks format: one line a token, base64 of its bytes, a space, its rank (which is its
id).

One reader and one writer. The written form is canonical (ascending ranks, one newline a line), so
equal ranks are equal files.
"""

import base64
import binascii
from pathlib import Path

from ..errors import UserError

__all__ = ["MAX_RANK", "format_ranks", "parse_ranks", "read_ranks"]

# Ids index tables of the size of the greatest one: a stray rank must not allocate gigabytes.
MAX_RANK = 1 << 24


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
    """Token bytes -> rank. Raises UserError with the line that is wrong; gaps are allowed here
    (p50k has one).
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        try:
            encoded, digits = line.split()
            token, rank = base64.b64decode(encoded, validate=True), int(digits)
        except (ValueError, binascii.Error):
            raise UserError(
                f"{where}:{number}: found {line[:60]!r}; expected «base64 rank», as tiktoken writes them"
            ) from None
        if not token or not 0 <= rank < MAX_RANK:
            raise UserError(
                f"{where}:{number}: found token {token!r}, rank {rank}; expected bytes, rank below {MAX_RANK}"
            )
        if token in ranks:
            raise UserError(
                f"{where}:{number}: token {token!r} is there already, with rank {ranks[token]}"
            )
        ranks[token] = rank
    if len(set(ranks.values())) != len(ranks):
        raise UserError(
            f"{where}: a rank is given to two tokens; the file is damaged, fetch or make it again"
        )
    return ranks


def format_ranks(ranks: dict[bytes, int]) -> bytes:
    """The file for these ranks."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ordered)
