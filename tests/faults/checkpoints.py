"""Whatever may lie under a checkpoint's name instead of a sound one: resuming falls back past it,
and stops where none is sound.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from snakelm.errors import UserError
from snakelm.training import checkpoint
from tests.faults.table import Trial

FINGERPRINT = "f" * 16


def _replaced(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def _zeroed(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(512)
        file.write(bytes(512))


KINDS = {
    "bit flip": _flipped,
    "512 zeroed bytes": _zeroed,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
}


def trials(folder: Path, whole: bool) -> Iterator[Trial]:
    """Of three checkpoints the newest one, two or all are damaged."""
    for kind, damage in KINDS.items():
        for damaged in (1, 2, 3):
            run = folder / f"{len(list(folder.iterdir()))}"
            yield Trial(
                f"checkpoint: {kind}",
                f"{damaged} of 3",
                lambda run=run, damage=damage, damaged=damaged: _try(run, damage, damaged),
            )


def _try(run: Path, damage: Callable[[Path], None], damaged: int) -> str:
    state = {"model": {"w": torch.arange(1000.0)}}
    paths = [checkpoint.save(run, step, FINGERPRINT, state, 3) for step in (1, 2, 3)]
    for path in paths[3 - damaged :]:
        damage(path)

    warnings: list[str] = []
    try:
        found = checkpoint.load_newest(run, FINGERPRINT, warnings.append)
    except UserError as error:
        return "" if damaged == 3 and "none of its 3" in str(error) else str(error)
    if found is None or found["step"] != 3 - damaged:
        return f"resumes from {found and found['step']}"
    return "" if len(warnings) == damaged else f"says {warnings}"
