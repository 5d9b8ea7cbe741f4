"""The Tokenizer: ranks, a split pattern and special tokens, over the compiled core."""

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from snakelm import _text

from ..arrow import arrow_chunks, arrow_rows, is_arrow
from ..errors import UserError
from . import storage
from .arguments import at_least, check_special_name, not_str
from .from_huggingface import check_merges, read_tokenizer_json
from .patterns import PATTERNS, pattern_name, tiktoken_regex
from .special import EOT
from .split_elsewhere import SplitEncoder
from .tiktoken_names import Ids, TiktokenNames, UnknownTokenError

if TYPE_CHECKING:
    import tiktoken

__all__ = ["EOT", "Tokenizer", "identity"]

NO_TOKENS: Mapping[str, int] = MappingProxyType({})


def identity(pattern: str, special_tokens: Mapping[str, int], ranks_file: bytes) -> str:
    """SHA-256 (hex) over what decides ids: pattern, special tokens, and the ranks in canonical
    form.
    """
    head = json.dumps(
        {"pattern": pattern, "special_tokens": dict(sorted(special_tokens.items()))}, sort_keys=True
    )
    return hashlib.sha256(head.encode() + b"\n" + ranks_file).hexdigest()


class Tokenizer(TiktokenNames):
    """Immutable; safe to use from several threads; pickles by content.

    ``facts`` is what training reported (plain JSON types); it is not part of the identity.
    """

    def __init__(
        self,
        mergeable_ranks: Mapping[bytes, int],
        pattern: str,
        special_tokens: Mapping[str, int] = NO_TOKENS,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.pattern = pattern_name(pattern)
        self.mergeable_ranks = dict(mergeable_ranks)
        self.special_tokens = dict(special_tokens)
        self.facts = dict(facts or {})
        self._pieces = _pieces(self.mergeable_ranks, self.special_tokens)

        plain = self.plain_tokens()
        try:
            self._core: _text.Encoder | SplitEncoder = (
                _text.Encoder(plain, self.pattern)
                if self.pattern in PATTERNS
                else SplitEncoder(plain, self.pattern)
            )
        except ValueError as error:
            raise UserError(
                f"tokenizer ranks: {error}; these are not the ranks of a byte-level BPE"
            ) from None

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """From the folder that `save` wrote, or any of its files; UserError where it does not
        verify.
        """
        stored = storage.load(Path(path))
        meta = stored.meta

        sha256 = identity(meta.pattern, meta.special_tokens, stored.ranks_file)
        if sha256 != meta.sha256:
            stored.ranks()  # says which line, where one is damaged
            raise UserError(
                f"{stored.path}: ranks.tiktoken does not belong to meta.json (SHA-256 "
                f"{sha256[:12]}…, expected {meta.sha256[:12]}…); {storage.AGAIN}"
            )

        pattern = pattern_name(meta.pattern)
        core = storage.read_table(stored.path, pattern, sha256)
        if core is not None:
            tokenizer = cls._of_core(core, meta)
        else:
            tokenizer = cls(stored.ranks(), meta.pattern, meta.special_tokens, meta.training)
        tokenizer.__dict__["sha256"] = sha256  # the cached property, computed already
        if tokenizer.vocab_size != meta.vocab_size or tokenizer.unused_ids != meta.unused_ids:
            raise UserError(
                f"{stored.path}: found {tokenizer.vocab_size} ids of which unused are "
                f"{tokenizer.unused_ids[:5]}; meta.json says {meta.vocab_size} and "
                f"{meta.unused_ids[:5]}; {storage.AGAIN}"
            )
        if core is None:
            storage.write_table(stored.path, tokenizer)
        return tokenizer

    @classmethod
    def _of_core(cls, core: _text.Encoder, meta: storage.TokenizerMeta) -> "Tokenizer":
        """What __init__ makes, but for the dictionaries, which few need."""
        tokenizer = cls.__new__(cls)
        tokenizer.pattern = pattern_name(meta.pattern)
        tokenizer.special_tokens = dict(meta.special_tokens)
        tokenizer.facts = dict(meta.training)
        tokenizer._core = core
        return tokenizer

    @functools.cached_property
    def mergeable_ranks(self) -> dict[bytes, int]:
        """Token bytes → id."""
        return {token: i for i, token in enumerate(self._core.tokens()) if token}

    @functools.cached_property
    def _pieces(self) -> list[bytes | None]:
        return _pieces(self.mergeable_ranks, self.special_tokens)

    @classmethod
    def from_tiktoken(
        cls,
        ranks_file: str | Path,
        pattern: str,
        special_tokens: Mapping[str, int] = NO_TOKENS,
    ) -> "Tokenizer":
        """From a ranks file of tiktoken's. ``pattern``: gpt2, cl100k, o200k, …, the name of an
        encoding that has it (cl100k_base), or a regular expression.

        Ranks may have gaps (p50k's 50256 is its end-of-text): an id that no token has is never
        produced.
        """
        ranks, _ = storage.read_ranks(ranks_file)
        if not ranks:
            raise UserError(f"{ranks_file}: empty; expected ranks in tiktoken's format")
        return cls(ranks, pattern, special_tokens)

    @classmethod
    def from_huggingface(cls, path: str | Path, *, assume_nfc: bool = False) -> "Tokenizer":
        """From a tokenizer.json with a byte-level BPE, or the folder that has it; UserError for one
        whose ids would differ (from_huggingface.py says what is taken over).
        """
        read = read_tokenizer_json(path, assume_nfc=assume_nfc)
        try:
            tokenizer = cls(read.ranks, read.pattern, read.special_tokens, read.facts)
            check_merges(read, tokenizer.merges())
        except UserError as error:
            raise UserError(f"{read.path}: {error}") from None
        return tokenizer

    def save(self, path: str | Path) -> None:
        """Writes ranks.tiktoken, tokenizer.json and, to commit them, meta.json into the folder
        ``path``.
        """
        storage.save(Path(path), self)

    def encode_ordinary(self, text: str) -> list[int]:
        """Token ids. Names of special tokens are ordinary text; lone surrogates count as U+FFFD, as
        in tiktoken.
        """
        if not isinstance(text, str):
            raise TypeError(f"encode_ordinary: expected str, found {type(text).__name__}")
        return self._core.encode(text)

    def encode_batch(
        self,
        texts: Iterable[str] | pa.Array | pa.ChunkedArray,
        threads: int = 1,
        *,
        bits: int = 32,
        eot: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """All texts' ids end to end, uint32 or with 16 ``bits`` uint16 [total], and where each
        begins, int64 [texts + 1]. With ``eot`` each text begins with the end-of-text token.

        ``texts``: a list of str, or an Arrow string array, which is read in place. Bytes of an
        Arrow array that aren't UTF-8 are encoded byte by byte and decode to themselves. The ids do
        not depend on ``threads``; the interpreter is free meanwhile.
        """
        threads = at_least(1, threads, "encode_batch", "threads")
        if bits != 32 and (bits != 16 or self.vocab_size > 1 << 16):
            raise UserError(
                f"encode_batch: {bits} bits for {self.vocab_size} tokens; expected 32, or 16 for "
                f"at most {1 << 16}"
            )

        if is_arrow(texts) and isinstance(self._core, SplitEncoder):
            texts = arrow_rows(texts)
        before = self.eot if eot else None
        if is_arrow(texts):
            assert isinstance(self._core, _text.Encoder)
            chunks, owners = arrow_chunks(texts)
            encoded = self._core.encode_arrow(chunks, threads, bits, before)
            del owners  # the buffers had to live until here
            return encoded

        if isinstance(texts, str):
            raise TypeError(
                "encode_batch: expected a list of str, found one str; use encode_ordinary or [text]"
            )
        if not isinstance(texts, Iterable):
            found = type(texts).__name__
            raise TypeError(f"encode_batch: expected texts or an Arrow array, found {found}")
        listed = texts if isinstance(texts, list | tuple) else list(texts)
        try:
            return self._core.encode_strings(listed, threads, bits, before)
        except TypeError:
            raise TypeError(not_str("encode_batch", listed)) from None

    def decode_bytes(self, tokens: Ids) -> bytes:
        """The bytes of the ids; a special token gives its name.

        UnknownTokenError (a UserError) for an id that stands for nothing.
        """
        array = _row(tokens)
        if array.size == 0:
            return b""
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= self.vocab_size:
            raise UnknownTokenError(
                f"decode: id {low if low < 0 else high} is outside the vocabulary of "
                f"{self.vocab_size} tokens"
            )

        pieces = [self._pieces[i] for i in array.tolist()]
        try:
            return b"".join(pieces)  # checked by failing: it is the rule
        except TypeError:
            unused = array[pieces.index(None)]
            raise UnknownTokenError(
                f"decode: id {unused} stands for nothing in this vocabulary"
            ) from None

    def decode(self, tokens: Ids, errors: str = "replace") -> str:
        """The text of the ids; bytes that aren't UTF-8 (a token may end inside a character) become
        U+FFFD, or what ``errors`` says (bytes.decode).
        """
        return self.decode_bytes(tokens).decode("utf-8", errors)

    @property
    def vocab_size(self) -> int:
        """One more than the largest id, so a table of this many rows serves every id."""
        return self.token_lengths.size

    @property
    def eot(self) -> int:
        """Id of `<|endoftext|>`."""
        if EOT not in self.special_tokens:
            raise UserError(
                f"tokenizer: has no {EOT}; give it one: "
                f"from_tiktoken(…, special_tokens={{{EOT!r}: id}})"
            )
        return self.special_tokens[EOT]

    @functools.cached_property
    def token_lengths(self) -> np.ndarray:
        """Bytes of text per id, int32 [vocab_size]; 0 for special tokens and unused ids."""
        lengths = self._core.token_lengths()
        lengths.setflags(write=False)
        return lengths

    @functools.cached_property
    def unused_ids(self) -> list[int]:
        """Ids below vocab_size that stand for nothing."""
        unused = self.token_lengths == 0
        unused[list(self.special_tokens.values())] = False
        return np.flatnonzero(unused).tolist()

    @functools.cached_property
    def sha256(self) -> str:
        """Identity: equal exactly where ranks, pattern and special tokens are."""
        ranks_file = storage.format_ranks(self.mergeable_ranks)
        return identity(self.pattern, self.special_tokens, ranks_file)

    def plain_tokens(self) -> list[bytes]:
        """Bytes by id, empty for special tokens and unused ids: all that text is made of, since the
        core must never match a special token's name in it.
        """
        plain = [piece or b"" for piece in self._pieces]
        for special in self.special_tokens.values():
            plain[special] = b""
        return plain

    def merges(self) -> list[tuple[int, int] | None]:
        """The two ids each token merges from, by id; None for bytes, special tokens, and tokens
        that only match a complete word.
        """
        return self._core.merges()

    def table(self) -> bytes:
        """The encoder's tables, for a file from which it loads at once."""
        return _text.table(self.plain_tokens(), bytes.fromhex(self.sha256))

    def to_tiktoken(self, name: str = "snakelm") -> "tiktoken.Encoding":
        """The same tokenizer as a `tiktoken.Encoding`."""
        import tiktoken

        return tiktoken.Encoding(
            name,
            pat_str=tiktoken_regex(self.pattern),
            mergeable_ranks=self.mergeable_ranks,
            special_tokens=self.special_tokens,
        )

    def __reduce__(self) -> tuple:
        return Tokenizer, (self.mergeable_ranks, self.pattern, self.special_tokens, self.facts)

    def __repr__(self) -> str:
        return f"Tokenizer({self.vocab_size} tokens, {self.pattern}, {self.sha256[:12]})"


def _row(ids: Ids) -> np.ndarray:
    """Ids as an array of integers, [n]."""
    if not hasattr(ids, "__array__"):
        if isinstance(ids, str) or not isinstance(ids, Iterable):
            raise TypeError(f"decode: expected a row of integers, found {type(ids).__name__}")
        ids = list(ids)
    try:
        array = np.asarray(ids)
    except ValueError:
        raise TypeError("decode: expected a row of integers, found rows in it") from None
    if array.size and (array.ndim != 1 or array.dtype.kind not in "iu"):
        raise TypeError(
            f"decode: expected a row of integers, found {array.dtype} of shape {array.shape}"
        )
    return array


def _pieces(
    mergeable_ranks: Mapping[bytes, int], special_tokens: Mapping[str, int]
) -> list[bytes | None]:
    """Bytes by id, a special token's name included; None for unused ids."""
    if not mergeable_ranks:
        raise UserError("tokenizer: no ranks; expected at least the 256 bytes")

    ids = [*mergeable_ranks.values(), *special_tokens.values()]
    for wrong in (i for i in ids if not isinstance(i, int)):
        raise TypeError(f"tokenizer: id {wrong!r}: expected int, found {type(wrong).__name__}")
    if min(ids) < 0 or max(ids) >= storage.MAX_RANK:
        raise UserError(
            f"tokenizer: ids from {min(ids)} to {max(ids)}; expected 0 to {storage.MAX_RANK - 1}"
        )

    pieces: list[bytes | None] = [None] * (max(ids) + 1)
    for token, rank in mergeable_ranks.items():
        if not isinstance(token, bytes):
            raise TypeError(f"token {token!r}: expected bytes, found {type(token).__name__}")
        if not token or pieces[rank] is not None:
            raise UserError(
                f"token {token!r}: empty, or its id {rank} is another's, too; these are not the "
                "ranks of a byte-level BPE"
            )
        pieces[rank] = token
    for name, special in special_tokens.items():
        check_special_name(name)
        if pieces[special] is not None:
            raise UserError(
                f"special token {name}: id {special} is taken by {pieces[special]!r}; choose a "
                "free id"
            )
        pieces[special] = name.encode()
    return pieces
