"""Shingles against a plain reading of their definition, and signatures against exact Jaccard similarity."""

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakelm.data import shingles
from snakelm.data.shingles import large_shingle_hashes, shingle_hashes

WORD = re.compile("[\u3000-\uefff][a-z0-9\u0080-\u2fff\uf000-\U0010ffff]*|[a-z0-9\u0080-\u2fff\uf000-\U0010ffff]+")


def reference(text: str, length: int) -> list[tuple[str, ...]]:
    lowered = "".join(c.lower() if c.isascii() else c for c in text)
    words = WORD.findall(lowered)
    if not words:
        return []
    return [tuple(words[i : i + length]) for i in range(max(1, len(words) - length + 1))]


def agree(texts: list[str], length: int) -> None:
    hashes, offsets = shingle_hashes(pa.array(texts, pa.large_string()), length)
    expected = [shingle for text in texts for shingle in reference(text, length)]
    assert np.diff(offsets).tolist() == [len(reference(text, length)) for text in texts]
    pairs = set(zip(expected, hashes.tolist(), strict=True))
    assert len(pairs) == len(set(expected)) == len(set(hashes.tolist())), "one hash per shingle, and the reverse"


@given(st.lists(st.text("aAbZ09 .\n-é漢字ｱ\U0001f600", max_size=40), max_size=12), st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_shingles_are_those_of_the_definition(texts, length):
    agree(texts, length)


@pytest.mark.parametrize("block", [1, 7, 100])
def test_blocks_change_nothing(monkeypatch, block):
    texts = [f"{'word ' * (i % 9)}{i} tail é漢字 {'-' * (i % 3)}" for i in range(200)] + ["", "  "]
    whole = shingle_hashes(pa.array(texts, pa.large_string()), 3)
    monkeypatch.setattr(shingles, "BLOCK", block)
    cut = shingle_hashes(pa.array(texts, pa.large_string()), 3)
    assert [a.tolist() for a in whole] == [a.tolist() for a in cut]


def test_a_slice_has_the_shingles_of_its_own_texts():
    array = pa.array([f"text number {i} of some" for i in range(50)], pa.large_string())
    hashes, offsets = shingle_hashes(array, 2)
    some, some_offsets = shingle_hashes(array.slice(10, 5), 2)
    assert some.tolist() == hashes[offsets[10] : offsets[15]].tolist()
    assert some_offsets.tolist() == (offsets[10:16] - offsets[10]).tolist()


def test_case_and_punctuation_do_not_count():
    a, b = (shingle_hashes(pa.array([t], pa.large_string()), 3)[0] for t in ("One, two: three!", "one two THREE"))
    assert a.tolist() == b.tolist()


@pytest.mark.parametrize(
    "text", ["one two three four five six " * 500, "few words", "...", "", "漢字 か\n" * 300], ids=repr
)
@pytest.mark.parametrize("block", [64, 1000, 1 << 17])
def test_a_large_text_has_the_same_shingles_a_stretch_at_a_time(monkeypatch, text, block):
    whole, _ = shingle_hashes(pa.array([text], pa.large_string()), 5)
    monkeypatch.setattr(shingles, "BLOCK", block)
    pieces = list(large_shingle_hashes(memoryview(text.encode()), 5))
    assert [h for piece in pieces for h in piece.tolist()] == whole.tolist()


def test_a_word_longer_than_a_stretch_is_cut(monkeypatch):
    monkeypatch.setattr(shingles, "BLOCK", 100)
    assert sum(piece.size for piece in large_shingle_hashes(memoryview(b"a" * 1000), 3)) == 8
