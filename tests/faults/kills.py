"""kill -9 while checkpoints are written: what is there afterwards is a sound checkpoint, no older
than the one before, and the run goes on.

A process that does nothing but save is killed after a random time, and was in the middle of a
checkpoint where a temporary file or a hash without its checkpoint stayed behind.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from snakelm.training import checkpoint
from tests.faults.table import Trial

FINGERPRINT = "f" * 16
KEEP = 3
NUMBERS = 300_000  # in a checkpoint
SAMPLE, WHOLE = 10, 200  # kills


def trials(folder: Path, whole: bool) -> Iterator[Trial]:
    """One run that is killed again and again, and resumes each time."""
    chance, run, step = random.Random(0), folder / "run", 0
    for count in range(WHOLE if whole else SAMPLE):
        _kill(run, step, chance.uniform(0.0, 0.05))
        where = "in the middle of one" if _was_writing(run) else "between two"
        before, step = step, max(checkpoint.steps_in(run), default=0)
        yield Trial(
            f"kill -9 while checkpoints are written: {where}",
            f"kill {count}",
            lambda args=(run, before, step): _sound(*args),
        )


def _state(step: int) -> dict[str, torch.Tensor]:
    return {"weights": torch.full((NUMBERS,), float(step))}


def _kill(run: Path, step: int, seconds: float) -> None:
    """A process that saves from the step after ``step`` on, killed ``seconds`` after it has saved
    once.
    """
    process = os.fork()
    if not process:
        try:
            while True:
                step += 1
                checkpoint.save(run, step, FINGERPRINT, _state(step), KEEP)
        finally:
            os._exit(1)

    deadline = time.monotonic() + 60
    while max(checkpoint.steps_in(run), default=0) <= step and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status), "it ended before it was killed"


def _was_writing(run: Path) -> bool:
    hashes = {path.name.removesuffix(".sha256") for path in run.glob("step_*.sha256")}
    return any(run.glob(".*.tmp")) or any(not (run / name).exists() for name in hashes)


def _sound(run: Path, before: int, step: int) -> str:
    """What went wrong; nothing where the newest checkpoint is whole, and nothing half-written
    stays.
    """
    warnings: list[str] = []
    found = checkpoint.load_newest(run, FINGERPRINT, warnings.append)
    if found is None or found["step"] != step or step <= before:
        return f"resumes from {found and found['step']}, after {before}; {warnings}"
    if warnings:
        return f"says {warnings}"
    if not torch.equal(found["weights"], _state(step)["weights"]):
        return "other weights than were saved"
    checkpoint.sweep(run.parent)
    return "half-written files stay" if any(run.glob(".*.tmp")) else ""
