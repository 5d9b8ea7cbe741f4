"""Whoever reads users' rows reads them alike: documents, conversations, tasks, labels, evaluation
sets.
"""

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.config import Decontaminate
from snakelm.data.conversations.reader import ConversationReader
from snakelm.data.documents.benchmark_ngrams import benchmark_sets
from snakelm.data.reading.readers import Reader
from snakelm.data.reading.records import records
from snakelm.errors import UserError
from snakelm.evaluation.items import read_items
from snakelm.filter.labels import read_labels

READERS = {  # rows of a file, and what counts them
    "documents": (
        lambda i, text: {"text": text},
        lambda path: sum(batch.num_rows for batch in Reader([path]).batches()),
    ),
    "conversations": (
        lambda i, text: {"question": text, "answer": f"{i}."},
        lambda path: len(list(ConversationReader([path]).conversations())),
    ),
    "tasks": (
        lambda i, text: {"question": text, "answer": f"{i}."},
        lambda path: len(read_items([path], "greedy")),
    ),
    "labels": (
        lambda i, text: {"text": text, "label": ["other", "academic"][i % 2]},
        lambda path: len(read_labels(str(path))),
    ),
    "evaluation sets": (
        lambda i, text: {"text": text},
        lambda path: benchmark_sets([path], Decontaminate())[0].texts,
    ),
}
TEXTS = [f"line {i}: the river\u2028turned\u0085 the mill – a\0b" for i in range(20)]
by_reader = pytest.mark.parametrize("reader", READERS)


def jsonl(reader, texts, **options):
    row, _ = READERS[reader]
    return "".join(json.dumps(row(i, text), **options) + "\n" for i, text in enumerate(texts))


def count(reader, path):
    return READERS[reader][1](path)


READ = {
    "plain": lambda text: text.encode(),
    "CR LF and a mark": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "gzip, padded": lambda text: gzip.compress(text.encode()) + bytes(512),
    "bzip2": lambda text: bz2.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
}


@by_reader
@pytest.mark.parametrize("kind", READ)
def test_rows_are_read_by_content(tmp_path, reader, kind):
    path = tmp_path / "a.jsonl"
    path.write_bytes(READ[kind](jsonl(reader, TEXTS, ensure_ascii=False)))
    assert count(reader, path) == len(TEXTS)


REFUSED = {
    "UTF-16 without its mark": (lambda text: text.encode("utf-16-le"), "UTF-16LE without"),
    "Latin-1": (lambda text: text.encode("ascii", "ignore").replace(b"m", b"\xe9"), "WINDOWS-1252"),
    "an array": (lambda text: b"[" + text.encode(), "a JSON array"),
    "CR": (lambda text: text.replace("\n", "\r").encode(), "carriage returns alone"),
    "cut off": (lambda text: gzip.compress(text.encode())[:-9], "broken off or damaged"),
    "a bad line": (lambda text: text.encode() + b"\n{oops", "(jsonl:|line )22: not JSON"),
}


@by_reader
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_sound_is_named(tmp_path, reader, kind):
    make, said = REFUSED[kind]
    path = tmp_path / "a.jsonl"
    path.write_bytes(make(jsonl(reader, TEXTS, ensure_ascii=False)))
    with pytest.raises(UserError, match=said) as caught:
        count(reader, path)
    assert str(path) in str(caught.value)


@by_reader
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_utf16_within_a_value_is_no_text(tmp_path, reader, kind):
    texts = [TEXTS[0], TEXTS[1].encode("utf-16-be").decode("latin-1")]
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        path.write_text(jsonl(reader, texts))
    else:
        rows = [READERS[reader][0](i, text) for i, text in enumerate(texts)]
        pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(UserError, match=r"(2|row 1).*: UTF-16 or UTF-32, not UTF-8"):
        count(reader, path)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_row_too_large_is_a_bad_row_with_its_place(tmp_path, kind):
    rows = [{"text": "small"}, {"text": "x" * 5000}, {"text": "small too"}]
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    found = list(records(path, kind, {"text": "text"}, largest=1000))
    assert [one.row for one in found] == [rows[0], None, rows[2]]
    assert found[1].problem.why == "too large"
    assert str(found[1].place) == ("line 3" if kind == "jsonl" else "row 1 (the first is 0)")
