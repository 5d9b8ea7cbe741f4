"""Items of every shape that test sets come in, and the place of what is wrong in one."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.errors import UserError
from snakelm.evaluation.items import Item, chosen_items, read_items, shot_order, solved_items


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


CHOICE = Item("Two and two?", ("three", "four"), 1)


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Two and two?", "choices": ["three", "four"], "answer": 1},
        {"question": "Two and two?", "choices": ["three", "four"], "answer": "four"},
        {"query": "Two and two?", "choices": ["three", "four"], "gold": "B"},
        {"ctx": "Two and two?", "endings": ["three", "four"], "label": "1"},
        {
            "question": "Two and two?",
            "choices": {"text": ["three", "four"], "label": ["1", "2"]},
            "answerKey": "2",
        },
        {
            "question": None,
            "prompt": "Two and two?",
            "options": ["three", "four"],
            "target": 1,
            "more": [1, {}],
        },
    ],
    ids=["number", "text", "letter", "hellaswag", "arc", "other names"],
)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_choices_of_many_shapes(row, form, tmp_path):
    path = tmp_path / f"a.{form}"
    jsonl(path, row) if form == "jsonl" else pq.write_table(
        pa.Table.from_pylist([{**row, "more": "x"}]), path
    )
    assert read_items([path], "choice") == [CHOICE]


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [("four", ("four",)), (["four", "4"], ("four", "4")), (4, ("4",)), ("A", ("A",))],
)
def test_greedy_answers(answer, accepted, tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"question": "Two and two?", "answer": answer})
    assert read_items([path], "greedy") == [Item("Two and two?", accepted, 0)]


@pytest.mark.parametrize(
    ("rows", "kind", "said"),
    [
        (
            [{"question": "a", "choices": ["b", "c"]}],
            "choice",
            r"jsonl:1: none of answer, gold.*columns are question",
        ),
        ([{"choices": ["b", "c"], "answer": 0}], "choice", "jsonl:1: none of question"),
        ([{"question": "a", "answer": 0}], "choice", "jsonl:1: none of choices"),
        ([{"question": "a", "choices": ["b"], "answer": 0}], "choice", "at least two"),
        ([{"question": "a", "choices": "bc", "answer": 0}], "choice", "expected a list"),
        ([{"question": "a", "choices": ["b", ""], "answer": 0}], "choice", "expected a list"),
        (
            [
                {
                    "question": "a",
                    "choices": {"text": ["b", "c"], "label": ["A", "A"]},
                    "answer": "A",
                }
            ],
            "choice",
            "2 different ones",
        ),
        (
            [{"sentence": "No gap.", "option1": "b", "option2": "c", "answer": "1"}],
            "choice",
            "no _ that",
        ),
        (
            [{"premise": "a", "question": "why", "choice1": "b", "choice2": "c", "label": 0}],
            "choice",
            "expected cause or effect",
        ),
        (
            [{"question": "a", "mc1_targets": {"choices": ["b", "c"], "labels": [1, 1]}}],
            "choice",
            "expected one right choice",
        ),
        (
            [{"question": "a", "choices": ["b", "c"], "answer": 2}],
            "choice",
            "'2' is none of the 2 choices",
        ),
        ([{"question": "a", "choices": ["b", "c"], "answer": -1}], "choice", "none of the 2"),
        ([{"question": "a", "choices": ["b", "c"], "answer": True}], "choice", "none of the 2"),
        ([{"question": "a", "choices": ["b", "c"], "answer": "C"}], "choice", "none of the 2"),
        ([{"question": "a", "choices": ["b", "c"], "answer": "²"}], "choice", "none of the 2"),
        (
            [{"question": "a", "answer": "x"}, {"question": "a", "answer": " "}],
            "greedy",
            "jsonl:2: the answer is empty",
        ),
        ([{"question": "a", "answer": {"b": 1}}], "greedy", "no text"),
        ([{"question": 3, "answer": "x"}], "greedy", "the question is a int"),
        ([], "greedy", "no items"),
    ],
)
def test_what_is_no_item_is_named_with_its_place(rows, kind, said, tmp_path):
    path = jsonl(tmp_path / "a.jsonl", *rows)
    with pytest.raises(UserError, match=said) as error:
        read_items([path], kind)
    assert "\n" not in str(error.value)
    assert "a.jsonl" in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"), [("a.txt", "x"), ("a.jsonl", "{\n"), ("a.parquet", "PAR1"), ("a.bin", "x")]
)
def test_other_files_are_refused(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=name):
        read_items([tmp_path / name], "choice")


def test_a_limit_takes_the_same_items_whatever_else_is_there():
    items = [Item(f"q{i}", ("a", "b"), 0) for i in range(200)]
    some = {items[i].question for i in chosen_items(items, 50, 1)}
    fewer = {items[:150][i].question for i in chosen_items(items[:150], 50, 1)}
    assert len(some) == 50
    assert chosen_items(items, 50, 2) != chosen_items(items, 50, 1)
    assert {q for q in some if int(q[1:]) < 150} <= fewer
    assert chosen_items(items, None, 1) == list(range(200))


def test_solved_items_are_others_and_the_same_each_time():
    items = [Item(f"q{i % 9}", ("a", "b"), 0) for i in range(10)]  # the last is the first again
    order = shot_order(items, 4)
    for number in range(10):
        before = solved_items(items, number, order, 3)
        assert len(before) == 3
        assert items[number] not in before
    with pytest.raises(UserError, match=r"tasks\[\]\.shots: 9 solved items"):
        solved_items(items, 0, order, 9)
