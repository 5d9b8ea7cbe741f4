"""The tokenizer of a model that training goes on from, with what our documents and conversations
need: every id of the model's stays what it is.

Our documents begin with `<|endoftext|>`. A model of another family has begun its documents with a
token of another name (`<|begin_of_text|>`), which is the first that it attends to everywhere; that
one plays the part, and is called so from here on. Chat tokens, which a base of ours has, get the
ids after the last.
"""

from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..json_files import read_json
from ..model_folders import SHAPE
from .special import CHAT, EOT
from .tokenizer import Tokenizer

__all__ = ["BaseTokenizer", "tokenizer_of_base"]


class BaseTokenizer(NamedTuple):
    """``trained``: ids that the model has; those from there on are new to it. ``renamed``: what its
    end-of-text token was called.
    """

    tokenizer: Tokenizer
    trained: int
    renamed: str | None = None


def tokenizer_of_base(path: Path) -> BaseTokenizer:
    """That of a folder as export or transformers writes it, or of a model's file in a results
    folder; UserError for one whose ids would differ from the model's.
    """
    if not path.is_dir():
        tokenizer = Tokenizer.load(path.parent / "tokenizer")
        return BaseTokenizer(tokenizer, tokenizer.vocab_size)

    # Text is not normalised here; most of it is in Unicode's form NFC already (`facts` has it).
    theirs = Tokenizer.from_huggingface(path, assume_nfc=True)
    specials, renamed = dict(theirs.special_tokens), None
    if EOT not in specials and (renamed := _first_token(path, theirs)):
        specials[EOT] = specials.pop(renamed)

    trained = theirs.vocab_size
    missing = [name for name in (EOT, *CHAT) if name not in specials]
    specials |= {name: trained + i for i, name in enumerate(missing)}
    tokenizer = Tokenizer(theirs.mergeable_ranks, theirs.pattern, specials, theirs.facts)
    return BaseTokenizer(tokenizer, trained, renamed)


def _first_token(folder: Path, tokenizer: Tokenizer) -> str | None:
    """The special token that config.json says a text begins with, or else ends with."""
    config = read_json(folder / SHAPE, remedy="export the model again")
    names = {number: name for name, number in tokenizer.special_tokens.items()}
    for key in ("bos_token_id", "eos_token_id"):
        ids = config.get(key)
        for number in ids if isinstance(ids, list) else [ids]:
            if isinstance(number, int) and number in names:
                return names[number]
    return None


def check_extends(tokenizer: Tokenizer, base: BaseTokenizer, where: Path) -> None:
    """UserError unless every id of ``base`` stands for the same in ``tokenizer``."""
    old = base.tokenizer
    same = (
        tokenizer.pattern == old.pattern
        and tokenizer.plain_tokens()[: old.vocab_size] == old.plain_tokens()
        and old.special_tokens.items() <= tokenizer.special_tokens.items()
    )
    if not same:
        raise UserError(
            f"{where}: its tokenizer {old.sha256[:12]}… is neither the run's "
            f"({tokenizer.sha256[:12]}…) nor what that one extends; run train_tokenizer again with "
            "this train.base"
        )
