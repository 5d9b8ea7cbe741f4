"""tokenizer.json: the tokenizer as Hugging Face's `tokenizers` loads it, with equal ids.

That library's BPE is given pairs to merge, ours ranks. For ranks that BPE training made, the pair a
token was made from is the only one that ever merges into it, so one pair a token says the same. A
published file can hold tokens that merging never reaches: these match only a complete word
(`ignore_merges`), with us, in tiktoken and there. The one difference: in text, that library takes
the name of a special token for the token itself.
"""

from typing import TYPE_CHECKING, Any

from .patterns import huggingface_regex

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

__all__ = ["byte_characters", "tokenizer_json"]


def byte_characters() -> list[str]:
    """A printable character for each byte, as GPT-2's vocabulary file writes them: [256]."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]

    characters = [chr(b) for b in range(256)]
    for i, b in enumerate(others):
        characters[b] = chr(0x100 + i)
    return characters


def tokenizer_json(tokenizer: "Tokenizer") -> dict[str, Any]:
    """The document, as plain JSON types."""
    table = str.maketrans({b: character for b, character in enumerate(byte_characters())})
    names = {
        rank: token.decode("latin-1").translate(table)
        for token, rank in tokenizer.mergeable_ranks.items()
    }
    merges = [[names[pair[0]], names[pair[1]]] for pair in tokenizer.merges() if pair]

    specials = dict(sorted(tokenizer.special_tokens.items(), key=lambda item: item[1]))
    vocabulary = {names[rank]: rank for rank in sorted(names)} | specials

    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    split = {
        "type": "Split",
        "pattern": {"Regex": huggingface_regex(tokenizer.pattern)},
        "behavior": "Isolated",
        "invert": False,
    }

    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(name, special) for name, special in specials.items()],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": dict(sorted(vocabulary.items(), key=lambda item: item[1])),
            "merges": merges,
        },
    }


def _added(name: str, special: int) -> dict[str, Any]:
    """An entry of `added_tokens`."""
    return {
        "id": special,
        "content": name,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
