"""The built-in conversations: out of docstrings, the same every time, right where they can be
checked.
"""

import operator
import re
from itertools import pairwise

import numpy as np
import pytest

from snakelm.data.conversations.formats import checked
from snakelm.data.corpora import questions
from snakelm.data.corpora.questions import Entry, conversations, file_entries

MODULE = '''"""A module."""

def scale(values, factor=2.0, *, _hidden=0):
    """Multiply ``values`` by a factor, see :func:`~numpy.multiply`. It is quick.

    Parameters
    ----------
    values : array_like
        What is multiplied. More is said here.
    factor : float
        x

    Returns
    -------
    result : ndarray
        The product of all.
    """

class Box:
    """A box that holds things and gives them back"""

def _private():
    """Nobody should ask about this one."""

def short():
    """Hm."""

def strange():
    """%(name)s 12 + 34 == 46 <> {} [] ()."""

def bare():
    pass
'''


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(MODULE)
    return path


def test_what_a_file_tells(module):
    assert list(file_entries(module, "things")) == [
        Entry(
            "things",
            "scale",
            "function",
            "Multiply values by a factor, see numpy.multiply.",
            {"values": "What is multiplied.", "factor": ""},
        ),
        Entry("things", "Box", "class", "A box that holds things and gives them back."),
    ]


def test_a_file_that_is_no_python_tells_nothing(tmp_path):
    path = tmp_path / "two.py"
    path.write_text("print 'hello'\n")
    assert list(file_entries(path, "two")) == []


@pytest.fixture
def few(module, monkeypatch):
    """The conversations about one small file, and sums."""
    found = [e for name in "abcdefgh" for e in file_entries(module, name)]
    monkeypatch.setattr(questions, "entries", lambda: found)
    monkeypatch.setattr(questions, "SUMS", 200)
    return list(conversations(1))


def said(talk, role):
    return [message["content"] for message in talk if message["role"] == role]


def is_sum(question):
    return re.search(r" (plus|minus|times) \d+\?$", question) is not None


def test_they_are_conversations(few):
    for messages in few:
        assert checked(messages) == messages
    assert {len(m) for m in few} >= {2, 3, 4, 6}


def test_every_function_is_spoken_of_in_one_conversation(monkeypatch):
    """Or a held-out one would be learned in another."""
    found = [Entry(f"m{n}", "f", "function", "Does it all.", {"x": "It."}) for n in range(60)]
    monkeypatch.setattr(questions, "entries", lambda: found)
    monkeypatch.setattr(questions, "SUMS", 20)
    about = [set(re.findall(r"m\d+", " ".join(said(talk, "user")))) for talk in conversations(1)]
    assert sorted(name for names in about for name in names) == sorted(e.module for e in found)
    assert max(map(len, about)) in (2, 3)


def test_some_go_on_with_another_topic(few):
    """From a function to a sum and the reverse, to another function or sum; what is asked next is
    about the new topic.
    """
    sums = [[is_sum(question) for question in said(talk, "user")] for talk in few]
    assert any(kinds[0] and not kinds[-1] for kinds in sums)
    assert any(not kinds[0] and kinds[-1] for kinds in sums)
    assert sum(len(set(kinds)) == 2 for kinds in sums) < len(few) / 2

    asked_next = 0
    for talk in few:
        turns = list(zip(said(talk, "user"), said(talk, "assistant"), strict=True))
        for (question, answer), (following, its) in pairwise(turns):
            if following == "Which parameters does it take?":
                assert its == "It takes values and factor."
                assert "Multiply values" in answer
                assert "scale" in question
            if following.startswith("And ") and is_sum(following):
                assert its.split()[0] == answer.split()[-1].rstrip(".")
                asked_next += 1
    assert asked_next > 20


def test_answers_come_from_the_docstring(few):
    answers = {
        answer
        for talk in few
        for question, answer in zip(said(talk, "user"), said(talk, "assistant"), strict=True)
        if not is_sum(question)
    }
    assert answers <= {
        "Multiply values by a factor, see numpy.multiply.",
        "It takes values and factor.",
        "What is multiplied.",
        "A box that holds things and gives them back.",
        "scale.",
        "Box.",
    }
    assert len(answers) >= 4


def test_sums_are_right(few):
    operators = {"plus": operator.add, "minus": operator.sub, "times": operator.mul}
    checked_sums = 0
    for talk in few:
        for question, answer in zip(said(talk, "user"), said(talk, "assistant"), strict=True):
            if is_sum(question):
                a, kind, b, result = re.fullmatch(r"(\d+) (\w+) (\d+) is (\d+)\.", answer).groups()
                assert operators[kind](int(a), int(b)) == int(result)
                checked_sums += 1
    assert checked_sums >= 200


def test_the_same_seed_gives_the_same_and_another_others(few):
    assert list(conversations(1)) == few
    assert list(conversations(2)) != few


def test_the_installed_packages_are_enough_to_learn_from(monkeypatch):
    monkeypatch.setattr(questions, "PACKAGES", ("numpy",))
    entries = questions.entries()
    assert len(entries) > 300
    assert all(entry.module.split(".")[0] == "numpy" for entry in entries)
    assert [(p["package"], p["version"]) for p in questions.packages()] == [
        ("numpy", np.__version__)
    ]
    assert {"numpy.linalg", "numpy.fft"} <= {entry.module for entry in entries}
    assert [(e.module, e.name) for e in entries] == sorted({(e.module, e.name) for e in entries})
