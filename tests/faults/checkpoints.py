"""Whatever may lie under a checkpoint's name, or under that of its hash file, instead of a sound
one: resuming falls back past it, pruning keeps the sound ones, and none sound is an error.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from snakelm.errors import UserError
from snakelm.training import checkpoint
from tests.faults.damages import DAMAGES, Damage
from tests.faults.table import Trial

FINGERPRINT = "f" * 16
KEEP = 3
NOBODY = 65534  # a user without rights


def _instead(make: Callable[[Path], object]) -> Damage:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def _of_another_run(path: Path) -> None:
    checkpoint.save(path.parent, int(path.stem[-8:]), "0" * 16, {"w": torch.zeros(9)}, KEEP)


# What a byte can become, and what else can have a file's name.
KINDS: dict[str, Damage] = {
    **DAMAGES,
    "folder": _instead(Path.mkdir),
    "dangling link": _instead(lambda path: path.symlink_to("nowhere")),
    "link loop": _instead(lambda path: path.symlink_to(path.name)),
    "pipe": _instead(os.mkfifo),
    "no permission": lambda path: path.chmod(0),
    "gone": lambda path: path.unlink(),
}


def trials(folder: Path, whole: bool) -> Iterator[Trial]:
    """Of three checkpoints the newest one, two or all; and likewise their hash files. The sample
    takes one of the three, in turn.
    """
    targets: dict[str, Callable[[Path], Path]] = {
        "checkpoint": lambda path: path,
        "its hash file": checkpoint.hash_path,
    }
    count = 0
    for place, target in targets.items():
        kinds = {**KINDS, "another run's": _of_another_run}
        for turn, (kind, damage) in enumerate(kinds.items()):
            if place != "checkpoint" and kind in ("another run's", "last byte cut"):
                continue  # without its newline a hash is still the same
            for damaged in (1, 2, 3):
                count += 1
                if not whole and damaged != turn % 3 + 1:
                    continue
                gone = kind == "gone" and place == "checkpoint"
                yield Trial(
                    f"{place}: {kind}",
                    f"{damaged} of {KEEP}",
                    lambda args=(folder / str(count), target, damage, damaged, gone): _try(*args),
                )


def _try(
    folder: Path, target: Callable[[Path], Path], damage: Damage, damaged: int, gone: bool
) -> str:
    state, run = {"model": {"w": torch.arange(1000.0)}}, Path()
    folder.mkdir()
    with _without_rights(folder):
        paths = [checkpoint.save(run, step, FINGERPRINT, state, KEEP) for step in (1, 2, 3)]
        for path in paths[KEEP - damaged :]:
            damage(target(path))
        return _resume(run, damaged, gone) or _goes_on(run, damaged, state)


@contextmanager
def _without_rights(folder: Path) -> Iterator[None]:
    """In ``folder``, as a user who may not read everything, as root may."""
    before, user = Path.cwd(), os.geteuid()
    os.chdir(folder)
    try:
        if not user:
            os.chown(folder, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        yield
    finally:
        os.seteuid(user)
        os.chdir(before)


def _resume(run: Path, damaged: int, gone: bool) -> str:
    warnings: list[str] = []
    try:
        found = checkpoint.load_newest(run, FINGERPRINT, warnings.append)
    except UserError as error:
        right = "are gone" if gone else f"none of its {KEEP} checkpoints is sound"
        return "" if damaged == KEEP and right in str(error) else str(error)
    if found is None or found["step"] != KEEP - damaged:
        return f"resumes from {found and found['step']}"
    return "" if len(warnings) == (0 if gone else damaged) else f"says {warnings}"


def _goes_on(run: Path, damaged: int, state: dict[str, object]) -> str:
    """Goes on saving after the step that it resumed from: the newest are kept, and are sound."""
    if damaged == KEEP:
        return ""
    resumed = KEEP - damaged
    checkpoint.set_aside(run, resumed, lambda _: None)
    for step in range(resumed + 1, 7):
        checkpoint.save(run, step, FINGERPRINT, state, KEEP)
        found = checkpoint.load_newest(run, FINGERPRINT, lambda _: None)
        if found is None or found["step"] != step:
            return f"the checkpoint of step {step}, just written, is not the newest sound one"
    kept = checkpoint.steps_in(run)
    return "" if kept == [6, 5, 4] else f"keeps {kept}"
