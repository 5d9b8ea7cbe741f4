"""How items are put to a model, and the built-in questions."""

import numpy as np
import pytest

from snakelm.data.bins import Meta, open_bin
from snakelm.data.conversations import chat_template
from snakelm.data.packs import PackWriter, open_packs
from snakelm.evaluation.items import Item
from snakelm.evaluation.questions import (
    CONTINUATIONS,
    Question,
    answers,
    as_conversation,
    as_text,
    chosen_questions,
    continuation,
    pairs,
)

ITEM = Item("the function returns", ("a list", "an error"), 1)
SOLVED = Item("of", ("none",), 0)


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


def test_continuation_has_the_true_passage_and_three_of_others(results, tokenizer):
    val = open_bin(results / "data/processed/val.bin")
    items = continuation(val, tokenizer, 64, 3)
    assert len(items) > CONTINUATIONS
    documents = [val.document(i).tolist() for i in range(val.meta.documents)]
    for one in items:
        before, choices = one.own_pairs[0][0], [scored for _, scored in one.own_pairs]
        own = [ids for ids in documents if ids[: len(before)] == before]
        assert [ids[len(before) :][:8] for ids in own] == [choices[one.item.gold]]
        others = [choice for i, choice in enumerate(choices) if i != one.item.gold]
        assert len({tuple(choice) for choice in others}) == CONTINUATIONS - 1
        assert all(
            any(ids[len(before) :][:8] == choice for ids in documents if ids not in own)
            for choice in others
        )
        assert one.item.choices == tuple(map(tokenizer.decode, choices))
    assert {one.item.gold for one in items} == set(range(CONTINUATIONS))


def test_too_few_documents_make_no_continuation(make_bin, tokenizer):
    val = open_bin(make_bin(["the list of values " * 20] * 3 + ["short"]))
    assert continuation(val, tokenizer, 64, 3) == []


def test_answers_are_the_held_out_questions(results, tokenizer):
    questions = answers(open_packs(results / "data/processed/val_sft_packed.bin"), tokenizer)
    said = {(one.item.question, one.item.choices) for one in questions}
    assert said == {(f"What is {i}?", (f"It is {i}.",)) for i in range(30)}
    one = questions[0]
    assert one.own_prompt == as_conversation(one.item, [], tokenizer)


def test_an_answer_that_is_not_to_be_learned_is_no_gold_answer(tmp_path, tokenizer):
    turns = ["What is 1?", "Four.", "Is it?", "It is 1."]
    talk = [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(turns)]
    talk[1]["learned"] = False
    ids, mask, starts = chat_template.render_batch([talk], tokenizer)
    meta = Meta("uint16", tokenizer.vocab_size, tokenizer.eot, tokenizer.sha256)
    with PackWriter(tmp_path / "a.bin", meta, 64, np.array([0, 1])) as writer:
        writer.append_masked(ids, mask, np.diff(starts), np.zeros(1, np.uint64), 1)
    (question,) = answers(open_packs(tmp_path / "a.bin"), tokenizer)
    assert (question.item.question, question.item.choices) == ("Is it?", ("It is 1.",))
    assert question.own_prompt == chat_template.prompt(talk[:3], tokenizer)


def test_chosen_questions_keep_what_they_are_made_of_and_get_solved_ones(results, tokenizer):
    made = answers(open_packs(results / "data/processed/val_sft_packed.bin"), tokenizer)[:2]
    kept = chosen_questions(made, limit=None, shots=0, seed=3)
    assert [question.own_prompt for question in kept] == [one.own_prompt for one in made]
    (question, _) = chosen_questions([Question(ITEM), Question(SOLVED)], None, 1, seed=3)
    assert (question.item, question.solved) == (ITEM, [SOLVED])
