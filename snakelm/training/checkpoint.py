"""Checkpoints that a kill, a full disk or a flipped bit can't turn into a wrong resume.

A run's directory is named by the fingerprint of all that decides its result. `step_00000400.pt` is
written under a temporary name and hashed on the way; its hash file gets its name first, then the
checkpoint (the other way round, a kill in between would leave a good file that looks bad), each
synced to disk. The first one leaves `step_saved` too, which tells checkpoints that are gone from a
run that had none yet.

Resuming takes the newest one whose hash is right, warns of those it passes over, whatever they are,
and stops when none is sound: never a silent start from step 0. Those passed over get another name,
so they are in nobody's way. Only sound ones count when old ones are dropped.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import atomic_path, write_text
from ..model.file import read_plain, write_plain

__all__ = [
    "has_begun",
    "load",
    "load_newest",
    "prune",
    "save",
    "set_aside",
    "steps_in",
    "sweep",
    "written_hash",
]

FORMAT, VERSION = "snakelm-checkpoint", 1
STEM = "step"  # fine-tuning's are called sft_step
ASIDE = "unsound_"

Warn = Callable[[str], None]
State = tuple[int, ...]

# Files that this process has written or hashed and found sound, as they were then. Pruning asks it
# at every save, and wouldn't read some gigabytes for the answer.
_sound: dict[Path, State] = {}


def save(
    run: Path,
    step: int,
    fingerprint: str,
    state: Mapping[str, Any],
    keep: int,
    stem: str = STEM,
    pinned: int | None = None,
) -> Path:
    """Writes ``state`` (plain types and tensors) as the checkpoint of ``step``; drops all but the
    newest ``keep`` and that of the step ``pinned``.
    """
    path = _path(run, stem, step)
    record = {
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": fingerprint,
        "step": step,
        **state,
    }

    with atomic_path(path) as temporary:
        write_text(hash_path(path), f"{write_plain(temporary, record)}  {path.name}\n")
    _sound[path] = _state(os.stat(path))
    if not os.path.lexists(_mark(run, stem)):
        write_text(_mark(run, stem), "checkpoints were saved here\n")

    prune(run, keep, stem, written=step, pinned=pinned)
    return path


def _path(run: Path, stem: str, step: int) -> Path:
    return run / f"{stem}_{step:08d}.pt"


def _mark(run: Path, stem: str) -> Path:
    return run / f"{stem}_saved"


def hash_path(path: Path) -> Path:
    """The file with a checkpoint's hash, as `sha256sum -c` reads it."""
    return path.with_name(path.name + ".sha256")


def steps_in(run: Path, stem: str = STEM, before: str = "") -> list[int]:
    """The steps whose checkpoint's name is there, whatever is under it, newest first.

    ``before``: what stands in front of the names.
    """
    try:
        names = os.listdir(run)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(
            f"{run}: cannot be read ({error.strerror}); its checkpoints are in there: make the "
            "folder readable, or delete it to begin again at step 0"
        ) from None
    matches = [re.fullmatch(rf"{before}{stem}_(\d{{8,}})\.pt", name) for name in names]
    return sorted((int(match[1]) for match in matches if match), reverse=True)


def has_begun(run: Path, stem: str = STEM) -> bool:
    """Whether the run has, or had, a checkpoint."""
    return bool(steps_in(run, stem)) or os.path.lexists(_mark(run, stem))


def load_newest(run: Path, fingerprint: str, warn: Warn, stem: str = STEM) -> dict[str, Any] | None:
    """The newest sound checkpoint; None in a run that had none yet; UserError when it has some and
    none is sound, or had some and they are gone.
    """
    steps = steps_in(run, stem)
    if not steps and os.path.lexists(_mark(run, stem)):
        raise UserError(
            f"{run}: its checkpoints are gone; bring them back, or delete this folder to begin "
            "again at step 0"
        )

    for step in steps:
        path = _path(run, stem, step)
        try:
            return _load(path, step, fingerprint)
        except UserError as error:
            warn(f"{error}; trying an older checkpoint")

    if steps:
        raise UserError(
            f"{run}: none of its {len(steps)} checkpoints is sound; to begin again at step 0, "
            "delete this folder first"
        )
    return None


def load(run: Path, step: int, fingerprint: str, stem: str = STEM) -> dict[str, Any]:
    """The checkpoint of ``step``; UserError when it isn't sound."""
    return _load(_path(run, stem, step), step, fingerprint)


def written_hash(run: Path, step: int, stem: str = STEM) -> str:
    """The SHA-256 that the hash file of a sound checkpoint has."""
    return hash_path(_path(run, stem, step)).read_text(encoding="ascii").split()[0]


def _load(path: Path, step: int, fingerprint: str) -> dict[str, Any]:
    _check_hash(path)
    record = read_plain(path)
    identity = tuple(record.get(name) for name in ("format", "version", "fingerprint", "step"))
    if identity != (FORMAT, VERSION, fingerprint, step):
        raise UserError(
            f"{path}: found {identity}, expected {(FORMAT, VERSION, fingerprint, step)}"
        )
    return record


def _check_hash(path: Path) -> None:
    """UserError unless ``path`` is a file with the SHA-256 that its hash file says."""
    hash_file = hash_path(path)
    if not os.path.lexists(hash_file):
        raise UserError(f"{path}: its hash file {hash_file.name} is missing")
    with _regular_file(hash_file) as opened:
        words = opened.read(200).decode("ascii", errors="replace").split()
    if not words:
        raise UserError(f"{path}: its hash file {hash_file.name} is empty")

    with _regular_file(path) as opened:
        actual, state = hashlib.file_digest(opened, "sha256").hexdigest(), os.fstat(opened.fileno())
    if actual != words[0]:
        raise UserError(f"{path}: damaged (SHA-256 {actual[:12]}…, when written {words[0][:12]}…)")
    _sound[path] = _state(state)


@contextmanager
def _regular_file(path: Path) -> Iterator[BufferedReader]:
    """Opens a file to read; UserError for whatever can't be opened, or is no file. A pipe, which
    would wait for someone to write, is opened without waiting.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:  # a folder is refused here
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UserError(f"{path}: no file")
            yield opened
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _state(found: os.stat_result) -> State:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _is_sound(path: Path) -> bool:
    """Whether the file has the right hash; it is read unless this process has done so before."""
    with suppress(OSError):
        if _sound.get(path) == _state(os.stat(path)):
            return True
    with suppress(UserError):
        _check_hash(path)
        return True
    return False


def prune(
    run: Path,
    keep: int,
    stem: str = STEM,
    written: int | None = None,
    pinned: int | None = None,
) -> None:
    """Removes what is older than the newest ``keep`` sound checkpoints, each one's hash file last;
    never that of the step just ``written``, nor that of ``pinned``, which doesn't count.
    """
    kept: list[int] = []
    for step in steps_in(run, stem):
        path = _path(run, stem, step)
        if step == pinned:
            continue
        if len(kept) >= keep and step != written:
            _remove(path)
        elif _is_sound(path):
            kept.append(step)

    for step in steps_in(run, stem, ASIDE) if len(kept) >= keep else []:
        if step < min(kept):
            _remove(_path(run, ASIDE + stem, step))


def _remove(path: Path) -> None:
    with suppress(OSError):  # a folder: it stays, and is in nobody's way
        path.unlink(missing_ok=True)
        hash_path(path).unlink(missing_ok=True)
    _sound.pop(path, None)


def set_aside(run: Path, resumed: int, warn: Warn, stem: str = STEM) -> None:
    """Gives another name to what load_newest passed over: checkpoints of steps after ``resumed``.
    Only under the lock.
    """
    for step in steps_in(run, stem):
        path = _path(run, stem, step)
        aside = path.with_name(ASIDE + path.name)
        if step <= resumed:
            return
        try:
            os.replace(path, aside)
        except OSError as error:
            warn(f"{path}: can't be renamed to {aside.name} ({error.strerror}); remove it")
            continue
        with suppress(OSError):
            os.replace(hash_path(path), hash_path(aside))
        warn(f"{path}: now called {aside.name}, and dropped when newer checkpoints are sound")


def sweep(run_root: Path) -> int:
    """Removes the temporary files of checkpoints and logs that killed processes left in all run
    folders; gives their bytes. Only under the lock: nobody else writes there then.
    """
    freed = 0
    for leftover in run_root.glob("*/.*.tmp"):
        with suppress(OSError):
            size = leftover.lstat().st_size
            leftover.unlink()
            freed += size
    return freed
