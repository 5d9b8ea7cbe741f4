"""Each step from documents to token files, killed at any moment, and on a disk that is full after
any number of bytes: nothing half-written passes for its output, and run again it makes the same
bytes.

Every step runs in a process forked from this one, which has imported the scripts and nothing that
starts threads. A full disk is a limit on the size of files: the kernel refuses the byte behind it.
"""

import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from snakelm.files import sha256_file
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.manifest import MARK
from tests.faults.small_run import SmallRun
from tests.faults.table import Trial

STEPS = ("sample_data", "deduplicate", "train_tokenizer", "prepare_shard", "prepare_data")
FIRST = "collect"
KILLS, OFFSETS = 20, 50  # of each step
SAID = "disk full"


@dataclass(frozen=True)
class Made:
    """What a step makes: each file's SHA-256, the largest one's bytes, and how long it takes."""

    files: dict[Path, str]
    largest: int
    seconds: float


def trials(folder: Path, whole: bool) -> Iterator[Trial]:
    """Each step in turn; the sample has a kill and a full disk of the last two."""
    run, made = SmallRun(folder, whole=False), {}
    for name in (FIRST, *STEPS):
        made[name] = _make(run, name)

    chance = random.Random(0)
    for name in STEPS if whole else STEPS[-2:]:
        for _ in range(KILLS if whole else 1):
            seconds = chance.uniform(0, 1.2 * made[name].seconds)
            code, said = _kill(run, name, made[name], seconds)
            where = "at work" if code == -signal.SIGKILL else "after its end"
            wrong = "" if code in (0, -signal.SIGKILL) else f"exit code {code}: {said[-300:]}"
            yield Trial(
                f"kill -9: a step of preparation, {where}",
                f"{name} after {seconds:.3f} s",
                lambda args=(run, name, made[name]), wrong=wrong: wrong or _again(*args),
            )
        for _ in range(OFFSETS if whole else 1):
            offset = chance.randrange(made[name].largest)
            fill = partial(_filled, run, name, made[name], offset)
            yield Trial("disk full: a step of preparation", f"{name} after {offset} bytes", fill)


def _make(run: SmallRun, name: str) -> Made:
    before, begun = _files(run.folder), time.monotonic()
    code, said = _ended(run, _start(run, name))
    assert code == 0, f"{name}: {said}"
    new = _files(run.folder) - before
    largest = max(path.stat().st_size for path in new)
    return Made({p: sha256_file(p) for p in new}, largest, time.monotonic() - begun)


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
    _take_away(made)
    process = _start(run, name)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)  # it is waited for below: the number is still its own
    return _ended(run, process)


def _filled(run: SmallRun, name: str, made: Made, offset: int) -> str:
    _take_away(made)
    code, said = _ended(run, _start(run, name, partial(_limit_files, offset)))
    again = _again(run, name, made)  # in any case: the next step reads what this one makes
    if code not in (0, 2) or (code == 2 and SAID not in said) or "Traceback" in said:
        return f"exit code {code}: {said[-300:]}"
    return again


def _again(run: SmallRun, name: str, made: Made) -> str:
    """What is wrong after a failure, or once the step has run again; afterwards all is there."""
    before = {path for path in made.files if path.exists()}
    wrong = [path.name for path in before if sha256_file(path) != made.files[path]]
    code, said = _ended(run, _start(run, name))
    if wrong:
        return f"half-written: {wrong}"
    if code:
        return f"again: exit code {code}: {said[-300:]}"
    other = [p.name for p, sha256 in made.files.items() if sha256_file(p) != sha256]
    left = [p.name for p in run.folder.rglob(".*") if p.name.endswith(".tmp")]
    return f"other bytes: {other}" if other else f"left behind: {left}" if left else ""


def _take_away(made: Made) -> None:
    for path in made.files:
        path.unlink(missing_ok=True)
        path.with_name(path.name + MARK).unlink(missing_ok=True)
    for folder in {path.parent for path in made.files}:
        for left in folder.glob(".shard-*"):
            shutil.rmtree(left)


def _limit_files(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _start(run: SmallRun, name: str, prepare: Callable[[], None] = lambda: None) -> int:
    """The step as a process; what it says goes to a file beside the run."""
    settings = run.settings(name)
    _said_file(run).parent.mkdir(exist_ok=True)
    said = os.open(_said_file(run), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    process = os.fork()
    if not process:
        try:
            sys.stderr = os.fdopen(said, "w", buffering=1)
            prepare()
            os._exit(exit_code(partial(run.start, name, settings)))
        finally:
            os._exit(70)
    os.close(said)
    return process


def _ended(run: SmallRun, process: int) -> tuple[int, str]:
    """Its exit code (below 0: the signal) and what it said."""
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), _said_file(run).read_text(errors="replace")


def _said_file(run: SmallRun) -> Path:
    return run.folder / "logs/said"
