"""Ids equal tiktoken's, and pieces equal those of the regular expressions, for every named pattern;
no download.
"""

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from snakelm import _text
from snakelm.expressions import Expression
from snakelm.tokenizer.patterns import EQUAL, PATTERNS, huggingface_regex, tiktoken_regex

from .conftest import ALPHABET

TEXTS = st.one_of(
    st.text(st.sampled_from(ALPHABET), max_size=40),
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            ["'s", "'LL", " \n", "\r\n", "  ", "1234", "ABʰ", "e\u0301", " x", "/\n", "中"]
        )
    ).map("".join),
)
MEGABYTE = 1_000_000


def first_difference(tokenizer, reference, text):
    """Where tiktoken's ids differ from ours, as (ours, theirs) from there on; None where they are
    equal.
    """
    ours, _ = tokenizer.encode_batch([text])
    theirs = reference.encode_to_numpy(text, disallowed_special=())
    if np.array_equal(ours, theirs):
        return None
    shorter = min(ours.size, theirs.size)
    at = next(iter(np.flatnonzero(ours[:shorter] != theirs[:shorter])), shorter)
    return ours[at : at + 4], theirs[at : at + 4]


def test_ids_of_every_code_point_equal_tiktokens(trained, every_code_point):
    reference = trained.to_tiktoken()
    for context, text in every_code_point:
        assert first_difference(trained, reference, text) is None, context


def test_ids_of_nasty_texts_equal_tiktokens(trained, nasty):
    reference = trained.to_tiktoken()
    for text in nasty:
        assert trained.encode_ordinary(text) == reference.encode_ordinary(text), text


def test_ids_of_documents_equal_tiktokens_and_huggingfaces(trained, documents, nasty, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    trained.save(tmp_path)
    exported = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    reference = trained.to_tiktoken()
    for text in documents + [text for text in nasty if "<|endoftext|>" not in text]:
        ours = trained.encode_ordinary(text)
        assert ours == reference.encode_ordinary(text)
        assert ours == exported.encode(text).ids, text


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(TEXTS)
def test_ids_equal_tiktokens_and_decode_to_the_text(trained, text):
    ids = trained.encode_ordinary(text)
    assert ids == trained.to_tiktoken().encode_ordinary(text)
    assert trained.decode(ids) == text


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pieces_equal_the_expressions_matches(pattern, nasty, documents):
    """In Hugging Face's engine and, with the expression for tiktoken, in Python's."""
    split = pre_tokenizers.Split(Regex(huggingface_regex(pattern)), "isolated")
    expression = Expression(tiktoken_regex(pattern))
    for text in nasty + documents:
        expected = (
            [len(piece.encode()) for piece, _ in split.pre_tokenize_str(text)] if text else []
        )
        assert _text.split(pattern, text.encode()) == expected, text
    for text in nasty[::3]:
        found = [len(piece.encode()) for piece in expression.split(text)]
        assert _text.split(pattern, text.encode()) == found, text


@pytest.mark.parametrize("expression", EQUAL)
def test_an_expression_that_counts_as_a_pattern_has_its_pieces(expression, nasty):
    by_expression = Expression(expression)
    for text in nasty[::4]:
        found = [len(piece.encode()) for piece in by_expression.split(text)]
        assert _text.split(EQUAL[expression], text.encode()) == found, text


NEW = ("llama3", "qwen2", "nanochat", "elision")  # all code points of these: pytest -m long
CONTEXTS = (("", "x"), ("x'", " "), ("x\u2019", "1"), (" ", "'s"))


def levels() -> list[int]:
    """The instruction sets of csrc/text that this CPU has."""
    found = []
    for level in range(3):
        try:
            _text.split("gpt2", b"a", level)
        except ValueError:
            continue
        found.append(level)
    return found


@pytest.mark.parametrize("pattern", NEW)
def test_pieces_of_some_code_points_equal_the_expressions_matches(pattern, code_points):
    """The first 0x400 and every 97th, after and before what decides. Python's engine is no judge of
    all: it knows a later Unicode.
    """
    split = pre_tokenizers.Split(Regex(huggingface_regex(pattern)), "isolated")
    some = code_points[:0x400] + code_points[0x400::97]
    for before, after in CONTEXTS:
        text = "".join(before + c + after for c in some)
        expected = [len(piece.encode()) for piece, _ in split.pre_tokenize_str(text)]
        assert _text.split(pattern, text.encode()) == expected


@pytest.mark.parametrize(
    "pattern",
    [pytest.param(p, marks=pytest.mark.long if p in NEW else ()) for p in PATTERNS],
)
def test_pieces_of_every_code_point_equal_the_expressions_matches(pattern, code_points):
    """Those of `NEW` in more contexts, and on every instruction set that there is here."""
    split = pre_tokenizers.Split(Regex(huggingface_regex(pattern)), "isolated")
    contexts = [("x", ""), (" ", ""), *(CONTEXTS if pattern in NEW else ())]
    for before, after in contexts:
        text = "".join(before + c + after for c in code_points)
        expected = [len(piece.encode()) for piece, _ in split.pre_tokenize_str(text)]
        for level in levels():
            assert _text.split(pattern, text.encode(), level) == expected, (before, after, level)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_letters_of_two_bytes_between_others_are_split_alike_on_every_level(pattern):
    """Each among Cyrillic, English and upper case, at shifting places of the kernels' windows; the
    portable level is split.h's scanners alone.
    """
    two_bytes = [chr(c) for c in range(0x80, 0x800)]
    for before, after in (("слово", " д"), ("In", "'S "), (" «", "»\n"), ("Я", "Ё"), ("'", "s")):
        text = "".join(before + c + after * (i % 5) for i, c in enumerate(two_bytes)).encode()
        lengths = _text.split(pattern, text, 0)
        for level in levels():
            assert _text.split(pattern, text, level) == lengths, (before, after, level)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_instruction_set_gives_the_same_ids(trained, level, nasty, documents):
    """The other tests use the best one here; the fuzzer of csrc/text compares pieces."""
    tokens = [b"" if i == trained.eot else trained.decode_bytes([i]) for i in range(3000)]
    try:
        encoder = _text.Encoder(tokens, trained.pattern, level)
    except ValueError as error:
        pytest.skip(f"level {level}: {error}")
    for text in ["\n".join(nasty), *documents]:
        data = text.encode()
        lengths = _text.split(trained.pattern, data, level)
        assert lengths == _text.split(trained.pattern, data)
        assert encoder.encode(text) == trained.encode_ordinary(text)


RUNS = {
    "a": "a" * MEGABYTE,
    "ab": "ab" * (MEGABYTE // 2),
    "space": " " * MEGABYTE,
    "newline": "\n" * MEGABYTE,
    "space-newline": " \n" * (MEGABYTE // 2) + "x",
    "number": "1" * MEGABYTE,
    "symbol": "!" * MEGABYTE,
    "mark": "\u0301" * (MEGABYTE // 2),
    "caseless": "漢" * (MEGABYTE // 3),
    "cased": "Aʰ" * (MEGABYTE // 3),
}


@pytest.mark.parametrize("text", RUNS.values(), ids=RUNS.keys())
def test_a_megabyte_of_one_thing_encodes_and_comes_back(trained, text):
    """A quadratic encoder would take hours here and run into the suite's limit."""
    assert trained.decode(trained.encode_ordinary(text)) == text


@pytest.mark.parametrize("length", [62, 63, 64, 65, 66, 130, 1000])
def test_long_pieces_merge_as_short_ones_do(trained, length):
    """64 bytes is where the encoder changes its method."""
    source = random.Random(length)
    reference = trained.to_tiktoken()
    for letters in ("ab", "estraing", "aé漢"):
        text = "".join(source.choice(letters) for _ in range(length))
        assert trained.encode_ordinary(text) == reference.encode_ordinary(text)
