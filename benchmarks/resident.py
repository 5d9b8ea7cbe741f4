"""Resident memory of this process, by Linux's own count.

Not by getrusage: its peak is never less than what the process held that started this one, and it
can't be taken back.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Growth", "growth", "resident_mb"]


@dataclass
class Growth:
    """``mb``: how far the memory rose at most above what it was."""

    mb: float = 0.0


def resident_mb(key: str = "VmHWM", process: int | str = "self") -> float:
    """The most that a process has held, or with VmRSS what it holds now, in MB; 0 where it has
    ended.
    """
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    found = next((int(line.split()[1]) for line in lines if line.startswith(key)), 0)
    return found * 1024 / 1e6


@contextmanager
def growth() -> Iterator[Growth]:
    """Yields what is filled in when the block ends. Memory that the allocator has kept from before
    is given back first.
    """
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, grown = resident_mb("VmRSS"), Growth()
    yield grown
    grown.mb = resident_mb() - before
