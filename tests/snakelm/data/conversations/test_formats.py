"""Every format becomes the same messages, and what is no conversation is rejected by its reason."""

import pytest

from snakelm.data.conversations.formats import Rejected, messages_of

QUESTION, REPLY, RULE = "Two and two?", "Four.", "Be brief."
TALK = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": REPLY}]
RULED = [{"role": "system", "content": RULE}, *TALK]


def said(*turns, keys=("role", "content")):
    return [dict(zip(keys, turn, strict=True)) for turn in turns]


OPENAI = said(("system", RULE), ("user", QUESTION), ("assistant", REPLY))
SHAREGPT = said(("system", RULE), ("human", QUESTION), ("gpt", REPLY), keys=("from", "value"))
FORMATS = {
    "messages": ({"messages": OPENAI}, RULED),
    "conversation": ({"conversation": OPENAI}, RULED),
    "OpenAI's keys under ShareGPT's name": ({"conversations": OPENAI}, RULED),
    "developer for system": (
        {"messages": said(("developer", RULE), ("user", QUESTION), ("assistant", REPLY))},
        RULED,
    ),
    "sharegpt": ({"conversations": SHAREGPT}, RULED),
    "sharegpt with a system column": ({"system": RULE, "conversations": SHAREGPT[1:]}, RULED),
    "alpaca": ({"instruction": QUESTION, "input": "", "output": REPLY}, TALK),
    "alpaca with input and system": (
        {"instruction": "Add.", "input": QUESTION, "output": REPLY, "system": RULE},
        [RULED[0], {"role": "user", "content": f"Add.\n\n{QUESTION}"}, TALK[1]],
    ),
    "alpaca without the column input": ({"instruction": QUESTION, "output": REPLY}, TALK),
    "dolly": (
        {"instruction": QUESTION, "context": None, "response": REPLY, "category": "sums"},
        TALK,
    ),
    "dolly with context": (
        {"instruction": QUESTION, "context": "A sum.", "response": REPLY},
        [{"role": "user", "content": f"{QUESTION}\n\nA sum."}, TALK[1]],
    ),
    "dolly with alpaca's input": (
        {"instruction": "Add.", "input": QUESTION, "response": REPLY},
        [{"role": "user", "content": f"Add.\n\n{QUESTION}"}, TALK[1]],
    ),
    "a question about a context": (
        {"question": QUESTION, "answer": REPLY, "context": "A sum."},
        [{"role": "user", "content": f"{QUESTION}\n\nA sum."}, TALK[1]],
    ),
    "a question without passages": (
        {"question": QUESTION, "answer": REPLY, "context": [], "input": float("nan")},
        TALK,
    ),
    "orca": ({"system_prompt": RULE, "question": QUESTION, "response": REPLY}, RULED),
    "orca with an empty system prompt": (
        {"system_prompt": "", "question": QUESTION, "response": REPLY},
        TALK,
    ),
    "qa": ({"question": QUESTION, "answer": REPLY}, TALK),
    "prompt and completion": ({"prompt": QUESTION, "completion": REPLY}, TALK),
    "prompt and completion as lists": ({"prompt": OPENAI[:2], "completion": OPENAI[2:]}, RULED),
    "parts": (
        {
            "messages": said(
                ("user", [{"type": "text", "text": "Two and "}, "two?"]),
                ("assistant", [{"text": REPLY}]),
            )
        },
        TALK,
    ),
    "bytes": ({"question": QUESTION.encode(), "answer": REPLY.encode()}, TALK),
    "a prompt beside the messages": (
        {"prompt": "Hm?", "prompt_id": "7", "messages": OPENAI},
        RULED,
    ),
    "columns of another format without values": (
        {"messages": None, "instruction": QUESTION, "input": None, "output": REPLY},
        TALK,
    ),
    "an empty list of turns beside another": (
        {"messages": [], "conversations": SHAREGPT, "prompt": None},
        RULED,
    ),
    "keys of the other kind without values": (
        {
            "messages": [
                {"role": None, "content": None, "from": "human", "value": QUESTION},
                {"role": "assistant", "content": REPLY, "from": None, "value": None},
            ]
        },
        TALK,
    ),
    "Gemini's parts": (
        {
            "messages": said(
                ("user", [{"text": QUESTION}]), ("model", [{"text": REPLY}]), keys=("role", "parts")
            )
        },
        TALK,
    ),
    "the same in two keys": (
        {"messages": [{**turn, "parts": [{"text": turn["content"]}]} for turn in OPENAI]},
        RULED,
    ),
    "parts without a type, as parquet has them": (
        {
            "messages": [
                {**TALK[0], "content": [{"type": None, "text": QUESTION, "image": None}]},
                TALK[1],
            ]
        },
        TALK,
    ),
    "capitals in roles": ({"messages": said(("User", QUESTION), ("ASSISTANT ", REPLY))}, TALK),
    "an empty system turn": (
        {"messages": said(("system", " "), ("user", QUESTION), ("assistant", REPLY))},
        TALK,
    ),
    "a last question nobody answered": (
        {"messages": [*OPENAI, *said(("user", "And three?"))]},
        RULED,
    ),
    "tools that nobody called": (
        {"messages": [{**turn, "tool_calls": None} for turn in OPENAI]},
        RULED,
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_recognised_by_their_columns(name):
    row, expected = FORMATS[name]
    assert messages_of(row) == expected


NAMED = ("messages", "sharegpt", "alpaca", "dolly", "orca", "qa")


@pytest.mark.parametrize("name", NAMED)
def test_a_named_format_reads_its_own(name):
    row, expected = FORMATS[name]
    assert messages_of(row, name) == expected


def test_a_named_format_reads_nothing_else():
    with pytest.raises(Rejected, match="not of the format alpaca"):
        messages_of({"messages": OPENAI}, "alpaca")


def test_text_is_kept_as_it_stands():
    assert messages_of({"question": "  a\n", "answer": "\tb "})[1]["content"] == "\tb "


USER, ANSWER = ("user", QUESTION), ("assistant", REPLY)
BAD = {
    "unknown role": ({"messages": said(("narrator", "Once."), USER, ANSWER)}, "unknown role"),
    "a role that is no text": ({"messages": said((3, "Once."), USER, ANSWER)}, "unknown role"),
    "a role that is a list": (
        {"messages": said((["user"], "Once."), USER, ANSWER)},
        "unknown role",
    ),
    "null role": ({"messages": said((None, "Once."), USER, ANSWER)}, "null field"),
    "no role": ({"messages": [{"content": "Once."}]}, "a turn without role"),
    "empty turn": ({"messages": said(("user", " \n"), ANSWER)}, "empty turn"),
    "empty answer": ({"question": QUESTION, "answer": ""}, "empty turn"),
    "system in the middle": (
        {"messages": said(USER, ANSWER, ("system", RULE), USER, ANSWER)},
        "system not first",
    ),
    "two system turns": (
        {"messages": said(("system", RULE), ("system", RULE), USER, ANSWER)},
        "system not first",
    ),
    "no assistant": ({"messages": said(("system", RULE), USER)}, "no assistant turn"),
    "two users": ({"messages": said(USER, USER, ANSWER)}, "two turns of one role"),
    "two assistants": ({"messages": said(USER, ANSWER, ANSWER)}, "two turns of one role"),
    "assistant first": ({"messages": said(ANSWER, USER, ANSWER)}, "begins with the assistant"),
    "tool role": ({"messages": said(USER, ("tool", "4"), ANSWER)}, "tool calls"),
    "a tool role by another name": (
        {"messages": said(USER, ("Tool_Response", "4"), ANSWER)},
        "tool calls",
    ),
    "tool calls": (
        {
            "messages": [
                *said(USER),
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            ]
        },
        "tool calls",
    ),
    "ShareGPT's function call": (
        {
            "conversations": said(
                ("human", QUESTION), ("function_call", "{}"), keys=("from", "value")
            )
        },
        "tool calls",
    ),
    "null content": ({"messages": said(USER, ("assistant", None))}, "null field"),
    "null turn": ({"messages": [None, *said(USER, ANSWER)]}, "null field"),
    "null column": ({"instruction": QUESTION, "input": "", "output": None}, "null field"),
    "null list": ({"messages": None}, "null field"),
    "an image": (
        {
            "messages": said(
                ("user", [{"type": "image", "text": None}, {"type": "text", "text": QUESTION}]),
                ANSWER,
            )
        },
        "content is no text",
    ),
    "a number for content": ({"question": 4, "answer": REPLY}, "content is no text"),
    "passages in a list": (
        {"question": QUESTION, "answer": REPLY, "context": ["One.", "Two."]},
        "content is no text",
    ),
    "an object for content": (
        {"messages": said(("user", {"text": QUESTION}), ANSWER)},
        "content is no text",
    ),
    "no turns": ({"messages": []}, "no turns"),
    "turns as text": ({"messages": "user: hi"}, "turns are no list"),
    "turns as texts": ({"conversations": ["hi", "ho"]}, "turns are no objects"),
    "lone surrogate": ({"question": "\ud800", "answer": REPLY}, "lone surrogate"),
    "not UTF-8": ({"question": b"\xff", "answer": REPLY}, "not UTF-8"),
    "unknown columns": ({"input_ids": [1, 2]}, "no known format"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_conversation_is_rejected_by_reason(name):
    row, reason = BAD[name]
    with pytest.raises(Rejected) as found:
        messages_of(row)
    assert str(found.value) == reason


def test_parts_within_parts_without_end_are_rejected():
    content = "x"
    for _ in range(3000):
        content = [content]
    with pytest.raises(Rejected, match="content is no text"):
        messages_of({"messages": [{"role": "user", "content": content}]})

    content = "x"
    for _ in range(3000):
        content = [{"text": content}]
    with pytest.raises(Rejected, match="nested too deeply"):
        messages_of({"messages": [{"role": "user", "content": content}]})
