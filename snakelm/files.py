"""Files that are either whole or not there: temporary name → fsync → rename → fsync of the folder.

Everything the workflow produces goes through `atomic_path`, so a kill, a power cut or a full disk
leaves the old file or none, never a part of the new one. `reserve` asks the file system for the
room beforehand: a memory map on a full disk dies by SIGBUS, posix_fallocate says ENOSPC while
there's still time for a sentence. `Scratch` is for what only the running process needs: a file
without a name, gone with the process however it ends.
"""

import errno
import glob
import hashlib
import json
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import DiskFullError

__all__ = [
    "Scratch",
    "atomic_path",
    "fsync_folder",
    "human_bytes",
    "json_text",
    "reserve",
    "sha256_file",
    "write_if_changed",
    "write_json",
    "write_text",
]


ABANDONED_S = 600


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary name beside ``path``; what was written there takes the name ``path`` when
    the block ends well.

    On an error the temporary file is removed and ``path`` is as it was. ENOSPC becomes a
    DiskFullError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        fsync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise disk_full(path, None) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Removes what killed processes left of ``path``: their process is gone and nobody has written
    there of late.

    Both, because on a shared file system the process may live on another machine.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = left.name.split(".")[-2]
        with suppress(OSError):
            if (
                pid.isdigit()
                and not _alive(int(pid))
                and time.time() - left.stat().st_mtime > ABANDONED_S
            ):
                left.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def fsync_folder(folder: Path) -> None:
    """Makes a rename in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reserve(path: str | os.PathLike, size: int) -> None:
    """Takes ``size`` bytes of disk for the file ``path`` (created if need be), or raises
    DiskFullError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _allocate(descriptor, size, Path(path))
    finally:
        os.close(descriptor)


def _allocate(descriptor: int, size: int, path: Path) -> None:
    try:
        if size:
            os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise disk_full(path, size) from error
        if error.errno not in (
            errno.EOPNOTSUPP,
            errno.EINVAL,
        ):  # a file system without fallocate: go on, unreserved
            raise
        os.ftruncate(descriptor, size)


class Scratch:
    """``size`` bytes in an unnamed file on the disk of ``folder``, as memory; DiskFullError when it
    has no room.

    The kernel writes pages out when memory is short, so this is no more in memory than there is
    room for; `forget` says that none of it will be needed soon.
    """

    def __init__(self, folder: str | os.PathLike, size: int) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            _allocate(file.fileno(), max(1, size), folder / "temporary file")
            self.buffer = mmap.mmap(file.fileno(), max(1, size))

    def forget(self) -> None:
        """Gives the pages' memory back; what was written stays."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.buffer.madvise(mmap.MADV_DONTNEED)


def disk_full(path: Path, size: int | None) -> DiskFullError:
    """The error for a write that found no room; ``size`` is what was needed, in bytes, if known."""
    free = shutil.disk_usage(path.parent).free
    need = f"need {human_bytes(size)}, " if size is not None else ""
    return DiskFullError(
        f"{path}: disk full ({need}have {human_bytes(free)}); free some room and run the same again"
    )


def sha256_file(path: str | os.PathLike) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes UTF-8 text, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """JSON as every file of ours has it: sorted keys, an indent of one, a line break at the end."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes JSON with sorted keys, atomically."""
    write_text(path, json_text(value))


def write_if_changed(path: str | os.PathLike, text: str) -> bool:
    """Writes ``text`` unless the file says so already; true if it wrote. The time stamp stays when
    nothing changed.
    """
    path = Path(path)
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    write_text(path, text)
    return True


def human_bytes(size: float) -> str:
    """`1536` → `1.5 kB`; units of 1000, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
