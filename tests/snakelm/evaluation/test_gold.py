"""What the answers of a test set mean, decided by its columns or by all of its rows, or refused."""

import json
from itertools import cycle, islice

import pytest

from snakelm.errors import UserError
from snakelm.evaluation.items import read_items

WORDS = ["red", "green", "blue", "black"]


def right(path, rows, gold="auto"):
    """The texts of the right choices of some rows."""
    path = path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [item.choices[item.gold] for item in read_items([path], "choice", gold)]


def rows(choices, answers, answer="answer", given="choices"):
    return [{"question": f"q{i}", given: choices, answer: a} for i, a in enumerate(answers)]


KNOWN = {
    "HellaSwag": ([{"ctx": "2 and 2", "endings": ["4", "0", "1", "3"], "label": "0"}], "4"),
    "HellaSwag, a number": ([{"ctx": "2 and 2", "endings": ["4", "0", "1"], "label": 0}], "4"),
    "HellaSwag, endings as numbers": ([{"ctx": "2", "endings": [4, 0, 1], "label": "0"}], "4"),
    "ARC": (
        [
            {
                "question": "2?",
                "choices": {"text": ["2", "1"], "label": ["1", "2"]},
                "answerKey": "2",
            }
        ],
        "1",
    ),
    "ARC as published": (
        [
            {
                "question": {
                    "stem": "2?",
                    "choices": [{"text": "B", "label": "A"}, {"text": "A", "label": "B"}],
                },
                "answerKey": "B",
            }
        ],
        "A",
    ),
    "ARC without labels": (rows(["B", "A", "3"], ["A"], "answerKey"), "B"),
    "ARC without labels, a number": (rows(["2", "1", "3"], ["2"], "answerKey"), "1"),
    "OpenBookQA": (
        [
            {
                "question_stem": "2?",
                "choices": {"text": ["2", "1"], "label": ["A", "B"]},
                "answerKey": "B",
            }
        ],
        "1",
    ),
    "MMLU": (rows(["3", "0", "1", "2"], [1]), "0"),
    "MMLU after pandas": (rows(["3", "0", "1", "2"], [1.0]), "0"),
    "PIQA": ([{"goal": "Move it", "sol1": "1", "sol2": "0", "label": 1}], "0"),
    "WinoGrande": (
        [{"sentence": "Ann told Eve _ won.", "option1": "2", "option2": "1", "answer": "2"}],
        "1 won.",
    ),
    "SIQA": (
        [
            {
                "context": "Ann fell.",
                "question": "Why?",
                "answerA": "2",
                "answerB": "1",
                "answerC": "x",
                "label": "1",
            }
        ],
        "2",
    ),
    "COPA": (
        [{"premise": "It fell.", "question": "cause", "choice1": "1", "choice2": "0", "label": 0}],
        "1",
    ),
    "BoolQ": ([{"passage": "Ice is cold.", "question": "is ice cold", "answer": True}], "yes"),
    "BoolQ, a number": ([{"passage": "Ice.", "question": "is ice hot", "label": 0}], "no"),
    "TruthfulQA": (
        [{"question": "q", "mc1_targets": {"choices": ["1", "0"], "labels": [0, 1]}}],
        "0",
    ),
    "MedQA": ([{"question": "q", "options": {"A": "iron", "B": "zinc"}, "answer": "zinc"}], "zinc"),
}


@pytest.mark.parametrize("benchmark", KNOWN)
def test_columns_decide_where_a_benchmark_is_known_by_them(benchmark, tmp_path):
    made, expected = KNOWN[benchmark]
    assert right(tmp_path, made) == [expected]


@pytest.mark.parametrize(
    ("choices", "answers", "expected"),
    [
        (["2", "1", "0"], ["0", "2", "7"], None),
        (["2", "1", "9"], ["9", "2", "1"], ["9", "2", "1"]),
        (WORDS, ["0", "1", "3"], ["red", "green", "black"]),
        (WORDS, ["b", "A", "(c)"], ["green", "red", "blue"]),
        (WORDS, [" blue", "red"], ["blue", "red"]),
        (["C", "B", "A", "x"], ["A", "B", "x"], ["A", "B", "x"]),
        (["C", "B", "A", "x"], ["A", "B", "D"], ["C", "B", "x"]),
        (["x", "x", "y"], ["x", "y"], ["x", "y"]),
        ([4, 2, 8], [4, 8], ["4", "8"]),
    ],
    ids=[
        "an answer that nothing fits",
        "text, since no number reaches it",
        "number, from 0",
        "letter, whatever its case and brackets",
        "text with white space around",
        "text, since one is no letter",
        "letter, since one is no text",
        "repeated choices",
        "numbers among numbers",
    ],
)
def test_the_whole_file_decides(choices, answers, expected, tmp_path):
    made = rows(choices, answers)
    if expected is None:
        with pytest.raises(UserError, match=r"a\.jsonl:3: the answer '7' is none of the 3 choices"):
            right(tmp_path, made)
    else:
        assert right(tmp_path, made) == expected


def test_numbers_count_from_1_where_nobody_would_count_from_0(tmp_path):
    answers = list(islice(cycle("1234"), 20))
    assert right(tmp_path, rows(WORDS, answers))[:4] == WORDS
    assert right(tmp_path, rows(WORDS, [int(a) for a in answers]))[:4] == WORDS
    assert right(tmp_path, rows(WORDS, [*answers[:4], "A"]))[:4] == WORDS


@pytest.mark.parametrize(
    ("choices", "answers", "said"),
    [
        (["2", "1", "0"], ["0"], "text of a choice it is '0'.*from 0 it is '2'.*text or from_0"),
        (["B", "A"], ["A"], "text of a choice it is 'A'.*letter of a choice it is 'B'"),
        (WORDS, ["1", "2", "3"], "from 0 it is 'green'.*from 1 it is 'red'.*from_0 or from_1"),
        (WORDS, ["1", "4"], "'4' is none of the 4 choices when they count from 0.*from_1"),
        (WORDS, [1, 4], "'4' is none of the 4 choices when they count from 0.*from_1"),
    ],
    ids=["text or number", "text or letter", "from 0 or 1", "few from 1", "few numbers from 1"],
)
def test_what_can_be_read_twice_is_refused_with_the_key_that_settles_it(
    choices, answers, said, tmp_path
):
    with pytest.raises(UserError, match=said) as error:
        right(tmp_path, rows(choices, answers))
    assert "a.jsonl:" in str(error.value)
    assert "tasks[].gold" in str(error.value)


@pytest.mark.parametrize(
    ("gold", "expected"),
    [("text", ["1", "2"]), ("from_0", ["1", "0"]), ("from_1", ["2", "1"])],
)
def test_the_key_settles_it(gold, expected, tmp_path):
    assert right(tmp_path, rows(["2", "1", "0"], ["1", "2"]), gold) == expected


def test_the_key_is_held_against_every_row(tmp_path):
    with pytest.raises(UserError, match=r"a\.jsonl:2: the answer 'x' is none of the 2 choices"):
        right(tmp_path, rows(["a", "b"], ["0", "x"]), "from_0")


def test_the_files_of_a_task_decide_together(tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text(json.dumps(rows(["2", "1", "0"], ["0"])[0]))
    second.write_text(json.dumps(rows(WORDS, ["2"])[0]))
    said = []
    items = read_items([first, second], "choice", on_reading=said.append)
    assert [item.choices[item.gold] for item in items] == ["2", "blue"]
    assert said == ["the number of a choice, from 0"]


def test_a_passage_stands_before_its_question(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"context": "Ann fell.", "question": "Who?", "answer": "Ann"}))
    assert read_items([path], "greedy")[0].question == "Ann fell.\nWho?"
