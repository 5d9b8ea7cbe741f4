"""The chapter on instruction tuning: of a complete run, a half one and none; nothing that a model
says becomes markup.
"""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from snakelm.analysis.plot import plot_tuning
from snakelm.analysis.tuning_record import answers, conversations, read_tuning, turns
from snakelm.config import from_mapping
from snakelm.data.bins import Meta
from snakelm.data.packs import PackWriter, open_packs
from snakelm.tokenizer import train_bpe

HEAD = "step,tokens,epoch,loss,lr,grad_norm,tokens_per_second,mfu,seconds,cpu_seconds,val_loss\n"
COMPLETE = (
    HEAD
    + "0,0,0,,,,0,0,1,1,5.0\n"
    + "".join(f"{i},{i * 9},0.1,{4 - i / 9},0.1,0.5,100,0.2,{i},{i},\n" for i in range(1, 20))
)
PACKS = {
    "script": "scripts/preparation/prepare_sft_data.py",
    "context": 64,
    "sources": [
        {
            "name": "<b>mine",
            "kept": 9,
            "duplicates": 1,
            "too_long": 0,
            "answers_only_read": 7,
            "reading": {"read": 12, "invalid": {"x": 2}, "unread": {"mood": 3, "gone": 0}},
        }
    ],
    "train": {
        "conversations": 8,
        "packs": 2,
        "tokens": 100,
        "learned_tokens": 40,
        "efficiency": 0.8,
    },
    "val": {"conversations": 1, "packs": 1, "tokens": 10, "learned_tokens": 5, "efficiency": 0.2},
}
PROMPT = "<|endoftext|><|system|>Be brief.<|end|><|user|>What is <i>it</i>?<|end|><|assistant|>"


@pytest.fixture
def tuned(tmp_path):
    """`tuned(csv, samples, packs)` writes and reads a tuning; None leaves a file out."""

    def make(csv, samples=(), packs=None):
        (tmp_path / "sft.csv").write_text(csv, encoding="utf-8")
        (tmp_path / "s.jsonl").write_text(
            "".join(json.dumps(s) + "\n" for s in samples), encoding="utf-8"
        )
        if packs:
            (tmp_path / "p.bin.manifest.json").write_text(json.dumps(packs), encoding="utf-8")
        config = from_mapping({})
        return read_tuning(
            config,
            tmp_path / "sft.csv",
            tmp_path / "s.jsonl",
            tmp_path / "none",
            [tmp_path / "p.bin", tmp_path / "m.pt"],
        )

    return make


def samples(*steps, text="an <img src=x> answer"):
    return [
        {"step": s, "prompt": PROMPT, "text": f"{text} {s}", "expected": "wanted & so"}
        for s in steps
    ]


@pytest.mark.parametrize(
    ("csv", "said", "packs"),
    [
        (COMPLETE, samples(0, 10, 19), PACKS),
        (COMPLETE[:300], samples(0), PACKS),
        (HEAD, (), None),
        ("", (), None),
        (
            HEAD + "0,0,0,nan,nan,nan,nan,nan,nan,nan,nan\n1,9,0,nan,,,,,,,\n",
            (),
            {"script": "prepare_sft_data.py"},
        ),
    ],
    ids=["complete", "half", "header only", "empty", "nan"],
)
def test_the_chapter_stands_for_every_tuning(csv, said, packs, tuned, tmp_path):
    written = plot_tuning(
        tuned(csv, said, packs), [[("<u>read", False), ("learned", True)]], tmp_path, tmp_path
    )
    assert len(written) == 8
    for path in written:
        text = path.read_text(encoding="utf-8")
        assert not [word for word in ("<img", "<i>it", "<b>mine", "<u>read") if word in text]
        if path.suffix == ".svg":
            assert ET.fromstring(text).tag.endswith("}svg")


def test_answers_stand_before_and_after(tuned, tmp_path):
    plot_tuning(tuned(COMPLETE, samples(0, 10, 19), PACKS), [], tmp_path, tmp_path)
    page = (tmp_path / "answers.html").read_text(encoding="utf-8")
    for words in ("system prompt: ", "Be brief.", "wanted &amp; so", "before", "after 19 steps"):
        assert words in page, words
    assert "<|user|>" not in page


def test_shares_of_the_packs_are_counted_and_shown(tuned, tmp_path):
    plot_tuning(tuned(COMPLETE, (), PACKS), [], tmp_path, tmp_path)
    page = (tmp_path / "conversations.html").read_text(encoding="utf-8")
    for number in ("40.0%", "50.0%", "20.00%", "80.00%", ">12<", ">2<"):
        assert number in page, number


def test_reasons_marks_and_what_was_not_read_are_shown(tuned, tmp_path):
    plot_tuning(tuned(COMPLETE, (), PACKS), [], tmp_path, tmp_path)
    page = (tmp_path / "conversations.html").read_text(encoding="utf-8")
    for words in ("unfit: x", "answers that are read but not learned", ">7<", "not read: mood"):
        assert words in page, words
    assert "gone" not in page


def test_conversations_that_a_weight_repeats_are_told_apart(tuned, tmp_path):
    packs = json.loads(json.dumps(PACKS))
    packs["train"] |= {"conversations": 96, "different": 62}
    plot_tuning(tuned(COMPLETE, (), packs), [], tmp_path, tmp_path)
    page = (tmp_path / "conversations.html").read_text(encoding="utf-8")
    assert ">62, and 34 of them again<" in page


@pytest.mark.parametrize(
    ("eval_tokens", "apart"), [(5, True), (10**6, False), (None, False)], ids=["some", "all", "any"]
)
def test_evaluations_of_all_held_out_answers_stand_apart_from_those_of_some(
    tuned, tmp_path, eval_tokens, apart
):
    """The first and the last take all of them."""
    assert not tuned(COMPLETE, (), PACKS).training.last_takes_more, "nobody knows yet"
    model = {"script": "train_sft.py", "config": {"train": {"eval_tokens": eval_tokens}}}
    (tmp_path / "m.pt.manifest.json").write_text(json.dumps(model), encoding="utf-8")
    training = tuned(COMPLETE, (), PACKS).training
    assert (training.first_takes_more, training.last_takes_more) == (apart, apart)


def test_all_that_became_of_the_rows_is_counted(tuned, tmp_path):
    """Those over a limit and forgotten ones, too."""
    packs = json.loads(json.dumps(PACKS))
    packs["sources"][0] |= {"over_limit": 31, "forgotten": 17}
    plot_tuning(tuned(COMPLETE, (), packs), [], tmp_path, tmp_path)
    page = (tmp_path / "conversations.html").read_text(encoding="utf-8")
    for words in ("the source&#39;s limit", ">31<", "to be forgotten", ">17<"):
        assert words in page, words


def test_the_speed_of_no_step_is_not_drawn(tuned):
    metrics = tuned(COMPLETE).training.metrics
    assert metrics.points("tokens_per_second", "step")[0].tolist() == list(range(1, 20))
    assert metrics.points("val_loss", "step")[0].tolist() == [0]


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        (PROMPT, [("system", "Be brief."), ("user", "What is <i>it</i>?")]),
        ("plain text", [("", "plain text")]),
        ("<|user|><|end|>", [("", "<|user|><|end|>")]),
        (
            "<|user|>a<|end|><|assistant|>b<|end|><|user|>c<|end|><|assistant|>",
            [("user", "a"), ("assistant", "b"), ("user", "c")],
        ),
    ],
    ids=["system", "no marks", "empty turn", "two turns"],
)
def test_turns(prompt, shown):
    assert turns(prompt) == shown


def test_answers_go_by_question():
    from snakelm.training.metrics import Sample

    shown = answers([Sample(0, "a", "1"), Sample(0, "b", "2"), Sample(5, "a", "3", "w")])
    assert [(a.prompt, a.expected, a.given) for a in shown] == [
        ("a", "w", ((0, "1"), (5, "3"))),
        ("b", "", ((0, "2"),)),
    ]


def test_conversations_tell_what_is_learned(tmp_path):
    tokenizer = train_bpe(["ask and answer, answer and ask"] * 3, 266)
    ask, answer = ([*tokenizer.encode_ordinary(text)] for text in ("ask", "answer"))
    ids = [[tokenizer.eot, *ask, *answer], [tokenizer.eot, *answer, *ask]]
    mask = [
        [False] * (1 + len(ask)) + [True] * len(answer),
        [False] + [True] * len(answer) + [False] * len(ask),
    ]
    meta = Meta("uint16", tokenizer.vocab_size, tokenizer.eot, tokenizer.sha256)
    with PackWriter(tmp_path / "p.bin", meta, 64, np.array([0, 2])) as writer:
        lengths = np.array([len(i) for i in ids])
        writer.append_masked(np.concatenate(ids), np.concatenate(mask), lengths, np.arange(2), 1)
    shown = conversations(open_packs(tmp_path / "p.bin"), tokenizer)
    name = tokenizer.decode([tokenizer.eot])
    assert shown == [
        [(name + "ask", False), ("answer", True)],
        [(name, False), ("answer", True), ("ask", False)],
    ]
