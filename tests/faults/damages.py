"""What can become of a file's bytes while its name stays."""

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["DAMAGES", "Damage"]

Damage = Callable[[Path], None]
PAGE = 512


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def _zero(path: Path) -> None:
    """As a lost page reads; the rest stays."""
    data = bytearray(path.read_bytes())
    first = max(0, len(data) // 2 - PAGE // 2)
    span = slice(first, min(len(data), first + PAGE))
    data[span] = bytes(len(data[span]))
    path.write_bytes(data)


DAMAGES: dict[str, Damage] = {
    "bit flip": _flip,
    "512 zeroed bytes": _zero,
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "last byte cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "empty": lambda path: os.truncate(path, 0),
}
