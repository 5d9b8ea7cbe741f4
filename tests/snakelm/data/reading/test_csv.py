"""CSV and TSV: every value as it was written, whatever is in it, and every bad row named by
its place.
"""

import csv
import gzip
import io
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakelm.data.conversations.reader import ConversationReader
from snakelm.data.reading import csv_text, streams
from snakelm.data.reading.readers import Reader
from snakelm.data.reading.rows import LARGEST, Reading
from snakelm.errors import UserError
from snakelm.evaluation.items import read_items
from snakelm.filter.labels import read_labels
from snakelm.parquet import BadFile

TEXTS = [
    'She said "no", twice;\nand left.',
    "two\r\nlines\ttabbed",
    "naïve – 東京 \U0001f600\u2028",
    "a\0b",
    "<|endoftext|>",
    '"',
    " padded ",
]


def table(texts, **options):
    out = io.StringIO()
    options = {"lineterminator": "\n"} | options
    writer = csv.writer(out, **options)
    writer.writerows([["id", "body", "n"], *([f"x{i}", text, i] for i, text in enumerate(texts))])
    return out.getvalue()


def read(path, column="body", largest=LARGEST, **options):
    """(texts, their rows, counts)"""
    reader = Reader([path], reading=Reading(column, largest), **options)
    rows = [row for batch in reader.batches() for row in batch.to_pylist()]
    c = reader.counts
    assert c.read == c.kept + c.null + c.empty + sum(c.invalid.values())
    return [row["text"] for row in rows], [row["origin_row"] for row in rows], c


def written(tmp_path, data, name="a.csv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("separator", [",", ";", "|", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_values_come_as_they_were_written(tmp_path, separator, end):
    data = table(TEXTS, delimiter=separator, lineterminator=end)
    assert read(written(tmp_path, data))[:2] == (TEXTS, list(range(len(TEXTS))))


ENCODED = {
    "a mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "gzip": lambda text: gzip.compress(text.encode()),
    "no last line end": lambda text: text.rstrip("\n").encode(),
    "blank lines": lambda text: b"\n\r\n" + text.encode() + b"\n\n",
}


@pytest.mark.parametrize("kind", ENCODED)
def test_a_file_is_read_by_its_content(tmp_path, kind):
    assert read(written(tmp_path, ENCODED[kind](table(TEXTS))))[0] == TEXTS


cells = st.text(st.sampled_from('ab ",;\n\r\té東'), max_size=12).filter(str.strip)


@settings(max_examples=40)
@given(st.lists(cells, min_size=1, max_size=8), st.integers(1, 40))
def test_blocks_of_any_size_give_the_same_rows(tmp_path_factory, texts, block):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text(table(texts, quoting=csv.QUOTE_ALL), newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_text, "CHUNK", block)
        patch.setattr(streams, "BUFFER", block)
        assert read(path)[0] == texts


# What is wrong with a file → its bytes, where the error is, what it says, how many texts are left.
BAD = {
    "a lone quote": ('id,body\n1,"a\nb "c" d"\n2,e\n', 3, r"a quote .* \(column 3; .*doubled", 1),
    "no end": ('id,body\n1,a\n2,"b\nc\n', 3, r"a quote .* closed \(column 3\)", 1),
    "short": ("id,body\n1,a\n2\n3,c\n", 3, r"not as many .* \(1, expected 2: id, body\)", 2),
    "long": ("id,body\n1,a\n2,b, c\n3,c\n", 3, r"not as many .* \(3, expected 2", 2),
    "a return": ("id,body\n1,a\rb\n2,c\n", 2, "a carriage return outside quotes", 1),
    "Latin-1": (b'id,body\n"1\n",a\n2,"x\ncaf\xe9 au lait"\n3,b\n', 5, "not UTF-8 .*1252", 2),
    "too large": ('id,body\n1,a\n2,"' + "x,y\n" * 2000 + '"\n3,b\n', 3, "too large", 2),
    "a long line": (f"id,body\n1,a\n2,{'x' * 9000}\n3,b\n", 3, "too large", 2),
}


@pytest.mark.parametrize("why", BAD)
@pytest.mark.parametrize("block", [5, 1 << 18])
def test_a_bad_row_is_named_by_its_place_and_costs_that_row(tmp_path, monkeypatch, why, block):
    monkeypatch.setattr(csv_text, "CHUNK", block)
    data, line, said, left = BAD[why]
    path = written(tmp_path, data)
    with pytest.raises(UserError, match=rf"a\.csv:{line}: {said}"):
        read(path, largest=5000)
    texts, _, counts = read(path, largest=5000, on_bad="skip")
    assert len(texts) == left
    assert sum(counts.invalid.values()) == 1


REFUSED = {
    "no such column": ("id,bdy\n1,a\n", r"no column 'body'; columns are id, bdy; did you mean bdy"),
    "no header": ("1,some text\n2,more\n", "by its first line, which must name them"),
    "two of a name": ("body,body\n1,a\n", "2 columns are named 'body'; rename one"),
    "CR": ("id,body\r1,a\r", "carriage returns alone"),
    "blank": ("\n\n", "no line in it, expected one that names the columns"),
    "UTF-16 without its mark": ("id,body\n1,a\n".encode("utf-16-le"), "UTF-16LE without"),
    "cut off": (gzip.compress(table(TEXTS * 99).encode())[:-9], "broken off or damaged"),
    "a quoted header": ('id,"body"x\n1,a\n', "line 1, which names the columns: a quote inside"),
}


@pytest.mark.parametrize("why", REFUSED)
@pytest.mark.parametrize("glance", [False, True])
def test_a_file_that_cannot_be_used_says_why(tmp_path, why, glance):
    data, said = REFUSED[why]
    path = written(tmp_path, data)
    with pytest.raises((UserError, BadFile), match=said):
        csv_text.csv_glance(path, Reading("body")) if glance else read(path)


def test_a_glance_counts_the_rows_of_a_small_file(tmp_path):
    glance = csv_text.csv_glance(written(tmp_path, table(TEXTS)), Reading("body"))
    assert (glance.rows, glance.bad_row) == (len(TEXTS), "")
    bad = csv_text.csv_glance(written(tmp_path, BAD["Latin-1"][0]), Reading("body", 40))
    assert bad.rows == 3
    short = csv_text.csv_glance(written(tmp_path, BAD["short"][0]), Reading("body"))
    assert short.bad_row.startswith("line 3: not as many values")


def test_a_row_that_is_too_large_is_not_kept_in_memory(tmp_path):
    """40 MB in a few, and the row after it is found."""
    path = tmp_path / "a.csv.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(b'id,body\n1,before\n2,"')
        for _ in range(40):
            file.write(b'many words, ""quoted"" ones\n' + b"x" * 1_000_000)
        file.write(b'"\n3,after\n')

    tracemalloc.start()
    texts, rows, _ = read(path, largest=200_000, on_bad="skip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (texts, rows) == (["before", "after"], [0, 2])
    assert peak < 8_000_000


def test_conversations_items_and_labels_are_read_from_csv(tmp_path):
    path = written(tmp_path, 'question,answer\n"What,\nnow?",Nothing.\nWho?,Me.\n')
    first = next(ConversationReader([path]).conversations())
    assert [turn["content"] for turn in first] == ["What,\nnow?", "Nothing."]
    assert [item.question for item in read_items([path], "greedy")] == ["What,\nnow?", "Who?"]

    rows = "".join(
        f'{label},"a text, {label} {i}"\n' for label in ("academic", "other") for i in "12"
    )
    labels = read_labels(str(written(tmp_path, "label,text\n" + rows, "b.csv")))
    assert labels.texts[0] == "a text, academic 1"

    with pytest.raises(UserError, match=r"a\.csv:2: not as many values"):
        list(ConversationReader([written(tmp_path, "question,answer\n1\n")]).conversations())
    with pytest.raises(UserError, match="columns are a, b; expected messages"):
        list(ConversationReader([written(tmp_path, "a,b\n1,2\n")]).conversations())
