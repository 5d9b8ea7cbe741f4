"""What is called as in tiktoken gives what tiktoken gives, errors included."""

import inspect
import random

import numpy as np
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from snakelm.errors import UserError
from snakelm.tokenizer import EOT, Tokenizer, train_bpe
from snakelm.tokenizer.patterns import ENCODINGS

SPECIAL = {EOT: 2000, "<|user|>": 2001, "<|🐍|>": 2002, "<|fim_prefix|>": 2005}
LEFT_OUT = {"encode_batch", "encode_with_unstable"}


@pytest.fixture(scope="module", params=["gpt2", "cl100k", "o200k"])
def pair(request, documents) -> tuple[Tokenizer, tiktoken.Encoding]:
    ranks = train_bpe(documents, 2000, request.param, special_tokens=()).mergeable_ranks
    ours = Tokenizer(ranks, request.param, SPECIAL)
    return ours, ours.to_tiktoken()


def outcome(call, *args, **given_):
    """What a call returns, or the kind of its error."""
    try:
        return call(*args, **given_)
    except (ValueError, KeyError, TypeError) as error:
        kinds = (UnicodeDecodeError, KeyError, ValueError, TypeError)
        return next(kind for kind in kinds if isinstance(error, kind))


def test_every_public_name_is_there(pair):
    ours, theirs = pair
    names = {name for name in dir(theirs) if not name.startswith("_")}
    assert names <= {name for name in dir(ours) if not name.startswith("_")} | LEFT_OUT
    for name in names - LEFT_OUT:
        made, wanted = getattr(Tokenizer, name, None), getattr(tiktoken.Encoding, name, None)
        if inspect.isfunction(wanted) and name not in ("decode_bytes", "decode"):
            assert [*inspect.signature(made).parameters] == [*inspect.signature(wanted).parameters]


def test_what_is_known_of_the_vocabulary(pair):
    ours, theirs = pair
    for name in ("n_vocab", "max_token_value", "eot_token", "special_tokens_set", "name"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.token_byte_values() == theirs.token_byte_values()
    for i in range(ours.n_vocab + 3):
        assert ours.is_special_token(i) == theirs.is_special_token(i)


def test_random_texts_encode_as_in_tiktoken_whatever_is_allowed(pair, alphabet):
    """Names of special tokens, parts of them and what else a text may hold, in any order."""
    ours, theirs = pair
    source = random.Random(0)
    parts = [*SPECIAL, "<|unknown|>", "<|", "|>", "user", "\ud83d", "\ude42", *alphabet]
    sets = [(), set(), "all", {EOT}, {EOT, "<|user|>"}, frozenset({"<|unknown|>"}), {"<|🐍|>"}]
    found = set()
    for _ in range(1500):
        text = "".join(source.choices(parts, k=source.randrange(12)))
        allowed, disallowed = source.choice(sets[1:]), source.choice(sets)
        given_ = {"allowed_special": allowed, "disallowed_special": disallowed}
        expected = outcome(theirs.encode, text, **given_)
        assert outcome(ours.encode, text, **given_) == expected, (text, given_)
        assert outcome(ours.encode, text) == outcome(theirs.encode, text)
        found.add(type(expected))
    assert found == {list, type}  # ids, and errors


@given(text=st.text(max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_text_encodes_as_in_tiktoken(pair, text):
    ours, theirs = pair
    plain = {"disallowed_special": ()}  # a special token's name is one of the texts, now and then
    ids = theirs.encode(text, **plain)
    assert ours.encode(text, **plain) == ids
    assert ours.encode_to_numpy(text, **plain).tolist() == ids
    assert ours.decode_with_offsets(ids) == theirs.decode_with_offsets(ids)


def test_batches(pair, nasty):
    ours, theirs = pair
    texts = nasty[:200]
    ids = theirs.encode_ordinary_batch(texts)
    assert ours.encode_ordinary_batch(texts, num_threads=2) == ids
    assert ours.decode_batch(ids, num_threads=2) == theirs.decode_batch(ids)
    assert ours.decode_bytes_batch(ids) == theirs.decode_bytes_batch(ids)
    cut = [row[:-1] for row in ids]
    assert ours.decode_batch(cut, errors="ignore") == theirs.decode_batch(cut, errors="ignore")
    assert ours.decode(cut[0], errors="strict") == theirs.decode(cut[0], errors="strict")


def test_single_tokens(pair):
    ours, theirs = pair
    for i in range(ours.n_vocab + 3):  # unused ids and ids beyond the last among them
        expected = outcome(theirs.decode_single_token_bytes, i)
        assert outcome(ours.decode_single_token_bytes, i) == expected
    for token in [*theirs.token_byte_values(), *SPECIAL, "the", "no token", "", b"\xff\xff\xff"]:
        expected = outcome(theirs.encode_single_token, token)
        assert outcome(ours.encode_single_token, token) == expected
    ids = theirs.encode("漢字 and 🐍 words")
    assert ours.decode_tokens_bytes(ids) == theirs.decode_tokens_bytes(ids)


@pytest.mark.parametrize("ids", [[0xC3], [1000, 99999], [2004]], ids=["cut", "beyond", "unused"])
def test_what_cannot_be_decoded(pair, ids):
    ours, theirs = pair
    for name in ("decode_bytes", "decode_with_offsets", "decode_tokens_bytes"):
        expected = outcome(getattr(theirs, name), ids)
        assert outcome(getattr(ours, name), ids) == expected, name


def test_a_disallowed_name_says_what_to_do(pair):
    with pytest.raises(UserError, match=r"'<\|user\|>' in the text; pass it in allowed_special"):
        pair[0].encode("a<|user|>b")
    with pytest.raises(UserError, match=r"^decode: id 2004 stands for nothing"):
        pair[0].decode_single_token_bytes(2004)
    with pytest.raises(TypeError, match='expected "all" or a set of names, found'):
        pair[0].encode("a", allowed_special="<|user|>")


@pytest.mark.parametrize(("name", "pattern"), ENCODINGS.items(), ids=ENCODINGS)
def test_an_encodings_name_is_that_of_its_pattern(name, pattern):
    ranks = {bytes([b]): b for b in range(256)}
    assert Tokenizer(ranks, name).sha256 == Tokenizer(ranks, pattern).sha256


def test_numbers_of_numpy_are_ids(pair):
    ours, _ = pair
    assert ours.decode_with_offsets(np.array([97, 98], np.uint16)) == ("ab", [0, 1])
