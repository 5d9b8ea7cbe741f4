"""The trainer against a plain Python one; independence of threads, order and batches; streaming;
errors.
"""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm import _text
from snakelm.errors import UserError
from snakelm.tokenizer import EOT, extend_vocabulary, train_bpe
from snakelm.tokenizer.patterns import PATTERNS


def reference_merges(texts: list[str], limit: int, pattern: str) -> list[tuple[int, int]]:
    """Byte-level BPE as it is defined: count, take the best pair, merge, again."""
    words: Counter[tuple[int, ...]] = Counter()
    for text in texts:
        data, at = text.encode(), 0
        for length in _text.split(pattern, data):
            words[tuple(data[at : at + length])] += 1
            at += length
    return merges_of_words(words, limit)


def merges_of_words(words: Counter[tuple[int, ...]], limit: int) -> list[tuple[int, int]]:
    merges: list[tuple[int, int]] = []
    while len(merges) < limit:
        pairs: Counter[tuple[int, int]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        merged: Counter[tuple[int, ...]] = Counter()
        for word, count in words.items():
            merged[merge(word, best, 255 + len(merges))] += count
        words = merged
    return merges


def merge(word: tuple[int, ...], pair: tuple[int, int], made: int) -> tuple[int, ...]:
    out, i = [], 0
    while i < len(word):
        found = word[i : i + 2] == pair
        out.append(made if found else word[i])
        i += 2 if found else 1
    return tuple(out)


def trained_merges(
    texts: list[str], limit: int, pattern: str, threads: int = 1
) -> list[tuple[int, int]]:
    trainer = _text.Trainer(pattern, threads)
    trainer.add_strings(texts)
    return trainer.train(limit)


CORPORA = {
    "runs": ["aaa aaaa aaaaa aaaaaaaaaa aaaaaaaaaaaaaaa bababab abababa"],
    "ties": ["ab cd ef gh ab cd ef gh", "ba dc"],
    "one-word": ["abcabcabcabcabcabc"],
    "text": [
        "the cat sat on the mat; then the cat's mother's matting was chatting.",
        "çà et là, où ça? 漢字漢字",
    ],
    "nothing": ["", " ", "a b c"],
}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("texts", CORPORA.values(), ids=CORPORA.keys())
def test_merges_equal_the_reference_to_the_last_pair(texts, pattern):
    assert trained_merges(texts, 10_000, pattern) == reference_merges(texts, 10_000, pattern)


@pytest.mark.parametrize("seed", range(60))
def test_merges_of_random_texts_equal_the_reference(seed):
    source = random.Random(seed)
    letters = source.choice(["ab", "abc", "aab ", "abcde ", "aé ", "a\u0301b"])
    texts = [
        "".join(source.choice(letters) for _ in range(source.randrange(200)))
        for _ in range(source.randrange(1, 8))
    ]
    assert trained_merges(texts, 80, "gpt2") == reference_merges(texts, 80, "gpt2")


def test_documents_give_the_references_merges(documents):
    some = documents[:12]
    assert trained_merges(some, 60, "cl100k") == reference_merges(some, 60, "cl100k")


def test_counts_beyond_32_bits_are_exact():
    """Each of these sums differs from another in its lowest bits only, far above 2^32."""
    words = {b"ab": 2**40, b"cd": 2**40 + 1, b"ef": 2**32 - 1, b"gh": 2**32, b"ghab": 7}
    words[b"x" * 40] = 2**33  # a word that is no inline key
    trainer = _text.Trainer("gpt2", 1)
    for word, count in words.items():
        for part in (count // 3, count - count // 3):
            trainer.add_word(word, part)
    assert trainer.train(100) == merges_of_words(
        Counter({tuple(word): count for word, count in words.items()}), 100
    )


def test_too_many_different_words_are_refused_not_dropped(documents):
    source = random.Random(0)
    texts = (" ".join(f"{source.getrandbits(60):x}" for _ in range(20_000)) for _ in range(50))
    with pytest.raises(UserError, match=r"words need more memory than allowed \(4 MiB\); train on"):
        train_bpe(texts, 300, memory_mb=4, threads=3)
    assert train_bpe(documents * 3, 300, memory_mb=4, threads=3).vocab_size == 300


def test_result_depends_neither_on_threads_nor_on_order_nor_on_container(documents, tmp_path):
    expected = train_bpe(documents, 1000, "o200k")
    for threads in (2, 3, 7):
        assert train_bpe(documents, 1000, "o200k", threads=threads).sha256 == expected.sha256
    assert train_bpe(documents[::-1], 1000, "o200k").sha256 == expected.sha256
    assert train_bpe(pa.array(documents), 1000, "o200k").sha256 == expected.sha256
    chunked = pa.chunked_array([documents[:9], documents[9:]], pa.large_string())
    assert train_bpe(chunked, 1000, "o200k").sha256 == expected.sha256
    halves = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    pq.write_table(pa.table({"text": documents[:30]}), halves[0], row_group_size=7)
    pq.write_table(pa.table({"text": pa.array(documents[30:], pa.large_string())}), halves[1])
    assert train_bpe(halves, 1000, "o200k").sha256 == expected.sha256
    assert train_bpe([str(half) for half in halves], 1000, "o200k").sha256 == expected.sha256


def test_ids_are_bytes_then_merges_then_end_of_text():
    tokenizer = train_bpe(["abab abab"], 259)
    assert tokenizer.vocab_size == 259
    assert tokenizer.eot == 258
    assert tokenizer.decode_bytes(range(256)) == bytes(range(256))
    assert tokenizer.decode([256]) == "ab"
    assert tokenizer.decode([257]) == "abab"
    assert tokenizer.facts == {"bytes": 9, "words": 2, "distinct_words": 2}


def test_missing_texts_are_passed_over():
    with_gaps = pa.array(["abab", None, "abab"])
    assert train_bpe(with_gaps, 258).sha256 == train_bpe(["abab", "abab"], 258).sha256


def test_a_megabyte_of_one_word_trains():
    """Rescanning the word at each merge would be 2,000 passes over a megabyte."""
    source = random.Random(0)
    word = "".join(source.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(1_000_000))
    assert train_bpe([word, "a" * 1_000_000], 2257, "gpt2").vocab_size == 2257


def test_several_threads_may_feed_one_trainer(documents):
    trainer, alone = _text.Trainer("cl100k", 2), _text.Trainer("cl100k", 1)
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(trainer.add_strings, [documents] * 12):
            assert trainer.distinct_pieces <= trainer.pieces
    for _ in range(12):
        alone.add_strings(documents)
    assert (trainer.bytes, trainer.pieces) == (alone.bytes, alone.pieces)
    assert trainer.train(300) == alone.train(300)


def test_more_threads_than_there_can_be_are_not_started(documents):
    most = 2**31 - 1
    assert train_bpe(documents, 400, threads=most).sha256 == train_bpe(documents, 400).sha256
    tokenizer = train_bpe(documents, 400)
    assert tokenizer.encode_batch(["a", "b"], threads=most)[0].tolist() == [97, 98]


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        (["abab"], 257, "expected at least 258"),
        (["abab"], 300, "gave 2; give more text, or vocab_size at most 259"),
        ([], 300, "gave 0"),
        (["a b c", ""], 300, "gave 2"),
        (Path("nowhere.parquet"), 300, "nowhere.parquet: no such file"),
        (["abab"], 258.5, None),
    ],
    ids=["no-merges", "too-few-pairs", "no-texts", "short-words", "no-file", "not-an-integer"],
)
def test_what_cannot_be_trained_says_why(texts, size, message):
    with pytest.raises(UserError if message else TypeError, match=message):
        train_bpe(texts, size)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"special_tokens": EOT}, TypeError, "expected a list of names"),
        ({"special_tokens": (EOT, EOT)}, UserError, "named twice"),
        ({"special_tokens": ("",)}, UserError, "empty or not UTF-8"),
        ({"special_tokens": (b"x",)}, TypeError, "expected str, found bytes"),
        ({"threads": 0}, UserError, "threads 0; expected at least 1"),
        ({"threads": 1.0}, TypeError, "threads: expected a whole number, found float"),
        ({"memory_mb": 0}, UserError, "memory_mb 0; expected at least 1"),
        ({"texts": "abab"}, UserError, r"no file 'abab'; a text is given in a list, \[text\]"),
        ({"texts": "ab" * 5000}, UserError, "no file"),
        ({"texts": None}, TypeError, "expected texts.* found NoneType"),
        ({"texts": [b"ab"]}, TypeError, "expected str, Path or Arrow array, found bytes"),
    ],
)
def test_wrong_arguments_say_so(arguments, error, message):
    """Those that both functions have, in both."""
    base = train_bpe(["abab"], 259)
    given = {"texts": ["abab abab"], **arguments}
    with pytest.raises(error, match=message):
        train_bpe(vocab_size=300, or_fewer=True, **given)
    if "special_tokens" not in arguments:
        with pytest.raises(error, match=message):
            extend_vocabulary(base, new_tokens=1, **given)


def test_a_vocabulary_may_be_as_large_as_the_text_allows():
    assert train_bpe(["abab"], 300, or_fewer=True).vocab_size == 259
    assert train_bpe(["abab"], 258, or_fewer=True).vocab_size == 258
    with pytest.raises(UserError, match="gave 0"):
        train_bpe(["a b c"[:1]], 300, or_fewer=True)


def test_a_file_that_is_no_parquet_or_lacks_text_says_so(tmp_path):
    broken, other = tmp_path / "broken.parquet", tmp_path / "other.parquet"
    broken.write_bytes(b"PAR1 not really")
    pq.write_table(pa.table({"body": ["x"]}), other)
    with pytest.raises(UserError, match=r"broken\.parquet: damaged, or not a parquet file"):
        train_bpe(broken, 300)
    with pytest.raises(UserError, match="no column 'text'; columns are body"):
        train_bpe(other, 300)


def test_an_unknown_pattern_names_the_known_ones():
    with pytest.raises(UserError, match="expected one of gpt2, cl100k, o200k"):
        train_bpe(["abab"], 258, "gpt3")
