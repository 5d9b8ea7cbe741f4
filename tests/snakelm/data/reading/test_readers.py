"""The bad-input corpus: what each kind of file gives, and that nothing is dropped without a
count.
"""

import gzip
import json
import random
import tracemalloc
from collections import defaultdict
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.config import Source
from snakelm.data.documents.table import read_documents
from snakelm.data.reading.formats import FORMATS
from snakelm.data.reading.readers import Reader, expand, file_format
from snakelm.data.reading.rows import LARGEST, Reading
from snakelm.errors import UserError
from snakelm.parquet import BadFile

GOOD = ["first text", "second text", "third text"]


def parquet(path, texts, name="text", kind=None, **options):
    pq.write_table(
        pa.table({name: pa.array(texts, kind), "other": range(len(texts))}), path, **options
    )
    return path


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def read(files, column="text", largest=LARGEST, split="file", **options):
    """(texts, counts, warnings)"""
    warnings = []
    files = files if isinstance(files, list) else [files]
    reading = Reading(column, largest, split)
    reader = Reader(files, reading=reading, warn=warnings.append, **options)
    texts = [text for batch in reader.batches() for text in batch.column("text").to_pylist()]
    c = reader.counts
    assert c.read == c.kept + c.null + c.empty + sum(c.invalid.values()), (
        "every row is accounted for"
    )
    assert c.kept == len(texts)
    return texts, c, warnings


def invalid_utf8(path):
    values = pa.array([b"good", b"\xff\xfe bad", b"also good", b"cut \xe2\x82"], pa.large_binary())
    pq.write_table(pa.table({"text": values.view(pa.large_string())}), path)
    return path


# What parquet may call text.
KINDS = {
    "string": pa.string(),
    "large_string": pa.large_string(),
    "string_view": pa.string_view(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
    "binary": pa.binary(),
    "large_binary": pa.large_binary(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_of_text_column_is_read(tmp_path, kind):
    texts, counts, _ = read(parquet(tmp_path / "a.parquet", [*GOOD, None], kind=KINDS[kind]))
    assert texts == GOOD
    assert counts.null == 1


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.zst", "ndjson", "json"])
def test_json_lines_plain_and_compressed(tmp_path, suffix):
    data = "".join(json.dumps({"text": t}) + "\n" for t in GOOD).encode()
    pack = {"gz": gzip.compress, "zst": zstd}.get(suffix.split(".")[-1], bytes)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(pack(data) + pack(data))  # two members, two frames: both are read
    assert read(path)[0] == GOOD * 2


def test_a_text_file_is_one_document_without_its_byte_order_mark(tmp_path):
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfline one\nline two\r\n")
    (tmp_path / "a.md").write_text("# Title")
    assert read(expand(str(tmp_path / "*")))[0] == ["# Title", "line one\nline two\r\n"]


NESTED = [
    {"doc": {"body": {"text": "deep"}, "n": 1}},
    {"doc": {"body": {"text": None}, "n": 2}},
    {"doc": None},
]


def test_dots_reach_into_structs_and_objects(tmp_path):
    pq.write_table(pa.Table.from_pylist(NESTED), tmp_path / "a.parquet")
    jsonl(tmp_path / "b.jsonl", NESTED)
    for name in ("a.parquet", "b.jsonl"):
        texts, counts, _ = read(tmp_path / name, column="doc.body.text")
        assert (texts, counts.null) == (["deep"], 2)


def test_a_name_with_a_dot_in_it_is_that_column(tmp_path):
    assert read(parquet(tmp_path / "a.parquet", GOOD, "meta.text"), column="meta.text")[0] == GOOD


def test_only_the_text_column_is_touched(tmp_path):
    """The other column is of a type and with damage that reading it would stumble over."""
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"other": [b"\xaa" * 1000] * 3, "text": GOOD}), path, compression="none"
    )
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\xaa" * 500, b"\xbb" * 500))
    assert read(path)[0] == GOOD


def test_origin_is_the_row_in_the_file(tmp_path):
    path = parquet(tmp_path / "a.parquet", ["x1", None, "x2", "", "x3"], row_group_size=2)
    reader = Reader([path])
    rows = [row for batch in reader.batches() for row in batch.to_pylist()]
    assert [(r["text"], r["origin_row"]) for r in rows] == [("x1", 0), ("x2", 2), ("x3", 4)]
    assert {r["origin_file"] for r in rows} == {path.as_posix()}


def test_nul_and_names_of_special_tokens_are_ordinary_text(tmp_path):
    texts = ["a\0b", "<|endoftext|> in the middle <|endoftext|>", "e\u0301 \U0001f600 \ufeff"]
    assert read(parquet(tmp_path / "a.parquet", texts))[0] == texts
    assert read(jsonl(tmp_path / "a.jsonl", [{"text": t} for t in texts]))[0] == texts


def test_null_empty_and_blank_documents_are_counted(tmp_path):
    texts, counts, warnings = read(parquet(tmp_path / "a.parquet", [None, "", " \n\t\u3000", "x"]))
    assert (texts, counts.null, counts.empty, warnings) == (["x"], 1, 2, [])


def test_a_column_of_nulls_gives_no_documents_and_no_error(tmp_path):
    for kind in (pa.string(), pa.null()):
        assert read(parquet(tmp_path / "a.parquet", [None] * 3, kind=kind))[1].null == 3


@pytest.mark.parametrize(
    "bad", ["missing column", "number column", "truncated", "not parquet", "0 bytes", "corrupt"]
)
def test_a_bad_parquet_file_stops_or_is_left_out_by_policy(tmp_path, bad):
    good = parquet(tmp_path / "a.parquet", GOOD)
    path = parquet(
        tmp_path / "b.parquet", ["lost text"] * 1000, write_page_checksum=True, use_dictionary=False
    )
    data = path.read_bytes()
    message = {
        "missing column": r"no column 'text'; columns are txt, other; did you mean txt\?",
        "number column": "column 'text' holds int64, expected text; columns with text: body",
        "truncated": "damaged, or not a parquet file",
        "not parquet": "damaged, or not a parquet file",
        "0 bytes": "empty, 0 bytes",
        "corrupt": "row group 0 is damaged .*CRC",
    }[bad]
    if bad == "missing column":
        parquet(path, GOOD, "txt")
    elif bad == "number column":
        pq.write_table(pa.table({"text": [1, 2], "body": ["a", "b"]}), path)
    elif bad == "corrupt":
        path.write_bytes(data[:60] + bytes([data[60] ^ 1]) + data[61:])
    else:
        path.write_bytes(
            {"truncated": data[:-100], "not parquet": b"a,b\n" * 40, "0 bytes": b""}[bad]
        )
    with pytest.raises(UserError, match=rf"b\.parquet: {message}"):
        read([good, path])
    for policy in ("warn", "skip"):
        texts, counts, warnings = read([good, path], on_bad=policy)
        assert texts == GOOD
        assert [f["file"] for f in counts.bad_files] == [path.as_posix()]
        assert len(warnings) == (policy == "warn")
    assert counts.rows_unread == (1000 if bad == "corrupt" else 0)


def test_row_groups_before_the_damage_are_kept(tmp_path):
    path = parquet(
        tmp_path / "a.parquet",
        [f"text {i}" for i in range(40)],
        row_group_size=10,
        use_dictionary=False,
    )
    meta = pq.ParquetFile(path).metadata
    at = meta.row_group(2).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[at : at + 12] = b"\xff" * 12
    path.write_bytes(data)
    texts, counts, _ = read(path, on_bad="warn")
    assert texts == [f"text {i}" for i in range(20)]
    assert counts.rows_unread == 20


# A line of JSON that is no sound row → what it is counted as.
BAD_LINES = {
    "not JSON": b'{"text": "cut off',
    "not JSON ": b'{"text": "a", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "not JSON  ": b'{"text": "a", "huge": ' + b"9" * 10_000 + b"}",
    "a key written twice": b'{"text": "one", "text": "two"}',
    "not a JSON object": b'"just text"',
    "not UTF-8": b'{"text": "\xff\xfe"}',
    "lone surrogate": b'{"text": "half \\ud800 of a pair"}',
    "a int where text should be": b'{"text": 7}',
    "a list where text should be": b'{"text": ["a", "b"]}',
}


@pytest.mark.parametrize("why", BAD_LINES)
def test_a_bad_line_stops_or_is_left_out_by_policy(tmp_path, why):
    path = tmp_path / "a.jsonl"
    line, why = BAD_LINES[why], why.rstrip()
    path.write_bytes(
        b'{"text": "before"}\n\n' + line + b'\n{"text": "after"}\n{"other": 1}\n{"text": null}'
    )
    with pytest.raises(UserError, match=rf"a\.jsonl:3: {why}.*; .*on_bad_file: warn"):
        read(path)
    texts, counts, warnings = read(path, on_bad="warn")
    assert (texts, counts.invalid, counts.null) == (["before", "after"], {why: 1}, 2)
    assert len(warnings) == 1


def test_nan_beside_the_text_is_no_reason_to_drop_a_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "score": NaN, "other": -Infinity}\n')
    texts, counts, warnings = read(path)
    assert (texts, counts.invalid, warnings) == (["a"], {}, [])


def test_a_pair_of_surrogate_escapes_is_one_sound_character(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\\ud83d\\ude00"}\n')
    assert read(path)[0] == ["\U0001f600"]


def test_strings_that_are_not_utf8_in_parquet_are_found(tmp_path):
    path = invalid_utf8(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"row 1 \(the first is 0\): not UTF-8"):
        read(path)
    texts, counts, _ = read(path, on_bad="skip")
    assert (texts, counts.invalid) == (["good", "also good"], {"not UTF-8": 2})


WIDE = [f"Page {i} of the river" for i in range(20)]
UTF16 = "UTF-16 or UTF-32, not UTF-8"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_utf16_in_a_column_is_no_text(tmp_path, encoding):
    values = [text.encode(encoding) for text in WIDE] + [b"good", b"one\0two"]
    for kind in (pa.binary(), pa.large_binary()):
        path = parquet(tmp_path / "a.parquet", values, kind=kind)
        with pytest.raises(UserError, match=r"row 0 .*: UTF-16 or UTF-32, not UTF-8"):
            read(path)
        texts, counts, warnings = read(path, on_bad="warn")
        assert (texts, counts.invalid) == (["good", "one\0two"], {UTF16: 20})
        assert len(warnings) == 1


def test_utf16_in_the_escapes_of_json_is_no_text(tmp_path):
    rows = [{"text": text.encode("utf-16-le").decode()} for text in WIDE] + [{"text": "a\0b"}]
    path = jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(UserError, match=r"a\.jsonl:1: UTF-16 or UTF-32, not UTF-8"):
        read(path)
    assert read(path, on_bad="skip")[0] == ["a\0b"]


def test_utf16_with_its_mark_in_a_binary_column_is_decoded(tmp_path):
    values = [text.encode("utf-16") for text in WIDE] + ["naïve".encode(), None]
    texts, *_ = read(parquet(tmp_path / "a.parquet", values, kind=pa.binary()))
    assert texts == [*WIDE, "naïve"]


def test_text_of_another_encoding_names_its_line(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\ntwo\ncafé au lait\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"a\.txt:3: not UTF-8 .*likely WINDOWS-1252"):
        read(tmp_path / "a.txt")


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.txt"])
def test_what_is_too_large_stops_or_is_left_out_by_policy(tmp_path, name):
    rows = ["small", "x" * 3000, "small too"]
    if name == "a.txt":
        rows = rows[1:2]
        (tmp_path / name).write_text(rows[0])
    elif name == "a.jsonl":
        jsonl(tmp_path / name, [{"text": text} for text in rows])
    else:
        parquet(tmp_path / name, rows)
    with pytest.raises(UserError, match=r"too large \(more than 0\.002 MB; max_document_mb"):
        read(tmp_path / name, largest=2000)
    texts, counts, _ = read(tmp_path / name, largest=2000, on_bad="warn")
    assert texts == [text for text in rows if len(text) < 2000]
    assert counts.invalid == {"too large": 1}
    assert read(tmp_path / name, largest=3500)[0] == rows


def test_a_line_that_is_too_large_is_not_kept_in_memory(tmp_path):
    """0.3 GB in a few hundred kB."""
    with gzip.open(tmp_path / "a.jsonl.gz", "wb", 1) as file:
        file.write(b'{"text": "before"}\n{"text": "')
        for _ in range(300):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"text": "after"}\n')

    tracemalloc.start()
    texts, *_ = read(tmp_path / "a.jsonl.gz", largest=1_000_000, on_bad="skip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert texts == ["before", "after"]
    assert peak < 20_000_000


def test_surrogates_written_as_utf8_bytes_are_not_utf8(tmp_path):
    pq.write_table(pa.table({"text": pa.array([b"\xed\xa0\x80", b"fine"])}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", on_bad="warn")[1].invalid == {"not UTF-8": 1}


BAD_STREAMS = {
    "cut gzip": ("a.jsonl.gz", lambda d: gzip.compress(d)[:-20]),
    "cut zstd": ("a.jsonl.zst", lambda d: zstd(d)[:-20]),
    "neither text nor gzip": ("a.jsonl.gz", lambda d: b"\x93" + gzip.compress(d)[1:]),
    "no such field": ("a.jsonl", lambda d: d.replace(b"text", b"texts")),
    "JSON array": ("a.json", lambda d: b"[" + d.replace(b"\n", b",\n")),
    "unknown name": ("a.docx", lambda d: d),
}


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_a_bad_stream_stops_or_is_left_out_by_policy(tmp_path, name):
    file, make = BAD_STREAMS[name]
    random_ = random.Random(0)
    data = "".join(json.dumps({"text": str(random_.random())}) + "\n" for _ in range(3000)).encode()
    (tmp_path / file).write_bytes(make(data))
    message = {
        "no such field": r"no line has the field 'text'; fields are texts; did you mean texts\?",
        "JSON array": "a JSON array, expected one JSON object a line",
        "unknown name": "set the source's format",
        "neither text nor gzip": "neither text nor compressed as its name .gz says",
    }.get(name, "broken off or damaged")
    with pytest.raises(UserError, match=message):
        read(tmp_path / file)
    assert len(read(tmp_path / file, on_bad="warn")[1].bad_files) == 1


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.txt.gz"])
def test_all_before_the_damage_of_a_stream_is_kept(tmp_path, name):
    """As of parquet."""
    line = '{"text": "the river"}\n' if name.startswith("a.jsonl") else "the river\n"
    (tmp_path / name).write_bytes(gzip.compress(line.encode() * 100) + b"and other bytes")
    options = {"split": "lines"} if name.startswith("a.txt") else {}
    texts, counts, _ = read(tmp_path / name, on_bad="warn", **options)
    assert set(texts) == {"the river"}
    assert len(texts) >= 99  # of text, the last line might have gone on
    assert "other bytes after its gzip data" in counts.bad_files[0]["why"]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_a_file_without_rows_is_left_out_with_a_warning(tmp_path, name):
    path = tmp_path / name
    _ = parquet(path, [], kind=pa.string()) if name.endswith("parquet") else path.write_text("\n\n")
    _, counts, warnings = read([path, parquet(tmp_path / "z.parquet", GOOD)])
    assert counts.files_without_rows == [path.as_posix()]
    assert warnings == [f"{path}: no rows"]


def test_the_same_file_under_two_names_is_reported(tmp_path):
    for name in ("a", "b"):
        parquet(tmp_path / f"{name}.parquet", GOOD)
    parquet(tmp_path / "c.parquet", list(reversed(GOOD)))
    texts, counts, warnings = read(expand(str(tmp_path / "*.parquet")))
    assert texts == [*GOOD, *GOOD, *reversed(GOOD)]
    twin = {
        "file": (tmp_path / "b.parquet").as_posix(),
        "same_as": (tmp_path / "a.parquet").as_posix(),
    }
    assert counts.duplicate_files == [twin]
    assert len(warnings) == 1


def test_a_reader_reads_again_the_same(tmp_path):
    reader = Reader([parquet(tmp_path / "a.parquet", [*GOOD, None])])
    first = [b.to_pylist() for b in reader.batches()]
    counts = reader.counts.as_dict()
    assert [b.to_pylist() for b in reader.batches()] == first
    assert reader.counts.as_dict() == counts


def test_a_document_larger_than_any_batch_is_complete(tmp_path):
    large = "many words " * 2_000_000  # 22 MB
    texts, *_ = read(parquet(tmp_path / "a.parquet", ["before", large, "after"]))
    assert [len(t) for t in texts] == [6, len(large), 5]
    assert read(jsonl(tmp_path / "a.jsonl", [{"text": large}]))[0] == [large]


def test_globs_are_sorted_and_each_file_comes_once(tmp_path):
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    for name in ("b.txt", "a.txt", "sub/c.txt", "sub/deep/d.txt"):
        (tmp_path / name).write_text("x")
    found = expand([f"{tmp_path}/**/*.txt", f"{tmp_path}/a.txt"])
    assert [p.relative_to(tmp_path).as_posix() for p in found] == [
        "a.txt",
        "b.txt",
        "sub/c.txt",
        "sub/deep/d.txt",
    ]


def test_a_name_with_brackets_is_first_a_name(tmp_path):
    (tmp_path / "a[1].txt").write_text("x")
    assert expand(str(tmp_path / "a[1].txt")) == [tmp_path / "a[1].txt"]


@pytest.mark.parametrize(
    ("pattern", "message"), [("none-*.parquet", "no such file"), (".", "a folder, expected files")]
)
def test_patterns_without_files_are_errors(tmp_path, pattern, message):
    with pytest.raises(UserError, match=message):
        expand(str(tmp_path / pattern))


def test_formats_are_recognised_by_names():
    from pathlib import Path

    kinds = defaultdict(list)
    for name in ("a.parquet", "a.PQ", "a.jsonl.zst", "a.json.gz", "a.txt", "a.md.gz", "a.tsv.gz"):
        kinds[file_format(Path(name))].append(name)
    assert dict(kinds) == {
        "parquet": ["a.parquet", "a.PQ"],
        "jsonl": ["a.jsonl.zst", "a.json.gz"],
        "text": ["a.txt", "a.md.gz"],
        "csv": ["a.tsv.gz"],
    }
    assert file_format(Path("a.csv"), "text") == "text"
    with pytest.raises(BadFile):
        file_format(Path("a.xlsx"))


def test_the_configuration_offers_the_formats_that_are_read():
    assert set(get_args(Source.model_fields["format"].annotation)) == {"auto", *FORMATS}


def test_random_damage_to_checksummed_parquet_is_never_silent(tmp_path):
    texts = [f"a text of some length {random.Random(i).random()}" for i in range(300)]
    path = parquet(tmp_path / "a.parquet", texts, write_page_checksum=True, compression="zstd")
    good, silent, random_ = path.read_bytes(), 0, random.Random(0)
    for at in random_.sample(range(len(good)), 100):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << random_.randrange(8)]) + good[at + 1 :])
        try:
            found = read(path)[0]
        except UserError:
            continue
        silent += found != texts
    assert silent == 0


def test_documents_files_are_read_in_order(tmp_path):
    with pytest.raises(UserError, match=r"missing\.parquet: no such file; .* run its step"):
        next(read_documents(tmp_path / "missing.parquet"))
