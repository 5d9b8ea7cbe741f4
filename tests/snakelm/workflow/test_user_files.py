"""The user's files are known by content: an older file in their place is seen, a touched one is the
same.
"""

import os

import pytest

from snakelm.workflow import user_files
from snakelm.workflow.code_digest import ROOT
from snakelm.workflow.manifest import write_manifest
from snakelm.workflow.user_files import stamp_file


@pytest.fixture
def sampled(tmp_path, monkeypatch):
    """A file, and an artefact that was made from it; gives a function that names the file's
    stamp.
    """
    monkeypatch.chdir(tmp_path)
    source, artefact = tmp_path / "a.txt", tmp_path / "results/made.bin"
    source.write_text("river " * 100)

    def stamp(**more):
        return stamp_file("results", "sources", ["a.txt"], artefact, **more)

    stamp.before = stamp()
    artefact.write_text("made")
    script = ROOT / "scripts/preparation/sample_data.py"
    write_manifest(artefact, inputs=["a.txt"], config={}, script=script, seed=1)
    assert stamp() == stamp.before, "having been read changes nothing"
    return stamp


def touch(path):
    os.utime(path, ns=(1, 1))


def rewrite(path):
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def replace_by_older(path):
    other = path.with_name("b.txt")
    other.write_text("mountain " * 100)
    os.utime(other, ns=(1, 1))
    other.rename(path)


def replace_by_same_size_and_time(path):
    stat = path.stat()
    path.write_text("RIVER " * 100)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def switch_link(path):
    other = path.with_name("b.txt")
    other.write_text("mountain " * 100)
    path.unlink()
    path.symlink_to(other)


@pytest.mark.parametrize("change", [touch, rewrite])
def test_the_same_content_is_the_same_file(sampled, tmp_path, change):
    change(tmp_path / "a.txt")
    assert sampled() == sampled.before


@pytest.mark.parametrize(
    "change",
    [replace_by_older, replace_by_same_size_and_time, switch_link],
    ids=lambda f: f.__name__,
)
def test_other_content_is_another_file(sampled, tmp_path, change):
    change(tmp_path / "a.txt")
    after = sampled()
    assert after != sampled.before
    assert sampled() == after


def test_content_that_comes_back_is_found_again(sampled, tmp_path):
    path = tmp_path / "a.txt"
    data = path.read_bytes()
    replace_by_older(path)
    assert sampled() != sampled.before
    path.write_bytes(data)
    assert sampled() == sampled.before
    assert sampled() == sampled.before


def test_nothing_is_read_while_nothing_changes(sampled, monkeypatch):
    monkeypatch.setattr(user_files, "sha256_file", None)
    assert sampled() == sampled.before


def test_what_nothing_was_made_from_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(user_files, "sha256_file", None)
    (tmp_path / "a.txt").write_text("x")
    made = tmp_path / "results/none.bin"
    first = stamp_file(tmp_path / "results", "sources", [tmp_path / "a.txt"], made)
    assert stamp_file(tmp_path / "results", "sources", [tmp_path / "a.txt"], made) == first


def test_a_job_of_the_run_takes_what_the_run_found(sampled, tmp_path):
    replace_by_older(tmp_path / "a.txt")
    assert sampled(look=False) == sampled.before


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"a.txt": 3}', '{"a.txt": [1, 2, 3]}'])
def test_a_damaged_record_is_made_anew(sampled, tmp_path, damage):
    (tmp_path / "results/config/files.json").write_text(damage)
    stamp = sampled()
    assert sampled() == stamp
