"""Each step killed at any moment, and on a disk that is full after any number of bytes: nothing
half-written passes for its output, and run again it makes the same bytes.

Every step runs in a process forked from this one, which has imported the scripts and what they
import, and nothing that starts threads. A full disk is a limit on the size of files: the kernel
refuses the byte behind it.
"""

import importlib
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from snakelm.files import sha256_file
from snakelm.workflow.code_digest import code_digest
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.manifest import MARK
from tests.faults.small_run import SmallRun
from tests.faults.table import Trial

FIRST = "collect"
PREPARATION = ("sample_data", "deduplicate", "train_tokenizer", "prepare_shard", "prepare_data")
SAMPLE = PREPARATION[-2:]
KILLS, OFFSETS = 20, 50  # of each step
AGAIN = 10  # of so many full disks of a step that isn't preparation one is followed by its running
SAID = "disk full"
LIBRARIES = ("torch", "matplotlib.pyplot", "sklearn.manifold", "plotly.graph_objects", "gguf")


@dataclass(frozen=True)
class Made:
    """What a step makes: its files, the SHA-256 of those that have the same bytes each time, the
    largest one's bytes, and how long it takes.
    """

    files: frozenset[Path]
    hashes: dict[Path, str]
    largest: int
    seconds: float


class Started(NamedTuple):
    """A step at work: its process, and where to read what it says."""

    process: int
    said: int


def trials(folder: Path, whole: bool) -> Iterator[Trial]:
    """Each step in turn; the sample has a kill and a full disk of the last two of preparation."""
    run, chance = SmallRun(folder, whole), random.Random(0)
    if whole:
        for name in LIBRARIES:
            importlib.import_module(name)
        for step in run.steps.values():
            code_digest(step.script)  # remembered, so that it's not taken in each process

    for name in run.names if whole else run.names[: run.names.index(SAMPLE[-1]) + 1]:
        made = _make(run, name)
        if not whole and name not in SAMPLE:
            continue
        kills, offsets = (KILLS, OFFSETS) if whole else (1, 1)
        for _ in range(kills if name in PREPARATION else 0):
            yield _killed(run, name, made, chance.uniform(0, 1.2 * made.seconds))
        for count in range(offsets):
            again = name in PREPARATION or count % AGAIN == AGAIN - 1
            offset = chance.randrange(made.largest)
            kind = "preparation" if name in PREPARATION else "the others"
            fill = partial(_filled, run, name, made, offset, again)
            yield Trial(f"disk full: a step of {kind}", f"{name} after {offset} bytes", fill)
        if name not in PREPARATION:
            yield Trial("disk full: a step, afterwards", name, partial(_again, run, name, made))


def _killed(run: SmallRun, name: str, made: Made, seconds: float) -> Trial:
    code, said = _kill(run, name, made, seconds)
    where = "at work" if code == -signal.SIGKILL else "after its end"
    wrong = "" if code in (0, -signal.SIGKILL) else f"exit code {code}: {said[-300:]}"
    return Trial(
        f"kill -9: a step of preparation, {where}",
        f"{name} after {seconds:.3f} s",
        lambda: wrong or _again(run, name, made),
    )


def _make(run: SmallRun, name: str) -> Made:
    """Steps after preparation twice: what then differs, as what has times in it, is compared with
    nothing.
    """
    before, begun = _files(run.folder), time.monotonic()
    _run(run, name)
    seconds = time.monotonic() - begun
    files = frozenset(_files(run.folder) - before)
    made = Made(
        files,
        {path: sha256_file(path) for path in files if not _grows(path)},
        max(path.stat().st_size for path in files),
        seconds,
    )
    if name in (FIRST, *PREPARATION):
        return made

    _take_away(run, made)
    _run(run, name)
    assert _files(run.folder) - before == files, f"{name} makes other files a second time"
    same = {path: sha256 for path, sha256 in made.hashes.items() if sha256_file(path) == sha256}
    return replace(made, hashes=same)


def _grows(path: Path) -> bool:
    """Whether it is a training's own record, which has no finished form until the training ends."""
    return "checkpoints" in path.parts and path.suffix not in (".pt", ".sha256")


def _run(run: SmallRun, name: str) -> None:
    code, said = _ended(_start(run, name))
    assert code == 0, f"{name}: {said}"


def _files(folder: Path) -> set[Path]:
    """All but logs, settings, manifests (which have the time) and the tokenizer's cache."""
    return {
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not path.name.endswith(MARK)
        and path.name != "encoder.table"
        and path.relative_to(folder).parts[0] not in ("logs", "config")
    }


def _kill(run: SmallRun, name: str, made: Made, seconds: float) -> tuple[int, str]:
    """How a step ended that was killed after so many seconds."""
    _take_away(run, made)
    started = _start(run, name)
    time.sleep(seconds)
    os.kill(started.process, signal.SIGKILL)  # waited for below: the number is still its own
    return _ended(started)


def _filled(run: SmallRun, name: str, made: Made, offset: int, again: bool) -> str:
    _take_away(run, made)
    code, said = _ended(_start(run, name, partial(_limit_files, offset)))
    wrong = _half_written(made)
    if again:  # in any case: the next step reads what this one makes
        wrong = _again(run, name, made) or wrong
    if code not in (0, 2) or (code == 2 and SAID not in said) or "Traceback" in said:
        return f"exit code {code}: {said[-300:]}"
    return wrong


def _half_written(made: Made) -> str:
    there = [path for path in made.hashes if path.exists()]
    wrong = [path.name for path in there if sha256_file(path) != made.hashes[path]]
    return f"half-written: {wrong}" if wrong else ""


def _again(run: SmallRun, name: str, made: Made) -> str:
    """What is wrong after a failure, or once the step has run again; afterwards all is there."""
    wrong = _half_written(made)
    code, said = _ended(_start(run, name))
    if wrong:
        return wrong
    if code:
        return f"again: exit code {code}: {said[-300:]}"
    missing = [path.name for path in made.files if not path.exists()]
    left = [path.name for path in _left(run)]
    return (
        f"missing: {missing}" if missing
        else _half_written(made).replace("half-written", "other bytes")
        or (f"left behind: {left}" if left else "")
    )  # fmt: skip


def _left(run: SmallRun) -> list[Path]:
    return [path for path in run.folder.rglob(".*.tmp") if path.is_file()]


def _take_away(run: SmallRun, made: Made) -> None:
    """What the step makes, and what an earlier trial left behind and has been told of."""
    for path in made.files:
        path.unlink(missing_ok=True)
        path.with_name(path.name + MARK).unlink(missing_ok=True)
    for path in _left(run):
        path.unlink()
    for folder in {path.parent for path in made.files}:
        for left in folder.glob(".shard-*"):
            shutil.rmtree(left)


def _limit_files(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _start(run: SmallRun, name: str, prepare: Callable[[], None] = lambda: None) -> Started:
    """The step as a process; what it says goes through a pipe, which no disk limits."""
    settings = run.settings(name)
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        try:
            sys.stderr = os.fdopen(writing, "w", buffering=1)
            prepare()
            os._exit(exit_code(partial(run.start, name, settings)))
        finally:
            os._exit(70)
    os.close(writing)
    return Started(process, reading)


def _ended(started: Started) -> tuple[int, str]:
    """Its exit code (below 0: the signal) and what it said."""
    with open(started.said, errors="replace") as said:
        words = said.read()
    _, status = os.waitpid(started.process, 0)
    return os.waitstatus_to_exitcode(status), words
