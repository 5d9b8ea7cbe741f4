"""Checkpoints that a kill, a full disk or a flipped bit can't turn into a wrong resume.

A run's directory is named by the fingerprint of all that decides its result. `step_00000400.pt` is
written under a temporary name and hashed on the way; its hash file gets its name first, then the
checkpoint (the other way round, a kill in between would leave a good file that looks bad), each
synced to disk. Resuming takes the newest one whose hash is right, warns of those it passes over,
and stops when none is sound: never a silent start from step 0.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import atomic_path, sha256_file, write_text
from ..model.file import read_plain, write_plain

__all__ = ["load", "load_newest", "prune", "save", "steps_in", "written_hash"]

FORMAT, VERSION = "snakelm-checkpoint", 1
STEM = "step"  # fine-tuning's are called sft_step


def save(
    run: Path, step: int, fingerprint: str, state: Mapping[str, Any], keep: int, stem: str = STEM
) -> Path:
    """Writes ``state`` (plain types and tensors) as the checkpoint of ``step``; drops all but the
    newest ``keep``.
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

    prune(run, keep, stem)
    return path


def _path(run: Path, stem: str, step: int) -> Path:
    return run / f"{stem}_{step:08d}.pt"


def hash_path(path: Path) -> Path:
    """The file with a checkpoint's hash, as `sha256sum -c` reads it."""
    return path.with_name(path.name + ".sha256")


def steps_in(run: Path, stem: str = STEM) -> list[int]:
    """The steps that have a checkpoint file, sound or not, newest first."""
    names = [re.fullmatch(rf"{stem}_(\d+)\.pt", p.name) for p in run.glob(f"{stem}_*.pt")]
    return sorted((int(match[1]) for match in names if match), reverse=True)


def load_newest(
    run: Path, fingerprint: str, warn: Callable[[str], None], stem: str = STEM
) -> dict[str, Any] | None:
    """The newest sound checkpoint; None in a run without any; UserError when there are some and
    none is sound.
    """
    steps = steps_in(run, stem)
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
    hash_file = hash_path(path)
    text = hash_file.read_text(encoding="ascii", errors="replace") if hash_file.is_file() else ""
    if not text.split():
        raise UserError(f"{path}: its hash file {hash_file.name} is missing or empty")

    expected, actual = text.split()[0], sha256_file(path)
    if actual != expected:
        raise UserError(f"{path}: damaged (SHA-256 {actual[:12]}…, when written {expected[:12]}…)")

    record = read_plain(path)
    identity = tuple(record.get(name) for name in ("format", "version", "fingerprint", "step"))
    if identity != (FORMAT, VERSION, fingerprint, step):
        raise UserError(
            f"{path}: found {identity}, expected {(FORMAT, VERSION, fingerprint, step)}"
        )
    return record


def prune(run: Path, keep: int, stem: str = STEM) -> None:
    """Removes all but the newest ``keep`` checkpoints, the hash file last."""
    for step in steps_in(run, stem)[keep:]:
        path = _path(run, stem, step)
        path.unlink(missing_ok=True)
        hash_path(path).unlink(missing_ok=True)
