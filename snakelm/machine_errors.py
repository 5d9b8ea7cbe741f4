"""What the machine's refusals mean to a person: a full or read-only disk, no memory, a kill.

Only what a user can do something about; everything else is a fault of ours and keeps its traceback.
"""

import errno
import os
import re
import resource
import signal
import sys
from pathlib import Path

from .files import human_bytes, is_disk_full

__all__ = ["killed", "machine_error", "memory_limit"]

NO_ROOM = {
    errno.ENOSPC: "disk full; free some room and run it again",
    errno.EDQUOT: "disk full: your quota there is used up; free some room and run it again",
    errno.EFBIG: "disk full: the file would be larger than files may be here (ulimit -f, or the "
    "file system's own limit); raise it and run it again",
}
REFUSED = {
    errno.EROFS: "read-only file system; give another folder, or have it mounted for writing",
    errno.EIO: "input/output error: the disk or the network to it fails; see dmesg",
    errno.ESTALE: "its file server has lost it; have it mounted again and run it again",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n) and run it again",
    errno.ENAMETOOLONG: "a longer name than the file system takes",
    errno.ENOTDIR: "in its path is a file where a folder was expected",
}
PLAIN = (FileNotFoundError, PermissionError, IsADirectoryError)
MORE_MEMORY = (
    "give it more (on a cluster --set-resources STEP:mem_mb=N) or let it take less (a lower "
    "train.micro_batch, fewer threads)"
)
OUT_OF_MEMORY = re.compile(r"can't allocate memory|[Oo]ut of memory|bad_alloc")


def machine_error(error: BaseException) -> str | None:
    """The error in a person's words; None for what is none of the machine's."""
    if isinstance(error, OSError):
        return _refusal(error)
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error))
    ):
        found = " ".join(str(error).split())[:200]
        return f"out of memory{_figures()}{f' ({found})' if found else ''}; {MORE_MEMORY}"
    return None


def _refusal(error: OSError) -> str | None:
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):
        return f"{error.strerror}: full or read-only; free some room there, or set TMPDIR"
    if is_disk_full(error):
        return f"{error.filename or 'disk'}: {NO_ROOM[error.errno or errno.ENOSPC]}"
    if error.errno in REFUSED:
        return f"{error.filename or 'disk'}: {REFUSED[error.errno]}"
    if error.filename is not None and isinstance(error, PLAIN):
        return f"{error.filename}: {error.strerror}"
    return None


def killed(name: str) -> str:
    """What to say when a child process died of SIGKILL, which leaves no words of its own.

    ``name``: of what was killed. The memory said is the most that a child of this process has held.
    """
    return (
        f"{name} was killed ({signal.SIGKILL.name}), probably for its memory"
        f"{_figures(children=True)}; {MORE_MEMORY}; the same command goes on"
    )


def _figures(*, children: bool = False) -> str:
    """`: asked 6.1 GB, limit 6.0 GB`."""
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    held = resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    limit = memory_limit()
    what = "of the control group" if _group_limits() else "of the machine"
    said = f": asked for {human_bytes(held)} or more"
    return said + (f", limit {human_bytes(limit)} {what}" if limit else "")


def memory_limit() -> int | None:
    """Bytes that this process and its neighbours in the control group may hold together, or that
    the machine has; None where neither can be told.
    """
    limits = _group_limits()
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits = limits or [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    return min(limits, default=None)


def _group_limits() -> list[int]:
    """The memory limits of this process's control groups, of version 1 and 2, that are below what
    the machine has.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return []

    files: list[Path] = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        inside = Path(group.lstrip("/"))
        if not controllers:
            root, name = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            root, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        files += [root / folder / name for folder in (inside, *inside.parents)]

    limits = []
    for file in files:
        text = file.read_text(encoding="ascii").strip() if file.is_file() else "max"
        if text.isdecimal() and int(text) < machine:
            limits.append(int(text))
    return limits
