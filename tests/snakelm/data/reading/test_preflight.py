"""The preflight: one line that says what is there, every problem at once, room on the disk."""

import gzip
import json
import os
import re
import signal
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.config import from_mapping
from snakelm.data.reading import preflight as module
from snakelm.data.reading.parquet_text import parquet_glance
from snakelm.data.reading.preflight import preflight
from snakelm.data.reading.rows import Reading
from snakelm.errors import DiskFullError, UserError
from snakelm.log import Log
from snakelm.parquet import BadFile


def look(tmp_path, sources, **more):
    config = from_mapping({"preset": "smoke", "sources": sources, **more})
    with Log("preflight", tmp_path / "log.txt") as log:
        sizes = preflight(config, tmp_path / "not" / "there" / "yet", log)
    return sizes, (tmp_path / "log.txt").read_text()


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_one_line_says_what_is_there(tmp_path):
    parquet(tmp_path / "a.parquet", body=["x" * 1000, None, "y" * 500])
    parquet(tmp_path / "b.parquet", body=["z"])
    sizes, log = look(
        tmp_path, [{"path": f"{tmp_path}/*.parquet", "text": "body"}, {"builtin": "docs"}]
    )
    assert (
        "PREFLIGHT 2 files · 4 rows · 1 null · text='body' · builtin or fetched: docs · disk "
        in log
    )
    assert " free, needs ~" in log
    source = sizes["sources"][0]
    assert (source["rows"], source["nulls"], source["problems"]) == (4, 1, [])
    assert 1500 < source["text_bytes"] < 4000


@pytest.mark.parametrize(
    ("names", "keys", "said"),
    [
        (["a.txt", "b.md"], {"text": "body"}, "text: found 'body', and none of its files has col"),
        (["a.wet"], {"text": "body"}, r"none of its files has columns \(warc\)"),
        (["a.dat"], {"text": "body", "format": "text"}, r"has columns \(text\); leave it out"),
        (["a.csv", "b.jsonl"], {"split_kb": 2.0}, r"plain text \(csv, jsonl\); leave it out"),
    ],
)
def test_keys_of_another_kind_of_file_are_an_error(tmp_path, names, keys, said):
    for name in names:
        (tmp_path / name).write_text("text\nA line of it.\nAnother.\n")
    with pytest.raises(UserError, match=f"source mine: .*{said}"):
        look(tmp_path, [{"name": "mine", "path": f"{tmp_path}/?.*", **keys}])


def test_keys_that_some_file_of_a_source_reads_are_none(tmp_path):
    (tmp_path / "a.txt").write_text("A line.\n\nAnother.\n" * 200)
    (tmp_path / "b.jsonl").write_text('{"body": "a"}\n{"body": "b"}\n')
    source = {"path": f"{tmp_path}/?.*", "text": "body", "split_kb": 1.0}
    sizes, _ = look(tmp_path, [source])
    assert sizes["sources"][0]["files"] == 2


def test_rows_of_json_lines_are_not_known_before_reading(tmp_path):
    """Unless there are so few that all were looked at."""
    line = json.dumps({"text": "x" * 1000}) + "\n"
    (tmp_path / "a.jsonl").write_text(line * 2000)
    (tmp_path / "b.jsonl").write_text(line * 20)
    sizes, log = look(tmp_path, [{"path": f"{tmp_path}/{name}.jsonl"} for name in "ab"])
    assert "2 files · 20+ rows" in log
    assert [one["rows"] for one in sizes["sources"]] == [None, 20]


def test_every_problem_is_said_at_once(tmp_path):
    parquet(tmp_path / "a.parquet", text=["x", "y"])
    parquet(tmp_path / "b.parquet", txt=["x"])
    (tmp_path / "c.parquet").write_bytes(b"")
    (tmp_path / "d.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "e.jsonl").write_text("[1]\n")
    sources = [
        {"path": f"{tmp_path}/*.parquet", "name": "p"},
        {"path": f"{tmp_path}/*.jsonl", "name": "j"},
    ]
    with pytest.raises(UserError) as caught:
        look(tmp_path, sources)
    message = str(caught.value)
    assert message.startswith("4 of 5 files can't be used")
    for part in (
        "no column 'text'; columns are txt",
        "0 bytes",
        "d.parquet: damaged, or not a parquet file",
    ):
        assert part in message
    assert "e.jsonl: a JSON array" in message
    with pytest.raises(UserError, match="source j: none of its 1 files has a text"):
        look(tmp_path, sources, on_bad_file="warn")
    sizes, log = look(tmp_path, sources[:1], on_bad_file="warn")
    assert log.count("warning:") == 3
    assert len(sizes["sources"][0]["problems"]) == 3


@pytest.mark.parametrize(
    ("texts", "why"),
    [([], "no rows"), ([None, None], "all 2 values of 'text' are null")],
    ids=["no rows", "nulls"],
)
def test_a_source_without_a_text_is_refused_and_a_file_without_one_is_reported(
    tmp_path, texts, why
):
    parquet(tmp_path / "a.parquet", text=pa.array(texts, pa.string()))
    with pytest.raises(UserError, match=f"a.parquet: {why}"):
        look(tmp_path, [{"path": f"{tmp_path}/*.parquet"}])
    parquet(tmp_path / "b.parquet", text=["x", "y"])
    assert f"a.parquet: {why}" in look(tmp_path, [{"path": f"{tmp_path}/*.parquet"}])[1]


def test_a_disk_too_small_is_said_before_it_is_filled(tmp_path, monkeypatch):
    parquet(tmp_path / "a.parquet", text=["x" * 5000, "y" * 5000])
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=9))
    with pytest.raises(DiskFullError, match=r"need about 1\d\.\d kB, have 9 B"):
        look(tmp_path, [{"path": f"{tmp_path}/*.parquet"}])


def abort(file, reading):
    os.kill(os.getpid(), signal.SIGABRT)


def test_a_footer_that_aborts_the_reader_is_an_error_not_the_end(tmp_path):
    """A flipped bit in the statistics of a footer makes pyarrow 26 end its process."""
    sound = parquet(tmp_path / "a.parquet", text=["x"])
    with module._GlanceProcess() as process:
        with pytest.raises(BadFile, match="makes the reader abort"):
            process.glance(tmp_path, Reading(), abort)
        assert process.glance(sound, Reading(), parquet_glance).rows == 1


LINES = [json.dumps({"text": f"Page {i} of the river"}) for i in range(40)]
PLAIN = "\n".join(LINES).encode()
NO_JSON_LINES = {
    "commas": (",\n".join(LINES).encode(), "line 1: not JSON .a comma after the object"),
    "array": (b"[" + b",\n".join(PLAIN.split(b"\n")) + b"]", "a JSON array"),
    "over lines": (json.dumps({"text": "x"}, indent=1).encode(), "JSON over several lines"),
    "CR": (PLAIN.replace(b"\n", b"\r"), "its lines end with carriage returns alone"),
    "tabs": (b"text\tlabel\nfoo\t1\n", r"line 1: not JSON .tab-separated text: 'text\\tlabel'"),
    "prose": (b"The river turned.\n", "line 1: not JSON .text: 'The river"),
    "quotes": (b"{'text': 'x'}\n", "line 1: not JSON .single quotes"),
    "scalars": (b'"x"\n"y"\n', "line 1: not a JSON object .found a string"),
    "cut": (b'{"text": "x', "line 1: not JSON .Unterminated string"),
    "Latin-1": ('{"text": "café"}\n'.encode("latin-1"), "line 1: not UTF-8 .*likely WINDOWS-1252"),
    "UTF-16": (PLAIN.decode().encode("utf-16-le"), "UTF-16LE without a byte order mark"),
    "zip": (b"PK\x03\x04" + PLAIN, "a zip archive"),
    "half a gzip": (gzip.compress(PLAIN)[:-9], "broken off or damaged"),
    "LFS": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "a Git LFS pointer .*run git lfs pull",
    ),
    "no field": (PLAIN.replace(b"text", b"txt"), "no line has the field 'text'"),
    "blank": (b"\n\n", "no rows"),
}


def test_everything_that_is_no_json_lines_is_named_at_once(tmp_path):
    for name, (data, _) in NO_JSON_LINES.items():
        (tmp_path / f"{name}.jsonl").write_bytes(data)
    with pytest.raises(UserError) as caught:
        look(tmp_path, [{"path": f"{tmp_path}/*.jsonl"}])
    message = str(caught.value)
    assert message.startswith(f"{len(NO_JSON_LINES)} of {len(NO_JSON_LINES)} files can't be used")
    for name, (_, said) in NO_JSON_LINES.items():
        assert re.search(rf"\n  \S+/{name}\.jsonl: {said}", message), name


def test_a_bad_line_among_good_ones_is_named_where_it_would_end_the_run(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(PLAIN + b"\n{oops\n" + PLAIN)
    source = [{"path": f"{tmp_path}/a.jsonl"}]
    with pytest.raises(UserError, match=r"a\.jsonl: line 41: not JSON"):
        look(tmp_path, source)
    assert look(tmp_path, source, on_bad_file="warn")[0]["sources"][0]["rows"] == 81


NOT_AS_NAMED = {
    "a.jsonl": (gzip.compress(PLAIN), "compressed by gzip, which its name doesn't say"),
    "b.jsonl": (PLAIN.decode().encode("utf-16"), "UTF-16LE; read as such"),
    "c.jsonl.gz": (PLAIN, "not compressed, though its name says .gz"),
}


def test_what_is_read_but_not_as_it_is_named_is_said(tmp_path):
    for name, (data, _) in NOT_AS_NAMED.items():
        (tmp_path / name).write_bytes(data)
    sizes, log = look(tmp_path, [{"path": f"{tmp_path}/*.json*"}])
    assert sizes["sources"][0]["rows"] == 120
    for name, (_, said) in NOT_AS_NAMED.items():
        assert f"{name}: {said}" in log

    (tmp_path / "d.jsonl").write_text("oops")
    with pytest.raises(
        UserError, match=r"1 of 4 files(.|\n)*d\.jsonl(.|\n)*aren't what .*\n.*a\.jsonl"
    ):
        look(tmp_path, [{"path": f"{tmp_path}/*.json*"}])


def test_a_split_of_what_is_no_text_file_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(PLAIN)
    with pytest.raises(UserError, match=r"a\.jsonl: jsonl, and sources\[\]\.split is for text"):
        look(tmp_path, [{"path": f"{tmp_path}/*.jsonl", "split": "lines"}])


def test_many_bad_files_are_one_warning(tmp_path):
    for i in range(60):
        (tmp_path / f"{i:02}.jsonl").write_text("oops\n")
    (tmp_path / "z.jsonl").write_bytes(PLAIN)
    _, log = look(tmp_path, [{"path": f"{tmp_path}/*.jsonl"}], on_bad_file="warn")
    assert log.count("warning:") == 1
    assert re.search(r"00\.jsonl: line 1: .*; also \S+01\.jsonl, \S+02\.jsonl and 57 more", log)


def test_a_text_file_is_said_to_be_split(tmp_path):
    (tmp_path / "input.txt").write_text("\n\n".join(f"ANNA:\nline {i}" for i in range(1000)))
    _, log = look(tmp_path, [{"path": f"{tmp_path}/input.txt"}])
    said = r"input: 1 file → \d+ documents, cut at blank lines where there are any \(sources\[\]"
    assert re.search(said, log)
    _, log = look(tmp_path, [{"path": f"{tmp_path}/input.txt", "split": "blank_lines"}])
    assert "input: 1 file → 1,000 documents, split at blank lines" in log

    (tmp_path / "output.txt").write_text("more")
    _, log = look(tmp_path, [{"path": f"{tmp_path}/*put.txt"}])
    assert "split at" not in log
    assert "PREFLIGHT 2 files · 2 rows" in log


@pytest.mark.parametrize(
    "source",
    [
        {"path": "a.txt"},
        {"path": "b.txt", "split": "file"},
        {"path": "c.jsonl"},
        {"path": "d.parquet"},
        {"path": "b.txt", "limit": 1},
    ],
    ids=["a short text", "a whole file", "one line", "one row beside null", "limit"],
)
def test_fewer_than_two_documents_are_refused(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a\n\nb\n\nc")
    (tmp_path / "b.txt").write_text("river\n" * 1000)
    (tmp_path / "c.jsonl").write_text('{"text": "x"}\n')
    parquet("d.parquet", text=["x", None])
    with pytest.raises(UserError, match=r"sources: 1 document in all, .*sources\[\]\.split"):
        look(tmp_path, [source])
    look(tmp_path, [source, {"builtin": "synthetic"}])
