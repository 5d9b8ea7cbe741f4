"""What a client may ask for: every field's bounds, and messages that name the field."""

import json

import pytest

from snakelm.serve.request import Refused, chat_request, parse, text_request

ASKED = [{"role": "user", "content": "q"}]


def body(**more):
    return {"model": "m", "messages": ASKED, **more}


def test_a_conversation_with_everything():
    told = [{"role": "developer", "content": "s"}, *ASKED, {"role": "assistant", "content": "a"}]
    parts = [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]
    given = body(
        messages=[*told, {"role": "user", "content": parts}], stream=True, stream_options={"include_usage": True},
        temperature=0, top_p=0.5, top_k=3, seed=7, max_tokens=5, stop="x", n=1, user="me", tools=[], logprobs=False,
    )  # fmt: skip
    ask = chat_request(parse(json.dumps(given).encode()), "m")
    assert ask.system == "s"
    assert ask.turns == (("user", "q"), ("assistant", "a"), ("user", "bc"))
    assert (ask.stream, ask.usage, ask.most_tokens, ask.seed, ask.stop) == (
        True,
        True,
        5,
        7,
        ("x",),
    )
    assert ask.sampling == {"temperature": 0, "top_p": 0.5, "top_k": 3}


def test_nothing_said_is_nothing_set():
    ask = chat_request(
        parse(json.dumps(body(temperature=None, stop=None, seed=None)).encode()), "m"
    )
    assert (ask.system, ask.most_tokens, ask.seed, ask.stop, ask.sampling) == (
        None,
        None,
        None,
        (),
        {},
    )


def test_a_text_to_go_on_with():
    assert text_request({"model": "m", "prompt": ["t"], "max_tokens": 3}, "m").turns == (
        ("user", "t"),
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"temperature": 2.1}, "temperature: found 2.1; expected a number from 0 to 2"),
        ({"temperature": float("nan")}, "temperature: found NaN"),
        ({"temperature": True}, "temperature: found true"),
        ({"temperature": "1"}, 'temperature: found "1"'),
        ({"top_p": 0}, "top_p"),
        ({"top_k": 1.5}, "top_k"),
        ({"seed": 2**63}, "seed"),
        ({"seed": -1}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a" * 101]}, "stop"),
        ({"stop": {"a": 1}}, "stop"),
        ({"n": 2}, "n: found 2; expected 1, or nothing"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": True}, "stream_options"),
        ({"temprature": 1}, "temprature: no such field; did you mean temperature?"),
        ({"model": "gpt"}, "this server has 'm'"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ASKED * 201}, "messages: found"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "q"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "q"}]}, "messages[0].role"),
        ({"messages": [*ASKED, {"role": "system", "content": "s"}]}, "messages[1].role"),
        ({"messages": [*ASKED, *ASKED]}, "messages[1].role: found \"user\"; expected 'assistant'"),
        (
            {"messages": [{"role": "assistant", "content": "a"}]},
            'messages[0].role: found "assistant"',
        ),
        ({"messages": [{"role": "system", "content": "s"}]}, "a user's message at the end"),
        (
            {"messages": [*ASKED, {"role": "assistant", "content": "a"}]},
            "a user's message at the end",
        ),
        ({"messages": [{"role": "user"}]}, "messages[0].content: found nothing"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 3}]}]},
            "messages[0].content",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else ",".join(value),
)
def test_what_cannot_be_met_is_refused_by_name(more, said):
    with pytest.raises(Refused) as refused:
        chat_request({**body(), **more}, "m")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250
    assert refused.value.status == (404 if "model" in more else 400)


def test_roles_after_a_system_message_take_turns_too():
    told = [{"role": "system", "content": "s"}, {"role": "assistant", "content": "a"}]
    with pytest.raises(Refused, match=r"messages\[1\]\.role: found \"assistant\"; expected 'user'"):
        chat_request(body(messages=told), "m")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"[1]",
        b"3",
        b"\xff",
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'"' + b"x" * 10,
    ],
    ids=["empty", "cut", "list", "number", "bytes", "digits", "deep", "open"],
)
def test_bodies_that_are_no_object(sent):
    with pytest.raises(Refused) as refused:
        parse(sent)
    assert refused.value.status == 400
