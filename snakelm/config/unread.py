"""Keys that something of this kind doesn't read: set all the same, they are what somebody meant to
have and doesn't get, so each is an error. What a preset sets counts as nobody's wish.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UserError
from .check_sections import PersonalData
from .data_sections import Deduplicate, SftSource, Source, TokenizerConfig
from .forget_sections import Forget
from .preference_section import PreferenceSource
from .section import Section

__all__ = ["check_given", "check_modes", "check_unread"]

# How a file is read, by the section of its source.
OF_FILES: Mapping[type[Section], Sequence[str]] = {
    Source: ("text", "format", "split", "split_kb"),
    SftSource: ("format", "columns", "ignore"),
    PreferenceSource: ("columns",),
}
OF_TRAINED = ("vocab_size", "train_mb")  # keys of a tokenizer that is trained
SIZED = ("auto", "size")  # ways to split a text file that look at the size of the pieces


def check_given(own: Mapping[str, Any], tokenizer: TokenizerConfig) -> None:
    """UserError for a key among the user's ``own`` that this ``tokenizer`` doesn't read."""
    given = own.get("tokenizer", {})
    for name in OF_TRAINED if tokenizer.kind == "tiktoken" else ():
        if name in given:
            raise UserError(
                f"tokenizer.{name}: found {given[name]}, and kind: tiktoken takes the tokens of a "
                "file and trains none; leave it out, or set kind: bpe"
            )


def check_modes(deduplicate: Deduplicate, personal_data: PersonalData, forget: Forget) -> None:
    """UserError for a key that another of its section leaves without effect."""
    # Near copies of what is to be forgotten are looked for by the same keys.
    if not deduplicate.minhash and not (forget.documents and forget.near):
        why = "minhash: false compares no near duplicates; leave it out, or set minhash: true"
        _check_default("deduplicate", deduplicate, ("threshold", "permutations", "shingle"), why)
    if not deduplicate.minhash and not deduplicate.exact:
        why = "with exact and minhash false every copy stays; leave it out, or set one of them"
        _check_default("deduplicate", deduplicate, ("keep",), why)
    if "phone" not in personal_data.kinds:
        why = "personal_data.kinds has no phone; leave it out, or look for phone too"
        _check_default("personal_data", personal_data, ("regions",), why)


def check_unread(
    tokenizer: TokenizerConfig,
    documents: Sequence[Source],
    conversations: Sequence[SftSource],
    preferences: Sequence[PreferenceSource],
) -> None:
    """UserError for the first key that has no effect where it is."""
    if tokenizer.file and tokenizer.kind == "bpe":
        raise UserError(
            f"tokenizer.file: found {tokenizer.file!r}, and tokenizer.kind is bpe, which trains a "
            "tokenizer and reads no file; set kind: tiktoken, or leave file out"
        )

    lists: Mapping[str, Sequence[Source | SftSource | PreferenceSource]] = {
        "sources": documents,
        "sft_data.sources": conversations,
        "preferences.sources": preferences,
    }
    for section, sources in lists.items():
        for i, source in enumerate(sources):
            if source.builtin:
                _check_builtin(f"{section}[{i}]", source)

    for i, document in enumerate(documents):
        if document.split_kb is not None and document.split not in SIZED:
            raise UserError(
                f"sources[{i}].split_kb: found {document.split_kb:g}, and split: {document.split} "
                "makes no pieces of a size; set split: size, or leave split_kb out"
            )


def _check_builtin(where: str, source: Source | SftSource | PreferenceSource) -> None:
    """UserError for a key that says how a file is read, of text that comes from none."""
    why = f"builtin: {source.builtin} reads no file; leave it out, or give a path instead"
    _check_default(where, source, OF_FILES[type(source)], why)


def _check_default(where: str, section: Section, names: Sequence[str], why: str) -> None:
    """UserError, with ``why``, for one of the keys ``names`` that isn't as it is by itself."""
    for name in names:
        found, field = getattr(section, name), type(section).model_fields[name]
        if found != field.get_default(call_default_factory=True):
            raise UserError(f"{where}.{name}: found {found!r}, and {why}")
