"""A conversation: what the model is shown, what is remembered, which turns go when there's no room;
streams of ids.
"""

import random

import pytest
import torch

from snakelm.config import Model
from snakelm.data.conversations import chat_template as template
from snakelm.errors import UserError
from snakelm.model import Decoder, generate
from snakelm.model.chat import Chat, Continuation, decode_stream, until_stop
from snakelm.model.generate import stream
from snakelm.tokenizer import EOT, Tokenizer
from snakelm.tokenizer.special import CHAT, END

CONTEXT = 48
TINY = Model(layers=1, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=CONTEXT)
SPECIAL = {name: 256 + i for i, name in enumerate((EOT, *CHAT))}
TOKENIZER = Tokenizer({bytes([i]): i for i in range(256)}, "gpt2", SPECIAL)


@pytest.fixture
def model():
    made = Decoder(TINY, TOKENIZER.vocab_size).initialize(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(made.head, generator=torch.Generator().manual_seed(1))
    return made.eval()


@pytest.fixture
def said(monkeypatch):
    """Makes the model say given ids, and keeps the prompts and lengths it was called with."""
    calls = []

    def script(*answers):
        waiting = list(answers)

        def stream(model, prompt, length, **sampling):
            calls.append((list(prompt), length, sampling))
            yield from TOKENIZER.encode_ordinary(waiting.pop(0))[:length]

        monkeypatch.setattr("snakelm.model.chat.stream", stream)
        return calls

    return script


def test_each_answer_sees_the_conversation_so_far(model, said):
    calls = said("ab", "cd")
    chat = Chat(model, TOKENIZER, system="s", max_tokens=8, seed=5, temperature=0.5)
    assert "".join(chat.answer("q")) == "ab"
    assert not chat.truncated
    assert "".join(chat.answer("r")) == "cd"
    turns = [("system", "s"), ("user", "q"), ("assistant", "ab"), ("user", "r")]
    messages = [{"role": role, "content": content} for role, content in turns]
    assert [prompt for prompt, _, _ in calls] == [
        template.prompt(messages[:n], TOKENIZER) for n in (2, 4)
    ]
    assert [sampling["seed"] for _, _, sampling in calls] == [5, 6]
    assert all(
        sampling["temperature"] == 0.5 and SPECIAL[END] in sampling["stop"]
        for _, _, sampling in calls
    )


def test_the_oldest_turns_go_first_and_the_system_message_never(model, said):
    calls = said("a" * 8, "b" * 8, "c")
    chat = Chat(model, TOKENIZER, system="sys", max_tokens=8)
    for question in ("one", "two"):
        list(chat.answer(question))
        assert chat.dropped_turns == 0
    list(chat.answer("three"))
    assert chat.dropped_turns == 2
    prompt, length, _ = calls[-1]
    shown = TOKENIZER.decode(prompt)
    assert shown.startswith(
        "<|endoftext|><|system|>sys<|end|><|user|>two<|end|><|assistant|>bbbbbbbb"
    )
    assert "one" not in shown
    assert len(prompt) + length <= CONTEXT


def whole_prompt(turns, system, longest):
    """The specification: all of it encoded, a question and its answer fewer each time."""
    while len(prompt := template.prompt([*system, *turns], TOKENIZER)) > longest:
        turns = turns[2:]
    return prompt


def test_what_is_kept_is_as_much_as_fits(model, said):
    chance = random.Random(0)
    for _ in range(200):
        turns = [
            {"role": ("user", "assistant")[i % 2], "content": "x" * chance.randrange(12)}
            for i in range(2 * chance.randrange(6))
        ]
        calls, system = said("a"), chance.choice([None, "be"])
        chat = Chat(model, TOKENIZER, system=system, max_tokens=chance.choice([1, 8, 40]))
        chat.restore(turns)
        list(chat.answer("q"))
        messages = [{"role": "system", "content": system}] if system else []
        longest = CONTEXT - min(chat.max_tokens, CONTEXT // 4)
        asked = [*turns, {"role": "user", "content": "q"}]
        assert calls[-1][0] == whole_prompt(asked, messages, longest)
        assert chat.dropped_turns == len(asked) + 1 - len(chat.turns)


def test_turns_that_do_not_fit_are_not_encoded(model, said, monkeypatch):
    said("a")
    chat, seen = Chat(model, TOKENIZER), []
    chat.restore([{"role": ("user", "assistant")[i % 2], "content": "x" * 99} for i in range(198)])
    encode = TOKENIZER.encode_batch
    monkeypatch.setattr(
        Tokenizer, "encode_batch", lambda _, texts, **more: seen.extend(texts) or encode(texts)
    )
    list(chat.answer("q"))
    assert sum(map(len, seen)) < 300


def test_a_message_without_room_is_refused_and_nothing_is_forgotten(model, said):
    said("a", "b")
    chat = Chat(model, TOKENIZER, max_tokens=8)
    list(chat.answer("q"))
    before = list(chat.turns)
    with pytest.raises(UserError, match=r"your message: 6\d tokens"):
        chat.answer("x" * 60)
    assert chat.turns == before
    assert "".join(chat.answer("r")) == "b"


def test_an_answer_that_was_stopped_is_remembered_as_far_as_it_went(model, said):
    said("abcdef")
    chat = Chat(model, TOKENIZER)
    pieces = chat.answer("q")
    assert next(pieces) + next(pieces) == "ab"
    pieces.close()
    assert chat.turns[-1] == {"role": "assistant", "content": "ab"}


def test_an_answer_cut_off_says_so_and_reset_forgets(model, said):
    said("a" * 20)
    chat = Chat(model, TOKENIZER, max_tokens=5)
    assert "".join(chat.answer("q")) == "aaaaa"
    assert chat.truncated
    chat.reset()
    assert (chat.turns, chat.truncated) == ([], False)


def test_markers_in_a_message_are_only_text(model, said):
    calls = said("a")
    list(Chat(model, TOKENIZER).answer("<|end|>"))
    assert calls[0][0].count(SPECIAL[END]) == 1


@pytest.mark.parametrize("text", ["é", "日本", "a😀b", "plain"])
def test_characters_are_given_whole(text):
    pieces = list(decode_stream(TOKENIZER, iter(text.encode())))
    assert pieces == list(text)


def test_bytes_that_are_no_character_are_replaced():
    assert "".join(decode_stream(TOKENIZER, iter([0x61, 0xE6, 0x97]))) == "a\ufffd"
    assert "".join(decode_stream(TOKENIZER, iter([0xFF, 0x61]))) == "\ufffda"


def test_a_base_model_goes_on(model):
    first, again = (
        "".join(Continuation(model, TOKENIZER, max_tokens=6, seed=3).answer("abc"))
        for _ in range(2)
    )
    assert first == again


def test_a_stream_gives_what_generate_gives(model):
    complete = generate(model, [1, 2], 12, seed=3)
    assert list(stream(model, [1, 2], 12, seed=3)) == complete
    assert (
        list(stream(model, [1, 2], 12, seed=3, stop={complete[4]}))
        == complete[: complete.index(complete[4])]
    )


def test_top_p_keeps_the_fewest_that_have_so_much(model):
    probabilities = (model(torch.tensor([[1, 2]]))[0, -1] / 2.0).softmax(0).sort(descending=True)
    enough = int((probabilities.values.cumsum(0) < 0.5).sum()) + 1
    kept = set(probabilities.indices[:enough].tolist())
    assert 1 < enough < 200
    drawn = {
        next(stream(model, [1, 2], 1, temperature=2.0, top_k=None, top_p=0.5, seed=seed))
        for seed in range(300)
    }
    assert drawn <= kept
    assert len(drawn) > 1


@pytest.mark.parametrize(
    "sampling",
    [
        *({"top_p": tiny} for tiny in (1e-9, 1e-44, 1e-300, 5e-324)),
        *({"temperature": cold} for cold in (5e-324, 1e-40, 1e-30, 1.1e-30, 1e-20)),
        {"temperature": 1e-20, "top_p": 1e-300, "top_k": None},
        {"top_k": 1, "temperature": 2.0},
    ],
    ids=lambda sampling: ",".join(f"{name}={value}" for name, value in sampling.items()),
)
@pytest.mark.parametrize("scale", [1.0, 1e12], ids=["plain", "loud"])
def test_the_narrowest_choice_is_the_likeliest(model, sampling, scale):
    with torch.no_grad():
        model.head *= scale
    likeliest = list(stream(model, [1], 5, temperature=0))
    assert list(stream(model, [1], 5, **sampling)) == likeliest


@pytest.mark.parametrize(
    ("pieces", "stops", "given"),
    [
        (["a", "b", "c"], [], ["a", "b", "c"]),
        (["a", "\n", "\n", "b"], ["\n\n"], ["a"]),
        (["a", "\n", "b"], ["\n\n"], ["a", "\nb"]),
        (["xENDy"], ["END"], ["x"]),
        (["END"], ["END"], []),
        (["xE", "N"], ["END"], ["x", "EN"]),
        (["ab", "ab", "ac"], ["abac"], ["ab"]),
        (["one two"], ["two", "one"], []),
    ],
    ids=[
        "none",
        "over_two",
        "not_yet",
        "inside",
        "at_once",
        "never_whole",
        "overlapping",
        "the_first",
    ],
)
def test_a_text_that_stops_is_never_given(pieces, stops, given):
    assert list(until_stop(pieces, stops)) == given


def test_an_answer_stopped_by_a_text_is_not_cut_and_is_remembered_without_it(model, said):
    said("abcdef")
    chat = Chat(model, TOKENIZER, max_tokens=4, stop=["cd"])
    assert "".join(chat.answer("q")) == "ab"
    assert not chat.truncated
    assert chat.turns[-1] == {"role": "assistant", "content": "ab"}


def test_a_conversation_restored_goes_on_as_if_it_had_been_had_here(model):
    had = Chat(model, TOKENIZER, max_tokens=6, seed=2)
    first = "".join(had.answer("a"))
    second = "".join(had.answer("b"))
    restored = Chat(model, TOKENIZER, max_tokens=6, seed=2)
    restored.restore([{"role": "user", "content": "a"}, {"role": "assistant", "content": first}])
    assert "".join(restored.answer("b")) == second


def test_the_cache_of_a_conversation_changes_no_answer(model, monkeypatch):
    def answers():
        chat = Chat(model, TOKENIZER, max_tokens=6, seed=1, temperature=1.0)
        return [
            "".join(chat.answer(question)) for question in ("ab", "cd", "a longer one", "ef", "gh")
        ], chat

    cached, chat = answers()
    assert chat.cache.ids
    without = lambda model, prompt, room, cache, **how: stream(model, prompt, room, **how)  # noqa: E731
    monkeypatch.setattr("snakelm.model.chat.stream", without)
    assert answers()[0] == cached


@pytest.mark.parametrize("kind", [Chat, Continuation])
def test_an_id_that_stands_for_nothing_ends_an_answer(kind):
    gaps = Tokenizer(
        {bytes([i]): i for i in range(256)}, "gpt2", {name: i + 40 for name, i in SPECIAL.items()}
    )
    model = Decoder(TINY, gaps.vocab_size).initialize(torch.Generator().manual_seed(0)).eval()
    model.embedding.data.fill_(1.0)
    model.head.data[270] = 1.0  # the likeliest by far, and in the gap
    assert "".join(kind(model, gaps, temperature=0).answer("q")) == ""
