"""What was asked, in words: each part of the run is named, and only changed keys are told as
changed.
"""

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
    ],
)  # fmt: skip
def test_a_part_says(keys, part, words):
    assert words in dict(describe_settings(from_mapping(keys)))[part]


def test_changed_keys_are_those_a_person_wrote():
    assert changed_keys(from_mapping({})) == []
    found = changed_keys(
        from_mapping({"preset": "smoke", "results": "x", "train": {"lr": 0.5}, "export": "base"})
    )
    assert [(key, value) for key, value, _ in found] == [("train.lr", "0.5"), ("export", "base")]
