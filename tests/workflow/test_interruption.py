"""Stopping the workflow in the middle of training, hard and soft: the same command ends with the
same bytes.
"""

import os
import shutil
import signal
import subprocess
import time

import pytest

CONFIG = """\
preset: smoke
sources: [{builtin: synthetic, limit: 500}]
train: {steps: 150, eval_every: 100, save_every: 10}
"""
MODEL = "results/final_model.pt"
# One thread: the trainer would take what cores are free, and another number adds in another order.
COMMAND = [MODEL, "--set-threads", "train=1", "--configfile", "my.yaml"]


@pytest.fixture(scope="module")
def uninterrupted(checkout):
    """The bytes of a run that nothing stopped, and a checkout whose data is prepared."""
    checkout.write("my.yaml", CONFIG)
    done = checkout.snakemake(*COMMAND)
    assert done.code == 0, done.said
    return (checkout.root / MODEL).read_bytes()


def stop_in_training(checkout, stop):
    """Starts the workflow without a model or checkpoints, and stops all of it once two checkpoints
    are there.
    """
    (checkout.root / MODEL).unlink()
    shutil.rmtree(checkout.root / "results/checkpoints")
    command = ["snakemake", "--cores", "2", *COMMAND]
    run = checkout.start(*command, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(list((checkout.root / "results/checkpoints").rglob("step_*.pt"))) < 2:
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if stop == signal.SIGTERM:
        run.send_signal(stop)  # Snakemake alone, which hands it on
    else:
        os.killpg(run.pid, stop)
    said = run.communicate(timeout=120)[0]
    assert run.returncode != 0
    return said


@pytest.mark.parametrize(
    "stop", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name
)
def test_the_same_command_goes_on_and_ends_with_the_same_bytes(checkout, uninterrupted, stop):
    said = stop_in_training(checkout, stop)
    assert not (checkout.root / MODEL).exists()
    if stop != signal.SIGKILL:
        assert "saved step" in said
    checkout.snakemake("--unlock")
    done = checkout.snakemake(*COMMAND)
    assert done.code == 0, done.said
    assert "goes on" in done.said or "resum" in done.said
    assert (checkout.root / MODEL).read_bytes() == uninterrupted
