"""Deduplication: what goes, what stays, and that the first in order stays."""

import itertools
import random
import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from snakelm.config import Deduplicate
from snakelm.data.documents.deduplicate import deduplicate, exact_duplicates, order_considered
from snakelm.data.documents.shingles import words
from snakelm.data.documents.table import SCHEMA, DocumentWriter, read_documents
from snakelm.data.split import document_id
from snakelm.errors import UserError
from snakelm.log import Log

WORDS = [f"word{i}" for i in range(3000)]


def salad(seed: int, count: int = 200) -> list[str]:
    return random.Random(seed).choices(WORDS, k=count)


def changed(words: list[str], share: float, seed: int = 0) -> list[str]:
    """The words with a stretch at the end replaced."""
    keep = int(len(words) * (1 - share))
    return words[:keep] + salad(seed + 10_000, len(words) - keep)


def write(path, texts: list[str], source: str = "a"):
    rows = [
        {
            "text": t,
            "source": source,
            "id": int(document_id(t.encode())),
            "origin_file": "f",
            "origin_row": i,
        }
        for i, t in enumerate(texts)
    ]
    with DocumentWriter(path) as writer:
        writer.append(pa.RecordBatch.from_pylist(rows, SCHEMA))
    return path


def run(tmp_path, inputs, **rules):
    with Log("test") as log:
        counts = deduplicate(inputs, tmp_path / "out.parquet", Deduplicate(**rules), log)
    rows = [row for batch in read_documents(tmp_path / "out.parquet") for row in batch.to_pylist()]
    return rows, counts


def test_exact_copies_go_and_the_first_source_keeps_its_own(tmp_path):
    a = write(tmp_path / "a.parquet", ["one text", "two text", "one text"], "a")
    b = write(tmp_path / "b.parquet", ["two text", "three text"], "b")
    rows, counts = run(tmp_path, [a, b], minhash=False)
    assert [(r["source"], r["text"]) for r in rows] == [
        ("a", "one text"),
        ("a", "two text"),
        ("b", "three text"),
    ]
    assert counts["sources"]["a"] == {"read": 3, "exact": 1, "near": 0, "kept": 2, "kept_bytes": 16}
    assert counts["sources"]["b"]["exact"] == 1


def test_a_page_in_other_characters_is_a_near_copy_and_what_stays_is_unchanged(tmp_path):
    """Other spaces, other capitals, composed or not: the words are the same, the bytes are not."""
    pages = [" ".join(f"déjà{word}" for word in salad(i)) for i in range(4)]
    changes = [
        lambda page: page.replace(" ", "\u00a0"),
        str.upper,
        lambda page: unicodedata.normalize("NFD", page),
        lambda page: page.replace("w", "w\u00ad").replace(" ", " – "),
    ]
    texts = [
        text for page, change in zip(pages, changes, strict=True) for text in (page, change(page))
    ]
    rows, counts = run(tmp_path, [write(tmp_path / "a.parquet", texts)])
    assert [row["text"] for row in rows] == pages
    assert (counts["sources"]["a"]["exact"], counts["sources"]["a"]["near"]) == (0, 4)

    rows, _ = run(tmp_path, [write(tmp_path / "a.parquet", texts)], minhash=False)
    assert len(rows) == 8  # exact is by bytes


def test_nothing_goes_when_both_are_off(tmp_path):
    rows, _ = run(
        tmp_path, [write(tmp_path / "a.parquet", ["x y"] * 3)], exact=False, minhash=False
    )
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("share", "stays"), [(0.02, False), (0.5, True)], ids=["2% changed", "half changed"]
)
def test_near_copies_go_and_distant_ones_stay(tmp_path, share, stays):
    texts = [" ".join(salad(i)) for i in range(30)] + [
        " ".join(changed(salad(i), share, i)) for i in range(30)
    ]
    rows, counts = run(tmp_path, [write(tmp_path / "a.parquet", texts)])
    assert [r["text"] for r in rows] == (texts if stays else texts[:30])
    assert counts["sources"]["a"]["near"] == (0 if stays else 30)


def test_a_chain_of_small_changes_is_cut_by_what_stays(tmp_path):
    """0 ~ 1 ~ 2 ~ …, but 0 is far from 5: comparing only with what stays keeps some of the
    chain.
    """
    words = salad(0, 300)
    texts = [" ".join(words[i * 25 : i * 25 + 150]) for i in range(7)]
    rows, _ = run(tmp_path, [write(tmp_path / "a.parquet", texts)])
    assert rows[0]["text"] == texts[0]
    assert 1 < len(rows) < 7


@pytest.mark.parametrize(
    "texts", [["...", "!!!", "?"], ["。", " "]], ids=["punctuation", "one sign"]
)
def test_texts_without_words_are_not_alike(tmp_path, texts):
    rows, _ = run(tmp_path, [write(tmp_path / "a.parquet", texts)])
    assert len(rows) == len(texts)


def test_texts_of_few_words_are_alike_only_when_equal(tmp_path):
    texts = ["a b", "a c", "A, b!", "a"]
    rows, _ = run(tmp_path, [write(tmp_path / "a.parquet", texts)])
    assert [r["text"] for r in rows] == ["a b", "a c", "a"]


def test_the_same_input_gives_the_same_bytes(tmp_path):
    texts = [" ".join(salad(i % 40)) for i in range(120)]
    path = write(tmp_path / "a.parquet", texts)
    run(tmp_path, [path])
    first = (tmp_path / "out.parquet").read_bytes()
    run(tmp_path, [path])
    assert (tmp_path / "out.parquet").read_bytes() == first


def test_a_damaged_input_is_refused_by_its_page_checksums(tmp_path):
    path = write(tmp_path / "a.parquet", [" ".join(salad(i)) for i in range(50)])
    good = path.read_bytes()
    silent = 0
    for at in random.Random(0).sample(range(8 * (len(good) - 8)), 60):
        bad = bytearray(good)
        bad[at // 8] ^= 1 << at % 8
        path.write_bytes(bad)
        try:
            rows, _ = run(tmp_path, [path])
        except UserError as error:
            assert "damaged" in str(error)  # noqa: PT017 - both outcomes are examined
        else:
            silent += [r["text"] for r in rows] != [" ".join(salad(i)) for i in range(50)]
    assert silent == 0


def test_exact_duplicates_are_later_equal_rows():
    digests = np.array([[1, 1], [2, 2], [1, 2], [1, 1], [2, 2], [1, 1]], np.uint64)
    assert exact_duplicates(digests).tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ("keep", "stays"),
    [
        ("first", [("a", 0), ("b", 1)]),
        ("longest", [("b", 0), ("b", 2)]),
        ("source", [("a", 1), ("b", 2)]),
    ],
)
def test_the_copy_that_stays_is_chosen_by_rule(tmp_path, keep, stays):
    """Two texts, one with copies in both sources, one with copies in the second."""
    one, two = salad(1), salad(2)
    texts = {
        "a": [one, [*one, "more"]],
        "b": [[*one, "even", "more"], two, [*two, "longer"]],
    }
    inputs = [
        write(tmp_path / f"{name}.parquet", [" ".join(t) for t in some], name)
        for name, some in texts.items()
    ]
    rows, _ = run(tmp_path, inputs, keep=keep)
    assert [(r["source"], r["origin_row"]) for r in rows] == stays


@pytest.mark.parametrize("keep", ["first", "longest", "source"])
def test_of_equal_texts_the_first_stays_by_every_rule(tmp_path, keep):
    inputs = [
        write(tmp_path / f"{name}.parquet", ["same text", "same text"], name) for name in "ab"
    ]
    rows, counts = run(tmp_path, inputs, keep=keep)
    assert [(r["source"], r["origin_row"]) for r in rows] == [("a", 0)]
    assert counts["sources"]["b"]["exact"] == 2


def test_the_order_considered_is_that_of_the_rule():
    sizes, sources = np.array([3, 9, 9, 1, 9, 5]), np.array([0, 0, 0, 1, 1, 1])
    orders = {
        keep: order_considered(keep, sizes, sources).tolist()
        for keep in ("first", "longest", "source")
    }
    assert orders == {
        "first": [0, 1, 2, 3, 4, 5],
        "longest": [1, 2, 4, 5, 0, 3],
        "source": [1, 2, 0, 4, 5, 3],
    }


def test_against_the_jaccard_similarity_of_every_pair(tmp_path):
    """Far above the threshold nothing stays, far below nothing goes, and what goes has a like that
    stays.
    """
    source = random.Random(3)
    texts = [
        " ".join(changed(salad(source.randrange(60)), source.random() * 0.6, i)) for i in range(400)
    ]
    shingles = [{tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in map(words, texts)]
    alike = {
        (i, j): len(shingles[i] & shingles[j]) / len(shingles[i] | shingles[j])
        for i, j in itertools.combinations(range(400), 2)
    }
    rows, _ = run(tmp_path, [write(tmp_path / "a.parquet", texts)], permutations=1024)
    kept = {r["origin_row"] for r in rows}
    gone = set(range(400)) - kept
    assert len(gone) > 50
    assert all(similarity < 0.76 for (i, j), similarity in alike.items() if i in kept and j in kept)
    assert all(any(alike[i, j] > 0.64 for i in kept if i < j) for j in gone)
