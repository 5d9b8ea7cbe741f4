"""The built-in conversations: out of docstrings, the same every time, right where they can be
checked.
"""

import operator
import re

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
    found = [
        e for name in ("a", "b", "c", "d", "e", "f", "g", "h") for e in file_entries(module, name)
    ]
    monkeypatch.setattr(questions, "entries", lambda: found)
    monkeypatch.setattr(questions, "SUMS", 200)
    return list(conversations(1))


def test_they_are_conversations(few):
    assert len(few) == 16 + 200
    for messages in few:
        assert checked(messages) == messages
    assert {len(m) for m in few} >= {2, 3, 4, 6}


def test_answers_come_from_the_docstring(few):
    answers = {m["content"] for talk in few[:16] for m in talk if m["role"] == "assistant"}
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
    for messages in few[16:]:
        for message in messages:
            if message["role"] == "assistant":
                a, kind, b, result = re.fullmatch(
                    r"(\d+) (\w+) (\d+) is (\d+)\.", message["content"]
                ).groups()
                assert operators[kind](int(a), int(b)) == int(result)


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
