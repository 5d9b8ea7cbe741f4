"""Shingles against a plain reading of their definition, and signatures against exact Jaccard
similarity.
"""

import itertools
import random
import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakelm.data.documents.shingles import NO_WORDS, comparable, shingle_hashes, signatures, words


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
    st.lists(st.text("aAbZ09 .\n-é漢字ｱ\u00a0’\u00ad\U0001f600", max_size=40), max_size=12),
    st.integers(1, 6),
)
@settings(max_examples=300, deadline=None)
def test_shingles_are_those_of_the_definition(texts, length):
    agree(texts, length)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One, two: THREE!", ["one", "two", "three"]),
        ("x86_64 v2.0", ["x86", "64", "v2", "0"]),
        ("naïve Ünder", ["naïve", "ünder"]),
        ("漢字 かな", ["漢", "字", "か", "な"]),
        ("漢abc字", ["漢abc", "字"]),
        ("한국어 ㅋㅋ", ["한", "국", "어", "ᄏ", "ᄏ"]),
        ("ありがとう。ガギ、ー", [*"ありがとうガギー"]),
        ("สวัสดี नमस्ते", ["สวัสดี", "नमस्ते"]),
        ("½ x² ™ №5 ㌔", ["1", "2", "x2", "tm", "no5", "キ", "ロ"]),
        ("… — « » 🎉 \ue000", []),
        ("\u0301 =\u0338 a\u0301", ["á"]),  # a mark without a letter is none
        (" \n\t.", []),
    ],
)
def test_words_of_known_texts(text, expected):
    assert words(text) == expected


SAME = {  # each like the others but for what doesn't count
    "spaces": [
        f"one{space}two" for space in " \t\u00a0\u1680\u2003\u2009\u202f\u205f\u3000\u2028\u0085"
    ],
    "apostrophes": [f"don{mark}t" for mark in "'’‘ʼ′´`＇ꞌ"],
    "quotes": [f"say {a}yes{b}" for a, b in ('""', "“”", "„“", "«»", "‹›", "「」", "＂＂")],
    "dashes": [f"well{dash}known" for dash in "-‐‑‒–—―−﹣－"],
    "ellipsis": ["so... on", "so… on", "so . . . on"],
    "invisible": [
        f"dis{mark}appear"
        for mark in ("", *"\u00ad\u200b\u200c\u200d\u2060\ufeff\u200e\u202e\ufe0f\u034f")
    ],
    "composed": ["Đặng Ngọc Tuấn é", "\u0110a\u0306\u0323ng Ngo\u0323c Tu\u00e2\u0301n e\u0301"],
    "hangul": ["한글", "\u1112\u1161\u11ab\u1100\u1173\u11af"],
    "kana": ["ガギグ パ", "ｶﾞｷﾞｸﾞ ﾊﾟ", "カ\u3099キ\u3099ク\u3099 ハ\u309a"],
    "full width": ["Full Width 123!", "Ｆｕｌｌ　Ｗｉｄｔｈ　１２３！"],
    "ligatures": ["efficient fluff", "eﬃcient ﬂuﬀ"],
    "mathematical": ["bold script", "𝐛𝐨𝐥𝐝 𝓈𝒸𝓇𝒾𝓅𝓉"],
    "ideographs": ["金龍", "\uf90a\uf9c4"],
    "arabic": ["سلام", "\ufeb3\ufefc\ufee1"],
    "Latin capitals": ["ÉCOLE ÅNGSTRÖM ǅ", "école ångström ǆ", "ÉCOLE \u212bNGSTRÖM ǆ"],
    "Cyrillic capitals": ["Съешь ЁЖ", "СЪЕШЬ ёж"],
    "Greek capitals": ["ΟΔΥΣΣΕΥΣ ᾼ", "οδυσσευς ᾳ", "Οδυσσευσ αι"],
    "German capitals": ["STRASSE", "straße", "STRAẞE"],
    "Turkish capitals": ["IŞIK İSTANBUL", "ışık istanbul", "ışık i\u0307stanbul"],
    "Armenian capitals": ["ՀԱՅԵՐԵՆ", "հայերեն"],
    "Georgian capitals": ["ᲥᲐᲠᲗᲣᲚᲘ", "ქართული"],
}
DIFFERENT = ["résumé", "resume", "и", "й", "한", "하", "a", "а", "o", "ö", "9", "٩", "カ", "ガ"]


@pytest.mark.parametrize("texts", SAME.values(), ids=SAME)
def test_how_a_text_is_written_hides_nothing(texts):
    hashes, offsets = shingle_hashes(pa.array(texts), 1)
    each = {tuple(hashes[a:b].tolist()) for a, b in itertools.pairwise(offsets)}
    assert len(each) == 1
    assert len({comparable(text) for text in texts}) == 1
    assert (signatures(pa.array(texts), 5, 16) == signatures(pa.array(texts[:1]), 5, 16)).all()


def test_letters_that_differ_stay_different():
    assert len({comparable(text) for text in DIFFERENT}) == len(DIFFERENT)
    assert comparable(" 🎉 ") != comparable("🙂")  # without words, the text


INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
APOSTROPHES = re.compile("[\u02b9-\u02bf\u02ee\ua78b\ua78c]")
OWN_WORD = re.compile("([\u3000-\uefff\u1100-\u115e\ua960-\ua97c])")


def plain_words(text: str) -> list[str]:
    """The definition, slowly: of whole texts, with Python's tables."""
    text, before = INVISIBLE.sub("", text), ""
    while text != before:
        before = text
        folded = "".join(c if c == "\u0345" else c.casefold() for c in text).replace("ı", "i")
        text = INVISIBLE.sub("", unicodedata.normalize("NFKD", folded))

    found: list[list[str]] = [[]]
    for c in APOSTROPHES.sub(" ", text):
        kind = unicodedata.category(c)
        if kind[0] == "M":
            base = next((b for b in reversed(found[-1]) if not unicodedata.combining(b)), "")
            if base and (c, base) != ("\u0307", "i"):
                found[-1].append("ι" if c == "\u0345" else c)
        elif kind[0] in "LN":
            found += [[]] if OWN_WORD.match(c) else []
            found[-1].append(c)
        else:
            found.append([])
    return [unicodedata.normalize("NFC", "".join(word)) for word in found if word]


@given(
    st.text(
        st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs", "Cn"])
        | st.sampled_from("aiIİıé\u0301\u0323\u0307\u0345\u00ad\u200b ’한漢ガﬃﷺ"),
        max_size=20,
    )
)
@settings(max_examples=500, deadline=None)
def test_words_are_those_of_the_definition(text):
    assert words(text) == plain_words(text)


@pytest.mark.skipif(
    unicodedata.unidata_version != "14.0.0", reason="the table has the mappings of Unicode 14"
)
def test_every_character_has_the_normal_form_of_the_definition():
    assigned = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Cs")]
    text = "".join(f"a{c}b " for c in assigned)
    for found, expected in zip(words(text), plain_words(text), strict=True):
        assert found == expected


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
    hashes, _ = shingle_hashes(pa.array(["Ő, ɓǐ 漢 한"]), 3)
    assert [hex(h) for h in hashes.tolist()] == ["0x913a2f6b10efad9a", "0x9492161407e5686b"]


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


@pytest.mark.parametrize("length", [0, 1001, 2**40])
def test_a_shingle_has_a_length_that_can_be(length):
    texts = pa.array(["one text"])
    for call in (shingle_hashes, lambda texts, length: signatures(texts, length, 16)):
        with pytest.raises(ValueError, match="expected 1 to 1000"):
            call(texts, length)


@pytest.mark.parametrize("permutations", [0, 2**16, 2**40])
def test_a_signature_has_a_length_that_can_be(permutations):
    with pytest.raises(ValueError, match="expected 1 to 65535"):
        signatures(pa.array(["one text"]), 5, permutations)


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
