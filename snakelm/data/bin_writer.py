"""Writing a token file (bins.py has the format): tokens as they come, and at the end the idx that
commits them.

Memory is that of one call: the documents' offsets and ids wait in a file too. A writer with a
``partial`` folder leaves there what it has written when its process ends early, and another takes
over from any point that `written` described.
"""

import json
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np

from .._text import crc32
from ..errors import UserError
from ..files import atomic_path, fsync_folder, renamed_when_done, reserve
from .bin_index import DTYPES, HEADER, MAGIC, PLAIN, Meta, idx_path

__all__ = ["BinWriter", "Written"]

BLOCK = 1 << 16  # documents of the idx written at a time
PAIR = 16  # bytes of a document that waits: where it ends and its id, u64 each


@dataclass(frozen=True)
class Written:
    """How far a writer has come, and checksums of what it wrote until then."""

    tokens: int = 0
    documents: int = 0
    text_bytes: int = 0
    max_token: int = 0
    tokens_crc: int = 0  # over the CRCs of all chunks, the last of which may not be full
    documents_crc: int = 0


class BinWriter:
    """Writes `X.bin` and `X.idx`; a context manager. Nothing has its final name until the block
    succeeds.

    ``expected_tokens`` reserves the space beforehand, so that a disk too small is an error now and
    not in an hour. ``partial``: a folder of this writer's own, which must be there, for what is
    unfinished; it stays when the block fails.
    """

    kind = PLAIN

    def __init__(
        self,
        path: str | Path,
        meta: Meta,
        expected_tokens: int = 0,
        partial: Path | None = None,
    ) -> None:
        self.path, self.meta = Path(path), meta
        self._dtype, self._expected = DTYPES[meta.dtype], expected_tokens
        self._partial = partial
        self._crcs: list[int] = []
        self._filled = 0  # bytes of the chunk that the last CRC is of
        self._documents_crc = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # Unwound in reverse order: the bin's temporary file is renamed first, then the idx's.
            self._idx = self._unfinished(idx_path(self.path), stack)
            self._bin = self._unfinished(self.path, stack)
            reserve(self._bin, self._expected * self._dtype.itemsize)
            self._file = self._open_tokens(stack)
            self._documents = stack.enter_context(self._open_documents())
            self._stack = stack.pop_all()
        return self

    def _unfinished(self, path: Path, stack: ExitStack) -> Path:
        """The file that becomes ``path``."""
        if self._partial is None:
            return stack.enter_context(atomic_path(path))
        kept = self._partial / path.name
        kept.touch()
        stack.enter_context(renamed_when_done(kept, path))
        return kept

    def _open_tokens(self, stack: ExitStack) -> IO[bytes]:
        return stack.enter_context(open(self._bin, "r+b", buffering=0))

    def _open_documents(self) -> IO[bytes]:
        if self._partial is None:
            return tempfile.TemporaryFile(dir=self.path.parent, buffering=0)
        waiting = self._partial / f"{self.path.stem}.documents"
        waiting.touch()
        return open(waiting, "r+b", buffering=0)

    def append(
        self, tokens: np.ndarray, lengths: np.ndarray, ids: np.ndarray, text_bytes: int
    ) -> None:
        """Adds complete documents: ``tokens`` [sum of lengths] of any integer dtype, ``lengths``
        and ``ids`` [n].
        """
        self.append_parts([tokens], lengths, ids, text_bytes)

    def append_parts(
        self, parts: Sequence[np.ndarray], lengths: np.ndarray, ids: np.ndarray, text_bytes: int
    ) -> None:
        """`append` of tokens that lie in several arrays, wherever these end."""
        size = sum(part.size for part in parts)
        assert (size, lengths.size) == (int(lengths.sum()), ids.size), "lengths don't add up"
        self.append_documents(self.meta.tokens + np.cumsum(lengths, dtype=np.uint64), ids)
        self.append_tokens(*parts)
        self.meta.text_bytes += text_bytes

    def append_documents(self, ends: np.ndarray, ids: np.ndarray) -> None:
        """Adds documents whose tokens are added by `append_tokens`: where each ends, in tokens of
        the file, and its id, [n] both.
        """
        pairs = np.empty((ids.size, 2), "<u8")
        pairs[:, 0], pairs[:, 1] = ends, ids
        self.meta.documents += len(pairs)
        data = pairs.data.cast("B") if len(pairs) else memoryview(b"")
        self._documents_crc = crc32(data, self._documents_crc)
        _write(self._documents, data)

    def append_tokens(self, *parts: np.ndarray) -> None:
        """Adds tokens of one integer dtype, [n] each, one array after the other."""
        # One copy costs less than what is to be done for each of many parts.
        tokens = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if not tokens.size:
            return

        # What has no sign has no least one to look for: a pass over all tokens less.
        self._check_range(int(tokens.min()) if tokens.dtype.kind == "i" else 0, int(tokens.max()))
        self.meta.tokens += tokens.size
        data = np.ascontiguousarray(tokens, self._dtype).data.cast("B")
        _write(self._file, data)
        self._add_to_checksums(data)

    def _add_to_checksums(self, data: memoryview) -> None:
        chunk = self.meta.chunk_bytes
        while len(data):
            if self._filled in (0, chunk):
                self._crcs.append(0)
                self._filled = 0
            part = data[: chunk - self._filled]
            self._crcs[-1] = crc32(part, self._crcs[-1])
            self._filled += len(part)
            data = data[len(part) :]

    def link_tokens(self, path: Path, meta: Meta, crcs: np.ndarray) -> bool:
        """Makes all tokens of another bin this one's without writing them again: one file of two
        names. False, and space for a copy is reserved, where the file system has no such thing or
        its checksums are of other chunks.

        A bin is only ever replaced, never changed, so neither name can spoil the other.
        """
        link = self.path.with_name(f".{self.path.name}.link.{os.getpid()}.tmp")
        if meta.chunk_bytes != self.meta.chunk_bytes or not _is_linked(path, link):
            reserve(self._bin, meta.tokens * self._dtype.itemsize)
            return False

        os.replace(link, self._bin)
        self._file = self._open_tokens(self._stack)
        self._crcs = crcs.tolist()
        self.meta.tokens, self.meta.max_token = meta.tokens, meta.max_token
        return True

    def _check_range(self, low: int, high: int) -> None:
        # Before the conversion to the file's dtype, which would wrap silently.
        if low < 0 or high >= self.meta.vocab_size:
            raise UserError(
                f"{self.path}: token id {high if low >= 0 else low}, expected 0 to "
                f"{self.meta.vocab_size - 1}; the tokenizer's vocabulary and its ids disagree: "
                "train it again"
            )
        self.meta.max_token = max(self.meta.max_token, high)

    def written(self) -> Written:
        """What `restore` needs to take over from here."""
        meta = self.meta
        return Written(
            meta.tokens,
            meta.documents,
            meta.text_bytes,
            meta.max_token,
            crc32(np.array(self._crcs, "<u4").tobytes()),
            self._documents_crc,
        )

    def restore(self, point: Written) -> bool:
        """Cuts what the partial folder holds down to ``point`` and goes on from there; False, and
        nothing is kept, where that is not what was written.
        """
        self._file.truncate(point.tokens * self._dtype.itemsize)
        self._documents.truncate(point.documents * PAIR)
        while chunk := self._file.read(self.meta.chunk_bytes):
            self._crcs.append(crc32(chunk))
            self._filled = len(chunk)
        while block := self._documents.read(BLOCK * PAIR):
            self._documents_crc = crc32(block, self._documents_crc)

        meta = self.meta
        meta.tokens, meta.documents = point.tokens, point.documents
        meta.text_bytes, meta.max_token = point.text_bytes, point.max_token
        sizes = (self._file.tell(), self._documents.tell())
        expected = (point.tokens * self._dtype.itemsize, point.documents * PAIR)
        if sizes == expected and self.written() == point:
            return True

        self._clear()
        return False

    def _clear(self) -> None:
        for file in (self._file, self._documents):
            file.seek(0)
            file.truncate()
        meta = self.meta
        meta.tokens = meta.documents = meta.text_bytes = meta.max_token = 0
        self._crcs, self._filled, self._documents_crc = [], 0, 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if kind is not None:
            return self._stack.__exit__(kind, error, trace)

        with self._stack:  # an error in here unwinds the stack as an error: nothing is renamed
            size = self.meta.tokens * self._dtype.itemsize
            if os.fstat(self._file.fileno()).st_size != size:  # less than was reserved
                self._file.truncate(size)
            with open(self._idx, "wb") as idx:
                crc = 0
                for part in self._index():
                    idx.write(part)
                    crc = crc32(part, crc)
                idx.write(struct.pack("<I", crc))

            # An older bin of this name ends here: its idx goes before its tokens are replaced.
            idx_path(self.path).unlink(missing_ok=True)
            fsync_folder(self.path.parent)
        return None

    def _index(self) -> Iterator[bytes]:
        """The idx in parts, but for its own checksum."""
        text = json.dumps(asdict(self.meta), sort_keys=True).encode()
        text += b" " * (-(HEADER.size + len(text)) % 8)
        yield HEADER.pack(MAGIC, self.kind.version, len(text))
        yield text
        yield bytes(8)
        for column in range(2):  # where the documents end, which is where the next begin; ids
            self._documents.seek(0)
            while block := self._documents.read(BLOCK * PAIR):
                yield np.frombuffer(block, "<u8").reshape(-1, 2)[:, column].tobytes()
        yield np.array(self._crcs, "<u4").tobytes()
        yield self._more()

    def _more(self) -> bytes:
        """What another kind of file adds to its idx."""
        return b""


def _is_linked(path: Path, link: Path) -> bool:
    """Gives the file ``path`` a second name; whether the file system does."""
    try:
        os.link(path, link)
    except OSError:
        return False
    return True


def _write(file: IO[bytes], data: memoryview) -> None:
    """All of ``data``: one call may write less than it was given."""
    while len(data):
        data = data[file.write(data) :]
