"""One trainer to a folder: the second would write over the first one's metrics and model."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..files import open_own

__all__ = ["locked"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder/lock` while the block runs. The kernel lets go of it when the process ends,
    however it ends.

    UserError when another process holds it; it names that process when the file does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    with open_own(path, "a+") as file:  # a+ leaves the holder's number readable
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UserError(
                f"{path}: held by another training run (process {holder}); "
                "wait for it, stop it, or give this run another results folder"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
