"""The record beside an artefact: what it holds, and that no byte of it can change unseen."""

import hashlib
import json
import os

import pytest

from snakelm.errors import UserError
from snakelm.files import sha256_file, write_json
from snakelm.workflow.code_digest import ROOT
from snakelm.workflow.manifest import (
    content_hash,
    manifest_path,
    read_manifest,
    seal,
    write_manifest,
)

SCRIPT = ROOT / "scripts/analysis/baseline.py"


def write(artefact, content=b"made", **more):
    artefact.write_bytes(content)
    given = {
        "inputs": [],
        "config": {"keep": 0.5, "names": {2: "b", 10: "a"}},
        "script": SCRIPT,
        "seed": 1,
    }
    return write_manifest(artefact, **{**given, **more})


def test_what_is_written_is_what_is_read(tmp_path):
    (tmp_path / "raw.txt").write_text("text")
    (tmp_path / "made.idx").write_text("index")
    written = write(
        tmp_path / "made.bin", inputs=[tmp_path / "raw.txt"], files=[tmp_path / "made.idx"]
    )
    assert read_manifest(tmp_path / "made.bin") == written
    assert written["files"][0]["sha256"] == sha256_file(tmp_path / "made.idx")
    assert written["inputs"] == [
        {
            "path": (tmp_path / "raw.txt").as_posix(),
            "sha256": sha256_file(tmp_path / "raw.txt"),
            "bytes": 4,
        }
    ]


def test_an_input_is_named_with_the_seal_of_its_own_manifest(tmp_path):
    first = write(tmp_path / "a.bin")
    second = write(tmp_path / "b.bin", inputs=[tmp_path / "a.bin"])
    assert second["inputs"][0]["manifest"] == first["seal"]


@pytest.mark.parametrize("forged", [True, False], ids=["one that fits", "nonsense"])
def test_what_is_called_a_manifest_beside_a_users_file_is_not_believed(tmp_path, forged):
    theirs = tmp_path / "theirs.parquet"
    write(theirs, b"made")
    theirs.write_bytes(b"text")
    os.utime(theirs, (0, 0))
    if not forged:
        manifest_path(theirs).write_text('{"manifest": "of goods"}')
    record = write(tmp_path / "b.bin", users=[theirs])
    assert record["inputs"] == [
        {"path": theirs.as_posix(), "sha256": hashlib.sha256(b"text").hexdigest(), "bytes": 4}
    ]


def test_an_input_that_is_given_twice_is_named_once(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    record = write(tmp_path / "b.bin", inputs=[tmp_path / "a"] * 2, users=[tmp_path / "a"])
    assert len(record["inputs"]) == 1


def test_the_inputs_of_what_will_not_stay_stand_for_it(tmp_path):
    for name in ("documents", "tokenizer"):
        write(tmp_path / name)
    for shard in ("shard-0", "shard-1"):
        write(
            tmp_path / shard,
            shard.encode(),
            inputs=[tmp_path / "documents", tmp_path / "tokenizer"],
        )
    shards = [tmp_path / "shard-0", tmp_path / "shard-1"]
    gathered = write(tmp_path / "whole", inputs=[tmp_path / "tokenizer"], through=shards)
    assert [one["path"].rsplit("/", 1)[1] for one in gathered["inputs"]] == [
        "tokenizer",
        "documents",
    ]
    assert [one["sha256"] for one in gathered["through"]] == [
        sha256_file(shard) for shard in shards
    ]


def test_every_changed_byte_of_a_manifest_is_found(tmp_path):
    write(tmp_path / "made.bin")
    path = manifest_path(tmp_path / "made.bin")
    original = path.read_bytes()
    for place in range(len(original)):
        damaged = bytearray(original)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="run its step again"):
            read_manifest(tmp_path / "made.bin")
    path.write_bytes(original)
    assert read_manifest(tmp_path / "made.bin")["seed"] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('"seed": 1', '"seed": 2'), "seal does not fit"),
        (lambda text: text.replace('"seed": 1', '"seed":  1'), "seal does not fit"),
        (lambda text: text.replace('"manifest": 3', '"manifest": 1'), "seal does not fit"),
        (
            lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "seal"}),
            "seal does not fit",
        ),
        (lambda text: "[]", "found a list, expected an object"),
        (lambda text: text[:-9], "not JSON"),
    ],
    ids=["another seed", "another space", "an older version", "no seal", "a list", "cut off"],
)
def test_a_changed_manifest_is_refused(tmp_path, change, said):
    write(tmp_path / "made.bin")
    path = manifest_path(tmp_path / "made.bin")
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=said):
        read_manifest(tmp_path / "made.bin")


def test_manifests_of_the_version_before_are_read(tmp_path):
    record = write(tmp_path / "made.bin")
    old = {k: v for k, v in record.items() if k not in ("seal", "files", "through")} | {
        "manifest": 1
    }
    write_json(manifest_path(tmp_path / "made.bin"), old)
    assert read_manifest(tmp_path / "made.bin") == old
    assert content_hash(tmp_path / "made.bin") == record["artefact"]["sha256"]


def test_an_older_manifest_says_nothing_of_a_new_artefact(tmp_path):
    write(tmp_path / "made.bin", b"one")
    assert write(tmp_path / "made.bin", b"two")["artefact"]["sha256"] == sha256_file(
        tmp_path / "made.bin"
    )


def test_content_hash_trusts_a_manifest_only_while_the_file_is_as_it_was(tmp_path):
    artefact = tmp_path / "x.bin"
    write(artefact, b"one")
    before = content_hash(artefact)
    artefact.write_bytes(b"two")
    assert content_hash(artefact) != before


def test_counts_have_a_key_of_their_own_and_can_overwrite_nothing(tmp_path):
    record = write(tmp_path / "a.bin", counts={"seed": 7, "inputs": "many"})
    assert record["counts"] == {"seed": 7, "inputs": "many"}
    assert (record["seed"], record["inputs"]) == (1, [])


@pytest.mark.parametrize(
    ("extra", "counts"),
    [
        ({"result": {"steps": 5}}, {"result": {"steps": 5}}),
        ({"counts": {"read": 9}, "text_bytes": 3}, {"read": 9, "text_bytes": 3}),
        ({}, {}),
    ],
    ids=["a key of its own", "as sample_data wrote them", "none"],
)
def test_counts_of_an_earlier_version_are_found_where_they_are_now(tmp_path, extra, counts):
    artefact = tmp_path / "a.bin"
    record = write(artefact)
    del record["counts"]
    record = {**record, **extra, "manifest": 2}
    write_json(manifest_path(artefact), {**record, "seal": seal(record)})
    assert read_manifest(artefact)["counts"] == counts
    assert read_manifest(artefact)["seal"] == seal(record)
