"""Preferences that are to be forgotten are not packed: a pair goes with either of its answers."""

import functools
import json

import pytest

from snakelm.config import from_mapping
from snakelm.data.conversations.preferences import example_of
from snakelm.data.conversations.prepare_preferences import prepare_preferences
from snakelm.data.conversations.token_store import conversation_bytes
from snakelm.data.documents.forget_list import text_hash
from snakelm.errors import UserError
from snakelm.log import Log
from snakelm.tokenizer import CHAT, EOT, train_bpe

ROWS = [
    {"prompt": f"What is {i}?", "chosen": f"It is {i}.", "rejected": f"It is {i + 1}."}
    for i in range(60)
]


@functools.cache
def tokenizer():
    return train_bpe(["What is seven? It is seven."] * 20, 270, special_tokens=(EOT, *CHAT))


def prepare(folder, lines=(), **forget):
    """The counts of the one source."""
    path, listed = folder / "pairs.jsonl", folder / "list.txt"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    if lines:
        listed.write_text("\n".join(lines))
        forget["preferences"] = str(listed)
    config = from_mapping(
        {
            "preferences": {"sources": [{"path": str(path)}], "context": 64, "val_fraction": 0.2},
            "forget": forget,
        }
    )
    with Log("prepare_preferences", folder / "log", quiet=True) as log:
        _, counts = prepare_preferences(config, tokenizer(), folder / "out", threads=1, log=log)
    return counts["sources"][0]


def answer(row, side):
    """The hash of a pair's conversation: its first or its second."""
    return text_hash(conversation_bytes(example_of(ROWS[row]).conversations[side]))


def test_a_pair_goes_with_either_of_its_answers(tmp_path):
    counts = prepare(tmp_path, [answer(3, 0), answer(9, 1)])
    assert (counts["found"], counts["forgotten"], counts["kept"]) == (60, 2, 58)


def test_rules_look_at_every_turn_of_a_pair(tmp_path):
    assert prepare(tmp_path, text=r"It is 12\.")["forgotten"] == 2  # chosen once, rejected once
    assert prepare(tmp_path, text=r"What is 5\d")["forgotten"] == 10


def test_one_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"forget\.preferences: 1 of 2 lines name no preference"):
        prepare(tmp_path, [answer(3, 0), "0" * 64])
