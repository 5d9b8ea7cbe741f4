"""Rendered conversations waiting for their place in a pack.

Packing needs every length before it can place the first conversation, so the tokens wait in an
unnamed file on the output's disk, where no kill leaves anything behind. About 50 bytes a
conversation are in memory.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from ...files import disk_full, is_disk_full
from ..documents.shingles import comparable
from ..split import document_id, document_ids
from .chat_template import Message

__all__ = ["ConversationTable", "TokenStore", "conversation_bytes", "conversation_id"]

Conversation = Sequence[Message]

_SEPARATOR = b"\0"


@dataclass(frozen=True)
class ConversationTable:
    """Of each conversation in a store: ids uint64 [n]; ``offsets`` int64 [n+1], in tokens; the rest
    int64 [n].
    """

    id: np.ndarray  # of all that was said
    question: np.ndarray  # id of the first user turn's words, as documents are compared
    offsets: np.ndarray
    length: np.ndarray  # tokens
    source: np.ndarray  # number of its source
    bytes: np.ndarray  # UTF-8 bytes of its contents


def conversation_id(messages: Conversation) -> np.uint64:
    """The id of a conversation in token files: that of its roles and contents, and of which aren't
    learned.
    """
    return document_id(conversation_bytes(messages))


def conversation_bytes(messages: Conversation) -> bytes:
    """What ids and hashes of a conversation are of."""
    return _SEPARATOR.join(_parts(messages))


def _parts(messages: Conversation) -> list[bytes]:
    """Role, content, role, content …; the role of a turn that isn't learned says so."""
    parts = []
    for message in messages:
        role = message["role"] if message.get("learned", True) else f"{message['role']} (read)"
        parts += [role.encode(), message["content"].encode()]
    return parts


class TokenStore:
    """Takes conversations with `append`, returns their `table` and then their tokens in any order;
    a context manager.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ids: list[np.ndarray] = []
        self._questions: list[np.ndarray] = []
        self._numbers: list[np.ndarray] = []  # [3, n] each: length, source, bytes

    def __enter__(self) -> "TokenStore":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=self.folder, buffering=0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(
        self,
        conversations: Sequence[Conversation],
        tokens: np.ndarray,
        mask: np.ndarray,
        lengths: np.ndarray,
        source: int,
    ) -> None:
        """Adds rendered conversations: ``tokens`` uint32 and ``mask`` bool end to end, ``lengths``
        [conversations].
        """
        # A token and its bit of the mask in one number: ids stay far below 2**31.
        both = tokens << np.uint32(1) | mask
        self._write(memoryview(both).cast("B") if both.size else memoryview(b""))

        parts = [_parts(messages) for messages in conversations]
        questions = [
            next(message["content"] for message in messages if message["role"] == "user")
            for messages in conversations
        ]
        self._ids.append(document_ids(map(_SEPARATOR.join, parts)))
        self._questions.append(document_ids(comparable(text).encode() for text in questions))
        sizes = [sum(map(len, some[1::2])) for some in parts]
        self._numbers.append(np.array([lengths, np.full(len(parts), source), sizes], np.int64))

    def table(self) -> ConversationTable:
        """What is known of each conversation, in the order they came."""
        numbers = np.concatenate([np.zeros((3, 0), np.int64), *self._numbers], axis=1)
        ids = np.concatenate([np.zeros(0, np.uint64), *self._ids])
        questions = np.concatenate([np.zeros(0, np.uint64), *self._questions])
        offsets = np.concatenate([[0], np.cumsum(numbers[0])])
        return ConversationTable(ids, questions, offsets, *numbers)

    def gather(self, table: ConversationTable, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (uint32) and mask (bool) of the conversations ``which`` (int [n], at least one),
        end to end.
        """
        # Read, not mapped: the places are scattered, and every page they touch would count as
        # memory in use.
        starts, lengths = 4 * table.offsets[which], 4 * table.length[which]
        file = self._file.fileno()
        parts = [
            os.pread(file, length, start)
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]

        both = np.frombuffer(b"".join(parts), np.uint32)
        assert both.size * 4 == lengths.sum(), "the store is shorter than its table"
        return both >> np.uint32(1), (both & np.uint32(1)).astype(bool)

    def _write(self, data: memoryview) -> None:
        try:
            while len(data):
                data = data[self._file.write(data) :]
        except OSError as error:
            if is_disk_full(error):
                raise disk_full(self.folder / "temporary file", len(data)) from error
            raise
