"""A user's file as a stream of UTF-8 bytes: unpacked and decoded as its content asks, not its name.

Unpacked are gzip, bzip2, xz, zstd and lz4, all members and frames of a file, zeros after the last
one ignored (tapes and block devices pad with them). UTF-16 and UTF-32 are decoded where a byte
order mark says so; without one they are refused, as is what is no text at all.
"""

import bz2
import codecs
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow as pa

from ...parquet import REMEDY_USERS, BadFile
from ...signatures import HEAD, byte_order_mark, compression, foreign
from .encodings import wide_encoding

__all__ = ["CHUNK", "SUFFIXES", "OpenText", "lines", "open_bytes", "open_text"]

# Names of compressed files; .zip only so that the format is told by what stands before it.
SUFFIXES = {
    ".gz": "gzip", ".gzip": "gzip", ".bz2": "bzip2", ".xz": "xz", ".lzma": "lzma",
    ".zst": "zstd", ".zstd": "zstd", ".lz4": "lz4", ".zip": "zip",
}  # fmt: skip
CHUNK, BUFFER = 1 << 18, 1 << 20  # bytes
UNPACKED = "not compressed"
XZ_MEMORY = 1 << 30  # bytes that an xz file may ask for to be unpacked


class OpenText(NamedTuple):
    """The bytes of a text, and what its name doesn't say of it."""

    stream: io.BufferedReader
    notes: tuple[str, ...]


class _Unpacker(Protocol):
    """What `bz2` and `lzma` have for one member of a file."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Inflater:
    """zlib's in that form."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)  # gzip, its checksum verified
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most ``max_length`` bytes more."""
        unpacked = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = not self._zlib.unconsumed_tail and len(unpacked) < max_length
        return unpacked


UNPACKERS: dict[str, Callable[[], _Unpacker]] = {
    "gzip": _Inflater,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY),
    "lzma": lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY),
}
BY_ARROW = ("zstd", "lz4")


class _Chunks(io.RawIOBase):
    """Chunks of bytes as a file; what goes wrong is raised once all before it has been read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, memoryview(b"")
        self._error: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # as io calls it
        size = 0
        while size < len(buffer) and (self._rest or self._fetch(waiting=size)):
            part = self._rest[: len(buffer) - size]
            buffer[size : size + len(part)] = part
            self._rest = self._rest[len(part) :]
            size += len(part)
        return size

    def _fetch(self, waiting: int) -> bool:
        """Gets the next chunk that isn't empty; false at the end, or before an error as long as
        bytes are ``waiting`` to be read.
        """
        try:
            if self._error is None:
                chunk = next(filter(None, self._chunks), None)
                self._rest = memoryview(chunk or b"")
                return chunk is not None
        except Exception as error:
            self._error = error

        if not waiting:
            raise self._error
        return False


@contextmanager
def open_text(path: Path) -> Iterator[OpenText]:
    """The file's text as UTF-8 bytes, without a byte order mark; BadFile, now or while it is read,
    where it is damaged or no text.
    """
    with open_bytes(path) as (file, names):
        notes = list(names)
        head = _head(file)
        _refuse(head, notes, path)
        if mark := byte_order_mark(head):
            encoding, size = mark
            file.read(size)
            if encoding != "UTF-8":
                file = _buffered(_decoded(file, encoding, path))
                notes.append(f"{encoding}; read as such")
        yield OpenText(file, tuple(notes))


@contextmanager
def open_bytes(path: Path) -> Iterator[OpenText]:
    """The file unpacked, whatever is in it; BadFile, now or while it is read, where its compressed
    data is damaged.
    """
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(open(path, "rb", buffering=0))
            file: io.BufferedReader = stack.enter_context(io.BufferedReader(raw, BUFFER))
            packed = compression(_head(file))
            notes = _name_notes(path, packed)
            if packed:
                file = stack.enter_context(_unpacked(file, packed, path))
                if again := compression(_head(file)):
                    why = f"compressed twice, by {packed} and by {again}; unpack it once"
                    raise BadFile(why, path)
            yield OpenText(file, tuple(notes))
    except (OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise BadFile(f"can't be read ({error.strerror})", path) from None
        raise _damaged(error, path) from None


def _damaged(error: Exception, path: Path) -> BadFile:
    fault = " ".join(str(error).split())
    if "requires too much memory" in fault or "Memory usage limit" in fault:
        return BadFile(
            f"compressed with a window larger than is unpacked here ({fault}); unpack it first, "
            "with zstd -d --long=31 for one",
            path,
        )
    if "Unknown frame" in fault or "frameType_unknown" in fault:
        return BadFile(
            f"other bytes after its compressed data ({fault}); cut them off or fetch it again", path
        )
    return BadFile(f"broken off or damaged ({fault}); {REMEDY_USERS}", path)


def _name_notes(path: Path, packed: str | None) -> list[str]:
    """What the name says of the compression that isn't so."""
    named = SUFFIXES.get(path.suffix.lower())
    if packed and packed != named:
        return [f"compressed by {packed}, which its name doesn't say; read as such"]
    if named and not packed:
        return [f"{UNPACKED}, though its name says {path.suffix}; read as it is"]
    return []


def _refuse(head: bytes, notes: list[str], path: Path) -> None:
    """BadFile for what is no text. ``notes``: what its name says that isn't so."""
    if what := foreign(head):
        raise BadFile(what, path)
    if byte_order_mark(head):
        return

    if wide := wide_encoding(head):
        raise BadFile(
            f"{wide} without a byte order mark, expected UTF-8; convert it: "
            f"iconv -f {wide} -t UTF-8",
            path,
        )
    if any(note.startswith(UNPACKED) for note in notes) and not _is_utf8(head):
        raise BadFile(
            f"neither text nor compressed as its name {path.suffix} says (it begins with "
            f"{head[:8].hex(' ')}); {REMEDY_USERS}",
            path,
        )


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _head(file: io.BufferedReader) -> bytes:
    """The first bytes, which stay to be read."""
    return file.peek(HEAD)[:HEAD]


def _buffered(chunks: Iterator[bytes]) -> io.BufferedReader:
    return io.BufferedReader(_Chunks(chunks), BUFFER)


@contextmanager
def _unpacked(file: io.BufferedReader, packed: str, path: Path) -> Iterator[io.BufferedReader]:
    if packed in UNPACKERS:
        yield _buffered(_members(file, packed, path))
    elif packed in BY_ARROW:
        with pa.input_stream(str(path), compression=packed, buffer_size=BUFFER) as stream:
            yield io.BufferedReader(stream, BUFFER)
    else:
        raise BadFile(f"compressed by {packed}, which isn't read; unpack it", path)


def _members(file: io.BufferedReader, packed: str, path: Path) -> Iterator[bytes]:
    """The members of a compressed file, one after the other."""
    data = file.read(CHUNK)
    while data:
        unpacker = UNPACKERS[packed]()
        while not unpacker.eof:
            if unpacker.needs_input and not data:
                data = file.read(CHUNK)
                if not data:
                    raise BadFile(
                        f"broken off or damaged (its {packed} data has no end); {REMEDY_USERS}",
                        path,
                    )
            yield unpacker.decompress(data, CHUNK)
            data = b""

        data = unpacker.unused_data.lstrip(b"\0") or _after_zeros(file)
        if data and compression(data + _head(file)) != packed:
            raise BadFile(
                f"other bytes after its {packed} data, which ends {_left(file, data):,} bytes "
                "before the end of the file; cut them off or fetch it again",
                path,
            )


def _after_zeros(file: io.BufferedReader) -> bytes:
    while data := file.read(CHUNK):
        if data := data.lstrip(b"\0"):
            return data
    return b""


def _left(file: io.BufferedReader, data: bytes) -> int:
    at = file.tell()
    return len(data) + file.seek(0, io.SEEK_END) - at


def _decoded(file: io.BufferedReader, encoding: str, path: Path) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        while data := file.read(CHUNK):
            yield decoder.decode(data).encode()
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise BadFile(
            f"begins as {encoding}, by its byte order mark, but isn't that throughout; "
            f"{REMEDY_USERS}",
            path,
        ) from None


def lines(stream: io.BufferedReader, largest: int) -> Iterator[tuple[int, bytes | None]]:
    """(number, line) of each line, the first being 1; None for one of more than ``largest`` bytes,
    which is not kept in memory.
    """
    number = 0
    while line := stream.readline(largest + 1):
        number += 1
        if len(line) <= largest or line.endswith(b"\n"):
            yield number, line
            continue

        del line
        while (rest := stream.readline(CHUNK)) and not rest.endswith(b"\n"):
            pass
        yield number, None
