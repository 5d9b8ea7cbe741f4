"""Sources that are made or fetched: the docstring corpus, the synthetic one, files checked by
hash.
"""

import hashlib
import json

import pytest

from snakelm.config import Source
from snakelm.data.corpora import docstrings, everyday, synthetic
from snakelm.data.corpora.collect import collect
from snakelm.data.corpora.prose import SeenPassages, is_prose, passages, prose
from snakelm.data.documents.table import read_documents
from snakelm.errors import UserError
from snakelm.log import Log


def gather(tmp_path, source, files=()):
    with Log("collect") as log:
        about = collect(source, files, tmp_path / "out.parquet", seed=3, on_bad="error", log=log)
    return [row for b in read_documents(tmp_path / "out.parquet") for row in b.to_pylist()], about


def test_synthetic_documents_are_the_same_everywhere():
    texts = list(synthetic.documents(400, 3))
    assert texts == list(synthetic.documents(500, 3))[:400]
    assert len(set(texts)) == 400
    assert all(150 < len(t) < 2500 for t in texts)
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    assert digest == "56761bf916398402569212e8db211068977dc9cd31849558205291a1e4551738", (
        "the smoke preset's corpus changed"
    )


def test_synthetic_sums_are_right():
    import re

    for text in synthetic.documents(200, 0):
        for a, sign, b, c in re.findall(r"(\d+) (plus|times) (\d+) is (\d+)\.", text):
            assert int(c) == (int(a) + int(b) if sign == "plus" else int(a) * int(b))


def test_synthetic_is_collected(tmp_path):
    rows, about = gather(tmp_path, Source(name="synthetic", builtin="synthetic", limit=50))
    assert [r["text"] for r in rows] == list(synthetic.documents(50, 3))
    assert about["documents"] == 50


MODULE = '''
"""<M>

A module about things.
"""

class Thing:
    """<T>

    >>> Thing()
    output that goes

    Examples
    --------
    >>> more
    """

    def first(self):
        """Does the first thing to what there is, and gives it."""

    def _hidden(self):
        """Is private and short, so nobody hears of it here."""

def alone(x):
    r"""<A>"""
    def inner():
        """<I>"""
'''
for mark in "MTAI":
    MODULE = MODULE.replace(
        f"<{mark}>", f"{mark} " + f"{mark} is a word that makes this docstring long enough. " * 6
    )


def test_documents_of_a_file(tmp_path):
    (tmp_path / "m.py").write_text(MODULE)
    found = docstrings.file_documents(tmp_path / "m.py")
    assert [text[:2] for text, _ in found] == ["M ", "T ", "A "]
    assert [line for _, line in found] == [1, 7, 24]
    thing = found[1][0]
    assert thing.endswith("first: Does the first thing to what there is, and gives it.")
    assert not any(gone in thing for gone in (">>>", "output", "Examples", "private"))


@pytest.mark.parametrize(
    "source", ["def (:", "\0", "x = 1", ""], ids=["no Python", "NUL", "no docstring", "empty"]
)
def test_files_without_documents(tmp_path, source):
    (tmp_path / "m.py").write_text(source)
    assert docstrings.file_documents(tmp_path / "m.py") == []


def test_a_package_is_read_and_not_imported(tmp_path, monkeypatch):
    package = tmp_path / "pack"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    (package / "b.py").write_text(MODULE)
    (package / "a.py").write_text(MODULE.replace("a word", "another word"))
    (package / "tests" / "c.py").write_text(MODULE.replace("a word", "a third word"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(docstrings, "PACKAGES", {"pack": "pack", "not_installed_at_all": "x"})
    (found,) = docstrings.documents()
    assert found.package == "pack"
    assert [(origin, line) for _, origin, line in found.documents] == [
        ("pack/a.py", 1),
        ("pack/a.py", 7),
        ("pack/a.py", 24),
        ("pack/b.py", 1),
        ("pack/b.py", 7),
        ("pack/b.py", 24),
    ]


PROSE = {
    "dedents": ("One.\n\n        Two.", "One.\n\nTwo."),
    "drops examples": ("Text.\n\n>>> f(1)\n2\n>>> g()\n\nMore.", "Text.\n\nMore."),
    "drops code": (
        "Text.\n\n.. code-block:: python\n\n    x = 1\n\n    y = 2\n\nMore.",
        "Text.\n\nMore.",
    ),
    "drops version notes": ("Text.\n\n.. versionadded:: 1.2\n\nMore.", "Text.\n\nMore."),
    "drops placeholders": ("Text.\n\n%(params)s\n\nMore.", "Text.\n\nMore."),
    "drops empty sections": (
        "A.\n\nExamples\n--------\n>>> x\n\nNotes\n-----\nB.",
        "A.\n\nNotes\n-----\nB.",
    ),
    "drops the last empty section": ("Text.\n\nExamples\n========\n>>> x", "Text."),
    "keeps a title": ("Title\n=====\n\nText.", "Title\n=====\n\nText."),
    "is empty": ("", ""),
}


@pytest.mark.parametrize("name", PROSE)
def test_prose(name):
    given, expected = PROSE[name]
    assert prose(given) == expected


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("Plain words make up this text. " * 8, True),
        ("too short", False),
        ("x = [1, 2, 3]; y += 4 ** 5 " * 9, False),
    ],
    ids=["prose", "short", "code"],
)
def test_is_prose(text, good):
    assert is_prose(text) is good


def test_passages_joined_are_the_text():
    text = (
        "Head.\n\nParameters\n----------\nx : int\n    About x.\n    More.\n"
        "y : int\n    About y.\nno item\n\n\nEnd."
    )
    assert "\n".join(passages(text)) == text
    assert "x : int\n    About x.\n    More." in passages(text)
    assert "y : int\n    About y." in passages(text)


def test_repeated_passages_go_and_the_rest_stays():
    own = 3 * (
        "This function has a description of its own, {0}, which is {0} and long enough to stand "
        "alone {0}. "
    )
    item = "axis : int, optional\n    The axis along which the thing is done; the last by default."
    seen = SeenPassages()
    first = seen.fresh(own.format("first").strip() + "\n\nParameters\n----------\n" + item)
    second = seen.fresh(
        own.format("second").strip() + "\n\nParameters\n----------\n" + item.replace("  T", " T")
    )
    assert first.endswith(item)
    assert second == own.format("second").strip()
    assert seen.fresh(first) == ""


@pytest.fixture
def fetched(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"body": f"text {i}"}) + "\n" for i in range(3)))
    return path


def url(digest, text="body"):
    return Source(name="u", url="https://example.org/data.jsonl", sha256=digest, text=text)


def test_a_fetched_file_with_the_right_hash_is_taken(tmp_path, fetched):
    rows, about = gather(
        tmp_path, url(hashlib.sha256(fetched.read_bytes()).hexdigest().upper()), [fetched]
    )
    assert [(r["text"], r["origin_row"]) for r in rows] == [(f"text {i}", i) for i in range(3)]
    assert about["counts"]["kept"] == 3


def test_a_fetched_file_with_another_hash_is_refused_and_both_are_named(tmp_path, fetched):
    found = hashlib.sha256(fetched.read_bytes()).hexdigest()
    with pytest.raises(
        UserError, match=rf"https://example\.org/data\.jsonl: SHA-256 {found}, expected {'0' * 64}"
    ):
        gather(tmp_path, url("0" * 64), [fetched])
    assert not (tmp_path / "out.parquet").exists()
    with pytest.raises(UserError, match="0 files given for 1 addresses"):
        gather(tmp_path, url(found), [])


def test_local_files_are_not_collected(tmp_path):
    with pytest.raises(UserError, match="nothing to collect"):
        gather(tmp_path, Source(name="p", path="x"))


def test_everyday_documents_are_the_same_everywhere_and_hardly_alike():
    texts = list(everyday.documents(2000, 3))
    assert texts == list(everyday.documents(2500, 3))[:2000]
    assert texts != list(everyday.documents(2000, 4))
    assert len(set(texts)) == len(texts)
    assert all(100 < len(t) < 1000 and "{" not in t for t in texts)


def test_everyday_is_collected(tmp_path):
    rows, _ = gather(tmp_path, Source(name="talk", builtin="everyday", limit=30))
    assert [r["text"] for r in rows] == list(everyday.documents(30, 3))
    assert {r["origin_file"] for r in rows} == {"everyday"}
