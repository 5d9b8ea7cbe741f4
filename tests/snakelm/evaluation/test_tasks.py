"""How items are put and judged: prompts, the built-in tasks, what is right, and what is left out
and said.
"""

import numpy as np
import pytest

from snakelm.data.bins import open_bin
from snakelm.data.conversations import chat_template
from snakelm.data.packs import open_packs
from snakelm.evaluation.builtin import CHOICES, answers, continuation
from snakelm.evaluation.items import Item
from snakelm.evaluation.likelihood import loglikelihoods
from snakelm.evaluation.prompts import as_conversation, as_text, pairs
from snakelm.evaluation.tasks import Question, ask, questions
from snakelm.log import Log

ITEM = Item("the function returns", ("a list", "an error"), 1)
SOLVED = Item("of", ("none",), 0)


@pytest.fixture
def log():
    return Log("evaluate", quiet=True)


def test_text_has_solved_items_first():
    assert as_text(ITEM, [SOLVED, SOLVED]) == "of none\n\nof none\n\nthe function returns"


@pytest.mark.parametrize("question", ["the function returns", "", "  ", "the function \n "])
def test_a_pair_is_the_whole_text_behind_an_end_of_text(question, tokenizer):
    for (before, scored), choice in zip(
        pairs(Item(question, ITEM.choices, 0), [], tokenizer), ITEM.choices, strict=True
    ):
        assert before == [tokenizer.eot, *tokenizer.encode_ordinary(question.rstrip())]
        assert scored
        assert tokenizer.decode([*before[1:], *scored]) == f"{question} {choice}"


def test_a_conversation_has_solved_items_as_turns(tokenizer):
    turns = [("user", "of"), ("assistant", "none"), ("user", ITEM.question)]
    expected = chat_template.prompt([{"role": r, "content": c} for r, c in turns], tokenizer)
    assert as_conversation(ITEM, [SOLVED], tokenizer) == expected


def test_choices_are_judged_by_likelihood_and_by_length(model, tokenizer, log):
    asked = [
        Question(Item(f"{ITEM.question} {i}", ("a list of values", "an", "none"), i % 3))
        for i in range(12)
    ]
    table, records = ask(model, tokenizer, asked, "choice", False, log, "t")
    for question, record in zip(asked, records, strict=True):
        sums, _ = loglikelihoods(model, pairs(question.item, (), tokenizer))
        assert record["loglikelihood"] == pytest.approx(sums.tolist(), abs=1e-4)
        assert record["acc"] == (int(sums.argmax()) == question.item.gold)
        by_length = sums / [len(choice) for choice in question.item.choices]
        assert record["acc_norm"] == (int(by_length.argmax()) == question.item.gold)
    assert table["acc"]["value"] == pytest.approx(np.mean([r["acc"] for r in records]))


def test_answers_are_right_word_for_word_or_but_for_case_and_points(model, tokenizer, log):
    _, (first,) = ask(model, tokenizer, [Question(ITEM)], "greedy", True, log, "t")
    said = first["said"]
    loose = f"  {said.upper()} !"
    asked = [Question(Item(ITEM.question, (text,), 0)) for text in (said, loose, "elsewhere")]
    _, records = ask(model, tokenizer, asked, "greedy", True, log, "t")
    assert [r["exact"] for r in records] == [True, False, False]
    assert [r["loose"] for r in records] == [True, True, False]


def test_a_base_models_answer_ends_with_its_line(model, tokenizer, log, monkeypatch):
    newline = tokenizer.encode_ordinary("\n")
    monkeypatch.setattr(
        "snakelm.evaluation.tasks.greedy",
        lambda *_, **__: [tokenizer.encode_ordinary("none") + newline],
    )
    table, _ = ask(model, tokenizer, [Question(SOLVED)], "greedy", False, log, "t")
    assert table["exact"]["value"] == 1


def test_continuation_has_the_true_passage_and_three_of_others(results, tokenizer):
    val = open_bin(results / "data/processed/val.bin")
    items = continuation(val, tokenizer, 64, 3)
    assert len(items) > CHOICES
    documents = [val.document(i).tolist() for i in range(val.meta.documents)]
    for one in items:
        before, choices = one.pairs[0][0], [scored for _, scored in one.pairs]
        own = [ids for ids in documents if ids[: len(before)] == before]
        assert [ids[len(before) :][:8] for ids in own] == [choices[one.item.gold]]
        others = [choice for i, choice in enumerate(choices) if i != one.item.gold]
        assert len({tuple(choice) for choice in others}) == CHOICES - 1
        assert all(
            any(ids[len(before) :][:8] == choice for ids in documents if ids not in own)
            for choice in others
        )
        assert one.item.choices == tuple(map(tokenizer.decode, choices))
    assert {one.item.gold for one in items} == set(range(CHOICES))


def test_too_few_documents_make_no_continuation(make_bin, tokenizer):
    val = open_bin(make_bin(["the list of values " * 20] * 3 + ["short"]))
    assert continuation(val, tokenizer, 64, 3) == []


def test_answers_are_the_held_out_questions(results, tokenizer):
    found = answers(open_packs(results / "data/processed/val_sft_packed.bin"), tokenizer)
    said = {(one.item.question, one.item.choices) for one in found}
    assert said == {(f"What is {i}?", (f"It is {i}.",)) for i in range(30)}
    one = found[0]
    assert one.prompt == as_conversation(one.item, [], tokenizer)


def test_questions_keep_what_they_are_made_of(results, tokenizer):
    found = answers(open_packs(results / "data/processed/val_sft_packed.bin"), tokenizer)[:2]
    assert [q.made for q in questions([*found, ITEM])] == [*found, None]
    assert [q.before for q in questions([ITEM], [[SOLVED]])] == [[SOLVED]]
