"""Files of conversations: JSONL and parquet of any layout give the same, and every row left out is
counted.
"""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.data.conversations.reader import ConversationReader
from snakelm.errors import UserError

TALKS = [
    [
        {"role": "user", "content": f"What is {i}?"},
        {"role": "assistant", "content": f"A number, {i}. ünï"},
    ]
    for i in range(5)
]
ROWS = [{"messages": talk} for talk in TALKS]


def read(*files, **more):
    reader = ConversationReader(files, **more)
    return list(reader.conversations()), reader.counts


def jsonl(path, rows):
    path.write_text(
        "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    )
    return path


def parquet(path, rows, kind=None, name="messages"):
    pq.write_table(pa.table({name: pa.array([row[name] for row in rows], kind)}), path)
    return path


def turn(**fields):
    return pa.struct([(name, kind) for name, kind in fields.items()])


LAYOUTS = {
    "as Arrow infers it": None,
    "content before role": pa.list_(turn(content=pa.string(), role=pa.string())),
    "large_list of large_string": pa.large_list(
        turn(role=pa.large_string(), content=pa.large_string())
    ),
    "fixed-size list": pa.list_(turn(role=pa.string(), content=pa.string()), 2),
    "dictionary-coded role": pa.list_(
        turn(role=pa.dictionary(pa.int32(), pa.string()), content=pa.string())
    ),
    "binary content": pa.list_(turn(role=pa.string(), content=pa.binary())),
    "more fields": pa.list_(
        turn(id=pa.int64(), tool_calls=pa.list_(pa.string()), content=pa.string(), role=pa.string())
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parquet_of_any_layout(tmp_path, layout):
    talks, counts = read(parquet(tmp_path / "a.parquet", ROWS, LAYOUTS[layout]))
    assert talks == TALKS
    assert (counts.read, counts.kept, counts.invalid) == (5, 5, {})


def test_dictionary_columns_and_columns_that_are_no_conversation(tmp_path):
    table = pa.table(
        {
            "category": pa.array(["a", "b"]).dictionary_encode(),
            "response": pa.array(["Yes.", "Yes."]).dictionary_encode(),
            "embedding": pa.array([[0.5] * 9] * 2),
            "instruction": ["One?", "Two?"],
            "context": pa.array([None, ""], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "dolly.parquet")
    talks, _ = read(tmp_path / "dolly.parquet")
    assert [[m["content"] for m in talk] for talk in talks] == [["One?", "Yes."], ["Two?", "Yes."]]


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_jsonl_plain_and_compressed(tmp_path, suffix):
    plain = jsonl(tmp_path / "plain.jsonl", ROWS).read_bytes()
    path = tmp_path / f"a.{suffix}"
    path.write_bytes({"jsonl": bytes, "jsonl.gz": gzip.compress, "jsonl.zst": _zstd}[suffix](plain))
    assert read(path)[0] == TALKS


def _zstd(data):
    return pa.compress(data, "zstd", asbytes=True)


def test_formats_may_be_mixed_in_a_file(tmp_path):
    mixed = [
        ROWS[0],
        {"instruction": "Add.", "input": "1 1", "output": "2"},
        {"conversations": [{"from": "human", "value": "Hm?"}, {"from": "gpt", "value": "Hm."}]},
        {"title": "neither"},
    ]
    talks, counts = read(jsonl(tmp_path / "a.jsonl", mixed))
    assert [len(talk) for talk in talks] == [2, 2, 2]
    assert counts.invalid == {"no known format": 1}
    only, counts = read(tmp_path / "a.jsonl", shape="alpaca")
    assert len(only) == 1
    assert counts.invalid == {"not of the format alpaca": 3}


def test_columns_are_named_in_the_configuration(tmp_path):
    rows = [{"q": "Hm?", "a": "Hm.", "answer": "not this"}]
    columns = {"question": "q", "answer": "a"}
    for path in (jsonl(tmp_path / "a.jsonl", rows), tmp_path / "a.parquet"):
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        assert [m["content"] for m in read(path, columns=columns)[0][0]] == ["Hm?", "Hm."]


def test_keys_of_turns_are_named_too(tmp_path):
    rows = [
        {
            "dialog": [
                {"speaker": "user", "text": "Hm?"},
                {"speaker": "bot", "text": [{"text": "Hm."}]},
            ]
        }
    ]
    columns = {"messages": "dialog", "role": "speaker", "content": "text"}
    for path in (jsonl(tmp_path / "a.jsonl", rows), tmp_path / "a.parquet"):
        if path.suffix == ".parquet":
            rows[0]["dialog"][1]["text"] = "Hm."
            pq.write_table(pa.Table.from_pylist(rows), path)
        assert [m["content"] for m in read(path, columns=columns)[0][0]] == ["Hm?", "Hm."]


def test_a_column_no_format_has_is_an_error():
    with pytest.raises(
        UserError, match=r"sft_data.sources\[\].columns.anwser: .*did you mean answer"
    ):
        ConversationReader([], columns={"anwser": "a"})


TREE = [
    {"message_id": "a", "parent_id": None, "text": "Hm?", "role": "prompter", "rank": None},
    {"message_id": "c", "parent_id": "a", "text": "No.", "role": "assistant", "rank": 1},
    {"message_id": "b", "parent_id": "a", "text": "Hm.", "role": "assistant", "rank": 0},
    {"message_id": "d", "parent_id": "z", "text": "Lost.", "role": "assistant", "rank": 0},
]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_trees_are_recognised_by_their_columns(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    jsonl(path, TREE) if kind == "jsonl" else pq.write_table(pa.Table.from_pylist(TREE), path)
    talks, counts = read(path)
    assert [[m["content"] for m in talk] for talk in talks] == [["Hm?", "Hm."]]
    assert (counts.read, counts.invalid) == (4, {"no way to it from a root": 1})


REJECTED = [
    ROWS[0],
    {"messages": [{"role": "narrator", "content": "Once."}]},
    {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "a"}]},
    {"messages": [{"role": "user", "content": "x"}]},
    {"messages": [{"role": "user", "content": "x"}]},
    {"messages": None},
]


def test_rejected_rows_are_counted_whatever_on_bad_file_says(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", REJECTED)
    for on_bad in ("error", "warn", "skip"):
        talks, counts = read(path, on_bad=on_bad)
        assert talks == TALKS[:1]
        assert counts.invalid == {
            "unknown role": 1,
            "empty turn": 1,
            "no assistant turn": 2,
            "null field": 1,
        }
        assert counts.read == counts.kept + sum(counts.invalid.values()) == 6


DAMAGED = {
    "not JSON": '{"messages": [\n',
    "a key written twice": '{"question": "a", "answer": "b", "answer": "c"}\n',
    "not a JSON object": '"hi"\n',
    "lone surrogate": '{"question": "\\ud800", "answer": "b"}\n',
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_rows_follow_on_bad_file(tmp_path, name):
    path, said = jsonl(tmp_path / "a.jsonl", [ROWS[0], DAMAGED[name], ROWS[1]]), []
    with pytest.raises(UserError, match=f"a.jsonl:2: {name}.*; fix it, or set on_bad_file: warn"):
        read(path)
    talks, counts = read(path, on_bad="warn", warn=said.append)
    assert talks == TALKS[:2]
    assert counts.invalid == {name: 1}
    assert len(said) == 1


def test_parquet_texts_that_are_not_utf8_cost_their_row(tmp_path):
    answers = pa.array([b"a", b"\xff", b"c"], pa.binary()).view(pa.string())
    pq.write_table(
        pa.table({"question": ["1?", "2?", "3?"], "answer": answers}), tmp_path / "a.parquet"
    )
    with pytest.raises(UserError, match=r"row 1 \(the first is 0\): not UTF-8"):
        read(tmp_path / "a.parquet")
    talks, counts = read(tmp_path / "a.parquet", on_bad="skip")
    assert [talk[1]["content"] for talk in talks] == ["a", "c"]
    assert counts.invalid == {"not UTF-8": 1}


def _cut(path):
    path.write_bytes(parquet(path, ROWS).read_bytes()[:-20])


def _field_twice(path):
    turn = pa.StructArray.from_arrays([pa.array(["a"])] * 3, names=["role", "content", "content"])
    pq.write_table(pa.table({"messages": pa.ListArray.from_arrays([0, 1], turn)}), path)


BAD_FILES = {
    "field.parquet": (_field_twice, "column 'messages' has 2 fields named 'content'; rename one"),
    "no.parquet": (_cut, "damaged, or not a parquet file"),
    "empty.parquet": (lambda p: p.write_bytes(b""), "empty, 0 bytes"),
    "columns.parquet": (
        lambda p: pq.write_table(pa.table({"text": ["a"]}), p),
        "columns are text; expected messages; .*say which is which in sft_data.sources",
    ),
    "columns.jsonl": (
        lambda p: jsonl(p, [{"text": "a"}, {"text": "b"}]),
        "columns are text; expected messages",
    ),
    "array.json": (lambda p: p.write_text("[{}]"), "a JSON array, expected one JSON object a line"),
    "prose.txt": (
        lambda p: p.write_text("hi"),
        "a text file, expected conversations as JSONL or parquet",
    ),
    "what.bin": (lambda p: p.write_text("hi"), "can't tell its format"),
    "cut.jsonl.gz": (
        lambda p: p.write_bytes(gzip.compress(b'{"question": "a"}\n' * 9)[:-9]),
        "broken off or damaged",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_follow_on_bad_file(tmp_path, name):
    path, good = tmp_path / name, jsonl(tmp_path / "good.jsonl", ROWS)
    make, message = BAD_FILES[name]
    make(path)
    with pytest.raises(UserError, match=f"{name}: {message}"):
        read(path)
    talks, counts = read(path, good, on_bad="skip")
    assert talks == TALKS
    assert [bad["file"] for bad in counts.bad_files] == [path.as_posix()]


def test_a_file_without_rows_and_the_same_file_twice_are_said(tmp_path):
    said = []
    empty, one = jsonl(tmp_path / "empty.jsonl", []), jsonl(tmp_path / "one.jsonl", ROWS)
    two = jsonl(tmp_path / "two.jsonl", ROWS)
    talks, counts = read(empty, one, two, warn=said.append)
    assert len(talks) == 10
    assert counts.files_without_rows == [empty.as_posix()]
    assert any(
        "two.jsonl: the same bytes as" in line and "its conversations count once" in line
        for line in said
    )
