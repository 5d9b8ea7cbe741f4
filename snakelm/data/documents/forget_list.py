"""What is to be forgotten: lists of hashes and rules, asked about texts.

A line of a list is the SHA-256 of a text's UTF-8 bytes (64 hex digits), or the id that snakelm has
for it everywhere (16; `split.document_id`). No text stands in a list, so it may be kept and passed
on. Rules are RE2's, which take time in proportion to the text whatever the expression.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...config import Forget
from ...errors import UserError

__all__ = ["HashList", "check_forget", "matches", "read_hashes", "text_hash"]

LINE = re.compile(r"([0-9a-fA-F]{64}|[0-9a-fA-F]{16})\s*(#.*)?")
SHOWN = 3  # lines, in a message
WANTED = "a text's SHA-256 (64 hex digits) or its id (16), and # before a comment"


def text_hash(text: bytes | memoryview) -> str:
    """SHA-256 of a text's UTF-8 bytes, as a list has it."""
    return hashlib.sha256(text).hexdigest()


@dataclass
class HashList:
    """The lines of some lists, and which of them named something so far."""

    places: dict[str, str] = field(default_factory=dict)  # hash → file:line
    found: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.ids = np.array(sorted(int(h, 16) for h in self.places if len(h) == 16), np.uint64)
        self.by_text = any(len(h) == 64 for h in self.places)  # whether texts must be hashed

    def named(
        self, ids: np.ndarray, texts: Callable[[], Sequence[bytes | memoryview]]
    ) -> np.ndarray:
        """Which texts are named: bool [n], from their ids (uint64 [n]); ``texts`` gives their bytes
        where a line needs them.
        """
        named = np.isin(ids, self.ids)
        self.found.update(f"{one:016x}" for one in ids[named].tolist())
        if self.by_text:
            for row, text in enumerate(texts()):
                if (sha256 := text_hash(text)) in self.places:
                    named[row] = True
                    self.found.add(sha256)
        return named

    @property
    def missing(self) -> list[str]:
        """Where the lines are that named nothing."""
        return [place for one, place in self.places.items() if one not in self.found]

    def check(self, key: str, what: str, policy: str, warn: Callable[[str], None]) -> None:
        """UserError, or with ``policy`` warn a warning, for lines that named nothing. ``key``: of
        the configuration; ``what``: they should have named.
        """
        if not self.missing:
            return
        shown = ", ".join(self.missing[:SHOWN])
        more = f" and {len(self.missing) - SHOWN:,} more" if len(self.missing) > SHOWN else ""
        message = (
            f"{key}: {len(self.missing):,} of {len(self.places):,} lines name no {what} there is: "
            f"{shown}{more}; a hash is of the whole text as its source has it, to the byte "
            "(scripts/analysis/find_documents.py prints it)"
        )
        if policy == "error":
            raise UserError(f"{message}; take the lines out, or set forget.missing: warn")
        warn(message)


def read_hashes(files: Iterable[Path], key: str) -> HashList:
    """The lists ``files``, which the configuration's ``key`` names; UserError for a line that is no
    hash, and for lists without any.
    """
    places: dict[str, str] = {}
    names = [str(file) for file in files]
    for name in names:
        try:
            lines = Path(name).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{name}: can't be read as lines of text ({error}); {key}") from None

        for number, line in enumerate(map(str.strip, lines), 1):
            if not line or line.startswith("#"):
                continue
            if not (match := LINE.fullmatch(line)):
                raise UserError(f"{name}:{number}: found {line[:40]!r}, expected {WANTED}")
            places.setdefault(match[1].lower(), f"{name}:{number}")

    if not places:
        raise UserError(f"{', '.join(names)}: no hash in there; expected {WANTED}, or no {key}")
    return HashList(places)


def matches(values: pa.Array, expression: str | None) -> np.ndarray:
    """In which of some strings an expression is found: bool [n]; in none without an expression, nor
    in null.
    """
    if not expression:
        return np.zeros(len(values), bool)
    found = pc.match_substring_regex(values, expression).fill_null(False)
    return np.asarray(found.to_numpy(zero_copy_only=False), bool)


def check_forget(rules: Forget, expand: Callable[[str | list[str], str], list[Path]]) -> None:
    """UserError for a list or an expression that can't be read. ``expand``: paths and their key →
    files.
    """
    for name in ("documents", "conversations", "preferences"):
        if paths := getattr(rules, name):
            read_hashes(expand(paths, f"forget.{name}"), f"forget.{name}")
    for name in ("text", "origin"):
        try:
            matches(pa.array([""]), getattr(rules, name))
        except pa.ArrowInvalid as error:
            raise UserError(
                f"forget.{name}: {getattr(rules, name)!r} is no expression of RE2, which knows no "
                f"lookaround and no references back ({str(error).splitlines()[0]})"
            ) from None
