"""Expressions that no scanner knows: pieces, ids, training, refusals; what other tools call a
pattern.
"""

import pickle

import numpy as np
import pyarrow as pa
import pytest
import tokenizers

from snakelm import _text, expressions
from snakelm.config.checks import checked
from snakelm.config.schema import Config
from snakelm.errors import UserError
from snakelm.expressions import ENCODINGS, NAMES, Expression
from snakelm.tokenizer import Tokenizer, train_bpe
from snakelm.tokenizer.patterns import CL100K, llamacpp_name, slow_pattern
from snakelm.tokenizer.split_elsewhere import SplitEncoder

# Matches all of a text, and has no scanner.
WORDS = r"\p{L}++|\p{N}++|\s++|[^\s\p{L}\p{N}]++"


@pytest.fixture(scope="module")
def tokenizer(documents) -> Tokenizer:
    return train_bpe(documents, 1000, WORDS)


def test_ids_equal_tiktokens_and_huggingfaces(tokenizer, documents, nasty, tmp_path):
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).sha256 == tokenizer.sha256
    reference = tokenizer.to_tiktoken()
    exported = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in documents[::9] + nasty[::20]:
        ids = tokenizer.encode_ordinary(text)
        assert ids == reference.encode_ordinary(text), text
        if "<|" not in text:
            assert ids == exported.encode(text).ids, text


def test_batches_are_texts_one_by_one(tokenizer, documents):
    texts = ["", *documents[:9], "", "a\ud800b", "漢字"]
    ids, offsets = tokenizer.encode_batch(texts, threads=2)
    rows = [tokenizer.encode_ordinary(text) for text in texts]
    assert [row.tolist() for row in np.split(ids, offsets[1:-1])] == rows
    assert (ids.dtype, offsets.dtype) == (np.uint32, np.int64)

    for array in (pa.array(["", "one two", "漢字"]), pa.array(["xx", "one two"]).slice(1)):
        found = tokenizer.encode_batch(array)
        expected = tokenizer.encode_batch(array.to_pylist())
        assert [part.tolist() for part in found] == [part.tolist() for part in expected]
    again = pickle.loads(pickle.dumps(tokenizer))  # noqa: S301 - our own bytes
    assert again.encode_ordinary("one two") == tokenizer.encode_ordinary("one two")


def test_a_text_may_begin_with_an_id_and_ids_may_have_16_bits():
    encoder = SplitEncoder([bytes([b]) for b in range(256)], WORDS)
    ids, offsets = encoder.encode_strings(["ab", "", b"c\xff"], 1, 16, 7)
    assert (ids.dtype, ids.tolist()) == (np.uint16, [7, 97, 98, 7, 7, 99, 255])
    assert offsets.tolist() == [0, 3, 4, 7]
    assert encoder.encode_strings([], 1, 32, 7)[1].tolist() == [0]


def test_training_by_expression_is_training_by_scanner(documents, nasty):
    texts = [text for text in documents + nasty[:500] if text.isprintable() or "\n" in text]
    named, matched = (
        train_bpe(texts, 600, "cl100k"),
        train_bpe(pa.array(texts), 600, f"(?:{CL100K})"),
    )
    assert matched.mergeable_ranks == named.mergeable_ranks
    assert matched.facts == named.facts
    assert matched.sha256 != named.sha256


def test_nothing_of_a_text_is_lost(nasty):
    """tiktoken and the like drop what an expression does not match."""
    assert Expression(r"\w+").split("!a b??") == ["!", "a", " ", "b", "??"]
    assert not Expression(r"\w+").covers
    assert Expression(WORDS).covers
    assert Expression(r"(?<=a)|\s").split("aa b") == ["aa", " ", "b"]
    assert Expression(r"[\p{L}--[a]]+|[[a]b]").split("xya") == ["xy", "a"]
    tokenizer = Tokenizer({bytes([b]): b for b in range(256)}, r"\p{L}+")
    for text in nasty[:300]:
        assert tokenizer.decode(tokenizer.encode_ordinary(text)) == text
    bytes_ = b"a\xff\xe6\xbcb\xed\xa0\x80"
    assert tokenizer.decode_bytes(tokenizer.encode_batch(pa.array([bytes_]))[0]) == bytes_


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (r"(\w+", "no regular expression: missing"),
        (r"\p{Nonsense}+", "no regular expression: unknown property"),
        (r"\w*", "matches the empty text; write"),
        (r"\s+|$", "matches the empty text"),
        ("(?!)x", "matches nothing of a sample"),
        ("cl200k_base", "neither a name that is known nor an expression"),
        ("", "neither a name|matches the empty"),
        ("a|" * 9000 + "b", "longer than 10,000 characters"),
    ],
    ids=["open", "property", "empty", "end", "nothing", "typo", "no-text", "long"],
)
def test_an_expression_that_cannot_split_is_refused_when_the_configuration_is_read(
    expression, message
):
    with pytest.raises(UserError, match=message) as refused:
        checked(Config.model_validate({"tokenizer": {"pattern": expression}}))
    assert "tokenizer pattern: found" in str(refused.value)
    assert len(str(refused.value)) < 600


def test_the_configuration_takes_every_name_and_expression():
    for pattern in (*NAMES, *ENCODINGS, WORDS, CL100K):
        config = checked(Config.model_validate({"tokenizer": {"pattern": pattern}}))
        assert config.tokenizer.pattern == pattern


def test_backtracking_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr(expressions, "SECONDS", 0.2)
    with pytest.raises(UserError, match="took more than 0 seconds: it backtracks; make"):
        Expression(r"(?:a|a)+b|\s").split("a" * 40)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("dell'arte", "dell'|arte"),
        ("c’est qu’il", "c’|est| qu’|il"),
        ("l'un po' di nell'800", "l'|un| po|'| di| nell'|800"),
        ("«l'été» 'ciao'", "«l'|été|»| '|ciao|'"),
        ("aujourd'hui l''x", "aujourd'|hui| l|''|x"),
    ],
)
def test_the_apostrophe_of_an_elision_ends_its_word(text, pieces):
    data, at, found = text.encode(), 0, []
    for length in _text.split("elision", data):
        found.append(data[at : at + length].decode())
        at += length
    assert found == pieces.split("|")


def test_which_patterns_llamacpp_knows():
    known = {name: llamacpp_name(name) for name in NAMES}
    assert known == {
        "gpt2": "gpt-2",
        "cl100k": "llama-bpe",
        "o200k": "gpt-4o",
        "llama3": "llama-bpe",
        "qwen2": "qwen2",
        "nanochat": None,
        "elision": None,
    }
    assert llamacpp_name(WORDS) is None


def test_a_slow_pattern_is_said_to_be_one():
    assert not any(map(slow_pattern, [*NAMES, *ENCODINGS, CL100K]))
    assert "llama.cpp does not know it" in slow_pattern(WORDS)
    assert "tiktoken loses" in slow_pattern(r"\w+")
    assert "tiktoken loses" not in slow_pattern(WORDS)
