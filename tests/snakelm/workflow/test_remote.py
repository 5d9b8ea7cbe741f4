"""Sources in buckets: fetched once, again when they change, on from where it broke off. The bucket
is fsspec's, in memory.
"""

import json
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from snakelm import remote_files
from snakelm.errors import DiskFullError, UserError
from snakelm.user_paths import expand
from snakelm.workflow import remote

ADDRESS = "s3://bucket/notes/*.jsonl"


class Bucket(MemoryFileSystem):
    """Knows hashes, as buckets do, and counts what is read."""

    protocol = ("s3", "hf")
    store: ClassVar[dict] = {}
    fault: Exception | None = None
    opened: ClassVar[list] = []

    def glob(self, path, **options):
        if self.fault:
            raise self.fault
        return super().glob(path, **options)

    def info(self, path, **options):
        info = super().info(path, **options)
        if info["type"] == "file":
            info["ETag"] = str(hash(self.cat_file(path)))
        return info

    def ls(self, path, detail=True, **options):
        found = super().ls(path, detail, **options)
        return [self.info(one["name"]) for one in found] if detail else found

    def open(self, path, mode="rb", **options):
        if mode == "rb":
            self.opened.append(path.rpartition("/")[2])
        return super().open(path, mode, **options)


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    monkeypatch.setenv(remote_files.FOLDER, str(tmp_path / "cache"))
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: (Bucket(), url.split("://")[1]))
    monkeypatch.setattr(Bucket, "store", {})
    monkeypatch.setattr(Bucket, "opened", [])
    system = Bucket()
    for name in "ab":
        system.pipe(f"/bucket/notes/{name}.jsonl", json.dumps({"text": name}).encode())
    system.pipe("/bucket/notes/c.txt", b"no")
    return system


def fetched(address=ADDRESS):
    """(names of files and their content, what was said)"""
    said = []
    remote.fetch([address, "my/local.txt"], "sources[].path", said.append)
    return {file.name: file.read_text() for file in expand(address)}, said


def test_an_address_stands_for_the_files_that_were_fetched(bucket):
    with pytest.raises(UserError, match=r"sources\[\]\.path: s3://.*: not fetched yet"):
        expand(ADDRESS)
    files, said = fetched()
    assert files == {"a.jsonl": '{"text": "a"}', "b.jsonl": '{"text": "b"}'}
    assert len(said) == 2
    assert expand(ADDRESS) == sorted(expand(ADDRESS))


def test_only_what_changed_is_fetched_again(bucket):
    fetched()
    Bucket.opened.clear()
    assert fetched()[1] == []
    assert Bucket.opened == []

    bucket.pipe("/bucket/notes/b.jsonl", b'{"text": "B"}')  # of the same size
    bucket.pipe("/bucket/notes/d.jsonl", b'{"text": "d"}')
    bucket.rm("/bucket/notes/a.jsonl")
    assert fetched()[0] == {"b.jsonl": '{"text": "B"}', "d.jsonl": '{"text": "d"}'}
    assert sorted(set(Bucket.opened)) == ["b.jsonl", "d.jsonl"]


def test_what_broke_off_goes_on_where_it_was(bucket, monkeypatch):
    whole = "many words " * 1000
    bucket.pipe("/bucket/notes/a.jsonl", whole.encode())
    monkeypatch.setattr(remote, "CHUNK", 1000)
    reads, read = [], fsspec.implementations.memory.MemoryFile.read

    def broken(file, size=-1):
        reads.append(file.tell())
        if len(reads) == 4:
            raise ConnectionResetError("peer")
        return read(file, size)

    monkeypatch.setattr(fsspec.implementations.memory.MemoryFile, "read", broken)
    with pytest.raises(UserError, match=r"can't be fetched \(ConnectionResetError: peer\)"):
        fetched()
    assert not list(remote_files.folder().rglob("a.jsonl"))
    assert fetched()[0]["a.jsonl"] == whole
    assert reads[4] == 3000


FAULTS = {
    "no credentials": (PermissionError("Forbidden"), r"PermissionError: Forbidden\); set AWS_PR"),
    "absent": (FileNotFoundError("bucket"), "no such file there"),
    "not installed": (ImportError("s3fs"), "s3fs isn't installed: pip install -r requirements-re"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_fetched_says_what_to_do(bucket, monkeypatch, fault):
    error, said = FAULTS[fault]
    monkeypatch.setattr(Bucket, "fault", error)
    with pytest.raises(UserError, match=rf"^sources\[\]\.path: s3://bucket/.*: .*{said}"):
        fetched()


def test_a_glob_of_nothing_is_an_error(bucket):
    with pytest.raises(UserError, match="no such file there; look at its name"):
        fetched("s3://bucket/*.parquet")


def test_without_a_network_what_was_fetched_before_is_taken(bucket, monkeypatch):
    monkeypatch.setattr(Bucket, "fault", ConnectionError("no route"))
    with pytest.raises(UserError, match="can't be fetched"):
        fetched()
    monkeypatch.setattr(Bucket, "fault", None)
    before, _ = fetched()
    monkeypatch.setattr(Bucket, "fault", ConnectionError("no route"))
    files, said = fetched()
    assert files == before
    assert "can't be reached (ConnectionError); taken as it was fetched before" in said[0]


def test_content_is_held_against_the_hash_that_the_hub_promises(bucket, monkeypatch):
    info = Bucket.info
    monkeypatch.setattr(
        Bucket, "info", lambda self, path, **o: {**info(self, path, **o), "lfs": {"sha256": "0"}}
    )
    with pytest.raises(UserError, match="aren't the 13 promised"):
        fetched("hf://bucket/notes/a.jsonl")


def test_a_disk_that_is_too_small_is_told_before(bucket, monkeypatch):
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 20}))
    with pytest.raises(DiskFullError, match=r"need 26 B, have 20 B.*SNAKELM_CACHE"):
        fetched()
