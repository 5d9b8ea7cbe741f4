"""Files that are either complete or absent: temporary name → fsync → rename → fsync of the folder.

Everything the workflow produces goes through `atomic_path`, so a kill, a power cut or a full disk
leaves the old file or none, never part of the new one. `reserve` asks the file system for space in
advance: writing to a memory map on a full disk dies of SIGBUS, while posix_fallocate reports ENOSPC
in time for an error message. Nothing is written through a link: who can write to a folder (/tmp, a
shared one) could lay one under a name that we are about to use, to any file of ours.

`Scratch` is for data that only the running process needs: an unnamed file, gone with the process
however it ends.
"""

import errno
import fcntl
import glob
import hashlib
import json
import mmap
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import DiskFullError, UserError

__all__ = [
    "Scratch",
    "atomic_path",
    "disk_full",
    "fsync_folder",
    "human_bytes",
    "is_disk_full",
    "json_text",
    "open_own",
    "renamed_when_done",
    "reserve",
    "sha256_file",
    "write_if_changed",
    "write_json",
    "write_text",
]

ABANDONED_S = 600  # without a write; where there are no locks to ask
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What numpy says of a write that was cut short, without the system's reason.
CUT_SHORT = re.compile(r"\d+ requested and \d+ written")
NO_FALLOCATE = (errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary name beside ``path``, of an empty file; the file is renamed to ``path``
    when the block succeeds.

    On an error the temporary file is removed and ``path`` is left as it was. ENOSPC becomes a
    DiskFullError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")

    try:
        with ExitStack() as until_renamed, renamed_when_done(temporary, path):
            until_renamed.enter_context(_created(temporary))
            yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def renamed_when_done(temporary: Path, path: Path) -> Iterator[None]:
    """The file ``temporary`` gets the name ``path`` when the block succeeds; on an error it stays.

    ENOSPC becomes a DiskFullError.
    """
    try:
        yield

        # The content must be on the disk before the name is: a crash between the two would
        # otherwise leave a finished name on an empty file.
        descriptor = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        fsync_folder(path.parent)
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(path, None) from error
        raise


@contextmanager
def _created(path: Path) -> Iterator[None]:
    """An empty file of our own, locked while the block runs; what is there under the name, a link
    for one, goes. The kernel lets go of the lock when the process ends, however it ends.
    """
    descriptor = None
    try:
        while descriptor is None or not os.fstat(descriptor).st_nlink:  # swept before it was locked
            if descriptor is not None:
                os.close(descriptor)
            with suppress(FileNotFoundError):
                path.unlink()
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            descriptor = os.open(path, flags, 0o666)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def open_own(path: str | os.PathLike, mode: str) -> IO[str]:
    """Opens a text file that stays under its name while it is written, as a log; lines are written
    as they end. UserError for a link. (/dev/stdout is one, and may be.)
    """
    path = Path(path)
    more = 0 if path.parent == Path("/dev") else os.O_NOFOLLOW

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | more, 0o666)

    try:
        return open(path, mode, encoding="utf-8", buffering=1, opener=opener)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError(
            f"{path}: a link, which is not written through; remove it, or name what it leads to"
        ) from None


def _remove_abandoned(path: Path) -> None:
    """Removes temporary files of ``path`` that killed processes left behind: at once, for they may
    be as large as the room that is left.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = leftover.name.split(".")[-2]
        if pid.isdigit():
            with suppress(OSError):
                if _abandoned(leftover, int(pid)):
                    leftover.unlink()


def _abandoned(leftover: Path, pid: int) -> bool:
    """Whether nobody holds a temporary file's lock. Where there are no locks: whether its process
    is dead and nobody has written to it recently, both, because on a shared file system the process
    may be alive on another machine.
    """
    descriptor = os.open(leftover, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return not _alive(pid) and time.time() - leftover.stat().st_mtime > ABANDONED_S
    finally:
        os.close(descriptor)
    return True


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
    """Allocates ``size`` bytes of disk for the file ``path`` (created if absent); DiskFullError if
    there is not enough.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        _allocate(descriptor, size, Path(path))
    finally:
        os.close(descriptor)


def _allocate(descriptor: int, size: int, path: Path) -> None:
    try:
        if size:
            os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(path, size) from error
        if error.errno not in NO_FALLOCATE:
            raise

        # A file system without fallocate: continue without a reservation.
        os.ftruncate(descriptor, size)


class Scratch:
    """``size`` bytes of an unnamed file on the disk of ``folder``, mapped into memory.

    The kernel writes pages out when memory runs short, so data larger than memory is fine; `forget`
    says that none of it will be needed soon. DiskFullError when the disk has no room.
    """

    def __init__(self, folder: str | os.PathLike, size: int) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)

        with tempfile.TemporaryFile(dir=folder) as file:
            _allocate(file.fileno(), max(1, size), folder / "temporary file")
            self.buffer = mmap.mmap(file.fileno(), max(1, size))

    def forget(self) -> None:
        """Releases the pages' memory; what was written stays."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.buffer.madvise(mmap.MADV_DONTNEED)


def is_disk_full(error: OSError) -> bool:
    """Whether a write failed for lack of space: disk, quota or file size limit."""
    return error.errno in NO_SPACE or bool(CUT_SHORT.fullmatch(str(error)))


def disk_full(path: Path, size: int | None) -> DiskFullError:
    """The error for a write that ran out of space; ``size``: bytes needed, if known."""
    free = shutil.disk_usage(path.parent).free
    need = f"need {human_bytes(size)}, " if size is not None else ""
    return DiskFullError(
        f"{path}: disk full ({need}have {human_bytes(free)}); free some space and run it again"
    )


def sha256_file(path: str | os.PathLike) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes UTF-8 text, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(value: object) -> str:
    """JSON as all our files have it: sorted keys, an indent of one, a newline at the end."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write_json(path: str | os.PathLike, value: object) -> None:
    """Writes JSON with sorted keys, atomically."""
    write_text(path, json_text(value))


def write_if_changed(path: str | os.PathLike, text: str) -> bool:
    """Writes ``text`` unless the file holds it already; true if it wrote. An unchanged file keeps
    its time stamp.
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
