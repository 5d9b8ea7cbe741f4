"""Encodings that OpenAI published, recognised by the SHA-256 of their ranks file, which tiktoken
states too.

Decision: of their special tokens only the end-of-text token is kept, since documents use no other.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from .patterns import pattern_name
from .special import CHAT, EOT
from .storage import read_ranks
from .tokenizer import Tokenizer

__all__ = ["KnownEncoding", "known_encoding", "published"]

DEFAULT = "cl100k"  # of tokenizer.pattern: nobody need have asked for it


class KnownEncoding(NamedTuple):
    """What a published ranks file does not say about itself."""

    name: str
    pattern: str
    eot: int  # id of <|endoftext|>


KNOWN = {
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930": KnownEncoding(
        "r50k_base", "gpt2", 50256
    ),
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069": KnownEncoding(
        "p50k_base", "gpt2", 50256
    ),
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": KnownEncoding(
        "cl100k_base", "cl100k", 100257
    ),
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d": KnownEncoding(
        "o200k_base", "o200k", 199999
    ),
}


def known_encoding(data: bytes) -> KnownEncoding | None:
    """The published encoding whose file has these bytes."""
    return KNOWN.get(hashlib.sha256(data).hexdigest())


def published(ranks_file: str | Path, pattern: str) -> Tokenizer:
    """The tokenizer of a ranks file, with an end-of-text token and the chat tokens.

    A published file brings its own pattern and end-of-text id; any other has ``pattern``, and the
    id after its last. The chat tokens take the ids after all of these. UserError for a published
    file and another ``pattern`` than its own or the default one.
    """
    ranks, data = read_ranks(ranks_file)
    last = max(ranks.values(), default=-1)

    known = known_encoding(data)
    if known:
        if pattern_name(pattern) not in (DEFAULT, known.pattern):
            raise UserError(
                f"tokenizer.pattern: found {pattern!r}, and {ranks_file} is {known.name} as it was "
                f"published, which has {known.pattern}; leave it out"
            )
        pattern, eot, facts = known.pattern, known.eot, {"published": known.name}
    else:
        eot, facts = last + 1, {}

    first = max(eot, last) + 1
    specials = {EOT: eot} | {name: first + i for i, name in enumerate(CHAT)}
    return Tokenizer(ranks, pattern, specials, facts)
