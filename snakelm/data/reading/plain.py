"""Texts from plain text files: what of a file is a document (`sources[].split`).

    file         all of it
    size         pieces of about `split_kb`, cut at a blank line; where there is none, at the end of
                 a line, else at white space
    blank_lines  each block of lines
    lines        each line
    endoftext    what stands between two <|endoftext|>
    auto         endoftext where that has lines of its own; else size for a source that is one file,
                 and file for one of several

One file is what most people begin with, and one document can't be trained on and held out. Pieces
are long enough for a model to see text over its whole context, and small enough for some to be held
out. A line ends with LF, CR LF or CR alone; a form feed is white space. Text is taken as it stands,
but for line ends around a piece.
"""

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path

from ...parquet import BadFile
from .encodings import not_utf8, nul_problem
from .lines import in_batches, unpacked_bytes
from .rows import Glance, Problem, Reading, TextBatch, too_large
from .streams import open_text

__all__ = ["plain_glance", "plain_texts"]

BLOCK = 1 << 20  # bytes read at a time
GLANCE_BYTES = 4 << 20
SMALLEST, USUAL, LONGEST = 256, 2048, 16_384  # bytes of a piece
FEWEST, ENOUGH = 10, 1000  # pieces that a file is cut into, where those sizes allow it
SEPARATOR_BYTES = 4096  # the longest that is found where two blocks meet

END = rb"(?>\r\n|\n|\r)"
LINE_END = re.compile(END)
BLANK_LINES = re.compile(END + rb"(?:[ \t\f\v]*" + END + rb")+")
ENDOFTEXT = re.compile(rb"<\|endoftext\|>")
ENDOFTEXT_LINE = re.compile(rb"(?:\A|[\r\n])[ \t]*<\|endoftext\|>[ \t]*(?:[\r\n]|\Z)")
WHITE_SPACE = re.compile(rb"\s+")
SEPARATORS = {"blank_lines": BLANK_LINES, "lines": LINE_END, "endoftext": ENDOFTEXT}

WORDS = {
    "size": "cut at blank lines where there are any",
    "blank_lines": "split at blank lines",
    "lines": "one a line",
    "endoftext": "split at <|endoftext|>",
}

Part = tuple[int, bytes | None]  # the line it begins in, and a document; None for one too large


def plain_texts(path: Path, reading: Reading) -> Iterator[TextBatch]:
    """The documents of the file; parts of white space are none, but a whole file always is one.

    ``reading.column`` has no meaning here.
    """

    def parts() -> Iterator[tuple[int, bytes | None, Problem | None]]:
        with open_text(path) as opened:
            split = _split(opened.stream, reading)
            for line, text in _documents(opened.stream, split, path, reading):
                yield line, text, None if text is not None else too_large(reading.largest)

    yield from in_batches(parts())


def plain_glance(path: Path, reading: Reading) -> Glance:
    """What becomes of the file, by its beginning; BadFile where that isn't UTF-8."""
    with open_text(path) as opened:
        split = _split(opened.stream, reading)
        head = opened.stream.read(GLANCE_BYTES)
        complete, notes = not opened.stream.peek(1), opened.notes

    _check_utf8(head, complete, path)
    size = len(head) if complete else max(len(head), unpacked_bytes(path))
    parts = _documents(io.BufferedReader(io.BytesIO(head)), split, path, reading)
    documents = max(1, sum(1 for _ in parts) * size // max(1, len(head)))
    if split == "file":
        return Glance(1, 0, size, notes)
    blank = complete and not head.strip()
    return Glance(
        rows=0 if blank else documents if complete else None,
        nulls=0,
        text_bytes=size,
        notes=notes,
        documents=documents,
        split=WORDS[split],
    )


def _check_utf8(head: bytes, complete: bool, path: Path) -> None:
    problem = nul_problem(head) if b"\0" in head else None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=complete)
    except UnicodeDecodeError:
        problem = problem or not_utf8(head)
    if problem:
        raise BadFile(f"line {1 + problem.line_ends}: {problem}; convert it", path)


def _split(stream: io.BufferedReader, reading: Reading) -> str:
    if reading.split != "auto":
        return reading.split
    if ENDOFTEXT_LINE.search(stream.peek(BLOCK)):
        return "endoftext"
    return "size" if reading.alone else "file"


def _documents(
    stream: io.BufferedReader, split: str, path: Path, reading: Reading
) -> Iterator[Part]:
    if split == "file":
        yield 1, _whole(stream, reading.largest)
    elif split == "size":
        yield from _filled(_pieces(stream, _piece_bytes(path, reading)))
    else:
        yield from _filled(_between(stream, SEPARATORS[split], reading.largest))


def _whole(stream: io.BufferedReader, largest: int) -> bytes | None:
    text = bytearray()
    while len(text) <= largest:
        block = stream.read1(BLOCK)
        if not block:
            return bytes(text)
        text += block
    return None


def _piece_bytes(path: Path, reading: Reading) -> int:
    """A thousandth of the file, or as near as a piece of a sensible size comes to it."""
    size = unpacked_bytes(path)
    usual = max(SMALLEST, min(USUAL, size // FEWEST))
    return reading.piece_bytes or max(usual, min(LONGEST, size // ENOUGH))


def _filled(parts: Iterator[Part]) -> Iterator[Part]:
    """The parts that aren't white space, without the line ends around them."""
    for line, part in parts:
        if part is None:
            yield line, None
        elif part.strip():
            text = part.lstrip(b"\r\n")
            yield line + _line_ends(part[: len(part) - len(text)]), text.rstrip(b"\r\n")


def _line_ends(text: bytes | bytearray) -> int:
    return text.count(b"\n") or text.count(b"\r")


def _between(stream: io.BufferedReader, separator: re.Pattern, largest: int) -> Iterator[Part]:
    """What stands between separators, ``largest`` bytes of it at most in memory."""
    waiting, line, searched, too_long, last = bytearray(), 1, 0, False, False
    while not last:
        block = stream.read1(BLOCK)
        waiting += block
        last, first = not block, 0
        for match in separator.finditer(waiting, searched):
            if match.end() == len(waiting) and not last:
                break  # it may go on in the next block
            part = waiting[first : match.start()]
            yield line, None if too_long or len(part) > largest else bytes(part)
            line += _line_ends(waiting[first : match.end()])
            first, too_long = match.end(), False

        if len(waiting) - first > largest:
            too_long = True
            end = max(first, len(waiting) - SEPARATOR_BYTES)
            line += _line_ends(waiting[first:end])
            first = end
        del waiting[:first]
        searched = max(0, len(waiting) - SEPARATOR_BYTES)
    yield line, None if too_long or len(waiting) > largest else bytes(waiting)


def _pieces(stream: io.BufferedReader, size: int) -> Iterator[Part]:
    """Pieces of ``size`` to twice that, the last one of less."""
    waiting, line = bytearray(), 1
    while block := stream.read1(BLOCK):
        waiting += block
        first = 0
        while len(waiting) - first > 2 * size:
            end = _cut(waiting, first + size, first + 2 * size)
            piece = bytes(waiting[first:end])
            yield line, piece
            line += _line_ends(piece)
            first = end
        del waiting[:first]
    yield line, bytes(waiting)


def _cut(text: bytearray, least: int, most: int) -> int:
    """Where to cut: behind the first good place from ``least`` to ``most``, or failing that behind
    the last one in the half before.
    """
    half = least - (most - least) // 2
    has_lines = any(text.find(end, half, most) >= 0 for end in (b"\n", b"\r"))
    for place in (BLANK_LINES, LINE_END, WHITE_SPACE) if has_lines else (WHITE_SPACE,):
        if match := place.search(text, least, most):
            return match.end()
        before = [match.end() for match in place.finditer(text, half, least)]
        if before:
            return before[-1]

    inside = (back for back in range(4) if text[most - back] & 0xC0 != 0x80)
    return most - next(inside, 0)  # not inside a character
