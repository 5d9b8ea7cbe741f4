"""Reading tokenizer.json: byte-level BPE as Hugging Face's `tokenizers` saves it (GPT-2, Qwen,
Llama 3 and what is trained in that form), with equal ids, or a refusal that says why not.

That library merges listed pairs in the order of the list; here any two neighbours whose bytes are a
token merge, the lowest id first. The two agree where (1) the pairs are listed in the order of the
ids that they make, and (2) the pair that each token's bytes end with under lower ids is listed.
Then no other pair of that token is ever neighbours when its turn comes, so further ones, of which
Llama 3's file has two for each token, change nothing. Both conditions are checked.

What is not taken over, because it isn't part of turning text into ids here: post-processors (they
add tokens such as the beginning of text), truncation and padding. Added tokens, special or not, are
special tokens: text never makes them unless `encode` is told so (`allowed_special="all"` is what
that library does).
"""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError
from ..json_files import read_json
from .huggingface import byte_characters
from .patterns import CL100K, GPT2, PATTERNS, pattern_name
from .storage import MAX_RANK

__all__ = ["ReadTokenizer", "check_merges", "read_tokenizer_json"]

REMEDY = "expected a tokenizer.json with a byte-level BPE"
Json = dict[str, Any]


@dataclass(frozen=True)
class ListedToken:
    """An entry of `added_tokens`."""

    id: int
    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False


@dataclass(frozen=True)
class BpeModel:
    """`model`."""

    vocab: dict[str, int]
    merges: list[str | tuple[str, str]]
    dropout: float | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None
    ignore_merges: bool = False


@dataclass(frozen=True)
class Document:
    """The parts of the file that decide ids."""

    model: BpeModel
    added_tokens: list[ListedToken] = field(default_factory=list)
    normalizer: Json | None = None
    pre_tokenizer: Json | None = None
    post_processor: Json | None = None
    decoder: Json | None = None


class ReadTokenizer(NamedTuple):
    """What was read; `check_merges` has to see the tokenizer that is made of it."""

    path: Path
    ranks: dict[bytes, int]
    pattern: str
    special_tokens: dict[str, int]
    facts: Json
    model: BpeModel


def read_tokenizer_json(path: str | Path, *, assume_nfc: bool = False) -> ReadTokenizer:
    """The parts of a tokenizer.json, or of that in a folder.

    ``assume_nfc``: the file may ask for Unicode's form NFC, which is not applied: ids are equal for
    text that is in it already. UserError for whatever would make other ids.
    """
    path = Path(path)
    path = path / "tokenizer.json" if path.is_dir() else path
    head = read_json(path, dict, what="a tokenizer.json", remedy=REMEDY)
    model = head.get("model")
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if kind != "BPE":
        raise UserError(f"{path}: model {kind!r}; {REMEDY}")
    document = read_json(path, Document, remedy=REMEDY)

    try:
        return _parts(path, document, assume_nfc)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _parts(path: Path, document: Document, assume_nfc: bool) -> ReadTokenizer:
    _check_model(document.model)
    _check_normalizer(document.normalizer, assume_nfc)
    if _types(document.decoder) - {"ByteLevel"}:
        raise UserError(f"decoder {_types(document.decoder)}; expected ByteLevel")

    specials = _special_tokens(document.added_tokens, document.model.vocab)
    ranks = _ranks(document.model.vocab, specials)
    facts: Json = {"read_from": "tokenizer.json"}
    if document.normalizer:
        facts["normalizer_left_out"] = "NFC"
    if left_out := _types(document.post_processor) - {"ByteLevel"}:
        facts["post_processor_left_out"] = sorted(left_out)
    pattern = _pattern(document.pre_tokenizer)
    return ReadTokenizer(path, ranks, pattern, specials, facts, document.model)


def _check_model(model: BpeModel) -> None:
    if model.dropout:
        raise UserError(f"model.dropout {model.dropout}: ids would be random; set it to null")
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if value := getattr(model, name):
            raise UserError(f"model.{name} {value!r}: not byte-level; {REMEDY}")


def _check_normalizer(normalizer: Json | None, assume_nfc: bool) -> None:
    types = _types(normalizer)
    if types - {"NFC"}:
        raise UserError(f"normalizer {sorted(types)}: changes the text; expected none, or NFC")
    if types and not assume_nfc:
        raise UserError(
            "normalizer NFC: text is not normalised here; where yours is in NFC already, as nearly "
            "all text is, pass assume_nfc=True for equal ids"
        )


def _types(part: Json | None) -> set[str]:
    """The types in a part of the pipeline, those inside sequences too."""
    if part is None:
        return set()
    if part.get("type") != "Sequence":
        return {str(part.get("type"))}
    lists = [part[name] for name in ("normalizers", "decoders", "processors") if name in part]
    inside = lists[0] if lists else None
    if not isinstance(inside, list) or not all(isinstance(item, dict) for item in inside):
        raise UserError(f"a Sequence without its list: {sorted(part)}; {REMEDY}")
    return {str(item.get("type")) for item in inside}


def _pattern(pre_tokenizer: Json | None) -> str:
    """GPT-2's ByteLevel, or Split by an expression and then ByteLevel without one."""
    steps = [pre_tokenizer] if pre_tokenizer else []
    if pre_tokenizer and pre_tokenizer.get("type") == "Sequence":
        steps = pre_tokenizer.get("pretokenizers")  # type: ignore[assignment]
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise UserError(f"pre_tokenizer: found {str(steps)[:60]}; expected objects")

    types = [step.get("type") for step in steps]
    if types not in (["ByteLevel"], ["Split", "ByteLevel"]):
        raise UserError(f"pre_tokenizer {types}: expected ByteLevel, or Split and ByteLevel")
    byte_level = steps[-1]
    if byte_level.get("add_prefix_space", True) is not False:
        raise UserError("pre_tokenizer ByteLevel: add_prefix_space changes the text; not supported")

    own_pattern = byte_level.get("use_regex", True) is not False
    if own_pattern == (len(steps) == 2):
        raise UserError("pre_tokenizer: expected either Split or ByteLevel's own expression")
    return "gpt2" if own_pattern else _split_pattern(steps[0])


def _split_pattern(split: Json) -> str:
    """The pattern of a Split step that keeps all text."""
    given = split.get("pattern")
    expression = given.get("Regex") if isinstance(given, dict) else None
    if not isinstance(expression, str):
        raise UserError(f"pre_tokenizer Split: pattern {str(given)[:60]}; expected a Regex")
    if expression in (GPT2, CL100K):
        raise UserError(
            "pre_tokenizer Split: tiktoken's expression, which tokenizers itself reads otherwise "
            "($ is the end of a line there); read its ranks with Tokenizer.from_tiktoken"
        )

    pattern = pattern_name(expression)
    how = split.get("behavior"), split.get("invert", False)
    if how == ("Isolated", False) or (how == ("Removed", True) and pattern in PATTERNS):
        return pattern
    raise UserError(f"pre_tokenizer Split: behavior {how[0]}, invert {how[1]}; expected Isolated")


def _special_tokens(added: list[ListedToken], vocab: dict[str, int]) -> dict[str, int]:
    specials: dict[str, int] = {}
    for token in added:
        if token.single_word or token.lstrip or token.rstrip:
            raise UserError(
                f"added token {token.content!r}: single_word, lstrip and rstrip match more or less "
                "than its name; not supported"
            )
        if token.content in specials or vocab.get(token.content, token.id) != token.id:
            raise UserError(f"added token {token.content!r}: has two ids; the file is damaged")
        specials[token.content] = token.id
    _check_overlaps(added)
    return specials


def _check_overlaps(added: list[ListedToken]) -> None:
    """That it doesn't matter which tokens are looked for first: that library takes those that
    aren't `normalized` out of the text before it looks for the others, we take what begins first.
    """
    for late in (token.content for token in added if token.normalized):
        for early in (token.content for token in added if not token.normalized):
            shared = any(late.endswith(early[:n]) for n in range(1, len(early)))
            if shared or early in late:
                raise UserError(
                    f"added tokens {late!r} and {early!r}: may overlap in text, and one of them is "
                    "`normalized`, so that tokenizers looks for the other first; not supported"
                )


def _ranks(vocab: dict[str, int], specials: dict[str, int]) -> dict[bytes, int]:
    """Token bytes → id."""
    table = {ord(character): b for b, character in enumerate(byte_characters())}
    ranks: dict[bytes, int] = {}
    for name, rank in vocab.items():
        if name in specials:
            continue
        if not name or any(ord(character) not in table for character in name):
            raise UserError(f"token {name!r}: not in GPT-2's characters for bytes; {REMEDY}")
        if not 0 <= rank < MAX_RANK:
            raise UserError(f"token {name!r}: id {rank}; expected 0 to {MAX_RANK - 1}")
        ranks[bytes(table[ord(character)] for character in name)] = rank

    if len(set(ranks.values())) != len(ranks):
        raise UserError("model.vocab: an id is given to two tokens; the file is damaged")
    return ranks


def _pair(merge: str | tuple[str, str]) -> tuple[str, str]:
    """Both forms there are: "a b" and ["a", "b"]."""
    if isinstance(merge, tuple):
        return merge
    left, _, right = merge.partition(" ")
    return left, right


def check_merges(read: ReadTokenizer, reached: list[tuple[int, int] | None]) -> None:
    """That merging by ids is what the listed merges do; see the top of the file.

    ``reached``: `Tokenizer.merges` of the tokenizer.
    """
    model = read.model
    listed: dict[int, set[tuple[int, int]]] = defaultdict(set)
    last = -1
    for merge in model.merges:
        left, right = _pair(merge)
        made = model.vocab.get(left + right)
        if made is None or left not in model.vocab or right not in model.vocab:
            raise UserError(f"merge {merge!r}: of tokens that are not in model.vocab")
        if made < last:
            raise UserError(
                f"merge {merge!r}: makes id {made} after id {last} was made; ids in another order "
                "than the merges are not supported"
            )
        listed[made].add((model.vocab[left], model.vocab[right]))
        last = made

    for token, rank in read.ranks.items():
        pair = reached[rank]
        if len(token) > 1 and pair is None and not model.ignore_merges:
            raise UserError(
                f"token {token!r} (id {rank}): merging never makes it, so without ignore_merges "
                "it is none; not supported"
            )
        if pair is not None and pair not in listed[rank]:
            raise UserError(
                f"token {token!r} (id {rank}): its bytes merge from ids {pair[0]} and {pair[1]}, "
                "which model.merges doesn't list; ids would differ"
            )
