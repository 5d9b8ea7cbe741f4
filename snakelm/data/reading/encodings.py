"""Which encoding a text is in that isn't UTF-8, as far as its bytes tell.

UTF-16 needs a test of its own: without its byte order mark, each letter of a Western text with a
NUL beside it is valid UTF-8, and would be trained on in silence. A lone NUL is ordinary text.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .rows import Problem

__all__ = ["not_utf8", "nul_problem", "nul_problem_in", "wide_encoding"]

WINDOW = 65_536  # bytes looked at together
CONTROLS = 0x20  # the bytes below
MOSTLY, HARDLY, LETTERS = 0.6, 0.05, 0.8
UNUSED_1252 = b"\x81\x8d\x8f\x90\x9d"
EXCERPT = 12  # bytes shown on either side of the one that is wrong


def wide_encoding(text: bytes | memoryview) -> str | None:
    """UTF-16LE, UTF-16BE, UTF-32LE or UTF-32BE, if ``text`` or some part of it is that without a
    byte order mark; None otherwise.

    In UTF-16 of any script with letters the upper byte of nearly every character is below 32, and
    that of spaces and line ends is 0. UTF-32 has at least one NUL more in each. Somebody may have
    taken the bytes for Latin-1 since, so that a character stands for each.
    """
    data = np.frombuffer(text, np.uint8)
    found = _wide_window(data) if (data == 0).any() else None
    if found or data.all() or not (data >= 0x80).any():
        return found

    try:
        characters = np.frombuffer(str(text, "utf-8").encode("utf-32-le"), np.uint32)
    except UnicodeError:
        return None
    return _wide_window(np.minimum(characters, 0xFF).astype(np.uint8))


def _wide_window(data: np.ndarray) -> str | None:
    """The `_wide` of the first window that has one."""
    windows = (data[first : first + WINDOW] for first in range(0, data.size, WINDOW))
    return next((name for name in map(_wide, windows) if name), None)


def _wide(data: np.ndarray) -> str | None:
    data = data[: data.size // 4 * 4] if data.size >= 8 else data[: data.size // 2 * 2]
    nul = data == 0
    if np.count_nonzero(nul) < 2 or nul.all():
        return None

    if data.size >= 8:
        for name, top, below in (("UTF-32LE", 3, 2), ("UTF-32BE", 0, 1)):
            planes = data[below::4]  # Unicode has 17
            if nul[top::4].all() and planes.max() <= 16 and (planes == 0).mean() > MOSTLY:
                return name

    even, odd = np.count_nonzero(nul[::2]), np.count_nonzero(nul[1::2])
    for name, upper, nuls, others in (("UTF-16LE", 1, odd, even), ("UTF-16BE", 0, even, odd)):
        small = (data[upper::2] < CONTROLS).mean()
        if nuls and others <= HARDLY * nuls and small > MOSTLY:
            return name
    return None


def nul_problem(text: bytes | memoryview) -> Problem | None:
    """What is wrong with a text that has NULs in it; None for one that merely has some."""
    if wide := wide_encoding(text):
        return Problem("UTF-16 or UTF-32, not UTF-8", f"{wide} without a byte order mark")
    if np.count_nonzero(np.frombuffer(text, np.uint8)) < len(text) / 2:
        return Problem("mostly NULs", "no text, or zeros where its bytes were lost")
    return None


def nul_problem_in(row: dict[str, Any], columns: Iterable[str]) -> Problem | None:
    """The `nul_problem` of the first text in some columns of a row, however deep, that has one."""
    texts = (text for name in columns if name in row for text in _texts(row[name]))
    problems = (nul_problem(text) for text in texts if b"\0" in text)
    return next(filter(None, problems), None)


def _texts(value: object) -> Iterator[bytes]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one.encode("utf-8", "surrogatepass")
        elif isinstance(one, bytes):
            yield one
        elif isinstance(one, list | dict):
            waiting += one.values() if isinstance(one, dict) else one


def not_utf8(text: bytes | memoryview) -> Problem | None:
    """Where a text stops being UTF-8, and which encoding it is likely to be in; None for one that
    is UTF-8.
    """
    data = bytes(text)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        first, reason = error.start, error.reason
    else:
        return None

    around = data[max(0, first - EXCERPT) : first + EXCERPT]
    detail = f"byte {data[first]:#04x} in {str(around)[1:]}; {_likely(data[:WINDOW])}"
    if wide := wide_encoding(data) or _wide_letters(data[:WINDOW]):
        detail = f"likely {wide}: iconv -f {wide} -t UTF-8"
    elif reason == "unexpected end of data" and not data[:first].isascii():
        detail = "cut off in the middle of a character"
    return Problem("not UTF-8", detail, data.count(b"\n", 0, first))


def _wide_letters(data: bytes) -> str | None:
    """UTF-16 of a script whose upper bytes are anything, Chinese for one: as text nearly all of it
    is letters, and line ends and spaces are among them.
    """
    found = {}
    for name in ("UTF-16LE", "UTF-16BE") if b"\0" in data else ():
        text = data[: len(data) // 2 * 2].decode(name, "replace")
        letters = sum(c.isalnum() or c.isspace() for c in text) / max(1, len(text))
        found[name] = sum(map(text.count, "\n ")) if letters > LETTERS else 0
    best = max(found, key=found.__getitem__, default=None)
    return best if best and found[best] > 1 else None


def _likely(data: bytes) -> str:
    """The remedy for bytes of an 8-bit or multi-byte encoding."""
    high = [byte for byte in data if byte >= 0x80]
    controls = sum(byte < CONTROLS and byte not in b"\t\n\v\f\r\x1b" for byte in data)
    if controls > HARDLY * len(data):
        return "no text"
    letters = sum(0x41 <= byte & 0xDF <= 0x5A for byte in data)
    if len(high) > letters:  # Western texts have a few of them between ASCII letters
        return (
            "perhaps Cyrillic, Greek or Chinese in an encoding of its own: "
            "iconv -f WINDOWS-1251 (or GB18030, SHIFT-JIS, …) -t UTF-8"
        )
    if not any(byte in UNUSED_1252 for byte in high):
        return "likely WINDOWS-1252 or Latin-1: iconv -f WINDOWS-1252 -t UTF-8"
    return "in no encoding that it could be told by; damaged, or no text"
