"""The model that tuning starts from: a file of ours, an exported folder, or a folder that
transformers saved.

A folder with only model.safetensors is as good as ours if its tokenizer.json describes our
tokenizer: the same tokens with the same ids, text split in the same way. In a folder with both
forms both must hold the same weights, or one of them is stale and there is no telling which.
"""

import hashlib
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from ..data.conversations.jinja_template import JINJA, PLAIN_JINJA, UNMARKED_JINJA
from ..errors import UserError
from ..files import sha256_file
from ..json_files import read_json
from ..model_folders import CHAT_TOKENS_TRAINED, SHAPE, TOKENIZER, WEIGHTS
from ..tokenizer import Tokenizer
from ..tokenizer.huggingface import tokenizer_json
from ..user_paths import OURS, base_files
from .decoder import Decoder
from .file import BaseRecord, TokenizerIdentity, knows_chat_tokens, load_model, read_plain
from .huggingface import from_huggingface, huggingface_weights

__all__ = ["base_digest", "base_files", "base_knows_chat_tokens", "load_base"]

TEMPLATES = {JINJA, PLAIN_JINJA, UNMARKED_JINJA}  # of a tuned model, by whatever wrote it


class TokenizerPart(BaseModel):
    """A part of a tokenizer.json, of which we read some keys."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Bpe(TokenizerPart):
    """Tokens and merges."""

    type: str
    vocab: dict[str, int]
    merges: list[str | list[str]]  # "a b", or since tokenizers 0.20 ["a", "b"]
    ignore_merges: bool | None = None


class Pattern(TokenizerPart):
    """A regular expression."""

    Regex: str


class PreTokenizerStep(TokenizerPart):
    """A way to split text; ours is by the pattern, then into bytes."""

    type: str
    pattern: Pattern | None = None


class PreTokenizerSteps(TokenizerPart):
    """One after the other."""

    pretokenizers: list[PreTokenizerStep]


class AddedToken(TokenizerPart):
    """A special token."""

    content: str
    id: int


class TokenizerJson(TokenizerPart):
    """What in a tokenizer.json decides a token's id."""

    model: Bpe
    normalizer: object
    pre_tokenizer: PreTokenizerSteps
    added_tokens: list[AddedToken]

    def decisive(self) -> dict[str, object]:
        """The same for the same tokenizer, whoever wrote the file; the keys are for people."""
        steps = self.pre_tokenizer.pretokenizers
        return {
            "kind": (self.model.type, self.normalizer, [step.type for step in steps]),
            "pattern": steps[0].pattern if steps else None,
            "vocabulary": self.model.vocab,
            "merges": [m.split(" ") if isinstance(m, str) else m for m in self.model.merges],
            "ignore_merges": bool(self.model.ignore_merges),
            "special tokens": {token.content: token.id for token in self.added_tokens},
        }


def base_digest(path: Path) -> str:
    """SHA-256 over `base_files`; of a single one, its own."""
    digests = [sha256_file(file) for file in base_files(path)]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def load_base(path: Path, tokenizer: Tokenizer) -> tuple[Decoder, BaseRecord]:
    """The model in evaluation mode and what is known of it; UserError for a model of another
    tokenizer.
    """
    files = base_files(path)
    if len(files) == 1:
        model, record = load_model(files[0])
        _check_sha256(files[0], record["tokenizer"]["sha256"], tokenizer)
        if path.is_dir() and (path / WEIGHTS).is_file():
            _check_same_weights(path, model)
        return model, record

    model = from_huggingface(path)
    _check_tokenizer(path, model, tokenizer)
    about: TokenizerIdentity = {"sha256": tokenizer.sha256, "vocab_size": tokenizer.vocab_size}
    chat, chat_tokens = _tuned(path)
    return model, {"tokenizer": about, "chat": chat, "chat_tokens": chat_tokens}


def _check_sha256(path: Path, sha256: str, tokenizer: Tokenizer) -> None:
    if sha256 != tokenizer.sha256:
        raise UserError(
            f"{path}: trained with tokenizer {sha256[:12]}…, but the conversations were made with "
            f"{tokenizer.sha256[:12]}…; name in sft.base a model of this tokenizer, or prepare the "
            "conversations with the model's"
        )


def _check_same_weights(folder: Path, ours: Decoder) -> None:
    theirs, own = huggingface_weights(from_huggingface(folder)), huggingface_weights(ours)
    if theirs.keys() != own.keys() or not all(torch.equal(theirs[name], own[name]) for name in own):
        raise UserError(
            f"{folder}: {OURS} and {WEIGHTS} hold different weights; remove the one that isn't "
            "meant, or export again"
        )


def _check_tokenizer(folder: Path, model: Decoder, tokenizer: Tokenizer) -> None:
    """UserError unless the folder's tokenizer.json encodes text as ``tokenizer`` does."""
    path = folder / TOKENIZER
    theirs = read_json(
        path,
        TokenizerJson,
        what="a byte-level BPE tokenizer",
        remedy="put the model's own tokenizer there, or name in sft.base a model of our tokenizer",
    ).decisive()
    ours = TokenizerJson.model_validate(tokenizer_json(tokenizer)).decisive()

    differences = [what for what in ours if theirs[what] != ours[what]]
    if model.vocab_size != tokenizer.vocab_size:
        differences.append(f"vocabulary size ({model.vocab_size:,} in {SHAPE})")
    if differences:
        raise UserError(
            f"{path}: not the tokenizer {tokenizer.sha256[:12]}… of the conversations; they differ "
            f"in {differences[0]}; name in sft.base a model of this tokenizer"
        )


def base_knows_chat_tokens(path: Path) -> bool:
    """Whether the chat tokens of a model to go on from are trained; of a folder by what lies beside
    its safetensors, which are what is read of it.
    """
    return any(_tuned(path)) if path.is_dir() else knows_chat_tokens(read_plain(path, mapped=True))


def _tuned(folder: Path) -> tuple[bool, bool]:
    """Whether it is tuned: then it has our chat template, in either of the places where
    transformers keeps one; and whether it was once, by its export's word.
    """
    config, template = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    settings: dict[str, object] = {}
    if config.is_file():
        settings = read_json(config, remedy="save the tokenizer again")

    templates = [settings.get("chat_template")]
    if template.is_file():
        templates.append(template.read_text("utf-8", errors="replace"))
    return any(one in TEMPLATES for one in templates), settings.get(CHAT_TOKENS_TRAINED) is True
