"""What tiktoken's Encoding offers beyond encoding and decoding a text, by tiktoken's names and with
its results, so that code written for it takes a Tokenizer.

Left out: `encode_batch` is our own, with arrays as its result (`encode_ordinary_batch` gives
lists); `encode_with_unstable`, which tiktoken itself calls unstable. ``num_threads`` is taken
wherever tiktoken takes it.
"""

import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from ..errors import UserError

__all__ = ["Ids", "TiktokenNames", "UnknownTokenError"]

Ids = Iterable[int] | np.ndarray
Special = Literal["all"] | Collection[str]

THREADS = 8  # tiktoken's default


class UnknownTokenError(UserError, KeyError):
    """An id or a token that the vocabulary doesn't have; a KeyError as well, as in tiktoken."""

    __str__ = Exception.__str__  # KeyError's puts the message in quotes


class TiktokenNames(ABC):
    """The names, over the four that a Tokenizer has."""

    special_tokens: dict[str, int]
    facts: dict[str, Any]

    @property
    @abstractmethod
    def mergeable_ranks(self) -> dict[bytes, int]:
        """Token bytes → id."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """One more than the largest id."""

    @property
    @abstractmethod
    def eot(self) -> int:
        """Id of `<|endoftext|>`."""

    @abstractmethod
    def encode_ordinary(self, text: str) -> list[int]:
        """Token ids; names of special tokens are ordinary text."""

    @abstractmethod
    def encode_batch(self, texts: Any, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """All texts' ids end to end, and where each begins."""

    @abstractmethod
    def decode_bytes(self, tokens: Ids) -> bytes:
        """The bytes of the ids."""

    @property
    def name(self) -> str:
        """Of the published encoding that this is, or `snakelm`."""
        return str(self.facts.get("published", "snakelm"))

    @property
    def n_vocab(self) -> int:
        """One more than the largest id."""
        return self.vocab_size

    @property
    def max_token_value(self) -> int:
        """The largest id."""
        return self.vocab_size - 1

    @property
    def eot_token(self) -> int:
        """Id of `<|endoftext|>`."""
        return self.eot

    @property
    def special_tokens_set(self) -> set[str]:
        """Names of the special tokens."""
        return set(self.special_tokens)

    def is_special_token(self, token: int) -> bool:
        """Whether the id is a special token's."""
        return token in self.special_tokens.values()

    def token_byte_values(self) -> list[bytes]:
        """The bytes of all tokens but the special ones, sorted."""
        return sorted(self.mergeable_ranks)

    def encode(
        self,
        text: str,
        *,
        allowed_special: Special = (),
        disallowed_special: Special = "all",
    ) -> list[int]:
        """Token ids, special ones too where the text has the name of one that is allowed.

        A disallowed name in the text is a ValueError (UserError); "all" means all that aren't
        allowed. What is neither is ordinary text.
        """
        if not isinstance(text, str):
            raise TypeError(f"encode: expected str, found {type(text).__name__}")
        allowed = _names(allowed_special, self.special_tokens)
        disallowed = _names(disallowed_special, self.special_tokens.keys() - allowed)
        if disallowed and (found := _one_of(disallowed).search(text)):
            name = found.group()
            raise UserError(
                f"encode: found the name of the special token {name!r} in the text; pass it in "
                "allowed_special to encode it as that token, or disallowed_special=() to take all "
                "such names as ordinary text (encode_ordinary does)"
            )

        allowed = allowed.intersection(self.special_tokens)
        if not allowed:
            return self.encode_ordinary(text)

        ids: list[int] = []
        at = 0
        for match in _one_of(allowed).finditer(text):
            ids += self.encode_ordinary(text[at : match.start()])
            ids.append(self.special_tokens[match.group()])
            at = match.end()
        return ids + self.encode_ordinary(text[at:])

    def encode_to_numpy(
        self, text: str, *, allowed_special: Special = (), disallowed_special: Special = "all"
    ) -> np.ndarray:
        """As `encode`: uint32 [tokens]."""
        ids = self.encode(
            text, allowed_special=allowed_special, disallowed_special=disallowed_special
        )
        return np.array(ids, np.uint32)

    def encode_ordinary_batch(
        self, text: Sequence[str], *, num_threads: int = THREADS
    ) -> list[list[int]]:
        """`encode_ordinary` of each text."""
        ids, offsets = self.encode_batch(text, threads=num_threads)
        flat, bounds = ids.tolist(), offsets.tolist()
        return [flat[a:b] for a, b in pairwise(bounds)]

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """The id of a token or special token; KeyError where there is none."""
        text = text_or_bytes
        if not isinstance(text, str | bytes):
            found = type(text).__name__
            raise TypeError(f"encode_single_token: expected str or bytes, found {found}")
        try:
            token = text.encode() if isinstance(text, str) else text
        except UnicodeEncodeError:
            token = b""  # a lone surrogate is part of no token
        if token in self.mergeable_ranks:
            return self.mergeable_ranks[token]
        name = token.decode("utf-8", "surrogateescape")  # bytes that are no name's stay none
        if name in self.special_tokens:
            return self.special_tokens[name]
        raise UnknownTokenError(f"encode_single_token: {text_or_bytes!r} is no token")

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The bytes of one id; KeyError where it stands for nothing."""
        return self.decode_bytes([token])

    def decode_tokens_bytes(self, tokens: Ids) -> list[bytes]:
        """The bytes of each id."""
        return [self.decode_bytes([token]) for token in tokens]

    def decode_with_offsets(self, tokens: Ids) -> tuple[str, list[int]]:
        """The text of the ids and, for each, the character that it begins with or within.

        UnicodeDecodeError where the bytes together are not UTF-8.
        """
        pieces = self.decode_tokens_bytes(tokens)
        offsets, length = [], 0
        for piece in pieces:
            within = 0x80 <= piece[0] < 0xC0
            offsets.append(max(0, length - within))
            length += sum(not 0x80 <= byte < 0xC0 for byte in piece)
        return b"".join(pieces).decode("utf-8"), offsets

    def decode_batch(
        self, batch: Iterable[Ids], *, errors: str = "replace", num_threads: int = THREADS
    ) -> list[str]:
        """The text of each row of ids."""
        return [self.decode_bytes(ids).decode("utf-8", errors) for ids in batch]

    def decode_bytes_batch(
        self, batch: Iterable[Ids], *, num_threads: int = THREADS
    ) -> list[bytes]:
        """The bytes of each row of ids."""
        return [self.decode_bytes(ids) for ids in batch]


def _names(special: Special, every: Collection[str]) -> frozenset[str]:
    """The names that a caller means; "all" are ``every``."""
    if special == "all":
        return frozenset(every)
    if isinstance(special, str):
        raise TypeError(f'encode: expected "all" or a set of names, found {special!r}')
    return frozenset(special)


@functools.lru_cache(maxsize=128)
def _one_of(names: frozenset[str]) -> re.Pattern[str]:
    """Matches any of the names; of two that begin alike the longer."""
    return re.compile("|".join(map(re.escape, sorted(names, key=lambda name: (-len(name), name)))))
