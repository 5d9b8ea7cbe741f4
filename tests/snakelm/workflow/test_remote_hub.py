"""Sources in the Hugging Face hub, by huggingface_hub itself: the hub is a stand-in on loopback."""

import pytest

from snakelm import remote_files
from snakelm.errors import UserError
from snakelm.user_paths import expand
from snakelm.workflow import remote
from tests.hub_standin import serving

fsspec = pytest.importorskip("fsspec", reason="requirements-remote.txt is not installed")
pytest.importorskip("huggingface_hub", reason="requirements-remote.txt is not installed")

ADDRESS = "hf://datasets/people/notes/notes/*.jsonl"
FILES = {
    "README.md": b"of notes",
    "notes/a.jsonl": b'{"text": "a"}\n',
    "notes/b.jsonl": b'{"text": "b"}\n' * 1000,
    "notes/old/c.jsonl": b"no",
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv(remote_files.FOLDER, str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving(dict(FILES)) as hub:
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": hub.url})
        yield hub


def fetched(address=ADDRESS):
    """(files and their content, what was said)"""
    said = []
    remote.fetch([address], "sources[].path", said.append)
    return {file.name: file.read_bytes() for file in expand(address)}, said


def test_files_are_fetched_once_and_those_that_changed_again(hub):
    files, said = fetched()
    assert files == {"a.jsonl": FILES["notes/a.jsonl"], "b.jsonl": FILES["notes/b.jsonl"]}
    assert len(said) == 2

    hub.parts.clear()
    assert fetched() == (files, [])
    assert hub.parts == []
    hub.files["notes/a.jsonl"] = b'{"text": "another"}\n'
    assert fetched()[0]["a.jsonl"] == b'{"text": "another"}\n'
    assert hub.parts == [("notes/a.jsonl", 0)]


def test_a_file_goes_on_where_it_broke_off(hub):
    fetched()
    there = expand(ADDRESS)[1]
    hub.parts.clear()
    part, begun = (there.with_name(f".b.jsonl.{name}") for name in ("part", "begun"))
    there.with_name(".b.jsonl.version").rename(begun)
    part.write_bytes(there.read_bytes()[:5000])
    there.unlink()
    assert fetched()[0]["b.jsonl"] == FILES["notes/b.jsonl"]
    assert hub.parts == [("notes/b.jsonl", 5000)]


def test_what_is_not_there_or_not_for_everyone_is_said(hub, monkeypatch):
    for address in (ADDRESS.replace("jsonl", "csv"), "hf://datasets/people/nothing/*.jsonl"):
        with pytest.raises(UserError, match=r"no such file there; look at its name and the rev"):
            fetched(address)

    hub.token = "a token"
    with pytest.raises(UserError, match="if it is private, set HF_TOKEN or run hf auth login"):
        fetched()
    monkeypatch.setenv("HF_TOKEN", "a token")
    assert len(fetched()[0]) == 2


@pytest.mark.parametrize("fault", ["gone", "broken"])
def test_where_nobody_answers_what_was_fetched_before_is_taken(hub, fault):
    files, _ = fetched()
    setattr(hub, fault, True)
    found, said = fetched()
    assert found == files
    assert len(said) == 1
    assert "can't be reached" in said[0]
    assert "taken as it was fetched before" in said[0]
