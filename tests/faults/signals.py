"""Signals at any moment of a step and of a training, one of several processes killed, and other
numbers of processes on the way: how each ends, and that the last one has the bytes of a training
that nothing befell.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from snakelm.files import sha256_file
from tests.faults.table import Trial
from tests.scripts.training.conftest import make_training_results

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
WAIT_S = 600.0


def trials(folder: Path, whole: bool) -> Iterator[Trial]:
    """Without ``whole`` a few signals to one step."""
    moments = random.Random(0)
    for i in range(60 if whole else 3):
        number, delay = NUMBERS[i % 3], moments.uniform(0, 1.5)
        what = f"{number.name} after {delay:.2f} s"
        yield Trial("signal: a step", what, partial(_signal_step, folder / f"{i}", number, delay))
    if not whole:
        return

    training = Training(folder / "signals")
    for i in range(100):
        number, delay = NUMBERS[i % 3], moments.uniform(0, training.seconds)
        what = f"{number.name} after {delay:.2f} s"
        yield Trial("signal: a training", what, partial(training.is_signalled, number, delay))
    yield Trial("signal: a training", "its bytes", training.ends_alike)

    pair = Training(folder / "killed", processes=2, steps=300)  # five of them between two kills
    for i in range(20):
        yield Trial("kill: one of two processes", f"{i}", partial(pair.loses_one, i % 2))
    yield Trial("kill: one of two processes", "its bytes", pair.ends_alike)

    changed = Training(folder / "sizes")
    for size in (1, 2, 4):
        yield Trial("processes 1 → 2 → 4 → 1", f"{size}", partial(changed.goes_on_with, size))
    yield Trial("processes 1 → 2 → 4 → 1", "its bytes", changed.ends_alike)


def _signal_step(folder: Path, number: int, delay: float) -> str:
    """The step that makes a source, signalled twice, as Slurm does."""
    folder.mkdir()
    (folder / "my.yaml").write_text("sources: [{builtin: synthetic, limit: 300}]\n")
    command = [sys.executable, f"{ROOT}/scripts/preparation/collect.py", "--config", "my.yaml"]
    command += ["--source", "synthetic", "--output", "made.parquet"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    _send(process, number, delay)
    said = process.communicate(timeout=WAIT_S)[1]

    left = {path.name for path in folder.iterdir()} - {"my.yaml"}
    made = {"made.parquet", "made.parquet.manifest.json"}
    wrong = "Traceback" in said or process.returncode not in (0, 128 + number)
    if wrong or not left <= made or (process.returncode == 0 and left != made):
        return f"exit code {process.returncode}, left {sorted(left)}: {said[-300:]}"
    return ""


def _send(process: subprocess.Popen, number: int, delay: float) -> None:
    """Twice, but for SIGINT, ``delay`` seconds after the process has begun to answer signals."""
    status, deadline = Path(f"/proc/{process.pid}/status"), time.monotonic() + WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        caught = re.search(r"SigCgt:\s*(\w+)", status.read_text())
        if caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            break
        time.sleep(0.002)
    time.sleep(delay)
    for _ in range(1 if number == signal.SIGINT else 2):
        process.send_signal(number)


class Training:
    """A training that something befalls again and again, and one beside it that nothing does."""

    def __init__(self, folder: Path, processes: int = 1, steps: int = 60) -> None:
        self.keys = {"steps": steps, "save_every": 5, "eval_every": 20, "reproducible": 8}
        self.processes, self.step = processes, 0
        self.results = make_training_results(folder / "befallen")
        alone = make_training_results(folder / "alone")

        begun = time.monotonic()
        code, said = _ended(alone.start(alone.config(**self.keys)))
        assert code == 0, said
        self.seconds = time.monotonic() - begun
        self.expected = sha256_file(alone.folder / "final_model.pt")

    def is_signalled(self, number: int, delay: float) -> str:
        """At any moment, from its imports to its manifest; a finished one begins anew."""
        process = self._start(self.processes)
        _send(process, number, delay)
        code, said = _ended(process)
        if code == 0:
            wrong = self._compare()
            self._begin_anew()
            return wrong
        starting = code == 128 + number and "while starting" in said
        return "" if (code == 3 or starting) and self._has_saved(said) else _words(code, said)

    def loses_one(self, rank: int) -> str:
        """One of its processes, once it has got further."""
        process = self._start(self.processes)
        self.results.wait_for_step(process, self.step + 1, WAIT_S)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[rank]), signal.SIGKILL)
        begun = time.monotonic()
        code, said = _ended(process)
        self.step = max(int(path.stem[5:]) for path in self.results.checkpoints())
        named = f"process {rank} of {self.processes} was killed (SIGKILL)" in said
        soon = time.monotonic() - begun < 30
        return "" if code and named and soon and "Traceback" not in said else _words(code, said)

    def goes_on_with(self, processes: int) -> str:
        """For some steps."""
        process = self._start(processes)
        self.results.wait_for_step(process, self.step + 10, WAIT_S)
        process.send_signal(signal.SIGTERM)
        code, said = _ended(process)
        resumed = not self.step or f"resumes after step {self.step} of" in said
        return "" if code == 3 and resumed and self._has_saved(said) else _words(code, said)

    def ends_alike(self) -> str:
        """Nothing more befalls it."""
        code, said = _ended(self._start(1))
        return self._compare() if code == 0 else _words(code, said)

    def _start(self, processes: int) -> subprocess.Popen:
        return self.results.start(self.results.config(processes=processes, **self.keys))

    def _has_saved(self, said: str) -> bool:
        """Whether the step that it says it has saved is there, and none before it is lost."""
        if "Traceback" in said:
            return False
        saved = re.search(r"saved step (\d+);", said)
        if saved is None:
            return "before the first step" in said or "while starting" in said
        before, self.step = self.step, int(saved[1])
        newest = self.results.checkpoints()[-1]
        return self.step >= before and newest.stem == f"step_{self.step:08d}"

    def _compare(self) -> str:
        got = sha256_file(self.results.folder / "final_model.pt")
        return "" if got == self.expected else "other bytes than the training that nothing befell"

    def _begin_anew(self) -> None:
        self.step = 0
        for path in self.results.folder.glob("checkpoints/*/*"):
            path.unlink()


def _ended(process: subprocess.Popen) -> tuple[int, str]:
    said = process.communicate(timeout=WAIT_S)[1]
    return process.returncode, said


def _words(code: int, said: str) -> str:
    return f"exit code {code}: {said[-400:]}"
