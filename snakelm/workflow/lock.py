"""One writer to a folder: a second trainer would write over the first one's metrics and model, a
second run of the workflow over its files.
"""

import errno
import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..files import open_own

__all__ = ["locked"]

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems without them


@contextmanager
def locked(folder: Path, holder: str = "another training run") -> Iterator[None]:
    """Holds `folder/lock` while the block runs. The kernel lets go of it when the process ends,
    however it ends; what the process started doesn't hold it.

    UserError when another process has it, with what the file says of that: its number, host and
    beginning. ``holder``: what that process is. Nothing is locked on a file system without locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    with open_own(path, "a+") as file:  # a+ leaves what the holder wrote readable
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read(200).strip() or "unknown"
            raise UserError(
                f"{path}: held by {holder} (process {who}); wait for it, stop it, or give this run "
                "another results folder"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"{os.getpid()} on {platform.node()}, since {since}\n")
        file.flush()
        yield
        file.truncate(0)  # whose host it was is nobody's business once it's done
