"""Trees: one path each, by rank, wherever its messages stand in the file."""

import random

import pytest

from snakelm.data.conversations.formats import Rejected
from snakelm.data.conversations.trees import Trees


def row(name, parent, role, rank=None, **more):
    return {
        "message_id": name,
        "parent_id": parent,
        "role": role,
        "text": f"I am {name}.",
        "rank": rank,
        **more,
    }


ROWS = [
    row("q", None, "prompter"),
    row("bad", "q", "assistant", 2),
    row("good", "q", "assistant", 0),
    row("middling", "q", "assistant", 1),
    row("more", "good", "prompter"),
    row("unranked", "more", "assistant"),
    row("ranked", "more", "assistant", 5),
    row("thanks", "ranked", "prompter"),
    row("other", None, "prompter"),
    row("alone", "other", "assistant"),
]


def paths(rows):
    trees = Trees()
    for one in rows:
        trees.add(one)
    names = [
        reached if isinstance(reached, str) else [m["content"][5:-1] for m in reached]
        for reached in trees.conversations()
    ]
    return names, trees.unreached()


def test_the_best_ranked_path_of_each_tree():
    reached, unreached = paths(ROWS)
    assert reached == [["q", "good", "more", "ranked"], ["other", "alone"]]
    assert unreached == 0


def test_rows_may_stand_in_any_order():
    shuffled = ROWS.copy()
    random.Random(0).shuffle(shuffled)
    assert sorted(paths(shuffled)[0]) == sorted(paths(ROWS)[0])


def test_equal_ranks_take_the_first_row():
    assert paths([ROWS[0], row("a", "q", "assistant"), row("b", "q", "assistant")])[0] == [
        ["q", "a"]
    ]


def test_a_tree_without_an_answer_is_counted():
    assert paths([ROWS[0]])[0] == ["no assistant turn"]


def test_orphans_and_rings_are_counted_and_end():
    reached, unreached = paths(
        [
            *ROWS[8:],
            row("x", "gone", "assistant"),
            row("a", "b", "prompter"),
            row("b", "a", "assistant"),
        ]
    )
    assert reached == [["other", "alone"]]
    assert unreached == 3


def test_an_answer_that_is_marked_is_read_only():
    trees = Trees()
    for one in [*ROWS[:4], {**ROWS[4], "weight": 0}, {**ROWS[6], "weight": 1, "train": None}]:
        trees.add({**one, "weight": 0} if one["message_id"] == "good" else one)
    (messages,) = trees.conversations()
    assert [(m["content"], m.get("learned", True)) for m in messages] == [
        ("I am q.", True),
        ("I am good.", False),
        ("I am more.", True),
        ("I am ranked.", True),
    ]


BAD = {
    "a picture": (row("x", None, "prompter", image="a.png"), "images, sound or video"),
    "half a weight": (row("x", "q", "assistant", weight=0.5), "weight neither all nor nothing"),
    "deleted": (row("x", None, "prompter", deleted=True), "deleted message"),
    "no id": (row(None, None, "prompter"), "null field"),
    "no text": ({**row("x", None, "prompter"), "text": None}, "null field"),
    "unknown role": (row("x", None, "narrator"), "unknown role"),
    "id taken": (row("q", None, "prompter"), "message id seen before"),
}


@pytest.mark.parametrize("name", BAD)
def test_messages_that_are_none_are_rejected(name):
    trees = Trees()
    trees.add(ROWS[0])
    bad, reason = BAD[name]
    with pytest.raises(Rejected, match=reason):
        trees.add(bad)
