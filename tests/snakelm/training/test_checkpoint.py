"""Checkpoints: complete or not there, verified before use, older ones before none, never step 0 in
silence.
"""

import os
import subprocess
import sys

import pytest
import torch

from snakelm.errors import DiskFullError, UserError
from snakelm.files import sha256_file
from snakelm.training import checkpoint

FINGERPRINT = "f" * 16


def save(run, step, keep=3, fingerprint=FINGERPRINT):
    state = {"model": {"w": torch.full((100,), float(step))}, "final": None}
    return checkpoint.save(run, step, fingerprint, state, keep)


def load(run):
    warnings = []
    return checkpoint.load_newest(run, FINGERPRINT, warnings.append), warnings


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_newest_comes_back_and_only_so_many_are_kept(tmp_path):
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    state, warnings = load(tmp_path)
    assert (state["step"], warnings) == (5, [])
    assert torch.equal(state["model"]["w"], torch.full((100,), 5.0))
    assert checkpoint.steps_in(tmp_path) == [5, 4, 3]
    assert len(list(tmp_path.iterdir())) == 2 * 3 + 1  # with hashes, and step_saved


def test_hash_file_is_what_sha256sum_reads(tmp_path):
    path = save(tmp_path, 1)
    subprocess.run(
        ["sha256sum", "--check", "--quiet", checkpoint.hash_path(path).name],
        cwd=tmp_path,
        check=True,
    )


@pytest.mark.parametrize("damaged", [1, 2])
def test_falls_back_to_an_older_one_and_says_so(tmp_path, damaged):
    paths = [save(tmp_path, step) for step in (1, 2, 3)]
    for path in paths[-damaged:]:
        flip_a_bit(path)
    state, warnings = load(tmp_path)
    assert state["step"] == 3 - damaged
    assert len(warnings) == damaged
    assert "damaged" in warnings[0]


@pytest.mark.parametrize(
    "spoil",
    [
        flip_a_bit,
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b""),
        lambda path: checkpoint.hash_path(path).unlink(),
        lambda path: checkpoint.hash_path(path).write_text(""),
    ],
    ids=["bit", "cut", "empty", "no_hash", "empty_hash"],
)
def test_none_sound_stops_instead_of_starting_again(tmp_path, spoil):
    for step in (1, 2):
        spoil(save(tmp_path, step))
    with pytest.raises(UserError, match="none of its 2 checkpoints is sound"):
        load(tmp_path)


def test_a_checkpoint_of_another_run_is_not_taken(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2, fingerprint="0" * 16)
    state, warnings = load(tmp_path)
    assert state["step"] == 1
    assert len(warnings) == 1


def test_an_empty_folder_is_a_fresh_start(tmp_path):
    assert load(tmp_path) == (None, [])


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_with_a_right_hash_is_refused_and_not_run(tmp_path):
    save(tmp_path, 1)
    path, canary = tmp_path / "step_00000002.pt", tmp_path / "executed"
    torch.save({"step": Canary(canary)}, path)
    checkpoint.hash_path(path).write_text(f"{sha256_file(path)}  {path.name}\n")
    state, warnings = load(tmp_path)
    assert state["step"] == 1
    assert "refused" in warnings[0]
    assert not canary.exists()


FULL_DISK = """
import resource, sys, pathlib, torch
from snakelm.training import checkpoint
run = pathlib.Path(sys.argv[1])
checkpoint.save(run, 1, "f" * 16, {"w": torch.zeros(1000)}, 3)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
checkpoint.save(run, 2, "f" * 16, {"w": torch.zeros(100_000)}, 3)
"""


def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=False
    )
    assert f"{DiskFullError.__name__}" in ran.stderr.splitlines()[-1]
    assert "disk full" in ran.stderr.splitlines()[-1]
    assert [p.name for p in tmp_path.glob("*.pt")] == ["step_00000001.pt"]
    assert load(tmp_path)[0]["step"] == 1


def test_a_kill_between_hash_and_rename_leaves_the_older_one(tmp_path, monkeypatch):
    def killed(temporary, path):
        if str(path).endswith(".pt"):
            raise KeyboardInterrupt
        os.rename(temporary, path)

    save(tmp_path, 1)
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert load(tmp_path)[0]["step"] == 1
    save(tmp_path, 2)
    assert load(tmp_path)[0]["step"] == 2
