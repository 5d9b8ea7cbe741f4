"""What a client may ask for: every field's bounds, and messages that name the field."""

import json

import pytest

from snakelm.serve.schemas import ApiError, ChatRequest, CompletionRequest, parse_request

QUESTION = [{"role": "user", "content": "q"}]


def chat(given):
    """``given`` as the body of a chat completion for the model "m"."""
    return parse_request(json.dumps(given).encode(), ChatRequest, "m")


def body(**more):
    return {"model": "m", "messages": QUESTION, **more}


def test_a_conversation_with_everything():
    messages = [
        {"role": "developer", "content": "s"},
        *QUESTION,
        {"role": "assistant", "content": "a"},
    ]
    parts = [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]
    given = body(
        messages=[*messages, {"role": "user", "content": parts}],
        stream=True,
        stream_options={"include_usage": True},
        temperature=0,
        top_p=0.5,
        top_k=3,
        seed=7,
        max_tokens=5,
        stop="x",
        n=1,
        user="me",
        tools=[],
        logprobs=False,
    )
    request = chat(given)
    assert request.system == "s"
    assert [(turn["role"], turn["content"]) for turn in request.turns] == [
        ("user", "q"),
        ("assistant", "a"),
        ("user", "bc"),
    ]
    assert (request.stream, request.stream_options.include_usage) == (True, True)
    assert (request.token_limit, request.seed, request.stop_texts) == (5, 7, ["x"])
    assert request.sampling == {"temperature": 0, "top_p": 0.5, "top_k": 3}


def test_nothing_said_is_nothing_set():
    request = chat(body(temperature=None, stop=None, seed=None))
    assert (request.system, request.token_limit, request.seed) == (None, None, None)
    assert (request.stop_texts, request.sampling) == ([], {})


def test_what_clients_send_by_default_is_accepted():
    same = {"n": 1, "frequency_penalty": 0.0, "presence_penalty": 0, "logit_bias": {}, "tools": []}
    same |= {"response_format": {"type": "text"}, "tool_choice": "none", "top_logprobs": 0}
    same |= {"max_tokens": 9, "max_completion_tokens": 4, "store": True, "metadata": {"a": "b"}}
    assert chat(body(**same)).token_limit == 4


@pytest.mark.parametrize("prompt", ["t", ["t"]], ids=["text", "list"])
def test_a_text_to_continue(prompt):
    given = json.dumps({"model": "m", "prompt": prompt, "max_tokens": 3}).encode()
    assert parse_request(given, CompletionRequest, "m").text == "t"


@pytest.mark.parametrize("prompt", [3, [], ["a", "b"], [[1, 2]], None])
def test_anything_but_one_text_is_refused(prompt):
    given = json.dumps({"model": "m", "prompt": prompt}).encode()
    with pytest.raises(ApiError, match=r"prompt: found .*; expected one text"):
        parse_request(given, CompletionRequest, "m")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"temperature": 2.1}, "temperature: found 2.1; expected a number from 0 to 2"),
        ({"temperature": float("nan")}, "NaN is not a JSON number"),
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
        ({"messages": QUESTION * 201}, "messages: found"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "q"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "q"}]}, "messages[0].role"),
        ({"messages": [*QUESTION, {"role": "system", "content": "s"}]}, "messages[1].role"),
        (
            {"messages": [*QUESTION, *QUESTION]},
            "messages[1].role: found \"user\"; expected 'assistant'",
        ),
        (
            {"messages": [{"role": "assistant", "content": "a"}]},
            'messages[0].role: found "assistant"',
        ),
        ({"messages": [{"role": "system", "content": "s"}]}, "a user's message at the end"),
        (
            {"messages": [*QUESTION, {"role": "assistant", "content": "a"}]},
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
    with pytest.raises(ApiError) as refused:
        chat({**body(), **more})
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250
    assert refused.value.status == (404 if "model" in more else 400)


def test_roles_after_a_system_message_take_turns_too():
    messages = [{"role": "system", "content": "s"}, {"role": "assistant", "content": "a"}]
    with pytest.raises(
        ApiError, match=r"messages\[1\]\.role: found \"assistant\"; expected 'user'"
    ):
        chat(body(messages=messages))


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
        *(b'{"model": "m", "metadata": ' + b"[" * n + b"]" * n + b"}" for n in (50, 960, 980, 990)),
        b'{"a": ' * 100_000,
        b'{"model": "m", "messages": [{"role": "user", "content": "q"}], "seed": 1, "seed": 2}',
        json.dumps({f"field {i}": 1 for i in range(101)}).encode(),
    ],
    ids=[
        "empty",
        "cut",
        "list",
        "number",
        "bytes",
        "digits",
        "deep",
        "open",
        "51",
        "961",
        "981",
        "991",
        "objects",
        "twice",
        "fields",
    ],
)
def test_bodies_that_are_no_object(sent):
    with pytest.raises(ApiError) as refused:
        parse_request(sent, ChatRequest, "m")
    assert refused.value.status == 400


def test_brackets_in_a_text_are_no_depth():
    text = '[{"' * 1000 + "\\" * 3
    request = chat(body(messages=[{"role": "user", "content": text}]))
    assert request.turns[0]["content"] == text


def test_a_long_unknown_field_is_no_work():
    with pytest.raises(ApiError, match="no such field") as refused:
        chat(body(**{"temperatur" + "e" * 900_000: 1}))
    assert len(str(refused.value)) < 250
