"""Processes that settle what they go on from, here as threads with a store in memory: alike, or
none of them at all, with the reason.
"""

import shutil
import threading

import pytest
import torch
import torch.distributed as dist

from snakelm.errors import UserError
from snakelm.training import agreement, checkpoint
from snakelm.training.agreement import Agreement

RUN = "0123456789abcdef"


@pytest.fixture
def folders(tmp_path):
    """The run folder as two hosts see it, with checkpoints of steps 5 and 10."""
    for step in (5, 10):
        state = {"model": {"w": torch.full((3,), float(step))}}
        checkpoint.save(tmp_path / "a", step, RUN, state, keep=3)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


def resume(folders, fingerprints=(RUN, RUN)):
    """What each process gets, or the words it raises."""
    store, results = dist.HashStore(), [None] * len(folders)

    def process(rank, folder, fingerprint):
        own = Agreement(store, rank, len(folders))
        try:
            with own.reporting():
                saved = own.same_checkpoint(
                    fingerprint,
                    lambda: checkpoint.load_newest(folder, fingerprint, lambda said: None),
                    lambda step: checkpoint.load(folder, step, fingerprint),
                    lambda step: checkpoint.written_hash(folder, step),
                )
            results[rank] = saved and saved["step"]
        except UserError as error:
            results[rank] = str(error)

    given = zip(range(len(folders)), folders, fingerprints, strict=True)
    threads = [threading.Thread(target=process, args=one) for one in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "it waits without a word"
    return results


def test_all_go_on_from_the_step_that_the_first_one_chose(folders):
    assert resume(folders) == [10, 10]
    (folders[0] / "step_00000010.pt").write_bytes(b"damaged")
    assert resume(folders) == [5, 5]  # though the other one has a sound one of step 10


def test_a_run_without_checkpoints_begins_alike(tmp_path):
    assert resume((tmp_path / "a", tmp_path / "b")) == [None, None]


def other_content(folder):
    state = {"model": {"w": torch.zeros(3)}}
    checkpoint.save(folder, 10, RUN, state, keep=3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_content, "checkpoint of step 10 with SHA-256 "),
        (lambda folder: (folder / "step_00000010.pt").write_bytes(b"x"), "damaged (SHA-256 "),
        (lambda folder: shutil.rmtree(folder), "its hash file step_00000010.pt.sha256 is missing"),
    ],
    ids=["other content", "damaged", "missing"],
)
def test_one_that_can_not_go_on_says_why_and_none_does(folders, change, said):
    change(folders[1])
    first, second = resume(folders)
    assert first == second
    assert first.startswith(
        "the processes can't go on from the same checkpoint: process 1 of 2 on "
    )
    assert said in first


def test_another_run_is_told(folders):
    first, second = resume(folders, (RUN, "f" * 16))
    assert first == second
    assert f"run {'f' * 16}, expected {RUN}" in first


def test_an_error_of_the_first_one_reaches_the_others(folders):
    for path in folders[0].glob("*.pt"):
        path.write_bytes(b"")
    first, second = resume(folders)
    assert "none of its 2 checkpoints is sound" in first
    assert second.startswith("process 0 of 2 on ")
    assert first in second


def test_who_does_not_come_is_named(monkeypatch):
    monkeypatch.setattr(agreement, "WAIT_S", 0.3)
    with pytest.raises(UserError, match="process 1 of 2 has said nothing on whether it is there"):
        Agreement(dist.HashStore(), 0, 2).gather("whether it is there")


def test_who_fails_before_is_quoted():
    store = dist.HashStore()
    with pytest.raises(UserError), Agreement(store, 1, 2).reporting():
        raise UserError("data/train.bin: missing")
    with pytest.raises(UserError, match=r"process 1 of 2 on .*: data/train\.bin: missing"):
        Agreement(store, 0, 2).gather("anything")
