"""The settings in words: every part of a run is described, only changed keys are listed."""

import pytest

from snakelm.analysis.changed_settings import changed_keys, describe_settings
from snakelm.config import from_mapping


@pytest.mark.parametrize(
    ("keys", "part", "words"),
    [
        ({}, "documents", "docs (docstrings of the installed packages)"),
        ({}, "left out", "exact copies, near copies (similarity of 70% or more)"),
        ({}, "instruction tuning", "2 epochs of conversations (docs), all weights"),
        ({"export": "base"}, "instruction tuning", "none: export is base"),
        ({"sft": {"lora_rank": 4}}, "instruction tuning", "adapters of rank 4"),
        ({"filter": "static", "quality": {"min_words": 9}},
         "left out", "1 quality rule, what is not academic (static)"),
        ({"sources": [{"path": ["a.parquet", "b.parquet"], "limit": 1000, "fraction": 0.5}]},
         "documents", "a.parquet, b.parquet, 0.5 of them, at most 1,000"),
        ({"deduplicate": {"exact": False, "minhash": False}}, "left out", "nothing"),
        ({"tokenizer": {"kind": "tiktoken", "file": "my.tiktoken"}}, "tokenizer", "my.tiktoken"),
        ({"seed": 7}, "randomness", "seed 7"),
        ({"sft": {"base": "/home/me/Qwen3"}}, "instruction tuning", "all weights, from Qwen3"),
        ({"personal_data": {"action": "mask"}}, "left out", "; personal data masked"),
        ({"preferences": {"sources": [{"path": "p.jsonl"}], "beta": 0.3, "seed": 4}},
         "preferences", "dpo, beta 0.3, on p.jsonl, all weights"),
        ({"preferences": {"sources": [{"path": "p.jsonl"}], "seed": 4}},
         "randomness", "seed 1337, preferences.seed 4:"),
    ],
)  # fmt: skip
def test_a_part_says(keys, part, words):
    assert words in dict(describe_settings(from_mapping(keys)))[part]


def test_a_base_gives_its_name_and_its_tokenizer():
    config = from_mapping({})
    tokenizer = config.tokenizer.model_copy(update={"kind": "base"})
    train = config.train.model_copy(update={"base": "/home/me/Qwen3"})
    based = dict(
        describe_settings(config.model_copy(update={"tokenizer": tokenizer, "train": train}))
    )
    assert based["tokenizer"].startswith("8,192 tokens: those of train.base")
    assert "2,048 tokens, from Qwen3; 2% of" in based["pretraining"]


def test_changed_keys_are_those_the_user_set():
    assert changed_keys(from_mapping({})) == []
    changed = changed_keys(
        from_mapping({"preset": "smoke", "results": "x", "train": {"lr": 0.5}, "export": "base"})
    )
    assert [(key, value) for key, value, _ in changed] == [("train.lr", "0.5"), ("export", "base")]
