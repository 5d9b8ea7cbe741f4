"""The campaigns by name. Each is a module of this folder with
`trials(folder: Path, whole: bool) -> Iterator[Trial]`, which works in ``folder``; without ``whole``
it tries a sample that costs seconds.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path

from tests.faults.table import Trial

__all__ = ["CAMPAIGNS", "trials"]

# Name → what is done to the project.
CAMPAIGNS = {
    "checkpoints": "what is called a checkpoint and isn't a sound one",
    "consumers": "every file that a step reads, damaged",
    "kills": "kill -9 while checkpoints are written",
    "signals": "signals at any moment, one of two processes killed, other numbers of processes",
    "steps": "preparation killed, and every step on a full disk",
}


def trials(name: str, folder: Path, *, whole: bool) -> Iterator[Trial]:
    """The trials of a campaign."""
    folder.mkdir(parents=True, exist_ok=True)
    yield from importlib.import_module(f"tests.faults.{name}").trials(folder, whole)
