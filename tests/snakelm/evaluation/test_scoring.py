"""What is right of a model's answers."""

import numpy as np
import pytest

from snakelm.evaluation.items import Item
from snakelm.evaluation.likelihood import loglikelihoods
from snakelm.evaluation.questions import Question, pairs
from snakelm.evaluation.scoring import score
from snakelm.log import Log

ITEM = Item("the function returns", ("a list", "an error"), 1)
SOLVED = Item("of", ("none",), 0)


@pytest.fixture
def log():
    return Log("evaluate", quiet=True)


def test_choices_are_judged_by_likelihood_and_by_length(model, tokenizer, log):
    questions = [
        Question(Item(f"{ITEM.question} {i}", ("a list of values", "an", "none"), i % 3))
        for i in range(12)
    ]
    table, records = score(model, tokenizer, questions, "choice", False, log, "t")
    for question, record in zip(questions, records, strict=True):
        sums, _ = loglikelihoods(model, pairs(question.item, (), tokenizer))
        assert record.loglikelihood == pytest.approx(sums.tolist(), abs=1e-4)
        assert record.acc == (int(sums.argmax()) == question.item.gold)
        by_length = sums / [len(choice) for choice in question.item.choices]
        assert record.acc_norm == (int(by_length.argmax()) == question.item.gold)
    assert table["acc"].value == pytest.approx(np.mean([r.acc for r in records]))


def test_a_choice_with_the_text_of_the_right_one_is_right(model, tokenizer, log):
    questions = [Question(Item(ITEM.question, ("a list", "a list"), gold)) for gold in (0, 1)]
    table, _ = score(model, tokenizer, questions, "choice", False, log, "t")
    assert table["acc"].value == table["acc_norm"].value == 1


def test_answers_are_right_word_for_word_or_but_for_case_and_points(model, tokenizer, log):
    _, (first,) = score(model, tokenizer, [Question(ITEM)], "greedy", True, log, "t")
    said = first.answer
    loose = f"  {said.upper()} !"
    questions = [Question(Item(ITEM.question, (text,), 0)) for text in (said, loose, "elsewhere")]
    _, records = score(model, tokenizer, questions, "greedy", True, log, "t")
    assert [r.exact for r in records] == [True, False, False]
    assert [r.loose for r in records] == [True, True, False]


@pytest.mark.parametrize(
    ("answers", "chat", "out"),
    [
        (("none",), True, False),
        (("none " * 40,), True, True),
        (("none " * 40, "none"), True, False),
        (("none\nof",), True, False),
        (("none\nof",), False, True),
    ],
)
def test_answers_that_no_model_could_give_are_counted(model, tokenizer, log, answers, chat, out):
    question = Question(Item("of", answers, 0))
    _, (record,) = score(model, tokenizer, [question], "greedy", chat, log, "t")
    assert record.out_of_reach == out


def test_a_base_models_answer_ends_with_its_line(model, tokenizer, log, monkeypatch):
    newline = tokenizer.encode_ordinary("\n")
    monkeypatch.setattr(
        "snakelm.evaluation.scoring.greedy",
        lambda *_, **__: [tokenizer.encode_ordinary("none") + newline],
    )
    table, _ = score(model, tokenizer, [Question(SOLVED)], "greedy", False, log, "t")
    assert table["exact"].value == 1
