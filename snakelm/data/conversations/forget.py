"""Conversations that are to be forgotten are left out before tuning sees them.

A line of a list is the hash of what a conversation's id is of: roles and contents, as they were
read and before any turn was cut off. Rules look at each turn's content by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ...config import Forget
from ...user_paths import expand
from ..documents.forget_list import HashList, matches, read_hashes
from ..split import document_ids
from .formats import Messages
from .token_store import conversation_bytes

__all__ = ["Forgetting"]

KEY = "forget.conversations"


@dataclass
class Forgetting:
    """Lets pass what ``rules`` don't name."""

    rules: Forget
    hashes: HashList = field(init=False)

    def __post_init__(self) -> None:
        lists = self.rules.conversations
        self.hashes = read_hashes(expand(lists, KEY), KEY) if lists else HashList()

    def kept(self, batch: list[Messages], source: str) -> list[Messages]:
        """The conversations of ``batch`` that stay; they are of the source of that path or name."""
        if not (self.hashes.places or self.rules.text or self.rules.origin):
            return batch

        gone = np.zeros(len(batch), bool)
        if self.hashes.places:
            texts = list(map(conversation_bytes, batch))
            gone |= self.hashes.named(document_ids(texts), lambda: texts)
        gone |= matches(pa.array([source]), self.rules.origin)[0]
        if self.rules.text:
            turns = pa.array(
                [one["content"] for messages in batch for one in messages], pa.string()
            )
            owner = np.repeat(np.arange(len(batch)), list(map(len, batch)))
            gone[owner[matches(turns, self.rules.text)]] = True
        return [messages for messages, out in zip(batch, gone, strict=True) if not out]

    def check(self, warn: Callable[[str], None]) -> None:
        """UserError or a warning, once all were read, for lines that named none."""
        self.hashes.check(KEY, "conversation", self.rules.missing, warn)
