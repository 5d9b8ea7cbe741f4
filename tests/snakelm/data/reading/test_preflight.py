"""The preflight: one line that says what is there, every problem at once, room on the disk."""

import json
import os
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
