"""Files of conversations: JSONL and parquet of any layout give the same, and every row left out is
counted.
"""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snakelm.data.conversations.field_names import NAMES as NAMED
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


def test_marks_by_other_names_are_named_too(tmp_path):
    talk = [{**TALKS[0][0], "good": None}, {**TALKS[0][1], "good": 0}]
    rows = [{"messages": [*talk, *TALKS[1]], "wish": "Be brief."}]
    columns = {"train": "good", "system": "wish"}
    for path in (jsonl(tmp_path / "a.jsonl", rows), tmp_path / "a.parquet"):
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        (messages,), _ = read(path, columns=columns)
        assert messages[0] == {"role": "system", "content": "Be brief."}
        assert [m.get("learned", True) for m in messages] == [True, True, False, True, True]


def files(folder, rows):
    """The same rows as JSONL, as parquet, and as parquet with other types."""
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    pq.write_table(table, folder / "a.parquet")
    other = [_other(field.type) for field in table.schema]
    pq.write_table(table.cast(pa.schema(zip(table.column_names, other, strict=True))),
                   folder / "b.parquet")  # fmt: skip
    return [jsonl(folder / "a.jsonl", rows), folder / "a.parquet", folder / "b.parquet"]


def _other(kind):
    if pa.types.is_list(kind):
        return pa.large_list(_other(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(kind.field(i).name, _other(kind.field(i).type))
                          for i in range(kind.num_fields)])  # fmt: skip
    return pa.large_string() if pa.types.is_string(kind) else kind


def test_marks_and_side_columns_are_read_in_every_file(tmp_path):
    asked, said = TALKS[0]
    rows = [
        {"messages": [*TALKS[0], *TALKS[1]], "system": "Be brief."},
        {"messages": [asked, {**said, "weight": 0.0}, *TALKS[1]]},
        {"messages": [asked, {**said, "weight": 1.0}], "tools": "[]", "label": True},
        {"messages": [asked, {**said, "weight": 0.5}]},
        {"messages": TALKS[2], "label": False},
        {"messages": TALKS[2], "tools": '[{"name": "add"}]'},
        {"messages": TALKS[2], "images": ["a.png"]},
        {"messages": [asked, {**said, "reasoning_content": "Well."}]},
    ]
    for path in files(tmp_path, rows):
        talks, counts = read(path)
        assert [[m.get("learned", True) for m in talk if m["role"] == "assistant"]
                for talk in talks] == [[True, True], [False, True], [True]]  # fmt: skip
        assert talks[0][0]["role"] == "system"
        assert counts.invalid == {
            "weight neither all nor nothing": 1,
            "not to be learned by label": 1,
            "tools beside the turns": 1,
            "images, sound or video": 1,
            "reasoning beside the answer": 1,
        }


def test_what_nobody_knows_is_said_once_with_a_count(tmp_path):
    asked, answered = TALKS[0]
    rows = [
        {"messages": [{**asked, "name": "Ada"}, answered], "id": 1, "mood": "dry", "null": None},
        {"messages": TALKS[1], "id": 2, "mood": "wet", "prompt": TALKS[1][0]["content"]},
        {"messages": [{**asked, "name": "Ada"}, answered], "id": 3, "mood": None},
    ]
    for path in files(tmp_path, rows):
        said = []
        reader = ConversationReader([path], warn=said.append, on_bad="skip")
        assert len(list(reader.conversations())) == 3
        assert reader.unread == {"mood": 2, "name of turns": 2}
        (line,) = said
        assert "not read, as no format has it: mood (2 rows), name of turns (2 rows);" in line
        assert "sft_data.sources[].columns" in line
        assert len(list(reader.conversations())) == 3
        assert reader.unread["mood"] == 2, "counted anew"


def test_what_is_ignored_is_as_if_it_was_not_there(tmp_path):
    asked, answered = TALKS[0]
    rows = [
        {"messages": [asked, {**answered, "weight": 0.5, "name": "Ada"}], "mood": "dry",
         "tools": "[1]"},
        {"messages": TALKS[1], "mood": "wet", "tools": None},
    ]  # fmt: skip
    for path in files(tmp_path, rows):
        reader = ConversationReader([path], ignore=["mood", "tools", "weight", "name"])
        assert list(reader.conversations()) == TALKS[:2]
        assert reader.unread == {}


def test_made_up_names_are_harmless_and_come_to_an_end(tmp_path):
    asked, answered = TALKS[0]
    rows = [
        {**ROWS[1], "\x1b[31m\ud800": 1},
        {**ROWS[1], "we\x1bight": 0.5},
        {**ROWS[1], "y" * 999: 1},
    ]
    rows += [{"messages": [asked, {**answered, f"mask {i}": 1}]} for i in range(200)]
    rows += [{**ROWS[1], f"name {i}": 1} for i in range(200)]
    said = []
    reader = ConversationReader([jsonl(tmp_path / "a.jsonl", rows)], warn=said.append)
    assert len(list(reader.conversations())) == 202
    for counts, total in ((reader.unread, 202), (reader.counts.invalid, 201)):
        assert len(counts) <= 101
        assert sum(counts.values()) == total
        assert all(name.isprintable() and len(name) <= 120 for name in counts)
        assert counts["others"] > 90
    assert said[0].isprintable()


NAMES = st.sampled_from(
    [name for names in NAMED.values() for name in names.split()]
    + ["role", "content", "from", "value", "parts", "text", "name", "mood", "trainedOn"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
EXTRA = st.dictionaries(NAMES, VALUES, max_size=3)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EXTRA, EXTRA, EXTRA)
def test_whatever_stands_beside_the_words_the_row_is_read_or_counted(tmp_path, row, user, said):
    """And an answer with a mark that says no is never learned."""
    said.pop("weight", None)
    talk = [{**user, **TALKS[0][0]}, {**said, **TALKS[0][1], "weight": 0}, *TALKS[1]]
    rows = [{**row, "messages": talk}, ROWS[2]]
    found, counts = read(jsonl(tmp_path / "a.jsonl", rows))
    assert counts.kept + sum(counts.invalid.values()) == 2
    assert found[-1] == TALKS[2]
    for messages in found[:-1]:
        (answer,) = [m for m in messages if m["content"] == TALKS[0][1]["content"]]
        assert answer.get("learned", True) is False


def test_a_column_of_a_tree_that_nobody_knows_is_said(tmp_path):
    rows = [{**row, "mood": "dry", "lang": "en", "system": "Be brief."} for row in TREE]
    for path in files(tmp_path, rows):
        reader = ConversationReader([path])
        assert len(list(reader.conversations())) == 1
        assert reader.unread == {"mood": 4, "system": 4}


def test_a_column_no_format_has_is_an_error():
    with pytest.raises(
        UserError, match=r"sft_data.sources\[\].columns.anwser: .*did you mean answer"
    ):
        ConversationReader([], columns={"anwser": "a"})


def test_a_column_that_no_row_has_is_an_error_however_many_others_fit(tmp_path):
    """The usual name may stand beside the one that was meant."""
    rows = [
        {"question": "Hm?", "better": "Hm!?", "answer": "Hm."},
        {"question": "?", "answer": "."},
    ]
    for path in files(tmp_path, rows):
        reader = ConversationReader([path], columns={"question": "beter"})
        assert len(list(reader.conversations())) == 2
        with pytest.raises(UserError, match=r"columns\.question: found 'beter'.*mean better\?"):
            reader.check_columns()
        reader = ConversationReader([path], columns={"question": "better", "answer": "answer"})
        assert [m["content"] for m in next(reader.conversations())] == ["Hm!?", "Hm."]
        assert list(reader.conversations())
        reader.check_columns()


def test_keys_of_turns_count_as_found_and_what_is_ignored_and_nowhere_is_said(tmp_path):
    rows = [{"messages": [{**turn, "good": 1} for turn in TALKS[0]], "mood": "dry"}]
    for path in files(tmp_path, rows):
        said = []
        ignore = ["mood", "tols"]
        reader = ConversationReader(
            [path], columns={"train": "good"}, ignore=ignore, warn=said.append
        )
        assert list(reader.conversations())
        reader.check_columns()
        assert said == [f"sft_data.sources[].ignore: no row of {path} has tols"]


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
        "a text file, expected conversations as JSONL, CSV or parquet",
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
