"""Labelled texts: read from JSONL and parquet alike, split by hash, and every unusable row
named.
"""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.errors import UserError
from snakelm.filter.labels import CLASSES, label_files, read_labels

GOOD = [
    {"text": f"{kind} {i}", "label": kind, "group": "g"}
    for kind in ("academic", "other")
    for i in range(8)
]


def write(path, rows):
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    )
    return str(path)


def test_jsonl_and_parquet_say_the_same(tmp_path):
    jsonl = read_labels(write(tmp_path / "a.jsonl", GOOD))
    pq.write_table(pa.Table.from_pylist(GOOD), tmp_path / "a.parquet")
    parquet = read_labels(str(tmp_path / "a.parquet"))
    assert jsonl.texts == parquet.texts
    assert (jsonl.academic == parquet.academic).all()
    assert jsonl.groups == parquet.groups == ["g"] * 16


def test_several_files_are_one_set_of_labels(tmp_path):
    first, second = write(tmp_path / "a.jsonl", GOOD[:8]), write(tmp_path / "b.jsonl", GOOD[8:])
    assert len(read_labels([first, second])) == 16


def test_ours_are_whole_and_none_is_in_two_files():
    files = ("academic", "academic_test", "academic_it", "academic_it_test")
    read = [read_labels(f"config/labels/{name}.jsonl") for name in files]
    assert [int(one.academic.sum()) for one in read] == [32, 81, 10, 10]
    assert [int((~one.academic).sum()) for one in read] == [32, 85, 10, 10]
    texts = [text for one in read for text in one.texts]
    assert len(set(texts)) == len(texts)
    ours = read[0]
    assert (
        sorted(
            ours.groups.count(g)
            for g in {g for g, a in zip(ours.groups, ours.academic, strict=True) if a}
        )
        == [4] * 8
    )


def test_our_file_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(read_labels("config/labels/academic.jsonl")) == 64
    assert label_files("nowhere.jsonl") == ["nowhere.jsonl"]


def test_the_split_depends_on_texts_and_seed_not_on_order(tmp_path):
    there = read_labels(write(tmp_path / "a.jsonl", GOOD))
    back = read_labels(write(tmp_path / "b.jsonl", GOOD[::-1]))
    (training, measured), (_, other) = there.split(0.25, 1), back.split(0.25, 1)
    assert sorted(measured.texts) == sorted(other.texts)
    assert not set(training.texts) & set(measured.texts)
    assert [int(np.count_nonzero(measured.academic == kind)) for kind in (True, False)] == [2, 2]
    assert sorted(there.split(0.25, 2)[1].texts) != sorted(measured.texts)


def test_a_text_that_is_there_twice_counts_once(tmp_path):
    files = [write(tmp_path / name, GOOD) for name in ("a.jsonl", "b.jsonl")]
    twice = read_labels([*files, files[0], write(tmp_path / "c.jsonl", GOOD[:1])])
    assert (len(twice), twice.copies) == (16, 33)
    for seed in range(20):
        training, measured = twice.split(0.4, seed)
        assert not set(training.texts) & set(measured.texts)
    assert read_labels(files[0]).copies == 0
    with pytest.raises(UserError, match=r"1 other and 2 academic.* 2 different texts each"):
        read_labels(write(tmp_path / "d.jsonl", [*GOOD[:2], GOOD[8], GOOD[8]]))


@pytest.mark.parametrize("share", [0.01, 0.9])
def test_both_sides_have_both_classes_at_any_share(share, tmp_path):
    for side in read_labels(write(tmp_path / "a.jsonl", GOOD)).split(share, 3):
        assert 0 < side.academic.sum() < len(side)


BAD = {
    "one class only": ([GOOD[0], GOOD[1]], "2 academic"),
    "empty text": ([*GOOD, {"text": " ", "label": "other"}], "line 17: found an empty text"),
    "no text": ([*GOOD, {"label": "other"}], "line 17: found no text"),
    "a number for a text": ([*GOOD, {"text": 3, "label": "other"}], "line 17: found 3 as a text"),
    "unknown label": (
        [*GOOD, {"text": "x", "label": "science"}],
        "found label 'science'; allowed are academic and other",
    ),
    "null label": ([*GOOD, {"text": "x", "label": None}], "found label None"),
    "both labels": ([*GOOD, {"text": "academic 0", "label": "other"}], "under both labels"),
    "not JSON": ([*GOOD, "{oops"], "line 17: not JSON"),
    "not an object": ([*GOOD, "[1]"], "line 17: not a JSON object (found a list)"),
    "nothing": ([], "0 other and 0 academic"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cant_be_trained_on_is_named(case, tmp_path):
    rows, message = BAD[case]
    with pytest.raises(UserError, match=r"labels\.jsonl") as caught:
        read_labels(write(tmp_path / "labels.jsonl", rows))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_texts_with_line_separators_of_their_own_are_one_row_each(tmp_path):
    texts = [f"{i}: a\u2028b\u2029c\u0085d\x1ce" for i in range(16)]
    rows = [{"text": t, "label": CLASSES[i % 2]} for i, t in enumerate(texts)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows)
    for name, data in {
        "plain": lines.encode(),
        "UTF-16": lines.encode("utf-16"),
        "gzip": gzip.compress(lines.encode()),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert read_labels(str(tmp_path / name)).texts == texts


def test_a_file_in_another_encoding_is_named(tmp_path):
    line = json.dumps({"text": "café", "label": "other"}, ensure_ascii=False) + "\n"
    (tmp_path / "a.jsonl").write_bytes(line.encode("latin-1"))
    with pytest.raises(UserError, match=r"a\.jsonl line 1: not UTF-8 .*likely WINDOWS-1252"):
        read_labels(str(tmp_path / "a.jsonl"))

    texts = pa.array([b"caf\xe9", b"x"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": texts, "label": ["other"] * 2}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"row 0 .*: not UTF-8 .*likely WINDOWS-1252"):
        read_labels(str(tmp_path / "a.parquet"))


def test_a_file_that_isnt_there_or_isnt_parquet(tmp_path):
    (tmp_path / "a.parquet").write_text("no")
    for name, message in (
        ("none.jsonl", "no such file"),
        ("none.parquet", "no such file"),
        ("a.parquet", "damaged, or not a parquet file"),
    ):
        with pytest.raises(UserError, match=message):
            read_labels(str(tmp_path / name))
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match="no column 'text'; columns are body"):
        read_labels(str(tmp_path / "b.parquet"))
