"""Rendered conversations waiting for their place in a pack.

Packing needs every length before it can place the first conversation, so the tokens wait in a
nameless file on the disk of the output, where no kill leaves anything behind. In memory are some 50
bytes a conversation.
"""

import errno
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...files import disk_full
from ..split import document_id, document_ids

__all__ = ["Spool", "Table", "conversation_id"]


@dataclass(frozen=True)
class Table:
    """Of each conversation in a spool: ids uint64 [n]; ``offsets`` int64 [n+1], in tokens; the rest
    int64 [n].

    ``id``: of all that was said; ``question``: of the first user turn, white space and case apart.
    """

    id: np.ndarray
    question: np.ndarray
    offsets: np.ndarray
    length: np.ndarray  # tokens
    source: np.ndarray  # number of its source
    bytes: np.ndarray  # UTF-8 bytes of its contents


_SEPARATOR = b"\0"


def conversation_id(messages: Sequence[Mapping[str, str]]) -> np.uint64:
    """The id of a conversation, as token files have it: that of its roles and contents."""
    return document_id(_SEPARATOR.join(_said(messages)))


def _said(messages: Sequence[Mapping[str, str]]) -> list[bytes]:
    return [part.encode() for message in messages for part in (message["role"], message["content"])]


class Spool:
    """Takes conversations with `append`, gives their `table` and then their tokens in any order; a
    context manager.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ids: list[np.ndarray] = []
        self._questions: list[np.ndarray] = []
        self._facts: list[np.ndarray] = []

    def __enter__(self) -> "Spool":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=self.folder, buffering=0)
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._file.close()

    def append(
        self,
        conversations: Sequence[Sequence[Mapping[str, str]]],
        tokens: np.ndarray,
        mask: np.ndarray,
        lengths: np.ndarray,
        source: int,
    ) -> None:
        """Adds rendered conversations: ``tokens`` uint32 and ``mask`` bool end to end, ``lengths``
        [conversations].
        """
        self._write(
            memoryview(tokens << np.uint32(1) | mask).cast("B") if tokens.size else memoryview(b"")
        )
        said = [_said(messages) for messages in conversations]
        asked = [
            next(m["content"] for m in messages if m["role"] == "user")
            for messages in conversations
        ]
        self._ids.append(document_ids(map(_SEPARATOR.join, said)))
        self._questions.append(
            document_ids(" ".join(text.casefold().split()).encode() for text in asked)
        )
        size = [sum(map(len, parts[1::2])) for parts in said]
        self._facts.append(np.array([lengths, np.full(len(said), source), size], np.int64))

    def table(self) -> Table:
        """What was noted of each conversation, in the order they came."""
        facts = np.concatenate([np.zeros((3, 0), np.int64), *self._facts], axis=1)
        ids, questions = (
            np.concatenate([np.zeros(0, np.uint64), *found])
            for found in (self._ids, self._questions)
        )
        return Table(ids, questions, np.concatenate([[0], np.cumsum(facts[0])]), *facts)

    def gather(self, table: Table, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (uint32) and mask (bool) of the conversations ``which`` (int [n], at least one),
        end to end.
        """
        # Read, not mapped: the places are scattered, and every page they touch would count as
        # memory in use.
        starts, lengths = 4 * table.offsets[which], 4 * table.length[which]
        file = self._file.fileno()
        parts = [
            os.pread(file, length, at)
            for at, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]
        both = np.frombuffer(b"".join(parts), np.uint32)
        assert both.size * 4 == lengths.sum(), "the spool is shorter than its table"
        return both >> np.uint32(1), (both & np.uint32(1)).astype(bool)

    def _write(self, data: memoryview) -> None:
        try:
            while len(data):
                data = data[self._file.write(data) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise disk_full(self.folder / "temporary file", len(data)) from error
            raise
