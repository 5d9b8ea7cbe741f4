"""A tokenizer on disk, three files in a folder, and one to load it faster:

    ranks.tiktoken   the ranks, as tiktoken loads them
    tokenizer.json   the same tokenizer for Hugging Face's tokenizers
    meta.json        pattern, special tokens, sizes, hashes, what training reported; written last,
                     so it commits the others
    encoder.table    what an encoder makes of the ranks, to be mapped into memory; whatever is wrong
                     with it, the encoder is made from the ranks and the file again

A ranks file has one line a token: base64 of its bytes, a space, its rank, which is its id. Ours are
canonical (ascending ranks, one newline a line), so equal ranks are equal files.
"""

import base64
import binascii
import hashlib
import json
import mmap
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from snakelm import _text

from ..errors import UserError
from ..files import atomic_path, is_disk_full, write_json
from ..json_files import read_json
from .huggingface import tokenizer_json
from .patterns import PATTERNS, tiktoken_regex

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

__all__ = [
    "MAX_RANK",
    "META",
    "RANKS",
    "TABLE",
    "TOKENIZER_JSON",
    "StoredTokenizer",
    "TokenizerMeta",
    "format_ranks",
    "load",
    "parse_ranks",
    "read_ranks",
    "read_table",
    "save",
    "write_table",
]

RANKS, TOKENIZER_JSON, META = "ranks.tiktoken", "tokenizer.json", "meta.json"
TABLE = "encoder.table"
FORMAT, VERSION = "snakelm tokenizer", 1
AGAIN = "make the tokenizer again (train_tokenizer)"

# Ids index tables of the size of the largest one: a stray rank must not allocate gigabytes.
MAX_RANK = 1 << 24


@dataclass(frozen=True)
class TokenizerMeta:
    """meta.json."""

    format: str
    version: int
    pattern: str
    regex: str
    sha256: str
    special_tokens: dict[str, int]
    tokenizer_json_sha256: str
    training: dict[str, Any]
    unused_ids: list[int]
    vocab_size: int


class StoredTokenizer(NamedTuple):
    """What was read; whether it belongs together is for `Tokenizer.load` to check."""

    path: Path
    meta: TokenizerMeta
    ranks_file: bytes

    def ranks(self) -> dict[bytes, int]:
        """The ranks; UserError with the line that is wrong."""
        return parse_ranks(self.ranks_file, self.path / RANKS)


def save(path: Path, tokenizer: "Tokenizer") -> None:
    """Writes the files, each atomically. An interruption in between leaves no meta.json, so
    no half tokenizer loads. UserError where they cannot be written; OSError of a full disk.
    """
    try:
        _save(path, tokenizer)
    except OSError as error:
        if is_disk_full(error):
            raise
        why = error.strerror or error
        raise UserError(
            f"{path}: no tokenizer can be saved there ({why}); name another folder"
        ) from None


def _save(path: Path, tokenizer: "Tokenizer") -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / META).unlink(missing_ok=True)

    exported = json.dumps(
        tokenizer_json(tokenizer), ensure_ascii=False, separators=(",", ":")
    ).encode()
    for name, data in (
        (RANKS, format_ranks(tokenizer.mergeable_ranks)),
        (TOKENIZER_JSON, exported),
    ):
        with atomic_path(path / name) as temporary:
            temporary.write_bytes(data)
    write_table(path, tokenizer)

    meta = TokenizerMeta(
        format=FORMAT,
        version=VERSION,
        pattern=tokenizer.pattern,
        regex=tiktoken_regex(tokenizer.pattern),
        sha256=tokenizer.sha256,
        special_tokens=tokenizer.special_tokens,
        tokenizer_json_sha256=hashlib.sha256(exported).hexdigest(),
        training=tokenizer.facts,
        unused_ids=tokenizer.unused_ids,
        vocab_size=tokenizer.vocab_size,
    )
    write_json(path / META, vars(meta))


def load(path: Path) -> StoredTokenizer:
    """Reads the folder ``path``, or the one that the file ``path`` is in."""
    if not path.exists():
        raise UserError(
            f"{path}: no tokenizer here; run train_tokenizer, or name the folder that has {META}"
        )
    folder = path if path.is_dir() else path.parent
    if not (folder / META).is_file():
        raise UserError(
            f"{folder}: no {META}, so no finished tokenizer; run train_tokenizer, or for a bare "
            "ranks file use Tokenizer.from_tiktoken"
        )

    meta = _read_meta(folder / META)
    data = _read(folder / RANKS, "missing", AGAIN)
    exported = folder / TOKENIZER_JSON
    if exported.is_file():
        digest = hashlib.sha256(exported.read_bytes()).hexdigest()
        if digest != meta.tokenizer_json_sha256:
            raise UserError(f"{exported}: changed since it was written; {AGAIN}")

    return StoredTokenizer(folder, meta, data)


def read_table(folder: Path, pattern: str, sha256: str) -> _text.Encoder | None:
    """The encoder whose tables the folder has, for the tokenizer of this identity; None where they
    are not there, or not these, or the core has no scanner for the pattern.
    """
    if pattern not in PATTERNS:
        return None
    try:
        with open(folder / TABLE, "rb") as file:
            # A view of the map: as long as there is one, it cannot be closed.
            table = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return _text.Encoder.from_table(table, pattern, bytes.fromhex(sha256))
    except (OSError, ValueError):
        return None


def write_table(folder: Path, tokenizer: "Tokenizer") -> None:
    """Writes the tables, if the folder may be written to (a tokenizer loads without them) and the
    core has a scanner for the pattern.
    """
    if tokenizer.pattern not in PATTERNS:
        return
    table = tokenizer.table()
    with suppress(OSError, UserError), atomic_path(folder / TABLE) as temporary:
        temporary.write_bytes(table)


def _read_meta(path: Path) -> TokenizerMeta:
    # Format and version first: what another version says otherwise is no damage.
    head = read_json(path, dict, what="a tokenizer's metadata", remedy=AGAIN)
    if head.get("format") != FORMAT or head.get("version") != VERSION:
        raise UserError(f"{path}: not a «{FORMAT}» of version {VERSION}; {AGAIN}")
    return read_json(path, TokenizerMeta, remedy=AGAIN)


def read_ranks(path: str | Path) -> tuple[dict[bytes, int], bytes]:
    """The ranks in a file, and the file's bytes."""
    path = Path(path)
    data = _read(path, "no such file", "expected ranks in tiktoken's format")
    return parse_ranks(data, path), data


def _read(path: Path, missing: str, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: {missing}; {remedy}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a folder; {remedy}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None


def parse_ranks(data: bytes, where: str | Path) -> dict[bytes, int]:
    """Token bytes → rank; UserError with the line that is wrong. Gaps are allowed: p50k has one."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue

        place = f"{where}:{number}"
        try:
            encoded, digits = line.split()
            token, rank = base64.b64decode(encoded, validate=True), int(digits)
        except (ValueError, binascii.Error):
            raise UserError(
                f"{place}: found {line[:60]!r}; expected «base64 rank», as tiktoken writes them"
            ) from None

        if not token or not 0 <= rank < MAX_RANK:
            raise UserError(
                f"{place}: found token {token!r}, rank {rank}; expected bytes, rank below "
                f"{MAX_RANK}"
            )
        if token in ranks:
            raise UserError(
                f"{place}: token {token!r} is there already, with rank {ranks[token]}; the file is "
                "damaged, fetch or make it again"
            )
        ranks[token] = rank

    if len(set(ranks.values())) != len(ranks):
        raise UserError(
            f"{where}: a rank is given to two tokens; the file is damaged, fetch or make it again"
        )
    return ranks


def format_ranks(ranks: Mapping[bytes, int]) -> bytes:
    """The file for these ranks."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ordered)
