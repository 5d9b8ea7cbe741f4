"""Shingles against a plain reading of their definition, and signatures against exact Jaccard
similarity.
"""

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakelm.data.documents.shingles import NO_WORDS, shingle_hashes, signatures, words


def reference(text: str, length: int) -> list[tuple[str, ...]]:
    found = words(text)
    if not found:
        return []
    return [tuple(found[i : i + length]) for i in range(max(1, len(found) - length + 1))]


def agree(texts: list[str], length: int) -> None:
    hashes, offsets = shingle_hashes(pa.array(texts, pa.large_string()), length)
    expected = [shingle for text in texts for shingle in reference(text, length)]
    assert np.diff(offsets).tolist() == [len(reference(text, length)) for text in texts]
    pairs = set(zip(expected, hashes.tolist(), strict=True))
    assert len(pairs) == len(set(expected)) == len(set(hashes.tolist())), (
        "one hash per shingle, and the reverse"
    )


@given(
    st.lists(st.text("aAbZ09 .\n-é漢字ｱ\U0001f600", max_size=40), max_size=12), st.integers(1, 6)
)
@settings(max_examples=300, deadline=None)
def test_shingles_are_those_of_the_definition(texts, length):
    agree(texts, length)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One, two: THREE!", ["one", "two", "three"]),
        ("x86_64 v2.0", ["x86", "64", "v2", "0"]),
        ("naïve Ünder", ["naïve", "Ünder"]),  # ASCII alone is lower-cased
        ("漢字 かな", ["漢", "字", "か", "な"]),
        ("漢abc字", ["漢abc", "字"]),
        ("… -", ["…"]),
        (" \n\t.", []),
    ],
)
def test_words_of_known_texts(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(threads):
    texts = pa.array(
        [f"{'word ' * (i % 9)}{i} tail é漢字 {'-' * (i % 3)}" * (i % 40) for i in range(3000)]
    )
    hashes, offsets = shingle_hashes(texts, 3, threads)
    alone, bounds = shingle_hashes(texts, 3)
    assert (hashes == alone).all()
    assert (offsets == bounds).all()
    assert (signatures(texts, 3, 20, threads) == signatures(texts, 3, 20)).all()


def test_a_slice_has_the_shingles_of_its_own_texts():
    array = pa.array([f"text number {i} of some" for i in range(50)], pa.large_string())
    hashes, offsets = shingle_hashes(array, 2)
    some, some_offsets = shingle_hashes(array.slice(10, 5), 2)
    assert some.tolist() == hashes[offsets[10] : offsets[15]].tolist()
    assert some_offsets.tolist() == (offsets[10:16] - offsets[10]).tolist()


def test_case_and_punctuation_do_not_count():
    a, b = (
        shingle_hashes(pa.array([t], pa.large_string()), 3)[0]
        for t in ("One, two: three!", "one two THREE")
    )
    assert a.tolist() == b.tolist()


def test_hashes_are_the_same_on_every_machine_and_day():
    hashes, _ = shingle_hashes(pa.array(["to be or not to be"]), 5)
    assert [hex(h) for h in hashes.tolist()] == ["0x4c028f77765fb272", "0xa01b2d865943c1cf"]


def numbers(count: int) -> np.ndarray:
    """The permutations' numbers as csrc/dedup/minhash.cpp defines them: uint32 [count]."""

    def mixed(x):
        x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
        return x ^ (x >> np.uint64(33))

    return (
        mixed(np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        >> np.uint64(32)
    ).astype("u4")


@pytest.mark.parametrize("permutations", [16, 23, 128])
@pytest.mark.parametrize("count", [1, 2, 300, 2000], ids="{} words".format)
def test_a_signature_is_the_least_of_each_permutation(permutations, count):
    text = " ".join(random.Random(count).choices("abcdefgh", k=count))
    x = shingle_hashes(pa.array([text]), 4)[0].astype(np.uint32)
    both = numbers(2 * permutations)
    a, b = both[:permutations] | np.uint32(1), both[permutations:]
    expected = (a[:, None] * x + b[:, None]).min(axis=1)
    assert signatures(pa.array([text]), 4, permutations)[0].tolist() == expected.tolist()


def test_a_text_without_words_has_a_signature_of_its_own_kind():
    made = signatures(pa.array(["...", "", "word"]), 5, 32)
    assert (made[:2] == NO_WORDS).all()
    assert (made[2] != NO_WORDS).any()


@pytest.mark.parametrize("size", [10, 150], ids="{} shingles".format)
@pytest.mark.parametrize("similarity", [0.3, 0.7, 0.9])
def test_signatures_estimate_the_jaccard_similarity(size, similarity):
    """1000 pairs of sets: no bias, and the spread that 128 independent places would have."""
    shared = round(2 * size * similarity / (1 + similarity))
    exact = shared / (2 * size - shared)

    def text(pair: int, side: str) -> str:
        return " ".join(
            [f"s{pair}x{i}" for i in range(shared)]
            + [f"{side}{pair}x{i}" for i in range(size - shared)]
        )

    a, b = (
        signatures(pa.array([text(pair, side) for pair in range(1000)]), 1, 128) for side in "ab"
    )
    found, spread = (a == b).mean(axis=1), (exact * (1 - exact) / 128) ** 0.5
    assert abs(found.mean() - exact) < 0.2 * spread
    assert 0.9 < found.std() / spread < 1.1
