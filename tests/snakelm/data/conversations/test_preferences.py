"""Preferences in the shapes that people have them in, what is refused and why, and the packs that
they become.
"""

import json
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from snakelm.config import from_mapping
from snakelm.data.conversations.fields import Rejected
from snakelm.data.conversations.preferences import example_of
from snakelm.data.conversations.prepare import prepare_sft
from snakelm.data.conversations.prepare_preferences import prepare_preferences
from snakelm.data.packs import Packs, open_packs
from snakelm.data.preference_packs import lay_pairs, open_preferences
from snakelm.errors import UserError
from snakelm.log import Log
from snakelm.tokenizer import EOT, Tokenizer
from snakelm.tokenizer.special import CHAT


def user(text):
    return {"role": "user", "content": text}


def said(text):
    return {"role": "assistant", "content": text}


PROMPT = [user("Two and two?")]
EARLIER = [user("Hi"), said("Hello."), user("Two and two?")]
PAIRS = {
    "texts": {"prompt": "Two and two?", "chosen": "Four.", "rejected": "Five."},
    "turns of both sides": {
        "prompt": PROMPT,
        "chosen": [said("Four.")],
        "rejected": [said("Five.")],
    },
    "sides that begin with the prompt": {
        "chosen": [*PROMPT, said("Four.")],
        "rejected": [*PROMPT, said("Five.")],
    },
    "and a prompt that says it again": {
        "prompt": "Two and two?",
        "chosen": [*PROMPT, said("Four.")],
        "rejected": [*PROMPT, said("Five.")],
        "score_chosen": 8.5,
    },
    "one turn a side": {
        "prompt": PROMPT,
        "chosen": {"from": "gpt", "value": "Four."},
        "rejected": {"from": "gpt", "value": "Five."},
    },
}


@pytest.mark.parametrize("shape", PAIRS)
def test_a_pair_is_the_same_in_every_shape(shape):
    chosen, rejected = example_of(PAIRS[shape]).conversations
    assert chosen == [*PROMPT, said("Four.")]
    assert rejected == [*PROMPT, said("Five.")]


def test_a_prompt_of_several_turns_is_read_and_not_learned():
    row = {"prompt": EARLIER, "chosen": "Four.", "rejected": "Five.", "system": "Be brief."}
    for messages in example_of(row).conversations:
        assert messages[0] == {"role": "system", "content": "Be brief."}
        learned = [one.get("learned", True) for one in messages if one["role"] == "assistant"]
        assert learned == [False, True]


@pytest.mark.parametrize(
    ("label", "wanted"), [(True, True), (False, False), (1, True), (0.0, False), ("true", True)]
)
def test_an_answer_with_a_label(label, wanted):
    example = example_of({"prompt": "Two?", "completion": [said("2")], "label": label})
    assert example.wanted == [wanted]
    assert example.conversations == [[user("Two?"), said("2")]]


REFUSED = {
    "equal sides": {"prompt": "a", "chosen": "b", "rejected": "b"},
    "equal but for white space": {"prompt": "a", "chosen": "b", "rejected": "b\n"},
    "equal sides with their prompt": {
        "chosen": [*PROMPT, said("4")],
        "rejected": [*PROMPT, said("4")],
    },
    "an empty side": {"prompt": "a", "chosen": "b", "rejected": " "},
    "an empty side, of turns": {"prompt": "a", "chosen": [], "rejected": [said("b")]},
    "prompt differs between sides": {
        "chosen": [user("a?"), said("b")],
        "rejected": [user("A?"), said("c")],
    },
    "prompt differs between sides, later": {
        "chosen": [user("a?"), said("b"), user("c?"), said("d")],
        "rejected": [user("a?"), said("b"), user("e?"), said("f")],
    },
    "prompt differs from its column": {
        "prompt": "z?",
        "chosen": [user("a?"), said("b")],
        "rejected": [user("a?"), said("c")],
    },
    "one side has the prompt": {
        "prompt": "a?",
        "chosen": [user("a?"), said("b")],
        "rejected": [said("c")],
    },
    "a side without an answer": {"chosen": PROMPT, "rejected": [*PROMPT, said("b")]},
    "no prompt": {"chosen": "b", "rejected": "c"},
    "null side": {"prompt": "a", "chosen": None, "rejected": "c"},
    "label unclear": {"prompt": "a", "completion": "b", "label": 0.5},
    "label missing": {"prompt": "a", "completion": "b", "label": None},
    "two turns to judge": {"prompt": "a", "completion": [said("b"), user("c")], "label": True},
    "tools": {"prompt": "a", "chosen": "b", "rejected": "c", "tools": [{"name": "x"}]},
    "no known format": {"question": "a", "answer": "b"},
}
REASONS = {
    "equal but for white space": "equal sides",
    "equal sides with their prompt": "equal sides",
    "an empty side, of turns": "an empty side",
    "prompt differs between sides, later": "prompt differs between sides",
    "prompt differs from its column": "prompt differs between sides",
    "one side has the prompt": "prompt differs between sides",
    "null side": "null field",
    "label unclear": "a label that is neither true nor false",
    "label missing": "a label that is neither true nor false",
    "two turns to judge": "a completion that isn't one answer",
    "tools": "tools beside the turns",
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_for_a_reason(what):
    with pytest.raises(Rejected) as refused:
        example_of(REFUSED[what])
    assert str(refused.value) == REASONS.get(what, what)


def test_pairs_are_laid_whole_into_rows_or_alone_into_two():
    lengths = np.array([[3, 4], [9, 8], [2, 1], [5, 5], [10, 10]])
    order, bounds = lay_pairs(lengths, 10)
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]
    ends = np.concatenate([[0], np.cumsum(lengths[order].ravel())])
    assert (np.diff(ends[bounds]) <= 10).all()
    assert order[-2:].tolist() == [1, 4]
    assert bounds.tolist() == [0, 2, 6, 7, 8, 9, 10]


@pytest.fixture(scope="module")
def tokenizer():
    special = {name: 256 + i for i, name in enumerate((EOT, *CHAT))}
    return Tokenizer({bytes([i]): i for i in range(256)}, "gpt2", special)


class Lines(list):
    """A log that is read by the test."""

    say = warn = list.append

    def progress(self, *_):
        raise AssertionError


def prepare(folder, rows, tokenizer, **keys):
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    preferences = {"sources": [{"path": str(path)}], "context": 40, "val_fraction": 0.3, **keys}
    lines = Lines()
    config = from_mapping({"preferences": preferences})
    paths, counts = prepare_preferences(config, tokenizer, folder, threads=1, log=lines)
    opened = {split: open_preferences(path, tokenizer.sha256) for split, path in paths.items()}
    return opened, counts, lines


ROWS = [
    {"prompt": f"{i}?", "chosen": f"{i + 1}.", "rejected": "x" * (i % 20 + 1)} for i in range(20)
]


class Conversations(NamedTuple):
    """Packs, where the packs of preferences are."""

    packs: Packs


def texts(data, tokenizer):
    offsets = data.packs.document_offsets
    return [tokenizer.decode(data.packs.tokens[a:b].tolist()) for a, b in pairwise(offsets)]


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_no_question_is_learned_that_tuning_holds_out(tmp_path, tokenizer, loss):
    """Whichever of the two holds out more: both choose by the same hash."""
    talks = [{"question": f"{i}?", "answer": f"{i + 1}."} for i in range(200)]
    pairs = [{"prompt": f"{i}?", "chosen": f"{i + 1}.", "rejected": "x"} for i in range(200)]
    for name, rows in (("talks", talks), ("pairs", pairs)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")

    def asked(packs):
        return {text.partition("<|end|>")[0] for text in texts(packs, tokenizer)}

    for of_tuning, of_preferences in ((0.3, 0.05), (0.05, 0.3)):
        sources = {name: [{"path": str(tmp_path / f"{name}.jsonl")}] for name in ("talks", "pairs")}
        preferences = {"sources": sources["pairs"], "loss": loss, "val_fraction": of_preferences}
        tuning = {"sources": sources["talks"], "val_fraction": of_tuning}
        config = from_mapping({"sft_data": tuning, "preferences": preferences})
        folder = tmp_path / f"{of_tuning}"
        folder.mkdir()
        with Log("prepare", folder / "log", quiet=True) as log:
            tuned, _ = prepare_sft(config, tokenizer, folder, threads=1, log=log)
        preferred, _ = prepare_preferences(config, tokenizer, folder, threads=1, log=Lines())
        held_out = asked(Conversations(open_packs(tuned["val"])))
        assert 0 < len(held_out) < 100
        learned = asked(open_preferences(preferred["train"]))
        assert learned
        assert not held_out & learned


def test_every_pair_is_packed_once_and_the_rest_is_counted(tmp_path, tokenizer):
    more = [
        ROWS[3],  # a copy
        {"prompt": "long", "chosen": "y" * 100, "rejected": "n"},
        {"prompt": "same", "chosen": "y", "rejected": "y"},
        {"prompt": "half", "completion": "y", "label": True},
    ]
    opened, counts, lines = prepare(tmp_path, [*ROWS, *more], tokenizer)
    assert sum(data.count for data in opened.values()) == 20
    assert {(s := counts["sources"][0])[key] for key in ("too_long", "no_pair")} == {1}
    assert (s["duplicates"], s["kept"], s["reading"]["invalid"]) == (1, 20, {"equal sides": 1})
    for why in ("equal sides 1", "one side only", "longer than the context 1", "duplicate 1"):
        assert why in lines[0]

    found = []
    for data in opened.values():
        assert data.paired
        pairs = texts(data, tokenizer)
        for chosen, rejected in zip(pairs[::2], pairs[1::2], strict=True):
            head = "<|endoftext|><|user|>"
            question = chosen.removeprefix(head).split("<|end|>")[0]
            answers = [
                one.split("<|assistant|>")[1].split("<|end|>")[0] for one in (chosen, rejected)
            ]
            found.append({"prompt": question, "chosen": answers[0], "rejected": answers[1]})
    assert sorted(found, key=str) == sorted(ROWS, key=str)


def test_the_bytes_do_not_depend_on_the_order_of_rows(tmp_path, tokenizer):
    for name, rows in (("a", ROWS), ("b", ROWS[::-1])):
        (tmp_path / name).mkdir()
        prepare(tmp_path / name, rows, tokenizer)
    for file in ("train_preferences", "val_preferences"):
        assert (tmp_path / f"a/{file}.bin").read_bytes() == (
            tmp_path / f"b/{file}.bin"
        ).read_bytes()


def test_kto_takes_a_pair_as_two_answers_and_labels_as_they_are(tmp_path, tokenizer):
    labelled = [{"prompt": f"{i}!", "completion": "ok", "label": i % 3 == 0} for i in range(9)]
    opened, *_ = prepare(tmp_path, [*ROWS, *labelled], tokenizer, loss="kto")
    assert not any(data.paired for data in opened.values())
    wanted = np.concatenate([data.wanted for data in opened.values()])
    assert (wanted.size, wanted.sum()) == (49, 23)
    for data in opened.values():
        for text, good in zip(texts(data, tokenizer), data.wanted, strict=True):
            if text.endswith("!<|end|><|assistant|>ok<|end|>"):
                assert good == (int(text.split("<|user|>")[1].split("!")[0]) % 3 == 0)
            else:
                assert good == (">x" not in text)


def test_nothing_left_and_one_question_are_errors_that_say_why(tmp_path, tokenizer):
    equal = [{"prompt": "a", "chosen": "b", "rejected": "b"}] * 3
    with pytest.raises(UserError, match=r"nothing left to learn from.*equal sides 3"):
        prepare(tmp_path, equal, tokenizer)
    one = [{"prompt": "a", "chosen": "b", "rejected": c} for c in "cde"]
    with pytest.raises(UserError, match="all begin with the same question"):
        prepare(tmp_path, one, tokenizer)
    with pytest.raises(UserError, match=r"columns are question, best; expected prompt \+ chosen"):
        prepare(tmp_path, [{"question": "a", "best": "b"}], tokenizer)


def test_columns_of_other_names(tmp_path, tokenizer):
    rows = [{"q": r["prompt"], "good": r["chosen"], "bad": r["rejected"]} for r in ROWS]
    path = tmp_path / "pairs.jsonl"
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    opened, *_ = prepare(
        tmp_path, rows, tokenizer, sources=[{"path": str(path), "columns": columns}]
    )
    assert sum(data.count for data in opened.values()) == 20
    with pytest.raises(UserError, match="did you mean chosen"):
        prepare(tmp_path, rows, tokenizer, sources=[{"path": str(path), "columns": {"chose": "q"}}])


def test_a_column_that_no_row_has_is_an_error_though_the_usual_one_is_there(tmp_path, tokenizer):
    rows = [{**row, "best": "y"} for row in ROWS]
    source = {"path": str(tmp_path / "pairs.jsonl"), "columns": {"chosen": "bset"}}
    with pytest.raises(UserError, match=r"columns\.chosen: found 'bset'.* did you mean best\?"):
        prepare(tmp_path, rows, tokenizer, sources=[source])


def test_labels_of_one_kind_are_warned_of(tmp_path, tokenizer):
    rows = [{"prompt": f"{i}!", "completion": "ok", "label": True} for i in range(9)]
    *_, lines = prepare(tmp_path, rows, tokenizer, loss="kto")
    assert any("every label says True" in line for line in lines)


def test_a_damaged_file_is_refused(tmp_path, tokenizer):
    prepare(tmp_path, ROWS, tokenizer)
    index = tmp_path / "train_preferences.idx"
    index.write_bytes(index.read_bytes()[:-5] + b"\1" * 5)
    with pytest.raises(UserError, match="prepare_preferences"):
        open_preferences(tmp_path / "train_preferences.bin")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"beta": 0.0}, "beta"),
        ({"beta": -1.0}, "beta"),
        ({"loss": "ppo"}, "loss"),
        ({"loss": "kto", "label_smoothing": 0.1}, "label_smoothing"),
        ({"desirable_weight": 2.0}, "desirable_weight"),
        ({"sources": [{}]}, "give exactly one"),
        ({"sources": [{"builtin": "docs", "path": "a"}]}, "give exactly one"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_meant(keys, message):
    with pytest.raises(UserError, match=message):
        from_mapping({"preferences": keys})


def test_preferences_without_tuning_are_an_error():
    with pytest.raises(UserError, match="export: base"):
        from_mapping({"export": "base", "preferences": {"sources": [{"builtin": "docs"}]}})
