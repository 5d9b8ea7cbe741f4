"""Marks and side columns: what a row says isn't to be learned isn't, and what a conversation can't
hold costs the row, by its reason.
"""

import math
from decimal import Decimal

import pytest

from snakelm.data.conversations.fields import Rejected, is_empty, unread
from snakelm.data.conversations.formats import messages_of

QUESTION = {"role": "user", "content": "Add 1 and 2."}
WRONG, RIGHT = (
    {"role": "assistant", "content": "Four."},
    {"role": "assistant", "content": "Three."},
)
AGAIN = {"role": "user", "content": "Check that."}
PAIR = {"instruction": "Add 1 and 2.", "output": "Three."}


def learned(row):
    """What is learned of the row's conversation, which has to be complete."""
    messages = messages_of(row)
    assert [message["content"] for message in messages][-4:] == [
        "Add 1 and 2.",
        "Four.",
        "Check that.",
        "Three.",
    ]
    return [
        message["content"]
        for message in messages
        if message["role"] == "assistant" and message.get("learned", True)
    ]


def marked(**marks):
    return {"messages": [QUESTION, {**WRONG, **marks}, AGAIN, RIGHT]}


NOT = {
    "OpenAI, Mistral": {"weight": 0},
    "as a float": {"weight": 0.0},
    "as a text": {"weight": "0"},
    "as a text of a float": {"weight": "0.0"},
    "as no": {"weight": False},
    "as a decimal of parquet": {"weight": Decimal(0)},
    "as bytes": {"train": b"false"},
    "axolotl": {"train": False},
    "axolotl's other name": {"training": "False"},
    "ms-swift": {"loss": False},
    "ms-swift in numbers": {"loss": 0},
    "ms-swift's scale": {"loss_scale": 0.0},
    "verl": {"loss_mask": 0},
    "in camels": {"trainOnTurn": False},
    "with dashes": {"train-on-turn": "no"},
    "trainable": {"trainable": 0},
    "learn": {"learn": "off"},
    "label": {"label": False},
    "keep": {"keep": False},
    "chosen": {"chosen": False},
    "rejected": {"rejected": True},
    "masked": {"masked": True},
    "mask": {"mask": True},
    "ignore": {"ignore": 1},
    "do not train": {"do_not_train": "yes"},
    "one of two": {"weight": 1, "train": False},
    "the other of two": {"masked": True, "weight": 1},
}
YES = {
    "weight 1": {"weight": 1},
    "1.0": {"weight": "1.0"},
    "true": {"train": True},
    "null": {"weight": None, "train": None, "masked": None},
    "no number": {"weight": math.nan},
    "an empty text": {"train": ""},
    "not masked": {"masked": False, "mask": False},
    "a label that is no mark": {"label": "sum"},
    "a judgement that is none": {"correct": 0, "use": "no idea", "valid": [0]},
    "no details": {"train_detail": []},
}
NEITHER = {
    "half": ({"weight": 0.5}, "weight neither all nor nothing"),
    "half as text": ({"weight": "0.5"}, "weight neither all nor nothing"),
    "double": ({"weight": 2}, "weight neither all nor nothing"),
    "negative": ({"loss_scale": -1}, "loss_scale neither all nor nothing"),
    "infinite": ({"weight": math.inf}, "weight neither all nor nothing"),
    "a word": ({"train": "perhaps"}, "train neither yes nor no"),
    "a mask in numbers": ({"mask": 1}, "a mask of 0 or 1, which can mean either"),
    "its other side": ({"mask": 0}, "a mask of 0 or 1, which can mean either"),
    "axolotl's parts": (
        {"train_detail": [{"begin_offset": 0, "end_offset": 3, "train": False}]},
        "marks within an answer",
    ),
    "of a part": (
        {"content": [{"text": "Fo", "weight": 1}, {"text": "ur.", "weight": 0}]},
        "marks within an answer",
    ),
    "of tokens": ({"loss_mask": [0, 0, 1]}, "marks within an answer"),
    "a name nobody knows": ({"lossless_training": False}, "a mark that nobody knows, "),
    "another": ({"sftMask": 0}, "a mark that nobody knows, sftMask"),
}


@pytest.mark.parametrize("name", NOT)
def test_a_marked_answer_is_read_but_not_learned(name):
    assert learned(marked(**NOT[name])) == ["Three."]


@pytest.mark.parametrize("name", YES)
def test_a_mark_that_says_nothing_or_yes_changes_nothing(name):
    assert learned(marked(**YES[name])) == ["Four.", "Three."]


@pytest.mark.parametrize("name", NEITHER)
def test_a_mark_that_a_mask_has_no_place_for_costs_the_row(name):
    marks, reason = NEITHER[name]
    with pytest.raises(Rejected, match=reason):
        messages_of(marked(**marks))


@pytest.mark.parametrize("name", {**NOT, **NEITHER})
def test_marks_of_the_user_change_nothing(name):
    """A user's turn is never learned, so no mark of it can go wrong."""
    marks = {**NOT, **{key: value for key, (value, _) in NEITHER.items()}}[name]
    if "train_detail" in marks or "content" in marks:
        return  # a conversation of texts has none, whoever speaks
    row = {"messages": [{**QUESTION, **marks}, WRONG, AGAIN, RIGHT]}
    assert learned(row) == ["Four.", "Three."]
    assert set(unread(row["messages"][0], ("role", "content"), row=False)) <= set(marks)


def test_a_conversation_of_which_nothing_is_to_be_learned_is_left_out():
    with pytest.raises(Rejected, match="no answer that is to be learned"):
        messages_of({"messages": [QUESTION, {**WRONG, "weight": 0}]})


def test_marks_are_read_in_every_kind_of_turn():
    sharegpt = [
        {"from": "human", "value": "Add 1 and 2."},
        {"from": "gpt", "value": "Four.", "train": False},
        {"from": "human", "value": "Check that."},
        {"from": "gpt", "value": "Three.", "train": True},
    ]
    assert learned({"conversations": sharegpt}) == ["Three."]
    completion = {"prompt": [QUESTION], "completion": [{**WRONG, "weight": 0}, AGAIN, RIGHT]}
    assert learned(completion) == ["Three."]


def test_answers_in_a_prompt_are_not_learned():
    """As TRL does with a prompt and a completion."""
    row = {"prompt": [QUESTION, WRONG, AGAIN], "completion": [RIGHT]}
    assert learned(row) == ["Three."]
    assert learned({**row, "completion": "Three."}) == ["Three."]


OUT = {
    "TRL's KTO": ({"label": False}, "not to be learned by label"),
    "in numbers": ({"label": 0}, "not to be learned by label"),
    "LLaMA-Factory's KTO": ({"kto_tag": False}, "not to be learned by kto_tag"),
    "a row's weight": ({"weight": 0.0}, "not to be learned by weight"),
    "half a weight": ({"weight": 0.5}, "weight neither all nor nothing"),
    "a row's train": ({"train": "false"}, "not to be learned by train"),
    "a masked row": ({"masked": True}, "not to be learned by masked"),
    "a deleted row": ({"deleted": True}, "not to be learned by deleted"),
    "not chosen": ({"chosen": False}, "not to be learned by chosen"),
    "rejected": ({"rejected": True}, "not to be learned by rejected"),
    "not correct": ({"is_correct": False}, "not to be learned by is_correct"),
    "not good": ({"good": "false"}, "not to be learned by good"),
    "weights in a list": ({"weights": [0, 1]}, "marks of the turns in a list"),
    "a mask in a list": ({"loss_mask": [0, 1]}, "marks of the turns in a list"),
    "tools": ({"tools": [{"type": "function"}]}, "tools beside the turns"),
    "tools as JSON": ({"tools": '[{"name": "add"}]'}, "tools beside the turns"),
    "functions": ({"functions": [{"name": "add"}]}, "tools beside the turns"),
    "reasoning": ({"reasoning_content": "Well …"}, "reasoning beside the answer"),
    "images": ({"images": ["a.png"]}, "images, sound or video"),
    "one image": ({"image": {"bytes": b"PNG", "path": None}}, "images, sound or video"),
}
NOTHING = {
    "good": {"label": True, "kto_tag": 1},
    "null": {"label": None, "weight": None, "tools": None, "images": None, "history": None},
    "empty": {"tools": [], "images": [], "history": [], "system": "", "reasoning": ""},
    "empty structs": {"tools": [{"type": None, "function": {"name": None}}], "image": {}},
    "empty as text": {"tools": "[]", "functions": " {} ", "history": "[]"},
    "labels of something else": {"label": "positive", "train": "test", "loss": 2.31},
    "a class": {"label": 3},
    "the number of the right choice": {"correct": 0, "use": "no"},
    "a switch": {"reasoning": "off", "thinking": False},
    "details": {"id": 7, "source": "x", "score": 0.0, "lang": "en"},
    "both of a pair": {"chosen": [QUESTION, RIGHT], "rejected": [QUESTION, WRONG]},
}


@pytest.mark.parametrize("base", [{"messages": [QUESTION, RIGHT]}, PAIR], ids=["turns", "pair"])
@pytest.mark.parametrize("name", OUT)
def test_a_row_that_is_not_to_be_learned_is_left_out(name, base):
    columns, reason = OUT[name]
    with pytest.raises(Rejected) as found:
        messages_of({**base, **columns})
    assert str(found.value) == reason


@pytest.mark.parametrize("base", [{"messages": [QUESTION, RIGHT]}, PAIR], ids=["turns", "pair"])
@pytest.mark.parametrize("name", NOTHING)
def test_columns_that_say_nothing_of_it_change_nothing(name, base):
    assert messages_of({**base, **NOTHING[name]}) == [QUESTION, RIGHT]


IN_A_TURN = {
    "reasoning": ({"reasoning_content": "Well …"}, "reasoning beside the answer"),
    "thinking": ({"thinking": "Well …"}, "reasoning beside the answer"),
    "a call": ({"function_call": {"name": "add"}}, "tool calls"),
    "calls": ({"toolCalls": [{"name": "add"}]}, "tool calls"),
    "an image": ({"images": ["a.png"]}, "images, sound or video"),
    "tools": ({"tools": "[{}]"}, "tools beside the turns"),
    "a call by its type": ({"type": "tool_use"}, "tool calls"),
    "reasoning by its type": ({"type": "reasoning"}, "reasoning beside the answer"),
    "two contents": ({"value": "Five."}, "two contents"),
    "other parts": ({"parts": [{"type": "text", "text": "Five."}]}, "two contents"),
    "a thought among its parts": (
        {"content": [{"type": "text", "text": "Well …", "thought": True}]},
        "reasoning beside the answer",
    ),
    "an image among its parts": (
        {"content": [{"text": "Three.", "image_url": {"url": "a.png"}}]},
        "images, sound or video",
    ),
}


@pytest.mark.parametrize("name", IN_A_TURN)
def test_what_a_turn_says_beside_its_text_costs_the_row(name):
    keys, reason = IN_A_TURN[name]
    with pytest.raises(Rejected) as found:
        messages_of({"messages": [QUESTION, {**RIGHT, **keys}]})
    assert str(found.value) == reason


def test_answers_to_choose_from_are_neither_taught_nor_passed_over():
    row = {"conversations": [QUESTION, WRONG, AGAIN], "chosen": RIGHT, "rejected": WRONG}
    with pytest.raises(Rejected, match="answers to choose from"):
        messages_of(row)


SYSTEM = {"role": "system", "content": "Be brief."}
SYSTEM_COLUMNS = ["system", "system_prompt", "system_message", "systemPrompt", "System Prompt"]
BASES = {
    "turns": {"messages": [QUESTION, RIGHT]},
    "pair": PAIR,
    "qa": {"question": "Add 1 and 2.", "answer": "Three."},
    "prompt": {"prompt": "Add 1 and 2.", "completion": "Three."},
    "prompt of turns": {"prompt": [QUESTION], "completion": [RIGHT]},
}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("column", SYSTEM_COLUMNS)
def test_a_system_prompt_beside_the_turns_is_put_first(column, base):
    row = {**BASES[base], column: "Be brief."}
    assert messages_of(row) == [SYSTEM, QUESTION, RIGHT]


def test_a_system_prompt_said_twice_is_one_and_two_are_none():
    assert messages_of({"system": "Be brief.", "messages": [SYSTEM, QUESTION, RIGHT]}) == [
        SYSTEM,
        QUESTION,
        RIGHT,
    ]
    blank = {"role": "system", "content": " "}
    assert messages_of({"system": "Be brief.", "messages": [blank, QUESTION, RIGHT]})[0] == SYSTEM
    for row in (
        {"system": "Be long.", "messages": [SYSTEM, QUESTION, RIGHT]},
        {"system": "Be long.", "system_prompt": "Be brief.", **PAIR},
    ):
        with pytest.raises(Rejected, match="two system prompts"):
            messages_of(row)


HISTORIES = {
    "pairs": [["One?", "1."], ["Two?", "2."]],
    "turns": [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1."},
        {"from": "human", "value": "Two?"},
        {"from": "gpt", "value": "2."},
    ],
}


@pytest.mark.parametrize("name", HISTORIES)
@pytest.mark.parametrize("base", ["pair", "qa", "prompt"])
def test_a_history_is_earlier_turns_whose_answers_are_learned(name, base):
    messages = messages_of({**BASES[base], "history": HISTORIES[name], "system": "Be brief."})
    assert [message["content"] for message in messages] == [
        *("Be brief.", "One?", "1.", "Two?", "2.", "Add 1 and 2.", "Three."),
    ]
    assert all("learned" not in message for message in messages)


NO_HISTORY = {
    "texts": (["One?", "1."], "a history that isn't pairs"),
    "a text": ("One? 1.", "a history that isn't pairs"),
    "triples": ([["One?", "1.", "2."]], "a history that isn't pairs"),
    "a question alone": ([["One?", None]], "null field"),
}


@pytest.mark.parametrize("name", NO_HISTORY)
def test_a_history_of_another_kind_costs_the_row(name):
    history, reason = NO_HISTORY[name]
    with pytest.raises(Rejected, match=reason):
        messages_of({**PAIR, "history": history})


def test_a_history_beside_turns_may_say_them_twice():
    with pytest.raises(Rejected, match="a history beside the turns"):
        messages_of({"messages": [QUESTION, RIGHT], "history": [["One?", "1."]]})


def test_what_nobody_knows_is_named():
    row = {"messages": [], "id": 3, "mood": "dry", "tools": [], "empty": None, "label": "sum"}
    assert list(unread(row, ("messages",))) == ["mood", "label"]
    turn = {"role": "user", "content": "Hm?", "name": "Ada", "weight": None, "system": "x"}
    assert list(unread(turn, ("role", "content"), row=False)) == ["name", "system"]


@pytest.mark.parametrize(
    "value", [None, "", " ", "null", "[]", [], {}, [[]], {"a": {"b": [None, ""]}}, math.nan]
)
def test_what_says_nothing_is_empty(value):
    assert is_empty(value)


@pytest.mark.parametrize("value", [0, False, "no", [0], {"a": False}, "[{}]"])
def test_what_says_something_is_not(value):
    assert not is_empty(value)
