"""The API as OpenAI's own client uses it: answers in one piece and streamed, and errors under their
names.
"""

import threading

import pytest

from snakelm.data.conversations.chat_template import prompt
from snakelm.model.chat import Chat, Continuation

openai = pytest.importorskip("openai", reason="requirements-dev.txt: openai isn't installed")


@pytest.fixture
def client_of():
    """`client_of(server)`; closed after the test."""
    made = []

    def client(server):
        made.append(
            openai.OpenAI(
                base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0
            )
        )
        return made[-1]

    yield client
    for one in made:
        one.close()


def ask(client, *contents, **more):
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    return client.chat.completions.create(model="tiny", messages=messages, **more)


def test_an_answer_in_one_piece(served, talk, script, client_of, tokenizer):
    script.answers = ["Hällo <b>"]
    with served(talk) as server:
        answer = ask(client_of(server), "q")
    assert answer.choices[0].message.content == "Hällo <b>"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    prompt_tokens = len(prompt([{"role": "user", "content": "q"}], tokenizer))
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (
        prompt_tokens,
        len("Hällo <b>".encode()),
    )


def test_an_answer_streamed_is_the_same(served, talk, script, client_of):
    script.answers = ["aé日😀"]
    with served(talk) as server:
        parts = list(
            ask(client_of(server), "q", stream=True, stream_options={"include_usage": True})
        )
    assert [part.choices[0].delta.content for part in parts[:4]] == ["a", "é", "日", "😀"]
    assert [part.choices[0].finish_reason for part in parts[:-1]] == [None] * 4 + ["stop"]
    assert parts[0].choices[0].delta.role == "assistant"
    assert (parts[-1].choices, parts[-1].usage.completion_tokens) == ([], 10)
    assert len({part.id for part in parts}) == 1


def test_tokens_come_as_they_are_made(served, talk, script, client_of):
    script.answers, script.gate = ["abc"], threading.Semaphore(1)
    with served(talk) as server, ask(client_of(server), "q", stream=True) as stream:
        assert next(stream).choices[0].delta.content == "a"
        assert script.said == 1
        script.gate.release(2)
        assert "".join(part.choices[0].delta.content or "" for part in stream) == "bc"


def test_the_models_own_words_are_those_of_the_terminal(served, talk, model, tokenizer, client_of):
    terminal = Chat(model, tokenizer, max_tokens=40, seed=3, **talk.sampling)
    first, second = ("".join(terminal.answer(question)) for question in ("one", "two"))
    with served(talk) as server:
        client = client_of(server)
        assert ask(client, "one").choices[0].message.content == first
        assert ask(client, "something between").choices[0].message.content != first
        assert ask(client, "one", first, "two").choices[0].message.content == second
        assert ask(client, "one", seed=4).choices[0].message.content != first
        assert ask(client, "one", temperature=0).choices[0].message.content != first


def test_settings_of_a_request_reach_the_model(served, talk, script, client_of):
    script.answers = ["a line\nand more", "long" * 9, "x"]
    with served(talk) as server:
        client = client_of(server)
        stopped = ask(
            client, "q", stop=["\n", "never"], temperature=1.5, top_p=0.5, extra_body={"top_k": 7}
        )
        cut = ask(client, "q", max_completion_tokens=6)
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}]
        client.chat.completions.create(model="tiny", messages=messages)
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == (
        "a line",
        "stop",
    )
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("longlo", "length")
    sampling = script.prompts[0][2]
    assert (sampling["temperature"], sampling["top_p"], sampling["top_k"]) == (1.5, 0.5, 7)
    assert script.prompts[2][0].startswith(
        "<|endoftext|><|system|>Be brief.<|end|><|user|>q<|end|>"
    )


def test_the_oldest_turns_are_dropped_and_it_says_so(served, talk, script, client_of):
    script.answers = ["x"]
    with served(talk) as server:
        answer = ask(client_of(server), "first" * 60, "a", "second" * 60)
    assert answer.model_extra["snakelm"] == {"dropped_turns": 2}
    assert "first" not in script.prompts[0][0]


def test_models_are_listed(served, talk, client_of):
    with served(talk) as server:
        client = client_of(server)
        assert [model.id for model in client.models.list()] == ["tiny"]
        assert client.models.retrieve("tiny").owned_by == "snakelm"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("other")


def test_errors_have_their_names(served, talk, client_of):
    with served(talk) as server:
        client = client_of(server)
        with pytest.raises(openai.BadRequestError, match="say it in fewer words") as long:
            ask(client, "x" * 600)
        with pytest.raises(openai.BadRequestError, match="temperature") as wrong:
            ask(client, "q", temperature=3)
        with pytest.raises(openai.NotFoundError, match="this server has 'tiny'"):
            client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "q"}]
            )
        with pytest.raises(openai.NotFoundError, match="ask /v1/chat/completions"):
            client.completions.create(model="tiny", prompt="q")
    assert long.value.code == "context_length_exceeded"
    assert wrong.value.param == "temperature"


def test_a_base_model_goes_on_with_a_text(served, base, model, tokenizer, client_of):
    expected = "".join(
        Continuation(model, tokenizer, max_tokens=20, seed=3, **base.sampling).answer("Once")
    )
    with served(base) as server:
        client = client_of(server)
        complete = client.completions.create(model="tiny", prompt="Once")
        parts = client.completions.create(model="tiny", prompt="Once", stream=True)
        assert "".join(part.choices[0].text for part in parts) == expected
        with pytest.raises(openai.NotFoundError, match="a base model; ask /v1/completions"):
            ask(client, "q")
    assert (complete.choices[0].text, complete.object) == (expected, "text_completion")


def test_a_full_queue_turns_requests_away(served, talk, script, client_of):
    script.answers, script.gate, answers = ["ab"] * 3, threading.Semaphore(0), []
    with served(talk, max_waiting=1) as server:
        client = client_of(server)
        threads = [
            threading.Thread(target=lambda: answers.append(ask(client, "q"))) for _ in range(2)
        ]
        threads[0].start()
        while not script.prompts:  # the first has begun, so the second waits
            pass
        threads[1].start()
        while not server.worker.jobs.full():
            pass
        with pytest.raises(openai.RateLimitError, match="1 requests are waiting already"):
            ask(client, "q")
        script.gate.release(4)
        for thread in threads:
            thread.join()
    assert [answer.choices[0].message.content for answer in answers] == ["ab", "ab"]


def test_a_bug_ends_one_answer_and_not_the_server(served, talk, script, client_of, capfd):
    script.answers = []  # an IndexError in the model
    with served(talk) as server:
        client = client_of(server)
        with pytest.raises(openai.InternalServerError, match="its terminal says how"):
            ask(client, "q")
        script.answers = ["fine"]
        assert ask(client, "q").choices[0].message.content == "fine"
    assert "IndexError" in capfd.readouterr().err
