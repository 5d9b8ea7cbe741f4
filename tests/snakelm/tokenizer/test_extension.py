"""Tokens learned on new text: old ids unchanged, new ones as a plain Python trainer finds them."""

import random
from collections import Counter
from itertools import pairwise

import pytest
import tokenizers

from snakelm import _text
from snakelm.errors import UserError
from snakelm.tokenizer import EOT, Tokenizer, extend_vocabulary, train_bpe

from .test_training import merge

ITALIAN = [
    "Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura, ché la diritta via era "
    "smarrita. Ahi quanto a dir qual era è cosa dura esta selva selvaggia e aspra e forte che nel "
    "pensier rinova la paura! Tant'è amara che poco è più morte."
] * 3


def reference_extension(base: Tokenizer, texts: list[str], count: int) -> list[bytes]:
    """The most frequent pair of ids in words as `base` encodes them, again and again."""
    core = _text.Encoder(base.plain_tokens(), "whole")
    words: Counter[tuple[int, ...]] = Counter()
    for text in texts:
        data, at = text.encode(), 0
        for length in _text.split(base.pattern, data):
            words[tuple(core.encode(data[at : at + length]))] += 1
            at += length

    tokens, made = base.plain_tokens(), []
    while len(made) < count:
        pairs: Counter[tuple[int, int]] = Counter()
        for word, times in words.items():
            for pair in pairwise(word):
                pairs[pair] += times
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        tokens.append(tokens[best[0]] + tokens[best[1]])
        made.append(tokens[-1])
        merged: Counter[tuple[int, ...]] = Counter()
        for word, times in words.items():
            merged[merge(word, best, len(tokens) - 1)] += times
        words = merged
    return made


@pytest.fixture(scope="module", params=["cl100k", "elision", r"\S+|\s+"])
def base(request, documents) -> Tokenizer:
    """Ids with a gap: the special tokens come after two unused ids."""
    ranks = train_bpe(documents[:20], 700, request.param, special_tokens=()).mergeable_ranks
    return Tokenizer(ranks, request.param, {EOT: 702, "<|user|>": 703})


def new_tokens(extended: Tokenizer, base: Tokenizer) -> list[bytes]:
    return [extended.decode_bytes([i]) for i in range(base.vocab_size, extended.vocab_size)]


def test_new_tokens_are_the_references_and_old_ids_stay(base):
    extended = extend_vocabulary(base, ITALIAN, 60, threads=2)
    if base.pattern in ("cl100k", "elision"):
        assert new_tokens(extended, base) == reference_extension(base, ITALIAN, 60)
    assert extended.vocab_size == base.vocab_size + 60
    assert extended.special_tokens == base.special_tokens
    assert extended.unused_ids == base.unused_ids == [700, 701]
    assert extended.facts["extends"] == base.sha256
    assert extended.mergeable_ranks.items() >= base.mergeable_ranks.items()
    for i in set(range(base.vocab_size)) - {700, 701}:
        assert extended.decode_bytes([i]) == base.decode_bytes([i])


def test_old_text_changes_only_through_new_tokens(base, documents, nasty):
    """Each id of the extended one is an old id or a run of them in its place."""
    extended = extend_vocabulary(base, ITALIAN, 60)
    spelled = dict(enumerate(extended.merges()))

    def old_ids(i: int) -> list[int]:
        if i < base.vocab_size:
            return [i]
        left, right = spelled[i]
        return old_ids(left) + old_ids(right)

    shorter = 0
    for text in [*ITALIAN, *documents[20:40], *nasty[:400]]:
        ids = extended.encode_ordinary(text)
        before = base.encode_ordinary(text)
        assert [old for i in ids for old in old_ids(i)] == before, text
        assert extended.decode(ids) == base.decode(before)
        shorter += len(ids) < len(before)
    assert shorter > 10


def test_the_extended_ranks_are_tiktokens_and_huggingfaces_too(base, documents, nasty, tmp_path):
    extended = extend_vocabulary(base, ITALIAN, 60)
    extended.save(tmp_path)
    exported = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.load(tmp_path).sha256 == extended.sha256
    reference = extended.to_tiktoken()
    for text in [*ITALIAN, *documents[20:26], *nasty[:100]]:
        ids = extended.encode_ordinary(text)
        assert ids == reference.encode_ordinary(text)
        if "<|" not in text:
            assert ids == exported.encode(text).ids
    again = extend_vocabulary(extended, ["qwxqwx qwxqwx"], 2)
    assert new_tokens(again, extended) == [b"qw", b"qwx"]


@pytest.mark.parametrize("seed", range(12))
def test_tokens_that_merging_never_reaches_stay_out_of_reach(seed):
    """Vocabularies that no training would give; extended, every old id stands where it stood."""
    source = random.Random(seed)
    found = {bytes(source.choices(b"abc", k=source.randrange(2, 6))) for _ in range(25)}
    ranks = {bytes([b]): b for b in range(256)}
    ranks |= {token: 256 + i for i, token in enumerate(source.sample(sorted(found), len(found)))}
    base = Tokenizer(ranks, "gpt2")
    texts = [" ".join("".join(source.choices("abcd", k=9)) for _ in range(60))]
    extended = extend_vocabulary(base, texts, 40, or_fewer=True)

    learned = extended.merges()[base.vocab_size :]
    assert all(learned)
    reached = extended.merges()[: base.vocab_size]
    assert reached == base.merges()
    for text in texts:
        for word in text.split():
            ids, data = extended.encode_ordinary(word), word.encode()
            if data in extended.mergeable_ranks:
                continue
            while any(i >= base.vocab_size for i in ids):
                ids = [
                    part
                    for i in ids
                    for part in (learned[i - base.vocab_size] if i >= base.vocab_size else (i,))
                ]
            assert ids == base.encode_ordinary(word)


def test_too_little_text_says_so():
    base = train_bpe(["abab"], 259)
    with pytest.raises(UserError, match="4 bytes of text with 1 different words gave 2 of 5 new"):
        extend_vocabulary(base, ["abcc"], 5)
    assert extend_vocabulary(base, ["abcc"], 5, or_fewer=True).vocab_size == 261
    with pytest.raises(UserError, match="gave 0 of 5"):
        extend_vocabulary(base, ["abab"], 5, or_fewer=True)
    with pytest.raises(ValueError, match="new_tokens 0; expected at least 1"):
        extend_vocabulary(base, ["abcc"], 0)
